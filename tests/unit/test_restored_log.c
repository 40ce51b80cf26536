/*
 * test_restored_log.c: participants whose coordinator's log was put back from an older copy: until
 * a person accepts that, only a commit of what it began before is believed, from whomever it comes
 * (edge case 37).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "gtrid.h"
#include "participant.h"

#define BEGUN_IN 5 /* the life of the coordinator that began it */

static const struct assent_part_config config = {
    .epoch = 3,
    .capabilities = ASSENT_CAP_PREPARED_LIST | ASSENT_CAP_EVIDENCE,
    .retry_min_ms = 100,
    .retry_max_ms = 1000,
    .inquire_ms = 300,
};
static enum assent_protocol protocol;
static enum assent_termination termination;
static struct assent_part m; /* participant 1 of three */
static struct assent_part_actions acts;
static uint64_t now;
static uint32_t lost_below; /* stated with every event */

static struct assent_message message_of(uint32_t from, enum assent_message_kind kind)
{
    return (struct assent_message){
        .kind = kind,
        .gtrid = m.gtrid,
        .branch = 1,
        .from = from,
        .incarnation = from == 0 ? BEGUN_IN + 2 : 0,
        .epoch = config.epoch,
        .protocol = protocol,
        .termination = termination,
        .branch_count = 3,
        .timeout_ms = 1000,
        .has_work = true,
        .ballot = 9, /* of participant 3 */
        .state = ASSENT_MEMBER_PREABORTED,
    };
}

static void step(struct assent_part_event event)
{
    event.now_ms = now;
    event.lost_below = lost_below;
    assent_part_step(&m, &config, &event, &acts);
}

static void happens(enum assent_part_event_kind kind)
{
    step((struct assent_part_event){.kind = kind});
}

static void hear(uint32_t from, enum assent_message_kind kind)
{
    step((struct assent_part_event){.kind = ASSENT_PART_EV_MESSAGE,
                                    .message = message_of(from, kind)});
}

static void durable(enum assent_part_record_kind record)
{
    step((struct assent_part_event){.kind = ASSENT_PART_EV_DURABLE, .record = record});
}

static void rm(enum assent_operation operation, enum assent_rm_result result)
{
    step((struct assent_part_event){
        .kind = ASSENT_PART_EV_RM, .operation = operation, .result = result});
}

static const struct assent_part_action *sends(enum assent_message_kind kind)
{
    for (size_t i = 0; i < acts.count; i++)
        if (acts.items[i].kind == ASSENT_PART_ACT_SEND && acts.items[i].message.kind == kind)
            return &acts.items[i];
    return NULL;
}

static bool acks(enum assent_branch_result result)
{
    const struct assent_part_action *ack = sends(ASSENT_MSG_ACK);

    return ack != NULL && ack->message.result == result;
}

static void begin(enum assent_protocol of, enum assent_termination ends)
{
    struct assent_gtrid gtrid = assent_gtrid_make(1, 2, BEGUN_IN, 1);

    now = 0;
    lost_below = 0;
    protocol = of;
    termination = ends;
    assent_part_init(&m, &gtrid, 1, 1);
}

/* In doubt; then the coordinator is back with an older log, in its life after the next. */
static void vote_and_lose(enum assent_protocol of, enum assent_termination ends)
{
    begin(of, ends);
    hear(0, ASSENT_MSG_PREPARE);
    rm(ASSENT_OP_PREPARE, ASSENT_RM_OK);
    if (of == ASSENT_3PC)
        durable(ASSENT_PART_RECORD_PREPARED);
    assert_non_null(sends(ASSENT_MSG_VOTE));
    lost_below = BEGUN_IN + 2;
}

static void no_abort_is_believed(void **state)
{
    (void)state;
    vote_and_lose(ASSENT_2PC, ASSENT_TERMINATION_COOPERATIVE);
    hear(0, ASSENT_MSG_ABORT);
    assert_int_equal(acts.count, 0);
    hear(2, ASSENT_MSG_ABORT); /* who may have it from there */
    assert_int_equal(acts.count, 0);
    assert_int_equal(m.phase, ASSENT_PART_PREPARED);

    vote_and_lose(ASSENT_3PC, ASSENT_TERMINATION_QUORUM);
    hear(0, ASSENT_MSG_ABORT);
    hear(2, ASSENT_MSG_ABORT);
    assert_int_equal(acts.count, 0);
    assert_int_equal(m.phase, ASSENT_PART_PREPARED);
}

