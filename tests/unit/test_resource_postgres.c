/*
 * test_resource_postgres.c: the PostgreSQL resource conforms and does what its files promise, on a
 * real server, which tests/lib/postgres.py starts and names in ASSENT_TEST_POSTGRES.
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

#include <libpq-fe.h>

#include "gtrid.h"
#include "resource_conformance.h"
#include "resource_driver.h"

static char parameters[512];

/* --- a session of the test's own -------------------------------------------------------------- */

static PGconn *session(void)
{
    PGconn *conn = PQconnectdb(getenv("ASSENT_TEST_POSTGRES"));

    if (PQstatus(conn) != CONNECTION_OK)
        fail_msg("%s", PQerrorMessage(conn));
    return conn;
}

static void run(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);

    if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    PQclear(result);
}

/* First column of the first row; "" without one. */
static const char *value_of(PGconn *conn, const char *sql)
{
    static char value[256];
    PGresult *result = PQexec(conn, sql);

    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    snprintf(value, sizeof(value), "%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return value;
}

static void gid_of(unsigned n, char gid[128])
{
    struct assent_branch_id id = driver_branch(n);
    char gtrid[ASSENT_GTRID_TEXT + 1];

    assent_gtrid_format(&id.gtrid, gtrid);
    snprintf(gid, 128, "assent:a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5:%s:1", gtrid);
}

/* Every transaction rolled back, both tables empty. */
static void reset(void)
{
    PGconn *conn = session();
    char sql[256], gid[200];

    PQsetNoticeProcessor(conn, NULL, NULL);
    for (;;) {
        snprintf(gid, sizeof(gid), "%s", value_of(conn, "SELECT gid FROM pg_prepared_xacts"));
        if (gid[0] == '\0')
            break;
        snprintf(sql, sizeof(sql), "ROLLBACK PREPARED '%s'", gid);
        run(conn, sql);
    }
    run(conn, "SET client_min_messages = error");
    run(conn, "DROP SCHEMA IF EXISTS assent CASCADE");
    run(conn, "DROP TABLE IF EXISTS kv");
    run(conn, "CREATE TABLE kv (k int PRIMARY KEY, v int CHECK (v >= 0),"
              " w int UNIQUE DEFERRABLE INITIALLY DEFERRED)");
    PQfinish(conn);
}

static int setup(void **state)
{
    static struct driver driver;

    reset();
    driver_init(&driver, &assent_resource_postgres, parameters);
    *state = &driver;
    return 0;
}

static int teardown(void **state)
{
    driver_fini(*state);
    return 0;
}

/* --- work ------------------------------------------------------------------------------------- */

static void work_takes_sql_and_json_and_answers_rows_and_counts(void **state)
{
    struct driver *d = *state;

    expect_reply(d, 1, "INSERT INTO kv VALUES (1, 10), (2, 20)\n\nSELECT k, v FROM kv ORDER BY k",
                 "{\"results\":[{\"command\":\"INSERT\",\"count\":2},"
                 "{\"columns\":[\"k\",\"v\"],\"rows\":[[1,10],[2,20]],"
                 "\"command\":\"SELECT\",\"count\":2}]}");
    expect_reply(d, 1,
                 "{\"sql\":\"UPDATE kv SET v = v + $1 WHERE k = $2\",\"params\":[5,\"1\"],"
                 "\"rows\":1}",
                 "{\"results\":[{\"command\":\"UPDATE\",\"count\":1}]}");
    expect_reply(d, 1,
                 "[\"SELECT v FROM kv WHERE k = 1\", {\"sql\":\"SELECT $1::bool, $2::text, "
                 "$3::jsonb ->> 'a', $4::numeric, $5::text\","
                 "\"params\":[true, null, {\"a\":\"b\"}, 1.5, \"it's\"]}]",
                 "{\"results\":[{\"columns\":[\"v\"],\"rows\":[[15]],\"command\":\"SELECT\","
                 "\"count\":1},{\"columns\":[\"bool\",\"text\",\"?column?\",\"numeric\",\"text\"],"
                 "\"rows\":[[true,null,\"b\",\"1.5\",\"it's\"]],\"command\":\"SELECT\","
                 "\"count\":1}]}");
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
}

static void wrong_work_is_named(void **state)
{
    static const struct {
        const char *work, *reason;
    } rows[] = {
        {"", "the work has no statement"},
        {"[]", "the work has no statement, or over 10000"},
        {"{\"sql\":1}", "statement 1: no text \"sql\""},
        {"[\"SELECT 1\",{\"sql\":\"SELECT 1\",\"parms\":[]}]",
         "statement 2: there is no key \"parms\""},
        {"{\"sql\":\"SELECT 1\",\"params\":{}}",
         "statement 1: \"params\" is not an array of at most 1000"},
        {"{\"sql\":\"SELECT 1\",\"rows\":\"1\"}", "statement 1: \"rows\" is not a number"},
        {"SELECT 1\nCOMMIT", "statement 2: commit is not for the work of a branch"},
        {"/* a /* b */ */ ; -- c\r abort", "statement 1: abort is not for the work of a branch"},
        {"prepare transaction 'x'", "statement 1: prepare is not for the work of a branch"},
        {"SELECT 1; COMMIT",
         "statement 1: 42601: cannot insert multiple commands into a prepared statement"},
        {"SELECT 1\nSELEC 2", "statement 2: 42601: syntax error at or near \"SELEC\""},
        {"{\"sql\":\"SELECT 1 WHERE false\",\"rows\":1}", "statement 1: SELECT of 0 rows, not 1"},
        {"SELECT generate_series(1, 10001)", "statement 1: the rows of the reply are over 10000"},
        {"SELECT repeat('x', 600000)", "statement 1: the bytes of the reply are over 524288"},
    };
    struct driver *d = *state;

    for (unsigned n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
        struct assent_call call;

        assert_int_equal(driver_begin(d, n), ASSENT_RM_OK);
        call = driver_work(d, n, rows[n].work, 5000);
        assert_string_equal(call.reason, rows[n].reason);
        assert_int_equal(call.result, ASSENT_RM_FAILED);
        /* Failed once, failed for good: it can only roll back. */
        expect_work_fails(d, n, "SELECT 1", rows[n].reason);
        expect_reason(d, ASSENT_OP_PREPARE, n, ASSENT_RM_FAILED, rows[n].reason);
        expect(d, ASSENT_OP_ROLLBACK, n, ASSENT_RM_OK);
    }
}

static void a_wait_for_a_lock_ends_in_time(void **state)
{
    struct driver *d = *state;

    expect_work(d, 1, "INSERT INTO kv VALUES (1, 1)");
    expect(d, ASSENT_OP_ONE_PHASE, 1, ASSENT_RM_OK);
    expect_work(d, 2, "UPDATE kv SET v = 2");
    expect_work_fails(d, 3, "UPDATE kv SET v = 3",
                      "statement 1: 55P03: canceling statement due to lock timeout");
    expect_work_fails(d, 4, "SELECT pg_sleep(60)",
                      "statement 1: 57014: canceling statement due to statement timeout");
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_OK);
}

