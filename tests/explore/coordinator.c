/* coordinator.c: drives the coordinator's machine as assentd does, one event at a time. */
#include <string.h>

#include "explore.h"

static struct assent_coord_actions actions;
static struct assent_coord_record record;

static struct assent_coord_config config_of(const struct node *node)
{
    return (struct assent_coord_config){.incarnation = node->life,
                                        .prepare_timeout_ms = 10,
                                        .precommit_timeout_ms = 10,
                                        .retry_min_ms = 1,
                                        .retry_max_ms = 1,
                                        .abort_delivery_ms = 10};
}

/* When and why are left out: a timer is set, or not. */
static void normalise(struct assent_coord *m)
{
    m->rng = 0;
    m->attempt = 0;
    m->elections = 0;
    m->deadline_ms = CLOCK_DEADLINE;
    if (m->retry_ms != ASSENT_NO_TIMER)
        m->retry_ms = CLOCK_RETRY;
    if (m->phase_end_ms != ASSENT_NO_TIMER)
        m->phase_end_ms = CLOCK_TIMER;
    m->timer_ms = 0;
    m->reason = ASSENT_REASON_NONE;
    m->reason_branch = 0;
    node_normalise_member(&m->member, m->decision != ASSENT_DECISION_NONE);
    for (uint32_t i = 0; m->phase != ASSENT_COORD_PRECOMMITTING && i < m->branch_count; i++)
        m->branches[i].precommitted = false;
}

void coordinator_land(struct doing *d, const struct written *written)
{
    struct node *node = &d->node;
    enum assent_decision made = (enum assent_decision)written->bytes[0];
    enum assent_decision stands =
        node->disk.size > 0 ? (enum assent_decision)node->disk.bytes[0] : ASSENT_DECISION_NONE;

    if (stands != ASSENT_DECISION_NONE && made != stands)
        doing_wrong(d, "AC2: the coordinator's record changed its decision");
    node->disk = *written;
    if (made == ASSENT_DECISION_COMMIT)
        node->history |= DECIDED_COMMIT;
    if (made == ASSENT_DECISION_ABORT)
        node->history |= DECIDED_ABORT;
}

static bool read_record(struct doing *d)
{
    if (d->node.disk.size == 0)
        return false;
    if (assent_coord_record_decode(d->node.disk.bytes, d->node.disk.size, &record) == 0)
        return true;
    doing_wrong(d, "the coordinator's record cannot be read");
    return false;
}

static bool restart(struct doing *d)
{
    struct node *node = &d->node;
    struct assent_coord_config config;

    if (node->up)
        return false;
    node->up = true;
    node->life++;
    config = config_of(node);
    actions.count = 0;
    if (!read_record(d))
        return true;
    assent_coord_recover(&node->m.coord, &config, &record, CLOCK_BEFORE, 0, &actions);
    node->known = true;
    node->ended = node->m.coord.phase == ASSENT_COORD_ENDED;
    return true;
}

static bool make_event(struct doing *d, enum event_kind kind, uint32_t argument,
                       struct assent_coord_event *event)
{
    struct node *node = &d->node;
    const struct assent_coord *m = &node->m.coord;

    event->now_ms = CLOCK_BEFORE;
    switch (kind) {
    case EV_START:
        event->kind = ASSENT_COORD_EV_COMMIT;
        return m->phase == ASSENT_COORD_ACTIVE;
    case EV_DURABLE:
        if (node->writes_pending == 0)
            return false;
        coordinator_land(d, &node->pending[0]);
        memmove(&node->pending[0], &node->pending[1],
                --node->writes_pending * sizeof(node->pending[0]));
        event->kind = ASSENT_COORD_EV_DURABLE;
        event->record = (enum assent_coord_record_kind)node->disk.kind;
        event->standing = (enum assent_decision)node->disk.bytes[0];
        return true;
    case EV_RETRY:
    case EV_TIMER:
        event->kind = ASSENT_COORD_EV_TIMER;
        event->now_ms = kind == EV_RETRY ? CLOCK_RETRY : CLOCK_TIMER;
        return (kind == EV_RETRY ? m->retry_ms : m->phase_end_ms) != ASSENT_NO_TIMER;
    case EV_CONNECT:
        event->kind = ASSENT_COORD_EV_PEER_UP;
        event->participant = argument;
        return true;
    case EV_DELIVER:
        event->kind = ASSENT_COORD_EV_MESSAGE;
        return true;
    case EV_RM:
    case EV_FORGET:
    case EV_RESTART:
    case EV_CRASH:
        return false;
    }
    return false;
}

