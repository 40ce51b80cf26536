/*
 * shard.h: one event loop and what belongs to it alone: transactions, keys, the connections it was
 * given. Deliberately not here: what the process has once (server.h).
 */
#ifndef ASSENT_COORDINATOR_SHARD_H
#define ASSENT_COORDINATOR_SHARD_H

#include "codec.h"
#include "keys.h"
#include "metrics.h"
#include "relays.h"
#include "sent_points.h"
#include "session.h"
#include "transactions.h"

struct server;

#define SHARDS_MAX 16

/* The transactions that ended last, for listings. */
#define RECENT_MAX 1024
struct ended {
    struct assent_gtrid gtrid;
    uint64_t at_ms; /* on the monotonic clock; 0: before this start */
};
struct recent {
    struct ended last[RECENT_MAX];
    uint64_t count; /* ever; the last RECENT_MAX are kept */
};

struct shard {
    struct server *server;
    unsigned index;
    struct event_base *base;
    struct event *store_event;
    uint64_t sequence; /* of the next gtrid */
    struct transactions transactions;
    struct keys keys;
    struct relays relays;
    struct sessions sessions;
    uint32_t session_count;
    uint64_t rng;            /* seeds the machines' jitter */
    uint64_t unacknowledged; /* outcomes that are mixed or a hazard, and nobody has seen to */
    struct assent_sent_points *sent_points;
    struct recent recent;
    struct metrics metrics;

    /* Reused from message to message. */
    struct assent_arena *arena;
    struct assent_wire wire;
    uint8_t *frame;
    size_t frame_capacity;
    struct assent_coord_actions actions;
    uint32_t enlisted; /* what the last ENLIST was answered */
    int enlist_error;
};

/* The loop and its tables, before the log is open. False: no memory, or no descriptors. */
ASSENT_CHECKED bool shard_open(struct shard *shard, struct server *server, unsigned index);
/* The log is open: hears of its writes. */
ASSENT_CHECKED bool shard_start(struct shard *shard);
/* Ends what is under way and listens to the log no more; then the log can be closed. */
void shard_stop(struct shard *shard);
/* Also one that was never opened. */
void shard_close(struct shard *shard);

/* Whether nothing is queued on any of its connections (context: the shard). */
bool shard_output_is_out(void *context);
/* A crash point is passed once all that is queued now has left. */
static inline void sent_points_after(struct shard *shard, enum assent_crash_point point)
{
    assent_sent_points_after(shard->sent_points, point);
}
void recent_add(struct recent *recent, const struct assent_gtrid *gtrid, uint64_t at_ms);
/* The one with this number, from 1 to recent->count; NULL: there is none, or it is kept no more. */
const struct ended *recent_get(const struct recent *recent, uint64_t number);

#endif
