/* test_kv_work.c: the commands of the kv resource, what they refuse, and how they say it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "resource_driver.h"

static int setup(void **state)
{
    static struct driver driver;

    driver_init(&driver, &assent_resource_kv, "map=64M");
    *state = &driver;
    return 0;
}

static int teardown(void **state)
{
    driver_fini(*state);
    return 0;
}

static void expect_query(struct driver *d, const char *command, const char *json)
{
    char error[256], *text = NULL;

    assert_int_equal(d->ops->query(d->resource, command, &text, error, sizeof(error)), 0);
    assert_string_equal(text, json);
    free(text);
}

/* --- commands --------------------------------------------------------------------------------- */

static void a_branch_sees_its_own_writes(void **state)
{
    struct driver *d = *state;

    expect_reply(d, 1, "put a one\nget a\nput a two  words \nget a\ndel a\nget a\nadd a 5\nget a\n",
                 "{\"results\":[{\"command\":\"put\",\"key\":\"a\"},"
                 "{\"command\":\"get\",\"key\":\"a\",\"value\":\"one\"},"
                 "{\"command\":\"put\",\"key\":\"a\"},"
                 "{\"command\":\"get\",\"key\":\"a\",\"value\":\"two  words \"},"
                 "{\"command\":\"del\",\"key\":\"a\"},"
                 "{\"command\":\"get\",\"key\":\"a\",\"value\":null},"
                 "{\"command\":\"add\",\"key\":\"a\",\"value\":\"5\"},"
                 "{\"command\":\"get\",\"key\":\"a\",\"value\":\"5\"}]}");
    /* Nobody else does. */
    expect_query(d, "get a", "{\"key\":\"a\",\"value\":null}");
}

static void committed_values_are_seen_by_the_next(void **state)
{
    struct driver *d = *state;

    expect_work_commits(d, 1, "put alice 100\nput bob \nput gone x");
    expect_work_commits(d, 2, "add alice -40 min 0 max 1000\ndel gone\ndel never");
    expect_reply(
        d, 3, "get alice\ncheck alice 60\ncheck bob \nget gone",
        "{\"results\":[{\"command\":\"get\",\"key\":\"alice\",\"value\":\"60\"},"
        "{\"command\":\"check\",\"key\":\"alice\"},{\"command\":\"check\",\"key\":\"bob\"},"
        "{\"command\":\"get\",\"key\":\"gone\",\"value\":null}]}");
    expect_query(d, "dump",
                 "{\"entries\":{\"alice\":\"60\",\"bob\":\"\"},\"prepared\":0,"
                 "\"truncated\":false}");
}

static void rolled_back_writes_are_never_seen(void **state)
{
    struct driver *d = *state;

    expect_work_commits(d, 1, "put a 1");
    expect_work(d, 2, "put a 2\nput b 2");
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_OK);
    expect_query(d, "dump", "{\"entries\":{\"a\":\"1\"},\"prepared\":1,\"truncated\":false}");
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    expect_query(d, "dump", "{\"entries\":{\"a\":\"1\"},\"prepared\":0,\"truncated\":false}");
}

static void empty_work_and_empty_lines_do_nothing(void **state)
{
    struct driver *d = *state;

    expect_reply(d, 1, "", "{\"results\":[]}");
    expect_reply(d, 1, "\n  \n\n", "{\"results\":[]}");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_READ_ONLY);
}

static void the_last_write_of_each_key_stands(void **state)
{
    struct driver *d = *state;

    expect_work_commits(d, 1, "put a 1\nput b 2\nput c 3\nput b 4\nput a 5\nput c 6");
    expect_query(d, "get a", "{\"key\":\"a\",\"value\":\"5\"}");
    expect_query(d, "get b", "{\"key\":\"b\",\"value\":\"4\"}");
    expect_query(d, "get c", "{\"key\":\"c\",\"value\":\"6\"}");
}

