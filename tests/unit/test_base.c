/* test_base.c: gtrids, records in bytes, back-off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "bytes.h"
#include "gtrid.h"
#include "rng.h"

static void gtrid_keeps_its_fields(void **state)
{
    struct assent_gtrid g = assent_gtrid_make(1700000000123, 4711, 0xabcdef, 0x1234567890);

    (void)state;
    assert_int_equal(assent_gtrid_time_ms(&g), 1700000000123);
    assert_int_equal(assent_gtrid_coordinator(&g), 4711);
    assert_int_equal(assent_gtrid_incarnation(&g), 0xabcdef);
    assert_int_equal(assent_gtrid_sequence(&g), 0x1234567890);
}

static void gtrid_text_round_trips(void **state)
{
    uint64_t rng = 1;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        struct assent_gtrid a, b;
        char text[ASSENT_GTRID_TEXT + 1];

        for (size_t k = 0; k < sizeof(a.bytes); k++)
            a.bytes[k] = (uint8_t)assent_rng_next(&rng);
        assent_gtrid_format(&a, text);
        assert_int_equal(strlen(text), ASSENT_GTRID_TEXT);
        assert_int_equal(assent_gtrid_parse(text, &b), 0);
        assert_true(assent_gtrid_equal(&a, &b));
        for (char *c = text; *c; c++)
            if (*c >= 'A')
                *c = (char)(*c - 'A' + 'a');
        assert_int_equal(assent_gtrid_parse(text, &b), 0);
        assert_true(assent_gtrid_equal(&a, &b));
    }
}

static void branch_names_round_trip_and_nothing_else_is_one(void **state)
{
    static const uint32_t numbers[] = {1, 9, 10, 64, ASSENT_BRANCH_OF_3PC | 64, UINT32_MAX};
    char text[ASSENT_BRANCH_ID_TEXT + 1], wrong[ASSENT_BRANCH_ID_TEXT + 3];
    struct assent_branch_id id, same;

    (void)state; /* edge cases 35, 52 */
    for (size_t i = 0; i < sizeof(id.log_id); i++)
        id.log_id[i] = (uint8_t)(i * 17);
    id.gtrid = assent_gtrid_make(1700000000123, 1, 2, 3);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        id.branch = numbers[i];
        assent_branch_id_format(&id, text);
        assert_int_equal(assent_branch_id_parse(text, &same), 0);
        assert_memory_equal(id.log_id, same.log_id, sizeof(id.log_id));
        assert_true(assent_gtrid_equal(&id.gtrid, &same.gtrid));
        assert_int_equal(id.branch, same.branch);
    }
    assert_int_equal(strlen(text), ASSENT_BRANCH_ID_TEXT);
    for (size_t at = 0; at <= strlen(text); at++) {
        for (const char *c = ":0 zZ'"; *c != '\0'; c++) {
            snprintf(wrong, sizeof(wrong), "%.*s%c%s", (int)at, text, *c, text + at);
            assert_int_equal(assent_branch_id_parse(wrong, &same), ASSENT_E_INVALID);
        }
        snprintf(wrong, at + 1, "%s", text);
        if (at < 68) /* a shorter number is one too */
            assert_int_equal(assent_branch_id_parse(wrong, &same), ASSENT_E_INVALID);
    }
}

static void gtrid_text_sorts_like_its_bytes(void **state)
{
    struct assent_gtrid a = assent_gtrid_make(5, 1, 1, 9), b = assent_gtrid_make(6, 0, 0, 0);
    char ta[ASSENT_GTRID_TEXT + 1], tb[ASSENT_GTRID_TEXT + 1];

    (void)state;
    assent_gtrid_format(&a, ta);
    assent_gtrid_format(&b, tb);
    assert_true(strcmp(ta, tb) < 0);
    assert_true(assent_gtrid_order(&a, &b) > 0);
}

