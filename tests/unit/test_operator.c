/* test_operator.c: what people may decide, and what waits for them, at both machines. */
#include <string.h>

#include "coord_fixture.h"
#include "participant.h"

/* --- the coordinator --- */

static void begin(uint32_t branches)
{
    struct assent_gtrid gtrid = assent_gtrid_make(1, 2, config.incarnation, 1);

    assent_coord_init(&m, &gtrid, &(struct assent_coord_begin){.deadline_ms = 10000, .seed = 1});
    for (uint32_t i = 0; i < branches; i++)
        step((struct assent_coord_event){
            .kind = ASSENT_COORD_EV_ENLIST, .participant = i + 1, .epoch = 3, .one_phase = true});
}

static void durable(enum assent_coord_record_kind record)
{
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_DURABLE, .record = record});
}

static void resolve(enum assent_decision decision)
{
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_RESOLVE, .decision = decision});
}

static void by_hand_only_what_is_undecided_is_decided(void **state)
{
    (void)state; /* edge case 55 */
    begin(2);
    assert_int_equal(assent_coord_may_resolve(&m, ASSENT_DECISION_COMMIT, true), ASSENT_E_STATE);
    resolve(ASSENT_DECISION_COMMIT);
    assert_int_equal(acts.count, 0);
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_COMMIT});
    assert_int_equal(assent_coord_may_resolve(&m, ASSENT_DECISION_ABORT, false), 0);
    resolve(ASSENT_DECISION_ABORT);
    assert_int_equal(sent(ASSENT_MSG_ABORT), 2);
    assert_int_equal(count(ASSENT_COORD_ACT_REPLY), 0); /* first it is on record */
    assert_true(logs(ASSENT_COORD_RECORD_ABORT, false));
    assert_int_equal(m.reason, ASSENT_REASON_OPERATOR);
    for (int force = 0; force < 2; force++) {
        assert_int_equal(assent_coord_may_resolve(&m, ASSENT_DECISION_COMMIT, force),
                         ASSENT_E_STATE);
        assert_int_equal(assent_coord_may_resolve(&m, ASSENT_DECISION_ABORT, force),
                         ASSENT_E_STATE);
    }
    resolve(ASSENT_DECISION_COMMIT);
    assert_int_equal(m.decision, ASSENT_DECISION_ABORT);
    durable(ASSENT_COORD_RECORD_ABORT);
    assert_int_equal(count(ASSENT_COORD_ACT_REPLY), 1);
}

static void by_hand_against_a_branch_that_alone_knows_is_a_hazard(void **state)
{
    (void)state;
    begin(1);
    step((struct assent_coord_event){.kind = ASSENT_COORD_EV_COMMIT});
    durable(ASSENT_COORD_RECORD_ONE_PHASE);
    assert_int_equal(assent_coord_may_resolve(&m, ASSENT_DECISION_ABORT, false), ASSENT_E_REFUSED);
    assert_int_equal(assent_coord_may_resolve(&m, ASSENT_DECISION_ABORT, true), 0);
    resolve(ASSENT_DECISION_ABORT);
    assert_int_equal(count(ASSENT_COORD_ACT_ALARM), 1);
    durable(ASSENT_COORD_RECORD_OUTCOME);
    assert_int_equal(m.outcome, ASSENT_OUTCOME_HAZARD);
}

static enum assent_coord_late late(const struct assent_coord_record *found, bool may_have_expired,
                                   uint32_t branch, enum assent_branch_result result,
                                   struct assent_coord_record *ret_record)
{
    const struct assent_message ack = {
        .kind = ASSENT_MSG_ACK, .branch = branch, .epoch = 3, .result = result};

    return assent_coord_late_result(found, may_have_expired, &ack, 10 - branch, ret_record);
}

