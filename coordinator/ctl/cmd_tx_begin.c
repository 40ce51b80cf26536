/* cmd_tx_begin.c: begins a detached transaction, which outlives this command. */
#include "commands.h"

static int run(struct ctl *ctl, const struct ctl_args *args)
{
    struct assent_begin_options options;
    struct assent_gtrid gtrid;
    char text[ASSENT_GTRID_TEXT + 1];
    json_t *json;
    int code, error;

    if (ctl_begin_options(ctl, args, &options))
        return CTL_EXIT_USAGE;
    options.detached = true;
    code = ctl_connect(ctl);
    if (code)
        return code;
    error = assent_client_begin(ctl->client, &options, &gtrid);
    if (error)
        return ctl_failed(ctl, "tx begin", error);
    assent_gtrid_format(&gtrid, text);
    if (ctl->json) {
        json = json_pack("{s:s, s:s?}", "gtrid", text, "key", options.key);
        code = ctl_print_json(ctl, json);
        json_decref(json);
        return code;
    }
    fprintf(ctl->out, "%s\n", text);
    ctl_hint(ctl, "assentctl tx work %s --participant NAME WORK", text);
    return CTL_EXIT_OK;
}

static const struct ctl_option options[] = {
    CTL_BEGIN_OPTIONS,
    {0},
};

const struct ctl_command ctl_tx_begin = {
    .noun = "tx",
    .verb = "begin",
    .words = "",
    .summary = "Begin a transaction and print its gtrid",
    .detail = "It belongs to no connection and is aborted at its deadline unless it is ended.",
    .options = options,
    .run = run,
};
