/*
 * config_print.c: --help and --print-config, both made from the table of settings, so that they
 * cannot differ from what the program takes.
 */
#include "setting.h"

#include <stdlib.h>
#include <string.h>

#define WIDTH 80

void assent_setting_flag(const struct assent_setting *setting, char *text, size_t size)
{
    snprintf(text, size, "%s", setting->key);
    for (char *c = text; *c != '\0'; c++)
        if (*c == '_')
            *c = '-';
}

/* Fills lines of WIDTH with the words of text, each line after prefix. */
static void print_wrapped(FILE *to, const char *prefix, const char *text)
{
    size_t column = 0;

    while (*text != '\0') {
        size_t blanks = strspn(text, " "), word = strcspn(text + blanks, " ");

        if (column == 0 || column + 1 + word > WIDTH) {
            fprintf(to, "%s%s", column == 0 ? "" : "\n", prefix);
            column = strlen(prefix);
        } else {
            fputc(' ', to);
            column++;
        }
        fwrite(text + blanks, 1, word, to);
        column += word;
        text += blanks + word;
    }
    fputc('\n', to);
}

/* The help with default and bounds. */
static void print_description(FILE *to, const char *prefix, const struct assent_setting *setting)
{
    char text[1024], min[32], max[32];
    bool number = setting->type == ASSENT_SETTING_UINT ||
                  setting->type == ASSENT_SETTING_DURATION || setting->type == ASSENT_SETTING_SIZE;
    size_t used;

    used = (size_t)snprintf(text, 800, "%s", setting->help);
    if (used >= 800)
        used = 799;
    assent_setting_format(setting, setting->min, min, sizeof(min));
    assent_setting_format(setting, setting->max, max, sizeof(max));
    if (setting->initial != NULL && setting->initial[0] != '\0')
        used += (size_t)snprintf(text + used, sizeof(text) - used, " (default %.100s%s",
                                 setting->initial, number && setting->max != 0 ? "" : ")");
    else if (number && setting->max != 0)
        used += (size_t)snprintf(text + used, sizeof(text) - used, " (default 0");
    if (number && setting->max != 0)
        snprintf(text + used, sizeof(text) - used, "; from %s to %s)", min, max);
    print_wrapped(to, prefix, text);
}

void assent_config_print_help(const struct assent_program *program, FILE *to)
{
    fprintf(to, "Usage: %s [FLAG...]\n\n", program->name);
    print_wrapped(to, "", program->summary);
    fputc('\n', to);
    for (const struct assent_setting *s = program->settings; s->key != NULL; s++) {
        char flag[64];

        assent_setting_flag(s, flag, sizeof(flag));
        if (s->type == ASSENT_SETTING_BOOL)
            fprintf(to, "  --%s[=no]\n", flag);
        else
            fprintf(to, "  --%s %s%s\n", flag, s->argument,
                    s->type == ASSENT_SETTING_LIST ? " (may be repeated)" : "");
        print_description(to, "        ", s);
    }
    fputs("  --config FILE\n"
          "        Read settings from FILE.\n"
          "  --check-config\n"
          "        Check the settings from file, environment and flags, and exit.\n"
          "  --print-config\n"
          "        Print the settings as a configuration file, and exit.\n"
          "  --version\n"
          "        Print the version, and exit.\n"
          "  --help\n"
          "        Print this, and exit.\n"
          "\n",
          to);
    print_wrapped(to, "",
                  "In the file a setting is written key = value, with _ for - in its key; in the "
                  "environment it is ASSENT_KEY. A flag stands over the environment, the "
                  "environment over the file. A list in the environment has one item on each "
                  "line.");
}

void assent_config_print_values(const struct assent_program *program, const void *options, FILE *to)
{
    for (const struct assent_setting *s = program->settings; s->key != NULL; s++) {
        if (s->flag_only)
            continue;
        print_description(to, "# ", s);
        fprintf(to, "%s = ", s->key);
        assent_setting_print(s, options, to);
        fputs("\n\n", to);
    }
}
