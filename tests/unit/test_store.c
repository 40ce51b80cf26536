/* test_store.c: group commit, completions, decide-once, durability, identity, stats, room. */
#include "store_fixture.h"

#include <linux/magic.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

/* What the file system of every directory pretends to be; the executable's symbol goes first. */
static long pretended_type;
static atomic_bool disk_full;

__attribute__((visibility("default"))) int fstatfs(int fd, struct statfs *status)
{
    int result = (int)syscall(SYS_fstatfs, fd, status);

    status->f_type = (__fsword_t)pretended_type;
    return result;
}

__attribute__((visibility("default"))) int fstatvfs(int fd, struct statvfs *status)
{
    struct statfs real;

    if (syscall(SYS_fstatfs, fd, &real) < 0)
        return -1;
    *status = (struct statvfs){.f_bavail = atomic_load(&disk_full) ? 0 : real.f_bavail,
                               .f_frsize = (unsigned long)real.f_frsize};
    return 0;
}

static bool count_one(const void *key, size_t key_size, const void *value, size_t value_size,
                      int status, void *context)
{
    size_t *count = context;

    (void)key;
    (void)key_size;
    (void)value;
    (void)value_size;
    assert_int_equal(status, 0);
    ++*count;
    return true;
}

static size_t count_records(struct fixture *f)
{
    size_t count = 0;

    assert_int_equal(
        assent_store_scan(f->store, ASSENT_TABLE_TRANSACTION, NULL, 0, 0, count_one, &count), 0);
    return count;
}

static void completions_come_in_the_order_of_the_puts(void **state)
{
    struct fixture *f = *state;
    uint8_t value[128] = {0};

    open_store(f);
    for (uint64_t i = 1; i <= 2000; i++)
        assert_int_equal(put_number(f->store, i, value, sizeof(value), 0, i), 0);
    wait_for(f, 2000);
    for (size_t i = 0; i < 2000; i++)
        assert_int_equal(f->tokens[i], i + 1);
    assert_int_equal(f->token2, 6000);
    assert_int_equal(f->standing, ASSENT_DECISION_NONE);
}

static void what_gathers_during_a_sync_is_one_batch(void **state)
{
    struct fixture *f = *state;
    struct assent_store_stats stats;

    open_store(f);
    hold_writer(f, 1);
    for (uint64_t i = 2; i <= 501; i++)
        assert_int_equal(put_number(f->store, i, "v", 1, 0, i), 0);
    assent_store_stats(f->store, &stats);
    assert_int_equal(stats.queued, 501);
    assert_int_equal(stats.batches, 0);
    sem_post(&sync_released);
    wait_for(f, 501);
    assent_store_stats(f->store, &stats);
    assert_int_equal(stats.batches, 2);
    assert_int_equal(stats.records, 501);
    assert_int_equal(stats.forced_records, 501);
    assert_int_equal(stats.queued, 0);
    assert_int_equal(stats.batch_bucket[0], 1); /* 1 record */
    assert_int_equal(stats.batch_bucket[9], 1); /* up to 512 */
    assert_true(stats.commit_us_sum >= stats.commit_us_max && stats.commit_us_max > 0);
    assert_int_equal(stats.map_bytes, f->options.map_bytes);
    assert_true(stats.used_bytes > 0 && stats.used_bytes < stats.map_bytes);
}

static void nothing_is_delivered_before_its_sync(void **state)
{
    struct fixture *f = *state;

    open_store(f);
    hold_writer(f, 1);
    assent_store_process(f->store, 0, on_done, f);
    assert_int_equal(f->completed, 0);
    assert_false(has_number(f, 1)); /* reads see committed records only */
    sem_post(&sync_released);
    wait_for(f, 1);
    assert_true(has_number(f, 1));
}

