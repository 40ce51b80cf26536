/* audit.c: manual acts in the table of meta records, under keys that rise. */
#include "audit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "gtrid.h"
#include "server.h"

#define VERSION 1

static void make_key(uint64_t number, uint8_t key[AUDIT_KEY_BYTES])
{
    struct assent_writer writer;

    assent_writer_init(&writer, key, AUDIT_KEY_BYTES);
    assent_write_raw(&writer, AUDIT_KEY, sizeof(AUDIT_KEY) - 1);
    assent_write_u64(&writer, number);
}

int audit_decode(const void *key, size_t key_size, const void *value, size_t size,
                 struct audit_record *ret_record)
{
    struct audit_record record;
    struct assent_reader keys, values;
    char prefix[sizeof(AUDIT_KEY)];
    unsigned version;

    assent_reader_init(&keys, key, key_size);
    assent_read_raw(&keys, prefix, sizeof(AUDIT_KEY) - 1);
    record.number = assent_read_u64(&keys);
    assent_reader_init(&values, value, size);
    version = assent_read_u8(&values);
    if (!values.failed && version > VERSION)
        return ASSENT_E_VERSION;
    record.action = (enum assent_action)assent_read_u8(&values);
    record.forced = assent_read_u8(&values) != 0;
    assent_read_raw(&values, record.gtrid.bytes, sizeof(record.gtrid.bytes));
    record.at_wall_ms = assent_read_u64(&values);
    assent_read_text(&values, record.who, sizeof(record.who));
    assent_read_text(&values, record.from, sizeof(record.from));
    assent_read_text(&values, record.reason, sizeof(record.reason));
    assent_read_text(&values, record.found, sizeof(record.found));
    if (keys.failed || values.failed || version != VERSION)
        return ASSENT_E_CORRUPT;
    *ret_record = record;
    return 0;
}

void audit_put(struct shard *shard, struct audit_record *record)
{
    uint8_t key[AUDIT_KEY_BYTES], value[AUDIT_BYTES_MAX];
    struct assent_writer writer;
    struct assent_put put = {.consumer = shard->index,
                             .table = ASSENT_TABLE_META,
                             .key = key,
                             .key_size = sizeof(key),
                             .value = value};
    int r;

    record->number = ++shard->server->audit_last;
    record->at_wall_ms = assent_wall_ms();
    make_key(record->number, key);
    assent_writer_init(&writer, value, sizeof(value));
    assent_write_u8(&writer, VERSION);
    assent_write_u8(&writer, (uint8_t)record->action);
    assent_write_u8(&writer, record->forced);
    assent_write_raw(&writer, record->gtrid.bytes, sizeof(record->gtrid.bytes));
    assent_write_u64(&writer, record->at_wall_ms);
    assent_write_text(&writer, record->who);
    assent_write_text(&writer, record->from);
    assent_write_text(&writer, record->reason);
    assent_write_text(&writer, record->found);
    ASSENT_ASSERT(!writer.failed);
    put.value_size = writer.size;
    r = assent_store_put(shard->server->store, &put);
    if (r != 0)
        assent_panic(ASSENT_EXIT_RUNTIME, "log_put_failed", "what=audit error=%s",
                     assent_error_name(r));
}

/* --- reading --- */

struct reading {
    const struct assent_gtrid *gtrid; /* NULL: any */
    json_t *rows;
    size_t limit;
    uint64_t last;
    int error;
};

static bool visit(const void *key, size_t key_size, const void *value, size_t value_size,
                  int status, void *context)
{
    struct reading *reading = context;
    struct audit_record record;

    if (key_size != AUDIT_KEY_BYTES || memcmp(key, AUDIT_KEY, sizeof(AUDIT_KEY) - 1) != 0)
        return false; /* the keys behind them */
    if (status == 0)
        status = audit_decode(key, key_size, value, value_size, &record);
    if (status != 0) {
        reading->error = status;
        return true;
    }
    reading->last = record.number;
    if (reading->rows == NULL ||
        (reading->gtrid != NULL && !assent_gtrid_equal(reading->gtrid, &record.gtrid)))
        return true;
    if (json_array_size(reading->rows) == reading->limit)
        json_array_remove(reading->rows, 0);
    json_array_append_new(reading->rows, audit_record_json(&record));
    return true;
}

static int read_all(struct server *server, struct reading *reading)
{
    int r = assent_store_scan(server->store, ASSENT_TABLE_META, AUDIT_KEY, sizeof(AUDIT_KEY) - 1, 0,
                              visit, reading);

    return r != 0 ? r : reading->error;
}

int audit_load(struct server *server)
{
    struct reading reading = {.limit = 0};
    int r = read_all(server, &reading);

    server->audit_last = reading.last;
    return r;
}

json_t *audit_record_json(const struct audit_record *record)
{
    static const struct assent_gtrid none;
    char gtrid[ASSENT_GTRID_TEXT + 1], at[25];

    assent_gtrid_format(&record->gtrid, gtrid);
    assent_wall_format(record->at_wall_ms, at);
    return json_pack(
        "{s:I, s:s, s:s, s:s?, s:s, s:s, s:s, s:s, s:b}", "number", (json_int_t)record->number,
        "at", at, "action", assent_action_name((int)record->action), "gtrid",
        assent_gtrid_equal(&record->gtrid, &none) ? NULL : gtrid, "found", record->found, "who",
        record->who, "from", record->from, "reason", record->reason, "forced", (int)record->forced);
}

json_t *audit_json(struct server *server, const struct assent_gtrid *gtrid, size_t limit)
{
    struct reading reading = {.gtrid = gtrid, .rows = json_array(), .limit = limit};
    int r = read_all(server, &reading);

    if (r != 0)
        assent_log(ASSENT_LOG_ERROR, "record_damaged", "what=audit error=%s", assent_error_name(r));
    return reading.rows;
}
