/*
 * setting.h: the pieces behind config.h. setting.c knows the types of values, config_file.c the
 * file's syntax, config_print.c what is shown to people, config.c the order of the sources.
 */
#ifndef ASSENT_SETTING_H
#define ASSENT_SETTING_H

#include <stdio.h>

#include "config.h"

/* A sentence about the first thing that is wrong; empty: nothing is. */
struct assent_config_error {
    char text[512];
};

__attribute__((format(printf, 2, 3))) int assent_config_fail(struct assent_config_error *error,
                                                             const char *format, ...);

/* Takes a value as text; for a list adds one item. 0, or ASSENT_E_CONFIG with what is wrong with
 * the value (the caller knows where it came from). */
ASSENT_CHECKED int assent_setting_add(const struct assent_setting *setting, void *options,
                                      const char *text, struct assent_config_error *error);
/* Frees what the setting holds; "", empty, 0 or false is left. */
void assent_setting_clear(const struct assent_setting *setting, void *options);
bool assent_setting_equal(const struct assent_setting *setting, const void *a, const void *b);
/* The value in the file's syntax. */
void assent_setting_print(const struct assent_setting *setting, const void *options, FILE *to);
/* A number as this setting writes it: 1500ms, 64K, 12. */
void assent_setting_format(const struct assent_setting *setting, uint64_t value, char *text,
                           size_t size);

/* Reads the file over what options hold. The error names file and line. */
ASSENT_CHECKED int assent_config_read_file(const struct assent_program *program, const char *path,
                                           void *options, struct assent_config_error *error);

void assent_config_print_help(const struct assent_program *program, FILE *to);
/* Every setting with its help as comments; --config reads it back to the same values. */
void assent_config_print_values(const struct assent_program *program, const void *options,
                                FILE *to);
/* The flag of a setting, without its dashes: data-dir. */
void assent_setting_flag(const struct assent_setting *setting, char *text, size_t size);

#endif
