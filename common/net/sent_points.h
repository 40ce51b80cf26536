/*
 * sent_points.h: the crash points after what is sent, which means after its bytes have left the
 * process. They leave at the end of a turn of the loop, so a timer looks until nothing is queued.
 * Not here: the points before a send, which need no waiting.
 */
#ifndef ASSENT_SENT_POINTS_H
#define ASSENT_SENT_POINTS_H

#include "assent/types.h"
#include "crash_point.h"

struct event_base;
struct assent_sent_points;

/* all_sent(context): whether nothing is queued on any connection. 0 or ASSENT_E_NOMEM. */
ASSENT_CHECKED int assent_sent_points_new(struct event_base *base, bool (*all_sent)(void *context),
                                          void *context, struct assent_sent_points **ret_points);
/* Points that wait are not passed. NULL is allowed. */
void assent_sent_points_free(struct assent_sent_points *points);
/* The point is passed once all that is queued now has left. */
#ifdef ASSENT_WITH_CRASH_POINTS
void assent_sent_points_after(struct assent_sent_points *points, enum assent_crash_point point);
#else
#define assent_sent_points_after(points, point) ((void)(points), (void)(point))
#endif

#endif
