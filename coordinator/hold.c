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
    hold->taken = false;
    hold->running = hold->parked = 0;
}

void hold_fini(struct hold *hold)
{
    pthread_cond_destroy(&hold->released);
    pthread_cond_destroy(&hold->parked_changed);
    pthread_mutex_destroy(&hold->mutex);
}

/* Under the mutex. Who wakes up too late for a release is parked for the next holder. */
static void wait_until_released(struct hold *hold)
{
    while (hold->taken) {
        hold->parked++;
        check(pthread_cond_signal(&hold->parked_changed));
        check(pthread_cond_wait(&hold->released, &hold->mutex));
        hold->parked--;
    }
}

void hold_join(struct hold *hold)
{
    check(pthread_mutex_lock(&hold->mutex));
    ASSENT_ASSERT(!hold->taken);
    hold->running++;
    check(pthread_mutex_unlock(&hold->mutex));
}

void hold_leave(struct hold *hold)
{
    check(pthread_mutex_lock(&hold->mutex));
    wait_until_released(hold);
    hold->running--;
    check(pthread_mutex_unlock(&hold->mutex));
}

void hold_take(struct hold *hold, void (*wake)(void *context), void *context)
{
    ASSENT_ASSERT(!mine);
    check(pthread_mutex_lock(&hold->mutex));
    wait_until_released(hold);
    hold->taken = true;
    atomic_store(&hold->wanted, true);
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
    hold->taken = false;
    atomic_store(&hold->wanted, false);
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
    wait_until_released(hold);
    check(pthread_mutex_unlock(&hold->mutex));
}
