/* resource_conformance.c: see resource_conformance.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "resource_conformance.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gtrid.h"
#include "resource_driver.h"

#define THREADS             4
#define BRANCHES_PER_THREAD 25

static const struct conformance_subject *subject;

static int setup(void **state)
{
    static struct driver driver;

    if (subject->reset != NULL)
        subject->reset();
    driver_init(&driver, subject->ops, subject->parameters);
    *state = &driver;
    return 0;
}

static int teardown(void **state)
{
    driver_fini(*state);
    return 0;
}

static bool can(uint32_t capability)
{
    return (subject->ops->capabilities & capability) != 0;
}

static void write_something(struct driver *d, unsigned n)
{
    char text[128];

    snprintf(text, sizeof(text), subject->write, n);
    expect_work(d, n, text);
}

static void work_before(struct driver *d, unsigned n, enum assent_operation next)
{
    struct assent_call call;
    char text[128];

    snprintf(text, sizeof(text), subject->write, n);
    call = driver_work_then(d, n, text, next);
    assert_int_equal(call.result, ASSENT_RM_OK);
    free(call.reply);
}

static void prepare_something(struct driver *d, unsigned n)
{
    write_something(d, n);
    expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
}

/* The two ways to say so: it was rolled back, or it is not there and nobody knows why. */
static void expect_not_committed(struct driver *d, unsigned n)
{
    struct assent_call call = driver_call(d, ASSENT_OP_EVIDENCE, n);

    assert_true(call.result == ASSENT_RM_WAS_ABORTED || call.result == ASSENT_RM_VANISHED);
}

/* A finished branch: NOT_FOUND, or for a repeat of the same end also OK; evidence must agree. */
static void expect_finished(struct driver *d, unsigned n, bool committed)
{
    struct assent_call commit = driver_call(d, ASSENT_OP_COMMIT, n);
    struct assent_call rollback = driver_call(d, ASSENT_OP_ROLLBACK, n);

    if (can(ASSENT_CAP_VOLATILE))
        return;
    if (committed) {
        assert_true(commit.result == ASSENT_RM_OK || commit.result == ASSENT_RM_NOT_FOUND);
        assert_true(rollback.result == ASSENT_RM_HEUR_COMMITTED ||
                    rollback.result == ASSENT_RM_NOT_FOUND);
    } else {
        assert_true(commit.result == ASSENT_RM_HEUR_ABORTED ||
                    commit.result == ASSENT_RM_NOT_FOUND);
        assert_true(rollback.result == ASSENT_RM_OK || rollback.result == ASSENT_RM_NOT_FOUND);
    }
    if (can(ASSENT_CAP_EVIDENCE) && committed)
        expect(d, ASSENT_OP_EVIDENCE, n, ASSENT_RM_WAS_COMMITTED);
    else if (can(ASSENT_CAP_EVIDENCE))
        expect_not_committed(d, n);
    assert_int_equal(driver_recover(d, NULL), 0);
}

static void the_table_is_complete(void **state)
{
    struct driver *d = *state;
    const struct assent_resource_ops *ops = d->ops;

    assert_int_equal(ops->size, sizeof(*ops));
    assert_true(strlen(ops->type) >= 1 && strlen(ops->type) <= ASSENT_NAME_MAX);
    assert_true(ops->open && ops->close && ops->begin && ops->work && ops->prepare && ops->commit);
    assert_true(ops->rollback && ops->evidence && ops->forget && ops->recover && ops->ping);
    assert_true(!can(ASSENT_CAP_BATCH) || ops->batch != NULL);
    assert_true(!can(ASSENT_CAP_LATER) || (ops->descriptor != NULL && ops->progress != NULL));
}

static void it_answers_a_ping(void **state)
{
    struct driver *d = *state;
    char error[256];

    assert_int_equal(d->ops->ping(d->resource, error, sizeof(error)), 0);
}

static void bad_parameters_are_refused_by_name(void **state)
{
    struct driver *d = *state;

    driver_close(d);
    d->parameters = subject->bad_parameters;
    assert_int_equal(driver_open(d), ASSENT_E_CONFIG);
    assert_non_null(strstr(d->error, subject->bad_name));
    assert_non_null(strstr(d->error, d->ops->type));
}

