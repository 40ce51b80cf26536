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

#include "runtime.h"

/* uthash lets ten share a bucket before it grows, and each of them is a miss of the cache. */
#undef HASH_INITIAL_NUM_BUCKETS
#define HASH_INITIAL_NUM_BUCKETS 8192U
#undef HASH_INITIAL_NUM_BUCKETS_LOG2
#define HASH_INITIAL_NUM_BUCKETS_LOG2 13U

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
    char key[KV_KEY_MAX];
};

static struct kv_lock *add_lock(struct kv_locks *locks, const char *key, size_t key_size)
{
    struct kv_lock *lock = assent_pool_take(&locks->lock_pool);

    if (lock == NULL)
        return NULL;
    LIST_INIT(&lock->holds);
    TAILQ_INIT(&lock->waiters);
    lock->key_size = key_size;
    memcpy(lock->key, key, key_size);
    HASH_ADD_KEYPTR(hh, locks->table, lock->key, key_size, lock);
    if (lock->hh.tbl == NULL) {
        assent_pool_give(&locks->lock_pool, lock);
        return NULL;
    }
    return lock;
}

void kv_locks_fini(struct kv_locks *locks)
{
    if (locks->no_lock != NULL) {
        HASH_DEL(locks->table, locks->no_lock);
        assent_pool_give(&locks->lock_pool, locks->no_lock);
    }
    if (locks->no_hold.hh.tbl != NULL)
        HASH_DEL(locks->holds, &locks->no_hold);
    assent_pool_fini(&locks->lock_pool);
    assent_pool_fini(&locks->hold_pool);
    pthread_mutex_destroy(&locks->mutex);
}

int kv_locks_init(struct kv_locks *locks)
{
    *locks = (struct kv_locks){.table = NULL};
    assent_pool_init(&locks->lock_pool, sizeof(struct kv_lock), offsetof(struct kv_lock, key));
    assent_pool_init(&locks->hold_pool, sizeof(struct kv_hold), sizeof(struct kv_hold));
    if (pthread_mutex_init(&locks->mutex, NULL) != 0)
        return ASSENT_E_NOMEM;
    /* Of no key and of no branch. With these the tables are never empty, so their indexes stay. */
    locks->no_lock = add_lock(locks, "", 0);
    HASH_ADD(hh, locks->holds, id, sizeof(locks->no_hold.id), &locks->no_hold);
    if (locks->no_lock != NULL && locks->no_hold.hh.tbl != NULL)
        return 0;
    kv_locks_fini(locks);
    return ASSENT_E_NOMEM;
}

const char *kv_hold_key(const struct kv_hold *hold, size_t *ret_size)
{
    *ret_size = hold->id.lock->key_size;
    return hold->id.lock->key;
}

void kv_hold_fetch_key(const struct kv_hold *hold)
{
    __builtin_prefetch(&hold->id.lock->key_size);
    __builtin_prefetch(hold->id.lock);
}

static struct kv_lock *get_lock(struct kv_locks *locks, const char *key, size_t key_size)
{
    struct kv_lock *lock;

    HASH_FIND(hh, locks->table, key, key_size, lock);
    return lock != NULL ? lock : add_lock(locks, key, key_size);
}

static void drop_if_unused(struct kv_locks *locks, struct kv_lock *lock)
{
    if (!LIST_EMPTY(&lock->holds) || !TAILQ_EMPTY(&lock->waiters))
        return;
    HASH_DEL(locks->table, lock);
    assent_pool_give(&locks->lock_pool, lock);
}

/* A hold of another branch that does not allow this one, or NULL. */
static struct kv_hold *blocker(const struct kv_lock *lock, const struct kv_branch *branch,
                               enum kv_mode mode)
{
    struct kv_hold *hold = LIST_FIRST(&lock->holds);

    if (hold != NULL && hold->id.branch == branch)
        hold = LIST_NEXT(hold, of_lock);
    return hold != NULL && (mode == KV_EXCLUSIVE || hold->mode == KV_EXCLUSIVE) ? hold : NULL;
}

