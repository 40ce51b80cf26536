/*
 * postgres_pool.c: sessions with PostgreSQL. A bounded pool for branches in work, and what every
 * file here needs of a connection: to queue statements, and to take their results until a moment,
 * so that a server that is silent holds nobody up for ever.
 *
 * Statements go out in libpq's pipeline mode, many on one journey; a sync ends a row of them, and
 * what follows an error up to there is skipped by the server.
 */
#include "postgres.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime.h"

/* Before the user's own words, so that these stand over them; a dead peer is noticed. */
static const char *const defaults[][2] = {
    {"connect_timeout", "5"},  {"tcp_user_timeout", "20000"},
    {"keepalives_idle", "10"}, {"keepalives_interval", "5"},
    {"keepalives_count", "3"}, {"fallback_application_name", "assent"},
};
#define DEFAULTS (sizeof(defaults) / sizeof(defaults[0]))

/* libpq's message is a line or more; the first is what people need. */
static void first_line(const char *from, char reason[ASSENT_REASON_MAX + 1])
{
    snprintf(reason, ASSENT_REASON_MAX + 1, "%.*s", (int)strcspn(from, "\n"), from);
}

int postgres_connect(struct postgres *pg, struct postgres_conn **ret_conn,
                     char reason[ASSENT_REASON_MAX + 1])
{
    const char *keywords[DEFAULTS + 3] = {NULL}, *values[DEFAULTS + 3] = {NULL};
    struct postgres_conn *conn = calloc(1, sizeof(*conn));
    size_t n = 0;

    for (; n < DEFAULTS; n++) {
        keywords[n] = defaults[n][0];
        values[n] = defaults[n][1];
    }
    keywords[n] = "dbname"; /* is expanded */
    values[n++] = pg->conninfo;
    keywords[n] = "client_encoding";
    values[n] = "UTF8";
    if (conn != NULL)
        conn->link = PQconnectdbParams(keywords, values, 1);
    if (conn == NULL || conn->link == NULL) {
        free(conn);
        snprintf(reason, ASSENT_REASON_MAX + 1, "out of memory");
        return ASSENT_E_NOMEM;
    }
    if (PQstatus(conn->link) != CONNECTION_OK || PQsetnonblocking(conn->link, 1) != 0 ||
        PQenterPipelineMode(conn->link) != 1) {
        first_line(PQerrorMessage(conn->link), reason);
        postgres_disconnect(conn);
        return ASSENT_E_UNAVAILABLE;
    }
    *ret_conn = conn;
    return 0;
}

void postgres_disconnect(struct postgres_conn *conn)
{
    if (conn == NULL)
        return;
    PQfinish(conn->link);
    free(conn);
}

bool postgres_alive(struct postgres_conn *conn)
{
    struct pollfd ready = {.fd = PQsocket(conn->link), .events = POLLIN};

    /* What a server says unasked is that it ends the session. */
    return !conn->broken && PQstatus(conn->link) == CONNECTION_OK && poll(&ready, 1, 0) == 0;
}

/* --- the pool --------------------------------------------------------------------------------- */

static struct timespec until(uint64_t timeout_ms)
{
    struct timespec moment;

    clock_gettime(CLOCK_MONOTONIC, &moment);
    moment.tv_sec += (time_t)(timeout_ms / 1000);
    moment.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (moment.tv_nsec >= 1000000000) {
        moment.tv_nsec -= 1000000000;
        moment.tv_sec++;
    }
    return moment;
}

/* Under the mutex: an idle session that lives, or NULL. */
static struct postgres_conn *pop_idle(struct postgres *pg)
{
    struct postgres_conn *conn;

    while ((conn = SLIST_FIRST(&pg->idle)) != NULL) {
        SLIST_REMOVE_HEAD(&pg->idle, idle);
        if (postgres_alive(conn))
            return conn;
        pg->open_count--;
        postgres_disconnect(conn);
    }
    return NULL;
}

int postgres_take(struct postgres *pg, uint32_t timeout_ms, struct postgres_conn **ret_conn,
                  char reason[ASSENT_REASON_MAX + 1])
{
    struct timespec moment = until(timeout_ms);
    struct postgres_conn *conn;
    bool room = true;
    int r = 0;

    pthread_mutex_lock(&pg->mutex);
    while ((conn = pop_idle(pg)) == NULL && pg->open_count >= pg->connections_max && room)
        room = pthread_cond_timedwait(&pg->returned, &pg->mutex, &moment) != ETIMEDOUT;
    room = conn == NULL && pg->open_count < pg->connections_max;
    if (room)
        pg->open_count++; /* ours, before anybody else can think so */
    pthread_mutex_unlock(&pg->mutex);
    if (conn == NULL && !room) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "all %llu connections are in work",
                 (unsigned long long)pg->connections_max);
        return ASSENT_E_LIMIT;
    }
    if (conn == NULL && (r = postgres_connect(pg, &conn, reason)) != 0) {
        pthread_mutex_lock(&pg->mutex);
        pg->open_count--;
        pthread_cond_signal(&pg->returned);
        pthread_mutex_unlock(&pg->mutex);
        return r;
    }
    *ret_conn = conn;
    return 0;
}

