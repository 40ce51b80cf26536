/* rng.c: splitmix64 (Steele, Lea, Flood 2014) and jittered back-off, see rng.h. */
#include "rng.h"

uint64_t assent_rng_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t assent_rng_below(uint64_t *state, uint64_t bound)
{
    return assent_rng_next(state) % bound;
}

uint32_t assent_backoff_ms(uint64_t *state, uint32_t attempt, uint32_t min_ms, uint32_t max_ms)
{
    uint64_t delay = (uint64_t)min_ms
                     << (attempt < ASSENT_BACKOFF_LONGEST ? attempt : ASSENT_BACKOFF_LONGEST);

    if (delay > max_ms)
        delay = max_ms;
    return (uint32_t)(delay / 2 + assent_rng_below(state, delay / 2 + 1));
}
