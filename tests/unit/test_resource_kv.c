/*
 * test_resource_kv.c: the kv resource conforms, and survives kill -9.
 *
 * The second part runs transfers in a child process, kills it at a moment that depends on what it
 * has reported, opens the store again, and checks it against the reports: each transfer is two
 * branches that commit or roll back together, so the sum over all accounts may never change.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "resource_conformance.h"
#include "resource_driver.h"
#include "rng.h"

#define ACCOUNTS         12
#define BALANCE          1000
#define THREADS          3
#define CYCLES           25
#define TRANSFERS_MAX    1000000u /* by one thread in one cycle */
#define REPORTS_MAX      4096
#define CHILD_DEADLINE_S 60

/* Branches of transfer t: 2t takes, 2t+1 gives. */
enum step { PREPARED, COMMITTED };
struct report {
    uint32_t transfer;
    uint32_t step;
};

/* --- the child -------------------------------------------------------------------------------- */

struct teller {
    struct driver *driver;
    unsigned first;
    int reports;
    pthread_t thread;
};

static void say(const struct teller *teller, unsigned transfer, enum step step)
{
    const struct report report = {.transfer = transfer, .step = (uint32_t)step};

    if (write(teller->reports, &report, sizeof(report)) != sizeof(report))
        _exit(1);
}

static bool work_and_prepare(struct driver *d, unsigned n, const char *text)
{
    struct assent_call call;

    if (driver_begin(d, n) != ASSENT_RM_OK)
        return false;
    call = driver_work(d, n, text, 50);
    free(call.reply);
    return call.result == ASSENT_RM_OK &&
           driver_call(d, ASSENT_OP_PREPARE, n).result == ASSENT_RM_OK;
}

static void transfer(const struct teller *teller, unsigned t, uint64_t *rng)
{
    struct driver *d = teller->driver;
    unsigned from = (unsigned)assent_rng_below(rng, ACCOUNTS);
    unsigned to = (from + 1 + (unsigned)assent_rng_below(rng, ACCOUNTS - 1)) % ACCOUNTS;
    unsigned amount = 1 + (unsigned)assent_rng_below(rng, 400);
    struct assent_call calls[2], *pointers[2] = {&calls[0], &calls[1]};
    char takes[64], gives[64];

    snprintf(takes, sizeof(takes), "add account%02u -%u min 0", from, amount);
    snprintf(gives, sizeof(gives), "add account%02u %u", to, amount);
    if (!work_and_prepare(d, 2 * t, takes) || !work_and_prepare(d, 2 * t + 1, gives)) {
        (void)driver_call(d, ASSENT_OP_ROLLBACK, 2 * t);
        (void)driver_call(d, ASSENT_OP_ROLLBACK, 2 * t + 1);
        return;
    }
    say(teller, t, PREPARED);
    for (unsigned i = 0; i < 2; i++)
        calls[i] =
            (struct assent_call){.operation = ASSENT_OP_COMMIT, .id = driver_branch(2 * t + i)};
    if (t % 2 == 0) {
        d->ops->batch(d->resource, pointers, 2);
    } else { /* one after the other: a kill may fall in between */
        d->ops->commit(d->resource, &calls[0]);
        d->ops->commit(d->resource, &calls[1]);
    }
    if (calls[0].result != ASSENT_RM_OK || calls[1].result != ASSENT_RM_OK)
        _exit(2);
    say(teller, t, COMMITTED);
}

static void *run_teller(void *context)
{
    const struct teller *teller = context;
    uint64_t rng = teller->first;

    for (unsigned t = teller->first; t < teller->first + TRANSFERS_MAX; t++)
        transfer(teller, t, &rng);
    return NULL;
}

static void run_child(struct driver *d, unsigned first, int reports)
{
    struct teller tellers[THREADS];

    alarm(CHILD_DEADLINE_S);
    if (driver_open(d) != 0)
        _exit(3);
    for (unsigned i = 0; i < THREADS; i++) {
        tellers[i] =
            (struct teller){.driver = d, .first = first + i * TRANSFERS_MAX, .reports = reports};
        if (pthread_create(&tellers[i].thread, NULL, run_teller, &tellers[i]) != 0)
            _exit(4);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(tellers[i].thread, NULL);
    _exit(5);
}

/* --- the parent ------------------------------------------------------------------------------- */

/* Kills the child once it has reported so often; returns all that it had reported. */
static size_t run_and_kill(struct driver *d, unsigned first, size_t kill_after,
                           struct report reports[REPORTS_MAX])
{
    int ends[2], status;
    size_t count = 0;
    pid_t child;

    assert_int_equal(pipe(ends), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        run_child(d, first, ends[1]);
    }
    close(ends[1]);
    while (count < REPORTS_MAX &&
           read(ends[0], &reports[count], sizeof(reports[0])) == sizeof(reports[0])) {
        if (++count == kill_after)
            kill(child, SIGKILL);
    }
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(count >= kill_after && count < REPORTS_MAX);
    return count;
}

static bool has_committed(struct driver *d, unsigned n)
{
    return driver_call(d, ASSENT_OP_EVIDENCE, n).result == ASSENT_RM_WAS_COMMITTED;
}

static void what_was_reported_holds(struct driver *d, const struct report *reports, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        unsigned n = 2 * reports[i].transfer;

        for (unsigned k = n; k <= n + 1; k++) {
            enum assent_rm_result result = driver_call(d, ASSENT_OP_EVIDENCE, k).result;

            if (reports[i].step == COMMITTED)
                assert_int_equal(result, ASSENT_RM_WAS_COMMITTED);
            else
                assert_true(result == ASSENT_RM_WAS_COMMITTED || result == ASSENT_RM_OK);
        }
    }
}

