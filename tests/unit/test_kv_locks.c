/*
 * test_kv_locks.c: isolation of branches in the kv resource. Threads wait for locks here, so each
 * test proves by what a third branch gets, not by time, that a waiter stands in line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "resource_driver.h"

static int setup(void **state)
{
    static struct driver driver;

    driver_init(&driver, &assent_resource_kv, "lock_wait=20s");
    *state = &driver;
    return 0;
}

static int teardown(void **state)
{
    driver_fini(*state);
    return 0;
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void expect_locked_by(struct driver *d, unsigned n, const char *text, const char *key,
                             unsigned holder)
{
    struct assent_branch_id id = driver_branch(holder);
    char gtrid[ASSENT_GTRID_TEXT + 1], reason[256];

    assent_gtrid_format(&id.gtrid, gtrid);
    snprintf(reason, sizeof(reason), "%s: locked by %s branch 1 for 20 ms", key, gtrid);
    expect_work_fails(d, n, text, reason);
    expect(d, ASSENT_OP_ROLLBACK, n, ASSENT_RM_OK);
}

struct waiting {
    struct driver *driver;
    unsigned n;
    const char *text;
    uint32_t timeout_ms;
    pthread_t thread;
    struct assent_call call;
};

static void *wait_for_lock(void *context)
{
    struct waiting *waiting = context;

    waiting->call = driver_work(waiting->driver, waiting->n, waiting->text, waiting->timeout_ms);
    return NULL;
}

static void start(struct waiting *waiting, struct driver *d, unsigned n, const char *text,
                  uint32_t timeout_ms)
{
    *waiting = (struct waiting){.driver = d, .n = n, .text = text, .timeout_ms = timeout_ms};
    assert_int_equal(driver_begin(d, n), ASSENT_RM_OK);
    assert_int_equal(pthread_create(&waiting->thread, NULL, wait_for_lock, waiting), 0);
}

static void finish(struct waiting *waiting, enum assent_rm_result result, const char *reply)
{
    pthread_join(waiting->thread, NULL);
    assert_int_equal(waiting->call.result, result);
    if (reply != NULL)
        assert_string_equal(waiting->call.reply, reply);
    free(waiting->call.reply);
}

/* Until a writer waits for a key that is read only, so that new readers no longer overtake it. */
static void await_writer_in_line(struct driver *d, const char *get, unsigned n)
{
    uint64_t deadline = now_ms() + 10000;
    enum assent_rm_result result;

    do {
        struct assent_call call;

        assert_true(now_ms() < deadline);
        assert_int_equal(driver_begin(d, n), ASSENT_RM_OK);
        call = driver_work(d, n, get, 0);
        result = call.result;
        free(call.reply);
        expect(d, ASSENT_OP_ROLLBACK, n, ASSENT_RM_OK);
    } while (result == ASSENT_RM_OK);
}

static void a_writer_keeps_others_out_and_is_named(void **state)
{
    struct driver *d = *state;

    expect_work(d, 1, "put a 1");
    expect_locked_by(d, 2, "get a", "a", 1);
    expect_locked_by(d, 2, "put a 2", "a", 1);
    expect_locked_by(d, 2, "check a 1", "a", 1);
    expect_work(d, 3, "put b 1");
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    expect_work(d, 2, "put a 2");
}

static void readers_share_and_keep_writers_out(void **state)
{
    struct driver *d = *state;

    expect_work(d, 1, "get a");
    expect_work(d, 2, "get a");
    expect_locked_by(d, 3, "put a 1", "a", 2);
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_READ_ONLY);
    expect_locked_by(d, 3, "put a 1", "a", 1);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    expect_work(d, 3, "put a 1");
}

static void a_wait_ends_with_the_shorter_of_its_two_bounds(void **state)
{
    struct driver *d = *state;
    struct assent_call call;
    uint64_t before;

    driver_close(d);
    d->parameters = "lock_wait=30ms";
    assert_int_equal(driver_open(d), 0);
    expect_work(d, 1, "put a 1");
    assert_int_equal(driver_begin(d, 2), ASSENT_RM_OK);
    before = now_ms();
    call = driver_work(d, 2, "get a", 20000);
    assert_int_equal(call.result, ASSENT_RM_FAILED);
    assert_non_null(strstr(call.reason, "for 30 ms"));
    assert_true(now_ms() - before >= 30 && now_ms() - before < 10000);
}

static void a_waiter_goes_on_and_sees_what_was_committed(void **state)
{
    struct driver *d = *state;
    struct waiting waiting;

    expect_work_commits(d, 1, "put a 10");
    expect_work(d, 2, "add a 5");
    start(&waiting, d, 3, "add a 100", 20000);
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_OK);
    finish(&waiting, ASSENT_RM_OK,
           "{\"results\":[{\"command\":\"add\",\"key\":\"a\",\"value\":\"115\"}]}");
}

