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

void postgres_timeouts(uint32_t timeout_ms, unsigned *ret_statement_ms, unsigned *ret_lock_ms)
{
    *ret_statement_ms = timeout_ms > 0 ? timeout_ms : 1;
    *ret_lock_ms = *ret_statement_ms - *ret_statement_ms / 10;
}

/* What the server is told of at the start of a session is what a reset brings back. */
static void format_options(const struct postgres *pg, uint32_t work_timeout_ms,
                           char options[POSTGRES_OPTIONS_MAX + 128])
{
    unsigned statement_ms, lock_ms;

    postgres_timeouts(work_timeout_ms, &statement_ms, &lock_ms);
    snprintf(options, POSTGRES_OPTIONS_MAX + 128, "%s -c statement_timeout=%u -c lock_timeout=%u",
             pg->options, statement_ms, lock_ms);
}

static void learn_options(struct postgres *pg, PGconn *link)
{
    PQconninfoOption *all = PQconninfo(link);

    for (const PQconninfoOption *o = all; o != NULL && o->keyword != NULL; o++)
        if (strcmp(o->keyword, "options") == 0 &&
            (o->val == NULL || strlen(o->val) <= POSTGRES_OPTIONS_MAX)) {
            snprintf(pg->options, sizeof(pg->options), "%s", o->val != NULL ? o->val : "");
            pg->options_known = true;
        }
    PQconninfoFree(all);
}

int postgres_connect(struct sql_database *db, uint32_t work_timeout_ms,
                     struct sql_session **ret_session, char reason[ASSENT_REASON_MAX + 1])
{
    struct postgres *pg = (struct postgres *)db;
    const char *keywords[DEFAULTS + 4] = {NULL}, *values[DEFAULTS + 4] = {NULL};
    struct postgres_conn *conn = calloc(1, sizeof(*conn));
    char options[POSTGRES_OPTIONS_MAX + 128];
    size_t n = 0;

    for (; n < DEFAULTS; n++) {
        keywords[n] = defaults[n][0];
        values[n] = defaults[n][1];
    }
    keywords[n] = "dbname"; /* is expanded */
    values[n++] = pg->conninfo;
    keywords[n] = "client_encoding";
    values[n++] = "UTF8";
    if (work_timeout_ms > 0 && pg->options_known) {
        format_options(pg, work_timeout_ms, options);
        keywords[n] = "options";
        values[n] = options;
        if (conn != NULL)
            conn->timeout_ms = work_timeout_ms;
    }
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
    if (!pg->options_known)
        learn_options(pg, conn->link);
    *ret_session = &conn->base;
    return 0;
}

void postgres_disconnect(struct sql_session *session)
{
    struct postgres_conn *conn = postgres_conn_of(session);

    PQfinish(conn->link);
    free(conn);
}

