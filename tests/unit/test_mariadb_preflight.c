/*
 * test_mariadb_preflight.c: which servers are refused, and what an agent that starts waits for; on
 * a real server.
 */
#include "mariadb_fixture.h"

#include "../../participant/resources/mariadb.h"

static void open_says_what_is_wrong(void **state)
{
    static const struct {
        const char *parameters, *error;
        int code;
    } rows[] = {
        {"connections=0,database=x", "mariadb: parameter \"connections\" cannot be \"0\"",
         ASSENT_E_CONFIG},
        {"user=assent", "mariadb: parameter \"database\" is missing", ASSENT_E_CONFIG},
        {"database=a123456789b123456789c123456789d123456789e123456789f1234567890",
         "mariadb: parameter \"database\" cannot be "
         "\"a123456789b123456789c123456789d123456789e123456789f1234567890\"",
         ASSENT_E_CONFIG},
        {"socket=/nowhere,database=x",
         "mariadb: 2002: Can't connect to local server through socket '/nowhere' (2)",
         ASSENT_E_UNAVAILABLE},
    };
    struct driver *d = *state;
    MYSQL *conn = session();
    char other[600], socket[256];

    driver_close(d);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        d->parameters = rows[i].parameters;
        assert_int_equal(driver_open(d), rows[i].code);
        assert_string_equal(d->error, rows[i].error);
    }
    /* A user who may not make the table is told what to run; one who may not use it as well. */
    run(conn, "DROP TABLE assent_marker; CREATE OR REPLACE USER poor@localhost;"
              "GRANT SELECT ON test.kv TO poor@localhost");
    assert_int_equal(sscanf(parameters, "socket=%255[^,]", socket), 1);
    snprintf(other, sizeof(other), "socket=%s user=poor database=test", socket);
    d->parameters = other;
    assert_int_equal(driver_open(d), ASSENT_E_CONFIG);
    assert_non_null(strstr(d->error, "CREATE TABLE"));
    d->parameters = parameters;
    driver_reopen(d);
    driver_close(d);
    d->parameters = other;
    run(conn, "GRANT SELECT ON test.assent_marker TO poor@localhost");
    assert_int_equal(driver_open(d), ASSENT_E_CONFIG);
    assert_non_null(strstr(d->error, "GRANT SELECT, INSERT, DELETE"));
    run(conn, "GRANT SELECT, INSERT, DELETE ON test.assent_marker TO poor@localhost");
    driver_reopen(d);
    driver_close(d);
    run(conn, "ALTER TABLE assent_marker ENGINE=Aria");
    assert_int_equal(driver_open(d), ASSENT_E_CONFIG);
    assert_string_equal(d->error, "mariadb: table assent_marker has the engine Aria, not InnoDB");
    d->parameters = parameters;
    mysql_close(conn);
}

/* Its part of a branch would be neither committed nor rolled back. */
static void a_server_with_transactions_without_xa_is_refused(void **state)
{
    struct driver *d = *state;
    MYSQL *conn = session();
    char sql[900], socket[256];

    assert_int_equal(sscanf(parameters, "socket=%255[^,]", socket), 1);
    run(conn, "INSTALL SONAME 'ha_federatedx'");
    snprintf(sql, sizeof(sql),
             "CREATE OR REPLACE SERVER here FOREIGN DATA WRAPPER mysql OPTIONS (SOCKET '%s',"
             " USER 'assent', DATABASE 'test');"
             "CREATE TABLE there (k INT) ENGINE=InnoDB;"
             "CREATE TABLE far (k INT) ENGINE=FEDERATED CONNECTION='here/there'",
             socket);
    run(conn, sql);
    expect_work(d, 1, "INSERT INTO kv VALUES (1, 1)\nINSERT INTO far VALUES (1)");
    expect_reason(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_REFUSED,
                  "the server has a storage engine with transactions and without XA");
    assert_string_equal(listed(conn), "");
    expect_reason(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_ABORTED,
                  "its marker says that it was rolled back");
    assert_string_equal(value_of(conn, "SELECT COUNT(*) FROM kv"), "0");
    run(conn, "DROP TABLE there"); /* nobody waits there any more */
    driver_close(d);
    assert_int_equal(driver_open(d), ASSENT_E_CONFIG);
    assert_string_equal(d->error,
                        "mariadb: the storage engine FEDERATED has transactions without XA, "
                        "so no branch is safe beside it: UNINSTALL SONAME takes it out");
    run(conn, "DROP TABLE far; UNINSTALL SONAME 'ha_federatedx'");
    driver_reopen(d);
    mysql_close(conn);
}

/* What this server cannot be made to be. */
static void servers_that_cannot_prepare_are_refused_by_name(void **state)
{
    static const struct {
        const char *values[MARIADB_FACTS], *reason;
    } rows[] = {
        {{"10.5.2-MariaDB", "", "OFF", "OFF"}, NULL},
        {{"11.8.3-MariaDB-log", "OFF", "", "OFF"}, NULL},
        {{"10.5.1-MariaDB", "", "OFF", "OFF"},
         "MariaDB 10.5.1-MariaDB is older than 10.5.2: it rolls a prepared branch back when its "
         "connection ends"},
        {{"8.0.36", "", "", "OFF"}, "this server is not MariaDB: its version is \"8.0.36\""},
        {{"12.1.2-MariaDB", "ON", "OFF", "OFF"},
         "legacy_xa_rollback_at_disconnect is ON, so a prepared branch is rolled back when its "
         "connection ends: set it to OFF"},
        {{"10.11.6-MariaDB", "", "ON", "OFF"}, "wsrep_on is ON: a Galera cluster has no XA"},
        {{"10.11.6-MariaDB", "", "OFF", "ON"}, "read_only is ON on this server: name the primary"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mariadb_facts facts = {0};
        char reason[ASSENT_REASON_MAX + 1] = "";

        for (size_t k = 0; k < MARIADB_FACTS; k++)
            if (rows[i].values[k] != NULL)
                snprintf(facts.values[k], sizeof(facts.values[k]), "%s", rows[i].values[k]);
        assert_int_equal(mariadb_judge(&facts, reason), rows[i].reason ? ASSENT_E_CONFIG : 0);
        assert_string_equal(reason, rows[i].reason ? rows[i].reason : "");
    }
}

/* The sessions of an agent that was killed go on with what it has sent; what they prepare must be
 * on the list that the next one reads. */
static void what_a_killed_agent_has_sent_is_waited_for(void **state)
{
    static const char sent[] =
        "SELECT GET_LOCK('sent', 0), SLEEP(1); " LET_GO "; XA START 'late'; INSERT INTO kv VALUES"
        " (1, 1); XA END 'late'; XA PREPARE 'late'";
    struct driver *d = *state;
    MYSQL *former = session(), *conn = session();

    driver_close(d);
    assert_int_equal(mysql_send_query(former, sent, strlen(sent)), 0);
    await_value(conn, "SELECT IS_USED_LOCK('sent') IS NOT NULL", "1");
    assert_int_equal(driver_open(d), 0);
    assert_string_equal(listed(conn), "'late'");
    run(conn, "XA ROLLBACK 'late'");
    mysql_close(former);
    mysql_close(conn);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(open_says_what_is_wrong),
        TEST(a_server_with_transactions_without_xa_is_refused),
        cmocka_unit_test(servers_that_cannot_prepare_are_refused_by_name),
        TEST(what_a_killed_agent_has_sent_is_waited_for),
    };
#undef TEST

    return find_server() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
