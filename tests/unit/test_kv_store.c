/*
 * test_kv_store.c: what the kv resource has on disk: records that are damaged, writes that fail,
 * a map that fills up, markers that are forgotten. mdb_put, mdb_cursor_put, mdb_cursor_del and
 * mdb_txn_commit are wrapped by the linker so that a test can make them fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gtrid.h"
#include "resource_driver.h"

/* --- failing LMDB ----------------------------------------------------------------------------- */

static enum { COMMITS_WORK, COMMIT_LOST, COMMIT_WRITTEN } commits;
static const char *full_for; /* a put or delete of this key answers MDB_MAP_FULL */
static size_t full_for_size;

int __real_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn);
int __real_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned int flags);
int __wrap_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned int flags);
int __real_mdb_cursor_put(MDB_cursor *cursor, MDB_val *key, MDB_val *data, unsigned int flags);
int __wrap_mdb_cursor_put(MDB_cursor *cursor, MDB_val *key, MDB_val *data, unsigned int flags);
int __real_mdb_cursor_del(MDB_cursor *cursor, unsigned int flags);
int __wrap_mdb_cursor_del(MDB_cursor *cursor, unsigned int flags);

int __wrap_mdb_txn_commit(MDB_txn *txn)
{
    switch (commits) {
    case COMMITS_WORK:
        break;
    case COMMIT_LOST:
        mdb_txn_abort(txn);
        return EIO;
    case COMMIT_WRITTEN:
        assert_int_equal(__real_mdb_txn_commit(txn), 0);
        return EIO;
    }
    return __real_mdb_txn_commit(txn);
}

static bool is_full_for(const MDB_val *key)
{
    return full_for != NULL && key->mv_size == full_for_size &&
           memcmp(key->mv_data, full_for, full_for_size) == 0;
}

int __wrap_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned int flags)
{
    return is_full_for(key) ? MDB_MAP_FULL : __real_mdb_put(txn, dbi, key, data, flags);
}

int __wrap_mdb_cursor_put(MDB_cursor *cursor, MDB_val *key, MDB_val *data, unsigned int flags)
{
    return is_full_for(key) ? MDB_MAP_FULL : __real_mdb_cursor_put(cursor, key, data, flags);
}

int __wrap_mdb_cursor_del(MDB_cursor *cursor, unsigned int flags)
{
    MDB_val key, data;

    assert_int_equal(mdb_cursor_get(cursor, &key, &data, MDB_GET_CURRENT), 0);
    return is_full_for(&key) ? MDB_MAP_FULL : __real_mdb_cursor_del(cursor, flags);
}

/* --- fixture ---------------------------------------------------------------------------------- */

static int setup(void **state)
{
    static struct driver driver;

    commits = COMMITS_WORK;
    full_for = NULL;
    driver_init(&driver, &assent_resource_kv, "map=16M");
    *state = &driver;
    return 0;
}

static int teardown(void **state)
{
    commits = COMMITS_WORK;
    full_for = NULL;
    driver_fini(*state);
    return 0;
}

static void expect_committed(struct driver *d, const char *key, const char *value)
{
    char command[64], json[128], error[256], *text = NULL;

    snprintf(command, sizeof(command), "get %s", key);
    snprintf(json, sizeof(json), "{\"key\":\"%s\",\"value\":%s}", key, value);
    assert_int_equal(d->ops->query(d->resource, command, &text, error, sizeof(error)), 0);
    assert_string_equal(text, json);
    free(text);
}

static struct assent_call in_batch(enum assent_operation operation, unsigned n)
{
    return (struct assent_call){
        .operation = operation, .id = driver_branch(n), .result = ASSENT_RM_UNKNOWN_CODE};
}

