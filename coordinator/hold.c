/* hold.c: see hold.h. Rare, so a mutex and two conditions. */
#include "hold.h"

#include "runtime.h"

static _Thread_local bool mine;

static void check(int error)
{
    ASSENT_ASSERT(error == 0);
}

void hold_init(struct hold *hold)
{
    atomic_init(&hold->wanted, false);
    check(pthread_mutex_init(&hold->mutex, NULL));
    check(pthread_cond_init(&hold->parked_changed, NULL));
    check(pthread_cond_init(&hold->released, NULL));
    hold->turn = hold->tickets = 0;
    hold->running = hold->parked = 0;
}

void hold_fini(struct hold *hold)
{
    pthread_cond_destroy(&hold->released);
    pthread_cond_destroy(&hold->parked_changed);
    pthread_mutex_destroy(&hold->mutex);
}

/* Under the mutex, while somebody has a ticket: until the end of this turn. However late it wakes
 * up, the next holder waits until it has parked again. */
static void park(struct hold *hold)
{
    uint64_t turn = hold->turn;

    hold->parked++;
    check(pthread_cond_signal(&hold->parked_changed));
    while (hold->turn == turn)
        check(pthread_cond_wait(&hold->released, &hold->mutex));
}

void hold_join(struct hold *hold)
{
    check(pthread_mutex_lock(&hold->mutex));
    ASSENT_ASSERT(hold->turn == hold->tickets);
    hold->running++;
    check(pthread_mutex_unlock(&hold->mutex));
}

void hold_leave(struct hold *hold)
{
    check(pthread_mutex_lock(&hold->mutex));
    hold->running--;
    /* Somebody may wait for it, and for no other. */
    check(pthread_cond_signal(&hold->parked_changed));
    check(pthread_mutex_unlock(&hold->mutex));
}

void hold_take(struct hold *hold, void (*wake)(void *context), void *context)
{
    uint64_t ticket;

    ASSENT_ASSERT(!mine);
    check(pthread_mutex_lock(&hold->mutex));
    ticket = hold->tickets++;
    atomic_store(&hold->wanted, true);
    while (hold->turn != ticket)
        park(hold);
    if (hold->parked < hold->running - 1)
        wake(context);
    while (hold->parked < hold->running - 1)
        check(pthread_cond_wait(&hold->parked_changed, &hold->mutex));
    check(pthread_mutex_unlock(&hold->mutex));
    mine = true;
}

void hold_release(struct hold *hold)
{
    ASSENT_ASSERT(mine);
    mine = false;
    check(pthread_mutex_lock(&hold->mutex));
    hold->turn++;
    hold->parked = 0;
    atomic_store(&hold->wanted, hold->turn != hold->tickets);
    check(pthread_cond_broadcast(&hold->released));
    check(pthread_mutex_unlock(&hold->mutex));
}

bool hold_is_mine(void)
{
    return mine;
}

void hold_park(struct hold *hold)
{
    check(pthread_mutex_lock(&hold->mutex));
    if (hold->turn != hold->tickets)
        park(hold);
    check(pthread_mutex_unlock(&hold->mutex));
}
