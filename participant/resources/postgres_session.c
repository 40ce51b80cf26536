/*
 * postgres_session.c: connections with PostgreSQL: to queue statements, and to take their results
 * until a moment, so that a server that is silent holds nobody up for ever.
 *
 * Statements go out in libpq's pipeline mode, many on one journey; a sync ends a row of them, and
 * what follows an error up to there is skipped by the server.
 */
#include "postgres.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

/* Before the user's own words, so that these stand over them; a dead peer is noticed. */
static const char *const defaults[][2] = {
    {"connect_timeout", "5"},  {"tcp_user_timeout", "20000"},
    {"keepalives_idle", "10"}, {"keepalives_interval", "5"},
    {"keepalives_count", "3"}, {"fallback_application_name", "assent"},
};
#define DEFAULTS   (sizeof(defaults) / sizeof(defaults[0]))
#define DISCARD_MS 1000u

/* libpq's message is a line or more; the first is what people need. */
static void first_line(const char *from, char reason[ASSENT_REASON_MAX + 1])
{
    snprintf(reason, ASSENT_REASON_MAX + 1, "%.*s", (int)strcspn(from, "\n"), from);
}

int postgres_connect(struct sql_database *db, struct sql_session **ret_session,
                     char reason[ASSENT_REASON_MAX + 1])
{
    const struct postgres *pg = (struct postgres *)db;
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
        postgres_disconnect(&conn->base);
        return ASSENT_E_UNAVAILABLE;
    }
    *ret_session = &conn->base;
    return 0;
}

void postgres_disconnect(struct sql_session *session)
{
    struct postgres_conn *conn = postgres_conn_of(session);

    PQfinish(conn->link);
    free(conn);
}

bool postgres_alive(struct sql_session *session)
{
    struct postgres_conn *conn = postgres_conn_of(session);
    struct pollfd ready = {.fd = PQsocket(conn->link), .events = POLLIN};

    /* What a server says unasked is that it ends the session. */
    return postgres_take_discard(conn, assent_now_ms() + DISCARD_MS) && !session->broken &&
           PQstatus(conn->link) == CONNECTION_OK && poll(&ready, 1, 0) == 0;
}

/* DISCARD ALL succeeds outside of a transaction alone. */
bool postgres_idle(struct sql_session *session)
{
    const struct postgres_conn *conn = postgres_conn_of(session);

    return conn->discarding || PQtransactionStatus(conn->link) == PQTRANS_IDLE;
}

/* --- statements and their results ------------------------------------------------------------- */

void postgres_send(struct postgres_conn *conn, const char *sql, int count,
                   const char *const *values)
{
    if (!conn->base.broken &&
        PQsendQueryParams(conn->link, sql, count, NULL, values, NULL, NULL, 0) != 1)
        conn->base.broken = true;
}

void postgres_sync(struct postgres_conn *conn)
{
    if (!conn->base.broken && PQpipelineSync(conn->link) != 1)
        conn->base.broken = true;
}

void postgres_send_discard(struct postgres_conn *conn)
{
    postgres_send(conn, "DISCARD ALL", 0, NULL);
    postgres_sync(conn);
    conn->discarding = true;
}

bool postgres_take_discard(struct postgres_conn *conn, uint64_t deadline_ms)
{
    struct postgres_outcome outcome = {.kind = POSTGRES_DONE};

    if (conn->discarding)
        postgres_collect(conn, deadline_ms, &outcome);
    conn->discarding = false;
    return outcome.kind == POSTGRES_DONE;
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
    conn->base.broken = true;
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

        if (conn->base.broken) {
            if (ret_outcome->kind != POSTGRES_LOST)
                postgres_lose(conn, PQerrorMessage(conn->link), ret_outcome);
            return;
        }
        if (postgres_result(conn, deadline_ms, &result) != 0) {
            postgres_lose(conn, "no answer in time", ret_outcome);
            return;
        }
        if (result == NULL) { /* the end of one statement; after a loss, the end of all */
            conn->base.broken = PQstatus(conn->link) != CONNECTION_OK;
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