static void a_prepared_branch_commits_and_repeats_harm_nothing(void **state)
{
    struct driver *d = *state;

    assert_int_equal(driver_begin(d, 1), ASSENT_RM_OK);
    assert_int_equal(driver_begin(d, 1), ASSENT_RM_OK);
    prepare_something(d, 1);
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    if (can(ASSENT_CAP_EVIDENCE))
        expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect_finished(d, 1, true);
    expect_finished(d, 1, true);
}

static void a_prepared_branch_rolls_back_and_repeats_harm_nothing(void **state)
{
    struct driver *d = *state;

    prepare_something(d, 1);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    expect_finished(d, 1, false);
    expect_finished(d, 1, false);
}

static void an_active_branch_rolls_back(void **state)
{
    struct driver *d = *state;
    char text[128];

    write_something(d, 1);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    expect_finished(d, 1, false);
    /* What it wrote to is free for the next branch. */
    snprintf(text, sizeof(text), subject->write, 1u);
    expect_work(d, 2, text);
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_OK);
}

/* Asked for when nobody knows what a one-phase commit has done: it has not even begun, and never
 * will once the branch is rolled back. */
static void a_branch_in_work_has_not_committed(void **state)
{
    struct driver *d = *state;

    if (!can(ASSENT_CAP_EVIDENCE))
        return;
    write_something(d, 1);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_VANISHED);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    expect_finished(d, 1, false);
    /* It may have ended with its work: that is said, by whoever knows it. */
    work_before(d, 2, ASSENT_OP_PREPARE);
    if (driver_call(d, ASSENT_OP_EVIDENCE, 2).result == ASSENT_RM_VANISHED)
        expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_OK);
    expect_finished(d, 2, true);
}

static void a_branch_begun_without_work_rolls_back(void **state)
{
    struct driver *d = *state;

    assert_int_equal(driver_begin(d, 1), ASSENT_RM_OK);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    expect_finished(d, 1, false);
}

static void a_branch_that_wrote_nothing_votes_read_only(void **state)
{
    struct driver *d = *state;

    expect_work(d, 1, subject->read_only);
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_READ_ONLY);
    assert_int_equal(driver_recover(d, NULL), 0);
}

static void unknown_branches_are_never_success(void **state)
{
    struct driver *d = *state;

    if (can(ASSENT_CAP_VOLATILE))
        return;
    expect(d, ASSENT_OP_PREPARE, 7, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_COMMIT, 7, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_ONE_PHASE, 7, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_ROLLBACK, 7, ASSENT_RM_NOT_FOUND);
    if (can(ASSENT_CAP_EVIDENCE))
        expect_not_committed(d, 7);
    else
        expect(d, ASSENT_OP_EVIDENCE, 7, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_FORGET, 7, ASSENT_RM_OK);
    assert_int_not_equal(driver_work(d, 7, subject->read_only, 100).result, ASSENT_RM_OK);
}

static void one_phase_commits_at_once(void **state)
{
    struct driver *d = *state;

    if (!can(ASSENT_CAP_ONE_PHASE))
        return;
    write_something(d, 1);
    expect(d, ASSENT_OP_ONE_PHASE, 1, ASSENT_RM_OK);
    expect_finished(d, 1, true);
}

static void prepared_branches_survive_a_reopen_and_go_either_way(void **state)
{
    struct driver *d = *state;
    uint64_t mask;

    if (can(ASSENT_CAP_VOLATILE) || !can(ASSENT_CAP_PREPARED_LIST))
        return;
    for (unsigned n = 1; n <= 5; n++)
        prepare_something(d, n);
    write_something(d, 6);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    driver_reopen(d);
    assert_int_equal(driver_recover(d, &mask), 3);
    assert_true(mask == (1u << 3 | 1u << 4 | 1u << 5));
    expect(d, ASSENT_OP_PREPARE, 3, ASSENT_RM_OK);
    expect(d, ASSENT_OP_PREPARE, 6, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_COMMIT, 3, ASSENT_RM_OK);
    expect(d, ASSENT_OP_ROLLBACK, 4, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 5, ASSENT_RM_OK);
    driver_reopen(d);
    expect_finished(d, 3, true);
    expect_finished(d, 4, false);
    expect_finished(d, 5, true);
    expect_finished(d, 6, false);
}

