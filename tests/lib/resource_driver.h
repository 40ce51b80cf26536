/*
 * resource_driver.h: for tests of resources: opens one in a directory of its own and calls it as
 * the agent would, one branch at a time, named by a number.
 */
#ifndef ASSENT_TEST_RESOURCE_DRIVER_H
#define ASSENT_TEST_RESOURCE_DRIVER_H

#include <stdbool.h>

#include "assent/participant.h"

struct driver {
    const struct assent_resource_ops *ops;
    const char *parameters;
    char directory[64];
    void *resource;
    char error[256];
};

/* Makes the directory; opens. Fails the test if it cannot. */
void driver_init(struct driver *driver, const struct assent_resource_ops *ops,
                 const char *parameters);
/* Closes and removes the directory. */
void driver_fini(struct driver *driver);
int driver_open(struct driver *driver); /* the sentence is in driver->error */
void driver_close(struct driver *driver);
void driver_reopen(struct driver *driver);

struct assent_branch_id driver_branch(unsigned n);
/* One call; the reply, if any, is the caller's. WORK needs a begin before. */
struct assent_call driver_call(struct driver *driver, enum assent_operation operation, unsigned n);
struct assent_call driver_work(struct driver *driver, unsigned n, const char *text,
                               uint32_t timeout_ms);
/* Begins as well, and says what is called next; before an end no reply is wanted. */
struct assent_call driver_work_then(struct driver *driver, unsigned n, const char *text,
                                    enum assent_operation next);
/* As the agent's loop calls: without waiting. What goes on later is waited for here; what would
 * wait is called anew, as on a thread. *ret_later: it went on. */
struct assent_call driver_try(struct driver *driver, enum assent_operation operation, unsigned n,
                              const char *text, enum assent_operation next, bool *ret_later);
enum assent_rm_result driver_begin(struct driver *driver, unsigned n);

/* Each begins the branch if need be, calls, and fails the test unless the answer is as named. */
void expect(struct driver *driver, enum assent_operation operation, unsigned n,
            enum assent_rm_result result);
void expect_reason(struct driver *driver, enum assent_operation operation, unsigned n,
                   enum assent_rm_result result, const char *reason);
void expect_reply(struct driver *driver, unsigned n, const char *text, const char *reply);
void expect_work(struct driver *driver, unsigned n, const char *text);
void expect_work_prepares(struct driver *driver, unsigned n, const char *text);
void expect_work_commits(struct driver *driver, unsigned n, const char *text);
void expect_work_fails(struct driver *driver, unsigned n, const char *text, const char *reason);

/* Of a database with a table kv, and with parameters for one session: a one-phase commit that finds
 * it taken was never sent, so it is no hazard. It is a branch in work, which rolls back and leaves
 * nothing. */
void expect_without_a_session_no_commit(struct driver *driver, const char *alone);

/* How many branches recover lists; *ret_mask gets bit n for branch n below 64. */
unsigned driver_recover(struct driver *driver, uint64_t *ret_mask);
/* Likewise of markers. */
unsigned driver_markers(struct driver *driver, const struct assent_branch_id *after, size_t limit,
                        uint64_t *ret_mask);

#endif
