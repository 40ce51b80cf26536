/*
 * id_table.h: what uthash is told where a table is indexed by transactions or branches. Included,
 * after uthash, by the one file that adds to the table and looks into it.
 *
 * A coordinator gives sequences one after the other: their last bits spread evenly over the buckets
 * and keep together what is near in time. uthash lets ten share a bucket before it grows, and each
 * of them is a miss of the cache; so a table begins with room for all that are usually open.
 */
#ifndef ASSENT_RUNTIME_ID_TABLE_H
#define ASSENT_RUNTIME_ID_TABLE_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* key: the order of a gtrid (a number of 8 bytes), or what ends in the sequence of a gtrid and the
 * number of a branch, 4 bytes each. Log ids, which are random, may be hashed so as well. */
static inline unsigned assent_id_hash(const void *key, size_t size)
{
    uint32_t sequence, branch;
    uint64_t order;

    if (size == sizeof(order)) {
        memcpy(&order, key, sizeof(order));
        return (unsigned)order;
    }
    memcpy(&sequence, (const uint8_t *)key + size - 8, sizeof(sequence));
    memcpy(&branch, (const uint8_t *)key + size - 4, sizeof(branch));
    return be32toh(sequence) + branch;
}

#undef HASH_FUNCTION
#define HASH_FUNCTION(key, size, value) ((value) = assent_id_hash((key), (size)))
#undef HASH_INITIAL_NUM_BUCKETS
#define HASH_INITIAL_NUM_BUCKETS 16384U
#undef HASH_INITIAL_NUM_BUCKETS_LOG2
#define HASH_INITIAL_NUM_BUCKETS_LOG2 14U

#endif
