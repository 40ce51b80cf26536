/*
 * test_workers_try.c: a resource that can be tried is called on the loop as far as nothing waits,
 * and goes on from there on a thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"
#include "workers.h"

#define DEADLINE_MS 20000

enum step { BEGIN, WORK, FINISH, EVIDENCE, STEPS };

/* Notes for each step who did it, and refuses to do one of them at once. */
struct fake {
    enum step waits; /* STEPS: none */
    unsigned done[STEPS], tried[STEPS];
    bool on_loop[STEPS];
    pthread_t loop;
};

static void take(struct fake *fake, enum step step, struct assent_call *call)
{
    assert_false(call->would_wait);
    if (call->no_wait)
        fake->tried[step]++;
    call->would_wait = call->no_wait && step == fake->waits;
    if (call->would_wait)
        return;
    fake->done[step]++;
    fake->on_loop[step] = pthread_equal(pthread_self(), fake->loop);
    call->result = ASSENT_RM_OK;
}

static void fake_begin(void *resource, struct assent_call *call)
{
    take(resource, BEGIN, call);
}

static void fake_work(void *resource, struct assent_call *call)
{
    take(resource, WORK, call);
}

static void fake_finish(void *resource, struct assent_call *call)
{
    take(resource, FINISH, call);
}

static void fake_evidence(void *resource, struct assent_call *call)
{
    take(resource, EVIDENCE, call);
}

static void fake_batch(void *resource, struct assent_call **calls, size_t count)
{
    for (size_t i = 0; i < count; i++)
        take(resource, FINISH, calls[i]);
}

static const struct assent_resource_ops ops = {
    .size = sizeof(ops),
    .type = "fake",
    .capabilities = ASSENT_CAP_EVIDENCE | ASSENT_CAP_BATCH | ASSENT_CAP_TRY,
    .begin = fake_begin,
    .work = fake_work,
    .prepare = fake_finish,
    .commit = fake_finish,
    .rollback = fake_finish,
    .evidence = fake_evidence,
    .forget = fake_finish,
    .batch = fake_batch,
};

struct bench {
    struct fake fake;
    agent_handle resource;
    struct agent_workers *workers;
    struct agent_finisher *finisher;
    size_t done;
};

static void done(struct agent_job *job, void *context)
{
    struct bench *bench = context;

    bench->done++;
    assert_int_equal(job->call.result, ASSENT_RM_OK);
    agent_job_free(job);
}

static struct bench *open_bench(enum step waits, bool opened)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    assert_non_null(bench);
    bench->fake.waits = waits;
    bench->fake.loop = pthread_self();
    bench->resource = &bench->fake;
    assert_int_equal(agent_workers_new(2, done, bench, &bench->workers), 0);
    assert_int_equal(agent_workers_add(bench->workers, &ops, &bench->resource, &bench->finisher),
                     0);
    if (opened)
        agent_workers_opened(bench->finisher);
    return bench;
}

static void close_bench(struct bench *bench)
{
    agent_workers_free(bench->workers);
    free(bench);
}

static void submit_row(struct bench *bench, enum assent_operation operation)
{
    struct agent_job *job = agent_job_new(bench->finisher, "work", 4);

    assert_non_null(job);
    job->operation = operation;
    job->with_begin = job->with_work = operation == ASSENT_OP_PREPARE;
    agent_workers_submit(bench->workers, job);
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
    assert_int_equal(agent_workers_pending(bench->workers), 0);
}

static void what_does_not_wait_is_done_on_the_loop(void **state)
{
    struct bench *bench = open_bench(STEPS, true);

    (void)state;
    submit_row(bench, ASSENT_OP_PREPARE); /* no thread runs */
    assert_int_equal(bench->done, 0);     /* nobody is called back from inside submit */
    wait_done(bench, 1);
    for (int step = BEGIN; step <= FINISH; step++)
        assert_true(bench->fake.done[step] == 1 && bench->fake.on_loop[step]);
    close_bench(bench);
}

static void what_would_wait_goes_on_where_it_stopped(void **state)
{
    (void)state;
    for (int waits = BEGIN; waits <= FINISH; waits++) {
        struct bench *bench = open_bench((enum step)waits, true);

        submit_row(bench, ASSENT_OP_PREPARE);
        assert_int_equal(agent_workers_start(bench->workers), 0);
        wait_done(bench, 1);
        for (int step = BEGIN; step <= FINISH; step++) {
            assert_int_equal(bench->fake.done[step], 1);
            assert_int_equal(bench->fake.tried[step], step <= waits);
            assert_int_equal(bench->fake.on_loop[step], step < waits);
        }
        close_bench(bench);
    }
}

static void nothing_is_tried_before_the_resource_is_open(void **state)
{
    struct bench *bench = open_bench(STEPS, false);

    (void)state;
    submit_row(bench, ASSENT_OP_PREPARE);
    assert_int_equal(agent_workers_start(bench->workers), 0);
    wait_done(bench, 1);
    for (int step = BEGIN; step <= FINISH; step++)
        assert_true(bench->fake.tried[step] == 0 && !bench->fake.on_loop[step]);
    close_bench(bench);
}

static void evidence_is_asked_for_on_a_thread(void **state)
{
    struct bench *bench = open_bench(STEPS, true);

    (void)state;
    submit_row(bench, ASSENT_OP_EVIDENCE);
    assert_int_equal(agent_workers_start(bench->workers), 0);
    wait_done(bench, 1);
    assert_true(bench->fake.tried[EVIDENCE] == 0 && !bench->fake.on_loop[EVIDENCE]);
    close_bench(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_wait_is_done_on_the_loop),
        cmocka_unit_test(what_would_wait_goes_on_where_it_stopped),
        cmocka_unit_test(nothing_is_tried_before_the_resource_is_open),
        cmocka_unit_test(evidence_is_asked_for_on_a_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
