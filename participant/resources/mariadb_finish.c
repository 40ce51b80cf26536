/*
 * mariadb_finish.c: how branches end in MariaDB. What is sent, and what an answer means:
 *
 *   prepare, wrote      marker, XA END, XA PREPARE             and the session is free
 *   one-phase, wrote    marker, XA END, XA COMMIT ONE PHASE
 *   either, only read   has nothing been written? XA END, XA ROLLBACK: READ_ONLY, OK
 *   prepare, not here   is it on the list, with marker?        OK, NOT_FOUND, FAILED without marker
 *   commit              XA COMMIT, what does the marker say?   see end_elsewhere
 *   rollback            XA END, XA ROLLBACK                    OK
 *   rollback, prepared  XA ROLLBACK, tombstone, the same       as commit
 *
 * An error before XA PREPARE or XA COMMIT means that neither was done (the server takes no
 * statement of a text after one that failed), so the branch is rolled back here and now: REFUSED.
 * XA_RB* from them says that the server has done that. Any other error of theirs proves nothing,
 * and a session that is lost on the way is UNAVAILABLE whatever was sent.
 */
#include "mariadb.h"

#include <mysqld_error.h>
#include <stdio.h>
#include <string.h>

#include "runtime.h"

/* Where the one that matters stands in the text of send_finish(). */
#define BEFORE_LAST 3
#define PATIENCE    "max_statement_time = 0, innodb_lock_wait_timeout = 20"
/* A session that lets go of its branch forgets an engine with transactions and without XA as it is:
 * neither committed nor rolled back. The preflight refuses servers with such an engine; it may have
 * been loaded since. */
#define LET_GO                                                                                     \
    "pseudo_slave_mode = (SELECT COUNT(*) = 0 FROM information_schema.engines"                     \
    " WHERE transactions = 'YES' AND xa = 'NO' AND engine <> 'SEQUENCE'), "
/* Nothing but what this session has asked of storage engines since its reset. */
#define COUNT_WRITES                                                                               \
    "SET max_statement_time = 0;"                                                                  \
    "SELECT CAST(SUM(variable_value) AS UNSIGNED) FROM information_schema.session_status"          \
    " WHERE variable_name IN ('HANDLER_WRITE', 'HANDLER_UPDATE', 'HANDLER_DELETE')"

/* What the server answers to either proves nothing alone: it says OK as well if it has found the
 * branch's name and not the branch, see mariadb.h. So the marker is read behind it.
 *
 * XA ROLLBACK is not synced: a crash brings the branch back, prepared, and nobody would ask for it
 * again. A commit after it takes it to the disk as well; the tombstone is one. */
static void send_end(struct mariadb_conn *conn, enum assent_operation operation,
                     const struct assent_branch_id *id, const char *xid)
{
    char name[SQL_NAME_HEX_BYTES];
    bool commit = operation == ASSENT_OP_COMMIT;

    sql_name_hex(id, name);
    mariadb_send_format(
        conn, "XA %s %s;%s%s%sSELECT committed IS TRUE FROM assent_marker WHERE branch = X'%s'",
        commit ? "COMMIT" : "ROLLBACK", xid,
        commit ? "" : "INSERT IGNORE INTO assent_marker (branch, committed) VALUES (X'",
        commit ? "" : name, commit ? "" : "', FALSE);", name);
}

static bool rolled_back(unsigned code)
{
    return code == ER_XA_RBROLLBACK || code == ER_XA_RBTIMEOUT || code == ER_XA_RBDEADLOCK;
}

/* --- in its own session ----------------------------------------------------------------------- */

static void send_finish(const struct mariadb *maria, struct sql_branch *branch,
                        enum assent_operation operation)
{
    char xid[MARIADB_XID_BYTES], name[SQL_NAME_HEX_BYTES];
    struct mariadb_conn *conn = mariadb_conn_of(branch->session);
    bool prepare = operation == ASSENT_OP_PREPARE;

    mariadb_xid_format(maria, &branch->id, xid);
    sql_name_hex(&branch->id, name);
    mariadb_send_format(conn,
                        "SET %s" PATIENCE ";INSERT INTO assent_marker (branch) VALUES (X'%s');"
                        "XA END %s;XA %s %s%s",
                        prepare ? LET_GO : "", name, xid, prepare ? "PREPARE" : "COMMIT", xid,
                        prepare ? "" : " ONE PHASE");
}

