/*
 * test_postgres_finish.c: how branches end in PostgreSQL: side by side, together with their work,
 * and with nothing left in their session; on a real server.
 */
#include "postgres_fixture.h"

#include <pthread.h>
#include <sys/socket.h>

#define SIDE_BY_SIDE 8

struct commit {
    struct driver *driver;
    unsigned n;
    enum assent_rm_result result;
    pthread_t thread;
};

static void *commit_one(void *context)
{
    struct commit *commit = context;

    commit->result = driver_call(commit->driver, ASSENT_OP_COMMIT, commit->n).result;
    return NULL;
}

/* Each commit in a session of its own, so that the server has many to sync at once. */
static void commits_of_many_branches_run_side_by_side(void **state)
{
    struct driver *d = *state;
    PGconn *conn = session(), *probe = session();
    struct commit commits[SIDE_BY_SIDE];
    char sql[64];

    for (unsigned n = 0; n < SIDE_BY_SIDE; n++) {
        snprintf(sql, sizeof(sql), "INSERT INTO kv VALUES (%u, 1)", n);
        expect_work(d, n, sql);
        expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
        commits[n] = (struct commit){.driver = d, .n = n};
    }
    hold_commits(conn, probe);
    for (unsigned n = 0; n < SIDE_BY_SIDE; n++)
        assert_int_equal(pthread_create(&commits[n].thread, NULL, commit_one, &commits[n]), 0);
    await_value(conn, COUNT_WAITING, "9"); /* and the probe's */
    release_commits(conn);
    for (unsigned n = 0; n < SIDE_BY_SIDE; n++) {
        pthread_join(commits[n].thread, NULL);
        assert_int_equal(commits[n].result, ASSENT_RM_OK);
    }
    PQfinish(conn);
    PQfinish(probe);
}

/* --- together with the work ------------------------------------------------------------------- */

#define COUNT_PREPARED "SELECT count(*) FROM pg_prepared_xacts"

static void expect_then(struct driver *d, unsigned n, const char *work, enum assent_operation next,
                        enum assent_rm_result result, const char *reason)
{
    struct assent_call call = driver_work_then(d, n, work, next);

    assert_string_equal(call.reason, reason);
    assert_int_equal(call.result, result);
    free(call.reply);
}

static void a_branch_that_certainly_writes_is_prepared_with_its_work(void **state)
{
    static const char *const works[] = {
        "INSERT INTO kv VALUES (1, 1)",
        "/* first */ update kv SET v = v + 1",
        "SELECT * FROM kv\nSET ROLE other\nDELETE FROM kv WHERE k = 7",
        ("{\"sql\": \"MERGE INTO kv USING (VALUES (2)) AS new (k) ON kv.k = new.k"
         " WHEN NOT MATCHED THEN INSERT VALUES (new.k, $1)\", \"params\": [5]}"),
    };
    struct driver *d = *state;
    PGconn *conn = session();

    run(conn, "DO $$ BEGIN CREATE ROLE other; EXCEPTION WHEN duplicate_object THEN END $$");
    run(conn, "GRANT ALL ON kv TO other");
    for (unsigned n = 0; n < sizeof(works) / sizeof(works[0]); n++) {
        expect_then(d, n, works[n], ASSENT_OP_PREPARE, ASSENT_RM_OK, "");
        assert_string_equal(value_of(conn, COUNT_PREPARED), "1");
        assert_string_equal(value_of(conn, "SELECT owner = current_user FROM pg_prepared_xacts"),
                            "t");
        expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
        expect(d, ASSENT_OP_COMMIT, n, ASSENT_RM_OK);
        expect(d, ASSENT_OP_EVIDENCE, n, ASSENT_RM_WAS_COMMITTED);
    }
    assert_string_equal(value_of(conn, "SELECT string_agg(k || '=' || v, ' ' ORDER BY k) FROM kv"),
                        "1=2 2=5");
    expect_then(d, 9, "INSERT INTO kv VALUES (9, 1)", ASSENT_OP_ONE_PHASE, ASSENT_RM_OK, "");
    assert_string_equal(value_of(conn, "SELECT count(*) FROM kv WHERE k = 9"), "1");
    expect(d, ASSENT_OP_ONE_PHASE, 9, ASSENT_RM_OK);
    PQfinish(conn);
}

