/*
 * test_mariadb_work.c: SQL as the work of a branch in MariaDB: its forms, its answers, its bounds,
 * what is refused, and which tables may not be touched; on a real server.
 */
#include "mariadb_fixture.h"

#include <pthread.h>

static void work_takes_sql_and_json_and_answers_rows_and_counts(void **state)
{
    struct driver *d = *state;

    expect_reply(d, 1, "INSERT INTO kv VALUES (1, 10), (2, 20)\n\nSELECT k, v FROM kv ORDER BY k",
                 "{\"results\":[{\"command\":\"INSERT\",\"count\":2},"
                 "{\"columns\":[\"k\",\"v\"],\"rows\":[[1,10],[2,20]],"
                 "\"command\":\"SELECT\",\"count\":2}]}");
    expect_reply(d, 1,
                 "{\"sql\":\"UPDATE kv SET v = v + ? WHERE k = ?\",\"params\":[5,\"1\"],"
                 "\"rows\":1}",
                 "{\"results\":[{\"command\":\"UPDATE\",\"count\":1}]}");
    expect_reply(d, 1,
                 "[\"(SELECT v FROM kv WHERE k = 1)\", {\"sql\":\"SELECT ? AS a, ? AS b, "
                 "JSON_VALUE(?, '$.a') AS c, ? AS d, ? AS e, 18446744073709551615 AS f\","
                 "\"params\":[true, null, {\"a\":\"b\"}, 1.5, \"it's \\\\ \\u00fc \\u20ac\"]}]",
                 "{\"results\":[{\"columns\":[\"v\"],\"rows\":[[15]],\"command\":\"SELECT\","
                 "\"count\":1},{\"columns\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\"],"
                 "\"rows\":[[1,null,\"b\",\"1.5\",\"it's \\\\ \u00fc \u20ac\","
                 "\"18446744073709551615\"]],\"command\":\"SELECT\",\"count\":1}]}");
    /* Rows that were found count, also if they are as they should be. */
    expect_reply(d, 1, "{\"sql\":\"UPDATE kv SET v = 15 WHERE k = 1\",\"rows\":1}",
                 "{\"results\":[{\"command\":\"UPDATE\",\"count\":1}]}");
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
}

#define ALLOWED                                                                                    \
    " is not for the work of a branch (only SELECT, INSERT, REPLACE, UPDATE, DELETE, WITH, "       \
    "VALUES, EXPLAIN, DESCRIBE, SHOW, DO)"

/* Edge case 52 among them: SQL in a parameter stays text. */
static void wrong_work_is_named(void **state)
{
    static const struct {
        const char *work, *reason;
    } rows[] = {
        {"", "the work has no statement"},
        {"{\"sql\":1}", "statement 1: no text \"sql\""},
        {"SELECT 1\nCOMMIT", "statement 2: \"COMMIT\"" ALLOWED},
        {"CALL p()", "statement 1: \"CALL p()\"" ALLOWED},
        {"SET @x = 1", "statement 1: \"SET @x = 1\"" ALLOWED},
        {"/*! XA END 'x' */", "statement 1: \"/*! XA END 'x' */\"" ALLOWED},
        {"XA END 'x'", "statement 1: \"XA END 'x'\"" ALLOWED},
        {"SELECT 1; COMMIT",
         "statement 1: 1064: You have an error in your SQL syntax; check the manual that "
         "corresponds "
         "to your MariaDB server version for the right syntax to use near 'COMMIT' at line 1"},
        {"{\"sql\":\"SELECT 1 FROM kv WHERE k = ?\",\"params\":[\"1 OR 1\"],\"rows\":1}",
         "statement 1: SELECT of 0 rows, not 1"},
        {"{\"sql\":\"SELECT ?\",\"params\":[\"'; DROP TABLE kv; -- \",2]}",
         "statement 1: 1210: Incorrect arguments to EXECUTE"},
        {"INSERT INTO kv VALUES (1, -1)",
         "statement 1: 4025: CONSTRAINT `kv.v` failed for `test`.`kv`"},
        {"DELETE FROM nowhere", "statement 1: 1146: Table 'test.nowhere' doesn't exist"},
        {"SELECT seq FROM seq_1_to_10001", "statement 1: the rows of the reply are over 10000"},
        {"SELECT REPEAT('x', 600000)", "statement 1: the bytes of the reply are over 524288"},
        {"SELECT X'ff' AS x", "statement 1: column \"x\" is not UTF-8, or out of memory"},
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
    expect_reply(d, 50, "SELECT COUNT(*) AS n FROM kv",
                 "{\"results\":[{\"columns\":[\"n\"],\"rows\":[[0]],\"command\":\"SELECT\","
                 "\"count\":1}]}");
}

static void a_wait_for_a_lock_ends_in_time(void **state)
{
    struct driver *d = *state;
    struct assent_call call;

    expect_work(d, 1, "INSERT INTO kv VALUES (1, 1)");
    expect(d, ASSENT_OP_ONE_PHASE, 1, ASSENT_RM_OK);
    expect_work(d, 2, "UPDATE kv SET v = 2");
    assert_int_equal(driver_begin(d, 3), ASSENT_RM_OK);
    call = driver_work(d, 3, "UPDATE kv SET v = 3", 2000);
    assert_int_equal(call.result, ASSENT_RM_FAILED);
    assert_string_equal(
        call.reason, "statement 1: 1205: Lock wait timeout exceeded; try restarting transaction");
    expect_work_fails(d, 4, "UPDATE kv SET v = 3",
                      "statement 1: 1969: Query execution was interrupted (max_statement_time "
                      "exceeded)");
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_OK);
}

