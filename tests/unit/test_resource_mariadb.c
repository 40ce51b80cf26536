/*
 * test_resource_mariadb.c: the MariaDB resource conforms and does what its files promise, on a real
 * server, which tests/lib/mariadb.py starts and names in ASSENT_TEST_MARIADB.
 */
#include "mariadb_fixture.h"

#include "../../participant/resources/mariadb.h"
#include "resource_conformance.h"

/* --- prepare and commit ----------------------------------------------------------------------- */

/* In MariaDB a session keeps what it has prepared until it ends; ours do not, and go on with the
 * next branch. */
static void a_session_lets_go_of_its_branch_in_prepare(void **state)
{
    struct driver *d = *state;
    MYSQL *conn = session();
    char xid[256], sql[300], sessions[32];

    for (unsigned n = 0; n < 20; n++) {
        snprintf(sql, sizeof(sql), "INSERT INTO kv VALUES (%u, 1)\nSELECT * FROM log", n);
        expect_work(d, n, sql);
        expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
        if (n == 0)
            snprintf(sessions, sizeof(sessions), "%s", value_of(conn, "SHOW PROCESSLIST"));
        xid_of(n, xid);
        snprintf(sql, sizeof(sql), "XA %s %s", n % 2 ? "ROLLBACK" : "COMMIT", xid);
        run(conn, sql);
    }
    assert_string_equal(value_of(conn, "SELECT GROUP_CONCAT(k ORDER BY k) FROM kv"),
                        "0,2,4,6,8,10,12,14,16,18");
    assert_string_equal(value_of(conn, "SHOW PROCESSLIST"), sessions);
    mysql_close(conn);
}

/* MariaDB answers XAER_NOTA for a branch on its own list while a session holds it that has prepared
 * it without letting go; that is never taken for "no such branch". */
static void a_branch_held_by_another_session_is_tried_again(void **state)
{
    struct driver *d = *state;
    MYSQL *late = session(), *conn = session();
    char xid[256], sql[1400], marker[256];

    xid_of(1, xid);
    marker_of(1, marker);
    snprintf(sql, sizeof(sql),
             "XA START %s; INSERT INTO kv VALUES (1, 1); %s; XA END %s; XA PREPARE %s", xid, marker,
             xid, xid);
    run(late, sql);
    assert_string_equal(listed(conn), xid);
    snprintf(sql, sizeof(sql), "XA COMMIT %s", xid);
    expect_error(conn, sql, 1397);
    expect_reason(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_RETRY,
                  "1397: another session still holds the branch");
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_RETRY);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    run(late, sql);
    expect_reason(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_NOT_FOUND, "1397: no such branch");
    expect_reason(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED, "its marker is here");
    assert_string_equal(value_of(conn, "SELECT COUNT(*) FROM kv"), "1");
    expect(d, ASSENT_OP_FORGET, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_VANISHED);
    mysql_close(late);
    mysql_close(conn);
}

/* MariaDB itself: a branch that only read is listed, and its commit says that it was rolled back.
 * Ours is not prepared at all. */
static void a_branch_that_only_read_is_not_prepared(void **state)
{
    struct driver *d = *state;
    MYSQL *one = session(), *two = session();

    run(one, LET_GO "; XA START 'theirs'; SELECT * FROM kv; XA END 'theirs';"
                    "XA PREPARE 'theirs'");
    assert_string_equal(listed(two), "'theirs'");
    expect_error(two, "XA COMMIT 'theirs'", 1402);
    mysql_close(one);
    expect_work(d, 1, "SELECT * FROM kv");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_READ_ONLY);
    assert_string_equal(listed(two), "");
    assert_string_equal(value_of(two, "SELECT COUNT(*) FROM assent_marker"), "0");
    mysql_close(two);
}

/* A SELECT that writes by a function is no reader, and neither is one that locks; nor is one that
 * makes the server silent about it. */
