/*
 * xa_fixture.h: what the tests of the XA resource share: a directory for the double of
 * tests/lib/xa_switch_double.c, emptied before each test, its script, its trace, and parameters.
 */
#ifndef ASSENT_TEST_XA_FIXTURE_H
#define ASSENT_TEST_XA_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "resource_driver.h"
#include "runtime.h"

static char home[64]; /* the double's */

static inline const char *parameters_of(const char *symbol, const char *more)
{
    static char text[8][1024];
    static unsigned next;
    char *made = text[next++ % 8];

    snprintf(made, sizeof(text[0]), "host=%s switch=%s:%s work=%s %s open=%s",
             getenv("ASSENT_TEST_XA_HOST"), getenv("ASSENT_TEST_XA_DOUBLE"), symbol,
             getenv("ASSENT_TEST_XA_DOUBLE"), more, home);
    return made;
}

static inline void remove_file(const char *name)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", home, name);
    (void)unlink(path);
}

static inline void write_file(const char *name, const char *text)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", home, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* The next call of the double's function answers so. */
static inline void script(const char *line)
{
    write_file("script", line);
}

static inline const char *trace(void)
{
    static char text[1 << 20];
    char path[128];
    FILE *file;
    size_t n = 0;

    snprintf(path, sizeof(path), "%s/trace", home);
    file = fopen(path, "r");
    if (file != NULL) {
        n = fread(text, 1, sizeof(text) - 1, file);
        fclose(file);
    }
    text[n] = '\0';
    return text;
}

static inline unsigned count_in(const char *text, const char *what)
{
    unsigned count = 0;

    while ((text = strstr(text, what)) != NULL) {
        count++;
        text++;
    }
    return count;
}

static inline void reset(void)
{
    static const char *const files[] = {"journal", "script", "trace", "foreign", "zeroed"};

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        remove_file(files[i]);
}

static inline struct driver *open_double(const char *symbol, const char *more)
{
    static struct driver driver;

    driver_init(&driver, &assent_resource_xa, parameters_of(symbol, more));
    return &driver;
}

/* The operation's answer when the helper process is there again. */
static inline struct assent_call await_call(struct driver *d, enum assent_operation operation,
                                            unsigned n)
{
    uint64_t deadline_ms = assent_now_ms() + 20000;
    struct assent_call call;

    do {
        assert_true(assent_now_ms() < deadline_ms);
        call = driver_call(d, operation, n);
    } while (call.result == ASSENT_RM_UNAVAILABLE);
    return call;
}

static inline int empty_before(void **state)
{
    (void)state;
    reset();
    return 0;
}

static inline bool find_double(void)
{
    if (getenv("ASSENT_TEST_XA_HOST") == NULL || getenv("ASSENT_TEST_XA_DOUBLE") == NULL) {
        printf("ASSENT_TEST_XA_HOST and ASSENT_TEST_XA_DOUBLE must name programs; meson does so\n");
        return false;
    }
    snprintf(home, sizeof(home), "/tmp/assent-xa-XXXXXX");
    return mkdtemp(home) != NULL;
}

#endif
