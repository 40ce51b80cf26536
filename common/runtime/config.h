/*
 * config.h: one table per program gives configuration file, environment, flags, help and
 * --print-config. A setting's value comes from, in rising order: default, file, environment
 * ASSENT_<KEY>, flag. An unknown key or a bad value is an error that names file and line,
 * variable or flag. A list from a higher source replaces the lower one's whole; its default and
 * its environment variable have one item on each line; an empty flag (--resource=) empties it.
 */
#ifndef ASSENT_CONFIG_H
#define ASSENT_CONFIG_H

#include <stdio.h>

#include "assent/types.h"

enum assent_setting_type {
    ASSENT_SETTING_STRING,   /* char *, owned by the config; never NULL */
    ASSENT_SETTING_UINT,     /* uint64_t with min and max */
    ASSENT_SETTING_DURATION, /* uint64_t of ms; text like 500ms, 10s, 5m, 24h, 7d */
    ASSENT_SETTING_SIZE,     /* uint64_t of bytes; text like 64K, 16M, 4G */
    ASSENT_SETTING_BOOL,     /* bool; true/false/yes/no/on/off */
    ASSENT_SETTING_LIST,     /* struct assent_list; flag may be repeated, file: key = {"a", "b"} */
};

struct assent_list {
    char **items;
    size_t count;
};

struct assent_setting {
    const char *key; /* as in the file: data_dir; the flag is --data-dir, ASSENT_DATA_DIR */
    enum assent_setting_type type;
    size_t offset;        /* offsetof the field in the program's options struct */
    const char *initial;  /* default, as text */
    uint64_t min, max;    /* UINT, DURATION, SIZE; both 0: no bound */
    const char *argument; /* name in help: DIR */
    const char *help;
    bool flag_only; /* not in the file or environment (crash-at) */
};

struct assent_program {
    const char *name;
    const char *summary;
    const struct assent_setting *settings; /* ends with key == NULL */
};

enum assent_config_verdict {
    ASSENT_CONFIG_RUN,  /* options are complete */
    ASSENT_CONFIG_EXIT, /* --help, --version, --print-config or --check-config was served */
    ASSENT_CONFIG_BAD,  /* the error has been printed to stderr; exit with 2 */
};

/* Fills options (zeroed by the caller). Also understands --config F, --check-config,
 * --print-config, --version, --help. Prints what those print to stdout. */
enum assent_config_verdict assent_config_load(const struct assent_program *program, int argc,
                                              char **argv, void *options);
/* Frees the strings and lists in options. */
void assent_config_fini(const struct assent_program *program, void *options);
/* Reads the file and environment again into fresh options (zeroed by caller) for a reload on HUP;
 * 0 or ASSENT_E_CONFIG with the error logged. argc/argv as given at start. */
ASSENT_CHECKED int assent_config_reload(const struct assent_program *program, int argc, char **argv,
                                        void *options);
/* Calls changed(key) for each setting whose value differs between two options structs. */
void assent_config_diff(const struct assent_program *program, const void *before, const void *after,
                        void (*changed)(const char *key, void *context), void *context);

#endif