/* What must be looked at first is not prepared blindly. */
static void a_branch_of_which_more_must_be_known_is_prepared_after_its_work(void **state)
{
    struct driver *d = *state;
    PGconn *conn = session();

    expect_then(d, 1, "SELECT * FROM kv", ASSENT_OP_PREPARE, ASSENT_RM_OK, "");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_READ_ONLY);
    expect_then(d, 2, "{\"sql\": \"UPDATE kv SET v = 1\", \"rows\": 1}", ASSENT_OP_PREPARE,
                ASSENT_RM_FAILED, "statement 1: UPDATE of 0 rows, not 1");
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    expect_then(d, 3, "WITH new AS (INSERT INTO kv VALUES (3, 3) RETURNING v) SELECT * FROM new",
                ASSENT_OP_PREPARE, ASSENT_RM_OK, "");
    assert_string_equal(value_of(conn, COUNT_PREPARED), "0");
    expect(d, ASSENT_OP_PREPARE, 3, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 3, ASSENT_RM_OK);
    expect_then(d, 4, "INSERT INTO kv VALUES (4, 4)", ASSENT_OP_WORK, ASSENT_RM_OK, "");
    assert_string_equal(value_of(conn, COUNT_PREPARED), "0");
    expect(d, ASSENT_OP_ROLLBACK, 4, ASSENT_RM_OK);
    PQfinish(conn);
}

static void work_that_fails_is_not_prepared_with_it(void **state)
{
    struct driver *d = *state;
    PGconn *conn = session();

    expect_then(d, 1, "INSERT INTO kv VALUES (1, 1)\nINSERT INTO kv VALUES (2, -1)",
                ASSENT_OP_PREPARE, ASSENT_RM_FAILED,
                "statement 2: 23514: new row for relation \"kv\" violates check constraint "
                "\"kv_v_check\": Failing row contains (2, -1, null).");
    assert_string_equal(value_of(conn, COUNT_PREPARED), "0");
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    /* A deferred constraint speaks at the end alone. */
    expect_then(d, 2, "INSERT INTO kv VALUES (1, 1, 7), (2, 2, 7)", ASSENT_OP_PREPARE, ASSENT_RM_OK,
                "");
    expect_reason(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_REFUSED,
                  "23505: duplicate key value violates unique constraint \"kv_w_key\": "
                  "Key (w)=(7) already exists.");
    expect(d, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_VANISHED);
    /* The sessions are as good as new. */
    expect_work(d, 3, "INSERT INTO kv VALUES (1, 1)");
    expect(d, ASSENT_OP_PREPARE, 3, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 3, ASSENT_RM_OK);
    PQfinish(conn);
}

/* Nobody knows whether it was prepared, so nothing is taken for granted. */
static void a_session_lost_with_work_and_end_on_the_way_proves_nothing(void **state)
{
    struct driver *d = *state;

    expect_then(d, 1, "INSERT INTO kv SELECT 1, 1 WHERE pg_terminate_backend(pg_backend_pid())",
                ASSENT_OP_PREPARE, ASSENT_RM_UNAVAILABLE,
                "terminating connection due to administrator command");
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_VANISHED);
    expect_then(d, 2, "INSERT INTO kv SELECT 1, 1 WHERE pg_terminate_backend(pg_backend_pid())",
                ASSENT_OP_ONE_PHASE, ASSENT_RM_UNAVAILABLE,
                "terminating connection due to administrator command");
    expect(d, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_VANISHED);
}

/* --- without a thread ------------------------------------------------------------------------- */

/* What the branches before have left is discarded. */
static void await_settled(void)
{
    PGconn *conn = session();

    await_value(conn,
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'assent'"
                " AND (state = 'active' OR query ~ '^(PREPARE TRANSACTION|ROLLBACK$|COMMIT$)')",
                "0");
    PQfinish(conn);
}

