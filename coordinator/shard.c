/* shard.c: from opening a loop to closing it. */
#include "shard.h"

#include <stdlib.h>

#include "driver.h"
#include "server.h"

void recent_add(struct recent *recent, const struct assent_gtrid *gtrid, uint64_t at_ms)
{
    recent->last[recent->count++ % RECENT_MAX] = (struct ended){*gtrid, at_ms};
}

const struct ended *recent_get(const struct recent *recent, uint64_t number)
{
    if (number == 0 || recent->count - number >= RECENT_MAX)
        return NULL;
    return &recent->last[(number - 1) % RECENT_MAX];
}

bool shard_output_is_out(void *context)
{
    const struct shard *shard = context;
    const struct session *session;

    TAILQ_FOREACH (session, &shard->sessions, link)
        if (assent_conn_output_bytes(session->conn) > 0)
            return false;
    return true;
}

bool shard_open(struct shard *shard, struct server *server, unsigned index)
{
    size_t arena_bytes = (size_t)server->options.frame_bytes_max + ASSENT_ARENA_EXTRA;

    shard->server = server;
    shard->index = index;
    shard->sequence = 1;
    TAILQ_INIT(&shard->sessions);
    assent_random_bytes(&shard->rng, sizeof(shard->rng));
    shard->base = event_base_new();
    if (shard->base == NULL || assent_arena_new(arena_bytes, &shard->arena) != 0)
        return false;
    transactions_init(&shard->transactions, shard->base, driver_due, shard);
    return assent_sent_points_new(shard->base, shard_output_is_out, shard, &shard->sent_points) ==
           0;
}

static void on_store(evutil_socket_t fd, short what, void *context)
{
    struct shard *shard = context;

    (void)fd;
    (void)what;
    assent_store_process(shard->server->store, shard->index, driver_durable, shard);
}

bool shard_start(struct shard *shard)
{
    shard->store_event = event_new(shard->base, assent_store_fd(shard->server->store, shard->index),
                                   EV_READ | EV_PERSIST, on_store, shard);
    return shard->store_event != NULL && event_add(shard->store_event, NULL) == 0;
}

void shard_stop(struct shard *shard)
{
    if (shard->base == NULL)
        return;
    assent_sent_points_free(shard->sent_points);
    session_close_all(shard);
    relays_fini(shard);
    if (shard->store_event != NULL)
        event_free(shard->store_event);
}

void shard_close(struct shard *shard)
{
    if (shard->base == NULL)
        return;
    transactions_fini(&shard->transactions);
    keys_fini(&shard->keys);
    assent_arena_free(shard->arena);
    free(shard->frame);
    event_base_free(shard->base);
}
