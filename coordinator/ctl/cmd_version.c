/* cmd_version.c: the version of this tool; `health` shows the coordinator's. */
#include "commands.h"

static int run(struct ctl *ctl, const struct ctl_args *args)
{
    json_t *json;
    int code;

    (void)args;
    if (!ctl->json) {
        fprintf(ctl->out, "assentctl %s\n", ASSENT_VERSION);
        return CTL_EXIT_OK;
    }
    json = json_pack("{s:s}", "version", ASSENT_VERSION);
    code = ctl_print_json(ctl, json);
    json_decref(json);
    return code;
}

const struct ctl_command ctl_version = {
    .noun = "version",
    .words = "",
    .summary = "Print the version of assentctl",
    .run = run,
};