/* Work that is told what comes next may do it, and nobody can tell; if it does not come after all,
 * the branch can still go either way. */
static void work_that_is_told_what_follows_ends_the_same_way(void **state)
{
    struct driver *d = *state;

    work_before(d, 1, ASSENT_OP_PREPARE);
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect_finished(d, 1, true);
    work_before(d, 2, ASSENT_OP_PREPARE);
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    expect_finished(d, 2, false);
    work_before(d, 3, ASSENT_OP_PREPARE);
    expect(d, ASSENT_OP_ROLLBACK, 3, ASSENT_RM_OK);
    expect_finished(d, 3, false);
    if (!can(ASSENT_CAP_ONE_PHASE))
        return;
    work_before(d, 4, ASSENT_OP_ONE_PHASE);
    expect(d, ASSENT_OP_ONE_PHASE, 4, ASSENT_RM_OK);
    expect_finished(d, 4, true);
}

/* As the agent's loop calls; and a branch whose work went on with its end is not ended twice. */
static void calls_that_need_not_wait_answer_as_the_others_do(void **state)
{
    static const enum assent_operation ends[] = {ASSENT_OP_COMMIT, ASSENT_OP_ROLLBACK};
    struct driver *d = *state;
    unsigned later_count = 0;
    char text[128];
    bool later;

    if (!can(ASSENT_CAP_TRY))
        return;
    for (unsigned n = 1; n <= 6; n++) {
        snprintf(text, sizeof(text), subject->write, n);
        assert_int_equal(driver_begin(d, n), ASSENT_RM_OK);
        assert_int_equal(driver_try(d, ASSENT_OP_WORK, n, text, ASSENT_OP_PREPARE, &later).result,
                         ASSENT_RM_OK);
        later_count += later;
        assert_int_equal(driver_try(d, ASSENT_OP_PREPARE, n, NULL, ASSENT_OP_WORK, &later).result,
                         ASSENT_RM_OK);
        assert_int_equal(driver_try(d, ends[n % 2], n, NULL, ASSENT_OP_WORK, &later).result,
                         ASSENT_RM_OK);
        later_count += later;
        expect_finished(d, n, n % 2 == 0);
    }
    assert_true(!can(ASSENT_CAP_LATER) || later_count >= 6);
    if (!can(ASSENT_CAP_ONE_PHASE))
        return;
    snprintf(text, sizeof(text), subject->write, 7);
    assert_int_equal(driver_begin(d, 7), ASSENT_RM_OK);
    assert_int_equal(driver_try(d, ASSENT_OP_WORK, 7, text, ASSENT_OP_ONE_PHASE, &later).result,
                     ASSENT_RM_OK);
    assert_int_equal(driver_try(d, ASSENT_OP_ONE_PHASE, 7, NULL, ASSENT_OP_WORK, &later).result,
                     ASSENT_RM_OK);
    expect_finished(d, 7, true);
}

static void forget_can_be_repeated(void **state)
{
    struct driver *d = *state;

    prepare_something(d, 1);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_FORGET, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_FORGET, 1, ASSENT_RM_OK);
    assert_int_equal(driver_recover(d, NULL), 0);
}

static void note_id(const struct assent_branch_id *id, void *context)
{
    *(struct assent_branch_id *)context = *id;
}

