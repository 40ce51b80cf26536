/*
 * config.c: settings from their sources, in rising order: default, file, environment, flag. A list
 * from a higher source replaces that of a lower one whole. Deliberately not here: rules that span
 * settings (the program's own), syntax of the file (config_file.c) and of values (setting.c).
 */
#include "config.h"

#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime.h"
#include "setting.h"

#define KEY_BYTES_MAX 64

enum verb { RUN, HELP, VERSION, CHECK, PRINT };

/* What the flags say, before it is applied: the file and the environment come first. */
struct flags {
    struct given {
        const struct assent_setting *setting;
        const char *value;
    } * given;
    size_t given_count;
    const char *config_path;
    enum verb verb;
};

/* getopt_long's table: one row per setting, then the verbs. */
static const struct option verbs[] = {
    {"config", required_argument, NULL, 0},     {"help", no_argument, NULL, HELP},
    {"version", no_argument, NULL, VERSION},    {"check-config", no_argument, NULL, CHECK},
    {"print-config", no_argument, NULL, PRINT},
};
#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

static size_t setting_count(const struct assent_program *program)
{
    size_t count = 0;

    while (program->settings[count].key != NULL)
        count++;
    return count;
}

static void take_flag(const struct assent_program *program, struct flags *flags, size_t count,
                      int index, const char *value)
{
    if ((size_t)index < count) {
        flags->given[flags->given_count].setting = &program->settings[index];
        flags->given[flags->given_count++].value = value != NULL ? value : "true";
    } else if (verbs[(size_t)index - count].val == 0) {
        flags->config_path = value;
    } else if (flags->verb == RUN || verbs[(size_t)index - count].val < (int)flags->verb) {
        /* Help and version are served before anything else is looked at. */
        flags->verb = (enum verb)verbs[(size_t)index - count].val;
    }
}

/* Reads argv with the rows of table into flags. */
static int scan_flags(const struct assent_program *program, int argc, char **argv,
                      const struct option *table, size_t count, struct flags *flags,
                      struct assent_config_error *error)
{
    optind = 0; /* glibc: start afresh */
    opterr = 0;
    for (;;) {
        int at = optind == 0 ? 1 : optind, index = -1;
        /* '+': argv keeps its order, so argv[at] is the flag under way. */
        int result = getopt_long(argc, argv, "+:", table, &index);
        const char *flag = at < argc ? argv[at] : "";

        if (result == -1)
            break;
        if (result == ':')
            return assent_config_fail(error, "flag %.100s needs a value", flag);
        if (result == '?' && strchr(flag, '=') != NULL && optopt != 0)
            return assent_config_fail(error, "flag %.*s takes no value", (int)strcspn(flag, "="),
                                      flag);
        /* getopt takes any clear beginning of a name, which another flag may make unclear one
         * day; so only whole names are taken. */
        if (result == '?' || index < 0 || strncmp(flag, "--", 2) != 0 ||
            strcspn(flag + 2, "=") != strlen(table[index].name))
            return assent_config_fail(error, "unknown flag %.100s; see --help", flag);
        take_flag(program, flags, count, index, optarg);
    }
    if (optind < argc)
        return assent_config_fail(error, "unexpected argument '%.100s'; see --help", argv[optind]);
    return 0;
}

static int read_flags(const struct assent_program *program, int argc, char **argv,
                      struct flags *flags, struct assent_config_error *error)
{
    size_t count = setting_count(program);
    struct option *table = calloc(count + VERB_COUNT + 1, sizeof(*table));
    char(*names)[KEY_BYTES_MAX] = calloc(count + 1, sizeof(*names));
    int result;

    flags->given = calloc((size_t)argc + 1, sizeof(*flags->given));
    if (table == NULL || names == NULL || flags->given == NULL) {
        result = assent_config_fail(error, "out of memory");
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        bool is_bool = program->settings[i].type == ASSENT_SETTING_BOOL;

        ASSENT_ASSERT(strlen(program->settings[i].key) < KEY_BYTES_MAX);
        assent_setting_flag(&program->settings[i], names[i], sizeof(names[i]));
        table[i] =
            (struct option){names[i], is_bool ? optional_argument : required_argument, NULL, 0};
    }
    memcpy(table + count, verbs, sizeof(verbs));
    result = scan_flags(program, argc, argv, table, count, flags, error);
out:
    free(table);
    free(names);
    return result;
}

/* Gives a setting the text of one source in place of what it had. Items of a list are lines. */
static int replace(const struct assent_setting *setting, void *options, const char *text,
                   struct assent_config_error *error)
{
    char *copy, *at, *line;
    int result = 0;

    if (setting->type != ASSENT_SETTING_LIST)
        return assent_setting_add(setting, options, text, error);
    assent_setting_clear(setting, options);
    copy = strdup(text);
    if (copy == NULL)
        return assent_config_fail(error, "out of memory");
    at = copy;
    while (result == 0 && (line = strsep(&at, "\n")) != NULL)
        if (line[0] != '\0')
            result = assent_setting_add(setting, options, line, error);
    free(copy);
    return result;
}

