/* test_numbers.c: sequences that several shards give at once, and what has ended below them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "numbers.h"

#define SHARDS      4
#define INCARNATION 3
#define STEPS       200000

static uint64_t order(uint64_t sequence)
{
    return (uint64_t)INCARNATION << 40 | sequence;
}

static void set_up(struct numbers *numbers)
{
    memset(numbers, 0, sizeof(*numbers));
    numbers_init(numbers, SHARDS, INCARNATION);
}

static void a_sequence_says_whose_it_is_and_rises(void **state)
{
    struct numbers numbers;
    uint64_t last[SHARDS] = {0};

    (void)state;
    set_up(&numbers);
    for (unsigned i = 0; i < 1000; i++) {
        unsigned shard = i * i % SHARDS;
        uint64_t sequence = numbers_take(&numbers, shard);

        assert_int_equal(sequence % SHARDS, shard);
        assert_true(sequence > last[shard]);
        assert_true(numbers_given(&numbers, shard, sequence));
        assert_false(numbers_given(&numbers, shard, sequence + SHARDS));
        last[shard] = sequence;
    }
}

static void a_shard_that_was_idle_catches_up(void **state)
{
    struct numbers numbers;
    uint64_t busy = 0, idle;

    (void)state;
    set_up(&numbers);
    for (unsigned i = 0; i < 10000; i++)
        busy = numbers_take(&numbers, 1);
    idle = numbers_take(&numbers, 2);
    assert_true(idle + SHARDS * NUMBERS_A_ROUND > busy);
    assert_true(idle < busy + SHARDS * NUMBERS_A_ROUND);
}

static void what_is_live_is_never_below(void **state)
{
    struct numbers numbers;
    uint64_t first, second;

    (void)state;
    set_up(&numbers);
    first = numbers_take(&numbers, 3);
    for (unsigned i = 0; i < 10000; i++)
        second = numbers_take(&numbers, 1);
    numbers_set_low(&numbers, 1, order(second));
    assert_int_equal(numbers_ended_below(&numbers), order(first));
    numbers_set_low(&numbers, 3, NUMBERS_NONE);
    assert_true(numbers_ended_below(&numbers) > order(first));
    assert_true(numbers_ended_below(&numbers) <= order(second));
}

static void when_all_have_ended_the_closed_round_says_so(void **state)
{
    struct numbers numbers;
    uint64_t below;

    (void)state;
    set_up(&numbers);
    for (unsigned shard = 0; shard < SHARDS; shard++) {
        uint64_t last = numbers_take(&numbers, shard);

        numbers_close_round(&numbers);
        assert_int_equal(numbers_ended_below(&numbers), order(last));
        numbers_set_low(&numbers, shard, NUMBERS_NONE);
        below = numbers_ended_below(&numbers);
        assert_true(below > order(last));
        /* Nothing more was given: no number is left out for it. */
        numbers_close_round(&numbers);
        numbers_close_round(&numbers);
        assert_int_equal(numbers_ended_below(&numbers), below);
    }
}

static void recovered_ones_of_earlier_lives_count(void **state)
{
    struct numbers numbers;

    (void)state;
    set_up(&numbers);
    numbers_set_low(&numbers, 2, (uint64_t)1 << 40 | 77);
    (void)numbers_take(&numbers, 2);
    assert_int_equal(numbers_ended_below(&numbers), (uint64_t)1 << 40 | 77);
}

struct race {
    struct numbers numbers;
    _Atomic uint64_t told; /* the highest that was ever answered */
    atomic_bool wrong;
    atomic_uint running;
};

struct runner {
    struct race *race;
    unsigned shard;
};

/* Begins transactions, one or a few at a time, and looks when each ends: nobody may have been told
 * that it had. In between it has nothing. */
static void *begin_and_end(void *context)
{
    struct runner *runner = context;
    struct race *race = runner->race;
    uint32_t seed = runner->shard + 1;

    for (unsigned i = 0; i < STEPS; i++) {
        uint64_t live[4];
        unsigned count;

        seed = seed * 1664525u + 1013904223u;
        count = 1 + (seed >> 30);
        for (unsigned k = 0; k < count; k++)
            live[k] = order(numbers_take(&race->numbers, runner->shard));
        for (unsigned k = 0; k < count; k++) {
            if (atomic_load(&race->told) > live[k])
                atomic_store(&race->wrong, true);
            numbers_set_low(&race->numbers, runner->shard,
                            k + 1 == count ? NUMBERS_NONE : live[k + 1]);
        }
        if ((seed >> 20) % 64 == 0)
            sched_yield();
    }
    atomic_fetch_sub(&race->running, 1);
    return NULL;
}

static void tell(struct race *race)
{
    uint64_t below, told = atomic_load(&race->told);

    numbers_close_round(&race->numbers);
    below = numbers_ended_below(&race->numbers);
    while (told < below && !atomic_compare_exchange_weak(&race->told, &told, below))
        ;
}

static void nobody_is_told_too_early_whatever_happens_at_once(void **state)
{
    struct race race = {0};
    struct runner runners[SHARDS];
    pthread_t threads[SHARDS];

    (void)state;
    set_up(&race.numbers);
    atomic_store(&race.running, SHARDS);
    for (unsigned i = 0; i < SHARDS; i++) {
        runners[i] = (struct runner){&race, i};
        assert_int_equal(pthread_create(&threads[i], NULL, begin_and_end, &runners[i]), 0);
    }
    while (atomic_load(&race.running) > 0)
        tell(&race);
    for (unsigned i = 0; i < SHARDS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_false(atomic_load(&race.wrong));
    assert_true(atomic_load(&race.told) > order(STEPS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sequence_says_whose_it_is_and_rises),
        cmocka_unit_test(a_shard_that_was_idle_catches_up),
        cmocka_unit_test(what_is_live_is_never_below),
        cmocka_unit_test(when_all_have_ended_the_closed_round_says_so),
        cmocka_unit_test(recovered_ones_of_earlier_lives_count),
        cmocka_unit_test(nobody_is_told_too_early_whatever_happens_at_once),
    };

    return cmocka_run_group_tests_name("numbers", tests, NULL, NULL);
}