/* Logs have ids of any bytes (edge case 52). */
static void ids_of_any_bytes_round_trip(void **state)
{
    static const uint8_t odd[] = {0x00, 0x27, 0x22, 0x5c, 0x60, 0x3b, 0x2d, 0x2d,
                                  0x0a, 0x0d, 0x1a, 0x25, 0x5f, 0xff, 0xc3, 0x28};
    struct driver *d = *state;
    struct assent_call call = {.id = driver_branch(1)};
    struct assent_branch_id listed = {.branch = 0};
    char text[128];

    if (can(ASSENT_CAP_VOLATILE))
        return;
    memcpy(call.id.log_id, odd, sizeof(odd));
    memcpy(call.id.gtrid.bytes, odd, 8); /* its time: the rest says when it was begun */
    call.id.branch = ASSENT_BRANCH_OF_3PC | 0x27;
    d->ops->begin(d->resource, &call);
    assert_int_equal(call.result, ASSENT_RM_OK);
    snprintf(text, sizeof(text), subject->write, 1u);
    call.work = text;
    call.work_size = strlen(text);
    call.timeout_ms = 5000;
    d->ops->work(d->resource, &call);
    assert_int_equal(call.result, ASSENT_RM_OK);
    free(call.reply);
    call.operation = ASSENT_OP_PREPARE;
    d->ops->prepare(d->resource, &call);
    assert_int_equal(call.result, ASSENT_RM_OK);
    assert_int_equal(d->ops->recover(d->resource, note_id, &listed), 0);
    assert_memory_equal(&listed, &call.id, sizeof(listed));
    call.operation = ASSENT_OP_COMMIT;
    d->ops->commit(d->resource, &call);
    assert_int_equal(call.result, ASSENT_RM_OK);
    assert_int_equal(driver_recover(d, NULL), 0);
}

/* The listing says what evidence would say, and settles nothing by that. */
static void markers_are_listed_in_order_and_only_read(void **state)
{
    struct driver *d = *state;
    struct assent_branch_id after = driver_branch(1);
    uint64_t mask;

    if (d->ops->markers == NULL)
        return;
    assert_int_equal(driver_markers(d, NULL, 10, &mask), 0);
    for (unsigned n = 1; n <= 5; n++)
        prepare_something(d, n);
    write_something(d, 6);
    for (unsigned n = 1; n <= 3; n++)
        expect(d, ASSENT_OP_COMMIT, n, ASSENT_RM_OK);
    expect(d, ASSENT_OP_ROLLBACK, 4, ASSENT_RM_OK);
    expect_not_committed(d, 4); /* it may be on record that it has not */
    assert_int_equal(driver_markers(d, NULL, 10, &mask), 3);
    assert_true(mask == (1u << 1 | 1u << 2 | 1u << 3));
    assert_int_equal(driver_markers(d, NULL, 2, &mask), 2);
    assert_true(mask == (1u << 1 | 1u << 2));
    assert_int_equal(driver_markers(d, &after, 1, &mask), 1);
    assert_true(mask == 1u << 2);
    after = driver_branch(3);
    assert_int_equal(driver_markers(d, &after, 10, &mask), 0);
    expect(d, ASSENT_OP_COMMIT, 5, ASSENT_RM_OK);
    expect(d, ASSENT_OP_PREPARE, 6, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 6, ASSENT_RM_OK);
    assert_int_equal(driver_markers(d, &after, 10, &mask), 2);
}

/* --- batches ---------------------------------------------------------------------------------- */

static const struct {
    enum assent_operation operation;
    bool exists, prepared;
} mixed[] = {
    {ASSENT_OP_PREPARE, true, false},  {ASSENT_OP_PREPARE, true, true},
    {ASSENT_OP_PREPARE, false, false}, {ASSENT_OP_COMMIT, true, true},
    {ASSENT_OP_COMMIT, false, false},  {ASSENT_OP_ROLLBACK, true, true},
    {ASSENT_OP_ROLLBACK, true, false}, {ASSENT_OP_ROLLBACK, false, false},
    {ASSENT_OP_FORGET, false, false},
};
#define MIXED (sizeof(mixed) / sizeof(mixed[0]))

static void set_the_stage(struct driver *d, unsigned first)
{
    for (unsigned i = 0; i < MIXED; i++) {
        if (mixed[i].exists)
            write_something(d, first + i);
        if (mixed[i].prepared)
            expect(d, ASSENT_OP_PREPARE, first + i, ASSENT_RM_OK);
    }
}

