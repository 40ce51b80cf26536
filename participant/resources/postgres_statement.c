/*
 * postgres_statement.c: what is not for the work of a branch in PostgreSQL: what would end its
 * transaction, or what PREPARE TRANSACTION does not take. Refused by the first word; PostgreSQL
 * takes one command for each statement that comes with parameters, even if they are none.
 */
#include "postgres.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const refused[] = {
    "abort",  "begin",   "commit",   "copy",  "end",      "listen",
    "notify", "prepare", "rollback", "start", "unlisten", NULL,
};

#define FAIL(...) (snprintf(reason, ASSENT_REASON_MAX + 1, __VA_ARGS__), ASSENT_E_INVALID)

/* After blanks, comments and empty commands. */
static const char *first_word(const char *sql)
{
    for (;;) {
        if (strchr(" \t\r\n\f\v;", *sql) != NULL && *sql != '\0') {
            sql++;
        } else if (strncmp(sql, "--", 2) == 0) {
            sql += strcspn(sql, "\r\n");
        } else if (strncmp(sql, "/*", 2) == 0) {
            unsigned depth = 0;

            do { /* they nest */
                if (strncmp(sql, "/*", 2) == 0 || strncmp(sql, "*/", 2) == 0) {
                    depth += *sql == '/' ? 1 : -1u;
                    sql += 2;
                } else {
                    sql++;
                }
            } while (depth > 0 && *sql != '\0');
        } else {
            return sql;
        }
    }
}

int postgres_statement_check(const char *sql, size_t number, char *reason)
{
    const char *word = first_word(sql);
    size_t size = strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_");

    if (*word == '\0')
        return FAIL("statement %zu is empty", number);
    for (size_t i = 0; refused[i] != NULL; i++)
        if (strlen(refused[i]) == size && strncasecmp(refused[i], word, size) == 0)
            return FAIL("statement %zu: %s is not for the work of a branch", number, refused[i]);
    return 0;
}