struct in_doubt {
    unsigned branches[2 * THREADS];
    unsigned count;
};

static void note_in_doubt(const struct assent_branch_id *id, void *context)
{
    struct in_doubt *in_doubt = context;
    struct assent_branch_id candidate;

    assert_true(in_doubt->count < 2 * THREADS);
    /* The sequence is the last five bytes of the gtrid. */
    for (unsigned n = 0, i = 11; i < ASSENT_GTRID_BYTES; i++) {
        n = n << 8 | id->gtrid.bytes[i];
        in_doubt->branches[in_doubt->count] = n;
    }
    candidate = driver_branch(in_doubt->branches[in_doubt->count]);
    assert_memory_equal(id, &candidate, sizeof(candidate));
    in_doubt->count++;
}

/* As a coordinator would: commit if the other branch has, or if both are prepared and the coin
 * says so; otherwise roll back. */
static void finish_in_doubt(struct driver *d, uint64_t *rng)
{
    struct in_doubt in_doubt = {.count = 0};

    assert_int_equal(d->ops->recover(d->resource, note_in_doubt, &in_doubt), 0);
    for (unsigned i = 0; i < in_doubt.count; i++) {
        unsigned n = in_doubt.branches[i], other = n ^ 1;
        bool both = driver_call(d, ASSENT_OP_EVIDENCE, other).result == ASSENT_RM_OK;
        bool commit = has_committed(d, other) || (both && assent_rng_below(rng, 2) == 0);

        if (driver_call(d, ASSENT_OP_EVIDENCE, n).result != ASSENT_RM_OK)
            continue; /* finished together with its other half */
        expect(d, commit ? ASSENT_OP_COMMIT : ASSENT_OP_ROLLBACK, n, ASSENT_RM_OK);
        if (both)
            expect(d, commit ? ASSENT_OP_COMMIT : ASSENT_OP_ROLLBACK, other, ASSENT_RM_OK);
    }
    assert_int_equal(driver_recover(d, NULL), 0);
}

static void the_sum_is_what_it_was(struct driver *d)
{
    char error[256], *text = NULL;
    json_t *dump, *value;
    const char *key;
    long sum = 0;

    assert_int_equal(d->ops->query(d->resource, "dump", &text, error, sizeof(error)), 0);
    dump = json_loads(text, 0, NULL);
    assert_non_null(dump);
    assert_int_equal(json_object_size(json_object_get(dump, "entries")), ACCOUNTS);
    json_object_foreach(json_object_get(dump, "entries"), key, value)
    {
        long balance = strtol(json_string_value(value), NULL, 10);

        assert_true(balance >= 0);
        sum += balance;
    }
    json_decref(dump);
    free(text);
    assert_int_equal(sum, ACCOUNTS * BALANCE);
}

static void kill_9_at_any_moment_loses_and_invents_nothing(void **state)
{
    static struct report reports[REPORTS_MAX];
    struct driver driver, *d = &driver;
    uint64_t rng = 20240229;
    char text[512] = "";

    (void)state;
    driver_init(d, &assent_resource_kv, "lock_wait=50ms");
    for (unsigned i = 0; i < ACCOUNTS; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "put account%02u %d\n", i,
                 BALANCE);
    expect_work(d, 0, text);
    expect(d, ASSENT_OP_ONE_PHASE, 0, ASSENT_RM_OK);
    driver_close(d);
    for (unsigned cycle = 0; cycle < CYCLES; cycle++) {
        size_t kill_after = 1 + assent_rng_below(&rng, 40);
        size_t count = run_and_kill(d, 1 + cycle * THREADS * TRANSFERS_MAX, kill_after, reports);

        assert_int_equal(driver_open(d), 0);
        what_was_reported_holds(d, reports, count);
        finish_in_doubt(d, &rng);
        the_sum_is_what_it_was(d);
        driver_close(d);
    }
    driver_fini(d);
}

int main(void)
{
    const struct conformance_subject subject = {
        .ops = &assent_resource_kv,
        .parameters = "map=64M,lock_wait=1s",
        .bad_parameters = "map=64M colour=red",
        .bad_name = "colour",
        .write = "put key%u 1",
        .read_only = "get key",
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kill_9_at_any_moment_loses_and_invents_nothing),
    };
    int failed = resource_conformance(&subject);

    return cmocka_run_group_tests_name("kv", tests, NULL, NULL) + failed;
}