static void settings_of_one_branch_do_not_reach_the_next(void **state)
{
    struct driver *d = *state;

    expect_work(d, 1, "SET search_path = nowhere\nSELECT pg_advisory_lock(1)");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_READ_ONLY);
    expect_reply(d, 2, "SELECT count(*) FROM kv\nSELECT pg_try_advisory_lock(1)",
                 "{\"results\":[{\"columns\":[\"count\"],\"rows\":[[0]],\"command\":\"SELECT\","
                 "\"count\":1},{\"columns\":[\"pg_try_advisory_lock\"],\"rows\":[[true]],"
                 "\"command\":\"SELECT\",\"count\":1}]}");
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
}

static void the_pool_is_bounded_and_says_so(void **state)
{
    struct driver *d = *state;
    char bounded[600];
    struct assent_call call;

    driver_close(d);
    snprintf(bounded, sizeof(bounded), "connections=2 %s", parameters);
    d->parameters = bounded;
    driver_reopen(d);
    expect_work(d, 1, "SELECT 1");
    expect_work(d, 2, "SELECT 1");
    assert_int_equal(driver_begin(d, 3), ASSENT_RM_OK);
    call = driver_work(d, 3, "SELECT 1", 20);
    assert_int_equal(call.result, ASSENT_RM_UNAVAILABLE);
    assert_string_equal(call.reason, "all 2 connections are in work");
    expect(d, ASSENT_OP_ROLLBACK, 3, ASSENT_RM_OK);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    expect_work(d, 4, "SELECT 1");
    d->parameters = parameters;
}

/* --- prepare and commit ----------------------------------------------------------------------- */

