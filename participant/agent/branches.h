/*
 * branches.h: the branches that this agent knows, by branch id and by the coordinator's log that
 * they come from. Deliberately not here: what happens to them (driver.h, tombstones.h).
 *
 * Life of a branch: added at its first message or by recovery -> open, until its machine is final
 * -> a tombstone that answers again, until its transaction has ended at the coordinator -> removed.
 * A tombstone that is told the opposite of what was done opens again.
 */
#ifndef ASSENT_AGENT_BRANCHES_H
#define ASSENT_AGENT_BRANCHES_H

#include <event2/event_struct.h>
#include <sys/queue.h>

#include "gtrid.h"
#include "hash.h"
#include "participant.h"
#include "pool.h"
#include "workers.h"

/* Coordinator logs that one agent deals with over its life; each is a few hundred bytes. */
#define AGENT_LOGS_MAX 256

struct agent_resource;
struct agent_link;
struct agent_branch;
TAILQ_HEAD(agent_branch_list, agent_branch);

/* One coordinator's log, however often that coordinator restarts or moves. */
struct coordinator_log {
    uint8_t id[ASSENT_LOG_ID_BYTES];
    char text[2 * ASSENT_LOG_ID_BYTES + 1]; /* the id in hexadecimal */
    uint32_t incarnation;                   /* highest ever seen: lower ones are refused */
    uint64_t life, position; /* of that incarnation: its process, and how far its log had come */
    uint32_t holds;          /* not 0: the log has gone back, seen in this life; what
                                             * it presumes aborted from before is not believed */
    bool mark_durable;       /* and that it was seen is on disk */
    bool has_ended_below;
    struct assent_gtrid ended_below; /* transactions that sort below it have ended */
    bool ended_unsaved;              /* it has risen since the log was told */
    uint64_t ended_saves;            /* how often the log was told ... */
    uint64_t ended_durable;          /* ... and of these, how many are on disk */
    struct agent_branch_list open, ended;
    struct agent_jobs forget_saved; /* forgets that wait for a save, in its order (job->request) */
    struct agent_jobs forget_again; /* forgets that failed, for the next try */
    struct agent_link *link;        /* connected now, or NULL */
    UT_hash_handle hh;
};

#define AGENT_NEAR_PEERS 4 /* so few need no memory of their own */

struct agent_branch {
    struct assent_branch_id id; /* the key */
    UT_hash_handle hh;          /* beside it: looked at together */
    struct assent_part machine;
    struct assent_participant *agent;
    struct agent_resource *resource;
    struct coordinator_log *log;
    struct agent_lane lane;
    uint32_t records_pending;              /* forced records that are not durable yet */
    bool ended;                            /* in log->ended */
    bool damaged;                          /* its record cannot be read: it is left alone */
    struct assent_part_record_peer *peers; /* peer_count, in order of the branches; NULL: unknown */
    uint32_t peer_count;
    struct assent_part_record_peer near_peers[AGENT_NEAR_PEERS];
    uint32_t asker;            /* the member that spoke last; 0: none ... */
    uint64_t asker_connection; /* ... and where it is answered */
    char *reason_text;         /* what the resource said; NULL: nothing */
    uint64_t doubt_since_ms;   /* 0: not in doubt */
    uint64_t doubt_warn_ms;    /* warn when in doubt this long */
    uint64_t timer_set_ms;     /* the timer goes off then; ASSENT_NO_TIMER: it is off */
    struct event timer;
    TAILQ_ENTRY(agent_branch) link;
};

struct agent_branches {
    struct agent_branch *by_id;
    UT_hash_table *kept; /* its index while it is empty */
    struct coordinator_log *logs;
    size_t count;
    struct assent_pool pool;
};

void agent_branches_init(struct agent_branches *branches);
/* The log with that id, made if it is new: NULL beyond AGENT_LOGS_MAX. */
struct coordinator_log *agent_branches_log(struct agent_branches *branches,
                                           const uint8_t id[ASSENT_LOG_ID_BYTES]);
/* NULL: not seen. */
struct coordinator_log *agent_branches_find_log(const struct agent_branches *branches,
                                                const uint8_t id[ASSENT_LOG_ID_BYTES]);
struct agent_branch *agent_branches_find(const struct agent_branches *branches,
                                         const struct assent_branch_id *id);
/* Of a branch that has none yet. Without memory it goes on without. */
void agent_branches_keep_peers(struct agent_branch *branch,
                               const struct assent_part_record_peer *peers, uint32_t count);
/* The id under which its RM knows the branch, see ASSENT_BRANCH_OF_3PC. */
struct assent_branch_id agent_branch_rm_id(const struct agent_branch *branch);
/* A new, open branch with a machine in NONE; the caller fills the rest. NULL: no memory. */
struct agent_branch *agent_branches_add(struct agent_branches *branches,
                                        struct coordinator_log *log,
                                        const struct assent_branch_id *id);
/* Puts the branch among the open ones or the tombstones, by its machine. A tombstone only answers,
 * so it needs no peers. */
void agent_branches_settle(struct agent_branch *branch);
/* Its transaction is known to have ended. */
bool agent_branches_closed(const struct coordinator_log *log, const struct assent_gtrid *gtrid);
/* Removes and frees it. Its timer is off, its lane idle, no record of it pending. */
void agent_branches_remove(struct agent_branches *branches, struct agent_branch *branch);
/* Frees everything, whatever is pending. */
void agent_branches_fini(struct agent_branches *branches);

#endif
