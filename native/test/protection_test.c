#include "../protection.h"

#include "ah-flows.h"
#include "check.h"

enum { SPI = 0x1000, SPI_NEXT = 0x1001, SOON = 1000, BYTES = 500 };

struct fixture {
  struct table *table;
  struct protections protections;
  int reader;
};

static void set_up(struct fixture *f) {
  memset(f, 0, sizeof *f);
  f->table = table_create(8, 8);
  f->reader = table_reader(f->table);
  CHECK_EQUAL(protections_init(&f->protections, f->table, 8), 0);
}

static void tear_down(struct fixture *f) {
  protections_destroy(&f->protections);
  table_destroy(f->table);
}

static enum screening screen(struct protection *p, int has_ah, uint64_t now) {
  struct packet packet = {.ah = has_ah ? 20 : 0};
  return protection_screen(p, &packet, 100, now);
}

static void test_first(void) {
  struct fixture f;
  set_up(&f);
  uint32_t number = protections_take(&f.protections);
  struct protection *p = protections_at(&f.protections, number);
  CHECK_EQUAL(number, 1);
  CHECK_EQUAL(screen(p, 0, 1), SCREEN_PLAIN);
  CHECK(protections_change(&f.protections, number, mac_association(SPI, 1, PROTECT_VERIFY), 0, 0));
  CHECK_EQUAL(screen(p, 0, 1), SCREEN_MISSING);
  CHECK_EQUAL(screen(p, 1, 1), SCREEN_DEEP);
  CHECK(protection_find(p, SPI, 1) == atomic_load(&p->current));
  CHECK(!protection_find(p, SPI_NEXT, 1));
  CHECK(!protections_change(&f.protections, number, mac_association(SPI, 2, PROTECT_VERIFY), SOON, BYTES));
  tear_down(&f);
}

static void test_reserved_numbers(void) {
  CHECK(!mac_association(0, 1, PROTECT_VERIFY));
  CHECK(!mac_association(255, 1, PROTECT_VERIFY));
  association_destroy(mac_association(256, 1, PROTECT_VERIFY));
}

static void test_overlap(void) {
  struct fixture f;
  set_up(&f);
  uint32_t number = protections_take(&f.protections);
  struct protection *p = protections_at(&f.protections, number);
  protections_change(&f.protections, number, mac_association(SPI, 1, PROTECT_VERIFY), SOON, BYTES);
  CHECK_EQUAL(screen(p, 0, 1), SCREEN_PLAIN);
  CHECK_EQUAL(screen(p, 0, SOON), SCREEN_MISSING);
  struct association *first = atomic_load(&p->current);
  protections_change(&f.protections, number, mac_association(SPI_NEXT, 2, PROTECT_VERIFY), SOON, BYTES);
  CHECK_EQUAL(screen(p, 0, 1), SCREEN_MISSING);
  CHECK(protection_find(p, SPI, SOON - 1) == first);
  CHECK(!protection_find(p, SPI, SOON));
  CHECK(protection_take_overlap(p, first, BYTES, 1));
  CHECK(!protection_take_overlap(p, first, 1, 1));
  CHECK(protection_take_overlap(p, atomic_load(&p->current), 1, 1));
  protections_expire(&f.protections, number, SOON - 1);
  CHECK(protection_find(p, SPI, SOON - 1) == first);
  protections_expire(&f.protections, number, SOON);
  CHECK(!protection_find(p, SPI, 1));
  CHECK_EQUAL(screen(p, 0, 1), SCREEN_MISSING); /* a clock that is behind opens nothing */
  protections_reclaim(&f.protections);
  tear_down(&f);
}

static void test_sender(void) {
  struct fixture f;
  set_up(&f);
  uint32_t number = protections_take(&f.protections);
  struct protection *p = protections_at(&f.protections, number);
  protections_change(&f.protections, number, mac_association(SPI, 1, PROTECT_INSERT), 0, 0);
  CHECK_EQUAL(screen(p, 0, 1), SCREEN_DEEP);
  CHECK(!protection_find(p, SPI, 1));
  protections_change(&f.protections, number, NULL, SOON, BYTES);
  CHECK_EQUAL(screen(p, 0, 1), SCREEN_PLAIN);
  CHECK_EQUAL(screen(p, 1, 1), SCREEN_PLAIN); /* of the application's own */
  CHECK(!protection_find(p, SPI, 1));
  tear_down(&f);
}

/* Who found it before goes on with what it found; its number is nobody else's until then. */
static void test_release(void) {
  struct fixture f;
  set_up(&f);
  uint32_t number = protections_take(&f.protections);
  struct protection *p = protections_at(&f.protections, number);
  protections_change(&f.protections, number, mac_association(SPI, 1, PROTECT_VERIFY), 0, 0);
  table_enter(f.table, f.reader);
  protections_release(&f.protections, number);
  CHECK_EQUAL(screen(p, 0, 1), SCREEN_MISSING);
  protections_reclaim(&f.protections);
  CHECK(protection_find(p, SPI, 1));
  CHECK(protections_take(&f.protections) != number);
  table_leave(f.table, f.reader);
  protections_reclaim(&f.protections);
  CHECK(!atomic_load(&p->current));
  CHECK_EQUAL(protections_take(&f.protections), number);
  tear_down(&f);
}

int main(void) {
  test_first();
  test_reserved_numbers();
  test_overlap();
  test_sender();
  test_release();
  return CHECK_RESULT();
}
