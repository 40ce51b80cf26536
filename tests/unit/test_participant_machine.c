/* test_participant_machine.c: the participant's machine, event by event. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "gtrid.h"
#include "participant.h"

static struct assent_part_config config;
static struct assent_part m;
static struct assent_part_actions acts;
static uint64_t now;

static void step(struct assent_part_event event)
{
    event.now_ms = now;
    assent_part_step(&m, &config, &event, &acts);
}

static const struct assent_part_action *find(enum assent_part_action_kind kind)
{
    for (size_t i = 0; i < acts.count; i++)
        if (acts.items[i].kind == kind)
            return &acts.items[i];
    return NULL;
}

static bool calls(enum assent_operation operation)
{
    const struct assent_part_action *a = find(ASSENT_PART_ACT_CALL);

    return a != NULL && a->operation == operation;
}

static bool logs(enum assent_part_record_kind record, bool forced)
{
    const struct assent_part_action *a = find(ASSENT_PART_ACT_LOG);

    return a != NULL && a->record == record && a->forced == forced;
}

static const struct assent_message *sends(enum assent_message_kind kind)
{
    for (size_t i = 0; i < acts.count; i++)
        if (acts.items[i].kind == ASSENT_PART_ACT_SEND && acts.items[i].message.kind == kind)
            return &acts.items[i].message;
    return NULL;
}

static bool votes(enum assent_vote vote)
{
    const struct assent_message *message = sends(ASSENT_MSG_VOTE);

    return message != NULL && message->vote == vote;
}

static bool acks(enum assent_branch_result result)
{
    const struct assent_message *message = sends(ASSENT_MSG_ACK);

    return message != NULL && message->result == result;
}

static struct assent_message told(enum assent_message_kind kind, enum assent_protocol protocol)
{
    return (struct assent_message){
        .kind = kind,
        .gtrid = m.gtrid,
        .branch = 1,
        .incarnation = 5,
        .epoch = config.epoch,
        .protocol = protocol,
        .termination =
            protocol == ASSENT_3PC ? ASSENT_TERMINATION_TIMEOUT : ASSENT_TERMINATION_NONE,
        .branch_count = 2,
        .timeout_ms = 1000,
        .has_work = true,
    };
}

static void receive(struct assent_message message)
{
    step((struct assent_part_event){.kind = ASSENT_PART_EV_MESSAGE, .message = message});
}

static void rm(enum assent_operation operation, enum assent_rm_result result)
{
    step((struct assent_part_event){
        .kind = ASSENT_PART_EV_RM, .operation = operation, .result = result});
}

static void durable(enum assent_part_record_kind record)
{
    step((struct assent_part_event){.kind = ASSENT_PART_EV_DURABLE, .record = record});
}

static void timer_at(uint64_t at)
{
    now = at;
    step((struct assent_part_event){.kind = ASSENT_PART_EV_TIMER});
}

static int fresh(void **state)
{
    struct assent_gtrid gtrid = assent_gtrid_make(1, 2, 5, 1);

    (void)state;
    now = 0;
    config = (struct assent_part_config){
        .epoch = 3,
        .capabilities = ASSENT_CAP_PREPARED_LIST | ASSENT_CAP_EVIDENCE | ASSENT_CAP_ONE_PHASE,
        .retry_min_ms = 100,
        .retry_max_ms = 1000,
        .inquire_ms = 300,
    };
    assent_part_init(&m, &gtrid, 1, 1);
    return 0;
}

static void prepare(enum assent_protocol protocol)
{
    receive(told(ASSENT_MSG_PREPARE, protocol));
    assert_true(calls(ASSENT_OP_PREPARE));
    rm(ASSENT_OP_PREPARE, ASSENT_RM_OK);
    if (protocol == ASSENT_3PC) {
        assert_null(sends(ASSENT_MSG_VOTE));
        durable(ASSENT_PART_RECORD_PREPARED);
    }
    assert_true(votes(ASSENT_VOTE_YES));
}

static void yes_follows_the_rm_s_durable_prepare(void **state)
{
    (void)state;
    receive(told(ASSENT_MSG_PREPARE, ASSENT_2PC));
    assert_null(sends(ASSENT_MSG_VOTE));
    assert_true(find(ASSENT_PART_ACT_CALL)->with_work && find(ASSENT_PART_ACT_CALL)->with_begin);
    rm(ASSENT_OP_PREPARE, ASSENT_RM_OK);
    assert_true(votes(ASSENT_VOTE_YES));
    assert_null(find(ASSENT_PART_ACT_LOG)); /* the RM's own list is enough */
    receive(told(ASSENT_MSG_COMMIT, ASSENT_2PC));
    assert_true(calls(ASSENT_OP_COMMIT));
    assert_null(sends(ASSENT_MSG_ACK));
    rm(ASSENT_OP_COMMIT, ASSENT_RM_OK);
    assert_true(acks(ASSENT_RESULT_COMMITTED));
}

