/*
 * postgres_preflight.c: looks at a server before anything is entrusted to it, at open and whenever
 * a session that ends branches was lost. What makes two-phase commit impossible is refused, what
 * makes it less than durable is warned of, each by its name. Deliberately not here: changing a
 * setting.
 */
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

#define VERSION_MIN    100000
#define SYNCS          3
#define TOMBSTONE_LIFE "7 days"
#define CREATE_MARKER                                                                              \
    "CREATE TABLE IF NOT EXISTS assent.marker (branch bytea PRIMARY KEY, "                         \
    "committed boolean NOT NULL DEFAULT true, at timestamptz NOT NULL DEFAULT now())"

#define FAIL(...) (snprintf(reason, ASSENT_REASON_MAX + 1, __VA_ARGS__), ASSENT_E_CONFIG)

static const char facts_sql[] =
    "SELECT current_setting('max_prepared_transactions'), pg_is_in_recovery(),"
    " current_setting('fsync'), current_setting('full_page_writes'),"
    " current_setting('synchronous_commit'), current_setting('default_transaction_isolation'),"
    " current_setting('max_connections')::int -"
    " current_setting('superuser_reserved_connections')::int,"
    " current_user, current_database(), EXISTS (SELECT FROM pg_class c JOIN pg_namespace n"
    "  ON n.oid = c.relnamespace WHERE n.nspname = 'assent' AND c.relname = 'marker'),"
    " (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()"
    "  AND gid LIKE 'assent:%' AND owner <> current_user"
    "  AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)),"
    " current_setting('server_version')";

enum fact {
    MAX_PREPARED,
    IN_RECOVERY,
    FSYNC,
    FULL_PAGE_WRITES,
    SYNCHRONOUS_COMMIT,
    ISOLATION,
    CONNECTIONS,
    ROLE,
    DATABASE,
    HAS_MARKER,
    OTHERS,
    VERSION,
    FACTS
};

/* One statement by itself. */
static void ask(struct postgres_conn *conn, const char *sql, struct postgres_outcome *outcome)
{
    postgres_send(conn, sql, 0, NULL);
    postgres_sync(conn);
    postgres_collect(conn, assent_now_ms() + SQL_FINISH_MS, outcome);
}

/* The row of facts, to be cleared by the caller; NULL with a sentence in reason. */
static PGresult *ask_facts(struct postgres_conn *conn, char reason[ASSENT_REASON_MAX + 1])
{
    uint64_t deadline_ms = assent_now_ms() + SQL_FINISH_MS;
    struct postgres_outcome outcome;
    PGresult *facts = NULL;

    postgres_send(conn, facts_sql, 0, NULL);
    postgres_sync(conn);
    if (conn->base.broken || postgres_result(conn, deadline_ms, &facts) != 0) {
        conn->base.broken = true;
        snprintf(reason, ASSENT_REASON_MAX + 1, "no answer in time");
        return NULL;
    }
    postgres_collect(conn, deadline_ms, &outcome);
    if (PQresultStatus(facts) == PGRES_TUPLES_OK && PQntuples(facts) == 1 &&
        PQnfields(facts) == FACTS)
        return facts;
    snprintf(reason, ASSENT_REASON_MAX + 1, "cannot read the settings: %s",
             PQresultErrorMessage(facts));
    PQclear(facts);
    return NULL;
}

static int refuse(const struct postgres_conn *conn, PGresult *facts, char *reason)
{
    if (PQserverVersion(conn->link) < VERSION_MIN)
        return FAIL("PostgreSQL %s is older than 10", PQgetvalue(facts, 0, VERSION));
    if (PQgetvalue(facts, 0, IN_RECOVERY)[0] == 't')
        return FAIL("this server is a standby (pg_is_in_recovery): name the primary, for example "
                    "with target_session_attrs=primary");
    if (strcmp(PQgetvalue(facts, 0, MAX_PREPARED), "0") == 0)
        return FAIL("max_prepared_transactions is 0, so this server cannot prepare: set "
                    "max_prepared_transactions = 100 (or more) in postgresql.conf and restart it");
    return 0;
}

