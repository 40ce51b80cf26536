/* test_member.c: the rules of termination, one by one, as the model checker found them needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "member.h"

static struct assent_member m;

/* A participant that has voted yes, one of `count`. */
static void voted(uint32_t self, uint32_t count)
{
    assent_member_init(&m, self, count);
    m.state = ASSENT_MEMBER_YES;
}

static struct assent_member_set set_of(uint32_t a, uint32_t b, uint32_t c)
{
    struct assent_member_set set = {0};

    assent_member_set_add(&set, a);
    assent_member_set_add(&set, b);
    assent_member_set_add(&set, c);
    return set;
}

static bool quorum(uint32_t a, uint32_t b, uint32_t c)
{
    struct assent_member_set set = set_of(a, b, c);

    return assent_member_is_quorum(&m, &set);
}

static void a_set_holds_every_member(void **state)
{
    struct assent_member_set set = {0};

    (void)state;
    for (uint32_t n = 0; n <= ASSENT_BRANCHES_MAX; n++) {
        assert_false(assent_member_set_has(&set, n));
        assent_member_set_add(&set, n);
        assert_true(assent_member_set_has(&set, n));
    }
    assert_false(assent_member_set_has(&set, ASSENT_BRANCHES_MAX + 1));
}

static void a_quorum_is_a_majority_of_an_odd_number_of_voters(void **state)
{
    (void)state;
    voted(1, 3); /* the three participants vote */
    assert_false(assent_member_votes(&m, 0));
    assert_true(quorum(1, 2, 2));
    assert_false(quorum(0, 1, 1));
    voted(1, 2); /* and the coordinator, when they are two */
    assert_true(assent_member_votes(&m, 0));
    assert_true(quorum(0, 1, 1));
    assert_true(quorum(1, 2, 2));
    assert_false(quorum(1, 1, 1));
    voted(1, 4);
    assert_true(quorum(0, 1, 2));
    assert_false(quorum(1, 2, 2));
    voted(1, 1);
    assert_true(quorum(1, 1, 1));
    assert_false(quorum(0, 0, 0));
}

/* Lower, and a candidate could be given the coordinator's own. */
static void the_first_ballot_is_the_coordinator_s_and_promised_from_the_start(void **state)
{
    (void)state;
    for (uint32_t self = 0; self <= 4; self++) {
        assent_member_init(&m, self, 4);
        assert_int_equal(m.last_elected, ASSENT_BALLOT_FIRST);
        assert_int_equal(m.last_attempt, 0);
    }
}

static void no_two_candidates_share_a_ballot(void **state)
{
    uint32_t seen[5][4] = {{0}};

    (void)state;
    for (uint32_t self = 0; self <= 4; self++) {
        voted(self, 4);
        for (int i = 0; i < 4; i++) {
            assert_true(assent_member_stand(&m));
            seen[self][i] = m.last_elected;
            assert_true(m.last_elected > (i > 0 ? seen[self][i - 1] : ASSENT_BALLOT_FIRST));
        }
    }
    for (uint32_t a = 0; a <= 4; a++)
        for (uint32_t b = 0; b < a; b++)
            for (int i = 0; i < 4; i++)
                for (int k = 0; k < 4; k++)
                    assert_int_not_equal(seen[a][i], seen[b][k]);
}

static void a_candidate_stands_above_what_it_has_promised(void **state)
{
    (void)state;
    voted(1, 3);
    assert_true(assent_member_promise(&m, 3, 1005));
    assert_true(assent_member_stand(&m));
    assert_true(m.last_elected > 1005);
    m.last_elected = ASSENT_BALLOT_MAX;
    assert_false(assent_member_stand(&m));
}

static void a_promise_is_never_taken_back(void **state)
{
    (void)state;
    voted(1, 3);
    assert_false(assent_member_promise(&m, 2, ASSENT_BALLOT_FIRST));
    assert_true(assent_member_promise(&m, 2, 8));
    assert_int_equal(m.next, ASSENT_MEMBER_ANSWER);
    assert_int_equal(m.next_to, 2);
    assert_false(assent_member_promise(&m, 3, 7));
    assert_true(assent_member_promise(&m, 2, 8)); /* asked again: its answer was lost */
    assert_true(assent_member_accept(&m, 2, 8, ASSENT_MEMBER_PREABORTED));
    assert_false(assent_member_promise(&m, 2, 8));
    assert_int_equal(m.last_elected, 8);
}

