/*
 * driver.c: events to the machines, actions carried out, see driver.h. An action that must wait (a
 * call, a forced record) comes back as an event; nothing here calls a machine from inside its step.
 */
#include "driver.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash_point.h"

/* Crash points around each record. */
struct points {
    bool named;
    enum assent_crash_point before, after;
};

static const struct points log_points[] = {
    [ASSENT_PART_RECORD_PREPARED] = {true, ASSENT_CRASH_agent_before_log_prepared,
                                     ASSENT_CRASH_agent_after_log_prepared},
    [ASSENT_PART_RECORD_PRECOMMITTED] = {true, ASSENT_CRASH_agent_before_log_precommitted,
                                         ASSENT_CRASH_agent_after_log_precommitted},
    [ASSENT_PART_RECORD_DECIDED] = {true, ASSENT_CRASH_agent_before_log_decision,
                                    ASSENT_CRASH_agent_after_log_decision},
    [ASSENT_PART_RECORD_RESULT] = {true, ASSENT_CRASH_agent_before_log_result,
                                   ASSENT_CRASH_agent_after_log_result},
    [ASSENT_PART_RECORD_DONE] = {false},
    [ASSENT_PART_RECORD_PREABORTED] = {true, ASSENT_CRASH_agent_before_log_preaborted,
                                       ASSENT_CRASH_agent_after_log_preaborted},
};

/* ---- actions ---- */

static void log_record(struct agent_branch *branch, const struct assent_part_action *action)
{
    struct assent_participant *agent = branch->agent;
    uint8_t key[ASSENT_BRANCH_ID_BYTES], value[ASSENT_RECORD_BYTES_MAX];
    struct assent_part_record record;
    struct assent_put put = {
        .table = ASSENT_TABLE_BRANCH, .key = key, .key_size = sizeof(key), .value = value};
    int error;

    assent_part_to_record(&branch->machine, action->record, &record);
    snprintf(record.resource, sizeof(record.resource), "%s", branch->resource->name);
    record.peer_count = branch->peer_count;
    for (uint32_t i = 0; i < branch->peer_count; i++)
        record.peers[i] = branch->peers[i];
    error = assent_part_record_encode(&record, value, sizeof(value), &put.value_size);
    ASSENT_ASSERT(error == 0);
    assent_branch_id_encode(&branch->id, key);
    if (action->forced) {
        put.token = (uintptr_t)branch;
        put.token2 = action->record;
        branch->records_pending++;
        agent->records_pending++;
    } else {
        put.flags = ASSENT_PUT_LAZY;
    }
    if (log_points[action->record].named)
        assent_crash_point(log_points[action->record].before);
    error = assent_store_put(agent->store, &put);
    if (error)
        assent_panic(ASSENT_EXIT_RUNTIME, "log_failed", "error=%s",
                     assent_log_quote(assent_error_text(error)));
    if (!action->forced && log_points[action->record].named)
        assent_crash_point(log_points[action->record].after);
}

static uint32_t work_timeout_ms(const struct agent_step *step)
{
    uint32_t most = step->branch->agent->options.work_timeout_ms;
    uint32_t asked = step->wire ? step->wire->u.branch.message.timeout_ms : 0;

    return asked && asked < most ? asked : most;
}

static void call_resource(const struct agent_step *step, const struct assent_part_action *action)
{
    struct agent_branch *branch = step->branch;
    struct assent_participant *agent = branch->agent;
    bool work = action->with_work || action->operation == ASSENT_OP_WORK;
    struct assent_bytes bytes = {NULL, 0};
    struct agent_job *job;

    if (work && step->wire)
        bytes = step->wire->u.branch.work;
    job = agent_job_new(branch->resource->finisher, bytes.data, bytes.size);
    if (!job)
        assent_panic(ASSENT_EXIT_RUNTIME, "out_of_memory", "what=call");
    job->lane = &branch->lane;
    job->operation = action->operation;
    job->with_begin = action->with_begin;
    job->with_work = action->with_work;
    job->call.no_reply = action->with_work;
    job->call.id = agent_branch_rm_id(branch);
    job->call.timeout_ms = work_timeout_ms(step);
    job->context = branch;
    if (step->wire) {
        job->request = step->wire->request;
        job->connection = agent_link_connection(branch->log->link);
        memccpy(job->call.traceparent, step->wire->u.branch.traceparent, '\0',
                sizeof(job->call.traceparent) - 1);
    }
    agent->work_bytes += bytes.size;
    agent_submit(agent, job);
}

