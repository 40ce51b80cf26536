/* cmd_tx_end.c: commits or rolls back a transaction; both print the outcome that stands. */
#include "commands.h"

typedef int end_call(struct assent_client *client, const struct assent_gtrid *gtrid, bool wait,
                     struct assent_result *ret_result);

static int end(struct ctl *ctl, const struct ctl_args *args, const char *what, end_call *call,
               struct assent_result *result)
{
    struct assent_gtrid gtrid;
    int code = ctl_parse_gtrid(ctl, args->words[0], &gtrid), error;

    if (code || (code = ctl_connect(ctl)) != 0)
        return code;
    result->gtrid = gtrid;
    error = call(ctl->client, &gtrid, ctl_given(args, "wait") != NULL, result);
    return ctl_finish(ctl, what, error, result, NULL);
}

static int run_commit(struct ctl *ctl, const struct ctl_args *args)
{
    struct assent_result result = {0};

    return end(ctl, args, "tx commit", assent_client_commit, &result);
}

static int run_rollback(struct ctl *ctl, const struct ctl_args *args)
{
    struct assent_result result = {0};
    int code = end(ctl, args, "tx rollback", assent_client_rollback, &result);

    /* Here aborted is what was asked for, and a commit that won is not. */
    if (code == CTL_EXIT_ABORTED)
        return CTL_EXIT_OK;
    if (code == CTL_EXIT_OK) {
        ctl_error(ctl, "it is committed already and stays so");
        return CTL_EXIT_SERVER;
    }
    return code;
}

static const struct ctl_option options[] = {
    {"wait", NULL, "answer after every branch has obeyed, not at the decision", false, false},
    {0},
};

const struct ctl_command ctl_tx_commit = {
    .noun = "tx",
    .verb = "commit",
    .words = "GTRID",
    .words_min = 1,
    .words_max = 1,
    .summary = "Commit a transaction and print its outcome",
    .detail = "Repeating it is safe and answers the same outcome.",
    .options = options,
    .run = run_commit,
};

const struct ctl_command ctl_tx_rollback = {
    .noun = "tx",
    .verb = "rollback",
    .words = "GTRID",
    .words_min = 1,
    .words_max = 1,
    .summary = "Roll a transaction back and print its outcome",
    .detail = "Ends with 0 if it is aborted, with 1 if a commit won.",
    .options = options,
    .run = run_rollback,
};