static void a_batch_answers_as_its_single_calls_do(void **state)
{
    struct driver *d = *state;
    struct assent_call singles[MIXED], calls[MIXED] = {0}, *pointers[MIXED];
    uint64_t mask = 0;

    if (!can(ASSENT_CAP_BATCH))
        return;
    set_the_stage(d, 1);
    set_the_stage(d, 21);
    for (unsigned i = 0; i < MIXED; i++) {
        singles[i] = driver_call(d, mixed[i].operation, 1 + i);
        calls[i].operation = mixed[i].operation;
        calls[i].id = driver_branch(21 + i);
        calls[i].result = ASSENT_RM_UNKNOWN_CODE;
        pointers[i] = &calls[i];
    }
    d->ops->batch(d->resource, pointers, MIXED);
    for (unsigned i = 0; i < MIXED; i++) {
        assert_int_equal(calls[i].result, singles[i].result);
        assert_string_equal(calls[i].reason, singles[i].reason);
    }
    driver_recover(d, &mask);
    assert_true((mask >> 1 & 0xfffff) == (mask >> 21 & 0xfffff));
    d->ops->batch(d->resource, pointers, 0);
}

/* --- branches at the same moment -------------------------------------------------------------- */

struct thread {
    struct driver *driver;
    unsigned first;
    unsigned failures;
};

/* Does not assert: cmocka's assertions belong to the main thread. */
static void *run_branches(void *context)
{
    struct thread *thread = context;
    struct driver *d = thread->driver;

    for (unsigned n = thread->first; n < thread->first + BRANCHES_PER_THREAD; n++) {
        struct assent_call call;
        char text[128];

        snprintf(text, sizeof(text), subject->write, n);
        thread->failures += driver_begin(d, n) != ASSENT_RM_OK;
        call = driver_work(d, n, text, 5000);
        thread->failures += call.result != ASSENT_RM_OK;
        free(call.reply);
        thread->failures += driver_call(d, ASSENT_OP_PREPARE, n).result != ASSENT_RM_OK;
        if (n % 3 == 0)
            thread->failures += driver_call(d, ASSENT_OP_ROLLBACK, n).result != ASSENT_RM_OK;
        else if (n % 3 == 1)
            thread->failures += driver_call(d, ASSENT_OP_COMMIT, n).result != ASSENT_RM_OK;
    }
    return NULL;
}

static void different_branches_run_at_the_same_moment(void **state)
{
    struct driver *d = *state;
    struct thread threads[THREADS];
    pthread_t ids[THREADS];
    unsigned left = 0, all = THREADS * BRANCHES_PER_THREAD;

    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.driver = d, .first = i * BRANCHES_PER_THREAD};
        assert_int_equal(pthread_create(&ids[i], NULL, run_branches, &threads[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(ids[i], NULL);
        assert_int_equal(threads[i].failures, 0);
    }
    for (unsigned n = 0; n < all; n++)
        left += n % 3 == 2;
    if (can(ASSENT_CAP_PREPARED_LIST) && !can(ASSENT_CAP_VOLATILE))
        assert_int_equal(driver_recover(d, NULL), left);
}

int resource_conformance(const struct conformance_subject *of)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_table_is_complete),
        TEST(it_answers_a_ping),
        TEST(bad_parameters_are_refused_by_name),
        TEST(a_prepared_branch_commits_and_repeats_harm_nothing),
        TEST(a_prepared_branch_rolls_back_and_repeats_harm_nothing),
        TEST(an_active_branch_rolls_back),
        TEST(a_branch_in_work_has_not_committed),
        TEST(a_branch_begun_without_work_rolls_back),
        TEST(a_branch_that_wrote_nothing_votes_read_only),
        TEST(unknown_branches_are_never_success),
        TEST(one_phase_commits_at_once),
        TEST(prepared_branches_survive_a_reopen_and_go_either_way),
        TEST(work_that_is_told_what_follows_ends_the_same_way),
        TEST(calls_that_need_not_wait_answer_as_the_others_do),
        TEST(forget_can_be_repeated),
        TEST(ids_of_any_bytes_round_trip),
        TEST(markers_are_listed_in_order_and_only_read),
        TEST(a_batch_answers_as_its_single_calls_do),
        TEST(different_branches_run_at_the_same_moment),
    };
#undef TEST

    subject = of;
    return cmocka_run_group_tests_name("conformance", tests, NULL, NULL);
}