static void alarm_person(const struct agent_branch *branch)
{
    char gtrid[ASSENT_GTRID_TEXT + 1];

    assent_gtrid_format(&branch->id.gtrid, gtrid);
    assent_log(ASSENT_LOG_ERROR, "alarm",
               "gtrid=%s branch=%u resource=%s phase=%s decision=%s told=%s result=%s reason=%s",
               gtrid, branch->id.branch, branch->resource->name,
               assent_log_quote(assent_part_phase_name(branch->machine.phase)),
               assent_decision_name(branch->machine.decision),
               assent_decision_name(branch->machine.told),
               assent_log_quote(assent_branch_result_name(branch->machine.result)),
               assent_log_quote(branch->reason_text ? branch->reason_text : ""));
}

static void carry_out(const struct agent_step *step, const struct assent_part_actions *actions)
{
    for (size_t i = 0; i < actions->count; i++) {
        const struct assent_part_action *action = &actions->items[i];

        switch (action->kind) {
        case ASSENT_PART_ACT_SEND:
        case ASSENT_PART_ACT_WORK_DONE:
            agent_sends_message(step, &action->message, action->to);
            break;
        case ASSENT_PART_ACT_LOG:
            log_record(step->branch, action);
            break;
        case ASSENT_PART_ACT_CALL:
            call_resource(step, action);
            break;
        case ASSENT_PART_ACT_ALARM:
            alarm_person(step->branch);
            break;
        case ASSENT_PART_ACT_ENDED:
            break; /* settle() asks the machine */
        }
    }
}

/* ---- what the machine's new state asks of the loop ---- */

static void on_timer(evutil_socket_t fd, short events, void *context);

void agent_driver_timer_off(struct agent_branch *branch)
{
    if (branch->timer_set_ms != ASSENT_NO_TIMER)
        event_del(&branch->timer);
    branch->timer_set_ms = ASSENT_NO_TIMER;
}

/* A timer that was put off is left to go off early and looks again then: that is cheaper than
 * moving it with every message. */
static void set_timer(struct agent_branch *branch, uint64_t now_ms)
{
    uint64_t at_ms = branch->machine.timer_ms;
    uint64_t wait_ms = at_ms > now_ms ? at_ms - now_ms : 0;
    struct timeval wait = {(time_t)(wait_ms / 1000), (suseconds_t)(wait_ms % 1000) * 1000};

    if (at_ms == ASSENT_NO_TIMER) {
        agent_driver_timer_off(branch);
    } else if (branch->timer_set_ms > at_ms) {
        if (event_add(&branch->timer, &wait))
            assent_panic(ASSENT_EXIT_RUNTIME, "out_of_memory", "what=timer");
        branch->timer_set_ms = at_ms;
    }
}

static void settle(struct agent_branch *branch, uint64_t now_ms)
{
    if (!assent_part_in_doubt(&branch->machine)) {
        branch->doubt_since_ms = 0;
    } else if (branch->doubt_since_ms == 0) {
        branch->doubt_since_ms = now_ms;
        branch->doubt_warn_ms = branch->agent->options.in_doubt_warn_ms;
    }
    agent_branches_settle(branch);
    set_timer(branch, now_ms);
}

