/*
 * test_resource_http.c: the HTTP resource conforms, sends what docs/http.md says, and reports what
 * each answer of a service means. The service is tests/lib/odd_service.py, which starts this
 * program and does what the work tells it to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "http_fixture.h"
#include "resource_conformance.h"

/* --- what is sent ----------------------------------------------------------------------------- */

static void requests_name_branch_phase_and_try(void **state)
{
    static const char key[] = "idempotency-key";
    struct driver *d = *state;

    expect_work(d, 1, "{\"n\": 1.10}");
    expect_work(d, 1, "put apple 3");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect_of_request(d, 0, "body", "id", ID1);
    expect_of_request(d, 0, "body", "gtrid", "01HF7YAT00000G000100000001");
    expect_of_request(d, 0, "body", "branch", "1");
    expect_of_request(d, 0, "body", "phase", "try");
    expect_of_request(d, 0, "body", "try", "1");
    expect_of_request(d, 1, "body", "try", "2");
    expect_of_request(d, 1, "body", "work", "put apple 3");
    expect_of_request(d, 2, "body", "phase", "confirm");
    expect_of_request(d, 2, "body", "id", ID1);
    expect_of_request(d, 0, "headers", key, ID1 ":try:1");
    expect_of_request(d, 1, "headers", key, ID1 ":try:2");
    expect_of_request(d, 2, "headers", key, ID1 ":confirm");
    expect_of_request(d, 0, "headers", "content-type", "application/json");
    /* Without a trace of the application's, one that the gtrid gives. */
    expect_of_request(d, 0, "headers", "traceparent",
                      "00-018bcfe5680000010000010000000001-0000000100000001-00");
    expect_of_request(d, 2, "headers", "traceparent",
                      "00-018bcfe5680000010000010000000001-0000000100000002-00");
}

static void the_key_of_a_phase_is_the_same_in_each_attempt_and_life(void **state)
{
    struct driver *d = *state;
    json_t *all;

    prepared(d, 1, "{\"confirm\": [503, 503, 200]}");
    expect_reason(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_UNAVAILABLE, "503");
    driver_reopen(d);
    assert_int_equal(driver_recover(d, NULL), 1);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_UNAVAILABLE);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    all = ask(d, "1");
    assert_int_equal(json_array_size(all), 4);
    json_decref(all);
    for (size_t i = 1; i < 4; i++)
        expect_of_request(d, i, "headers", "idempotency-key", ID1 ":confirm");
}

static void the_applications_trace_goes_on_also_after_a_restart(void **state)
{
    static const char trace[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    struct driver *d = *state;
    struct assent_call call = {.operation = ASSENT_OP_WORK, .id = driver_branch(1)};
    json_t *all;

    assert_int_equal(driver_begin(d, 1), ASSENT_RM_OK);
    snprintf(call.traceparent, sizeof(call.traceparent), "%s", trace);
    d->ops->work(d->resource, &call);
    assert_int_equal(call.result, ASSENT_RM_OK);
    free(call.reply);
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_OK);
    driver_reopen(d);
    expect(d, ASSENT_OP_COMMIT, 1, ASSENT_RM_OK);
    expect_of_request(d, 0, "headers", "traceparent", trace);
    expect_of_request(d, 1, "headers", "traceparent", trace);
    /* What is none is not passed on: it could be anything. */
    call = (struct assent_call){.operation = ASSENT_OP_WORK, .id = driver_branch(2)};
    assert_int_equal(driver_begin(d, 2), ASSENT_RM_OK);
    snprintf(call.traceparent, sizeof(call.traceparent), "%-55s", "x\r\nX-Evil: 1");
    d->ops->work(d->resource, &call);
    assert_int_equal(call.result, ASSENT_RM_OK);
    free(call.reply);
    all = ask(d, "2");
    assert_null(json_object_get(json_object_get(json_array_get(all, 0), "headers"), "x-evil"));
    json_decref(all);
}

static void connections_are_used_again(void **state)
{
    struct driver *d = *state;
    json_t *all, *one;
    json_int_t port;

    for (unsigned n = 1; n <= 5; n++)
        prepared(d, n, "{}");
    for (unsigned n = 1; n <= 5; n++)
        expect(d, ASSENT_OP_COMMIT, n, ASSENT_RM_OK);
    all = ask(d, "all");
    assert_int_equal(json_array_size(all), 10);
    port = json_integer_value(json_object_get(json_array_get(all, 0), "port"));
    for (size_t i = 0; i < json_array_size(all); i++) {
        one = json_array_get(all, i);
        assert_int_equal(json_integer_value(json_object_get(one, "port")), port);
    }
    json_decref(all);
}

