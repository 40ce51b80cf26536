/*
 * lmdb_readers.h: read transactions of an LMDB environment opened with MDB_NOTLS, kept between
 * reads: one that has been used before costs LMDB no lock and no memory. Any thread may begin and
 * end one. Kept ones are reset, so that they hold no old pages back. Not here: what is read.
 */
#ifndef ASSENT_STORE_LMDB_READERS_H
#define ASSENT_STORE_LMDB_READERS_H

#include <lmdb.h>
#include <stdatomic.h>

#include "assent/types.h"

#define ASSENT_LMDB_READERS_KEPT 16

/* Zeroed, it keeps none. */
struct assent_lmdb_readers {
    _Atomic(MDB_txn *) idle[ASSENT_LMDB_READERS_KEPT];
};

/* 0, or LMDB's number of what went wrong. */
ASSENT_CHECKED int assent_lmdb_readers_begin(struct assent_lmdb_readers *readers, MDB_env *env,
                                             MDB_txn **ret_txn);
void assent_lmdb_readers_end(struct assent_lmdb_readers *readers, MDB_txn *txn);
/* Before the environment is closed, when nobody reads. */
void assent_lmdb_readers_close(struct assent_lmdb_readers *readers);

#endif