void postgres_give_back(struct postgres *pg, struct postgres_conn *conn)
{
    bool whole = !conn->broken && PQtransactionStatus(conn->link) == PQTRANS_IDLE;

    if (!whole)
        postgres_disconnect(conn);
    pthread_mutex_lock(&pg->mutex);
    if (whole)
        SLIST_INSERT_HEAD(&pg->idle, conn, idle);
    else
        pg->open_count--;
    pthread_cond_signal(&pg->returned);
    pthread_mutex_unlock(&pg->mutex);
}

/* --- statements and their results ------------------------------------------------------------- */

void postgres_send(struct postgres_conn *conn, const char *sql, int count,
                   const char *const *values)
{
    if (!conn->broken &&
        PQsendQueryParams(conn->link, sql, count, NULL, values, NULL, NULL, 0) != 1)
        conn->broken = true;
}

void postgres_sync(struct postgres_conn *conn)
{
    if (!conn->broken && PQpipelineSync(conn->link) != 1)
        conn->broken = true;
}

int postgres_result(struct postgres_conn *conn, uint64_t deadline_ms, PGresult **ret_result)
{
    for (;;) {
        struct pollfd ready = {.fd = PQsocket(conn->link), .events = POLLIN};
        int unsent = PQflush(conn->link);
        uint64_t now_ms;

        /* After a failed send or receive the result says what happened, and does not block. */
        if (unsent < 0 || ready.fd < 0 || !PQisBusy(conn->link))
            break;
        if (unsent > 0)
            ready.events |= POLLOUT;
        if ((now_ms = assent_now_ms()) >= deadline_ms)
            return ASSENT_E_TIMEOUT;
        if (poll(&ready, 1, (int)(deadline_ms - now_ms)) > 0 && (ready.revents & ~POLLOUT) &&
            PQconsumeInput(conn->link) != 1)
            break;
    }
    *ret_result = PQgetResult(conn->link);
    return 0;
}

void postgres_lose(struct postgres_conn *conn, const char *why,
                   struct postgres_outcome *ret_outcome)
{
    conn->broken = true;
    *ret_outcome = (struct postgres_outcome){.kind = POSTGRES_LOST};
    first_line(why, ret_outcome->text);
}

void postgres_note_error(struct postgres_conn *conn, const PGresult *result,
                         struct postgres_outcome *outcome)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);

    /* Without a SQLSTATE it is libpq that speaks, and a session that ends answers no more. */
    if (sqlstate == NULL || message == NULL || (severity && strcmp(severity, "ERROR") != 0)) {
        postgres_lose(conn, message ? message : PQresultErrorMessage(result), outcome);
        return;
    }
    if (outcome->kind != POSTGRES_DONE)
        return;
    outcome->kind = POSTGRES_REFUSED;
    snprintf(outcome->sqlstate, sizeof(outcome->sqlstate), "%s", sqlstate);
    snprintf(outcome->text, sizeof(outcome->text), "%s: %s%s%s", sqlstate, message,
             detail ? ": " : "", detail ? detail : "");
}

void postgres_tag(const PGresult *result, char tag[32])
{
    const char *status = PQcmdStatus((PGresult *)(uintptr_t)result);
    size_t size = strcspn(status, "0123456789");

    while (size > 0 && status[size - 1] == ' ')
        size--;
    snprintf(tag, 32, "%.*s", (int)size, status);
}

static void note_result(struct postgres_conn *conn, const PGresult *result,
                        struct postgres_outcome *outcome)
{
    ExecStatusType status = PQresultStatus(result);

    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
        postgres_tag(result, outcome->tag);
        if (PQntuples(result) > 0 && PQnfields(result) > 0)
            snprintf(outcome->value, sizeof(outcome->value), "%s", PQgetvalue(result, 0, 0));
    } else if (status == PGRES_FATAL_ERROR) {
        postgres_note_error(conn, result, outcome);
    } else if (status != PGRES_PIPELINE_ABORTED) {
        postgres_lose(conn, "the server answered what was not asked", outcome);
    }
}

void postgres_collect(struct postgres_conn *conn, uint64_t deadline_ms,
                      struct postgres_outcome *ret_outcome)
{
    PGresult *result;

    *ret_outcome = (struct postgres_outcome){.kind = POSTGRES_DONE};
    for (;;) {
        bool end;

        if (conn->broken) {
            if (ret_outcome->kind != POSTGRES_LOST)
                postgres_lose(conn, PQerrorMessage(conn->link), ret_outcome);
            return;
        }
        if (postgres_result(conn, deadline_ms, &result) != 0) {
            postgres_lose(conn, "no answer in time", ret_outcome);
            return;
        }
        if (result == NULL) { /* the end of one statement; after a loss, the end of all */
            conn->broken = PQstatus(conn->link) != CONNECTION_OK;
            continue;
        }
        end = PQresultStatus(result) == PGRES_PIPELINE_SYNC;
        if (!end)
            note_result(conn, result, ret_outcome);
        PQclear(result);
        if (end)
            return;
    }
}
