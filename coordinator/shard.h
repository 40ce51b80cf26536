/*
 * shard.h: one event loop and what belongs to it alone: transactions, keys, the connections it was
 * given. Deliberately not here: what the process has once (server.h).
 *
 * Shard 0's loop is the process's first thread, and has what is rare as well; the others have a
 * thread each. A transaction belongs to the shard that its sequence names (modulo their number), a
 * key to the one that its hash names, and a transaction with a key is begun there. What concerns
 * another shard is sent to it by letter. Nothing of another shard is touched but while all are held
 * (hold.h), and the counts that say so.
 *
 * Life: open -> start (the log is open) -> its thread runs until the server stops -> stop -> close.
 */
#ifndef ASSENT_COORDINATOR_SHARD_H
#define ASSENT_COORDINATOR_SHARD_H

#include <pthread.h>

#include "codec.h"
#include "keys.h"
#include "mailbox.h"
#include "metrics.h"
#include "numbers.h"
#include "operate.h"
#include "relays.h"
#include "sent_points.h"
#include "session.h"
#include "transactions.h"

struct server;

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
    pthread_t thread; /* not of shard 0 */
    bool has_thread;

    struct mailbox inbox;
    struct letter_bag *out[SHARDS_MAX]; /* written in this turn of the loop, by shard */
    struct event *wake_event, *flush_event;
    bool flush_due;

    uint64_t sequence; /* of the next gtrid, if this is the only shard */
    struct transactions transactions;
    struct keys keys;
    struct relays relays;
    struct sessions sessions;
    uint32_t session_count;
    uint64_t rng;            /* seeds the machines' jitter */
    uint64_t unacknowledged; /* outcomes that are mixed or a hazard, and nobody has seen to */
    struct assent_sent_points *sent_points;
    struct rewrites rewrites;
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
/* The log is open: hears of its writes, and runs unless it is shard 0. */
ASSENT_CHECKED bool shard_start(struct shard *shard);
/* The server is stopping: waits for its thread. */
void shard_join(struct shard *shard);
/* Its sessions are closed: listens to the log no more; then the log can be closed. */
void shard_stop(struct shard *shard);
/* Also one that was never opened. */
void shard_close(struct shard *shard);

/* Between two events: waits if another thread is to hold all shards. */
void shard_park_if_wanted(struct shard *shard);
/* Sends a letter at the end of this turn of the loop. */
void shard_post(struct shard *shard, unsigned to, const struct letter *letter, const void *bytes);
/* Hands over what was written in this turn, and after it says what has ended. */
void shard_flush(struct shard *shard);
/* Deals with all letters that have come in; false: there are none. */
bool shard_deliver(struct shard *shard);

/* The sequence of a new transaction, and whether one was given or left out. */
uint64_t shard_take_sequence(struct shard *shard);
bool shard_has_given(const struct shard *shard, uint64_t sequence);
/* A transaction has left the table. */
void shard_note_ended(struct shard *shard);

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