static void secrets_come_from_a_file_that_may_change(void **state)
{
    struct driver *d = *state;
    char path[128], more[160];
    FILE *file;

    snprintf(path, sizeof(path), "%s/headers", d->directory);
    for (int turn = 1; turn <= 2; turn++) {
        file = fopen(path, "w");
        assert_non_null(file);
        fprintf(file, "# for the shop\nAuthorization: Bearer s3cret-%d\r\nX-Shop: 7\n", turn);
        fclose(file);
        if (turn == 1) {
            snprintf(more, sizeof(more), "header_file=%s", path);
            reopen_with(d, more);
        }
        expect_work(d, 1, "{}");
    }
    expect_of_request(d, 0, "headers", "authorization", "Bearer s3cret-1");
    expect_of_request(d, 1, "headers", "authorization", "Bearer s3cret-2");
    expect_of_request(d, 1, "headers", "x-shop", "7");
    /* Without it nothing is sent, so there is nothing to cancel. */
    unlink(path);
    expect_try(d, 2, "{}", ASSENT_RM_UNAVAILABLE,
               "parameter \"header_file\": No such file or directory");
    file = fopen(path, "w");
    fclose(file);
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    assert_int_equal(seen(d, 2, "cancel"), 0);
}

/* --- what an answer means --------------------------------------------------------------------- */

static void answers_to_try(void **state)
{
    static const struct {
        const char *work;
        enum assent_rm_result result;
        const char *reason;
        bool cancel; /* must be sent, because the service may hold something */
    } rows[] = {
        {"{\"try\": [409]}", ASSENT_RM_FAILED, "409", false},
        {"{\"try\": [{\"status\": 409, \"body\": {\"reason\": \"sold\\nout\"}}]}", ASSENT_RM_FAILED,
         "409: sold?out", false},
        {"{\"try\": [{\"status\": 422, \"raw\": \"<html>no</html>\"}]}", ASSENT_RM_FAILED, "422",
         false},
        {"{\"try\": [404]}", ASSENT_RM_FAILED, "404", false},
        {"{\"try\": [500]}", ASSENT_RM_UNAVAILABLE, "500", true},
        {"{\"try\": [{\"status\": 503, \"body\": {\"reason\": \"closed\"}}]}",
         ASSENT_RM_UNAVAILABLE, "503: closed", true},
        {"{\"try\": [429]}", ASSENT_RM_UNAVAILABLE, "429", true},
        {"{\"try\": [408]}", ASSENT_RM_UNAVAILABLE, "408", true},
        {"{\"try\": [{\"status\": 307, \"headers\": {\"Location\": \"/cancel\"}}]}",
         ASSENT_RM_UNKNOWN_CODE, "307: redirects are not followed", true},
        {"{\"try\": [{\"raw\": \"{\\\"half\\\": \"}]}", ASSENT_RM_UNKNOWN_CODE,
         "200: the answer is not JSON", true},
        {"{\"try\": [{\"bytes\": 70000}]}", ASSENT_RM_UNAVAILABLE,
         "the answer has over 65536 bytes", true},
        {"{\"try\": [{\"header_bytes\": 90000}]}", ASSENT_RM_UNAVAILABLE,
         "the answer's header has over 65536 bytes", true},
        {"{\"try\": [{\"drop\": true}]}", ASSENT_RM_UNAVAILABLE, "Empty reply from server", true},
    };
    struct driver *d = *state;

    for (unsigned n = 1; n <= sizeof(rows) / sizeof(rows[0]); n++) {
        expect_try(d, n, rows[n - 1].work, rows[n - 1].result, rows[n - 1].reason);
        /* It can only roll back now. */
        expect_reason(d, ASSENT_OP_PREPARE, n, ASSENT_RM_FAILED, rows[n - 1].reason);
        expect(d, ASSENT_OP_ROLLBACK, n, ASSENT_RM_OK);
        assert_int_equal(seen(d, n, "cancel"), rows[n - 1].cancel);
        /* libcurl repeats, once, what a connection used before has dropped: with the same key. */
        assert_in_range(seen(d, n, "try"), 1, strstr(rows[n - 1].work, "drop") ? 2 : 1);
        expect(d, ASSENT_OP_EVIDENCE, n, ASSENT_RM_WAS_ABORTED);
    }
}

