/* cmd_log_dump.c: prints the records of a stopped data directory, one after the other, so that a
 * log of any size can be read. */
#include "log_records.h"

#include "commands.h"

#define TABLE_ROWS 1000 /* printed together; columns are aligned among these */

struct dump {
    struct ctl *ctl;
    struct ctl_table *table;
    size_t rows, damaged, printed;
};

static void new_table(struct dump *dump)
{
    dump->table = ctl_table_new(8);
    dump->rows = 0;
    ctl_table_row(dump->table, (const char *[]){"TABLE", "KEY", "KIND", "DECISION", "OUTCOME",
                                                "PROTOCOL", "BEGUN", "DETAIL"});
}

static void print_table(struct dump *dump)
{
    ctl_table_print(dump->table, dump->ctl, true);
    ctl_table_free(dump->table);
    dump->table = NULL;
}

static void detail_of(const json_t *record, char *text, size_t size)
{
    bool has_reason = json_is_string(json_object_get(record, "reason"));
    char part[300];

    if (json_object_get(record, "damage"))
        ctl_text(record, "damage", text, size);
    else if (json_object_get(record, "branches"))
        snprintf(text, size, "branches: %zu%s%s",
                 json_array_size(json_object_get(record, "branches")), has_reason ? ", " : "",
                 has_reason ? ctl_text(record, "reason", part, sizeof(part)) : "");
    else if (json_object_get(record, "branch"))
        snprintf(text, size, "branch %" JSON_INTEGER_FORMAT " of %s",
                 json_integer_value(json_object_get(record, "branch")),
                 ctl_text(record, "resource", part, sizeof(part)));
    else if (json_object_get(record, "name"))
        snprintf(text, size, "%s/%s", json_string_value(json_object_get(record, "name")),
                 ctl_text(record, "resource", part, sizeof(part)));
    else
        snprintf(text, size, "%" JSON_INTEGER_FORMAT " bytes",
                 json_integer_value(json_object_get(record, "size")));
}

static void visit_table(const json_t *record, void *context)
{
    struct dump *dump = context;
    char cells[7][300], detail[400];
    bool branch = json_object_get(record, "result") != NULL;

    if (json_object_get(record, "damage"))
        dump->damaged++;
    detail_of(record, detail, sizeof(detail));
    ctl_table_row(dump->table,
                  (const char *[]){
                      ctl_text(record, "table", cells[0], sizeof(cells[0])),
                      ctl_text(record, "key", cells[1], sizeof(cells[1])),
                      json_object_get(record, "damage")
                          ? "damaged"
                          : ctl_text(record, "kind", cells[2], sizeof(cells[2])),
                      ctl_text(record, "decision", cells[3], sizeof(cells[3])),
                      ctl_text(record, branch ? "result" : "outcome", cells[4], sizeof(cells[4])),
                      ctl_text(record, "protocol", cells[5], sizeof(cells[5])),
                      ctl_text(record, "begun", cells[6], sizeof(cells[6])),
                      detail,
                  });
    if (++dump->rows == TABLE_ROWS) {
        print_table(dump);
        new_table(dump);
    }
}

static void visit_json(const json_t *record, void *context)
{
    struct dump *dump = context;

    if (json_object_get(record, "damage"))
        dump->damaged++;
    fputs(dump->printed++ ? ",\n    " : "\n    ", dump->ctl->out);
    json_dumpf(record, dump->ctl->out, JSON_COMPACT);
}

static int print_all(struct ctl *ctl, struct ctl_log *log, struct dump *dump)
{
    char log_id[2 * ASSENT_LOG_ID_BYTES + 1];
    int code;

    if (!ctl->json) {
        new_table(dump);
        code = ctl_log_scan(ctl, log, visit_table, dump);
        print_table(dump);
        return code;
    }
    ctl_log_id_text(assent_store_log_id(log->store), log_id);
    fprintf(ctl->out, "{\n  \"owner\": \"%s\",\n  \"log_id\": \"%s\",\n  \"incarnation\": %u,\n",
            log->owner, log_id, (unsigned)assent_store_incarnation(log->store));
    fputs("  \"records\": [", ctl->out);
    code = ctl_log_scan(ctl, log, visit_json, dump);
    fputs("\n  ]\n}\n", ctl->out);
    return code;
}

static int run(struct ctl *ctl, const struct ctl_args *args)
{
    struct dump dump = {.ctl = ctl};
    struct ctl_log log;
    int code = ctl_log_open(ctl, ctl_given(args, "data-dir"), &log);

    if (code)
        return code;
    code = print_all(ctl, &log, &dump);
    ctl_log_close(&log);
    if (code == CTL_EXIT_OK && dump.damaged > 0) {
        ctl_error(ctl, "%zu damaged records", dump.damaged);
        code = CTL_EXIT_UNHEALTHY;
    }
    return code;
}

static const struct ctl_option options[] = {
    {"data-dir", "DIR", "of a stopped assentd or assent-agent", true, false},
    {0},
};

const struct ctl_command ctl_log_dump = {
    .noun = "log",
    .verb = "dump",
    .words = "",
    .summary = "Print every record of a stopped data directory",
    .detail = "Changes nothing and needs no server. Ends with 5 if a record is damaged.",
    .options = options,
    .run = run,
};