/* Changes the last byte but `from_end` of a record, or of the value of a key of our own. */
static void damage(struct driver *d, const char *table, const void *key, size_t key_size,
                   size_t from_end)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val name = {.mv_data = malloc(key_size), .mv_size = key_size}, value;
    uint8_t *copy;

    assert_non_null(name.mv_data);
    memcpy(name.mv_data, key, key_size);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 4), 0);
    assert_int_equal(mdb_env_open(env, d->directory, MDB_NOTLS, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, table, 0, &dbi), 0);
    assert_int_equal(mdb_get(txn, dbi, &name, &value), 0);
    copy = malloc(value.mv_size);
    assert_non_null(copy);
    memcpy(copy, value.mv_data, value.mv_size);
    assert_true(from_end < value.mv_size);
    copy[value.mv_size - 1 - from_end] ^= 1;
    value.mv_data = copy;
    assert_int_equal(mdb_put(txn, dbi, &name, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    free(copy);
    free(name.mv_data);
}

static void damage_record(struct driver *d, const char *table, unsigned n, size_t from_end)
{
    struct assent_branch_id id = driver_branch(n);
    uint8_t name[ASSENT_BRANCH_ID_BYTES];

    assent_branch_id_encode(&id, name);
    damage(d, table, name, sizeof(name), from_end);
}

/* --- damage ----------------------------------------------------------------------------------- */

static void damaged_intents_stop_the_open_and_name_the_branch(void **state)
{
    struct driver *d = *state;
    struct assent_branch_id id = driver_branch(1);
    char gtrid[ASSENT_GTRID_TEXT + 1], name[64];

    assent_gtrid_format(&id.gtrid, gtrid);
    snprintf(name, sizeof(name), "the intents of %s branch 1 is damaged", gtrid);
    expect_work_prepares(d, 1, "put a 1");
    driver_close(d);
    for (size_t at = 0; at < 18; at++) {
        damage_record(d, "intents", 1, at);
        assert_int_equal(driver_open(d), ASSENT_E_CORRUPT);
        assert_non_null(strstr(d->error, gtrid));
        damage_record(d, "intents", 1, at);
    }
    assert_int_equal(driver_open(d), 0);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
}

static void a_damaged_marker_is_no_evidence(void **state)
{
    struct driver *d = *state;

    expect_work_commits(d, 1, "put a 1");
    driver_close(d);
    damage_record(d, "markers", 1, 0);
    assert_int_equal(driver_open(d), 0);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_UNKNOWN_CODE);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_UNKNOWN_CODE);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_UNKNOWN_CODE);
    assert_int_equal(driver_begin(d, 1), ASSENT_RM_UNAVAILABLE);
}

static void a_file_cut_short_is_refused(void **state)
{
    struct driver *d = *state;
    char path[96];
    struct stat file;

    for (unsigned n = 1; n < 40; n++) {
        char text[32];

        snprintf(text, sizeof(text), "put k%u %u", n, n);
        expect_work_commits(d, n, text);
    }
    driver_close(d);
    snprintf(path, sizeof(path), "%s/data.mdb", d->directory);
    assert_int_equal(stat(path, &file), 0);
    assert_true(file.st_size >= 16 << 20); /* as its map: LMDB alone may leave it short of a page */
    assert_int_equal(truncate(path, 5 * 4096), 0);
    assert_int_equal(driver_open(d), ASSENT_E_CORRUPT);
    assert_non_null(strstr(d->error, "cut short"));
    assert_non_null(strstr(d->error, d->directory));
}

static void another_format_is_refused(void **state)
{
    struct driver *d = *state;

    driver_close(d);
    damage(d, "meta", "format", strlen("format"), 0);
    assert_int_equal(driver_open(d), ASSENT_E_VERSION);
    assert_non_null(strstr(d->error, "assent-kv 1"));
}

static void a_file_of_something_else_is_refused(void **state)
{
    struct driver *d = *state;
    char path[96], junk[8192];
    int fd;

    driver_close(d);
    snprintf(path, sizeof(path), "%s/data.mdb", d->directory);
    fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    memset(junk, 'x', sizeof(junk));
    assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
    close(fd);
    assert_int_equal(driver_open(d), ASSENT_E_CORRUPT);
}

static void a_directory_is_opened_once(void **state)
{
    struct driver *d = *state, second = *d;

    assert_int_equal(driver_open(&second), ASSENT_E_LOCKED);
    assert_non_null(strstr(second.error, d->directory));
    driver_reopen(d);
}

static void a_missing_directory_is_named(void **state)
{
    struct driver *d = *state, missing = {.ops = d->ops, .parameters = ""};

    strcpy(missing.directory, "/nonexistent/kv");
    assert_int_equal(driver_open(&missing), ASSENT_E_IO);
    assert_non_null(strstr(missing.error, "/nonexistent/kv"));
}

static void bad_parameters_are_named(void **state)
{
    static const struct {
        const char *parameters, *error;
    } rows[] = {
        {"map=1M", "kv: parameter \"map\" cannot be \"1M\""},
        {"map=64M,lock_wait=2", "kv: parameter \"lock_wait\" cannot be \"2\""},
        {"size=64M", "kv: unknown parameter \"size\""},
    };
    struct driver *d = *state;

    driver_close(d);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        d->parameters = rows[i].parameters;
        assert_int_equal(driver_open(d), ASSENT_E_CONFIG);
        assert_string_equal(d->error, rows[i].error);
    }
}