/* What every event says besides itself. */
static void complete(struct assent_part_event *event, const struct coordinator_log *log)
{
    event->now_ms = assent_now_ms();
    event->lost_below = log->holds ? log->incarnation : 0;
}

static void run_step(const struct agent_step *step, struct assent_part_event *event)
{
    struct agent_branch *branch = step->branch;
    struct assent_part_actions actions;

    complete(event, branch->log);
    assent_part_step(&branch->machine, &branch->resource->config, event, &actions);
    carry_out(step, &actions);
    settle(branch, event->now_ms);
}

static void on_timer(evutil_socket_t fd, short events, void *context)
{
    struct agent_branch *branch = context;
    struct assent_part_event event = {.kind = ASSENT_PART_EV_TIMER};

    (void)fd;
    (void)events;
    branch->timer_set_ms = ASSENT_NO_TIMER;
    run_step(&(struct agent_step){.branch = branch}, &event);
}

void agent_driver_adopt(struct assent_participant *agent, struct agent_branch *branch,
                        struct agent_resource *resource)
{
    branch->agent = agent;
    branch->resource = resource;
    branch->machine.rng = ++agent->seed;
    event_assign(&branch->timer, agent->base, -1, 0, on_timer, branch);
}

void agent_driver_carry_out(struct agent_branch *branch, const struct assent_part_actions *actions)
{
    carry_out(&(struct agent_step){.branch = branch}, actions);
    settle(branch, assent_now_ms());
}

/* ---- messages ---- */

static void log_ignored(const struct coordinator_log *log, const struct assent_message *message,
                        const char *why)
{
    char gtrid[ASSENT_GTRID_TEXT + 1];

    assent_gtrid_format(&message->gtrid, gtrid);
    assent_log(ASSENT_LOG_WARN, "message_ignored", "gtrid=%s branch=%u log=%s message=%s why=%s",
               gtrid, message->branch, log->text, assent_message_name(message->kind),
               assent_log_quote(why));
}

/* Answers for a branch that is not let in, as its closed machine would. */
static void answer_closed(struct assent_participant *agent, struct coordinator_log *log,
                          struct agent_resource *resource, const struct assent_wire *wire,
                          const char *text)
{
    const struct assent_message *message = &wire->u.branch.message;
    char reason_text[ASSENT_REASON_MAX + 1];
    struct agent_branch closed = {
        .agent = agent, .log = log, .resource = resource, .reason_text = reason_text};
    struct assent_part_event event = {.kind = ASSENT_PART_EV_MESSAGE, .message = *message};
    struct assent_part_actions actions;

    snprintf(reason_text, sizeof(reason_text), "%s", text);
    memcpy(closed.id.log_id, log->id, sizeof(closed.id.log_id));
    closed.id.gtrid = message->gtrid;
    closed.id.branch = message->branch;
    assent_part_init_closed(&closed.machine, &message->gtrid, message->branch);
    complete(&event, log);
    assent_part_step(&closed.machine, &resource->config, &event, &actions);
    for (size_t i = 0; i < actions.count; i++)
        ASSENT_ASSERT(actions.items[i].kind == ASSENT_PART_ACT_SEND);
    carry_out(&(struct agent_step){.branch = &closed, .wire = wire}, &actions);
}

/* Why no new branch (or more work) is let in now; NULL: it is. */
static const char *no_room(const struct assent_participant *agent, const struct assent_wire *wire)
{
    if (agent->stopping)
        return "the participant is stopping";
    if (agent->work_bytes + wire->u.branch.work.size > AGENT_WORK_BYTES_MAX)
        return "the participant has too much work waiting";
    if (agent->branches.count >= agent->options.branches_max)
        return "the participant is at its limit of branches";
    if (!assent_store_has_room(agent->store))
        return "the participant's log has no room";
    return NULL;
}

/* A question about a life of ours that our log knows nothing of: the log was lost and made anew, or
 * is an old copy. Whoever has lost its votes must not answer as if it had given none. */
