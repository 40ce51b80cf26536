/*
 * log.c: one event, one line, one write(2), as logfmt or JSON, see runtime.h. Deliberately not
 * here: files, rotation, syslog (whoever starts the process keeps stderr).
 *
 * A line is made in two steps: the caller's format is printed as `key=value` text, then that text
 * is read pair by pair and written in the wanted format. A pair that does not fit whole is left
 * out and the line says cut=true, so a line always parses. No allocation and no lock: it must
 * work while the process is dying, and stderr's pipe keeps writes of up to PIPE_BUF bytes whole.
 */
#include "runtime.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES_MAX  2048
#define QUOTE_BYTES_MAX 1024
#define QUOTE_BUFFERS   8

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *const format_names[] = {"logfmt", "json"};

static atomic_int threshold = ASSENT_LOG_INFO;
static atomic_int line_format = ASSENT_LOG_LOGFMT;

struct line {
    char text[LINE_BYTES_MAX];
    size_t size;
};

/* A `key=value` piece of the printed fields; value includes its quotes if it has them. */
struct pair {
    const char *key, *value;
    size_t key_size, value_size;
};

void assent_log_setup(enum assent_log_level level, enum assent_log_format format)
{
    atomic_store(&threshold, (int)level);
    atomic_store(&line_format, (int)format);
}

bool assent_log_wants(enum assent_log_level level)
{
    return (int)level >= atomic_load_explicit(&threshold, memory_order_relaxed);
}

static int find(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return (int)i;
    return -1;
}

int assent_log_level_find(const char *name)
{
    return find(level_names, sizeof(level_names) / sizeof(level_names[0]), name);
}

int assent_log_format_find(const char *name)
{
    return find(format_names, sizeof(format_names) / sizeof(format_names[0]), name);
}

/* Bytes of the UTF-8 character at text that may be shown as it is; 0: escape the first byte. */
static size_t printable_bytes(const unsigned char *text, size_t size)
{
    size_t count;
    uint32_t rune;

    if (text[0] < 0x80)
        return text[0] >= 0x20 && text[0] != 0x7f;
    if (text[0] >= 0xc2 && text[0] < 0xe0) {
        count = 2;
        rune = text[0] & 0x1f;
    } else if (text[0] >= 0xe0 && text[0] < 0xf0) {
        count = 3;
        rune = text[0] & 0x0f;
    } else if (text[0] >= 0xf0 && text[0] < 0xf5) {
        count = 4;
        rune = text[0] & 0x07;
    } else {
        return 0;
    }
    if (count > size)
        return 0;
    for (size_t i = 1; i < count; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        rune = rune << 6 | (text[i] & 0x3f);
    }
    /* C1 controls, overlong forms, surrogates, beyond Unicode; and the line separators. */
    if (rune < 0xa0 || (count == 3 && rune < 0x800) || (rune >= 0xd800 && rune < 0xe000) ||
        (count == 4 && rune < 0x10000) || rune > 0x10ffff || rune == 0x2028 || rune == 0x2029)
        return 0;
    return count;
}

/* Writes text as the inside of a JSON string, which logfmt readers understand as well. Stops
 * before what does not fit; returns the bytes written (no NUL). */
static size_t escape(const char *text, size_t size, char *to, size_t capacity)
{
    size_t used = 0;

    for (size_t i = 0; i < size;) {
        const unsigned char *at = (const unsigned char *)text + i;
        size_t count = printable_bytes(at, size - i);
        char piece[8];
        size_t piece_size;

        if (*at == '"' || *at == '\\')
            piece_size = (size_t)snprintf(piece, sizeof(piece), "\\%c", *at);
        else if (*at == '\n')
            piece_size = (size_t)snprintf(piece, sizeof(piece), "\\n");
        else if (*at == '\t')
            piece_size = (size_t)snprintf(piece, sizeof(piece), "\\t");
        else if (count == 0)
            piece_size = (size_t)snprintf(piece, sizeof(piece), "\\u%04x",
                                          *at < 0x80 ? (unsigned)*at : 0xfffdu);
        else
            piece_size =
                (size_t)snprintf(piece, sizeof(piece), "%.*s", (int)count, (const char *)at);
        if (piece_size > capacity - used)
            break;
        memcpy(to + used, piece, piece_size);
        used += piece_size;
        i += count == 0 ? 1 : count;
    }
    return used;
}

/* A JSON number, so that the same text has the same type in every line. */
static bool is_number(const char *text, size_t size)
{
    size_t i = size > 0 && text[0] == '-' ? 1 : 0, digits;

    for (digits = i; i < size && text[i] >= '0' && text[i] <= '9';)
        i++;
    if (i == digits || (text[digits] == '0' && i > digits + 1))
        return false;
    if (i < size && text[i] == '.') {
        for (digits = ++i; i < size && text[i] >= '0' && text[i] <= '9';)
            i++;
        if (i == digits)
            return false;
    }
    return i == size;
}

static bool is_bare_json(const char *text, size_t size)
{
    return is_number(text, size) || (size == 4 && memcmp(text, "true", 4) == 0) ||
           (size == 5 && memcmp(text, "false", 5) == 0);
}

static bool is_plain_word(const char *text, size_t size)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                "_.:/@+,-";

    return size > 0 && size < QUOTE_BYTES_MAX && strspn(text, plain) == size &&
           !is_bare_json(text, size);
}

