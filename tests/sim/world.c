/* world.c: the simulator's events, clocks, chance, and processes that die. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"
#include "sim.h"

#define DRAWN       (1ull << 63) /* a tie that was drawn, above all times */
#define CLOCK_START 1000000u     /* a clock is never at 0 */

static void *grown(void *old, size_t count, size_t size)
{
    void *made = realloc(old, count * size);

    if (made == NULL)
        abort();
    return made;
}

struct sim_world *sim_world_new(void)
{
    struct sim_world *w = calloc(1, sizeof(*w));

    if (w == NULL)
        abort();
    return w;
}

void sim_world_free(struct sim_world *w)
{
    free(w->heap);
    free(w->pool);
    free(w->freed);
    free(w);
}

void sim_world_reset(struct sim_world *w)
{
    struct sim_world kept = *w;

    memset(w, 0, sizeof(*w));
    w->options = kept.options;
    w->heap = kept.heap;
    w->heap_capacity = kept.heap_capacity;
    w->pool = kept.pool;
    w->pool_capacity = kept.pool_capacity;
    w->freed = kept.freed;
    w->hash = 0xcbf29ce484222325u;
}

/* ---- chance ---- */

uint64_t sim_below(struct sim_world *w, uint64_t bound)
{
    return assent_rng_below(&w->rng, bound);
}

bool sim_chance(struct sim_world *w, unsigned fault, unsigned per_thousand)
{
    const struct sim_options *o = w->options;
    uint32_t number;

    if ((w->faults & fault) == 0 || w->healed || sim_below(w, 1000) >= per_thousand)
        return false;
    number = w->fault_count++;
    return o->suppressed == NULL || number >= o->suppressed_count ||
           (o->suppressed[number / 8] >> number % 8 & 1) == 0;
}

/* ---- what happened ---- */

static void mix(struct sim_world *w, uint64_t value)
{
    w->hash = (w->hash ^ value) * 0x100000001b3u;
}

void sim_trace_line(const struct sim_world *w, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fprintf(w->options->trace, "%8" PRIu64 " ", w->now_ms);
    vfprintf(w->options->trace, format, args);
    fputc('\n', w->options->trace);
    va_end(args);
}

void sim_probe(struct sim_world *w, enum sim_probe probe)
{
    static const char *const texts[] = {
#define X(name, text) text,
        SIM_PROBES(X)
#undef X
    };

    w->probes[probe]++;
    sim_trace(w, "* %s", texts[probe]);
}

void sim_violation(struct sim_world *w, uint32_t tx, const char *what)
{
    if (w->violation != NULL)
        return;
    w->violation = what;
    w->violation_tx = tx;
    sim_trace(w, "VIOLATION tx%u: %s", tx, what);
}

/* ---- the heap ---- */

static bool before(const struct sim_slot *a, const struct sim_slot *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->tie < b->tie;
}

static void sift_up(struct sim_world *w, size_t at)
{
    struct sim_slot moving = w->heap[at];

    for (; at > 0 && before(&moving, &w->heap[(at - 1) / 2]); at = (at - 1) / 2)
        w->heap[at] = w->heap[(at - 1) / 2];
    w->heap[at] = moving;
}

static void sift_down(struct sim_world *w, size_t at)
{
    struct sim_slot moving = w->heap[at];

    for (size_t child = 2 * at + 1; child < w->heap_count; child = 2 * at + 1) {
        if (child + 1 < w->heap_count && before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!before(&w->heap[child], &moving))
            break;
        w->heap[at] = w->heap[child];
        at = child;
    }
    w->heap[at] = moving;
}

