/*
 * mariadb_session.c: connections with MariaDB: to send statements as one text, and to take their
 * answers until a moment, so that a server that is silent holds nobody up for ever. Errors are told
 * apart by number alone.
 */
#include "mariadb.h"

#include <errmsg.h>
#include <mysqld_error.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "runtime.h"

#define CONNECT_S 5u
#define SILENCE_S 30u /* within one answer, after its beginning */

#define CLIENT_ERROR(code) (((code) >= 2000 && (code) < 3000) || ((code) >= 5000 && (code) < 6000))

static const char *given(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static void set_options(const struct mariadb *maria, MYSQL *link)
{
    unsigned connect_s = CONNECT_S, silence_s = SILENCE_S, off = 0;

    if (maria->defaults_file[0] != '\0') {
        mysql_optionsv(link, MYSQL_READ_DEFAULT_FILE, maria->defaults_file);
        mysql_optionsv(link, MYSQL_READ_DEFAULT_GROUP, "assent");
    }
    mysql_optionsv(link, MYSQL_OPT_CONNECT_TIMEOUT, &connect_s);
    mysql_optionsv(link, MYSQL_OPT_READ_TIMEOUT, &silence_s);
    mysql_optionsv(link, MYSQL_OPT_WRITE_TIMEOUT, &silence_s);
    mysql_optionsv(link, MYSQL_OPT_LOCAL_INFILE, &off);
    mysql_optionsv(link, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    mysql_optionsv(link, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "assent");
    /* Each statement that is no branch's is a transaction of its own, and waits for nobody. */
    mysql_optionsv(link, MYSQL_INIT_COMMAND, "SET autocommit = 1, innodb_lock_wait_timeout = 1");
}

int mariadb_dial(struct sql_database *db, uint32_t work_timeout_ms,
                 struct sql_session **ret_session, char reason[ASSENT_REASON_MAX + 1])
{
    const struct mariadb *maria = (struct mariadb *)db;
    struct mariadb_conn *conn = calloc(1, sizeof(*conn));

    (void)work_timeout_ms;
    if (conn == NULL || (conn->link = mysql_init(NULL)) == NULL) {
        free(conn);
        snprintf(reason, ASSENT_REASON_MAX + 1, "out of memory");
        return ASSENT_E_NOMEM;
    }
    set_options(maria, conn->link);
    /* The count of an UPDATE is of the rows found, as everywhere else. */
    if (mysql_real_connect(conn->link, given(maria->host), given(maria->user), NULL,
                           maria->database, (unsigned)maria->port, given(maria->socket),
                           CLIENT_MULTI_STATEMENTS | CLIENT_FOUND_ROWS) == NULL) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "%u: %.200s", mysql_errno(conn->link),
                 mysql_error(conn->link));
        mariadb_hang_up(&conn->base);
        return ASSENT_E_UNAVAILABLE;
    }
    conn->used = true; /* what it counts begins with a reset */
    *ret_session = &conn->base;
    return 0;
}

void mariadb_hang_up(struct sql_session *session)
{
    struct mariadb_conn *conn = mariadb_conn_of(session);

    mysql_close(conn->link);
    free(conn);
}

bool mariadb_alive(struct sql_session *session, bool wait)
{
    struct pollfd ready = {.fd = mysql_get_socket(mariadb_conn_of(session)->link),
                           .events = POLLIN};

    (void)wait;
    /* What a server says unasked is that it ends the session. */
    return !session->broken && ready.fd >= 0 && poll(&ready, 1, 0) == 0;
}

void mariadb_cut(struct mariadb_conn *conn)
{
    conn->base.broken = true;
    (void)shutdown(mysql_get_socket(conn->link), SHUT_RDWR);
}

bool mariadb_idle(struct sql_session *session)
{
    return !mariadb_conn_of(session)->open;
}

bool mariadb_in_transaction(const struct mariadb_conn *conn)
{
    unsigned status = SERVER_STATUS_IN_TRANS;

    (void)mariadb_get_infov(conn->link, MARIADB_CONNECTION_SERVER_STATUS, &status);
    return (status & SERVER_STATUS_IN_TRANS) != 0;
}

/* --- statements ------------------------------------------------------------------------------- */

void mariadb_send(struct mariadb_conn *conn, const char *sql)
{
    if (!conn->base.broken && mysql_send_query(conn->link, sql, strlen(sql)) != 0)
        conn->base.broken = true;
}

void mariadb_send_format(struct mariadb_conn *conn, const char *format, ...)
{
    char *sql = NULL;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&sql, format, arguments) < 0) {
        sql = NULL;
        conn->base.broken = true;
    }
    va_end(arguments);
    if (sql != NULL)
        mariadb_send(conn, sql);
    free(sql);
}

/* --- answers ---------------------------------------------------------------------------------- */

static void lose(struct mariadb_conn *conn, const char *why, struct mariadb_outcome *outcome)
{
    conn->base.broken = true;
    outcome->kind = MARIADB_LOST;
    snprintf(outcome->text, sizeof(outcome->text), "%.250s", why);
}

