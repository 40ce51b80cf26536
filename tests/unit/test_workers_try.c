/*
 * test_workers_try.c: a resource that can be tried is called on the loop as far as nothing waits,
 * and goes on from there on a thread, or by itself, as the resource says.
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
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime.h"
#include "workers.h"

#define DEADLINE_MS 20000

enum step { BEGIN, WORK, FINISH, EVIDENCE, STEPS };

/* Notes for each step who did it, and refuses to do one of them at once. */
struct fake {
    enum step waits; /* STEPS: none */
    enum step later; /* goes on by itself; STEPS: none */
    int fd;          /* an eventfd, readable when it does */
    struct assent_call *under_way;
    enum assent_rm_result result;
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
    if (call->no_wait && step == fake->later) {
        assert_null(fake->under_way);
        fake->under_way = call;
        call->later = true;
        return;
    }
    fake->done[step]++;
    fake->on_loop[step] = pthread_equal(pthread_self(), fake->loop);
    call->result = ASSENT_RM_OK;
}

static int fake_descriptor(void *resource)
{
    struct fake *fake = resource;

    return fake->fd;
}

static void fake_progress(void *resource, void (*answered)(struct assent_call *call, void *context),
                          void *context)
{
    struct fake *fake = resource;
    struct assent_call *call = fake->under_way;
    uint64_t count;

    assert_int_equal(read(fake->fd, &count, sizeof(count)), sizeof(count));
    assert_non_null(call);
    fake->under_way = NULL;
    fake->done[fake->later]++;
    call->result = fake->result;
    answered(call, context);
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
    .capabilities = ASSENT_CAP_EVIDENCE | ASSENT_CAP_BATCH | ASSENT_CAP_TRY | ASSENT_CAP_LATER,
    .begin = fake_begin,
    .work = fake_work,
    .prepare = fake_finish,
    .commit = fake_finish,
    .rollback = fake_finish,
    .evidence = fake_evidence,
    .forget = fake_finish,
    .batch = fake_batch,
    .descriptor = fake_descriptor,
    .progress = fake_progress,
};

struct bench {
    struct fake fake;
    agent_handle resource;
    struct agent_workers *workers;
    struct assent_pool jobs;
    struct agent_finisher *finisher;
    enum assent_rm_result wanted;
    size_t done;
};

static void done(struct agent_job *job, void *context)
{
    struct bench *bench = context;

    bench->done++;
    assert_int_equal(job->call.result, bench->wanted);
    agent_job_free(job);
}

static struct bench *open_bench(enum step waits, bool opened)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    assert_non_null(bench);
    bench->fake.waits = waits;
    bench->fake.later = STEPS;
    bench->fake.fd = eventfd(0, EFD_NONBLOCK);
    bench->fake.loop = pthread_self();
    bench->resource = &bench->fake;
    assert_int_equal(agent_workers_new(2, &bench->jobs, done, bench, &bench->workers), 0);
    assert_int_equal(agent_workers_add(bench->workers, &ops, &bench->resource, &bench->finisher),
                     0);
    if (opened)
        agent_workers_opened(bench->finisher);
    return bench;
}

static void close_bench(struct bench *bench)
{
    agent_workers_free(bench->workers);
    assent_pool_fini(&bench->jobs);
    close(bench->fake.fd);
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

static void let_go_on(struct bench *bench, enum assent_rm_result result)
{
    uint64_t one = 1;

    bench->fake.result = result;
    assert_int_equal(write(bench->fake.fd, &one, sizeof(one)), sizeof(one));
}

/* No thread runs. */
static void what_goes_on_by_itself_comes_back_by_its_descriptor(void **state)
{
    (void)state;
    for (int later = WORK; later <= FINISH; later++) {
        struct bench *bench = open_bench(STEPS, true);

        bench->fake.later = (enum step)later;
        submit_row(bench, ASSENT_OP_PREPARE);
        assert_false(agent_workers_ready(bench->workers));
        assert_int_equal(bench->fake.done[later], 0);
        let_go_on(bench, ASSENT_RM_OK);
        wait_done(bench, 1);
        for (int step = BEGIN; step <= FINISH; step++)
            assert_int_equal(bench->fake.done[step], 1);
        close_bench(bench);
    }
}

static void failed_work_that_went_on_ends_the_row(void **state)
{
    struct bench *bench = open_bench(STEPS, true);

    (void)state;
    bench->fake.later = WORK;
    bench->wanted = ASSENT_RM_FAILED;
    submit_row(bench, ASSENT_OP_PREPARE);
    let_go_on(bench, ASSENT_RM_FAILED);
    wait_done(bench, 1);
    assert_int_equal(bench->fake.done[FINISH], 0);
    close_bench(bench);
}

static void what_went_on_and_then_would_wait_has_a_thread(void **state)
{
    struct bench *bench = open_bench(FINISH, true);

    (void)state;
    bench->fake.later = WORK;
    submit_row(bench, ASSENT_OP_PREPARE);
    assert_int_equal(agent_workers_start(bench->workers), 0);
    let_go_on(bench, ASSENT_RM_OK);
    wait_done(bench, 1);
    assert_true(bench->fake.done[WORK] == 1 && bench->fake.done[FINISH] == 1);
    assert_false(bench->fake.on_loop[FINISH]);
    close_bench(bench);
}

/* The resource is closed after that, and hands out nothing more. */
static void calls_under_way_are_dropped_at_the_end(void **state)
{
    struct bench *bench = open_bench(STEPS, true);

    (void)state;
    bench->fake.later = FINISH;
    submit_row(bench, ASSENT_OP_COMMIT);
    assert_int_equal(agent_workers_pending(bench->workers), 1);
    close_bench(bench);
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
        cmocka_unit_test(what_goes_on_by_itself_comes_back_by_its_descriptor),
        cmocka_unit_test(failed_work_that_went_on_ends_the_row),
        cmocka_unit_test(what_went_on_and_then_would_wait_has_a_thread),
        cmocka_unit_test(calls_under_way_are_dropped_at_the_end),
        cmocka_unit_test(nothing_is_tried_before_the_resource_is_open),
        cmocka_unit_test(evidence_is_asked_for_on_a_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
