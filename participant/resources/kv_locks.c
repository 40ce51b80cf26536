/*
 * kv_locks.c: logical locks of the kv resource: many readers or one writer per key.
 *
 * Waiters stand in line per key, each with a condition variable of its own, and are granted in
 * order of arrival, so that readers cannot starve a writer. A branch that raises its shared lock
 * goes to the head: nobody behind it could be granted before it. There is no search for deadlocks:
 * each wait is bounded, and the branch whose wait ends first must roll back.
 */
#include "kv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct waiter {
    struct kv_hold *hold;
    enum kv_mode mode;
    bool granted;
    pthread_cond_t wake;
    TAILQ_ENTRY(waiter) line;
};

/* Exists while somebody holds it or waits for it; an exclusive hold is the only one. */
struct kv_lock {
    LIST_HEAD(, kv_hold) holds;
    TAILQ_HEAD(, waiter) waiters;
    UT_hash_handle hh;
    size_t key_size;
    char key[];
};

int kv_locks_init(struct kv_locks *locks)
{
    locks->table = NULL;
    return pthread_mutex_init(&locks->mutex, NULL) == 0 ? 0 : ASSENT_E_NOMEM;
}

void kv_locks_fini(struct kv_locks *locks)
{
    pthread_mutex_destroy(&locks->mutex);
}

const char *kv_hold_key(const struct kv_hold *hold, size_t *ret_size)
{
    *ret_size = hold->lock->key_size;
    return hold->lock->key;
}

static struct kv_lock *get_lock(struct kv_locks *locks, const char *key, size_t key_size)
{
    struct kv_lock *lock;

    HASH_FIND(hh, locks->table, key, key_size, lock);
    if (lock != NULL)
        return lock;
    if ((lock = calloc(1, sizeof(*lock) + key_size)) == NULL)
        return NULL;
    LIST_INIT(&lock->holds);
    TAILQ_INIT(&lock->waiters);
    lock->key_size = key_size;
    memcpy(lock->key, key, key_size);
    HASH_ADD_KEYPTR(hh, locks->table, lock->key, key_size, lock);
    if (lock->hh.tbl == NULL) {
        free(lock);
        return NULL;
    }
    return lock;
}

static void drop_if_unused(struct kv_locks *locks, struct kv_lock *lock)
{
    if (!LIST_EMPTY(&lock->holds) || !TAILQ_EMPTY(&lock->waiters))
        return;
    HASH_DEL(locks->table, lock);
    free(lock);
}

/* A hold of another branch that does not allow this one, or NULL. */
static struct kv_hold *blocker(const struct kv_lock *lock, const struct kv_branch *branch,
                               enum kv_mode mode)
{
    struct kv_hold *hold = LIST_FIRST(&lock->holds);

    if (hold != NULL && hold->branch == branch)
        hold = LIST_NEXT(hold, of_lock);
    return hold != NULL && (mode == KV_EXCLUSIVE || hold->mode == KV_EXCLUSIVE) ? hold : NULL;
}

static void grant(struct kv_lock *lock, struct waiter *waiter)
{
    struct kv_hold *hold = waiter->hold;

    if (hold->lock == NULL) {
        hold->lock = lock;
        LIST_INSERT_HEAD(&lock->holds, hold, of_lock);
    }
    hold->mode = waiter->mode;
    waiter->granted = true;
}

static void grant_waiters(struct kv_lock *lock)
{
    struct waiter *waiter;

    while ((waiter = TAILQ_FIRST(&lock->waiters)) != NULL &&
           blocker(lock, waiter->hold->branch, waiter->mode) == NULL) {
        TAILQ_REMOVE(&lock->waiters, waiter, line);
        grant(lock, waiter);
        pthread_cond_signal(&waiter->wake);
    }
}

/* On CLOCK_MONOTONIC, as the condition variable is told. */
static struct timespec deadline_after(uint64_t wait_ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(wait_ms / 1000);
    at.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_nsec -= 1000000000;
        at.tv_sec++;
    }
    return at;
}

