/*
 * test_codec.c: every message round-trips, every rule refuses by the field's name, and no bytes
 * crash or cost more than the arena's limit. Bad messages are written byte by byte here, apart
 * from the library that the codec uses. Covers edge case 50.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "codec.h"
#include "rng.h"
#include "utf8.h"

#define ARENA_BYTES ((1u << 20) + ASSENT_ARENA_EXTRA)

static struct assent_arena *arena;
static uint8_t *buffer;
static size_t capacity;

static int setup(void **state)
{
    (void)state;
    return assent_arena_new(ARENA_BYTES, &arena);
}

static int teardown(void **state)
{
    (void)state;
    assent_arena_free(arena);
    free(buffer);
    return 0;
}

/* --- one valid message of each kind --- */

static struct assent_bytes bytes_of(const char *text)
{
    return (struct assent_bytes){text, strlen(text)};
}

static void fill_id(uint8_t *id, uint8_t first)
{
    for (size_t i = 0; i < ASSENT_GTRID_BYTES; i++)
        id[i] = (uint8_t)(first + i);
}

static void sample_begin(struct assent_wire_begin *begin)
{
    *begin = (struct assent_wire_begin){
        .protocol = ASSENT_3PC,
        .termination = ASSENT_TERMINATION_TIMEOUT,
        .timeout_ms = 30000,
        .key = "order-4711",
        .traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        .detached = true,
    };
}

static void sample_hello(struct assent_wire_hello *hello)
{
    *hello = (struct assent_wire_hello){
        .version_min = 1,
        .version_max = 3,
        .role = ASSENT_ROLE_COORDINATOR,
        .name = "bank-a",
        .cluster = "default",
        .address = "127.0.0.1:7400",
        .software = "assent 0.1.0",
        .has_log_id = true,
        .coordinator = 65535,
        .incarnation = (1u << 24) - 1,
        .resource_count = 2,
    };
    fill_id(hello->log_id, 1);
    hello->resources[0] = (struct assent_wire_resource){"kv", "kv", 11};
    hello->resources[1] = (struct assent_wire_resource){"ledger", "postgres", 3};
}

static void sample_branch(struct assent_wire *wire)
{
    wire->u.branch.message = (struct assent_message){
        .kind = ASSENT_MSG_VOTE,
        .branch = 3,
        .incarnation = 7,
        .epoch = UINT32_MAX,
        .protocol = ASSENT_3PC,
        .termination = ASSENT_TERMINATION_TIMEOUT,
        .branch_count = ASSENT_BRANCHES_MAX,
        .timeout_ms = 5000,
        .vote = ASSENT_VOTE_NO,
        .result = ASSENT_RESULT_HAZARD,
        .reason = ASSENT_REASON_WORK_FAILED,
        .has_work = true,
    };
    fill_id(wire->u.branch.message.gtrid.bytes, 2);
    fill_id(wire->u.branch.log_id, 9);
    wire->u.branch.reason_text = "konto überzogen";
    wire->u.branch.resource = "ledger";
    wire->u.branch.traceparent = "00-4bf9";
    wire->u.branch.work = (struct assent_bytes){"a\0b", 3};
}

