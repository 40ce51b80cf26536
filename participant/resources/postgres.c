/*
 * postgres.c: a PostgreSQL database as a table of operations: open and close, and the questions
 * that touch no branch. How the parts work together: postgres.h.
 *
 *   parameters  [connections=N ]CONNINFO: N sessions for branches in work (20), and how libpq is to
 *               connect: keywords and values, or a URI
 */
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parameters.h"
#include "runtime.h"

/* --- questions -------------------------------------------------------------------------------- */

/* Ids of ours in this database; what else is there is none of our business. */
static int recover(struct sql_database *db, struct sql_session *session,
                   void (*found)(const struct assent_branch_id *id, void *context), void *context)
{
    struct postgres_conn *conn = postgres_conn_of(session);
    uint64_t deadline_ms = assent_now_ms() + SQL_FINISH_MS;
    struct postgres_outcome outcome;
    struct assent_branch_id id;
    PGresult *rows = NULL;
    int r = ASSENT_E_UNAVAILABLE;

    postgres_send(conn,
                  /* The list has 32 bits of a transaction's id; it is one of the last 2^32. */
                  "SELECT gid, top - (top - transaction::text::bigint) % 4294967296 FROM"
                  " pg_catalog.pg_prepared_xacts,"
                  " pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()) top"
                  " WHERE database = pg_catalog.current_database() AND gid LIKE 'assent:%'",
                  0, NULL);
    postgres_sync(conn);
    if (session->broken || postgres_result(conn, deadline_ms, &rows) != 0) {
        session->broken = true;
        return r;
    }
    postgres_collect(conn, deadline_ms, &outcome);
    /* Only a list that is whole is one. */
    if (outcome.kind == POSTGRES_DONE && PQresultStatus(rows) == PGRES_TUPLES_OK) {
        for (int i = 0; i < PQntuples(rows); i++)
            if (assent_branch_id_parse(PQgetvalue(rows, i, 0), &id) == 0) {
                postgres_prepared_note(postgres_of(db), &id,
                                       strtoull(PQgetvalue(rows, i, 1), NULL, 10));
                found(&id, context);
            }
        r = 0;
    }
    PQclear(rows);
    return r;
}

static void ask(struct postgres_conn *conn, const char *sql, struct postgres_outcome *outcome)
{
    postgres_send(conn, sql, 0, NULL);
    postgres_sync(conn);
    postgres_collect(conn, assent_now_ms() + SQL_FINISH_MS, outcome);
}

static int ping(struct sql_session *session, char reason[ASSENT_REASON_MAX + 1])
{
    struct postgres_outcome outcome;

    ask(postgres_conn_of(session), "SELECT 1", &outcome);
    memcpy(reason, outcome.text, sizeof(outcome.text));
    return outcome.kind == POSTGRES_DONE ? 0 : ASSENT_E_UNAVAILABLE;
}

static void end_query(struct sql_session *session)
{
    struct postgres_outcome outcome;

    ask(postgres_conn_of(session), "ROLLBACK", &outcome);
    postgres_send_discard(postgres_conn_of(session));
}

static int own(struct sql_database *db, const struct assent_branch_id *id, char **ret_json)
{
    char gid[ASSENT_BRANCH_ID_TEXT + 1], marker[POSTGRES_NAME_BYTES];

    (void)db;
    assent_branch_id_format(id, gid);
    postgres_name_format(id, marker);
    return asprintf(ret_json,
                    "{\"before\": [\"BEGIN\"], \"after\": [\"INSERT INTO assent.marker (branch)"
                    " VALUES ('\\%s')\", \"PREPARE TRANSACTION '%s'\"]}",
                    marker, gid) < 0
               ? ASSENT_E_NOMEM
               : 0;
}

static void list_markers(const char *after, size_t limit, char *sql, size_t size)
{
    snprintf(sql, size,
             "SELECT encode(branch, 'hex') FROM assent.marker WHERE committed"
             " AND branch > decode('%s', 'hex') ORDER BY branch LIMIT %zu",
             after, limit);
}

