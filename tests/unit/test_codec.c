/*
 * test_codec.c: every message round-trips, reasons are made to fit, and no bytes crash or cost
 * more than the arena's limit. Covers edge case 50.
 */
#include <stdio.h>
#include <string.h>

#include "arena.h"
#include "codec_fixture.h"
#include "rng.h"
#include "utf8.h"

/* Encodes, then decodes from memory that is overwritten before anyone looks at the result. */
static void there_and_back(const struct assent_wire *wire, struct assent_wire *ret_wire)
{
    char error[128] = "";
    size_t size;

    encode(wire, &size);
    if (assent_wire_decode(buffer, size, arena, ret_wire, error, sizeof(error)) != 0)
        fail_msg("%s: %s", assent_wire_name((int)wire->kind), error);
    memset(buffer, 0xee, capacity);
    assert_int_equal(ret_wire->kind, wire->kind);
    assert_int_equal(ret_wire->request, wire->request);
}

static void same_bytes(struct assent_bytes a, struct assent_bytes b)
{
    assert_int_equal(a.size, b.size);
    if (a.size > 0)
        assert_memory_equal(a.data, b.data, a.size);
}

static void same_id(const void *a, const void *b)
{
    assert_memory_equal(a, b, ASSENT_GTRID_BYTES);
}

static void same_begin(const struct assent_wire_begin *a, const struct assent_wire_begin *b)
{
    assert_int_equal(a->protocol, b->protocol);
    assert_int_equal(a->termination, b->termination);
    assert_int_equal(a->timeout_ms, b->timeout_ms);
    assert_string_equal(a->key, b->key);
    assert_string_equal(a->traceparent, b->traceparent);
    assert_int_equal(a->detached, b->detached);
}

static void same_branch(const struct assent_wire *a, const struct assent_wire *b)
{
    const struct assent_message *m = &a->u.branch.message, *n = &b->u.branch.message;

    same_id(&m->gtrid, &n->gtrid);
    assert_int_equal(m->kind, n->kind);
    assert_int_equal(m->branch, n->branch);
    assert_int_equal(m->incarnation, n->incarnation);
    assert_int_equal(m->epoch, n->epoch);
    assert_int_equal(m->protocol, n->protocol);
    assert_int_equal(m->termination, n->termination);
    assert_int_equal(m->branch_count, n->branch_count);
    assert_int_equal(m->timeout_ms, n->timeout_ms);
    assert_int_equal(m->vote, n->vote);
    assert_int_equal(m->result, n->result);
    assert_int_equal(m->reason, n->reason);
    assert_int_equal(m->has_work, n->has_work);
    same_id(a->u.branch.log_id, b->u.branch.log_id);
    assert_string_equal(a->u.branch.reason_text, b->u.branch.reason_text);
    assert_string_equal(a->u.branch.resource, b->u.branch.resource);
    assert_string_equal(a->u.branch.traceparent, b->u.branch.traceparent);
    same_bytes(a->u.branch.work, b->u.branch.work);
    assert_int_equal(m->from, n->from);
    assert_int_equal(m->state, n->state);
    assert_int_equal(m->ballot, n->ballot);
    assert_int_equal(m->attempt, n->attempt);
    assert_int_equal(m->recovered, n->recovered);
    assert_int_equal(a->u.branch.peer_count, b->u.branch.peer_count);
    for (size_t i = 0; i < a->u.branch.peer_count; i++) {
        assert_string_equal(a->u.branch.peers[i].participant, b->u.branch.peers[i].participant);
        assert_string_equal(a->u.branch.peers[i].address, b->u.branch.peers[i].address);
        assert_int_equal(a->u.branch.peers[i].epoch, b->u.branch.peers[i].epoch);
    }
}

static void hello_round_trips(void **state)
{
    struct assent_wire in, out;
    const struct assent_wire_hello *a = &in.u.hello, *b = &out.u.hello;

    (void)state;
    sample(ASSENT_WIRE_HELLO, &in);
    there_and_back(&in, &out);
    assert_int_equal(b->version_min, a->version_min);
    assert_int_equal(b->version_max, a->version_max);
    assert_int_equal(b->role, a->role);
    assert_string_equal(b->name, a->name);
    assert_string_equal(b->cluster, a->cluster);
    assert_string_equal(b->address, a->address);
    assert_string_equal(b->software, a->software);
    assert_true(b->has_log_id);
    same_id(b->log_id, a->log_id);
    assert_int_equal(b->coordinator, a->coordinator);
    assert_int_equal(b->incarnation, a->incarnation);
    assert_int_equal(b->resource_count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(b->resources[i].name, a->resources[i].name);
        assert_string_equal(b->resources[i].type, a->resources[i].type);
        assert_int_equal(b->resources[i].capabilities, a->resources[i].capabilities);
    }
    in.u.hello.role = ASSENT_ROLE_PARTICIPANT;
    in.u.hello.has_log_id = false;
    there_and_back(&in, &out);
    assert_false(out.u.hello.has_log_id);
}

