/*
 * sent_points.h: the crash points around what leaves this process. "After" means after the bytes
 * have left; they leave at the end of a turn of the loop, so a timer looks until nothing is queued.
 */
#ifndef ASSENT_COORDINATOR_SENT_POINTS_H
#define ASSENT_COORDINATOR_SENT_POINTS_H

#include <event2/event_struct.h>

#include "crash_point.h"

struct server;

struct sent_points {
    struct event timer;
    uint32_t waiting[ASSENT_CRASH_AGENT_FIRST];
};

void sent_points_init(struct server *server);
void sent_points_fini(struct server *server);
/* The point is passed once all that is queued now has left. */
void sent_points_after(struct server *server, enum assent_crash_point point);

#endif
