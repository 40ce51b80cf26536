/*
 * numbers.h: the sequences of new gtrids, which several shards give at the same time without a
 * lock, and up to where all transactions have ended. Deliberately not here: a coordinator with one
 * shard, which counts (shard.c).
 *
 * Shard k of n gives sequences that are k modulo n, so a gtrid says whose it is. They are cut into
 * rounds of n * NUMBERS_A_ROUND; `round` is the highest that anybody has begun. A shard that needs
 * a number goes on in its round, but never stays below `round`: so all shards rise together, and
 * one that was idle leaves out what it did not need.
 *
 * What numbers_ended_below() returns is never above a transaction that is live or will begin:
 *   - A shard publishes `low`, a lower bound of what it has and of what it may yet begin without
 *     asking `round` again; NUMBERS_NONE if it has nothing.
 *   - With NUMBERS_NONE published, it takes a number in this order: publishes a low that is at most
 *     that number, reads `round`, takes a number not below that round's first.
 *   - The reader reads `round` first, then each low, and returns the least of the round's first
 *     number and the lows.
 * If the reader saw the shard's low, the number is not below it. If it did not, its read of that
 * low comes before the shard's write in the one order of these operations (all are sequentially
 * consistent), hence its read of `round` before the shard's; `round` only rises, and the number is
 * not below the round that the shard read.
 */
#ifndef ASSENT_COORDINATOR_NUMBERS_H
#define ASSENT_COORDINATOR_NUMBERS_H

#include <stdatomic.h>

#include "assent/types.h"

#define SHARDS_MAX      16
#define NUMBERS_A_ROUND 16 /* of each shard */
#define NUMBERS_NONE    UINT64_MAX

/* Written by one shard. */
struct shard_numbers {
    _Atomic uint64_t low;  /* an order: incarnation and sequence */
    _Atomic uint64_t next; /* sequence: it has given none at or above it */
    uint8_t apart[112];    /* from the others' in the processors' caches */
};

struct numbers {
    unsigned shards;
    uint32_t incarnation;
    uint8_t apart[120];
    _Atomic uint64_t round;
    uint8_t apart_too[120];
    struct shard_numbers of[SHARDS_MAX];
};

/* Nothing is live. */
void numbers_init(struct numbers *numbers, unsigned shards, uint32_t incarnation);

/* By the shard: the next sequence, whose transaction is live from now on. */
uint64_t numbers_take(struct numbers *numbers, unsigned shard);
/* By the shard: the lowest order that it has (NUMBERS_NONE: it has nothing). Whatever it sent about
 * those below has been handed over. */
void numbers_set_low(struct numbers *numbers, unsigned shard, uint64_t order);
/* Whether the shard may have given this sequence: those that it left out are not told apart. */
bool numbers_given(const struct numbers *numbers, unsigned shard, uint64_t sequence);

/* Any thread. All transactions of the shards with a lower order have ended. It may lag by the
 * numbers of one round, until that is closed. */
uint64_t numbers_ended_below(const struct numbers *numbers);
/* Any thread. The next number is of a new round, if any has been given in this one or it is the
 * first. Not for every transaction: it leaves numbers out, and there are 2^40. */
void numbers_close_round(struct numbers *numbers);

#endif
