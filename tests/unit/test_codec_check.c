/*
 * test_codec_check.c: every rule refuses by the field's name. Bad messages are written byte by byte
 * here, apart from the library that the codec uses.
 */
#include <string.h>

#include "codec_fixture.h"

/* A message that is written byte by byte. */
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
    bad_number(ASSENT_WIRE_BEGIN, 2, 4, "begin.termination: 4, 0 to 3 wanted");
    bad_number(ASSENT_WIRE_RESULT, 2, 7, "result.outcome: 7, 0 to 6 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 1, 0, "branch.kind: 0, 1 to 16 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 1, 17, "branch.kind: 17, 1 to 16 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 4, 1u << 24,
               "branch.incarnation: 16777216, 0 to 16777215 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 4, 1ull << 32,
               "branch.incarnation: 4294967296 does not fit 32 bits");
    bad_number(ASSENT_WIRE_BRANCH, 5, 1ull << 32, "branch.epoch: 4294967296 does not fit 32 bits");
    bad_number(ASSENT_WIRE_BRANCH, 6, 2, "branch.protocol: 2, 0 to 1 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 7, 4, "branch.termination: 4, 0 to 3 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 8, 65, "branch.branch_count: 65, 0 to 64 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 10, 4, "branch.vote: 4, 0 to 3 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 11, 7, "branch.result: 7, 0 to 6 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 12, 15, "branch.reason: 15, 0 to 14 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 19, 65, "branch.from: 65, 0 to 64 wanted");
    bad_number(ASSENT_WIRE_BRANCH, 21, 4, "branch.state: 4, 0 to 3 wanted");
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
    put_bytes(&raw, 20, "", 0); /* a kind of a later version */
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
    assert_int_equal(out.u.branch.message.epoch, in.u.branch.message.epoch);
    assert_string_equal(out.u.branch.reason_text, in.u.branch.reason_text);
}

static void an_error_buffer_is_not_needed(void **state)
{
    struct assent_wire wire;

    (void)state;
    assert_int_equal(assent_wire_decode("", 0, arena, &wire, NULL, 0), ASSENT_E_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