/* --- failing writes --------------------------------------------------------------------------- */

static void a_failed_commit_is_never_an_answer(struct driver *d, bool written)
{
    char error[256] = "";
    struct assent_call calls[] = {in_batch(ASSENT_OP_PREPARE, 2), in_batch(ASSENT_OP_COMMIT, 1),
                                  in_batch(ASSENT_OP_ROLLBACK, 3)};
    struct assent_call *pointers[] = {&calls[0], &calls[1], &calls[2]};

    expect_work_prepares(d, 1, "put a 1");
    expect_work(d, 2, "put b 2");
    expect_work(d, 3, "put c 3");
    commits = written ? COMMIT_WRITTEN : COMMIT_LOST;
    d->ops->batch(d->resource, pointers, 3);
    commits = COMMITS_WORK;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(calls[i].result, ASSENT_RM_UNAVAILABLE);
        assert_string_equal(calls[i].reason, "kv store: committing: Input/output error");
    }
    /* From here on nothing is known until what is on disk has been read again. */
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_UNAVAILABLE);
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_UNAVAILABLE);
    expect(d, ASSENT_OP_ROLLBACK, 3, ASSENT_RM_UNAVAILABLE);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_UNAVAILABLE);
    expect(d, ASSENT_OP_FORGET, 1, ASSENT_RM_UNAVAILABLE);
    assert_int_equal(driver_begin(d, 4), ASSENT_RM_UNAVAILABLE);
    assert_int_equal(driver_work(d, 2, "put d 4", 0).result, ASSENT_RM_UNAVAILABLE);
    assert_int_equal(d->ops->recover(d->resource, NULL, NULL), ASSENT_E_UNAVAILABLE);
    assert_int_equal(d->ops->ping(d->resource, error, sizeof(error)), ASSENT_E_UNAVAILABLE);
    assert_string_equal(error, "kv store: committing: Input/output error");
    driver_reopen(d);
}

static void a_failed_commit_that_was_lost_is_told_by_the_reopen(void **state)
{
    struct driver *d = *state;
    uint64_t mask;

    a_failed_commit_is_never_an_answer(d, false);
    assert_int_equal(driver_recover(d, &mask), 1);
    assert_true(mask == 1u << 1);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_NOT_FOUND);
}

static void a_failed_commit_that_was_written_is_told_by_the_reopen(void **state)
{
    struct driver *d = *state;
    uint64_t mask;

    a_failed_commit_is_never_an_answer(d, true);
    assert_int_equal(driver_recover(d, &mask), 1);
    assert_true(mask == 1u << 2);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED);
    expect_committed(d, "a", "\"1\"");
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_OK);
}

static void one_branch_without_room_does_not_spoil_its_batch(void **state)
{
    struct driver *d = *state;
    struct assent_branch_id id = driver_branch(2);
    char name[ASSENT_BRANCH_ID_BYTES];
    struct assent_call calls[3], *pointers[3];

    assent_branch_id_encode(&id, (uint8_t *)name);
    for (unsigned n = 1; n <= 3; n++) {
        char text[32];

        snprintf(text, sizeof(text), "put k%u %u", n, n);
        expect_work(d, n, text);
        calls[n - 1] = in_batch(ASSENT_OP_PREPARE, n);
        pointers[n - 1] = &calls[n - 1];
    }
    full_for = name;
    full_for_size = sizeof(name);
    d->ops->batch(d->resource, pointers, 3);
    full_for = NULL;
    assert_int_equal(calls[0].result, ASSENT_RM_OK);
    assert_int_equal(calls[1].result, ASSENT_RM_FAILED);
    assert_non_null(strstr(calls[1].reason, "MAP_FULL"));
    assert_int_equal(calls[2].result, ASSENT_RM_OK);
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    assert_int_equal(driver_recover(d, NULL), 2);
}

static void a_commit_without_room_is_done_later(void **state)
{
    struct driver *d = *state;

    expect_work_prepares(d, 1, "put first 1\nput key 1");
    expect_work(d, 2, "put key2 2");
    full_for = "key";
    full_for_size = 3;
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_RETRY);
    full_for_size = 4;
    full_for = "key2";
    expect(d, ASSENT_OP_ONE_PHASE, 2, ASSENT_RM_REFUSED);
    full_for = NULL;
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_NOT_FOUND);
    expect_committed(d, "first", "null");
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect_committed(d, "key", "\"1\"");
}

