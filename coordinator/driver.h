/*
 * driver.h: gives events to the machines and carries out their actions: sends, log writes, replies.
 * Every decision is the core's. A step may end a transaction: whoever calls one does not touch the
 * transaction afterwards.
 */
#ifndef ASSENT_COORDINATOR_DRIVER_H
#define ASSENT_COORDINATOR_DRIVER_H

#include "codec.h"
#include "record.h"
#include "store.h"
#include "transactions.h"

struct answer;
struct shard;
struct participant;
struct session;

/* Gives the event (now_ms is filled in if it is 0) to the machine. text: the participant's words
 * beside it, or NULL. */
void driver_step(struct shard *shard, struct transaction *transaction,
                 struct assent_coord_event *event, const char *text);
/* Carries out shard->actions, which a step or recovery has filled at now_ms. */
void driver_carry_out(struct shard *shard, struct transaction *transaction, uint64_t now_ms);

/* How a branch's work gets to its resource manager. */
enum work_path {
    WORK_BY_MESSAGE,    /* through the agent, before the commit */
    WORK_WITH_PREPARE,  /* through the agent, with the first-phase message */
    WORK_BY_APPLICATION /* on a connection of the application's own, which prepares there */
};

/* Makes the participant a branch: 0 and its number; ASSENT_E_STATE, ASSENT_E_LIMIT;
 * ASSENT_E_INVALID: it is one already, by another path. The transaction stays. */
ASSENT_CHECKED int driver_enlist(struct shard *shard, struct transaction *transaction,
                                 const struct participant *participant, enum work_path path,
                                 uint32_t *ret_branch);
void driver_commit(struct shard *shard, struct transaction *transaction);
void driver_rollback(struct shard *shard, struct transaction *transaction,
                     enum assent_reason reason);
void driver_work_failed(struct shard *shard, struct transaction *transaction, uint32_t branch,
                        const char *text);
void driver_application_gone(struct shard *shard, struct transaction *transaction);
/* The participant of this session is connected (again). It may end the transaction. */
void driver_peer_up(struct shard *shard, struct transaction *transaction,
                    const struct session *session);
/* A protocol message from a participant. */
void driver_message(struct shard *shard, struct session *session, const struct assent_wire *wire);
/* The timer of a transaction (context: the shard). */
void driver_due(struct transaction *transaction, void *context);
/* A write is on disk (context: the shard). */
void driver_durable(const struct assent_completion *completion, void *context);

/* One message of the protocol to a participant that is up; dropped if its output is half full, as
 * the network may drop it. */
void driver_send(struct shard *shard, struct session *session, const struct transaction *t,
                 const struct assent_message *message, uint64_t request,
                 const struct assent_bytes *work);
/* The transaction as its record would be, with every branch and all times. */
void driver_describe(const struct transaction *transaction, enum assent_coord_record_kind kind,
                     struct assent_coord_record *ret_record);
void driver_answer_of(const struct transaction *transaction, struct answer *ret_answer);

#endif
