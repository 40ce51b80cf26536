/* test_coordinator_machine.c: the coordinator's machine, event by event. */
#include <string.h>

#include "coord_fixture.h"

/* Position of the first action of a kind, or the number of actions. */
static size_t where(enum assent_coord_action_kind kind)
{
    size_t i = 0;

    while (i < acts.count && acts.items[i].kind != kind)
        i++;
    return i;
}

static void begin_as(struct assent_coord_begin begin, uint32_t branches)
{
    struct assent_gtrid gtrid = assent_gtrid_make(1, 2, config.incarnation, 1);

    begin.deadline_ms = 10000;
    begin.seed = 1;
    assent_coord_init(&m, &gtrid, &begin);
    for (uint32_t i = 0; i < branches; i++) {
        step((struct assent_coord_event){
            .kind = ASSENT_COORD_EV_ENLIST, .participant = i + 1, .epoch = 3, .one_phase = true});
        assert_int_equal(acts.items[0].kind, ASSENT_COORD_ACT_ENLISTED);
        assert_int_equal(acts.items[0].branch, i + 1);
    }
}

static void begin(enum assent_protocol protocol, uint32_t branches)
{
    begin_as((struct assent_coord_begin){.protocol = protocol,
                                         .termination = protocol == ASSENT_3PC
                                                            ? ASSENT_TERMINATION_TIMEOUT
                                                            : ASSENT_TERMINATION_NONE},
             branches);
}

static void commit_at(uint64_t now_ms)
{
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_COMMIT, .now_ms = now_ms});
}

static void timer_at(uint64_t now_ms)
{
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_TIMER, .now_ms = now_ms});
}

static void durable(enum assent_coord_record_kind record)
{
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_DURABLE,
                                     .record = record,
                                     .standing = record == ASSENT_COORD_RECORD_COMMIT
                                                     ? ASSENT_DECISION_COMMIT
                                                     : ASSENT_DECISION_NONE});
}

static struct assent_message from(uint32_t branch, enum assent_message_kind kind)
{
    return (struct assent_message){.kind = kind,
                                   .gtrid = m.gtrid,
                                   .branch = branch,
                                   .incarnation = config.incarnation,
                                   .epoch = 3,
                                   .branch_count = m.branch_count};
}

static void receive(struct assent_message message)
{
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_MESSAGE, .message = message});
}

static void vote(uint32_t branch, enum assent_vote vote)
{
    struct assent_message message = from(branch, ASSENT_MSG_VOTE);

    message.vote = vote;
    receive(message);
}

static void ack(uint32_t branch, enum assent_branch_result result)
{
    struct assent_message message = from(branch, ASSENT_MSG_ACK);

    message.result = result;
    receive(message);
}

static void all_yes_commits_and_replies_only_after_the_sync(void **state)
{
    (void)state; /* edge case 5 */
    begin(ASSENT_2PC, 2);
    commit_at(0);
    assert_int_equal(sent(ASSENT_MSG_PREPARE), 2);
    vote(1, ASSENT_VOTE_YES);
    assert_int_equal(acts.count, 0);
    vote(2, ASSENT_VOTE_YES);
    assert_true(logs(ASSENT_COORD_RECORD_COMMIT, true));
    assert_int_equal(acts.count, 1);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_UNKNOWN);
    durable(ASSENT_COORD_RECORD_COMMIT);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_COMMITTED);
    assert_int_equal(where(ASSENT_COORD_ACT_REPLY), 0);
    assert_int_equal(sent(ASSENT_MSG_COMMIT), 2);
    ack(1, ASSENT_RESULT_COMMITTED);
    ack(2, ASSENT_RESULT_COMMITTED);
    assert_true(logs(ASSENT_COORD_RECORD_OUTCOME, false));
    durable(ASSENT_COORD_RECORD_OUTCOME);
    assert_int_equal(count(ASSENT_COORD_ACT_ENDED), 1);
    assert_int_equal(m.phase, ASSENT_COORD_ENDED);
}