static void whatever_writes_is_prepared(void **state)
{
    static const char make[] = "CREATE SEQUENCE numbers;"
                               "CREATE FUNCTION put(x INT) RETURNS INT MODIFIES SQL DATA BEGIN"
                               " INSERT INTO kv VALUES (x, x); RETURN x; END;"
                               "CREATE FUNCTION hide(x INT) RETURNS INT MODIFIES SQL DATA BEGIN"
                               " SET SESSION session_track_transaction_info = 'OFF'; RETURN x; END";
    static const char *const rows[] = {
        "SELECT put(1)",
        "DO put(2)",
        "SELECT hide(1)\nSELECT put(3)",
        "INSERT INTO kv VALUES (4, 4) RETURNING k",
        "SELECT * FROM kv FOR UPDATE",
        "SELECT NEXTVAL(numbers)",
        "WITH a AS (SELECT put(5) AS x) SELECT * FROM a",
    };
    struct driver *d = *state;
    MYSQL *conn = session();

    run(conn, make);
    for (unsigned n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
        expect_work(d, n, rows[n]);
        expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
        expect(d, ASSENT_OP_COMMIT, n, ASSENT_RM_OK);
        expect(d, ASSENT_OP_EVIDENCE, n, ASSENT_RM_WAS_COMMITTED);
    }
    assert_string_equal(value_of(conn, "SELECT GROUP_CONCAT(k ORDER BY k) FROM kv"), "1,2,3,4,5");
    mysql_close(conn);
}

/* What was rolled back past us leaves no more behind than what was lost; what was rolled back by us
 * has its marker (edge cases 20, 22, 39). */
static void what_a_person_ends_by_hand_is_seen(void **state)
{
    struct driver *d = *state;
    MYSQL *conn = session();
    char xid[256], sql[300];

    for (unsigned n = 1; n <= 3; n++) {
        snprintf(sql, sizeof(sql), "INSERT INTO kv VALUES (%u, 1)", n);
        expect_work(d, n, sql);
        expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
        xid_of(n, xid);
        snprintf(sql, sizeof(sql), "XA %s %s", n == 1 ? "COMMIT" : "ROLLBACK", xid);
        if (n < 3)
            run(conn, sql);
    }
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED);
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_NOT_FOUND);
    for (int again = 0; again < 2; again++)
        expect_reason(
            d, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_VANISHED,
            "it is not prepared and has no marker: rolled back past the agent, or lost in "
            "a restore or a fail-over");
    expect(d, ASSENT_OP_ROLLBACK, 3, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 3, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_EVIDENCE, 3, ASSENT_RM_WAS_ABORTED);
    mysql_close(conn);
}

/* Edge cases 35 and 52: only ids exactly as we write them, for this database. */
static void foreign_prepared_transactions_are_not_ours(void **state)
{
#define GTRID "X'a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5018bcfe568000001000001000000000a'"
#define SHORT "X'a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5018bcfe5680000010000010000000a'"
    static const char *const foreign[] = {
        "'foreign'",
        GTRID ",X'0000000174657374',1",            /* another format */
        GTRID ",X'0000000174657375',1095978580",   /* another database */
        GTRID ",X'000000017465737474',1095978580", /* and one that begins like it */
        GTRID ",X'0000000174657374657374',1095978580",
        GTRID ",X'00000001',1095978580",
        GTRID ",'',1095978580",
        SHORT ",X'0000000174657374',1095978580",
        "X'00ff27225c0a',X'27002d2d',1095978580",
    };
    enum { FOREIGN = sizeof(foreign) / sizeof(foreign[0]) };
    struct driver *d = *state;
    MYSQL *conn = session(), *theirs;
    char sql[1024];
    uint64_t mask;

    for (unsigned i = 0; i < FOREIGN; i++) {
        theirs = session();
        snprintf(sql, sizeof(sql),
                 LET_GO "; XA START %s; INSERT INTO kv VALUES (%u, 1); XA END %s;"
                        "XA PREPARE %s",
                 foreign[i], 100 + i, foreign[i], foreign[i]);
        run(theirs, sql);
        mysql_close(theirs);
    }
    expect_work(d, 3, "INSERT INTO kv VALUES (3, 1)");
    expect(d, ASSENT_OP_PREPARE, 3, ASSENT_RM_OK);
    assert_int_equal(driver_recover(d, &mask), 1);
    assert_true(mask == 1u << 3);
    driver_reopen(d);
    expect(d, ASSENT_OP_COMMIT, 3, ASSENT_RM_OK);
    for (unsigned i = 0; i < FOREIGN; i++) { /* all still there */
        snprintf(sql, sizeof(sql), "XA ROLLBACK %s", foreign[i]);
        run(conn, sql);
    }
    assert_string_equal(value_of(conn, "SELECT GROUP_CONCAT(k) FROM kv"), "3");
    mysql_close(conn);
}