static void sample(enum assent_wire_kind kind, struct assent_wire *wire)
{
    memset(wire, 0, sizeof(*wire));
    wire->kind = kind;
    wire->request = UINT64_MAX - kind;
    switch (kind) {
    case ASSENT_WIRE_HELLO:
        sample_hello(&wire->u.hello);
        return;
    case ASSENT_WIRE_REFUSAL:
        wire->u.refusal.error = ASSENT_E_LIMIT;
        wire->u.refusal.text = "too many transactions";
        wire->u.refusal.retry_after_ms = 250;
        return;
    case ASSENT_WIRE_PING:
        wire->u.ping.has_ended_below = true;
        fill_id(wire->u.ping.ended_below.bytes, 3);
        return;
    case ASSENT_WIRE_BEGIN:
        sample_begin(&wire->u.begin);
        return;
    case ASSENT_WIRE_BEGIN_REPLY:
        fill_id(wire->u.begin_reply.gtrid.bytes, 4);
        wire->u.begin_reply.timeout_ms = 60000;
        return;
    case ASSENT_WIRE_ENLIST:
        fill_id(wire->u.enlist.gtrid.bytes, 5);
        wire->u.enlist.participant = "bank-a/kv";
        return;
    case ASSENT_WIRE_ENLIST_REPLY:
        wire->u.enlist_reply.branch = 4;
        fill_id(wire->u.enlist_reply.log_id, 6);
        return;
    case ASSENT_WIRE_WORK:
        fill_id(wire->u.work.gtrid.bytes, 7);
        wire->u.work.participant = "bank-a";
        wire->u.work.work = bytes_of("add alice -10 min 0");
        return;
    case ASSENT_WIRE_WORK_REPLY:
        wire->u.work_reply.branch = 5;
        wire->u.work_reply.reply = bytes_of("90");
        return;
    case ASSENT_WIRE_END:
        fill_id(wire->u.end.gtrid.bytes, 8);
        wire->u.end.commit = wire->u.end.wait = true;
        return;
    case ASSENT_WIRE_RUN:
        sample_begin(&wire->u.run.begin);
        wire->u.run.branch_count = 2;
        wire->u.run.branches[0] = (struct assent_wire_branch_work){"a", bytes_of("put x 1")};
        wire->u.run.branches[1] = (struct assent_wire_branch_work){"b/r", bytes_of("")};
        wire->u.run.wait = true;
        return;
    case ASSENT_WIRE_STATUS:
        wire->u.status.has_gtrid = true;
        fill_id(wire->u.status.gtrid.bytes, 10);
        wire->u.status.key = "k";
        wire->u.status.wait = true;
        return;
    case ASSENT_WIRE_RESULT:
        fill_id(wire->u.result.gtrid.bytes, 11);
        wire->u.result.outcome = ASSENT_OUTCOME_NEVER_SEEN;
        wire->u.result.reason = "no";
        wire->u.result.phase = "preparing";
        wire->u.result.ended = true;
        return;
    case ASSENT_WIRE_INSPECT:
        wire->u.inspect.what = "query";
        wire->u.inspect.argument = "get alice";
        wire->u.inspect.participant = "bank-a/kv";
        wire->u.inspect.limit = 100;
        return;
    case ASSENT_WIRE_INSPECTION:
        wire->u.inspection.json = bytes_of("{\"value\":\"ü\"}");
        return;
    case ASSENT_WIRE_BRANCH:
        sample_branch(wire);
        return;
    case ASSENT_WIRE_RESOURCE_QUERY:
        wire->u.resource_query.resource = "kv";
        wire->u.resource_query.command = "dump";
        return;
    case ASSENT_WIRE_END_OF_KINDS:
        break;
    }
    fail();
}

static void encode(const struct assent_wire *wire, size_t *ret_size)
{
    assert_int_equal(assent_wire_encode(wire, &buffer, &capacity, ret_size), 0);
}

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

/* --- refusals, from hand-written bytes --- */

struct raw {
    uint8_t data[16384];
    size_t size;
};

static void put_byte(struct raw *raw, unsigned byte)
{
    assert_true(raw->size < sizeof(raw->data));
    raw->data[raw->size++] = (uint8_t)byte;
}

static void put_varint(struct raw *raw, uint64_t value)
{
    for (; value > 127; value >>= 7)
        put_byte(raw, (unsigned)(value & 127) | 128);
    put_byte(raw, (unsigned)value);
}

static void put_number(struct raw *raw, unsigned field, uint64_t value)
{
    put_varint(raw, field << 3);
    put_varint(raw, value);
}

static void put_bytes(struct raw *raw, unsigned field, const void *data, size_t size)
{
    put_varint(raw, field << 3 | 2);
    put_varint(raw, size);
    for (size_t i = 0; i < size; i++)
        put_byte(raw, ((const uint8_t *)data)[i]);
}

static void put_text(struct raw *raw, unsigned field, const char *text)
{
    put_bytes(raw, field, text, strlen(text));
}