static void readers_do_not_overtake_a_waiting_writer(void **state)
{
    struct driver *d = *state;
    struct waiting writer;

    expect_work(d, 1, "get a");
    start(&writer, d, 2, "put a 1", 20000);
    await_writer_in_line(d, "get a", 3);
    expect_locked_by(d, 3, "get a", "a", 1);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    finish(&writer, ASSENT_RM_OK, NULL);
}

static void readers_behind_a_writer_that_gives_up_go_on(void **state)
{
    struct driver *d = *state;
    struct waiting writer, reader;

    expect_work(d, 1, "get a");
    start(&writer, d, 2, "put a 1", 1000);
    await_writer_in_line(d, "get a", 3);
    start(&reader, d, 4, "get a", 20000);
    finish(&writer, ASSENT_RM_FAILED, NULL);
    finish(&reader, ASSENT_RM_OK, NULL); /* while branch 1 still reads */
}

static void a_reader_becomes_the_writer(void **state)
{
    struct driver *d = *state;
    struct waiting raising;

    expect_work_commits(d, 1, "put a 1");
    expect_work(d, 2, "get a\nadd a 1");
    expect(d, ASSENT_OP_ONE_PHASE, 2, ASSENT_RM_OK);
    expect_work(d, 3, "get a");
    expect_work(d, 4, "get a");
    start(&raising, d, 3, "add a 1", 20000);
    await_writer_in_line(d, "get a", 5);
    expect(d, ASSENT_OP_ROLLBACK, 4, ASSENT_RM_OK);
    finish(&raising, ASSENT_RM_OK,
           "{\"results\":[{\"command\":\"add\",\"key\":\"a\",\"value\":\"3\"}]}");
}

static void two_readers_that_both_want_to_write_end_by_time(void **state)
{
    struct driver *d = *state;
    struct waiting first, second;

    expect_work(d, 1, "get a");
    expect_work(d, 2, "get a");
    start(&first, d, 1, "put a 1", 20000);
    await_writer_in_line(d, "get a", 3);
    start(&second, d, 2, "put a 2", 50);
    finish(&second, ASSENT_RM_FAILED, NULL);
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    finish(&first, ASSENT_RM_OK, NULL);
}

static void a_deadlock_ends_by_time(void **state)
{
    struct driver *d = *state;
    struct waiting patient;

    expect_work(d, 1, "put a 1");
    expect_work(d, 2, "put b 2");
    start(&patient, d, 1, "put b 1", 20000);
    assert_int_equal(driver_work(d, 2, "put a 2", 50).result, ASSENT_RM_FAILED);
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    finish(&patient, ASSENT_RM_OK, NULL);
}

static void prepared_branches_keep_their_locks_over_a_reopen(void **state)
{
    struct driver *d = *state;

    expect_work_commits(d, 1, "put a 1\nput r 1");
    expect_work(d, 2, "add a 1\nget r\ndel gone\nget r2");
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_OK);
    for (int i = 0; i < 2; i++) {
        expect_locked_by(d, 3, "get a", "a", 2);
        expect_locked_by(d, 3, "get gone", "gone", 2);
        expect_locked_by(d, 3, "put r 2", "r", 2);
        expect_work(d, 4, "get r");
        driver_reopen(d);
    }
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_OK);
    expect_reply(d, 3, "add a 1\nadd r 1",
                 "{\"results\":[{\"command\":\"add\",\"key\":\"a\",\"value\":\"3\"},"
                 "{\"command\":\"add\",\"key\":\"r\",\"value\":\"2\"}]}");
}

/* --- many at once ----------------------------------------------------------------------------- */

#define COUNTERS 3
#define WORKERS  4
#define ROUNDS   60

struct worker {
    struct driver *driver;
    unsigned first, committed;
    pthread_t thread;
};

/* Adds one to two counters in varying order; deadlocks and all. */
static void *count_up(void *context)
{
    struct worker *worker = context;

    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned n = worker->first + i;
        char text[64];
        struct assent_call call;

        snprintf(text, sizeof(text), "add c%u 1\nadd c%u 1", n % COUNTERS,
                 (n + 1 + n / COUNTERS % (COUNTERS - 1)) % COUNTERS);
        (void)driver_begin(worker->driver, n);
        call = driver_work(worker->driver, n, text, 20);
        free(call.reply);
        if (call.result != ASSENT_RM_OK ||
            driver_call(worker->driver, ASSENT_OP_PREPARE, n).result != ASSENT_RM_OK)
            (void)driver_call(worker->driver, ASSENT_OP_ROLLBACK, n);
        else
            worker->committed +=
                driver_call(worker->driver, ASSENT_OP_COMMIT, n).result == ASSENT_RM_OK;
    }
    return NULL;
}

