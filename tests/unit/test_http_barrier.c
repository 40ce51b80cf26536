/*
 * test_http_barrier.c: the barrier of the HTTP resource: Tries that come too late, effects that
 * happen once, Tries that a crash has left behind, many branches at once. Started by
 * tests/lib/odd_service.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "http_fixture.h"

/* --- the barrier ------------------------------------------------------------------------------ */

/* Edge case 53: Cancel before Try is recorded as empty; the later Try is refused, also in the next
 * life. */
static void a_try_after_cancel_is_refused(void **state)
{
    struct driver *d = *state;

    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_WAS_ABORTED);
    for (int life = 1; life <= 2; life++) {
        for (unsigned n = 1; n <= 2; n++) {
            assert_int_equal(driver_begin(d, n), ASSENT_RM_REFUSED);
            assert_int_equal(driver_work(d, n, "{}", 1000).result, ASSENT_RM_REFUSED);
            expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_NOT_FOUND);
            expect(d, ASSENT_OP_ROLLBACK, n, ASSENT_RM_OK);
        }
        driver_reopen(d);
    }
    assert_int_equal(seen(d, 1, "try") + seen(d, 1, "cancel"), 0);
    assert_int_equal(seen(d, 2, "try") + seen(d, 2, "cancel"), 0);
}

static void late_tries_of_finished_branches_are_not_sent(void **state)
{
    struct driver *d = *state;

    prepared(d, 1, "{}");
    assert_int_equal(driver_begin(d, 1), ASSENT_RM_FAILED);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    assert_int_equal(driver_begin(d, 1), ASSENT_RM_WAS_COMMITTED);
    prepared(d, 2, "{}");
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    assert_int_equal(driver_begin(d, 2), ASSENT_RM_REFUSED);
    expect_work(d, 3, "{\"cancel\": [500, 200]}");
    expect(d, ASSENT_OP_ROLLBACK, 3, ASSENT_RM_UNAVAILABLE);
    expect_try(d, 3, "{}", ASSENT_RM_FAILED, "the branch is being cancelled");
    expect(d, ASSENT_OP_ROLLBACK, 3, ASSENT_RM_OK);
    for (unsigned n = 1; n <= 3; n++)
        assert_int_equal(seen(d, n, "try"), 1);
}

/* Edge case 54: once confirmed, the service is not even asked again. */
static void confirm_has_one_effect_however_often_it_is_repeated(void **state)
{
    struct driver *d = *state;

    prepared(d, 1, "{}");
    for (unsigned i = 0; i < 10000; i++)
        expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    assert_int_equal(seen(d, 1, "confirm"), 1);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_HEUR_COMMITTED);
    assert_int_equal(seen(d, 1, "cancel"), 0);
}

static void await_cancels(struct driver *d, unsigned n, unsigned wanted)
{
    struct timespec pause = {.tv_nsec = 5000000};

    for (unsigned i = 0; i < 4000 && seen(d, n, "cancel") < wanted; i++)
        nanosleep(&pause, NULL);
    assert_int_equal(seen(d, n, "cancel"), wanted);
}

/* A crash between Try and prepare: the next life cancels by itself, for as long as it takes, and
 * nobody can prepare the branch any more. */
static void tries_of_an_earlier_life_are_cancelled(void **state)
{
    struct driver *d = *state;

    expect_work(d, 1, "{\"cancel\": [500, 503, 200]}");
    expect_work(d, 2, "{}");
    driver_reopen(d);
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_NOT_FOUND);
    assert_int_equal(driver_begin(d, 1), ASSENT_RM_REFUSED);
    assert_int_equal(driver_recover(d, NULL), 0);
    await_cancels(d, 1, 3);
    await_cancels(d, 2, 1);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_ABORTED);
    driver_reopen(d);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
}

static void a_close_does_not_wait_for_orphans(void **state)
{
    struct driver *d = *state;
    struct timespec before, after;

    expect_work(d, 1, "{\"cancel\": [{\"hang\": true}, 200]}");
    driver_reopen(d);
    await_cancels(d, 1, 1);
    clock_gettime(CLOCK_MONOTONIC, &before);
    driver_reopen(d); /* in the middle of that request, which may take 10 s */
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(after.tv_sec - before.tv_sec < 5);
    await_cancels(d, 1, 2);
    json_decref(ask(d, "release"));
}

static void forget_sweeps_what_came_before(void **state)
{
    struct driver *d = *state;

    for (unsigned n = 1; n <= 4; n++)
        prepared(d, n, "{}");
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 4, ASSENT_RM_OK);
    expect(d, ASSENT_OP_FORGET, 3, ASSENT_RM_OK); /* prepared: nothing of it is dropped */
    driver_reopen(d);
    assert_int_equal(driver_recover(d, NULL), 1);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_ABORTED); /* its record is gone */
    expect(d, ASSENT_OP_EVIDENCE, 4, ASSENT_RM_WAS_COMMITTED);
}

/* Without a single commit nothing is ever forgotten: the number of records is bounded all the same,
 * and it is the oldest that go. */