static void an_abort_of_what_is_not_known_here_leaves_nothing(void **state)
{
    (void)state;
    begin(ASSENT_2PC, ASSENT_TERMINATION_COOPERATIVE);
    lost_below = BEGUN_IN + 1;
    hear(0, ASSENT_MSG_ABORT);
    assert_int_equal(acts.count, 0);
    assert_int_equal(m.phase, ASSENT_PART_NONE); /* no evidence is asked for, none is made */
}

static void a_commit_counts_from_anybody(void **state)
{
    (void)state;
    for (uint32_t from = 0; from < 3; from += 2) {
        vote_and_lose(ASSENT_2PC, ASSENT_TERMINATION_COOPERATIVE);
        hear(from, ASSENT_MSG_COMMIT);
        assert_int_equal(m.phase, ASSENT_PART_COMMITTING);
        vote_and_lose(ASSENT_3PC, ASSENT_TERMINATION_QUORUM);
        hear(from, ASSENT_MSG_COMMIT);
        assert_int_equal(m.phase, ASSENT_PART_DECISION_LOGGING);
    }
}

static void elections_wait(void **state)
{
    static const enum assent_message_kind kinds[] = {ASSENT_MSG_ELECT, ASSENT_MSG_ELECT_ANSWER,
                                                     ASSENT_MSG_PROPOSE, ASSENT_MSG_PROPOSE_ACK};
    const struct assent_part_action *asked;

    (void)state;
    vote_and_lose(ASSENT_3PC, ASSENT_TERMINATION_QUORUM);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        for (uint32_t from = 0; from < 4; from += from == 0 ? 2 : 1) {
            hear(from, kinds[i]);
            assert_int_equal(acts.count, 0);
        }
    now = m.alone_ms; /* instead of standing it asks who knows */
    happens(ASSENT_PART_EV_TIMER);
    asked = sends(ASSENT_MSG_INQUIRE);
    assert_non_null(asked);
    assert_int_equal(asked->to, ASSENT_TO_ALL);
    assert_null(sends(ASSENT_MSG_ELECT));
    assert_true(m.timer_ms > now); /* and again, not at once */

    lost_below = 0;
    now = m.alone_ms;
    happens(ASSENT_PART_EV_TIMER);
    assert_int_equal(m.phase, ASSENT_PART_MEMBER_LOGGING);
}

static void the_timeout_rule_waits(void **state)
{
    (void)state;
    vote_and_lose(ASSENT_3PC, ASSENT_TERMINATION_TIMEOUT);
    now = m.alone_ms;
    happens(ASSENT_PART_EV_TIMER);
    assert_int_equal(m.phase, ASSENT_PART_PREPARED);
}

static void whoever_knows_still_tells(void **state)
{
    (void)state;
    vote_and_lose(ASSENT_3PC, ASSENT_TERMINATION_QUORUM);
    hear(2, ASSENT_MSG_COMMIT);
    durable(ASSENT_PART_RECORD_DECIDED);
    hear(3, ASSENT_MSG_INQUIRE);
    assert_non_null(sends(ASSENT_MSG_COMMIT));
    hear(0, ASSENT_MSG_ELECT); /* so the coordinator finds its decision again */
    assert_non_null(sends(ASSENT_MSG_COMMIT));

    begin(ASSENT_3PC, ASSENT_TERMINATION_QUORUM);
    lost_below = BEGUN_IN + 1;
    hear(3, ASSENT_MSG_ELECT); /* not voted: nobody can have committed it */
    durable(ASSENT_PART_RECORD_DECIDED);
    assert_non_null(sends(ASSENT_MSG_ABORT));
}