static void text_of_any_language_round_trips(void **state)
{
    struct driver *d = *state;

    expect_work_commits(d, 1, "put \xc3\xa4\xe2\x82\xac \"\xf0\x9f\x98\x80\\\ttab");
    expect_query(d, "get \xc3\xa4\xe2\x82\xac",
                 "{\"key\":\"\xc3\xa4\xe2\x82\xac\",\"value\":"
                 "\"\\\"\xf0\x9f\x98\x80\\\\\\ttab\"}");
}

/* --- refusals --------------------------------------------------------------------------------- */

static void work_that_fails_says_why(void **state)
{
    static const struct {
        const char *work, *reason;
    } rows[] = {
        {"put a 1\npt b 2", "line 2: unknown command \"pt\""},
        {"\n\nPUT a 1", "line 3: unknown command \"PUT\""},
        {"p\x1bt a", "line 1: unknown command \"p?t\""},
        {"get", "line 1: get: the key is missing"},
        {"put a", "line 1: put: the value is missing"},
        {"put a x\x01y", "line 1: put: the value has control bytes"},
        {"put a x\r\nget a", "line 1: put: the value has control bytes"},
        {"get a\x7f", "line 1: get: the key has control bytes"},
        {"get a b", "line 1: get: unexpected \"b\""},
        {"del a b", "line 1: del: unexpected \"b\""},
        {"put \xff x", "the work is not UTF-8 text"},
        {"add a", "line 1: add: the amount is missing"},
        {"add a 1x", "line 1: add: the amount \"1x\" is not a 64-bit integer"},
        {"add a -", "line 1: add: the amount \"-\" is not a 64-bit integer"},
        {"add a +-1", "line 1: add: the amount \"+-1\" is not a 64-bit integer"},
        {"add a 9223372036854775808",
         "line 1: add: the amount \"9223372036854775808\" is not a 64-bit integer"},
        {"add a 1 min", "line 1: add: min is missing"},
        {"add a 1 max zero", "line 1: add: max \"zero\" is not a 64-bit integer"},
        {"add a 1 min 0 min 1", "line 1: add: unexpected \"min\""},
        {"add a 1 least 0", "line 1: add: unexpected \"least\""},
        {"add alice -50 min 0", "alice: 30 - 50 = -20 is below min 0"},
        {"add alice 1 max 30", "alice: 30 + 1 = 31 is above max 30"},
        {"add new 5 min 6", "new: 0 + 5 = 5 is below min 6"},
        {"add top 1", "top: 9223372036854775807 + 1 overflows 64 bits"},
        {"add low -9223372036854775808", "low: -2 - 9223372036854775808 overflows 64 bits"},
        {"add word 1", "word: \"hello\" is not a 64-bit integer"},
        {"check alice 31", "alice: is \"30\", not \"31\""},
        {"check alice 30 ", "alice: is \"30\", not \"30 \""},
        {"check nobody 1", "nobody: is missing, not \"1\""},
    };
    struct driver *d = *state;
    unsigned n = 2;

    expect_work_commits(
        d, 1,
        "put alice 30\nput word hello\nput top 9223372036854775807\nput low -2\n"
        "add top -1\nadd top +1\nadd edge -9223372036854775808 min -9223372036854775808");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++, n++) {
        expect_work_fails(d, n, rows[i].work, rows[i].reason);
        expect(d, ASSENT_OP_ROLLBACK, n, ASSENT_RM_OK);
    }
}

static void a_failed_branch_can_only_roll_back(void **state)
{
    static const char reason[] = "a: 0 - 1 = -1 is below min 0";
    struct driver *d = *state;

    expect_work(d, 1, "put b 1");
    expect_work_fails(d, 1, "add a -1 min 0", reason);
    expect_work_fails(d, 1, "get b", reason);
    expect_reason(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_FAILED, reason);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    expect_work_fails(d, 2, "add a -1 min 0", reason);
    expect_reason(d, ASSENT_OP_ONE_PHASE, 2, ASSENT_RM_REFUSED, reason);
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_NOT_FOUND);
    expect_query(d, "dump", "{\"entries\":{},\"prepared\":0,\"truncated\":false}");
}

