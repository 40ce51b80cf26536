/* test_store_consumers.c: a store that several loops put into: each hears of its own puts, all that
 * is queued is one commit, and the order of what happened holds over all of them. */
#include "store_fixture.h"

#include <pthread.h>

#define CONSUMERS 4
#define PAIRS     2000

static int put_by(struct assent_store *store, unsigned consumer, uint64_t number, unsigned flags,
                  uint64_t token)
{
    uint8_t key[8];
    struct assent_put put = {
        .consumer = consumer,
        .table = ASSENT_TABLE_TRANSACTION,
        .flags = flags,
        .key = key,
        .key_size = sizeof(key),
        .value = "v",
        .value_size = 1,
        .token = token,
    };

    key_of(number, key);
    return assent_store_put(store, &put);
}

static void open_consumers(struct fixture *f)
{
    f->options.consumers = CONSUMERS;
    open_store(f);
}

static void wait_for_consumer(struct fixture *f, unsigned consumer, size_t count)
{
    f->completed = 0;
    while (f->completed < count) {
        struct pollfd p = {.fd = assent_store_fd(f->store, consumer), .events = POLLIN};

        if (poll(&p, 1, DEADLINE_MS) != 1)
            fail_msg("consumer %u: %zu completions of %zu", consumer, f->completed, count);
        assent_store_process(f->store, consumer, on_done, f);
    }
}

static void each_consumer_hears_of_its_own_puts(void **state)
{
    struct fixture *f = *state;

    open_consumers(f);
    for (uint64_t i = 0; i < 100 * CONSUMERS; i++)
        assert_int_equal(put_by(f->store, i % CONSUMERS, i, 0, i + 1), 0);
    for (unsigned c = 0; c < CONSUMERS; c++) {
        wait_for_consumer(f, c, 100);
        assert_int_equal(f->completed, 100);
        for (size_t i = 0; i < 100; i++)
            assert_int_equal(f->tokens[i], i * CONSUMERS + c + 1);
    }
}

static void what_all_have_queued_is_one_commit(void **state)
{
    struct fixture *f = *state;
    struct assent_store_stats stats;

    open_consumers(f);
    hold_writer(f, 1);
    for (uint64_t i = 0; i < 10 * CONSUMERS; i++)
        assert_int_equal(put_by(f->store, i % CONSUMERS, 100 + i, 0, i + 1), 0);
    assent_store_stats(f->store, &stats);
    assert_int_equal(stats.queued, 1 + 10 * CONSUMERS);
    sem_post(&sync_released);
    wait_for_consumer(f, 0, 11);
    for (unsigned c = 1; c < CONSUMERS; c++)
        wait_for_consumer(f, c, 10);
    assent_store_stats(f->store, &stats);
    assert_int_equal(stats.batches, 2);
    assert_int_equal(stats.records, 1 + 10 * CONSUMERS);
    assert_int_equal(stats.queued, 0);
}

static void lazy_records_ride_with_a_forced_one_of_another(void **state)
{
    struct fixture *f = *state;
    struct assent_store_stats stats;

    open_consumers(f);
    assert_int_equal(put_by(f->store, 1, 1, ASSENT_PUT_LAZY, 1), 0);
    assert_int_equal(put_by(f->store, 3, 2, 0, 2), 0);
    wait_for_consumer(f, 3, 1);
    wait_for_consumer(f, 1, 1);
    assent_store_stats(f->store, &stats);
    assert_int_equal(stats.batches, 1);
    assert_int_equal(stats.lazy_records, 1);
}

static void a_full_queue_is_its_consumers_own(void **state)
{
    struct fixture *f = *state;

    f->options.queue_max = 3;
    open_consumers(f);
    hold_writer(f, 1);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(put_by(f->store, 2, 10 + i, 0, i + 1), 0);
    assert_int_equal(put_by(f->store, 2, 20, 0, 4), ASSENT_E_LIMIT);
    assert_int_equal(put_by(f->store, 1, 21, 0, 4), 0);
    sem_post(&sync_released);
    wait_for_consumer(f, 2, 3);
    assert_int_equal(put_by(f->store, 2, 20, 0, 4), 0);
}

