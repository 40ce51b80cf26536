/* begin.c: the options that begin a transaction, from the command line to the client's struct. */
#include <string.h>

#include "ctl.h"

static int parse_termination(struct ctl *ctl, const char *text,
                             struct assent_begin_options *options)
{
    static const enum assent_termination policies[] = {
        ASSENT_TERMINATION_QUORUM, ASSENT_TERMINATION_COOPERATIVE, ASSENT_TERMINATION_TIMEOUT};

    for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
        if (strcmp(text, assent_termination_name((int)policies[i])) == 0)
            options->termination = policies[i];
    if (options->termination == ASSENT_TERMINATION_NONE) {
        ctl_error(ctl, "--termination is quorum, cooperative or timeout, not \"%s\"", text);
        return -1;
    }
    if (options->protocol == ASSENT_2PC && options->termination != ASSENT_TERMINATION_COOPERATIVE) {
        ctl_error(ctl,
                  "--termination %s belongs to --protocol 3pc; participants of a 2pc only ask each"
                  " other (cooperative)",
                  text);
        return -1;
    }
    return 0;
}

int ctl_begin_options(struct ctl *ctl, const struct ctl_args *args,
                      struct assent_begin_options *ret_options)
{
    struct assent_begin_options options = {.size = sizeof(options)};
    const char *protocol = ctl_given(args, "protocol"), *termination;
    const char *timeout = ctl_given(args, "timeout-ms");
    uint64_t number = 0;

    termination = ctl_given(args, "termination");
    options.key = ctl_given(args, "key");
    options.traceparent = ctl_given(args, "traceparent");
    if (protocol && strcmp(protocol, "3pc") == 0) {
        options.protocol = ASSENT_3PC;
    } else if (protocol && strcmp(protocol, "2pc") != 0) {
        ctl_error(ctl, "--protocol is 2pc or 3pc, not \"%s\"", protocol);
        return -1;
    }
    if (termination && parse_termination(ctl, termination, &options))
        return -1;
    if (timeout && ctl_parse_number(timeout, 1, UINT32_MAX, &number)) {
        ctl_error(ctl, "--timeout-ms is a number of milliseconds, not \"%s\"", timeout);
        return -1;
    }
    options.timeout_ms = (uint32_t)number;
    if (options.key && (options.key[0] == '\0' || strlen(options.key) > ASSENT_KEY_MAX)) {
        ctl_error(ctl, "--key has 1 to %d bytes", ASSENT_KEY_MAX);
        return -1;
    }
    *ret_options = options;
    return 0;
}