static void one_no_aborts_and_forces_nothing(void **state)
{
    (void)state;
    begin(ASSENT_2PC, 3);
    commit_at(0);
    vote(1, ASSENT_VOTE_YES);
    vote(2, ASSENT_VOTE_NO);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_ABORTED);
    assert_int_equal(m.reason, ASSENT_REASON_VOTED_NO);
    assert_int_equal(m.reason_branch, 2);
    assert_int_equal(count(ASSENT_COORD_ACT_REPLY), 1);
    assert_int_equal(count(ASSENT_COORD_ACT_LOG), 0);
    assert_int_equal(sent(ASSENT_MSG_ABORT), 2); /* not to the one that said no: edge case 13 */
}

static void late_yes_after_abort_is_told_abort_again(void **state)
{
    (void)state; /* edge case 12 */
    begin(ASSENT_2PC, 2);
    commit_at(0);
    vote(1, ASSENT_VOTE_NO);
    vote(2, ASSENT_VOTE_YES);
    assert_int_equal(sent(ASSENT_MSG_ABORT), 1);
}

static void commit_after_the_deadline_aborts(void **state)
{
    (void)state; /* edge case 4 */
    begin(ASSENT_2PC, 2);
    commit_at(10000);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_ABORTED);
    assert_int_equal(m.reason, ASSENT_REASON_DEADLINE);
}

static void missing_vote_aborts_and_names_the_branch(void **state)
{
    (void)state;
    begin(ASSENT_2PC, 2);
    commit_at(0);
    vote(1, ASSENT_VOTE_YES);
    assert_int_equal(m.timer_ms, 1000);
    timer_at(999);
    assert_int_equal(m.phase, ASSENT_COORD_VOTING);
    timer_at(1000);
    assert_int_equal(m.reason, ASSENT_REASON_VOTE_MISSING);
    assert_int_equal(m.reason_branch, 2);
}

static void commit_and_rollback_race_has_one_winner(void **state)
{
    (void)state; /* edge case 3 */
    begin(ASSENT_2PC, 2);
    commit_at(0);
    vote(1, ASSENT_VOTE_YES);
    vote(2, ASSENT_VOTE_YES);
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_ROLLBACK,
                                     .reason = ASSENT_REASON_REQUESTED});
    assert_int_equal(acts.count, 0);
    timer_at(20000);
    durable(ASSENT_COORD_RECORD_COMMIT);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_COMMITTED);
    commit_at(1);
    assert_int_equal(acts.count, 0);
}

static void the_register_s_answer_stands(void **state)
{
    (void)state;
    begin(ASSENT_2PC, 2);
    commit_at(0);
    vote(1, ASSENT_VOTE_YES);
    vote(2, ASSENT_VOTE_YES);
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_DURABLE,
                                     .record = ASSENT_COORD_RECORD_COMMIT,
                                     .standing = ASSENT_DECISION_ABORT});
    assert_int_equal(m.outcome, ASSENT_OUTCOME_ABORTED);
    assert_int_equal(sent(ASSENT_MSG_ABORT), 2);
}

static void read_only_voters_leave_and_are_not_in_the_record(void **state)
{
    struct assent_coord_record record;

    (void)state; /* edge case 14 */
    begin(ASSENT_2PC, 3);
    commit_at(0);
    vote(1, ASSENT_VOTE_READ_ONLY);
    vote(2, ASSENT_VOTE_YES);
    vote(3, ASSENT_VOTE_YES);
    assent_coord_to_record(&m, ASSENT_COORD_RECORD_COMMIT, &record);
    assert_int_equal(record.branch_count, 2);
    assert_int_equal(record.branches[0].number, 2);
    assert_int_equal(record.decision, ASSENT_DECISION_COMMIT);
    durable(ASSENT_COORD_RECORD_COMMIT);
    assert_int_equal(sent(ASSENT_MSG_COMMIT), 2);
}

