/*
 * mariadb_fixture.h: what the tests of the MariaDB resource share: the server that
 * tests/lib/mariadb.py has started and named in ASSENT_TEST_MARIADB, emptied before each test, and
 * connections of the test's own.
 */
#ifndef ASSENT_TEST_MARIADB_FIXTURE_H
#define ASSENT_TEST_MARIADB_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mysql.h>

#include "resource_driver.h"
#include "runtime.h"

/* What makes a session let go of a branch as it prepares it. */
#define LET_GO "SET pseudo_slave_mode = 1"

static char parameters[512]; /* set by main, from the environment */

/* --- a session of the test's own -------------------------------------------------------------- */

static MYSQL *session(void)
{
    MYSQL *link = mysql_init(NULL);
    char socket[256];

    assert_int_equal(sscanf(parameters, "socket=%255[^,]", socket), 1);
    if (mysql_real_connect(link, NULL, "assent", NULL, "test", 0, socket,
                           CLIENT_MULTI_STATEMENTS) == NULL)
        fail_msg("%s", mysql_error(link));
    return link;
}

/* The number of the error, 0 without one; the first column of the last row in value. */
static inline unsigned attempt(MYSQL *link, const char *sql, char value[256])
{
    int r = mysql_real_query(link, sql, strlen(sql));

    value[0] = '\0';
    while (r == 0) {
        MYSQL_RES *rows = mysql_store_result(link);
        MYSQL_ROW row;

        while (rows != NULL && (row = mysql_fetch_row(rows)) != NULL)
            snprintf(value, 256, "%s", row[0] ? row[0] : "NULL");
        mysql_free_result(rows);
        r = mysql_next_result(link);
    }
    return r < 0 ? 0 : mysql_errno(link);
}

static inline void run(MYSQL *link, const char *sql)
{
    char value[256];

    if (attempt(link, sql, value) != 0)
        fail_msg("%s: %s", sql, mysql_error(link));
}

static inline const char *value_of(MYSQL *link, const char *sql)
{
    static char value[256];

    if (attempt(link, sql, value) != 0)
        fail_msg("%s: %s", sql, mysql_error(link));
    return value;
}

static inline void expect_error(MYSQL *link, const char *sql, unsigned code)
{
    char value[256];
    unsigned got = attempt(link, sql, value);

    if (got != code)
        fail_msg("%s: error %u, not %u", sql, got, code);
}

static inline void await_value(MYSQL *link, const char *sql, const char *wanted)
{
    uint64_t deadline_ms = assent_now_ms() + 20000;

    while (strcmp(value_of(link, sql), wanted) != 0) {
        assert_true(assent_now_ms() < deadline_ms);
        (void)poll(NULL, 0, 2);
    }
}

/* What MariaDB lists as prepared, ours or not: the fourth column of the last row, "" without one.
 * */
static inline const char *listed(MYSQL *link)
{
    static char xid[512];
    MYSQL_RES *rows;
    MYSQL_ROW row;

    xid[0] = '\0';
    assert_int_equal(mysql_query(link, "XA RECOVER FORMAT='SQL'"), 0);
    rows = mysql_store_result(link);
    while ((row = mysql_fetch_row(rows)) != NULL)
        snprintf(xid, sizeof(xid), "%s", row[3]);
    mysql_free_result(rows);
    return xid;
}

static inline void xid_of(unsigned n, char xid[256])
{
    struct assent_branch_id id = driver_branch(n);
    char *end = xid + sprintf(xid, "X'");

    for (size_t i = 0; i < sizeof(id.log_id); i++)
        end += sprintf(end, "%02x", id.log_id[i]);
    for (size_t i = 0; i < sizeof(id.gtrid.bytes); i++)
        end += sprintf(end, "%02x", id.gtrid.bytes[i]);
    sprintf(end, "',X'00000001%s',1095978580", "74657374");
}

static inline void marker_of(unsigned n, char sql[256])
{
    char xid[256];

    xid_of(n, xid);
    sprintf(sql, "INSERT INTO assent_marker (branch) VALUES (X'%.64s00000001')", xid + 2);
}

/* Every prepared transaction rolled back, tables empty. Sessions of the test before may still be on
 * their way out. */
static void reset(void)
{
    uint64_t deadline_ms = assent_now_ms() + 20000;
    MYSQL *link = session();
    char sql[600], value[256];

    while (listed(link)[0] != '\0') {
        snprintf(sql, sizeof(sql), "XA ROLLBACK %s", listed(link));
        (void)attempt(link, sql, value);
        assert_true(assent_now_ms() < deadline_ms);
    }
    run(link, "DROP DATABASE IF EXISTS test; CREATE DATABASE test; USE test;"
              "CREATE TABLE kv (k INT PRIMARY KEY, v INT CHECK (v >= 0)) ENGINE=InnoDB;"
              "CREATE TABLE log (k INT) ENGINE=Aria");
    mysql_close(link);
}

static int setup(void **state)
{
    static struct driver driver;

    reset();
    driver_init(&driver, &assent_resource_mariadb, parameters);
    *state = &driver;
    return 0;
}

static int teardown(void **state)
{
    driver_fini(*state);
    return 0;
}

static bool find_server(void)
{
    const char *given = getenv("ASSENT_TEST_MARIADB");

    if (given == NULL)
        printf("run it by tests/lib/mariadb.py, which starts a server\n");
    else
        snprintf(parameters, sizeof(parameters), "%s", given);
    return given != NULL;
}

#endif
