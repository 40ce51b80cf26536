/*
 * test_resource_postgres.c: the PostgreSQL resource conforms and does what its files promise, on a
 * real server, which tests/lib/postgres.py starts and names in ASSENT_TEST_POSTGRES.
 */
#include "postgres_fixture.h"

#include "gtrid.h"
#include "resource_conformance.h"

static void gid_of(unsigned n, char gid[128])
{
    struct assent_branch_id id = driver_branch(n);
    char gtrid[ASSENT_GTRID_TEXT + 1];

    assent_gtrid_format(&id.gtrid, gtrid);
    snprintf(gid, 128, "assent:a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5:%s:1", gtrid);
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
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_VANISHED);
    /* A deferred constraint speaks at prepare. */
    expect_work(d, 2, "INSERT INTO kv VALUES (1, 1, 7), (2, 2, 7)");
    expect_reason(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_REFUSED,
                  "23505: duplicate key value violates unique constraint \"kv_w_key\": "
                  "Key (w)=(7) already exists.");
    expect_work(d, 3, "INSERT INTO kv VALUES (1, 1, 7), (2, 2, 7)");
    expect(d, ASSENT_OP_ONE_PHASE, 3, ASSENT_RM_REFUSED);
    expect(d, ASSENT_OP_EVIDENCE, 3, ASSENT_RM_VANISHED);
    assert_int_equal(driver_recover(d, NULL), 0);
}

/* Work may change its role, and what its names mean: the branch is prepared as the agent's own,
 * that it wrote is not hidden, and which transaction it was is not made up. */
static void role_and_search_path_of_the_work_do_not_matter(void **state)
{
    struct driver *d = *state;
    PGconn *conn = session();
    char gid[128], sql[256];

    run(conn, "DO $$ BEGIN CREATE ROLE other; EXCEPTION WHEN duplicate_object THEN END $$");
    run(conn, "GRANT ALL ON kv TO other");
    run(conn, "SET client_min_messages = error");
    run(conn, "DROP SCHEMA IF EXISTS evil CASCADE");
    run(conn, "CREATE SCHEMA evil");
    run(conn, "GRANT USAGE ON SCHEMA evil TO other");
    run(conn, "CREATE FUNCTION evil.txid_current_if_assigned() RETURNS bigint"
              " LANGUAGE sql AS 'SELECT NULL::bigint'");
    run(conn,
        "CREATE FUNCTION evil.txid_current() RETURNS bigint LANGUAGE sql AS 'SELECT 3::bigint'");
    expect_work(d, 1,
                "SET ROLE other\nINSERT INTO kv VALUES (1, 1)\n"
                "SET search_path = evil, pg_catalog");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    assert_string_equal(value_of(conn, "SELECT owner = current_user FROM pg_prepared_xacts"), "t");
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect_work(d, 2, "INSERT INTO kv VALUES (2, 1)\nSET search_path = evil, pg_catalog");
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_OK);
    gid_of(2, gid);
    snprintf(sql, sizeof(sql), "ROLLBACK PREPARED '%s'", gid);
    run(conn, sql);
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_WAS_ABORTED);
    run(conn, "DROP SCHEMA evil CASCADE");
    PQfinish(conn);
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
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_VANISHED);
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
    /* That has settled it, and its transaction is not kept. */
    expect_reason(d, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_VANISHED,
                  "it is not prepared, has no marker, and its transaction is not known");
    PQfinish(conn);
}

/* COMMIT PREPARED of a branch that another connection is about to finish: not done, and not failed
 * either. */
static void a_busy_branch_is_tried_again(void **state)
{
    struct driver *d = *state;
    PGconn *person = session(), *conn = session(), *probe = session();
    char gid[128], sql[256];

    expect_work(d, 1, "INSERT INTO kv VALUES (1, 1)");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    hold_commits(conn, probe);
    gid_of(1, gid);
    snprintf(sql, sizeof(sql), "COMMIT PREPARED '%s'", gid);
    assert_int_equal(PQsendQuery(person, sql), 1);
    await_value(conn, COUNT_WAITING, "2");
    snprintf(sql, sizeof(sql), "55000: prepared transaction with identifier \"%s\" is busy", gid);
    expect_reason(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_RETRY, sql);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_RETRY);
    release_commits(conn);
    PQclear(PQgetResult(person));
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED);
    PQfinish(person);
    PQfinish(conn);
    PQfinish(probe);
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

