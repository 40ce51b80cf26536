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

/* What is parsed on the loop. */
#define LATER_BYTES_MAX (16u << 10)

struct work {
    struct postgres_later later; /* for work with a thread, its exchange and call alone */
    struct sql_database *db;
    struct sql_branch *branch;
    struct sql_statements all;
    size_t before; /* statements of ours that come first */
    size_t index;  /* of the statement whose results come next, ours and the work's */
    struct sql_reply reply;
    bool lost;     /* its failure was the loss of the session, or there is none */
    bool with_end; /* on the same journey */
};

static void fail_lost(struct work *work, const char *reason)
{
    work->lost |= work->reply.reason[0] == '\0';
    sql_reply_fail(&work->reply, "%s", reason);
}

/* --- results ---------------------------------------------------------------------------------- */

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
        work->later.exchange.conn->base.broken = true;
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

/* The number of the application's statement whose results come next, from 1; 0: it is one of ours.
 */
static size_t number_of(const struct work *work)
{
    return work->index >= work->before && work->index - work->before < work->all.count
               ? work->index - work->before + 1
               : 0;
}

/* The statement's results, which must be looked at. */
static bool is_noted(const struct work *work)
{
    return !work->later.call->no_reply ||
           work->all.statements[number_of(work) - 1].rows_wanted >= 0;
}

/* Before its first result is looked at. */
static void begin_statement(struct work *work)
{
    if (number_of(work) == 0)
        return;
    (void)PQsetSingleRowMode(work->later.exchange.conn->link); /* refused for one that is skipped */
    if (is_noted(work))
        sql_reply_statement(&work->reply, number_of(work));
}

/* The first failure stands. One behind the statements is about the end of the branch. */
static void end_of_statement(struct work *work)
{
    const struct postgres_outcome *outcome = &work->later.exchange.outcome;

    if (outcome->kind == POSTGRES_REFUSED && number_of(work) > 0)
        sql_reply_fail(&work->reply, "statement %zu: %s", number_of(work), outcome->text);
    else if (outcome->kind == POSTGRES_REFUSED && work->index < work->before)
        sql_reply_fail(&work->reply, "%s", outcome->text);
    work->index++;
    begin_statement(work);
}

static void feed(struct postgres_exchange *exchange, const PGresult *result)
{
    struct work *work = (struct work *)exchange;
    ExecStatusType status = PQresultStatus(result);
    bool rows = status == PGRES_SINGLE_TUPLE || status == PGRES_TUPLES_OK;

    if (result == NULL) {
        end_of_statement(work);
        return;
    }
    if (number_of(work) == 0 || !(rows || status == PGRES_COMMAND_OK)) {
        postgres_note(exchange, result);
        return;
    }
    if (rows && !work->later.call->no_reply) {
        if (!sql_reply_has_columns(&work->reply))
            add_columns(work, result);
        if (status == PGRES_SINGLE_TUPLE)
            add_row(work, result);
    }
    if (status != PGRES_SINGLE_TUPLE && is_noted(work))
        end_statement(work, number_of(work), result);
}

/* --- the journey ------------------------------------------------------------------------------ */

static void send_timeouts(struct work *work)
{
    unsigned statement_ms, lock_ms;
    char sql[64];

    postgres_timeouts(work->later.call->timeout_ms, &statement_ms, &lock_ms);
    snprintf(sql, sizeof(sql), "SET LOCAL lock_timeout = %u", lock_ms);
    postgres_send(work->later.exchange.conn, sql, 0, NULL);
    snprintf(sql, sizeof(sql), "SET LOCAL statement_timeout = %u", statement_ms);
    postgres_send(work->later.exchange.conn, sql, 0, NULL);
    work->before += 2;
}

/* Whether it has written, and so how it is to end, and how many rows there were, is known only once
 * the answers are here: but for work that certainly writes. */
static bool may_end(const struct work *work)
{
    bool writes = false;

    if (!work->later.call->no_reply || (work->later.call->next != ASSENT_OP_PREPARE &&
                                        work->later.call->next != ASSENT_OP_ONE_PHASE))
        return false;
    for (size_t i = 0; i < work->all.count; i++) {
        if (work->all.statements[i].rows_wanted >= 0)
            return false;
        writes |= postgres_statement_writes(work->all.statements[i].sql);
    }
    return writes;
}

static void send_all(struct work *work, bool begun)
{
    struct postgres_conn *conn = work->later.exchange.conn;

    if (!begun) {
        postgres_send(conn, work->branch->read_only ? "BEGIN READ ONLY" : "BEGIN", 0, NULL);
        work->before++;
    }
    if (begun || conn->timeout_ms != work->later.call->timeout_ms)
        send_timeouts(work);
    for (size_t i = 0; i < work->all.count; i++)
        postgres_send(conn, work->all.statements[i].sql, (int)work->all.statements[i].value_count,
                      (const char *const *)work->all.statements[i].values);
    if (work->with_end) {
        work->branch->wrote = true;
        postgres_send_end(work->branch, work->later.call->next);
    } else {
        postgres_send(conn, "SELECT pg_catalog.txid_current_if_assigned() IS NOT NULL", 0, NULL);
        postgres_sync(conn);
    }
    begin_statement(work);
}

