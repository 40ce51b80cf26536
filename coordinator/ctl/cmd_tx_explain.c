/* cmd_tx_explain.c: why a transaction is where it is, and what can be done about it. */
#include "commands.h"

static void print_summary(struct ctl *ctl, const json_t *json)
{
    static const char *const rows[][2] = {
        {"transaction", "gtrid"}, {"protocol", "protocol"},      {"termination", "termination"},
        {"phase", "phase"},       {"decision", "decision"},      {"outcome", "outcome"},
        {"reason", "reason"},     {"it waits for", "waits_for"}, {"policy", "policy"},
    };
    struct ctl_table *table = ctl_table_new(2);

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[1024];

        ctl_table_row(table,
                      (const char *[]){rows[i][0], ctl_text(json, rows[i][1], text, sizeof(text))});
    }
    ctl_table_print(table, ctl, false);
    ctl_table_free(table);
}

static void print_branches(struct ctl *ctl, const json_t *branches)
{
    static const char *const members[] = {"number", "participant", "connection", "address",
                                          "vote",   "result",      "wanted"};
    struct ctl_table *table = ctl_table_new(7);
    size_t index;
    json_t *row;

    ctl_table_row(table, (const char *[]){"BRANCH", "PARTICIPANT", "CONNECTION", "ADDRESS", "VOTE",
                                          "RESULT", "WANTED OF IT"});
    json_array_foreach((json_t *)(uintptr_t)branches, index, row)
    {
        char cells[7][300];
        const char *texts[7];

        for (size_t i = 0; i < 7; i++)
            texts[i] = ctl_text(row, members[i], cells[i], sizeof(cells[i]));
        ctl_table_row(table, texts);
    }
    fputc('\n', ctl->out);
    ctl_table_print(table, ctl, true);
    ctl_table_free(table);
}

static void print_lists(struct ctl *ctl, const json_t *json)
{
    struct ctl_table *unblocks = ctl_table_new(1), *choices = ctl_table_new(2);
    char cells[2][600];
    size_t index;
    json_t *row;

    ctl_table_row(unblocks, (const char *[]){"WHAT UNBLOCKS IT"});
    json_array_foreach(json_object_get(json, "unblocks"), index, row)
        ctl_table_row(unblocks, (const char *[]){json_string_value(row)});
    ctl_table_row(choices, (const char *[]){"CHOICE", "RISK"});
    json_array_foreach(json_object_get(json, "choices"), index, row)
        ctl_table_row(choices, (const char *[]){ctl_text(row, "choice", cells[0], sizeof(cells[0])),
                                                ctl_text(row, "risk", cells[1], sizeof(cells[1]))});
    if (json_array_size(json_object_get(json, "unblocks")) > 0) {
        fputc('\n', ctl->out);
        ctl_table_print(unblocks, ctl, true);
    }
    if (json_array_size(json_object_get(json, "choices")) > 0) {
        fputc('\n', ctl->out);
        ctl_table_print(choices, ctl, true);
    }
    ctl_table_free(unblocks);
    ctl_table_free(choices);
}

static int run(struct ctl *ctl, const struct ctl_args *args)
{
    struct assent_gtrid gtrid;
    json_t *json;
    int code = ctl_parse_gtrid(ctl, args->words[0], &gtrid);

    if (code == CTL_EXIT_OK)
        code = ctl_inspect(ctl, "explain", args->words[0], NULL, 0, &json);
    if (code)
        return code;
    if (ctl->json) {
        code = ctl_print_json(ctl, json);
    } else {
        print_summary(ctl, json);
        if (json_array_size(json_object_get(json, "branches")) > 0)
            print_branches(ctl, json_object_get(json, "branches"));
        print_lists(ctl, json);
        if (json_array_size(json_object_get(json, "choices")) > 0)
            ctl_hint(ctl,
                     "what a participant says itself: assentctl participants branches %s -H"
                     " ADDRESS",
                     args->words[0]);
    }
    json_decref(json);
    return code;
}

const struct ctl_command ctl_tx_explain = {
    .noun = "tx",
    .verb = "explain",
    .words = "GTRID",
    .words_min = 1,
    .words_max = 1,
    .summary = "Explain what a transaction waits for, what unblocks it, and what each choice risks",
    .run = run,
};
