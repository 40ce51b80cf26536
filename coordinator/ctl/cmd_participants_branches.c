/* cmd_participants_branches.c: the branches of one participant, as it says itself: the coordinator
 * is not asked, and need not be there. */
#include "commands.h"

#define LIST_DEFAULT 100
#define LIST_MAX     10000

static void print_table(struct ctl *ctl, const json_t *branches)
{
    static const char *const members[] = {"gtrid",    "branch",      "resource",
                                          "protocol", "termination", "phase",
                                          "decision", "told",        "in_doubt_since"};
    struct ctl_table *table = ctl_table_new(9);
    size_t index;
    json_t *row;

    ctl_table_row(table, (const char *[]){"GTRID", "BRANCH", "RESOURCE", "PROTOCOL", "TERMINATION",
                                          "PHASE", "DECISION", "TOLD", "IN DOUBT SINCE"});
    json_array_foreach((json_t *)(uintptr_t)branches, index, row)
    {
        char cells[9][300];
        const char *texts[9];

        for (size_t i = 0; i < 9; i++)
            texts[i] = ctl_text(row, members[i], cells[i], sizeof(cells[i]));
        ctl_table_row(table, texts);
    }
    ctl_table_print(table, ctl, true);
    ctl_table_free(table);
}

static int run(struct ctl *ctl, const struct ctl_args *args)
{
    const char *limit_text = ctl_given(args, "limit");
    uint64_t limit = LIST_DEFAULT;
    struct assent_gtrid gtrid;
    json_t *json, *branches;
    int code;

    if (limit_text && ctl_parse_number(limit_text, 1, LIST_MAX, &limit)) {
        ctl_error(ctl, "--limit is 1 to %d, not \"%s\"", LIST_MAX, limit_text);
        return CTL_EXIT_USAGE;
    }
    if (args->word_count == 1 && ctl_parse_gtrid(ctl, args->words[0], &gtrid))
        return CTL_EXIT_USAGE;
    code = ctl_inspect(ctl, "branches", args->word_count == 1 ? args->words[0] : NULL, NULL,
                       (uint32_t)limit, &json);
    if (code) {
        ctl_hint(ctl, "-H is a participant's address here: assentctl participants list");
        return code;
    }
    branches = json_object_get(json, "branches");
    if (args->word_count == 1 && json_array_size(branches) == 0) {
        ctl_error(ctl, "participant %s has no branch of that transaction",
                  json_string_value(json_object_get(json, "participant")));
        code = CTL_EXIT_NOT_FOUND;
    } else if (ctl->json) {
        code = ctl_print_json(ctl, json);
    } else {
        print_table(ctl, branches);
        if (json_is_true(json_object_get(json, "truncated")))
            ctl_hint(ctl, "there are more: --limit N, up to %d", LIST_MAX);
    }
    json_decref(json);
    return code;
}

static const struct ctl_option options[] = {
    {"limit", "N", "at most so many (default 100)", false, false},
    {0},
};

const struct ctl_command ctl_participants_branches = {
    .noun = "participants",
    .verb = "branches",
    .words = "[GTRID]",
    .words_max = 1,
    .summary = "List the branches of the participant at -H ADDR, with no coordinator needed",
    .detail = "ADDR is the address that `participants list` shows, not the coordinator's. TOLD is"
              " the decision that others told this participant, DECISION the one it carries out:"
              " compare them over the participants of a transaction.",
    .options = options,
    .run = run,
};