struct deadlock {
    struct driver *driver;
    struct assent_call call;
};

static void *second_half(void *context)
{
    struct deadlock *deadlock = context;

    deadlock->call = driver_work(deadlock->driver, 1, "UPDATE kv SET v = 11 WHERE k = 2", 10000);
    return NULL;
}

/* MariaDB has rolled the branch back alone; what comes later must not be committed outside of it.
 * */
static void a_deadlock_ends_the_branch(void **state)
{
    struct driver *d = *state;
    struct deadlock deadlock = {.driver = d};
    MYSQL *link = session();
    struct assent_call call;
    pthread_t thread;

    run(link, "INSERT INTO kv VALUES (1, 1), (2, 2)");
    /* The lighter one is chosen: branch 1 has more rows. */
    expect_work(d, 1, "UPDATE kv SET v = 10 WHERE k = 1\nINSERT INTO kv VALUES (3, 3), (4, 4)");
    expect_work(d, 2, "UPDATE kv SET v = 20 WHERE k = 2");
    assert_int_equal(pthread_create(&thread, NULL, second_half, &deadlock), 0);
    await_value(link,
                "SELECT variable_value FROM information_schema.global_status"
                " WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS'",
                "1");
    call = driver_work(d, 2, "UPDATE kv SET v = 21 WHERE k = 1", 10000);
    pthread_join(thread, NULL);
    assert_int_equal(call.result, ASSENT_RM_FAILED);
    assert_string_equal(call.reason, "statement 1: 1213: Deadlock found when trying to get lock; "
                                     "try restarting transaction");
    assert_int_equal(deadlock.call.result, ASSENT_RM_OK);
    free(deadlock.call.reply);
    expect_work_fails(d, 2, "INSERT INTO kv VALUES (99, 99)", call.reason);
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_FAILED);
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    assert_string_equal(value_of(link, "SELECT GROUP_CONCAT(k, ':', v ORDER BY k) FROM kv"),
                        "1:10,2:11,3:3,4:4");
    mysql_close(link);
}

/* --- engines ---------------------------------------------------------------------------------- */

/* MariaDB itself: rows in an engine without XA stay through XA ROLLBACK. */
static void mariadb_keeps_aria_rows_through_a_rollback(void **state)
{
    MYSQL *link = session();

    (void)state;
    run(link, "XA START 'theirs'; INSERT INTO log VALUES (1); INSERT INTO kv VALUES (1, 1);"
              "XA END 'theirs'; XA PREPARE 'theirs'; XA ROLLBACK 'theirs'");
    assert_string_equal(value_of(link, "SELECT COUNT(*) FROM log"), "1");
    assert_string_equal(value_of(link, "SELECT COUNT(*) FROM kv"), "0");
    mysql_close(link);
}

