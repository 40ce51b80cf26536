/*
 * setting.c: values of settings: from text within their bounds, compared, printed so that they
 * read back the same. Deliberately not here: where the text comes from.
 */
#include "setting.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* From small to large. */
static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0},
};
static const struct unit size_units[] = {
    {"", 1}, {"K", 1ull << 10}, {"M", 1ull << 20}, {"G", 1ull << 30}, {"T", 1ull << 40}, {NULL, 0},
};

int assent_config_fail(struct assent_config_error *error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    return ASSENT_E_CONFIG;
}

static void *field(const struct assent_setting *setting, void *options)
{
    return (char *)options + setting->offset;
}

static const void *const_field(const struct assent_setting *setting, const void *options)
{
    return (const char *)options + setting->offset;
}

void assent_setting_format(const struct assent_setting *setting, uint64_t value, char *text,
                           size_t size)
{
    const struct unit *units = setting->type == ASSENT_SETTING_DURATION ? duration_units
                               : setting->type == ASSENT_SETTING_SIZE   ? size_units
                                                                        : NULL;
    const struct unit *best = units;

    if (units == NULL) {
        snprintf(text, size, "%" PRIu64, value);
        return;
    }
    for (const struct unit *unit = units; unit->name != NULL; unit++)
        if (value != 0 && value % unit->factor == 0)
            best = unit;
    snprintf(text, size, "%" PRIu64 "%s", value / best->factor, best->name);
}

/* Digits, then one of the units (NULL: none may follow). */
static bool parse_number(const char *text, const struct unit *units, uint64_t *ret_value)
{
    size_t digits = strspn(text, "0123456789");
    const char *rest = text + digits;
    uint64_t value;

    if (digits == 0)
        return false;
    errno = 0;
    value = strtoull(text, NULL, 10);
    if (errno != 0)
        return false;
    if (*rest == '\0' && (units == NULL || value == 0)) {
        *ret_value = value;
        return true;
    }
    for (; units != NULL && units->name != NULL; units++)
        if (strcmp(rest, units->name) == 0)
            return !__builtin_mul_overflow(value, units->factor, ret_value);
    return false;
}

static int set_number(const struct assent_setting *setting, void *options, const char *text,
                      struct assent_config_error *error)
{
    const struct unit *units = NULL;
    const char *wanted = "a whole number";
    char min[32], max[32];
    uint64_t value;

    if (setting->type == ASSENT_SETTING_DURATION) {
        units = duration_units;
        wanted = "a duration with its unit, like 500ms, 10s, 5m, 24h or 7d";
    } else if (setting->type == ASSENT_SETTING_SIZE) {
        units = size_units;
        wanted = "a size in bytes, like 4096, 64K, 16M or 4G";
    }
    if (!parse_number(text, units, &value))
        return assent_config_fail(error, "'%.100s' is not %s", text, wanted);
    assent_setting_format(setting, setting->min, min, sizeof(min));
    assent_setting_format(setting, setting->max, max, sizeof(max));
    if (setting->max != 0 && (value < setting->min || value > setting->max))
        return assent_config_fail(error, "'%.100s' is not from %s to %s", text, min, max);
    if (value < setting->min)
        return assent_config_fail(error, "'%.100s' is less than %s", text, min);
    *(uint64_t *)field(setting, options) = value;
    return 0;
}

static int set_bool(const struct assent_setting *setting, void *options, const char *text,
                    struct assent_config_error *error)
{
    static const char *const words[][2] = {{"true", "false"}, {"yes", "no"}, {"on", "off"}};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        for (int no = 0; no < 2; no++) {
            if (strcasecmp(text, words[i][no]) == 0) {
                *(bool *)field(setting, options) = no == 0;
                return 0;
            }
        }
    }
    return assent_config_fail(error, "'%.100s' is not true or false", text);
}

static int add_item(struct assent_list *list, char *item)
{
    char **items = realloc(list->items, (list->count + 1) * sizeof(*items));

    if (items == NULL)
        return ASSENT_E_NOMEM;
    items[list->count++] = item;
    list->items = items;
    return 0;
}

