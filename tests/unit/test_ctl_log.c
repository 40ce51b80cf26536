/* test_ctl_log.c: assentctl's reading of a stopped data directory: every record is shown, and every
 * kind of damage is found and named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "gtrid.h"
#include "record.h"

#include "log_records.h"

#define MARK "a reason that can be found in the file"

struct fixture {
    char directory[64];
    struct assent_store *store;
    struct ctl ctl;
    char *said;
    size_t said_size;
    json_t *records;
};

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    strcpy(f->directory, "/tmp/assent-ctl-log-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    f->ctl.err = open_memstream(&f->said, &f->said_size);
    f->ctl.out = f->ctl.err;
    f->records = json_array();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    assent_store_close(f->store);
    fclose(f->ctl.err);
    free(f->said);
    json_decref(f->records);
    nftw(f->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

static void open_store(struct fixture *f, const char *owner)
{
    struct assent_store_options options = {.directory = f->directory,
                                           .owner = owner,
                                           .map_bytes = 16 << 20,
                                           .lazy_flush_ms = 10,
                                           .queue_max = 64,
                                           .unsafe_storage = true};
    char error[256] = "";

    if (assent_store_open(&options, &f->store, error, sizeof(error)))
        fail_msg("%s", error);
}

static void close_store(struct fixture *f)
{
    assent_store_close(f->store);
    f->store = NULL;
}

static void put(struct fixture *f, enum assent_table table, const void *key, size_t key_size,
                const void *value, size_t size)
{
    struct assent_put request = {
        .table = table, .key = key, .key_size = key_size, .value = value, .value_size = size};

    assert_int_equal(assent_store_put(f->store, &request), 0);
}

static struct assent_gtrid gtrid_of(uint64_t sequence)
{
    return assent_gtrid_make(1700000000000, 1, 1, sequence);
}

static void put_transaction(struct fixture *f, uint64_t under, uint64_t sequence)
{
    struct assent_gtrid key = gtrid_of(under);
    struct assent_coord_record record = {
        .kind = ASSENT_COORD_RECORD_OUTCOME,
        .decision = ASSENT_DECISION_ABORT,
        .outcome = ASSENT_OUTCOME_ABORTED,
        .gtrid = gtrid_of(sequence),
        .reason = ASSENT_REASON_VOTED_NO,
        .reason_branch = 1,
        .branch_count = 1,
        .branches = {{.number = 1,
                      .participant = 7,
                      .epoch = 3,
                      .vote = ASSENT_VOTE_NO,
                      .result = ASSENT_RESULT_ABORTED}},
        .begun_wall_ms = 1700000000000,
        .decided_ms = 5,
        .ended_ms = 6,
        .key = "order-1",
        .reason_text = MARK,
    };
    uint8_t bytes[ASSENT_RECORD_BYTES_MAX];
    size_t size = 0;

    assert_int_equal(assent_coord_record_encode(&record, bytes, sizeof(bytes), &size), 0);
    put(f, ASSENT_TABLE_TRANSACTION, key.bytes, sizeof(key.bytes), bytes, size);
}

static void put_participant(struct fixture *f)
{
    uint8_t bytes[256];
    struct assent_writer writer;

    assent_writer_init(&writer, bytes, sizeof(bytes));
    assent_write_u8(&writer, 1);
    assent_write_text(&writer, "bank-a");
    assent_write_text(&writer, "kv");
    assent_write_text(&writer, "kv");
    put(f, ASSENT_TABLE_PARTICIPANT, "\0\0\0\7", 4, bytes, writer.size);
}

static void collect(const json_t *record, void *context)
{
    struct fixture *f = context;

    assert_int_equal(json_array_append_new(f->records, json_deep_copy(record)), 0);
}

static void scan(struct fixture *f)
{
    struct ctl_log log;
    int code = ctl_log_open(&f->ctl, f->directory, &log);

    fflush(f->ctl.err);
    if (code)
        fail_msg("%d: %s", code, f->said);
    assert_int_equal(ctl_log_scan(&f->ctl, &log, collect, f), 0);
    ctl_log_close(&log);
}

/* The only record of a table. */
static const json_t *record_of(const struct fixture *f, const char *table)
{
    const json_t *found = NULL;
    size_t index;
    json_t *record;

    json_array_foreach(f->records, index, record)
    {
        if (strcmp(json_string_value(json_object_get(record, "table")), table) != 0)
            continue;
        assert_null(found);
        found = record;
    }
    assert_non_null(found);
    return found;
}

