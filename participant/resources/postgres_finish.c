/*
 * postgres_finish.c: how branches end in PostgreSQL, and what becomes of their markers. What is
 * sent, and what an answer means:
 *
 *   prepare, wrote      marker, PREPARE TRANSACTION   an error has rolled it back: REFUSED
 *   prepare, only read  COMMIT                        READ_ONLY
 *   prepare, not here   is it prepared, with marker?  OK, NOT_FOUND, FAILED without marker
 *   one-phase           marker, COMMIT                an error has rolled it back: REFUSED
 *   commit              COMMIT PREPARED               42704 NOT_FOUND, 55000 RETRY
 *   rollback            ROLLBACK, ROLLBACK PREPARED   the same
 *
 * What ends a branch in its own session is followed by DISCARD ALL on the same journey.
 * A session that is lost on the way is UNAVAILABLE whatever was sent: whether it was done is for
 * the next call, or for evidence, to find out.
 */
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

#define INSERT_MARKER "INSERT INTO assent.marker (branch) VALUES ($1)"
#define PREPARED_HERE                                                                              \
    "SELECT true FROM pg_catalog.pg_prepared_xacts"                                                \
    " WHERE gid = $1 AND database = pg_catalog.current_database()"

#define UNDEFINED_OBJECT "42704"
#define OBJECT_BUSY      "55000"
#define LOCK_TIMEOUT     "55P03"
#define UNIQUE_VIOLATION "23505"

void postgres_name_format(const struct assent_branch_id *id, char name[POSTGRES_NAME_BYTES])
{
    memcpy(name, "\\x", 2);
    sql_name_hex(id, name + 2);
}

/* --- in its own session ----------------------------------------------------------------------- */

static void send_with_gid(struct postgres_conn *conn, const char *command,
                          const struct assent_branch_id *id)
{
    char gid[ASSENT_BRANCH_ID_TEXT + 1], sql[64 + ASSENT_BRANCH_ID_TEXT];

    assent_branch_id_format(id, gid); /* holds no quote */
    snprintf(sql, sizeof(sql), "%s '%s'", command, gid);
    postgres_send(conn, sql, 0, NULL);
}

/* In whatever search path the work has left, and as the agent's role: no name may mean another. */
static void send_marker(struct postgres_conn *conn, const struct assent_branch_id *id)
{
    char name[POSTGRES_NAME_BYTES];
    const char *values[] = {name};

    postgres_name_format(id, name);
    postgres_send(conn, INSERT_MARKER " RETURNING pg_catalog.txid_current()", 1, values);
}

void postgres_send_end(const struct sql_branch *branch, enum assent_operation operation)
{
    struct postgres_conn *conn = postgres_conn_of(branch->session);

    if (operation == ASSENT_OP_ROLLBACK) {
        postgres_send(conn, "ROLLBACK", 0, NULL);
    } else {
        if (branch->wrote) {
            /* The work may have taken another role, which would own the prepared transaction.
             * Whether the first statement gives up a role as well depends on the version. */
            postgres_send(conn, "RESET SESSION AUTHORIZATION", 0, NULL);
            postgres_send(conn, "RESET ROLE", 0, NULL);
            send_marker(conn, &branch->id);
        }
        if (branch->wrote && operation == ASSENT_OP_PREPARE)
            send_with_gid(conn, "PREPARE TRANSACTION", &branch->id);
        else
            postgres_send(conn, "COMMIT", 0, NULL);
    }
    postgres_send(conn, POSTGRES_DISCARD, 0, NULL);
    postgres_sync(conn);
}

/* PREPARE TRANSACTION and COMMIT of a transaction that has failed roll it back and say so in their
 * tag alone. After a failed marker it is still open, and ends with its session. */
void postgres_answer_end(struct postgres *pg, const struct sql_branch *branch,
                         const struct postgres_outcome *outcome, struct assent_call *call)
{
    bool prepares = call->operation == ASSENT_OP_PREPARE && branch->wrote;
    bool done = outcome->kind == POSTGRES_DONE &&
                strcmp(outcome->tag, prepares ? "PREPARE TRANSACTION" : "COMMIT") == 0;

    if (call->operation == ASSENT_OP_ROLLBACK)
        /* Nothing that could commit it was ever sent, so a lost session has rolled back as well. */
        sql_answer(call, ASSENT_RM_OK, "%s", "");
    else if (outcome->kind == POSTGRES_LOST)
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome->text);
    else if (!done)
        sql_answer(call, ASSENT_RM_REFUSED, "%s",
                   outcome->text[0] ? outcome->text : "the transaction had failed");
    else if (call->operation == ASSENT_OP_PREPARE && !branch->wrote)
        sql_answer(call, ASSENT_RM_READ_ONLY, "%s", "");
    else
        sql_answer(call, ASSENT_RM_OK, "%s", "");
    if (prepares && done)
        postgres_prepared_note(pg, &call->id, strtoull(outcome->value, NULL, 10));
    if (!outcome->discarded) /* an error of the end: PostgreSQL has skipped what was behind it */
        postgres_send_discard(postgres_conn_of(branch->session));
}