static void a_late_contradiction_is_kept(void **state)
{
    struct assent_coord_record record;

    (void)state; /* edge cases 22, 23 */
    assert_int_equal(late(NULL, false, 2, ASSENT_RESULT_ABORTED, &record),
                     ASSENT_COORD_LATE_NOTHING);
    assert_int_equal(late(NULL, false, 2, ASSENT_RESULT_HEUR_COMMITTED, &record),
                     ASSENT_COORD_LATE_RECORD);
    assert_int_equal(record.decision, ASSENT_DECISION_ABORT);
    assert_int_equal(record.outcome, ASSENT_OUTCOME_MIXED);
    assert_int_equal(record.branches[0].participant, 8);
    /* As before; and before a person has seen to it. */
    assert_int_equal(late(&record, false, 2, ASSENT_RESULT_HEUR_COMMITTED, &record),
                     ASSENT_COORD_LATE_NOTHING);
    record.acknowledged = true;
    assert_int_equal(late(&record, false, 2, ASSENT_RESULT_HEUR_COMMITTED, &record),
                     ASSENT_COORD_LATE_FORGET);
    assert_int_equal(late(&record, false, 1, ASSENT_RESULT_HAZARD, &record),
                     ASSENT_COORD_LATE_RECORD);
    assert_int_equal(record.branch_count, 2);
    assert_int_equal(record.branches[0].number, 1);
    assert_int_equal(record.outcome, ASSENT_OUTCOME_MIXED);
    assert_false(record.acknowledged);
    record.kind = ASSENT_COORD_RECORD_COMMIT; /* it has a machine */
    assert_int_equal(late(&record, false, 1, ASSENT_RESULT_HEUR_ABORTED, &record),
                     ASSENT_COORD_LATE_NOTHING);
}

static void a_branch_that_agrees_by_itself_need_not_be_kept(void **state)
{
    struct assent_coord_record record = {.kind = ASSENT_COORD_RECORD_OUTCOME,
                                         .decision = ASSENT_DECISION_COMMIT,
                                         .outcome = ASSENT_OUTCOME_COMMITTED};

    (void)state; /* edge case 22 */
    assert_int_equal(late(NULL, false, 2, ASSENT_RESULT_HEUR_ABORTED, &record),
                     ASSENT_COORD_LATE_FORGET);
    assert_int_equal(late(&record, false, 2, ASSENT_RESULT_HEUR_COMMITTED, &record),
                     ASSENT_COORD_LATE_FORGET);
    assert_int_equal(record.branch_count, 0);
}

/* Perhaps a person has seen to it, and retention dropped it; perhaps nobody ever heard of it. */
static void of_what_may_have_expired_nothing_is_presumed(void **state)
{
    static const enum assent_branch_result results[] = {
        ASSENT_RESULT_HEUR_COMMITTED, ASSENT_RESULT_HEUR_ABORTED, ASSENT_RESULT_HAZARD};
    struct assent_coord_record record;

    (void)state; /* edge cases 22, 23 */
    assert_int_equal(late(NULL, true, 1, ASSENT_RESULT_COMMITTED, &record),
                     ASSENT_COORD_LATE_NOTHING);
    assert_int_equal(late(NULL, true, 1, ASSENT_RESULT_ABORTED, &record),
                     ASSENT_COORD_LATE_NOTHING);
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        assert_int_equal(late(NULL, true, 1, results[i], &record), ASSENT_COORD_LATE_RECORD);
        assert_int_equal(record.decision, ASSENT_DECISION_NONE);
        assert_int_equal(record.outcome, ASSENT_OUTCOME_HAZARD);
        assert_int_equal(record.branches[0].result, results[i]);
        record.acknowledged = true;
        assert_int_equal(late(&record, true, 1, results[i], &record), ASSENT_COORD_LATE_FORGET);
    }
}

/* --- the participant --- */

static const struct assent_part_config part_config = {
    .epoch = 3,
    .capabilities = ASSENT_CAP_PREPARED_LIST | ASSENT_CAP_EVIDENCE,
    .retry_min_ms = 100,
    .retry_max_ms = 1000,
    .inquire_ms = 500,
};

static struct assent_part p;
static struct assent_part_actions part_acts;

static void part_step(struct assent_part_event event)
{
    assent_part_step(&p, &part_config, &event, &part_acts);
}

