/*
 * operate.h: what a person orders by hand: a decision for an undecided transaction, that somebody
 * has seen to an outcome, that a restored log is accepted. Each is kept with who and why (audit.h),
 * and answered when that is on disk. What may be decided is the core's (coordinator_operator.c).
 */
#ifndef ASSENT_COORDINATOR_OPERATE_H
#define ASSENT_COORDINATOR_OPERATE_H

#include <sys/queue.h>

#include "codec.h"
#include "record.h"

struct server;
struct shard;
struct session;

/* An outcome that is on its way to the disk. Of the transaction's shard. */
struct rewrite;
LIST_HEAD(rewrites, rewrite);

/* Writes that wait for the disk, each with the request that it answers. */
struct operation;
struct operations {
    struct operation *first;
    uint64_t last_id;
};

/* While all shards are held. */
void operate_request(struct session *home, const struct assent_wire *wire);
/* A write of an operation is on disk. */
void operate_durable(struct server *server, uint64_t id);
/* Also what its faces asked. */
void operate_asker_gone(struct server *server, const struct session *home);
void operate_fini(struct server *server);
/* What was accepted, from the log. */
ASSENT_CHECKED int operate_load(struct server *server);

/* The log is, or may be, an older copy than what participants have seen, and nobody has accepted
 * that: then nothing is presumed about transactions of its earlier lives. */
bool operate_presumes(const struct server *server, const struct assent_gtrid *gtrid);
/* The record of a transaction without a machine is written anew. The operation, if it is not 0, is
 * answered then. */
void operate_put_outcome(struct shard *shard, struct assent_coord_record *record,
                         uint64_t operation);
/* As outcomes_read(), and of a record that is being written anew what it will be: whoever is to
 * change a record begins there, or would undo what another has just changed. */
ASSENT_CHECKED int operate_latest(const struct shard *shard, const struct assent_gtrid *gtrid,
                                  struct assent_coord_record *ret_record);
bool operate_is_rewriting(const struct shard *shard, const struct assent_gtrid *gtrid);
/* It is on disk. */
void operate_rewritten(struct shard *shard, struct rewrite *rewrite);
/* Tells the participant that sent the message that it need not keep its branch. */
void operate_send_forget(struct shard *shard, struct session *session,
                         const struct assent_message *message);

#endif