static void send_active(struct sql_database *db, struct sql_branch *branch,
                        enum assent_operation operation)
{
    struct mariadb_conn *conn = mariadb_conn_of(branch->session);
    char xid[MARIADB_XID_BYTES];

    if (operation == ASSENT_OP_ROLLBACK) {
        mariadb_xid_format((struct mariadb *)db, &branch->id, xid);
        mariadb_send_format(conn, "XA END %s;XA ROLLBACK %s", xid, xid);
    } else if (branch->wrote) {
        send_finish((struct mariadb *)db, branch, operation);
    } else {
        mariadb_send(conn, COUNT_WRITES);
    }
}

static void refuse_engine(struct mariadb_conn *conn, const char *xid, struct assent_call *call,
                          uint64_t deadline_ms)
{
    struct mariadb_outcome outcome;

    send_end(conn, ASSENT_OP_ROLLBACK, &call->id, xid);
    mariadb_collect(conn, deadline_ms, &outcome);
    if (outcome.kind == MARIADB_DONE)
        sql_answer(call, ASSENT_RM_REFUSED,
                   "the server has a storage engine with transactions and without XA");
    else
        sql_answer(call, ASSENT_RM_FAILED, "%s", outcome.text);
}

static void end_finish(struct mariadb_conn *conn, const char *xid, struct assent_call *call,
                       uint64_t deadline_ms)
{
    bool prepare = call->operation == ASSENT_OP_PREPARE;
    struct mariadb_outcome outcome;

    mariadb_collect(conn, deadline_ms, &outcome);
    if (outcome.kind == MARIADB_LOST) {
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome.text);
    } else if (outcome.kind == MARIADB_REFUSED) {
        if (outcome.done < BEFORE_LAST) {
            mariadb_roll_back(conn, xid, deadline_ms);
            sql_answer(call, ASSENT_RM_REFUSED, "%s", outcome.text);
        } else if (rolled_back(outcome.code)) {
            sql_answer(call, ASSENT_RM_REFUSED, "%s", outcome.text);
        } else {
            sql_answer(call, prepare ? ASSENT_RM_FAILED : ASSENT_RM_UNKNOWN_CODE, "%s",
                       outcome.text);
        }
    } else if (prepare && mariadb_in_transaction(conn)) { /* it has not let go */
        refuse_engine(conn, xid, call, deadline_ms);
    } else {
        sql_answer(call, ASSENT_RM_OK, "%s", "");
        conn->open = false;
    }
}

void mariadb_end_active(struct sql_database *db, struct sql_branch *branch,
                        struct assent_call *call, uint64_t deadline_ms)
{
    struct mariadb_conn *conn = mariadb_conn_of(branch->session);
    struct mariadb_outcome outcome;
    char xid[MARIADB_XID_BYTES];

    mariadb_xid_format((struct mariadb *)db, &branch->id, xid);
    send_active(db, branch, call->operation);
    if (call->operation == ASSENT_OP_ROLLBACK) {
        mariadb_collect(conn, deadline_ms, &outcome);
        conn->open = outcome.kind != MARIADB_DONE;
        /* Nothing that could commit it was ever sent, so a lost session has rolled back as well. */
        sql_answer(call, ASSENT_RM_OK, "%s", "");
        return;
    }
    if (!branch->wrote) {
        mariadb_collect(conn, deadline_ms, &outcome);
        if (outcome.kind != MARIADB_DONE) {
            sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome.text);
            return;
        }
        if (strcmp(outcome.value, "0") == 0) {
            mariadb_roll_back(conn, xid, deadline_ms);
            sql_answer(call,
                       call->operation == ASSENT_OP_PREPARE ? ASSENT_RM_READ_ONLY : ASSENT_RM_OK,
                       "%s", "");
            return;
        }
        branch->wrote = true; /* whatever was told */
        send_finish((struct mariadb *)db, branch, call->operation);
    }
    end_finish(conn, xid, call, deadline_ms);
}

/* --- in another session ----------------------------------------------------------------------- */

struct search {
    const char *xid;
    bool found;
};

static void compare(void *context, char **cells)
{
    struct search *search = context;

    search->found |= cells[3] != NULL && strcmp(cells[3], search->xid) == 0;
}

bool mariadb_listed(struct mariadb_conn *conn, const char *xid, uint64_t deadline_ms,
                    struct mariadb_outcome *ret_outcome)
{
    struct search search = {.xid = xid};