static struct assent_call try_work(struct driver *d, unsigned n, const char *work, bool *ret_later)
{
    await_settled();
    assert_int_equal(driver_begin(d, n), ASSENT_RM_OK);
    return driver_try(d, ASSENT_OP_WORK, n, work, ASSENT_OP_PREPARE, ret_later);
}

/* An idle session for work, and one for ends. */
static void warm_up(struct driver *d)
{
    expect_work(d, 90, "INSERT INTO kv VALUES (90, 1)");
    expect(d, ASSENT_OP_PREPARE, 90, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 90, ASSENT_RM_OK);
}

static void each_answer_comes_back_without_a_thread(void **state)
{
    struct driver *d = *state;
    struct assent_call call;
    bool later;

    warm_up(d);
    call = try_work(d, 1, "INSERT INTO kv VALUES (1, 1)", &later);
    assert_true(later);
    assert_int_equal(call.result, ASSENT_RM_OK);
    assert_null(call.reply);
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    /* An error of the work, of the end, of a branch that is not there. */
    call = try_work(d, 2, "INSERT INTO kv VALUES (2, 2)\nINSERT INTO kv VALUES (3, -1)", &later);
    assert_true(later);
    assert_int_equal(call.result, ASSENT_RM_FAILED);
    assert_non_null(strstr(call.reason, "statement 2: 23514: "));
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    call = try_work(d, 3, "INSERT INTO kv VALUES (3, 1, 7), (4, 2, 7)", &later);
    assert_true(later);
    assert_int_equal(call.result, ASSENT_RM_OK);
    expect(d, ASSENT_OP_PREPARE, 3, ASSENT_RM_REFUSED);
    call = driver_try(d, ASSENT_OP_COMMIT, 3, NULL, ASSENT_OP_WORK, &later);
    assert_true(later);
    assert_int_equal(call.result, ASSENT_RM_NOT_FOUND);
    call = driver_try(d, ASSENT_OP_COMMIT, 1, NULL, ASSENT_OP_WORK, &later);
    assert_true(later);
    assert_int_equal(call.result, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED);
}

static void what_needs_more_than_an_idle_session_has_a_thread(void **state)
{
    static char big[20000];
    const char *const works[] = {"SELECT 1", "{\"sql\": \"DELETE FROM kv\", \"rows\": 1}", big,
                                 "INSERT INTO kv VALUES (5, 5)"};
    struct driver *d = *state;
    bool later;

    warm_up(d);
    snprintf(big, sizeof(big), "DELETE FROM kv /* %*s */", 17000, "");
    for (unsigned n = 0; n < sizeof(works) / sizeof(works[0]); n++) {
        if (n == 3) /* the only session */
            expect_work(d, 91, "SELECT 1");
        assert_int_equal(try_work(d, n, works[n], &later).result, ASSENT_RM_OK);
        assert_false(later);
        expect(d, ASSENT_OP_PREPARE, n, n == 0 ? ASSENT_RM_READ_ONLY : ASSENT_RM_OK);
        assert_int_equal(driver_try(d, ASSENT_OP_COMMIT, n, NULL, ASSENT_OP_WORK, &later).result,
                         n == 0 ? ASSENT_RM_NOT_FOUND : ASSENT_RM_OK);
        assert_true(later);
    }
}

static void a_session_lost_without_a_thread_proves_nothing(void **state)
{
    struct driver *d = *state;
    bool later;

    warm_up(d);
    assert_int_equal(
        try_work(d, 1, "INSERT INTO kv SELECT 1, 1 WHERE pg_terminate_backend(pg_backend_pid())",
                 &later)
            .result,
        ASSENT_RM_UNAVAILABLE);
    assert_true(later);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_VANISHED);
}

/* Every socket of this process takes a few KiB at a time. */
static void narrow_sockets(void)
{
    int least = 1;

    for (int fd = 3; fd < 256; fd++)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
}

