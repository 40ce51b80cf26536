/*
 * postgres_batch.c: prepare, one-phase commit, commit, rollback and forget of any number of
 * branches at once; a single call is a batch of one. Evidence is here too.
 *
 * Two rounds: every call sends its statements, then every call takes its answer. A branch in work
 * is ended in its own session, all others in the lanes, so that the server works on many at once
 * and its syncs are shared. What is sent, and what an answer means:
 *
 *   prepare, wrote      marker, PREPARE TRANSACTION   an error has rolled it back: REFUSED
 *   prepare, only read  COMMIT                        READ_ONLY
 *   prepare, not here   is it prepared, with marker?  OK, NOT_FOUND, FAILED without marker
 *   one-phase           marker, COMMIT                an error has rolled it back: REFUSED
 *   commit              COMMIT PREPARED               42704 NOT_FOUND, 55000 RETRY
 *   rollback            ROLLBACK, ROLLBACK PREPARED   the same
 *
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

/* One call between the rounds. */
struct step {
    struct assent_call *call;
    struct postgres_branch *branch; /* NULL: not in work here */
    struct postgres_conn *conn;     /* NULL: answered already, or a forget */
};

/* --- the first round: what is sent ------------------------------------------------------------ */

static void send_with_gid(struct postgres_conn *conn, const char *command,
                          const struct assent_branch_id *id)
{
    char gid[ASSENT_BRANCH_ID_TEXT + 1], sql[64 + ASSENT_BRANCH_ID_TEXT];

    assent_branch_id_format(id, gid); /* holds no quote */
    snprintf(sql, sizeof(sql), "%s '%s'", command, gid);
    postgres_send(conn, sql, 0, NULL);
}

static void send_marker(struct postgres_conn *conn, const struct assent_branch_id *id)
{
    char name[POSTGRES_NAME_BYTES];
    const char *values[] = {name};

    postgres_name_format(id, name);
    postgres_send(conn, INSERT_MARKER, 1, values);
}

/* A branch whose session is there ends in it. */
static void send_in_session(struct step *step)
{
    struct postgres_branch *branch = step->branch;
    enum assent_operation operation = step->call->operation;

    step->conn = branch->conn;
    if (operation == ASSENT_OP_ROLLBACK) {
        postgres_send(step->conn, "ROLLBACK", 0, NULL);
    } else {
        if (branch->wrote) {
            /* The work may have taken another role, which would own the prepared transaction.
             * Whether the first statement gives up a role as well depends on the version. */
            postgres_send(step->conn, "RESET SESSION AUTHORIZATION", 0, NULL);
            postgres_send(step->conn, "RESET ROLE", 0, NULL);
            send_marker(step->conn, &branch->id);
        }
        if (branch->wrote && operation == ASSENT_OP_PREPARE)
            send_with_gid(step->conn, "PREPARE TRANSACTION", &branch->id);
        else
            postgres_send(step->conn, "COMMIT", 0, NULL);
    }
    postgres_sync(step->conn);
}

/* A branch in work: answered at once if there is nothing to send. */
static void begin_active(struct postgres *pg, struct step *step)
{
    struct postgres_branch *branch = step->branch;
    struct assent_call *call = step->call;
    bool rollback = call->operation == ASSENT_OP_ROLLBACK;

    if (call->operation == ASSENT_OP_COMMIT) {
        postgres_answer(call, ASSENT_RM_UNKNOWN_CODE, "the branch is not prepared");
    } else if (branch->failed && !rollback) {
        postgres_answer(call,
                        call->operation == ASSENT_OP_PREPARE ? ASSENT_RM_FAILED : ASSENT_RM_REFUSED,
                        "%s", branch->reason);
        if (call->result == ASSENT_RM_REFUSED) {
            if (branch->conn != NULL)
                branch->conn->broken = true; /* ends with its session */
            postgres_branch_drop(pg, branch);
        }
    } else if (branch->conn == NULL) { /* it has done nothing, or its session is lost */
        postgres_answer(call,
                        call->operation == ASSENT_OP_PREPARE ? ASSENT_RM_READ_ONLY : ASSENT_RM_OK,
                        "%s", "");
        postgres_branch_drop(pg, branch);
    } else {
        send_in_session(step);
    }
}

