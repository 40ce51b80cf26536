/* participant.c: drives a participant's machine as the agent does, one event at a time, with the
 * simplest resource manager. */
#include <string.h>

#include "explore.h"

static struct assent_part_actions actions;
static struct assent_part_record record;

static struct assent_part_config config_of(const struct node *node)
{
    /* One of two finds its prepared branches in the RM's list, and needs no record for a 2pc. */
    return (struct assent_part_config){.epoch = node->life,
                                       .capabilities =
                                           ASSENT_CAP_EVIDENCE | ASSENT_CAP_ONE_PHASE |
                                           (node->number % 2 == 1 ? ASSENT_CAP_PREPARED_LIST : 0),
                                       .retry_min_ms = 1,
                                       .retry_max_ms = 1,
                                       .inquire_ms = 1};
}

/* When and why are left out: a timer is set, or not. */
static void normalise(struct assent_part *m)
{
    m->rng = 0;
    m->attempt = 0;
    m->elections = 0;
    m->timeout_ms = 1;
    m->reason = ASSENT_REASON_NONE;
    node_normalise_member(&m->member, m->decision != ASSENT_DECISION_NONE);
    if (m->retry_ms != ASSENT_NO_TIMER)
        m->retry_ms = CLOCK_RETRY;
    if (m->alone_ms != ASSENT_NO_TIMER)
        m->alone_ms = CLOCK_TIMER;
    m->timer_ms = 0;
}

void participant_land(struct doing *d, const struct written *written)
{
    struct node *node = &d->node;

    node->disk = *written;
    if (written->size == 0 || written->kind != ASSENT_PART_RECORD_DECIDED ||
        (node->history & VOTED) == 0)
        return;
    if (written->bytes[0] == ASSENT_DECISION_COMMIT)
        node->history |= DECIDED_COMMIT;
    if (written->bytes[0] == ASSENT_DECISION_ABORT)
        node->history |= DECIDED_ABORT;
}

/* ---- the resource manager ---- */

static enum assent_rm_result rm_prepare(struct node *node)
{
    if (node->rm == RM_NONE)
        return ASSENT_RM_NOT_FOUND;
    if (node->rm == RM_PREPARED)
        return ASSENT_RM_OK;
    if (node->refuses || !node->writes) {
        node->rm = RM_NONE;
        return node->refuses ? ASSENT_RM_REFUSED : ASSENT_RM_READ_ONLY;
    }
    node->rm = RM_PREPARED;
    node->history |= WAS_PREPARED;
    return ASSENT_RM_OK;
}

static enum assent_rm_result rm_commit(struct doing *d, bool one_phase)
{
    struct node *node = &d->node;

    if (node->rm == RM_NONE)
        return ASSENT_RM_NOT_FOUND;
    if (one_phase && node->refuses) {
        node->rm = RM_NONE;
        return ASSENT_RM_REFUSED;
    }
    if (one_phase != (node->rm == RM_ACTIVE))
        doing_wrong(d, "commit of a branch that was not prepared, or one-phase of one that was");
    node->rm = RM_NONE;
    node->marker = true;
    node->history |= COMMITTED;
    return ASSENT_RM_OK;
}

static enum assent_rm_result rm_roll_back(struct node *node)
{
    if (node->rm == RM_NONE)
        return ASSENT_RM_NOT_FOUND;
    if (node->rm == RM_PREPARED && (node->history & VOTED) != 0)
        node->history |= DECIDED_ABORT;
    node->rm = RM_NONE;
    return ASSENT_RM_OK;
}

void participant_rm_effect(struct doing *d, uint32_t call, enum assent_rm_result *ret_result)
{
    struct node *node = &d->node;

    if (node->call_begins[call] && node->rm == RM_NONE)
        node->rm = RM_ACTIVE;
    switch ((enum assent_operation)node->calls[call]) {
    case ASSENT_OP_WORK:
        *ret_result = node->rm == RM_ACTIVE ? ASSENT_RM_OK : ASSENT_RM_FAILED;
        break;
    case ASSENT_OP_PREPARE:
        *ret_result = rm_prepare(node);
        break;
    case ASSENT_OP_COMMIT:
        *ret_result = rm_commit(d, false);
        break;
    case ASSENT_OP_ONE_PHASE:
        *ret_result = rm_commit(d, true);
        break;
    case ASSENT_OP_ROLLBACK:
        *ret_result = rm_roll_back(node);
        break;
    case ASSENT_OP_EVIDENCE:
        if (node->marker)
            *ret_result = ASSENT_RM_WAS_COMMITTED;
        else
            *ret_result = node->rm == RM_PREPARED ? ASSENT_RM_OK : ASSENT_RM_WAS_ABORTED;
        break;
    case ASSENT_OP_FORGET:
    case ASSENT_OP_COUNT:
        doing_wrong(d, "the resource manager was called for nothing");
        break;
    }
}

