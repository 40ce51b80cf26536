/*
 * http_fixture.h: what the tests of the HTTP resource share: the service that started the program
 * (tests/lib/odd_service.py), the resource in front of it, and what the service has seen. Included
 * once by each.
 */
#ifndef ASSENT_TEST_HTTP_FIXTURE_H
#define ASSENT_TEST_HTTP_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "resource_driver.h"

/* Branch 1, as the service knows it. */
#define ID1 "assent:a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5:01HF7YAT00000G000100000001:1"

static const char *url;
static char parameters[1024];

static inline json_t *ask(struct driver *d, const char *command)
{
    char *text = NULL, error[256];
    json_t *json;

    if (d->ops->query(d->resource, command, &text, error, sizeof(error)) != 0)
        fail_msg("query %s: %s", command, error);
    json = json_loads(text, 0, NULL);
    assert_non_null(json);
    free(text);
    return json;
}

static inline int setup(void **state)
{
    static struct driver driver;

    driver_init(&driver, &assent_resource_http, parameters);
    json_decref(ask(&driver, "reset"));
    *state = &driver;
    return 0;
}

static inline int teardown(void **state)
{
    struct driver *d = *state;

    d->parameters = parameters;
    driver_fini(d);
    return 0;
}

static inline void reopen_with(struct driver *d, const char *more)
{
    static char text[2048];

    snprintf(text, sizeof(text), "%s,%s", parameters, more);
    driver_close(d);
    d->parameters = text;
    driver_reopen(d);
}

/* How many requests of that phase the service has seen for the branch. */
static inline unsigned seen(struct driver *d, unsigned n, const char *phase)
{
    char command[16];
    unsigned count = 0;
    json_t *all, *one;

    snprintf(command, sizeof(command), "%u", n);
    all = ask(d, command);
    for (size_t i = 0; i < json_array_size(all); i++) {
        one = json_object_get(json_array_get(all, i), "phase");
        count += strcmp(json_string_value(one), phase) == 0;
    }
    json_decref(all);
    return count;
}

/* A member of the body, or of the headers, of the n-th request for branch 1. */
static inline char *of_request(struct driver *d, size_t which, const char *where, const char *name)
{
    json_t *all = ask(d, "1"), *value;
    char *text;

    value = json_object_get(json_object_get(json_array_get(all, which), where), name);
    assert_non_null(value);
    text = json_is_string(value) ? strdup(json_string_value(value))
                                 : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    json_decref(all);
    return text;
}

static inline void expect_of_request(struct driver *d, size_t which, const char *where,
                                     const char *name, const char *expected)
{
    char *value = of_request(d, which, where, name);

    assert_string_equal(value, expected);
    free(value);
}

static inline struct assent_call try_it(struct driver *d, unsigned n, const char *text)
{
    assert_int_equal(driver_begin(d, n), ASSENT_RM_OK);
    return driver_work(d, n, text, 5000);
}

static inline void expect_try(struct driver *d, unsigned n, const char *text,
                              enum assent_rm_result result, const char *reason)
{
    struct assent_call call = try_it(d, n, text);

    if (call.result != result || strcmp(call.reason, reason) != 0)
        fail_msg("%s: %s (%s)", text, assent_rm_result_name(call.result), call.reason);
    assert_null(call.reply);
}

static inline void prepared(struct driver *d, unsigned n, const char *script)
{
    expect_work(d, n, script);
    expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
}

/* False, said on stderr: there is no service. */
static inline bool find_service(void)
{
    url = getenv("ASSENT_TEST_HTTP");
    /* Where requests go is not for the environment to say. */
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    if (url == NULL)
        fprintf(stderr, "ASSENT_TEST_HTTP is not set: run it by tests/lib/odd_service.py\n");
    else
        snprintf(parameters, sizeof(parameters),
                 "try=%s/try,confirm=%s/confirm,cancel=%s/cancel,query=%s/seen", url, url, url,
                 url);
    return url != NULL;
}

#endif
