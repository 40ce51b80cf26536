/*
 * postgres_work.c: runs the statements of one piece of work inside a branch. The whole of it is one
 * journey: begin if need be, the time-outs, every statement, and whether PostgreSQL has given the
 * transaction an id, which it does at the first write. Rows arrive one by one.
 *
 * If the branch is to be ended next, and nothing must be looked at before that, its end goes out on
 * the same journey: PostgreSQL skips it if a statement fails.
 */
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

/* Types of pg_type.dat, whose numbers never change. */
#define TYPE_BOOL 16
#define TYPE_INT8 20
#define TYPE_INT2 21
#define TYPE_INT4 23

struct work {
    struct sql_database *db;
    struct sql_branch *branch;
    struct postgres_conn *conn;
    struct assent_call *call;
    struct sql_statements all;
    uint64_t deadline_ms;
    struct sql_reply reply;
    bool lost;     /* its failure was the loss of the session, or there is none */
    bool with_end; /* on the same journey; nobody wants a reply */
};

static void fail_lost(struct work *work, const char *reason)
{
    work->lost |= work->reply.reason[0] == '\0';
    sql_reply_fail(&work->reply, "%s", reason);
}

/* --- one statement's results ------------------------------------------------------------------ */

static void add_columns(struct work *work, const PGresult *rows)
{
    sql_reply_table(&work->reply);
    for (int i = 0; i < PQnfields(rows); i++)
        sql_reply_column(&work->reply, PQfname(rows, i));
}

static void add_row(struct work *work, const PGresult *rows)
{
    size_t count = (size_t)PQnfields(rows);
    struct sql_cell *cells = calloc(count + 1, sizeof(*cells));

    for (size_t i = 0; cells != NULL && i < count; i++) {
        int column = (int)i;

        cells[i].text = PQgetvalue(rows, 0, column);
        cells[i].size = (size_t)PQgetlength(rows, 0, column);
        switch (PQftype(rows, column)) {
        case TYPE_BOOL:
            cells[i].kind = SQL_BOOLEAN;
            break;
        case TYPE_INT8:
        case TYPE_INT2:
        case TYPE_INT4:
            cells[i].kind = SQL_INTEGER;
            break;
        default:
            cells[i].kind = SQL_TEXT;
        }
        if (PQgetisnull(rows, 0, column))
            cells[i].kind = SQL_NULL;
    }
    /* Too much to be read to its end: the session goes. */
    if (cells == NULL || !sql_reply_row(&work->reply, cells, count)) {
        sql_reply_fail(&work->reply, "out of memory");
        work->conn->base.broken = true;
    }
    free(cells);
}

static void end_statement(struct work *work, size_t number, const PGresult *last)
{
    const char *count = PQcmdTuples((PGresult *)(uintptr_t)last);
    char tag[32];

    postgres_tag(last, tag);
    sql_reply_end(&work->reply, tag, count[0] != '\0' ? strtoll(count, NULL, 10) : -1,
                  work->all.statements[number - 1].rows_wanted);
}

/* An error of the server, or its silence. */
static void note_trouble(struct work *work, size_t number, const PGresult *result)
{
    struct postgres_outcome outcome = {.kind = POSTGRES_DONE};

    if (result == NULL)
        postgres_lose(work->conn, "no answer in time", &outcome);
    else if (PQresultStatus(result) == PGRES_FATAL_ERROR)
        postgres_note_error(work->conn, result, &outcome);
    else
        postgres_lose(work->conn, "the server answered what was not asked", &outcome);
    if (outcome.kind == POSTGRES_LOST)
        fail_lost(work, outcome.text);
    else if (number > 0)
        sql_reply_fail(&work->reply, "statement %zu: %s", number, outcome.text);
    else
        sql_reply_fail(&work->reply, "%s", outcome.text);
}

/* Takes the results of one statement; number 0: of one that is not the application's. False: there
 * are no more, because the session is lost. */
static bool take_statement(struct work *work, size_t number, char value[8])
{
    bool end = false, replies = number > 0 && !work->with_end;
    PGresult *result;

    if (replies)
        sql_reply_statement(&work->reply, number);
    if (number > 0)
        (void)PQsetSingleRowMode(work->conn->link); /* refused for one that is skipped */
    while (!end && !work->conn->base.broken) {
        ExecStatusType status;

        if (postgres_result(work->conn, work->deadline_ms, &result) != 0) {
            note_trouble(work, number, NULL);
            break;
        }
        end = result == NULL;
        if (end)
            break;
        status = PQresultStatus(result);
        if (status == PGRES_SINGLE_TUPLE || status == PGRES_TUPLES_OK) {
            if (replies && !sql_reply_has_columns(&work->reply))
                add_columns(work, result);
            if (replies && status == PGRES_SINGLE_TUPLE)
                add_row(work, result);
            else if (value != NULL && PQntuples(result) == 1)
                snprintf(value, 8, "%s", PQgetvalue(result, 0, 0));
        }
        if (replies && (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK))
            end_statement(work, number, result);
        else if (status != PGRES_SINGLE_TUPLE && status != PGRES_TUPLES_OK &&
                 status != PGRES_COMMAND_OK && status != PGRES_PIPELINE_ABORTED)
            note_trouble(work, number, result);
        PQclear(result);
    }
    if (PQstatus(work->conn->link) != CONNECTION_OK)
        work->conn->base.broken = true;
    return !work->conn->base.broken;
}

/* --- the journey ------------------------------------------------------------------------------ */

