/*
 * sql_statement.c: parses the work of one branch into statements. Work is either plain SQL, one
 * statement a line, or JSON: an object or an array of objects and strings,
 *
 *   {"sql": "UPDATE account SET balance = balance - $1 WHERE id = $2",
 *    "params": [30, "alice"], "rows": 1}
 *
 * where "rows" makes the statement fail unless it has so many. How a parameter is written in the
 * SQL is the database's affair. What would end the branch's transaction is refused by the driver's
 * check: the server must take one command for each statement.
 */
#include "sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAIL(...) (snprintf(reason, ASSENT_REASON_MAX + 1, __VA_ARGS__), ASSENT_E_INVALID)

/* --- plain ------------------------------------------------------------------------------------ */

static int parse_lines(char *text, struct sql_statements *all, char *reason)
{
    char *rest = text, *line;
    size_t lines = 1;

    for (const char *c = text; *c != '\0'; c++)
        lines += *c == '\n';
    if (lines > SQL_STATEMENTS_MAX)
        return FAIL("over %u statements", SQL_STATEMENTS_MAX);
    if ((all->statements = calloc(lines, sizeof(*all->statements))) == NULL)
        return ASSENT_E_NOMEM;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (line[strspn(line, " \t\r;")] == '\0')
            continue;
        all->statements[all->count++] = (struct sql_statement){.sql = line, .rows_wanted = -1};
    }
    return all->count > 0 ? 0 : FAIL("the work has no statement");
}

/* --- JSON ------------------------------------------------------------------------------------- */

/* A parameter as a server reads it; NULL in *ret_value for null. */
static int param_text(const json_t *param, char **ret_value)
{
    switch (json_typeof(param)) {
    case JSON_NULL:
        *ret_value = NULL;
        return 0;
    case JSON_STRING:
        *ret_value = strdup(json_string_value(param));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        *ret_value = strdup(json_is_true(param) ? "true" : "false");
        break;
    case JSON_INTEGER:
    case JSON_REAL:
    case JSON_OBJECT:
    case JSON_ARRAY:
        *ret_value = json_dumps(param, JSON_COMPACT | JSON_ENCODE_ANY);
        break;
    }
    return *ret_value == NULL ? ASSENT_E_NOMEM : 0;
}

static int take_params(const json_t *params, size_t number, struct sql_statement *statement,
                       char *reason)
{
    size_t index;
    json_t *param;

    if (params == NULL)
        return 0;
    if (!json_is_array(params) || json_array_size(params) > SQL_PARAMS_MAX)
        return FAIL("statement %zu: \"params\" is not an array of at most %u", number,
                    SQL_PARAMS_MAX);
    if ((statement->values = calloc(json_array_size(params) + 1, sizeof(char *))) == NULL)
        return ASSENT_E_NOMEM;
    if ((statement->bare = calloc(json_array_size(params) + 1, sizeof(bool))) == NULL)
        return ASSENT_E_NOMEM;
    json_array_foreach(params, index, param)
    {
        statement->value_count++;
        statement->bare[index] = json_is_number(param) || json_is_boolean(param);
        if (param_text(param, &statement->values[index]) != 0)
            return ASSENT_E_NOMEM;
    }
    return 0;
}

/* The SQL is copied: it outlives the JSON. */
static int take_object(const json_t *object, size_t number, struct sql_statement *statement,
                       char *reason)
{
    const json_t *rows = json_object_get(object, "rows");
    const char *sql =
        json_string_value(json_is_string(object) ? object : json_object_get(object, "sql"));
    const char *key;
    json_t *value;

    if (sql == NULL)
        return FAIL("statement %zu: no text \"sql\"", number);
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (strcmp(key, "sql") != 0 && strcmp(key, "params") != 0 && strcmp(key, "rows") != 0)
            return FAIL("statement %zu: there is no key \"%.60s\"", number, key);
    }
    statement->rows_wanted = -1;
    if (rows != NULL) {
        statement->rows_wanted = json_integer_value(rows);
        if (!json_is_integer(rows) || statement->rows_wanted < 0)
            return FAIL("statement %zu: \"rows\" is not a number", number);
    }
    if ((statement->sql = strdup(sql)) == NULL)
        return ASSENT_E_NOMEM;
    return take_params(json_object_get(object, "params"), number, statement, reason);
}

static int parse_json(const char *text, struct sql_statements *all, char *reason)
{
    json_error_t error;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    size_t count = json_is_array(json) ? json_array_size(json) : 1;
    int r = 0;

    if (json == NULL) {
        r = FAIL("the work is not JSON: line %d: %.160s", error.line, error.text);
    } else if (count == 0 || count > SQL_STATEMENTS_MAX) {
        r = FAIL("the work has no statement, or over %u", SQL_STATEMENTS_MAX);
    } else if ((all->statements = calloc(count, sizeof(*all->statements))) == NULL) {
        r = ASSENT_E_NOMEM;
    }
    while (r == 0 && all->count < count) {
        struct sql_statement *statement = &all->statements[all->count++];

        r = take_object(json_is_array(json) ? json_array_get(json, all->count - 1) : json,
                        all->count, statement, reason);
    }
    json_decref(json);
    return r;
}

/* --- both ------------------------------------------------------------------------------------- */

int sql_statements_parse(const void *work, size_t size,
                         int (*check)(const char *sql, size_t number, char *reason),
                         struct sql_statements *ret_statements, char reason[ASSENT_REASON_MAX + 1])
{
    struct sql_statements all = {0};
    const char *begin;
    int r;

    if (memchr(work, '\0', size) != NULL)
        return FAIL("the work holds a NUL byte");
    if ((all.text = strndup(work, size)) == NULL) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "out of memory");
        return ASSENT_E_NOMEM;
    }
    begin = all.text + strspn(all.text, " \t\r\n");
    if (*begin == '{' || *begin == '[') {
        r = parse_json(all.text, &all, reason);
        free(all.text);
        all.text = NULL;
    } else {
        r = parse_lines(all.text, &all, reason);
    }
    for (size_t i = 0; r == 0 && i < all.count; i++)
        r = check(all.statements[i].sql, i + 1, reason);
    if (r == ASSENT_E_NOMEM)
        snprintf(reason, ASSENT_REASON_MAX + 1, "out of memory");
    if (r == 0)
        *ret_statements = all;
    else
        sql_statements_free(&all);
    return r;
}

void sql_statements_free(struct sql_statements *all)
{
    for (size_t i = 0; i < all->count; i++) {
        struct sql_statement *statement = &all->statements[i];

        for (size_t k = 0; k < statement->value_count; k++)
            free(statement->values[k]);
        free(statement->values);
        free(statement->bare);
        if (all->text == NULL) /* JSON: each has its own */
            free((char *)(uintptr_t)statement->sql);
    }
    free(all->statements);
    free(all->text);
    memset(all, 0, sizeof(*all));
}
