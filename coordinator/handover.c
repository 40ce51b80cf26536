/* handover.c: see handover.h. */
#include "handover.h"

#include "driver.h"
#include "server.h"

#define STEP_TRANSACTIONS 512
#define FULL_MS           5     /* to the next look while output or log are behind */
#define QUEUED_MAX        65536 /* writes: each transaction that ends adds one */

static bool is_behind(const struct session *session)
{
    const struct server *server = session->shard->server;
    struct assent_store_stats stats;

    assent_store_stats(server->store, &stats);
    /* At half of the output messages are dropped, see driver_send(). */
    return stats.queued > QUEUED_MAX ||
           session_output_bytes(session) > server->options.output_bytes_max / 4;
}

static void schedule(struct session *session, suseconds_t ms)
{
    if (evtimer_add(&session->handover.timer, &(struct timeval){.tv_usec = ms * 1000}) != 0)
        assent_panic(ASSENT_EXIT_RUNTIME, "no_memory", "what=timer");
}

static void step(struct session *session)
{
    for (unsigned i = 0; i < STEP_TRANSACTIONS; i++) {
        struct transaction *t;

        if (is_behind(session)) {
            schedule(session, FULL_MS);
            return;
        }
        t = transactions_walk_next(&session->handover.walk);
        if (t == NULL || t->order > session->handover.last) {
            handover_stop(session);
            return;
        }
        driver_peer_up(session->shard, t, session);
    }
    schedule(session, 0);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    step(context);
}

void handover_start(struct session *session)
{
    struct shard *shard = session->shard;

    evtimer_assign(&session->handover.timer, shard->base, on_timer, session);
    transactions_walk_start(&shard->transactions, &session->handover.walk);
    session->handover.last = shard->transactions.highest;
    session->handover.running = true;
    /* That of a face is for its own loop. */
    if (session == session->home)
        step(session);
    else
        schedule(session, 0);
}

void handover_stop(struct session *session)
{
    if (!session->handover.running)
        return;
    session->handover.running = false;
    evtimer_del(&session->handover.timer);
    transactions_walk_stop(&session->handover.walk);
}
