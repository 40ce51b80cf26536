/* test_workers.c: order and exclusion of a branch's calls, batches, rows of calls, stopping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"
#include "workers.h"

#define DEADLINE_MS 20000
#define BRANCHES    32
#define CALLS       20

/* A resource that notes what it is told, and can be held up at a gate. */
struct fake {
    atomic_int inside[BRANCHES], overlaps, disorders;
    atomic_int next[BRANCHES]; /* number of the call that is expected, by branch */
    atomic_int begun, worked, finished, evidences, batches, largest;
    enum assent_rm_result work_result;
    atomic_int told;                    /* what follows, to the last work */
    _Atomic pthread_t worker, finisher; /* of the last work, of the last single call after it */
    bool silent;                        /* forgets to fill the result */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool closed; /* the gate */
    int waiting; /* threads at it */
};

static void pass_gate(struct fake *fake)
{
    pthread_mutex_lock(&fake->mutex);
    fake->waiting++;
    pthread_cond_broadcast(&fake->changed);
    while (fake->closed)
        pthread_cond_wait(&fake->changed, &fake->mutex);
    fake->waiting--;
    pthread_mutex_unlock(&fake->mutex);
}

static void wait_at_gate(struct fake *fake, int threads)
{
    pthread_mutex_lock(&fake->mutex);
    while (fake->waiting < threads)
        pthread_cond_wait(&fake->changed, &fake->mutex);
    pthread_mutex_unlock(&fake->mutex);
}

static void set_gate(struct fake *fake, bool closed)
{
    pthread_mutex_lock(&fake->mutex);
    fake->closed = closed;
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->mutex);
}

/* timeout_ms carries the number of the call within its branch. */
static void enter(struct fake *fake, struct assent_call *call)
{
    uint32_t branch = call->id.branch % BRANCHES;

    if (atomic_fetch_add(&fake->inside[branch], 1))
        atomic_fetch_add(&fake->overlaps, 1);
    if (atomic_load(&fake->next[branch]) != (int)call->timeout_ms)
        atomic_fetch_add(&fake->disorders, 1);
}

static void leave(struct fake *fake, struct assent_call *call)
{
    uint32_t branch = call->id.branch % BRANCHES;

    atomic_store(&fake->next[branch], (int)call->timeout_ms + 1);
    atomic_fetch_sub(&fake->inside[branch], 1);
    if (!fake->silent)
        call->result = ASSENT_RM_OK;
}

static void fake_begin(void *resource, struct assent_call *call)
{
    struct fake *fake = resource;

    atomic_fetch_add(&fake->begun, 1);
    call->result = ASSENT_RM_OK;
}

static void fake_work(void *resource, struct assent_call *call)
{
    struct fake *fake = resource;

    enter(fake, call);
    pass_gate(fake);
    atomic_fetch_add(&fake->worked, 1);
    leave(fake, call);
    fake->told = (int)call->next;
    fake->worker = pthread_self();
    call->result = fake->work_result;
    if (call->work_size) {
        call->reply = strndup(call->work, call->work_size);
        call->reply_size = call->work_size;
    }
}

static void fake_finish(void *resource, struct assent_call *call)
{
    struct fake *fake = resource;

    enter(fake, call);
    pass_gate(fake);
    atomic_fetch_add(&fake->finished, 1);
    fake->finisher = pthread_self();
    leave(fake, call);
}

static void fake_evidence(void *resource, struct assent_call *call)
{
    struct fake *fake = resource;

    atomic_fetch_add(&fake->evidences, 1);
    call->result = ASSENT_RM_WAS_COMMITTED;
}

static void fake_batch(void *resource, struct assent_call **calls, size_t count)
{
    struct fake *fake = resource;

    for (size_t i = 0; i < count; i++) {
        assert_int_not_equal(calls[i]->operation, ASSENT_OP_EVIDENCE);
        enter(fake, calls[i]);
    }
    pass_gate(fake);
    atomic_fetch_add(&fake->batches, 1);
    if ((int)count > atomic_load(&fake->largest))
        atomic_store(&fake->largest, (int)count);
    for (size_t i = 0; i < count; i++) {
        atomic_fetch_add(&fake->finished, 1);
        leave(fake, calls[i]);
    }
}

static int fake_query(void *resource, const char *command, char **ret_json, char *error,
                      size_t error_size)
{
    (void)resource;
    if (strcmp(command, "dump") != 0) {
        snprintf(error, error_size, "no command %s", command);
        return ASSENT_E_INVALID;
    }
    *ret_json = strdup("{}");
    return 0;
}