static void strangers_and_oneself_are_promised_nothing(void **state)
{
    (void)state;
    voted(1, 3);
    assert_false(assent_member_promise(&m, 4, 9));
    assert_false(assent_member_promise(&m, 1, 9));
    assert_false(assent_member_promise(&m, 2, ASSENT_BALLOT_MAX + 1));
    assert_false(assent_member_accept(&m, 4, 9, ASSENT_MEMBER_PREABORTED));
    assert_false(assent_member_accept(&m, 2, ASSENT_BALLOT_MAX + 1, ASSENT_MEMBER_PREABORTED));
}

static void a_pre_commit_comes_too_late_after_a_promise(void **state)
{
    (void)state;
    voted(1, 3);
    assert_true(assent_member_promise(&m, 2, 4));
    assert_false(assent_member_precommit(&m));
    assert_int_equal(m.state, ASSENT_MEMBER_YES);
    voted(1, 3);
    assert_true(assent_member_precommit(&m));
    assert_int_equal(m.last_attempt, ASSENT_BALLOT_FIRST);
    assert_true(assent_member_precommit(&m)); /* again: acknowledged again */
    assert_true(assent_member_accept(&m, 2, 4, ASSENT_MEMBER_PREABORTED));
    assert_false(assent_member_precommit(&m));
}

static void stand_and_hear(uint32_t from, enum assent_member_state state, uint32_t attempt)
{
    assent_member_answered(&m, from, m.last_elected, state, attempt);
}

static void nobody_pre_committed_means_pre_abort(void **state)
{
    (void)state;
    voted(1, 3);
    assert_true(assent_member_stand(&m));
    assert_false(assent_member_choose(&m)); /* itself alone is no quorum */
    stand_and_hear(2, ASSENT_MEMBER_YES, 0);
    assert_true(assent_member_choose(&m));
    assert_int_equal(m.state, ASSENT_MEMBER_PREABORTED);
    assert_int_equal(m.last_attempt, m.last_elected);
    assert_int_equal(m.next, ASSENT_MEMBER_PROPOSE);
}

static void the_highest_attempt_is_proposed_again(void **state)
{
    (void)state;
    voted(1, 3);
    assert_true(assent_member_precommit(&m));
    m.last_elected = 20;
    assert_true(assent_member_stand(&m));
    stand_and_hear(2, ASSENT_MEMBER_PREABORTED, 7); /* later than our pre-commit of ballot 1 */
    assert_true(assent_member_choose(&m));
    assert_int_equal(m.state, ASSENT_MEMBER_PREABORTED);

    voted(1, 3);
    m.last_elected = 20;
    assert_true(assent_member_stand(&m));
    stand_and_hear(3, ASSENT_MEMBER_PRECOMMITTED, 8);
    assert_true(assent_member_choose(&m));
    assert_int_equal(m.state, ASSENT_MEMBER_PRECOMMITTED);
}

static void answers_that_do_not_count(void **state)
{
    uint32_t first;

    (void)state;
    voted(1, 3);
    assert_true(assent_member_stand(&m));
    first = m.last_elected;
    assert_true(assent_member_stand(&m));
    assent_member_answered(&m, 2, first, ASSENT_MEMBER_YES, 0); /* of an older ballot */
    assent_member_answered(&m, 2, m.last_elected, ASSENT_MEMBER_NONE, 0);
    assent_member_answered(&m, 2, m.last_elected, ASSENT_MEMBER_YES, m.last_elected);
    assent_member_answered(&m, 9, m.last_elected, ASSENT_MEMBER_YES, 0);
    assent_member_answered(&m, 0, m.last_elected, ASSENT_MEMBER_YES, 0); /* has no vote */
    assert_false(assent_member_choose(&m));
    assert_true(assent_member_promise(&m, 3, m.last_elected + 2)); /* the candidacy is over */
    assent_member_answered(&m, 2, m.last_elected, ASSENT_MEMBER_YES, 0);
    assert_false(assent_member_choose(&m));
}

static void a_proposal_is_not_worked_out_again(void **state)
{
    uint32_t ballot;

    (void)state;
    voted(1, 3);
    assert_true(assent_member_stand(&m));
    stand_and_hear(2, ASSENT_MEMBER_YES, 0);
    assert_true(assent_member_choose(&m));
    ballot = m.last_elected;
    assent_member_answered(&m, 3, ballot, ASSENT_MEMBER_PRECOMMITTED, 1);
    assert_false(assent_member_choose(&m));
    assert_int_equal(m.state, ASSENT_MEMBER_PREABORTED);
    assert_false(assent_member_decides(&m));
    assent_member_accepted(&m, 3, ballot - 1); /* of another ballot */
    assert_false(assent_member_decides(&m));
    assent_member_accepted(&m, 3, ballot);
    assert_true(assent_member_decides(&m));
}

