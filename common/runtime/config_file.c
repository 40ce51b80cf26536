/*
 * config_file.c: the configuration file, read with libconfuse: `key = value`, lists in braces,
 * comments (#, //, and C's). Deliberately not here: what a value means (setting.c).
 *
 * libconfuse lets some mistakes pass in silence: an unset ${VARIABLE} is empty text, an unclosed
 * comment swallows the rest, stray characters vanish, a key given twice takes the last value, and
 * after comments its line numbers are too high. So the text goes through check_text() first, which
 * refuses those and replaces comments by blanks, and each key is counted.
 */
#include <confuse.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"
#include "setting.h"

#define FILE_BYTES_MAX (1 << 20)
#define SETTINGS_MAX   256

/* One reading. libconfuse's callbacks carry no context, so the one under way is kept here:
 * configuration is read by one thread. */
static struct reading {
    const struct assent_program *program;
    const char *path;
    void *options;
    struct assent_config_error *error;
    int first_line[SETTINGS_MAX]; /* where each setting was given; 0: not yet */
    unsigned items[SETTINGS_MAX]; /* values taken from the file */
} * reading;

struct scan {
    char *text;
    size_t size, at;
    int line;
};

static char peek(const struct scan *scan, size_t ahead)
{
    return scan->at + ahead < scan->size ? scan->text[scan->at + ahead] : '\0';
}

static void skip(struct scan *scan, bool blank)
{
    if (scan->text[scan->at] == '\n')
        scan->line++;
    else if (blank)
        scan->text[scan->at] = ' ';
    scan->at++;
}

static const char *check_comment(struct scan *scan)
{
    bool block = peek(scan, 0) == '/' && peek(scan, 1) == '*';
    int first_line = scan->line;

    if (!block) {
        while (scan->at < scan->size && peek(scan, 0) != '\n')
            skip(scan, true);
        return NULL;
    }
    skip(scan, true);
    skip(scan, true);
    while (scan->at < scan->size && !(peek(scan, 0) == '*' && peek(scan, 1) == '/'))
        skip(scan, true);
    if (scan->at == scan->size) {
        scan->line = first_line;
        return "this comment is not closed";
    }
    skip(scan, true);
    skip(scan, true);
    return NULL;
}

static const char *check_string(struct scan *scan, char quote)
{
    int first_line = scan->line;

    for (skip(scan, false); scan->at < scan->size; skip(scan, false)) {
        if (peek(scan, 0) == quote) {
            skip(scan, false);
            return NULL;
        }
        if (quote == '"' && peek(scan, 0) == '$' && peek(scan, 1) == '{')
            return "${...} is not replaced here; write \\${ or use single quotes";
        if (peek(scan, 0) != '\\' || scan->at + 1 == scan->size)
            continue;
        if (quote == '"' && strchr("\\\"ntr$\n", peek(scan, 1)) == NULL)
            return "unknown escape in double quotes (\\\\ \\\" \\n \\t \\r \\$ are known)";
        skip(scan, false);
    }
    scan->line = first_line;
    return "this string is not closed";
}

/* NULL, or what is wrong, at scan->line. Blanks out comments, keeping lines. */
static const char *check_text(struct scan *scan)
{
    const char *wrong = NULL;
    bool word = false; /* inside an unquoted word, where slashes are plain */

    if (memchr(scan->text, '\0', scan->size) != NULL) {
        while (peek(scan, 0) != '\0')
            skip(scan, false);
        return "a NUL byte; this is not a text file";
    }
    while (wrong == NULL && scan->at < scan->size) {
        char c = peek(scan, 0), next = peek(scan, 1);

        if (c == '#' || (!word && c == '/' && (next == '/' || next == '*')))
            wrong = check_comment(scan);
        else if (c == '"' || c == '\'')
            wrong = check_string(scan, c);
        else if (c == '$' && next == '{')
            wrong = "${...} is not replaced; use an environment variable ASSENT_<KEY>";
        else if (c == '*' || (c == '+' && next != '=') || (c == '\r' && next != '\n') ||
                 ((unsigned char)c < ' ' && strchr("\t\r\n", c) == NULL))
            wrong = "this character must stand in quotes";
        else
            skip(scan, false);
        word = wrong == NULL && scan->at > 0 &&
               strchr(" \t\r\n={}(),+\"'", scan->text[scan->at - 1]) == NULL;
    }
    return wrong;
}

static void report(cfg_t *cfg, const char *format, va_list arguments)
{
    char text[256];

    if (reading->error->text[0] != '\0')
        return; /* the first one is the cause */
    vsnprintf(text, sizeof(text), format, arguments);
    assent_config_fail(reading->error, "%s:%d: %s", reading->path, cfg->line, text);
}

/* The settings in the order of the table, without those that are flags only. */
static size_t setting_index(const char *key)
{
    size_t i = 0;

    while (strcmp(reading->program->settings[i].key, key) != 0)
        i++;
    return i;
}