static void assert_text(const json_t *record, const char *member, const char *expected)
{
    const char *text = json_string_value(json_object_get(record, member));

    assert_non_null(text);
    assert_string_equal(text, expected);
}

static void a_transaction_is_shown_with_its_participants(void **state)
{
    struct fixture *f = *state;
    const json_t *record, *branch;

    open_store(f, "assentd");
    put_participant(f);
    put_transaction(f, 1, 1);
    close_store(f);
    scan(f);
    record = record_of(f, "transaction");
    assert_null(json_object_get(record, "damage"));
    assert_text(record, "kind", "outcome");
    assert_text(record, "decision", "abort");
    assert_text(record, "outcome", "aborted");
    assert_text(record, "protocol", "2pc");
    assert_text(record, "idempotency_key", "order-1");
    assert_text(record, "reason", MARK);
    assert_text(record, "begun", "2023-11-14T22:13:20.000Z");
    assert_text(record, "ended", "2023-11-14T22:13:20.006Z");
    branch = json_array_get(json_object_get(record, "branches"), 0);
    assert_text(branch, "participant", "bank-a/kv");
    assert_text(branch, "vote", "no");
    assert_text(branch, "result", "aborted");
    assert_text(record_of(f, "participant"), "name", "bank-a");
}

static void an_agents_branch_is_shown(void **state)
{
    struct fixture *f = *state;
    struct assent_branch_id id = {.log_id = {0xab}, .gtrid = gtrid_of(1), .branch = 2};
    struct assent_part_record record = {.kind = ASSENT_PART_RECORD_PREPARED,
                                        .gtrid = id.gtrid,
                                        .branch = 2,
                                        .incarnation = 1,
                                        .epoch = 1,
                                        .branch_count = 2,
                                        .resource = "kv"};
    uint8_t key[ASSENT_BRANCH_ID_BYTES], bytes[ASSENT_RECORD_BYTES_MAX];
    size_t size = 0;

    assent_branch_id_encode(&id, key);
    assert_int_equal(assent_part_record_encode(&record, bytes, sizeof(bytes), &size), 0);
    open_store(f, "assent-agent");
    put(f, ASSENT_TABLE_BRANCH, key, sizeof(key), bytes, size);
    close_store(f);
    scan(f);
    assert_null(json_object_get(record_of(f, "branch"), "damage"));
    assert_text(record_of(f, "branch"), "kind", "prepared");
    assert_text(record_of(f, "branch"), "resource", "kv");
    assert_text(record_of(f, "branch"), "log_id", "ab000000000000000000000000000000");
}

static void bytes_that_are_no_record_are_damage(void **state)
{
    struct fixture *f = *state;
    struct assent_gtrid key = gtrid_of(1);
    char text[ASSENT_GTRID_TEXT + 1];

    assent_gtrid_format(&key, text);
    open_store(f, "assentd");
    put(f, ASSENT_TABLE_TRANSACTION, key.bytes, sizeof(key.bytes), "\0nonsense", 9);
    close_store(f);
    scan(f);
    assert_text(record_of(f, "transaction"), "bytes", "006e6f6e73656e7365");
    assert_text(record_of(f, "transaction"), "key", text);
    assert_non_null(json_object_get(record_of(f, "transaction"), "damage"));
}

