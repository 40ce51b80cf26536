/*
 * settle.c: whether those who are alive and connected can still finish: no more faults, messages
 * between them arrive in order, timers fire one after the other, and as many as it takes. The
 * others are cut off, and what was on its way before is lost. One schedule that finishes shows that
 * it is possible; the machines are the same, and so are the checks on the way.
 */
#include <stdlib.h>
#include <string.h>

#include "explore.h"

#define QUEUE_MAX 8192
#define ROUNDS    12 /* of every timer of every node */

static struct intern known; /* what was tried; results beside it */
static uint8_t *results;
static uint32_t results_capacity;

struct settling {
    uint32_t members; /* the nodes that hear each other */
    bool healed;
    uint32_t nodes[NODES_MAX];
    uint32_t queue[QUEUE_MAX], head, tail;
    const char *wrong;
    FILE *trace;
};

static struct settling s;

static bool happens(uint32_t node, enum event_kind kind, uint32_t argument)
{
    uint32_t count, before = s.nodes[node];
    const struct outcome *o = local_outcomes(before, kind, argument, &count);

    if (count == 0)
        return false;
    s.nodes[node] = o->node;
    if (s.trace != NULL)
        trace_step(s.trace, before, node, kind, argument, o, "");
    for (uint32_t i = 0; i < o->send_count && s.wrong == NULL; i++) {
        if (s.tail == QUEUE_MAX)
            s.wrong = "messages without end";
        else
            s.queue[s.tail++] = o->sends[i];
    }
    if (s.wrong == NULL)
        s.wrong = o->wrong;
    if (s.wrong == NULL)
        s.wrong = check_histories(s.nodes);
    return true;
}

static bool is_member(uint32_t node)
{
    return (s.members >> node & 1) != 0 && (node_history(s.nodes[node]) & UP) != 0;
}

static bool work_is_done(void)
{
    bool any = false;

    for (uint32_t node = 0; node <= options.participants; node++)
        while (
            s.wrong == NULL && is_member(node) &&
            (happens(node, EV_START, 0) || happens(node, EV_DURABLE, 0) || happens(node, EV_RM, 0)))
            any = true;
    return any;
}

static void drain(void)
{
    while (s.wrong == NULL && (work_is_done() || s.head < s.tail)) {
        uint32_t message, to;

        if (s.wrong != NULL || s.head == s.tail)
            continue;
        message = s.queue[s.head++];
        to = wire_to(message);
        if (is_member(to))
            happens(to, EV_DELIVER, message);
    }
    s.head = s.tail = 0;
}

static bool finished(void)
{
    uint32_t open = s.healed ? UNFINISHED : IN_DOUBT;

    for (uint32_t node = 0; node <= options.participants; node++)
        if (is_member(node) && (node_history(s.nodes[node]) & open) != 0)
            return false;
    return true;
}

/* All have finished: what asking tells is what was done. */
static void check_end(void)
{
    bool committed = false;

    for (uint32_t node = 0; node <= options.participants; node++)
        committed |= (node_history(s.nodes[node]) & (COMMITTED | DECIDED_COMMIT)) != 0;
    if ((node_history(s.nodes[0]) & (committed ? ANSWERS_COMMITTED : ANSWERS_ABORTED)) == 0)
        s.wrong = "AC2: asking tells another outcome than what was done";
    for (uint32_t node = 1; committed && node <= options.participants; node++)
        if ((node_history(s.nodes[node]) & (WRITES | COMMITTED)) == WRITES)
            s.wrong = "AC1: committed, but a branch that wrote has not";
}

static uint32_t key_of(uint8_t *key)
{
    uint32_t size = (options.participants + 1) * (uint32_t)sizeof(s.nodes[0]);

    key[0] = (uint8_t)s.members;
    key[1] = s.healed;
    memcpy(key + 2, s.nodes, size);
    return size + 2;
}

static void remember(const uint8_t *key, uint32_t size, enum settled result)
{
    bool fresh;
    uint32_t number = intern_put(&known, key, size, &fresh);

    if (number >= results_capacity) {
        results_capacity = 2 * results_capacity + 1024;
        results = grown(results, results_capacity, 1);
    }
    results[number] = (uint8_t)result;
}

static enum settled fire_timers(void)
{
    for (uint32_t round = 0; round < ROUNDS; round++)
        for (uint32_t node = 0; node <= options.participants; node++)
            for (int last = 0; last < 2; last++) {
                if (finished())
                    return SETTLED;
                if (is_member(node) && happens(node, last ? EV_TIMER : EV_RETRY, 0))
                    drain();
                if (s.wrong != NULL)
                    return WRONG;
            }
    return finished() ? SETTLED : BLOCKED;
}

static void reconnect(void)
{
    for (uint32_t node = 0; node <= options.participants; node++)
        happens(node, EV_RESTART, 0);
    for (uint32_t node = 1; node <= options.participants; node++) {
        happens(0, EV_CONNECT, node);
        happens(node, EV_CONNECT, 0);
    }
}

static enum settled run(void)
{
    uint8_t first_key[2 + sizeof(s.nodes)], key[2 + sizeof(s.nodes)];
    uint32_t size = key_of(first_key), number = intern_find(&known, first_key, size);
    enum settled result;

    if (number != NONE && s.trace == NULL)
        return (enum settled)results[number];
    s.wrong = NULL;
    if (s.healed)
        reconnect();
    drain();
    if (s.wrong != NULL)
        return WRONG; /* and that ends the exploration */
    (void)key_of(key);
    number = intern_find(&known, key, size);
    if (number != NONE && s.trace == NULL && !s.healed) {
        result = (enum settled)results[number];
    } else {
        result = fire_timers();
        if (result == SETTLED && s.healed)
            check_end();
        if (s.wrong != NULL)
            return WRONG;
        remember(key, size, result);
    }
    remember(first_key, size, result);
    return result;
}

static enum settled settle(const uint32_t *nodes, uint32_t members, bool healed, FILE *trace)
{
    memcpy(s.nodes, nodes, sizeof(s.nodes));
    s.members = members;
    s.healed = healed;
    s.trace = trace;
    return run();
}

enum settled settle_live(const uint32_t *nodes, uint32_t live, const char **ret_wrong)
{
    enum settled result = settle(nodes, live, false, NULL);

    *ret_wrong = s.wrong;
    return result;
}

enum settled settle_healed(const uint32_t *nodes, const char **ret_wrong)
{
    enum settled result = settle(nodes, (1u << NODES_MAX) - 1, true, NULL);

    *ret_wrong = s.wrong;
    return result;
}

bool settle_commits(const uint32_t *nodes)
{
    const char *wrong;

    return settle_healed(nodes, &wrong) == SETTLED &&
           (node_history(s.nodes[0]) & ANSWERS_COMMITTED) != 0;
}

void settle_print(const uint32_t *nodes, uint32_t live, bool healed, FILE *trace)
{
    (void)settle(nodes, healed ? (1u << NODES_MAX) - 1 : live, healed, trace);
}

void settle_clear(void)
{
    intern_clear(&known);
    free(results);
    results = NULL;
    results_capacity = 0;
}
