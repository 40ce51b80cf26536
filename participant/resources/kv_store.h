/*
 * kv_store.h: what the kv resource keeps on disk: one LMDB environment with the tables
 *
 *   data     key -> value, as the application gave them
 *   intents  branch id -> writes and locks of a prepared branch, version and CRC-32
 *   markers  branch id -> its outcome, version and CRC-32; the evidence of a commit
 *   meta     "format" -> what wrote this directory
 *
 * Deliberately not here: what a record means, locks, branches.
 *
 * Errors: 0, ASSENT_E_NOT_FOUND, ASSENT_E_FULL (the map), ASSENT_E_NOMEM, ASSENT_E_CORRUPT,
 * ASSENT_E_IO (anything else); all but NOT_FOUND put a sentence of at most ASSENT_REASON_MAX bytes
 * into error. Any thread may read; write transactions exclude each other.
 */
#ifndef ASSENT_KV_STORE_H
#define ASSENT_KV_STORE_H

#include "assent/types.h"
#include "gtrid.h"

struct kv_store;

/* One write transaction. Storage is the caller's; begin, changes, then end or commit. */
struct kv_txn {
    struct kv_store *store;
    void *handle; /* MDB_txn */
    /* MDB_cursors, which LMDB closes at the end: branches of a batch are neighbours, and a cursor
     * finds the next one without beginning at the root. */
    void *intents, *markers;
    bool dirty;    /* something was written */
    uint64_t room; /* bytes it may still add while 80 % of the map suffice. What is new is refused
                    * beyond, so that what is prepared can still commit */
};

/* Opens or creates the environment in an existing directory, which one process may have open.
 * ASSENT_E_LOCKED, ASSENT_E_VERSION, ASSENT_E_CORRUPT, ASSENT_E_NOMEM, ASSENT_E_IO. */
ASSENT_CHECKED int kv_store_open(const char *directory, uint64_t map_bytes,
                                 struct kv_store **ret_store, char *error, size_t error_size);
void kv_store_close(struct kv_store *store); /* NULL is allowed */

/* Reads what is committed when it is called: into near if it has room, and then *ret_far is NULL;
 * else *ret_far is malloc'ed. */
ASSENT_CHECKED int kv_store_get(struct kv_store *store, const char *key, size_t key_size,
                                char *near, size_t near_size, char **ret_far, size_t *ret_size,
                                char *error);
/* 0: the marker of a commit is there. */
ASSENT_CHECKED int kv_store_marker(struct kv_store *store,
                                   const uint8_t name[ASSENT_BRANCH_ID_BYTES], char *error);

/* The greatest name that has a marker. */
ASSENT_CHECKED int kv_store_last_marker(struct kv_store *store,
                                        uint8_t ret_name[ASSENT_BRANCH_ID_BYTES], char *error);

/* In key order until visit returns false. For intents the body has been checked: a damaged record
 * ends the scan with ASSENT_E_CORRUPT. */
typedef bool kv_store_visit(const void *key, size_t key_size, const void *value, size_t size,
                            void *context);
ASSENT_CHECKED int kv_store_scan_data(struct kv_store *store, kv_store_visit *visit, void *context,
                                      char *error);
ASSENT_CHECKED int kv_store_scan_intents(struct kv_store *store, kv_store_visit *visit,
                                         void *context, char *error);
/* Likewise, those with a greater name than `after` (NULL: all). */
ASSENT_CHECKED int kv_store_scan_markers(struct kv_store *store,
                                         const uint8_t after[ASSENT_BRANCH_ID_BYTES],
                                         kv_store_visit *visit, void *context, char *error);
/* One cheap read. */
ASSENT_CHECKED int kv_store_ping(struct kv_store *store, char *error);

ASSENT_CHECKED int kv_txn_begin(struct kv_store *store, struct kv_txn *ret_txn, char *error);
/* Whether intents or writes of so many bytes may still begin to need room. */
bool kv_txn_fits(const struct kv_txn *txn, size_t size);
ASSENT_CHECKED int kv_txn_put(struct kv_txn *txn, const char *key, size_t key_size,
                              const void *value, size_t size, char *error);
/* The following three delete without error what is not there. */
ASSENT_CHECKED int kv_txn_delete(struct kv_txn *txn, const char *key, size_t key_size, char *error);
ASSENT_CHECKED int kv_txn_delete_intents(struct kv_txn *txn,
                                         const uint8_t name[ASSENT_BRANCH_ID_BYTES], char *error);
ASSENT_CHECKED int kv_txn_delete_marker(struct kv_txn *txn,
                                        const uint8_t name[ASSENT_BRANCH_ID_BYTES], char *error);
/* The markers of this branch's log that are not of later transactions, at most so many. */
ASSENT_CHECKED int kv_txn_sweep_markers(struct kv_txn *txn,
                                        const uint8_t name[ASSENT_BRANCH_ID_BYTES], size_t most,
                                        size_t *ret_deleted, char *error);
ASSENT_CHECKED int kv_txn_put_intents(struct kv_txn *txn,
                                      const uint8_t name[ASSENT_BRANCH_ID_BYTES], const void *body,
                                      size_t size, char *error);
ASSENT_CHECKED int kv_txn_put_marker(struct kv_txn *txn, const uint8_t name[ASSENT_BRANCH_ID_BYTES],
                                     char *error);
/* Ends it without a trace. */
void kv_txn_abort(struct kv_txn *txn);
/* Durable at return of 0. After any other return it is not known whether it is on disk. */
ASSENT_CHECKED int kv_txn_commit(struct kv_txn *txn, char *error);

#endif
