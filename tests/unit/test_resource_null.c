/* test_resource_null.c: the null resource conforms, and votes as it is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "resource_conformance.h"
#include "resource_driver.h"

static struct driver *open_with(const char *parameters)
{
    static struct driver driver;

    driver_init(&driver, &assent_resource_null, parameters);
    return &driver;
}

static void work_tells_one_branch_how_to_vote(void **state)
{
    struct driver *d = open_with("");

    (void)state;
    expect_work(d, 1, "no");
    expect_work(d, 2, "no the shop is closed");
    expect_work(d, 3, "read-only");
    expect_work(d, 4, "anything else");
    expect_work_fails(d, 5, "fail", "null: told to fail");
    for (int repeat = 0; repeat < 2; repeat++) {
        expect_reason(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_FAILED, "null: told to vote no");
        expect_reason(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_FAILED, "the shop is closed");
        expect_reason(d, ASSENT_OP_PREPARE, 4, ASSENT_RM_OK, "");
    }
    expect(d, ASSENT_OP_PREPARE, 3, ASSENT_RM_READ_ONLY);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK); /* nothing is kept after the end */
    expect_reason(d, ASSENT_OP_ONE_PHASE, 2, ASSENT_RM_REFUSED, "the shop is closed");
    expect(d, ASSENT_OP_ONE_PHASE, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 1, ASSENT_RM_NOT_FOUND);
    driver_fini(d);
}

static void parameters_give_the_vote_of_all(void **state)
{
    struct driver *d = open_with("vote=no");

    (void)state;
    expect_work(d, 1, "x");
    expect_reason(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_FAILED, "null: told to vote no");
    expect(d, ASSENT_OP_ONE_PHASE, 1, ASSENT_RM_REFUSED);
    driver_fini(d);
    d = open_with(" vote=read-only , delay=0ms");
    expect_work(d, 1, "x");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_READ_ONLY);
    driver_fini(d);
}

static void work_takes_its_delay(void **state)
{
    struct driver *d = open_with("delay=30ms");
    struct timespec before, after;

    (void)state;
    clock_gettime(CLOCK_MONOTONIC, &before);
    expect_work(d, 1, "x");
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec >=
                30000000);
    driver_fini(d);
}

static void branches_that_were_told_are_bounded(void **state)
{
    struct driver *d = open_with("");

    (void)state;
    for (unsigned n = 0; n < 10000; n++)
        expect_work(d, n, "no");
    expect_work_fails(d, 10000, "no", "null: too many branches have been told how to vote");
    expect(d, ASSENT_OP_ROLLBACK, 0, ASSENT_RM_OK);
    expect_work(d, 10000, "no");
    driver_fini(d);
}

static void bad_parameters_are_named(void **state)
{
    static const struct {
        const char *parameters, *error;
    } rows[] = {
        {"vote=maybe", "null: parameter \"vote\" cannot be \"maybe\""},
        {"vote", "null: parameter \"vote\" has no value"},
        {"vote=yes,vote=yes", "null: parameter \"vote\" is given twice"},
        {"delay=10", "null: parameter \"delay\" cannot be \"10\""},
        {"delay=2h", "null: parameter \"delay\" cannot be \"2h\""},
        {"delay=-1s", "null: parameter \"delay\" cannot be \"-1s\""},
        {"delay=99999999999999999999ms",
         "null: parameter \"delay\" cannot be \"99999999999999999999ms\""},
        {"delay=18446744073709551615h",
         "null: parameter \"delay\" cannot be \"18446744073709551615h\""},
        {"speed=1", "null: unknown parameter \"speed\""},
    };
    struct driver *d = open_with("");

    (void)state;
    driver_close(d);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        d->parameters = rows[i].parameters;
        assert_int_equal(driver_open(d), ASSENT_E_CONFIG);
        assert_string_equal(d->error, rows[i].error);
    }
    driver_fini(d);
}

int main(void)
{
    const struct conformance_subject subject = {
        .ops = &assent_resource_null,
        .parameters = "",
        .bad_parameters = "vote=yes,colour=red",
        .bad_name = "colour",
        .write = "anything %u",
        .read_only = "read-only",
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_tells_one_branch_how_to_vote),
        cmocka_unit_test(parameters_give_the_vote_of_all),
        cmocka_unit_test(work_takes_its_delay),
        cmocka_unit_test(branches_that_were_told_are_bounded),
        cmocka_unit_test(bad_parameters_are_named),
    };
    int failed = resource_conformance(&subject);

    return cmocka_run_group_tests_name("null", tests, NULL, NULL) + failed;
}