static void what_a_socket_does_not_take_at_once_follows(void **state)
{
    struct driver *d = *state;
    char sql[16000];
    bool later;

    warm_up(d);
    narrow_sockets();
    snprintf(sql, sizeof(sql), "INSERT INTO kv VALUES (1, 1) /* %*s */", 15000, "");
    assert_int_equal(try_work(d, 1, sql, &later).result, ASSENT_RM_OK);
    assert_true(later);
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
}

/* The loop does not wait for them, nor does closing. */
static void calls_under_way_end_with_the_resource(void **state)
{
    struct driver *d = *state;
    PGconn *conn = session();
    struct assent_call calls[2] = {
        {.operation = ASSENT_OP_WORK,
         .id = driver_branch(1),
         .work = "UPDATE kv SET v = 2",
         .work_size = 19,
         .timeout_ms = 5000,
         .next = ASSENT_OP_PREPARE,
         .no_reply = true,
         .no_wait = true},
        {.operation = ASSENT_OP_COMMIT, .id = driver_branch(2), .no_wait = true},
    };

    warm_up(d);
    await_settled();
    run(conn, "BEGIN");
    run(conn, "UPDATE kv SET v = 1");
    assert_int_equal(driver_begin(d, 1), ASSENT_RM_OK);
    d->ops->work(d->resource, &calls[0]);
    d->ops->commit(d->resource, &calls[1]);
    assert_true(calls[0].later && calls[1].later);
    driver_close(d);
    run(conn, "ROLLBACK");
    /* What was sent goes on in the server. */
    await_value(conn, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'assent'",
                "0");
    PQfinish(conn);
}

/* --- what is left in a session ---------------------------------------------------------------- */

/* Everything that a session can keep for itself, by functions as well, that hide it from who reads
 * the statement. */
static const char leave_all[] =
    "CREATE OR REPLACE FUNCTION public.leave() RETURNS int LANGUAGE plpgsql AS $$ BEGIN"
    " PERFORM set_config('search_path', 'nowhere', false);"
    " PERFORM set_config('statement_timeout', '1h', false);"
    " PERFORM set_config('assent.mine', 'mine', false);"
    " PERFORM pg_advisory_lock(1);"
    " PERFORM nextval('public.counter');"
    " EXECUTE 'PREPARE kept AS SELECT 1';"
    " PERFORM set_config('role', 'other', false);"
    " RETURN 1; END $$";
static const char leave_more[] =
    "CREATE OR REPLACE FUNCTION public.leave_more() RETURNS int LANGUAGE plpgsql AS $$ BEGIN"
    " EXECUTE 'LISTEN something';"
    " EXECUTE 'CREATE TEMP TABLE kv (k int)';"
    " EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT 1';"
    " EXECUTE 'SET SESSION AUTHORIZATION other';"
    " RETURN public.leave(); END $$";

#define ASK(what, answer)                                                                          \
    {                                                                                              \
        what, "{\"results\":[{\"columns\":[\"x\"],\"rows\":[[" answer "]],\"command\":\"SELECT\"," \
              "\"count\":1}]}"                                                                     \
    }

static const struct {
    const char *sql, *reply;
} questions[] = {
    ASK("SELECT current_setting('search_path') AS x", "\"\\\"$user\\\", public\""),
    ASK("SELECT current_setting('statement_timeout') AS x", "\"5s\""),
    ASK("SELECT current_setting('assent.mine', true) AS x", "\"\""),
    ASK("SELECT count(*) AS x FROM pg_locks WHERE locktype = 'advisory'", "0"),
    ASK("SELECT count(*) AS x FROM pg_prepared_statements WHERE name = 'kept'", "0"),
    ASK("SELECT current_user || session_user AS x", "\"assentassent\""),
    ASK("SELECT count(*) AS x FROM pg_listening_channels()", "0"),
    ASK("SELECT to_regclass('kv') = 'public.kv'::regclass AS x", "true"),
    ASK("SELECT count(*) AS x FROM pg_cursors WHERE is_holdable", "0"),
};

#define WHICH_SESSION "SELECT pg_backend_pid() AS x"

