/*
 * postgres_work.c: runs the statements of one piece of work inside a branch. The whole of it is one
 * journey: begin if need be, the time-outs, every statement, and whether PostgreSQL has given the
 * transaction an id, which it does at the first write. Rows arrive one by one and are counted, so
 * that no answer grows beyond its bounds in memory.
 *
 * The reply is {"results":[{"command":"SELECT","columns":[...],"rows":[[...],...],"count":N},
 * {"command":"UPDATE","count":N}]}: integers and booleans as such, null as null, all else as the
 * text that PostgreSQL writes.
 */
#include "postgres.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "runtime.h"

/* Types of pg_type.dat, whose numbers never change. */
#define TYPE_BOOL 16
#define TYPE_INT8 20
#define TYPE_INT2 21
#define TYPE_INT4 23

#define REPLY_GRACE_MS 2000 /* the server's own time-outs speak first */
#define CELL_BYTES     8    /* what a value counts for beside its text */

struct work {
    struct postgres *pg;
    struct postgres_branch *branch;
    struct postgres_conn *conn;
    struct assent_call *call;
    struct postgres_statements all;
    uint64_t deadline_ms;
    json_t *results;
    size_t row_count, reply_bytes;
    char reason[ASSENT_REASON_MAX + 1]; /* of the first failure; "": none */
    bool lost;                          /* that was the loss of the session, or there is none */
};

__attribute__((format(printf, 2, 3))) static void fail(struct work *work, const char *format, ...)
{
    va_list arguments;

    if (work->reason[0] != '\0')
        return;
    va_start(arguments, format);
    vsnprintf(work->reason, sizeof(work->reason), format, arguments);
    va_end(arguments);
}

static void fail_lost(struct work *work, const char *reason)
{
    work->lost |= work->reason[0] == '\0';
    fail(work, "%s", reason);
}

/* Too much to be read to its end: the session goes. */
static void give_up(struct work *work, size_t number, const char *what, unsigned bound)
{
    fail(work, "statement %zu: %s over %u", number, what, bound);
    work->conn->broken = true;
}

/* --- rows ------------------------------------------------------------------------------------- */

static json_t *cell(const PGresult *rows, int row, int column)
{
    const char *text = PQgetvalue(rows, row, column);

    if (PQgetisnull(rows, row, column))
        return json_null();
    switch (PQftype(rows, column)) {
    case TYPE_BOOL:
        return json_boolean(text[0] == 't');
    case TYPE_INT8:
    case TYPE_INT2:
    case TYPE_INT4:
        return json_integer(strtoll(text, NULL, 10));
    default:
        return json_stringn(text, (size_t)PQgetlength(rows, row, column));
    }
}

static void add_columns(struct work *work, size_t number, json_t *result, const PGresult *rows)
{
    json_t *columns = json_array();

    for (int i = 0; i < PQnfields(rows); i++) {
        work->reply_bytes += strlen(PQfname(rows, i)) + CELL_BYTES;
        if (json_array_append_new(columns, json_string(PQfname(rows, i))) != 0)
            fail(work, "statement %zu: a column's name is not UTF-8, or out of memory", number);
    }
    if (json_object_set_new(result, "columns", columns) != 0 ||
        json_object_set_new(result, "rows", json_array()) != 0)
        fail(work, "out of memory");
}

static void add_row(struct work *work, size_t number, json_t *result, const PGresult *rows)
{
    json_t *row = json_array();

    work->row_count++;
    for (int i = 0; i < PQnfields(rows); i++)
        work->reply_bytes += (size_t)PQgetlength(rows, 0, i) + CELL_BYTES;
    if (work->row_count > POSTGRES_ROWS_MAX)
        give_up(work, number, "the rows of the reply are", POSTGRES_ROWS_MAX);
    else if (work->reply_bytes > POSTGRES_REPLY_BYTES_MAX)
        give_up(work, number, "the bytes of the reply are", POSTGRES_REPLY_BYTES_MAX);
    for (int i = 0; work->reason[0] == '\0' && i < PQnfields(rows); i++)
        if (json_array_append_new(row, cell(rows, 0, i)) != 0)
            fail(work, "statement %zu: column \"%.60s\" is not UTF-8, or out of memory", number,
                 PQfname(rows, i));
    if (json_array_append_new(json_object_get(result, "rows"), row) != 0)
        fail(work, "out of memory");
}

/* --- one statement's results ------------------------------------------------------------------ */

static void end_statement(struct work *work, size_t number, json_t *result, PGresult *last)
{
    const struct postgres_statement *statement = &work->all.statements[number - 1];
    const char *count = PQcmdTuples(last);
    char tag[32];

    postgres_tag(last, tag);
    if (json_object_set_new(result, "command", json_string(tag)) != 0)
        fail(work, "out of memory");
    if (count[0] != '\0' &&
        json_object_set_new(result, "count", json_integer(strtoll(count, NULL, 10))) != 0)
        fail(work, "out of memory");
    if (statement->rows_wanted >= 0 && strtoll(count, NULL, 10) != statement->rows_wanted)
        fail(work, "statement %zu: %s of %s rows, not %lld", number, tag, count[0] ? count : "no",
             statement->rows_wanted);
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
        fail(work, "statement %zu: %s", number, outcome.text);
    else
        fail(work, "%s", outcome.text);
}

