/*
 * test_resource_xa.c: the XA resource conforms, over two switches of our own; a vendor's code that
 * dies or hangs costs no more than the calls that were in it; thread rules, lists and quirks.
 */
#include "xa_fixture.h"

#include "resource_conformance.h"

static void a_commit_that_is_not_on_disk_is_not_believed(void **state)
{
    struct driver *d = open_double("double_switch", "");

    (void)state;
    for (unsigned n = 0; n < 2; n++) {
        expect_work(d, n, "put a 1");
        if (n == 0)
            expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
        script("sync 1\n");
        expect_reason(d, n == 0 ? ASSENT_OP_COMMIT : ASSENT_OP_ONE_PHASE, n, ASSENT_RM_UNAVAILABLE,
                      "not on disk: the disk is full");
        expect(d, ASSENT_OP_EVIDENCE, n, ASSENT_RM_WAS_COMMITTED);
    }
    driver_fini(d);
}

/* --- the switch decides alone ----------------------------------------------------------------- */

static void what_was_ended_alone_is_forgotten_when_all_has_ended(void **state)
{
    struct driver *d = open_double("double_switch", "");

    (void)state;
    expect_work(d, 1, "put a 1");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    script("commit 7 heur\n");
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_HEUR_COMMITTED);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_HEUR_COMMITTED);
    assert_int_equal(driver_recover(d, NULL), 1);
    script("forget -7\n");
    expect_reason(d, ASSENT_OP_FORGET, 1, ASSENT_RM_UNAVAILABLE, "xa_forget: XAER_RMFAIL (-7)");
    expect(d, ASSENT_OP_FORGET, 1, ASSENT_RM_OK);
    assert_int_equal(driver_recover(d, NULL), 0);
    expect(d, ASSENT_OP_FORGET, 1, ASSENT_RM_OK);
    /* What was not is never mentioned to the switch: some drop a prepared branch at that. */
    expect_work(d, 2, "put a 1");
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_FORGET, 2, ASSENT_RM_OK);
    assert_int_equal(count_in(trace(), "forget "), 2);
    /* Nor does it matter in which call it was ended. */
    expect_work(d, 3, "put a 1");
    script("one-phase 6 heur\n");
    expect(d, ASSENT_OP_ONE_PHASE, 3, ASSENT_RM_HEUR_ABORTED);
    expect_work(d, 4, "put a 1");
    script("rollback 5 heur\n");
    expect(d, ASSENT_OP_ROLLBACK, 4, ASSENT_RM_HEUR_MIXED);
    assert_int_equal(driver_recover(d, NULL), 3);
    expect(d, ASSENT_OP_FORGET, 3, ASSENT_RM_OK);
    expect(d, ASSENT_OP_FORGET, 4, ASSENT_RM_OK);
    assert_int_equal(driver_recover(d, NULL), 1);
    driver_fini(d);
}

/* --- the helper process ----------------------------------------------------------------------- */

static void a_helper_that_dies_in_a_call_is_unavailable_and_comes_back(void **state)
{
    static const char *const ways[] = {"kill", "crash", "exit"};
    static const char *const words[] = {"signal 9", "signal 11", "ended with code 7"};
    struct driver *d = open_double("double_switch", "");
    char line[64];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        unsigned n = 10 * i;
        struct assent_call call;

        expect_work(d, n, "put a 1");
        expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
        expect_work(d, n + 1, "put b 1");
        expect_work(d, n + 2, "put c 1");
        snprintf(line, sizeof(line), "prepare %s\n", ways[i]);
        script(line);
        call = driver_call(d, ASSENT_OP_PREPARE, n + 1);
        assert_int_equal(call.result, ASSENT_RM_UNAVAILABLE);
        assert_non_null(strstr(call.reason, words[i]));
        /* Branches in work died with it, prepared ones are there. */
        assert_int_equal(await_call(d, ASSENT_OP_ROLLBACK, n + 1).result, ASSENT_RM_NOT_FOUND);
        expect(d, ASSENT_OP_EVIDENCE, n + 1, ASSENT_RM_WAS_ABORTED);
        assert_int_equal(driver_work(d, n + 2, "put c 2", 100).result, ASSENT_RM_REFUSED);
        expect(d, ASSENT_OP_PREPARE, n + 2, ASSENT_RM_NOT_FOUND);
        assert_int_equal(driver_recover(d, NULL), 1);
        expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
        snprintf(line, sizeof(line), "commit %s done\n", ways[i]);
        script(line);
        expect(d, ASSENT_OP_COMMIT, n, ASSENT_RM_UNAVAILABLE);
        /* It was done before the helper died: the switch knows nothing, the mark does. */
        assert_int_equal(await_call(d, ASSENT_OP_COMMIT, n).result, ASSENT_RM_NOT_FOUND);
        expect(d, ASSENT_OP_EVIDENCE, n, ASSENT_RM_WAS_COMMITTED);
    }
    driver_fini(d);
}