static void push(struct sim_world *w, uint64_t at_ms, uint32_t event)
{
    if (w->heap_count == w->heap_capacity) {
        w->heap_capacity = w->heap_capacity == 0 ? 256 : 2 * w->heap_capacity;
        w->heap = grown(w->heap, w->heap_capacity, sizeof(*w->heap));
    }
    /* Equal times: any order, but the same for the same seed. Writes keep theirs by their time. */
    w->heap[w->heap_count++] = (struct sim_slot){at_ms, assent_rng_next(&w->rng) | DRAWN, event};
    sift_up(w, w->heap_count - 1);
}

struct sim_event *sim_schedule(struct sim_world *w, uint64_t delay_ms, enum sim_event_kind kind,
                               uint32_t node, uint32_t tx)
{
    struct sim_event *event;
    uint32_t index;

    if (w->pool_free > 0) {
        index = w->freed[--w->pool_free];
    } else {
        if (w->pool_count == w->pool_capacity) {
            w->pool_capacity = w->pool_capacity == 0 ? 256 : 2 * w->pool_capacity;
            w->pool = grown(w->pool, w->pool_capacity, sizeof(*w->pool));
            w->freed = grown(w->freed, w->pool_capacity, sizeof(*w->freed));
        }
        index = w->pool_count++;
    }
    event = &w->pool[index];
    memset(event, 0, offsetof(struct sim_event, bytes));
    event->kind = kind;
    event->node = node;
    event->tx = tx;
    push(w, w->now_ms + delay_ms, index);
    return event;
}

/* A process that stands still gets its events when it goes on; its store and RM do not stop. */
static bool waits(const struct sim_world *w, const struct sim_event *event)
{
    if (w->nodes[event->node].paused_until <= w->now_ms)
        return false;
    return event->kind == SIM_EV_MESSAGE || event->kind == SIM_EV_TIMER ||
           event->kind == SIM_EV_DURABLE || event->kind == SIM_EV_RM_ANSWER ||
           event->kind == SIM_EV_COMMIT || event->kind == SIM_EV_BEGIN ||
           event->kind == SIM_EV_CONNECT;
}

struct sim_event *sim_next(struct sim_world *w)
{
    static struct sim_event current;
    struct sim_slot slot;

    for (;;) {
        if (w->heap_count == 0)
            return NULL;
        slot = w->heap[0];
        w->heap[0] = w->heap[--w->heap_count];
        if (w->heap_count > 0)
            sift_down(w, 0);
        w->now_ms = slot.at_ms;
        if (!waits(w, &w->pool[slot.event]))
            break;
        /* Its first time as the tie keeps what waits in its order, however often it must wait. */
        if ((slot.tie & DRAWN) != 0)
            slot.tie = slot.at_ms;
        slot.at_ms = w->nodes[w->pool[slot.event].node].paused_until;
        w->heap[w->heap_count++] = slot;
        sift_up(w, w->heap_count - 1);
    }
    memcpy(&current, &w->pool[slot.event],
           offsetof(struct sim_event, bytes) + w->pool[slot.event].size);
    w->freed[w->pool_free++] = slot.event;
    w->events++;
    mix(w, slot.at_ms);
    mix(w, (uint64_t)current.kind << 32 | current.node << 16 | current.tx << 8 | current.from);
    return &current;
}

/* ---- clocks ---- */

uint64_t sim_clock(const struct sim_world *w, uint32_t node)
{
    return CLOCK_START + w->now_ms * w->nodes[node].rate / 1000;
}

uint64_t sim_until(const struct sim_world *w, uint32_t node, uint64_t clock_ms)
{
    uint64_t now = sim_clock(w, node);

    if (clock_ms <= now)
        return 0;
    return (clock_ms - now) * 1000 / w->nodes[node].rate + 1;
}

void sim_arm(struct sim_world *w, uint32_t node, uint32_t tx, uint64_t timer_ms, uint64_t *armed_ms)
{
    uint64_t wait;

    if (timer_ms == ASSENT_NO_TIMER)
        return;
    wait = sim_until(w, node, timer_ms);
    if (*armed_ms != SIM_NEVER && *armed_ms <= w->now_ms + wait)
        return; /* it looks again then */
    *armed_ms = w->now_ms + wait;
    (void)sim_schedule(w, wait, SIM_EV_TIMER, node, tx);
}