/* Refused before anything is changed: named in the statement, behind a view, in a trigger, in a
 * function, under an alias, and together with others. */
static void engines_without_xa_are_refused_before_they_are_changed(void **state)
{
    static const char make[] =
        "CREATE TABLE other (k INT) ENGINE=MyISAM;"
        "CREATE VIEW seen AS SELECT * FROM log;"
        "CREATE TABLE watched (k INT) ENGINE=InnoDB;"
        "CREATE TRIGGER watch BEFORE INSERT ON watched FOR EACH ROW INSERT INTO log VALUES (NEW.k);"
        "CREATE FUNCTION note(x INT) RETURNS INT MODIFIES SQL DATA BEGIN INSERT INTO log VALUES "
        "(x);"
        " RETURN x; END";
    static const struct {
        const char *work;
        unsigned statement;
    } rows[] = {
        {"INSERT INTO log VALUES (1)", 1},
        {"INSERT INTO kv VALUES (1, 1)\nSELECT * FROM log\nREPLACE INTO other VALUES (1)", 3},
        {"UPDATE kv, log AS kv2 SET kv2.k = 7 WHERE kv.k = kv2.k", 1},
        {"DELETE FROM seen", 1},
        {"INSERT INTO watched VALUES (1)", 1},
        {"INSERT INTO kv VALUES (note(5), 1)", 1},
        {"{\"sql\":\"INSERT INTO log VALUES (?)\",\"params\":[1]}", 1},
    };
    struct driver *d = *state;
    MYSQL *link = session();
    char reason[128];

    run(link, make);
    for (unsigned n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
        struct assent_call call;

        assert_int_equal(driver_begin(d, n), ASSENT_RM_OK);
        call = driver_work(d, n, rows[n].work, 5000);
        snprintf(reason, sizeof(reason), "statement %u would change a table whose engine has no XA",
                 rows[n].statement);
        assert_string_equal(call.reason, reason);
        assert_int_equal(call.result, ASSENT_RM_FAILED);
        expect(d, ASSENT_OP_ROLLBACK, n, ASSENT_RM_OK);
    }
    assert_string_equal(value_of(link, "SELECT (SELECT COUNT(*) FROM log) +"
                                       " (SELECT COUNT(*) FROM other) + (SELECT COUNT(*) FROM kv)"),
                        "0");
    /* Reading them is nothing. */
    expect_work(d, 20, "SELECT * FROM log\nINSERT INTO kv SELECT k, 1 FROM log");
    expect(d, ASSENT_OP_PREPARE, 20, ASSENT_RM_OK);
    expect(d, ASSENT_OP_ROLLBACK, 20, ASSENT_RM_OK);
    mysql_close(link);
}

/* A function in a SELECT is found only afterwards: no vote of yes, and it says what stays. */
static void a_function_that_changes_them_is_found_afterwards(void **state)
{
    struct driver *d = *state;
    MYSQL *link = session();
    struct assent_call call;

    run(link, "CREATE FUNCTION note(x INT) RETURNS INT MODIFIES SQL DATA BEGIN"
              " INSERT INTO log VALUES (x); RETURN x; END");
    assert_int_equal(driver_begin(d, 1), ASSENT_RM_OK);
    call = driver_work(d, 1, "SELECT note(5)", 5000);
    assert_int_equal(call.result, ASSENT_RM_FAILED);
    assert_string_equal(call.reason,
                        "statement 1 has changed a table whose engine has no XA; that stays");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_FAILED);
    mysql_close(link);
}

/* Explaining runs a function in a derived table; nothing of that is left. */
static void what_is_explained_is_undone(void **state)
{
    struct driver *d = *state;
    MYSQL *link = session();

    run(link, "CREATE TABLE calls (x INT) ENGINE=InnoDB;"
              "CREATE FUNCTION note(x INT) RETURNS INT MODIFIES SQL DATA BEGIN"
              " INSERT INTO calls VALUES (x); RETURN x; END");
    expect_work(d, 1, "INSERT INTO kv SELECT x, x FROM (SELECT note(5) AS x) AS q");
    expect(d, ASSENT_OP_ONE_PHASE, 1, ASSENT_RM_OK);
    assert_string_equal(value_of(link, "SELECT COUNT(*) FROM calls"), "1");
    assert_string_equal(value_of(link, "SELECT COUNT(*) FROM kv"), "1");
    mysql_close(link);
}

