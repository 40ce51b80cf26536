/* test_hold.c: who holds is alone, whoever else wants to; and nobody waits for those who have left.
 * */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "hold.h"

#define THREADS 4
#define ROUNDS  2000

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_holds_is_alone),
        cmocka_unit_test(alone_it_waits_for_nobody),
    };

    return cmocka_run_group_tests_name("hold", tests, NULL, NULL);
}