void postgres_end_active(struct sql_database *db, struct sql_branch *branch,
                         struct assent_call *call, uint64_t deadline_ms)
{
    struct postgres_conn *conn = postgres_conn_of(branch->session);
    struct postgres_outcome outcome;

    postgres_send_end(branch, call->operation);
    postgres_collect(conn, deadline_ms, &outcome);
    postgres_answer_end(postgres_of(db), branch, &outcome, call);
}

/* --- in another session ----------------------------------------------------------------------- */

/* A branch that an application has prepared must have its marker, or nothing could ever prove that
 * it was committed. A marker that is not committed yet cannot be read, but makes whoever would
 * write the same one wait. */
static void send_probe(struct postgres_conn *conn, const struct assent_branch_id *id)
{
    char gid[ASSENT_BRANCH_ID_TEXT + 1], name[POSTGRES_NAME_BYTES];
    const char *gids[] = {gid}, *names[] = {name};

    assent_branch_id_format(id, gid);
    postgres_name_format(id, name);
    postgres_send(conn, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", 0, NULL);
    postgres_send(conn, "SET LOCAL lock_timeout = 1", 0, NULL);
    postgres_send(conn, PREPARED_HERE, 1, gids);
    postgres_send(conn, INSERT_MARKER, 1, names);
    postgres_sync(conn);
    postgres_send(conn, "ROLLBACK", 0, NULL);
    postgres_sync(conn);
}

static void answer_probe(struct assent_call *call, const struct postgres_outcome *outcome)
{
    bool prepared = outcome->value[0] != '\0';
    bool marked = strcmp(outcome->sqlstate, LOCK_TIMEOUT) == 0;

    if (outcome->kind == POSTGRES_LOST)
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome->text);
    else if (prepared && marked)
        sql_answer(call, ASSENT_RM_OK, "%s", "");
    else if (prepared && outcome->kind == POSTGRES_DONE)
        sql_answer(call, ASSENT_RM_FAILED,
                   "the application has prepared the branch without its marker");
    else if (outcome->kind == POSTGRES_DONE || marked ||
             strcmp(outcome->sqlstate, UNIQUE_VIOLATION) == 0)
        sql_answer(call, ASSENT_RM_NOT_FOUND, "the branch is not prepared");
    else
        sql_answer(call, ASSENT_RM_UNKNOWN_CODE, "%s", outcome->text);
}

static void probe(struct postgres_conn *conn, struct assent_call *call, uint64_t deadline_ms)
{
    struct postgres_outcome outcome;

    send_probe(conn, &call->id);
    postgres_collect(conn, deadline_ms, &outcome);
    answer_probe(call, &outcome);
    postgres_collect(conn, deadline_ms, &outcome); /* of its rollback */
}

void postgres_send_prepared(struct postgres_conn *conn, const struct assent_call *call)
{
    send_with_gid(conn,
                  call->operation == ASSENT_OP_COMMIT ? "COMMIT PREPARED" : "ROLLBACK PREPARED",
                  &call->id);
    postgres_sync(conn);
}

void postgres_answer_prepared(struct postgres *pg, const struct postgres_outcome *outcome,
                              struct assent_call *call)
{
    if (outcome->kind == POSTGRES_LOST)
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome->text);
    else if (outcome->kind == POSTGRES_DONE)
        sql_answer(call, ASSENT_RM_OK, "%s", "");
    else if (strcmp(outcome->sqlstate, UNDEFINED_OBJECT) == 0)
        sql_answer(call, ASSENT_RM_NOT_FOUND, UNDEFINED_OBJECT ": no such branch");
    else if (strcmp(outcome->sqlstate, OBJECT_BUSY) == 0)
        sql_answer(call, ASSENT_RM_RETRY, "%s", outcome->text);
    else
        sql_answer(call, ASSENT_RM_UNKNOWN_CODE, "%s", outcome->text);
    if (call->result == ASSENT_RM_OK)
        postgres_prepared_drop(pg, &call->id);
}

