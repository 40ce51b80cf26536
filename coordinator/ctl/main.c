/* main.c: assentctl's entry: defaults, parsing, one command, its exit code. */
#include <stdlib.h>
#include <unistd.h>

#include "ctl.h"

int main(int argc, char **argv)
{
    const char *host = getenv("ASSENT_HOST"), *no_color = getenv("NO_COLOR");
    struct ctl ctl = {
        .address = host && host[0] ? host : CTL_DEFAULT_ADDRESS,
        .color = isatty(STDOUT_FILENO) && !(no_color && no_color[0]),
        .out = stdout,
        .err = stderr,
    };
    struct ctl_args args;
    int result;

    if (ctl_parse(&ctl, argc, argv, &args))
        return CTL_EXIT_USAGE;
    if (ctl.help) {
        if (args.command)
            ctl_help_command(stdout, args.command);
        else
            ctl_help(stdout);
        return CTL_EXIT_OK;
    }
    result = args.command->run(&ctl, &args);
    assent_client_close(ctl.client);
    if (fflush(stdout) != 0 && result == CTL_EXIT_OK) {
        ctl_error(&ctl, "cannot write to stdout");
        result = CTL_EXIT_SERVER;
    }
    return result;
}