static void without_the_rm_s_list_yes_follows_our_own_record(void **state)
{
    (void)state;
    config.capabilities = 0;
    receive(told(ASSENT_MSG_PREPARE, ASSENT_2PC));
    rm(ASSENT_OP_PREPARE, ASSENT_RM_OK);
    assert_true(logs(ASSENT_PART_RECORD_PREPARED, true));
    assert_null(sends(ASSENT_MSG_VOTE));
    durable(ASSENT_PART_RECORD_PREPARED);
    assert_true(votes(ASSENT_VOTE_YES));
}

static void a_repeated_prepare_repeats_yes_without_the_rm(void **state)
{
    (void)state; /* edge case 10 */
    prepare(ASSENT_2PC);
    receive(told(ASSENT_MSG_PREPARE, ASSENT_2PC));
    assert_true(votes(ASSENT_VOTE_YES));
    assert_null(find(ASSENT_PART_ACT_CALL));
}

static void a_prepare_after_the_abort_is_answered_no(void **state)
{
    (void)state; /* edge case 11 */
    receive(told(ASSENT_MSG_ABORT, ASSENT_2PC));
    assert_true(calls(ASSENT_OP_EVIDENCE));
    rm(ASSENT_OP_EVIDENCE, ASSENT_RM_NOT_FOUND);
    assert_true(acks(ASSENT_RESULT_ABORTED));
    receive(told(ASSENT_MSG_PREPARE, ASSENT_2PC));
    assert_true(votes(ASSENT_VOTE_NO));
    assert_null(find(ASSENT_PART_ACT_CALL));
}

static void an_abort_of_a_forgotten_commit_is_shown(void **state)
{
    (void)state; /* edge cases 27, 37: the RM's marker outlives what was remembered here */
    receive(told(ASSENT_MSG_ABORT, ASSENT_2PC));
    assert_null(sends(ASSENT_MSG_ACK));
    rm(ASSENT_OP_EVIDENCE, ASSENT_RM_WAS_COMMITTED);
    assert_non_null(find(ASSENT_PART_ACT_ALARM));
    assert_true(logs(ASSENT_PART_RECORD_RESULT, true));
    assert_null(sends(ASSENT_MSG_ACK));
    durable(ASSENT_PART_RECORD_RESULT);
    assert_true(acks(ASSENT_RESULT_HEUR_COMMITTED));
}

static void work_lost_in_a_restart_is_voted_no(void **state)
{
    struct assent_message message = told(ASSENT_MSG_PREPARE, ASSENT_2PC);

    (void)state; /* edge cases 11, 45 */
    message.epoch = 2;
    receive(message);
    assert_true(votes(ASSENT_VOTE_NO));
    assert_int_equal(m.phase, ASSENT_PART_NONE); /* no tombstone: the driver drops it */
}

static void a_prepare_without_work_asks_the_rm(void **state)
{
    struct assent_message message = told(ASSENT_MSG_PREPARE, ASSENT_2PC);

    message.has_work = false; /* lost, or prepared by the application past us: only the RM knows */
    receive(message);
    assert_true(calls(ASSENT_OP_PREPARE));
    assert_false(find(ASSENT_PART_ACT_CALL)->with_begin);
    rm(ASSENT_OP_PREPARE, ASSENT_RM_NOT_FOUND);
    assert_true(votes(ASSENT_VOTE_NO));
    assert_int_equal(m.reason, ASSENT_REASON_NO_WORK);
    assert_true(calls(ASSENT_OP_ROLLBACK));
    rm(ASSENT_OP_ROLLBACK, ASSENT_RM_NOT_FOUND);
    assert_true(calls(ASSENT_OP_EVIDENCE)); /* which bars who is still preparing it */

    fresh(state);
    receive(message);
    rm(ASSENT_OP_PREPARE, ASSENT_RM_OK);
    durable(ASSENT_PART_RECORD_PREPARED);
    assert_int_equal(m.phase, ASSENT_PART_PREPARED);
}