/* A branch that an application has prepared must have its marker, or nothing could ever prove that
 * it was committed. A marker that is not committed yet cannot be read, but makes whoever would
 * write the same one wait. */
static void send_probe(struct postgres_conn *lane, const struct assent_branch_id *id)
{
    char gid[ASSENT_BRANCH_ID_TEXT + 1], name[POSTGRES_NAME_BYTES];
    const char *gids[] = {gid}, *names[] = {name};

    assent_branch_id_format(id, gid);
    postgres_name_format(id, name);
    postgres_send(lane, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", 0, NULL);
    postgres_send(lane, "SET LOCAL lock_timeout = 1", 0, NULL);
    postgres_send(lane, PREPARED_HERE, 1, gids);
    postgres_send(lane, INSERT_MARKER, 1, names);
    postgres_sync(lane);
    postgres_send(lane, "ROLLBACK", 0, NULL);
}

/* A branch that is not in work here is prepared, or finished, or unknown. */
static void begin_elsewhere(struct step *step, struct postgres_conn *lane)
{
    step->conn = lane;
    switch (step->call->operation) {
    case ASSENT_OP_PREPARE:
        send_probe(lane, &step->call->id);
        break;
    case ASSENT_OP_COMMIT:
        send_with_gid(lane, "COMMIT PREPARED", &step->call->id);
        break;
    case ASSENT_OP_ROLLBACK:
        send_with_gid(lane, "ROLLBACK PREPARED", &step->call->id);
        break;
    case ASSENT_OP_ONE_PHASE:
    case ASSENT_OP_WORK:
    case ASSENT_OP_EVIDENCE:
    case ASSENT_OP_FORGET:
    case ASSENT_OP_COUNT:
        ASSENT_ASSERT(!"an operation on a prepared branch");
    }
    postgres_sync(lane);
}

/* --- the second round: what the answer means -------------------------------------------------- */

/* PREPARE TRANSACTION and COMMIT of a transaction that has failed roll it back and say so in their
 * tag alone. */
static void end_in_session(struct postgres *pg, struct step *step,
                           const struct postgres_outcome *outcome)
{
    struct postgres_branch *branch = step->branch;
    struct assent_call *call = step->call;
    bool prepares = call->operation == ASSENT_OP_PREPARE && branch->wrote;
    bool done = outcome->kind == POSTGRES_DONE &&
                strcmp(outcome->tag, prepares ? "PREPARE TRANSACTION" : "COMMIT") == 0;

    if (call->operation == ASSENT_OP_ROLLBACK)
        /* Nothing that could commit it was ever sent, so a lost session has rolled back as well. */
        postgres_answer(call, ASSENT_RM_OK, "%s", "");
    else if (outcome->kind == POSTGRES_LOST)
        postgres_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome->text);
    else if (!done)
        postgres_answer(call, ASSENT_RM_REFUSED, "%s",
                        outcome->text[0] ? outcome->text : "the transaction had failed");
    else if (call->operation == ASSENT_OP_PREPARE && !branch->wrote)
        postgres_answer(call, ASSENT_RM_READ_ONLY, "%s", "");
    else
        postgres_answer(call, ASSENT_RM_OK, "%s", "");
    /* After a failed marker the transaction is still open; it ends with its session. */
    postgres_branch_drop(pg, branch);
}

static void end_probe(struct step *step, const struct postgres_outcome *outcome)
{
    struct assent_call *call = step->call;
    bool prepared = outcome->value[0] != '\0';
    bool marked = strcmp(outcome->sqlstate, LOCK_TIMEOUT) == 0;

    if (outcome->kind == POSTGRES_LOST)
        postgres_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome->text);
    else if (prepared && marked)
        postgres_answer(call, ASSENT_RM_OK, "%s", "");
    else if (prepared && outcome->kind == POSTGRES_DONE)
        postgres_answer(call, ASSENT_RM_FAILED,
                        "the application has prepared the branch without its marker");
    else if (outcome->kind == POSTGRES_DONE || marked ||
             strcmp(outcome->sqlstate, UNIQUE_VIOLATION) == 0)
        postgres_answer(call, ASSENT_RM_NOT_FOUND, "the branch is not prepared");
    else
        postgres_answer(call, ASSENT_RM_UNKNOWN_CODE, "%s", outcome->text);
}

