/*
 * output.c: how things look: messages, JSON, aligned tables. Text from outside never reaches a
 * terminal with control characters in it.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

#include "ctl.h"

struct ctl_table {
    size_t columns, rows, capacity;
    char **cells; /* rows * columns */
};

/* Copies text with each control character, C1 ones (U+0080 to U+009F) too, as '?'. */
static char *printable(const char *text)
{
    char *copy = strdup(text), *to = copy;

    ASSENT_ASSERT(copy);
    for (const char *from = copy; *from; from++) {
        unsigned char byte = (unsigned char)*from;

        if (byte == 0xc2 && (unsigned char)from[1] >= 0x80 && (unsigned char)from[1] <= 0x9f) {
            *to++ = '?';
            from++;
        } else {
            *to++ = byte < 0x20 || byte == 0x7f ? '?' : *from;
        }
    }
    *to = '\0';
    return copy;
}

static void say(struct ctl *ctl, const char *before, const char *format, va_list arguments)
{
    char text[1024], *clean;

    fflush(ctl->out); /* what was said first is seen first, on a terminal and in a log */
    vsnprintf(text, sizeof(text), format, arguments);
    clean = printable(text);
    fprintf(ctl->err, "%s%s\n", before, clean);
    free(clean);
}

void ctl_error(struct ctl *ctl, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say(ctl, "assentctl: ", format, arguments);
    va_end(arguments);
}

void ctl_hint(struct ctl *ctl, const char *format, ...)
{
    va_list arguments;

    if (ctl->json)
        return;
    va_start(arguments, format);
    say(ctl, "hint: ", format, arguments);
    va_end(arguments);
}

int ctl_print_json(struct ctl *ctl, const json_t *json)
{
    if (json_dumpf(json, ctl->out, JSON_INDENT(2)) || fputc('\n', ctl->out) == EOF) {
        ctl_error(ctl, "cannot write the output");
        return CTL_EXIT_SERVER;
    }
    return CTL_EXIT_OK;
}

static void join(const json_t *list, char *buffer, size_t size)
{
    size_t index, used = 0;
    json_t *item;

    buffer[0] = '\0';
    json_array_foreach((json_t *)(uintptr_t)list, index, item)
    {
        const char *text = json_string_value(item);
        int written =
            snprintf(buffer + used, size - used, "%s%s", index ? ", " : "", text ? text : "?");

        if (written < 0 || (size_t)written >= size - used)
            return;
        used += (size_t)written;
    }
}

const char *ctl_text(const json_t *object, const char *member, char *buffer, size_t size)
{
    const json_t *value = json_object_get(object, member);

    buffer[0] = '\0';
    if (json_is_string(value))
        snprintf(buffer, size, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(buffer, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        snprintf(buffer, size, "%g", json_real_value(value));
    else if (json_is_boolean(value))
        snprintf(buffer, size, "%s", json_is_true(value) ? "yes" : "no");
    else if (json_is_array(value))
        join(value, buffer, size);
    if (buffer[0] == '\0')
        snprintf(buffer, size, "-");
    return buffer;
}

const char *ctl_duration(uint64_t ms, char *buffer, size_t size)
{
    unsigned long long s = ms / 1000;

    if (ms < 1000)
        snprintf(buffer, size, "%llums", (unsigned long long)ms);
    else if (s < 60)
        snprintf(buffer, size, "%llu.%llus", s, (unsigned long long)ms % 1000 / 100);
    else if (s < 3600)
        snprintf(buffer, size, "%llum%llus", s / 60, s % 60);
    else if (s < 86400)
        snprintf(buffer, size, "%lluh%llum", s / 3600, s % 3600 / 60);
    else
        snprintf(buffer, size, "%llud%lluh", s / 86400, s % 86400 / 3600);
    return buffer;
}

struct ctl_table *ctl_table_new(size_t columns)
{
    struct ctl_table *table = calloc(1, sizeof(*table));

    ASSENT_ASSERT(table && columns > 0);
    table->columns = columns;
    return table;
}

void ctl_table_free(struct ctl_table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < table->rows * table->columns; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table);
}

void ctl_table_row(struct ctl_table *table, const char *const *cells)
{
    if (table->rows == table->capacity) {
        table->capacity = table->capacity ? 2 * table->capacity : 16;
        table->cells = reallocarray(table->cells, table->capacity * table->columns, sizeof(char *));
        ASSENT_ASSERT(table->cells);
    }
    for (size_t i = 0; i < table->columns; i++)
        table->cells[table->rows * table->columns + i] = printable(cells[i]);
    table->rows++;
}

/* Characters, not bytes: everything that does not continue a UTF-8 sequence. */
static size_t width_of(const char *text)
{
    size_t width = 0;

    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static const char *color_of(const char *cell, bool heading)
{
    static const struct {
        const char *word, *color;
    } colors[] = {
        {"committed", "\033[32m"}, {"up", "\033[32m"},      {"aborted", "\033[33m"},
        {"unknown", "\033[33m"},   {"mixed", "\033[31m"},   {"hazard", "\033[31m"},
        {"down", "\033[31m"},      {"damaged", "\033[31m"},
    };

    if (heading)
        return "\033[1m";
    for (size_t i = 0; i < sizeof(colors) / sizeof(colors[0]); i++)
        if (strcmp(cell, colors[i].word) == 0)
            return colors[i].color;
    return NULL;
}

static void print_cell(struct ctl *ctl, const char *cell, size_t width, bool heading, bool last)
{
    const char *color = ctl->color ? color_of(cell, heading) : NULL;

    fprintf(ctl->out, "%s%s%s", color ? color : "", cell, color ? "\033[0m" : "");
    if (last)
        fputc('\n', ctl->out);
    else
        fprintf(ctl->out, "%*s", (int)(width - width_of(cell) + 2), "");
}

void ctl_table_print(const struct ctl_table *table, struct ctl *ctl, bool heading)
{
    size_t *widths = calloc(table->columns, sizeof(*widths));

    ASSENT_ASSERT(widths);
    for (size_t i = 0; i < table->rows * table->columns; i++) {
        size_t width = width_of(table->cells[i]);

        if (width > widths[i % table->columns])
            widths[i % table->columns] = width;
    }
    for (size_t i = 0; i < table->rows * table->columns; i++)
        print_cell(ctl, table->cells[i], widths[i % table->columns], heading && i < table->columns,
                   i % table->columns == table->columns - 1);
    free(widths);
}
