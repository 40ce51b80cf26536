/* steps.c: what may happen in a state: deliveries, writes and calls that finish, timers, faults
 * within the budgets. See explore.h for the two models of time. */
#include <string.h>

#include "explore.h"

#define NET_MAX 256

static void (*visit)(const struct state *next, const struct step *step);

bool any_moment(void)
{
    return options.budget[TIMEOUTS] > 0;
}

static bool is_up(const struct state *s, uint32_t node)
{
    return (node_history(s->nodes[node]) & UP) != 0;
}

/* ---- steps that only send ---- */

/* Where no message is ever lost to the search, such a step leads to a state that can do all that
 * the one before it can, so it is made at once, and costs nothing. */
struct saturation {
    struct state *state;
    uint32_t fresh[NET_MAX], count; /* messages not looked at */
    FILE *trace;
};

static void try_sending(struct saturation *t, uint32_t node, enum event_kind kind,
                        uint32_t argument)
{
    struct state *s = t->state;
    uint32_t count, net;
    const struct outcome *o = local_outcomes(s->nodes[node], kind, argument, &count);

    if (count == 0 || o->node != s->nodes[node] || o->send_count == 0 || o->wrong != NULL)
        return;
    net = net_with(s->net, o->sends, o->send_count);
    if (net == s->net)
        return;
    s->net = net;
    for (uint32_t i = 0; i < o->send_count && t->count < NET_MAX; i++)
        t->fresh[t->count++] = o->sends[i];
    if (t->trace != NULL)
        trace_step(t->trace, o->node, node, kind, argument, o, "");
}

/* An answer to an election that is over for who gets it: ignored now, and, since promises only go
 * up, for ever. Without this the states would differ by what nobody looks at any more. */
static bool is_spent(const struct state *s, uint32_t message)
{
    uint32_t to = wire_to(message), count;
    const struct outcome *o;

    if (wire_answers(message) >= node_elected(s->nodes[to]) || !is_up(s, to))
        return false;
    o = local_outcomes(s->nodes[to], EV_DELIVER, message, &count);
    return count == 0 ||
           (count == 1 && o->node == s->nodes[to] && o->send_count == 0 && o->wrong == NULL);
}

static void drop_spent(struct state *s)
{
    uint32_t set[NET_MAX], kept = 0, count;
    const uint32_t *net = net_get(s->net, &count);

    for (uint32_t i = 0; i < count; i++)
        if (!is_spent(s, net[i]))
            set[kept++] = net[i];
    if (kept < count)
        s->net = net_of(set, kept);
}

void saturate(struct state *state, uint32_t changed, FILE *trace)
{
    struct saturation t = {.state = state, .trace = trace};
    const uint32_t *net = net_get(state->net, &t.count);

    memcpy(t.fresh, net, t.count * sizeof(*net));
    try_sending(&t, changed, EV_RETRY, 0);
    try_sending(&t, changed, EV_TIMER, 0);
    for (uint32_t node = 1; node <= (changed == 0 ? options.participants : 1); node++)
        try_sending(&t, changed, EV_CONNECT, changed == 0 ? node : 0);
    for (uint32_t i = 0; i < t.count; i++)
        if (is_up(state, wire_to(t.fresh[i])))
            try_sending(&t, wire_to(t.fresh[i]), EV_DELIVER, t.fresh[i]);
    drop_spent(state);
}

/* ---- steps ---- */

static bool spend(struct state *s, enum budget budget, uint32_t count)
{
    s->used[budget] = (uint8_t)(s->used[budget] + count);
    return s->used[budget] <= options.budget[budget];
}

static void happen(const struct state *s, const struct step *step, uint32_t net, int budget);

/* What follows without delay. */
static bool goes_on(const struct state *s, const struct step *step)
{
    uint32_t history = node_history(s->nodes[step->node]);
    struct step next = {.node = step->node, .note = "", .earlier = step};

    if ((history & UP) == 0) {
        /* To the others one that is slow looks like one that is down, so it is back at once. */
        next.kind = EV_RESTART;
        if (any_moment())
            happen(s, &next, s->net, -1);
        return any_moment();
    }
    if (!options.at_once || (history & AT_WORK) == 0)
        return false;
    next.kind = (history & WRITING) != 0 ? EV_DURABLE : EV_RM;
    happen(s, &next, s->net, -1);
    next.kind = EV_CRASH;
    happen(s, &next, s->net, -1);
    return true;
}

