/*
 * store.h: the durable log of one process: one LMDB environment, one writer thread.
 *
 * Requests are queued from event loops; the writer commits all that is queued as one LMDB
 * transaction (group commit) and, while it syncs, the next batches gather. There may be several
 * loops, the store's consumers, each with queues of its own: a completion comes back to the
 * consumer that put, through a file descriptor of its own. Records are opaque bytes here; each is
 * wrapped with a format version and a CRC-32 over table, key and bytes, checked at every read.
 * Deliberately not here: what a record means, and when it may be forgotten.
 *
 * Threads: put, fd and process belong to the consumer's thread, get and scan to any; every other
 * function to the one that opened the store, unless it says so. A put that happens before another
 * is durable no later, whichever consumers they are of.
 * Failure: a write or sync that fails stops the process in the writer thread (assent_panic), with
 * no completion delivered: what is on disk is then read by the restart.
 */
#ifndef ASSENT_STORE_H
#define ASSENT_STORE_H

#include "assent/types.h"

struct assent_store;

/* Tables; keys are big-endian and time-ordered so that inserts append. */
enum assent_table {
    ASSENT_TABLE_META,        /* short names: log id, incarnation, clocks */
    ASSENT_TABLE_TRANSACTION, /* key: gtrid (16 bytes). Coordinator: its decision log */
    ASSENT_TABLE_PARTICIPANT, /* key: number (4 bytes big-endian). Coordinator: who is who */
    ASSENT_TABLE_BRANCH,      /* key: branch id (36 bytes). Agent: states of its branches */
    ASSENT_TABLE_COUNT
};

#define ASSENT_STORE_KEY_MAX   64
#define ASSENT_STORE_VALUE_MAX 16384

struct assent_store_options {
    const char *directory;   /* created (0700) if missing; its parent must exist */
    const char *owner;       /* "assentd", "assent-agent": FORMAT names it, a mismatch is refused */
    uint64_t map_bytes;      /* LMDB map size: the log can never grow beyond it */
    uint64_t disk_low_bytes; /* refuse early when the file system has less room than this */
    uint64_t lazy_flush_ms;  /* lazy records wait at most this long for a batch to ride with */
    size_t queue_max;        /* of a consumer: most requests queued or not yet delivered; beyond:
                       * ASSENT_E_LIMIT */
    unsigned consumers;      /* 0: 1 */
    bool unsafe_storage;     /* allow a file system that may lose what is synced */
    uint32_t first_incarnation; /* of a log that is made now; 0: 1 */
    uint32_t incarnation_min;   /* raise it at least to this; 0: by one */
};

/* Opens or creates. Takes the lock (flock on DIR/lock, which holds the pid), checks FORMAT, raises
 * the incarnation durably, starts the writer. On failure returns
 *   ASSENT_E_LOCKED  another process has it: `error` names its pid
 *   ASSENT_E_REFUSED it is on a network file system or in memory
 *   ASSENT_E_VERSION FORMAT is newer or another program's
 *   ASSENT_E_CORRUPT, ASSENT_E_IO, ASSENT_E_NOMEM
 * with a sentence in error (size error_size). Must be called after any fork. */
ASSENT_CHECKED int assent_store_open(const struct assent_store_options *options,
                                     struct assent_store **ret_store, char *error,
                                     size_t error_size);
/* Commits what is queued, then stops the writer and closes. Undelivered completions are lost.
 * NULL is allowed. */
void assent_store_close(struct assent_store *store);

/* Random id made when the log was created, the incarnation that it was created in, and the one of
 * now, which is one higher at each opening (24 bits: opening fails with ASSENT_E_LIMIT beyond). */
const uint8_t *assent_store_log_id(const struct assent_store *store);
uint32_t assent_store_first_incarnation(const struct assent_store *store);
uint32_t assent_store_incarnation(const struct assent_store *store);
/* stats.position as this opening found it. */
uint64_t assent_store_first_position(const struct assent_store *store);
/* Milliseconds this log has been open, over all its lives: retention is counted on it, so that no
 * wall clock can expire a record. Monotonic; persisted with later batches. */
