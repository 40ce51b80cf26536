/* resource_driver.c: see resource_driver.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "resource_driver.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gtrid.h"
#include "runtime.h"

int driver_open(struct driver *driver)
{
    const struct assent_resource_environment environment = {
        .name = "test",
        .parameters = driver->parameters,
        .data_directory = driver->directory,
    };

    driver->error[0] = '\0';
    return driver->ops->open(&environment, &driver->resource, driver->error, sizeof(driver->error));
}

void driver_close(struct driver *driver)
{
    if (driver->resource != NULL)
        driver->ops->close(driver->resource);
    driver->resource = NULL;
}

void driver_reopen(struct driver *driver)
{
    driver_close(driver);
    if (driver_open(driver) != 0)
        fail_msg("reopen: %s", driver->error);
}

void driver_init(struct driver *driver, const struct assent_resource_ops *ops,
                 const char *parameters)
{
    *driver = (struct driver){.ops = ops, .parameters = parameters};
    snprintf(driver->directory, sizeof(driver->directory), "/tmp/assent-resource-XXXXXX");
    assert_non_null(mkdtemp(driver->directory));
    if (driver_open(driver) != 0)
        fail_msg("open: %s", driver->error);
}

void driver_fini(struct driver *driver)
{
    DIR *directory = opendir(driver->directory);
    struct dirent *entry;

    driver_close(driver);
    while (directory != NULL && (entry = readdir(directory)) != NULL)
        (void)unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory != NULL)
        closedir(directory);
    rmdir(driver->directory);
}

struct assent_branch_id driver_branch(unsigned n)
{
    struct assent_branch_id id = {.gtrid = assent_gtrid_make(1700000000000, 1, 1, n), .branch = 1};

    memset(id.log_id, 0xa5, sizeof(id.log_id));
    return id;
}

static void do_call(struct driver *driver, struct assent_call *call)
{
    switch (call->operation) {
    case ASSENT_OP_WORK:
        driver->ops->work(driver->resource, call);
        break;
    case ASSENT_OP_PREPARE:
        driver->ops->prepare(driver->resource, call);
        break;
    case ASSENT_OP_COMMIT:
    case ASSENT_OP_ONE_PHASE:
        driver->ops->commit(driver->resource, call);
        break;
    case ASSENT_OP_ROLLBACK:
        driver->ops->rollback(driver->resource, call);
        break;
    case ASSENT_OP_EVIDENCE:
        driver->ops->evidence(driver->resource, call);
        break;
    case ASSENT_OP_FORGET:
        driver->ops->forget(driver->resource, call);
        break;
    case ASSENT_OP_COUNT:
        fail_msg("not an operation");
    }
}

struct assent_call driver_call(struct driver *driver, enum assent_operation operation, unsigned n)
{
    struct assent_call call = {
        .operation = operation,
        .id = driver_branch(n),
        .result = ASSENT_RM_UNKNOWN_CODE,
    };

    do_call(driver, &call);
    return call;
}

static void answered(struct assent_call *call, void *context)
{
    struct assent_call **ret_call = context;

    assert_null(*ret_call);
    *ret_call = call;
}

struct assent_call driver_try(struct driver *driver, enum assent_operation operation, unsigned n,
                              const char *text, enum assent_operation next, bool *ret_later)
{
    struct assent_call *end = NULL, call = {
                                        .operation = operation,
                                        .id = driver_branch(n),
                                        .work = text,
                                        .work_size = text != NULL ? strlen(text) : 0,
                                        .timeout_ms = 5000,
                                        .next = next,
                                        .no_reply = next != ASSENT_OP_WORK,
                                        .no_wait = true,
                                        .result = ASSENT_RM_UNKNOWN_CODE,
                                    };
    uint64_t deadline_ms = assent_now_ms() + 20000;

    do_call(driver, &call);
    *ret_later = call.later;
    while (call.later && end == NULL) {
        struct pollfd ready = {driver->ops->descriptor(driver->resource), POLLIN, 0};

        assert_true(assent_now_ms() < deadline_ms);
        if (poll(&ready, 1, 1000) > 0)
            driver->ops->progress(driver->resource, answered, &end);
    }
    assert_true(end == NULL || end == &call);
    call.no_wait = false;
    if (call.would_wait) {
        call.would_wait = false;
        do_call(driver, &call);
    }
    return call;
}

static struct assent_call work(struct driver *driver, unsigned n, const char *text,
                               uint32_t timeout_ms, enum assent_operation next)
{
    struct assent_call call = {
        .operation = ASSENT_OP_WORK,
        .id = driver_branch(n),
        .work = text,
        .work_size = strlen(text),
        .timeout_ms = timeout_ms,
        .next = next,
        .no_reply = next == ASSENT_OP_PREPARE || next == ASSENT_OP_ONE_PHASE,
        .result = ASSENT_RM_UNKNOWN_CODE,
    };

    driver->ops->work(driver->resource, &call);
    return call;
}

struct assent_call driver_work(struct driver *driver, unsigned n, const char *text,
                               uint32_t timeout_ms)
{
    return work(driver, n, text, timeout_ms, ASSENT_OP_WORK);
}

struct assent_call driver_work_then(struct driver *driver, unsigned n, const char *text,
                                    enum assent_operation next)
{
    assert_int_equal(driver_begin(driver, n), ASSENT_RM_OK);
    return work(driver, n, text, 5000, next);
}

enum assent_rm_result driver_begin(struct driver *driver, unsigned n)
{
    struct assent_call call = {
        .operation = ASSENT_OP_WORK, .id = driver_branch(n), .result = ASSENT_RM_UNKNOWN_CODE};

    driver->ops->begin(driver->resource, &call);
    return call.result;
}

static void check(const struct assent_call *call, const char *what, unsigned n,
                  enum assent_rm_result result, const char *reason)
{
    if (call->result != result)
        fail_msg("%s of branch %u: %s (%s), not %s", what, n, assent_rm_result_name(call->result),
                 call->reason, assent_rm_result_name(result));
    if (reason != NULL && strcmp(call->reason, reason) != 0)
        fail_msg("%s of branch %u: reason \"%s\", not \"%s\"", what, n, call->reason, reason);
}

void expect_reason(struct driver *driver, enum assent_operation operation, unsigned n,
                   enum assent_rm_result result, const char *reason)
{
    static const char *const names[ASSENT_OP_COUNT] = {
        "work", "prepare", "commit", "rollback", "one-phase", "evidence", "forget",
    };
    struct assent_call call = driver_call(driver, operation, n);

    check(&call, names[operation], n, result, reason);
}

void expect(struct driver *driver, enum assent_operation operation, unsigned n,
            enum assent_rm_result result)
{
    expect_reason(driver, operation, n, result, NULL);
}

void expect_reply(struct driver *driver, unsigned n, const char *text, const char *reply)
{
    struct assent_call call;

    assert_int_equal(driver_begin(driver, n), ASSENT_RM_OK);
    call = driver_work(driver, n, text, 5000);
    check(&call, text, n, ASSENT_RM_OK, "");
    if (reply != NULL) {
        assert_non_null(call.reply);
        assert_int_equal(call.reply_size, strlen(call.reply));
        assert_string_equal(call.reply, reply);
    }
    free(call.reply);
}

void expect_work(struct driver *driver, unsigned n, const char *text)
{
    expect_reply(driver, n, text, NULL);
}

void expect_work_prepares(struct driver *driver, unsigned n, const char *text)
{
    expect_work(driver, n, text);
    expect(driver, ASSENT_OP_PREPARE, n, ASSENT_RM_OK);
}

void expect_work_commits(struct driver *driver, unsigned n, const char *text)
{
    expect_work(driver, n, text);
    expect(driver, ASSENT_OP_ONE_PHASE, n, ASSENT_RM_OK);
}

void expect_work_fails(struct driver *driver, unsigned n, const char *text, const char *reason)
{
    struct assent_call call;

    assert_int_equal(driver_begin(driver, n), ASSENT_RM_OK);
    call = driver_work(driver, n, text, 20);
    check(&call, text, n, ASSENT_RM_FAILED, reason);
    assert_null(call.reply);
}

void expect_without_a_session_no_commit(struct driver *driver, const char *alone)
{
    const char *parameters = driver->parameters;
    struct assent_call call;

    driver_close(driver);
    driver->parameters = alone;
    driver_reopen(driver);
    expect_work(driver, 1, "INSERT INTO kv VALUES (1, 1)");
    assert_int_equal(driver_begin(driver, 2), ASSENT_RM_OK);
    call = work(driver, 2, "INSERT INTO kv VALUES (2, 2)", 20, ASSENT_OP_ONE_PHASE);
    assert_int_equal(call.result, ASSENT_RM_UNAVAILABLE);
    expect_reason(driver, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_VANISHED,
                  "all 1 connections are in work");
    expect(driver, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    expect(driver, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_NOT_FOUND);
    expect(driver, ASSENT_OP_ONE_PHASE, 1, ASSENT_RM_OK);
    driver->parameters = parameters;
}

struct recovered {
    unsigned count;
    uint64_t mask;
};

static void found(const struct assent_branch_id *id, void *context)
{
    struct recovered *recovered = context;
    uint64_t n = assent_gtrid_sequence(&id->gtrid);
    struct assent_branch_id same = driver_branch((unsigned)n);

    assert_memory_equal(id, &same, sizeof(same));
    recovered->count++;
    if (n < 64)
        recovered->mask |= 1ull << n;
}

unsigned driver_markers(struct driver *driver, const struct assent_branch_id *after, size_t limit,
                        uint64_t *ret_mask)
{
    struct recovered recovered = {0};

    assert_int_equal(driver->ops->markers(driver->resource, after, limit, found, &recovered), 0);
    *ret_mask = recovered.mask;
    return recovered.count;
}

unsigned driver_recover(struct driver *driver, uint64_t *ret_mask)
{
    struct recovered recovered = {0};

    assert_int_equal(driver->ops->recover(driver->resource, found, &recovered), 0);
    if (ret_mask != NULL)
        *ret_mask = recovered.mask;
    return recovered.count;
}