static void apply_defaults(const struct assent_program *program, void *options)
{
    for (const struct assent_setting *s = program->settings; s->key != NULL; s++) {
        bool text = s->type == ASSENT_SETTING_STRING;
        struct assent_config_error error = {""};

        if (s->initial == NULL && !text)
            continue;
        if (replace(s, options, s->initial == NULL ? "" : s->initial, &error) != 0)
            assent_panic(ASSENT_EXIT_RUNTIME, "bad_default", "key=%s error=%s", s->key,
                         assent_log_quote(error.text));
    }
}

static int apply_environment(const struct assent_program *program, void *options,
                             struct assent_config_error *error)
{
    for (const struct assent_setting *s = program->settings; s->key != NULL; s++) {
        struct assent_config_error wrong = {""};
        char name[KEY_BYTES_MAX + sizeof("ASSENT_")];
        const char *text;

        if (s->flag_only)
            continue;
        snprintf(name, sizeof(name), "ASSENT_%s", s->key);
        for (char *c = name; *c != '\0'; c++)
            *c = (char)toupper((unsigned char)*c);
        text = getenv(name);
        if (text != NULL && replace(s, options, text, &wrong) != 0)
            return assent_config_fail(error, "%s: %.400s", name, wrong.text);
    }
    return 0;
}

static int apply_flags(const struct flags *flags, void *options, struct assent_config_error *error)
{
    for (size_t i = 0; i < flags->given_count; i++) {
        const struct assent_setting *setting = flags->given[i].setting;
        struct assent_config_error wrong = {""};
        char name[KEY_BYTES_MAX];
        bool first = true;

        for (size_t k = 0; k < i; k++)
            first = first && flags->given[k].setting != setting;
        if (first && setting->type == ASSENT_SETTING_LIST)
            assent_setting_clear(setting, options);
        if (setting->type == ASSENT_SETTING_LIST && flags->given[i].value[0] == '\0')
            continue; /* --resource= empties the list */
        if (assent_setting_add(setting, options, flags->given[i].value, &wrong) != 0) {
            assent_setting_flag(setting, name, sizeof(name));
            return assent_config_fail(error, "--%s: %.400s", name, wrong.text);
        }
    }
    return 0;
}

/* Every source in its order. On failure options are empty again. */
static int load(const struct assent_program *program, int argc, char **argv, void *options,
                enum verb *ret_verb, struct assent_config_error *error)
{
    struct flags flags = {.verb = RUN};
    int result = read_flags(program, argc, argv, &flags, error);

    if (result == 0 && flags.verb != HELP && flags.verb != VERSION) {
        apply_defaults(program, options);
        if (flags.config_path != NULL)
            result = assent_config_read_file(program, flags.config_path, options, error);
        if (result == 0)
            result = apply_environment(program, options, error);
        if (result == 0)
            result = apply_flags(&flags, options, error);
    }
    if (result == 0)
        *ret_verb = flags.verb;
    else
        assent_config_fini(program, options);
    free(flags.given);
    return result;
}

enum assent_config_verdict assent_config_load(const struct assent_program *program, int argc,
                                              char **argv, void *options)
{
    struct assent_config_error error = {""};
    enum verb verb;

    if (load(program, argc, argv, options, &verb, &error) != 0) {
        fprintf(stderr, "%s: %s\n", program->name, error.text);
        return ASSENT_CONFIG_BAD;
    }
    switch (verb) {
    case RUN:
        return ASSENT_CONFIG_RUN;
    case HELP:
        assent_config_print_help(program, stdout);
        break;
    case VERSION:
        printf("%s %s\n", program->name, ASSENT_VERSION);
        break;
    case CHECK:
        puts("configuration is valid");
        break;
    case PRINT:
        assent_config_print_values(program, options, stdout);
        break;
    }
    assent_config_fini(program, options);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "%s: cannot write to standard output\n", program->name);
        return ASSENT_CONFIG_BAD;
    }
    return ASSENT_CONFIG_EXIT;
}

void assent_config_fini(const struct assent_program *program, void *options)
{
    for (const struct assent_setting *s = program->settings; s->key != NULL; s++)
        assent_setting_clear(s, options);
}

int assent_config_reload(const struct assent_program *program, int argc, char **argv, void *options)
{
    struct assent_config_error error = {""};
    enum verb verb;
    int result = load(program, argc, argv, options, &verb, &error);

    if (result != 0)
        assent_log(ASSENT_LOG_ERROR, "config_invalid", "error=%s", assent_log_quote(error.text));
    return result;
}

void assent_config_diff(const struct assent_program *program, const void *before, const void *after,
                        void (*changed)(const char *key, void *context), void *context)
{
    for (const struct assent_setting *s = program->settings; s->key != NULL; s++)
        if (!assent_setting_equal(s, before, after))
            changed(s->key, context);
}