static const struct sql_driver driver = {
    .type = "postgres",
    .connect = postgres_connect,
    .disconnect = postgres_disconnect,
    .alive = postgres_alive,
    .idle = postgres_idle,
    .preflight = postgres_preflight,
    .work = postgres_work,
    .work_later = postgres_work_later,
    .end_later = postgres_end_later,
    .end_query = end_query,
    .own = own,
    .end_active = postgres_end_active,
    .end_elsewhere = postgres_end_elsewhere,
    .forget = postgres_forget,
    .evidence = postgres_evidence,
    .recover = recover,
    .ping = ping,
    .list_markers = list_markers,
};

/* --- open and close --------------------------------------------------------------------------- */

/* Our own settings come first; libpq knows none of their names. */
static int parse_parameters(struct postgres *pg, const char *text, char *error, size_t error_size)
{
    static const char own[] = "connections=";
    const struct assent_parameter parameters[] = {
        {"connections", ASSENT_PARAMETER_SIZE, &pg->base.workers.most, 1, SQL_CONNECTIONS_MAX},
    };
    size_t size = strncmp(text, own, sizeof(own) - 1) == 0 ? strcspn(text, " ") : 0;
    char *words = strndup(text, size), *wrong = NULL;
    PQconninfoOption *options;
    int r = ASSENT_E_NOMEM;

    pg->conninfo = strdup(text + size + strspn(text + size, " "));
    if (words == NULL || pg->conninfo == NULL) {
        snprintf(error, error_size, "postgres: out of memory");
        goto out;
    }
    r = assent_parameters_parse("postgres", words, parameters, 1, error, error_size);
    if (r != 0)
        goto out;
    options = PQconninfoParse(pg->conninfo, &wrong);
    if (options == NULL) {
        snprintf(error, error_size, "postgres: %.*s", wrong ? (int)strcspn(wrong, "\n") : 13,
                 wrong ? wrong : "out of memory");
        r = ASSENT_E_CONFIG;
    }
    PQconninfoFree(options);
    PQfreemem(wrong);
out:
    free(words);
    return r;
}

static void close_postgres(void *resource)
{
    struct postgres *pg = resource;

    postgres_later_fini(pg);
    postgres_prepared_drop(pg, NULL);
    sql_fini(&pg->base);
    free(pg->conninfo);
    free(pg);
}

static int open_postgres(const struct assent_resource_environment *environment, void **ret_resource,
                         char *error, size_t error_size)
{
    struct postgres *pg = calloc(1, sizeof(*pg));
    int r;

    if (pg == NULL) {
        snprintf(error, error_size, "postgres: out of memory");
        return ASSENT_E_NOMEM;
    }
    sql_init(&pg->base, &driver, environment);
    r = postgres_later_init(pg);
    if (r != 0)
        snprintf(error, error_size, "postgres: %s", assent_error_text(r));
    else
        r = parse_parameters(pg, environment->parameters, error, error_size);
    if (r == 0)
        r = sql_open(&pg->base, error, error_size);
    if (r == 0)
        *ret_resource = pg;
    else
        close_postgres(pg);
    return r;
}

const struct assent_resource_ops assent_resource_postgres = {
    .size = sizeof(struct assent_resource_ops),
    .type = "postgres",
    .capabilities = ASSENT_CAP_PREPARED_LIST | ASSENT_CAP_EVIDENCE | ASSENT_CAP_ONE_PHASE |
                    ASSENT_CAP_BATCH | ASSENT_CAP_TRY | ASSENT_CAP_LATER,
    .open = open_postgres,
    .close = close_postgres,
    .begin = sql_begin,
    .work = sql_work,
    .prepare = sql_finish,
    .commit = sql_finish,
    .rollback = sql_finish,
    .evidence = sql_evidence,
    .forget = sql_forget,
    .batch = sql_batch,
    .recover = sql_recover,
    .ping = sql_ping,
    .query = sql_query,
    .check = sql_check,
    .markers = sql_markers,
    .finishers = SQL_FINISHERS,
    .descriptor = postgres_descriptor,
    .progress = postgres_progress,
};
