/*
 * tombstones.c: final branches answer again until the coordinator says that their transaction has
 * ended; then nothing about them need be kept: not the marker of the commit at the resource, not
 * the record in our store, not the machine. Heuristic ones stay until a person has seen to them.
 */
#include <string.h>

#include "crash_point.h"
#include "driver.h"

/* The marker may go only now: as long as the coordinator could ask again, it is the evidence. And
 * not before it is on disk that the transaction has ended: after a crash a coordinator restored
 * from an older copy might tell the commit once more, and would be answered that it never was. */
static void forget_at_resource(struct assent_participant *agent, const struct agent_branch *branch)
{
    struct agent_job *job = agent_job_new(branch->resource->finisher, NULL, 0);
    struct coordinator_log *log = branch->log;

    if (!job)
        assent_panic(ASSENT_EXIT_RUNTIME, "out_of_memory", "what=forget");
    job->operation = ASSENT_OP_FORGET;
    job->call.id = agent_branch_rm_id(branch);
    job->context = log;
    job->request = log->ended_saves;
    if (log->ended_durable == log->ended_saves)
        agent_submit(agent, job);
    else
        STAILQ_INSERT_TAIL(&log->forget_saved, job, link);
}

void agent_tombstones_saved(struct assent_participant *agent, struct coordinator_log *log)
{
    struct agent_job *job;

    log->ended_durable++;
    while ((job = STAILQ_FIRST(&log->forget_saved)) != NULL && job->request <= log->ended_durable) {
        STAILQ_REMOVE_HEAD(&log->forget_saved, link);
        agent_submit(agent, job);
    }
}

static void remove_branch(struct assent_participant *agent, struct agent_branch *branch)
{
    struct assent_branch_id rm_id;

    if (branch->machine.phase != ASSENT_PART_ABORTED &&
        branch->machine.phase != ASSENT_PART_READ_ONLY &&
        (branch->resource->ops->capabilities & ASSENT_CAP_EVIDENCE))
        forget_at_resource(agent, branch);
    rm_id = agent_branch_rm_id(branch);
    agent_service_forgotten(branch->resource, &rm_id);
    agent_driver_timer_off(branch);
    agent_branches_remove(&agent->branches, branch);
}

static void delete_record(struct assent_participant *agent, struct agent_branch *branch)
{
    uint8_t key[ASSENT_BRANCH_ID_BYTES];
    struct assent_put put = {.table = ASSENT_TABLE_BRANCH,
                             .flags = ASSENT_PUT_LAZY | ASSENT_PUT_DELETE,
                             .key = key,
                             .key_size = sizeof(key),
                             .token = (uintptr_t)branch,
                             .token2 = AGENT_TOKEN_DELETED};
    int error;

    assent_branch_id_encode(&branch->id, key);
    branch->records_pending++;
    agent->records_pending++;
    ASSENT_CRASH_POINT(agent_before_log_delete);
    error = assent_store_put(agent->store, &put);
    if (error)
        assent_panic(ASSENT_EXIT_RUNTIME, "log_failed", "error=%s",
                     assent_log_quote(assent_error_text(error)));
}

static bool may_go(const struct agent_branch *branch)
{
    return agent_branches_closed(branch->log, &branch->id.gtrid) && branch->ended &&
           (branch->machine.phase != ASSENT_PART_HEURISTIC || branch->machine.released) &&
           agent_lane_idle(&branch->lane) && branch->records_pending == 0;
}

/* The record is gone for good before the marker goes: a restart that found the record of a prepared
 * branch, whose transaction has ended, and no marker would take its commit for an abort. */
void agent_tombstones_deleted(struct assent_participant *agent, struct agent_branch *branch)
{
    ASSENT_CRASH_POINT(agent_after_log_delete);
    if (may_go(branch))
        remove_branch(agent, branch);
}

void agent_tombstones_sweep(struct assent_participant *agent, struct coordinator_log *log,
                            const struct assent_gtrid *ended_below)
{
    struct agent_jobs again = STAILQ_HEAD_INITIALIZER(again);
    struct agent_branch *branch, *next;

    if (!log->has_ended_below || assent_gtrid_order(ended_below, &log->ended_below) > 0) {
        log->ended_below = *ended_below;
        log->ended_unsaved = true;
    }
    log->has_ended_below = true;

    STAILQ_CONCAT(&again, &log->forget_again);
    while (!STAILQ_EMPTY(&again)) {
        struct agent_job *job = STAILQ_FIRST(&again);

        STAILQ_REMOVE_HEAD(&again, link);
        agent_submit(agent, job);
    }
    for (branch = TAILQ_FIRST(&log->ended); branch; branch = next) {
        next = TAILQ_NEXT(branch, link);
        if (!may_go(branch))
            continue;
        /* Whoever forgets must know that it has: else a restart would take the branch for one that
         * never voted, and say so in an election. */
        if (log->ended_unsaved)
            agent_marks_save_lazily(agent, log);
        log->ended_unsaved = false;
        if (branch->machine.recorded)
            delete_record(agent, branch);
        else
            remove_branch(agent, branch);
    }
}

void agent_tombstones_forgotten(struct assent_participant *agent, struct agent_job *job)
{
    struct coordinator_log *log = job->context;
    char gtrid[ASSENT_GTRID_TEXT + 1];

    (void)agent;
    if (job->call.result == ASSENT_RM_OK || job->call.result == ASSENT_RM_NOT_FOUND) {
        agent_job_free(job);
        return;
    }
    assent_gtrid_format(&job->call.id.gtrid, gtrid);
    assent_log(ASSENT_LOG_DEBUG, "forget_failed", "gtrid=%s branch=%u result=%s reason=%s", gtrid,
               job->call.id.branch & ~ASSENT_BRANCH_OF_3PC, assent_rm_result_name(job->call.result),
               assent_log_quote(job->call.reason));
    STAILQ_INSERT_TAIL(&log->forget_again, job, link);
}
