/*
 * recovery.c: a machine for every branch that has a record in our store, at start, and for every
 * one that a resource lists as prepared, when its first list is there; later for those that a
 * scan finds (service.c). Our own record goes first, because it knows more (the protocol, a
 * pre-commit, a decision taken alone). A damaged record freezes its branch and nothing else.
 *
 * What machines ask for waits: calls until the workers start, messages until a coordinator is
 * connected.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

struct recovery {
    struct assent_participant *agent;
    size_t from_records, from_lists, damaged;
    int error;
    char text[ASSENT_REASON_MAX + 1];
};

static const char *branch_text(const struct assent_branch_id *id)
{
    static char text[ASSENT_GTRID_TEXT + 16];
    char gtrid[ASSENT_GTRID_TEXT + 1];

    assent_gtrid_format(&id->gtrid, gtrid);
    snprintf(text, sizeof(text), "%s/%u", gtrid, id->branch);
    return text;
}

static struct agent_branch *add(struct recovery *recovery, const struct assent_branch_id *id,
                                struct agent_resource *resource)
{
    struct assent_participant *agent = recovery->agent;
    struct coordinator_log *log = agent_branches_log(&agent->branches, id->log_id);
    struct agent_branch *branch = log ? agent_branches_add(&agent->branches, log, id) : NULL;

    if (!branch) {
        recovery->error = log ? ASSENT_E_NOMEM : ASSENT_E_LIMIT;
        snprintf(recovery->text, sizeof(recovery->text), "cannot take branch %s up: %s",
                 branch_text(id), assent_error_text(recovery->error));
        return NULL;
    }
    agent_driver_adopt(agent, branch, resource);
    return branch;
}

static bool freeze(struct recovery *recovery, const struct assent_branch_id *id, int status)
{
    struct agent_branch *branch = add(recovery, id, &recovery->agent->resources[0]);

    assent_log(ASSENT_LOG_ERROR, "record_damaged", "branch=%s error=%s", branch_text(id),
               assent_log_quote(assent_error_text(status)));
    recovery->damaged++;
    if (branch)
        branch->damaged = true;
    return branch != NULL;
}

/* The book's rows are older than the records that refer to them, so one that is missing is damaged:
 * the branch goes on with its coordinator alone. */
static void restore_peers(struct recovery *recovery, struct agent_branch *branch,
                          const struct assent_part_record *record)
{
    for (uint32_t i = 0; i < record->peer_count; i++)
        if (!agent_address_book_get(&recovery->agent->address_book, record->peers[i].number)) {
            assent_log(ASSENT_LOG_ERROR, "address_missing", "branch=%s address=%u",
                       branch_text(&branch->id), record->peers[i].number);
            return;
        }
    agent_branches_keep_peers(branch, record->peers, record->peer_count);
    if (!branch->peers)
        recovery->error = ASSENT_E_NOMEM;
}

static bool visit_record(const void *key, size_t key_size, const void *value, size_t value_size,
                         int status, void *context)
{
    struct recovery *recovery = context;
    struct assent_part_actions actions;
    struct assent_part_record record;
    struct agent_resource *resource;
    struct agent_branch *branch;
    struct assent_branch_id id;

    if (key_size != ASSENT_BRANCH_ID_BYTES) {
        assent_log(ASSENT_LOG_ERROR, "record_damaged", "key_bytes=%zu", key_size);
        recovery->damaged++;
        return true;
    }
    assent_branch_id_decode(key, &id);
    if (status == 0)
        status = assent_part_record_decode(value, value_size, &record);
    if (status == 0 &&
        (!assent_gtrid_equal(&record.gtrid, &id.gtrid) || record.branch != id.branch))
        status = ASSENT_E_CORRUPT;
    if (status)
        return freeze(recovery, &id, status);
    resource = agent_resource_find(recovery->agent, record.resource);
    if (!resource) {
        recovery->error = ASSENT_E_CONFIG;
        snprintf(recovery->text, sizeof(recovery->text),
                 "the log knows branch %s at resource \"%s\", which is not configured",
                 branch_text(&id), record.resource);
        return false;
    }
    branch = add(recovery, &id, resource);
    if (!branch)
        return false;
    restore_peers(recovery, branch, &record);
    assent_part_recover(&branch->machine, &resource->config, &record, assent_now_ms(),
                        ++recovery->agent->seed, &actions);
    agent_driver_carry_out(branch, &actions);
    recovery->from_records++;
    return recovery->error == 0;
}

bool agent_recovery_log_is_new(const struct assent_participant *agent)
{
    return assent_store_incarnation(agent->store) == assent_store_first_incarnation(agent->store);
}