/* Edge case 13: what PREPARE TRANSACTION refuses has rolled the branch back; the caller is told. */
static void a_refused_prepare_carries_its_sqlstate(void **state)
{
    struct driver *d = *state;

    expect_work(d, 1, "CREATE TEMP TABLE t (x int)");
    expect_reason(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_REFUSED,
                  "0A000: cannot PREPARE a transaction that has operated on temporary objects");
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_ABORTED);
    /* A deferred constraint speaks at prepare. */
    expect_work(d, 2, "INSERT INTO kv VALUES (1, 1, 7), (2, 2, 7)");
    expect_reason(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_REFUSED,
                  "23505: duplicate key value violates unique constraint \"kv_w_key\": "
                  "Key (w)=(7) already exists.");
    expect_work(d, 3, "INSERT INTO kv VALUES (1, 1, 7), (2, 2, 7)");
    expect(d, ASSENT_OP_ONE_PHASE, 3, ASSENT_RM_REFUSED);
    expect(d, ASSENT_OP_EVIDENCE, 3, ASSENT_RM_WAS_ABORTED);
    assert_int_equal(driver_recover(d, NULL), 0);
}

/* A second COMMIT PREPARED, as after a lost answer (edge cases 20, 21, 27). */
static void a_second_commit_is_not_found_and_the_marker_tells(void **state)
{
    struct driver *d = *state;

    expect_work(d, 1, "INSERT INTO kv VALUES (1, 1)");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect_reason(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_NOT_FOUND, "42704: no such branch");
    expect_reason(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED, "its marker is here");
    expect(d, ASSENT_OP_FORGET, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_ABORTED);
}

static void what_a_person_ends_by_hand_is_seen(void **state)
{
    struct driver *d = *state;
    PGconn *conn = session();
    char gid[128], sql[256];

    for (unsigned n = 1; n <= 2; n++) {
        snprintf(sql, sizeof(sql), "INSERT INTO kv VALUES (%u, 1)", n);
        expect_work(d, n, sql);
        expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
        gid_of(n, gid);
        snprintf(sql, sizeof(sql), "%s PREPARED '%s'", n == 1 ? "COMMIT" : "ROLLBACK", gid);
        run(conn, sql);
    }
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED);
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_WAS_ABORTED);
    PQfinish(conn);
}

/* Edge cases 35 and 52: only ids exactly as we write them, in this database. */
static void foreign_prepared_transactions_are_not_ours(void **state)
{
    static const char *const foreign[] = {
        "foreign",
        "assent:",
        "assent:a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5:01HF7YAT00000G000000000001",
        "assent:A5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5:01HF7YAT000000G00000000001:1",
        "assent:a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5:01hf7yat000000g00000000001:1",
        "assent:a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5:01HF7YAT000000G00000000001:01",
        "assent:a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5:01HF7YAT000000G00000000001:1 ",
        "assent:a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5:01HF7YAT000000G00000000001:4294967297",
    };
    struct driver *d = *state;
    PGconn *conn = session();
    char sql[256], kept[8];
    uint64_t mask;

    for (unsigned i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        run(conn, "BEGIN");
        snprintf(sql, sizeof(sql), "INSERT INTO kv VALUES (%u, 1)", 100 + i);
        run(conn, sql);
        snprintf(sql, sizeof(sql), "PREPARE TRANSACTION '%s'", foreign[i]);
        run(conn, sql);
    }
    expect_work(d, 3, "INSERT INTO kv VALUES (3, 1)");
    expect(d, ASSENT_OP_PREPARE, 3, ASSENT_RM_OK);
    assert_int_equal(driver_recover(d, &mask), 1);
    assert_true(mask == 1u << 3);
    driver_reopen(d);
    expect(d, ASSENT_OP_COMMIT, 3, ASSENT_RM_OK);
    snprintf(kept, sizeof(kept), "%zu", sizeof(foreign) / sizeof(foreign[0]));
    assert_string_equal(value_of(conn, "SELECT count(*) FROM pg_prepared_xacts"), kept);
    PQfinish(conn);
}

/* --- evidence and sessions that are cut off --------------------------------------------------- */

/* The session that still prepares or commits in one phase cannot overtake the evidence, and
 * evidence does not speak while such a session may still win (edge cases 15, 16, 40). */
