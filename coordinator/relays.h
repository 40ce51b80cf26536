/*
 * relays.h: requests of applications that a participant answers: work inside a transaction, and
 * queries of a resource. Each has a number of its own on the participant's connection and a
 * time-out; whatever happens, the application gets exactly one answer.
 */
#ifndef ASSENT_COORDINATOR_RELAYS_H
#define ASSENT_COORDINATOR_RELAYS_H

#include <event2/event_struct.h>

#include "codec.h"
#include "hash.h"

struct participant;
struct relay;
struct shard;
struct session;
struct transaction;

struct relays {
    struct relay *by_id;
    uint64_t last_id; /* the shard's index modulo the number of shards */
};

/* Sends the work to the branch's participant. */
void relays_work(struct shard *shard, struct session *asker, uint64_t request,
                 struct transaction *transaction, uint32_t branch,
                 const struct participant *participant, const struct assent_bytes *work);
void relays_query(struct shard *shard, struct session *asker, uint64_t request,
                  const struct participant *participant, enum assent_query_kind kind,
                  const char *command);

/* WORK_REPLY, INSPECTION or REFUSAL from a participant. */
void relays_answer(struct shard *shard, struct session *participant,
                   const struct assent_wire *wire);
void relays_participant_gone(struct shard *shard, const struct session *participant);
void relays_asker_gone(struct shard *shard, const struct session *asker);
/* The transaction takes no more work: what is under way is refused. */
void relays_transaction_over(struct shard *shard, struct transaction *transaction);
void relays_fini(struct shard *shard);

#endif
