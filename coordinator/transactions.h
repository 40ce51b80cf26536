/*
 * transactions.h: the table of transactions that have not ended, with what the driver keeps beside
 * each machine: its timer, who waits for it, its key, its one-shot work, times for people.
 * Deliberately not here: what happens to a transaction (driver.c) and finished ones (outcomes.c).
 *
 * Life of a transaction: add -> (machine initialised by the caller) -> arm after each step ->
 * remove. A removed one is used again for a later add. Millions may be in doubt, so each takes only
 * the memory that its branches need.
 */
#ifndef ASSENT_COORDINATOR_TRANSACTIONS_H
#define ASSENT_COORDINATOR_TRANSACTIONS_H

#include <stdatomic.h>
#include <sys/queue.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "hash.h"

#include "coordinator.h"
#include "pool.h"

struct session;
struct transaction;

/* A request that is answered once the outcome may be told, or once every branch has obeyed. */
struct waiter {
    TAILQ_ENTRY(waiter) of_transaction, of_session;
    struct transaction *transaction;
    struct session *session;
    uint64_t request;
    bool until_end;
};
TAILQ_HEAD(waiters, waiter);

/* Beside a branch of the machine; number 1 is [0]. */
struct branch_context {
    void *work; /* one-shot: until its vote can no longer be asked for */
    size_t work_size;
    uint32_t voted_ms, done_ms; /* after begun; 0: not yet */
    bool own;                   /* the application works on a connection of its own */
};

struct transaction {
    UT_hash_handle hh;
    struct transactions *table;
    uint64_t order; /* the gtrid's incarnation and sequence: unique in one log */
    struct event timer;
    uint64_t armed_ms; /* when the timer fires, ASSENT_NO_TIMER if it is not set */
    struct waiters waiters;
    struct session *owner; /* rolled back when this connection ends; NULL: detached */
    TAILQ_ENTRY(transaction) of_owner;
    uint32_t works_pending; /* work relayed to participants and not answered */
    size_t work_bytes;      /* one-shot work held here */
    uint64_t begun_wall_ms; /* for people */
    uint64_t begun_ms;
    uint32_t asked_ms, decided_ms, ended_ms; /* after begun: commit asked for, decided, obeyed */
    const char *key, *traceparent, *reason_text; /* "" or its own: see transactions_set_text() */
    uint32_t branch_max;
    struct branch_context *branches; /* so many */
    struct assent_coord machine;     /* with memory for so many branches only; last */
};
TAILQ_HEAD(owned_transactions, transaction);

/* branch_max is a power of two, and these are its logarithms. */
#define BRANCH_SIZES 7
_Static_assert(1 << (BRANCH_SIZES - 1) == ASSENT_BRANCHES_MAX, "the largest size holds them all");

/* Over all transactions in rising order, a few at a time; any may be removed meanwhile. */
struct transactions_walk {
    LIST_ENTRY(transactions_walk) link;
    struct transaction *next; /* NULL: over */
};

struct transactions {
    LIST_HEAD(, transactions_walk) walks;
    struct transaction *by_order; /* in rising order from the head, unless unsorted */
    UT_hash_table *kept;          /* its index while it is empty */
    uint64_t highest;             /* order of all that were added */
    bool unsorted;
    struct assent_pool pools[BRANCH_SIZES];
    struct assent_pool waiters;
    struct assent_pool small_works; /* one-shot work that is not longer than most */
    /* Changed by the owner alone; any thread may read them. */
    atomic_size_t count, work_bytes; /* work_bytes: held by all of them */
    struct event_base *base;
    void (*due)(struct transaction *transaction, void *context);
    void *context;
};

/* due is called when machine.timer_ms has come. */
void transactions_init(struct transactions *table, struct event_base *base,
                       void (*due)(struct transaction *transaction, void *context), void *context);
void transactions_fini(struct transactions *table);
size_t transactions_count(const struct transactions *table);

/* A transaction without a machine yet, for at least so many branches; NULL when there is no memory.
 * Its order must be above all others, or transactions_sort must follow. */
struct transaction *transactions_add(struct transactions *table, const struct assent_gtrid *gtrid,
                                     uint32_t branch_max);
/* It must have no waiters and no owner. */
void transactions_remove(struct transaction *transaction);
struct transaction *transactions_find(const struct transactions *table,
                                      const struct assent_gtrid *gtrid);
struct transaction *transactions_find_order(const struct transactions *table, uint64_t order);
void transactions_sort(struct transactions *table);
/* The lowest order of all, or UINT64_MAX. */
uint64_t transactions_lowest(const struct transactions *table);

void transactions_walk_start(struct transactions *table, struct transactions_walk *walk);
/* The next one, or NULL at the end. */
struct transaction *transactions_walk_next(struct transactions_walk *walk);
/* Needed once for each start. */
void transactions_walk_stop(struct transactions_walk *walk);

/* Sets the timer to machine.timer_ms. No system call; at most O(log n). */
void transactions_arm(struct transaction *transaction, uint64_t now_ms);
/* Makes one of its texts a copy of another text; without memory the process ends. */
void transactions_set_text(const char **text, const char *to);
/* Copies one-shot work for a branch: false when there is no memory. */
bool transactions_hold_work(struct transaction *transaction, uint32_t branch, const void *work,
                            size_t size);
void transactions_release_work(struct transaction *transaction);

/* Incarnation and sequence as one number. */
uint64_t gtrid_order(const struct assent_gtrid *gtrid);
/* The part of `order` that assent_gtrid_order() looks at, as a gtrid without time. */
struct assent_gtrid gtrid_of_order(uint64_t order, uint16_t coordinator);

#endif