/* Takes the results of one statement; number 0: of one that is not the application's. False: there
 * are no more, because the session is lost. */
static bool take_statement(struct work *work, size_t number, char value[8])
{
    json_t *reply = number > 0 ? json_object() : NULL;
    PGresult *result;
    bool end = false;

    if (number > 0)
        (void)PQsetSingleRowMode(work->conn->link); /* refused for one that is skipped */
    while (!end && !work->conn->broken) {
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
            if (reply != NULL && json_object_get(reply, "columns") == NULL)
                add_columns(work, number, reply, result);
            if (status == PGRES_SINGLE_TUPLE)
                add_row(work, number, reply, result);
            else if (value != NULL && PQntuples(result) == 1)
                snprintf(value, 8, "%s", PQgetvalue(result, 0, 0));
        }
        if (reply != NULL && (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK))
            end_statement(work, number, reply, result);
        else if (status != PGRES_SINGLE_TUPLE && status != PGRES_TUPLES_OK &&
                 status != PGRES_COMMAND_OK && status != PGRES_PIPELINE_ABORTED)
            note_trouble(work, number, result);
        PQclear(result);
    }
    if (reply != NULL && json_array_append_new(work->results, reply) != 0)
        fail(work, "out of memory");
    if (PQstatus(work->conn->link) != CONNECTION_OK)
        work->conn->broken = true;
    return !work->conn->broken;
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

/* How many statements of ours go first; *ret_reset: one more with a sync of its own. */
static size_t send_all(struct work *work, bool begun, bool *ret_reset)
{
    *ret_reset = work->conn->used && !begun;
    if (*ret_reset) {
        postgres_send(work->conn, "DISCARD ALL", 0, NULL);
        postgres_sync(work->conn);
    }
    if (!begun)
        postgres_send(work->conn, work->branch->read_only ? "BEGIN READ ONLY" : "BEGIN", 0, NULL);
    work->conn->used = true;
    send_timeouts(work);
    for (size_t i = 0; i < work->all.count; i++)
        postgres_send(work->conn, work->all.statements[i].sql,
                      (int)work->all.statements[i].value_count,
                      (const char *const *)work->all.statements[i].values);
    postgres_send(work->conn, "SELECT pg_catalog.txid_current_if_assigned() IS NOT NULL", 0, NULL);
    postgres_sync(work->conn);
    return begun ? 2 : 3;
}

static void run(struct work *work)
{
    bool begun = work->branch->conn != NULL, reset, going = true;
    char wrote[8] = "", reason[ASSENT_REASON_MAX + 1];
    struct postgres_outcome outcome;
    PGTransactionStatusType status;
    size_t before;

    if (!begun && postgres_take(work->pg, work->call->timeout_ms, &work->branch->conn, reason)) {
        fail_lost(work, reason);
        return;
    }
    work->conn = work->branch->conn;
    work->deadline_ms = assent_now_ms() + work->call->timeout_ms + REPLY_GRACE_MS;
    before = send_all(work, begun, &reset);
    if (reset) {
        postgres_collect(work->conn, work->deadline_ms, &outcome);
        if (outcome.kind != POSTGRES_DONE) {
            work->conn->broken = true;
            fail_lost(work, outcome.text);
        }
    }
    for (size_t i = 0; i < before && going; i++)
        going = take_statement(work, 0, NULL);
    for (size_t i = 0; i < work->all.count && going; i++)
        going = take_statement(work, i + 1, NULL);
    if (going)
        going = take_statement(work, 0, wrote);
    postgres_collect(work->conn, work->deadline_ms, &outcome); /* the sync */
    if (outcome.kind == POSTGRES_LOST)
        fail_lost(work, outcome.text);
    work->branch->wrote |= wrote[0] == 't';
    status = PQtransactionStatus(work->conn->link);
    if (!work->conn->broken && status != PQTRANS_INTRANS && status != PQTRANS_INERROR) {
        fail(work, "the branch's transaction was ended by its own work");
        work->conn->broken = true;
    }
}

static void reply(struct work *work)
{
    json_t *json = json_pack("{s:O}", "results", work->results);
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);

    json_decref(json);
    if (text == NULL) {
        fail(work, "out of memory");
        return;
    }
    work->call->reply = text;
    work->call->reply_size = strlen(text);
}

void postgres_work(struct postgres *pg, struct postgres_branch *branch, struct assent_call *call)
{
    struct work work = {.pg = pg, .branch = branch, .call = call, .results = json_array()};
    bool parsed = false;

    if (branch->failed) {
        postgres_answer(call, ASSENT_RM_FAILED, "%s", branch->reason);
        json_decref(work.results);
        return;
    }
    if (work.results == NULL)
        fail(&work, "out of memory");
    else
        parsed =
            postgres_statements_parse(call->work, call->work_size, &work.all, work.reason) == 0;
    if (parsed)
        run(&work);
    if (work.reason[0] == '\0')
        reply(&work);
    if (work.reason[0] == '\0')
        postgres_answer(call, ASSENT_RM_OK, "%s", "");
    else {
        postgres_answer(call, work.lost ? ASSENT_RM_UNAVAILABLE : ASSENT_RM_FAILED, "%s",
                        work.reason);
        postgres_branch_fail(pg, branch, call->reason);
    }
    postgres_statements_free(&work.all);
    json_decref(work.results);
}