/* Called and left with the mutex held. */
static int wait_in_line(struct kv_locks *locks, struct kv_lock *lock, struct waiter *waiter,
                        uint64_t wait_ms, struct assent_branch_id *ret_holder)
{
    struct timespec deadline = deadline_after(wait_ms);
    pthread_condattr_t attributes;
    struct kv_hold *hold;
    int rc;

    if (pthread_condattr_init(&attributes) != 0)
        return ASSENT_E_NOMEM;
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    rc = pthread_cond_init(&waiter->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    if (rc != 0)
        return ASSENT_E_NOMEM;
    if (waiter->hold->lock != NULL)
        TAILQ_INSERT_HEAD(&lock->waiters, waiter, line);
    else
        TAILQ_INSERT_TAIL(&lock->waiters, waiter, line);
    while (!waiter->granted && rc == 0)
        rc = pthread_cond_timedwait(&waiter->wake, &locks->mutex, &deadline);
    pthread_cond_destroy(&waiter->wake);
    if (waiter->granted)
        return 0;
    /* Whoever is in the way of the line's head is in the way of all of it, ourselves apart. */
    hold = blocker(lock, waiter->hold->branch, waiter->mode);
    if (hold == NULL)
        hold = LIST_FIRST(&lock->holds);
    *ret_holder = hold->branch->id;
    TAILQ_REMOVE(&lock->waiters, waiter, line);
    grant_waiters(lock);
    return ASSENT_E_TIMEOUT;
}

static int acquire(struct kv_locks *locks, const char *key, size_t key_size, struct waiter *waiter,
                   uint64_t wait_ms, struct assent_branch_id *ret_holder)
{
    bool raises = waiter->hold->lock != NULL;
    struct kv_lock *lock = raises ? waiter->hold->lock : get_lock(locks, key, key_size);
    int r = 0;

    if (lock == NULL)
        return ASSENT_E_NOMEM;
    if ((raises || TAILQ_EMPTY(&lock->waiters)) &&
        blocker(lock, waiter->hold->branch, waiter->mode) == NULL)
        grant(lock, waiter);
    else
        r = wait_in_line(locks, lock, waiter, wait_ms, ret_holder);
    if (r != 0)
        drop_if_unused(locks, lock);
    return r;
}

static void release(struct kv_locks *locks, struct kv_hold *hold)
{
    struct kv_lock *lock = hold->lock;

    LIST_REMOVE(hold, of_lock);
    grant_waiters(lock);
    drop_if_unused(locks, lock);
    free(hold->value);
    free(hold);
}

int kv_lock(struct kv_locks *locks, struct kv_branch *branch, const char *key, size_t key_size,
            enum kv_mode mode, uint64_t wait_ms, struct kv_hold **ret_hold,
            struct assent_branch_id *ret_holder)
{
    struct kv_hold *held, *hold;
    struct waiter waiter = {.mode = mode};
    int r;

    HASH_FIND(hh, branch->holds, key, key_size, held);
    if (held != NULL && held->mode >= mode) {
        *ret_hold = held;
        return 0;
    }
    hold = held != NULL ? held : calloc(1, sizeof(*hold));
    if (hold == NULL)
        return ASSENT_E_NOMEM;
    hold->branch = branch;
    waiter.hold = hold;
    pthread_mutex_lock(&locks->mutex);
    r = acquire(locks, key, key_size, &waiter, wait_ms, ret_holder);
    if (r == 0 && held == NULL) {
        HASH_ADD_KEYPTR(hh, branch->holds, hold->lock->key, key_size, hold);
        if (hold->hh.tbl == NULL) {
            release(locks, hold);
            r = ASSENT_E_NOMEM;
        }
    } else if (r != 0 && held == NULL) {
        free(hold);
    }
    pthread_mutex_unlock(&locks->mutex);
    if (r == 0)
        *ret_hold = hold;
    return r;
}

void kv_unlock_all(struct kv_locks *locks, struct kv_branch *branch)
{
    struct kv_hold *hold, *next;

    pthread_mutex_lock(&locks->mutex);
    HASH_ITER (hh, branch->holds, hold, next) {
        HASH_DEL(branch->holds, hold);
        release(locks, hold);
    }
    pthread_mutex_unlock(&locks->mutex);
}