static void records_outlive_the_store(void **state)
{
    struct fixture *f = *state;
    uint8_t big[ASSENT_STORE_VALUE_MAX], found[ASSENT_STORE_VALUE_MAX];
    size_t size;

    memset(big, 0xa5, sizeof(big));
    open_store(f);
    put_and_wait(f, 1, big, sizeof(big), 0);
    put_and_wait(f, 2, NULL, 0, 0);
    put_and_wait(f, 3, "three", 5, 0);
    close_store(f);
    open_store(f);
    assert_int_equal(get_number(f->store, 1, found, sizeof(found), &size), 0);
    assert_int_equal(size, sizeof(big));
    assert_memory_equal(found, big, sizeof(big));
    assert_int_equal(get_number(f->store, 2, found, sizeof(found), &size), 0);
    assert_int_equal(size, 0);
    assert_int_equal(get_number(f->store, 3, found, 4, &size), ASSENT_E_TOO_BIG);
    assert_int_equal(get_number(f->store, 3, found, 5, &size), 0);
    assert_memory_equal(found, "three", 5);
    assert_int_equal(get_number(f->store, 4, found, 5, &size), ASSENT_E_NOT_FOUND);
}

static void closing_commits_what_is_queued(void **state)
{
    struct fixture *f = *state;

    open_store(f);
    hold_writer(f, 1);
    assert_int_equal(put_number(f->store, 2, "b", 1, 0, 0), 0);
    assert_int_equal(put_number(f->store, 3, "c", 1, ASSENT_PUT_LAZY, 0), 0);
    sem_post(&sync_released);
    close_store(f);
    open_store(f);
    assert_true(has_number(f, 1) && has_number(f, 2) && has_number(f, 3));
}

static void lazy_records_ride_with_a_forced_one(void **state)
{
    struct fixture *f = *state;
    struct assent_store_stats stats;

    open_store(f); /* lazy_flush_ms is an hour */
    assert_int_equal(put_number(f->store, 1, "a", 1, ASSENT_PUT_LAZY, 1), 0);
    assert_int_equal(put_number(f->store, 2, "b", 1, ASSENT_PUT_LAZY, 0), 0);
    assert_int_equal(put_number(f->store, 3, "c", 1, 0, 3), 0);
    wait_for(f, 2);
    assert_int_equal(f->tokens[0], 1);
    assert_int_equal(f->tokens[1], 3);
    assert_true(has_number(f, 2));
    assent_store_stats(f->store, &stats);
    assert_int_equal(stats.batches, 1);
    assert_int_equal(stats.lazy_records, 2);
    assert_int_equal(stats.forced_records, 1);
}

static void a_forced_record_wakes_a_writer_that_waits_with_lazy_ones(void **state)
{
    struct fixture *f = *state;

    open_store(f);
    for (uint64_t i = 1; i <= 100; i++) {
        assert_int_equal(put_number(f->store, 2 * i, "a", 1, ASSENT_PUT_LAZY, 0), 0);
        /* Time enough, in most rounds, for the writer to wake and wait for company. */
        for (int k = 0; k < 300; k++)
            assert_false(has_number(f, 2 * i));
        assert_int_equal(put_number(f->store, 2 * i + 1, "b", 1, 0, 1), 0);
        wait_for(f, i);
    }
}

static void reads_go_on_while_the_writer_commits(void **state)
{
    struct fixture *f = *state;
    struct assent_store_stats stats;
    uint8_t value[300] = {0};
    uint64_t next = 1;

    open_store(f);
    while (f->completed < 3000) {
        for (int i = 0; i < 10 && next <= 3000; i++, next++)
            assert_int_equal(put_number(f->store, next, value, sizeof(value), 0, next), 0);
        assent_store_process(f->store, 0, on_done, f);
        if (f->completed > 0)
            assert_true(has_number(f, f->completed));
        /* At least what was completed, and any of it that is committed by now. */
        assert_true(count_records(f) >= f->completed);
        assent_store_stats(f->store, &stats);
        assert_true(stats.records >= f->completed);
        assert_true(assent_store_has_room(f->store));
        if (next > 3000)
            wait_for(f, 3000);
    }
}

