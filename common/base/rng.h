/*
 * rng.h: a small seeded generator (splitmix64) for jitter and for the simulator. Not for secrets.
 */
#ifndef ASSENT_BASE_RNG_H
#define ASSENT_BASE_RNG_H

#include <stdint.h>

/* The next number; *state is the whole generator and any value seeds it. */
uint64_t assent_rng_next(uint64_t *state);
/* Evenly from [0, bound); bound > 0 and far below 2^64, so the bias is negligible. */
uint64_t assent_rng_below(uint64_t *state, uint64_t bound);
/* An attempt whose delay is the longest. */
#define ASSENT_BACKOFF_LONGEST 20
/* Delay before attempt n (from 0): doubles from min_ms to max_ms, then half of it is random. */
uint32_t assent_backoff_ms(uint64_t *state, uint32_t attempt, uint32_t min_ms, uint32_t max_ms);

#endif
