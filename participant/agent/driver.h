/*
 * driver.h: carries events to the branches' machines and their actions out; with tombstones.c,
 * recovery.c and watch.c, which look after machines at their end, at start and in between.
 */
#ifndef ASSENT_AGENT_DRIVER_H
#define ASSENT_AGENT_DRIVER_H

#include "agent.h"

/* What a step can refer to besides its machine. */
struct agent_step {
    struct agent_branch *branch;
    const struct assent_wire *wire; /* the message that is handled, or NULL */
    const struct agent_job *job;    /* the call that is done, or NULL */
};

/* A Branch message about that log's transaction: from its coordinator, or from another participant,
 * which is answered on that connection. */
void agent_driver_message(struct assent_participant *agent, struct coordinator_log *log,
                          uint64_t connection, const struct assent_wire *wire);
/* A job is done; frees it. */
void agent_driver_worked(struct agent_job *job, void *agent);
/* What a completion of the store is about (token2); the other values are kinds of records. */
enum {
    AGENT_TOKEN_MARK = 0,      /* token: the log whose incarnation is durable */
    AGENT_TOKEN_ENDED = 254,   /* token: the log whose ended_below is */
    AGENT_TOKEN_DELETED = 255, /* token: the branch whose record is gone */
};
/* A forced record, a mark or a deletion is durable. */
void agent_driver_durable(const struct assent_completion *completion, void *agent);
/* The coordinator of that log is connected (again). `accepted`: it was restored from an older copy,
 * and since it was last heard of a person has accepted that. */
void agent_driver_peer_up(struct coordinator_log *log, bool accepted);
/* The resource answers again: what waits to call it does so now. */
void agent_driver_resource_up(struct assent_participant *agent,
                              const struct agent_resource *resource);
/* This process stops. */
void agent_driver_stop(struct assent_participant *agent);
/* Nothing is under way at a resource or in the store. */
bool agent_driver_quiet(const struct assent_participant *agent);
/* For recovery: fills a branch that was just added, and carries out what its machine asks. */
void agent_driver_adopt(struct assent_participant *agent, struct agent_branch *branch,
                        struct agent_resource *resource);
void agent_driver_carry_out(struct agent_branch *branch, const struct assent_part_actions *actions);
void agent_driver_timer_off(struct agent_branch *branch);

/* sends.c */
void agent_sends_message(const struct agent_step *step, const struct assent_message *message,
                         uint32_t to);
/* Takes the peers that a first-phase message names. */
void agent_sends_learn_peers(struct agent_branch *branch, const struct assent_wire *wire);

/* queries.c */
/* Answers a ResourceQuery, now or when a worker has read what it asks for. */
void agent_queries_ask(struct assent_participant *agent, struct agent_link *link,
                       const struct assent_wire *wire);
/* A query's job is done; takes the job. */
void agent_queries_answer(struct assent_participant *agent, struct agent_job *job);

/* examine.c */
/* Answers a ResourceQuery that is about the resource and not about its data. */
void agent_examine_ask(struct agent_link *link, struct agent_resource *resource,
                       const struct assent_wire *wire);

/* tombstones.c */
/* The coordinator says that every transaction of its log below that gtrid has ended. */
void agent_tombstones_sweep(struct assent_participant *agent, struct coordinator_log *log,
                            const struct assent_gtrid *ended_below);
/* A save of where that log's transactions have ended is durable. */
void agent_tombstones_saved(struct assent_participant *agent, struct coordinator_log *log);
/* The branch's record is gone for good. */
void agent_tombstones_deleted(struct assent_participant *agent, struct agent_branch *branch);
/* A FORGET is done; takes the job. */
void agent_tombstones_forgotten(struct assent_participant *agent, struct agent_job *job);

/* recovery.c */
/* From the records of our own log. */
ASSENT_CHECKED int agent_recovery_run(struct assent_participant *agent, char *error,
                                      size_t error_size);
/* This is the first life of our log: the agent is new, or its log was lost and made anew. Whatever
 * a resource has prepared is then older than the log. */
bool agent_recovery_log_is_new(const struct assent_participant *agent);
/* From a resource's first list. */
ASSENT_CHECKED int agent_recovery_take_up(struct agent_resource *resource,
                                          const struct agent_list *list, char *error,
                                          size_t error_size);
/* Listed, of a coordinator's log that was seen here, and not known here. */
bool agent_recovery_is_orphan(const struct agent_resource *resource,
                              const struct assent_branch_id *rm_id);
void agent_recovery_adopt(struct agent_resource *resource, const struct assent_branch_id *rm_id);

/* watch.c */
void agent_watch(struct assent_participant *agent);

#endif