static void requests_round_trip(void **state)
{
    struct assent_wire in, out;

    (void)state;
    sample(ASSENT_WIRE_BEGIN, &in);
    there_and_back(&in, &out);
    same_begin(&out.u.begin, &in.u.begin);
    sample(ASSENT_WIRE_ENLIST, &in);
    there_and_back(&in, &out);
    same_id(&out.u.enlist.gtrid, &in.u.enlist.gtrid);
    assert_string_equal(out.u.enlist.participant, in.u.enlist.participant);
    sample(ASSENT_WIRE_WORK, &in);
    there_and_back(&in, &out);
    same_id(&out.u.work.gtrid, &in.u.work.gtrid);
    assert_string_equal(out.u.work.participant, in.u.work.participant);
    same_bytes(out.u.work.work, in.u.work.work);
    sample(ASSENT_WIRE_END, &in);
    there_and_back(&in, &out);
    same_id(&out.u.end.gtrid, &in.u.end.gtrid);
    assert_true(out.u.end.commit && out.u.end.wait);
    sample(ASSENT_WIRE_RUN, &in);
    there_and_back(&in, &out);
    same_begin(&out.u.run.begin, &in.u.run.begin);
    assert_int_equal(out.u.run.branch_count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(out.u.run.branches[i].participant, in.u.run.branches[i].participant);
        same_bytes(out.u.run.branches[i].work, in.u.run.branches[i].work);
    }
    assert_true(out.u.run.wait);
    sample(ASSENT_WIRE_STATUS, &in);
    there_and_back(&in, &out);
    assert_true(out.u.status.has_gtrid && out.u.status.wait);
    same_id(&out.u.status.gtrid, &in.u.status.gtrid);
    assert_string_equal(out.u.status.key, in.u.status.key);
    sample(ASSENT_WIRE_INSPECT, &in);
    there_and_back(&in, &out);
    assert_string_equal(out.u.inspect.what, in.u.inspect.what);
    assert_string_equal(out.u.inspect.argument, in.u.inspect.argument);
    assert_string_equal(out.u.inspect.participant, in.u.inspect.participant);
    assert_int_equal(out.u.inspect.limit, in.u.inspect.limit);
    sample(ASSENT_WIRE_RESOURCE_QUERY, &in);
    there_and_back(&in, &out);
    assert_string_equal(out.u.resource_query.resource, in.u.resource_query.resource);
    assert_string_equal(out.u.resource_query.command, in.u.resource_query.command);
}

static void answers_round_trip(void **state)
{
    struct assent_wire in, out;

    (void)state;
    sample(ASSENT_WIRE_REFUSAL, &in);
    there_and_back(&in, &out);
    assert_int_equal(out.u.refusal.error, in.u.refusal.error);
    assert_string_equal(out.u.refusal.text, in.u.refusal.text);
    assert_int_equal(out.u.refusal.retry_after_ms, in.u.refusal.retry_after_ms);
    sample(ASSENT_WIRE_PING, &in);
    there_and_back(&in, &out);
    assert_true(out.u.ping.has_ended_below);
    same_id(&out.u.ping.ended_below, &in.u.ping.ended_below);
    assert_int_equal(out.u.ping.away_count, 2);
    assert_string_equal(out.u.ping.away[0].resource, "ledger");
    assert_string_equal(out.u.ping.away[0].reason, "no route to host");
    assert_string_equal(out.u.ping.away[1].resource, "stock");
    sample(ASSENT_WIRE_BEGIN_REPLY, &in);
    there_and_back(&in, &out);
    same_id(&out.u.begin_reply.gtrid, &in.u.begin_reply.gtrid);
    assert_int_equal(out.u.begin_reply.timeout_ms, in.u.begin_reply.timeout_ms);
    sample(ASSENT_WIRE_ENLIST_REPLY, &in);
    there_and_back(&in, &out);
    assert_int_equal(out.u.enlist_reply.branch, in.u.enlist_reply.branch);
    same_id(out.u.enlist_reply.log_id, in.u.enlist_reply.log_id);
    sample(ASSENT_WIRE_WORK_REPLY, &in);
    there_and_back(&in, &out);
    assert_int_equal(out.u.work_reply.branch, in.u.work_reply.branch);
    same_bytes(out.u.work_reply.reply, in.u.work_reply.reply);
    sample(ASSENT_WIRE_RESULT, &in);
    there_and_back(&in, &out);
    same_id(&out.u.result.gtrid, &in.u.result.gtrid);
    assert_int_equal(out.u.result.outcome, in.u.result.outcome);
    assert_string_equal(out.u.result.reason, in.u.result.reason);
    assert_string_equal(out.u.result.phase, in.u.result.phase);
    assert_true(out.u.result.ended);
    sample(ASSENT_WIRE_INSPECTION, &in);
    there_and_back(&in, &out);
    same_bytes(out.u.inspection.json, in.u.inspection.json);
}

