/*
 * test_xa_berkeley_db.c: a vendor's switch for real: db_xa_switch of Berkeley DB 5.3 with the
 * plug-in of docs/examples, and what it does wrong after a crash: xa_recover lists XIDs without
 * format and lengths, and xa_commit answers XAER_PROTO for a branch that its recovery has restored.
 */
#include "xa_fixture.h"

#include <dirent.h>
#include <signal.h>

#define QUIRKS "quirks=shared-rmid+recover-zeroed-xid+end-by-plugin"

static const char *parameters_with(const char *more)
{
    static char text[4][1024];
    static unsigned next;
    char *made = text[next++ % 4];

    snprintf(made, sizeof(text[0]), "host=%s switch=libdb-5.3.so:db_xa_switch work=%s %s open=%s",
             getenv("ASSENT_TEST_XA_HOST"), getenv("ASSENT_TEST_XA_BERKELEY_DB"), more, home);
    return made;
}

static int setup(void **state)
{
    static struct driver driver;
    DIR *directory = opendir(home);
    struct dirent *entry;

    while ((entry = readdir(directory)) != NULL)
        (void)unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    driver_init(&driver, &assent_resource_xa, parameters_with(QUIRKS));
    *state = &driver;
    return 0;
}

static int teardown(void **state)
{
    driver_fini(*state);
    return 0;
}

/* kill -9 of the helper process, the only child of this one; its follower is there. */
static void kill_helper(struct driver *d)
{
    uint64_t deadline_ms = assent_now_ms() + 20000;
    DIR *tasks = opendir("/proc/self/task");
    char error[256];
    struct dirent *entry;
    int pid = 0;

    while (pid == 0 && (entry = readdir(tasks)) != NULL) {
        char path[300];
        FILE *file;

        snprintf(path, sizeof(path), "/proc/self/task/%s/children", entry->d_name);
        if ((file = fopen(path, "r")) == NULL)
            continue;
        (void)!fscanf(file, "%d", &pid);
        fclose(file);
    }
    closedir(tasks);
    assert_true(pid > 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    while (kill(pid, 0) == 0) /* until it is buried */
        assert_true(assent_now_ms() < deadline_ms);
    while (d->ops->ping(d->resource, error, sizeof(error)) != 0)
        assert_true(assent_now_ms() < deadline_ms);
}

static void prepare(struct driver *d, unsigned n, const char *text)
{
    expect_work(d, n, text);
    expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
}

static void expect_stored(struct driver *d, const char *key, const char *value)
{
    char text[64];

    snprintf(text, sizeof(text), "get %s", key);
    if (value != NULL)
        expect_reply(d, 90, text, value);
    else
        expect_work(d, 90, text);
    expect(d, ASSENT_OP_PREPARE, 90, ASSENT_RM_READ_ONLY);
}

static void branches_commit_and_roll_back(void **state)
{
    struct driver *d = *state;

    prepare(d, 1, "put a 1");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    assert_int_equal(driver_recover(d, NULL), 1);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect_stored(d, "a", "1");
    prepare(d, 2, "put a 2");
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    expect_stored(d, "a", "1");
    expect_work(d, 3, "put a 3");
    expect(d, ASSENT_OP_ONE_PHASE, 3, ASSENT_RM_OK);
    expect_stored(d, "a", "3");
    expect_work(d, 4, "put a 4");
    expect(d, ASSENT_OP_ROLLBACK, 4, ASSENT_RM_OK);
    expect_stored(d, "a", "3");
    assert_int_equal(driver_recover(d, NULL), 0);
}

static void a_lock_of_another_branch_is_a_failure_and_not_a_wait(void **state)
{
    struct driver *d = *state;
    struct assent_call call;

    expect_work(d, 1, "put a 1");
    assert_int_equal(driver_begin(d, 2), ASSENT_RM_OK);
    call = driver_work(d, 2, "put a 2", 1000);
    assert_int_equal(call.result, ASSENT_RM_FAILED);
    assert_non_null(strstr(call.reason, "DB_LOCK_"));
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_FAILED);
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    prepare(d, 3, "put a 3"); /* nothing is left locked */
    expect(d, ASSENT_OP_COMMIT, 3, ASSENT_RM_OK);
}

static void what_is_gone_is_never_success(void **state)
{
    struct driver *d = *state;

    prepare(d, 1, "put a 1");
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect_reason(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_NOT_FOUND, "xa_commit: XAER_NOTA (-4)");
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_NOT_FOUND); /* it keeps no proof */
    expect(d, ASSENT_OP_FORGET, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 7, ASSENT_RM_NOT_FOUND);
    expect(d, ASSENT_OP_PREPARE, 7, ASSENT_RM_NOT_FOUND);
}

static void its_broken_recovery_is_never_success_without_the_quirks(void **state)
{
    struct driver *d = *state;

    driver_close(d);
    d->parameters = parameters_with("quirks=shared-rmid");
    driver_reopen(d);
    prepare(d, 1, "put a 1");
    kill_helper(d);
    assert_int_equal(d->ops->recover(d->resource, NULL, NULL), ASSENT_E_UNAVAILABLE);
    for (int repeat = 0; repeat < 2; repeat++) {
        expect_reason(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_UNKNOWN_CODE, "xa_commit: XAER_PROTO (-6)");
        expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_UNKNOWN_CODE);
    }
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_UNAVAILABLE);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_UNAVAILABLE);
    d->parameters = parameters_with(QUIRKS);
    driver_reopen(d);
    assert_int_equal(driver_recover(d, NULL), 1);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect_stored(d, "a", "1");
}

