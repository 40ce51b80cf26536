/* cmd_tx_work.c: runs work at one participant inside a transaction and prints its reply. */
#include <stdlib.h>

#include "commands.h"

static int print_reply(struct ctl *ctl, const char *gtrid, const char *participant,
                       const char *reply, size_t size)
{
    json_t *json;
    int code;

    if (!ctl->json) {
        fwrite(reply, 1, size, ctl->out);
        if (size > 0 && reply[size - 1] != '\n')
            fputc('\n', ctl->out);
        ctl_hint(ctl, "assentctl tx commit %s", gtrid);
        return CTL_EXIT_OK;
    }
    json = json_pack("{s:s, s:s, s:s%}", "gtrid", gtrid, "participant", participant, "reply", reply,
                     size);
    if (!json) {
        ctl_error(ctl, "the reply of %zu bytes is not UTF-8; -o table prints it as it is", size);
        return CTL_EXIT_SERVER;
    }
    code = ctl_print_json(ctl, json);
    json_decref(json);
    return code;
}

static int run(struct ctl *ctl, const struct ctl_args *args)
{
    const char *participant = ctl_given(args, "participant");
    struct assent_gtrid gtrid;
    struct assent_work work = {.participant = participant};
    char problem[512], *data = NULL, *reply = NULL;
    size_t reply_size = 0;
    int code = ctl_parse_gtrid(ctl, args->words[0], &gtrid), error;

    if (code)
        return code;
    if (ctl_work_parse(args->words[1], &data, &work.size, problem, sizeof(problem))) {
        ctl_error(ctl, "%s", problem);
        return CTL_EXIT_USAGE;
    }
    work.data = data;
    code = ctl_connect(ctl);
    if (code)
        goto out;
    error = assent_client_work(ctl->client, &gtrid, &work, &reply, &reply_size);
    if (error) {
        code = ctl_failed(ctl, "tx work", error);
        ctl_hint(ctl, "assentctl tx show %s", args->words[0]);
        goto out;
    }
    code = print_reply(ctl, args->words[0], participant, reply ? reply : "", reply_size);
out:
    free(data);
    free(reply);
    return code;
}

static const struct ctl_option options[] = {
    {"participant", "NAME", "where: PARTICIPANT or PARTICIPANT/RESOURCE", true, false},
    {0},
};

const struct ctl_command ctl_tx_work = {
    .noun = "tx",
    .verb = "work",
    .words = "GTRID WORK",
    .words_min = 2,
    .words_max = 2,
    .summary = "Run work at a participant inside a transaction",
    .detail = "In WORK the two characters \\n stand for a new line; @FILE reads it, @- from stdin.",
    .options = options,
    .run = run,
};