static int take_value(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
    size_t index = setting_index(opt->name);
    const struct assent_setting *setting = &reading->program->settings[index];
    struct assent_config_error wrong = {""};

    *(const char **)result = text;
    /* nvalues is 1 again when a list was assigned anew; += goes on counting. */
    if (reading->first_line[index] != 0 &&
        (setting->type != ASSENT_SETTING_LIST || opt->nvalues == 1)) {
        assent_config_fail(reading->error, "%s:%d: %s was given already at line %d", reading->path,
                           cfg->line, opt->name, reading->first_line[index]);
        return -1;
    }
    if (reading->first_line[index] == 0) {
        reading->first_line[index] = cfg->line;
        if (setting->type == ASSENT_SETTING_LIST)
            assent_setting_clear(setting, reading->options);
    }
    reading->items[index]++;
    if (assent_setting_add(setting, reading->options, text, &wrong) != 0) {
        assent_config_fail(reading->error, "%s:%d: %s: %.300s", reading->path, cfg->line, opt->name,
                           wrong.text);
        return -1;
    }
    return 0;
}

/* Lists that were assigned but hold no item never reach take_value(). */
static int take_empty_lists(cfg_t *cfg)
{
    for (size_t i = 0; reading->program->settings[i].key != NULL; i++) {
        const struct assent_setting *setting = &reading->program->settings[i];
        cfg_opt_t *opt;

        if (setting->flag_only || setting->type != ASSENT_SETTING_LIST)
            continue;
        opt = cfg_getopt(cfg, setting->key);
        if (opt->nvalues != reading->items[i])
            return assent_config_fail(reading->error, "%s:%d: %s is given more than once",
                                      reading->path, reading->first_line[i], setting->key);
        if ((opt->flags & CFGF_MODIFIED) != 0 && opt->nvalues == 0)
            assent_setting_clear(setting, reading->options);
    }
    return 0;
}

static int parse(const char *text, size_t size)
{
    cfg_opt_t opts[SETTINGS_MAX + 1];
    cfg_t *cfg = NULL;
    FILE *stream = NULL;
    size_t count = 0;
    int result;

    for (const struct assent_setting *s = reading->program->settings; s->key != NULL; s++) {
        cfg_opt_t one = CFG_STR_CB(s->key, NULL, CFGF_NODEFAULT, take_value);
        cfg_opt_t many = CFG_STR_LIST_CB(s->key, NULL, CFGF_NODEFAULT, take_value);

        ASSENT_ASSERT(s - reading->program->settings < SETTINGS_MAX);
        if (!s->flag_only)
            opts[count++] = s->type == ASSENT_SETTING_LIST ? many : one;
    }
    opts[count] = (cfg_opt_t)CFG_END();
    cfg = cfg_init(opts, CFGF_NONE);
    stream = size == 0 ? NULL : fmemopen((void *)(uintptr_t)text, size, "r");
    if (cfg == NULL || (stream == NULL && size > 0)) {
        result = assent_config_fail(reading->error, "%s: out of memory", reading->path);
        goto out;
    }
    cfg_set_error_function(cfg, report);
    if (stream != NULL && cfg_parse_fp(cfg, stream) != CFG_SUCCESS) {
        if (reading->error->text[0] == '\0')
            assent_config_fail(reading->error, "%s:%d: cannot be understood", reading->path,
                               cfg->line);
        result = ASSENT_E_CONFIG;
        goto out;
    }
    result = take_empty_lists(cfg);
out:
    if (stream != NULL)
        fclose(stream);
    cfg_free(cfg);
    return result;
}

static int read_text(const char *path, char *text, size_t *ret_size,
                     struct assent_config_error *error)
{
    FILE *file = fopen(path, "re");
    size_t size;
    int result = 0;

    if (file == NULL)
        return assent_config_fail(error, "cannot read %.300s: %s", path, strerror(errno));
    size = fread(text, 1, FILE_BYTES_MAX + 1, file);
    if (ferror(file))
        result = assent_config_fail(error, "cannot read %.300s: %s", path, strerror(errno));
    else if (size > FILE_BYTES_MAX)
        result = assent_config_fail(error, "%.300s: longer than %d bytes", path, FILE_BYTES_MAX);
    else
        *ret_size = size;
    fclose(file);
    return result;
}

int assent_config_read_file(const struct assent_program *program, const char *path, void *options,
                            struct assent_config_error *error)
{
    struct reading now = {program, path, options, error, {0}, {0}};
    struct scan scan = {.text = malloc(FILE_BYTES_MAX + 1), .line = 1};
    const char *wrong;
    int result;

    if (scan.text == NULL)
        return assent_config_fail(error, "out of memory");
    result = read_text(path, scan.text, &scan.size, error);
    if (result != 0)
        goto out;
    wrong = check_text(&scan);
    if (wrong != NULL) {
        result = assent_config_fail(error, "%s:%d: %s", path, scan.line, wrong);
        goto out;
    }
    error->text[0] = '\0';
    reading = &now;
    result = parse(scan.text, scan.size);
    reading = NULL;
out:
    free(scan.text);
    return result;
}
