/*
 * kv.h: what the files of the embedded kv resource share; private to them.
 *
 *   kv.c         the table of operations, open and close, the questions outside a transaction
 *   kv_work.c    parses and runs commands inside a branch
 *   kv_locks.c   logical locks with bounded waits
 *   kv_branch.c  the branches in memory and their form on disk
 *   kv_batch.c   prepare, commit, rollback, forget: many branches, one durable write
 *   kv_store.c   LMDB (kv_store.h)
 *
 * A branch in work lives in memory alone. Prepare writes its intents: the writes and the locks.
 * Commit applies them, deletes the intents and leaves a marker, all in one LMDB transaction.
 * Isolation is strict two-phase locking: a lock is held until the branch's end is durable.
 *
 * Threads: calls for one branch never overlap, so a branch and its holds belong to the thread that
 * calls for it, apart from what kv_locks.c guards by its own mutex.
 */
#ifndef ASSENT_KV_H
#define ASSENT_KV_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

/* A table that cannot grow must fail one call, not end the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "assent/participant.h"
#include "gtrid.h"
#include "kv_store.h"
#include "pool.h"

#define KV_KEY_MAX          255
#define KV_VALUE_MAX        (64u << 10)
#define KV_BRANCHES_MAX     100000u
#define KV_BRANCH_BYTES_MAX (1u << 20)   /* keys and values that one branch holds */
#define KV_COMMANDS_MAX     10000u       /* of one piece of work */
#define KV_TRY_BYTES_MAX    4096u        /* of work that runs on the agent's loop */
#define KV_REPLY_BYTES_MAX  (512u << 10) /* keys and values in one reply */
#define KV_DUMP_ENTRIES_MAX 10000u
#define KV_FORGETS_MAX      1023u  /* that wait for a batch; one more makes one */
#define KV_SWEEP_FORGETS    16384u /* between two sweeps of the markers */
#define KV_SWEEP_MAX        4096u  /* markers that one batch sweeps */
#define KV_BATCH_MAX        1024u  /* calls that share one durable write */
#define KV_NEAR_BYTES       24u    /* a value that is kept in its hold */
#define KV_HOLD_BYTES       64u    /* what a hold counts for beside its key and value */

enum kv_mode { KV_SHARED, KV_EXCLUSIVE };
enum kv_write { KV_WRITE_NONE, KV_WRITE_PUT, KV_WRITE_DELETE };

struct kv_lock;

/* One key that a branch has locked, and what the branch wants to write there. */
struct kv_hold {
    struct kv_hold_id {
        struct kv_branch *branch;
        struct kv_lock *lock; /* NULL: it still waits */
    } id;
    enum kv_mode mode;
    enum kv_write write;
    char *value; /* PUT: near, or malloc'ed */
    size_t value_size;
    char near[KV_NEAR_BYTES];
    LIST_ENTRY(kv_hold) of_lock; /* guarded by the locks' mutex, as hh is */
    STAILQ_ENTRY(kv_hold) of_branch;
    UT_hash_handle hh;
};

struct kv_branch {
    struct assent_branch_id id;
    uint8_t name[ASSENT_BRANCH_ID_BYTES]; /* the id, encoded: its key everywhere */
    bool prepared;
    bool failed;  /* work failed: it can only roll back */
    char *reason; /* of its failure; NULL: no memory for it */
    STAILQ_HEAD(, kv_hold) holds;
    size_t bytes; /* of keys and values, at most KV_BRANCH_BYTES_MAX */
    UT_hash_handle hh;
};

struct kv_locks {
    pthread_mutex_t mutex; /* guards all below */
    struct kv_lock *table; /* by key */
    struct kv_hold *holds; /* of all branches, but for the first one of each */
    struct assent_pool lock_pool, hold_pool;
    struct kv_lock *no_lock; /* never granted, as the next one */
    struct kv_hold no_hold;
};

struct kv {
    struct kv_store *store;
    struct kv_locks locks;
    uint64_t lock_wait_ms;
    atomic_bool failed;    /* a durable write failed: what is on disk is not known until a reopen */
    pthread_mutex_t mutex; /* guards the next seven */
    struct kv_branch *branches;
    UT_hash_table *branches_kept; /* its index while it is empty */
    struct assent_pool branch_pool;
    size_t prepared_count;
    uint8_t last_marker[ASSENT_BRANCH_ID_BYTES]; /* no branch of a greater name has a marker */
    char reason[ASSENT_REASON_MAX + 1];          /* why it failed */
    struct kv_forgets {
        uint8_t names[KV_FORGETS_MAX][ASSENT_BRANCH_ID_BYTES];
        size_t count;
    } forgets;                             /* asked for and not yet with a batch */
    pthread_mutex_t batch_mutex;           /* one batch at a time; guards all below */
    struct kv_branch *found[KV_BATCH_MAX]; /* the branch of each call of the batch, or NULL */
    struct kv_forgets forgetting;          /* with the batch, until one is durable */
    size_t unswept;                        /* forgets since the last sweep of the markers */
    bool sweeps;                           /* the batch does */
};