static void a_prepared_branch_takes_no_more_work(void **state)
{
    struct driver *d = *state;

    expect_work(d, 1, "put a 1");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    assert_int_equal(driver_begin(d, 1), ASSENT_RM_FAILED);
    assert_int_equal(driver_work(d, 1, "put a 2", 0).result, ASSENT_RM_FAILED);
    expect(d, ASSENT_OP_ONE_PHASE, 1, ASSENT_RM_UNKNOWN_CODE);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect_query(d, "get a", "{\"key\":\"a\",\"value\":\"1\"}");
}

static void only_a_prepared_branch_commits_in_two_phases(void **state)
{
    struct driver *d = *state;

    expect_work(d, 1, "put a 1");
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_UNKNOWN_CODE);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
}

static void work_that_has_committed_cannot_run_again(void **state)
{
    struct driver *d = *state;

    expect_work_commits(d, 1, "add a 1");
    expect_work_commits(d, 2, "add b 1");
    assert_int_equal(driver_begin(d, 1), ASSENT_RM_WAS_COMMITTED);
    driver_reopen(d);
    assert_int_equal(driver_begin(d, 2), ASSENT_RM_WAS_COMMITTED);
    assert_int_equal(driver_begin(d, 1), ASSENT_RM_WAS_COMMITTED);
    assert_int_equal(driver_work(d, 1, "add a 1", 0).result, ASSENT_RM_REFUSED);
    expect_query(d, "get a", "{\"key\":\"a\",\"value\":\"1\"}");
}

/* --- bounds ----------------------------------------------------------------------------------- */

/* "COMMAND KKKK...": a line with one long part. */
static char *long_line(const char *before, char filler, size_t count, const char *after)
{
    size_t head = strlen(before);
    char *text = malloc(head + count + strlen(after) + 1);

    assert_non_null(text);
    memcpy(text, before, head);
    memset(text + head, filler, count);
    strcpy(text + head + count, after);
    return text;
}

static void keys_and_values_end_at_their_bounds(void **state)
{
    struct driver *d = *state;
    char *fits = long_line("put ", 'k', 255, " v"), *over = long_line("put ", 'k', 256, " v");
    char *value_fits = long_line("put a ", 'v', 65536, ""), *value_over;

    value_over = long_line("put a ", 'v', 65537, "");
    expect_work_commits(d, 1, fits);
    expect_work_fails(d, 2, over, "line 1: put: the key is over 255 bytes");
    expect_work_commits(d, 3, value_fits);
    expect_work_fails(d, 4, value_over, "line 1: put: the value is over 65536 bytes");
    free(fits);
    free(over);
    free(value_fits);
    free(value_over);
}

static void a_long_key_is_cut_in_a_reason_between_characters(void **state)
{
    struct driver *d = *state;
    char work[160] = "check ", reason[160] = "";

    for (int i = 0; i < 40; i++)
        strcat(work, "\xe2\x82\xac");
    strcat(work, " 1");
    for (int i = 0; i < 21; i++) /* 63 bytes; the 22nd character does not fit 64 */
        strcat(reason, "\xe2\x82\xac");
    strcat(reason, ": is missing, not \"1\"");
    expect_work_fails(d, 1, work, reason);
}

static void a_branch_holds_a_bounded_amount(void **state)
{
    struct driver *d = *state;
    char *line = NULL, before[32];
    struct assent_call call = {.result = ASSENT_RM_OK};
    unsigned i;

    assert_int_equal(driver_begin(d, 1), ASSENT_RM_OK);
    for (i = 0; i < 20 && call.result == ASSENT_RM_OK; i++) {
        snprintf(before, sizeof(before), "put k%u ", i);
        line = long_line(before, 'v', 65000, "");
        call = driver_work(d, 1, line, 0);
        free(line);
        free(call.reply);
    }
    assert_int_equal(i, 17); /* 16 values of 65000 bytes fit 1 MiB */
    assert_string_equal(call.reason, "line 1: put: the branch would hold over 1048576 bytes");
    /* Writing over one key again and again is no growth. */
    for (i = 0; i < 40; i++) {
        line = long_line("put same ", 'v', 65000, "");
        expect_work(d, 2, line);
        free(line);
    }
}

