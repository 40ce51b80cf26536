/*
 * server.h: the process: its parts, its loop, its life. Deliberately not here: what the parts do,
 * and what each event loop has for itself (shard.h).
 *
 * Life: open (admin listener, log) -> READING (the log, in steps from the loop; /readyz is 503) ->
 * SERVING -> DRAINING (SIGTERM: nothing new, running ones finish) -> stopped.
 */
#ifndef ASSENT_COORDINATOR_SERVER_H
#define ASSENT_COORDINATOR_SERVER_H

#include "census.h"
#include "hold.h"
#include "net.h"
#include "operate.h"
#include "options.h"
#include "participants.h"
#include "reasons.h"
#include "recovery.h"
#include "retention.h"
#include "shard.h"
#include "store.h"

struct evhttp;

#define RETRY_AFTER_MS 500 /* hint in refusals that shed load */

/* token2 of a completion: a record's kind (token: the transaction's order), or this (token: the
 * participant's number). */
#define TOKEN_PARTICIPANT 16
#define TOKEN_OPERATION   17 /* token: the operation's id */
#define TOKEN_REWRITE     18 /* token: the rewrite of an outcome */

enum server_state { SERVER_READING, SERVER_SERVING, SERVER_DRAINING };

struct server {
    struct options options;
    int argc; /* for a reload */
    char **argv;
    enum server_state state;
    int exit_status;
    bool flushing;           /* the drain is over, answers are on their way out */
    uint64_t stage_end_ms;   /* of draining, then of flushing */
    struct event_base *base; /* shard 0's, which has everything rare */
    struct shard *shards;
    unsigned shard_count;
    struct hold hold;
    struct numbers numbers; /* if there are several shards */
    atomic_bool stopping;   /* the other threads are to end */
    unsigned accepts;       /* connections are dealt out in turn */
    struct event *signals[3], *stop_timer;
    struct assent_store *store;
    struct assent_listener *listener;
    struct evhttp *admin;
    char admin_address[64];

    struct assent_coord_config coord;
    uint64_t damaged_lowest; /* lowest order of a damaged record: it may not have ended */
    uint64_t started_ms;
    struct participants participants;
    struct operations operations;
    atomic_bool rewrites_outcomes; /* it has done so in this life */
    uint64_t life;                 /* random: two that have the same incarnation are told apart */
    uint64_t audit_last;           /* number of the last record of a manual act */
    _Atomic uint64_t told_below;   /* server_ended_below() when all participants were told */
    _Atomic uint64_t round_closed_ms; /* of the numbers, for a ping */
    bool restored;                    /* a participant has seen this log further on than it is */
    uint32_t accepted;                /* what was lost before this incarnation is accepted */
    struct recovery recovery;
    struct retention retention;
};

/* Serves until stopped; returns the exit status. */
int server_run(struct server *server);
/* The log has been read: listens and says so. */
void server_recovered(struct server *server);
/* Ends the loop; the process exits with this status. */
void server_stop(struct server *server, int status);

/*
 * The calling thread has all shards to itself until it lets them go, and nothing is under way
 * between them. For the beginning of an event, before anything is looked at: what has come for any
 * shard is dealt with first. With one shard there is nothing to do.
 */
void server_hold(struct server *server);
void server_release(struct server *server);
void server_assert_held(const struct server *server);

/* All transactions of this log with a lower order have ended and are on record. Any thread. It may
 * be a few numbers behind until the next begin; for a ping it is so for half a heartbeat only. */
uint64_t server_ended_below(const struct server *server);
uint64_t server_ended_below_for_ping(struct server *server);
/* The shard that has this transaction, or would have it. */
struct shard *server_shard_of(struct server *server, const struct assent_gtrid *gtrid);
/* The index that has this key, or would have it. */
struct keys *server_keys_of(struct server *server, const char *key);
/* Over all shards, by any of them. */
size_t server_transactions_count(const struct server *server);
size_t server_keys_count(const struct server *server);
size_t server_work_bytes(const struct server *server);
/* Over all shards, while they are held. */
uint64_t server_unacknowledged(const struct server *server);

#endif
