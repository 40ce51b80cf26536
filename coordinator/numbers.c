/* numbers.c: see numbers.h. */
#include "numbers.h"

#include "gtrid.h"
#include "runtime.h"

static uint64_t round_size(const struct numbers *numbers)
{
    return (uint64_t)numbers->shards * NUMBERS_A_ROUND;
}

static uint64_t order_of(const struct numbers *numbers, uint64_t sequence)
{
    return (uint64_t)numbers->incarnation << 40 | sequence;
}

void numbers_init(struct numbers *numbers, unsigned shards, uint32_t incarnation)
{
    ASSENT_ASSERT(shards > 0 && shards <= SHARDS_MAX);
    numbers->shards = shards;
    numbers->incarnation = incarnation;
    atomic_init(&numbers->round, 0);
    for (unsigned i = 0; i < shards; i++) {
        atomic_init(&numbers->of[i].low, NUMBERS_NONE);
        atomic_init(&numbers->of[i].next, i == 0 ? shards : i); /* 0 is no sequence */
    }
}

static uint64_t first_of_round(const struct numbers *numbers)
{
    return atomic_load(&numbers->round) * round_size(numbers);
}

/* To at least this round. */
static void raise_round(struct numbers *numbers, uint64_t to)
{
    uint64_t round = atomic_load(&numbers->round);

    while (round < to && !atomic_compare_exchange_weak(&numbers->round, &round, to))
        ;
}

uint64_t numbers_take(struct numbers *numbers, unsigned shard)
{
    struct shard_numbers *own = &numbers->of[shard];
    uint64_t next = atomic_load_explicit(&own->next, memory_order_relaxed);
    bool idle = atomic_load_explicit(&own->low, memory_order_relaxed) == NUMBERS_NONE;
    uint64_t first = first_of_round(numbers);

    next = first > next ? first + shard : next;
    if (idle) {
        atomic_store(&own->low, order_of(numbers, next));
        first = first_of_round(numbers);
        next = first > next ? first + shard : next;
        atomic_store(&own->low, order_of(numbers, next));
    }
    if (next >= first + round_size(numbers))
        raise_round(numbers, next / round_size(numbers));
    ASSENT_ASSERT(next <= ASSENT_SEQUENCE_MAX);
    atomic_store_explicit(&own->next, next + numbers->shards, memory_order_relaxed);
    return next;
}

void numbers_set_low(struct numbers *numbers, unsigned shard, uint64_t order)
{
    struct shard_numbers *own = &numbers->of[shard];

    if (order != atomic_load_explicit(&own->low, memory_order_relaxed))
        atomic_store(&own->low, order);
}

bool numbers_given(const struct numbers *numbers, unsigned shard, uint64_t sequence)
{
    return sequence < atomic_load_explicit(&numbers->of[shard].next, memory_order_relaxed);
}

uint64_t numbers_ended_below(const struct numbers *numbers)
{
    uint64_t below = order_of(numbers, first_of_round(numbers));

    for (unsigned i = 0; i < numbers->shards; i++) {
        uint64_t low = atomic_load(&numbers->of[i].low);

        below = low < below ? low : below;
    }
    return below;
}

void numbers_close_round(struct numbers *numbers)
{
    uint64_t round = atomic_load(&numbers->round);
    uint64_t first = round * round_size(numbers);

    for (unsigned i = 0; i < numbers->shards; i++) {
        uint64_t next = atomic_load_explicit(&numbers->of[i].next, memory_order_relaxed);

        if (next >= first + numbers->shards + i) {
            raise_round(numbers, round + 1);
            return;
        }
    }
}
