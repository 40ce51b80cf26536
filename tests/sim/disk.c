/* disk.c: durable writes: slow, in order, sometimes failing, and then the process ends. */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

bool sim_write(struct sim_world *w, uint32_t node, uint32_t tx, int record_kind, bool forced,
               const uint8_t *bytes, size_t size)
{
    struct sim_node *n = &w->nodes[node];
    uint64_t at = w->now_ms + 1 + (w->options->cost ? 0 : sim_below(w, 5));
    struct sim_event *event;

    if (size > SIM_RECORD_MAX)
        abort();
    w->forced[node] += forced;
    if (sim_chance(w, SIM_SLOW_DISK, 200))
        at += sim_below(w, 3000);
    if (!forced)
        at += sim_below(w, 200);
    if (at <= n->written_ms)
        at = n->written_ms + 1;
    n->written_ms = at;
    event = sim_schedule(w, at - w->now_ms, SIM_EV_DURABLE, node, tx);
    event->record_kind = record_kind;
    event->size = (uint32_t)size;
    if (size > 0)
        memcpy(event->bytes, bytes, size);
    if (!sim_chance(w, SIM_DISK_FAILS, 20))
        return true;
    /* EIO or ENOSPC: nobody is told anything, and the restart reads what is really there. */
    sim_trace(w, "node %u cannot write", node);
    sim_crash(w, node);
    if (node == 0)
        sim_restore(w);
    (void)sim_schedule(w, 10 + sim_below(w, 3000), SIM_EV_RESTART, node, 0);
    return false;
}