static void a_refused_prepare_is_done_and_not_rolled_back(void **state)
{
    (void)state; /* edge case 13 */
    receive(told(ASSENT_MSG_PREPARE, ASSENT_2PC));
    rm(ASSENT_OP_PREPARE, ASSENT_RM_REFUSED);
    assert_true(votes(ASSENT_VOTE_NO));
    assert_null(find(ASSENT_PART_ACT_CALL));
    assert_int_equal(m.phase, ASSENT_PART_ABORTED);
}

static void an_unclear_prepare_is_rolled_back_until_it_is_gone(void **state)
{
    (void)state; /* edge cases 15, 16 */
    receive(told(ASSENT_MSG_PREPARE, ASSENT_2PC));
    rm(ASSENT_OP_PREPARE, ASSENT_RM_UNAVAILABLE);
    assert_true(votes(ASSENT_VOTE_NO));
    assert_true(calls(ASSENT_OP_ROLLBACK));
    for (int i = 0; i < 100; i++) {
        rm(ASSENT_OP_ROLLBACK, ASSENT_RM_UNAVAILABLE);
        assert_int_equal(m.phase, ASSENT_PART_ABORTING);
        timer_at(m.timer_ms);
        assert_true(calls(ASSENT_OP_ROLLBACK));
    }
    rm(ASSENT_OP_ROLLBACK, ASSENT_RM_OK);
    assert_int_equal(m.phase, ASSENT_PART_ABORTED);
}

static void read_only_leaves_at_once(void **state)
{
    (void)state; /* edge case 14 */
    receive(told(ASSENT_MSG_PREPARE, ASSENT_2PC));
    rm(ASSENT_OP_PREPARE, ASSENT_RM_READ_ONLY);
    assert_true(votes(ASSENT_VOTE_READ_ONLY));
    assert_true(assent_part_final(&m));
    receive(told(ASSENT_MSG_PREPARE, ASSENT_2PC));
    assert_true(votes(ASSENT_VOTE_READ_ONLY));
}

static void no_such_branch_is_decided_by_evidence(void **state)
{
    (void)state; /* edge cases 20, 21 */
    prepare(ASSENT_2PC);
    receive(told(ASSENT_MSG_COMMIT, ASSENT_2PC));
    rm(ASSENT_OP_COMMIT, ASSENT_RM_NOT_FOUND);
    assert_null(sends(ASSENT_MSG_ACK));
    assert_true(calls(ASSENT_OP_EVIDENCE));
    rm(ASSENT_OP_EVIDENCE, ASSENT_RM_WAS_COMMITTED);
    assert_true(acks(ASSENT_RESULT_COMMITTED));
}

static void no_such_branch_without_evidence_is_a_hazard(void **state)
{
    (void)state; /* edge cases 20, 23 */
    config.capabilities = ASSENT_CAP_PREPARED_LIST;
    prepare(ASSENT_2PC);
    receive(told(ASSENT_MSG_COMMIT, ASSENT_2PC));
    rm(ASSENT_OP_COMMIT, ASSENT_RM_NOT_FOUND);
    assert_non_null(find(ASSENT_PART_ACT_ALARM));
    assert_true(logs(ASSENT_PART_RECORD_RESULT, true));
    assert_null(sends(ASSENT_MSG_ACK));
    durable(ASSENT_PART_RECORD_RESULT);
    assert_true(acks(ASSENT_RESULT_HAZARD));
}

static void unlisted_codes_on_commit_are_retried_for_ever(void **state)
{
    (void)state; /* edge cases 19, 24 */
    prepare(ASSENT_2PC);
    receive(told(ASSENT_MSG_COMMIT, ASSENT_2PC));
    for (int i = 0; i < 1000; i++) {
        rm(ASSENT_OP_COMMIT, i % 2 ? ASSENT_RM_UNKNOWN_CODE : (enum assent_rm_result)99);
        assert_null(sends(ASSENT_MSG_ACK));
        timer_at(m.timer_ms);
        assert_true(calls(ASSENT_OP_COMMIT));
    }
}

