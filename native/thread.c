#include "thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>

static int set_processor(pthread_attr_t *attributes, int processor) {
  cpu_set_t set;
  if (processor == ANY_PROCESSOR) return 0;
  if (processor < 0 || processor >= CPU_SETSIZE) return EINVAL;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  return pthread_attr_setaffinity_np(attributes, sizeof set, &set);
}

/* What this thread blocks, its children block too. */
static int create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  int error = pthread_create(thread, attributes, run, argument);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return error;
}

int thread_start(pthread_t *thread, void *(*run)(void *), void *argument, const char *name, int processor) {
  pthread_attr_t attributes;
  int error = pthread_attr_init(&attributes);
  if (error) return error;
  error = set_processor(&attributes, processor);
  if (!error) error = create(thread, &attributes, run, argument);
  pthread_attr_destroy(&attributes);
  if (!error) pthread_setname_np(*thread, name);
  return error;
}