/* ---- processes that die ---- */

static void ends(struct sim_world *w, uint32_t node, uint64_t for_ms)
{
    sim_trace(w, "node %u dies%s", node, for_ms == SIM_NEVER ? " for good" : "");
    w->nodes[node].gone = for_ms == SIM_NEVER;
    sim_crash(w, node);
    if (node == 0)
        sim_restore(w);
    if (for_ms != SIM_NEVER)
        (void)sim_schedule(w, for_ms, SIM_EV_RESTART, node, 0);
}

bool sim_dies(struct sim_world *w, uint32_t node)
{
    struct sim_node *n = &w->nodes[node];
    unsigned fault = node == 0 ? SIM_CRASH_COORDINATOR : SIM_CRASH_PARTICIPANT;

    if (n->kill_in > 0 && --n->kill_in == 0) {
        ends(w, node, n->kill_for_ms);
        return true;
    }
    if (!sim_chance(w, fault, 20))
        return false;
    ends(w, node,
         node == 0 && (w->faults & SIM_GONE) != 0 && sim_below(w, 2) == 0
             ? SIM_NEVER
             : 10 + sim_below(w, 5000));
    return true;
}

static bool belongs(const struct sim_event *event, uint32_t node)
{
    return event->node == node &&
           (event->kind == SIM_EV_TIMER || event->kind == SIM_EV_DURABLE ||
            event->kind == SIM_EV_RM_EFFECT || event->kind == SIM_EV_RM_ANSWER);
}

static int by_time(const void *a, const void *b)
{
    return before(a, b) ? -1 : 1;
}

/* Unsynced writes are lost, or landed without anybody having been told; so with calls. */
static bool happens(struct sim_world *w, struct sim_event *event)
{
    if (sim_below(w, 2) == 0)
        return false;
    if (event->kind == SIM_EV_DURABLE && event->node == 0)
        sim_coordinator_land(w, event);
    else if (event->kind == SIM_EV_DURABLE)
        sim_participant_land(w, event);
    else if (event->kind == SIM_EV_RM_EFFECT)
        sim_rm_effect(w, event);
    return true;
}

void sim_crash(struct sim_world *w, uint32_t node)
{
    struct sim_slot *theirs = grown(NULL, w->heap_count + 1, sizeof(*theirs));
    size_t count = 0, kept = 0;
    bool going = true;

    for (size_t i = 0; i < w->heap_count; i++) {
        if (belongs(&w->pool[w->heap[i].event], node))
            theirs[count++] = w->heap[i];
        else
            w->heap[kept++] = w->heap[i];
    }
    w->heap_count = kept;
    for (size_t i = kept / 2; i-- > 0;)
        sift_down(w, i);
    /* A store's writes land in order: some first ones may have, none after one that has not. */
    qsort(theirs, count, sizeof(*theirs), by_time);
    for (size_t i = 0; i < count; i++) {
        going = going && happens(w, &w->pool[theirs[i].event]);
        w->freed[w->pool_free++] = theirs[i].event;
    }
    free(theirs);
    w->nodes[node].up = false;
    w->nodes[node].paused_until = 0;
    for (uint32_t tx = 0; tx < w->tx_count; tx++) {
        struct sim_branch *b = &w->parts[node].branches[tx];

        if (node == 0) {
            w->txs[tx].known = false;
            w->txs[tx].armed_ms = SIM_NEVER;
            continue;
        }
        b->by_hand_unseen |= b->by_hand && b->record.size == 0;
        b->known = false;
        b->deleting = false;
        b->armed_ms = SIM_NEVER;
        if (b->rm == SIM_RM_ACTIVE)
            b->rm = SIM_RM_NONE;
    }
}