static void heuristic_results_are_durable_before_they_are_told(void **state)
{
    (void)state; /* edge case 22 */
    prepare(ASSENT_2PC);
    receive(told(ASSENT_MSG_COMMIT, ASSENT_2PC));
    rm(ASSENT_OP_COMMIT, ASSENT_RM_HEUR_ABORTED);
    assert_true(logs(ASSENT_PART_RECORD_RESULT, true));
    assert_null(sends(ASSENT_MSG_ACK));
    durable(ASSENT_PART_RECORD_RESULT);
    assert_true(acks(ASSENT_RESULT_HEUR_ABORTED));
    receive(told(ASSENT_MSG_COMMIT, ASSENT_2PC));
    assert_true(acks(ASSENT_RESULT_HEUR_ABORTED));
}

static void decisions_are_idempotent_and_opposites_raise_an_alarm(void **state)
{
    (void)state; /* edge case 27 */
    prepare(ASSENT_2PC);
    receive(told(ASSENT_MSG_COMMIT, ASSENT_2PC));
    receive(told(ASSENT_MSG_COMMIT, ASSENT_2PC));
    assert_int_equal(acts.count, 0);
    rm(ASSENT_OP_COMMIT, ASSENT_RM_OK);
    receive(told(ASSENT_MSG_COMMIT, ASSENT_2PC));
    assert_true(acks(ASSENT_RESULT_COMMITTED));
    assert_null(find(ASSENT_PART_ACT_CALL));
    receive(told(ASSENT_MSG_ABORT, ASSENT_2PC));
    assert_non_null(find(ASSENT_PART_ACT_ALARM));
    assert_null(find(ASSENT_PART_ACT_CALL));
}

static void an_older_incarnation_is_ignored(void **state)
{
    struct assent_message message;

    (void)state; /* edge case 28 */
    prepare(ASSENT_2PC);
    message = told(ASSENT_MSG_ABORT, ASSENT_2PC);
    message.incarnation = 4;
    receive(message);
    assert_int_equal(m.phase, ASSENT_PART_PREPARED);
}

static void commit_before_a_vote_is_an_alarm_and_nothing_else(void **state)
{
    (void)state;
    receive(told(ASSENT_MSG_WORK, ASSENT_2PC));
    rm(ASSENT_OP_WORK, ASSENT_RM_OK);
    receive(told(ASSENT_MSG_COMMIT, ASSENT_2PC));
    assert_non_null(find(ASSENT_PART_ACT_ALARM));
    assert_null(find(ASSENT_PART_ACT_CALL));
}

static void abort_while_the_rm_prepares_waits_for_it(void **state)
{
    (void)state;
    receive(told(ASSENT_MSG_PREPARE, ASSENT_2PC));
    receive(told(ASSENT_MSG_ABORT, ASSENT_2PC));
    assert_int_equal(acts.count, 0);
    rm(ASSENT_OP_PREPARE, ASSENT_RM_OK);
    assert_null(sends(ASSENT_MSG_VOTE));
    assert_true(calls(ASSENT_OP_ROLLBACK));
    rm(ASSENT_OP_ROLLBACK, ASSENT_RM_OK);
    assert_true(acks(ASSENT_RESULT_ABORTED));
}

static void work_after_the_end_is_refused(void **state)
{
    (void)state; /* edge case 46 */
    receive(told(ASSENT_MSG_ABORT, ASSENT_2PC));
    receive(told(ASSENT_MSG_WORK, ASSENT_2PC));
    assert_int_equal(sends(ASSENT_MSG_WORK_REPLY)->vote, ASSENT_VOTE_NO);
    assert_null(find(ASSENT_PART_ACT_CALL));
}

static void unfinished_work_is_given_up_at_its_time_out(void **state)
{
    (void)state;
    receive(told(ASSENT_MSG_WORK, ASSENT_2PC));
    rm(ASSENT_OP_WORK, ASSENT_RM_OK);
    assert_int_equal(find(ASSENT_PART_ACT_WORK_DONE)->message.vote, ASSENT_VOTE_YES);
    timer_at(1000);
    assert_true(votes(ASSENT_VOTE_NO));
    assert_true(calls(ASSENT_OP_ROLLBACK));
}

static void in_doubt_under_2pc_asks_and_never_decides(void **state)
{
    (void)state; /* edge case 30 */
    prepare(ASSENT_2PC);
    for (int i = 0; i < 1000; i++) {
        timer_at(m.timer_ms);
        assert_non_null(sends(ASSENT_MSG_INQUIRE));
        assert_null(find(ASSENT_PART_ACT_CALL));
    }
    assert_true(assent_part_in_doubt(&m));
}

