/* sent_points.c: crash points that wait for the sockets; nothing in a build without them. */
#include "sent_points.h"

#include "server.h"

#ifdef ASSENT_WITH_CRASH_POINTS

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct server *server = context;
    struct sent_points *points = &server->sent_points;
    const struct session *session;

    (void)fd;
    (void)what;
    TAILQ_FOREACH (session, &server->sessions, link) {
        if (assent_conn_output_bytes(session->conn) > 0) {
            evtimer_add(&points->timer, &(struct timeval){.tv_usec = 1000});
            return;
        }
    }
    for (int point = 0; point < (int)ASSENT_CRASH_AGENT_FIRST; point++)
        for (; points->waiting[point] > 0; points->waiting[point]--)
            assent_crash_point((enum assent_crash_point)point);
}

void sent_points_init(struct server *server)
{
    evtimer_assign(&server->sent_points.timer, server->base, on_timer, server);
}

void sent_points_fini(struct server *server)
{
    if (event_initialized(&server->sent_points.timer))
        evtimer_del(&server->sent_points.timer);
}

void sent_points_after(struct server *server, enum assent_crash_point point)
{
    struct sent_points *points = &server->sent_points;

    points->waiting[point]++;
    if (!evtimer_pending(&points->timer, NULL))
        evtimer_add(&points->timer, &(struct timeval){0});
}

#else

void sent_points_init(struct server *server)
{
    (void)server;
}

void sent_points_fini(struct server *server)
{
    (void)server;
}

void sent_points_after(struct server *server, enum assent_crash_point point)
{
    (void)server;
    (void)point;
}

#endif