static void all_read_only_forces_nothing_and_replies_when_it_is_on_record(void **state)
{
    (void)state; /* edge cases 5, 14 */
    begin(ASSENT_2PC, 2);
    commit_at(0);
    vote(1, ASSENT_VOTE_READ_ONLY);
    vote(2, ASSENT_VOTE_READ_ONLY);
    assert_true(logs(ASSENT_COORD_RECORD_OUTCOME, false));
    assert_int_equal(count(ASSENT_COORD_ACT_REPLY), 0);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_UNKNOWN);
    durable(ASSENT_COORD_RECORD_OUTCOME);
    assert_int_equal(count(ASSENT_COORD_ACT_REPLY), 1);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_COMMITTED);
}

static void one_branch_commits_in_one_phase_after_its_record(void **state)
{
    (void)state;
    begin(ASSENT_2PC, 1);
    commit_at(0);
    assert_true(logs(ASSENT_COORD_RECORD_ONE_PHASE, true));
    assert_int_equal(sent(ASSENT_MSG_COMMIT_ONE_PHASE), 0);
    durable(ASSENT_COORD_RECORD_ONE_PHASE);
    assert_int_equal(sent(ASSENT_MSG_COMMIT_ONE_PHASE), 1);
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_ROLLBACK});
    assert_int_equal(acts.count, 0);
    vote(1, ASSENT_VOTE_NO); /* its own time-out; the answer to one-phase is what counts */
    assert_int_equal(m.phase, ASSENT_COORD_ONE_PHASE);
    ack(1, ASSENT_RESULT_ABORTED);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_ABORTED);
}

static void one_phase_is_only_for_resources_that_can(void **state)
{
    (void)state;
    begin(ASSENT_2PC, 1);
    m.branches[0].one_phase = false;
    commit_at(0);
    assert_int_equal(sent(ASSENT_MSG_PREPARE), 1);
}

static void votes_of_another_life_or_list_do_not_count(void **state)
{
    struct assent_message message;

    (void)state; /* edge case 18 */
    begin(ASSENT_2PC, 2);
    commit_at(0);
    vote(1, ASSENT_VOTE_YES);
    message = from(2, ASSENT_MSG_VOTE);
    message.vote = ASSENT_VOTE_YES;
    message.incarnation = 6;
    receive(message);
    message.incarnation = 7;
    message.epoch = 2;
    receive(message);
    message.epoch = 3;
    message.branch_count = 3;
    receive(message);
    message.branch_count = 2;
    message.branch = 3;
    receive(message);
    message.branch = 0;
    receive(message);
    assert_int_equal(m.phase, ASSENT_COORD_VOTING);
    vote(2, ASSENT_VOTE_YES);
    assert_int_equal(m.phase, ASSENT_COORD_COMMIT_LOGGING);
}

static void second_phase_is_repeated_for_ever_with_backoff(void **state)
{
    uint64_t now = 0;

    (void)state; /* edge case 19 */
    begin(ASSENT_2PC, 2);
    commit_at(0);
    vote(1, ASSENT_VOTE_YES);
    vote(2, ASSENT_VOTE_YES);
    durable(ASSENT_COORD_RECORD_COMMIT);
    ack(1, ASSENT_RESULT_COMMITTED);
    for (int i = 0; i < 1000; i++) {
        assert_true(m.timer_ms > now && m.timer_ms <= now + 1000);
        now = m.timer_ms;
        timer_at(now);
        assert_int_equal(sent(ASSENT_MSG_COMMIT), 1);
    }
}

static void a_participant_that_is_back_is_told_at_once(void **state)
{
    (void)state;
    begin(ASSENT_2PC, 2);
    commit_at(0);
    vote(1, ASSENT_VOTE_YES);
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_PEER_UP, .participant = 2});
    assert_int_equal(sent(ASSENT_MSG_PREPARE), 1);
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_PEER_UP, .participant = 1});
    assert_int_equal(acts.count, 0);
}