const char *assent_log_quote(const char *text)
{
    static _Thread_local char buffers[QUOTE_BUFFERS][QUOTE_BYTES_MAX];
    static _Thread_local unsigned next;
    char *buffer = buffers[next++ % QUOTE_BUFFERS];
    size_t size, used;

    if (text == NULL)
        text = "";
    size = strlen(text);
    if (is_plain_word(text, size)) {
        memcpy(buffer, text, size + 1);
        return buffer;
    }
    buffer[0] = '"';
    used = 1 + escape(text, size, buffer + 1, QUOTE_BYTES_MAX - 3);
    buffer[used++] = '"';
    buffer[used] = '\0';
    return buffer;
}

static bool is_key_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Bytes of the key if text starts with `key=`, else 0. */
static size_t key_bytes(const char *text)
{
    size_t size = 0;

    while (is_key_character(text[size]))
        size++;
    return text[size] == '=' ? size : 0;
}

/* Takes the next pair off *text; false at the end, or if the rest is no whole pair. A bare value
 * runs to the next ` key=`: a blank in it does not break the line. */
static bool next_pair(const char **text, struct pair *pair)
{
    const char *at = *text;

    while (*at == ' ')
        at++;
    *pair = (struct pair){.key = at, .key_size = key_bytes(at)};
    if (pair->key_size == 0)
        return false;
    at += pair->key_size + 1;
    pair->value = at;
    if (*at == '"') {
        for (at++; *at != '"'; at++) {
            if (*at == '\\' && at[1] != '\0')
                at++;
            if (*at == '\0')
                return false;
        }
        at++;
    } else {
        while (*at != '\0' && !(*at == ' ' && key_bytes(at + 1) > 0))
            at++;
    }
    pair->value_size = (size_t)(at - pair->value);
    *text = at;
    return true;
}

static bool append(struct line *line, const char *text, size_t size, size_t reserved)
{
    if (size + reserved > sizeof(line->text) - line->size)
        return false;
    memcpy(line->text + line->size, text, size);
    line->size += size;
    return true;
}

/* Appends the pair whole or not at all, leaving `reserved` bytes free. */
static bool append_pair(struct line *line, const struct pair *pair, bool json, size_t reserved)
{
    bool quoted = pair->value_size > 0 && pair->value[0] == '"';
    bool bare = is_bare_json(pair->value, pair->value_size);
    size_t before = line->size;
    char value[LINE_BYTES_MAX];
    size_t size = pair->value_size < sizeof(value) ? pair->value_size : sizeof(value);
    const char *quote = json && !quoted && !bare ? "\"" : "";

    if (quoted || bare) {
        /* Whoever wrote the quotes by hand may have left a line feed inside. */
        for (size_t i = 0; i < size; i++)
            value[i] = (unsigned char)pair->value[i] < 0x20 ? ' ' : pair->value[i];
    } else {
        size = escape(pair->value, pair->value_size, value, sizeof(value));
    }
    if (append(line, json ? ",\"" : " ", json ? 2 : 1, reserved) &&
        append(line, pair->key, pair->key_size, reserved) &&
        append(line, json ? "\":" : "=", json ? 2 : 1, reserved) &&
        append(line, quote, strlen(quote), reserved) && append(line, value, size, reserved) &&
        append(line, quote, strlen(quote), reserved))
        return true;
    line->size = before;
    return false;
}

static void append_head(struct line *line, enum assent_log_level level, const char *event,
                        bool json)
{
    char time[25];
    int size;

    assent_wall_format(assent_wall_ms(), time);
    size = snprintf(line->text, sizeof(line->text) / 2,
                    json ? "{\"ts\":\"%s\",\"level\":\"%s\",\"event\":\"%.100s\""
                         : "ts=%s level=%s event=%.100s",
                    time, level_names[level], event);
    line->size = (size_t)size;
}

void assent_log_va(enum assent_log_level level, const char *event, const char *fields,
                   va_list arguments)
{
    const size_t tail = sizeof(",\"cut\":true}\n"); /* always room to end the line properly */
    bool json = atomic_load(&line_format) == ASSENT_LOG_JSON, cut;
    int saved_errno = errno;
    char printed[LINE_BYTES_MAX];
    const char *at = printed;
    struct line line;
    struct pair pair;
    int size;

    if ((int)level < atomic_load(&threshold))
        return;
    append_head(&line, level, event, json);
    size = vsnprintf(printed, sizeof(printed), fields, arguments);
    cut = size < 0 || (size_t)size >= sizeof(printed);
    if (size < 0)
        printed[0] = '\0';
    while (next_pair(&at, &pair)) {
        /* The first digits of a number are another number. */
        if (cut && *at == '\0' && is_bare_json(pair.value, pair.value_size))
            break;
        if (!append_pair(&line, &pair, json, tail)) {
            cut = true;
            break;
        }
    }
    if (cut)
        append_pair(&line, &(struct pair){"cut", "true", 3, 4}, json, 2);
    append(&line, json ? "}\n" : "\n", json ? 2 : 1, 0);
    while (write(STDERR_FILENO, line.text, line.size) < 0 && errno == EINTR)
        ;
    errno = saved_errno;
}

void assent_log(enum assent_log_level level, const char *event, const char *fields, ...)
{
    va_list arguments;

    va_start(arguments, fields);
    assent_log_va(level, event, fields, arguments);
    va_end(arguments);
}