/* The branch is ended, or was to be: the call for that will ask how. */
static void note_end(struct work *work)
{
    struct assent_call end = {.operation = work->later.call->next, .id = work->later.call->id};
    struct sql_branch *branch = work->branch;

    postgres_answer_end(postgres_of(work->db), branch, &work->later.exchange.outcome, &end);
    branch->ended = true;
    branch->end = end.operation;
    branch->result = end.result;
    memcpy(branch->reason, end.reason, sizeof(branch->reason));
}

static void note_written(struct work *work)
{
    PGTransactionStatusType status = PQtransactionStatus(work->later.exchange.conn->link);

    work->branch->wrote |= work->later.exchange.outcome.value[0] == 't';
    if (status != PQTRANS_INTRANS && status != PQTRANS_INERROR) {
        sql_reply_fail(&work->reply, "the branch's transaction was ended by its own work");
        work->later.exchange.conn->base.broken = true;
    }
}

/* In the branch's session, for which it is the first work or not. */
static void start(struct work *work, bool begun)
{
    work->later.exchange.conn = postgres_conn_of(work->branch->session);
    work->later.exchange.feed = feed;
    work->later.exchange.deadline_ms = assent_now_ms() + work->later.call->timeout_ms +
                                       (work->with_end ? SQL_FINISH_MS : SQL_REPLY_GRACE_MS);
    send_all(work, begun);
}

/* All results are here. What was to end the branch may have done so, if the session is lost: then
 * the server's list is the truth. */
static void finish(struct work *work)
{
    if (work->later.exchange.outcome.kind == POSTGRES_LOST)
        fail_lost(work, work->later.exchange.outcome.text);
    else if (!work->with_end)
        note_written(work);
    else if (work->reply.reason[0] == '\0')
        note_end(work);
}

static void answer(struct work *work)
{
    struct assent_call *call = work->later.call;
    bool unclear = work->with_end && work->later.exchange.conn->base.broken;

    if (work->reply.reason[0] == '\0' && !call->no_reply)
        sql_reply_give(&work->reply, call);
    if (work->reply.reason[0] == '\0') {
        sql_answer(call, ASSENT_RM_OK, "%s", "");
    } else {
        sql_answer(call, work->lost ? ASSENT_RM_UNAVAILABLE : ASSENT_RM_FAILED, "%s",
                   work->reply.reason);
        sql_branch_fail(work->db, work->branch, call->reason);
    }
    if (unclear)
        sql_branch_drop(work->db, work->branch);
}

static bool init(struct work *work, struct sql_database *db, struct sql_branch *branch,
                 struct assent_call *call)
{
    *work = (struct work){.later.call = call, .db = db, .branch = branch};
    sql_reply_init(&work->reply);
    return work->reply.reason[0] == '\0' &&
           sql_statements_parse(call->work, call->work_size, postgres_statement_check, &work->all,
                                work->reply.reason) == 0;
}

static void fini(struct work *work)
{
    sql_statements_free(&work->all);
    sql_reply_fini(&work->reply);
}

void postgres_work(struct sql_database *db, struct sql_branch *branch, struct assent_call *call)
{
    bool begun = branch->session != NULL;
    char reason[ASSENT_REASON_MAX + 1];
    struct work work;

    if (init(&work, db, branch, call)) {
        if (!begun && sql_take_worker(db, call->timeout_ms, &branch->session, reason) != 0) {
            fail_lost(&work, reason);
        } else {
            work.with_end = may_end(&work);
            start(&work, begun);
            postgres_take(&work.later.exchange, true);
            finish(&work);
        }
    }
    answer(&work);
    fini(&work);
}

/* --- without a thread ------------------------------------------------------------------------- */

static void work_is_here(struct postgres_later *later, bool answers)
{
    struct work *work = (struct work *)later;

    if (answers) {
        finish(work);
        answer(work);
    }
    fini(work);
    free(work);
}

bool postgres_work_later(struct sql_database *db, struct sql_branch *branch,
                         struct assent_call *call)
{
    struct work *work = call->work_size <= LATER_BYTES_MAX ? malloc(sizeof(*work)) : NULL;
    struct postgres_conn *conn = NULL;

    if (work == NULL)
        return false;
    if (init(work, db, branch, call)) {
        work->with_end = may_end(work);
        if (work->with_end)
            conn = postgres_later_session(postgres_of(db), &db->workers);
    }
    if (conn == NULL) {
        fini(work);
        free(work);
        return false;
    }
    branch->session = &conn->base;
    work->later.end = work_is_here;
    start(work, false);
    postgres_later_begin(postgres_of(db), &work->later);
    return true;
}
