/*
 * mariadb_work.c: runs the statements of one piece of work inside a branch. They go to the server
 * as EXECUTE IMMEDIATE, SQL and parameters in hex: so each is one command, whatever is in it, and
 * no value is ever read as SQL.
 *
 * Before anything is done, each INSERT, REPLACE, UPDATE and DELETE is explained, inside a
 * savepoint: that locks the tables that it would write to, and the server tells if one of them
 * cannot be rolled back. After each statement it is asked again, for functions that a SELECT has
 * called. Views that the agent's user may not explain (1345) are left to the second.
 *
 * A branch ends at its first error: it is rolled back at once, before anybody can send more. After
 * a deadlock MariaDB has done so itself, and in some versions what follows would be committed
 * alone.
 */
#include "mariadb.h"

#include <mysqld_error.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime.h"

#define TRACK                                                                                      \
    ", session_track_system_variables = 'time_zone', session_track_transaction_info = 'STATE';"
#define NO_XA "would change a table whose engine has no XA"

struct work {
    const struct mariadb *maria;
    struct sql_database *db;
    struct sql_branch *branch;
    struct mariadb_conn *conn;
    struct assent_call *call;
    struct sql_statements all;
    struct sql_reply reply;
    char xid[MARIADB_XID_BYTES];
    bool lost; /* its failure was the loss of the session, or there is none */
};

/* --- what is for a branch --------------------------------------------------------------------- */

/* By name, since so many commands would end a transaction, or run others that do: a procedure may
 * go on after an error that has ended the branch. */
static const char *const allowed[] = {"select", "insert",  "update",   "delete", "replace", "with",
                                      "values", "explain", "describe", "show",   "do",      NULL};
static const char *const changes[] = {"insert", "replace", "update", "delete", NULL};

