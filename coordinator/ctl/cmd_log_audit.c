/* cmd_log_audit.c: lists what people have ordered by hand; and accepts a restored log. */
#include "commands.h"

#define LIST_DEFAULT 100
#define LIST_MAX     10000

static void print_table(struct ctl *ctl, const json_t *rows)
{
    static const char *const members[] = {"at",  "action", "gtrid", "found",
                                          "who", "from",   "reason"};
    struct ctl_table *table = ctl_table_new(7);
    size_t index;
    json_t *row;

    ctl_table_row(table,
                  (const char *[]){"AT", "ACTION", "GTRID", "FOUND", "WHO", "FROM", "REASON"});
    json_array_foreach((json_t *)(uintptr_t)rows, index, row)
    {
        char cells[7][300];
        const char *texts[7];

        for (size_t i = 0; i < 7; i++)
            texts[i] = ctl_text(row, members[i], cells[i], sizeof(cells[i]));
        ctl_table_row(table, texts);
    }
    ctl_table_print(table, ctl, true);
    ctl_table_free(table);
}

static int run_audit(struct ctl *ctl, const struct ctl_args *args)
{
    const char *limit_text = ctl_given(args, "limit");
    uint64_t limit = LIST_DEFAULT;
    json_t *json;
    int code;

    if (limit_text && ctl_parse_number(limit_text, 1, LIST_MAX, &limit)) {
        ctl_error(ctl, "--limit is 1 to %d, not \"%s\"", LIST_MAX, limit_text);
        return CTL_EXIT_USAGE;
    }
    code = ctl_inspect(ctl, "audit", NULL, NULL, (uint32_t)limit, &json);
    if (code)
        return code;
    if (ctl->json)
        code = ctl_print_json(ctl, json);
    else
        print_table(ctl, json_object_get(json, "audit"));
    json_decref(json);
    return code;
}

static int run_accept(struct ctl *ctl, const struct ctl_args *args)
{
    struct assent_result result = {0};
    int code = ctl_operate(ctl, args, ASSENT_ACTION_ACCEPT, NULL, false, &result);

    if (code == 0)
        ctl_hint(ctl, "what the log does not know is presumed aborted again: assentctl verify");
    return code;
}

static const struct ctl_option audit_options[] = {
    {"limit", "N", "at most so many, the latest (default 100)", false, false},
    {0},
};

static const struct ctl_option accept_options[] = {
    CTL_OPERATE_OPTIONS,
    {0},
};

const struct ctl_command ctl_log_audit = {
    .noun = "log",
    .verb = "audit",
    .words = "",
    .summary = "List what people have ordered by hand: who, when, what, why",
    .options = audit_options,
    .run = run_audit,
};

const struct ctl_command ctl_log_accept = {
    .noun = "log",
    .verb = "accept",
    .words = "",
    .summary = "Accept that the coordinator's log was restored and has lost transactions",
    .detail =
        "From then on what it does not know is presumed aborted again, also what was committed"
        " before the restore: resolve those first (assentctl tx resolve).",
    .options = accept_options,
    .run = run_accept,
};