static void lazy_records_alone_go_after_their_time(void **state)
{
    struct fixture *f = *state;
    struct timespec before, after;

    f->options.lazy_flush_ms = 50;
    open_store(f);
    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_int_equal(put_number(f->store, 1, "a", 1, ASSENT_PUT_LAZY, 1), 0);
    wait_for(f, 1);
    clock_gettime(CLOCK_MONOTONIC, &after);
    /* Less one, since the store counts whole milliseconds. */
    assert_true(
        (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >= 49);
}

static void the_first_decision_stands(void **state)
{
    static const char commit[] = {ASSENT_DECISION_COMMIT, 'c'};
    static const char more[] = {ASSENT_DECISION_COMMIT, 'm'};
    static const char abort_[] = {ASSENT_DECISION_ABORT, 'a'};
    static const char none[] = {ASSENT_DECISION_NONE, 'n'};
    struct fixture *f = *state;
    char found[2];
    size_t size;

    open_store(f);
    put_and_wait(f, 1, none, 2, ASSENT_PUT_DECIDE);
    assert_int_equal(f->standing, ASSENT_DECISION_NONE);
    put_and_wait(f, 1, commit, 2, ASSENT_PUT_DECIDE);
    assert_int_equal(f->standing, ASSENT_DECISION_COMMIT);
    put_and_wait(f, 1, abort_, 2, ASSENT_PUT_DECIDE);
    assert_int_equal(f->standing, ASSENT_DECISION_COMMIT);
    put_and_wait(f, 1, none, 2, ASSENT_PUT_DECIDE);
    assert_int_equal(f->standing, ASSENT_DECISION_COMMIT);
    assert_int_equal(get_number(f->store, 1, found, 2, &size), 0);
    assert_memory_equal(found, commit, 2);
    /* The same decision may be written again with more to it. */
    put_and_wait(f, 1, more, 2, ASSENT_PUT_DECIDE);
    assert_int_equal(f->standing, ASSENT_DECISION_COMMIT);
    close_store(f);
    open_store(f);
    put_and_wait(f, 1, abort_, 2, ASSENT_PUT_DECIDE);
    assert_int_equal(f->standing, ASSENT_DECISION_COMMIT);
    assert_int_equal(get_number(f->store, 1, found, 2, &size), 0);
    assert_memory_equal(found, more, 2);
}

static void two_decisions_in_one_batch_are_one(void **state)
{
    static const char commit[] = {ASSENT_DECISION_COMMIT}, abort_[] = {ASSENT_DECISION_ABORT};
    struct fixture *f = *state;
    char found;
    size_t size;

    open_store(f);
    hold_writer(f, 9);
    assert_int_equal(put_number(f->store, 1, abort_, 1, ASSENT_PUT_DECIDE, 1), 0);
    assert_int_equal(put_number(f->store, 1, commit, 1, ASSENT_PUT_DECIDE, 2), 0);
    sem_post(&sync_released);
    wait_for(f, 3);
    assert_int_equal(f->standing, ASSENT_DECISION_ABORT);
    assert_int_equal(get_number(f->store, 1, &found, 1, &size), 0);
    assert_int_equal(found, ASSENT_DECISION_ABORT);
}

static void delete_removes_and_a_missing_key_is_no_error(void **state)
{
    struct fixture *f = *state;

    open_store(f);
    put_and_wait(f, 1, "a", 1, 0);
    put_and_wait(f, 1, NULL, 0, ASSENT_PUT_DELETE);
    assert_false(has_number(f, 1));
    put_and_wait(f, 1, NULL, 0, ASSENT_PUT_DELETE);
    put_and_wait(f, 1, "b", 1, 0);
    assert_true(has_number(f, 1));
}

struct seen {
    size_t count, stop_after;
    uint8_t last[8];
    struct assent_store *store;
};

static bool see(const void *key, size_t key_size, const void *value, size_t value_size, int status,
                void *context)
{
    struct seen *seen = context;
    uint8_t again[16];
    size_t size;

    assert_int_equal(status, 0);
    assert_int_equal(key_size, 8);
    assert_true(seen->count == 0 || memcmp(key, seen->last, 8) > 0);
    memcpy(seen->last, key, 8);
    /* A visit may read. */
    assert_int_equal(assent_store_get(seen->store, ASSENT_TABLE_TRANSACTION, key, key_size, again,
                                      sizeof(again), &size),
                     0);
    assert_int_equal(size, value_size);
    assert_memory_equal(again, value, size);
    return ++seen->count != seen->stop_after;
}

static size_t scan_from(struct fixture *f, const void *after, size_t limit, size_t stop_after)
{
    struct seen seen = {.stop_after = stop_after, .store = f->store};

    assert_int_equal(assent_store_scan(f->store, ASSENT_TABLE_TRANSACTION, after, after ? 8 : 0,
                                       limit, see, &seen),
                     0);
    return seen.count;
}

static void scan_goes_on_after_a_key_within_its_limit(void **state)
{
    struct fixture *f = *state;
    uint8_t key[8];

    open_store(f);
    assert_int_equal(scan_from(f, NULL, 0, 0), 0);
    for (uint64_t i = 10; i <= 1000; i += 10) /* rises */
        assert_int_equal(put_number(f->store, i, "value", 5, 0, i), 0);
    for (uint64_t i = 995; i < 1000; i -= 10) /* falls, between the others */
        assert_int_equal(put_number(f->store, i, "value", 5, 0, i), 0);
    wait_for(f, 200);
    assert_int_equal(scan_from(f, NULL, 0, 0), 200);
    assert_int_equal(scan_from(f, NULL, 7, 0), 7);
    assert_int_equal(scan_from(f, NULL, 0, 3), 3);
    key_of(500, key);
    assert_int_equal(scan_from(f, key, 0, 0), 100);
    key_of(501, key);
    assert_int_equal(scan_from(f, key, 0, 0), 100);
    key_of(1000, key);
    assert_int_equal(scan_from(f, key, 0, 0), 0);
}

static void bounds_are_kept(void **state)
{
    struct fixture *f = *state;
    static uint8_t big[ASSENT_STORE_VALUE_MAX + 1];
    struct assent_put put = {
        .table = ASSENT_TABLE_BRANCH, .key = big, .key_size = ASSENT_STORE_KEY_MAX + 1};

    f->options.queue_max = 3;
    open_store(f);
    assert_int_equal(assent_store_put(f->store, &put), ASSENT_E_TOO_BIG);
    assert_int_equal(put_number(f->store, 1, big, sizeof(big), 0, 1), ASSENT_E_TOO_BIG);
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(put_number(f->store, i, "v", 1, 0, i), 0);
    /* Durable or not, they count until they are delivered. */
    assert_int_equal(put_number(f->store, 4, "v", 1, 0, 4), ASSENT_E_LIMIT);
    wait_for(f, 3);
    assert_int_equal(put_number(f->store, 4, "v", 1, 0, 4), 0);
    wait_for(f, 4);
}

static void put_again(const struct assent_completion *completion, void *context)
{
    struct fixture *f = context;

    on_done(completion, f);
    if (completion->token < 100)
        assert_int_equal(
            put_number(f->store, completion->token + 1, "v", 1, 0, completion->token + 1), 0);
}

static void a_completion_may_put_again(void **state)
{
    struct fixture *f = *state;

    f->options.queue_max = 1;
    open_store(f);
    assert_int_equal(put_number(f->store, 1, "v", 1, 0, 1), 0);
    while (f->completed < 100) {
        struct pollfd p = {.fd = assent_store_fd(f->store, 0), .events = POLLIN};

        assert_int_equal(poll(&p, 1, DEADLINE_MS), 1);
        assent_store_process(f->store, 0, put_again, f);
    }
    assert_true(has_number(f, 100));
}

static void each_opening_raises_the_incarnation_and_keeps_the_log_id(void **state)
{
    struct fixture *f = *state;
    uint8_t first[ASSENT_LOG_ID_BYTES], zero[ASSENT_LOG_ID_BYTES] = {0};
    uint64_t age_ms;

    open_store(f);
    assert_int_equal(assent_store_incarnation(f->store), 1);
    assert_int_equal(assent_store_first_incarnation(f->store), 1);
    memcpy(first, assent_store_log_id(f->store), sizeof(first));
    assert_memory_not_equal(first, zero, sizeof(first));
    /* Old enough that a store just opened cannot be as old by itself. */
    while (assent_store_age_ms(f->store) < 300)
        poll(NULL, 0, 10);
    put_and_wait(f, 1, "v", 1, 0);
    age_ms = assent_store_age_ms(f->store);
    close_store(f);
    for (uint32_t i = 2; i < 5; i++) {
        open_store(f);
        assert_int_equal(assent_store_incarnation(f->store), i);
        assert_memory_equal(assent_store_log_id(f->store), first, sizeof(first));
        assert_true(assent_store_age_ms(f->store) >= age_ms);
        age_ms = assent_store_age_ms(f->store);
        close_store(f);
    }
    assert_int_equal(assent_store_open_read_only(f->directory, "assentd", &f->store, f->error, 256),
                     0);
    assert_int_equal(assent_store_incarnation(f->store), 4);
    assert_memory_equal(assent_store_log_id(f->store), first, sizeof(first));
    assert_true(assent_store_age_ms(f->store) >= age_ms);
    assert_true(has_number(f, 1));
    close_store(f);
    open_store(f);
    assert_int_equal(assent_store_incarnation(f->store), 5);
}

static void a_new_log_may_begin_with_any_incarnation(void **state)
{
    struct fixture *f = *state;

    f->options.first_incarnation = 7000;
    open_store(f);
    assert_int_equal(assent_store_incarnation(f->store), 7000);
    assert_int_equal(assent_store_first_incarnation(f->store), 7000);
    close_store(f);
    f->options.first_incarnation = 9; /* of a log that is there it changes nothing */
    open_store(f);
    assert_int_equal(assent_store_incarnation(f->store), 7001);
    assert_int_equal(assent_store_first_incarnation(f->store), 7000);
}

static void the_last_incarnation_is_never_passed(void **state)
{
    struct fixture *f = *state;

    f->options.first_incarnation = 0xffffff;
    open_store(f);
    assert_int_equal(assent_store_incarnation(f->store), 0xffffff);
    close_store(f);
    assert_int_equal(assent_store_open(&f->options, &f->store, f->error, sizeof(f->error)),
                     ASSENT_E_LIMIT);
    assert_non_null(strstr(f->error, "16777215"));
}

static void puts_until_no_room(struct fixture *f, uint64_t *count)
{
    static uint8_t value[400];

    while (assent_store_has_room(f->store)) {
        ++*count;
        assert_true(*count < 5000);
        put_and_wait(f, *count, value, sizeof(value), 0);
    }
}

static void room_ends_at_80_percent_and_comes_back_with_deletes(void **state)
{
    struct fixture *f = *state;
    struct assent_store_stats stats;
    uint64_t count = 0, more = 0;

    f->options.map_bytes = 1024 * 1024;
    open_store(f);
    assert_true(assent_store_has_room(f->store));
    puts_until_no_room(f, &count);
    assent_store_stats(f->store, &stats);
    assert_true(stats.used_bytes > stats.map_bytes / 100 * 80);
    assert_true(stats.used_bytes < stats.map_bytes / 100 * 83);
    /* Full pages: records in the order of their keys are not spread over half empty ones. */
    assert_true(count * 400 > stats.used_bytes / 10 * 8);
    /* What was prepared before can still be decided. */
    put_and_wait(f, count + 1, "decision", 8, 0);
    for (uint64_t i = 1; i <= count; i++)
        assert_int_equal(put_number(f->store, i, NULL, 0, ASSENT_PUT_DELETE, 1), 0);
    wait_for(f, f->completed + count);
    assert_true(assent_store_has_room(f->store));
    more = count + 1;
    puts_until_no_room(f, &more);
    assert_true(more - count > count / 2);
    close_store(f);
    open_store(f);
    assert_false(assent_store_has_room(f->store));
}

static void a_low_disk_is_no_room(void **state)
{
    struct fixture *f = *state;

    f->options.disk_low_bytes = UINT64_MAX;
    open_store(f);
    assert_false(assent_store_has_room(f->store));
    put_and_wait(f, 1, "v", 1, 0);
    assert_false(assent_store_has_room(f->store));
}

static void room_on_the_disk_that_comes_back_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct timespec now, deadline;

    f->options.disk_low_bytes = 1;
    atomic_store(&disk_full, true);
    open_store(f);
    assert_false(assent_store_has_room(f->store));
    atomic_store(&disk_full, false);
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    do {
        poll(NULL, 0, 10);
        clock_gettime(CLOCK_MONOTONIC, &now);
        assert_true(now.tv_sec - deadline.tv_sec < DEADLINE_MS / 1000);
    } while (!assent_store_has_room(f->store));
}

