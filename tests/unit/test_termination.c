/*
 * test_termination.c: both machines in doubt, event by event: nothing of an election is said before
 * it is durable, and who has not voted, has forgotten or is writing answers as it must.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator.h"
#include "gtrid.h"
#include "participant.h"

#define BALLOT 9 /* of participant 3 of three: it has voted, and stands */

static const struct assent_part_config config = {
    .epoch = 3,
    .capabilities = ASSENT_CAP_PREPARED_LIST | ASSENT_CAP_EVIDENCE,
    .retry_min_ms = 100,
    .retry_max_ms = 1000,
    .inquire_ms = 300,
};
static const struct assent_coord_config coord_config = {
    .incarnation = 5,
    .prepare_timeout_ms = 1000,
    .precommit_timeout_ms = 500,
    .retry_min_ms = 100,
    .retry_max_ms = 1000,
    .abort_delivery_ms = 5000,
};
static struct assent_gtrid gtrid;
static struct assent_part m; /* participant 1 of three */
static struct assent_part_actions acts;
static struct assent_coord c;
static struct assent_coord_actions coord_acts;
static uint64_t now;

static struct assent_message message_of(uint32_t from, enum assent_message_kind kind,
                                        enum assent_termination termination)
{
    return (struct assent_message){
        .kind = kind,
        .gtrid = gtrid,
        .branch = 1,
        .from = from,
        .incarnation = from == 0 ? 5 : 0,
        .epoch = config.epoch,
        .protocol = termination == ASSENT_TERMINATION_QUORUM || from == 0 ? ASSENT_3PC : ASSENT_2PC,
        .termination = termination,
        .branch_count = 3,
        .timeout_ms = 1000,
        .has_work = true,
        .ballot = BALLOT,
    };
}

static void step(struct assent_part_event event)
{
    event.now_ms = now;
    assent_part_step(&m, &config, &event, &acts);
}

static void receive(struct assent_message message)
{
    step((struct assent_part_event){.kind = ASSENT_PART_EV_MESSAGE, .message = message});
}

static void hear(uint32_t from, enum assent_message_kind kind)
{
    receive(message_of(from, kind, ASSENT_TERMINATION_QUORUM));
}

static void hear_answer(uint32_t from, enum assent_member_state state)
{
    struct assent_message message =
        message_of(from, ASSENT_MSG_ELECT_ANSWER, ASSENT_TERMINATION_QUORUM);

    message.ballot = m.member.last_elected;
    message.state = state;
    receive(message);
}

static void hear_proposal(uint32_t from, enum assent_member_state state)
{
    struct assent_message message = message_of(from, ASSENT_MSG_PROPOSE, ASSENT_TERMINATION_QUORUM);

    message.state = state;
    receive(message);
}

static void durable(enum assent_part_record_kind record)
{
    step((struct assent_part_event){.kind = ASSENT_PART_EV_DURABLE, .record = record});
}

static const struct assent_part_action *sends(enum assent_message_kind kind)
{
    for (size_t i = 0; i < acts.count; i++)
        if (acts.items[i].kind == ASSENT_PART_ACT_SEND && acts.items[i].message.kind == kind)
            return &acts.items[i];
    return NULL;
}

static bool logs(enum assent_part_record_kind record)
{
    for (size_t i = 0; i < acts.count; i++)
        if (acts.items[i].kind == ASSENT_PART_ACT_LOG && acts.items[i].forced &&
            acts.items[i].record == record)
            return true;
    return false;
}

static int fresh(void **state)
{
    (void)state;
    now = 0;
    gtrid = assent_gtrid_make(1, 2, 5, 1);
    assent_part_init(&m, &gtrid, 1, 1);
    return 0;
}

static void vote(enum assent_rm_result prepared)
{
    hear(0, ASSENT_MSG_PREPARE);
    step((struct assent_part_event){
        .kind = ASSENT_PART_EV_RM, .operation = ASSENT_OP_PREPARE, .result = prepared});
    durable(ASSENT_PART_RECORD_PREPARED);
    assert_non_null(sends(ASSENT_MSG_VOTE));
    assert_int_equal(sends(ASSENT_MSG_VOTE)->message.vote, ASSENT_VOTE_YES);
}

static void stand(void)
{
    now = m.alone_ms;
    step((struct assent_part_event){.kind = ASSENT_PART_EV_TIMER});
}