static void grant(struct kv_lock *lock, struct waiter *waiter)
{
    struct kv_hold *hold = waiter->hold;

    if (hold->id.lock == NULL) {
        hold->id.lock = lock;
        LIST_INSERT_HEAD(&lock->holds, hold, of_lock);
    }
    hold->mode = waiter->mode;
    waiter->granted = true;
}

static void grant_waiters(struct kv_lock *lock)
{
    struct waiter *waiter;

    while ((waiter = TAILQ_FIRST(&lock->waiters)) != NULL &&
           blocker(lock, waiter->hold->id.branch, waiter->mode) == NULL) {
        TAILQ_REMOVE(&lock->waiters, waiter, line);
        grant(lock, waiter);
        pthread_cond_signal(&waiter->wake);
    }
}

/* A branch that the waiter waits for: who is in the way of the line's head is in the way of all of
 * it, ourselves apart. */
static struct assent_branch_id holder(const struct kv_lock *lock, const struct waiter *waiter)
{
    const struct kv_hold *hold = blocker(lock, waiter->hold->id.branch, waiter->mode);

    return hold != NULL ? hold->id.branch->id : LIST_FIRST(&lock->holds)->id.branch->id;
}

/* Called and left with the mutex held. No wait at all asks the system nothing. */
static int wait_in_line(struct kv_locks *locks, struct kv_lock *lock, struct waiter *waiter,
                        uint64_t wait_ms, struct assent_branch_id *ret_holder)
{
    struct timespec deadline;
    pthread_condattr_t attributes;
    int rc;

    if (wait_ms == 0) {
        *ret_holder = holder(lock, waiter);
        return ASSENT_E_TIMEOUT;
    }
    if (pthread_condattr_init(&attributes) != 0)
        return ASSENT_E_NOMEM;
    deadline = assent_moment(assent_now_ms() + wait_ms);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    rc = pthread_cond_init(&waiter->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    if (rc != 0)
        return ASSENT_E_NOMEM;
    if (waiter->hold->id.lock != NULL)
        TAILQ_INSERT_HEAD(&lock->waiters, waiter, line);
    else
        TAILQ_INSERT_TAIL(&lock->waiters, waiter, line);
    while (!waiter->granted && rc == 0)
        rc = pthread_cond_timedwait(&waiter->wake, &locks->mutex, &deadline);
    pthread_cond_destroy(&waiter->wake);
    if (waiter->granted)
        return 0;
    *ret_holder = holder(lock, waiter);
    TAILQ_REMOVE(&lock->waiters, waiter, line);
    grant_waiters(lock);
    return ASSENT_E_TIMEOUT;
}

static int acquire(struct kv_locks *locks, const char *key, size_t key_size, struct waiter *waiter,
                   uint64_t wait_ms, struct assent_branch_id *ret_holder)
{
    bool raises = waiter->hold->id.lock != NULL;
    struct kv_lock *lock = raises ? waiter->hold->id.lock : get_lock(locks, key, key_size);
    int r = 0;

    if (lock == NULL)
        return ASSENT_E_NOMEM;
    if ((raises || TAILQ_EMPTY(&lock->waiters)) &&
        blocker(lock, waiter->hold->id.branch, waiter->mode) == NULL)
        grant(lock, waiter);
    else
        r = wait_in_line(locks, lock, waiter, wait_ms, ret_holder);
    if (r != 0)
        drop_if_unused(locks, lock);
    return r;
}

static void release(struct kv_locks *locks, struct kv_hold *hold)
{
    struct kv_lock *lock = hold->id.lock;

    LIST_REMOVE(hold, of_lock);
    grant_waiters(lock);
    drop_if_unused(locks, lock);
    kv_hold_drop_value(hold);
    assent_pool_give(&locks->hold_pool, hold);
}

/* What the branch holds of this key; NULL: nothing. */
static struct kv_hold *held(struct kv_locks *locks, struct kv_branch *branch, const char *key,
                            size_t key_size)
{
    struct kv_hold_id id = {.branch = branch};
    struct kv_hold *hold = STAILQ_FIRST(&branch->holds);

    if (hold == NULL)
        return NULL;
    HASH_FIND(hh, locks->table, key, key_size, id.lock);
    if (id.lock == NULL || hold->id.lock == id.lock)
        return id.lock == NULL ? NULL : hold;
    HASH_FIND(hh, locks->holds, &id, sizeof(id), hold);
    return hold;
}

/* A lock the branch did not have. */
static int lock_new(struct kv_locks *locks, struct kv_branch *branch, const char *key,
                    size_t key_size, struct waiter *waiter, uint64_t wait_ms,
                    struct assent_branch_id *ret_holder)
{
    struct kv_hold *hold;
    int r;

    if (branch->bytes + key_size + KV_HOLD_BYTES > KV_BRANCH_BYTES_MAX)
        return ASSENT_E_TOO_BIG;
    if ((hold = assent_pool_take(&locks->hold_pool)) == NULL)
        return ASSENT_E_NOMEM;
    hold->id.branch = branch;
    waiter->hold = hold;
    if ((r = acquire(locks, key, key_size, waiter, wait_ms, ret_holder)) != 0) {
        assent_pool_give(&locks->hold_pool, hold);
        return r;
    }
    if (!STAILQ_EMPTY(&branch->holds)) { /* the first one is found without */
        HASH_ADD(hh, locks->holds, id, sizeof(hold->id), hold);
        if (hold->hh.tbl == NULL) {
            release(locks, hold);
            return ASSENT_E_NOMEM;
        }
    }
    STAILQ_INSERT_TAIL(&branch->holds, hold, of_branch);
    branch->bytes += key_size + KV_HOLD_BYTES;
    return 0;
}

int kv_lock(struct kv_locks *locks, struct kv_branch *branch, const char *key, size_t key_size,
            enum kv_mode mode, uint64_t wait_ms, struct kv_hold **ret_hold,
            struct assent_branch_id *ret_holder)
{
    struct waiter waiter = {.mode = mode};
    int r = 0;

    ASSENT_ASSERT(key_size > 0);
    pthread_mutex_lock(&locks->mutex);
    waiter.hold = held(locks, branch, key, key_size);
    if (waiter.hold == NULL)
        r = lock_new(locks, branch, key, key_size, &waiter, wait_ms, ret_holder);
    else if (waiter.hold->mode < mode)
        r = acquire(locks, key, key_size, &waiter, wait_ms, ret_holder);
    pthread_mutex_unlock(&locks->mutex);
    if (r == 0)
        *ret_hold = waiter.hold;
    return r;
}

void kv_unlock_all(struct kv_locks *locks, struct kv_branch **branches, size_t count)
{
    struct kv_hold *hold;

    pthread_mutex_lock(&locks->mutex);
    for (size_t i = 0; i < count; i++) {
        while (branches[i] != NULL && (hold = STAILQ_FIRST(&branches[i]->holds)) != NULL) {
            STAILQ_REMOVE_HEAD(&branches[i]->holds, of_branch);
            if (hold->hh.tbl != NULL)
                HASH_DEL(locks->holds, hold);
            release(locks, hold);
        }
    }
    pthread_mutex_unlock(&locks->mutex);
}

char *kv_hold_value(struct kv_hold *hold, size_t size)
{
    char *room = size <= sizeof(hold->near) ? hold->near : malloc(size);

    if (room == NULL)
        return NULL;
    kv_hold_drop_value(hold);
    hold->value = room;
    hold->value_size = size;
    return room;
}

void kv_hold_drop_value(struct kv_hold *hold)
{
    if (hold->value != hold->near)
        free(hold->value);
    hold->value = NULL;
    hold->value_size = 0;
}
