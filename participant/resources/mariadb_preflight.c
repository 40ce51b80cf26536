/*
 * mariadb_preflight.c: looks at a server before anything is entrusted to it, at open and whenever
 * a session that ends branches was lost. What makes two-phase commit impossible is refused, what
 * makes it less than durable is warned of, each by its name. Deliberately not here: changing a
 * setting.
 */
#include "mariadb.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

#define SYNCS          3
#define TOMBSTONE_LIFE "7 DAY"
#define FORMER_MS      2000u

#define FAIL(...) (snprintf(reason, ASSENT_REASON_MAX + 1, __VA_ARGS__), ASSENT_E_CONFIG)

/* As information_schema.system_variables writes them. */
static const char *const names[MARIADB_FACTS] = {
    "VERSION",
    "LEGACY_XA_ROLLBACK_AT_DISCONNECT",
    "WSREP_ON",
    "READ_ONLY",
    "INNODB_FLUSH_LOG_AT_TRX_COMMIT",
    "INNODB_DOUBLEWRITE",
    "INNODB_LOG_FILE_BUFFERING",
    "LOG_BIN",
    "SYNC_BINLOG",
    "MAX_CONNECTIONS",
    "TX_ISOLATION",
};

static bool is(const struct mariadb_facts *facts, enum mariadb_fact fact, const char *value)
{
    return strcmp(facts->values[fact], value) == 0;
}

int mariadb_judge(const struct mariadb_facts *facts, char reason[ASSENT_REASON_MAX + 1])
{
    const char *version = facts->values[MARIADB_VERSION];
    unsigned major = 0, minor = 0, patch = 0;

    if (strstr(version, "MariaDB") == NULL)
        return FAIL("this server is not MariaDB: its version is \"%s\"", version);
    if (sscanf(version, "%u.%u.%u", &major, &minor, &patch) != 3 ||
        major * 10000 + minor * 100 + patch < 100502)
        return FAIL("MariaDB %s is older than 10.5.2: it rolls a prepared branch back when its "
                    "connection ends",
                    version);
    if (is(facts, MARIADB_LEGACY_XA, "ON"))
        return FAIL("legacy_xa_rollback_at_disconnect is ON, so a prepared branch is rolled back "
                    "when its connection ends: set it to OFF");
    if (is(facts, MARIADB_WSREP_ON, "ON"))
        return FAIL("wsrep_on is ON: a Galera cluster has no XA");
    if (!is(facts, MARIADB_READ_ONLY, "OFF"))
        return FAIL("read_only is %s on this server: name the primary",
                    facts->values[MARIADB_READ_ONLY]);
    return 0;
}

/* --- questions -------------------------------------------------------------------------------- */

static void add_fact(void *context, char **cells)
{
    struct mariadb_facts *facts = context;

    for (size_t i = 0; i < MARIADB_FACTS; i++)
        if (strcmp(names[i], cells[0]) == 0)
            snprintf(facts->values[i], sizeof(facts->values[i]), "%s", cells[1] ? cells[1] : "");
}

static int ask_facts(struct mariadb_conn *conn, struct mariadb_facts *facts, char *reason)
{
    struct mariadb_outcome outcome;

    *facts = (struct mariadb_facts){0};
    mariadb_send(conn, "SELECT variable_name, global_value FROM information_schema.system_variables"
                       " WHERE global_value IS NOT NULL");
    mariadb_collect_rows(conn, assent_now_ms() + SQL_FINISH_MS, add_fact, facts, &outcome);
    if (outcome.kind == MARIADB_DONE)
        return 0;
    snprintf(reason, ASSENT_REASON_MAX + 1, "cannot read the settings: %.200s", outcome.text);
    return ASSENT_E_UNAVAILABLE;
}

/* The one value that a question is about; "" if there is none or it cannot be asked. */
static const char *ask_value(struct mariadb_conn *conn, const char *sql,
                             struct mariadb_outcome *outcome)
{
    mariadb_ask(conn, sql, outcome);
    return outcome->kind == MARIADB_DONE ? outcome->value : "";
}