/* clang-format off */
#define OPERATIONS                                                                                 \
    .size = sizeof(struct assent_resource_ops), .type = "fake", .begin = fake_begin,               \
    .work = fake_work, .prepare = fake_finish, .commit = fake_finish, .rollback = fake_finish,     \
    .evidence = fake_evidence, .forget = fake_finish, .batch = fake_batch, .query = fake_query
/* clang-format on */
#define SIDE_BY_SIDE 4

static const struct assent_resource_ops single = {OPERATIONS, .capabilities = ASSENT_CAP_EVIDENCE};
static const struct assent_resource_ops batched = {OPERATIONS, .capabilities = ASSENT_CAP_EVIDENCE |
                                                                               ASSENT_CAP_BATCH};
static const struct assent_resource_ops several = {
    OPERATIONS, .capabilities = ASSENT_CAP_EVIDENCE | ASSENT_CAP_BATCH, .finishers = SIDE_BY_SIDE};

struct bench {
    struct fake fake;
    agent_handle resource; /* the fake, or NULL while it is not open */
    struct agent_workers *workers;
    struct assent_pool jobs;
    struct agent_finisher *finisher;
    struct agent_lane lanes[BRANCHES];
    size_t done;
    struct agent_job *last;
    uint32_t answered[BRANCHES]; /* next call expected in done() */
    int disorders;
};

static void done(struct agent_job *job, void *context)
{
    struct bench *bench = context;
    uint32_t branch = job->call.id.branch % BRANCHES;

    bench->done++;
    if (job->lane && bench->answered[branch]++ != job->call.timeout_ms)
        bench->disorders++;
    agent_job_free(bench->last);
    bench->last = job;
}

static struct bench *open_bench(const struct assent_resource_ops *ops, unsigned threads, bool start)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    assert_non_null(bench);
    pthread_mutex_init(&bench->fake.mutex, NULL);
    pthread_cond_init(&bench->fake.changed, NULL);
    for (int i = 0; i < BRANCHES; i++)
        agent_lane_init(&bench->lanes[i]);
    assert_int_equal(agent_workers_new(threads, &bench->jobs, done, bench, &bench->workers), 0);
    bench->resource = &bench->fake;
    assert_int_equal(agent_workers_add(bench->workers, ops, &bench->resource, &bench->finisher), 0);
    if (start)
        assert_int_equal(agent_workers_start(bench->workers), 0);
    return bench;
}

static void close_bench(struct bench *bench)
{
    set_gate(&bench->fake, false);
    agent_workers_free(bench->workers);
    agent_job_free(bench->last);
    assent_pool_fini(&bench->jobs);
    pthread_cond_destroy(&bench->fake.changed);
    pthread_mutex_destroy(&bench->fake.mutex);
    free(bench);
}

static void submit(struct bench *bench, uint32_t branch, uint32_t number,
                   enum assent_operation operation)
{
    struct agent_job *job = agent_job_new(bench->finisher, "work", 4);

    assert_non_null(job);
    job->lane = branch < BRANCHES ? &bench->lanes[branch] : NULL;
    job->operation = operation;
    job->call.id.branch = branch;
    job->call.timeout_ms = number;
    agent_workers_submit(bench->workers, job);
    agent_workers_process(bench->workers, false);
}

static void wait_done(struct bench *bench, size_t count)
{
    uint64_t end_ms = assent_now_ms() + DEADLINE_MS;

    while (bench->done < count) {
        struct pollfd fd = {agent_workers_fd(bench->workers), POLLIN, 0};

        assert_true(assent_now_ms() < end_ms);
        agent_workers_process(bench->workers,
                              !agent_workers_ready(bench->workers) && poll(&fd, 1, 1000) > 0);
    }
}

static void calls_of_a_branch_keep_their_order_and_never_overlap(void **state)
{
    static const enum assent_operation operations[] = {
        ASSENT_OP_WORK, ASSENT_OP_WORK, ASSENT_OP_PREPARE, ASSENT_OP_COMMIT, ASSENT_OP_WORK};
    const struct assent_resource_ops *kinds[] = {&single, &batched, &several};

    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        struct bench *bench = open_bench(kinds[kind], 4, true);

        for (uint32_t call = 0; call < CALLS; call++)
            for (uint32_t branch = 0; branch < BRANCHES; branch++)
                submit(bench, branch, call, operations[(branch + call) % 5]);
        wait_done(bench, BRANCHES * CALLS);
        assert_int_equal(atomic_load(&bench->fake.overlaps), 0);
        assert_int_equal(atomic_load(&bench->fake.disorders), 0);
        assert_int_equal(bench->disorders, 0);
        assert_int_equal(agent_workers_pending(bench->workers), 0);
        for (int i = 0; i < BRANCHES; i++)
            assert_true(agent_lane_idle(&bench->lanes[i]));
        close_bench(bench);
    }
}