static void a_promise_is_durable_before_it_is_given(void **state)
{
    (void)state;
    vote(ASSENT_RM_OK);
    hear(3, ASSENT_MSG_ELECT);
    assert_true(logs(ASSENT_PART_RECORD_PREPARED));
    assert_null(sends(ASSENT_MSG_ELECT_ANSWER));
    durable(ASSENT_PART_RECORD_PREPARED);
    assert_int_equal(sends(ASSENT_MSG_ELECT_ANSWER)->to, 3);
    assert_int_equal(sends(ASSENT_MSG_ELECT_ANSWER)->message.ballot, BALLOT);
    assert_int_equal(sends(ASSENT_MSG_ELECT_ANSWER)->message.state, ASSENT_MEMBER_YES);
    hear(0, ASSENT_MSG_PRECOMMIT); /* ballot 1 comes too late */
    assert_int_equal(acts.count, 0);
}

static void an_acceptance_is_durable_before_it_is_given(void **state)
{
    (void)state;
    vote(ASSENT_RM_OK);
    hear_proposal(3, ASSENT_MEMBER_PREABORTED);
    assert_true(logs(ASSENT_PART_RECORD_PREABORTED));
    assert_null(sends(ASSENT_MSG_PROPOSE_ACK));
    durable(ASSENT_PART_RECORD_PREABORTED);
    assert_int_equal(m.phase, ASSENT_PART_PREABORTED);
    assert_int_equal(sends(ASSENT_MSG_PROPOSE_ACK)->to, 3);
}

static void a_candidate_asks_proposes_and_decides_in_turn(void **state)
{
    struct assent_message message;

    (void)state;
    vote(ASSENT_RM_OK);
    stand();
    assert_true(logs(ASSENT_PART_RECORD_PREPARED));
    assert_null(sends(ASSENT_MSG_ELECT));
    durable(ASSENT_PART_RECORD_PREPARED);
    assert_int_equal(sends(ASSENT_MSG_ELECT)->to, ASSENT_TO_ALL);
    hear_answer(2, ASSENT_MEMBER_YES);
    assert_true(logs(ASSENT_PART_RECORD_PREABORTED));
    assert_null(sends(ASSENT_MSG_PROPOSE));
    durable(ASSENT_PART_RECORD_PREABORTED);
    assert_int_equal(sends(ASSENT_MSG_PROPOSE)->to, ASSENT_TO_ALL);
    message = message_of(2, ASSENT_MSG_PROPOSE_ACK, ASSENT_TERMINATION_QUORUM);
    message.ballot = m.member.last_elected;
    receive(message);
    assert_true(logs(ASSENT_PART_RECORD_DECIDED));
    assert_null(sends(ASSENT_MSG_ABORT));
    durable(ASSENT_PART_RECORD_DECIDED);
    assert_int_equal(sends(ASSENT_MSG_ABORT)->to, ASSENT_TO_ALL);
    assert_int_equal(m.phase, ASSENT_PART_ABORTING);
}

static void while_it_writes_it_hears_nothing_but_decisions(void **state)
{
    (void)state;
    vote(ASSENT_RM_OK);
    hear(3, ASSENT_MSG_ELECT);
    hear(2, ASSENT_MSG_ELECT);
    hear_proposal(2, ASSENT_MEMBER_PREABORTED);
    assert_int_equal(acts.count, 0);
    hear(2, ASSENT_MSG_COMMIT);
    durable(ASSENT_PART_RECORD_PREPARED);
    assert_true(logs(ASSENT_PART_RECORD_DECIDED));
    assert_int_equal(m.decision, ASSENT_DECISION_COMMIT);
}

static void a_decision_under_way_is_told_to_nobody(void **state)
{
    (void)state;
    vote(ASSENT_RM_OK);
    hear(0, ASSENT_MSG_ABORT);
    hear(3, ASSENT_MSG_ELECT);
    assert_int_equal(acts.count, 0);
    durable(ASSENT_PART_RECORD_DECIDED);
    hear(3, ASSENT_MSG_ELECT);
    assert_int_equal(sends(ASSENT_MSG_ABORT)->to, 3);
}