static void a_3pc_decision_is_durable_before_the_rm_is_told(void **state)
{
    (void)state;
    prepare(ASSENT_3PC);
    receive(told(ASSENT_MSG_PRECOMMIT, ASSENT_3PC));
    assert_true(logs(ASSENT_PART_RECORD_PRECOMMITTED, true));
    assert_null(sends(ASSENT_MSG_PRECOMMIT_ACK));
    durable(ASSENT_PART_RECORD_PRECOMMITTED);
    assert_non_null(sends(ASSENT_MSG_PRECOMMIT_ACK));
    receive(told(ASSENT_MSG_COMMIT, ASSENT_3PC));
    assert_true(logs(ASSENT_PART_RECORD_DECIDED, true));
    assert_null(find(ASSENT_PART_ACT_CALL));
    durable(ASSENT_PART_RECORD_DECIDED);
    assert_true(calls(ASSENT_OP_COMMIT));
}

static void the_timeout_rule_aborts_before_precommit_and_commits_after(void **state)
{
    (void)state;
    prepare(ASSENT_3PC);
    timer_at(1000);
    assert_int_equal(m.decision, ASSENT_DECISION_ABORT);
    assert_true(logs(ASSENT_PART_RECORD_DECIDED, true));

    fresh(state);
    prepare(ASSENT_3PC);
    receive(told(ASSENT_MSG_PRECOMMIT, ASSENT_3PC));
    durable(ASSENT_PART_RECORD_PRECOMMITTED);
    timer_at(1000);
    assert_int_equal(m.decision, ASSENT_DECISION_COMMIT);
}

static void a_split_under_the_timeout_rule_is_shown(void **state)
{
    (void)state; /* edge case 29 */
    prepare(ASSENT_3PC);
    timer_at(1000);
    durable(ASSENT_PART_RECORD_DECIDED);
    receive(told(ASSENT_MSG_COMMIT, ASSENT_3PC));
    rm(ASSENT_OP_ROLLBACK, ASSENT_RM_OK);
    assert_non_null(find(ASSENT_PART_ACT_ALARM));
    durable(ASSENT_PART_RECORD_RESULT);
    assert_true(acks(ASSENT_RESULT_HEUR_ABORTED));
}

static void recovered_precommitted_asks_before_any_timeout(void **state)
{
    struct assent_part_record record;

    (void)state; /* edge case 33 */
    prepare(ASSENT_3PC);
    receive(told(ASSENT_MSG_PRECOMMIT, ASSENT_3PC));
    assent_part_to_record(&m, ASSENT_PART_RECORD_PRECOMMITTED, &record);
    now = 50000;
    assent_part_recover(&m, &config, &record, now, 1, &acts);
    assert_non_null(sends(ASSENT_MSG_INQUIRE));
    assert_int_equal(m.alone_ms, 51000);
    assert_int_equal(m.phase, ASSENT_PART_PRECOMMITTED);
}

static void recovered_decision_is_carried_out(void **state)
{
    struct assent_part_record record;

    (void)state;
    prepare(ASSENT_3PC);
    receive(told(ASSENT_MSG_ABORT, ASSENT_3PC));
    assent_part_to_record(&m, ASSENT_PART_RECORD_DECIDED, &record);
    assent_part_recover(&m, &config, &record, 0, 1, &acts);
    assert_true(calls(ASSENT_OP_ROLLBACK));
}

static void a_listed_branch_asks_and_never_decides_alone(void **state)
{
    struct assent_message prepare = told(ASSENT_MSG_PREPARE, ASSENT_2PC);
    struct assent_gtrid gtrid = m.gtrid;

    (void)state; /* edge cases 17, 41 */
    assent_part_recover_listed(&m, &config, &gtrid, 1, ASSENT_2PC, ASSENT_LISTED_AT_START, 0, 1,
                               &acts);
    assert_non_null(sends(ASSENT_MSG_INQUIRE));
    for (int i = 0; i < 100; i++)
        timer_at(m.timer_ms);
    assert_int_equal(m.phase, ASSENT_PART_PREPARED);
    prepare.epoch = config.epoch - 1; /* it may have voted in that life */
    receive(prepare);
    assert_true(votes(ASSENT_VOTE_YES));
    assert_int_equal(sends(ASSENT_MSG_VOTE)->branch_count, 2);
}

