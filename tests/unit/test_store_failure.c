/* test_store_failure.c: refusals at opening, damage, failing writes and syncs, sudden death. */
#include "store_fixture.h"

#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "rng.h"
#include "runtime.h"

static const char *file_in(struct fixture *f, const char *name)
{
    static char path[300];

    snprintf(path, sizeof(path), "%s/%s", f->directory, name);
    return path;
}

static void write_file(struct fixture *f, const char *name, const char *text)
{
    FILE *file = fopen(file_in(f, name), "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Both ways of opening give this error, with a sentence that has this in it. */
static void assert_refused(struct fixture *f, int error, const char *sentence)
{
    f->error[0] = '\0';
    assert_int_equal(assent_store_open(&f->options, &f->store, f->error, sizeof(f->error)), error);
    assert_non_null(strstr(f->error, sentence));
    assert_non_null(strstr(f->error, f->directory));
    f->error[0] = '\0';
    assert_int_equal(assent_store_open_read_only(f->directory, f->options.owner, &f->store,
                                                 f->error, sizeof(f->error)),
                     error);
    assert_non_null(strstr(f->error, sentence));
    assert_null(f->store);
}

static void a_second_process_is_told_who_has_the_lock(void **state)
{
    struct fixture *f = *state;
    char expected[32], byte;
    int ready[2], leave[2];
    pid_t child;

    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(leave), 0);
    child = fork();
    if (child == 0) {
        close(leave[1]);
        if (assent_store_open(&f->options, &f->store, f->error, sizeof(f->error)) != 0)
            _exit(9);
        if (write(ready[1], "x", 1) != 1 || read(leave[0], &byte, 1) != 0)
            _exit(8);
        assent_store_close(f->store);
        _exit(0);
    }
    close(leave[0]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    snprintf(expected, sizeof(expected), "in use by process %ld", (long)child);
    assert_refused(f, ASSENT_E_LOCKED, expected);
    close(leave[1]);
    close(ready[0]);
    assert_int_equal(wait_exit(child), 0);
    open_store(f);
    /* The same process is another one too. */
    assert_int_equal(
        assent_store_open_read_only(f->directory, "assentd", NULL, f->error, sizeof(f->error)),
        ASSENT_E_LOCKED);
}

static void the_directory_is_private_and_marked(void **state)
{
    struct fixture *f = *state;
    struct stat directory;
    char text[64] = "";
    FILE *file;

    open_store(f);
    assert_int_equal(stat(f->directory, &directory), 0);
    assert_int_equal(directory.st_mode & 07777, 0700);
    file = fopen(file_in(f, "FORMAT"), "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    fclose(file);
    assert_string_equal(text, "assent 1 assentd\n");
}

static void another_format_is_refused(void **state)
{
    struct fixture *f = *state;

    open_store(f);
    close_store(f);
    write_file(f, "FORMAT", "assent 2 assentd and more\n");
    assert_refused(f, ASSENT_E_VERSION, "format 2 is newer");
    write_file(f, "FORMAT", "assent 1 assent-agent\n");
    assert_refused(f, ASSENT_E_VERSION, "belongs to assent-agent, not to assentd");
    write_file(f, "FORMAT", "assent 1 assentd");
    assert_refused(f, ASSENT_E_CORRUPT, "FORMAT is damaged");
    write_file(f, "FORMAT", "assent 0 assentd\n");
    assert_refused(f, ASSENT_E_CORRUPT, "FORMAT is damaged");
    write_file(f, "FORMAT", "");
    assert_refused(f, ASSENT_E_CORRUPT, "FORMAT is damaged");
    write_file(f, "FORMAT", "assent 1 assentd\n");
    open_store(f);
    assert_int_equal(assent_store_incarnation(f->store), 2);
}

static void a_lost_or_cut_log_is_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t value[1000] = {0};

    open_store(f);
    for (uint64_t i = 1; i <= 100; i++)
        assert_int_equal(put_number(f->store, i, value, sizeof(value), 0, i), 0);
    wait_for(f, 100);
    close_store(f);
    assert_int_equal(truncate(file_in(f, "data.mdb"), 5 * 4096), 0);
    assert_refused(f, ASSENT_E_CORRUPT, "data.mdb is cut off");
    assert_int_equal(truncate(file_in(f, "data.mdb"), 5000), 0);
    assert_refused(f, ASSENT_E_CORRUPT, "data.mdb is cut off");
    assert_int_equal(truncate(file_in(f, "data.mdb"), 100), 0);
    assert_refused(f, ASSENT_E_CORRUPT, "data.mdb");
    assert_int_equal(truncate(file_in(f, "data.mdb"), 0), 0);
    assert_refused(f, ASSENT_E_CORRUPT, "data.mdb is empty");
    assert_int_equal(unlink(file_in(f, "data.mdb")), 0);
    assert_refused(f, ASSENT_E_CORRUPT, "data.mdb: No such file");
}

static void records_without_a_format_are_refused_and_an_unused_log_is_not(void **state)
{
    struct fixture *f = *state;

    open_store(f);
    close_store(f);
    /* As after a crash while the log was made. */
    assert_int_equal(unlink(file_in(f, "FORMAT")), 0);
    open_store(f);
    put_and_wait(f, 1, "v", 1, 0);
    close_store(f);
    assert_int_equal(unlink(file_in(f, "FORMAT")), 0);
    assert_refused(f, ASSENT_E_CORRUPT, "no FORMAT");
}

/* Behind the store's back: puts the stored value of a transaction under a number of a table, with
 * one byte changed. */
static void misplace(struct fixture *f, uint64_t number, const char *to_table, uint64_t to,
                     size_t offset, uint8_t change)
{
    uint8_t key[8], to_key[8], copy[256];
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi table;
    MDB_val k = {.mv_size = sizeof(key), .mv_data = key}, v;

    key_of(number, key);
    key_of(to, to_key);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 8), 0);
    assert_int_equal(mdb_env_open(env, f->directory, MDB_NOTLS, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, "transaction", 0, &table), 0);
    assert_int_equal(mdb_get(txn, table, &k, &v), 0);
    assert_true(v.mv_size <= sizeof(copy) && offset < v.mv_size);
    memcpy(copy, v.mv_data, v.mv_size);
    copy[offset] ^= change;
    v.mv_data = copy;
    k.mv_data = to_key;
    assert_int_equal(mdb_dbi_open(txn, to_table, 0, &table), 0);
    assert_int_equal(mdb_put(txn, table, &k, &v, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void damage(struct fixture *f, uint64_t number, size_t offset, uint8_t change)
{
    misplace(f, number, "transaction", number, offset, change);
}

static bool see_status(const void *key, size_t key_size, const void *value, size_t value_size,
                       int status, void *context)
{
    int **next = context;

    (void)key;
    (void)value;
    assert_int_equal(key_size, 8);
    assert_true(value_size > 0);
    *(*next)++ = status;
    return true;
}

static void a_damaged_record_is_reported_by_get_and_scan(void **state)
{
    struct fixture *f = *state;
    int statuses[5], *next = statuses;
    uint8_t found[16];
    size_t size;

    open_store(f);
    for (uint64_t i = 1; i <= 5; i++)
        put_and_wait(f, i, "value", 5, 0);
    close_store(f);
    damage(f, 2, 5, 0x01);  /* a bit of the value */
    damage(f, 3, 1, 0x80);  /* a bit of the checksum */
    damage(f, 4, 0, 1 ^ 2); /* version 2 */
    damage(f, 5, 0, 1);     /* version 0: none */
    open_store(f);
    assert_int_equal(get_number(f->store, 1, found, sizeof(found), &size), 0);
    assert_int_equal(get_number(f->store, 2, found, sizeof(found), &size), ASSENT_E_CORRUPT);
    assert_int_equal(get_number(f->store, 3, found, sizeof(found), &size), ASSENT_E_CORRUPT);
    assert_int_equal(get_number(f->store, 4, found, sizeof(found), &size), ASSENT_E_VERSION);
    assert_int_equal(get_number(f->store, 5, found, sizeof(found), &size), ASSENT_E_CORRUPT);
    assert_int_equal(
        assent_store_scan(f->store, ASSENT_TABLE_TRANSACTION, NULL, 0, 0, see_status, &next), 0);
    assert_int_equal(next - statuses, 5);
    assert_int_equal(statuses[0], 0);
    assert_int_equal(statuses[1], ASSENT_E_CORRUPT);
    assert_int_equal(statuses[2], ASSENT_E_CORRUPT);
    assert_int_equal(statuses[3], ASSENT_E_VERSION);
    assert_int_equal(statuses[4], ASSENT_E_CORRUPT);
}

static void a_record_that_turns_up_elsewhere_is_damage(void **state)
{
    struct fixture *f = *state;
    uint8_t found[16], key[8];
    size_t size;

    open_store(f);
    put_and_wait(f, 1, "value", 5, 0);
    close_store(f);
    misplace(f, 1, "transaction", 2, 0, 0);
    misplace(f, 1, "branch", 1, 0, 0);
    open_store(f);
    key_of(1, key);
    assert_int_equal(get_number(f->store, 1, found, sizeof(found), &size), 0);
    assert_int_equal(get_number(f->store, 2, found, sizeof(found), &size), ASSENT_E_CORRUPT);
    assert_int_equal(assent_store_get(f->store, ASSENT_TABLE_BRANCH, key, sizeof(key), found,
                                      sizeof(found), &size),
                     ASSENT_E_CORRUPT);
}

/* --- Processes that die. A child reports each completed number to the parent over a pipe. --- */

static void report(const struct assent_completion *completion, void *context)
{
    const int *fd = context;

    if (write(*fd, &completion->token, sizeof(completion->token)) != sizeof(completion->token))
        _exit(9);
}

static void process_all(struct fixture *f, int fd, int timeout_ms)
{
    struct pollfd p = {.fd = assent_store_fd(f->store, 0), .events = POLLIN};

    while (poll(&p, 1, timeout_ms) == 1) {
        assent_store_process(f->store, 0, report, &fd);
        timeout_ms = 0;
    }
}

/* Puts `window` records at a time with rising keys from first to last, until this process dies. */
_Noreturn static void put_until_death(struct fixture *f, int fd, uint64_t first, uint64_t last,
                                      uint64_t window)
{
    static uint8_t value[1000];

    for (uint64_t i = first; i <= last; i++) {
        if (put_number(f->store, i, value, sizeof(value), 0, i) != 0)
            _exit(9);
        if (i % window == 0)
            process_all(f, fd, DEADLINE_MS);
    }
    _exit(0);
}

static pid_t start_child(int *ret_fd, int *child_fd)
{
    int ends[2];
    pid_t child;

    assert_int_equal(pipe(ends), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        *child_fd = ends[1];
    } else {
        close(ends[1]);
        *ret_fd = ends[0];
    }
    return child;
}

static void child_opens(struct fixture *f)
{
    if (assent_store_open(&f->options, &f->store, f->error, sizeof(f->error)) != 0) {
        fprintf(stderr, "%s\n", f->error);
        _exit(9);
    }
}

/* Reads up to `most` reported numbers; returns the last, or 0 if there was none. */
static uint64_t read_reports(int fd, size_t most)
{
    uint64_t token, last = 0;

    for (size_t i = 0; i < most; i++) {
        if (read(fd, &token, sizeof(token)) != sizeof(token))
            break;
        assert_true(last == 0 || token == last + 1);
        last = token;
    }
    return last;
}

static void a_full_map_ends_the_process_without_a_completion(void **state)
{
    struct fixture *f = *state;
    int fd, child_fd;
    uint64_t last;
    pid_t child;

    f->options.map_bytes = 256 * 1024;
    child = start_child(&fd, &child_fd);
    if (child == 0) {
        child_opens(f);
        put_until_death(f, child_fd, 1, 1000, 1);
    }
    last = read_reports(fd, 1000);
    assert_int_equal(wait_exit(child), ASSENT_EXIT_RUNTIME);
    close(fd);
    assert_true(last > 50);
    /* A larger map is the way out, and says so by working. */
    f->options.map_bytes = 1024 * 1024;
    open_store(f);
    for (uint64_t i = 1; i <= last; i++)
        assert_true(has_number(f, i));
    assert_false(has_number(f, last + 2));
}

static void a_failing_sync_ends_the_process_without_a_completion(void **state)
{
    struct fixture *f = *state;
    int fd, child_fd;
    pid_t child = start_child(&fd, &child_fd);

    if (child == 0) {
        child_opens(f);
        if (put_number(f->store, 1, "v", 1, 0, 1) != 0)
            _exit(9);
        process_all(f, child_fd, DEADLINE_MS);
        atomic_store(&sync_mode, SYNC_FAILS);
        put_until_death(f, child_fd, 2, 10, 1);
    }
    assert_int_equal(read_reports(fd, 1000), 1);
    assert_int_equal(wait_exit(child), ASSENT_EXIT_RUNTIME);
    close(fd);
    open_store(f);
    assert_true(has_number(f, 1));
}

static void a_failing_write_ends_the_process_without_a_completion(void **state)
{
    struct fixture *f = *state;
    int fd, child_fd;
    pid_t child = start_child(&fd, &child_fd);

    if (child == 0) {
        const struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};

        child_opens(f);
        if (put_number(f->store, 1, "v", 1, 0, 1) != 0)
            _exit(9);
        process_all(f, child_fd, DEADLINE_MS);
        /* SIGXFSZ keeps its deadly default: the writer must not be ended by a signal. */
        if (setrlimit(RLIMIT_FSIZE, &none) < 0)
            _exit(9);
        put_until_death(f, child_fd, 2, 10, 1);
    }
    assert_int_equal(read_reports(fd, 1000), 1);
    assert_int_equal(wait_exit(child), ASSENT_EXIT_RUNTIME);
    close(fd);
    open_store(f);
    assert_true(has_number(f, 1));
    assert_false(has_number(f, 2));
}

static void a_damaged_record_is_never_decided_over(void **state)
{
    static const char commit[] = {ASSENT_DECISION_COMMIT}, abort_[] = {ASSENT_DECISION_ABORT};
    struct fixture *f = *state;
    int fd, child_fd;
    char found;
    size_t size;
    pid_t child;

    open_store(f);
    put_and_wait(f, 1, commit, 1, ASSENT_PUT_DECIDE);
    close_store(f);
    damage(f, 1, 5, 0x03); /* commit would read as abort */
    child = start_child(&fd, &child_fd);
    if (child == 0) {
        child_opens(f);
        if (put_number(f->store, 1, abort_, 1, ASSENT_PUT_DECIDE, 1) != 0)
            _exit(9);
        process_all(f, child_fd, DEADLINE_MS);
        _exit(0);
    }
    assert_int_equal(read_reports(fd, 1), 0);
    assert_int_equal(wait_exit(child), ASSENT_EXIT_DATA);
    close(fd);
    open_store(f);
    assert_int_equal(get_number(f->store, 1, &found, 1, &size), ASSENT_E_CORRUPT);
}

static void what_was_completed_outlives_kill_9(void **state)
{
    enum { CYCLES = 40 };
    struct fixture *f = *state;
    uint64_t rng = 1, last = 0;

    for (uint32_t cycle = 1; cycle <= CYCLES; cycle++) {
        uint64_t count = 1 + assent_rng_below(&rng, 100), seen, first = last + 1;
        uint64_t window = 1 + assent_rng_below(&rng, 16);
        int fd, child_fd;
        pid_t child = start_child(&fd, &child_fd);

        if (child == 0) {
            child_opens(f);
            put_until_death(f, child_fd, first, first + 100000, window);
        }
        last = read_reports(fd, count);
        assert_int_equal(kill(child, SIGKILL), 0);
        seen = read_reports(fd, SIZE_MAX);
        last = seen != 0 ? seen : last;
        assert_int_equal(wait_exit(child), -1);
        close(fd);
        open_store(f);
        assert_int_equal(assent_store_incarnation(f->store), 2 * cycle);
        for (uint64_t i = first; i <= last; i++)
            assert_true(has_number(f, i));
        /* Beyond them at most what was queued when it died. */
        assert_false(has_number(f, last + 2 * window + 1));
        while (has_number(f, last + 1))
            last++;
        close_store(f);
    }
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_second_process_is_told_who_has_the_lock),
        T(the_directory_is_private_and_marked),
        T(another_format_is_refused),
        T(a_lost_or_cut_log_is_refused),
        T(records_without_a_format_are_refused_and_an_unused_log_is_not),
        T(a_damaged_record_is_reported_by_get_and_scan),
        T(a_record_that_turns_up_elsewhere_is_damage),
        T(a_full_map_ends_the_process_without_a_completion),
        T(a_failing_sync_ends_the_process_without_a_completion),
        T(a_failing_write_ends_the_process_without_a_completion),
        T(a_damaged_record_is_never_decided_over),
        T(what_was_completed_outlives_kill_9),
    };

    return cmocka_run_group_tests_name("store failure", tests, NULL, NULL);
}