/* What was committed before goes, and nothing of another log, of later transactions, or of branches
 * that are prepared: their markers are not waited for either. */
static void the_first_forget_sweeps_what_came_before(void **state)
{
    struct driver *d = *state;
    MYSQL *conn = session();
    char sql[64];

    for (unsigned n = 1; n <= 4; n++) {
        snprintf(sql, sizeof(sql), "INSERT INTO kv VALUES (%u, 1)", n);
        expect_work(d, n, sql);
        expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
        if (n != 2)
            expect(d, ASSENT_OP_COMMIT, n, ASSENT_RM_OK);
    }
    run(conn, "INSERT INTO assent_marker (branch) VALUES (REPEAT(X'01', 36))");
    driver_reopen(d);
    expect(d, ASSENT_OP_FORGET, 3, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_WAS_COMMITTED);
    expect(d, ASSENT_OP_EVIDENCE, 4, ASSENT_RM_WAS_COMMITTED);
    assert_string_equal(value_of(conn, "SELECT COUNT(*) FROM assent_marker"), "3");
    /* The next only takes its own, until many have been forgotten. */
    expect(d, ASSENT_OP_FORGET, 4, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_WAS_COMMITTED);
    mysql_close(conn);
}

/* --- evidence and sessions that are cut off --------------------------------------------------- */

/* The session that still prepares or commits in one phase cannot overtake the evidence, and
 * evidence does not speak while such a session may still win (edge cases 15, 16, 40). */
static void evidence_and_a_late_session_agree(void **state)
{
    struct driver *d = *state;
    MYSQL *late = session();
    char xid[256], marker[256], sql[1400];

    xid_of(1, xid);
    marker_of(1, marker);
    /* It has written its marker: nobody can say yet. */
    snprintf(sql, sizeof(sql), "XA START %s; INSERT INTO kv VALUES (1, 1); %s", xid, marker);
    run(late, sql);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_NOT_FOUND);
    expect_reason(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_RETRY,
                  "a session is still ending the branch");
    snprintf(sql, sizeof(sql), "XA END %s; XA ROLLBACK %s", xid, xid);
    run(late, sql);

    /* Evidence came first: the late one fails. */
    snprintf(sql, sizeof(sql), "XA START %s; INSERT INTO kv VALUES (1, 1)", xid);
    run(late, sql);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_VANISHED);
    expect_error(late, marker, 1062);
    snprintf(sql, sizeof(sql), "XA END %s; XA ROLLBACK %s", xid, xid);
    run(late, sql);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_VANISHED);

    /* It prepared in time: still there. */
    expect(d, ASSENT_OP_FORGET, 1, ASSENT_RM_OK);
    snprintf(sql, sizeof(sql),
             LET_GO "; XA START %s; INSERT INTO kv VALUES (1, 1); %s; XA END %s;"
                    "XA PREPARE %s",
             xid, marker, xid, xid);
    run(late, sql);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_OK);
    mysql_close(late);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED);
}

/* Work that comes again after the branch has finished, or is prepared, leaves nothing behind (edge
 * cases 11, 46). */
static void late_work_cannot_prepare(void **state)
{
    struct driver *d = *state;
    struct assent_call call;

    expect_work(d, 1, "INSERT INTO kv VALUES (1, 1)");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    assert_int_equal(driver_begin(d, 1), ASSENT_RM_OK);
    call = driver_work(d, 1, "INSERT INTO kv VALUES (3, 1)", 1000);
    assert_int_equal(call.result, ASSENT_RM_FAILED);
    assert_string_equal(call.reason, "1440: XAER_DUPID: The XID already exists");
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK); /* of that work alone */
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect_work(d, 1, "INSERT INTO kv VALUES (2, 1)");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_REFUSED);
    expect_work(d, 1, "INSERT INTO kv VALUES (2, 1)");
    expect(d, ASSENT_OP_ONE_PHASE, 1, ASSENT_RM_REFUSED);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED);
    assert_int_equal(driver_recover(d, NULL), 0);
}

