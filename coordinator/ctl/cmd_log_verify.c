/* cmd_log_verify.c: checks every record of a stopped data directory and names the damaged ones. */
#include <string.h>

#include "runtime.h"

#include "log_records.h"

#include "commands.h"

#define DAMAGED_SHOWN_MAX 1000

struct verify {
    json_t *counts;  /* table -> records */
    json_t *damaged; /* the first DAMAGED_SHOWN_MAX of them */
    size_t records, damaged_count;
};

static void visit(const json_t *record, void *context)
{
    struct verify *verify = context;
    const char *table = json_string_value(json_object_get(record, "table"));
    json_int_t count = json_integer_value(json_object_get(verify->counts, table));

    ASSENT_ASSERT(json_object_set_new(verify->counts, table, json_integer(count + 1)) == 0);
    verify->records++;
    if (!json_object_get(record, "damage"))
        return;
    if (verify->damaged_count++ < DAMAGED_SHOWN_MAX) {
        json_t *copy = json_copy((json_t *)(uintptr_t)record);

        ASSENT_ASSERT(copy && json_array_append_new(verify->damaged, copy) == 0);
    }
}

static int print_json(struct ctl *ctl, const struct ctl_log *log, const struct verify *verify)
{
    char log_id[2 * ASSENT_LOG_ID_BYTES + 1];
    json_t *json;
    int code;

    ctl_log_id_text(assent_store_log_id(log->store), log_id);
    json = json_pack("{s:s, s:s, s:I, s:I, s:O, s:I, s:O}", "owner", log->owner, "log_id", log_id,
                     "incarnation", (json_int_t)assent_store_incarnation(log->store), "records",
                     (json_int_t)verify->records, "tables", verify->counts, "damaged_count",
                     (json_int_t)verify->damaged_count, "damaged", verify->damaged);
    code = ctl_print_json(ctl, json);
    json_decref(json);
    return code;
}

static void print_table(struct ctl *ctl, const struct verify *verify)
{
    struct ctl_table *table = ctl_table_new(3);
    size_t index;
    json_t *row;

    fprintf(ctl->out, "%zu records, %zu damaged\n", verify->records, verify->damaged_count);
    ctl_table_row(table, (const char *[]){"TABLE", "KEY", "DAMAGE"});
    json_array_foreach(verify->damaged, index, row)
    {
        char cells[3][600];

        ctl_table_row(table, (const char *[]){
                                 ctl_text(row, "table", cells[0], sizeof(cells[0])),
                                 ctl_text(row, "key", cells[1], sizeof(cells[1])),
                                 ctl_text(row, "damage", cells[2], sizeof(cells[2])),
                             });
    }
    if (verify->damaged_count > 0)
        ctl_table_print(table, ctl, true);
    ctl_table_free(table);
}

static int run(struct ctl *ctl, const struct ctl_args *args)
{
    struct verify verify = {.counts = json_object(), .damaged = json_array()};
    struct ctl_log log = {0};
    int code = ctl_log_open(ctl, ctl_given(args, "data-dir"), &log);

    if (code)
        goto out;
    code = ctl_log_scan(ctl, &log, visit, &verify);
    if (code)
        goto out;
    if (ctl->json)
        code = print_json(ctl, &log, &verify);
    else
        print_table(ctl, &verify);
    if (code == CTL_EXIT_OK && verify.damaged_count > 0)
        code = CTL_EXIT_UNHEALTHY;
out:
    ctl_log_close(&log);
    json_decref(verify.counts);
    json_decref(verify.damaged);
    return code;
}

static const struct ctl_option options[] = {
    {"data-dir", "DIR", "of a stopped assentd or assent-agent", true, false},
    {0},
};

const struct ctl_command ctl_log_verify = {
    .noun = "log",
    .verb = "verify",
    .words = "",
    .summary = "Check every record of a stopped data directory",
    .detail = "Checks each record's checksum, that it can be decoded and that it lies under its own"
              " key.\nChanges nothing. Ends with 5 if a record is damaged.",
    .options = options,
    .run = run,
};