static void warn(const struct sql_database *db, PGresult *facts)
{
    long room = strtol(PQgetvalue(facts, 0, CONNECTIONS), NULL, 10);

    if (strcmp(PQgetvalue(facts, 0, FSYNC), "off") == 0)
        sql_report(db, true, "fsync is off: a crash of the machine loses votes and commits");
    if (strcmp(PQgetvalue(facts, 0, FULL_PAGE_WRITES), "off") == 0)
        sql_report(db, true,
                   "full_page_writes is off: a crash of the machine can damage the database");
    if (strcmp(PQgetvalue(facts, 0, SYNCHRONOUS_COMMIT), "off") == 0)
        sql_report(
            db, true,
            "synchronous_commit is off: a commit in one phase that was answered can be lost");
    if (room < (long)(db->workers.most + SQL_FINISHERS))
        sql_report(db, true,
                   "max_connections leaves %ld sessions, fewer than connections=%llu and %u more",
                   room, (unsigned long long)db->workers.most, SQL_FINISHERS);
    if (strcmp(PQgetvalue(facts, 0, OTHERS), "0") != 0)
        sql_report(db, true,
                   "%s prepared branches belong to another role than %s, which cannot end them",
                   PQgetvalue(facts, 0, OTHERS), PQgetvalue(facts, 0, ROLE));
}

/* Somebody else may make it at the same moment; then the second attempt finds it. */
static int make_marker(const struct sql_database *db, struct postgres_conn *conn, char *reason)
{
    struct postgres_outcome schema, table;

    for (int attempt = 0; attempt < 2; attempt++) {
        ask(conn, "CREATE SCHEMA IF NOT EXISTS assent", &schema);
        ask(conn, CREATE_MARKER, &table);
        if (table.kind == POSTGRES_DONE) {
            sql_report(db, false, "table assent.marker was made");
            return 0;
        }
    }
    sql_report(db, true, "run as the database's owner: CREATE SCHEMA assent; " CREATE_MARKER);
    return FAIL("no table assent.marker, and it cannot be made (%.80s). Run: CREATE SCHEMA assent; "
                "and the CREATE TABLE of docs/postgresql.md",
                table.text);
}

/* Also proves the rights on the table: each round inserts and deletes a row, with one sync. */
static int measure_sync(struct postgres_conn *conn, uint64_t *ret_us, char *reason)
{
    struct postgres_outcome outcome;
    uint64_t best_us = UINT64_MAX;

    for (int i = 0; i < SYNCS; i++) {
        uint64_t began_us = assent_now_us(), took_us;

        postgres_send(conn,
                      "INSERT INTO assent.marker (branch, committed) VALUES ('', false)"
                      " ON CONFLICT (branch) DO NOTHING",
                      0, NULL);
        postgres_send(conn,
                      "DELETE FROM assent.marker WHERE branch = '' OR (NOT committed AND"
                      " at < now() - interval '" TOMBSTONE_LIFE "')",
                      0, NULL);
        postgres_sync(conn);
        postgres_collect(conn, assent_now_ms() + SQL_FINISH_MS, &outcome);
        if (outcome.kind != POSTGRES_DONE)
            return FAIL("table assent.marker cannot be used (%.100s). Run: GRANT USAGE ON SCHEMA "
                        "assent TO role; GRANT SELECT, INSERT, DELETE ON assent.marker TO role",
                        outcome.text);
        took_us = assent_now_us() - began_us;
        best_us = took_us < best_us ? took_us : best_us;
    }
    *ret_us = best_us;
    return 0;
}

int postgres_preflight(struct sql_database *db, struct sql_session *session,
                       char reason[ASSENT_REASON_MAX + 1])
{
    struct postgres_conn *conn = postgres_conn_of(session);
    PGresult *facts = ask_facts(conn, reason);
    uint64_t sync_us = 0;
    int r;

    if (facts == NULL)
        return ASSENT_E_UNAVAILABLE;
    r = refuse(conn, facts, reason);
    if (r == 0)
        warn(db, facts);
    if (r == 0 && PQgetvalue(facts, 0, HAS_MARKER)[0] != 't')
        r = make_marker(db, conn, reason);
    if (r == 0)
        r = measure_sync(conn, &sync_us, reason);
    if (r == 0)
        sql_report(
            db, false,
            "PostgreSQL %s, database %s, role %s: max_prepared_transactions %s, isolation %s, "
            "table assent.marker can be used, a sync takes %llu us",
            PQgetvalue(facts, 0, VERSION), PQgetvalue(facts, 0, DATABASE),
            PQgetvalue(facts, 0, ROLE), PQgetvalue(facts, 0, MAX_PREPARED),
            PQgetvalue(facts, 0, ISOLATION), (unsigned long long)sync_us);
    PQclear(facts);
    return r;
}