static void storage_that_may_forget_is_refused(void **state)
{
    static const struct {
        long type;
        const char *name;
    } cases[] = {{NFS_SUPER_MAGIC, " NFS,"}, {(int32_t)CIFS_SUPER_MAGIC, " CIFS,"},
                 {SMB_SUPER_MAGIC, " SMB,"}, {SMB2_SUPER_MAGIC, " SMB,"},
                 {TMPFS_MAGIC, " tmpfs,"},   {RAMFS_MAGIC, " ramfs,"}};
    struct fixture *f = *state;

    f->options.unsafe_storage = false;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        pretended_type = cases[i].type;
        assert_int_equal(assent_store_open(&f->options, &f->store, f->error, sizeof(f->error)),
                         ASSENT_E_REFUSED);
        assert_non_null(strstr(f->error, cases[i].name));
        assert_non_null(strstr(f->error, f->directory));
        assert_non_null(strstr(f->error, "unsafe_storage"));
        assert_null(f->store);
    }
    pretended_type = EXT4_SUPER_MAGIC;
    open_store(f);
    close_store(f);
    /* Nothing is written there, so it can be read wherever it was copied to, or allowed by name. */
    pretended_type = NFS_SUPER_MAGIC;
    assert_int_equal(assent_store_open_read_only(f->directory, f->options.owner, &f->store,
                                                 f->error, sizeof(f->error)),
                     0);
    close_store(f);
    f->options.unsafe_storage = true;
    open_store(f);
    pretended_type = EXT4_SUPER_MAGIC;
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(completions_come_in_the_order_of_the_puts),
        T(what_gathers_during_a_sync_is_one_batch),
        T(nothing_is_delivered_before_its_sync),
        T(records_outlive_the_store),
        T(closing_commits_what_is_queued),
        T(lazy_records_ride_with_a_forced_one),
        T(a_forced_record_wakes_a_writer_that_waits_with_lazy_ones),
        T(reads_go_on_while_the_writer_commits),
        T(lazy_records_alone_go_after_their_time),
        T(the_first_decision_stands),
        T(two_decisions_in_one_batch_are_one),
        T(delete_removes_and_a_missing_key_is_no_error),
        T(scan_goes_on_after_a_key_within_its_limit),
        T(bounds_are_kept),
        T(a_completion_may_put_again),
        T(each_opening_raises_the_incarnation_and_keeps_the_log_id),
        T(a_new_log_may_begin_with_any_incarnation),
        T(the_last_incarnation_is_never_passed),
        T(room_ends_at_80_percent_and_comes_back_with_deletes),
        T(a_low_disk_is_no_room),
        T(room_on_the_disk_that_comes_back_is_noticed),
        T(storage_that_may_forget_is_refused),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