bool coordinator_step(struct doing *d, enum event_kind kind, uint32_t argument)
{
    struct node *node = &d->node;
    struct assent_coord_config config = config_of(node);
    struct assent_coord_event event = {0};
    bool restarted = kind == EV_RESTART && restart(d);
    uint32_t from, to, ballot;

    if (kind == EV_DELIVER)
        wire_get(argument, &from, &to, &event.message);
    if (!restarted && kind == EV_DELIVER && node->up && (!node->known || node->ended)) {
        bool found = read_record(d);

        assent_coord_answer_unknown(&config, found ? &record : NULL, &event.message, &actions);
    } else if (!restarted) {
        if (!node->up || !node->known || node->ended || !make_event(d, kind, argument, &event))
            return false;
        ballot = node->m.coord.member.last_elected;
        assent_coord_step(&node->m.coord, &config, &event, &actions);
        d->election = node->m.coord.member.role == ASSENT_MEMBER_ASKING &&
                      node->m.coord.member.last_elected > ballot;
    }
    if (node->known)
        normalise(&node->m.coord);
    d->action_count = (uint32_t)actions.count;
    return true;
}

static void log_record(struct doing *d, const struct assent_coord_action *action)
{
    uint8_t bytes[RECORD_MAX];
    size_t size = 0;

    assent_coord_to_record(&d->node.m.coord, action->record, &record);
    if (assent_coord_record_encode(&record, bytes, sizeof(bytes), &size) != 0)
        doing_wrong(d, "the coordinator's record cannot be encoded");
    else
        doing_write(d, (int)action->record, action->forced, bytes, size);
}

static void reply(struct doing *d)
{
    enum assent_outcome outcome = d->node.m.coord.outcome;

    if (outcome == ASSENT_OUTCOME_COMMITTED)
        d->node.history |= COMMITTED;
    if (outcome == ASSENT_OUTCOME_ABORTED)
        d->node.history |= TOLD_ABORTED;
    if (options.keyed && d->node.disk.size == 0)
        doing_wrong(d, "told the outcome of a key that is not on record");
}

void coordinator_act(struct doing *d, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct assent_coord_action *a = &actions.items[i];

        switch (a->kind) {
        case ASSENT_COORD_ACT_SEND:
            doing_send(d, a->message.branch, &a->message);
            break;
        case ASSENT_COORD_ACT_LOG:
            log_record(d, a);
            break;
        case ASSENT_COORD_ACT_REPLY:
            reply(d);
            break;
        case ASSENT_COORD_ACT_ALARM:
            d->node.history |= ALARM;
            break;
        case ASSENT_COORD_ACT_ENDED:
            d->node.ended = true;
            break;
        case ASSENT_COORD_ACT_ENLISTED:
        case ASSENT_COORD_ACT_REFUSED:
            break;
        }
    }
}

void coordinator_begin(struct node *node, const struct assent_gtrid *gtrid)
{
    struct assent_coord_config config;

    node->up = node->known = true;
    node->life = 1;
    config = config_of(node);
    assent_coord_init(&node->m.coord, gtrid,
                      &(struct assent_coord_begin){.protocol = options.protocol,
                                                   .termination = options.termination,
                                                   .keyed = options.keyed,
                                                   .deadline_ms = CLOCK_DEADLINE});
    for (uint32_t i = 1; i <= options.participants; i++)
        assent_coord_step(&node->m.coord, &config,
                          &(struct assent_coord_event){.kind = ASSENT_COORD_EV_ENLIST,
                                                       .now_ms = CLOCK_BEFORE,
                                                       .participant = i,
                                                       .epoch = 1,
                                                       .has_work = true,
                                                       .one_phase = true},
                          &actions);
    normalise(&node->m.coord);
}