/* A valid body of one kind as bytes, to which a bad field is then added (the last one counts). */
static void body_of(enum assent_wire_kind kind, struct raw *ret_body)
{
    struct assent_wire wire;
    size_t size, at = 0;

    sample(kind, &wire);
    wire.request = 0;
    encode(&wire, &size);
    at += buffer[at] >= 128 ? 2 : 1; /* the body's tag */
    at += buffer[at] >= 128 ? 2 : 1; /* and its length */
    ret_body->size = size - at;
    memcpy(ret_body->data, buffer + at, size - at);
}

static int decode_body(enum assent_wire_kind kind, const struct raw *body, char error[256])
{
    struct raw envelope = {.size = 0};
    struct assent_wire wire;

    put_bytes(&envelope, kind, body->data, body->size);
    error[0] = '\0';
    return assent_wire_decode(envelope.data, envelope.size, arena, &wire, error, 256);
}

static void refused(enum assent_wire_kind kind, const struct raw *body, const char *wanted)
{
    char error[256];

    assert_int_equal(decode_body(kind, body, error), ASSENT_E_PROTOCOL);
    assert_string_equal(error, wanted);
}

static void bad_number(enum assent_wire_kind kind, unsigned field, uint64_t value,
                       const char *wanted)
{
    struct raw body;

    body_of(kind, &body);
    put_number(&body, field, value);
    refused(kind, &body, wanted);
}

static void bad_bytes(enum assent_wire_kind kind, unsigned field, const void *data, size_t size,
                      const char *wanted)
{
    struct raw body;

    body_of(kind, &body);
    put_bytes(&body, field, data, size);
    refused(kind, &body, wanted);
}

static void bad_text(enum assent_wire_kind kind, unsigned field, const char *text,
                     const char *wanted)
{
    bad_bytes(kind, field, text, strlen(text), wanted);
}

