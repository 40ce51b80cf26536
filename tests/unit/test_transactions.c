/* test_transactions.c: the table of live transactions, its order, its timers, its work bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "gtrid.h"
#include "transactions.h"

struct fixture {
    struct event_base *base;
    struct transactions table;
    uint64_t fired[8];
    size_t fired_count, wanted;
};

static void on_due(struct transaction *t, void *context)
{
    struct fixture *f = context;

    f->fired[f->fired_count++] = t->order;
    assert_true(assent_now_ms() >= t->machine.timer_ms);
    t->machine.timer_ms = ASSENT_NO_TIMER;
    if (f->fired_count == f->wanted)
        event_base_loopbreak(f->base);
}

static void on_too_late(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    (void)context;
    fail_msg("timers did not fire within their deadline");
}

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->base = event_base_new();
    transactions_init(&f->table, f->base, on_due, f);
}

static void teardown(struct fixture *f)
{
    transactions_fini(&f->table);
    event_base_free(f->base);
}

static struct transaction *add(struct fixture *f, uint32_t incarnation, uint64_t sequence)
{
    struct assent_gtrid gtrid = assent_gtrid_make(1000, 1, incarnation, sequence);
    struct transaction *t = transactions_add(&f->table, &gtrid, 3);

    assert_non_null(t);
    assent_coord_init(&t->machine, &gtrid,
                      &(struct assent_coord_begin){.deadline_ms = ASSENT_NO_TIMER, .seed = 1});
    return t;
}

static void the_numbers_of_one_of_many_loops_share_few_buckets(void **state)
{
    const UT_hash_table *index;
    struct fixture f;

    (void)state;
    for (uint64_t apart = 1; apart <= 16; apart++) {
        setup(&f);
        for (uint64_t i = 1; i <= 40000; i++)
            add(&f, 1, i * apart);
        index = f.table.by_order->hh.tbl;
        assert_false(index->noexpand);
        for (unsigned i = 0; i < index->num_buckets; i++)
            assert_in_range(index->buckets[i].count, 0, HASH_BKT_CAPACITY_THRESH);
        teardown(&f);
    }
}

static void a_table_that_runs_empty_keeps_its_index(void **state)
{
    struct assent_gtrid gtrid = assent_gtrid_make(1000, 1, 1, 7);
    const UT_hash_table *index;
    struct fixture f;

    (void)state;
    setup(&f);
    index = add(&f, 1, 5)->hh.tbl;
    for (uint64_t i = 6; i < 100; i++) {
        transactions_remove(f.table.by_order);
        assert_ptr_equal(f.table.kept, index);
        assert_int_equal(transactions_lowest(&f.table), UINT64_MAX);
        add(&f, 1, i);
        assert_null(f.table.kept);
        assert_ptr_equal(f.table.by_order->hh.tbl, index);
        assert_int_equal(transactions_find(&f.table, &gtrid) != NULL, i == 7);
    }
    for (uint64_t i = 100; i < 200; i++)
        add(&f, 1, i);
    assert_int_equal(HASH_COUNT(f.table.by_order), 101);
    while (f.table.by_order->hh.next != NULL)
        transactions_remove(f.table.by_order->hh.next);
    assert_int_equal(transactions_lowest(&f.table), (uint64_t)1 << 40 | 99);
    teardown(&f);
}

static void run_until(struct fixture *f, size_t wanted)
{
    struct timeval limit = {.tv_sec = 10};
    struct event *late = evtimer_new(f->base, on_too_late, NULL);

    f->wanted = wanted;
    evtimer_add(late, &limit);
    event_base_dispatch(f->base);
    event_free(late);
    assert_int_equal(f->fired_count, wanted);
}

static void a_transaction_is_found_by_its_whole_gtrid(void **state)
{
    struct fixture f;
    struct transaction *t;
    struct assent_gtrid other_time, other_coordinator;

    (void)state;
    setup(&f);
    t = add(&f, 3, 7);
    assert_ptr_equal(transactions_find(&f.table, &t->machine.gtrid), t);
    assert_ptr_equal(transactions_find_order(&f.table, (uint64_t)3 << 40 | 7), t);
    other_time = assent_gtrid_make(1001, 1, 3, 7);
    other_coordinator = assent_gtrid_make(1000, 2, 3, 7);
    assert_null(transactions_find(&f.table, &other_time));
    assert_null(transactions_find(&f.table, &other_coordinator));
    teardown(&f);
}

static void the_lowest_order_survives_sorting_and_removal(void **state)
{
    struct fixture f;
    struct transaction *late, *early;

    (void)state;
    setup(&f);
    assert_true(transactions_lowest(&f.table) == UINT64_MAX);
    late = add(&f, 2, 9);
    early = add(&f, 1, 5); /* as recovery may find them */
    transactions_sort(&f.table);
    assert_true(transactions_lowest(&f.table) == early->order);
    transactions_remove(early);
    assert_true(transactions_lowest(&f.table) == late->order);
    transactions_remove(late);
    assert_int_equal(transactions_count(&f.table), 0);
    teardown(&f);
}

