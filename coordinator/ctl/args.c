/*
 * args.c: the command line. Global options may stand anywhere; the words up to the command's name
 * are read first, then the rest with the command's own options beside the global ones.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

#define LONG_OPTIONS_MAX 32
#define COMMAND_OPTION   256 /* getopt's value of the command's first option */

static const struct option global_options[] = {
    {"host", required_argument, NULL, 'H'},
    {"output", required_argument, NULL, 'o'},
    {"timeout", required_argument, NULL, 't'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};
#define GLOBAL_COUNT (sizeof(global_options) / sizeof(global_options[0]) - 1)

int ctl_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
    char *end;
    unsigned long long value;

    if (*text < '0' || *text > '9')
        return -1;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || *end || value < min || value > max)
        return -1;
    *ret_value = value;
    return 0;
}

int ctl_parse_duration(const char *text, uint32_t *ret_ms)
{
    static const struct {
        const char *unit;
        uint32_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}};
    char digits[11];
    size_t length = strspn(text, "0123456789");
    uint64_t value;

    if (length == 0 || length >= sizeof(digits))
        return -1;
    memcpy(digits, text, length);
    digits[length] = '\0';
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(text + length, units[i].unit) != 0)
            continue;
        if (ctl_parse_number(digits, 1, UINT32_MAX / units[i].ms, &value))
            return -1;
        *ret_ms = (uint32_t)value * units[i].ms;
        return 0;
    }
    return -1;
}

static int take_global(struct ctl *ctl, int option, const char *value)
{
    switch (option) {
    case 'H':
        ctl->address = value;
        return 0;
    case 'o':
        if (strcmp(value, "json") != 0 && strcmp(value, "table") != 0) {
            ctl_error(ctl, "--output is table or json, not \"%s\"", value);
            return -1;
        }
        ctl->json = strcmp(value, "json") == 0;
        return 0;
    case 't':
        if (ctl_parse_duration(value, &ctl->timeout_ms)) {
            ctl_error(ctl,
                      "--timeout needs a duration with its unit, as 500ms, 10s or 5m, not \"%s\"",
                      value);
            return -1;
        }
        return 0;
    case 'h':
        ctl->help = true;
        return 0;
    default:
        return -1;
    }
}

static int say_bad_option(struct ctl *ctl, char **argv, int value)
{
    const char *given = argv[optind - 1];

    if (value == ':')
        ctl_error(ctl, "option %s needs a value", given);
    else if (optopt && optopt < COMMAND_OPTION)
        ctl_error(ctl, "unknown option -%c", optopt);
    else
        ctl_error(ctl, "unknown option %s", given);
    return -1;
}

static int parse_globals(struct ctl *ctl, int argc, char **argv)
{
    int value;

    optind = 0;
    while ((value = getopt_long(argc, argv, "+:H:o:t:h", global_options, NULL)) != -1) {
        if (value == '?' || value == ':')
            return say_bad_option(ctl, argv, value);
        if (take_global(ctl, value, optarg))
            return -1;
    }
    return 0;
}

static size_t long_options(const struct ctl_command *command, struct option *table)
{
    size_t count = 0;

    for (const struct ctl_option *option = command->options;
         option && option->name && GLOBAL_COUNT + count + 1 < LONG_OPTIONS_MAX; option++) {
        table[count] =
            (struct option){option->name, option->argument ? required_argument : no_argument, NULL,
                            COMMAND_OPTION + (int)count};
        count++;
    }
    memcpy(table + count, global_options, sizeof(global_options));
    return count;
}

static int take_option(struct ctl *ctl, struct ctl_args *args, const struct ctl_option *option,
                       const char *value)
{
    if (!option->repeated && ctl_given(args, option->name)) {
        ctl_error(ctl, "option --%s is given twice", option->name);
        return -1;
    }
    if (args->given_count == CTL_OPTIONS_MAX) {
        ctl_error(ctl, "more than %d options", CTL_OPTIONS_MAX);
        return -1;
    }
    args->given[args->given_count].name = option->name;
    args->given[args->given_count++].value = value ? value : "";
    return 0;
}

static int parse_command(struct ctl *ctl, int argc, char **argv, struct ctl_args *args)
{
    struct option table[LONG_OPTIONS_MAX + 1];
    int value;

    long_options(args->command, table);
    optind = 0;
    while ((value = getopt_long(argc, argv, ":H:o:t:h", table, NULL)) != -1) {
        if (value == '?' || value == ':')
            return say_bad_option(ctl, argv, value);
        if (value >= COMMAND_OPTION) {
            if (take_option(ctl, args, &args->command->options[value - COMMAND_OPTION], optarg))
                return -1;
        } else if (take_global(ctl, value, optarg)) {
            return -1;
        }
    }
    args->words = argv + optind;
    args->word_count = (size_t)(argc - optind);
    return 0;
}

static int check_complete(struct ctl *ctl, const struct ctl_args *args)
{
    const struct ctl_command *command = args->command;

    if (args->word_count > command->words_max) {
        ctl_error(ctl, "unexpected \"%s\"", args->words[command->words_max]);
        return -1;
    }
    if (args->word_count < command->words_min) {
        ctl_error(ctl, "%s%s%s needs %s", command->noun, command->verb ? " " : "",
                  command->verb ? command->verb : "", command->words);
        return -1;
    }
    for (const struct ctl_option *option = command->options; option && option->name; option++)
        if (option->required && !ctl_given(args, option->name)) {
            ctl_error(ctl, "%s%s%s needs --%s %s", command->noun, command->verb ? " " : "",
                      command->verb ? command->verb : "", option->name, option->argument);
            return -1;
        }
    return 0;
}

int ctl_parse(struct ctl *ctl, int argc, char **argv, struct ctl_args *ret_args)
{
    int skip;

    *ret_args = (struct ctl_args){0};
    if (parse_globals(ctl, argc, argv))
        return -1;
    argc -= optind;
    argv += optind;
    if (argc > 0 && strcmp(argv[0], "help") == 0) {
        ctl->help = true;
        argc--;
        argv++;
    }
    if (argc == 0) {
        if (ctl->help)
            return 0;
        ctl_error(ctl, "no command; see assentctl --help");
        return -1;
    }
    ret_args->command = ctl_find(argv[0], argc > 1 ? argv[1] : NULL);
    if (!ret_args->command) {
        ctl_error(ctl, "no command \"%s%s%s\"; see assentctl --help", argv[0], argc > 1 ? " " : "",
                  argc > 1 ? argv[1] : "");
        return -1;
    }
    /* getopt starts at the word after argv[0], which here is the last word of the name. */
    skip = ret_args->command->verb ? 1 : 0;
    if (parse_command(ctl, argc - skip, argv + skip, ret_args))
        return -1;
    return ctl->help ? 0 : check_complete(ctl, ret_args);
}

const char *ctl_given_nth(const struct ctl_args *args, const char *name, size_t n)
{
    for (size_t i = 0; i < args->given_count; i++)
        if (strcmp(args->given[i].name, name) == 0 && n-- == 0)
            return args->given[i].value;
    return NULL;
}

const char *ctl_given(const struct ctl_args *args, const char *name)
{
    return ctl_given_nth(args, name, 0);
}
