/* cmd_tx_wait.c: waits until a transaction has ended, up to --timeout, and prints its outcome. */
#include "commands.h"

static int run(struct ctl *ctl, const struct ctl_args *args)
{
    const char *key = ctl_given(args, "key");
    struct assent_result result = {0};
    struct assent_gtrid gtrid;
    int code, error;

    if ((args->word_count == 1) == (key != NULL)) {
        ctl_error(ctl, "tx wait needs GTRID or --key KEY");
        return CTL_EXIT_USAGE;
    }
    if (!key) {
        code = ctl_parse_gtrid(ctl, args->words[0], &gtrid);
        if (code)
            return code;
        result.gtrid = gtrid;
    }
    code = ctl_connect(ctl);
    if (code)
        return code;
    error = assent_client_status(ctl->client, key ? NULL : &gtrid, key, true, &result);
    if (error == ASSENT_E_TIMEOUT) /* it has not ended; say how far it has come */
        error = assent_client_status(ctl->client, key ? NULL : &gtrid, key, false, &result);
    code = ctl_finish(ctl, "tx wait", error, &result, key);
    if (error == 0 && !result.ended &&
        (result.outcome == ASSENT_OUTCOME_COMMITTED || result.outcome == ASSENT_OUTCOME_ABORTED)) {
        ctl_error(ctl, "decided, but not every branch has obeyed in time");
        return CTL_EXIT_SERVER;
    }
    return code;
}

static const struct ctl_option options[] = {
    {"key", "KEY", "find it by its idempotency key", false, false},
    {0},
};

const struct ctl_command ctl_tx_wait = {
    .noun = "tx",
    .verb = "wait",
    .words = "[GTRID]",
    .words_max = 1,
    .summary = "Wait until a transaction has ended and print its outcome",
    .detail = "Ends with 0 committed, 7 aborted, 8 still not decided, 1 decided but not yet obeyed"
              " everywhere,\n4 expired or never seen.",
    .options = options,
    .run = run,
};
