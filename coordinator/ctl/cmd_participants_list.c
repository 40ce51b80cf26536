/* cmd_participants_list.c: who takes part, and who of them is connected. */
#include "commands.h"

static void print_table(struct ctl *ctl, const json_t *participants)
{
    struct ctl_table *table = ctl_table_new(8);
    size_t index;
    json_t *row;

    ctl_table_row(table, (const char *[]){"NAME", "RESOURCE", "TYPE", "STATE", "EPOCH", "ADDRESS",
                                          "SINCE", "REASON"});
    json_array_foreach((json_t *)(uintptr_t)participants, index, row)
    {
        char cells[8][300];

        ctl_table_row(table, (const char *[]){
                                 ctl_text(row, "name", cells[0], sizeof(cells[0])),
                                 ctl_text(row, "resource", cells[1], sizeof(cells[1])),
                                 ctl_text(row, "type", cells[2], sizeof(cells[2])),
                                 ctl_text(row, "state", cells[3], sizeof(cells[3])),
                                 ctl_text(row, "epoch", cells[4], sizeof(cells[4])),
                                 ctl_text(row, "address", cells[5], sizeof(cells[5])),
                                 ctl_text(row, "since", cells[6], sizeof(cells[6])),
                                 ctl_text(row, "reason", cells[7], sizeof(cells[7])),
                             });
    }
    ctl_table_print(table, ctl, true);
    ctl_table_free(table);
}

static int run(struct ctl *ctl, const struct ctl_args *args)
{
    json_t *json;
    int code;

    (void)args;
    code = ctl_inspect(ctl, "participants", NULL, NULL, 0, &json);
    if (code)
        return code;
    if (ctl->json)
        code = ctl_print_json(ctl, json);
    else
        print_table(ctl, json_object_get(json, "participants"));
    if (json_array_size(json_object_get(json, "participants")) == 0)
        ctl_hint(ctl, "none yet: assent-agent --name NAME --coordinator %s --resource kv",
                 ctl->address);
    if (json_is_true(json_object_get(json, "truncated")))
        ctl_hint(ctl, "cut: there are more than one answer holds");
    json_decref(json);
    return code;
}

const struct ctl_command ctl_participants_list = {
    .noun = "participants",
    .verb = "list",
    .words = "",
    .summary = "List the participants and whether they are connected",
    .run = run,
};