/* A user who may not explain a view is checked afterwards, the statements before and behind it as
 * ever. */
static void a_view_that_cannot_be_explained_is_checked_afterwards(void **state)
{
    struct driver *d = *state;
    char other[600], socket[256];
    MYSQL *link = session();
    struct assent_call call;

    run(link, "CREATE VIEW good AS SELECT * FROM kv; CREATE VIEW bad AS SELECT * FROM log;"
              "CREATE OR REPLACE USER poor@localhost;"
              "GRANT SELECT, INSERT ON test.kv TO poor@localhost;"
              "GRANT SELECT, INSERT ON test.log TO poor@localhost;"
              "GRANT SELECT, INSERT ON test.good TO poor@localhost;"
              "GRANT SELECT, INSERT ON test.bad TO poor@localhost;"
              "GRANT SELECT, INSERT, DELETE ON test.assent_marker TO poor@localhost");
    assert_int_equal(sscanf(parameters, "socket=%255[^,]", socket), 1);
    snprintf(other, sizeof(other), "socket=%s user=poor database=test", socket);
    driver_close(d);
    d->parameters = other;
    driver_reopen(d);
    expect_work(d, 1,
                "INSERT INTO kv VALUES (1, 1)\nINSERT INTO good VALUES (2, 2)\n"
                "INSERT INTO kv VALUES (3, 3)\nINSERT INTO good VALUES (4, 4)");
    expect(d, ASSENT_OP_ONE_PHASE, 1, ASSENT_RM_OK);
    assert_string_equal(value_of(link, "SELECT GROUP_CONCAT(k ORDER BY k) FROM kv"), "1,2,3,4");
    expect_work_fails(d, 2, "INSERT INTO good VALUES (5, 5)\nINSERT INTO log VALUES (1)",
                      "statement 2 would change a table whose engine has no XA");
    assert_int_equal(driver_begin(d, 3), ASSENT_RM_OK);
    call = driver_work(d, 3, "INSERT INTO bad VALUES (1)", 1000);
    assert_int_equal(call.result, ASSENT_RM_FAILED);
    assert_string_equal(call.reason,
                        "statement 1 has changed a table whose engine has no XA; that stays");
    d->parameters = parameters;
    mysql_close(link);
}

/* --- sessions --------------------------------------------------------------------------------- */

static void settings_of_one_branch_do_not_reach_the_next(void **state)
{
    struct driver *d = *state;

    expect_work(d, 1, "SELECT 7 INTO @x\nDO GET_LOCK('a', 0)");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_READ_ONLY);
    expect_reply(d, 2, "SELECT @x AS x, IS_FREE_LOCK('a') AS l",
                 "{\"results\":[{\"columns\":[\"x\",\"l\"],\"rows\":[[null,1]],"
                 "\"command\":\"SELECT\",\"count\":1}]}");
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
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
    assert_string_equal(error, "mariadb: statement 1: 1792: Cannot execute statement in a READ "
                               "ONLY transaction");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(work_takes_sql_and_json_and_answers_rows_and_counts),
        TEST(wrong_work_is_named),
        TEST(a_wait_for_a_lock_ends_in_time),
        TEST(a_deadlock_ends_the_branch),
        TEST(mariadb_keeps_aria_rows_through_a_rollback),
        TEST(engines_without_xa_are_refused_before_they_are_changed),
        TEST(a_function_that_changes_them_is_found_afterwards),
        TEST(what_is_explained_is_undone),
        TEST(a_view_that_cannot_be_explained_is_checked_afterwards),
        TEST(settings_of_one_branch_do_not_reach_the_next),
        TEST(a_query_reads_and_cannot_write),
    };
#undef TEST

    return find_server() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
