/*
 * mariadb_marker.c: what becomes of the markers: evidence reads or writes one, forget deletes them.
 */
#include "mariadb.h"

#include <mysqld_error.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

#define PATIENCE_MS    100 /* with locks that are about to go */
#define DELETE_AT_ONCE 10000u
#define KEY_BYTES      (SQL_NAME_HEX_BYTES - 1 + 4) /* ",X'...'" */

/* --- delete ----------------------------------------------------------------------------------- */

/* Keys in a growing text, as SQL takes them in a list. */
struct keys {
    char *text;
    size_t count;
    bool failed;
};

static void add_key(struct keys *keys, const char *hex)
{
    size_t used = keys->count * KEY_BYTES;

    if ((keys->count & (keys->count - 1)) == 0) { /* full: twice as many */
        size_t room = keys->count > 0 ? 2 * keys->count : 1;
        char *text = realloc(keys->text, room * KEY_BYTES + 1);

        if (text == NULL) {
            keys->failed = true;
            return;
        }
        keys->text = text;
    }
    snprintf(keys->text + used, KEY_BYTES + 1, "%cX'%.*s'", keys->count ? ',' : ' ',
             SQL_NAME_HEX_BYTES - 1, hex);
    keys->count++;
}

static void add_row(void *context, char **cells)
{
    struct keys *keys = context;

    if (!keys->failed && cells[0] != NULL && strlen(cells[0]) == SQL_NAME_HEX_BYTES - 1)
        add_key(keys, cells[0]);
}

static int delete_keys(struct mariadb_conn *conn, struct keys *keys, char *reason)
{
    struct mariadb_outcome outcome = {.kind = MARIADB_DONE};

    if (keys->failed) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "out of memory");
        return ASSENT_E_NOMEM;
    }
    if (keys->count > 0) {
        mariadb_send_format(conn, "DELETE FROM assent_marker WHERE branch IN (%s)", keys->text);
        mariadb_collect(conn, assent_now_ms() + SQL_FINISH_MS, &outcome);
    }
    memcpy(reason, outcome.text, sizeof(outcome.text));
    return outcome.kind == MARIADB_DONE ? 0 : ASSENT_E_UNAVAILABLE;
}

int mariadb_delete_where(struct mariadb_conn *conn, const char *where,
                         char reason[ASSENT_REASON_MAX + 1])
{
    struct mariadb_outcome outcome;
    struct keys keys = {0};
    int r;

    mariadb_send_format(conn, "SELECT HEX(branch) FROM assent_marker WHERE %s LIMIT %u", where,
                        DELETE_AT_ONCE);
    mariadb_collect_rows(conn, assent_now_ms() + SQL_FINISH_MS, add_row, &keys, &outcome);
    memcpy(reason, outcome.text, sizeof(outcome.text));
    r = outcome.kind == MARIADB_DONE ? delete_keys(conn, &keys, reason) : ASSENT_E_UNAVAILABLE;
    free(keys.text);
    return r;
}

int mariadb_forget(struct sql_session *lane, const struct assent_branch_id *ids, size_t count,
                   bool sweep, char reason[ASSENT_REASON_MAX + 1])
{
    char log_id[2 * ASSENT_LOG_ID_BYTES + 1], order[2 * 8 + 1], where[160];
    struct mariadb_conn *conn = mariadb_conn_of(lane);
    struct keys keys = {0};
    int r;

    for (size_t i = 0; i < count && !keys.failed; i++) {
        char name[SQL_NAME_HEX_BYTES];

        sql_name_hex(&ids[i], name);
        add_key(&keys, name);
    }
    r = delete_keys(conn, &keys, reason);
    free(keys.text);
    if (r == 0 && sweep) {
        sql_sweep_bounds(&ids[count - 1], log_id, order);
        snprintf(where, sizeof(where),
                 "committed AND LEFT(branch, 16) = X'%s' AND SUBSTR(branch, 25, 8) <= X'%s'",
                 log_id, order);
        r = mariadb_delete_where(conn, where, reason);
    }
    return r;
}

/* --- evidence --------------------------------------------------------------------------------- */

static void send_bar(struct mariadb_conn *conn, const char *name)
{
    mariadb_send_format(conn,
                        "SET STATEMENT innodb_lock_wait_timeout = 0 FOR"
                        " INSERT IGNORE INTO assent_marker (branch, committed)"
                        " VALUES (X'%s', NULL);"
                        "SELECT IFNULL(committed, 'not known') FROM assent_marker"
                        " WHERE branch = X'%s'",
                        name, name);
}

static bool is_held(const struct mariadb_outcome *outcome)
{
    return outcome->kind == MARIADB_REFUSED && outcome->code == ER_LOCK_WAIT_TIMEOUT;
}

/* Writes that the branch is not there, unless it is written that it has committed or was rolled
 * back; what is written stands from then on. Without either nobody knows more: MariaDB does not say
 * whether somebody has rolled it back past us, or it was lost, as in a restore. */
static void ask_marker(struct mariadb_conn *conn, struct assent_call *call)
{
    struct mariadb_outcome outcome;
    char name[SQL_NAME_HEX_BYTES];

    sql_name_hex(&call->id, name);
    send_bar(conn, name);
    mariadb_collect(conn, assent_now_ms() + SQL_FINISH_MS, &outcome);
    /* A commit that has been answered may hold its locks a moment longer. */
    for (int wait_ms = 1; is_held(&outcome) && wait_ms <= PATIENCE_MS; wait_ms *= 2) {
        (void)poll(NULL, 0, wait_ms);
        send_bar(conn, name);
        mariadb_collect(conn, assent_now_ms() + SQL_FINISH_MS, &outcome);
    }
    if (outcome.kind == MARIADB_DONE && strcmp(outcome.value, "1") == 0)
        sql_answer(call, ASSENT_RM_WAS_COMMITTED, "its marker is here");
    else if (outcome.kind == MARIADB_DONE && strcmp(outcome.value, "0") == 0)
        sql_answer(call, ASSENT_RM_WAS_ABORTED, "its marker says that it was rolled back");
    else if (outcome.kind == MARIADB_DONE && outcome.value[0] != '\0')
        sql_answer(call, ASSENT_RM_VANISHED,
                   "it is not prepared and has no marker: rolled back past the agent, or lost in a "
                   "restore or a fail-over");
    else if (is_held(&outcome))
        sql_answer(call, ASSENT_RM_RETRY, "a session is still ending the branch");
    else
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s",
                   outcome.text[0] ? outcome.text : "the marker vanished");
}

void mariadb_evidence(struct sql_database *db, struct sql_session *lane, struct assent_call *call)
{
    struct mariadb_conn *conn = mariadb_conn_of(lane);
    struct mariadb_outcome outcome;
    char xid[MARIADB_XID_BYTES];
    bool listed;

    mariadb_xid_format((struct mariadb *)db, &call->id, xid);
    mariadb_send(conn, "XA RECOVER FORMAT='SQL'");
    listed = mariadb_listed(conn, xid, assent_now_ms() + SQL_FINISH_MS, &outcome);
    if (outcome.kind != MARIADB_DONE)
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome.text);
    else if (listed)
        sql_answer(call, ASSENT_RM_OK, "%s", "");
    else
        ask_marker(conn, call);
}