/* A peer has told the decision; the coordinator presumes it, and asks for nothing. */
static void what_a_person_did_is_told_unasked(void **state)
{
    const struct assent_part_action *ack;

    (void)state; /* edge cases 22, 23 */
    vote(ASSENT_RM_OK);
    hear(2, ASSENT_MSG_ABORT);
    durable(ASSENT_PART_RECORD_DECIDED);
    step((struct assent_part_event){.kind = ASSENT_PART_EV_RM,
                                    .operation = ASSENT_OP_ROLLBACK,
                                    .result = ASSENT_RM_HEUR_COMMITTED});
    assert_true(logs(ASSENT_PART_RECORD_RESULT));
    durable(ASSENT_PART_RECORD_RESULT);
    ack = sends(ASSENT_MSG_ACK);
    assert_non_null(ack);
    assert_int_equal(ack->message.result, ASSENT_RESULT_HEUR_COMMITTED);
}

static void who_has_not_voted_refuses_for_good_and_durably(void **state)
{
    (void)state;
    hear(3, ASSENT_MSG_ELECT);
    assert_true(logs(ASSENT_PART_RECORD_DECIDED));
    assert_null(sends(ASSENT_MSG_ABORT));
    durable(ASSENT_PART_RECORD_DECIDED);
    assert_int_equal(sends(ASSENT_MSG_ABORT)->to, 3);
    assert_int_equal(sends(ASSENT_MSG_VOTE)->message.vote, ASSENT_VOTE_NO);
    hear(0, ASSENT_MSG_PREPARE);
    assert_int_equal(sends(ASSENT_MSG_VOTE)->message.vote, ASSENT_VOTE_NO);
}

static void a_later_life_answers_for_a_3pc_and_not_for_a_2pc(void **state)
{
    struct assent_message message = message_of(3, ASSENT_MSG_ELECT, ASSENT_TERMINATION_QUORUM);

    (void)state;
    message.epoch = config.epoch - 1; /* the branch was enlisted before a restart */
    receive(message);
    assert_int_equal(sends(ASSENT_MSG_ABORT)->to, 3);
    assert_int_equal(m.phase, ASSENT_PART_NONE);
    message = message_of(3, ASSENT_MSG_INQUIRE, ASSENT_TERMINATION_COOPERATIVE);
    message.epoch = config.epoch - 1; /* it may have voted read-only, and left */
    receive(message);
    assert_int_equal(acts.count, 0);
}

static void who_has_forgotten_is_silent(void **state)
{
    (void)state;
    assent_part_init_closed(&m, &gtrid, 1);
    hear(3, ASSENT_MSG_ELECT);
    assert_int_equal(acts.count, 0);
    hear_proposal(3, ASSENT_MEMBER_PREABORTED);
    assert_int_equal(acts.count, 0);
}

static void a_witness_votes_yes_and_applies_nothing(void **state)
{
    (void)state;
    vote(ASSENT_RM_READ_ONLY);
    hear(0, ASSENT_MSG_COMMIT);
    durable(ASSENT_PART_RECORD_DECIDED);
    assert_int_equal(m.phase, ASSENT_PART_COMMITTED);
    assert_int_equal(sends(ASSENT_MSG_ACK)->message.result, ASSENT_RESULT_COMMITTED);
}

static void a_3pc_branch_that_only_the_rm_knows_is_rolled_back(void **state)
{
    (void)state;
    assent_part_recover_listed(&m, &config, &gtrid, 1, ASSENT_3PC, ASSENT_LISTED_AT_START, 0, 1,
                               &acts);
    assert_int_equal(m.phase, ASSENT_PART_ABORTING);
    assert_int_equal(acts.items[0].operation, ASSENT_OP_ROLLBACK);
    assent_part_recover_listed(&m, &config, &gtrid, 1, ASSENT_3PC, ASSENT_LISTED_LOG_LOST, 0, 1,
                               &acts);
    assert_int_equal(m.phase, ASSENT_PART_PREPARED); /* it may have voted: only others can say */
    assert_true(logs(ASSENT_PART_RECORD_PREPARED));
}

static void a_branch_found_by_a_scan_may_still_vote(void **state)
{
    struct assent_message prepare = message_of(0, ASSENT_MSG_PREPARE, ASSENT_TERMINATION_QUORUM);

    (void)state;
    prepare.has_work = false;
    assent_part_recover_listed(&m, &config, &gtrid, 1, ASSENT_3PC, ASSENT_LISTED_BY_SCAN, 0, 1,
                               &acts);
    assert_non_null(sends(ASSENT_MSG_INQUIRE));
    receive(prepare);
    assert_int_equal(acts.items[0].operation, ASSENT_OP_PREPARE);
    step((struct assent_part_event){
        .kind = ASSENT_PART_EV_RM, .operation = ASSENT_OP_PREPARE, .result = ASSENT_RM_OK});
    assert_null(sends(ASSENT_MSG_VOTE));
    durable(ASSENT_PART_RECORD_PREPARED);
    assert_int_equal(sends(ASSENT_MSG_VOTE)->message.vote, ASSENT_VOTE_YES);

    assent_part_recover_listed(&m, &config, &gtrid, 1, ASSENT_3PC, ASSENT_LISTED_BY_SCAN, 0, 1,
                               &acts);
    prepare.epoch = config.epoch - 1; /* of an earlier life: its yes would be on record */
    receive(prepare);
    assert_int_equal(sends(ASSENT_MSG_VOTE)->message.vote, ASSENT_VOTE_NO);
    assert_int_equal(m.phase, ASSENT_PART_ABORTING);
}

