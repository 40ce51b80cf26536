/*
 * ideal.h: the ideal loop, the yardstick of assent-bench: client, coordinator and participants as
 * processes of their own over loopback TCP that exchange the messages of a transaction, the same in
 * number and size as the real ones, and sync the same records by group commit. Deliberately without
 * all that makes a transaction: no machines, no tables, no checks, no recovery, no time-outs.
 *
 *   ideal.c              forks the processes, measures as the client
 *   ideal_plan.c         which messages and forced writes a transaction has, protocol by protocol
 *   ideal_messages.c     one message of each kind, packed again and again with another number
 *   ideal_loop.c         one turn: one write to each connection, then a read from each
 *   ideal_log.c          LMDB, and the thread that commits a batch while the next one gathers
 *   ideal_coordinator.c  ideal_participant.c  what each does with a message
 *
 * A transaction has a number, at the end of its gtrid and in the request. The number modulo the
 * transactions in flight is its place; so nobody needs to look anything up.
 */
#ifndef ASSENT_BENCH_IDEAL_H
#define ASSENT_BENCH_IDEAL_H

#include "bench.h"
#include "message.h"

#define IDEAL_ROUNDS_MAX 3
#define IDEAL_WRITES_MAX 2

enum ideal_log_name { IDEAL_LOG, IDEAL_RESOURCE, IDEAL_LOG_COUNT, IDEAL_NO_LOG = IDEAL_LOG_COUNT };

/* The coordinator asks every participant, and goes on when as many as it wants have answered. */
struct ideal_round {
    enum assent_message_kind ask, answer;
    bool forced; /* the coordinator syncs a record before it asks */
    size_t wanted;
    enum ideal_log_name writes[IDEAL_WRITES_MAX]; /* a participant syncs before it answers */
};

struct ideal_plan {
    struct ideal_round rounds[IDEAL_ROUNDS_MAX];
    size_t round_count;
    size_t reply_round; /* the reply leaves with its messages; round_count: after the last round */
};

/* 0; -1: there is no ideal for this kind of resource. */
int ideal_plan_make(const struct bench_options *options, struct ideal_plan *ret_plan);

/* --- messages --- */

struct Assent__V1__Envelope;

struct ideal_message {
    struct Assent__V1__Envelope *envelope;
    size_t bytes; /* of its frame */
};

struct ideal_messages {
    struct ideal_message request, reply;
    struct ideal_message asks[IDEAL_ROUNDS_MAX][ASSENT_BRANCHES_MAX];
    struct ideal_message answers[IDEAL_ROUNDS_MAX][ASSENT_BRANCHES_MAX];
};

/* 0, or -1 with a sentence in error. ideal_messages_free() takes the half-made, too. */
int ideal_messages_make(const struct bench_options *options, const struct ideal_plan *plan,
                        struct ideal_messages *ret_messages, char *error, size_t error_size);
void ideal_messages_free(struct ideal_messages *messages);
/* Packs a frame to `to`, which has room for IDEAL_FRAME_SLACK more bytes than the message has. */
#define IDEAL_FRAME_SLACK 32
size_t ideal_message_pack(const struct ideal_message *message, uint64_t number, uint8_t *to);
/* What arrived: its number; kind 0: a request or a reply. False: not a message. */
bool ideal_message_unpack(const uint8_t *data, size_t size, uint64_t *ret_number,
                          enum assent_message_kind *ret_kind);

/* --- the log --- */

struct ideal_item {
    uint64_t number;
    uint32_t round, step;
};

struct ideal_items {
    struct ideal_item *items;
    size_t count, capacity;
};

void ideal_items_add(struct ideal_items *items, struct ideal_item item);

struct ideal_log;

/* Made in directory, which exists; 0, or -1 with a sentence in error. */
int ideal_log_open(const char *directory, struct ideal_log **ret_log, char *error,
                   size_t error_size);
void ideal_log_close(struct ideal_log *log); /* the thread must not have been started */
/* One record for each of count, in one synced commit. 0, or -1 with a sentence in error. */
int ideal_log_commit(struct ideal_log *log, size_t count, char *error, size_t error_size);
/* From now on a thread commits, to the end of the process, which it ends if a commit fails. */
int ideal_log_start(struct ideal_log *log, char *error, size_t error_size);
int ideal_log_fd(const struct ideal_log *log); /* readable: something is durable */
void ideal_log_put(struct ideal_log *log, struct ideal_item item);
void ideal_log_submit(struct ideal_log *log); /* hands over what was put */
/* What has become durable; the caller's until the next call. */
const struct ideal_items *ideal_log_take(struct ideal_log *log);

/* --- the loop --- */

struct ideal_handler {
    void (*message)(uint64_t number, enum assent_message_kind kind, void *context);
    void (*durable)(struct ideal_item item, void *context); /* NULL: has no logs */
};

struct ideal_loop;

/* Connections are known by their places in fds; logs may be NULL. */
int ideal_loop_new(const int *fds, size_t fd_count, struct ideal_log *logs[IDEAL_LOG_COUNT],
                   const struct ideal_handler *handler, void *context, struct ideal_loop **ret_loop,
                   char *error, size_t error_size);
void ideal_loop_free(struct ideal_loop *loop);
void ideal_loop_send(struct ideal_loop *loop, size_t connection,
                     const struct ideal_message *message, uint64_t number);
/* Sends and submits what was given, waits for anything, handles all that is there. False: a peer
 * has gone. */
bool ideal_loop_turn(struct ideal_loop *loop, int64_t wait_us);

/* --- the processes: run until a peer goes, and end the process --- */

struct ideal_run {
    const struct bench_options *options;
    const struct ideal_plan *plan;
    const struct ideal_messages *messages;
    const char *directory;
    size_t in_flight, connections;
    double interval_us; /* between two that begin; 0: closed loop */
    int coordinator_fds[ASSENT_BRANCHES_MAX + BENCH_CONNECTIONS_MAX]; /* participants first */
    int participant_fds[ASSENT_BRANCHES_MAX];
    int client_fds[BENCH_CONNECTIONS_MAX];
    size_t starting; /* the branch whose participant is being forked */
};

void ideal_coordinator_run(void *run);
void ideal_participant_run(void *run);

#endif
