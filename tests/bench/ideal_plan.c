/*
 * ideal_plan.c: which messages a transaction that commits has, and which writes are forced before
 * they leave: the table "What it costs" of docs/guarantees.md, as data. Records that are not forced
 * are left out.
 */
#include <string.h>

#include "ideal.h"

/* How many acknowledgements of PreCommit decide, when the coordinator's own record counts too. */
static size_t quorum_of_others(size_t branches)
{
    bool coordinator_votes = branches % 2 == 0;
    size_t voters = branches + coordinator_votes;

    return voters / 2 + 1 - coordinator_votes;
}

static void plan_2pc(struct ideal_plan *plan, size_t branches, enum ideal_log_name resource)
{
    plan->rounds[0] = (struct ideal_round){
        ASSENT_MSG_PREPARE, ASSENT_MSG_VOTE, false, branches, {resource, IDEAL_NO_LOG}};
    plan->rounds[1] = (struct ideal_round){
        ASSENT_MSG_COMMIT, ASSENT_MSG_ACK, true, branches, {resource, IDEAL_NO_LOG}};
    plan->round_count = 2;
    plan->reply_round = 1;
}

static void plan_one_phase(struct ideal_plan *plan, enum ideal_log_name resource)
{
    plan->rounds[0] = (struct ideal_round){
        ASSENT_MSG_COMMIT_ONE_PHASE, ASSENT_MSG_ACK, true, 1, {resource, IDEAL_NO_LOG}};
    plan->round_count = 1;
    plan->reply_round = 1;
}

/* By quorum. The agent's own log has each step, the resource its prepare and its commit. */
static void plan_3pc(struct ideal_plan *plan, size_t branches, enum ideal_log_name resource)
{
    plan->rounds[0] = (struct ideal_round){
        ASSENT_MSG_PREPARE, ASSENT_MSG_VOTE, false, branches, {IDEAL_LOG, resource}};
    plan->rounds[1] = (struct ideal_round){ASSENT_MSG_PRECOMMIT,
                                           ASSENT_MSG_PRECOMMIT_ACK,
                                           true,
                                           quorum_of_others(branches),
                                           {IDEAL_LOG, IDEAL_NO_LOG}};
    plan->rounds[2] = (struct ideal_round){
        ASSENT_MSG_COMMIT, ASSENT_MSG_ACK, false, branches, {IDEAL_LOG, resource}};
    plan->round_count = 3;
    plan->reply_round = 2;
}

int ideal_plan_make(const struct bench_options *options, struct ideal_plan *ret_plan)
{
    bool kv = strncmp(options->resource, "kv", 2) == 0;
    enum ideal_log_name resource = kv ? IDEAL_RESOURCE : IDEAL_NO_LOG;
    struct ideal_plan plan = {0};

    if (!kv && strncmp(options->resource, "null", 4) != 0)
        return -1;
    if (options->protocol == ASSENT_3PC)
        plan_3pc(&plan, options->branches, resource);
    else if (options->branches == 1)
        plan_one_phase(&plan, resource);
    else
        plan_2pc(&plan, options->branches, resource);
    if (options->wait)
        plan.reply_round = plan.round_count;
    *ret_plan = plan;
    return 0;
}

bool bench_ideal_waits(const struct bench_options *options, size_t *ret_commits,
                       size_t *ret_round_trips)
{
    struct ideal_plan plan;
    size_t commits;

    if (ideal_plan_make(options, &plan))
        return false;
    commits = plan.reply_round < plan.round_count && plan.rounds[plan.reply_round].forced;
    for (size_t i = 0; i < plan.reply_round; i++) {
        commits += plan.rounds[i].forced;
        for (size_t k = 0; k < IDEAL_WRITES_MAX; k++)
            commits += plan.rounds[i].writes[k] != IDEAL_NO_LOG;
    }
    *ret_commits = commits;
    *ret_round_trips = 1 + plan.reply_round;
    return true;
}