static bool begins_with(const char *sql, const char *const *words)
{
    size_t size;

    sql += strspn(sql, " \t\r\n(");
    size = strspn(sql, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_");
    for (; *words != NULL; words++)
        if (strlen(*words) == size && strncasecmp(*words, sql, size) == 0)
            return true;
    return false;
}

static int check(const char *sql, size_t number, char *reason)
{
    const char *first = sql + strspn(sql, " \t\r\n(");

    if (begins_with(sql, allowed))
        return 0;
    snprintf(reason, ASSENT_REASON_MAX + 1,
             "statement %zu: \"%.20s\" is not for the work of a branch (only SELECT, INSERT, "
             "REPLACE, UPDATE, DELETE, WITH, VALUES, EXPLAIN, DESCRIBE, SHOW, DO)",
             number, first);
    return ASSENT_E_INVALID;
}

/* --- texts ------------------------------------------------------------------------------------ */

static void write_hex(FILE *text, const char *bytes)
{
    fputs("_utf8mb4 X'", text);
    for (; *bytes != '\0'; bytes++)
        fprintf(text, "%02x", (unsigned char)*bytes);
    fputc('\'', text);
}

static void write_execute(FILE *text, const char *prefix, const struct sql_statement *statement)
{
    fputs("EXECUTE IMMEDIATE CONCAT(", text);
    write_hex(text, prefix);
    fputc(',', text);
    write_hex(text, statement->sql);
    fputc(')', text);
    for (size_t i = 0; i < statement->value_count; i++) {
        fputs(i == 0 ? " USING " : ",", text);
        if (statement->values[i] == NULL)
            fputs("NULL", text);
        else if (statement->bare[i])
            fputs(statement->values[i], text);
        else
            write_hex(text, statement->values[i]);
    }
    fputc(';', text);
}

/* Sends what was written, and frees it. */
static void send_text(struct work *work, FILE *text, char **bytes)
{
    if (text == NULL || fclose(text) != 0)
        work->conn->base.broken = true;
    else
        mariadb_send(work->conn, *bytes);
    free(*bytes);
    *bytes = NULL;
}

static uint64_t deadline_of(const struct work *work)
{
    return assent_now_ms() + work->call->timeout_ms + SQL_REPLY_GRACE_MS;
}

/* Number 0: a statement of ours. */
static void fail_by(struct work *work, size_t number, const struct mariadb_outcome *outcome)
{
    work->lost |= outcome->kind == MARIADB_LOST && work->reply.reason[0] == '\0';
    if (number > 0 && outcome->kind == MARIADB_REFUSED)
        sql_reply_fail(&work->reply, "statement %zu: %s", number, outcome->text);
    else
        sql_reply_fail(&work->reply, "%s", outcome->text);
}

/* --- begin ------------------------------------------------------------------------------------ */

static bool take_session(struct work *work)
{
    struct mariadb_outcome outcome;
    char reason[ASSENT_REASON_MAX + 1];

    if (sql_take_worker(work->db, work->call->timeout_ms, &work->branch->session, reason) != 0) {
        work->lost = true;
        sql_reply_fail(&work->reply, "%s", reason);
        return false;
    }
    work->conn = mariadb_conn_of(work->branch->session);
    if (work->conn->used && mysql_reset_connection(work->conn->link) != 0) {
        mariadb_note_error(work->conn, &outcome);
        work->conn->base.broken = true;
        work->lost = true;
        fail_by(work, 0, &outcome);
        return false;
    }
    work->conn->used = true;
    memset(work->conn->state, 0, sizeof(work->conn->state));
    return true;
}

/* A session of its own, the time-outs, and the beginning of the transaction. */
static bool begin(struct work *work)
{
    bool begun = work->branch->session != NULL, reader = work->branch->read_only;
    unsigned ms = work->call->timeout_ms > 0 ? work->call->timeout_ms : 1;
    /* Whole seconds; a wait for a lock ends first, and then says that it was one. */
    unsigned lock_s = ms / 1000 * 9 / 10 > 0 ? ms / 1000 * 9 / 10 : 1;
    struct mariadb_outcome outcome;

    if (begun)
        work->conn = mariadb_conn_of(work->branch->session);
    else if (!take_session(work))
        return false;
    mariadb_send_format(work->conn,
                        "SET max_statement_time = %u.%03u, innodb_lock_wait_timeout = %u,"
                        " lock_wait_timeout = %u%s%s%s",
                        ms / 1000, ms % 1000, lock_s, lock_s, begun ? "" : TRACK,
                        begun    ? ""
                        : reader ? "START TRANSACTION READ ONLY"
                                 : "XA START ",
                        begun || reader ? "" : work->xid);
    work->conn->open = true;
    mariadb_collect(work->conn, deadline_of(work), &outcome);
    if (outcome.kind != MARIADB_DONE) {
        /* Nothing was begun: the id is in use, by a branch that is prepared. */
        work->conn->open = begun;
        fail_by(work, 0, &outcome);
        return false;
    }
    if (work->conn->state[0] != 'T') /* something between us and the server swallows it */
        sql_reply_fail(&work->reply, "the server does not tell the state of transactions "
                                     "(session_track_transaction_info)");
    return work->reply.reason[0] == '\0';
}

/* --- before ----------------------------------------------------------------------------------- */

/* The text explains the statements that change something, from *at on; returns how many, with the
 * number of each in `numbers`. */
static size_t write_explains(const struct work *work, size_t at, FILE *text, size_t *numbers)
{
    const char *before = "";
    size_t count = 0;

    fputs(at == 0 ? "SAVEPOINT assent;" : "DO 0;", text);
    for (size_t i = at; i < work->all.count; i++) {
        const struct sql_statement *statement = &work->all.statements[i];

        /* The tables do not depend on the parameters. */
        if (!begins_with(statement->sql, changes) || strcmp(before, statement->sql) == 0)
            continue;
        before = statement->sql;
        write_execute(text, "EXPLAIN ", statement);
        fputs(MARIADB_TELL ";", text);
        numbers[count++] = i + 1;
    }
    fputs("ROLLBACK TO SAVEPOINT assent", text);
    return count;
}

/* Has nothing to do with what the work does: it is undone, but for the locks. */
static bool explain(struct work *work)
{
    size_t *numbers = calloc(work->all.count + 1, sizeof(*numbers)), at = 0, count, which;
    struct mariadb_outcome outcome = {.kind = MARIADB_DONE};

    while (numbers != NULL && at < work->all.count) {
        char *bytes = NULL;
        size_t size;
        FILE *text = open_memstream(&bytes, &size);

        count = text == NULL ? 0 : write_explains(work, at, text, numbers);
        if (count == 0 && at == 0) {
            if (text != NULL)
                fclose(text);
            free(bytes);
            break;
        }
        send_text(work, text, &bytes);
        mariadb_collect(work->conn, deadline_of(work), &outcome);
        if (outcome.unsafe_at > 0) /* the savepoint is 1, then come pairs */
            sql_reply_fail(&work->reply, "statement %zu " NO_XA,
                           numbers[(outcome.unsafe_at - 3) / 2]);
        which = outcome.done > 0 ? (outcome.done - 1) / 2 : 0;
        at = work->all.count;
        if (outcome.kind == MARIADB_REFUSED && outcome.code == ER_VIEW_NO_EXPLAIN && which < count)
            at = numbers[which];
        else if (outcome.kind != MARIADB_DONE)
            fail_by(work, which < count ? numbers[which] : 0, &outcome);
    }
    if (numbers == NULL)
        sql_reply_fail(&work->reply, "out of memory");
    free(numbers);
    return work->reply.reason[0] == '\0';
}

/* --- rows ------------------------------------------------------------------------------------- */

static bool is_integer(enum enum_field_types type)
{
    return type == MYSQL_TYPE_TINY || type == MYSQL_TYPE_SHORT || type == MYSQL_TYPE_INT24 ||
           type == MYSQL_TYPE_LONG || type == MYSQL_TYPE_LONGLONG || type == MYSQL_TYPE_YEAR;
}

static void add_row(struct work *work, MYSQL_RES *rows, MYSQL_ROW row, unsigned count)
{
    struct sql_cell *cells = calloc(count + 1, sizeof(*cells));
    const unsigned long *sizes = mysql_fetch_lengths(rows);
    const MYSQL_FIELD *fields = mysql_fetch_fields(rows);

    for (unsigned i = 0; cells != NULL && i < count; i++) {
        cells[i] = (struct sql_cell){.kind = SQL_TEXT, .text = row[i], .size = sizes[i]};
        if (row[i] == NULL)
            cells[i].kind = SQL_NULL;
        else if (is_integer(fields[i].type) && sizes[i] < 19) /* fits 63 bits */
            cells[i].kind = SQL_INTEGER;
    }
    /* Too much to be read to its end: the session goes. */
    if (cells == NULL || !sql_reply_row(&work->reply, cells, count)) {
        sql_reply_fail(&work->reply, "out of memory");
        work->conn->base.broken = true;
    }
    free(cells);
}

/* How many there were. */
static long long take_rows(struct work *work, struct mariadb_outcome *outcome)
{
    MYSQL_RES *rows = mysql_use_result(work->conn->link);
    unsigned columns = mysql_field_count(work->conn->link);
    long long count = 0;
    MYSQL_ROW row;

    if (rows == NULL) {
        mariadb_note_error(work->conn, outcome);
        return 0;
    }
    sql_reply_table(&work->reply);
    for (unsigned i = 0; i < columns; i++)
        sql_reply_column(&work->reply, mysql_fetch_fields(rows)[i].name);
    while (!work->conn->base.broken && (row = mysql_fetch_row(rows)) != NULL) {
        add_row(work, rows, row, columns);
        count++;
    }
    if (work->conn->base.broken) {
        /* Not to be read to its end, which freeing the rows would do. */
        outcome->kind = MARIADB_LOST;
        mariadb_cut(work->conn);
    } else if (mysql_errno(work->conn->link) != 0) {
        mariadb_note_error(work->conn, outcome);
    }
    mysql_free_result(rows);
    return count;
}

/* --- one statement ---------------------------------------------------------------------------- */

/* SELECT, UPDATE: the first word, as PostgreSQL's tags are. */
static void command_of(const char *sql, char command[16])
{
    size_t size = 0;

    sql += strspn(sql, " \t\r\n(");
    for (; size < 15 && strchr(" \t\r\n(*", sql[size]) == NULL; size++)
        command[size] = sql[size] >= 'a' && sql[size] <= 'z' ? (char)(sql[size] - 32) : sql[size];
    command[size] = '\0';
}

static bool run_statement(struct work *work, size_t number)
{
    const struct sql_statement *statement = &work->all.statements[number - 1];
    struct mariadb_outcome outcome;
    char *bytes = NULL, command[16];
    size_t size;
    FILE *text = open_memstream(&bytes, &size);
    long long count;

    if (text != NULL) {
        write_execute(text, "", statement);
        fputs(MARIADB_TELL, text);
    }
    send_text(work, text, &bytes);
    sql_reply_statement(&work->reply, number);
    mariadb_answer(work->conn, deadline_of(work), &outcome);
    if (outcome.kind == MARIADB_DONE) {
        if (mysql_field_count(work->conn->link) > 0)
            count = take_rows(work, &outcome);
        else
            count = (long long)mysql_affected_rows(work->conn->link);
        command_of(statement->sql, command);
        if (outcome.kind == MARIADB_DONE)
            sql_reply_end(&work->reply, command, count, statement->rows_wanted);
    }
    while (mariadb_next(work->conn, &outcome))
        ;
    if (outcome.kind != MARIADB_DONE)
        fail_by(work, number, &outcome);
    else if (outcome.unsafe_at > 0)
        sql_reply_fail(&work->reply,
                       "statement %zu has changed a table whose engine has no XA; that stays",
                       number);
    return work->reply.reason[0] == '\0';
}

/* --- the whole -------------------------------------------------------------------------------- */

static void run(struct work *work)
{
    bool going = begin(work) && explain(work);

    for (size_t i = 0; i < work->all.count && going; i++)
        going = run_statement(work, i + 1);
    if (work->conn != NULL && (work->conn->state[3] == 'w' || work->conn->state[4] == 'W'))
        work->branch->wrote = true;
}

/* Failed: nothing of it may be there when the next statement comes. */
static void end_branch(struct work *work)
{
    struct sql_branch *branch = work->branch;

    if (branch->read_only || branch->session == NULL)
        return;
    if (work->conn != NULL && work->conn->open && !work->conn->base.broken)
        mariadb_roll_back(work->conn, work->xid, assent_now_ms() + SQL_FINISH_MS);
    sql_give_back(work->db, branch->session);
    branch->session = NULL;
}

void mariadb_work(struct sql_database *db, struct sql_branch *branch, struct assent_call *call)
{
    struct work work = {.maria = (struct mariadb *)db, .db = db, .branch = branch, .call = call};

    mariadb_xid_format(work.maria, &branch->id, work.xid);
    sql_reply_init(&work.reply);
    if (work.reply.reason[0] == '\0' &&
        sql_statements_parse(call->work, call->work_size, check, &work.all, work.reply.reason) == 0)
        run(&work);
    if (work.reply.reason[0] == '\0')
        sql_reply_give(&work.reply, call);
    if (work.reply.reason[0] == '\0') {
        sql_answer(call, ASSENT_RM_OK, "%s", "");
    } else {
        end_branch(&work);
        sql_answer(call, work.lost ? ASSENT_RM_UNAVAILABLE : ASSENT_RM_FAILED, "%s",
                   work.reply.reason);
        sql_branch_fail(db, branch, call->reason);
    }
    sql_statements_free(&work.all);
    sql_reply_fini(&work.reply);
}
