/*
 * id_table.h: what uthash is told where a table is indexed by transactions or branches. Included,
 * after uthash, by the one file that adds to the table and looks into it.
 *
 * A coordinator gives sequences one after the other: their last bits spread evenly over the buckets
 * and keep together what is near in time. Those of one of its n loops are n apart, and n is at most
 * 16: the last four bits are mixed with all above them, so these are even too.
 *
 * uthash lets ten share a bucket before it grows, and each of them is a miss of the cache; so a
 * table begins with room for all that are usually open. It also frees the buckets with the last
 * element, and would clear as many for the next one: they are kept.
 */
#ifndef ASSENT_RUNTIME_ID_TABLE_H
#define ASSENT_RUNTIME_ID_TABLE_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* key: the order of a gtrid (a number of 8 bytes), or what ends in the sequence of a gtrid and the
 * number of a branch, 4 bytes each. Log ids, which are random, may be hashed so as well. */
static inline unsigned assent_id_hash(const void *key, size_t size)
{
    uint32_t sequence, branch;
    uint64_t number;

    if (size == sizeof(number)) {
        memcpy(&number, key, sizeof(number));
    } else {
        memcpy(&sequence, (const uint8_t *)key + size - 8, sizeof(sequence));
        memcpy(&branch, (const uint8_t *)key + size - 4, sizeof(branch));
        number = be32toh(sequence) + branch;
    }
    return (unsigned)(number ^ number * 0x9e3779b97f4a7c15 >> 60);
}

/* The index of a table that loses its last element. */
static inline UT_hash_table *assent_id_table_keep(const UT_hash_handle *last)
{
    UT_hash_bucket *bucket = &last->tbl->buckets[last->hashv & (last->tbl->num_buckets - 1)];

    bucket->hh_head = NULL;
    bucket->count = 0;
    last->tbl->num_items = 0;
    return last->tbl;
}

/* Makes an element the first one of an index that was kept. */
static inline void assent_id_table_reuse(UT_hash_table *kept, UT_hash_handle *first,
                                         const void *key, unsigned size)
{
    unsigned hash = assent_id_hash(key, size);
    UT_hash_bucket *bucket = &kept->buckets[hash & (kept->num_buckets - 1)];

    *first = (UT_hash_handle){.tbl = kept, .key = key, .keylen = size, .hashv = hash};
    bucket->hh_head = first;
    bucket->count = 1;
    kept->tail = first;
    kept->num_items = 1;
}

static inline void assent_id_table_free(UT_hash_table *kept)
{
    if (kept != NULL)
        free(kept->buckets);
    free(kept);
}

/* Instead of HASH_ADD and HASH_DEL, with a UT_hash_table *kept beside the head: NULL in the
 * beginning, and freed in the end, when the table is empty. */
#define ASSENT_ID_ADD(head, kept, field, element)                                                  \
    do {                                                                                           \
        if ((head) == NULL && (kept) != NULL) {                                                    \
            assent_id_table_reuse(kept, &(element)->hh, &(element)->field,                         \
                                  sizeof((element)->field));                                       \
            (kept) = NULL;                                                                         \
            (head) = (element);                                                                    \
        } else {                                                                                   \
            HASH_ADD(hh, head, field, sizeof((element)->field), element);                          \
        }                                                                                          \
    } while (0)
#define ASSENT_ID_DEL(head, kept, element)                                                         \
    do {                                                                                           \
        if ((element)->hh.prev == NULL && (element)->hh.next == NULL) {                            \
            (kept) = assent_id_table_keep(&(element)->hh);                                         \
            (head) = NULL;                                                                         \
        } else {                                                                                   \
            HASH_DEL(head, element);                                                               \
        }                                                                                          \
    } while (0)

#undef HASH_FUNCTION
#define HASH_FUNCTION(key, size, value) ((value) = assent_id_hash((key), (size)))
#undef HASH_INITIAL_NUM_BUCKETS
#define HASH_INITIAL_NUM_BUCKETS 16384U
#undef HASH_INITIAL_NUM_BUCKETS_LOG2
#define HASH_INITIAL_NUM_BUCKETS_LOG2 14U

#endif
