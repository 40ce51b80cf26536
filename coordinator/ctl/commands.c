/* commands.c: the table of commands. A new command is a file of its own and a row in commands.h. */
#include <string.h>

#include "commands.h"

const struct ctl_command *const ctl_commands[] = {
#define X(name) &ctl_##name,
    CTL_COMMANDS(X)
#undef X
        NULL,
};

const struct ctl_command *ctl_find(const char *noun, const char *verb)
{
    for (const struct ctl_command *const *at = ctl_commands; *at; at++) {
        const struct ctl_command *command = *at;

        if (strcmp(command->noun, noun) == 0 &&
            (!command->verb || (verb && strcmp(command->verb, verb) == 0)))
            return command;
    }
    return NULL;
}