/* --- a map that fills up ---------------------------------------------------------------------- */

#define BIG 60000

static void work_of_a_mebibyte(struct driver *d, unsigned n)
{
    char text[BIG + 64];

    for (unsigned i = 0; i < 16; i++) {
        int head = snprintf(text, sizeof(text), "put k%u-%u ", n, i);

        memset(text + head, 'v', BIG);
        text[head + BIG] = '\0';
        expect_work(d, n, text);
    }
}

static void what_is_prepared_commits_when_nothing_more_can_be_prepared(void **state)
{
    struct driver *d = *state;
    struct assent_call calls[24], *pointers[24];
    unsigned prepared = 0;

    for (unsigned n = 0; n < 24; n++) {
        work_of_a_mebibyte(d, n);
        calls[n] = in_batch(ASSENT_OP_PREPARE, n);
        pointers[n] = &calls[n];
    }
    d->ops->batch(d->resource, pointers, 24);
    for (unsigned n = 0; n < 24; n++) {
        if (calls[n].result == ASSENT_RM_OK) {
            prepared++;
        } else {
            assert_int_equal(calls[n].result, ASSENT_RM_FAILED);
            assert_string_equal(calls[n].reason, "kv store: 80 % of its map are in use");
        }
        calls[n].operation =
            calls[n].result == ASSENT_RM_OK ? ASSENT_OP_COMMIT : ASSENT_OP_ROLLBACK;
    }
    assert_int_equal(prepared, 13); /* of about a mebibyte each, in 80 % of 16 */
    d->ops->batch(d->resource, pointers, 24);
    for (unsigned n = 0; n < 24; n++)
        assert_int_equal(calls[n].result, ASSENT_RM_OK);
    work_of_a_mebibyte(d, 31);
    expect(d, ASSENT_OP_ONE_PHASE, 31, ASSENT_RM_REFUSED);
    /* A larger map makes room again. */
    driver_close(d);
    d->parameters = "map=64M";
    assert_int_equal(driver_open(d), 0);
    work_of_a_mebibyte(d, 32);
    expect(d, ASSENT_OP_ONE_PHASE, 32, ASSENT_RM_OK);
}

static void freed_pages_are_room(void **state)
{
    struct driver *d = *state;
    unsigned n = 0;

    /* The file never shrinks: the second round can only go where the first one was. */
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 13; i++) {
            work_of_a_mebibyte(d, ++n);
            expect(d, ASSENT_OP_ONE_PHASE, n, ASSENT_RM_OK);
        }
        for (unsigned i = 0, first = n - 12; i < 13; i++) {
            char text[512] = "";

            for (unsigned k = 0; k < 16; k++)
                snprintf(text + strlen(text), sizeof(text) - strlen(text), "del k%u-%u\n",
                         first + i, k);
            expect_work_commits(d, ++n, text);
        }
    }
}

/* --- forget ----------------------------------------------------------------------------------- */

static void a_forgotten_marker_goes_with_the_next_batch(void **state)
{
    struct driver *d = *state;

    expect_work_commits(d, 1, "put a 1");
    expect_work_commits(d, 2, "put a 2");
    expect(d, ASSENT_OP_FORGET, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED);
    expect_work_commits(d, 3, "put a 3");
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_ABORTED);
    expect(d, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_WAS_COMMITTED);
    expect(d, ASSENT_OP_FORGET, 2, ASSENT_RM_OK);
    driver_reopen(d); /* or with the close */
    expect(d, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_WAS_ABORTED);
    expect(d, ASSENT_OP_EVIDENCE, 3, ASSENT_RM_WAS_COMMITTED);
}

/* Of another log, or of a later transaction, nothing goes. */
static void what_earlier_lives_have_left_goes_with_a_later_forget(void **state)
{
    struct driver *d = *state;
    struct assent_call foreign = {.id = driver_branch(1), .work = "put b 1", .work_size = 7};

    foreign.id.log_id[0]++;
    d->ops->begin(d->resource, &foreign);
    d->ops->work(d->resource, &foreign);
    free(foreign.reply);
    foreign.operation = ASSENT_OP_ONE_PHASE;
    d->ops->commit(d->resource, &foreign);
    assert_int_equal(foreign.result, ASSENT_RM_OK);
    expect_work_commits(d, 1, "put a 1");
    driver_reopen(d);
    expect_work_commits(d, 3, "put a 3");
    expect_work_commits(d, 5, "put a 5");
    expect(d, ASSENT_OP_FORGET, 3, ASSENT_RM_OK);
    expect_work_commits(d, 6, "put a 6");
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_ABORTED);
    expect(d, ASSENT_OP_EVIDENCE, 5, ASSENT_RM_WAS_COMMITTED);
    foreign.operation = ASSENT_OP_EVIDENCE;
    d->ops->evidence(d->resource, &foreign);
    assert_int_equal(foreign.result, ASSENT_RM_WAS_COMMITTED);
}

