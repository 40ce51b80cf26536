/* sent_points.c: see sent_points.h. In a build without crash points nothing ever waits. */
#include "sent_points.h"

#include <stdlib.h>

#include <event2/event.h>

struct assent_sent_points {
    struct event *look;
    bool (*all_sent)(void *context);
    void *context;
    uint32_t waiting[ASSENT_CRASH_COUNT];
};

static void on_look(evutil_socket_t fd, short what, void *context)
{
    struct assent_sent_points *points = context;

    (void)fd;
    (void)what;
    if (!points->all_sent(points->context)) {
        evtimer_add(points->look, &(struct timeval){.tv_usec = 1000});
        return;
    }
    for (int point = 0; point < (int)ASSENT_CRASH_COUNT; point++)
        for (; points->waiting[point] > 0; points->waiting[point]--)
            assent_crash_point((enum assent_crash_point)point);
}

int assent_sent_points_new(struct event_base *base, bool (*all_sent)(void *context), void *context,
                           struct assent_sent_points **ret_points)
{
    struct assent_sent_points *points = calloc(1, sizeof(*points));

    if (points == NULL)
        return ASSENT_E_NOMEM;
    points->all_sent = all_sent;
    points->context = context;
    points->look = evtimer_new(base, on_look, points);
    if (points->look == NULL) {
        free(points);
        return ASSENT_E_NOMEM;
    }
    *ret_points = points;
    return 0;
}

void assent_sent_points_free(struct assent_sent_points *points)
{
    if (points == NULL)
        return;
    event_free(points->look);
    free(points);
}

#ifdef ASSENT_WITH_CRASH_POINTS
void assent_sent_points_after(struct assent_sent_points *points, enum assent_crash_point point)
{
    points->waiting[point]++;
    if (!evtimer_pending(points->look, NULL))
        evtimer_add(points->look, &(struct timeval){0});
}
#endif
