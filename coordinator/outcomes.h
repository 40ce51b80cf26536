/*
 * outcomes.h: what is known about a gtrid that has no machine: its record, or what its absence
 * means. Expired, never seen and aborted are three answers, and a record that cannot be read is
 * none of them.
 */
#ifndef ASSENT_COORDINATOR_OUTCOMES_H
#define ASSENT_COORDINATOR_OUTCOMES_H

#include "record.h"

struct answer;
struct assent_wire;
struct server;
struct shard;
struct session;

/* This coordinator's number, an incarnation it has had, a sequence it has handed out. Of the shard
 * that it would belong to. */
bool outcomes_is_ours(const struct shard *shard, const struct assent_gtrid *gtrid);
/* 0, ASSENT_E_NOT_FOUND, or an error: there is a record and it cannot be read. */
ASSENT_CHECKED int outcomes_read(const struct server *server, const struct assent_gtrid *gtrid,
                                 struct assent_coord_record *ret_record);
/* Answers for any gtrid, live or not. */
void outcomes_answer(struct shard *shard, const struct assent_gtrid *gtrid,
                     struct answer *ret_answer);
/* A participant's message: what is on record answers, or its absence. A damaged record answers
 * nothing. */
void outcomes_message(struct shard *shard, struct session *session, const struct assent_wire *wire);

#endif
