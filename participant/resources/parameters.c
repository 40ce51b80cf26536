/* parameters.c: named settings of a resource, see parameters.h. */
#include "parameters.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEPARATORS ", \t"
#define WORD_MAX   (ASSENT_PARAMETER_BYTES - 1)

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit sizes[] = {
    {"", 1}, {"K", 1ull << 10}, {"M", 1ull << 20}, {"G", 1ull << 30}, {"T", 1ull << 40}, {NULL, 0},
};
static const struct unit durations[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0},
};

static bool parse_number(const char *text, const struct unit *units, uint64_t *ret_value)
{
    unsigned long long number;
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    number = strtoull(text, &end, 10);
    if (errno != 0)
        return false;
    for (; units->name != NULL; units++)
        if (strcmp(units->name, end) == 0)
            return !__builtin_mul_overflow(number, units->factor, ret_value);
    return false;
}

static bool parse_choice(const char *text, const char *const *words, uint64_t *ret_value)
{
    for (uint64_t i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], text) == 0) {
            *ret_value = i;
            return true;
        }
    }
    return false;
}

static bool parse_value(const struct assent_parameter *parameter, const char *text)
{
    uint64_t value;

    switch (parameter->kind) {
    case ASSENT_PARAMETER_CHOICE:
        return parse_choice(text, parameter->words, parameter->value);
    case ASSENT_PARAMETER_TEXT:
        if (*text == '\0' || strlen(text) > parameter->max)
            return false;
        strcpy(parameter->text, text);
        return true;
    case ASSENT_PARAMETER_SIZE:
    case ASSENT_PARAMETER_DURATION:
        break;
    }
    if (!parse_number(text, parameter->kind == ASSENT_PARAMETER_SIZE ? sizes : durations, &value) ||
        value < parameter->min || value > parameter->max)
        return false;
    *parameter->value = value;
    return true;
}

/* One word of the text: "name=value". *given has a bit for each parameter seen. */
static int parse_word(const char *type, char *word, const struct assent_parameter *parameters,
                      size_t count, uint32_t *given, char *error, size_t error_size)
{
    char *value = strchr(word, '=');

    if (value != NULL)
        *value++ = '\0';
    for (size_t i = 0; i < count; i++) {
        if (strcmp(parameters[i].name, word) != 0)
            continue;
        if (value == NULL)
            snprintf(error, error_size, "%s: parameter \"%s\" has no value", type, word);
        else if (*given & 1u << i)
            snprintf(error, error_size, "%s: parameter \"%s\" is given twice", type, word);
        else if (!parse_value(&parameters[i], value))
            snprintf(error, error_size, "%s: parameter \"%s\" cannot be \"%s\"", type, word, value);
        else {
            *given |= 1u << i;
            return 0;
        }
        return ASSENT_E_CONFIG;
    }
    snprintf(error, error_size, "%s: unknown parameter \"%s\"", type, word);
    return ASSENT_E_CONFIG;
}

int assent_parameters_parse(const char *type, const char *text,
                            const struct assent_parameter *parameters, size_t count, char *error,
                            size_t error_size)
{
    uint32_t given = 0;
    char word[WORD_MAX + 1];
    int r = 0;

    while (r == 0 && *(text += strspn(text, SEPARATORS)) != '\0') {
        size_t size = strcspn(text, SEPARATORS);

        snprintf(word, sizeof(word), "%.*s", (int)(size < WORD_MAX ? size : WORD_MAX), text);
        r = parse_word(type, word, parameters, count, &given, error, error_size);
        text += size;
    }
    return r;
}