static void a_call_that_hangs_is_bounded(void **state)
{
    struct driver *d = open_double("double_switch", "call_timeout=1s threads=2");
    uint64_t before_ms;
    struct assent_call call;

    (void)state;
    expect_work(d, 1, "put a 1");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    for (unsigned i = 0; i < 2; i++) {
        script(i == 0 ? "commit hang\n" : "commit hang\nopen hang\n");
        before_ms = assent_now_ms();
        call = driver_call(d, ASSENT_OP_COMMIT, 1);
        assert_int_equal(call.result, ASSENT_RM_UNAVAILABLE);
        assert_non_null(strstr(call.reason, "has not returned in time"));
        assert_true(assent_now_ms() - before_ms < 10000);
        /* As long as no helper is ready, nobody is kept waiting. */
        (void)await_call(d, ASSENT_OP_EVIDENCE, 1);
    }
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    driver_fini(d);
}

static void work_that_hangs_is_bounded_and_the_others_go_on(void **state)
{
    struct driver *d = open_double("double_switch", "threads=2");
    struct assent_call call;

    (void)state;
    assert_int_equal(driver_begin(d, 1), ASSENT_RM_OK);
    call = driver_work(d, 1, "hang", 10);
    assert_int_equal(call.result, ASSENT_RM_UNAVAILABLE);
    assert_int_equal(await_call(d, ASSENT_OP_ROLLBACK, 1).result, ASSENT_RM_NOT_FOUND);
    expect_work(d, 2, "put a 1");
    expect(d, ASSENT_OP_ONE_PHASE, 2, ASSENT_RM_OK);
    driver_fini(d);
}

static void a_switch_that_is_away_is_opened_anew(void **state)
{
    struct driver *d = open_double("double_switch", "");

    (void)state;
    expect_work(d, 1, "put a 1");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    script("commit -7\nopen -7\nopen -3\n");
    expect_reason(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_UNAVAILABLE, "xa_commit: XAER_RMFAIL (-7)");
    expect_reason(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_UNAVAILABLE, "xa_open: XAER_RMFAIL (-7)");
    expect_reason(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_UNAVAILABLE, "xa_open: XAER_RMERR (-3)");
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    driver_fini(d);
}

/* --- threads ---------------------------------------------------------------------------------- */

static void a_thread_has_one_rmid_and_a_branch_one_thread(void **state)
{
    struct driver *d = open_double("double_switch", "threads=3");
    const char *line;
    char rmids[5][32] = {""}, thread[32];
    int rmid;

    (void)state;
    for (unsigned n = 0; n < 3; n++)
        expect_work(d, n, "put a 1");
    for (unsigned n = 0; n < 3; n++)
        expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK); /* the double checks the branch's thread */
    for (unsigned n = 0; n < 3; n++)
        expect(d, ASSENT_OP_COMMIT, n, ASSENT_RM_OK);
    for (line = trace(); line != NULL && *line != '\0'; line = strchr(line, '\n') + 1) {
        assert_int_equal(sscanf(line, "%*s rmid=%d thread=%31s", &rmid, thread), 2);
        assert_in_range(rmid, 1, 4);
        if (rmids[rmid][0] == '\0')
            strcpy(rmids[rmid], thread);
        assert_string_equal(rmids[rmid], thread);
    }
    for (rmid = 1; rmid <= 4; rmid++)
        assert_true(rmids[rmid][0] != '\0');
    driver_fini(d);
}