bool postgres_alive(struct sql_session *session, bool wait)
{
    struct postgres_conn *conn = postgres_conn_of(session);
    struct pollfd ready = {.fd = PQsocket(conn->link), .events = POLLIN};

    if (conn->discarding) {
        conn->discard.deadline_ms = assent_now_ms() + DISCARD_MS;
        if (!wait)
            (void)PQconsumeInput(conn->link); /* of a failure the result tells */
        postgres_take(&conn->discard, wait);
        if (!conn->discard.done)
            return false;
        conn->discarding = false;
        session->broken |= conn->discard.outcome.kind != POSTGRES_DONE;
    }
    /* What a server says unasked is that it ends the session. */
    return !session->broken && PQstatus(conn->link) == CONNECTION_OK && poll(&ready, 1, 0) == 0;
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
    postgres_send(conn, POSTGRES_DISCARD, 0, NULL);
    postgres_sync(conn);
    conn->discard = (struct postgres_exchange){.conn = conn};
    conn->discarding = true;
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

void postgres_tag(const PGresult *result, char tag[32])
{
    const char *status = PQcmdStatus((PGresult *)(uintptr_t)result);
    size_t size = strcspn(status, "0123456789");

    while (size > 0 && status[size - 1] == ' ')
        size--;
    snprintf(tag, 32, "%.*s", (int)size, status);
}

void postgres_lose(struct postgres_exchange *exchange, const char *why)
{
    exchange->conn->base.broken = true;
    exchange->outcome = (struct postgres_outcome){.kind = POSTGRES_LOST};
    first_line(why, exchange->outcome.text);
}

/* The first error stands. */
static void note_error(struct postgres_exchange *exchange, const PGresult *result)
{
    struct postgres_outcome *outcome = &exchange->outcome;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);

    /* Without a SQLSTATE it is libpq that speaks, and a session that ends answers no more. */
    if (sqlstate == NULL || message == NULL || (severity && strcmp(severity, "ERROR") != 0)) {
        postgres_lose(exchange, message ? message : PQresultErrorMessage(result));
        return;
    }
    if (outcome->kind != POSTGRES_DONE || outcome->ended)
        return; /* what comes behind the end of a branch changes nothing about it */
    outcome->kind = POSTGRES_REFUSED;
    snprintf(outcome->sqlstate, sizeof(outcome->sqlstate), "%s", sqlstate);
    snprintf(outcome->text, sizeof(outcome->text), "%s: %s%s%s", sqlstate, message,
             detail ? ": " : "", detail ? detail : "");
}

/* Work has no such statements. */
static bool is_end(const char *tag)
{
    return strcmp(tag, "PREPARE TRANSACTION") == 0 || strcmp(tag, "COMMIT") == 0 ||
           strcmp(tag, "ROLLBACK") == 0;
}

void postgres_note(struct postgres_exchange *exchange, const PGresult *result)
{
    struct postgres_outcome *outcome = &exchange->outcome;
    ExecStatusType status = PQresultStatus(result);
    char tag[sizeof(outcome->tag)];

    if (result == NULL)
        return;
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
        postgres_tag(result, tag);
        outcome->discarded = strcmp(tag, POSTGRES_DISCARD) == 0;
        if (outcome->discarded)
            return;
        memcpy(outcome->tag, tag, sizeof(outcome->tag));
        outcome->ended = is_end(tag);
        if (PQntuples(result) > 0 && PQnfields(result) > 0)
            snprintf(outcome->value, sizeof(outcome->value), "%s", PQgetvalue(result, 0, 0));
    } else if (status == PGRES_FATAL_ERROR) {
        note_error(exchange, result);
    } else if (status != PGRES_PIPELINE_ABORTED) {
        postgres_lose(exchange, "the server answered what was not asked");
    }
}

void postgres_take(struct postgres_exchange *exchange, bool wait)
{
    struct postgres_conn *conn = exchange->conn;
    PGresult *result;

    while (!exchange->done && !conn->base.broken) {
        if (!wait && (PQflush(conn->link) > 0 || PQisBusy(conn->link)))
            return;
        if (postgres_result(conn, exchange->deadline_ms, &result) != 0) {
            postgres_lose(exchange, "no answer in time");
            break;
        }
        exchange->done = PQresultStatus(result) == PGRES_PIPELINE_SYNC;
        if (!exchange->done && exchange->feed != NULL)
            exchange->feed(exchange, result);
        else if (!exchange->done)
            postgres_note(exchange, result);
        if (result == NULL && PQstatus(conn->link) != CONNECTION_OK) /* the end of all */
            conn->base.broken = true;
        PQclear(result);
    }
    if (conn->base.broken && exchange->outcome.kind != POSTGRES_LOST)
        postgres_lose(exchange, PQerrorMessage(conn->link));
    exchange->done = true;
}

void postgres_collect(struct postgres_conn *conn, uint64_t deadline_ms,
                      struct postgres_outcome *ret_outcome)
{
    struct postgres_exchange exchange = {.conn = conn, .deadline_ms = deadline_ms};

    postgres_take(&exchange, true);
    *ret_outcome = exchange.outcome;
}