static void evidence_and_a_late_session_agree(void **state)
{
    struct driver *d = *state;
    struct assent_branch_id id = driver_branch(1);
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    char gid[128], sql[512], *end = sql;
    PGconn *late = session();
    PGresult *result;

    assent_branch_id_encode(&id, name);
    end += sprintf(end, "INSERT INTO assent.marker (branch) VALUES ('\\x");
    for (size_t i = 0; i < sizeof(name); i++)
        end += sprintf(end, "%02x", name[i]);
    sprintf(end, "')");

    /* It has written its marker: nobody can say yet. */
    run(late, "BEGIN");
    run(late, sql);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_NOT_FOUND);
    expect_reason(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_RETRY,
                  "a session is still ending the branch");
    run(late, "ROLLBACK");

    /* Evidence came first: the late one fails. */
    run(late, "BEGIN");
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_ABORTED);
    result = PQexec(late, sql);
    assert_string_equal(PQresultErrorField(result, PG_DIAG_SQLSTATE), "23505");
    PQclear(result);
    run(late, "ROLLBACK");
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_ABORTED);

    /* It prepared in time: still there. */
    expect(d, ASSENT_OP_FORGET, 1, ASSENT_RM_OK);
    run(late, "BEGIN");
    run(late, sql);
    gid_of(1, gid);
    snprintf(sql, sizeof(sql), "PREPARE TRANSACTION '%s'", gid);
    run(late, sql);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED);
    PQfinish(late);
}

/* Work that comes again after the branch has finished leaves nothing behind (edge cases 11, 46). */
static void late_work_of_a_finished_branch_cannot_prepare(void **state)
{
    struct driver *d = *state;

    expect_work(d, 1, "INSERT INTO kv VALUES (1, 1)");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect_work(d, 1, "INSERT INTO kv VALUES (2, 1)");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_REFUSED);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED);
    assert_int_equal(driver_recover(d, NULL), 0);
}

static void sessions_that_the_server_ends_are_noticed(void **state)
{
    static const char end_all[] =
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND application_name = 'assent'";
    struct driver *d = *state;
    PGconn *conn = session();
    struct assent_call call;

    expect_work(d, 1, "INSERT INTO kv VALUES (1, 1)");
    expect_work(d, 2, "INSERT INTO kv VALUES (2, 1)");
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_OK);
    expect_work(d, 3, "INSERT INTO kv VALUES (3, 1)");
    run(conn, end_all);
    call = driver_work(d, 1, "SELECT 1", 1000);
    assert_int_equal(call.result, ASSENT_RM_UNAVAILABLE);
    assert_string_equal(call.reason, "terminating connection due to administrator command");
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_PREPARE, 3, ASSENT_RM_UNAVAILABLE);
    expect(d, ASSENT_OP_ROLLBACK, 3, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_EVIDENCE, 3, ASSENT_RM_WAS_ABORTED);
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_OK);
    expect_work(d, 4, "INSERT INTO kv VALUES (1, 1)");
    expect(d, ASSENT_OP_ONE_PHASE, 4, ASSENT_RM_OK);
    assert_string_equal(value_of(conn, "SELECT string_agg(k::text, ',' ORDER BY k) FROM kv"),
                        "1,2");
    PQfinish(conn);
}

/* --- batches, queries, preflight -------------------------------------------------------------- */

static void a_big_batch_commits_and_forgets_all(void **state)
{
    enum { COUNT = 60 };
    struct driver *d = *state;
    struct assent_call calls[COUNT] = {0}, *pointers[COUNT];
    static const enum assent_operation order[] = {ASSENT_OP_PREPARE, ASSENT_OP_COMMIT,
                                                  ASSENT_OP_FORGET};
    PGconn *conn = session();
    char sql[64], wide[600];

    driver_close(d);
    snprintf(wide, sizeof(wide), "connections=%d %s", COUNT, parameters);
    d->parameters = wide;
    driver_reopen(d);
    for (unsigned n = 0; n < COUNT; n++) {
        snprintf(sql, sizeof(sql), "INSERT INTO kv VALUES (%u, 1)", n);
        expect_work(d, n, sql);
        calls[n].id = driver_branch(n);
        pointers[n] = &calls[n];
    }
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        for (unsigned n = 0; n < COUNT; n++)
            calls[n].operation = order[i];
        d->ops->batch(d->resource, pointers, COUNT);
        for (unsigned n = 0; n < COUNT; n++)
            assert_int_equal(calls[n].result, ASSENT_RM_OK);
    }
    assert_string_equal(value_of(conn, "SELECT count(*) FROM kv"), "60");
    assert_string_equal(value_of(conn, "SELECT count(*) FROM assent.marker"), "0");
    d->parameters = parameters;
    PQfinish(conn);
}