static void a_branch_that_did_the_opposite_makes_it_mixed(void **state)
{
    (void)state; /* edge cases 22, 29 */
    begin(ASSENT_2PC, 2);
    commit_at(0);
    vote(1, ASSENT_VOTE_YES);
    vote(2, ASSENT_VOTE_YES);
    durable(ASSENT_COORD_RECORD_COMMIT);
    ack(1, ASSENT_RESULT_COMMITTED);
    ack(2, ASSENT_RESULT_ABORTED);
    assert_int_equal(count(ASSENT_COORD_ACT_ALARM), 1);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_MIXED);
    assert_int_equal(m.decision, ASSENT_DECISION_COMMIT);
}

static void a_hazard_is_shown(void **state)
{
    (void)state; /* edge case 23 */
    begin(ASSENT_2PC, 2);
    commit_at(0);
    vote(1, ASSENT_VOTE_YES);
    vote(2, ASSENT_VOTE_YES);
    durable(ASSENT_COORD_RECORD_COMMIT);
    ack(1, ASSENT_RESULT_HAZARD);
    ack(2, ASSENT_RESULT_COMMITTED);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_HAZARD);
}

static void enlisting_after_commit_is_refused(void **state)
{
    (void)state; /* edge case 46 */
    begin(ASSENT_2PC, 2);
    commit_at(0);
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_ENLIST, .participant = 9});
    assert_int_equal(acts.items[0].kind, ASSENT_COORD_ACT_REFUSED);
    assert_int_equal(acts.items[0].error, ASSENT_E_STATE);
    assert_int_equal(m.branch_count, 2);
}

static void the_65th_branch_is_refused(void **state)
{
    (void)state;
    begin(ASSENT_2PC, ASSENT_BRANCHES_MAX);
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_ENLIST, .participant = 9});
    assert_int_equal(acts.items[0].error, ASSENT_E_LIMIT);
    commit_at(0);
    assert_int_equal(sent(ASSENT_MSG_PREPARE), ASSENT_BRANCHES_MAX);
}

static void three_phases_in_order_each_after_its_record(void **state)
{
    (void)state;
    begin(ASSENT_3PC, 2);
    commit_at(0);
    vote(1, ASSENT_VOTE_YES);
    vote(2, ASSENT_VOTE_YES);
    assert_true(logs(ASSENT_COORD_RECORD_PRECOMMIT, true));
    assert_int_equal(sent(ASSENT_MSG_PRECOMMIT), 0);
    durable(ASSENT_COORD_RECORD_PRECOMMIT);
    assert_int_equal(sent(ASSENT_MSG_PRECOMMIT), 2);
    receive(from(1, ASSENT_MSG_PRECOMMIT_ACK));
    receive(from(1, ASSENT_MSG_PRECOMMIT_ACK));
    assert_int_equal(m.phase, ASSENT_COORD_PRECOMMITTING);
    receive(from(2, ASSENT_MSG_PRECOMMIT_ACK));
    assert_true(logs(ASSENT_COORD_RECORD_COMMIT, true));
    durable(ASSENT_COORD_RECORD_COMMIT);
    assert_int_equal(sent(ASSENT_MSG_COMMIT), 2);
}

static void missing_precommit_acks_commit_under_the_timeout_rule(void **state)
{
    (void)state;
    begin(ASSENT_3PC, 2);
    commit_at(0);
    vote(1, ASSENT_VOTE_YES);
    vote(2, ASSENT_VOTE_YES);
    durable(ASSENT_COORD_RECORD_PRECOMMIT);
    timer_at(m.timer_ms);
    assert_true(logs(ASSENT_COORD_RECORD_COMMIT, true));
}

static void recover_from(enum assent_coord_record_kind kind)
{
    struct assent_coord_record record;

    assent_coord_to_record(&m, kind, &record);
    assent_coord_recover(&m, &config, &record, 0, 1, &acts);
}

