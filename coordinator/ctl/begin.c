/* begin.c: the options that begin a transaction, from the command line to the client's struct. */
#include <string.h>

#include "ctl.h"

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
    if (termination && options.protocol != ASSENT_3PC) {
        ctl_error(ctl, "--termination belongs to --protocol 3pc");
        return -1;
    }
    if (termination && strcmp(termination, "timeout") != 0) {
        ctl_error(ctl, "--termination is timeout, not \"%s\"", termination);
        return -1;
    }
    if (!termination && options.protocol == ASSENT_3PC) {
        ctl_error(
            ctl,
            "--protocol 3pc needs --termination timeout, which is unsafe: a single crash of the"
            " coordinator, or a partition, can make some branches commit and others abort");
        return -1;
    }
    options.termination = termination ? ASSENT_TERMINATION_TIMEOUT : ASSENT_TERMINATION_NONE;
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