static void sessions_that_the_server_ends_are_noticed(void **state)
{
    struct driver *d = *state;
    MYSQL *conn = session();
    struct assent_call call;
    char sql[64], id[32];

    expect_work(d, 1, "INSERT INTO kv VALUES (1, 1)");
    expect_work(d, 2, "INSERT INTO kv VALUES (2, 1)");
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_OK);
    expect_work(d, 3, "INSERT INTO kv VALUES (3, 1)");
    for (;;) {
        snprintf(id, sizeof(id), "%s",
                 value_of(conn,
                          "SELECT id FROM information_schema.processlist WHERE user = 'assent'"
                          " AND id <> CONNECTION_ID()"));
        if (id[0] == '\0')
            break;
        snprintf(sql, sizeof(sql), "KILL CONNECTION %s", id);
        (void)attempt(conn, sql, (char[256]){0});
    }
    call = driver_work(d, 1, "SELECT 1", 1000);
    assert_int_equal(call.result, ASSENT_RM_UNAVAILABLE);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_PREPARE, 3, ASSENT_RM_UNAVAILABLE);
    expect(d, ASSENT_OP_ROLLBACK, 3, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_EVIDENCE, 3, ASSENT_RM_VANISHED);
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_OK);
    expect_work(d, 4, "INSERT INTO kv VALUES (1, 1)");
    expect(d, ASSENT_OP_ONE_PHASE, 4, ASSENT_RM_OK);
    assert_string_equal(value_of(conn, "SELECT GROUP_CONCAT(k ORDER BY k) FROM kv"), "1,2");
    mysql_close(conn);
}

/* An application that works past the agent is told what to run; without its marker a branch is not
 * voted for. */
static void a_branch_that_its_application_prepared_needs_its_marker(void **state)
{
    struct driver *d = *state;
    char xid[256], marker[256], sql[1400], error[256], own[160], name[ASSENT_BRANCH_ID_TEXT + 1];
    struct assent_branch_id id = driver_branch(1);
    char *json = NULL;
    MYSQL *one;

    xid_of(1, xid);
    marker_of(1, marker);
    assent_branch_id_format(&id, name);
    snprintf(own, sizeof(own), "own %s", name);
    assert_int_equal(d->ops->query(d->resource, own, &json, error, sizeof(error)), 0);
    snprintf(sql, sizeof(sql),
             "{\"before\": [\"XA START %s\"], \"after\": [\"" LET_GO
             "\", \"%s\", \"XA END %s\", \"XA PREPARE %s\"]}",
             xid, marker, xid, xid);
    assert_string_equal(json, sql);
    free(json);
    expect_reason(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_NOT_FOUND, "the branch is not prepared");
    for (int marked = 0; marked < 2; marked++) {
        one = session();
        snprintf(sql, sizeof(sql),
                 "XA START %s; INSERT INTO kv VALUES (1, 1); " LET_GO "; %s; XA END %s;"
                 "XA PREPARE %s",
                 xid, marked ? marker : "DO 0", xid, xid);
        run(one, sql);
        expect_reason(d, ASSENT_OP_PREPARE, 1, marked ? ASSENT_RM_OK : ASSENT_RM_FAILED,
                      marked ? "" : "the application has prepared the branch without its marker");
        expect(d, marked ? ASSENT_OP_COMMIT : ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
        mysql_close(one); /* it need not end before */
        if (!marked)
            expect(d, ASSENT_OP_FORGET, 1, ASSENT_RM_OK);
    }
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED);
}

static void a_branch_that_got_no_session_has_not_committed(void **state)
{
    char alone[600];

    snprintf(alone, sizeof(alone), "connections=1,%s", parameters);
    expect_without_a_session_no_commit(*state, alone);
}

/* --- batches ---------------------------------------------------------------------------------- */

