/*
 * network.c: messages between the members, as the bytes that the shipped codec makes of them; lost,
 * doubled, delayed, reordered, held back by a clogged link, or cut off.
 */
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "sim.h"

static struct assent_wire wire;

static uint32_t encode(const struct assent_message *message, uint8_t *frame)
{
    static uint8_t *buffer;
    static size_t capacity;
    size_t size;

    wire.kind = ASSENT_WIRE_BRANCH;
    wire.u.branch.message = *message;
    wire.u.branch.resource = "kv";
    memset(wire.u.branch.log_id, 7, sizeof(wire.u.branch.log_id));
    if (assent_wire_encode(&wire, &buffer, &capacity, &size) != 0 || size > SIM_FRAME_MAX)
        abort();
    memcpy(frame, buffer, size);
    return (uint32_t)size;
}

void sim_receive(const struct sim_event *event, struct assent_message *ret_message)
{
    static struct assent_wire received;
    static struct assent_arena *arena;
    char error[200];

    if (arena == NULL && assent_arena_new(SIM_FRAME_MAX + ASSENT_ARENA_EXTRA, &arena) != 0)
        abort();
    if (assent_wire_decode(event->bytes, event->size, arena, &received, error, sizeof(error)) != 0)
        abort();
    *ret_message = received.u.branch.message;
}

/* Never for less than it already does: what waits for its end must keep its order. */
static void stand_still(struct sim_world *w, uint32_t node, uint64_t for_ms)
{
    if (w->nodes[node].paused_until < w->now_ms + for_ms)
        w->nodes[node].paused_until = w->now_ms + for_ms;
    sim_trace(w, "node %u stands still", node);
}

/* In a cell of the table the network is perfect until its one fault. */
static void cell_fault(struct sim_world *w)
{
    if (w->cut_at_message == 0 || w->sent != w->cut_at_message)
        return;
    memcpy(w->cut, w->cell_cut, sizeof(w->cut));
    if (w->options->cell == SIM_CELL_FALSE_TIMEOUT) {
        stand_still(w, w->pause_node, 3000 + sim_below(w, 20000));
    } else {
        sim_trace(w, "the network is cut");
    }
}

static void deliver(struct sim_world *w, uint32_t from, uint32_t to, uint64_t delay,
                    const struct sim_event *frame)
{
    uint64_t clogged = w->clogged_until[from][to];
    struct sim_event *event;

    if (clogged > w->now_ms + delay)
        delay = clogged - w->now_ms;
    event = sim_schedule(w, delay, SIM_EV_MESSAGE, to, frame->tx);
    event->from = from;
    event->size = frame->size;
    memcpy(event->bytes, frame->bytes, frame->size);
}

void sim_send(struct sim_world *w, uint32_t from, uint32_t to, uint32_t tx,
              const struct assent_message *message)
{
    uint64_t delay = w->options->cost ? SIM_COST_DELAY_MS : 1 + sim_below(w, 10);
    struct sim_event frame;
    int copies = 1;

    w->sent++;
    cell_fault(w);
    sim_trace(w, "%u -> %u tx%u %s vote=%s result=%s state=%s ballot=%u attempt=%u inc=%u epoch=%u",
              from, to, tx, assent_message_name(message->kind), assent_vote_name(message->vote),
              assent_branch_result_name(message->result), assent_member_state_name(message->state),
              message->ballot, message->attempt, message->incarnation, message->epoch);
    if (sim_chance(w, SIM_LOSS, 100) || (w->cut[from] >> to & 1) != 0)
        copies = 0;
    else if (sim_chance(w, SIM_DUPLICATE, 150))
        copies = 2;
    if (copies == 0) {
        sim_trace(w, "  lost");
        if (from == 0 || to == 0)
            w->lost |= 1u << (from + to);
        return;
    }
    frame.tx = tx;
    frame.size = encode(message, frame.bytes);
    for (int i = 0; i < copies; i++) {
        if (sim_chance(w, SIM_DELAY, 100))
            delay += sim_below(w, 10000);
        deliver(w, from, to, delay, &frame);
        delay += sim_below(w, 2000);
    }
}

void sim_join(struct sim_world *w)
{
    memset(w->cut, 0, sizeof(w->cut));
    memset(w->clogged_until, 0, sizeof(w->clogged_until));
    for (uint32_t node = 0; node <= w->part_count; node++)
        w->nodes[node].paused_until = 0;
}

/* Faults of links and of whole processes come at drawn times. */
void sim_network_plan(struct sim_world *w, uint64_t until_ms)
{
    unsigned rounds = 1 + (unsigned)sim_below(w, 6);

    if ((w->faults & (SIM_PARTITION | SIM_CLOG | SIM_PAUSE)) == 0)
        return;
    for (unsigned i = 0; i < rounds; i++)
        (void)sim_schedule(w, sim_below(w, until_ms), SIM_EV_CUT, 0, 0);
}

static void cut(struct sim_world *w)
{
    uint32_t side = (uint32_t)sim_below(w, 1u << (w->part_count + 1));
    uint64_t shape = sim_below(w, 3);

    for (uint32_t from = 0; from <= w->part_count; from++)
        for (uint32_t to = 0; to <= w->part_count; to++) {
            bool apart = (side >> from & 1) != (side >> to & 1);

            if (shape == 2) /* any links, each way by itself */
                apart = sim_below(w, 3) == 0;
            else if (shape == 1) /* one way */
                apart = apart && (side >> from & 1) != 0;
            if (apart)
                w->cut[from] |= 1u << to;
        }
    sim_trace(w, "links are cut");
    (void)sim_schedule(w, sim_below(w, 8000), SIM_EV_JOIN, 0, 0);
}

void sim_network_event(struct sim_world *w, const struct sim_event *event)
{
    uint32_t node = (uint32_t)sim_below(w, w->part_count + 1u);
    uint32_t other = (uint32_t)sim_below(w, w->part_count + 1u);

    if (event->kind == SIM_EV_JOIN) {
        if (w->options->cell == SIM_CELL_NONE)
            memset(w->cut, 0, sizeof(w->cut));
        return;
    }
    if (sim_chance(w, SIM_PARTITION, 700))
        cut(w);
    if (sim_chance(w, SIM_CLOG, 700)) {
        w->clogged_until[node][other] = w->now_ms + sim_below(w, 6000);
        sim_trace(w, "%u -> %u is clogged", node, other);
    }
    if (sim_chance(w, SIM_PAUSE, 500)) {
        stand_still(w, node, sim_below(w, 8000));
    }
}