static void work_waits_for_a_thread_as_long_as_it_may(void **state)
{
    struct driver *d = open_double("double_switch", "threads=2");

    (void)state;
    expect_work(d, 1, "put a 1");
    expect_work(d, 2, "put b 1");
    expect_work_fails(d, 3, "put c 1", "all 2 threads are in work");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    expect_work(d, 4, "put d 1");
    expect(d, ASSENT_OP_ROLLBACK, 3, ASSENT_RM_OK);
    driver_fini(d);
}

static void one_thread_suspends_its_branch_for_the_others(void **state)
{
    static const char *const switches[] = {"double_switch", "double_registering"};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct driver *d;

        reset();
        d = open_double(switches[i], "threads=1");
        expect_work(d, 1, "put a 1");
        expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
        expect_work(d, 2, "put b 1");
        expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
        assert_int_equal(count_in(trace(), "flags=2000000"), 1); /* TMSUSPEND */
        expect_work(d, 2, "put c 1");
        assert_int_equal(driver_recover(d, NULL), 0);
        expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_OK);
        expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_OK);
        expect_reply(d, 3, "get c", "1");
        expect(d, ASSENT_OP_ROLLBACK, 3, ASSENT_RM_OK);
        assert_int_equal(count_in(trace(), "rmid=1 "), count_in(trace(), "rmid="));
        driver_fini(d);
    }
}

static void a_switch_registers_by_itself(void **state)
{
    struct driver *d = open_double("double_registering", "");

    (void)state;
    expect_work(d, 1, "put a 1");
    expect_work(d, 1, "put b 2");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    assert_null(strstr(trace(), "start"));
    /* Outside of a branch: the null XID, unregistered once and not twice. */
    assert_non_null(strstr(trace(), "null-xid"));
    assert_true(count_in(trace(), "ax_unreg") >= 2);
    assert_non_null(strstr(trace(), "code=-3\n"));
    /* It never asked: there is nothing to prepare. */
    expect_work(d, 2, "get a");
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_READ_ONLY);
    driver_fini(d);
}

/* --- the list --------------------------------------------------------------------------------- */

static void the_list_is_read_page_by_page_and_others_are_left_alone(void **state)
{
    static const struct {
        const char *parameters;
        unsigned calls, ends;
    } rows[] = {
        {"", 5, 1},
        {"recover_flags=paged", 5, 1},
        {"recover_flags=paged-no-end", 4, 0},
        {"recover_flags=one-call", 1, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct driver *d;
        uint64_t mask;

        reset();
        write_file("foreign", "200");
        d = open_double("double_switch", rows[i].parameters);
        for (unsigned n = 1; n <= 10; n++) {
            expect_work(d, n, "put a 1");
            expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
        }
        remove_file("trace");
        assert_int_equal(driver_recover(d, &mask), 10);
        assert_true(mask == 0x7fe);
        assert_int_equal(count_in(trace(), "recover "), rows[i].calls);
        assert_int_equal(count_in(trace(), "flags=800000") + count_in(trace(), "flags=1800000"),
                         rows[i].ends);
        driver_fini(d);
    }
}

static int never(struct driver *d)
{
    return d->ops->recover(d->resource, NULL, NULL);
}

static void a_list_that_fails_is_no_empty_list(void **state)
{
    struct driver *d = open_double("double_switch", "");

    (void)state;
    script("recover -3\n");
    assert_int_equal(never(d), ASSENT_E_UNAVAILABLE);
    script("recover 65\n"); /* more than were asked for */
    assert_int_equal(never(d), ASSENT_E_UNAVAILABLE);
    script("recover -3\n");
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_UNAVAILABLE);
    script("recover -3\n");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_UNAVAILABLE);
    write_file("foreign", "10000");
    driver_close(d);
    d->parameters = parameters_of("double_switch", "recover_flags=one-call");
    driver_reopen(d);
    assert_int_equal(never(d), ASSENT_E_UNAVAILABLE); /* perhaps there are more */
    driver_fini(d);
}