static void branch_messages_round_trip(void **state)
{
    struct assent_wire in, out;

    (void)state;
    for (int kind = ASSENT_MSG_WORK; kind <= ASSENT_MSG_INQUIRE; kind++) {
        sample(ASSENT_WIRE_BRANCH, &in);
        in.u.branch.message.kind = (enum assent_message_kind)kind;
        there_and_back(&in, &out);
        same_branch(&out, &in);
    }
}

static void null_and_absent_mean_empty(void **state)
{
    static const uint8_t zeros[ASSENT_LOG_ID_BYTES];
    struct assent_wire in, out;

    (void)state;
    memset(&in, 0, sizeof(in));
    in.kind = ASSENT_WIRE_BRANCH;
    in.u.branch.message.kind = ASSENT_MSG_ACK;
    memset(&out, 0xaa, sizeof(out));
    there_and_back(&in, &out);
    assert_string_equal(out.u.branch.reason_text, "");
    assert_string_equal(out.u.branch.resource, "");
    assert_string_equal(out.u.branch.traceparent, "");
    assert_int_equal(out.u.branch.work.size, 0);
    same_id(out.u.branch.log_id, zeros);
}

static void a_run_of_64_branches_and_a_full_frame_fits_the_arena(void **state)
{
    struct assent_wire in, out;
    size_t each = ((1u << 20) - 8192) / ASSENT_BRANCHES_MAX, size;
    char *work = calloc(1, each);

    (void)state;
    assert_non_null(work);
    sample(ASSENT_WIRE_RUN, &in);
    in.u.run.branch_count = ASSENT_BRANCHES_MAX;
    for (size_t i = 0; i < ASSENT_BRANCHES_MAX; i++)
        in.u.run.branches[i] = (struct assent_wire_branch_work){
            "a-name-of-63-bytes-0123456789012345678901234567890123456789012", {work, each}};
    there_and_back(&in, &out);
    assert_int_equal(out.u.run.branch_count, ASSENT_BRANCHES_MAX);
    encode(&in, &size);
    assert_true(size <= 1u << 20 && size > (1u << 20) - 8192);
    free(work);
}

/* --- encoding --- */

static void encode_refuses_what_decode_would(void **state)
{
    struct assent_wire wire;
    size_t size = 77;

    (void)state;
    sample(ASSENT_WIRE_BRANCH, &wire);
    wire.u.branch.message.vote = (enum assent_vote)4;
    assert_int_equal(assent_wire_encode(&wire, &buffer, &capacity, &size), ASSENT_E_INVALID);
    sample(ASSENT_WIRE_WORK, &wire);
    wire.u.work.participant = "no blanks";
    assert_int_equal(assent_wire_encode(&wire, &buffer, &capacity, &size), ASSENT_E_INVALID);
    sample(ASSENT_WIRE_HELLO, &wire);
    wire.u.hello.resource_count = ASSENT_RESOURCES_MAX + 1;
    assert_int_equal(assent_wire_encode(&wire, &buffer, &capacity, &size), ASSENT_E_INVALID);
    sample(ASSENT_WIRE_RUN, &wire);
    wire.u.run.branch_count = ASSENT_BRANCHES_MAX + 1;
    assert_int_equal(assent_wire_encode(&wire, &buffer, &capacity, &size), ASSENT_E_INVALID);
    sample(ASSENT_WIRE_INSPECTION, &wire);
    wire.u.inspection.json = (struct assent_bytes){"a\0b", 3};
    assert_int_equal(assent_wire_encode(&wire, &buffer, &capacity, &size), ASSENT_E_INVALID);
    wire.kind = ASSENT_WIRE_END_OF_KINDS;
    assert_int_equal(assent_wire_encode(&wire, &buffer, &capacity, &size), ASSENT_E_INVALID);
    wire.kind = (enum assent_wire_kind)0;
    assert_int_equal(assent_wire_encode(&wire, &buffer, &capacity, &size), ASSENT_E_INVALID);
    assert_int_equal(size, 77);
}

