/* test_record.c: durable records survive the round trip, and nothing else is read as one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "gtrid.h"
#include "record.h"
#include "rng.h"

static struct assent_coord_record coord_sample(void)
{
    struct assent_coord_record r;

    memset(&r, 0, sizeof(r));
    r.kind = ASSENT_COORD_RECORD_OUTCOME;
    r.decision = ASSENT_DECISION_ABORT;
    r.outcome = ASSENT_OUTCOME_MIXED;
    r.gtrid = assent_gtrid_make(1, 2, 3, 4);
    r.protocol = ASSENT_3PC;
    r.termination = ASSENT_TERMINATION_TIMEOUT;
    r.reason = ASSENT_REASON_VOTED_NO;
    r.reason_branch = 2;
    r.last_elected = 12;
    r.last_attempt = 11;
    r.begun_wall_ms = 1234567890123;
    r.decided_ms = 5;
    r.ended_ms = 9;
    r.ended_age_ms = 77;
    strcpy(r.key, "order-1");
    strcpy(r.reason_text, "bank voted no");
    r.branch_count = ASSENT_BRANCHES_MAX;
    for (uint32_t i = 0; i < ASSENT_BRANCHES_MAX; i++)
        r.branches[i] = (struct assent_coord_record_branch){.number = i + 1,
                                                            .participant = i + 100,
                                                            .epoch = i + 300,
                                                            .vote = ASSENT_VOTE_YES,
                                                            .result = ASSENT_RESULT_HAZARD,
                                                            .voted_ms = 3,
                                                            .done_ms = 8};
    return r;
}

static void coordinator_records_round_trip(void **state)
{
    struct assent_coord_record a = coord_sample(), b;
    uint8_t bytes[ASSENT_RECORD_BYTES_MAX];
    size_t size;

    (void)state;
    assert_int_equal(assent_coord_record_encode(&a, bytes, sizeof(bytes), &size), 0);
    assert_int_equal(bytes[0], ASSENT_DECISION_ABORT); /* the store's register looks there */
    memset(&b, 0xff, sizeof(b));
    assert_int_equal(assent_coord_record_decode(bytes, size, &b), 0);
    assert_int_equal(b.branch_count, a.branch_count);
    assert_int_equal(b.branches[63].number, 64);
    assert_int_equal(b.branches[63].participant, 163);
    assert_int_equal(b.branches[63].epoch, 363);
    assert_int_equal(b.branches[63].vote, ASSENT_VOTE_YES);
    assert_int_equal(b.branches[63].result, ASSENT_RESULT_HAZARD);
    assert_int_equal(b.branches[63].voted_ms, 3);
    assert_int_equal(b.branches[63].done_ms, 8);
    assert_int_equal(b.kind, a.kind);
    assert_int_equal(b.decision, a.decision);
    assert_int_equal(b.outcome, a.outcome);
    assert_int_equal(b.protocol, a.protocol);
    assert_int_equal(b.termination, a.termination);
    assert_int_equal(b.reason, a.reason);
    assert_int_equal(b.reason_branch, a.reason_branch);
    assert_int_equal(b.last_elected, 12);
    assert_int_equal(b.last_attempt, 11);
    assert_int_equal(b.decided_ms, a.decided_ms);
    assert_int_equal(b.ended_ms, a.ended_ms);
    assert_int_equal(b.begun_wall_ms, a.begun_wall_ms);
    assert_int_equal(b.ended_age_ms, a.ended_age_ms);
    assert_string_equal(b.key, a.key);
    assert_string_equal(b.reason_text, a.reason_text);
    assert_int_equal(assent_coord_record_encode(&a, bytes, size - 1, &size), ASSENT_E_TOO_BIG);
}

static struct assent_part_record part_sample(void)
{
    return (struct assent_part_record){
        .kind = ASSENT_PART_RECORD_PRECOMMITTED,
        .decision = ASSENT_DECISION_COMMIT,
        .gtrid = assent_gtrid_make(1, 2, 3, 4),
        .branch = 9,
        .incarnation = 4,
        .epoch = 5,
        .protocol = ASSENT_3PC,
        .termination = ASSENT_TERMINATION_TIMEOUT,
        .branch_count = 3,
        .timeout_ms = 1500,
        .result = ASSENT_RESULT_MIXED,
        .reason = ASSENT_REASON_ALONE,
        .witness = true,
        .last_elected = 12,
        .last_attempt = 11,
        .resource = "kv",
        .peer_count = 2,
        .peers = {{.number = 100, .epoch = 300}, {.number = 101, .epoch = 301}},
    };
}