static void answers_to_confirm_and_cancel(void **state)
{
    static const char confirmed[] = "{\"status\": 409, \"body\": {\"outcome\": \"confirmed\"}}";
    static const char cancelled[] =
        "{\"status\": 410, \"body\": {\"outcome\": \"cancelled\", \"reason\": \"expired\"}}";
    static const struct {
        const char *answer;
        enum assent_rm_result commit, rollback;
        const char *reason;
    } rows[] = {
        {"200", ASSENT_RM_OK, ASSENT_RM_OK, ""},
        {"{\"status\": 204, \"raw\": \"\"}", ASSENT_RM_OK, ASSENT_RM_OK, ""},
        {"{\"raw\": \"done\"}", ASSENT_RM_OK, ASSENT_RM_OK, ""}, /* only the status counts */
        {"404", ASSENT_RM_UNKNOWN_CODE, ASSENT_RM_UNKNOWN_CODE, "404"},
        {"409", ASSENT_RM_UNKNOWN_CODE, ASSENT_RM_UNKNOWN_CODE, "409"},
        {"410", ASSENT_RM_UNKNOWN_CODE, ASSENT_RM_UNKNOWN_CODE, "410"},
        {"{\"status\": 401, \"body\": {\"reason\": \"who?\"}}", ASSENT_RM_UNKNOWN_CODE,
         ASSENT_RM_UNKNOWN_CODE, "401: who?"},
        {"301", ASSENT_RM_UNKNOWN_CODE, ASSENT_RM_UNKNOWN_CODE, "301: redirects are not followed"},
        {"500", ASSENT_RM_UNAVAILABLE, ASSENT_RM_UNAVAILABLE, "500"},
        {"429", ASSENT_RM_UNAVAILABLE, ASSENT_RM_UNAVAILABLE, "429"},
        {"{\"bytes\": 70000}", ASSENT_RM_UNAVAILABLE, ASSENT_RM_UNAVAILABLE,
         "the answer has over 65536 bytes"},
        {confirmed, ASSENT_RM_OK, ASSENT_RM_HEUR_COMMITTED, NULL},
        {cancelled, ASSENT_RM_HEUR_ABORTED, ASSENT_RM_OK, NULL},
        {"{\"body\": {\"outcome\": \"cancelled\"}}", ASSENT_RM_HEUR_ABORTED, ASSENT_RM_OK, NULL},
    };
    struct driver *d = *state;
    char script[512];
    bool ended;

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned commit = 2 * i + 1, rollback = commit + 1;

        snprintf(script, sizeof(script), "{\"confirm\": [%s, 200], \"cancel\": [%s, 200]}",
                 rows[i].answer, rows[i].answer);
        prepared(d, commit, script);
        prepared(d, rollback, script);
        expect_reason(d, ASSENT_OP_COMMIT, commit, rows[i].commit, rows[i].reason);
        expect_reason(d, ASSENT_OP_ROLLBACK, rollback, rows[i].rollback, rows[i].reason);
        ended = rows[i].commit != ASSENT_RM_UNKNOWN_CODE && rows[i].commit != ASSENT_RM_UNAVAILABLE;
        assert_int_equal(driver_recover(d, NULL), ended ? 0 : 2);
        if (!ended) { /* the next attempt */
            expect(d, ASSENT_OP_EVIDENCE, commit, ASSENT_RM_OK);
            expect(d, ASSENT_OP_COMMIT, commit, ASSENT_RM_OK);
            expect(d, ASSENT_OP_ROLLBACK, rollback, ASSENT_RM_OK);
        }
        expect(d, ASSENT_OP_EVIDENCE, commit,
               rows[i].commit == ASSENT_RM_HEUR_ABORTED ? ASSENT_RM_WAS_ABORTED
                                                        : ASSENT_RM_WAS_COMMITTED);
        expect(d, ASSENT_OP_EVIDENCE, rollback,
               rows[i].rollback == ASSENT_RM_HEUR_COMMITTED ? ASSENT_RM_WAS_COMMITTED
                                                            : ASSENT_RM_WAS_ABORTED);
    }
}

static void replies_are_the_services(void **state)
{
    struct driver *d = *state;
    struct assent_call call;

    expect_reply(d, 1, "{\"try\": [{\"body\": {\"left\": 3}}]}", "{\"left\": 3}");
    call = try_it(d, 2, "{\"try\": [{\"status\": 204, \"raw\": \"\"}]}");
    assert_int_equal(call.result, ASSENT_RM_OK);
    assert_null(call.reply);
    call = try_it(d, 3, "\xff");
    assert_int_equal(call.result, ASSENT_RM_FAILED);
    assert_string_equal(call.reason, "the work is neither JSON nor UTF-8 text");
    assert_int_equal(seen(d, 3, "try"), 0);
}

