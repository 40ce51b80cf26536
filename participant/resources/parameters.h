/*
 * parameters.h: what follows "TYPE:" of a resource that takes named settings: `map=1G,delay=10ms`,
 * separated by commas or blanks. Each may be given once; anything else is an error by name.
 */
#ifndef ASSENT_PARAMETERS_H
#define ASSENT_PARAMETERS_H

#include "assent/types.h"

#define ASSENT_PARAMETER_BYTES 4096 /* of one setting: name, value, NUL */

enum assent_parameter_kind {
    ASSENT_PARAMETER_SIZE,     /* bytes: 4096, 64K, 256M, 1G */
    ASSENT_PARAMETER_DURATION, /* milliseconds: 500ms, 2s, 5m, 1h */
    ASSENT_PARAMETER_CHOICE,   /* the index of a word */
    ASSENT_PARAMETER_TEXT,     /* as it is; separators cannot be in it */
};

struct assent_parameter {
    const char *name;
    enum assent_parameter_kind kind;
    uint64_t *value;          /* holds the default, and is left alone if not given */
    uint64_t min, max;        /* SIZE, DURATION; TEXT: most bytes, below ASSENT_PARAMETER_BYTES */
    const char *const *words; /* CHOICE: ends with NULL */
    char *text;               /* TEXT, in place of value: max + 1 bytes */
};

/* 0, or ASSENT_E_CONFIG with a sentence that names the resource's type and the parameter. */
ASSENT_CHECKED int assent_parameters_parse(const char *type, const char *text,
                                           const struct assent_parameter *parameters, size_t count,
                                           char *error, size_t error_size);

#endif