/* A marker that cannot be deleted is nobody's trouble, and goes when it can. */
static void a_forget_without_room_fails_no_other_call(void **state)
{
    struct driver *d = *state;
    struct assent_branch_id id = driver_branch(1);
    char name[ASSENT_BRANCH_ID_BYTES];
    struct assent_call calls[2] = {in_batch(ASSENT_OP_PREPARE, 3), in_batch(ASSENT_OP_COMMIT, 2)};
    struct assent_call *pointers[2] = {&calls[0], &calls[1]};

    assent_branch_id_encode(&id, (uint8_t *)name);
    expect_work_commits(d, 1, "put a 1");
    expect_work_prepares(d, 2, "put b 2");
    expect_work(d, 3, "put c 3");
    expect(d, ASSENT_OP_FORGET, 1, ASSENT_RM_OK);
    full_for = name;
    full_for_size = sizeof(name);
    d->ops->batch(d->resource, pointers, 2);
    assert_int_equal(calls[0].result, ASSENT_RM_OK);
    assert_int_equal(calls[1].result, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 3, ASSENT_RM_OK);
    expect_committed(d, "c", "\"3\"");
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED);
    full_for = NULL;
    expect_work_commits(d, 4, "put d 4");
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_ABORTED);
    expect(d, ASSENT_OP_EVIDENCE, 3, ASSENT_RM_WAS_COMMITTED);
}

static void forgets_do_not_wait_without_bound(void **state)
{
    struct driver *d = *state;

    expect_work_commits(d, 1, "put a 1");
    expect(d, ASSENT_OP_FORGET, 1, ASSENT_RM_OK);
    for (unsigned n = 2; n < 1024; n++)
        expect(d, ASSENT_OP_FORGET, n, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED);
    expect(d, ASSENT_OP_FORGET, 1024, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_ABORTED);
}

static void forgets_do_not_wait_for_the_disk_until_one_must(void **state)
{
    struct driver *d = *state;
    struct assent_call call = {.operation = ASSENT_OP_FORGET, .no_wait = true};

    expect_work_commits(d, 1, "put a 1");
    for (unsigned n = 1; n < 1024; n++) {
        call.id = driver_branch(n);
        d->ops->forget(d->resource, &call);
        assert_int_equal(call.result, ASSENT_RM_OK);
        assert_false(call.would_wait);
    }
    call.id = driver_branch(1024);
    d->ops->forget(d->resource, &call);
    assert_true(call.would_wait);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED);
    expect_work_commits(d, 2000, "put a 2");
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_ABORTED);
}

static void forgetting_a_prepared_branch_keeps_its_marker_to_come(void **state)
{
    struct driver *d = *state;

    expect_work_prepares(d, 1, "put a 1");
    expect(d, ASSENT_OP_FORGET, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(damaged_intents_stop_the_open_and_name_the_branch),
        TEST(a_damaged_marker_is_no_evidence),
        TEST(a_file_cut_short_is_refused),
        TEST(another_format_is_refused),
        TEST(a_file_of_something_else_is_refused),
        TEST(a_directory_is_opened_once),
        TEST(a_missing_directory_is_named),
        TEST(bad_parameters_are_named),
        TEST(a_failed_commit_that_was_lost_is_told_by_the_reopen),
        TEST(a_failed_commit_that_was_written_is_told_by_the_reopen),
        TEST(one_branch_without_room_does_not_spoil_its_batch),
        TEST(a_commit_without_room_is_done_later),
        TEST(what_is_prepared_commits_when_nothing_more_can_be_prepared),
        TEST(freed_pages_are_room),
        TEST(a_forgotten_marker_goes_with_the_next_batch),
        TEST(what_earlier_lives_have_left_goes_with_a_later_forget),
        TEST(a_forget_without_room_fails_no_other_call),
        TEST(forgets_do_not_wait_without_bound),
        TEST(forgets_do_not_wait_for_the_disk_until_one_must),
        TEST(forgetting_a_prepared_branch_keeps_its_marker_to_come),
    };

    return cmocka_run_group_tests_name("kv_store", tests, NULL, NULL);
}