static void hear(enum assent_message_kind kind)
{
    part_step((struct assent_part_event){.kind = ASSENT_PART_EV_MESSAGE,
                                         .message = {.kind = kind,
                                                     .gtrid = p.gtrid,
                                                     .branch = 1,
                                                     .incarnation = 7,
                                                     .epoch = 3,
                                                     .branch_count = 2,
                                                     .timeout_ms = 1000,
                                                     .has_work = true}});
}

static void rm(enum assent_operation operation, enum assent_rm_result result)
{
    part_step((struct assent_part_event){
        .kind = ASSENT_PART_EV_RM, .operation = operation, .result = result});
}

static void prepare(void)
{
    struct assent_gtrid gtrid = assent_gtrid_make(1, 2, config.incarnation, 1);

    assent_part_init(&p, &gtrid, 1, 1);
    hear(ASSENT_MSG_PREPARE);
    rm(ASSENT_OP_PREPARE, ASSENT_RM_OK);
    assert_int_equal(p.phase, ASSENT_PART_PREPARED);
}

static bool calls(enum assent_operation operation)
{
    for (size_t i = 0; i < part_acts.count; i++)
        if (part_acts.items[i].kind == ASSENT_PART_ACT_CALL)
            return part_acts.items[i].operation == operation;
    return false;
}

static bool acks(enum assent_branch_result result)
{
    for (size_t i = 0; i < part_acts.count; i++)
        if (part_acts.items[i].kind == ASSENT_PART_ACT_SEND &&
            part_acts.items[i].message.kind == ASSENT_MSG_ACK)
            return part_acts.items[i].message.result == result;
    return false;
}

static void a_call_without_an_answer_is_repeated_when_the_rm_is_back(void **state)
{
    (void)state;
    prepare();
    part_step((struct assent_part_event){.kind = ASSENT_PART_EV_RM_UP});
    assert_int_equal(part_acts.count, 0); /* in doubt: nothing waits for the RM */
    hear(ASSENT_MSG_COMMIT);
    part_step((struct assent_part_event){.kind = ASSENT_PART_EV_RM_UP});
    assert_int_equal(part_acts.count, 0); /* the call is under way */
    rm(ASSENT_OP_COMMIT, ASSENT_RM_UNAVAILABLE);
    part_step((struct assent_part_event){.kind = ASSENT_PART_EV_RM_UP});
    assert_true(calls(ASSENT_OP_COMMIT));
}

static void what_has_vanished_is_a_hazard_until_it_was_seen_to(void **state)
{
    (void)state; /* edge cases 23, 39 */
    prepare();
    hear(ASSENT_MSG_COMMIT);
    rm(ASSENT_OP_COMMIT, ASSENT_RM_NOT_FOUND);
    rm(ASSENT_OP_EVIDENCE, ASSENT_RM_VANISHED);
    part_step((struct assent_part_event){.kind = ASSENT_PART_EV_DURABLE,
                                         .record = ASSENT_PART_RECORD_RESULT});
    assert_true(acks(ASSENT_RESULT_HAZARD));
    part_step((struct assent_part_event){.kind = ASSENT_PART_EV_PEER_UP});
    assert_true(acks(ASSENT_RESULT_HAZARD));
    hear(ASSENT_MSG_FORGET);
    assert_true(p.released);
    part_step((struct assent_part_event){.kind = ASSENT_PART_EV_PEER_UP});
    assert_int_equal(part_acts.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand_only_what_is_undecided_is_decided),
        cmocka_unit_test(by_hand_against_a_branch_that_alone_knows_is_a_hazard),
        cmocka_unit_test(a_late_contradiction_is_kept),
        cmocka_unit_test(a_branch_that_agrees_by_itself_need_not_be_kept),
        cmocka_unit_test(of_what_may_have_expired_nothing_is_presumed),
        cmocka_unit_test(a_call_without_an_answer_is_repeated_when_the_rm_is_back),
        cmocka_unit_test(what_has_vanished_is_a_hazard_until_it_was_seen_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
