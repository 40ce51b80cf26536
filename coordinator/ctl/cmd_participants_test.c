/* cmd_participants_test.c: the preflight of one participant, finding by finding. */
#include "commands.h"

static void print_table(struct ctl *ctl, const json_t *findings)
{
    struct ctl_table *table = ctl_table_new(2);
    size_t index;
    json_t *row;

    ctl_table_row(table, (const char *[]){"LEVEL", "FINDING"});
    json_array_foreach((json_t *)(uintptr_t)findings, index, row)
    {
        char cells[2][600];

        ctl_table_row(table, (const char *[]){ctl_text(row, "level", cells[0], sizeof(cells[0])),
                                              ctl_text(row, "text", cells[1], sizeof(cells[1]))});
    }
    ctl_table_print(table, ctl, true);
    ctl_table_free(table);
}

static int run(struct ctl *ctl, const struct ctl_args *args)
{
    json_t *json;
    int code = ctl_inspect(ctl, "test", NULL, args->words[0], 0, &json);

    if (code)
        return code;
    if (ctl->json)
        code = ctl_print_json(ctl, json);
    else
        print_table(ctl, json_object_get(json, "findings"));
    if (code == CTL_EXIT_OK && json_is_true(json_object_get(json, "refused"))) {
        ctl_error(ctl, "%s is refused", args->words[0]);
        code = CTL_EXIT_UNHEALTHY;
    }
    json_decref(json);
    return code;
}

const struct ctl_command ctl_participants_test = {
    .noun = "participants",
    .verb = "test",
    .words = "NAME",
    .words_min = 1,
    .words_max = 1,
    .summary = "Run a participant's preflight and print each finding",
    .detail = "Versions, settings, rights, the marker table, the time of a sync. Ends with 5 if the"
              " participant would be refused.",
    .run = run,
};
