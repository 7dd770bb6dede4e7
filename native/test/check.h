/* Checks for the programs of this folder: a failed one is printed and counted, and the program goes on. */
#ifndef PBS_CHECK_H
#define PBS_CHECK_H

#include <stdio.h>

static int check_failures;

#define CHECK(condition)                                                     \
  do {                                                                       \
    if (!(condition)) {                                                      \
      fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
      check_failures++;                                                      \
    }                                                                        \
  } while (0)

#define CHECK_EQUAL(actual, expected)                                                                          \
  do {                                                                                                         \
    long long check_actual = (long long)(actual), check_expected = (long long)(expected);                      \
    if (check_actual != check_expected) {                                                                      \
      fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #actual, check_actual, check_expected); \
      check_failures++;                                                                                        \
    }                                                                                                          \
  } while (0)

#define CHECK_RESULT() (check_failures == 0 ? 0 : 1)

#endif