static void reach(const struct state *from, const struct step *step, uint32_t net, int budget)
{
    const struct outcome *o = step->outcome;
    struct state s = *from;

    if (!spend(&s, CRASHES, o->crash) || !spend(&s, ELECTIONS, o->election) ||
        (budget >= 0 && !spend(&s, (enum budget)budget, 1)))
        return;
    s.nodes[step->node] = o->node;
    s.net = any_moment() ? net_with(net, o->sends, o->send_count)
                         : net_change(net, NONE, o->sends, o->send_count);
    if (o->wrong != NULL || !goes_on(&s, step))
        visit(&s, step);
}

static void happen(const struct state *s, const struct step *step, uint32_t net, int budget)
{
    uint32_t count, before = s->nodes[step->node];

    (void)local_outcomes(before, step->kind, step->argument, &count);
    for (uint32_t i = 0; i < count; i++) {
        /* Each time anew: what it points to moves when others are worked out. */
        struct outcome o = local_outcomes(before, step->kind, step->argument, &count)[i];
        struct step made = *step;

        if (any_moment() && o.node == before && o.wrong == NULL)
            continue; /* done by saturate() */
        made.outcome = &o;
        made.before = before;
        reach(s, &made, net, budget == TIMEOUTS && (!any_moment() || o.election) ? -1 : budget);
    }
}

bool quiet(const struct state *s)
{
    uint32_t count;
    const uint32_t *net = net_get(s->net, &count);

    for (uint32_t node = 0; node <= options.participants; node++)
        if ((node_history(s->nodes[node]) & (UP | AT_WORK)) == (UP | AT_WORK))
            return false;
    for (uint32_t i = 0; i < count; i++)
        if (is_up(s, wire_to(net[i])))
            return false;
    return true;
}

static void expand_timers(const struct state *s)
{
    uint32_t down = 0, net, count;

    if (!any_moment() && !quiet(s))
        return;
    for (uint32_t node = 0; node <= options.participants; node++)
        if (!is_up(s, node))
            down |= 1u << node;
    net = any_moment() ? s->net : net_without(s->net, down);
    (void)local_outcomes(s->nodes[0], EV_TIMER, 0, &count);
    for (uint32_t node = 0; node <= options.participants; node++) {
        happen(s, &(struct step){.node = node, .kind = EV_RETRY, .note = ""}, net, TIMEOUTS);
        /* By true clocks a participant waits longer than a live coordinator waits for it. */
        if (any_moment() || node == 0 || count == 0)
            happen(s, &(struct step){.node = node, .kind = EV_TIMER, .note = ""}, net, TIMEOUTS);
    }
}

static void expand_nodes(const struct state *s)
{
    static const enum event_kind kinds[] = {EV_START, EV_DURABLE, EV_RM, EV_RESTART, EV_CRASH};
    bool over = (node_history(s->nodes[0]) & OVER) != 0;

    for (uint32_t node = 0; node <= options.participants; node++) {
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
            happen(s, &(struct step){.node = node, .kind = kinds[i], .note = ""}, s->net, -1);
        if (options.forget && over && node > 0)
            happen(s, &(struct step){.node = node, .kind = EV_FORGET, .note = ""}, s->net, -1);
    }
}

static void lose(const struct state *s, uint32_t message, uint32_t net)
{
    uint32_t to = wire_to(message);
    struct outcome nothing = {.node = s->nodes[to]};

    reach(s,
          &(struct step){.node = to,
                         .kind = EV_DELIVER,
                         .argument = message,
                         .before = s->nodes[to],
                         .outcome = &nothing,
                         .note = ", no: it is lost"},
          net, LOSSES);
}

static void expand_messages(const struct state *s)
{
    uint32_t set[NET_MAX], count;
    const uint32_t *net = net_get(s->net, &count);

    memcpy(set, net, count * sizeof(*net));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t to = wire_to(set[i]), left;
        struct step step = {.node = to, .kind = EV_DELIVER, .argument = set[i], .note = ""};

        if (i > 0 && set[i] == set[i - 1])
            continue;
        left = any_moment() ? s->net : net_change(s->net, set[i], NULL, 0);
        if (is_up(s, to)) {
            happen(s, &step, left, -1);
            step.note = " (a copy)";
            if (!any_moment() && options.budget[DUPLICATES] > 0)
                happen(s, &step, s->net, DUPLICATES);
        }
        if (!any_moment() && options.budget[LOSSES] > 0)
            lose(s, set[i], left);
    }
}

void expand(const struct state *state,
            void (*to_visit)(const struct state *next, const struct step *step))
{
    visit = to_visit;
    expand_messages(state);
    expand_nodes(state);
    expand_timers(state);
}