static enum assent_protocol protocol_of(const struct assent_branch_id *rm_id)
{
    return (rm_id->branch & ASSENT_BRANCH_OF_3PC) != 0 ? ASSENT_3PC : ASSENT_2PC;
}

static struct assent_branch_id own_id(const struct assent_branch_id *rm_id)
{
    struct assent_branch_id id = *rm_id;

    id.branch &= ~ASSENT_BRANCH_OF_3PC;
    return id;
}

static void take_up(struct recovery *recovery, struct agent_resource *resource,
                    const struct assent_branch_id *rm_id, enum assent_listed listed)
{
    struct assent_branch_id id = own_id(rm_id);
    struct agent_branch *branch = add(recovery, &id, resource);
    struct assent_part_actions actions;

    if (!branch)
        return;
    assent_part_recover_listed(&branch->machine, &resource->config, &id.gtrid, id.branch,
                               protocol_of(rm_id), listed, assent_now_ms(), ++recovery->agent->seed,
                               &actions);
    agent_driver_carry_out(branch, &actions);
    recovery->from_lists++;
}

/* It is listed and known here as well. */
static void compare(const struct agent_resource *resource, const struct agent_branch *branch)
{
    if (branch->damaged)
        return;
    if (branch->resource != resource)
        assent_log(ASSENT_LOG_ERROR, "branch_listed_twice", "branch=%s resource=%s and=%s",
                   branch_text(&branch->id), branch->resource->name, resource->name);
    else if (assent_part_final(&branch->machine))
        assent_log(ASSENT_LOG_ERROR, "branch_came_back",
                   "branch=%s resource=%s recorded=%s listed=prepared", branch_text(&branch->id),
                   resource->name, assent_log_quote(assent_part_phase_name(branch->machine.phase)));
}

int agent_recovery_take_up(struct agent_resource *resource, const struct agent_list *list,
                           char *error, size_t error_size)
{
    struct recovery recovery = {.agent = resource->agent};

    for (size_t i = 0; i < list->count && !recovery.error; i++) {
        struct assent_branch_id id = own_id(&list->ids[i]);
        struct agent_branch *branch = agent_branches_find(&recovery.agent->branches, &id);

        if (branch)
            compare(resource, branch);
        else
            take_up(&recovery, resource, &list->ids[i],
                    agent_recovery_log_is_new(recovery.agent) ? ASSENT_LISTED_LOG_LOST
                                                              : ASSENT_LISTED_AT_START);
    }
    if (recovery.error)
        snprintf(error, error_size, "%s", recovery.text);
    else if (recovery.from_lists)
        assent_log(ASSENT_LOG_INFO, "recovered", "resource=%s from_list=%zu", resource->name,
                   recovery.from_lists);
    return recovery.error;
}

bool agent_recovery_is_orphan(const struct agent_resource *resource,
                              const struct assent_branch_id *rm_id)
{
    const struct agent_branches *branches = &resource->agent->branches;
    struct assent_branch_id id = own_id(rm_id);

    return agent_branches_find_log(branches, id.log_id) && !agent_branches_find(branches, &id);
}

/* It may belong to a session that nobody here owns and that is not done with it: its coordinator is
 * silent as long as it could still commit. */
void agent_recovery_adopt(struct agent_resource *resource, const struct assent_branch_id *rm_id)
{
    struct recovery recovery = {.agent = resource->agent};
    struct assent_branch_id id = own_id(rm_id);

    take_up(&recovery, resource, rm_id, ASSENT_LISTED_BY_SCAN);
    if (recovery.error)
        assent_log(ASSENT_LOG_ERROR, "orphan_not_adopted", "branch=%s resource=%s error=%s",
                   branch_text(&id), resource->name,
                   assent_log_quote(assent_error_text(recovery.error)));
    else
        assent_log(ASSENT_LOG_WARN, "orphan_found", "branch=%s resource=%s", branch_text(&id),
                   resource->name);
}

int agent_recovery_run(struct assent_participant *agent, char *error, size_t error_size)
{
    struct recovery recovery = {.agent = agent};
    int result =
        assent_store_scan(agent->store, ASSENT_TABLE_BRANCH, NULL, 0, 0, visit_record, &recovery);

    if (result)
        snprintf(recovery.text, sizeof(recovery.text), "cannot read the log: %s",
                 assent_error_text(result));
    else
        result = recovery.error;
    if (result)
        snprintf(error, error_size, "%s", recovery.text);
    else if (recovery.from_records || recovery.damaged)
        assent_log(ASSENT_LOG_INFO, "recovered", "from_records=%zu damaged=%zu",
                   recovery.from_records, recovery.damaged);
    return result;
}