/* An agent forgets what it remembers; the sweep takes what was committed before, and nothing of
 * another log, of later transactions, or of branches that are not committed. */
static void the_first_forget_sweeps_what_came_before(void **state)
{
    struct driver *d = *state;
    PGconn *conn = session();
    char sql[64];

    for (unsigned n = 1; n <= 4; n++) {
        snprintf(sql, sizeof(sql), "INSERT INTO kv VALUES (%u, 1)", n);
        expect_work(d, n, sql);
        expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
        if (n != 2)
            expect(d, ASSENT_OP_COMMIT, n, ASSENT_RM_OK);
    }
    run(conn, "INSERT INTO assent.marker VALUES (decode(repeat('00', 36), 'hex'))");
    driver_reopen(d);
    expect(d, ASSENT_OP_FORGET, 3, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_WAS_COMMITTED);
    expect(d, ASSENT_OP_EVIDENCE, 4, ASSENT_RM_WAS_COMMITTED);
    assert_string_equal(value_of(conn, "SELECT count(*) FROM assent.marker"), "3");
    /* The next only takes its own, until many have been forgotten. */
    expect(d, ASSENT_OP_FORGET, 4, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_WAS_COMMITTED);
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
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_VANISHED);
    result = PQexec(late, sql);
    assert_string_equal(PQresultErrorField(result, PG_DIAG_SQLSTATE), "23505");
    PQclear(result);
    run(late, "ROLLBACK");
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_VANISHED);

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
    expect(d, ASSENT_OP_EVIDENCE, 3, ASSENT_RM_VANISHED);
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_OK);
    expect_work(d, 4, "INSERT INTO kv VALUES (1, 1)");
    expect(d, ASSENT_OP_ONE_PHASE, 4, ASSENT_RM_OK);
    assert_string_equal(value_of(conn, "SELECT string_agg(k::text, ',' ORDER BY k) FROM kv"),
                        "1,2");
    PQfinish(conn);
}

/* --- batches, preflight -------------------------------------------------------------- */

static void a_branch_that_got_no_session_has_not_committed(void **state)
{
    char alone[600];

    snprintf(alone, sizeof(alone), "connections=1 %s", parameters);
    expect_without_a_session_no_commit(*state, alone);
}

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
    assert_int_equal(driver_open(d), ASSENT_E_CONFIG);
    assert_non_null(strstr(d->error, "CREATE SCHEMA assent"));
    d->parameters = parameters;
    driver_reopen(d);
    driver_close(d);
    d->parameters = other;
    assert_int_equal(driver_open(d), ASSENT_E_CONFIG);
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
        TEST(a_refused_prepare_carries_its_sqlstate),
        TEST(role_and_search_path_of_the_work_do_not_matter),
        TEST(a_second_commit_is_not_found_and_the_marker_tells),
        TEST(what_a_person_ends_by_hand_is_seen),
        TEST(a_busy_branch_is_tried_again),
        TEST(the_first_forget_sweeps_what_came_before),
        TEST(foreign_prepared_transactions_are_not_ours),
        TEST(evidence_and_a_late_session_agree),
        TEST(late_work_of_a_finished_branch_cannot_prepare),
        TEST(sessions_that_the_server_ends_are_noticed),
        TEST(a_branch_that_got_no_session_has_not_committed),
        TEST(a_big_batch_commits_and_forgets_all),
        TEST(open_says_what_is_wrong),
    };
#undef TEST
    int failed;

    if (!find_server())
        return 1;
    failed = resource_conformance(&subject);
    return cmocka_run_group_tests_name("postgres", tests, NULL, NULL) + failed;
}