static void recovery_goes_on_from_each_record(void **state)
{
    (void)state; /* edge case 42 */
    begin(ASSENT_2PC, 2);
    commit_at(0);
    vote(1, ASSENT_VOTE_YES);
    vote(2, ASSENT_VOTE_YES);
    recover_from(ASSENT_COORD_RECORD_COMMIT);
    assert_int_equal(sent(ASSENT_MSG_COMMIT), 2);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_COMMITTED);
    /* Whoever connects is sent to at once; a timer that comes sooner would only cost. */
    assert_in_range(m.timer_ms, config.retry_max_ms / 2, config.retry_max_ms);
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_PEER_UP, .participant = 2});
    assert_int_equal(sent(ASSENT_MSG_COMMIT), 1);
    ack(2, ASSENT_RESULT_COMMITTED);
    ack(1, ASSENT_RESULT_COMMITTED);
    recover_from(ASSENT_COORD_RECORD_OUTCOME);
    assert_int_equal(m.phase, ASSENT_COORD_ENDED);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_COMMITTED);

    begin(ASSENT_2PC, 1);
    commit_at(0);
    recover_from(ASSENT_COORD_RECORD_ONE_PHASE);
    assert_int_equal(sent(ASSENT_MSG_COMMIT_ONE_PHASE), 1);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_UNKNOWN);
    ack(1, ASSENT_RESULT_COMMITTED);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_COMMITTED);
}

static void a_key_is_told_an_abort_by_record_only(void **state)
{
    (void)state; /* edge case 5 */
    begin_as((struct assent_coord_begin){.protocol = ASSENT_2PC, .keyed = true}, 2);
    commit_at(0);
    vote(1, ASSENT_VOTE_YES);
    vote(2, ASSENT_VOTE_NO);
    assert_int_equal(sent(ASSENT_MSG_ABORT), 1);
    assert_int_equal(count(ASSENT_COORD_ACT_REPLY), 0);
    assert_true(logs(ASSENT_COORD_RECORD_ABORT, false));
    durable(ASSENT_COORD_RECORD_ABORT);
    assert_int_equal(count(ASSENT_COORD_ACT_REPLY), 1);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_ABORTED);
    recover_from(ASSENT_COORD_RECORD_ABORT);
    assert_int_equal(sent(ASSENT_MSG_ABORT), 1);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_ABORTED);
    ack(1, ASSENT_RESULT_ABORTED);
    assert_true(logs(ASSENT_COORD_RECORD_OUTCOME, false));
}

static void a_key_without_branches_is_told_with_its_outcome(void **state)
{
    (void)state;
    begin_as((struct assent_coord_begin){.protocol = ASSENT_2PC, .keyed = true}, 0);
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_ROLLBACK,
                                     .reason = ASSENT_REASON_REQUESTED});
    assert_int_equal(count(ASSENT_COORD_ACT_REPLY), 0);
    assert_false(logs(ASSENT_COORD_RECORD_ABORT, false));
    durable(ASSENT_COORD_RECORD_OUTCOME);
    assert_int_equal(count(ASSENT_COORD_ACT_REPLY), 1);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_ABORTED);
}

static void an_unknown_transaction_is_presumed_aborted_only_to_those_who_ask(void **state)
{
    struct assent_coord_record record = {.decision = ASSENT_DECISION_COMMIT,
                                         .kind = ASSENT_COORD_RECORD_OUTCOME};
    struct assent_message message;

    (void)state;
    begin(ASSENT_2PC, 1);
    message = from(1, ASSENT_MSG_INQUIRE);
    assent_coord_answer_unknown(&config, NULL, &message, &acts);
    assert_int_equal(sent(ASSENT_MSG_ABORT), 1);
    assent_coord_answer_unknown(&config, &record, &message, &acts);
    assert_int_equal(sent(ASSENT_MSG_COMMIT), 1);
    record.decision = ASSENT_DECISION_NONE; /* a hazard: nobody knows */
    assent_coord_answer_unknown(&config, &record, &message, &acts);
    assert_int_equal(acts.count, 0);
    message.kind = ASSENT_MSG_ACK;
    assent_coord_answer_unknown(&config, NULL, &message, &acts);
    assert_int_equal(acts.count, 0);
}