static void a_damaged_branch_is_named_by_its_key(void **state)
{
    struct fixture *f = *state;
    struct assent_branch_id id = {.log_id = {0xab}, .gtrid = gtrid_of(1), .branch = 2};
    uint8_t key[ASSENT_BRANCH_ID_BYTES];
    char text[ASSENT_GTRID_TEXT + 1];

    assent_branch_id_encode(&id, key);
    assent_gtrid_format(&id.gtrid, text);
    open_store(f, "assent-agent");
    put(f, ASSENT_TABLE_BRANCH, key, sizeof(key), "nonsense", 8);
    close_store(f);
    scan(f);
    assert_text(record_of(f, "branch"), "key", text);
    assert_int_equal(json_integer_value(json_object_get(record_of(f, "branch"), "branch")), 2);
    assert_text(record_of(f, "branch"), "log_id", "ab000000000000000000000000000000");
    assert_non_null(json_object_get(record_of(f, "branch"), "damage"));
}

static void a_key_that_is_none_is_shown_in_hex(void **state)
{
    struct fixture *f = *state;

    open_store(f, "assentd");
    put(f, ASSENT_TABLE_TRANSACTION, "\1\2\377", 3, "nonsense", 8);
    close_store(f);
    scan(f);
    assert_text(record_of(f, "transaction"), "key", "0102ff");
}

static void a_record_under_another_key_is_damage(void **state)
{
    struct fixture *f = *state;

    open_store(f, "assentd");
    put_transaction(f, 1, 2);
    close_store(f);
    scan(f);
    assert_text(record_of(f, "transaction"), "damage", "lies under another transaction's key");
}

/* Changes one byte of the record's text in the database file itself. */
static void flip_a_byte(const struct fixture *f)
{
    char path[128], *file = malloc(1 << 20), *at;
    ssize_t size;
    int fd;

    assert_non_null(file);
    snprintf(path, sizeof(path), "%s/data.mdb", f->directory);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    size = pread(fd, file, 1 << 20, 0);
    assert_true(size > 0);
    at = memmem(file, (size_t)size, MARK, strlen(MARK));
    assert_non_null(at);
    do { /* old pages may hold it too */
        assert_int_equal(pwrite(fd, "A", 1, at - file), 1);
        at = memmem(at + 1, (size_t)(file + size - at - 1), MARK, strlen(MARK));
    } while (at);
    close(fd);
    free(file);
}

static void a_flipped_byte_is_damage(void **state)
{
    struct fixture *f = *state;

    open_store(f, "assentd");
    put_transaction(f, 1, 1);
    close_store(f);
    flip_a_byte(f);
    scan(f);
    assert_text(record_of(f, "transaction"), "damage", "its checksum does not match");
}

static void assert_holder_is_named(struct fixture *f, const char *owner)
{
    struct ctl_log log;
    char pid[32];

    open_store(f, owner);
    snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    assert_int_equal(ctl_log_open(&f->ctl, f->directory, &log), CTL_EXIT_SERVER);
    fflush(f->ctl.err);
    assert_non_null(strstr(f->said, pid));
}

static void a_directory_in_use_is_refused_by_its_holder(void **state)
{
    assert_holder_is_named(*state, "assentd");
}

static void an_agents_directory_in_use_is_refused_by_its_holder(void **state)
{
    assert_holder_is_named(*state, "assent-agent");
}

static void a_missing_directory_is_not_found(void **state)
{
    struct fixture *f = *state;
    struct ctl_log log;

    assert_int_equal(ctl_log_open(&f->ctl, "/nonexistent/assent", &log), CTL_EXIT_NOT_FOUND);
    assert_int_equal(access("/nonexistent", F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_transaction_is_shown_with_its_participants, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_agents_branch_is_shown, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes_that_are_no_record_are_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_branch_is_named_by_its_key, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_that_is_none_is_shown_in_hex, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_under_another_key_is_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flipped_byte_is_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_in_use_is_refused_by_its_holder, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_agents_directory_in_use_is_refused_by_its_holder, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_missing_directory_is_not_found, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
