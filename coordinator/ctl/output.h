/*
 * output.h: messages, JSON, aligned tables, texts and durations for people.
 */
#ifndef ASSENT_CTL_OUTPUT_H
#define ASSENT_CTL_OUTPUT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

struct ctl;

void ctl_error(struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Names a next command; silent with -o json. */
void ctl_hint(struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints one JSON document. CTL_EXIT_OK, or CTL_EXIT_SERVER if it cannot be written. */
int ctl_print_json(struct ctl *ctl, const json_t *json);
/* A member as text for a table: strings as they are, numbers in decimal, true/false as yes/no,
 * lists joined by ", ", absent or null or "" as "-". Written into buffer, cut if it is too small;
 * returns buffer. */
const char *ctl_text(const json_t *object, const char *member, char *buffer, size_t size);
/* 1234 -> "1.2s", 90061000 -> "1d1h". */
const char *ctl_duration(uint64_t ms, char *buffer, size_t size);
/* Aligned columns. Cells are copied, control characters in them are shown as '?'. */
struct ctl_table;
struct ctl_table *ctl_table_new(size_t columns);
void ctl_table_free(struct ctl_table *table);
/* Adds a row of `columns` cells; the first row is the heading. */
void ctl_table_row(struct ctl_table *table, const char *const *cells);
void ctl_table_print(const struct ctl_table *table, struct ctl *ctl, bool heading);

#endif