static void one_batch_takes_all_that_is_queued(void **state)
{
    struct bench *bench = open_bench(&batched, 1, true);

    (void)state;
    set_gate(&bench->fake, true);
    submit(bench, 0, 0, ASSENT_OP_PREPARE);
    wait_at_gate(&bench->fake, 1);
    for (uint32_t branch = 1; branch < BRANCHES; branch++)
        submit(bench, branch, 0, branch % 2 ? ASSENT_OP_COMMIT : ASSENT_OP_ROLLBACK);
    set_gate(&bench->fake, false);
    wait_done(bench, BRANCHES);
    assert_int_equal(atomic_load(&bench->fake.batches), 2);
    assert_int_equal(atomic_load(&bench->fake.largest), BRANCHES - 1);
    close_bench(bench);
}

static void without_the_capability_there_are_no_batches(void **state)
{
    struct bench *bench = open_bench(&single, 1, true);

    (void)state;
    for (uint32_t branch = 0; branch < BRANCHES; branch++)
        submit(bench, branch, 0, ASSENT_OP_PREPARE);
    wait_done(bench, BRANCHES);
    assert_int_equal(atomic_load(&bench->fake.batches), 0);
    assert_int_equal(atomic_load(&bench->fake.finished), BRANCHES);
    close_bench(bench);
}

/* As many calls at one moment as there are threads, and none of them waits for work, which may wait
 * for what they end. */
static void several_threads_end_branches_side_by_side(void **state)
{
    struct bench *bench = open_bench(&several, 1, true);

    (void)state;
    set_gate(&bench->fake, true);
    submit(bench, 0, 0, ASSENT_OP_WORK);
    wait_at_gate(&bench->fake, 1); /* the pool is busy */
    for (uint32_t branch = 1; branch <= SIDE_BY_SIDE + 1; branch++)
        submit(bench, branch, 0, ASSENT_OP_COMMIT);
    wait_at_gate(&bench->fake, 1 + SIDE_BY_SIDE);
    assert_int_equal(atomic_load(&bench->fake.finished), 0);
    set_gate(&bench->fake, false);
    wait_done(bench, SIDE_BY_SIDE + 2);
    assert_int_equal(atomic_load(&bench->fake.finished), SIDE_BY_SIDE + 1);
    assert_int_equal(atomic_load(&bench->fake.batches), 0);
    close_bench(bench);
}

static void of_several_threads_one_forgets_for_all(void **state)
{
    struct bench *bench = open_bench(&several, 1, true);

    (void)state;
    set_gate(&bench->fake, true);
    submit(bench, 0, 0, ASSENT_OP_FORGET);
    wait_at_gate(&bench->fake, 1);
    for (uint32_t branch = 1; branch < BRANCHES; branch++)
        submit(bench, branch, 0, branch == 1 ? ASSENT_OP_COMMIT : ASSENT_OP_FORGET);
    wait_at_gate(&bench->fake, 2); /* the commit waits for no forget */
    set_gate(&bench->fake, false);
    wait_done(bench, BRANCHES);
    assert_int_equal(atomic_load(&bench->fake.batches), 2);
    assert_int_equal(atomic_load(&bench->fake.largest), BRANCHES - 2);
    close_bench(bench);
}

static void evidence_is_asked_for_one_by_one(void **state)
{
    struct bench *bench = open_bench(&batched, 1, true);

    (void)state;
    submit(bench, 0, 0, ASSENT_OP_EVIDENCE);
    wait_done(bench, 1);
    assert_int_equal(bench->last->call.result, ASSENT_RM_WAS_COMMITTED);
    assert_int_equal(atomic_load(&bench->fake.batches), 0);
    close_bench(bench);
}

/* Begin, work and the operation in one row. */
static void submit_row(struct bench *bench, enum assent_operation operation)
{
    struct agent_job *job = agent_job_new(bench->finisher, "work", 4);

    assert_non_null(job);
    job->operation = operation;
    job->with_begin = job->with_work = true;
    agent_workers_submit(bench->workers, job);
    agent_workers_process(bench->workers, false);
}

