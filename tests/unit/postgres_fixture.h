/*
 * postgres_fixture.h: what the tests of the PostgreSQL resource share: the server that
 * tests/lib/postgres.py has started and named in ASSENT_TEST_POSTGRES, emptied before each test,
 * and a connection of the test's own.
 */
#ifndef ASSENT_TEST_POSTGRES_FIXTURE_H
#define ASSENT_TEST_POSTGRES_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "resource_driver.h"
#include "runtime.h"

static char parameters[512]; /* set by main, from the environment */

/* --- a session of the test's own -------------------------------------------------------------- */

static PGconn *session(void)
{
    PGconn *conn = PQconnectdb(getenv("ASSENT_TEST_POSTGRES"));

    if (PQstatus(conn) != CONNECTION_OK)
        fail_msg("%s", PQerrorMessage(conn));
    return conn;
}

static inline void run(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);

    if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    PQclear(result);
}

/* First column of the first row; "" without one. */
static inline const char *value_of(PGconn *conn, const char *sql)
{
    static char value[256];
    PGresult *result = PQexec(conn, sql);

    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    snprintf(value, sizeof(value), "%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return value;
}

static inline void await_value(PGconn *conn, const char *sql, const char *wanted)
{
    uint64_t deadline_ms = assent_now_ms() + 20000;

    while (strcmp(value_of(conn, sql), wanted) != 0)
        assert_true(assent_now_ms() < deadline_ms);
}

/* --- commits that are held up ----------------------------------------------------------------- */

/* They wait for a standby that is not there. */
#define COUNT_WAITING "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

/* Each process of the server learns of a setting in its own time: commits of the probe, until one
 * of them waits. */
static inline void hold_commits(PGconn *conn, PGconn *probe)
{
    uint64_t deadline_ms = assent_now_ms() + 20000;
    char sql[64];

    run(conn, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    run(conn, "SELECT pg_reload_conf()");
    for (unsigned i = 100; strcmp(value_of(conn, COUNT_WAITING), "1") != 0; i++) {
        assert_true(assent_now_ms() < deadline_ms);
        if (PQconsumeInput(probe) != 1 || PQisBusy(probe))
            continue;
        for (PGresult *result; (result = PQgetResult(probe)) != NULL;)
            PQclear(result);
        snprintf(sql, sizeof(sql), "INSERT INTO kv VALUES (%u, 1)", i);
        assert_int_equal(PQsendQuery(probe, sql), 1);
    }
}

static inline void release_commits(PGconn *conn)
{
    run(conn, "ALTER SYSTEM RESET synchronous_standby_names");
    run(conn, "SELECT pg_reload_conf()");
}

/* Every transaction rolled back, both tables empty. */
static void reset(void)
{
    PGconn *conn = session();
    char sql[300], gid[256];

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

static bool find_server(void)
{
    const char *given = getenv("ASSENT_TEST_POSTGRES");

    if (given == NULL)
        printf("run it by tests/lib/postgres.py, which starts a server\n");
    else
        snprintf(parameters, sizeof(parameters), "%s", given);
    return given != NULL;
}

#endif
