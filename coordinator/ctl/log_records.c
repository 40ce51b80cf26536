/* log_records.c: see log_records.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "gtrid.h"
#include "participant_record.h"
#include "record.h"
#include "runtime.h"

#include "log_records.h"

#define SHOWN_BYTES_MAX 256 /* of a damaged record */

struct scan {
    enum assent_table table;
    bool of_agent;
    json_t *names; /* participant's number -> "name/resource" */
    void (*visit)(const json_t *record, void *context);
    void *context;
};

static const char *const table_names[ASSENT_TABLE_COUNT] = {
    [ASSENT_TABLE_META] = "meta",
    [ASSENT_TABLE_TRANSACTION] = "transaction",
    [ASSENT_TABLE_PARTICIPANT] = "participant",
    [ASSENT_TABLE_BRANCH] = "branch",
};

static void to_hex(const void *data, size_t size, char *text)
{
    for (size_t i = 0; i < size; i++)
        sprintf(text + 2 * i, "%02x", ((const uint8_t *)data)[i]);
    text[2 * size] = '\0';
}

void ctl_log_id_text(const uint8_t id[ASSENT_LOG_ID_BYTES], char text[2 * ASSENT_LOG_ID_BYTES + 1])
{
    to_hex(id, ASSENT_LOG_ID_BYTES, text);
}

int ctl_log_open(struct ctl *ctl, const char *directory, struct ctl_log *ret_log)
{
    static const char *const owners[] = {"assentd", "assent-agent"};
    char errors[2][512] = {"", ""};
    int results[2] = {0, 0};
    size_t blame;

    if (access(directory, F_OK) != 0) {
        ctl_error(ctl, "%s: no such directory", directory);
        return CTL_EXIT_NOT_FOUND;
    }
    for (size_t i = 0; i < 2; i++) {
        results[i] = assent_store_open_read_only(directory, owners[i], &ret_log->store, errors[i],
                                                 sizeof(errors[i]));
        if (results[i] == 0) {
            ret_log->owner = owners[i];
            return CTL_EXIT_OK;
        }
    }
    /* VERSION is also how the other program's directory is refused: then the other error tells. */
    blame = results[0] == ASSENT_E_VERSION && results[1] != ASSENT_E_VERSION ? 1 : 0;
    ctl_error(ctl, "%s", errors[blame][0] ? errors[blame] : assent_error_text(results[blame]));
    return ctl_exit_for_error(results[blame]);
}

void ctl_log_close(struct ctl_log *log)
{
    assent_store_close(log->store);
    log->store = NULL;
}

static void set(json_t *object, const char *member, json_t *value)
{
    ASSENT_ASSERT(json_object_set_new(object, member, value) == 0);
}

static void set_text(json_t *object, const char *member, const char *text)
{
    json_t *value = json_string(text);

    set(object, member, value ? value : json_string("(not UTF-8)"));
}

static void set_gtrid(json_t *object, const char *member, const struct assent_gtrid *gtrid)
{
    char text[ASSENT_GTRID_TEXT + 1];

    assent_gtrid_format(gtrid, text);
    set_text(object, member, text);
}

static void set_wall(json_t *object, const char *member, uint64_t wall_ms, bool known)
{
    char text[25];

    if (!known || wall_ms == 0) {
        set(object, member, json_null());
        return;
    }
    assent_wall_format(wall_ms, text);
    set_text(object, member, text);
}

static void set_reason(json_t *object, enum assent_reason reason, const char *text)
{
    if (reason == ASSENT_REASON_NONE && !text[0])
        set(object, "reason", json_null());
    else
        set_text(object, "reason", text[0] ? text : assent_reason_text((int)reason));
}

/* The participant's name, or its number if there is no record of it. */
static void set_participant(json_t *object, const json_t *names, uint32_t number)
{
    char text[16];
    json_t *name;

    snprintf(text, sizeof(text), "%" PRIu32, number);
    name = json_object_get(names, text);
    set(object, "participant", name ? json_incref(name) : json_integer(number));
}

static json_t *coord_branches(const struct assent_coord_record *record, const json_t *names)
{
    json_t *branches = json_array();

    ASSENT_ASSERT(branches);
    for (uint32_t i = 0; i < record->branch_count; i++) {
        const struct assent_coord_record_branch *branch = &record->branches[i];
        json_t *item = json_object();

        ASSENT_ASSERT(item);
        set(item, "number", json_integer(branch->number));
        set_participant(item, names, branch->participant);
        set(item, "epoch", json_integer(branch->epoch));
        set_text(item, "vote", assent_vote_name((int)branch->vote));
        set_text(item, "result", assent_branch_result_name((int)branch->result));
        ASSENT_ASSERT(json_array_append_new(branches, item) == 0);
    }
    return branches;
}