static void a_no_that_a_restart_would_forget_is_told_to_nobody(void **state)
{
    struct assent_message prepare =
        message_of(0, ASSENT_MSG_PREPARE, ASSENT_TERMINATION_COOPERATIVE);
    struct assent_message inquire =
        message_of(3, ASSENT_MSG_INQUIRE, ASSENT_TERMINATION_COOPERATIVE);

    (void)state;
    prepare.protocol = inquire.protocol = ASSENT_2PC;
    receive(prepare);
    /* The RM has prepared the branch, and its answer is lost: after a restart it is on its list. */
    step((struct assent_part_event){.kind = ASSENT_PART_EV_RM,
                                    .operation = ASSENT_OP_PREPARE,
                                    .result = ASSENT_RM_UNAVAILABLE});
    assert_int_equal(sends(ASSENT_MSG_VOTE)->message.vote, ASSENT_VOTE_NO);
    receive(inquire);
    assert_int_equal(acts.count, 0);
    step((struct assent_part_event){
        .kind = ASSENT_PART_EV_RM, .operation = ASSENT_OP_ROLLBACK, .result = ASSENT_RM_OK});
    receive(inquire);
    assert_int_equal(sends(ASSENT_MSG_ABORT)->to, 3);
}

static void a_branch_found_by_a_scan_refuses_for_good(void **state)
{
    (void)state; /* nobody has asked for its vote, so it can still end the others' doubt */
    assent_part_recover_listed(&m, &config, &gtrid, 1, ASSENT_3PC, ASSENT_LISTED_BY_SCAN, 0, 1,
                               &acts);
    receive(message_of(2, ASSENT_MSG_ELECT, ASSENT_TERMINATION_QUORUM));
    assert_true(logs(ASSENT_PART_RECORD_DECIDED));
    durable(ASSENT_PART_RECORD_DECIDED);
    assert_int_equal(sends(ASSENT_MSG_ABORT)->to, 2);
    assert_int_equal(m.phase, ASSENT_PART_ABORTING);
}

static void two_phase_peers_tell_what_they_know(void **state)
{
    struct assent_message prepare =
        message_of(0, ASSENT_MSG_PREPARE, ASSENT_TERMINATION_COOPERATIVE);
    struct assent_message inquire =
        message_of(3, ASSENT_MSG_INQUIRE, ASSENT_TERMINATION_COOPERATIVE);

    (void)state;
    prepare.protocol = ASSENT_2PC;
    receive(prepare);
    step((struct assent_part_event){
        .kind = ASSENT_PART_EV_RM, .operation = ASSENT_OP_PREPARE, .result = ASSENT_RM_OK});
    receive(inquire); /* in doubt too */
    assert_int_equal(acts.count, 0);
    now = m.timer_ms;
    step((struct assent_part_event){.kind = ASSENT_PART_EV_TIMER});
    assert_int_equal(sends(ASSENT_MSG_INQUIRE)->to, ASSENT_TO_ALL);
    receive(message_of(2, ASSENT_MSG_COMMIT, ASSENT_TERMINATION_COOPERATIVE));
    assert_int_equal(m.phase, ASSENT_PART_COMMITTING);
    receive(inquire);
    assert_int_equal(sends(ASSENT_MSG_COMMIT)->to, 3);
}

/* ---- the coordinator ---- */

static void coord_step(struct assent_coord_event event)
{
    event.now_ms = now;
    assent_coord_step(&c, &coord_config, &event, &coord_acts);
}

static void coord_hear(uint32_t branch, struct assent_message message)
{
    message.gtrid = gtrid;
    message.branch = message.from = branch;
    message.incarnation = 5;
    message.epoch = 3;
    message.branch_count = c.branch_count;
    coord_step((struct assent_coord_event){.kind = ASSENT_COORD_EV_MESSAGE, .message = message});
}