/* One of several Tries says no: what the others hold is cancelled, once. */
static void one_refused_try_of_several_cancels_the_others(void **state)
{
    struct driver *d = *state;

    expect_work(d, 1, "{}");
    expect_try(d, 1, "{\"try\": [409]}", ASSENT_RM_FAILED, "409");
    expect_try(d, 1, "{}", ASSENT_RM_FAILED, "409"); /* not sent any more */
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    assert_int_equal(seen(d, 1, "try"), 2);
    assert_int_equal(seen(d, 1, "cancel"), 1);
}

/* A Try that arrived, and whose answer did not: cancelled, not taken for a failure. */
static void a_try_that_times_out_is_cancelled(void **state)
{
    struct driver *d = *state;
    struct assent_call call;
    struct timespec before, after;

    assert_int_equal(driver_begin(d, 1), ASSENT_RM_OK);
    clock_gettime(CLOCK_MONOTONIC, &before);
    call = driver_work(d, 1, "{\"try\": [{\"hang\": true}]}", 150);
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_int_equal(call.result, ASSENT_RM_UNAVAILABLE);
    assert_non_null(strstr(call.reason, "timed out"));
    assert_true(after.tv_sec - before.tv_sec < 5);
    assert_int_equal(seen(d, 1, "try"), 1);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    assert_int_equal(seen(d, 1, "cancel"), 1);
    json_decref(ask(d, "release"));
}

static void a_service_that_is_away_has_not_been_asked(void **state)
{
    struct driver *d = *state;
    struct assent_call call;

    driver_close(d);
    d->parameters = "try=http://127.0.0.1:1/t,confirm=http://127.0.0.1:1/c,"
                    "cancel=http://127.0.0.1:1/x";
    driver_reopen(d);
    call = try_it(d, 1, "{}");
    assert_int_equal(call.result, ASSENT_RM_UNAVAILABLE);
    assert_non_null(strstr(call.reason, "Failed to connect to 127.0.0.1 port 1"));
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK); /* nothing is held: nothing is sent */
}

/* --- parameters ------------------------------------------------------------------------------- */

static void open_says_what_is_wrong(void **state)
{
    static const struct {
        const char *parameters, *error;
    } rows[] = {
        {"", "http: parameter \"try\" is missing"},
        {"try=http://a/t,confirm=http://a/c", "http: parameter \"cancel\" is missing"},
        {"try=ftp://a/t,confirm=http://a/c,cancel=http://a/x",
         "http: parameter \"try\" is neither http:// nor https://"},
        {"try=file:///etc/passwd,confirm=http://a/c,cancel=http://a/x",
         "http: parameter \"try\" is neither http:// nor https://"},
        {"try=/t,confirm=http://a/c,cancel=http://a/x", "http: parameter \"try\" is not a URL"},
        {"try=http://a/t,confirm=http://u:p@a/c,cancel=http://a/x",
         "http: parameter \"confirm\" has a user or a password: they belong in header_file, as "
         "Authorization"},
        {"try=http://a/t,confirm=http://a/c,cancel=http://a/x#y",
         "http: parameter \"cancel\" has a fragment"},
        {"try=http://a/t,confirm=http://a/c,cancel=http://a/x,timeout=0ms",
         "http: parameter \"timeout\" cannot be \"0ms\""},
        {"try=http://a/t,confirm=http://a/c,cancel=http://a/x,ca=/nowhere/ca.pem",
         "http: parameter \"ca\": No such file or directory"},
        {"try=http://a/t,confirm=http://a/c,cancel=http://a/x,header_file=/nowhere/h",
         "http: parameter \"header_file\": No such file or directory"},
    };
    struct driver *d = *state;

    driver_close(d);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        d->parameters = rows[i].parameters;
        assert_int_equal(driver_open(d), ASSENT_E_CONFIG);
        assert_string_equal(d->error, rows[i].error);
    }
}