int assent_setting_add(const struct assent_setting *setting, void *options, const char *text,
                       struct assent_config_error *error)
{
    char *copy;

    switch (setting->type) {
    case ASSENT_SETTING_UINT:
    case ASSENT_SETTING_DURATION:
    case ASSENT_SETTING_SIZE:
        return set_number(setting, options, text, error);
    case ASSENT_SETTING_BOOL:
        return set_bool(setting, options, text, error);
    case ASSENT_SETTING_STRING:
    case ASSENT_SETTING_LIST:
        break;
    }
    copy = strdup(text);
    if (copy == NULL)
        return assent_config_fail(error, "out of memory");
    if (setting->type == ASSENT_SETTING_LIST) {
        if (add_item(field(setting, options), copy) == 0)
            return 0;
        free(copy);
        return assent_config_fail(error, "out of memory");
    }
    free(*(char **)field(setting, options));
    *(char **)field(setting, options) = copy;
    return 0;
}

void assent_setting_clear(const struct assent_setting *setting, void *options)
{
    struct assent_list *list;

    switch (setting->type) {
    case ASSENT_SETTING_UINT:
    case ASSENT_SETTING_DURATION:
    case ASSENT_SETTING_SIZE:
        *(uint64_t *)field(setting, options) = 0;
        return;
    case ASSENT_SETTING_BOOL:
        *(bool *)field(setting, options) = false;
        return;
    case ASSENT_SETTING_STRING:
        free(*(char **)field(setting, options));
        *(char **)field(setting, options) = NULL;
        return;
    case ASSENT_SETTING_LIST:
        list = field(setting, options);
        for (size_t i = 0; i < list->count; i++)
            free(list->items[i]);
        free(list->items);
        *list = (struct assent_list){0};
        return;
    }
}

bool assent_setting_equal(const struct assent_setting *setting, const void *a, const void *b)
{
    const void *one = const_field(setting, a), *two = const_field(setting, b);
    const struct assent_list *list = one, *other = two;

    switch (setting->type) {
    case ASSENT_SETTING_UINT:
    case ASSENT_SETTING_DURATION:
    case ASSENT_SETTING_SIZE:
        return *(const uint64_t *)one == *(const uint64_t *)two;
    case ASSENT_SETTING_BOOL:
        return *(const bool *)one == *(const bool *)two;
    case ASSENT_SETTING_STRING:
        return strcmp(*(char *const *)one, *(char *const *)two) == 0;
    case ASSENT_SETTING_LIST:
        for (size_t i = 0; i < list->count && i < other->count; i++)
            if (strcmp(list->items[i], other->items[i]) != 0)
                return false;
        return list->count == other->count;
    }
    return false;
}

/* Single quotes: nothing inside is special but the quote and the backslash. */
static void print_quoted(const char *text, FILE *to)
{
    fputc('\'', to);
    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\')
            fputc('\\', to);
        fputc(*text, to);
    }
    fputc('\'', to);
}

void assent_setting_print(const struct assent_setting *setting, const void *options, FILE *to)
{
    const void *value = const_field(setting, options);
    const struct assent_list *list = value;
    char text[32];

    switch (setting->type) {
    case ASSENT_SETTING_UINT:
    case ASSENT_SETTING_DURATION:
    case ASSENT_SETTING_SIZE:
        assent_setting_format(setting, *(const uint64_t *)value, text, sizeof(text));
        fputs(text, to);
        return;
    case ASSENT_SETTING_BOOL:
        fputs(*(const bool *)value ? "true" : "false", to);
        return;
    case ASSENT_SETTING_STRING:
        print_quoted(*(char *const *)value, to);
        return;
    case ASSENT_SETTING_LIST:
        fputc('{', to);
        for (size_t i = 0; i < list->count; i++) {
            fputs(i == 0 ? "" : ", ", to);
            print_quoted(list->items[i], to);
        }
        fputc('}', to);
        return;
    }
}