static void who_has_forgotten_tells_an_older_log_that_it_obeyed(void **state)
{
    struct assent_gtrid gtrid;
    struct assent_message late;

    (void)state;
    begin(ASSENT_2PC, ASSENT_TERMINATION_COOPERATIVE);
    gtrid = m.gtrid;
    assent_part_init_closed(&m, &gtrid, 1);
    late = message_of(0, ASSENT_MSG_COMMIT);
    late.incarnation = BEGUN_IN; /* the log that knows it has ended */
    step((struct assent_part_event){.kind = ASSENT_PART_EV_MESSAGE, .message = late});
    assert_int_equal(acts.count, 0);
    hear(0, ASSENT_MSG_COMMIT);
    assert_true(acks(ASSENT_RESULT_COMMITTED));
    hear(0, ASSENT_MSG_ABORT);
    assert_true(acks(ASSENT_RESULT_ABORTED));
    hear(0, ASSENT_MSG_COMMIT_ONE_PHASE); /* it does not know, and a person has to find out */
    assert_int_equal(acts.count, 0);
}

static void work_of_the_new_life_goes_on(void **state)
{
    (void)state;
    vote_and_lose(ASSENT_2PC, ASSENT_TERMINATION_COOPERATIVE);
    lost_below = BEGUN_IN; /* it was begun in the life that has the older log */
    hear(0, ASSENT_MSG_ABORT);
    assert_int_equal(m.phase, ASSENT_PART_ABORTING);
    vote_and_lose(ASSENT_3PC, ASSENT_TERMINATION_QUORUM);
    lost_below = BEGUN_IN;
    hear(3, ASSENT_MSG_ELECT);
    assert_int_equal(m.phase, ASSENT_PART_MEMBER_LOGGING);
}

static void when_it_is_accepted_doubt_asks_and_obeys(void **state)
{
    (void)state;
    vote_and_lose(ASSENT_2PC, ASSENT_TERMINATION_COOPERATIVE);
    hear(0, ASSENT_MSG_ABORT);
    lost_below = 0;
    happens(ASSENT_PART_EV_ACCEPTED);
    assert_non_null(sends(ASSENT_MSG_INQUIRE));
    hear(0, ASSENT_MSG_ABORT);
    assert_int_equal(m.phase, ASSENT_PART_ABORTING);
}

static void when_it_is_accepted_a_commit_says_so(void **state)
{
    (void)state;
    vote_and_lose(ASSENT_2PC, ASSENT_TERMINATION_COOPERATIVE);
    hear(2, ASSENT_MSG_COMMIT); /* a peer's, so that nobody waits for its end */
    lost_below = 0;
    happens(ASSENT_PART_EV_ACCEPTED);
    assert_int_equal(acts.count, 0); /* not before it is true */
    rm(ASSENT_OP_COMMIT, ASSENT_RM_OK);
    assert_true(acks(ASSENT_RESULT_COMMITTED));
    happens(ASSENT_PART_EV_ACCEPTED);
    assert_true(acks(ASSENT_RESULT_COMMITTED));
    happens(ASSENT_PART_EV_PEER_UP);
    assert_int_equal(acts.count, 0);
}

static void when_it_is_accepted_a_heuristic_result_is_told_again(void **state)
{
    (void)state;
    vote_and_lose(ASSENT_2PC, ASSENT_TERMINATION_COOPERATIVE);
    hear(0, ASSENT_MSG_COMMIT);
    rm(ASSENT_OP_COMMIT, ASSENT_RM_HEUR_ABORTED);
    durable(ASSENT_PART_RECORD_RESULT);
    lost_below = 0;
    happens(ASSENT_PART_EV_ACCEPTED);
    assert_true(acks(ASSENT_RESULT_HEUR_ABORTED));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_abort_is_believed),
        cmocka_unit_test(an_abort_of_what_is_not_known_here_leaves_nothing),
        cmocka_unit_test(a_commit_counts_from_anybody),
        cmocka_unit_test(elections_wait),
        cmocka_unit_test(the_timeout_rule_waits),
        cmocka_unit_test(whoever_knows_still_tells),
        cmocka_unit_test(who_has_forgotten_tells_an_older_log_that_it_obeyed),
        cmocka_unit_test(work_of_the_new_life_goes_on),
        cmocka_unit_test(when_it_is_accepted_doubt_asks_and_obeys),
        cmocka_unit_test(when_it_is_accepted_a_commit_says_so),
        cmocka_unit_test(when_it_is_accepted_a_heuristic_result_is_told_again),
    };

    return cmocka_run_group_tests_name("restored log", tests, NULL, NULL);
}
