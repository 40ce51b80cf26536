/* cmd_health.c: whether the coordinator takes new transactions, and what is in doubt. */
#include "commands.h"

static void print_table(struct ctl *ctl, const json_t *json)
{
    static const char *const rows[][2] = {
        {"ready", "ready"},
        {"room in the log", "room"},
        {"active", "active"},
        {"in doubt", "in_doubt"},
        {"oldest in doubt", NULL},
        {"participants up", "participants_up"},
        {"participants known", "participants_known"},
        {"damaged records", "damaged_records"},
        {"unacknowledged", "unacknowledged"},
        {"restored log", "restored"},
        {"incarnation", "incarnation"},
        {"version", "version"},
    };
    json_int_t oldest = json_integer_value(json_object_get(json, "oldest_in_doubt_ms"));
    struct ctl_table *table = ctl_table_new(2);

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[128];

        if (rows[i][1])
            ctl_text(json, rows[i][1], text, sizeof(text));
        else
            ctl_duration(oldest > 0 ? (uint64_t)oldest : 0, text, sizeof(text));
        ctl_table_row(table, (const char *[]){rows[i][0], text});
    }
    ctl_table_print(table, ctl, false);
    ctl_table_free(table);
}

static int run(struct ctl *ctl, const struct ctl_args *args)
{
    json_t *json;
    int code;

    (void)args;
    code = ctl_inspect(ctl, "health", NULL, NULL, 0, &json);
    if (code)
        return code;
    if (ctl->json)
        code = ctl_print_json(ctl, json);
    else
        print_table(ctl, json);
    if (code == CTL_EXIT_OK && !json_is_true(json_object_get(json, "ready"))) {
        ctl_error(ctl, "the coordinator is not ready");
        code = CTL_EXIT_UNHEALTHY;
    }
    if (code == CTL_EXIT_OK && !json_is_true(json_object_get(json, "room"))) {
        ctl_error(ctl, "the log has no room for new transactions");
        code = CTL_EXIT_UNHEALTHY;
    }
    if (code == CTL_EXIT_OK && json_integer_value(json_object_get(json, "damaged_records")) > 0) {
        ctl_error(ctl, "the log has damaged records; stop it and name them: assentctl log verify");
        code = CTL_EXIT_UNHEALTHY;
    }
    if (code == CTL_EXIT_OK && json_integer_value(json_object_get(json, "unacknowledged")) > 0) {
        ctl_error(ctl, "outcomes are mixed or a hazard: assentctl tx list, then tx acknowledge");
        code = CTL_EXIT_UNHEALTHY;
    }
    if (code == CTL_EXIT_OK && json_is_true(json_object_get(json, "restored"))) {
        ctl_error(ctl,
                  "the log is an older copy than participants have seen: assentctl log accept");
        code = CTL_EXIT_UNHEALTHY;
    }
    json_decref(json);
    return code;
}

const struct ctl_command ctl_health = {
    .noun = "health",
    .words = "",
    .summary = "Show whether the coordinator is ready, and what is in doubt",
    .detail =
        "Ends with 5 if it is not ready, its log has no room or damaged records or is a restored"
        " copy that nobody has accepted, or an outcome is mixed or a hazard and not"
        " acknowledged.",
    .run = run,
};