void mariadb_note_error(struct mariadb_conn *conn, struct mariadb_outcome *outcome)
{
    unsigned code = mysql_errno(conn->link);
    char text[ASSENT_REASON_MAX + 1];

    snprintf(text, sizeof(text), "%u: %.240s", code, mysql_error(conn->link));
    /* A server that ends the session says so before; then, or without it, the client speaks. */
    if (code == 0 || CLIENT_ERROR(code) || code == ER_SERVER_SHUTDOWN ||
        code == ER_CONNECTION_KILLED ||
        (code >= ER_NET_PACKET_TOO_LARGE && code <= ER_NET_WRITE_INTERRUPTED)) {
        lose(conn, code == 0 ? "the session is lost" : text, outcome);
        return;
    }
    outcome->kind = MARIADB_REFUSED;
    outcome->code = code;
    memcpy(outcome->text, text, sizeof(text));
}

/* The head of one answer is there: rows follow, or it is an OK with what the server tells. */
static void note_head(struct mariadb_conn *conn, struct mariadb_outcome *outcome)
{
    const char *data;
    size_t size;

    outcome->done++;
    if (mysql_field_count(conn->link) > 0)
        return;
    if (mysql_session_track_get_first(conn->link, SESSION_TRACK_TRANSACTION_STATE, &data, &size) ==
        0)
        snprintf(conn->state, sizeof(conn->state), "%.*s", (int)size, data);
    if (outcome->unsafe_at == 0 && strlen(conn->state) == 8 && conn->state[3] == 'w')
        outcome->unsafe_at = outcome->done;
}

void mariadb_answer(struct mariadb_conn *conn, uint64_t deadline_ms,
                    struct mariadb_outcome *ret_outcome)
{
    struct pollfd ready = {.fd = mysql_get_socket(conn->link), .events = POLLIN};
    uint64_t now_ms = assent_now_ms();

    *ret_outcome = (struct mariadb_outcome){.kind = MARIADB_DONE};
    if (conn->base.broken) {
        lose(conn, mysql_errno(conn->link) ? mysql_error(conn->link) : "the session is lost",
             ret_outcome);
    } else if (poll(&ready, 1, now_ms < deadline_ms ? (int)(deadline_ms - now_ms) : 0) <= 0) {
        lose(conn, "no answer in time", ret_outcome);
    } else if (mysql_read_query_result(conn->link) != 0) {
        mariadb_note_error(conn, ret_outcome);
    } else {
        note_head(conn, ret_outcome);
    }
}

bool mariadb_next(struct mariadb_conn *conn, struct mariadb_outcome *outcome)
{
    int r = outcome->kind == MARIADB_DONE ? mysql_next_result(conn->link) : -1;

    if (r > 0)
        mariadb_note_error(conn, outcome);
    else if (r == 0)
        note_head(conn, outcome);
    return r == 0;
}

void mariadb_collect_rows(struct mariadb_conn *conn, uint64_t deadline_ms,
                          void (*row)(void *context, char **cells), void *context,
                          struct mariadb_outcome *ret_outcome)
{
    mariadb_answer(conn, deadline_ms, ret_outcome);
    if (ret_outcome->kind != MARIADB_DONE)
        return;
    do {
        MYSQL_RES *rows = mysql_field_count(conn->link) > 0 ? mysql_use_result(conn->link) : NULL;
        MYSQL_ROW cells;

        if (rows == NULL)
            continue;
        while ((cells = mysql_fetch_row(rows)) != NULL) {
            snprintf(ret_outcome->value, sizeof(ret_outcome->value), "%s",
                     cells[0] ? cells[0] : "");
            if (row != NULL)
                row(context, cells);
        }
        if (mysql_errno(conn->link) != 0) /* a list that ended early is none */
            mariadb_note_error(conn, ret_outcome);
        mysql_free_result(rows);
    } while (mariadb_next(conn, ret_outcome));
}

void mariadb_collect(struct mariadb_conn *conn, uint64_t deadline_ms,
                     struct mariadb_outcome *ret_outcome)
{
    mariadb_collect_rows(conn, deadline_ms, NULL, NULL, ret_outcome);
}

void mariadb_ask(struct mariadb_conn *conn, const char *sql, struct mariadb_outcome *ret_outcome)
{
    mariadb_send(conn, sql);
    mariadb_collect(conn, assent_now_ms() + SQL_FINISH_MS, ret_outcome);
}

void mariadb_roll_back(struct mariadb_conn *conn, const char *xid, uint64_t deadline_ms)
{
    struct mariadb_outcome outcome;

    /* Refused where the server has rolled back already, as after a deadlock; not so the second. */
    mariadb_send_format(conn, "XA END %s", xid);
    mariadb_collect(conn, deadline_ms, &outcome);
    mariadb_send_format(conn, "XA ROLLBACK %s", xid);
    mariadb_collect(conn, deadline_ms, &outcome);
    if (outcome.kind == MARIADB_DONE)
        conn->open = false;
    else
        conn->base.broken = true;
}
