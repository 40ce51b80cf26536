/* cmd_tx_list.c: the transactions that the coordinator knows, in its order: those under way, then
 * those that ended last. */
#include "commands.h"

#define LIST_DEFAULT 100
#define LIST_MAX     10000

static void print_table(struct ctl *ctl, const json_t *transactions)
{
    struct ctl_table *table = ctl_table_new(8);
    size_t index;
    json_t *row;

    ctl_table_row(table, (const char *[]){"GTRID", "PROTOCOL", "PHASE", "OUTCOME", "AGE",
                                          "BRANCHES", "KEY", "REASON"});
    json_array_foreach((json_t *)(uintptr_t)transactions, index, row)
    {
        char cells[7][300], age[32];
        json_int_t age_ms = json_integer_value(json_object_get(row, "age_ms"));

        ctl_table_row(table, (const char *[]){
                                 ctl_text(row, "gtrid", cells[0], sizeof(cells[0])),
                                 ctl_text(row, "protocol", cells[1], sizeof(cells[1])),
                                 ctl_text(row, "phase", cells[2], sizeof(cells[2])),
                                 ctl_text(row, "outcome", cells[3], sizeof(cells[3])),
                                 ctl_duration(age_ms < 0 ? 0 : (uint64_t)age_ms, age, sizeof(age)),
                                 ctl_text(row, "branches", cells[4], sizeof(cells[4])),
                                 ctl_text(row, "key", cells[5], sizeof(cells[5])),
                                 ctl_text(row, "reason", cells[6], sizeof(cells[6])),
                             });
    }
    ctl_table_print(table, ctl, true);
    ctl_table_free(table);
}

static int run(struct ctl *ctl, const struct ctl_args *args)
{
    const char *limit_text = ctl_given(args, "limit");
    uint64_t limit = LIST_DEFAULT;
    json_t *json, *transactions;
    int code;

    if (limit_text && ctl_parse_number(limit_text, 1, LIST_MAX, &limit)) {
        ctl_error(ctl, "--limit is 1 to %d, not \"%s\"", LIST_MAX, limit_text);
        return CTL_EXIT_USAGE;
    }
    code = ctl_inspect(ctl, "transactions", NULL, NULL, (uint32_t)limit, &json);
    if (code)
        return code;
    transactions = json_object_get(json, "transactions");
    if (ctl->json) {
        code = ctl_print_json(ctl, json);
    } else {
        print_table(ctl, transactions);
        if (json_is_true(json_object_get(json, "truncated")))
            ctl_hint(ctl, "there are more: --limit N, up to %d", LIST_MAX);
        else if (json_array_size(transactions) > 0)
            ctl_hint(ctl, "assentctl tx show GTRID");
    }
    json_decref(json);
    return code;
}

static const struct ctl_option options[] = {
    {"limit", "N", "at most so many (default 100)", false, false},
    {0},
};

const struct ctl_command ctl_tx_list = {
    .noun = "tx",
    .verb = "list",
    .words = "",
    .summary = "List transactions, those under way and those kept",
    .options = options,
    .run = run,
};