static const char *not_decoded(int error)
{
    return error == ASSENT_E_VERSION ? "a newer record version" : "cannot be decoded";
}

static const char *describe_transaction(json_t *out, const json_t *names, const void *key,
                                        size_t key_size, const void *value, size_t size)
{
    struct assent_coord_record record;
    int error = assent_coord_record_decode(value, size, &record);

    if (error)
        return not_decoded(error);
    if (key_size != ASSENT_GTRID_BYTES || memcmp(key, record.gtrid.bytes, key_size) != 0)
        return "lies under another transaction's key";
    set_text(out, "kind", assent_coord_record_name((int)record.kind));
    set_text(out, "decision", assent_decision_name((int)record.decision));
    set_text(out, "outcome", assent_outcome_name((int)record.outcome));
    set_text(out, "protocol", assent_protocol_name((int)record.protocol));
    set_text(out, "termination", assent_termination_name((int)record.termination));
    set_reason(out, record.reason, record.reason_text);
    set(out, "reason_branch", json_integer(record.reason_branch));
    set_text(out, "idempotency_key", record.key);
    set_wall(out, "begun", record.begun_wall_ms, true);
    set_wall(out, "decided", record.begun_wall_ms + record.decided_ms, record.decided_ms > 0);
    set_wall(out, "ended", record.begun_wall_ms + record.ended_ms,
             record.kind == ASSENT_COORD_RECORD_OUTCOME);
    set(out, "branches", coord_branches(&record, names));
    return NULL;
}

/* Rows of the agent's table of participants. */
static json_t *part_peers(const struct assent_part_record *record)
{
    json_t *peers = json_array();

    ASSENT_ASSERT(peers);
    for (uint32_t i = 0; i < record->peer_count; i++)
        ASSENT_ASSERT(json_array_append_new(peers, json_integer(record->peers[i].number)) == 0);
    return peers;
}

static const char *describe_branch(json_t *out, const void *key, size_t key_size, const void *value,
                                   size_t size)
{
    struct assent_part_record record;
    struct assent_branch_id id;
    int error = assent_part_record_decode(value, size, &record);

    if (error)
        return not_decoded(error);
    if (key_size != ASSENT_BRANCH_ID_BYTES)
        return "its key is not a branch id";
    assent_branch_id_decode(key, &id);
    if (!assent_gtrid_equal(&id.gtrid, &record.gtrid) || id.branch != record.branch)
        return "lies under another branch's key";
    set_text(out, "kind", assent_part_record_name((int)record.kind));
    set_text(out, "decision", assent_decision_name((int)record.decision));
    set_text(out, "result", assent_branch_result_name((int)record.result));
    set_text(out, "protocol", assent_protocol_name((int)record.protocol));
    set_text(out, "termination", assent_termination_name((int)record.termination));
    set_reason(out, record.reason, "");
    set_text(out, "resource", record.resource);
    set(out, "incarnation", json_integer(record.incarnation));
    set(out, "epoch", json_integer(record.epoch));
    set(out, "last_elected", json_integer(record.last_elected));
    set(out, "last_attempt", json_integer(record.last_attempt));
    set(out, "peers", part_peers(&record));
    return NULL;
}

static const char *describe_participant(json_t *out, json_t *names, const void *key,
                                        size_t key_size, const void *value, size_t size)
{
    struct participant_record record;
    char full[2 * ASSENT_NAME_MAX + 2], text[16];
    int error = participant_record_decode(key, key_size, value, size, &record);

    if (error)
        return not_decoded(error);
    snprintf(full, sizeof(full), "%s/%s", record.name, record.resource);
    snprintf(text, sizeof(text), "%" PRIu32, record.number);
    set_text(out, "name", record.name);
    set_text(out, "resource", record.resource);
    set_text(out, "type", record.type);
    set_text(names, text, full);
    return NULL;
}

/* Of an agent: where another participant is. */
static const char *describe_address(json_t *out, const void *value, size_t size)
{
    char name[ASSENT_NAME_MAX + 1], resource[ASSENT_NAME_MAX + 1], address[256];
    struct assent_reader reader;
    unsigned version;

    assent_reader_init(&reader, value, size);
    version = assent_read_u8(&reader);
    if (version != 1)
        return not_decoded(version > 1 ? ASSENT_E_VERSION : ASSENT_E_CORRUPT);
    assent_read_text(&reader, name, sizeof(name));
    assent_read_text(&reader, resource, sizeof(resource));
    assent_read_text(&reader, address, sizeof(address));
    if (reader.failed)
        return not_decoded(ASSENT_E_CORRUPT);
    set_text(out, "name", name);
    set_text(out, "resource", resource);
    set_text(out, "address", address);
    return NULL;
}

