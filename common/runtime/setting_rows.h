/*
 * setting_rows.h: short names for the rows of a program's table of settings. Whoever includes it
 * has defined SETTINGS_STRUCT as the type that holds the values; only the file of the table does.
 */
#ifndef ASSENT_SETTING_ROWS_H
#define ASSENT_SETTING_ROWS_H

#include <stddef.h>

#include "config.h"

#define STRING(key_, field, initial_, argument_, help_)                                            \
    {                                                                                              \
        .key = (key_), .type = ASSENT_SETTING_STRING, .offset = offsetof(SETTINGS_STRUCT, field),  \
        .initial = (initial_), .argument = (argument_), .help = (help_)                            \
    }
#define LIST(key_, field, argument_, help_)                                                        \
    {                                                                                              \
        .key = (key_), .type = ASSENT_SETTING_LIST, .offset = offsetof(SETTINGS_STRUCT, field),    \
        .initial = "", .argument = (argument_), .help = (help_)                                    \
    }
#define NUMBER(kind, key_, field, initial_, min_, max_, argument_, help_)                          \
    {                                                                                              \
        .key = (key_), .type = ASSENT_SETTING_##kind, .offset = offsetof(SETTINGS_STRUCT, field),  \
        .initial = (initial_), .min = (min_), .max = (max_), .argument = (argument_),              \
        .help = (help_)                                                                            \
    }
#define BOOL(key_, field, initial_, help_)                                                         \
    {                                                                                              \
        .key = (key_), .type = ASSENT_SETTING_BOOL, .offset = offsetof(SETTINGS_STRUCT, field),    \
        .initial = (initial_), .help = (help_)                                                     \
    }
#define DURATION(key, field, initial, min, max, help)                                              \
    NUMBER(DURATION, key, field, initial, min, max, "TIME", help)
#define SIZE(key, field, initial, min, max, help)                                                  \
    NUMBER(SIZE, key, field, initial, min, max, "BYTES", help)
#define COUNT(key, field, initial, min, max, help)                                                 \
    NUMBER(UINT, key, field, initial, min, max, "N", help)
#define CRASH_AT(field)                                                                            \
    {                                                                                              \
        .key = "crash_at", .type = ASSENT_SETTING_STRING,                                          \
        .offset = offsetof(SETTINGS_STRUCT, field), .initial = "", .argument = "POINT[:N]",        \
        .help = "tests: die at the Nth passage of a crash point; list prints them",                \
        .flag_only = true                                                                          \
    }

#define HOUR_MS (3600ull * 1000)
#define DAY_MS  (24 * HOUR_MS)
#define KIB     1024ull
#define MIB     (1024 * KIB)
#define GIB     (1024 * MIB)

#endif