/* Writes size bytes of 'x'. */
static const char *xs(size_t size)
{
    static char text[8192];

    memset(text, 'x', size);
    text[size] = '\0';
    return text;
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    bad_number(ASSENT_WIRE_HELLO, 1, 0, "hello.version_min: 0, 1 to 4294967295 wanted");
    bad_number(ASSENT_WIRE_HELLO, 1, 4, "hello.version_max: 3, 4 to 4294967295 wanted");
    bad_number(ASSENT_WIRE_HELLO, 3, 0, "hello.role: 0, 1 to 3 wanted");
    bad_number(ASSENT_WIRE_HELLO, 3, 4, "hello.role: 4, 1 to 3 wanted");
    bad_number(ASSENT_WIRE_HELLO, 7, 65536, "hello.coordinator: 65536, 0 to 65535 wanted");
    bad_number(ASSENT_WIRE_HELLO, 8, 1u << 24, "hello.incarnation: 16777216, 0 to 16777215 wanted");
    bad_number(ASSENT_WIRE_HELLO, 8, 1ull << 32,
               "hello.incarnation: 4294967296 does not fit 32 bits");
    bad_number(ASSENT_WIRE_REFUSAL, 1, 0, "refusal.error: 0, -9999 to -1 wanted");
    bad_number(ASSENT_WIRE_REFUSAL, 1, 5, "refusal.error: 5, -9999 to -1 wanted");
    bad_number(ASSENT_WIRE_REFUSAL, 1, (uint64_t)INT32_MIN,
               "refusal.error: -2147483648, -9999 to -1 wanted");
    bad_number(ASSENT_WIRE_BEGIN, 1, 2, "begin.protocol: 2, 0 to 1 wanted");
    bad_number(ASSENT_WIRE_BEGIN, 1, UINT64_MAX, "begin.protocol: 4294967295, 0 to 1 wanted");
    bad_number(ASSENT_WIRE_BEGIN, 2, 2, "begin.termination: 2, 0 to 1 wanted");
    bad_number(ASSENT_WIRE_RESULT, 2, 7, "result.outcome: 7, 0 to 6 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 1, 0, "branch.kind: 0, 1 to 11 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 1, 12, "branch.kind: 12, 1 to 11 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 4, 1u << 24,
               "branch.incarnation: 16777216, 0 to 16777215 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 4, 1ull << 32,
               "branch.incarnation: 4294967296 does not fit 32 bits");
    bad_number(ASSENT_WIRE_BRANCH, 5, 1ull << 32, "branch.epoch: 4294967296 does not fit 32 bits");
    bad_number(ASSENT_WIRE_BRANCH, 6, 2, "branch.protocol: 2, 0 to 1 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 7, 2, "branch.termination: 2, 0 to 1 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 8, 65, "branch.branch_count: 65, 0 to 64 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 10, 4, "branch.vote: 4, 0 to 3 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 11, 7, "branch.result: 7, 0 to 6 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 12, 13, "branch.reason: 13, 0 to 12 wanted");
}

static void ids_of_a_wrong_length_are_refused(void **state)
{
    const char *five = "12345", *seventeen = "12345678901234567";

    (void)state;
    bad_text(ASSENT_WIRE_HELLO, 6, five, "hello.log_id: 5 bytes, 16 wanted");
    bad_text(ASSENT_WIRE_HELLO, 6, "", "hello.log_id: missing");
    bad_text(ASSENT_WIRE_PING, 1, five, "ping.ended_below: 5 bytes, 16 wanted");
    bad_text(ASSENT_WIRE_BEGIN_REPLY, 1, "", "begin_reply.gtrid: 0 bytes, 16 wanted");
    bad_text(ASSENT_WIRE_ENLIST, 1, seventeen, "enlist.gtrid: 17 bytes, 16 wanted");
    bad_text(ASSENT_WIRE_ENLIST_REPLY, 2, "", "enlist_reply.log_id: 0 bytes, 16 wanted");
    bad_text(ASSENT_WIRE_WORK, 1, five, "work.gtrid: 5 bytes, 16 wanted");
    bad_text(ASSENT_WIRE_END, 1, five, "end.gtrid: 5 bytes, 16 wanted");
    bad_text(ASSENT_WIRE_STATUS, 1, five, "status.gtrid: 5 bytes, 16 wanted");
    bad_text(ASSENT_WIRE_RESULT, 1, five, "result.gtrid: 5 bytes, 16 wanted");
    bad_text(ASSENT_WIRE_BRANCH, 2, five, "branch.gtrid: 5 bytes, 16 wanted");
    bad_text(ASSENT_WIRE_BRANCH, 18, seventeen, "branch.log_id: 17 bytes, 16 wanted");
}

static void bad_names_are_refused(void **state)
{
    struct raw body = {.size = 0}, resource = {.size = 0};

    (void)state;
    bad_text(ASSENT_WIRE_HELLO, 5, "", "hello.cluster: missing");
    bad_text(ASSENT_WIRE_HELLO, 4, "a/b", "hello.name: byte 0x2f does not belong in a name");
    bad_text(ASSENT_WIRE_HELLO, 4, xs(64), "hello.name: more than 63 bytes");
    bad_text(ASSENT_WIRE_ENLIST, 2, "", "enlist.participant: missing");
    bad_text(ASSENT_WIRE_ENLIST, 2, "a b",
             "enlist.participant: byte 0x20 does not belong in a name");
    bad_text(ASSENT_WIRE_ENLIST, 2, "a/b/c",
             "enlist.participant: byte 0x2f does not belong in a name");
    bad_text(ASSENT_WIRE_ENLIST, 2, "/b",
             "enlist.participant: byte 0x2f does not belong in a name");
    bad_text(ASSENT_WIRE_ENLIST, 2, "a/", "enlist.participant: nothing after the '/'");
    bad_text(ASSENT_WIRE_WORK, 2, "a\n", "work.participant: byte 0x0a does not belong in a name");
    bad_text(ASSENT_WIRE_INSPECT, 1, "", "inspect.what: missing");
    bad_text(ASSENT_WIRE_INSPECT, 3, "a;",
             "inspect.participant: byte 0x3b does not belong in a name");
    bad_text(ASSENT_WIRE_BRANCH, 14, "a/b", "branch.resource: byte 0x2f does not belong in a name");
    bad_text(ASSENT_WIRE_RESOURCE_QUERY, 1, "\xc3\xbc",
             "resource_query.resource: byte 0xc3 does not belong in a name");
    put_text(&body, 1, "kv");
    put_text(&body, 2, "k v");
    bad_bytes(ASSENT_WIRE_HELLO, 10, body.data, body.size,
              "hello.resources.type: byte 0x20 does not belong in a name (item 2)");
    body_of(ASSENT_WIRE_RUN, &body);
    put_text(&resource, 1, "b/");
    put_bytes(&body, 2, resource.data, resource.size);
    refused(ASSENT_WIRE_RUN, &body, "run.branches.participant: nothing after the '/' (item 2)");
}

static void long_names_with_a_resource_are_accepted(void **state)
{
    char name[2 * ASSENT_NAME_MAX + 2], error[256];
    struct raw body;

    (void)state;
    memset(name, 'n', sizeof(name));
    name[ASSENT_NAME_MAX] = '/';
    name[sizeof(name) - 1] = '\0';
    body_of(ASSENT_WIRE_ENLIST, &body);
    put_text(&body, 2, name);
    assert_int_equal(decode_body(ASSENT_WIRE_ENLIST, &body, error), 0);
}

static void texts_too_long_are_refused(void **state)
{
    (void)state;
    bad_text(ASSENT_WIRE_HELLO, 9, xs(256), "hello.address: more than 255 bytes");
    bad_text(ASSENT_WIRE_HELLO, 11, xs(64), "hello.software: more than 63 bytes");
    bad_text(ASSENT_WIRE_REFUSAL, 2, xs(256), "refusal.text: more than 255 bytes");
    bad_text(ASSENT_WIRE_BEGIN, 4, xs(64), "begin.key: more than 63 bytes");
    bad_text(ASSENT_WIRE_BEGIN, 5, xs(56), "begin.traceparent: more than 55 bytes");
    bad_text(ASSENT_WIRE_STATUS, 2, xs(64), "status.key: more than 63 bytes");
    bad_text(ASSENT_WIRE_RESULT, 3, xs(256), "result.reason: more than 255 bytes");
    bad_text(ASSENT_WIRE_RESULT, 4, xs(32), "result.phase: more than 31 bytes");
    bad_text(ASSENT_WIRE_INSPECT, 2, xs(4097), "inspect.argument: more than 4096 bytes");
    bad_text(ASSENT_WIRE_BRANCH, 13, xs(256), "branch.reason_text: more than 255 bytes");
    bad_text(ASSENT_WIRE_BRANCH, 17, xs(56), "branch.traceparent: more than 55 bytes");
    bad_text(ASSENT_WIRE_RESOURCE_QUERY, 2, xs(4097),
             "resource_query.command: more than 4096 bytes");
}

static void texts_that_are_not_utf8_or_hide_a_nul_are_refused(void **state)
{
    (void)state;
    bad_text(ASSENT_WIRE_BEGIN, 4, "\xff", "begin.key: not UTF-8");
    bad_text(ASSENT_WIRE_REFUSAL, 2, "caf\xe9", "refusal.text: not UTF-8");
    bad_text(ASSENT_WIRE_BRANCH, 13, "\xed\xa0\x80", "branch.reason_text: not UTF-8");
    bad_text(ASSENT_WIRE_RESULT, 3, "\xc0\x80", "result.reason: not UTF-8");
    bad_text(ASSENT_WIRE_RESOURCE_QUERY, 2, "\xf5", "resource_query.command: not UTF-8");
    bad_text(ASSENT_WIRE_INSPECTION, 1, "\"\x80\"", "inspection.json: not UTF-8 without NUL");
    bad_bytes(ASSENT_WIRE_INSPECTION, 1, "{}\0", 3, "inspection.json: holds a NUL");
    bad_bytes(ASSENT_WIRE_STATUS, 2, "a\0b", 3, "status.key: holds a NUL");
    bad_bytes(ASSENT_WIRE_ENLIST, 2, "\0a", 2, "enlist.participant: holds a NUL");
    bad_bytes(ASSENT_WIRE_HELLO, 4, "\0", 1, "hello.name: holds a NUL");
}

static void too_many_items_are_refused(void **state)
{
    struct raw body, item = {.size = 0};

    (void)state;
    put_text(&item, 1, "kv");
    put_text(&item, 2, "kv");
    body_of(ASSENT_WIRE_HELLO, &body);
    for (int i = 2; i < 17; i++)
        put_bytes(&body, 10, item.data, item.size);
    refused(ASSENT_WIRE_HELLO, &body, "hello.resources: 17, at most 16 wanted");
    body_of(ASSENT_WIRE_RUN, &body);
    for (int i = 2; i < 65; i++)
        put_bytes(&body, 2, item.data, item.size);
    refused(ASSENT_WIRE_RUN, &body, "run.branches: 65, at most 64 wanted");
}

static void a_status_that_asks_for_nothing_is_refused(void **state)
{
    struct raw body = {.size = 0};

    (void)state;
    refused(ASSENT_WIRE_STATUS, &body, "status: neither gtrid nor key");
}

static void exactly_one_body_is_wanted(void **state)
{
    const char *none = "envelope: 0 bodies of a known kind, 1 wanted";
    struct raw raw = {.size = 0};
    struct assent_wire wire;
    char error[256];

    (void)state;
    assert_int_equal(assent_wire_decode("", 0, arena, &wire, error, 256), ASSENT_E_PROTOCOL);
    assert_string_equal(error, none);
    put_number(&raw, 1, 5);
    put_bytes(&raw, 19, "", 0); /* a kind of a later version */
    assert_int_equal(assent_wire_decode(raw.data, raw.size, arena, &wire, error, 256),
                     ASSENT_E_PROTOCOL);
    assert_string_equal(error, none);
    put_bytes(&raw, ASSENT_WIRE_PING, "", 0);
    assert_int_equal(assent_wire_decode(raw.data, raw.size, arena, &wire, error, 256), 0);
    assert_int_equal(wire.kind, ASSENT_WIRE_PING);
    assert_int_equal(wire.request, 5);
    put_bytes(&raw, ASSENT_WIRE_PING, "", 0);
    assert_int_equal(assent_wire_decode(raw.data, raw.size, arena, &wire, error, 256),
                     ASSENT_E_PROTOCOL);
    assert_string_equal(error, "envelope: 2 bodies of a known kind, 1 wanted");
}

static void unknown_fields_are_ignored(void **state)
{
    struct raw body, envelope = {.size = 0};
    struct assent_wire in, out;
    char error[256];

    (void)state;
    sample(ASSENT_WIRE_BRANCH, &in);
    body_of(ASSENT_WIRE_BRANCH, &body);
    put_number(&body, 100, 7);
    put_text(&body, 101, "later");
    put_bytes(&envelope, ASSENT_WIRE_BRANCH, body.data, body.size);
    put_text(&envelope, 200, "later");
    put_varint(&envelope, 201 << 3 | 1); /* fixed64 */
    for (int i = 0; i < 8; i++)
        put_byte(&envelope, 0xff);
    put_varint(&envelope, 202 << 3 | 5); /* fixed32 */
    for (int i = 0; i < 4; i++)
        put_byte(&envelope, 0xff);
    assert_int_equal(assent_wire_decode(envelope.data, envelope.size, arena, &out, error, 256), 0);
    same_branch(&out, &in);
}

static void an_error_buffer_is_not_needed(void **state)
{
    struct assent_wire wire;

    (void)state;
    assert_int_equal(assent_wire_decode("", 0, arena, &wire, NULL, 0), ASSENT_E_PROTOCOL);
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
        cmocka_unit_test(numbers_out_of_range_are_refused),
        cmocka_unit_test(ids_of_a_wrong_length_are_refused),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(long_names_with_a_resource_are_accepted),
        cmocka_unit_test(texts_too_long_are_refused),
        cmocka_unit_test(texts_that_are_not_utf8_or_hide_a_nul_are_refused),
        cmocka_unit_test(too_many_items_are_refused),
        cmocka_unit_test(a_status_that_asks_for_nothing_is_refused),
        cmocka_unit_test(exactly_one_body_is_wanted),
        cmocka_unit_test(unknown_fields_are_ignored),
        cmocka_unit_test(an_error_buffer_is_not_needed),
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
