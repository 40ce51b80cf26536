/*
 * postgres.c: a PostgreSQL database as a table of operations: open and close, the begin of a
 * branch, and the questions that touch no branch. How the parts work together: postgres.h.
 *
 *   parameters  [connections=N ]CONNINFO: N sessions for branches in work (20), and how libpq is to
 *               connect: keywords and values, or a URI
 */
#include "postgres.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parameters.h"
#include "runtime.h"

#define OWN      "own " /* begins no statement of SQL */
#define QUERY_MS 10000

void postgres_answer(struct assent_call *call, enum assent_rm_result result, const char *format,
                     ...)
{
    size_t size = ASSENT_REASON_MAX;
    va_list arguments;
    int wanted;

    call->result = result;
    va_start(arguments, format);
    wanted = vsnprintf(call->reason, sizeof(call->reason), format, arguments);
    va_end(arguments);
    if (wanted > ASSENT_REASON_MAX) {
        /* Cut: not within a character. */
        while (size > 0 && ((unsigned char)call->reason[size - 1] & 0xc0) == 0x80)
            size--;
        if (size > 0 && (unsigned char)call->reason[size - 1] >= 0xc0)
            size--;
        call->reason[size] = '\0';
    }
    for (char *c = call->reason; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
}

/* --- open and close --------------------------------------------------------------------------- */

/* Our own settings come first; libpq knows none of their names. */
static int parse_parameters(struct postgres *pg, const char *text, char *error, size_t error_size)
{
    static const char own[] = "connections=";
    const struct assent_parameter parameters[] = {
        {"connections", ASSENT_PARAMETER_SIZE, &pg->connections_max, 1, 1000, NULL},
    };
    size_t size = strncmp(text, own, sizeof(own) - 1) == 0 ? strcspn(text, " ") : 0;
    char *words = strndup(text, size), *wrong = NULL;
    PQconninfoOption *options;
    int r = ASSENT_E_NOMEM;

    pg->connections_max = 20;
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
    struct postgres_branch *branch, *next;
    struct postgres_conn *conn;

    HASH_ITER (hh, pg->branches, branch, next) {
        if (branch->conn != NULL)
            branch->conn->broken = true; /* rolls back with its session */
        postgres_branch_drop(pg, branch);
    }
    while ((conn = SLIST_FIRST(&pg->idle)) != NULL) {
        SLIST_REMOVE_HEAD(&pg->idle, idle);
        postgres_disconnect(conn);
    }
    for (size_t i = 0; i < POSTGRES_LANES; i++)
        postgres_disconnect(pg->lanes[i]);
    pthread_cond_destroy(&pg->returned);
    pthread_mutex_destroy(&pg->lanes_mutex);
    pthread_mutex_destroy(&pg->mutex);
    free(pg->conninfo);
    free(pg);
}

static int open_postgres(const struct assent_resource_environment *environment, void **ret_resource,
                         char *error, size_t error_size)
{
    struct postgres *pg = calloc(1, sizeof(*pg));
    char reason[ASSENT_REASON_MAX + 1];
    pthread_condattr_t monotonic;
    size_t lanes;
    int r;

    if (pg == NULL) {
        snprintf(error, error_size, "postgres: out of memory");
        return ASSENT_E_NOMEM;
    }
    pg->unswept = POSTGRES_SWEEP_FORGETS;
    pg->report = environment->report;
    pg->report_context = environment->report_context;
    pthread_mutex_init(&pg->mutex, NULL);
    pthread_mutex_init(&pg->lanes_mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pg->returned, &monotonic);
    pthread_condattr_destroy(&monotonic);
    r = parse_parameters(pg, environment->parameters, error, error_size);
    if (r == 0 && (r = postgres_lanes(pg, 1, &lanes, reason)) != 0)
        snprintf(error, error_size, "postgres: %s", reason);
    if (r == 0)
        *ret_resource = pg;
    else
        close_postgres(pg);
    return r;
}

/* --- one branch ------------------------------------------------------------------------------- */

/* No question to the server: work for a branch that is finished or prepared comes to nothing, since
 * its marker is there already and a second one is refused. */
static void begin(void *resource, struct assent_call *call)
{
    struct postgres *pg = resource;
    int r = postgres_branch_find(pg, &call->id) == NULL ? postgres_branch_add(pg, &call->id) : 0;

    if (r == ASSENT_E_LIMIT)
        postgres_answer(call, ASSENT_RM_FAILED, "over %u branches are in work",
                        POSTGRES_BRANCHES_MAX);
    else if (r != 0)
        postgres_answer(call, ASSENT_RM_FAILED, "%s", assent_error_text(r));
    else
        postgres_answer(call, ASSENT_RM_OK, "%s", "");
}

static void work(void *resource, struct assent_call *call)
{
    struct postgres *pg = resource;
    struct postgres_branch *branch = postgres_branch_find(pg, &call->id);

    call->reply = NULL;
    call->reply_size = 0;
    if (branch == NULL)
        postgres_answer(call, ASSENT_RM_REFUSED, "no such branch");
    else
        postgres_work(pg, branch, call);
}

/* The call says which: prepare, commit, one-phase commit, rollback or forget. */
static void finish(void *resource, struct assent_call *call)
{
    postgres_batch(resource, &call, 1);
}

static void batch(void *resource, struct assent_call **calls, size_t count)
{
    postgres_batch(resource, calls, count);
}

static void evidence(void *resource, struct assent_call *call)
{
    postgres_evidence(resource, call);
}

/* --- questions -------------------------------------------------------------------------------- */

/* Ids of ours in this database; what else is there is none of our business. */
static int recover(void *resource, void (*found)(const struct assent_branch_id *id, void *context),
                   void *context)
{
    struct postgres *pg = resource;
    char reason[ASSENT_REASON_MAX + 1];
    struct postgres_outcome outcome;
    uint64_t deadline_ms = assent_now_ms() + POSTGRES_FINISH_MS;
    struct assent_branch_id id;
    PGresult *rows = NULL;
    size_t lanes;
    int r;

    pthread_mutex_lock(&pg->lanes_mutex);
    if ((r = postgres_lanes(pg, 1, &lanes, reason)) != 0)
        goto out;
    postgres_send(pg->lanes[0],
                  "SELECT gid FROM pg_catalog.pg_prepared_xacts"
                  " WHERE database = pg_catalog.current_database() AND gid LIKE 'assent:%'",
                  0, NULL);
    postgres_sync(pg->lanes[0]);
    r = ASSENT_E_UNAVAILABLE;
    if (pg->lanes[0]->broken || postgres_result(pg->lanes[0], deadline_ms, &rows) != 0) {
        pg->lanes[0]->broken = true;
        goto out;
    }
    postgres_collect(pg->lanes[0], deadline_ms, &outcome);
    /* Only a list that is whole is one. */
    if (outcome.kind == POSTGRES_DONE && PQresultStatus(rows) == PGRES_TUPLES_OK) {
        for (int i = 0; i < PQntuples(rows); i++)
            if (assent_branch_id_parse(PQgetvalue(rows, i, 0), &id) == 0)
                found(&id, context);
        r = 0;
    }
out:
    PQclear(rows);
    pthread_mutex_unlock(&pg->lanes_mutex);
    return r;
}

static int ping(void *resource, char *error, size_t error_size)
{
    struct postgres *pg = resource;
    char reason[ASSENT_REASON_MAX + 1];
    struct postgres_outcome outcome;
    size_t lanes;
    int r;

    pthread_mutex_lock(&pg->lanes_mutex);
    r = postgres_lanes(pg, 1, &lanes, reason);
    if (r == 0) {
        postgres_send(pg->lanes[0], "SELECT 1", 0, NULL);
        postgres_sync(pg->lanes[0]);
        postgres_collect(pg->lanes[0], assent_now_ms() + POSTGRES_FINISH_MS, &outcome);
        if (outcome.kind != POSTGRES_DONE) {
            r = ASSENT_E_UNAVAILABLE;
            memcpy(reason, outcome.text, sizeof(reason));
        }
    }
    pthread_mutex_unlock(&pg->lanes_mutex);
    if (r != 0)
        snprintf(error, error_size, "postgres: %s", reason);
    return r;
}

/* What an application runs that works on a connection of its own: as JSON, what comes before its
 * statements and what after them. */
static int own_statements(const char *name, char **ret_json, char *error, size_t error_size)
{
    char marker[POSTGRES_NAME_BYTES];
    struct assent_branch_id id;

    if (assent_branch_id_parse(name, &id) != 0) {
        snprintf(error, error_size, "own: \"%.100s\" is not the name of a branch", name);
        return ASSENT_E_INVALID;
    }
    postgres_name_format(&id, marker);
    if (asprintf(ret_json,
                 "{\"before\": [\"BEGIN\"], \"after\": [\"INSERT INTO assent.marker (branch)"
                 " VALUES ('\\%s')\", \"PREPARE TRANSACTION '%s'\"]}",
                 marker, name) < 0)
        return ASSENT_E_NOMEM;
    return 0;
}

/* "own BRANCH", or a statement, as in work, in a transaction that can only read and is rolled back.
 */
static int query(void *resource, const char *command, char **ret_json, char *error,
                 size_t error_size)
{
    struct postgres *pg = resource;
    struct postgres_branch reader = {.read_only = true};
    struct assent_call call = {
        .work = command, .work_size = strlen(command), .timeout_ms = QUERY_MS};
    struct postgres_outcome outcome;

    if (strncmp(command, OWN, strlen(OWN)) == 0)
        return own_statements(command + strlen(OWN), ret_json, error, error_size);
    postgres_work(pg, &reader, &call);
    if (reader.conn != NULL) {
        postgres_send(reader.conn, "ROLLBACK", 0, NULL);
        postgres_sync(reader.conn);
        postgres_collect(reader.conn, assent_now_ms() + POSTGRES_FINISH_MS, &outcome);
        postgres_give_back(pg, reader.conn);
    }
    if (call.result != ASSENT_RM_OK) {
        snprintf(error, error_size, "postgres: %s", call.reason);
        return call.result == ASSENT_RM_FAILED ? ASSENT_E_INVALID : ASSENT_E_UNAVAILABLE;
    }
    *ret_json = call.reply;
    return 0;
}

const struct assent_resource_ops assent_resource_postgres = {
    .size = sizeof(struct assent_resource_ops),
    .type = "postgres",
    .capabilities =
        ASSENT_CAP_PREPARED_LIST | ASSENT_CAP_EVIDENCE | ASSENT_CAP_ONE_PHASE | ASSENT_CAP_BATCH,
    .open = open_postgres,
    .close = close_postgres,
    .begin = begin,
    .work = work,
    .prepare = finish,
    .commit = finish,
    .rollback = finish,
    .evidence = evidence,
    .forget = finish,
    .batch = batch,
    .recover = recover,
    .ping = ping,
    .query = query,
};
