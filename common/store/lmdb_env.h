/*
 * lmdb_env.h: the LMDB environment of a store; with lmdb_readers.h all of the store that knows
 * LMDB. One write transaction at a time, by one thread; reads by any. Values go in and come out
 * without their envelope. Not here: what is written when, and what failure of it means.
 */
#ifndef ASSENT_STORE_LMDB_ENV_H
#define ASSENT_STORE_LMDB_ENV_H

#include "store.h"

struct assent_lmdb;

struct assent_lmdb_usage {
    uint64_t position;   /* batches committed in its life */
    uint64_t used_bytes; /* pages ever reached; past 80 % of the map, less those that are free */
    uint64_t map_bytes;
    uint64_t disk_bytes; /* what the file system has left for us */
    bool map_has_room;   /* used_bytes is at most 80 % of the map */
};

/* Opens data.mdb in the directory. Read-only it must exist, and map_bytes is ignored.
 * ASSENT_E_CORRUPT, ASSENT_E_VERSION, ASSENT_E_IO, ASSENT_E_NOMEM, with a sentence in error. */
ASSENT_CHECKED int assent_lmdb_open(const char *directory, bool read_only, uint64_t map_bytes,
                                    struct assent_lmdb **ret_lmdb, char *error, size_t error_size);
/* NULL is allowed. */
void assent_lmdb_close(struct assent_lmdb *lmdb);

/* The write transaction. These return 0 or a number for assent_lmdb_text(); after a failure only
 * assent_lmdb_abort() may follow, which a commit that failed has done itself. */
ASSENT_CHECKED int assent_lmdb_begin(struct assent_lmdb *lmdb);
ASSENT_CHECKED int assent_lmdb_put(struct assent_lmdb *lmdb, enum assent_table table,
                                   const void *key, size_t key_size, const void *value,
                                   size_t value_size);
/* A missing key is no error. */
ASSENT_CHECKED int assent_lmdb_delete(struct assent_lmdb *lmdb, enum assent_table table,
                                      const void *key, size_t key_size);
ASSENT_CHECKED int assent_lmdb_commit(struct assent_lmdb *lmdb);
void assent_lmdb_abort(struct assent_lmdb *lmdb);
const char *assent_lmdb_text(int number);

/* As the write transaction sees it; the value is valid until its next change. 0,
 * ASSENT_E_NOT_FOUND, ASSENT_E_CORRUPT, ASSENT_E_VERSION, ASSENT_E_IO. */
ASSENT_CHECKED int assent_lmdb_peek(struct assent_lmdb *lmdb, enum assent_table table,
                                    const void *key, size_t key_size, const uint8_t **ret_value,
                                    size_t *ret_size);

/* As assent_store_get() and assent_store_scan(). A visit may get. */
ASSENT_CHECKED int assent_lmdb_get(struct assent_lmdb *lmdb, enum assent_table table,
                                   const void *key, size_t key_size, void *buffer, size_t cap,
                                   size_t *ret_size);
ASSENT_CHECKED int assent_lmdb_scan(struct assent_lmdb *lmdb, enum assent_table table,
                                    const void *after, size_t after_size, size_t limit,
                                    assent_store_visit *visit, void *context);

/* By the writing thread. 0 or a number for assent_lmdb_text(). */
ASSENT_CHECKED int assent_lmdb_usage(struct assent_lmdb *lmdb, struct assent_lmdb_usage *ret_usage);

#endif
