/*
 * local.c: what one event can do to one node: worked out once by the shipped machines, looked up
 * from then on. A process may die between any two actions of a step, with its unsynced writes
 * landed or lost and its RM calls done or not.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "explore.h"

/* Asked at every step of the search, so the key lies in the slot itself. */
struct answer {
    uint64_t question;
    uint32_t first, count;
};

#define NO_QUESTION UINT64_MAX

static struct answer *answers; /* a power of two of slots */
static size_t answers_count, answers_capacity;
static struct outcome *outcomes;
static uint32_t outcomes_count, outcomes_capacity;
static sigjmp_buf trapped;

/* ---- what the drivers do ---- */

void doing_wrong(struct doing *d, const char *what)
{
    if (d->wrong == NULL)
        d->wrong = what;
}

void doing_send(struct doing *d, uint32_t to, const struct assent_message *message)
{
    if (d->send_count == SENDS_MAX)
        abort();
    d->sends[d->send_count++] = wire_put(d->node.number, to, message);
}

void doing_write(struct doing *d, int kind, bool forced, const uint8_t *bytes, size_t size)
{
    struct written *w = &d->node.pending[d->node.writes_pending++];

    if (d->node.writes_pending > WRITES_MAX || size > RECORD_MAX)
        abort();
    memset(w, 0, sizeof(*w));
    w->kind = (uint8_t)kind;
    w->forced = forced;
    w->size = (uint16_t)size;
    if (size > 0)
        memcpy(w->bytes, bytes, size);
}

static void land(struct doing *d, const struct written *written)
{
    if (d->node.number == 0)
        coordinator_land(d, written);
    else
        participant_land(d, written);
}

static void act(struct doing *d, uint32_t count)
{
    if (d->node.number == 0)
        coordinator_act(d, count);
    else
        participant_act(d, count);
}

/* ---- outcomes ---- */

static bool same(const struct outcome *a, const struct outcome *b)
{
    return a->node == b->node && a->wrong == b->wrong && a->send_count == b->send_count &&
           memcmp(a->sends, b->sends, a->send_count * sizeof(a->sends[0])) == 0;
}

static void add(uint32_t first, const struct doing *d, bool crash)
{
    struct outcome o = {.node = node_put(&d->node),
                        .crash = crash,
                        .election = d->election,
                        .send_count = (uint8_t)d->send_count,
                        .wrong = d->wrong};

    memcpy(o.sends, d->sends, d->send_count * sizeof(d->sends[0]));
    for (uint32_t i = first; i < outcomes_count; i++)
        if (outcomes[i].crash == crash && same(&outcomes[i], &o))
            return;
    if (outcomes_count == outcomes_capacity) {
        outcomes_capacity = 2 * outcomes_capacity + 1024;
        outcomes = grown(outcomes, outcomes_capacity, sizeof(*outcomes));
    }
    outcomes[outcomes_count++] = o;
}

/* Some first writes have landed, and some first calls have been carried out. */
static void add_crashes(uint32_t first, const struct doing *before)
{
    for (uint32_t landed = 0; landed <= before->node.writes_pending; landed++)
        for (uint32_t called = 0; called <= before->node.calls_pending; called++) {
            struct doing d = *before;
            enum assent_rm_result ignored;

            for (uint32_t i = 0; i < landed; i++)
                land(&d, &before->node.pending[i]);
            for (uint32_t i = 0; i < called; i++)
                participant_rm_effect(&d, i, &ignored);
            if (d.node.rm == RM_ACTIVE)
                d.node.rm = RM_NONE;
            d.node.up = d.node.known = d.node.ended = false;
            d.node.writes_pending = d.node.calls_pending = 0;
            memset(d.node.pending, 0, sizeof(d.node.pending));
            memset(d.node.calls, 0, sizeof(d.node.calls));
            memset(d.node.call_begins, 0, sizeof(d.node.call_begins));
            memset(&d.node.m, 0, sizeof(d.node.m));
            add(first, &d, true);
        }
}

static void on_trap(int signal)
{
    (void)signal;
    siglongjmp(trapped, 1);
}

/* The core's own checks end in a trap. */
static bool step(struct doing *d, enum event_kind kind, uint32_t argument)
{
    static struct doing *doing;
    static bool can;

    doing = d;
    if (sigsetjmp(trapped, 1) != 0) {
        doing_wrong(doing, "the core's own check failed");
        doing->action_count = 0;
        return true;
    }
    signal(SIGILL, on_trap);
    signal(SIGTRAP, on_trap);
    can = d->node.number == 0 ? coordinator_step(d, kind, argument)
                              : participant_step(d, kind, argument);
    return can;
}

static void work_out(uint32_t first, uint32_t node, enum event_kind kind, uint32_t argument)
{
    static struct doing stepped, d;

    memset(&stepped, 0, sizeof(stepped));
    node_get(node, &stepped.node);
    if (kind == EV_CRASH) {
        if (stepped.node.up)
            add_crashes(first, &stepped);
        return;
    }
    if (!step(&stepped, kind, argument))
        return;
    d = stepped;
    act(&d, d.action_count);
    if (d.drop) {
        d.node.known = false;
        memset(&d.node.m, 0, sizeof(d.node.m));
    }
    add(first, &d, false);
    for (uint32_t count = 1; options.budget[CRASHES] > 0 && count < stepped.action_count; count++) {
        d = stepped;
        act(&d, count);
        add_crashes(first, &d);
    }
}

static struct answer *slot_of(uint64_t question)
{
    uint64_t at = question * 0x9e3779b97f4a7c15u;

    for (at ^= at >> 32;; at++) {
        struct answer *slot = &answers[at & (answers_capacity - 1)];

        if (slot->question == question || slot->question == NO_QUESTION)
            return slot;
    }
}

static void more_slots(void)
{
    struct answer *old = answers;
    size_t old_capacity = answers_capacity;

    answers_capacity = old_capacity == 0 ? 1024 : 2 * old_capacity;
    answers = grown(NULL, answers_capacity, sizeof(*answers));
    memset(answers, 0xff, answers_capacity * sizeof(*answers));
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].question != NO_QUESTION)
            *slot_of(old[i].question) = old[i];
    free(old);
}

const struct outcome *local_outcomes(uint32_t node, enum event_kind kind, uint32_t argument,
                                     uint32_t *ret_count)
{
    uint64_t question = (uint64_t)node << 32 | (uint64_t)kind << 28 | argument;
    struct answer *slot;

    if (argument >> 28 != 0)
        abort();
    if (2 * (answers_count + 1) > answers_capacity)
        more_slots();
    slot = slot_of(question);
    if (slot->question == NO_QUESTION) {
        uint32_t first = outcomes_count;

        work_out(first, node, kind, argument);
        *slot = (struct answer){question, first, outcomes_count - first};
        answers_count++;
    }
    *ret_count = slot->count;
    return &outcomes[slot->first];
}

void local_clear(void)
{
    free(answers);
    free(outcomes);
    answers = NULL;
    outcomes = NULL;
    answers_count = answers_capacity = 0;
    outcomes_count = outcomes_capacity = 0;
}
