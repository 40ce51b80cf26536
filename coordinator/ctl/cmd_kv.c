/* cmd_kv.c: reads committed data of a kv resource, outside any transaction. */
#include "commands.h"

/* Asks the resource; command is its own language: "get KEY" or "dump". */
static int query(struct ctl *ctl, const struct ctl_args *args, const char *command,
                 json_t **ret_json)
{
    return ctl_inspect(ctl, "query", command, ctl_given(args, "participant"), 0, ret_json);
}

static int run_get(struct ctl *ctl, const struct ctl_args *args)
{
    char command[1024], value[32];
    const json_t *found;
    json_t *json;
    int code;

    if (snprintf(command, sizeof(command), "get %s", args->words[0]) >= (int)sizeof(command)) {
        ctl_error(ctl, "the key is too long");
        return CTL_EXIT_USAGE;
    }
    code = query(ctl, args, command, &json);
    if (code)
        return code;
    found = json_object_get(json, "value");
    if (ctl->json)
        code = ctl_print_json(ctl, json);
    else if (json_is_string(found)) /* a script wants the value as it is, however long */
        fprintf(ctl->out, "%s\n", json_string_value(found));
    else if (found && !json_is_null(found))
        fprintf(ctl->out, "%s\n", ctl_text(json, "value", value, sizeof(value)));
    if (!found || json_is_null(found)) {
        ctl_error(ctl, "%s: no key \"%s\"", ctl_given(args, "participant"), args->words[0]);
        code = CTL_EXIT_NOT_FOUND;
    }
    json_decref(json);
    return code;
}

static void print_entries(struct ctl *ctl, json_t *entries)
{
    struct ctl_table *table = ctl_table_new(2);
    const char *key;
    json_t *value;

    ctl_table_row(table, (const char *[]){"KEY", "VALUE"});
    json_object_foreach(entries, key, value)
    {
        char number[32];
        const char *text = json_string_value(value);

        ctl_table_row(
            table,
            (const char *[]){key, text ? text : ctl_text(entries, key, number, sizeof(number))});
    }
    ctl_table_print(table, ctl, true);
    ctl_table_free(table);
}

static int run_dump(struct ctl *ctl, const struct ctl_args *args)
{
    json_int_t prepared;
    json_t *json;
    int code = query(ctl, args, "dump", &json);

    if (code)
        return code;
    prepared = json_integer_value(json_object_get(json, "prepared"));
    if (ctl->json)
        code = ctl_print_json(ctl, json);
    else
        print_entries(ctl, json_object_get(json, "entries"));
    if (json_is_true(json_object_get(json, "truncated")))
        ctl_hint(ctl, "cut: there are more keys than one answer holds; kv get reads any of them");
    if (prepared > 0)
        ctl_hint(ctl, "%" JSON_INTEGER_FORMAT " prepared branches are not shown: assentctl tx list",
                 prepared);
    json_decref(json);
    return code;
}

static const struct ctl_option options[] = {
    {"participant", "NAME", "whose data: PARTICIPANT or PARTICIPANT/RESOURCE", true, false},
    {0},
};

const struct ctl_command ctl_kv_get = {
    .noun = "kv",
    .verb = "get",
    .words = "KEY",
    .words_min = 1,
    .words_max = 1,
    .summary = "Read a committed value of a kv resource",
    .options = options,
    .run = run_get,
};

const struct ctl_command ctl_kv_dump = {
    .noun = "kv",
    .verb = "dump",
    .words = "",
    .summary = "Read all committed values of a kv resource",
    .options = options,
    .run = run_dump,
};