static void end_elsewhere(struct step *step, const struct postgres_outcome *outcome)
{
    struct assent_call *call = step->call;

    if (outcome->kind == POSTGRES_LOST)
        postgres_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome->text);
    else if (outcome->kind == POSTGRES_DONE)
        postgres_answer(call, ASSENT_RM_OK, "%s", "");
    else if (strcmp(outcome->sqlstate, UNDEFINED_OBJECT) == 0)
        postgres_answer(call, ASSENT_RM_NOT_FOUND, UNDEFINED_OBJECT ": no such branch");
    else if (strcmp(outcome->sqlstate, OBJECT_BUSY) == 0)
        postgres_answer(call, ASSENT_RM_RETRY, "%s", outcome->text);
    else
        postgres_answer(call, ASSENT_RM_UNKNOWN_CODE, "%s", outcome->text);
}

/* --- forget ----------------------------------------------------------------------------------- */

/* {"\\x...","\\x..."} of all that is to be forgotten, to be freed; the last of them in name. */
static char *forget_array(const struct step *steps, size_t count, char name[POSTGRES_NAME_BYTES])
{
    char *array = malloc(count * (POSTGRES_NAME_BYTES + 4) + 3), *end = array;

    for (size_t i = 0; array != NULL && i < count; i++) {
        if (steps[i].call->operation != ASSENT_OP_FORGET || steps[i].branch != NULL)
            continue;
        postgres_name_format(&steps[i].call->id, name);
        end += sprintf(end, "%c\"\\%s\"", end == array ? '{' : ',', name);
    }
    if (array != NULL)
        strcpy(end, end == array ? "{}" : "}");
    return array;
}

/* An agent that was started anew does not know all that it left behind. What is forgotten has
 * nothing but ended transactions of its log before it, so their markers can go as well. */
static void send_sweep(struct postgres_conn *lane, const char name[POSTGRES_NAME_BYTES])
{
    char log_id[2 + 2 * ASSENT_LOG_ID_BYTES + 1], order[2 + 2 * 8 + 1];
    const char *values[] = {log_id, order};

    /* The log's id, and of the gtrid the half with incarnation and sequence. */
    snprintf(log_id, sizeof(log_id), "%.34s", name);
    snprintf(order, sizeof(order), "\\x%.16s", name + 2 + 2 * (ASSENT_LOG_ID_BYTES + 8));
    postgres_send(lane,
                  "DELETE FROM assent.marker WHERE committed AND substr(branch, 1, 16) = $1"
                  " AND substr(branch, 25, 8) <= $2",
                  2, values);
}

