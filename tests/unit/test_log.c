/* test_log.c: what stands on stderr after one event. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "runtime.h"

#define THREADS          4
#define LINES_PER_THREAD 200

static int pipe_ends[2], saved_stderr;

static void capture(enum assent_log_level level, enum assent_log_format format)
{
    assert_int_equal(pipe(pipe_ends), 0);
    assert_true(fcntl(pipe_ends[1], F_SETPIPE_SZ, 1 << 20) > 0);
    saved_stderr = dup(2);
    assert_int_equal(dup2(pipe_ends[1], 2), 2);
    close(pipe_ends[1]);
    assent_log_setup(level, format);
}

/* Ends the capture; returns everything written, as text in a static buffer. */
static const char *captured(void)
{
    static char text[1 << 20];
    size_t size = 0;
    ssize_t got;

    dup2(saved_stderr, 2);
    close(saved_stderr);
    while ((got = read(pipe_ends[0], text + size, sizeof(text) - 1 - size)) > 0)
        size += (size_t)got;
    close(pipe_ends[0]);
    text[size] = '\0';
    assent_log_setup(ASSENT_LOG_INFO, ASSENT_LOG_LOGFMT);
    return text;
}

/* One JSON line, checked by a parser that is not ours. */
static json_t *captured_json(void)
{
    const char *text = captured();
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

    assert_non_null(object);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    return object;
}

static const char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    assert_non_null(text);
    return text;
}

static void logfmt_line_has_time_level_event_and_fields(void **state)
{
    const char *line;

    (void)state;
    capture(ASSENT_LOG_INFO, ASSENT_LOG_LOGFMT);
    assent_log(ASSENT_LOG_WARN, "vote_no", "participant=%s branches=%d reason=%s",
               assent_log_quote("alpha"), 3, assent_log_quote("no \"money\"\n"));
    line = captured();
    assert_memory_equal(line, "ts=20", 5);
    assert_string_equal(line + 3 + 24, " level=warn event=vote_no participant=alpha branches=3 "
                                       "reason=\"no \\\"money\\\"\\n\"\n");
}

static void json_line_has_the_same_members(void **state)
{
    json_t *line;

    (void)state;
    capture(ASSENT_LOG_INFO, ASSENT_LOG_JSON);
    assent_log(ASSENT_LOG_ERROR, "vote_no", "participant=%s took_ms=%d ok=true reason=%s ratio=0.5",
               assent_log_quote("alpha"), 3, assent_log_quote("no \"money\"\n\x1b[31m"));
    line = captured_json();
    assert_string_equal(text_of(line, "level"), "error");
    assert_string_equal(text_of(line, "event"), "vote_no");
    assert_int_equal(strlen(text_of(line, "ts")), 24);
    assert_string_equal(text_of(line, "participant"), "alpha");
    assert_int_equal(json_integer_value(json_object_get(line, "took_ms")), 3);
    assert_true(json_is_true(json_object_get(line, "ok")));
    assert_string_equal(text_of(line, "reason"), "no \"money\"\n\x1b[31m");
    assert_true(json_real_value(json_object_get(line, "ratio")) == 0.5);
    json_decref(line);
}

static void quoted_text_keeps_its_type_and_cannot_add_fields(void **state)
{
    json_t *line;

    (void)state;
    capture(ASSENT_LOG_INFO, ASSENT_LOG_JSON);
    assent_log(ASSENT_LOG_INFO, "e", "a=%s b=%s c=%s d=%s f=%s", assent_log_quote("12"),
               assent_log_quote("x level=error"), assent_log_quote(""), assent_log_quote(NULL),
               assent_log_quote("true"));
    line = captured_json();
    assert_string_equal(text_of(line, "a"), "12");
    assert_string_equal(text_of(line, "b"), "x level=error");
    assert_string_equal(text_of(line, "c"), "");
    assert_string_equal(text_of(line, "d"), "");
    assert_string_equal(text_of(line, "f"), "true");
    assert_string_equal(text_of(line, "level"), "info");
    json_decref(line);
}

static void bad_utf8_and_controls_stay_one_valid_line(void **state)
{
    static const char *const bad[] = {
        "\xff\xfe",     "\xc0\xaf",         "\xed\xa0\x80", "\xf5\x80\x80\x80",
        "\xe2\x82",     "a\x01\x7f\r\n",    "\xc2\x9b[2J",  "\xe2\x80\xa8",
        "\xe0\x80\x80", "\xf0\x80\x80\x80", "\\",           "\"",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        json_t *line;

        capture(ASSENT_LOG_INFO, ASSENT_LOG_JSON);
        assent_log(ASSENT_LOG_INFO, "e", "text=%s", assent_log_quote(bad[i]));
        line = captured_json();
        text_of(line, "text");
        json_decref(line);
    }
    assert_string_equal(assent_log_quote("gr\xc3\xbc\xc3\x9f"), "\"gr\xc3\xbc\xc3\x9f\"");
    assert_string_equal(assent_log_quote("\xff"), "\"\\ufffd\"");
}