static void xids_that_a_recovery_has_emptied_need_the_quirk(void **state)
{
    struct driver *d = open_double("double_switch", "");
    uint64_t mask;

    (void)state;
    write_file("zeroed", "");
    for (unsigned n = 1; n <= 2; n++) {
        expect_work(d, n, "put a 1");
        expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
    }
    driver_reopen(d);
    assert_int_equal(never(d), ASSENT_E_UNAVAILABLE);
    expect_reason(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_UNKNOWN_CODE, "xa_commit: XAER_PROTO (-6)");
    d->parameters = parameters_of("double_switch", "quirks=recover-zeroed-xid");
    driver_reopen(d);
    assert_int_equal(driver_recover(d, &mask), 2);
    assert_true(mask == 6);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_UNKNOWN_CODE);
    d->parameters = parameters_of("double_switch", "quirks=recover-zeroed-xid+end-by-plugin");
    driver_reopen(d);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_WAS_COMMITTED);
    expect(d, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_WAS_ABORTED);
    assert_int_equal(driver_recover(d, NULL), 0);
    driver_fini(d);
}

static void shared_rmid_is_one_for_all_threads(void **state)
{
    struct driver *d = open_double("double_switch", "threads=2 quirks=shared-rmid");

    (void)state;
    expect_work(d, 1, "put a 1");
    expect_work(d, 2, "put b 1");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    assert_int_equal(count_in(trace(), "open rmid=1 "), 3);
    assert_int_equal(count_in(trace(), "rmid=1 "), count_in(trace(), "rmid="));
    driver_fini(d);
}

/* --- work ------------------------------------------------------------------------------------- */

static void work_answers_fails_and_is_bounded(void **state)
{
    struct driver *d = open_double("double_switch", "");

    (void)state;
    expect_reply(d, 1, "get a", "nothing");
    expect_work(d, 1, "put a 7");
    expect(d, ASSENT_OP_ONE_PHASE, 1, ASSENT_RM_OK);
    expect_reply(d, 2, "get a", "7");
    expect_work_fails(d, 2, "fail the shop is closed", "the shop is closed");
    expect_reason(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_FAILED, "the shop is closed");
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    expect_work_fails(d, 3, "long 600000", "the reply is over 524288 bytes");
    expect(d, ASSENT_OP_ROLLBACK, 3, ASSENT_RM_OK);
    script("work-open 1\n");
    assert_int_equal(driver_begin(d, 4), ASSENT_RM_OK);
    expect(d, ASSENT_OP_ROLLBACK, 4, ASSENT_RM_OK);
    driver_fini(d);
}