static void work_comes_before_the_operation_that_it_rides_on(void **state)
{
    struct bench *bench = open_bench(&batched, 2, false);

    (void)state;
    submit_row(bench, ASSENT_OP_PREPARE);
    assert_int_equal(atomic_load(&bench->fake.begun), 0); /* nothing runs before start */
    assert_int_equal(agent_workers_start(bench->workers), 0);
    wait_done(bench, 1);
    assert_int_equal(atomic_load(&bench->fake.begun), 1);
    assert_int_equal(atomic_load(&bench->fake.worked), 1);
    assert_int_equal(atomic_load(&bench->fake.finished), 1);
    assert_int_equal(bench->last->call.result, ASSENT_RM_OK);
    assert_int_equal(bench->last->operation, ASSENT_OP_PREPARE);
    close_bench(bench);
}

/* One thread: what follows on work goes to it, to be grouped. Several: the thread of the work goes
 * on. In both the work is told what follows. */
static void what_follows_on_work_is_told_and_may_stay_on_its_thread(void **state)
{
    const struct assent_resource_ops *kinds[] = {&single, &several};

    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct bench *bench = open_bench(kinds[kind], 1, true);

        submit_row(bench, ASSENT_OP_PREPARE);
        wait_done(bench, 1);
        assert_int_equal(bench->last->call.result, ASSENT_RM_OK);
        assert_int_equal(bench->fake.told, ASSENT_OP_PREPARE);
        assert_int_equal(atomic_load(&bench->fake.finished), 1);
        assert_int_equal(pthread_equal(bench->fake.worker, bench->fake.finisher) != 0, kind);
        submit(bench, 1, 0, ASSENT_OP_WORK);
        wait_done(bench, 2);
        assert_int_equal(bench->fake.told, ASSENT_OP_WORK);
        close_bench(bench);
    }
}

static void failed_work_is_the_answer_to_the_whole_row(void **state)
{
    const struct assent_resource_ops *kinds[] = {&batched, &several};

    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct bench *bench = open_bench(kinds[kind], 2, true);

        bench->fake.work_result = ASSENT_RM_FAILED;
        submit_row(bench, ASSENT_OP_ONE_PHASE);
        wait_done(bench, 1);
        assert_int_equal(bench->last->call.result, ASSENT_RM_FAILED);
        assert_int_equal(bench->last->operation, ASSENT_OP_ONE_PHASE);
        assert_int_equal(atomic_load(&bench->fake.finished), 0);
        close_bench(bench);
    }
}

static void silence_is_no_success(void **state)
{
    struct bench *bench = open_bench(&single, 1, true);

    (void)state;
    bench->fake.silent = true;
    submit(bench, 0, 0, ASSENT_OP_COMMIT);
    wait_done(bench, 1);
    assert_int_equal(bench->last->call.result, ASSENT_RM_UNKNOWN_CODE);
    close_bench(bench);
}

static void work_replies_and_queries_come_back(void **state)
{
    struct bench *bench = open_bench(&single, 1, true);
    struct agent_job *job;

    (void)state;
    submit(bench, 0, 0, ASSENT_OP_WORK);
    wait_done(bench, 1);
    assert_int_equal(bench->last->call.reply_size, 4);
    assert_memory_equal(bench->last->call.reply, "work", 4);
    for (int good = 0; good < 2; good++) {
        job = agent_job_new(bench->finisher, NULL, 0);
        assert_non_null(job);
        job->command = strdup(good ? "dump" : "drop");
        agent_workers_submit(bench->workers, job);
        agent_workers_process(bench->workers, false);
        wait_done(bench, (size_t)good + 2);
        if (good) {
            assert_int_equal(bench->last->query_error, 0);
            assert_memory_equal(bench->last->call.reply, "{}", 2);
        } else {
            assert_int_equal(bench->last->query_error, ASSENT_E_INVALID);
            assert_string_equal(bench->last->call.reason, "no command drop");
        }
    }
    close_bench(bench);
}

static void work_goes_on_while_a_resource_finishes_others(void **state)
{
    struct bench *bench = open_bench(&single, 2, false);
    struct fake other = {.closed = false};
    agent_handle other_resource = &other;
    struct agent_finisher *free_one;
    struct agent_job *job;

    (void)state;
    pthread_mutex_init(&other.mutex, NULL);
    pthread_cond_init(&other.changed, NULL);
    assert_int_equal(agent_workers_add(bench->workers, &single, &other_resource, &free_one), 0);
    assert_int_equal(agent_workers_start(bench->workers), 0);
    set_gate(&bench->fake, true);
    submit(bench, 0, 0, ASSENT_OP_COMMIT); /* stands at the gate of its resource */
    wait_at_gate(&bench->fake, 1);
    job = agent_job_new(free_one, NULL, 0);
    assert_non_null(job);
    job->operation = ASSENT_OP_COMMIT;
    agent_workers_submit(bench->workers, job);
    agent_workers_process(bench->workers, false);
    wait_done(bench, 1);
    assert_int_equal(atomic_load(&other.finished), 1);
    close_bench(bench);
    pthread_cond_destroy(&other.changed);
    pthread_mutex_destroy(&other.mutex);
}

