/*
 * test_postgres_prepared.c: the transactions of prepared branches are remembered within a bound;
 * without a server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "postgres.h"
#include "resource_driver.h"

static int setup(void **state)
{
    static struct postgres pg;

    assert_int_equal(pthread_mutex_init(&pg.base.mutex, NULL), 0);
    *state = &pg;
    return 0;
}

static int teardown(void **state)
{
    struct postgres *pg = *state;

    postgres_prepared_drop(pg, NULL);
    pthread_mutex_destroy(&pg->base.mutex);
    return 0;
}

static void note(struct postgres *pg, unsigned n, uint64_t xid)
{
    struct assent_branch_id id = driver_branch(n);

    postgres_prepared_note(pg, &id, xid);
}

static uint64_t xid_of(struct postgres *pg, unsigned n)
{
    struct assent_branch_id id = driver_branch(n);

    return postgres_prepared_xid(pg, &id);
}

static void a_branch_is_known_by_its_last_transaction_until_it_is_dropped(void **state)
{
    struct assent_branch_id one = driver_branch(1);
    struct postgres *pg = *state;

    assert_int_equal(xid_of(pg, 1), 0);
    note(pg, 1, 7);
    note(pg, 2, 8);
    note(pg, 1, 9);
    assert_int_equal(xid_of(pg, 1), 9);
    postgres_prepared_drop(pg, &one);
    postgres_prepared_drop(pg, &one);
    assert_int_equal(xid_of(pg, 1), 0);
    assert_int_equal(xid_of(pg, 2), 8);
}

/* What stays behind keeps nobody out, and what the server still lists stays known. */
static void beyond_the_bound_the_one_noted_longest_ago_goes(void **state)
{
    struct postgres *pg = *state;

    for (unsigned n = 1; n <= SQL_BRANCHES_MAX; n++)
        note(pg, n, n);
    note(pg, 1, 1); /* a scan has seen it again */
    note(pg, SQL_BRANCHES_MAX + 1, 5);
    assert_int_equal(HASH_COUNT(pg->prepared), SQL_BRANCHES_MAX);
    assert_int_equal(xid_of(pg, SQL_BRANCHES_MAX + 1), 5);
    assert_int_equal(xid_of(pg, 1), 1);
    assert_int_equal(xid_of(pg, 2), 0);
    assert_int_equal(xid_of(pg, 3), 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_branch_is_known_by_its_last_transaction_until_it_is_dropped),
        TEST(beyond_the_bound_the_one_noted_longest_ago_goes),
    };
#undef TEST

    return cmocka_run_group_tests(tests, NULL, NULL);
}