static void closing_commits_what_all_have_queued(void **state)
{
    struct fixture *f = *state;

    open_consumers(f);
    for (unsigned c = 0; c < CONSUMERS; c++)
        assert_int_equal(put_by(f->store, c, c + 1, ASSENT_PUT_LAZY, 0), 0);
    close_store(f);
    open_store(f);
    for (unsigned c = 0; c < CONSUMERS; c++)
        assert_true(has_number(f, c + 1));
}

/* A thread of its own for each consumer: consumer c puts the number i * CONSUMERS + c only when
 * consumer c - 1 has put the one before. */
struct relay {
    struct assent_store *store;
    atomic_uint_fast64_t next;
    atomic_bool failed;
};

struct runner {
    struct relay *relay;
    unsigned consumer;
    size_t heard;
};

static void count_heard(const struct assent_completion *completion, void *context)
{
    struct runner *runner = context;

    if (completion->token != runner->heard * CONSUMERS + runner->consumer + 1)
        atomic_store(&runner->relay->failed, true);
    runner->heard++;
}

static void *put_in_turn(void *context)
{
    struct runner *runner = context;
    struct relay *relay = runner->relay;

    for (uint64_t number = runner->consumer; number < PAIRS * CONSUMERS; number += CONSUMERS) {
        while (atomic_load(&relay->next) != number && !atomic_load(&relay->failed))
            sched_yield();
        if (put_by(relay->store, runner->consumer, number, 0, number + 1) != 0)
            atomic_store(&relay->failed, true);
        atomic_store(&relay->next, number + 1);
        assent_store_process(relay->store, runner->consumer, count_heard, runner);
    }
    while (runner->heard < PAIRS && !atomic_load(&relay->failed)) {
        struct pollfd p = {.fd = assent_store_fd(relay->store, runner->consumer), .events = POLLIN};

        if (poll(&p, 1, DEADLINE_MS) != 1)
            atomic_store(&relay->failed, true);
        assent_store_process(relay->store, runner->consumer, count_heard, runner);
    }
    return NULL;
}

struct found {
    uint64_t next;
    bool gap;
};

static bool in_order(const void *key, size_t key_size, const void *value, size_t value_size,
                     int status, void *context)
{
    struct found *found = context;
    uint8_t expected[8];

    (void)value;
    (void)value_size;
    key_of(found->next++, expected);
    found->gap |= status != 0 || key_size != 8 || memcmp(key, expected, 8) != 0;
    return true;
}

static void a_put_is_durable_no_later_than_one_that_follows_it(void **state)
{
    struct fixture *f = *state;
    struct relay relay = {0};
    struct runner runners[CONSUMERS];
    pthread_t threads[CONSUMERS];
    struct found found = {0};

    open_consumers(f);
    relay.store = f->store;
    for (unsigned c = 0; c < CONSUMERS; c++) {
        runners[c] = (struct runner){.relay = &relay, .consumer = c};
        assert_int_equal(pthread_create(&threads[c], NULL, put_in_turn, &runners[c]), 0);
    }
    /* Whatever a reader sees, nothing is missing in the middle. */
    while (found.next < PAIRS * CONSUMERS && !found.gap && !atomic_load(&relay.failed)) {
        found.next = 0;
        assert_int_equal(
            assent_store_scan(f->store, ASSENT_TABLE_TRANSACTION, NULL, 0, 0, in_order, &found), 0);
    }
    for (unsigned c = 0; c < CONSUMERS; c++)
        assert_int_equal(pthread_join(threads[c], NULL), 0);
    assert_false(found.gap);
    assert_false(atomic_load(&relay.failed));
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(each_consumer_hears_of_its_own_puts),
        T(what_all_have_queued_is_one_commit),
        T(lazy_records_ride_with_a_forced_one_of_another),
        T(a_full_queue_is_its_consumers_own),
        T(closing_commits_what_all_have_queued),
        T(a_put_is_durable_no_later_than_one_that_follows_it),
    };

    return cmocka_run_group_tests_name("store_consumers", tests, NULL, NULL);
}