static int check_server(const struct mariadb *maria, struct mariadb_conn *conn, char *reason)
{
    struct mariadb_outcome outcome;
    const char *value;

    value = ask_value(conn,
                      "SELECT xa FROM information_schema.engines"
                      " WHERE engine = 'InnoDB' AND support IN ('YES', 'DEFAULT')",
                      &outcome);
    if (strcmp(value, "YES") != 0)
        return FAIL("the storage engine InnoDB is not there, or without XA");
    value = ask_value(conn,
                      "SELECT GROUP_CONCAT(engine) FROM information_schema.engines WHERE support IN"
                      " ('YES', 'DEFAULT') AND transactions = 'YES' AND xa = 'NO'"
                      " AND engine <> 'SEQUENCE'",
                      &outcome);
    if (value[0] != '\0')
        return FAIL(
            "the storage engine %s has transactions without XA, so no branch is safe beside "
            "it: UNINSTALL SONAME takes it out",
            value);
    value = ask_value(conn, "SELECT DATABASE()", &outcome);
    if (strcmp(value, maria->database) != 0) /* the ids of branches hold the name */
        return FAIL("the server writes the database's name \"%s\": say database=%s", value, value);
    return 0;
}

/* --- warnings --------------------------------------------------------------------------------- */

static void warn(const struct sql_database *db, struct mariadb_conn *conn,
                 const struct mariadb_facts *facts)
{
    long room = strtol(facts->values[MARIADB_MAX_CONNECTIONS], NULL, 10);
    struct mariadb_outcome outcome;
    const char *value;

    if (!is(facts, MARIADB_FLUSH, "1") && !is(facts, MARIADB_FLUSH, "3"))
        sql_report(db, true,
                   "innodb_flush_log_at_trx_commit is %s: a crash of the machine loses votes and "
                   "commits",
                   facts->values[MARIADB_FLUSH]);
    if (is(facts, MARIADB_DOUBLEWRITE, "OFF"))
        sql_report(db, true,
                   "innodb_doublewrite is OFF: a crash of the machine can damage the database");
    if (is(facts, MARIADB_LOG_BUFFERING, "OFF"))
        sql_report(db, true,
                   "innodb_log_file_buffering is OFF: a crash of the server can leave its log "
                   "without an end, and damage what is recovered, more often than with ON");
    if (is(facts, MARIADB_LOG_BIN, "ON"))
        sql_report(db, true,
                   "log_bin is ON (sync_binlog %s): a crash during XA PREPARE can leave the binary "
                   "log and with it replicas in another state than this server",
                   facts->values[MARIADB_SYNC_BINLOG]);
    if (room < (long)(db->workers.most + SQL_FINISHERS))
        sql_report(db, true, "max_connections is %ld, fewer than connections=%llu and %u more",
                   room, (unsigned long long)db->workers.most, SQL_FINISHERS);
    value = ask_value(conn,
                      "SELECT CONCAT(COUNT(*), ' tables (', MIN(t.table_name), ', ...)')"
                      " FROM information_schema.tables t JOIN information_schema.engines e"
                      " ON e.engine = t.engine WHERE t.table_schema = DATABASE() AND e.xa = 'NO'"
                      " AND e.engine <> 'SEQUENCE' HAVING COUNT(*) > 0",
                      &outcome);
    if (value[0] != '\0')
        sql_report(db, true,
                   "%s of this database have an engine without XA: work that changes "
                   "them is refused",
                   value);
}

/* Other sessions of a user in a database. */
struct former {
    char user[64];
    const char *database;
    unsigned long ours;
    bool idle_too;
    size_t count;
};

static void count_former(void *context, char **cells)
{
    struct former *former = context;

    former->count += strtoul(cells[0], NULL, 10) != former->ours &&
                     strcmp(cells[1], former->user) == 0 && cells[3] != NULL &&
                     strcmp(cells[3], former->database) == 0 &&
                     (former->idle_too || strcmp(cells[4], "Sleep") != 0);
}

/* The sessions of an agent that was killed go on with what it sent last, and may prepare a branch
 * after the list was read. They end at once otherwise, so at the start they are waited for: all for
 * a while, those that are doing something for longer. Other programs may use the same user.
 * information_schema.processlist is not asked: it has crashed 10.11.19 as sessions came and
 * went. */
static void await_former(const struct mariadb *maria, struct mariadb_conn *conn)
{
    uint64_t began_ms = assent_now_ms(), now_ms = began_ms;
    struct former former = {.database = maria->database,
                            .ours = mysql_thread_id(conn->link),
                            .idle_too = true,
                            .count = 1};
    struct mariadb_outcome outcome;

    snprintf(former.user, sizeof(former.user), "%s",
             ask_value(conn, "SELECT SUBSTRING_INDEX(USER(), '@', 1)", &outcome));
    while (former.count > 0 && now_ms < began_ms + FORMER_MS) {
        if (now_ms > began_ms)
            (void)poll(NULL, 0, 10);
        former.idle_too = now_ms < began_ms + FORMER_MS / 4;
        former.count = 0;
        mariadb_send(conn, "SHOW PROCESSLIST");
        mariadb_collect_rows(conn, now_ms + SQL_FINISH_MS, count_former, &former, &outcome);
        if (outcome.kind != MARIADB_DONE)
            return;
        now_ms = assent_now_ms();
    }
    if (former.count > 0)
        sql_report(&maria->base, true,
                   "%zu sessions of this user are at work in this database: if they belong to an "
                   "agent that was killed, start this one anew when they are gone",
                   former.count);
}

