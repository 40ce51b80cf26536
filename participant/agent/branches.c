/* branches.c: the table of branches and of coordinator logs, see branches.h. */
#include "branches.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "id_table.h"

_Static_assert(sizeof(struct assent_branch_id) == ASSENT_BRANCH_ID_BYTES,
               "a branch id is hashed as bytes, so it may have no padding");

void agent_branches_init(struct agent_branches *branches)
{
    *branches = (struct agent_branches){.by_id = NULL};
    assent_pool_init(&branches->pool, sizeof(struct agent_branch), sizeof(struct agent_branch));
}

struct coordinator_log *agent_branches_find_log(const struct agent_branches *branches,
                                                const uint8_t id[ASSENT_LOG_ID_BYTES])
{
    struct coordinator_log *log = NULL;

    HASH_FIND(hh, branches->logs, id, ASSENT_LOG_ID_BYTES, log);
    return log;
}

struct coordinator_log *agent_branches_log(struct agent_branches *branches,
                                           const uint8_t id[ASSENT_LOG_ID_BYTES])
{
    struct coordinator_log *log = agent_branches_find_log(branches, id);

    if (log || HASH_COUNT(branches->logs) >= AGENT_LOGS_MAX)
        return log;
    log = calloc(1, sizeof(*log));
    if (!log)
        return NULL;
    memcpy(log->id, id, sizeof(log->id));
    for (size_t i = 0; i < sizeof(log->id); i++)
        snprintf(log->text + 2 * i, 3, "%02x", log->id[i]);
    TAILQ_INIT(&log->open);
    TAILQ_INIT(&log->ended);
    STAILQ_INIT(&log->forget_saved);
    STAILQ_INIT(&log->forget_again);
    HASH_ADD(hh, branches->logs, id, ASSENT_LOG_ID_BYTES, log);
    return log;
}

struct agent_branch *agent_branches_find(const struct agent_branches *branches,
                                         const struct assent_branch_id *id)
{
    struct agent_branch *branch = NULL;

    HASH_FIND(hh, branches->by_id, id, sizeof(*id), branch);
    return branch;
}

struct agent_branch *agent_branches_add(struct agent_branches *branches,
                                        struct coordinator_log *log,
                                        const struct assent_branch_id *id)
{
    struct agent_branch *branch = assent_pool_take(&branches->pool);

    if (!branch)
        return NULL;
    branch->id = *id;
    branch->log = log;
    branch->timer_set_ms = ASSENT_NO_TIMER;
    agent_lane_init(&branch->lane);
    assent_part_init(&branch->machine, &id->gtrid, id->branch, 0);
    TAILQ_INSERT_TAIL(&log->open, branch, link);
    ASSENT_ID_ADD(branches->by_id, branches->kept, id, branch);
    branches->count++;
    return branch;
}

void agent_branches_keep_peers(struct agent_branch *branch,
                               const struct assent_part_record_peer *peers, uint32_t count)
{
    struct assent_part_record_peer *kept =
        count <= AGENT_NEAR_PEERS ? branch->near_peers : malloc(count * sizeof(*kept));

    if (!kept)
        return;
    memcpy(kept, peers, count * sizeof(*kept));
    branch->peers = kept;
    branch->peer_count = count;
}

static void drop_peers(struct agent_branch *branch)
{
    if (branch->peers != branch->near_peers)
        free(branch->peers);
    branch->peers = NULL;
    branch->peer_count = 0;
}

struct assent_branch_id agent_branch_rm_id(const struct agent_branch *branch)
{
    struct assent_branch_id id = branch->id;

    if (branch->machine.protocol == ASSENT_3PC)
        id.branch |= ASSENT_BRANCH_OF_3PC;
    return id;
}

void agent_branches_settle(struct agent_branch *branch)
{
    bool ended = assent_part_final(&branch->machine);

    if (ended)
        drop_peers(branch);
    if (ended == branch->ended)
        return;
    TAILQ_REMOVE(branch->ended ? &branch->log->ended : &branch->log->open, branch, link);
    TAILQ_INSERT_TAIL(ended ? &branch->log->ended : &branch->log->open, branch, link);
    branch->ended = ended;
}

bool agent_branches_closed(const struct coordinator_log *log, const struct assent_gtrid *gtrid)
{
    return log->has_ended_below && assent_gtrid_order(gtrid, &log->ended_below) < 0;
}

static void free_branch(struct agent_branches *branches, struct agent_branch *branch)
{
    if (branch->timer_set_ms != ASSENT_NO_TIMER)
        event_del(&branch->timer);
    ASSENT_ID_DEL(branches->by_id, branches->kept, branch);
    TAILQ_REMOVE(branch->ended ? &branch->log->ended : &branch->log->open, branch, link);
    branches->count--;
    drop_peers(branch);
    free(branch->reason_text);
    assent_pool_give(&branches->pool, branch);
}

void agent_branches_remove(struct agent_branches *branches, struct agent_branch *branch)
{
    ASSENT_ASSERT(agent_lane_idle(&branch->lane));
    ASSENT_ASSERT(branch->records_pending == 0);
    ASSENT_ASSERT(branch->timer_set_ms == ASSENT_NO_TIMER);
    free_branch(branches, branch);
}

void agent_branches_fini(struct agent_branches *branches)
{
    struct agent_branch *branch, *next_branch;
    struct coordinator_log *log, *next_log;

    HASH_ITER (hh, branches->by_id, branch, next_branch)
        free_branch(branches, branch);
    assent_id_table_free(branches->kept);
    assent_pool_fini(&branches->pool);
    HASH_ITER (hh, branches->logs, log, next_log) {
        HASH_DEL(branches->logs, log);
        agent_jobs_drop(&log->forget_saved);
        agent_jobs_drop(&log->forget_again);
        free(log);
    }
}