static void header_lines_are_checked_and_not_shown(void **state)
{
    static const struct {
        const char *lines, *error;
    } rows[] = {
        {"secret", "line 1 is not \"Name: value\""},
        {"\n# x\nA b: secret", "line 3 is not \"Name: value\""},
        {"X-A: secret\nX-B:  ", "line 2 has no value"},
        {"X-A: sec\x01ret", "line 1 has a control byte"},
        {"idempotency-key: secret", "line 1 is a header that Assent sets itself"},
        {"Content-Length: 5", "line 1 is a header that Assent sets itself"},
    };
    struct driver *d = *state;
    char path[128], text[1400], error[256];
    FILE *file;

    driver_close(d);
    snprintf(path, sizeof(path), "%s/headers", d->directory);
    snprintf(text, sizeof(text), "%s,header_file=%s", parameters, path);
    d->parameters = text;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        file = fopen(path, "w");
        assert_non_null(file);
        fputs(rows[i].lines, file);
        fclose(file);
        assert_int_equal(driver_open(d), ASSENT_E_CONFIG);
        snprintf(error, sizeof(error), "http: parameter \"header_file\": %s", rows[i].error);
        assert_string_equal(d->error, error);
    }
    d->parameters = parameters;
}

static void a_ping_is_asked_where_there_is_a_url(void **state)
{
    struct driver *d = *state;
    char more[256], error[256], *json;

    snprintf(more, sizeof(more), "ping=%s/status?q=200", url);
    reopen_with(d, more);
    assert_int_equal(d->ops->ping(d->resource, error, sizeof(error)), 0);
    snprintf(more, sizeof(more), "ping=%s/status?q=503", url);
    reopen_with(d, more);
    assert_int_equal(d->ops->ping(d->resource, error, sizeof(error)), ASSENT_E_UNAVAILABLE);
    assert_string_equal(error, "http: the service answered 503");
    /* Nobody prepares on a connection of their own here. */
    assert_int_equal(d->ops->query(d->resource, "own " ID1, &json, error, sizeof(error)),
                     ASSENT_E_INVALID);
}

struct reports {
    char text[8][256];
    bool warning[8];
    unsigned count;
};

static void on_report(void *context, bool warning, const char *text)
{
    struct reports *reports = context;

    assert_true(reports->count < 8);
    reports->warning[reports->count] = warning;
    snprintf(reports->text[reports->count++], 256, "%s", text);
}

static void risks_are_named(void **state)
{
    struct driver *d = *state;
    struct reports reports = {.count = 0};
    char path[128], text[512];
    struct assent_resource_environment environment = {
        .name = "test",
        .parameters = text,
        .data_directory = d->directory,
        .report = on_report,
        .report_context = &reports,
    };

    driver_close(d);
    snprintf(path, sizeof(path), "%s/headers", d->directory);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(chmod(path, 0644), 0);
    snprintf(text, sizeof(text),
             "try=http://shop.example/t,confirm=https://shop.example/c,cancel=http://127.0.0.1/x,"
             "header_file=%s",
             path);
    assert_int_equal(d->ops->open(&environment, &d->resource, d->error, sizeof(d->error)), 0);
    driver_close(d);
    assert_int_equal(reports.count, 2);
    assert_true(reports.warning[0] && reports.warning[1]);
    assert_non_null(strstr(reports.text[0], "\"try\" is http:// to another host"));
    assert_string_equal(reports.text[1], "header_file can be read by others than its owner");
}

int main(void)
{
    const struct conformance_subject subject = {
        .ops = &assent_resource_http,
        .parameters = parameters,
        .bad_parameters = "try=http://127.0.0.1/,colour=red",
        .bad_name = "colour",
        .write = "{\"take\": %u}",
        .read_only = "{\"try\": [{\"body\": {\"read_only\": true}}]}",
    };
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(requests_name_branch_phase_and_try),
        TEST(the_key_of_a_phase_is_the_same_in_each_attempt_and_life),
        TEST(the_applications_trace_goes_on_also_after_a_restart),
        TEST(connections_are_used_again),
        TEST(secrets_come_from_a_file_that_may_change),
        TEST(answers_to_try),
        TEST(answers_to_confirm_and_cancel),
        TEST(replies_are_the_services),
        TEST(one_refused_try_of_several_cancels_the_others),
        TEST(a_try_that_times_out_is_cancelled),
        TEST(a_service_that_is_away_has_not_been_asked),
        TEST(open_says_what_is_wrong),
        TEST(header_lines_are_checked_and_not_shown),
        TEST(a_ping_is_asked_where_there_is_a_url),
        TEST(risks_are_named),
    };
#undef TEST
    int failed;

    if (!find_service())
        return 1;
    failed = resource_conformance(&subject);
    return cmocka_run_group_tests_name("http", tests, NULL, NULL) + failed;
}