static void restored_branches_go_either_way(void **state)
{
    struct driver *d = *state;
    uint64_t mask;

    prepare(d, 41, "put k1 1");
    kill_helper(d);
    assert_int_equal(driver_recover(d, &mask), 1);
    expect(d, ASSENT_OP_PREPARE, 41, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 41, ASSENT_RM_OK);
    kill_helper(d); /* again, before anything was decided */
    assert_int_equal(driver_recover(d, &mask), 1);
    assert_true(mask == 1ull << 41);
    expect(d, ASSENT_OP_COMMIT, 41, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 41, ASSENT_RM_NOT_FOUND);
    expect_stored(d, "k1", "1");
    prepare(d, 42, "put k1 2");
    kill_helper(d);
    expect(d, ASSENT_OP_ROLLBACK, 42, ASSENT_RM_OK);
    expect(d, ASSENT_OP_ROLLBACK, 42, ASSENT_RM_NOT_FOUND);
    expect_stored(d, "k1", "1");
    kill_helper(d);
    expect_stored(d, "k1", "1");
    assert_int_equal(driver_recover(d, NULL), 0);
}

/* With many of some hundred bytes, branches lie on pages side by side; one of thousands needs a
 * page of its own, and so the first one. */
static const char *long_put(char key, char fill, unsigned size)
{
    static char text[4000];

    memset(text, fill, size);
    memcpy(text, "put ", 4);
    text[4] = key;
    text[5] = ' ';
    text[size] = '\0';
    return text;
}

static void restored_and_new_branches_do_not_disturb_each_other(void **state)
{
    struct driver *d = *state;
    uint64_t mask;

    for (unsigned n = 0; n < 20; n++) {
        expect_work(d, 1, long_put((char)('a' + n), 'x', 800));
        expect(d, ASSENT_OP_ONE_PHASE, 1, ASSENT_RM_OK);
    }
    prepare(d, 3, long_put('a', 'y', 800));
    kill_helper(d);
    prepare(d, 4, long_put('t', 'z', 800));
    assert_int_equal(driver_recover(d, &mask), 2);
    assert_true(mask == (1u << 3 | 1u << 4));
    expect(d, ASSENT_OP_COMMIT, 3, ASSENT_RM_OK); /* by the plug-in, while 4 is prepared by XA */
    assert_int_equal(driver_recover(d, &mask), 1);
    expect(d, ASSENT_OP_COMMIT, 4, ASSENT_RM_OK);
    expect_stored(d, "a", long_put('a', 'y', 800) + 6);
    expect_stored(d, "t", long_put('t', 'z', 800) + 6);
    assert_int_equal(driver_recover(d, NULL), 0);
}

/* It locks the database's first page, as for want of a free page, so nobody can open that. */
static void a_restored_branch_that_locks_all_keeps_nobody_waiting(void **state)
{
    struct driver *d = *state;

    prepare(d, 1, long_put('a', 'x', 3000));
    kill_helper(d);
    assert_int_equal(driver_begin(d, 2), ASSENT_RM_OK);
    assert_int_equal(driver_work(d, 2, "put b 1", 1000).result, ASSENT_RM_FAILED);
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    assert_int_equal(driver_recover(d, NULL), 1);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect_stored(d, "a", long_put('a', 'x', 3000) + 6);
}

static void a_commit_is_on_disk_at_its_answer(void **state)
{
    struct driver *d = *state;

    prepare(d, 1, "put a 1");
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    kill_helper(d);
    assert_int_equal(driver_recover(d, NULL), 0);
    expect_stored(d, "a", "1");
    expect_work(d, 2, "put a 2");
    expect(d, ASSENT_OP_ONE_PHASE, 2, ASSENT_RM_OK);
    kill_helper(d);
    expect_stored(d, "a", "2");
}

static void an_orderly_restart_keeps_what_is_prepared(void **state)
{
    struct driver *d = *state;

    prepare(d, 1, "put a 1");
    driver_reopen(d);
    assert_int_equal(driver_recover(d, NULL), 1);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect_stored(d, "a", "1");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(branches_commit_and_roll_back),
        TEST(a_lock_of_another_branch_is_a_failure_and_not_a_wait),
        TEST(what_is_gone_is_never_success),
        TEST(its_broken_recovery_is_never_success_without_the_quirks),
        TEST(restored_branches_go_either_way),
        TEST(restored_and_new_branches_do_not_disturb_each_other),
        TEST(a_restored_branch_that_locks_all_keeps_nobody_waiting),
        TEST(a_commit_is_on_disk_at_its_answer),
        TEST(an_orderly_restart_keeps_what_is_prepared),
    };
#undef TEST

    if (!find_double())
        return 1;
    return cmocka_run_group_tests_name("xa_berkeley_db", tests, NULL, NULL);
}
