/*
 * test_codec_direct.c: the hot messages that are written and read without the library are the
 * library's, byte for byte, and whatever is read so means the same to the library.
 */
#include <string.h>

#include <protobuf-c/protobuf-c.h>

#include "arena.h"
#include "codec_direct.h"
#include "codec_fixture.h"
#include "rng.h"

extern const ProtobufCMessageDescriptor assent__v1__envelope__descriptor;

static const enum assent_wire_kind hot[] = {ASSENT_WIRE_RUN, ASSENT_WIRE_RESULT,
                                            ASSENT_WIRE_BRANCH};
#define HOT_KINDS (sizeof(hot) / sizeof(hot[0]))

static uint64_t rng;

static uint32_t any_number(void)
{
    uint64_t bits = assent_rng_below(&rng, 33);

    return (uint32_t)(assent_rng_next(&rng) & ((UINT64_C(1) << bits) - 1));
}

static const char *any_text(void)
{
    static const char *const texts[] = {NULL, "", "a", "bank-a/kv", "\xc3\xa4pfel"};

    return texts[assent_rng_below(&rng, 5)];
}

/* A message that need not keep the rules: how it is written does not depend on them. */
static void any_branch(struct assent_wire *wire)
{
    struct assent_message *m = &wire->u.branch.message;

    sample(ASSENT_WIRE_BRANCH, wire);
    wire->request = assent_rng_next(&rng) >> assent_rng_below(&rng, 65) % 64;
    m->branch = any_number();
    m->incarnation = any_number();
    m->epoch = any_number();
    m->timeout_ms = any_number();
    m->ballot = any_number();
    m->has_work = any_number() & 1;
    m->recovered = any_number() & 1;
    wire->u.branch.reason_text = any_text();
    wire->u.branch.resource = any_text();
    wire->u.branch.traceparent = any_text();
    wire->u.branch.work = (struct assent_bytes){"\0work", any_number() % 6};
    wire->u.branch.peer_count = assent_rng_below(&rng, 3);
    if (any_number() & 1)
        memset(wire->u.branch.log_id, 0, sizeof(wire->u.branch.log_id));
}

static void any_message(struct assent_wire *wire)
{
    switch (assent_rng_below(&rng, HOT_KINDS)) {
    case 0:
        sample(ASSENT_WIRE_RUN, wire);
        wire->u.run.begin.timeout_ms = any_number();
        wire->u.run.begin.key = any_text();
        wire->u.run.begin.detached = any_number() & 1;
        wire->u.run.branch_count = assent_rng_below(&rng, 3);
        wire->u.run.wait = any_number() & 1;
        return;
    case 1:
        sample(ASSENT_WIRE_RESULT, wire);
        wire->u.result.outcome = (enum assent_outcome)any_number() % 7;
        wire->u.result.reason = any_text();
        wire->u.result.phase = any_text();
        wire->u.result.ended = any_number() & 1;
        return;
    default:
        any_branch(wire);
    }
}

static void what_is_written_is_what_the_library_writes(void **state)
{
    struct codec_buffer direct = {NULL, 0};
    static uint8_t library[4096];

    (void)state;
    rng = 1;
    for (int i = 0; i < 20000; i++) {
        ProtobufCMessage *message;
        struct assent_wire wire;
        size_t size;

        any_message(&wire);
        assert_int_equal(codec_direct_write(&wire, &direct, &size), 0);
        assert_in_range(size, 1, sizeof(library));
        message =
            protobuf_c_message_unpack(&assent__v1__envelope__descriptor, NULL, size, direct.bytes);
        assert_non_null(message);
        assert_int_equal(protobuf_c_message_get_packed_size(message), size);
        protobuf_c_message_pack(message, library);
        assert_memory_equal(direct.bytes, library, size);
        protobuf_c_message_free_unpacked(message, NULL);
        if (i % 100 == 0) { /* so that growing is met in every place */
            free(direct.bytes);
            direct = (struct codec_buffer){malloc((size_t)i % 256), (size_t)i % 256};
        }
    }
    free(direct.bytes);
}

static void what_is_written_is_read_without_the_library(void **state)
{
    struct assent_wire wire, out;
    size_t size;

    (void)state;
    for (size_t i = 0; i < HOT_KINDS; i++) {
        assert_true(codec_direct_writes(hot[i]));
        sample(hot[i], &wire);
        encode(&wire, &size);
        assert_true(codec_direct_read(buffer, size, arena, &out));
    }
    assert_false(codec_direct_writes(ASSENT_WIRE_HELLO));
    sample(ASSENT_WIRE_HELLO, &wire);
    encode(&wire, &size);
    assert_false(codec_direct_read(buffer, size, arena, &out));
}

/* What both have read is written alike. */
static void assert_same(const struct assent_wire *a, const struct assent_wire *b)
{
    static struct codec_buffer first, second;
    size_t a_size, b_size;

    assert_int_equal(a->kind, b->kind);
    assert_int_equal(codec_direct_write(a, &first, &a_size), 0);
    assert_int_equal(codec_direct_write(b, &second, &b_size), 0);
    assert_int_equal(a_size, b_size);
    assert_memory_equal(first.bytes, second.bytes, a_size);
}

static void what_is_read_means_the_same_to_the_library(void **state)
{
    struct assent_arena *other;
    unsigned read = 0, left = 0;

    (void)state;
    assert_int_equal(assent_arena_new(ARENA_BYTES, &other), 0);
    rng = 2;
    for (int i = 0; i < 200000; i++) {
        struct assent_wire wire, direct, library;
        static struct codec_buffer bytes;
        char error[256], other_error[256];
        size_t size;
        int result;

        any_message(&wire);
        assert_int_equal(codec_direct_write(&wire, &bytes, &size), 0);
        for (uint64_t c = assent_rng_below(&rng, 4); c > 0; c--)
            bytes.bytes[assent_rng_below(&rng, size)] = (uint8_t)assent_rng_next(&rng);
        assent_arena_reset(arena);
        if (!codec_direct_read(bytes.bytes, size, arena, &direct)) {
            left++;
            continue;
        }
        read++;
        result = assent_wire_decode(bytes.bytes, size, arena, &direct, error, sizeof(error));
        assert_int_equal(codec_decode_by_library(bytes.bytes, size, other, &library, other_error,
                                                 sizeof(other_error)),
                         result);
        if (result != 0)
            assert_string_equal(error, other_error);
        if (result == 0)
            assert_same(&direct, &library);
    }
    assent_arena_free(other);
    assert_true(read > 10000 && left > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_what_the_library_writes),
        cmocka_unit_test(what_is_written_is_read_without_the_library),
        cmocka_unit_test(what_is_read_means_the_same_to_the_library),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