static void one_phase_answers_from_the_rm_after_a_restart(void **state)
{
    struct assent_message message = told(ASSENT_MSG_COMMIT_ONE_PHASE, ASSENT_2PC);

    (void)state;
    message.epoch = 2;
    receive(message);
    assert_true(calls(ASSENT_OP_EVIDENCE));
    rm(ASSENT_OP_EVIDENCE, ASSENT_RM_WAS_COMMITTED);
    assert_true(acks(ASSENT_RESULT_COMMITTED));

    fresh(state);
    message.epoch = 2;
    receive(message);
    rm(ASSENT_OP_EVIDENCE, ASSENT_RM_WAS_ABORTED);
    assert_true(calls(ASSENT_OP_ROLLBACK));
    rm(ASSENT_OP_ROLLBACK, ASSENT_RM_OK);
    assert_true(acks(ASSENT_RESULT_ABORTED));
}

static void one_phase_work_that_fails_aborts(void **state)
{
    (void)state;
    receive(told(ASSENT_MSG_COMMIT_ONE_PHASE, ASSENT_2PC));
    rm(ASSENT_OP_ONE_PHASE, ASSENT_RM_FAILED);
    assert_true(calls(ASSENT_OP_ROLLBACK));
    rm(ASSENT_OP_ROLLBACK, ASSENT_RM_OK);
    assert_true(acks(ASSENT_RESULT_ABORTED));
}

static void a_closed_branch_only_refuses(void **state)
{
    struct assent_gtrid gtrid = m.gtrid;

    (void)state; /* edge case 46 */
    assent_part_init_closed(&m, &gtrid, 1);
    receive(told(ASSENT_MSG_PREPARE, ASSENT_2PC));
    assert_true(votes(ASSENT_VOTE_NO));
    receive(told(ASSENT_MSG_COMMIT, ASSENT_2PC));
    assert_int_equal(acts.count, 0);
    receive(told(ASSENT_MSG_COMMIT_ONE_PHASE, ASSENT_2PC));
    assert_int_equal(acts.count, 0);
}

static void stopping_gives_up_unvoted_work_and_keeps_the_rest(void **state)
{
    (void)state;
    receive(told(ASSENT_MSG_WORK, ASSENT_2PC));
    step((struct assent_part_event){.kind = ASSENT_PART_EV_STOP});
    assert_true(calls(ASSENT_OP_ROLLBACK));

    fresh(state);
    prepare(ASSENT_2PC);
    step((struct assent_part_event){.kind = ASSENT_PART_EV_STOP});
    assert_int_equal(acts.count, 0);
}

#define T(name) cmocka_unit_test_setup(name, fresh)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(yes_follows_the_rm_s_durable_prepare),
        T(without_the_rm_s_list_yes_follows_our_own_record),
        T(a_repeated_prepare_repeats_yes_without_the_rm),
        T(a_prepare_after_the_abort_is_answered_no),
        T(an_abort_of_a_forgotten_commit_is_shown),
        T(work_lost_in_a_restart_is_voted_no),
        T(a_prepare_without_work_asks_the_rm),
        T(a_refused_prepare_is_done_and_not_rolled_back),
        T(an_unclear_prepare_is_rolled_back_until_it_is_gone),
        T(read_only_leaves_at_once),
        T(no_such_branch_is_decided_by_evidence),
        T(no_such_branch_without_evidence_is_a_hazard),
        T(unlisted_codes_on_commit_are_retried_for_ever),
        T(heuristic_results_are_durable_before_they_are_told),
        T(decisions_are_idempotent_and_opposites_raise_an_alarm),
        T(an_older_incarnation_is_ignored),
        T(commit_before_a_vote_is_an_alarm_and_nothing_else),
        T(abort_while_the_rm_prepares_waits_for_it),
        T(work_after_the_end_is_refused),
        T(unfinished_work_is_given_up_at_its_time_out),
        T(in_doubt_under_2pc_asks_and_never_decides),
        T(a_3pc_decision_is_durable_before_the_rm_is_told),
        T(the_timeout_rule_aborts_before_precommit_and_commits_after),
        T(a_split_under_the_timeout_rule_is_shown),
        T(recovered_precommitted_asks_before_any_timeout),
        T(recovered_decision_is_carried_out),
        T(a_listed_branch_asks_and_never_decides_alone),
        T(one_phase_answers_from_the_rm_after_a_restart),
        T(one_phase_work_that_fails_aborts),
        T(a_closed_branch_only_refuses),
        T(stopping_gives_up_unvoted_work_and_keeps_the_rest),
    };

    return cmocka_run_group_tests_name("participant machine", tests, NULL, NULL);
}