static void what_a_removed_transaction_held_is_gone(void **state)
{
    struct fixture f;
    struct transaction *first, *second;

    (void)state;
    setup(&f);
    first = add(&f, 1, 1);
    assert_true(transactions_hold_work(first, 3, "work", 4));
    assert_int_equal(f.table.work_bytes, 4);
    transactions_set_text(&first->reason_text, "why");
    transactions_remove(first);
    assert_int_equal(f.table.work_bytes, 0);
    second = add(&f, 1, 2);
    assert_int_equal(second->reason_text[0], '\0');
    assert_null(second->branches[2].work);
    teardown(&f);
}

static void each_has_room_for_the_branches_that_it_was_asked_for(void **state)
{
    struct transaction *t[ASSENT_BRANCHES_MAX];
    struct fixture f;

    (void)state;
    setup(&f);
    for (uint32_t count = 1; count <= ASSENT_BRANCHES_MAX; count++) {
        struct assent_gtrid gtrid = assent_gtrid_make(1000, 1, 1, count);

        t[count - 1] = transactions_add(&f.table, &gtrid, count);
        assert_in_range(t[count - 1]->branch_max, count, ASSENT_BRANCHES_MAX);
        /* Written to the last byte: the sanitizers see what is beyond. */
        memset(t[count - 1]->machine.branches, 0xff,
               t[count - 1]->branch_max * sizeof(struct assent_coord_branch));
        assert_true(transactions_hold_work(t[count - 1], count, "work", 4));
    }
    for (uint32_t count = 1; count <= ASSENT_BRANCHES_MAX; count++)
        transactions_remove(t[count - 1]);
    for (uint32_t count = 1; count <= ASSENT_BRANCHES_MAX; count++) {
        struct assent_gtrid gtrid = assent_gtrid_make(1000, 1, 2, count);

        t[count - 1] = transactions_add(&f.table, &gtrid, count);
        assert_int_equal(t[count - 1]->machine.branches[count - 1].participant, 0);
        assert_null(t[count - 1]->branches[count - 1].work);
    }
    teardown(&f);
}

static void timers_fire_in_their_order_and_not_early(void **state)
{
    struct fixture f;
    struct transaction *a, *b, *c;
    uint64_t now_ms = assent_now_ms();

    (void)state;
    setup(&f);
    a = add(&f, 1, 1);
    b = add(&f, 1, 2);
    c = add(&f, 1, 3);
    a->machine.timer_ms = now_ms + 60;
    b->machine.timer_ms = now_ms + 20;
    c->machine.timer_ms = now_ms + 40;
    transactions_arm(a, assent_now_ms());
    transactions_arm(b, assent_now_ms());
    transactions_arm(c, assent_now_ms());
    run_until(&f, 3);
    assert_true(f.fired[0] == b->order);
    assert_true(f.fired[1] == c->order);
    assert_true(f.fired[2] == a->order);
    teardown(&f);
}

static void a_timer_moves_both_ways(void **state)
{
    struct fixture f;
    struct transaction *sooner, *later;
    uint64_t now_ms = assent_now_ms();

    (void)state;
    setup(&f);
    sooner = add(&f, 1, 1);
    later = add(&f, 1, 2);
    sooner->machine.timer_ms = now_ms + 100000;
    later->machine.timer_ms = now_ms + 10;
    transactions_arm(sooner, assent_now_ms());
    transactions_arm(later, assent_now_ms());
    sooner->machine.timer_ms = now_ms + 30;
    later->machine.timer_ms = now_ms + 60;
    transactions_arm(sooner, assent_now_ms());
    transactions_arm(later, assent_now_ms());
    run_until(&f, 2);
    assert_true(f.fired[0] == sooner->order);
    assert_true(f.fired[1] == later->order);
    teardown(&f);
}

static void a_walk_goes_on_when_what_comes_next_is_removed(void **state)
{
    struct transactions_walk walk;
    struct transaction *t[4];
    struct fixture f;

    (void)state;
    setup(&f);
    for (unsigned i = 0; i < 4; i++)
        t[i] = add(&f, 1, i + 1);
    transactions_walk_start(&f.table, &walk);
    assert_ptr_equal(transactions_walk_next(&walk), t[0]);
    transactions_remove(t[0]);
    transactions_remove(t[1]);
    transactions_remove(t[2]);
    assert_ptr_equal(transactions_walk_next(&walk), t[3]);
    transactions_remove(t[3]);
    assert_null(transactions_walk_next(&walk));
    transactions_walk_stop(&walk);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_numbers_of_one_of_many_loops_share_few_buckets),
        cmocka_unit_test(a_table_that_runs_empty_keeps_its_index),
        cmocka_unit_test(a_transaction_is_found_by_its_whole_gtrid),
        cmocka_unit_test(the_lowest_order_survives_sorting_and_removal),
        cmocka_unit_test(what_a_removed_transaction_held_is_gone),
        cmocka_unit_test(each_has_room_for_the_branches_that_it_was_asked_for),
        cmocka_unit_test(timers_fire_in_their_order_and_not_early),
        cmocka_unit_test(a_timer_moves_both_ways),
        cmocka_unit_test(a_walk_goes_on_when_what_comes_next_is_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