static void unquoted_blanks_and_line_feeds_do_not_break_the_line(void **state)
{
    json_t *line;

    (void)state;
    capture(ASSENT_LOG_INFO, ASSENT_LOG_JSON);
    assent_log(ASSENT_LOG_INFO, "e", "text=%s size=%d last=%s", "two words\nand more", 7, "");
    line = captured_json();
    assert_string_equal(text_of(line, "text"), "two words\nand more");
    assert_int_equal(json_integer_value(json_object_get(line, "size")), 7);
    assert_string_equal(text_of(line, "last"), "");
    json_decref(line);
}

static void long_lines_are_cut_and_say_so(void **state)
{
    static const enum assent_log_format formats[] = {ASSENT_LOG_LOGFMT, ASSENT_LOG_JSON};
    char text[5000];

    (void)state;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    assert_true(strlen(assent_log_quote(text)) < 1024);
    for (size_t size = 0; size < sizeof(text) - 1; size += 61) {
        for (size_t f = 0; f < 2; f++) {
            const char *line;

            capture(ASSENT_LOG_INFO, formats[f]);
            assent_log(ASSENT_LOG_INFO, "e", "n=1 text=%.*s number=%d quoted=%s", (int)size, text,
                       1234567, assent_log_quote(text));
            line = captured();
            assert_true(strlen(line) <= 2048);
            assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
            if (strstr(line, "number") != NULL)
                assert_non_null(strstr(line, "1234567"));
            if (size > 2048)
                assert_non_null(strstr(line, "cut"));
            if (formats[f] == ASSENT_LOG_JSON) {
                json_t *object = json_loads(line, 0, NULL);

                assert_non_null(object);
                json_decref(object);
            }
        }
    }
}

static void lower_levels_are_silent_and_errno_is_kept(void **state)
{
    (void)state;
    capture(ASSENT_LOG_WARN, ASSENT_LOG_LOGFMT);
    errno = 4711;
    assent_log(ASSENT_LOG_INFO, "e", "a=1");
    assent_log(ASSENT_LOG_DEBUG, "e", "a=1");
    assert_int_equal(errno, 4711);
    assert_string_equal(captured(), "");
    capture(ASSENT_LOG_WARN, ASSENT_LOG_LOGFMT);
    assent_log(ASSENT_LOG_ERROR, "e", "%s", "");
    assert_int_equal(errno, 4711);
    assert_non_null(strstr(captured(), " level=error event=e\n"));
}

static void *write_lines(void *context)
{
    for (int i = 0; i < LINES_PER_THREAD; i++)
        assent_log(ASSENT_LOG_INFO, "line", "thread=%s i=%d",
                   assent_log_quote((const char *)context), i);
    return NULL;
}

static void threads_write_whole_lines(void **state)
{
    static char names[THREADS][8] = {"a a", "b b", "c c", "d d"};
    pthread_t threads[THREADS];
    const char *at;
    int lines = 0;

    (void)state;
    capture(ASSENT_LOG_INFO, ASSENT_LOG_JSON);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (at = captured(); *at != '\0'; at = strchr(at, '\n') + 1, lines++) {
        json_t *line = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);

        assert_non_null(line);
        json_decref(line);
    }
    assert_int_equal(lines, THREADS * LINES_PER_THREAD);
}

static void wall_time_is_rfc_3339(void **state)
{
    char text[25];

    (void)state;
    assent_wall_format(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    assent_wall_format(1709210096789, text);
    assert_string_equal(text, "2024-02-29T12:34:56.789Z");
    assent_wall_format(UINT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
}

static void monotonic_time_and_randomness_work(void **state)
{
    uint64_t before = assent_now_us();
    uint8_t a[300] = {0}, b[300] = {0};

    (void)state;
    assert_true(assent_now_us() >= before && assent_now_ms() >= before / 1000);
    assent_random_bytes(a, sizeof(a));
    assent_random_bytes(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    assert_memory_not_equal(a + 280, b + 280, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logfmt_line_has_time_level_event_and_fields),
        cmocka_unit_test(json_line_has_the_same_members),
        cmocka_unit_test(quoted_text_keeps_its_type_and_cannot_add_fields),
        cmocka_unit_test(bad_utf8_and_controls_stay_one_valid_line),
        cmocka_unit_test(unquoted_blanks_and_line_feeds_do_not_break_the_line),
        cmocka_unit_test(long_lines_are_cut_and_say_so),
        cmocka_unit_test(lower_levels_are_silent_and_errno_is_kept),
        cmocka_unit_test(threads_write_whole_lines),
        cmocka_unit_test(wall_time_is_rfc_3339),
        cmocka_unit_test(monotonic_time_and_randomness_work),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