static const char *describe(json_t *out, const struct scan *scan, const void *key, size_t key_size,
                            const void *value, size_t size)
{
    switch (scan->table) {
    case ASSENT_TABLE_TRANSACTION:
        return describe_transaction(out, scan->names, key, key_size, value, size);
    case ASSENT_TABLE_BRANCH:
        return describe_branch(out, key, key_size, value, size);
    case ASSENT_TABLE_META:
        set(out, "size", json_integer((json_int_t)size)); /* only the store itself reads it */
        return NULL;
    case ASSENT_TABLE_PARTICIPANT:
        if (scan->of_agent)
            return describe_address(out, value, size);
        return describe_participant(out, scan->names, key, key_size, value, size);
    case ASSENT_TABLE_COUNT:
        break;
    }
    return "an unknown table";
}

/* Whose record it is can be told by the key alone, so also of a damaged one. */
static void describe_key(json_t *out, enum assent_table table, const void *key, size_t key_size)
{
    char text[2 * ASSENT_STORE_KEY_MAX + 1], log_id[2 * ASSENT_LOG_ID_BYTES + 1];
    struct assent_branch_id id;
    struct assent_reader reader;
    struct assent_gtrid gtrid;

    if (table == ASSENT_TABLE_TRANSACTION && key_size == sizeof(gtrid.bytes)) {
        memcpy(gtrid.bytes, key, key_size);
        set_gtrid(out, "key", &gtrid);
    } else if (table == ASSENT_TABLE_BRANCH && key_size == ASSENT_BRANCH_ID_BYTES) {
        assent_branch_id_decode(key, &id);
        ctl_log_id_text(id.log_id, log_id);
        set_gtrid(out, "key", &id.gtrid);
        set(out, "branch", json_integer(id.branch));
        set_text(out, "log_id", log_id);
    } else if (table == ASSENT_TABLE_PARTICIPANT && key_size == PARTICIPANT_KEY_BYTES) {
        assent_reader_init(&reader, key, key_size);
        set(out, "key", json_integer(assent_read_u32(&reader)));
    } else if (table == ASSENT_TABLE_META && key_size <= ASSENT_STORE_KEY_MAX) {
        snprintf(text, sizeof(text), "%.*s", (int)key_size, (const char *)key);
        set_text(out, "key", text);
    } else {
        to_hex(key, key_size < ASSENT_STORE_KEY_MAX ? key_size : ASSENT_STORE_KEY_MAX, text);
        set_text(out, "key", text);
    }
}

static void describe_damage(json_t *out, const char *damage, const void *value, size_t size)
{
    char text[2 * SHOWN_BYTES_MAX + 1];

    set_text(out, "damage", damage);
    to_hex(value, size < SHOWN_BYTES_MAX ? size : SHOWN_BYTES_MAX, text);
    set_text(out, "bytes", text);
    set(out, "size", json_integer((json_int_t)size));
}

static bool visit_record(const void *key, size_t key_size, const void *value, size_t size,
                         int status, void *context)
{
    struct scan *scan = context;
    json_t *record = json_object();
    const char *damage;

    ASSENT_ASSERT(record);
    set_text(record, "table", table_names[scan->table]);
    describe_key(record, scan->table, key, key_size);
    if (status)
        damage = status == ASSENT_E_VERSION ? "a newer format" : "its checksum does not match";
    else
        damage = describe(record, scan, key, key_size, value, size);
    if (damage)
        describe_damage(record, damage, value, size);
    scan->visit(record, scan->context);
    json_decref(record);
    return true;
}

int ctl_log_scan(struct ctl *ctl, struct ctl_log *log,
                 void (*visit)(const json_t *record, void *context), void *context)
{
    /* Participants come first, so that transactions can name them. */
    static const enum assent_table order[ASSENT_TABLE_COUNT] = {
        ASSENT_TABLE_META, ASSENT_TABLE_PARTICIPANT, ASSENT_TABLE_TRANSACTION, ASSENT_TABLE_BRANCH};
    struct scan scan = {.names = json_object(),
                        .of_agent = strcmp(log->owner, "assent-agent") == 0,
                        .visit = visit,
                        .context = context};
    int error = 0;

    ASSENT_ASSERT(scan.names);
    for (size_t i = 0; error == 0 && i < ASSENT_TABLE_COUNT; i++) {
        scan.table = order[i];
        error = assent_store_scan(log->store, scan.table, NULL, 0, 0, visit_record, &scan);
    }
    if (error)
        ctl_error(ctl, "reading table %s: %s", table_names[scan.table], assent_error_text(error));
    json_decref(scan.names);
    return ctl_exit_for_error(error);
}