static void send_timeouts(struct work *work)
{
    /* Of the two a wait for a lock ends first, and then says that it was one. */
    unsigned timeout_ms = work->call->timeout_ms > 0 ? work->call->timeout_ms : 1;
    char sql[64];

    snprintf(sql, sizeof(sql), "SET LOCAL lock_timeout = %u", timeout_ms - timeout_ms / 10);
    postgres_send(work->conn, sql, 0, NULL);
    snprintf(sql, sizeof(sql), "SET LOCAL statement_timeout = %u", timeout_ms);
    postgres_send(work->conn, sql, 0, NULL);
}

/* How many statements of ours go first. */
static size_t send_all(struct work *work, bool begun)
{
    if (!begun)
        postgres_send(work->conn, work->branch->read_only ? "BEGIN READ ONLY" : "BEGIN", 0, NULL);
    send_timeouts(work);
    for (size_t i = 0; i < work->all.count; i++)
        postgres_send(work->conn, work->all.statements[i].sql,
                      (int)work->all.statements[i].value_count,
                      (const char *const *)work->all.statements[i].values);
    if (work->with_end) {
        work->branch->wrote = true;
        postgres_send_end(work->branch, work->call->next);
    } else {
        postgres_send(work->conn, "SELECT pg_catalog.txid_current_if_assigned() IS NOT NULL", 0,
                      NULL);
        postgres_sync(work->conn);
    }
    return begun ? 2 : 3;
}

/* Whether it has written, and so how it is to end, and how many rows there were, is known only once
 * the answers are here: but for work that certainly writes. */
static bool may_end(const struct work *work)
{
    bool writes = false;

    if (!work->call->no_reply ||
        (work->call->next != ASSENT_OP_PREPARE && work->call->next != ASSENT_OP_ONE_PHASE))
        return false;
    for (size_t i = 0; i < work->all.count; i++) {
        if (work->all.statements[i].rows_wanted >= 0)
            return false;
        writes |= postgres_statement_writes(work->all.statements[i].sql);
    }
    return writes;
}

static void take_written(struct work *work)
{
    PGTransactionStatusType status;
    struct postgres_outcome outcome;
    char wrote[8] = "";

    if (!work->conn->base.broken)
        (void)take_statement(work, 0, wrote);
    postgres_collect(work->conn, work->deadline_ms, &outcome); /* the sync */
    if (outcome.kind == POSTGRES_LOST)
        fail_lost(work, outcome.text);
    work->branch->wrote |= wrote[0] == 't';
    status = PQtransactionStatus(work->conn->link);
    if (!work->conn->base.broken && status != PQTRANS_INTRANS && status != PQTRANS_INERROR) {
        sql_reply_fail(&work->reply, "the branch's transaction was ended by its own work");
        work->conn->base.broken = true;
    }
}

static void take_end(struct work *work)
{
    struct assent_call end = {.operation = work->call->next, .id = work->call->id};
    uint64_t deadline_ms = assent_now_ms() + SQL_FINISH_MS;
    struct sql_branch *branch = work->branch;
    struct postgres_outcome outcome;

    if (work->reply.reason[0] == '\0') {
        postgres_take_end(postgres_of(work->db), branch, &end, deadline_ms);
        branch->ended = true;
        branch->end = end.operation;
        branch->result = end.result;
        memcpy(branch->reason, end.reason, sizeof(branch->reason));
    } else { /* the rest was skipped, up to the sync; there is nothing to discard yet */
        postgres_collect(work->conn, deadline_ms, &outcome);
        (void)postgres_take_discard(work->conn, deadline_ms);
    }
}

static void run(struct work *work)
{
    bool begun = work->branch->session != NULL, going = true;
    char reason[ASSENT_REASON_MAX + 1];
    size_t before;

    if (!begun &&
        sql_take_worker(work->db, work->call->timeout_ms, &work->branch->session, reason)) {
        fail_lost(work, reason);
        return;
    }
    work->conn = postgres_conn_of(work->branch->session);
    work->deadline_ms = assent_now_ms() + work->call->timeout_ms + SQL_REPLY_GRACE_MS;
    work->with_end = may_end(work);
    before = send_all(work, begun);
    for (size_t i = 0; i < before && going; i++)
        going = take_statement(work, 0, NULL);
    for (size_t i = 0; i < work->all.count && going; i++)
        going = take_statement(work, i + 1, NULL);
    if (work->with_end)
        take_end(work);
    else
        take_written(work);
}

void postgres_work(struct sql_database *db, struct sql_branch *branch, struct assent_call *call,
                   bool *ret_lost)
{
    struct work work = {.db = db, .branch = branch, .call = call};

    sql_reply_init(&work.reply);
    if (work.reply.reason[0] == '\0' &&
        sql_statements_parse(call->work, call->work_size, postgres_statement_check, &work.all,
                             work.reply.reason) == 0)
        run(&work);
    *ret_lost = work.with_end && work.conn->base.broken && !branch->ended;
    if (work.reply.reason[0] == '\0' && !work.with_end)
        sql_reply_give(&work.reply, call);
    if (work.reply.reason[0] == '\0') {
        sql_answer(call, ASSENT_RM_OK, "%s", "");
    } else {
        sql_answer(call, work.lost ? ASSENT_RM_UNAVAILABLE : ASSENT_RM_FAILED, "%s",
                   work.reply.reason);
        sql_branch_fail(db, branch, call->reason);
    }
    sql_statements_free(&work.all);
    sql_reply_fini(&work.reply);
}