void postgres_end_elsewhere(struct sql_database *db, struct sql_session *session,
                            struct assent_call *call, uint64_t deadline_ms)
{
    struct postgres_conn *conn = postgres_conn_of(session);
    struct postgres_outcome outcome;

    if (call->operation == ASSENT_OP_PREPARE) {
        probe(conn, call, deadline_ms);
        return;
    }
    postgres_send_prepared(conn, call);
    postgres_collect(conn, deadline_ms, &outcome);
    postgres_answer_prepared(postgres_of(db), &outcome, call);
}

/* --- without a thread ------------------------------------------------------------------------- */

struct end_later {
    struct postgres_later later;
    struct postgres *pg;
};

static void end_is_here(struct postgres_later *later, bool answer)
{
    struct end_later *end = (struct end_later *)later;

    if (answer)
        postgres_answer_prepared(end->pg, &later->exchange.outcome, later->call);
    sql_give_back(&end->pg->base, &later->exchange.conn->base);
    free(end);
}

bool postgres_end_later(struct sql_database *db, struct assent_call *call)
{
    bool ends = call->operation == ASSENT_OP_COMMIT || call->operation == ASSENT_OP_ROLLBACK;
    struct end_later *end = ends ? calloc(1, sizeof(*end)) : NULL;
    struct postgres_conn *conn =
        end != NULL ? postgres_later_session(postgres_of(db), &db->finishers) : NULL;

    if (conn == NULL) {
        free(end);
        return false;
    }
    end->pg = postgres_of(db);
    end->later = (struct postgres_later){.call = call, .end = end_is_here};
    end->later.exchange.conn = conn;
    end->later.exchange.deadline_ms = assent_now_ms() + SQL_FINISH_MS;
    postgres_send_prepared(conn, call);
    postgres_later_begin(end->pg, &end->later);
    return true;
}

/* --- forget ----------------------------------------------------------------------------------- */

/* A text of bytea[]: {"\\\\x...","\\\\x..."}; to be freed. */
static char *forget_array(const struct assent_branch_id *ids, size_t count)
{
    char *array = malloc(count * (POSTGRES_NAME_BYTES + 4) + 3), *end = array;
    char name[POSTGRES_NAME_BYTES];

    for (size_t i = 0; array != NULL && i < count; i++) {
        postgres_name_format(&ids[i], name);
        end += sprintf(end, "%c\"\\%s\"", end == array ? '{' : ',', name);
    }
    if (array != NULL)
        strcpy(end, "}");
    return array;
}

static void send_sweep(struct postgres_conn *conn, const struct assent_branch_id *id)
{
    char log_id[2 + 2 * ASSENT_LOG_ID_BYTES + 1] = "\\x", order[2 + 2 * 8 + 1] = "\\x";
    const char *values[] = {log_id, order};

    sql_sweep_bounds(id, log_id + 2, order + 2);
    postgres_send(conn,
                  "DELETE FROM assent.marker WHERE committed AND substr(branch, 1, 16) = $1"
                  " AND substr(branch, 25, 8) <= $2",
                  2, values);
}

/* Without a sync. */
int postgres_forget(struct sql_session *session, const struct assent_branch_id *ids, size_t count,
                    bool sweep, char reason[ASSENT_REASON_MAX + 1])
{
    struct postgres_conn *conn = postgres_conn_of(session);
    char *array = forget_array(ids, count);
    const char *values[] = {array};
    struct postgres_outcome outcome;

    if (array == NULL) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "out of memory");
        return ASSENT_E_NOMEM;
    }
    postgres_send(conn, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", 0, NULL);
    postgres_send(conn, "SET LOCAL synchronous_commit = off", 0, NULL);
    postgres_send(conn, "DELETE FROM assent.marker WHERE branch = ANY ($1::bytea[])", 1, values);
    if (sweep)
        send_sweep(conn, &ids[count - 1]);
    postgres_send(conn, "COMMIT", 0, NULL);
    postgres_sync(conn);
    postgres_collect(conn, assent_now_ms() + SQL_FINISH_MS, &outcome);
    session->broken |= !postgres_idle(session);
    memcpy(reason, outcome.text, sizeof(outcome.text));
    free(array);
    return outcome.kind == POSTGRES_DONE ? 0 : ASSENT_E_UNAVAILABLE;
}

/* --- evidence --------------------------------------------------------------------------------- */