static void cancelled_branches_are_remembered_up_to_a_number(void **state)
{
    enum { EACH = 1000, BATCHES = 101 };
    static struct assent_call calls[EACH], *pointers[EACH];
    struct driver *d = *state;
    unsigned n = 1;

    prepared(d, 0, "{}");
    for (unsigned batch = 0; batch < BATCHES; batch++) {
        for (unsigned i = 0; i < EACH; i++, n++) {
            calls[i] =
                (struct assent_call){.operation = ASSENT_OP_ROLLBACK, .id = driver_branch(n)};
            pointers[i] = &calls[i];
        }
        d->ops->batch(d->resource, pointers, EACH);
        for (unsigned i = 0; i < EACH; i++)
            assert_int_equal(calls[i].result, ASSENT_RM_NOT_FOUND);
    }
    driver_reopen(d);
    assert_int_equal(driver_begin(d, 1), ASSENT_RM_OK);
    assert_int_equal(driver_begin(d, EACH * BATCHES / 2 + EACH), ASSENT_RM_REFUSED);
    assert_int_equal(driver_begin(d, EACH * BATCHES), ASSENT_RM_REFUSED);
    expect(d, ASSENT_OP_COMMIT, 0, ASSENT_RM_OK);
}

static void damaged_records_are_named(void **state)
{
    struct driver *d = *state;
    struct assent_branch_id id = driver_branch(1);
    char path[128], bytes[4096];
    bool found = false;
    ssize_t size;
    int fd;

    prepared(d, 1, "{}");
    driver_close(d);
    snprintf(path, sizeof(path), "%s/data.mdb", d->directory);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    for (off_t at = 0; at < 64 * 4096; at += size) {
        size = pread(fd, bytes, sizeof(bytes), at);
        assert_true(size > 0);
        for (ssize_t i = 0; i + 44 <= size; i++) {
            if (memcmp(bytes + i, id.log_id, sizeof(id.log_id)) != 0)
                continue;
            bytes[i + 36 + 5 + 1] ^= 1; /* the state, behind key, envelope and decision */
            assert_int_equal(pwrite(fd, bytes, (size_t)size, at), size);
            found = true;
        }
    }
    close(fd);
    assert_true(found);
    assert_int_equal(driver_open(d), ASSENT_E_CORRUPT);
    assert_non_null(strstr(d->error, ID1));
}

/* --- batches ---------------------------------------------------------------------- */

static void a_big_batch_confirms_all_and_one_slow_answer_delays_the_rest_boundedly(void **state)
{
    enum { COUNT = 100 };
    struct driver *d = *state;
    struct assent_call calls[COUNT] = {0}, *pointers[COUNT];
    unsigned unavailable = 0;

    reopen_with(d, "timeout=300ms");
    for (unsigned n = 0; n < COUNT; n++) {
        prepared(d, n + 1, n == 7 ? "{\"confirm\": [{\"hang\": true}, 200]}" : "{}");
        calls[n] = (struct assent_call){.operation = ASSENT_OP_COMMIT, .id = driver_branch(n + 1)};
        pointers[n] = &calls[n];
    }
    d->ops->batch(d->resource, pointers, COUNT);
    for (unsigned n = 0; n < COUNT; n++)
        unavailable += calls[n].result != ASSENT_RM_OK;
    assert_int_equal(calls[7].result, ASSENT_RM_UNAVAILABLE);
    json_decref(ask(d, "release"));
    assert_int_equal(driver_recover(d, NULL), unavailable);
    d->ops->batch(d->resource, pointers, COUNT);
    for (unsigned n = 0; n < COUNT; n++)
        assert_int_equal(calls[n].result, ASSENT_RM_OK);
}

static void whoever_has_no_turn_in_time_is_not_sent(void **state)
{
    enum { COUNT = 40 };
    struct driver *d = *state;
    struct assent_call calls[COUNT] = {0}, *pointers[COUNT];
    unsigned retries = 0;

    reopen_with(d, "timeout=200ms");
    for (unsigned n = 0; n < COUNT; n++) {
        prepared(d, n + 1, "{\"confirm\": [{\"hang\": true}]}");
        calls[n] = (struct assent_call){.operation = ASSENT_OP_COMMIT, .id = driver_branch(n + 1)};
        pointers[n] = &calls[n];
    }
    d->ops->batch(d->resource, pointers, COUNT);
    for (unsigned n = 0; n < COUNT; n++) {
        if (calls[n].result == ASSENT_RM_RETRY) {
            retries++;
            assert_string_equal(calls[n].reason, "not sent: the requests before it took too long");
            assert_int_equal(seen(d, n + 1, "confirm"), 0);
        } else {
            assert_int_equal(calls[n].result, ASSENT_RM_UNAVAILABLE);
        }
    }
    assert_true(retries >= COUNT - 32);
    json_decref(ask(d, "release"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_try_after_cancel_is_refused),
        TEST(late_tries_of_finished_branches_are_not_sent),
        TEST(confirm_has_one_effect_however_often_it_is_repeated),
        TEST(tries_of_an_earlier_life_are_cancelled),
        TEST(a_close_does_not_wait_for_orphans),
        TEST(forget_sweeps_what_came_before),
        TEST(cancelled_branches_are_remembered_up_to_a_number),
        TEST(damaged_records_are_named),
        TEST(a_big_batch_confirms_all_and_one_slow_answer_delays_the_rest_boundedly),
        TEST(whoever_has_no_turn_in_time_is_not_sent),
    };
#undef TEST

    if (!find_service())
        return 1;
    return cmocka_run_group_tests_name("http barrier", tests, NULL, NULL);
}