static bool of_lost_log(const struct assent_participant *agent,
                        const struct assent_message *message)
{
    bool question = message->from != 0 || message->kind == ASSENT_MSG_INQUIRE ||
                    message->kind == ASSENT_MSG_ELECT || message->kind == ASSENT_MSG_PROPOSE;

    return question && (message->epoch < assent_store_first_incarnation(agent->store) ||
                        message->epoch > assent_store_incarnation(agent->store));
}

/* Whether a first message is answered without a machine, or not at all. While a resource is away
 * nobody can say that a branch is not prepared there, so what is not known here gets no answer. */
static bool turned_away(struct assent_participant *agent, struct coordinator_log *log,
                        const struct assent_wire *wire)
{
    const struct assent_message *message = &wire->u.branch.message;
    struct agent_resource *resource = agent_resource_find(agent, wire->u.branch.resource);
    bool opens = message->kind == ASSENT_MSG_WORK || message->kind == ASSENT_MSG_PREPARE;
    const char *no = opens || message->from != 0 ? no_room(agent, wire) : NULL;
    char away[ASSENT_REASON_MAX + 1];

    if (agent_branches_closed(log, &message->gtrid)) {
        answer_closed(agent, log, &agent->resources[0], wire,
                      assent_reason_text(ASSENT_REASON_CLOSED));
        return true;
    }
    if (!resource && opens)
        no = "the participant has no resource of that name";
    if (!no && resource && !resource->service.up) {
        snprintf(away, sizeof(away), "resource %s is away: %.200s", resource->name,
                 resource->service.away);
        no = away;
    }
    if (no && opens) {
        answer_closed(agent, log, resource ? resource : &agent->resources[0], wire, no);
        return true;
    }
    if (!no && !resource)
        no = "no resource of that name";
    if (!no && of_lost_log(agent, message))
        no = "it is about an earlier life of this participant, which its log does not know";
    if (no && no != away) /* that has had its line */
        log_ignored(log, message, no);
    return no != NULL;
}

/* The first message for a branch. Only work and prepare are turned away in words: whatever else
 * comes may be about a branch of an earlier life of this process, and its machine has to find out.
 */
static void first_message(struct assent_participant *agent, struct coordinator_log *log,
                          const struct assent_branch_id *id, uint64_t connection,
                          const struct assent_wire *wire)
{
    struct assent_part_event event = {.kind = ASSENT_PART_EV_MESSAGE,
                                      .message = wire->u.branch.message};
    struct agent_branch *branch;

    if (turned_away(agent, log, wire))
        return;
    branch = agent_branches_add(&agent->branches, log, id);
    if (!branch) {
        log_ignored(log, &wire->u.branch.message, "out of memory");
        return;
    }
    agent_driver_adopt(agent, branch, agent_resource_find(agent, wire->u.branch.resource));
    agent_sends_learn_peers(branch, wire);
    branch->asker = event.message.from;
    branch->asker_connection = connection;
    run_step(&(struct agent_step){.branch = branch, .wire = wire}, &event);
    if (branch->machine.phase == ASSENT_PART_NONE) /* it was stale, or about nothing */
        agent_branches_remove(&agent->branches, branch);
}

void agent_driver_message(struct assent_participant *agent, struct coordinator_log *log,
                          uint64_t connection, const struct assent_wire *wire)
{
    const struct assent_message *message = &wire->u.branch.message;
    struct assent_part_event event = {.kind = ASSENT_PART_EV_MESSAGE, .message = *message};
    struct assent_branch_id id;
    struct agent_branch *branch;
    const char *no;

    memcpy(id.log_id, log->id, sizeof(id.log_id));
    id.gtrid = message->gtrid;
    id.branch = message->branch;
    branch = agent_branches_find(&agent->branches, &id);
    no = branch && message->kind == ASSENT_MSG_WORK ? no_room(agent, wire) : NULL;
    if (!branch) {
        first_message(agent, log, &id, connection, wire);
    } else if (branch->damaged) {
        log_ignored(log, message, "the branch's record is damaged");
    } else if (no) {
        answer_closed(agent, log, branch->resource, wire, no);
    } else {
        agent_sends_learn_peers(branch, wire);
        if (message->from != 0) {
            branch->asker = message->from;
            branch->asker_connection = connection;
        }
        run_step(&(struct agent_step){.branch = branch, .wire = wire}, &event);
    }
}