static void concurrent_increments_are_never_lost(void **state)
{
    struct driver *d = *state;
    struct worker workers[WORKERS];
    unsigned committed = 0, sum = 0, values[COUNTERS];
    char error[256], *text = NULL;

    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.driver = d, .first = 1 + i * ROUNDS};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, count_up, &workers[i]), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        pthread_join(workers[i].thread, NULL);
        committed += workers[i].committed;
    }
    assert_int_equal(d->ops->query(d->resource, "dump", &text, error, sizeof(error)), 0);
    assert_int_equal(sscanf(text, "{\"entries\":{\"c0\":\"%u\",\"c1\":\"%u\",\"c2\":\"%u\"}",
                            &values[0], &values[1], &values[2]),
                     COUNTERS);
    free(text);
    for (unsigned i = 0; i < COUNTERS; i++)
        sum += values[i];
    assert_true(committed > 0);
    assert_int_equal(sum, 2 * committed);
}

/* As the agent's loop asks. */
static struct assent_call try(struct driver *d, unsigned n, const char *text)
{
    struct assent_call call = {.operation = ASSENT_OP_WORK,
                               .id = driver_branch(n),
                               .work = text,
                               .work_size = strlen(text),
                               .timeout_ms = 20000,
                               .no_wait = true,
                               .no_reply = true};

    assert_int_equal(driver_begin(d, n), ASSENT_RM_OK);
    d->ops->work(d->resource, &call);
    return call;
}

static void what_is_tried_waits_for_nobody(void **state)
{
    struct driver *d = *state;
    struct assent_call prepare = {
        .operation = ASSENT_OP_PREPARE, .id = driver_branch(2), .no_wait = true};
    struct assent_call call = try(d, 1, "put a 1\nput b 1");

    assert_false(call.would_wait);
    assert_int_equal(call.result, ASSENT_RM_OK);
    /* c is free, b is taken: neither is held afterwards, and the branch is as it was. */
    assert_true(try(d, 2, "put c 2\nadd b 2").would_wait);
    call = try(d, 3, "put c 3");
    assert_false(call.would_wait);
    expect(d, ASSENT_OP_ONE_PHASE, 3, ASSENT_RM_OK);
    expect(d, ASSENT_OP_ONE_PHASE, 1, ASSENT_RM_OK);
    expect_work(d, 2, "put c 2\nadd b 2");
    /* Nor is what comes on top of other work tried, nor what needs the disk. */
    assert_true(try(d, 2, "put d 2").would_wait);
    d->ops->prepare(d->resource, &prepare);
    assert_true(prepare.would_wait);
    expect(d, ASSENT_OP_ONE_PHASE, 2, ASSENT_RM_OK);
    expect_reply(d, 4, "get b\nget c\nget d",
                 "{\"results\":[{\"command\":\"get\",\"key\":\"b\",\"value\":\"3\"},"
                 "{\"command\":\"get\",\"key\":\"c\",\"value\":\"2\"},"
                 "{\"command\":\"get\",\"key\":\"d\",\"value\":null}]}");
}

static void what_is_tried_fails_as_ever(void **state)
{
    struct driver *d = *state;
    struct assent_call call = try(d, 1, "add a -1 min 0");

    assert_false(call.would_wait);
    assert_int_equal(call.result, ASSENT_RM_FAILED);
    assert_string_equal(call.reason, "a: 0 - 1 = -1 is below min 0");
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_writer_keeps_others_out_and_is_named),
        TEST(readers_share_and_keep_writers_out),
        TEST(a_wait_ends_with_the_shorter_of_its_two_bounds),
        TEST(a_waiter_goes_on_and_sees_what_was_committed),
        TEST(readers_do_not_overtake_a_waiting_writer),
        TEST(readers_behind_a_writer_that_gives_up_go_on),
        TEST(a_reader_becomes_the_writer),
        TEST(two_readers_that_both_want_to_write_end_by_time),
        TEST(a_deadlock_ends_by_time),
        TEST(prepared_branches_keep_their_locks_over_a_reopen),
        TEST(concurrent_increments_are_never_lost),
        TEST(what_is_tried_waits_for_nobody),
        TEST(what_is_tried_fails_as_ever),
    };

    return cmocka_run_group_tests_name("kv_locks", tests, NULL, NULL);
}