/* It has not committed. Whether somebody has rolled it back, PostgreSQL can tell by its
 * transaction; if it knows nothing of that, the branch was lost, as in a restore, and nobody knows
 * more. */
static void ask_transaction(struct postgres *pg, struct postgres_conn *conn,
                            struct assent_call *call)
{
    uint64_t xid = postgres_prepared_xid(pg, &call->id);
    struct postgres_outcome outcome;
    char text[24];
    const char *values[] = {text};

    snprintf(text, sizeof(text), "%llu", (unsigned long long)xid);
    if (xid == 0) {
        sql_answer(call, ASSENT_RM_VANISHED,
                   "it is not prepared, has no marker, and its transaction is not known");
        return;
    }
    postgres_send(conn, "SELECT txid_status($1)", 1, values);
    postgres_sync(conn);
    postgres_collect(conn, assent_now_ms() + SQL_FINISH_MS, &outcome);
    if (outcome.kind == POSTGRES_LOST)
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome.text);
    else if (outcome.kind == POSTGRES_DONE && strcmp(outcome.value, "aborted") == 0)
        sql_answer(call, ASSENT_RM_WAS_ABORTED,
                   "it has no marker, and transaction %s was rolled back", text);
    else
        sql_answer(call, ASSENT_RM_VANISHED,
                   "it is not prepared and has no marker, and of transaction %s PostgreSQL says "
                   "\"%.80s\": lost in a restore or a fail-over",
                   text, outcome.kind == POSTGRES_DONE ? outcome.value : outcome.text);
}

/* Writes that the branch has not committed, unless it is written that it has; either stands from
 * then on. Only until it is committed does it matter, so a crash may lose it: the sessions that it
 * holds back end in that crash as well. */
static void ask_marker(struct postgres *pg, struct postgres_conn *conn, struct assent_call *call)
{
    struct postgres_outcome outcome;
    char name[POSTGRES_NAME_BYTES];
    const char *values[] = {name};
    bool committed;

    postgres_name_format(&call->id, name);
    postgres_send(conn, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", 0, NULL);
    postgres_send(conn, "SET LOCAL synchronous_commit = off", 0, NULL);
    postgres_send(conn, "SET LOCAL lock_timeout = 100", 0, NULL);
    postgres_send(conn,
                  "INSERT INTO assent.marker (branch, committed) VALUES ($1, false)"
                  " ON CONFLICT (branch) DO NOTHING",
                  1, values);
    postgres_send(conn, "SELECT committed FROM assent.marker WHERE branch = $1", 1, values);
    postgres_send(conn, "COMMIT", 0, NULL);
    postgres_sync(conn);
    postgres_collect(conn, assent_now_ms() + SQL_FINISH_MS, &outcome);
    committed = outcome.value[0] == 't';
    if (outcome.kind == POSTGRES_LOST)
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome.text);
    else if (outcome.kind == POSTGRES_DONE && committed)
        sql_answer(call, ASSENT_RM_WAS_COMMITTED, "its marker is here");
    else if (outcome.kind == POSTGRES_DONE && outcome.value[0] != '\0')
        ask_transaction(pg, conn, call);
    else if (strcmp(outcome.sqlstate, LOCK_TIMEOUT) == 0)
        sql_answer(call, ASSENT_RM_RETRY, "a session is still ending the branch");
    else
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome.text);
    conn->base.broken |= !postgres_idle(&conn->base);
}

void postgres_evidence(struct sql_database *db, struct sql_session *session,
                       struct assent_call *call)
{
    struct postgres_conn *conn = postgres_conn_of(session);
    char gid[ASSENT_BRANCH_ID_TEXT + 1];
    const char *values[] = {gid};
    struct postgres_outcome outcome;

    assent_branch_id_format(&call->id, gid);
    postgres_send(conn, PREPARED_HERE, 1, values);
    postgres_sync(conn);
    postgres_collect(conn, assent_now_ms() + SQL_FINISH_MS, &outcome);
    if (outcome.kind != POSTGRES_DONE)
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome.text);
    else if (outcome.value[0] != '\0')
        sql_answer(call, ASSENT_RM_OK, "%s", "");
    else
        ask_marker(postgres_of(db), conn, call);
    if (call->result == ASSENT_RM_WAS_COMMITTED || call->result == ASSENT_RM_WAS_ABORTED ||
        call->result == ASSENT_RM_VANISHED)
        postgres_prepared_drop(postgres_of(db), &call->id); /* that settles it */
}
