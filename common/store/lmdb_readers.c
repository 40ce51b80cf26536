/*
 * lmdb_readers.c: kept read transactions of LMDB, see lmdb_readers.h.
 */
#include "lmdb_readers.h"

static MDB_txn *take_idle(struct assent_lmdb_readers *readers)
{
    for (size_t i = 0; i < ASSENT_LMDB_READERS_KEPT; i++) {
        MDB_txn *txn = atomic_exchange(&readers->idle[i], NULL);

        if (txn != NULL)
            return txn;
    }
    return NULL;
}

int assent_lmdb_readers_begin(struct assent_lmdb_readers *readers, MDB_env *env, MDB_txn **ret_txn)
{
    MDB_txn *txn = take_idle(readers);
    int number;

    if (txn == NULL)
        return mdb_txn_begin(env, NULL, MDB_RDONLY, ret_txn);
    number = mdb_txn_renew(txn);
    if (number != 0)
        mdb_txn_abort(txn);
    else
        *ret_txn = txn;
    return number;
}

void assent_lmdb_readers_end(struct assent_lmdb_readers *readers, MDB_txn *txn)
{
    mdb_txn_reset(txn);
    for (size_t i = 0; i < ASSENT_LMDB_READERS_KEPT; i++) {
        MDB_txn *none = NULL;

        if (atomic_compare_exchange_strong(&readers->idle[i], &none, txn))
            return;
    }
    mdb_txn_abort(txn);
}

void assent_lmdb_readers_close(struct assent_lmdb_readers *readers)
{
    for (size_t i = 0; i < ASSENT_LMDB_READERS_KEPT; i++)
        mdb_txn_abort(atomic_load(&readers->idle[i]));
}
