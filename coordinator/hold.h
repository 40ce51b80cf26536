/*
 * hold.h: one thread has all event loops to itself. Everything that is rare and wide (participants
 * that come and go, views, orders of people, retention, stopping) is done while the loops are held,
 * so none of it needs a lock and nothing on the path of a transaction takes one. Deliberately not
 * here: what is touched then (server.h).
 *
 * A thread parks only where it is between two events: there it asks hold_wanted(). One that waits
 * for its own turn to hold is parked as well. Who wants to hold draws a ticket, and turns are taken
 * in that order; all that were parked in one turn go on in between, until they ask again: however
 * often one thread holds, the others get something done.
 */
#ifndef ASSENT_COORDINATOR_HOLD_H
#define ASSENT_COORDINATOR_HOLD_H

#include <pthread.h>
#include <stdatomic.h>

#include "assent/types.h"

struct hold {
    atomic_bool wanted; /* somebody holds, or waits for it */

    pthread_mutex_t mutex; /* for all below */
    pthread_cond_t parked_changed, released;
    uint64_t turn;    /* ticket of who holds, or is next to hold */
    uint64_t tickets; /* drawn; equal to turn: nobody holds or wants to */
    unsigned running; /* threads that have to park */
    unsigned parked;  /* in this turn */
};

void hold_init(struct hold *hold);
void hold_fini(struct hold *hold);

/* One more thread has to park from now on: while nobody holds. */
void hold_join(struct hold *hold);
/* It is over with that for this thread, which touches nothing that is held any more. */
void hold_leave(struct hold *hold);

/* Returns when all others that have joined are parked; `wake` makes them look at hold_wanted(). */
void hold_take(struct hold *hold, void (*wake)(void *context), void *context);
void hold_release(struct hold *hold);
/* Whether the calling thread holds. */
bool hold_is_mine(void);

static inline bool hold_wanted(const struct hold *hold)
{
    return atomic_load_explicit(&hold->wanted, memory_order_relaxed);
}
/* If somebody holds or waits for it: waits until that one has released. */
void hold_park(struct hold *hold);

#endif
