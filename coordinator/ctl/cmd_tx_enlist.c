/*
 * cmd_tx_enlist.c: a branch for an application that works on a connection of its own: its name, and
 * the statements that begin and prepare it there.
 */
#include <stdlib.h>

#include "commands.h"

/* The participant's resource knows what its RM wants to hear. 0 and its JSON object. */
static int ask_statements(struct ctl *ctl, const char *participant, const char *branch,
                          json_t **ret_json)
{
    char command[8 + ASSENT_BRANCH_ID_TEXT], *text = NULL;
    int error;

    snprintf(command, sizeof(command), "own %s", branch);
    error = assent_client_inspect(ctl->client, "query", command, participant, 0, &text);
    if (error)
        return ctl_failed(ctl, "tx enlist", error);
    *ret_json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    if (json_is_object(*ret_json))
        return CTL_EXIT_OK;
    json_decref(*ret_json);
    ctl_error(ctl, "%s: its answer is no JSON object", participant);
    return CTL_EXIT_SERVER;
}

static void print_statements(struct ctl *ctl, const json_t *json, const char *when)
{
    const json_t *statements = json_object_get(json, when), *statement;
    size_t i;

    json_array_foreach(statements, i, statement) if (json_is_string(statement))
        fprintf(ctl->out, "%-7s %s;\n", when, json_string_value(statement));
}

static int run(struct ctl *ctl, const struct ctl_args *args)
{
    const char *participant = ctl_given(args, "participant");
    char branch[ASSENT_BRANCH_ID_TEXT + 1];
    struct assent_branch_id id;
    struct assent_gtrid gtrid;
    json_t *json = NULL;
    int code = ctl_parse_gtrid(ctl, args->words[0], &gtrid), error;

    if (code)
        return code;
    code = ctl_connect(ctl);
    if (code)
        return code;
    error = assent_client_enlist(ctl->client, &gtrid, participant, &id);
    if (error)
        return ctl_failed(ctl, "tx enlist", error);
    assent_branch_id_format(&id, branch);
    code = ask_statements(ctl, participant, branch, &json);
    if (code)
        return code;
    if (ctl->json) {
        json_object_set_new(json, "gtrid", json_string(args->words[0]));
        json_object_set_new(json, "participant", json_string(participant));
        json_object_set_new(json, "branch", json_string(branch));
        code = ctl_print_json(ctl, json);
    } else {
        fprintf(ctl->out, "branch  %s\n", branch);
        print_statements(ctl, json, "before");
        print_statements(ctl, json, "after");
        ctl_hint(ctl, "assentctl tx commit %s", args->words[0]);
    }
    json_decref(json);
    return code;
}

static const struct ctl_option options[] = {
    {"participant", "NAME", "where: PARTICIPANT or PARTICIPANT/RESOURCE", true, false},
    {0},
};

const struct ctl_command ctl_tx_enlist = {
    .noun = "tx",
    .verb = "enlist",
    .words = "GTRID",
    .words_min = 1,
    .words_max = 1,
    .summary = "Make a branch for work on a connection of your own",
    .detail =
        "Prints the branch's name, and the statements that come before and after your own on\n"
        "that connection. The last of them prepares the branch; its agent finds it there when\n"
        "the transaction is committed or rolled back.",
    .options = options,
    .run = run,
};