    mariadb_collect_rows(conn, deadline_ms, compare, &search, ret_outcome);
    return search.found;
}

/* XAER_NOTA is said of a branch on the list too, while a session holds it that has prepared it
 * without letting go. It is not asked again at once: as that session ends is the worst moment. */
static void end_nota(struct mariadb_conn *conn, const char *xid, struct assent_call *call,
                     uint64_t deadline_ms)
{
    struct mariadb_outcome outcome;
    bool listed;

    mariadb_send(conn, "XA RECOVER FORMAT='SQL'");
    listed = mariadb_listed(conn, xid, deadline_ms, &outcome);
    if (outcome.kind != MARIADB_DONE)
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome.text);
    else if (!listed)
        sql_answer(call, ASSENT_RM_NOT_FOUND, "1397: no such branch");
    else
        sql_answer(call, ASSENT_RM_RETRY, "1397: another session still holds the branch");
}

/* A branch that an application has prepared must have its marker, or nothing could ever prove that
 * it was committed. A marker that is not committed yet cannot be read, but whoever would write the
 * same one has to wait. */
static void end_probe(struct mariadb_conn *conn, const char *xid, struct assent_call *call,
                      uint64_t deadline_ms)
{
    struct mariadb_outcome outcome, end;
    char name[SQL_NAME_HEX_BYTES];
    bool listed;

    mariadb_send(conn, "XA RECOVER FORMAT='SQL'");
    listed = mariadb_listed(conn, xid, deadline_ms, &outcome);
    if (outcome.kind != MARIADB_DONE) {
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome.text);
        return;
    }
    if (!listed) {
        sql_answer(call, ASSENT_RM_NOT_FOUND, "the branch is not prepared");
        return;
    }
    sql_name_hex(&call->id, name);
    mariadb_send_format(conn,
                        "START TRANSACTION;SET STATEMENT innodb_lock_wait_timeout = 0 FOR"
                        " INSERT INTO assent_marker (branch) VALUES (X'%s')",
                        name);
    mariadb_collect(conn, deadline_ms, &outcome);
    mariadb_ask(conn, "ROLLBACK", &end);
    if (outcome.kind == MARIADB_LOST || end.kind != MARIADB_DONE)
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", end.text);
    else if (outcome.kind == MARIADB_DONE || outcome.code == ER_DUP_ENTRY)
        sql_answer(call, ASSENT_RM_FAILED,
                   "the application has prepared the branch without its marker");
    else if (outcome.code == ER_LOCK_WAIT_TIMEOUT)
        sql_answer(call, ASSENT_RM_OK, "%s", "");
    else
        sql_answer(call, ASSENT_RM_UNKNOWN_CODE, "%s", outcome.text);
}

void mariadb_end_elsewhere(struct sql_database *db, struct sql_session *session,
                           struct assent_call *call, uint64_t deadline_ms)
{
    struct mariadb_conn *conn = mariadb_conn_of(session);
    struct mariadb_outcome outcome;
    char xid[MARIADB_XID_BYTES];

    mariadb_xid_format((struct mariadb *)db, &call->id, xid);
    if (call->operation == ASSENT_OP_PREPARE) {
        end_probe(conn, xid, call, deadline_ms);
        return;
    }
    send_end(conn, call->operation, &call->id, xid);
    mariadb_collect(conn, deadline_ms, &outcome);
    if (outcome.kind == MARIADB_REFUSED && outcome.code == ER_XAER_NOTA)
        end_nota(conn, xid, call, deadline_ms);
    else if (outcome.kind == MARIADB_DONE &&
             strcmp(outcome.value, call->operation == ASSENT_OP_COMMIT ? "1" : "0") != 0)
        sql_answer(call, ASSENT_RM_RETRY,
                   "the server says that it has done so, but the marker "
                   "does not");
    else if (outcome.kind == MARIADB_DONE)
        sql_answer(call, ASSENT_RM_OK, "%s", "");
    else if (outcome.kind == MARIADB_LOST)
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome.text);
    else if (rolled_back(outcome.code)) /* it says; the marker knows */
        sql_answer(call, ASSENT_RM_NOT_FOUND, "%s", outcome.text);
    else
        sql_answer(call, ASSENT_RM_UNKNOWN_CODE, "%s", outcome.text);
}