static void reasons_are_made_to_fit(void **state)
{
    char longer[300];
    struct assent_wire in, out;

    (void)state;
    memset(longer, 'r', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    memcpy(longer + 254, "\xc3\xbc", 2); /* would be cut in its middle */
    sample(ASSENT_WIRE_BRANCH, &in);
    in.u.branch.reason_text = longer;
    there_and_back(&in, &out);
    assert_int_equal(strlen(out.u.branch.reason_text), 254);
    memcpy(longer + 253, "\xc3\xbc", 2); /* just fits */
    there_and_back(&in, &out);
    assert_int_equal(strlen(out.u.branch.reason_text), ASSENT_REASON_MAX);
    sample(ASSENT_WIRE_REFUSAL, &in);
    in.u.refusal.text = "caf\xe9 \xf0\x9f\x98\x80 \xe2\x82";
    there_and_back(&in, &out);
    assert_string_equal(out.u.refusal.text, "caf? \xf0\x9f\x98\x80 ??");
}

static void utf8_is_judged_at_its_corners(void **state)
{
    static const char *const good[] = {"",
                                       "a",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xc2\x7f",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xe1\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf1\x80\x80",
                                      "\xf8\x88\x80\x80\x80",
                                      "\xe1\x80\xc0"};

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        assert_true(assent_utf8_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(assent_utf8_valid(bad[i], strlen(bad[i])));
}

/* --- hostile bytes --- */

static void a_cut_message_never_crashes(void **state)
{
    struct assent_wire wire;
    char error[256];
    size_t size;

    (void)state;
    for (int kind = ASSENT_WIRE_HELLO; kind < ASSENT_WIRE_END_OF_KINDS; kind++) {
        sample((enum assent_wire_kind)kind, &wire);
        encode(&wire, &size);
        for (size_t cut = 0; cut < size; cut++) {
            /* Its own allocation, so that a sanitizer sees a read beyond it. */
            uint8_t *copy = malloc(cut + 1);
            struct assent_wire out;

            assert_non_null(copy);
            memcpy(copy, buffer, cut);
            assert_int_equal(assent_wire_decode(copy, cut, arena, &out, error, sizeof(error)),
                             ASSENT_E_PROTOCOL);
            free(copy);
        }
    }
}

/* Whatever decodes must encode again, and mean the same: decode accepts only what encode makes. */
static void round_trip_again(const struct assent_wire *wire)
{
    static uint8_t *again;
    static size_t again_capacity;
    struct assent_wire out;
    char error[256] = "";
    size_t size;

    assert_int_equal(assent_wire_encode(wire, &again, &again_capacity, &size), 0);
    if (assent_wire_decode(again, size, arena, &out, error, sizeof(error)) != 0)
        fail_msg("%s: %s", assent_wire_name((int)wire->kind), error);
    assert_int_equal(out.kind, wire->kind);
    free(again);
    again = NULL;
    again_capacity = 0;
}

static void mutated_messages_never_crash(void **state)
{
    uint64_t rng = 20240501;
    unsigned accepted = 0;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        enum assent_wire_kind kind = (enum assent_wire_kind)(
            ASSENT_WIRE_HELLO + assent_rng_below(&rng, ASSENT_WIRE_END_OF_KINDS - 2));
        unsigned changes = 1 + (unsigned)assent_rng_below(&rng, 4);
        struct assent_wire wire, out;
        char error[256];
        size_t size;

        sample(kind, &wire);
        encode(&wire, &size);
        for (unsigned c = 0; c < changes; c++)
            buffer[assent_rng_below(&rng, size)] = (uint8_t)assent_rng_next(&rng);
        switch (assent_wire_decode(buffer, size, arena, &out, error, sizeof(error))) {
        case 0:
            accepted++;
            if (i % 16 == 0)
                round_trip_again(&out);
            break;
        case ASSENT_E_PROTOCOL:
            assert_true(strlen(error) > 0);
            break;
        default:
            fail();
        }
        assert_true(assent_arena_used(arena) <= ARENA_BYTES);
    }
    assert_true(accepted > 1000); /* else the mutations never reach the rules */
}

static void random_bytes_never_crash(void **state)
{
    uint64_t rng = 7;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint8_t data[64];
        size_t size = assent_rng_below(&rng, sizeof(data));
        struct assent_wire out;
        char error[256];

        for (size_t k = 0; k < size; k++)
            data[k] = (uint8_t)assent_rng_next(&rng);
        (void)!assent_wire_decode(data, size, arena, &out, error, sizeof(error));
    }
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*s %ld", &pages), 1);
    fclose(file);
    return pages * 4;
}

