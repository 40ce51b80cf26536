/* test_rm_result.c: the table of RM results takes for success only what plainly is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "rm_result.h"

static enum assent_verdict on_commit(enum assent_rm_result result)
{
    return assent_rm_verdict(ASSENT_OP_COMMIT, result, ASSENT_DECISION_COMMIT);
}

static void only_two_answers_to_a_commit_confirm_it(void **state)
{
    (void)state;
    for (int result = 0; result <= 100; result++) {
        bool done = on_commit((enum assent_rm_result)result) == ASSENT_VERDICT_DONE;

        assert_true(done == (result == ASSENT_RM_OK || result == ASSENT_RM_HEUR_COMMITTED));
    }
}

static void who_refuses_to_commit_what_it_prepared_did_the_opposite(void **state)
{
    (void)state;
    assert_int_equal(on_commit(ASSENT_RM_REFUSED), ASSENT_VERDICT_HEUR_ABORTED);
}

static void a_code_outside_the_list_is_an_unknown_one(void **state)
{
    (void)state;
    assert_int_equal(on_commit((enum assent_rm_result)99), on_commit(ASSENT_RM_UNKNOWN_CODE));
    assert_int_equal(on_commit((enum assent_rm_result) - 1), on_commit(ASSENT_RM_UNKNOWN_CODE));
}

static void no_evidence_is_no_commit(void **state)
{
    (void)state;
    assert_int_equal(
        assent_rm_verdict(ASSENT_OP_EVIDENCE, ASSENT_RM_NOT_FOUND, ASSENT_DECISION_COMMIT),
        ASSENT_VERDICT_HAZARD);
    assert_int_equal(
        assent_rm_verdict(ASSENT_OP_EVIDENCE, ASSENT_RM_NOT_FOUND, ASSENT_DECISION_NONE),
        ASSENT_VERDICT_HAZARD);
    assert_int_equal(
        assent_rm_verdict(ASSENT_OP_EVIDENCE, ASSENT_RM_NOT_FOUND, ASSENT_DECISION_ABORT),
        ASSENT_VERDICT_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_two_answers_to_a_commit_confirm_it),
        cmocka_unit_test(who_refuses_to_commit_what_it_prepared_did_the_opposite),
        cmocka_unit_test(a_code_outside_the_list_is_an_unknown_one),
        cmocka_unit_test(no_evidence_is_no_commit),
    };

    return cmocka_run_group_tests_name("rm result", tests, NULL, NULL);
}
