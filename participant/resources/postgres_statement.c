/*
 * postgres_statement.c: statements by their first word. What is not for the work of a branch in
 * PostgreSQL is refused by it: what would end its transaction, or what PREPARE TRANSACTION does not
 * take. PostgreSQL takes one command for each statement that comes with parameters, even if they
 * are none.
 */
#include "postgres.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const refused[] = {
    "abort",  "begin",   "commit",   "copy",  "end",      "listen",
    "notify", "prepare", "rollback", "start", "unlisten", NULL,
};

static const char *const writes[] = {"delete", "insert", "merge", "update", NULL};

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

/* The one of them that the statement begins with, or NULL. */
static const char *find(const char *sql, const char *const *words)
{
    const char *word = first_word(sql);
    size_t size = strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_");

    while (*words != NULL && (strlen(*words) != size || strncasecmp(*words, word, size) != 0))
        words++;
    return *words;
}

int postgres_statement_check(const char *sql, size_t number, char *reason)
{
    const char *no = find(sql, refused);

    if (*first_word(sql) == '\0')
        return FAIL("statement %zu is empty", number);
    return no == NULL ? 0 : FAIL("statement %zu: %s is not for the work of a branch", number, no);
}

bool postgres_statement_writes(const char *sql)
{
    return find(sql, writes) != NULL;
}