static char *which_session(struct driver *d, unsigned n)
{
    struct assent_call call = driver_work_then(d, n, WHICH_SESSION, ASSENT_OP_WORK);

    assert_int_equal(call.result, ASSENT_RM_OK);
    expect(d, ASSENT_OP_ROLLBACK, n, ASSENT_RM_OK);
    return call.reply;
}

/* In one and the same session, whatever came before. */
static void expect_clean(struct driver *d, unsigned n, const char *same_session)
{
    for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++)
        expect_reply(d, n, questions[i].sql, questions[i].reply);
    expect_reply(d, n, WHICH_SESSION, same_session);
    expect_work_fails(d, n, "SELECT lastval()",
                      "statement 1: 55000: lastval is not yet defined in this session");
    expect(d, ASSENT_OP_ROLLBACK, n, ASSENT_RM_OK);
}

/* One session, so that each branch gets what the one before has left. */
static void nothing_of_one_branch_is_left_for_the_next(void **state)
{
    static const struct {
        const char *work;
        enum assent_operation next;
        enum assent_rm_result result;
    } rows[] = {
        {"SELECT public.leave()", ASSENT_OP_PREPARE, ASSENT_RM_OK},
        {"INSERT INTO kv SELECT 1, public.leave()", ASSENT_OP_PREPARE, ASSENT_RM_OK},
        {"SELECT public.leave_more()", ASSENT_OP_ONE_PHASE, ASSENT_RM_OK},
        {"INSERT INTO public.kv SELECT 2, public.leave_more()", ASSENT_OP_ONE_PHASE, ASSENT_RM_OK},
        {"SELECT public.leave_more()", ASSENT_OP_ROLLBACK, ASSENT_RM_OK},
        {"SELECT set_config('role', 'other', false), pg_advisory_lock(1)", ASSENT_OP_PREPARE,
         ASSENT_RM_READ_ONLY},
        {"INSERT INTO kv SELECT 3, -public.leave()", ASSENT_OP_ROLLBACK, ASSENT_RM_OK},
    };
    struct driver *d = *state;
    PGconn *conn = session();
    char alone[600], *same_session;

    run(conn, "DO $$ BEGIN CREATE ROLE other; EXCEPTION WHEN duplicate_object THEN END $$");
    run(conn, "SET client_min_messages = error");
    run(conn, "DROP SEQUENCE IF EXISTS public.counter");
    run(conn, "CREATE SEQUENCE public.counter");
    run(conn, "GRANT ALL ON kv, public.counter TO other");
    run(conn, leave_all);
    run(conn, leave_more);
    driver_close(d);
    snprintf(alone, sizeof(alone), "connections=1 %s", parameters);
    d->parameters = alone;
    driver_reopen(d);
    same_session = which_session(d, 1);
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned n = 10 * (i + 1);
        struct assent_call call = driver_work_then(d, n, rows[i].work, rows[i].next);

        free(call.reply);
        expect(d, rows[i].next, n, rows[i].result);
        if (rows[i].next == ASSENT_OP_PREPARE && rows[i].result == ASSENT_RM_OK)
            expect(d, ASSENT_OP_COMMIT, n, ASSENT_RM_OK);
        expect_clean(d, n + 1, same_session);
    }
    d->parameters = parameters;
    free(same_session);
    run(conn, "DROP SEQUENCE public.counter");
    PQfinish(conn);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(commits_of_many_branches_run_side_by_side),
        TEST(a_branch_that_certainly_writes_is_prepared_with_its_work),
        TEST(a_branch_of_which_more_must_be_known_is_prepared_after_its_work),
        TEST(work_that_fails_is_not_prepared_with_it),
        TEST(a_session_lost_with_work_and_end_on_the_way_proves_nothing),
        TEST(each_answer_comes_back_without_a_thread),
        TEST(what_needs_more_than_an_idle_session_has_a_thread),
        TEST(a_session_lost_without_a_thread_proves_nothing),
        TEST(what_a_socket_does_not_take_at_once_follows),
        TEST(calls_under_way_end_with_the_resource),
        TEST(nothing_of_one_branch_is_left_for_the_next),
    };
#undef TEST

    return find_server() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