/* ---- answers of resources and of the store ---- */

/* Trouble that goes on for days must be seen, and must not fill the disk with log lines. */
static void log_trouble(struct agent_resource *resource, const struct agent_job *job)
{
    uint64_t now_ms = assent_now_ms();
    enum assent_log_level level = ASSENT_LOG_WARN;

    if (job->call.result != ASSENT_RM_RETRY && job->call.result != ASSENT_RM_UNAVAILABLE &&
        job->call.result != ASSENT_RM_UNKNOWN_CODE &&
        (unsigned)job->call.result <= ASSENT_RM_VANISHED)
        level = ASSENT_LOG_DEBUG;
    if (level == ASSENT_LOG_WARN && resource->warned_ms && now_ms < resource->warned_ms + 1000) {
        resource->unsaid++;
        return;
    }
    assent_log(level, "resource_call", "resource=%s result=%s reason=%s unsaid=%" PRIu64,
               resource->name, assent_rm_result_name(job->call.result),
               assent_log_quote(job->call.reason), resource->unsaid);
    if (level == ASSENT_LOG_WARN) {
        resource->warned_ms = now_ms;
        resource->unsaid = 0;
    }
}

/* An RM that decides alone is right by chance. Against the decision it is an alarm besides. */
static void count_heuristic(const struct agent_branch *branch, const struct agent_job *job)
{
    enum assent_rm_result result = job->call.result;
    char gtrid[ASSENT_GTRID_TEXT + 1];

    if (result != ASSENT_RM_HEUR_COMMITTED && result != ASSENT_RM_HEUR_ABORTED &&
        result != ASSENT_RM_HEUR_MIXED && result != ASSENT_RM_HEUR_HAZARD)
        return;
    assent_gtrid_format(&branch->id.gtrid, gtrid);
    assent_log(ASSENT_LOG_WARN, "ended_alone",
               "gtrid=%s branch=%u resource=%s decision=%s result=%s reason=%s count=%" PRIu64,
               gtrid, branch->id.branch, branch->resource->name,
               assent_decision_name(branch->machine.decision), assent_rm_result_name(result),
               assent_log_quote(job->call.reason), ++branch->resource->alone);
}

static void check_reply(const struct assent_participant *agent, struct assent_call *call)
{
    if (call->reply_size + AGENT_FRAME_EXTRA <= agent->options.frame_bytes_max)
        return;
    snprintf(call->reason, sizeof(call->reason), "the reply of %zu bytes does not fit a frame",
             call->reply_size);
    call->result = ASSENT_RM_FAILED;
    call->reply_size = 0;
}

/* Evidence of a branch that nothing was decided for: why it failed was said before. */
static bool only_confirms(const struct agent_branch *branch, const struct agent_job *job)
{
    return job->operation == ASSENT_OP_EVIDENCE && branch->reason_text &&
           branch->machine.decision == ASSENT_DECISION_NONE;
}

