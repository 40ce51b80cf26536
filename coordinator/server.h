/*
 * server.h: the process: its parts, its loop, its life. Deliberately not here: what the parts do.
 *
 * Life: open (admin listener, log) -> READING (the log, in steps from the loop; /readyz is 503) ->
 * SERVING -> DRAINING (SIGTERM: nothing new, running ones finish) -> stopped.
 */
#ifndef ASSENT_COORDINATOR_SERVER_H
#define ASSENT_COORDINATOR_SERVER_H

#include "census.h"
#include "keys.h"
#include "metrics.h"
#include "net.h"
#include "operate.h"
#include "options.h"
#include "participants.h"
#include "reasons.h"
#include "recovery.h"
#include "relays.h"
#include "retention.h"
#include "sent_points.h"
#include "session.h"
#include "store.h"
#include "transactions.h"

struct evhttp;

#define RETRY_AFTER_MS 500 /* hint in refusals that shed load */

/* token2 of a completion: a record's kind (token: the transaction's order), or this (token: the
 * participant's number). */
#define TOKEN_PARTICIPANT 16
#define TOKEN_OPERATION   17 /* token: the operation's id */

enum server_state { SERVER_READING, SERVER_SERVING, SERVER_DRAINING };

/* Gtrids of the transactions that ended last, for listings. */
#define RECENT_MAX 1024
struct recent {
    struct assent_gtrid gtrids[RECENT_MAX];
    uint64_t count; /* ever; the last RECENT_MAX are kept */
};

struct server {
    struct options options;
    int argc; /* for a reload */
    char **argv;
    enum server_state state;
    int exit_status;
    bool flushing;         /* the drain is over, answers are on their way out */
    uint64_t stage_end_ms; /* of draining, then of flushing */
    struct event_base *base;
    struct event *store_event, *signals[3], *stop_timer;
    struct assent_store *store;
    struct assent_listener *listener;
    struct evhttp *admin;
    char admin_address[64];

    struct assent_coord_config coord;
    uint64_t sequence;       /* of the next gtrid */
    uint64_t damaged_lowest; /* lowest order of a damaged record: it may not have ended */
    uint64_t started_ms;
    struct transactions transactions;
    struct keys keys;
    struct participants participants;
    struct relays relays;
    struct sessions sessions;
    uint32_t session_count;
    struct operations operations;
    uint64_t rng;            /* seeds the machines' jitter */
    uint64_t life;           /* random: two that have the same incarnation are told apart */
    uint64_t audit_last;     /* number of the last record of a manual act */
    uint64_t told_below;     /* server_ended_below() when all participants were told */
    uint64_t unacknowledged; /* outcomes that are mixed or a hazard, and nobody has seen to */
    bool restored;           /* a participant has seen this log further on than it is */
    uint32_t accepted;       /* what was lost before this incarnation is accepted */
    struct recovery recovery;
    struct retention retention;
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

/* Serves until stopped; returns the exit status. */
int server_run(struct server *server);
/* The log has been read: listens and says so. */
void server_recovered(struct server *server);
/* A crash point is passed once all that is queued now has left. */
static inline void sent_points_after(struct server *server, enum assent_crash_point point)
{
    assent_sent_points_after(server->sent_points, point);
}
/* Ends the loop; the process exits with this status. */
void server_stop(struct server *server, int status);

/* All transactions of this log with a lower order have ended and are on record. */
uint64_t server_ended_below(const struct server *server);
void recent_add(struct recent *recent, const struct assent_gtrid *gtrid);

#endif
