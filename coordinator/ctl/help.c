/* help.c: the help texts, generated from the table of commands. */
#include <string.h>

#include "ctl.h"

static void print_options(FILE *out, const struct ctl_option *options)
{
    for (const struct ctl_option *option = options; option && option->name; option++) {
        char left[64];

        snprintf(left, sizeof(left), "--%s%s%s", option->name, option->argument ? " " : "",
                 option->argument ? option->argument : "");
        fprintf(out, "  %-26s %s%s%s\n", left, option->help, option->required ? " (required)" : "",
                option->repeated ? " (repeatable)" : "");
    }
}

static void print_globals(FILE *out)
{
    fputs(
        "\nEverywhere:\n"
        "  -H, --host ADDR            the coordinator (default $ASSENT_HOST or " CTL_DEFAULT_ADDRESS
        ")\n"
        "  -o, --output table|json    how to print (default table)\n"
        "  -t, --timeout DURATION     longest wait for an answer, as 500ms, 10s, 5m (default 60s)\n"
        "  -h, --help                 this text, or a command's\n",
        out);
}

void ctl_help(FILE *out)
{
    fputs("assentctl: the operator's tool for an Assent coordinator\n\n"
          "Usage: assentctl [OPTION...] NOUN VERB [ARGUMENT...]\n\n"
          "Commands:\n",
          out);
    for (const struct ctl_command *const *at = ctl_commands; *at; at++) {
        char name[64];

        snprintf(name, sizeof(name), "%s%s%s", (*at)->noun, (*at)->verb ? " " : "",
                 (*at)->verb ? (*at)->verb : "");
        fprintf(out, "  %-26s %s\n", name, (*at)->summary);
    }
    print_globals(out);
    fputs("\nExit status: 0 done, 1 server error, 2 usage, 3 cannot connect, 4 no such object,\n"
          "5 unhealthy or damaged, 6 refused without force, 7 aborted, 8 outcome unknown.\n",
          out);
}

void ctl_help_command(FILE *out, const struct ctl_command *command)
{
    fprintf(out, "Usage: assentctl [OPTION...] %s%s%s%s%s", command->noun, command->verb ? " " : "",
            command->verb ? command->verb : "", command->words[0] ? " " : "", command->words);
    for (const struct ctl_option *option = command->options; option && option->name; option++)
        fprintf(out, " %s--%s%s%s%s%s", option->required ? "" : "[", option->name,
                option->argument ? " " : "", option->argument ? option->argument : "",
                option->required ? "" : "]", option->repeated ? "..." : "");
    fprintf(out, "\n\n%s.\n", command->summary);
    if (command->detail)
        fprintf(out, "%s\n", command->detail);
    if (command->options && command->options->name) {
        fputs("\nOptions:\n", out);
        print_options(out, command->options);
    }
    print_globals(out);
}