void agent_driver_worked(struct agent_job *job, void *context)
{
    struct assent_participant *agent = context;
    struct agent_branch *branch = job->context;
    struct assent_part_event event = {.kind = ASSENT_PART_EV_RM, .operation = job->operation};

    if (job->task) {
        job->done(job);
        return;
    }
    if (job->command) {
        agent_queries_answer(agent, job);
        return;
    }
    if (job->operation == ASSENT_OP_FORGET) {
        agent_tombstones_forgotten(agent, job);
        return;
    }
    agent->work_bytes -= job->call.work_size;
    if (job->operation == ASSENT_OP_WORK)
        check_reply(agent, &job->call);
    if (job->call.result != ASSENT_RM_OK)
        log_trouble(branch->resource, job);
    count_heuristic(branch, job);
    if (job->call.result == ASSENT_RM_UNAVAILABLE)
        agent_service_suspect(branch->resource);
    if (job->call.result != ASSENT_RM_OK && job->call.reason[0] && !only_confirms(branch, job)) {
        free(branch->reason_text);
        branch->reason_text = strndup(job->call.reason, ASSENT_REASON_MAX);
    }
    event.result = job->call.result;
    run_step(&(struct agent_step){.branch = branch, .job = job}, &event);
    agent_job_free(job);
}

void agent_driver_durable(const struct assent_completion *completion, void *context)
{
    struct assent_participant *agent = context;
    struct agent_branch *branch = (struct agent_branch *)(uintptr_t)completion->token;
    struct assent_part_event event = {.kind = ASSENT_PART_EV_DURABLE,
                                      .record = (enum assent_part_record_kind)completion->token2};

    if (completion->token2 == AGENT_TOKEN_MARK) {
        ((struct coordinator_log *)(uintptr_t)completion->token)->mark_durable = true;
        return;
    }
    agent->records_pending--;
    if (completion->token2 == AGENT_TOKEN_ENDED) {
        agent_tombstones_saved(agent, (struct coordinator_log *)(uintptr_t)completion->token);
        return;
    }
    branch->records_pending--;
    if (completion->token2 == AGENT_TOKEN_DELETED) {
        agent_tombstones_deleted(agent, branch);
        return;
    }
    if (log_points[event.record].named)
        assent_crash_point(log_points[event.record].after);
    run_step(&(struct agent_step){.branch = branch}, &event);
}

/* ---- events for all branches ---- */

/* resource NULL: of any. */
static void step_open(struct coordinator_log *log, const struct agent_resource *resource,
                      enum assent_part_event_kind kind)
{
    struct agent_branch *branch, *next;

    /* A step moves no other branch than its own. */
    for (branch = TAILQ_FIRST(&log->open); branch; branch = next) {
        struct assent_part_event event = {.kind = kind};

        next = TAILQ_NEXT(branch, link);
        if (!branch->damaged && (!resource || branch->resource == resource))
            run_step(&(struct agent_step){.branch = branch}, &event);
    }
}

/* Of the tombstones, those that can have something to say. */
void agent_driver_peer_up(struct coordinator_log *log, bool accepted)
{
    enum assent_part_event_kind kind = accepted ? ASSENT_PART_EV_ACCEPTED : ASSENT_PART_EV_PEER_UP;
    struct agent_branch *branch, *next;

    step_open(log, NULL, kind);
    for (branch = TAILQ_FIRST(&log->ended); branch; branch = next) {
        struct assent_part_event event = {.kind = kind};

        next = TAILQ_NEXT(branch, link);
        if (branch->machine.phase == ASSENT_PART_HEURISTIC ||
            (accepted && assent_gtrid_incarnation(&branch->id.gtrid) < log->incarnation))
            run_step(&(struct agent_step){.branch = branch}, &event);
    }
}

void agent_driver_resource_up(struct assent_participant *agent,
                              const struct agent_resource *resource)
{
    struct coordinator_log *log, *next;

    HASH_ITER (hh, agent->branches.logs, log, next)
        step_open(log, resource, ASSENT_PART_EV_RM_UP);
}

void agent_driver_stop(struct assent_participant *agent)
{
    struct coordinator_log *log, *next;

    HASH_ITER (hh, agent->branches.logs, log, next)
        step_open(log, NULL, ASSENT_PART_EV_STOP);
}

bool agent_driver_quiet(const struct assent_participant *agent)
{
    return !agent->records_pending && !agent_workers_pending(agent->workers);
}