/* Fills result; no reason. */
void kv_result(struct assent_call *call, enum assent_rm_result result);
/* Fills result and reason. Control bytes in the text become '?'. */
void kv_answer(struct assent_call *call, enum assent_rm_result result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Answers UNAVAILABLE and returns true if the resource has failed. */
bool kv_answer_failed(struct kv *kv, struct assent_call *call);
/* How many bytes of a text to show in a reason: at most max, never half a character. */
int kv_shown(const char *text, size_t size, size_t max);

/* kv_locks.c */
ASSENT_CHECKED int kv_locks_init(struct kv_locks *locks);
void kv_locks_fini(struct kv_locks *locks);
/* Locks the key for the branch, or raises its shared lock to exclusive, waiting in order of arrival
 * for at most wait_ms. 0 and the hold, which the branch keeps until kv_unlock_all;
 * ASSENT_E_TIMEOUT and the id of a branch in the way; ASSENT_E_TOO_BIG: the branch would hold over
 * KV_BRANCH_BYTES_MAX; ASSENT_E_NOMEM. */
ASSENT_CHECKED int kv_lock(struct kv_locks *locks, struct kv_branch *branch, const char *key,
                           size_t key_size, enum kv_mode mode, uint64_t wait_ms,
                           struct kv_hold **ret_hold, struct assent_branch_id *ret_holder);
/* Frees all holds of these branches (NULL is allowed) and lets those who wait for them go on. */
void kv_unlock_all(struct kv_locks *locks, struct kv_branch **branches, size_t count);
const char *kv_hold_key(const struct kv_hold *hold, size_t *ret_size);
/* Has the key brought near, for who looks at it soon. */
void kv_hold_fetch_key(const struct kv_hold *hold);
/* Room for a value of so many bytes, which the caller writes; NULL: no memory, and the value that
 * was there still is. The value that was there must not be what is written. */
char *kv_hold_value(struct kv_hold *hold, size_t size);
void kv_hold_drop_value(struct kv_hold *hold);

/* kv_branch.c */
/* Under kv->mutex. NULL: it is not there. */
struct kv_branch *kv_branch_at(const struct kv *kv, const struct assent_branch_id *id);
struct kv_branch *kv_branch_find(struct kv *kv, const struct assent_branch_id *id);
/* Those of many calls at once; NULL for what is not there. */
void kv_branch_find_all(struct kv *kv, struct assent_call **calls, struct kv_branch **ret_branches,
                        size_t count);
/* 0: it is new. ASSENT_E_STATE: it was there, *ret_branch is set. ASSENT_E_UNKNOWN: it may have a
 * marker, and was not added; unmarked: the caller knows that it has none. ASSENT_E_LIMIT,
 * ASSENT_E_NOMEM. */
ASSENT_CHECKED int kv_branch_add(struct kv *kv, const struct assent_branch_id *id, bool unmarked,
                                 struct kv_branch **ret_branch);
/* Under kv->mutex. Counts it as prepared; a repeat changes nothing. */
void kv_branch_set_prepared(struct kv *kv, struct kv_branch *branch);
/* Under kv->mutex. The branch of this name has a marker on disk from now on. */
void kv_branch_marked(struct kv *kv, const uint8_t name[ASSENT_BRANCH_ID_BYTES]);
/* Takes these out (NULL is allowed), frees their locks, frees them. */
void kv_branches_drop(struct kv *kv, struct kv_branch **branches, size_t count);
void kv_branches_fini(struct kv *kv);
bool kv_branch_wrote(const struct kv_branch *branch);
/* Why it failed. */
const char *kv_branch_reason(const struct kv_branch *branch);
/* The intents record's body, malloc'ed. */
ASSENT_CHECKED int kv_branch_encode(const struct kv_branch *branch, void **ret_body,
                                    size_t *ret_size);
/* Re-takes the locks and writes of an intents record, for a branch just added. 0,
 * ASSENT_E_CORRUPT, ASSENT_E_NOMEM. */
ASSENT_CHECKED int kv_branch_decode(struct kv *kv, struct kv_branch *branch, const void *body,
                                    size_t size);

/* kv_work.c. With call->no_wait, for a branch that holds nothing: if a lock is taken, would_wait,
 * and nothing is held. */
void kv_work(struct kv *kv, struct kv_branch *branch, struct assent_call *call);

/* kv_batch.c */
/* Notes what one later batch is to forget, without waiting. False: too many wait already. */
bool kv_forget_later(struct kv *kv, struct assent_call *call);
void kv_batch(struct kv *kv, struct assent_call **calls, size_t count);
/* Writes the forgets that still wait for a batch to ride with. */
void kv_batch_flush(struct kv *kv);

#endif
