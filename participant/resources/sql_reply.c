/* sql_reply.c: the answer to work as JSON, see sql.h. Rows are added one by one and counted, so
 * that no answer grows beyond its bounds in memory. */
#include "sql.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CELL_BYTES 8 /* what a value counts for beside its text */

void sql_reply_init(struct sql_reply *reply)
{
    *reply = (struct sql_reply){.results = json_array()};
    if (reply->results == NULL)
        sql_reply_fail(reply, "out of memory");
}

void sql_reply_fini(struct sql_reply *reply)
{
    json_decref(reply->results);
}

void sql_reply_fail(struct sql_reply *reply, const char *format, ...)
{
    va_list arguments;

    if (reply->reason[0] != '\0')
        return;
    va_start(arguments, format);
    vsnprintf(reply->reason, sizeof(reply->reason), format, arguments);
    va_end(arguments);
}

void sql_reply_statement(struct sql_reply *reply, size_t number)
{
    reply->number = number;
    reply->current = json_object();
    if (json_array_append_new(reply->results, reply->current) != 0) {
        reply->current = NULL;
        sql_reply_fail(reply, "out of memory");
    }
}

bool sql_reply_has_columns(const struct sql_reply *reply)
{
    return json_object_get(reply->current, "columns") != NULL;
}

void sql_reply_table(struct sql_reply *reply)
{
    if (json_object_set_new(reply->current, "columns", json_array()) != 0 ||
        json_object_set_new(reply->current, "rows", json_array()) != 0)
        sql_reply_fail(reply, "out of memory");
}

void sql_reply_column(struct sql_reply *reply, const char *name)
{
    reply->bytes += strlen(name) + CELL_BYTES;
    if (json_array_append_new(json_object_get(reply->current, "columns"), json_string(name)) != 0)
        sql_reply_fail(reply, "statement %zu: a column's name is not UTF-8, or out of memory",
                       reply->number);
}

static json_t *cell_json(const struct sql_cell *cell)
{
    switch (cell->kind) {
    case SQL_NULL:
        return json_null();
    case SQL_BOOLEAN:
        return json_boolean(cell->text[0] == 't');
    case SQL_INTEGER:
        return json_integer(strtoll(cell->text, NULL, 10));
    case SQL_TEXT:
        break;
    }
    return json_stringn(cell->text, cell->size);
}

bool sql_reply_row(struct sql_reply *reply, const struct sql_cell *cells, size_t count)
{
    const json_t *columns = json_object_get(reply->current, "columns");
    json_t *row;

    reply->row_count++;
    for (size_t i = 0; i < count; i++)
        reply->bytes += cells[i].size + CELL_BYTES;
    if (reply->row_count > SQL_ROWS_MAX) {
        sql_reply_fail(reply, "statement %zu: the rows of the reply are over %u", reply->number,
                       SQL_ROWS_MAX);
        return false;
    }
    if (reply->bytes > SQL_REPLY_BYTES_MAX) {
        sql_reply_fail(reply, "statement %zu: the bytes of the reply are over %u", reply->number,
                       SQL_REPLY_BYTES_MAX);
        return false;
    }
    row = json_array();
    for (size_t i = 0; reply->reason[0] == '\0' && i < count; i++)
        if (json_array_append_new(row, cell_json(&cells[i])) != 0)
            sql_reply_fail(reply, "statement %zu: column \"%.60s\" is not UTF-8, or out of memory",
                           reply->number, json_string_value(json_array_get(columns, i)));
    if (json_array_append_new(json_object_get(reply->current, "rows"), row) != 0)
        sql_reply_fail(reply, "out of memory");
    return true;
}

void sql_reply_end(struct sql_reply *reply, const char *command, long long count,
                   long long rows_wanted)
{
    char number[24] = "no";

    if (json_object_set_new(reply->current, "command", json_string(command)) != 0 ||
        (count >= 0 && json_object_set_new(reply->current, "count", json_integer(count)) != 0))
        sql_reply_fail(reply, "out of memory");
    if (count >= 0)
        snprintf(number, sizeof(number), "%lld", count);
    if (rows_wanted >= 0 && count != rows_wanted)
        sql_reply_fail(reply, "statement %zu: %s of %s rows, not %lld", reply->number, command,
                       number, rows_wanted);
}

void sql_reply_give(struct sql_reply *reply, struct assent_call *call)
{
    json_t *json = json_pack("{s:O}", "results", reply->results);
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);

    json_decref(json);
    if (text == NULL) {
        sql_reply_fail(reply, "out of memory");
        return;
    }
    call->reply = text;
    call->reply_size = strlen(text);
}