static void a_proposal_must_be_of_the_highest_ballot(void **state)
{
    (void)state;
    voted(1, 3);
    assert_true(assent_member_promise(&m, 2, 8));
    assert_false(assent_member_accept(&m, 3, 7, ASSENT_MEMBER_PREABORTED));
    assert_false(assent_member_accept(&m, 2, 8, ASSENT_MEMBER_YES));
    assert_true(assent_member_accept(&m, 3, 9, ASSENT_MEMBER_PRECOMMITTED));
    assert_int_equal(m.last_elected, 9);
    assert_int_equal(m.last_attempt, 9);
    assert_true(assent_member_accept(&m, 3, 9, ASSENT_MEMBER_PRECOMMITTED)); /* again */
    assert_false(assent_member_accept(&m, 3, 9, ASSENT_MEMBER_PREABORTED));
    assert_false(assent_member_accept(&m, 2, 8, ASSENT_MEMBER_PREABORTED));
}

static struct assent_message state_of(uint32_t from, enum assent_member_state state)
{
    return (struct assent_message){.from = from, .state = state, .ballot = m.last_elected};
}

static void cooperative_members_follow_the_lowest(void **state)
{
    struct assent_message message;

    (void)state;
    voted(2, 3);
    assent_member_ask(&m);
    message = state_of(3, ASSENT_MEMBER_YES);
    assent_member_heard(&m, &message);
    assert_int_equal(assent_member_verdict(&m), ASSENT_MEMBER_ABORT);
    message = state_of(1, ASSENT_MEMBER_PRECOMMITTED);
    assent_member_heard(&m, &message);
    assert_int_equal(assent_member_verdict(&m), ASSENT_MEMBER_WAIT);
    message.recovered = true; /* who has crashed does not lead, and may have missed an abort */
    assent_member_ask(&m);
    message.ballot = m.last_elected;
    assent_member_heard(&m, &message);
    assert_int_equal(assent_member_verdict(&m), ASSENT_MEMBER_ABORT);
    message = state_of(3, ASSENT_MEMBER_PRECOMMITTED);
    assent_member_heard(&m, &message);
    assert_int_equal(assent_member_verdict(&m), ASSENT_MEMBER_PRECOMMIT);
}

static void who_has_crashed_decides_only_if_nobody_is_missing(void **state)
{
    struct assent_message message;

    (void)state;
    voted(1, 2);
    m.recovered = true;
    assent_member_ask(&m);
    message = state_of(2, ASSENT_MEMBER_YES);
    message.recovered = true;
    assent_member_heard(&m, &message);
    assert_false(assent_member_heard_all(&m));
    assert_int_equal(assent_member_verdict(&m), ASSENT_MEMBER_WAIT);
    message = state_of(0, ASSENT_MEMBER_PRECOMMITTED);
    message.recovered = true;
    assent_member_heard(&m, &message);
    assert_true(assent_member_heard_all(&m));
    assert_int_equal(assent_member_verdict(&m), ASSENT_MEMBER_PRECOMMIT);
    assent_member_lead(&m);
    assert_false(assent_member_heard_all(&m)); /* now every participant reached must accept */
    message = state_of(2, ASSENT_MEMBER_NONE);
    assent_member_heard(&m, &message);
    assert_true(assent_member_heard_all(&m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_holds_every_member),
        cmocka_unit_test(a_quorum_is_a_majority_of_an_odd_number_of_voters),
        cmocka_unit_test(the_first_ballot_is_the_coordinator_s_and_promised_from_the_start),
        cmocka_unit_test(no_two_candidates_share_a_ballot),
        cmocka_unit_test(a_candidate_stands_above_what_it_has_promised),
        cmocka_unit_test(a_promise_is_never_taken_back),
        cmocka_unit_test(strangers_and_oneself_are_promised_nothing),
        cmocka_unit_test(a_pre_commit_comes_too_late_after_a_promise),
        cmocka_unit_test(nobody_pre_committed_means_pre_abort),
        cmocka_unit_test(the_highest_attempt_is_proposed_again),
        cmocka_unit_test(answers_that_do_not_count),
        cmocka_unit_test(a_proposal_is_not_worked_out_again),
        cmocka_unit_test(a_proposal_must_be_of_the_highest_ballot),
        cmocka_unit_test(cooperative_members_follow_the_lowest),
        cmocka_unit_test(who_has_crashed_decides_only_if_nobody_is_missing),
    };

    return cmocka_run_group_tests_name("member", tests, NULL, NULL);
}