/* A frame of 2 MiB with a million empty sub-messages costs over 100 MiB in plain protobuf-c. */
static void memory_bomb(enum assent_wire_kind kind, unsigned field)
{
    size_t inner = (2u << 20) - 16, size = 0;
    uint8_t *bomb = malloc(inner + 16);
    struct assent_wire out;
    char error[256];
    long before;

    assert_non_null(bomb);
    bomb[size++] = (uint8_t)((kind & 15) << 3 | 2) | (kind > 15 ? 0x80 : 0);
    if (kind > 15)
        bomb[size++] = 1;
    for (size_t left = inner; left > 0; left >>= 7)
        bomb[size++] = (uint8_t)((left & 127) | (left > 127 ? 128 : 0));
    for (size_t i = 0; i < inner; i += 2) {
        bomb[size++] = (uint8_t)(field << 3 | 2);
        bomb[size++] = 0;
    }
    before = resident_kib();
    assert_int_equal(assent_wire_decode(bomb, size, arena, &out, error, sizeof(error)),
                     ASSENT_E_TOO_BIG);
    assert_string_equal(error, "envelope: decoded, it is above the memory limit");
    assert_true(assent_arena_used(arena) <= ARENA_BYTES);
    assert_true(resident_kib() - before <= (long)(ARENA_BYTES >> 10) + 1024);
    free(bomb);
}

static void a_memory_bomb_is_refused(void **state)
{
    struct assent_wire in, out;

    (void)state;
    memory_bomb(ASSENT_WIRE_HELLO, 10);
    memory_bomb(ASSENT_WIRE_RUN, 2);
    memory_bomb(ASSENT_WIRE_RUN, 1); /* merged again and again */
    memory_bomb(ASSENT_WIRE_PING, 9);
    sample(ASSENT_WIRE_BEGIN, &in);
    there_and_back(&in, &out); /* the arena serves on */
}

static void the_arena_is_reused_from_message_to_message(void **state)
{
    struct assent_wire in, out;
    size_t used;

    (void)state;
    sample(ASSENT_WIRE_RUN, &in);
    there_and_back(&in, &out);
    used = assent_arena_used(arena);
    for (int i = 0; i < 1000; i++) {
        there_and_back(&in, &out);
        assert_int_equal(assent_arena_used(arena), used);
    }
}

static void an_arena_of_nothing_is_refused(void **state)
{
    struct assent_arena *none = NULL;

    (void)state;
    assert_int_equal(assent_arena_new(0, &none), ASSENT_E_INVALID);
    assert_null(none);
    assent_arena_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_round_trips),
        cmocka_unit_test(requests_round_trip),
        cmocka_unit_test(answers_round_trip),
        cmocka_unit_test(branch_messages_round_trip),
        cmocka_unit_test(null_and_absent_mean_empty),
        cmocka_unit_test(a_run_of_64_branches_and_a_full_frame_fits_the_arena),
        cmocka_unit_test(encode_refuses_what_decode_would),
        cmocka_unit_test(reasons_are_made_to_fit),
        cmocka_unit_test(utf8_is_judged_at_its_corners),
        cmocka_unit_test(a_cut_message_never_crashes),
        cmocka_unit_test(mutated_messages_never_crash),
        cmocka_unit_test(random_bytes_never_crash),
        cmocka_unit_test(a_memory_bomb_is_refused),
        cmocka_unit_test(the_arena_is_reused_from_message_to_message),
        cmocka_unit_test(an_arena_of_nothing_is_refused),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