static void open_task(struct agent_job *job)
{
    struct bench *bench = job->context;

    bench->resource = &bench->fake;
}

static void nothing_is_called_before_a_task_has_opened_the_resource(void **state)
{
    struct bench *bench = open_bench(&single, 1, true);
    struct agent_job *job;

    (void)state;
    bench->resource = NULL;
    submit(bench, 0, 0, ASSENT_OP_COMMIT);
    wait_done(bench, 1);
    assert_int_equal(bench->last->call.result, ASSENT_RM_UNAVAILABLE);
    job = agent_job_new(bench->finisher, NULL, 0);
    job->task = open_task;
    job->context = bench;
    agent_workers_submit(bench->workers, job);
    agent_workers_process(bench->workers, false);
    submit(bench, 0, 1, ASSENT_OP_COMMIT);
    wait_done(bench, 3);
    assert_int_equal(bench->last->call.result, ASSENT_RM_OK);
    close_bench(bench);
}

static void overlap_task(struct agent_job *job)
{
    struct bench *bench = job->context;
    struct assent_call call = {.timeout_ms = (uint32_t)atomic_load(&bench->fake.next[0])};

    enter(&bench->fake, &call);
    pass_gate(&bench->fake);
    leave(&bench->fake, &call);
}

static void tasks_of_a_resource_never_overlap(void **state)
{
    struct bench *bench = open_bench(&several, 1, true);

    (void)state;
    set_gate(&bench->fake, true);
    for (int i = 0; i < 2; i++) {
        struct agent_job *job = agent_job_new(bench->finisher, NULL, 0);

        assert_non_null(job);
        job->task = overlap_task;
        job->context = bench;
        agent_workers_submit(bench->workers, job);
        agent_workers_process(bench->workers, false);
        if (i == 0)
            wait_at_gate(&bench->fake, 1);
    }
    submit(bench, 1, 0, ASSENT_OP_COMMIT);
    wait_at_gate(&bench->fake, 2); /* it went past the second task */
    set_gate(&bench->fake, false);
    wait_done(bench, 3);
    assert_int_equal(atomic_load(&bench->fake.overlaps), 0);
    assert_int_equal(atomic_load(&bench->fake.next[0]), 2);
    close_bench(bench);
}

static void stopping_is_bounded_while_a_call_hangs(void **state)
{
    struct bench *bench = open_bench(&single, 1, true);

    (void)state;
    set_gate(&bench->fake, true);
    submit(bench, 0, 0, ASSENT_OP_COMMIT);
    wait_at_gate(&bench->fake, 1);
    submit(bench, 0, 1, ASSENT_OP_COMMIT); /* these two are never begun, and dropped */
    submit(bench, 1, 0, ASSENT_OP_COMMIT);
    assert_false(agent_workers_stop(bench->workers, 10));
    set_gate(&bench->fake, false);
    assert_true(agent_workers_stop(bench->workers, DEADLINE_MS));
    assert_int_equal(atomic_load(&bench->fake.finished), 1);
    close_bench(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_of_a_branch_keep_their_order_and_never_overlap),
        cmocka_unit_test(one_batch_takes_all_that_is_queued),
        cmocka_unit_test(without_the_capability_there_are_no_batches),
        cmocka_unit_test(several_threads_end_branches_side_by_side),
        cmocka_unit_test(of_several_threads_one_forgets_for_all),
        cmocka_unit_test(evidence_is_asked_for_one_by_one),
        cmocka_unit_test(work_comes_before_the_operation_that_it_rides_on),
        cmocka_unit_test(what_follows_on_work_is_told_and_may_stay_on_its_thread),
        cmocka_unit_test(failed_work_is_the_answer_to_the_whole_row),
        cmocka_unit_test(silence_is_no_success),
        cmocka_unit_test(work_replies_and_queries_come_back),
        cmocka_unit_test(work_goes_on_while_a_resource_finishes_others),
        cmocka_unit_test(nothing_is_called_before_a_task_has_opened_the_resource),
        cmocka_unit_test(tasks_of_a_resource_never_overlap),
        cmocka_unit_test(stopping_is_bounded_while_a_call_hangs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