static void a_big_batch_commits_and_forgets_all(void **state)
{
    enum { COUNT = 60 };
    struct driver *d = *state;
    struct assent_call calls[COUNT] = {0}, *pointers[COUNT];
    static const enum assent_operation order[] = {ASSENT_OP_PREPARE, ASSENT_OP_COMMIT,
                                                  ASSENT_OP_FORGET};
    MYSQL *conn = session();
    char sql[64], wide[600];

    driver_close(d);
    snprintf(wide, sizeof(wide), "connections=%d,%s", COUNT, parameters);
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
    assert_string_equal(value_of(conn, "SELECT COUNT(*) FROM kv"), "60");
    assert_string_equal(value_of(conn, "SELECT COUNT(*) FROM assent_marker"), "0");
    d->parameters = parameters;
    mysql_close(conn);
}

/* MariaDB itself: while a session that has prepared is being reset, or ends, the branch's name is
 * free before the branch is. Who then ends it is answered OK, and nothing has happened. That is no
 * success: the marker is not there, and its lock is. It leaves the server with branches that only a
 * restart would bring back, so it comes last. */
static void an_ok_that_did_nothing_is_no_success(void **state)
{
    struct driver *d = *state;
    MYSQL *sessions[2] = {session(), session()}, *conn = session();
    char xid[256], marker[256], sql[1400];

    for (unsigned n = 0; n < 2; n++) {
        xid_of(n, xid);
        marker_of(n, marker);
        snprintf(sql, sizeof(sql),
                 "XA START %s; INSERT INTO kv VALUES (%u, 1); %s; XA END %s; XA PREPARE %s", xid, n,
                 marker, xid, xid);
        run(sessions[n], sql);
        assert_string_equal(listed(conn), xid);
        assert_int_equal(mysql_reset_connection(sessions[n]), 0);
        if (n == 0)
            expect_reason(d, ASSENT_OP_COMMIT, n, ASSENT_RM_RETRY,
                          "the server says that it has done so, but the marker does not");
        else
            expect_reason(d, ASSENT_OP_ROLLBACK, n, ASSENT_RM_UNKNOWN_CODE,
                          "1205: Lock wait timeout exceeded; try restarting transaction");
        assert_string_equal(listed(conn), "");
        expect(d, ASSENT_OP_COMMIT, n, ASSENT_RM_NOT_FOUND);
        expect_reason(d, ASSENT_OP_EVIDENCE, n, ASSENT_RM_RETRY,
                      "a session is still ending the branch");
    }
    assert_string_equal(value_of(conn, "SELECT COUNT(*) FROM kv"), "0");
    for (unsigned n = 0; n < 2; n++)
        mysql_close(sessions[n]);
    mysql_close(conn);
}

int main(void)
{
    const struct conformance_subject subject = {
        .ops = &assent_resource_mariadb,
        .parameters = parameters,
        .bad_parameters = "database=test,colour=red",
        .bad_name = "colour",
        .write = "INSERT INTO kv VALUES (%u, 1)",
        .read_only = "SELECT * FROM kv",
        .reset = reset,
    };
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_session_lets_go_of_its_branch_in_prepare),
        TEST(a_branch_held_by_another_session_is_tried_again),
        TEST(a_branch_that_only_read_is_not_prepared),
        TEST(whatever_writes_is_prepared),
        TEST(what_a_person_ends_by_hand_is_seen),
        TEST(foreign_prepared_transactions_are_not_ours),
        TEST(the_first_forget_sweeps_what_came_before),
        TEST(evidence_and_a_late_session_agree),
        TEST(late_work_cannot_prepare),
        TEST(sessions_that_the_server_ends_are_noticed),
        TEST(a_branch_that_its_application_prepared_needs_its_marker),
        TEST(a_branch_that_got_no_session_has_not_committed),
        TEST(a_big_batch_commits_and_forgets_all),
        TEST(an_ok_that_did_nothing_is_no_success),
    };
#undef TEST
    int failed;

    if (!find_server())
        return 1;
    failed = resource_conformance(&subject);
    return cmocka_run_group_tests_name("mariadb", tests, NULL, NULL) + failed;
}