/* One statement for all, without a sync: what a crash brings back harms nobody. */
static void forget(struct postgres *pg, struct step *steps, size_t count)
{
    struct postgres_outcome outcome = {.kind = POSTGRES_LOST, .text = "out of memory"};
    struct postgres_conn *lane = pg->lanes[0];
    char name[POSTGRES_NAME_BYTES] = "", *array = forget_array(steps, count, name);
    const char *values[] = {array};

    if (array != NULL && name[0] != '\0') {
        postgres_send(lane, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", 0, NULL);
        postgres_send(lane, "SET LOCAL synchronous_commit = off", 0, NULL);
        postgres_send(lane, "DELETE FROM assent.marker WHERE branch = ANY ($1::bytea[])", 1,
                      values);
        if (pg->unswept >= POSTGRES_SWEEP_FORGETS)
            send_sweep(lane, name);
        postgres_send(lane, "COMMIT", 0, NULL);
        postgres_sync(lane);
        postgres_collect(lane, assent_now_ms() + POSTGRES_FINISH_MS, &outcome);
        if (PQtransactionStatus(lane->link) != PQTRANS_IDLE)
            lane->broken = true;
        if (outcome.kind == POSTGRES_DONE && pg->unswept >= POSTGRES_SWEEP_FORGETS)
            pg->unswept = 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (steps[i].call->operation != ASSENT_OP_FORGET || steps[i].branch != NULL)
            continue;
        pg->unswept++;
        if (outcome.kind == POSTGRES_DONE)
            postgres_answer(steps[i].call, ASSENT_RM_OK, "%s", "");
        else
            postgres_answer(steps[i].call, ASSENT_RM_UNAVAILABLE, "%s", outcome.text);
    }
    free(array);
}

/* --- lanes and batches ------------------------------------------------------------------------ */

int postgres_lanes(struct postgres *pg, size_t wanted, size_t *ret_count,
                   char reason[ASSENT_REASON_MAX + 1])
{
    size_t count = 0;
    int r = 0;

    for (; r == 0 && count < POSTGRES_LANES && count < wanted; count++) {
        struct postgres_conn **lane = &pg->lanes[count];

        if (*lane != NULL && !postgres_alive(*lane)) {
            postgres_disconnect(*lane);
            *lane = NULL;
        }
        if (count == 0 && *lane == NULL)
            pg->ready = false; /* whatever is there next is looked at anew */
        if (*lane == NULL && (r = postgres_connect(pg, lane, reason)) != 0)
            break;
        if (count == 0 && !pg->ready) {
            r = postgres_preflight(pg, *lane, reason);
            pg->ready = r == 0;
        }
    }
    if (count == 0 || (r != 0 && !pg->ready))
        return r;
    *ret_count = count;
    return 0;
}

static void answer_without_lane(struct assent_call *call, const char *reason)
{
    postgres_answer(call, ASSENT_RM_UNAVAILABLE, "%s", reason);
}

/* Sends what one call needs, or answers it. *next: the number of those sent to lanes so far. */
static void begin_step(struct postgres *pg, struct step *step, size_t lanes, size_t *next,
                       const char *reason)
{
    struct assent_call *call = step->call;

    step->branch = postgres_branch_find(pg, &call->id);
    if (call->operation == ASSENT_OP_FORGET) {
        if (step->branch !=
            NULL) /* not finished: it has no marker yet, and keeps the one to come */
            postgres_answer(call, ASSENT_RM_OK, "%s", "");
        else if (lanes == 0)
            answer_without_lane(call, reason);
    } else if (step->branch != NULL) {
        begin_active(pg, step);
    } else if (call->operation == ASSENT_OP_ONE_PHASE) {
        postgres_answer(call, ASSENT_RM_NOT_FOUND, "no such branch");
    } else if (lanes == 0) {
        answer_without_lane(call, reason);
    } else {
        begin_elsewhere(step, pg->lanes[(*next)++ % lanes]);
    }
}

static bool any_forget(struct assent_call *const *calls, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (calls[i]->operation == ASSENT_OP_FORGET)
            return true;
    return false;
}

/* How many calls are not for a branch in work here. */
static size_t count_elsewhere(struct postgres *pg, struct assent_call *const *calls, size_t count)
{
    size_t elsewhere = 0;

    for (size_t i = 0; i < count; i++)
        elsewhere += postgres_branch_find(pg, &calls[i]->id) == NULL;
    return elsewhere;
}

void postgres_batch(struct postgres *pg, struct assent_call **calls, size_t count)
{
    struct step *steps = calloc(count + 1, sizeof(*steps));
    char reason[ASSENT_REASON_MAX + 1] = "";
    struct postgres_outcome outcome;
    size_t lanes = 0, next = 0, elsewhere;
    uint64_t deadline_ms;

    for (size_t i = 0; i < count; i++)
        postgres_answer(calls[i], ASSENT_RM_UNAVAILABLE, "out of memory");
    if (steps == NULL || count == 0) {
        free(steps);
        return;
    }
    pthread_mutex_lock(&pg->lanes_mutex);
    elsewhere = count_elsewhere(pg, calls, count);
    if (elsewhere > 0 && postgres_lanes(pg, elsewhere, &lanes, reason) != 0)
        lanes = 0;
    for (size_t i = 0; i < count; i++) {
        steps[i].call = calls[i];
        begin_step(pg, &steps[i], lanes, &next, reason);
        if (steps[i].conn != NULL)
            (void)PQflush(steps[i].conn->link); /* the servers begin now */
    }
    deadline_ms = assent_now_ms() + POSTGRES_FINISH_MS;
    for (size_t i = 0; i < count; i++) {
        if (steps[i].conn == NULL)
            continue;
        postgres_collect(steps[i].conn, deadline_ms, &outcome);
        if (steps[i].branch != NULL) {
            end_in_session(pg, &steps[i], &outcome);
        } else if (calls[i]->operation == ASSENT_OP_PREPARE) {
            end_probe(&steps[i], &outcome);
            postgres_collect(steps[i].conn, deadline_ms, &outcome); /* of its rollback */
        } else {
            end_elsewhere(&steps[i], &outcome);
        }
    }
    if (lanes > 0 && any_forget(calls, count))
        forget(pg, steps, count);
    pthread_mutex_unlock(&pg->lanes_mutex);
    free(steps);
}

/* --- evidence --------------------------------------------------------------------------------- */

/* Writes that the branch has not committed, unless it is written that it has; either stands from
 * then on. Only until it is committed does it matter, so a crash may lose it: the sessions that it
 * holds back end in that crash as well. */
static void ask_marker(struct postgres_conn *lane, const struct assent_branch_id *id,
                       struct assent_call *call)
{
    struct postgres_outcome outcome;
    char name[POSTGRES_NAME_BYTES];
    const char *values[] = {name};
    bool committed;

    postgres_name_format(id, name);
    postgres_send(lane, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", 0, NULL);
    postgres_send(lane, "SET LOCAL synchronous_commit = off", 0, NULL);
    postgres_send(lane, "SET LOCAL lock_timeout = 100", 0, NULL);
    postgres_send(lane,
                  "INSERT INTO assent.marker (branch, committed) VALUES ($1, false)"
                  " ON CONFLICT (branch) DO NOTHING",
                  1, values);
    postgres_send(lane, "SELECT committed FROM assent.marker WHERE branch = $1", 1, values);
    postgres_send(lane, "COMMIT", 0, NULL);
    postgres_sync(lane);
    postgres_collect(lane, assent_now_ms() + POSTGRES_FINISH_MS, &outcome);
    committed = outcome.value[0] == 't';
    if (outcome.kind == POSTGRES_LOST)
        postgres_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome.text);
    else if (outcome.kind == POSTGRES_DONE && outcome.value[0] != '\0')
        postgres_answer(call, committed ? ASSENT_RM_WAS_COMMITTED : ASSENT_RM_WAS_ABORTED,
                        committed ? "its marker is here" : "it is not prepared and has no marker");
    else if (strcmp(outcome.sqlstate, LOCK_TIMEOUT) == 0)
        postgres_answer(call, ASSENT_RM_RETRY, "a session is still ending the branch");
    else
        postgres_answer(call, ASSENT_RM_UNAVAILABLE, "%s", outcome.text);
    if (PQtransactionStatus(lane->link) != PQTRANS_IDLE)
        lane->broken = true;
}

void postgres_evidence(struct postgres *pg, struct assent_call *call)
{
    char gid[ASSENT_BRANCH_ID_TEXT + 1], reason[ASSENT_REASON_MAX + 1];
    const char *values[] = {gid};
    struct postgres_outcome outcome;
    size_t lanes;

    if (postgres_branch_find(pg, &call->id) != NULL) {
        postgres_answer(call, ASSENT_RM_NOT_FOUND, "the branch is not prepared");
        return;
    }
    pthread_mutex_lock(&pg->lanes_mutex);
    if (postgres_lanes(pg, 1, &lanes, reason) != 0) {
        answer_without_lane(call, reason);
        goto out;
    }
    assent_branch_id_format(&call->id, gid);
    postgres_send(pg->lanes[0], PREPARED_HERE, 1, values);
    postgres_sync(pg->lanes[0]);
    postgres_collect(pg->lanes[0], assent_now_ms() + POSTGRES_FINISH_MS, &outcome);
    if (outcome.kind != POSTGRES_DONE)
        answer_without_lane(call, outcome.text);
    else if (outcome.value[0] != '\0')
        postgres_answer(call, ASSENT_RM_OK, "%s", "");
    else
        ask_marker(pg->lanes[0], &call->id, call);
out:
    pthread_mutex_unlock(&pg->lanes_mutex);
}