static void participant_records_round_trip(void **state)
{
    struct assent_part_record a = part_sample(), b;
    uint8_t bytes[ASSENT_RECORD_BYTES_MAX];
    size_t size;

    (void)state;
    assert_int_equal(assent_part_record_encode(&a, bytes, sizeof(bytes), &size), 0);
    assert_int_equal(assent_part_record_decode(bytes, size, &b), 0);
    assert_int_equal(b.kind, a.kind);
    assert_int_equal(b.decision, a.decision);
    assert_int_equal(bytes[0], ASSENT_DECISION_COMMIT);
    assert_memory_equal(&b.gtrid, &a.gtrid, sizeof(b.gtrid));
    assert_int_equal(b.branch, 9);
    assert_int_equal(b.incarnation, 4);
    assert_int_equal(b.epoch, 5);
    assert_int_equal(b.protocol, a.protocol);
    assert_int_equal(b.termination, a.termination);
    assert_int_equal(b.branch_count, 3);
    assert_int_equal(b.timeout_ms, 1500);
    assert_int_equal(b.result, ASSENT_RESULT_MIXED);
    assert_int_equal(b.reason, ASSENT_REASON_ALONE);
    assert_true(b.witness);
    assert_int_equal(b.last_elected, 12);
    assert_int_equal(b.last_attempt, 11);
    assert_string_equal(b.resource, "kv");
    assert_int_equal(b.peer_count, 2);
    assert_int_equal(b.peers[1].number, 101);
    assert_int_equal(b.peers[1].epoch, 301);
}

static void newer_records_are_refused_as_newer(void **state)
{
    struct assent_coord_record a = coord_sample(), b;
    struct assent_part_record p = part_sample(), q;
    uint8_t bytes[ASSENT_RECORD_BYTES_MAX];
    size_t size;

    (void)state;
    assert_int_equal(assent_coord_record_encode(&a, bytes, sizeof(bytes), &size), 0);
    bytes[1] = ASSENT_RECORD_VERSION + 1;
    assert_int_equal(assent_coord_record_decode(bytes, size, &b), ASSENT_E_VERSION);
    assert_int_equal(assent_part_record_encode(&p, bytes, sizeof(bytes), &size), 0);
    bytes[1] = ASSENT_RECORD_VERSION + 1;
    assert_int_equal(assent_part_record_decode(bytes, size, &q), ASSENT_E_VERSION);
}

static void every_cut_and_extra_byte_is_refused(void **state)
{
    struct assent_coord_record a = coord_sample(), b;
    struct assent_part_record p = part_sample(), q;
    uint8_t bytes[ASSENT_RECORD_BYTES_MAX + 1] = {0};
    size_t size;

    (void)state;
    assert_int_equal(assent_coord_record_encode(&a, bytes, ASSENT_RECORD_BYTES_MAX, &size), 0);
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(assent_coord_record_decode(bytes, cut, &b), ASSENT_E_CORRUPT);
    assert_int_equal(assent_coord_record_decode(bytes, size + 1, &b), ASSENT_E_CORRUPT);
    assert_int_equal(assent_part_record_encode(&p, bytes, ASSENT_RECORD_BYTES_MAX, &size), 0);
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(assent_part_record_decode(bytes, cut, &q), ASSENT_E_CORRUPT);
    assert_int_equal(assent_part_record_decode(bytes, size + 1, &q), ASSENT_E_CORRUPT);
}

static void random_bytes_never_break_the_decoders(void **state)
{
    uint64_t rng = 11;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        uint8_t bytes[200];
        size_t size = assent_rng_below(&rng, sizeof(bytes));
        struct assent_coord_record c;
        struct assent_part_record p;

        for (size_t k = 0; k < size; k++)
            bytes[k] = (uint8_t)assent_rng_below(&rng, 6);
        if (assent_coord_record_decode(bytes, size, &c) == 0)
            assert_true(c.branch_count <= ASSENT_BRANCHES_MAX);
        if (assent_part_record_decode(bytes, size, &p) == 0)
            assert_true(p.kind <= ASSENT_PART_RECORD_DONE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coordinator_records_round_trip),
        cmocka_unit_test(participant_records_round_trip),
        cmocka_unit_test(newer_records_are_refused_as_newer),
        cmocka_unit_test(every_cut_and_extra_byte_is_refused),
        cmocka_unit_test(random_bytes_never_break_the_decoders),
    };

    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