/* ---- events ---- */

static bool restart(struct doing *d)
{
    struct node *node = &d->node;
    struct assent_part_config config;

    if (node->up)
        return false;
    node->up = true;
    node->life++;
    config = config_of(node);
    actions.count = 0;
    if (node->disk.size > 0) {
        if (assent_part_record_decode(node->disk.bytes, node->disk.size, &record) != 0) {
            doing_wrong(d, "a participant's record cannot be read");
            return true;
        }
        assent_part_recover(&node->m.part, &config, &record, CLOCK_BEFORE, 0, &actions);
    } else if (node->rm == RM_PREPARED) {
        assent_part_recover_listed(&node->m.part, &config, &explored_gtrid, node->number,
                                   options.protocol, ASSENT_LISTED_AT_START, CLOCK_BEFORE, 0,
                                   &actions);
    } else {
        return true;
    }
    node->known = true;
    return true;
}

/* What has ended is dropped: first our record, by a lazy write, later the RM's proof. */
static bool forget(struct doing *d)
{
    struct node *node = &d->node;

    if (!node->up || (node->known && (!assent_part_final(&node->m.part) ||
                                      node->m.part.phase == ASSENT_PART_HEURISTIC)))
        return false;
    actions.count = 0;
    if (node->known || !node->closed) {
        node->known = false;
        node->closed = true;
        memset(&node->m, 0, sizeof(node->m));
        if (node->disk.size > 0 || node->writes_pending > 0)
            doing_write(d, ASSENT_PART_RECORD_DONE, false, NULL, 0);
        return true;
    }
    if (!node->marker)
        return false;
    node->disk = (struct written){0};
    node->writes_pending = 0;
    node->marker = false;
    return true;
}

static void land_forced(struct doing *d, uint32_t index)
{
    struct node *node = &d->node;
    uint32_t count = index + 1;

    for (uint32_t i = 0; i < count; i++)
        participant_land(d, &node->pending[i]);
    node->writes_pending = (uint8_t)(node->writes_pending - count);
    memmove(&node->pending[0], &node->pending[count],
            node->writes_pending * sizeof(node->pending[0]));
}

/* Lazy writes have no completion that anything waits for: they land with a forced one, or at a
 * crash, or not. */
static bool durable(struct doing *d, struct assent_part_event *event)
{
    for (uint32_t i = 0; i < d->node.writes_pending; i++)
        if (d->node.pending[i].forced) {
            land_forced(d, i);
            event->kind = ASSENT_PART_EV_DURABLE;
            event->record = (enum assent_part_record_kind)d->node.disk.kind;
            return true;
        }
    return false;
}

static bool rm_answers(struct doing *d, struct assent_part_event *event)
{
    struct node *node = &d->node;

    if (node->calls_pending == 0)
        return false;
    event->kind = ASSENT_PART_EV_RM;
    event->operation = (enum assent_operation)node->calls[0];
    participant_rm_effect(d, 0, &event->result);
    node->calls_pending--;
    memmove(&node->calls[0], &node->calls[1], node->calls_pending * sizeof(node->calls[0]));
    memmove(&node->call_begins[0], &node->call_begins[1],
            node->calls_pending * sizeof(node->call_begins[0]));
    return true;
}

static bool make_event(struct doing *d, enum event_kind kind, struct assent_part_event *event)
{
    const struct assent_part *m = &d->node.m.part;

    event->now_ms = CLOCK_BEFORE;
    switch (kind) {
    case EV_DURABLE:
        return durable(d, event);
    case EV_RM:
        return rm_answers(d, event);
    case EV_RETRY:
    case EV_TIMER:
        event->kind = ASSENT_PART_EV_TIMER;
        event->now_ms = kind == EV_RETRY ? CLOCK_RETRY : CLOCK_TIMER;
        return (kind == EV_RETRY ? m->retry_ms : m->alone_ms) != ASSENT_NO_TIMER;
    case EV_CONNECT:
        event->kind = ASSENT_PART_EV_PEER_UP;
        return true;
    case EV_DELIVER:
        event->kind = ASSENT_PART_EV_MESSAGE;
        return true;
    case EV_START:
    case EV_FORGET:
    case EV_RESTART:
    case EV_CRASH:
        return false;
    }
    return false;
}