static void bad_gtrid_text_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "0",
        "00000000000000000000000000000",
        "0000000000000000000000000",
        "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "0000000000000000000000000U",
        "0000000000000-000000000000",
        ("0000000000000\xff"
         "000000000000"),
    };
    struct assent_gtrid g = assent_gtrid_make(1, 2, 3, 4), before = g;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(assent_gtrid_parse(bad[i], &g), ASSENT_E_INVALID);
    assert_true(assent_gtrid_equal(&g, &before));
}

static void branch_id_round_trips(void **state)
{
    struct assent_branch_id a = {.gtrid = assent_gtrid_make(1, 2, 3, 4), .branch = 77}, b;
    uint8_t bytes[ASSENT_BRANCH_ID_BYTES];

    (void)state;
    memset(a.log_id, 0x5a, sizeof(a.log_id));
    assent_branch_id_encode(&a, bytes);
    assent_branch_id_decode(bytes, &b);
    assert_memory_equal(a.log_id, b.log_id, sizeof(a.log_id));
    assert_true(assent_gtrid_equal(&a.gtrid, &b.gtrid));
    assert_int_equal(b.branch, 77);
}

static void bytes_round_trip(void **state)
{
    uint8_t buffer[64];
    struct assent_writer w;
    struct assent_reader r;
    char text[8];

    (void)state;
    assent_writer_init(&w, buffer, sizeof(buffer));
    assent_write_u8(&w, 200);
    assent_write_u16(&w, 60000);
    assent_write_u32(&w, 4000000000u);
    assent_write_u64(&w, 1ull << 63 | 5);
    assent_write_text(&w, "hello");
    assert_false(w.failed);
    assent_reader_init(&r, buffer, w.size);
    assert_int_equal(assent_read_u8(&r), 200);
    assert_int_equal(assent_read_u16(&r), 60000);
    assert_int_equal(assent_read_u32(&r), 4000000000u);
    assert_true(assent_read_u64(&r) == (1ull << 63 | 5));
    assent_read_text(&r, text, sizeof(text));
    assert_string_equal(text, "hello");
    assert_false(r.failed);
    assert_int_equal(assent_read_u8(&r), 0);
    assert_true(r.failed);
}

static void writing_past_the_end_fails_and_stays_failed(void **state)
{
    uint8_t buffer[4] = {0};
    struct assent_writer w;

    (void)state;
    assent_writer_init(&w, buffer, 3);
    assent_write_u32(&w, 1);
    assert_true(w.failed);
    assent_write_u8(&w, 1);
    assert_int_equal(w.size, 0);
    assert_int_equal(buffer[0], 0);
}

static void text_longer_than_its_place_fails(void **state)
{
    uint8_t buffer[16];
    struct assent_writer w;
    struct assent_reader r;
    char text[4];

    (void)state;
    assent_writer_init(&w, buffer, sizeof(buffer));
    assent_write_text(&w, "abcd");
    assent_reader_init(&r, buffer, w.size);
    assent_read_text(&r, text, sizeof(text));
    assert_true(r.failed);
    assert_string_equal(text, "");
}

static void backoff_grows_within_its_bounds(void **state)
{
    uint64_t rng = 7;

    (void)state;
    for (uint32_t attempt = 0; attempt < 100; attempt++) {
        uint32_t ms = assent_backoff_ms(&rng, attempt, 10, 1000);

        assert_true(ms >= 5 && ms <= 1000);
        if (attempt >= 7)
            assert_true(ms >= 500);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gtrid_keeps_its_fields),
        cmocka_unit_test(gtrid_text_round_trips),
        cmocka_unit_test(branch_names_round_trip_and_nothing_else_is_one),
        cmocka_unit_test(gtrid_text_sorts_like_its_bytes),
        cmocka_unit_test(bad_gtrid_text_is_refused),
        cmocka_unit_test(branch_id_round_trips),
        cmocka_unit_test(bytes_round_trip),
        cmocka_unit_test(writing_past_the_end_fails_and_stays_failed),
        cmocka_unit_test(text_longer_than_its_place_fails),
        cmocka_unit_test(backoff_grows_within_its_bounds),
    };

    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