static void a_query_reads_and_cannot_write(void **state)
{
    struct driver *d = *state;
    char error[512], *json = NULL;

    expect_work(d, 1, "INSERT INTO kv VALUES (1, 7)");
    expect(d, ASSENT_OP_ONE_PHASE, 1, ASSENT_RM_OK);
    assert_int_equal(
        d->ops->query(d->resource, "SELECT v FROM kv WHERE k = 1", &json, error, sizeof(error)), 0);
    assert_string_equal(json, "{\"results\":[{\"columns\":[\"v\"],\"rows\":[[7]],"
                              "\"command\":\"SELECT\",\"count\":1}]}");
    free(json);
    assert_int_equal(d->ops->query(d->resource, "DELETE FROM kv", &json, error, sizeof(error)),
                     ASSENT_E_INVALID);
    assert_string_equal(error, "postgres: statement 1: 25006: cannot execute DELETE in a read-only "
                               "transaction");
}

static void open_says_what_is_wrong(void **state)
{
    static const struct {
        const char *parameters, *error;
        int code;
    } rows[] = {
        {"connections=0 dbname=x", "postgres: parameter \"connections\" cannot be \"0\"",
         ASSENT_E_CONFIG},
        {"dbname", "postgres: missing \"=\" after \"dbname\" in connection info string",
         ASSENT_E_CONFIG},
        {"host=/nowhere dbname=x",
         "postgres: connection to server on socket \"/nowhere/.s.PGSQL.5432\" failed: "
         "No such file or directory",
         ASSENT_E_UNAVAILABLE},
    };
    struct driver *d = *state;
    PGconn *conn = session();
    char other[600];

    driver_close(d);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        d->parameters = rows[i].parameters;
        assert_int_equal(driver_open(d), rows[i].code);
        assert_string_equal(d->error, rows[i].error);
    }
    /* A role that may not make the table is told what to run; one that may not use it as well. */
    run(conn, "DROP TABLE assent.marker");
    run(conn, "DROP SCHEMA assent");
    run(conn, "DO $$ BEGIN CREATE ROLE poor LOGIN; EXCEPTION WHEN duplicate_object THEN END $$");
    snprintf(other, sizeof(other), "%s user=poor", parameters);
    d->parameters = other;
    assert_int_equal(driver_open(d), ASSENT_E_REFUSED);
    assert_non_null(strstr(d->error, "CREATE SCHEMA assent"));
    d->parameters = parameters;
    driver_reopen(d);
    driver_close(d);
    d->parameters = other;
    assert_int_equal(driver_open(d), ASSENT_E_REFUSED);
    assert_non_null(strstr(d->error, "GRANT"));
    run(conn, "GRANT USAGE ON SCHEMA assent TO poor");
    run(conn, "GRANT SELECT, INSERT, DELETE ON assent.marker TO poor");
    driver_reopen(d);
    driver_close(d);
    d->parameters = parameters;
    PQfinish(conn);
}

int main(void)
{
    const struct conformance_subject subject = {
        .ops = &assent_resource_postgres,
        .parameters = parameters,
        .bad_parameters = "host=/tmp colour=red",
        .bad_name = "colour",
        .write = "INSERT INTO kv VALUES (%u, 1)",
        .read_only = "SELECT * FROM kv",
        .reset = reset,
    };
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(work_takes_sql_and_json_and_answers_rows_and_counts),
        TEST(wrong_work_is_named),
        TEST(a_wait_for_a_lock_ends_in_time),
        TEST(settings_of_one_branch_do_not_reach_the_next),
        TEST(the_pool_is_bounded_and_says_so),
        TEST(a_refused_prepare_carries_its_sqlstate),
        TEST(a_second_commit_is_not_found_and_the_marker_tells),
        TEST(what_a_person_ends_by_hand_is_seen),
        TEST(foreign_prepared_transactions_are_not_ours),
        TEST(evidence_and_a_late_session_agree),
        TEST(late_work_of_a_finished_branch_cannot_prepare),
        TEST(sessions_that_the_server_ends_are_noticed),
        TEST(a_big_batch_commits_and_forgets_all),
        TEST(a_query_reads_and_cannot_write),
        TEST(open_says_what_is_wrong),
    };
#undef TEST
    int failed;

    if (getenv("ASSENT_TEST_POSTGRES") == NULL) {
        printf("run it by tests/lib/postgres.py, which starts a server\n");
        return 1;
    }
    snprintf(parameters, sizeof(parameters), "%s", getenv("ASSENT_TEST_POSTGRES"));
    failed = resource_conformance(&subject);
    return cmocka_run_group_tests_name("postgres", tests, NULL, NULL) + failed;
}