/* A first message makes the machine; one that says nothing to it is not kept. */
static void receive(struct node *node, uint32_t argument, struct assent_part_event *event)
{
    uint32_t from, to;

    wire_get(argument, &from, &to, &event->message);
    if (node->known)
        return;
    if (node->closed)
        assent_part_init_closed(&node->m.part, &event->message.gtrid, event->message.branch);
    else
        assent_part_init(&node->m.part, &event->message.gtrid, event->message.branch, 0);
    node->known = true;
}

bool participant_step(struct doing *d, enum event_kind kind, uint32_t argument)
{
    struct node *node = &d->node;
    struct assent_part_config config = config_of(node);
    struct assent_part_event event = {0};
    bool was_known = node->known;
    uint32_t ballot;

    if (kind == EV_RESTART || kind == EV_FORGET) {
        if (!(kind == EV_RESTART ? restart(d) : forget(d)))
            return false;
    } else {
        if (!node->up)
            return false;
        if (kind == EV_DELIVER)
            receive(node, argument, &event);
        if (!node->known || !make_event(d, kind, &event))
            return false;
        ballot = node->m.part.member.last_elected;
        assent_part_step(&node->m.part, &config, &event, &actions);
        d->election = node->m.part.member.role == ASSENT_MEMBER_ASKING &&
                      node->m.part.member.last_elected > ballot;
        d->drop = (!was_known && node->closed) || node->m.part.phase == ASSENT_PART_NONE;
    }
    if (node->known)
        normalise(&node->m.part);
    d->action_count = (uint32_t)actions.count;
    return true;
}

/* ---- actions ---- */

/* Rule 1, durable before visible: looked at from outside the core. */
static void check_send(struct doing *d, const struct assent_message *message)
{
    struct node *node = &d->node;

    if (message->kind != ASSENT_MSG_VOTE)
        return;
    if (message->vote == ASSENT_VOTE_YES && (node->history & WAS_PREPARED) == 0 &&
        !node->m.part.witness)
        doing_wrong(d, "a yes vote was sent for a branch that is not prepared");
    if (message->vote == ASSENT_VOTE_YES && options.protocol == ASSENT_3PC && node->disk.size == 0)
        doing_wrong(d, "a 3pc yes vote was sent before its record was durable");
    if (message->vote == ASSENT_VOTE_YES || message->vote == ASSENT_VOTE_READ_ONLY)
        node->history |= VOTED;
}

static void send_one(struct doing *d, const struct assent_message *message, uint32_t to)
{
    struct assent_message addressed = *message;

    assent_part_address(&addressed, to);
    if (to != ASSENT_TO_COORDINATOR)
        addressed.epoch = 1; /* of the enlisted branch */
    doing_send(d, to, &addressed);
}

static void send(struct doing *d, const struct assent_part_action *action)
{
    check_send(d, &action->message);
    if (action->to != ASSENT_TO_ALL) {
        send_one(d, &action->message, action->to);
        return;
    }
    for (uint32_t to = 0; to <= options.participants; to++)
        if (to != d->node.number)
            send_one(d, &action->message, to);
}

static void log_record(struct doing *d, const struct assent_part_action *action)
{
    uint8_t bytes[RECORD_MAX];
    size_t size = 0;

    assent_part_to_record(&d->node.m.part, action->record, &record);
    if (assent_part_record_encode(&record, bytes, sizeof(bytes), &size) != 0)
        doing_wrong(d, "a participant's record cannot be encoded");
    else
        doing_write(d, (int)action->record, action->forced, bytes, size);
}

static void call(struct doing *d, const struct assent_part_action *action)
{
    struct node *node = &d->node;

    if (node->calls_pending == CALLS_MAX) {
        doing_wrong(d, "too many calls of the resource manager at once");
        return;
    }
    node->calls[node->calls_pending] = (uint8_t)action->operation;
    node->call_begins[node->calls_pending++] = action->with_begin;
}

void participant_act(struct doing *d, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct assent_part_action *a = &actions.items[i];

        switch (a->kind) {
        case ASSENT_PART_ACT_SEND:
        case ASSENT_PART_ACT_WORK_DONE:
            send(d, a);
            break;
        case ASSENT_PART_ACT_LOG:
            log_record(d, a);
            break;
        case ASSENT_PART_ACT_CALL:
            call(d, a);
            break;
        case ASSENT_PART_ACT_ALARM:
            d->node.history |= ALARM;
            break;
        case ASSENT_PART_ACT_ENDED:
            break;
        }
    }
}
