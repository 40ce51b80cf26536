/* cmd_tx_resolve.c: decides by hand what is undecided; and says that a person has seen to an
 * outcome that is mixed or a hazard. */
#include "commands.h"

static int run_resolve(struct ctl *ctl, const struct ctl_args *args)
{
    bool commit = ctl_given(args, "commit") != NULL, abort = ctl_given(args, "abort") != NULL;
    enum assent_action action = commit ? ASSENT_ACTION_COMMIT : ASSENT_ACTION_ABORT;
    struct assent_result result = {0};
    struct assent_gtrid gtrid;
    int code;

    if (commit == abort) {
        ctl_error(ctl, "tx resolve needs --commit or --abort, and not both");
        return CTL_EXIT_USAGE;
    }
    code = ctl_parse_gtrid(ctl, args->words[0], &gtrid);
    if (code == 0)
        code = ctl_operate(ctl, args, action, &gtrid, ctl_given(args, "force") != NULL, &result);
    if (code)
        return code;
    ctl_print_result(ctl, &result, NULL);
    code = ctl_exit_for_outcome(result.outcome);
    /* What was asked for. */
    return code == CTL_EXIT_ABORTED && abort ? CTL_EXIT_OK : code;
}

static int run_acknowledge(struct ctl *ctl, const struct ctl_args *args)
{
    struct assent_result result = {0};
    struct assent_gtrid gtrid;
    int code = ctl_parse_gtrid(ctl, args->words[0], &gtrid);

    if (code == 0)
        code = ctl_operate(ctl, args, ASSENT_ACTION_ACKNOWLEDGE, &gtrid, false, &result);
    if (code == 0)
        ctl_print_result(ctl, &result, NULL);
    return code;
}

static const struct ctl_option resolve_options[] = {
    {"commit", NULL, "decide commit", false, false},
    {"abort", NULL, "decide abort", false, false},
    {"force", NULL, "although others may have decided already", false, false},
    CTL_OPERATE_OPTIONS,
    {0},
};

static const struct ctl_option acknowledge_options[] = {
    CTL_OPERATE_OPTIONS,
    {0},
};

const struct ctl_command ctl_tx_resolve = {
    .noun = "tx",
    .verb = "resolve",
    .words = "GTRID",
    .words_min = 1,
    .words_max = 1,
    .summary = "Decide an undecided transaction by hand; cannot be undone",
    .detail =
        "A decision that stands is never changed. Before the votes are in only --abort is"
        " possible; where others may have decided already it needs --force and the outcome can"
        " be mixed. Ends with 6 if it was refused without force.",
    .options = resolve_options,
    .run = run_resolve,
};

const struct ctl_command ctl_tx_acknowledge = {
    .noun = "tx",
    .verb = "acknowledge",
    .words = "GTRID",
    .words_min = 1,
    .words_max = 1,
    .summary = "Say that a mixed outcome or a hazard has been seen to",
    .detail =
        "Its participants need not keep their evidence any more, and the outcome expires after"
        " the retention time like others. Mend the data first.",
    .options = acknowledge_options,
    .run = run_acknowledge,
};