static void open_says_what_is_wrong(void **state)
{
    struct driver *d = open_double("double_switch", "");
    const char *host = getenv("ASSENT_TEST_XA_HOST"), *lib = getenv("ASSENT_TEST_XA_DOUBLE");
    char text[6][1024];
    const struct {
        const char *parameters, *script, *error;
        int code;
    } rows[] = {
        {"", "", "xa: parameter \"switch\" is missing", ASSENT_E_CONFIG},
        {"switch=a", "", "xa: parameter \"switch\" cannot be \"a\"", ASSENT_E_CONFIG},
        {"switch=a:", "", "xa: parameter \"switch\" cannot be \"\"", ASSENT_E_CONFIG},
        {"switch=a:b", "", "xa: parameter \"work\" is missing", ASSENT_E_CONFIG},
        {"work=a,work=b", "", "xa: parameter \"work\" is given twice", ASSENT_E_CONFIG},
        {"threads=1,threads=1", "", "xa: parameter \"threads\" is given twice", ASSENT_E_CONFIG},
        {"threads=0", "", "xa: parameter \"threads\" cannot be \"0\"", ASSENT_E_CONFIG},
        {"threads=65", "", "xa: parameter \"threads\" cannot be \"65\"", ASSENT_E_CONFIG},
        {"quirks=odd", "", "xa: parameter \"quirks\" cannot be \"odd\"", ASSENT_E_CONFIG},
        {"recover_flags=x", "", "xa: parameter \"recover_flags\" cannot be \"x\"", ASSENT_E_CONFIG},
        {text[0], "", "xa: cannot start /nowhere: No such file or directory", ASSENT_E_CONFIG},
        {text[1], "", "undefined symbol: no_switch", ASSENT_E_CONFIG},
        {text[2], "", "cannot open shared object file", ASSENT_E_CONFIG},
        {text[3], "", "is not an xa_switch_t of version 0", ASSENT_E_CONFIG},
        {text[4], "open -3\n", "xa: xa_open: XAER_RMERR (-3)", ASSENT_E_UNAVAILABLE},
        {text[4], "work-open 1\n", "xa: the plug-in cannot open: told not to open",
         ASSENT_E_UNAVAILABLE},
        {text[4], "open crash\n", "has ended at its start", ASSENT_E_UNAVAILABLE},
        {text[5], "open hang\n", "xa: xa_open has not returned in 500 ms", ASSENT_E_UNAVAILABLE},
    };

    (void)state;
    snprintf(text[0], 1024, "host=/nowhere switch=a:b work=c");
    snprintf(text[1], 1024, "host=%s switch=%s:no_switch work=%s", host, lib, lib);
    snprintf(text[2], 1024, "host=%s switch=/nowhere.so:a work=%s", host, lib);
    snprintf(text[3], 1024, "host=%s switch=%s:assent_xa_work work=%s", host, lib, lib);
    snprintf(text[4], 1024, "host=%s switch=%s:double_switch work=%s open=%s", host, lib, lib,
             home);
    snprintf(text[5], 1024, "host=%s switch=%s:double_switch work=%s call_timeout=500ms open=%s",
             host, lib, lib, home);
    driver_close(d);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        script(rows[i].script);
        d->parameters = rows[i].parameters;
        assert_int_equal(driver_open(d), rows[i].code);
        if (strstr(d->error, rows[i].error) == NULL)
            fail_msg("\"%s\" is not in \"%s\"", rows[i].error, d->error);
    }
    driver_fini(d);
}

int main(void)
{
    struct conformance_subject subject;
#define TEST(name) cmocka_unit_test_setup(name, empty_before)
    const struct CMUnitTest tests[] = {
        TEST(a_commit_that_is_not_on_disk_is_not_believed),
        TEST(what_was_ended_alone_is_forgotten_when_all_has_ended),
        TEST(a_helper_that_dies_in_a_call_is_unavailable_and_comes_back),
        TEST(a_call_that_hangs_is_bounded),
        TEST(work_that_hangs_is_bounded_and_the_others_go_on),
        TEST(a_switch_that_is_away_is_opened_anew),
        TEST(a_thread_has_one_rmid_and_a_branch_one_thread),
        TEST(work_waits_for_a_thread_as_long_as_it_may),
        TEST(one_thread_suspends_its_branch_for_the_others),
        TEST(a_switch_registers_by_itself),
        TEST(the_list_is_read_page_by_page_and_others_are_left_alone),
        TEST(a_list_that_fails_is_no_empty_list),
        TEST(xids_that_a_recovery_has_emptied_need_the_quirk),
        TEST(shared_rmid_is_one_for_all_threads),
        TEST(work_answers_fails_and_is_bounded),
        TEST(open_says_what_is_wrong),
    };
#undef TEST
    int failed;

    if (!find_double())
        return 1;
    subject = (struct conformance_subject){
        .ops = &assent_resource_xa,
        .parameters = parameters_of("double_switch", ""),
        .bad_parameters = "threads=4 colour=red",
        .bad_name = "colour",
        .write = "put k%u 1",
        .read_only = "read",
        .reset = reset,
    };
    failed = resource_conformance(&subject);
    subject.parameters = parameters_of("double_registering", "");
    failed += resource_conformance(&subject);
    failed += cmocka_run_group_tests_name("xa", tests, NULL, NULL);
    reset();
    rmdir(home);
    return failed;
}