static unsigned coord_count(enum assent_coord_action_kind kind)
{
    unsigned count = 0;

    for (size_t i = 0; i < coord_acts.count; i++)
        count += coord_acts.items[i].kind == kind;
    return count;
}

static void coord_durable(enum assent_coord_record_kind record)
{
    coord_step((struct assent_coord_event){.kind = ASSENT_COORD_EV_DURABLE, .record = record});
}

static void pre_commit(uint32_t branches)
{
    assent_coord_init(&c, &gtrid,
                      &(struct assent_coord_begin){.protocol = ASSENT_3PC,
                                                   .termination = ASSENT_TERMINATION_QUORUM,
                                                   .deadline_ms = 10000,
                                                   .seed = 1});
    for (uint32_t i = 0; i < branches; i++)
        coord_step((struct assent_coord_event){
            .kind = ASSENT_COORD_EV_ENLIST, .participant = i + 1, .epoch = 3});
    coord_step((struct assent_coord_event){.kind = ASSENT_COORD_EV_COMMIT});
    for (uint32_t i = 1; i <= branches; i++)
        coord_hear(i, (struct assent_message){.kind = ASSENT_MSG_VOTE, .vote = ASSENT_VOTE_YES});
    assert_int_equal(coord_count(ASSENT_COORD_ACT_SEND), 0);
    coord_durable(ASSENT_COORD_RECORD_PRECOMMIT);
    assert_int_equal(coord_count(ASSENT_COORD_ACT_SEND), branches);
}

static void acknowledge(uint32_t branch)
{
    coord_hear(branch, (struct assent_message){.kind = ASSENT_MSG_PRECOMMIT_ACK,
                                               .ballot = ASSENT_BALLOT_FIRST});
}

static void a_quorum_of_pre_commits_is_the_decision(void **state)
{
    (void)state;
    pre_commit(3);
    acknowledge(1);
    acknowledge(1); /* again is not twice */
    assert_int_equal(c.outcome, ASSENT_OUTCOME_UNKNOWN);
    acknowledge(2);
    assert_int_equal(coord_count(ASSENT_COORD_ACT_REPLY), 1);
    assert_int_equal(c.outcome, ASSENT_OUTCOME_COMMITTED);
    pre_commit(2); /* the coordinator votes, its record counts */
    acknowledge(2);
    assert_int_equal(c.outcome, ASSENT_OUTCOME_COMMITTED);
}

static void a_coordinator_whose_acknowledgements_fail_stands(void **state)
{
    (void)state;
    pre_commit(3);
    acknowledge(1);
    now = c.timer_ms;
    coord_step((struct assent_coord_event){.kind = ASSENT_COORD_EV_TIMER});
    assert_int_equal(c.phase, ASSENT_COORD_MEMBER_LOGGING);
    assert_int_equal(coord_count(ASSENT_COORD_ACT_SEND), 0);
    coord_durable(ASSENT_COORD_RECORD_PRECOMMIT);
    assert_int_equal(coord_count(ASSENT_COORD_ACT_SEND), 3);
    assert_int_equal(coord_acts.items[0].message.kind, ASSENT_MSG_ELECT);
    acknowledge(2); /* of a ballot that is over */
    assert_int_equal(c.outcome, ASSENT_OUTCOME_UNKNOWN);
    coord_hear(2, (struct assent_message){.kind = ASSENT_MSG_ABORT});
    assert_int_equal(c.outcome, ASSENT_OUTCOME_ABORTED);
    assert_int_equal(c.reason, ASSENT_REASON_TERMINATED);
}

/* What it learns during a write is not asked for again. */
static void a_coordinator_obeys_what_it_learned_while_writing(void **state)
{
    (void)state;
    pre_commit(3);
    now = c.timer_ms;
    coord_step((struct assent_coord_event){.kind = ASSENT_COORD_EV_TIMER});
    coord_hear(2, (struct assent_message){.kind = ASSENT_MSG_COMMIT});
    assert_int_equal(c.outcome, ASSENT_OUTCOME_UNKNOWN);
    coord_durable(ASSENT_COORD_RECORD_PRECOMMIT);
    assert_int_equal(c.outcome, ASSENT_OUTCOME_COMMITTED);
    assert_int_equal(c.phase, ASSENT_COORD_COMMITTING);
}

