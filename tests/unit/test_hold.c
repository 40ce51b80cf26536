/* test_hold.c: who holds is alone, whoever else wants to; all get their turn, those that only work
 * as well; and nobody waits for those who have left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "hold.h"
#include "runtime.h"

#define THREADS     4
#define ROUNDS      2000
#define DEADLINE_MS 30000

/* Each thread works on its own piece without a lock, and now and then on everybody's while it
 * holds. */
struct piece {
    struct all *all;
    unsigned index;
    uint64_t own, copy; /* equal but while it is at work */
};

struct all {
    struct hold hold;
    struct piece pieces[THREADS];
    uint64_t everybodys; /* changed by who holds */
    unsigned held;
    bool torn;
};

static void wake(void *context)
{
    (void)context; /* the threads look at hold_wanted() all the time */
}

static void work(struct piece *piece)
{
    piece->own++;
    for (unsigned i = 0; i < 20; i++)
        sched_yield();
    piece->copy++;
}

static void look_at_all(struct all *all)
{
    hold_take(&all->hold, wake, NULL);
    for (unsigned i = 0; i < THREADS; i++)
        all->torn |= all->pieces[i].own != all->pieces[i].copy;
    all->everybodys++;
    all->held++;
    for (unsigned i = 0; i < THREADS; i++) {
        all->pieces[i].own++;
        all->pieces[i].copy++;
    }
    all->torn |= all->held != 1 || !hold_is_mine();
    all->held--;
    hold_release(&all->hold);
}

static void *run(void *context)
{
    struct piece *piece = context;

    for (unsigned i = 0; i < ROUNDS; i++) {
        if (hold_wanted(&piece->all->hold))
            hold_park(&piece->all->hold);
        work(piece);
        if (i % 20 == piece->index)
            look_at_all(piece->all);
    }
    hold_leave(&piece->all->hold);
    return NULL;
}

static void who_holds_is_alone(void **state)
{
    struct all all = {0};
    pthread_t threads[THREADS];

    (void)state;
    hold_init(&all.hold);
    for (unsigned i = 0; i < THREADS; i++) {
        all.pieces[i] = (struct piece){.all = &all, .index = i};
        hold_join(&all.hold);
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, &all.pieces[i]), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_false(all.torn);
    assert_int_equal(all.everybodys, THREADS * ROUNDS / 20);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(all.pieces[i].own, ROUNDS + THREADS * ROUNDS / 20);
    assert_false(hold_wanted(&all.hold));
    hold_fini(&all.hold);
}

static void alone_it_waits_for_nobody(void **state)
{
    struct hold hold;

    (void)state;
    hold_init(&hold);
    hold_join(&hold);
    hold_join(&hold);
    hold_leave(&hold);
    hold_take(&hold, wake, NULL);
    assert_true(hold_is_mine());
    assert_true(hold_wanted(&hold));
    hold_release(&hold);
    assert_false(hold_is_mine());
    hold_fini(&hold);
}

struct worker {
    struct hold *hold;
    const atomic_bool *over;
    uint64_t looks; /* how often it has found that it may go on */
};

static void *look_until_over(void *context)
{
    struct worker *worker = context;

    while (!atomic_load(worker->over)) {
        if (hold_wanted(worker->hold))
            hold_park(worker->hold);
        worker->looks++;
    }
    hold_leave(worker->hold);
    return NULL;
}

static void between_two_holds_of_one_thread_each_other_goes_on(void **state)
{
    struct worker workers[THREADS];
    uint64_t seen[THREADS] = {0};
    pthread_t threads[THREADS];
    atomic_bool over = false;
    unsigned stood_still = 0;
    struct hold hold;

    (void)state;
    hold_init(&hold);
    hold_join(&hold);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.hold = &hold, .over = &over};
        hold_join(&hold);
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look_until_over, &workers[i]), 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        hold_take(&hold, wake, NULL);
        for (unsigned i = 0; i < THREADS; i++) {
            stood_still += round > 0 && workers[i].looks == seen[i];
            seen[i] = workers[i].looks;
        }
        hold_release(&hold);
    }
    atomic_store(&over, true);
    hold_leave(&hold);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(stood_still, 0);
    hold_fini(&hold);
}

struct holder {
    struct hold *hold;
    unsigned *held; /* how many turns there were */
    unsigned first, second;
};

static void *hold_twice(void *context)
{
    struct holder *holder = context;

    hold_take(holder->hold, wake, NULL);
    holder->first = (*holder->held)++;
    hold_release(holder->hold);
    /* At once again, before any of the others can have woken up. */
    hold_take(holder->hold, wake, NULL);
    holder->second = (*holder->held)++;
    hold_release(holder->hold);
    hold_leave(holder->hold);
    return NULL;
}

static void wait_for_tickets(struct hold *hold, uint64_t tickets)
{
    uint64_t end_ms = assent_now_ms() + DEADLINE_MS, drawn;

    do {
        assert_true(assent_now_ms() < end_ms);
        sched_yield();
        pthread_mutex_lock(&hold->mutex);
        drawn = hold->tickets;
        pthread_mutex_unlock(&hold->mutex);
    } while (drawn < tickets);
}

static void turns_come_in_the_order_in_which_they_were_asked_for(void **state)
{
    struct holder holders[THREADS];
    pthread_t threads[THREADS];
    unsigned held = 0;
    struct hold hold;

    (void)state;
    hold_init(&hold);
    for (unsigned i = 0; i < 1 + THREADS; i++)
        hold_join(&hold);
    /* The first turn begins when the last of them, this one, is parked. */
    for (unsigned i = 0; i < THREADS; i++) {
        holders[i] = (struct holder){.hold = &hold, .held = &held};
        assert_int_equal(pthread_create(&threads[i], NULL, hold_twice, &holders[i]), 0);
        wait_for_tickets(&hold, 1 + i);
    }
    hold_take(&hold, wake, NULL);
    assert_int_equal(held++, THREADS);
    hold_release(&hold);
    hold_leave(&hold);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(holders[i].first, i);
        assert_int_equal(holders[i].second, 1 + THREADS + i);
    }
    hold_fini(&hold);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_holds_is_alone),
        cmocka_unit_test(between_two_holds_of_one_thread_each_other_goes_on),
        cmocka_unit_test(turns_come_in_the_order_in_which_they_were_asked_for),
        cmocka_unit_test(alone_it_waits_for_nobody),
    };

    return cmocka_run_group_tests_name("hold", tests, NULL, NULL);
}
