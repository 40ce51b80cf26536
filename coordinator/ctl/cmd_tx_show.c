/* cmd_tx_show.c: one transaction: what it is, its branches, its timeline, who is waited for. */
#include "commands.h"

static void print_summary(struct ctl *ctl, const json_t *json)
{
    static const char *const rows[][2] = {
        {"transaction", "gtrid"},
        {"protocol", "protocol"},
        {"termination", "termination"},
        {"phase", "phase"},
        {"outcome", "outcome"},
        {"reason", "reason"},
        {"acknowledged", "acknowledged"},
        {"key", "key"},
        {"begun", "begun"},
        {"decided", "decided"},
        {"ended", "ended"},
        {"waiting for", "waiting_for"},
    };
    struct ctl_table *table = ctl_table_new(2);

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[4096];

        ctl_table_row(table,
                      (const char *[]){rows[i][0], ctl_text(json, rows[i][1], text, sizeof(text))});
    }
    ctl_table_print(table, ctl, false);
    ctl_table_free(table);
}

static void print_branches(struct ctl *ctl, const json_t *branches)
{
    struct ctl_table *table = ctl_table_new(4);
    size_t index;
    json_t *row;

    ctl_table_row(table, (const char *[]){"BRANCH", "PARTICIPANT", "VOTE", "RESULT"});
    json_array_foreach((json_t *)(uintptr_t)branches, index, row)
    {
        char cells[4][300];

        ctl_table_row(table, (const char *[]){
                                 ctl_text(row, "number", cells[0], sizeof(cells[0])),
                                 ctl_text(row, "participant", cells[1], sizeof(cells[1])),
                                 ctl_text(row, "vote", cells[2], sizeof(cells[2])),
                                 ctl_text(row, "result", cells[3], sizeof(cells[3])),
                             });
    }
    fputc('\n', ctl->out);
    ctl_table_print(table, ctl, true);
    ctl_table_free(table);
}

static void print_timeline(struct ctl *ctl, const json_t *timeline)
{
    struct ctl_table *table = ctl_table_new(2);
    size_t index;
    json_t *row;

    ctl_table_row(table, (const char *[]){"AT", "EVENT"});
    json_array_foreach((json_t *)(uintptr_t)timeline, index, row)
    {
        char cells[2][400];

        ctl_table_row(table, (const char *[]){ctl_text(row, "at", cells[0], sizeof(cells[0])),
                                              ctl_text(row, "event", cells[1], sizeof(cells[1]))});
    }
    fputc('\n', ctl->out);
    ctl_table_print(table, ctl, true);
    ctl_table_free(table);
}

static void print_by_hand(struct ctl *ctl, const json_t *acts)
{
    struct ctl_table *table = ctl_table_new(4);
    size_t index;
    json_t *row;

    ctl_table_row(table, (const char *[]){"BY HAND AT", "ACTION", "WHO", "REASON"});
    json_array_foreach((json_t *)(uintptr_t)acts, index, row)
    {
        char cells[4][300];

        ctl_table_row(table, (const char *[]){
                                 ctl_text(row, "at", cells[0], sizeof(cells[0])),
                                 ctl_text(row, "action", cells[1], sizeof(cells[1])),
                                 ctl_text(row, "who", cells[2], sizeof(cells[2])),
                                 ctl_text(row, "reason", cells[3], sizeof(cells[3])),
                             });
    }
    fputc('\n', ctl->out);
    ctl_table_print(table, ctl, true);
    ctl_table_free(table);
}

static void print_transaction(struct ctl *ctl, const json_t *json, const char *gtrid)
{
    const json_t *branches = json_object_get(json, "branches");
    const json_t *timeline = json_object_get(json, "timeline");

    print_summary(ctl, json);
    if (json_array_size(branches) > 0)
        print_branches(ctl, branches);
    if (json_array_size(timeline) > 0)
        print_timeline(ctl, timeline);
    if (json_array_size(json_object_get(json, "by_hand")) > 0)
        print_by_hand(ctl, json_object_get(json, "by_hand"));
    if (json_array_size(json_object_get(json, "waiting_for")) > 0)
        ctl_hint(ctl, "assentctl tx wait %s; are they up? assentctl participants list", gtrid);
}

static int run(struct ctl *ctl, const struct ctl_args *args)
{
    const char *key = ctl_given(args, "key");
    struct assent_result result = {0};
    struct assent_gtrid gtrid;
    char text[ASSENT_GTRID_TEXT + 1];
    json_t *json;
    int code, error;

    if ((args->word_count == 1) == (key != NULL)) {
        ctl_error(ctl, "tx show needs GTRID or --key KEY");
        return CTL_EXIT_USAGE;
    }
    if (!key) {
        code = ctl_parse_gtrid(ctl, args->words[0], &gtrid);
        if (code)
            return code;
    }
    code = ctl_connect(ctl);
    if (code)
        return code;
    /* Expired and never seen are answers that only the outcome tells apart. */
    error = assent_client_status(ctl->client, key ? NULL : &gtrid, key, false, &result);
    if (error)
        return ctl_failed(ctl, key ? key : args->words[0], error);
    if (result.outcome == ASSENT_OUTCOME_EXPIRED || result.outcome == ASSENT_OUTCOME_NEVER_SEEN) {
        ctl_print_result(ctl, &result, key);
        return CTL_EXIT_NOT_FOUND;
    }
    assent_gtrid_format(&result.gtrid, text);
    code = ctl_inspect(ctl, "transaction", text, NULL, 0, &json);
    if (code)
        return code;
    if (ctl->json)
        code = ctl_print_json(ctl, json);
    else
        print_transaction(ctl, json, text);
    json_decref(json);
    return code;
}

static const struct ctl_option options[] = {
    {"key", "KEY", "find it by its idempotency key", false, false},
    {0},
};

const struct ctl_command ctl_tx_show = {
    .noun = "tx",
    .verb = "show",
    .words = "[GTRID]",
    .words_max = 1,
    .summary = "Show a transaction: branches, timeline, and who is waited for",
    .options = options,
    .run = run,
};