/* The second branch does not answer. */
static void abort_until_given_up(void)
{
    begin(ASSENT_2PC, 2);
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_ROLLBACK,
                                     .reason = ASSENT_REASON_REQUESTED});
    ack(1, ASSENT_RESULT_ABORTED);
    for (int i = 0; i < 1000 && m.phase == ASSENT_COORD_ABORTING; i++)
        timer_at(m.timer_ms);
}

static void abort_delivery_ends_and_leaves_the_rest_to_presumption(void **state)
{
    (void)state;
    abort_until_given_up();
    assert_int_equal(m.phase, ASSENT_COORD_ENDING);
    assert_true(logs(ASSENT_COORD_RECORD_OUTCOME, false));
}

/* It is said once: with nobody to take it, it would be seen after the next connect only. */
static void a_contradiction_while_the_outcome_is_written_is_written_after_it(void **state)
{
    (void)state; /* edge cases 22, 23 */
    abort_until_given_up();
    ack(1, ASSENT_RESULT_ABORTED);
    ack(2, ASSENT_RESULT_HEUR_COMMITTED);
    assert_int_equal(count(ASSENT_COORD_ACT_ALARM), 1);
    assert_false(logs(ASSENT_COORD_RECORD_OUTCOME, false)); /* one is under way */
    durable(ASSENT_COORD_RECORD_OUTCOME);
    assert_int_equal(m.phase, ASSENT_COORD_ENDING);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_MIXED);
    assert_true(logs(ASSENT_COORD_RECORD_OUTCOME, false));
    durable(ASSENT_COORD_RECORD_OUTCOME);
    assert_int_equal(m.phase, ASSENT_COORD_ENDED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_yes_commits_and_replies_only_after_the_sync),
        cmocka_unit_test(one_no_aborts_and_forces_nothing),
        cmocka_unit_test(late_yes_after_abort_is_told_abort_again),
        cmocka_unit_test(commit_after_the_deadline_aborts),
        cmocka_unit_test(missing_vote_aborts_and_names_the_branch),
        cmocka_unit_test(commit_and_rollback_race_has_one_winner),
        cmocka_unit_test(the_register_s_answer_stands),
        cmocka_unit_test(read_only_voters_leave_and_are_not_in_the_record),
        cmocka_unit_test(all_read_only_forces_nothing_and_replies_when_it_is_on_record),
        cmocka_unit_test(one_branch_commits_in_one_phase_after_its_record),
        cmocka_unit_test(one_phase_is_only_for_resources_that_can),
        cmocka_unit_test(votes_of_another_life_or_list_do_not_count),
        cmocka_unit_test(second_phase_is_repeated_for_ever_with_backoff),
        cmocka_unit_test(a_participant_that_is_back_is_told_at_once),
        cmocka_unit_test(a_branch_that_did_the_opposite_makes_it_mixed),
        cmocka_unit_test(a_hazard_is_shown),
        cmocka_unit_test(enlisting_after_commit_is_refused),
        cmocka_unit_test(the_65th_branch_is_refused),
        cmocka_unit_test(three_phases_in_order_each_after_its_record),
        cmocka_unit_test(missing_precommit_acks_commit_under_the_timeout_rule),
        cmocka_unit_test(recovery_goes_on_from_each_record),
        cmocka_unit_test(a_key_is_told_an_abort_by_record_only),
        cmocka_unit_test(a_key_without_branches_is_told_with_its_outcome),
        cmocka_unit_test(an_unknown_transaction_is_presumed_aborted_only_to_those_who_ask),
        cmocka_unit_test(abort_delivery_ends_and_leaves_the_rest_to_presumption),
        cmocka_unit_test(a_contradiction_while_the_outcome_is_written_is_written_after_it),
    };

    return cmocka_run_group_tests_name("coordinator machine", tests, NULL, NULL);
}