/* --- the marker table ------------------------------------------------------------------------- */

static int make_marker(const struct sql_database *db, struct mariadb_conn *conn, char *reason)
{
    struct mariadb_outcome outcome;
    const char *engine =
        ask_value(conn,
                  "SELECT engine FROM information_schema.tables WHERE table_schema = DATABASE()"
                  " AND table_name = 'assent_marker'",
                  &outcome);

    if (outcome.kind == MARIADB_LOST) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "%s", outcome.text);
        return ASSENT_E_UNAVAILABLE;
    }
    if (engine[0] != '\0' && strcmp(engine, "InnoDB") != 0)
        return FAIL("table assent_marker has the engine %s, not InnoDB", engine);
    if (engine[0] != '\0')
        return 0;
    mariadb_ask(conn, MARIADB_CREATE_MARKER, &outcome);
    if (outcome.kind != MARIADB_DONE)
        return FAIL("no table assent_marker, and it cannot be made (%.100s). Run the CREATE TABLE "
                    "of docs/mariadb.md",
                    outcome.text);
    sql_report(db, false, "table assent_marker was made");
    return 0;
}

/* Also proves the rights on the table: each round inserts and deletes a row. */
static int measure_sync(struct mariadb_conn *conn, uint64_t *ret_us, char *reason)
{
    struct mariadb_outcome outcome;
    uint64_t best_us = UINT64_MAX;

    for (int i = 0; i < SYNCS; i++) {
        uint64_t began_us = assent_now_us(), took_us;

        mariadb_ask(conn,
                    "START TRANSACTION;"
                    "INSERT IGNORE INTO assent_marker (branch, committed)"
                    " VALUES (REPEAT(X'00', 36), FALSE);"
                    "DELETE FROM assent_marker WHERE branch = REPEAT(X'00', 36);"
                    "COMMIT",
                    &outcome);
        if (outcome.kind == MARIADB_REFUSED)
            return FAIL("table assent_marker cannot be used (%.120s). Run: GRANT SELECT, INSERT, "
                        "DELETE ON assent_marker TO the agent's user",
                        outcome.text);
        if (outcome.kind != MARIADB_DONE) {
            snprintf(reason, ASSENT_REASON_MAX + 1, "%s", outcome.text);
            return ASSENT_E_UNAVAILABLE;
        }
        took_us = assent_now_us() - began_us;
        best_us = took_us < best_us ? took_us : best_us;
    }
    *ret_us = best_us;
    return 0;
}

int mariadb_preflight(struct sql_database *db, struct sql_session *session,
                      char reason[ASSENT_REASON_MAX + 1])
{
    struct mariadb_conn *conn = mariadb_conn_of(session);
    struct mariadb *maria = (struct mariadb *)db;
    struct mariadb_outcome outcome;
    struct mariadb_facts facts;
    uint64_t sync_us = 0;
    int r = ask_facts(conn, &facts, reason);

    if (r == 0)
        r = mariadb_judge(&facts, reason);
    if (r == 0)
        r = check_server(maria, conn, reason);
    if (r == 0 && !maria->alone)
        await_former(maria, conn);
    maria->alone |= r == 0;
    if (r == 0)
        r = make_marker(db, conn, reason);
    if (r == 0)
        r = measure_sync(conn, &sync_us, reason);
    if (r == 0)
        r = mariadb_delete_where(
            conn, "committed IS NOT TRUE AND at < NOW() - INTERVAL " TOMBSTONE_LIFE, reason);
    if (r == 0) {
        warn(db, conn, &facts);
        sql_report(db, false,
                   "MariaDB %s, database %s, user %s: isolation %s, a sync takes %llu us",
                   facts.values[MARIADB_VERSION], maria->database,
                   ask_value(conn, "SELECT CURRENT_USER()", &outcome),
                   facts.values[MARIADB_ISOLATION], (unsigned long long)sync_us);
    }
    return r;
}