uint64_t assent_store_age_ms(const struct assent_store *store);

enum assent_put_flags {
    ASSENT_PUT_LAZY = 1,   /* rides with the next batch or after lazy_flush_ms */
    ASSENT_PUT_DECIDE = 2, /* write once: if the key's record already has another decision (byte 0
                            * of value: an enum assent_decision that is not NONE), nothing is
                            * written and the completion carries the standing decision */
    ASSENT_PUT_DELETE = 4, /* removes the key; value is ignored; a missing key is no error */
};

struct assent_put {
    unsigned consumer; /* who puts, from 0 */
    enum assent_table table;
    unsigned flags; /* enum assent_put_flags */
    const void *key;
    size_t key_size;
    const void *value; /* copied */
    size_t value_size;
    uint64_t token; /* comes back in the completion; 0: no completion is wanted */
    uint64_t token2;
};

struct assent_completion {
    uint64_t token, token2;
    enum assent_decision standing; /* DECIDE: the decision that stands on disk now */
};

/* Queues one write. 0, ASSENT_E_TOO_BIG, ASSENT_E_LIMIT, ASSENT_E_NOMEM. */
ASSENT_CHECKED int assent_store_put(struct assent_store *store, const struct assent_put *put);

/* Readable when completions wait for the consumer. Owned by the store. */
int assent_store_fd(const struct assent_store *store, unsigned consumer);
/* Delivers every completion that waits for the consumer, in the order of its puts, to the callback.
 * The callback may put again. */
void assent_store_process(struct assent_store *store, unsigned consumer,
                          void (*done)(const struct assent_completion *completion, void *context),
                          void *context);

/* Reads one committed record (not those queued). Any thread. Copies at most cap bytes to buffer. 0,
 * ASSENT_E_NOT_FOUND, ASSENT_E_CORRUPT (bad checksum: logged by the caller, never taken as absent),
 * ASSENT_E_VERSION, ASSENT_E_TOO_BIG, ASSENT_E_IO. */
ASSENT_CHECKED int assent_store_get(struct assent_store *store, enum assent_table table,
                                    const void *key, size_t key_size, void *buffer, size_t cap,
                                    size_t *ret_size);

/* Calls visit for each committed record with key > after (NULL: from the first), in key order,
 * until it returns false or `limit` records were visited (0: no limit). Any thread. status: 0 or
 * ASSENT_E_CORRUPT/ASSENT_E_VERSION for a damaged record, whose bytes then are as found. */
typedef bool assent_store_visit(const void *key, size_t key_size, const void *value,
                                size_t value_size, int status, void *context);
ASSENT_CHECKED int assent_store_scan(struct assent_store *store, enum assent_table table,
                                     const void *after, size_t after_size, size_t limit,
                                     assent_store_visit *visit, void *context);

/* False when the map is over 80 % full or the disk is low: begin no new transactions. Any thread.
 * Updated by the writer after each batch. */
bool assent_store_has_room(const struct assent_store *store);

#define ASSENT_STORE_BUCKETS 20
struct assent_store_stats {
    uint64_t batches, records, forced_records, lazy_records;
    uint64_t commit_us_sum, commit_us_max;
    uint64_t commit_us_bucket[ASSENT_STORE_BUCKETS]; /* [i]: < 64us << i; last: all above */
    uint64_t batch_bucket[ASSENT_STORE_BUCKETS];     /* [i]: batch size <= 1 << i */
    uint64_t used_bytes, map_bytes, queued;
    uint64_t position; /* batches committed in the log's whole life: an older copy has fewer */
};
/* Any thread. */
void assent_store_stats(const struct assent_store *store, struct assent_store_stats *ret_stats);

/* Read-only view of a stopped data directory for `log dump` and `log verify`: takes the same lock,
 * changes nothing. Same errors as open. Works with get, scan, log_id, incarnation, close. */
ASSENT_CHECKED int assent_store_open_read_only(const char *directory, const char *owner,
                                               struct assent_store **ret_store, char *error,
                                               size_t error_size);
#endif