static void open_branches_are_bounded(void **state)
{
    struct driver *d = *state;

    for (unsigned n = 0; n < 100000; n++)
        assert_int_equal(driver_begin(d, n), ASSENT_RM_OK);
    assert_int_equal(driver_begin(d, 100000), ASSENT_RM_FAILED);
    expect(d, ASSENT_OP_ROLLBACK, 5, ASSENT_RM_OK);
    assert_int_equal(driver_begin(d, 100000), ASSENT_RM_OK);
}

static void a_reply_is_bounded(void **state)
{
    struct driver *d = *state;
    char *line = long_line("put a ", 'v', 65000, ""), gets[128] = "";

    expect_work_commits(d, 1, line);
    free(line);
    for (int i = 0; i < 9; i++)
        strcat(gets, "get a\n");
    expect_work_fails(d, 2, gets, "line 9: get: the reply would be over 524288 bytes");
}

static void commands_of_one_work_are_bounded(void **state)
{
    struct driver *d = *state;
    char *text = malloc(10001 * 6 + 1);

    assert_non_null(text);
    for (int i = 0; i < 10001; i++)
        memcpy(text + (size_t)i * 6, "get a\n", 7);
    expect_work_fails(d, 1, text, "line 10001: over 10000 commands");
    free(text);
}

static void a_dump_is_bounded_and_says_so(void **state)
{
    struct driver *d = *state;
    char error[256], *text = NULL, *line;

    for (unsigned n = 1; n <= 9; n++) {
        char before[32];

        snprintf(before, sizeof(before), "put k%u ", n);
        line = long_line(before, 'v', 65000, "");
        expect_work_commits(d, n, line);
        free(line);
    }
    assert_int_equal(d->ops->query(d->resource, "dump", &text, error, sizeof(error)), 0);
    assert_non_null(strstr(text, "\"truncated\":true"));
    assert_true(strlen(text) < 600000);
    free(text);
}

static void unknown_queries_are_refused(void **state)
{
    static const char *const bad[] = {"",         "get",     "get ",    "get a b",
                                      "dump all", "put a 1", "get \xff"};
    struct driver *d = *state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char error[256] = "", *text = NULL;

        assert_int_equal(d->ops->query(d->resource, bad[i], &text, error, sizeof(error)),
                         ASSENT_E_INVALID);
        assert_null(text);
        assert_true(strlen(error) > 0);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_branch_sees_its_own_writes),
        TEST(committed_values_are_seen_by_the_next),
        TEST(rolled_back_writes_are_never_seen),
        TEST(empty_work_and_empty_lines_do_nothing),
        TEST(the_last_write_of_each_key_stands),
        TEST(text_of_any_language_round_trips),
        TEST(work_that_fails_says_why),
        TEST(a_failed_branch_can_only_roll_back),
        TEST(a_prepared_branch_takes_no_more_work),
        TEST(only_a_prepared_branch_commits_in_two_phases),
        TEST(work_that_has_committed_cannot_run_again),
        TEST(keys_and_values_end_at_their_bounds),
        TEST(a_long_key_is_cut_in_a_reason_between_characters),
        TEST(a_branch_holds_a_bounded_amount),
        TEST(open_branches_are_bounded),
        TEST(a_reply_is_bounded),
        TEST(commands_of_one_work_are_bounded),
        TEST(a_dump_is_bounded_and_says_so),
        TEST(unknown_queries_are_refused),
    };

    return cmocka_run_group_tests_name("kv_work", tests, NULL, NULL);
}