/* Somebody may have committed against it under an unsafe policy, which must come to light. */
static void an_abort_after_pre_commit_is_never_given_up(void **state)
{
    (void)state;
    pre_commit(3);
    now = c.timer_ms;
    coord_step((struct assent_coord_event){.kind = ASSENT_COORD_EV_TIMER});
    coord_durable(ASSENT_COORD_RECORD_PRECOMMIT);
    coord_hear(2, (struct assent_message){.kind = ASSENT_MSG_ABORT});
    for (int i = 0; i < 100; i++) {
        assert_int_equal(c.phase, ASSENT_COORD_ABORTING);
        now = c.timer_ms;
        coord_step((struct assent_coord_event){.kind = ASSENT_COORD_EV_TIMER});
        assert_int_equal(coord_count(ASSENT_COORD_ACT_SEND), 3);
    }
}

static void a_coordinator_comes_back_as_one_among_others(void **state)
{
    struct assent_coord_record record;

    (void)state;
    pre_commit(3);
    assent_coord_to_record(&c, ASSENT_COORD_RECORD_PRECOMMIT, &record);
    assent_coord_recover(&c, &coord_config, &record, 0, 1, &coord_acts);
    assert_int_equal(c.phase, ASSENT_COORD_TERMINATING);
    assert_int_equal(coord_acts.count, 0);
    coord_hear(2, (struct assent_message){.kind = ASSENT_MSG_ELECT, .ballot = BALLOT});
    assert_int_equal(coord_count(ASSENT_COORD_ACT_SEND), 0);
    coord_durable(ASSENT_COORD_RECORD_PRECOMMIT);
    assert_int_equal(coord_acts.items[0].message.kind, ASSENT_MSG_ELECT_ANSWER);
    assert_int_equal(coord_acts.items[0].message.attempt, ASSENT_BALLOT_FIRST);
    coord_hear(2, (struct assent_message){.kind = ASSENT_MSG_PROPOSE,
                                          .ballot = BALLOT,
                                          .state = ASSENT_MEMBER_PREABORTED});
    assent_coord_to_record(&c, ASSENT_COORD_RECORD_PREABORT, &record);
    assent_coord_recover(&c, &coord_config, &record, 0, 1, &coord_acts);
    assert_int_equal(c.member.state, ASSENT_MEMBER_PREABORTED);
    assert_int_equal(c.member.last_attempt, BALLOT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_promise_is_durable_before_it_is_given, fresh),
        cmocka_unit_test_setup(an_acceptance_is_durable_before_it_is_given, fresh),
        cmocka_unit_test_setup(a_candidate_asks_proposes_and_decides_in_turn, fresh),
        cmocka_unit_test_setup(while_it_writes_it_hears_nothing_but_decisions, fresh),
        cmocka_unit_test_setup(a_decision_under_way_is_told_to_nobody, fresh),
        cmocka_unit_test_setup(what_a_person_did_is_told_unasked, fresh),
        cmocka_unit_test_setup(who_has_not_voted_refuses_for_good_and_durably, fresh),
        cmocka_unit_test_setup(a_later_life_answers_for_a_3pc_and_not_for_a_2pc, fresh),
        cmocka_unit_test_setup(who_has_forgotten_is_silent, fresh),
        cmocka_unit_test_setup(a_witness_votes_yes_and_applies_nothing, fresh),
        cmocka_unit_test_setup(a_3pc_branch_that_only_the_rm_knows_is_rolled_back, fresh),
        cmocka_unit_test_setup(a_branch_found_by_a_scan_may_still_vote, fresh),
        cmocka_unit_test_setup(a_no_that_a_restart_would_forget_is_told_to_nobody, fresh),
        cmocka_unit_test_setup(a_branch_found_by_a_scan_refuses_for_good, fresh),
        cmocka_unit_test_setup(two_phase_peers_tell_what_they_know, fresh),
        cmocka_unit_test_setup(a_quorum_of_pre_commits_is_the_decision, fresh),
        cmocka_unit_test_setup(a_coordinator_whose_acknowledgements_fail_stands, fresh),
        cmocka_unit_test_setup(a_coordinator_obeys_what_it_learned_while_writing, fresh),
        cmocka_unit_test_setup(an_abort_after_pre_commit_is_never_given_up, fresh),
        cmocka_unit_test_setup(a_coordinator_comes_back_as_one_among_others, fresh),
    };

    return cmocka_run_group_tests_name("termination", tests, NULL, NULL);
}
