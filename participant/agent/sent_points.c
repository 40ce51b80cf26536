/*
 * sent_points.c: the crash points around a send. "After" means after the bytes have left this
 * process; they leave at the end of a turn of the loop, so a timer looks until nothing is queued.
 */
#include <stdlib.h>

#include "crash_point.h"
#include "driver.h"

#define KINDS (ASSENT_MSG_INQUIRE + 1)

struct agent_sent {
    struct assent_participant *agent;
    struct event *look;
    uint32_t unsent[KINDS];
};

static const struct {
    enum assent_message_kind kind;
    enum assent_crash_point before, after;
} points[] = {
    {ASSENT_MSG_VOTE, ASSENT_CRASH_agent_before_send_vote, ASSENT_CRASH_agent_after_send_vote},
    {ASSENT_MSG_PRECOMMIT_ACK, ASSENT_CRASH_agent_before_send_precommit_ack,
     ASSENT_CRASH_agent_after_send_precommit_ack},
    {ASSENT_MSG_ACK, ASSENT_CRASH_agent_before_send_ack, ASSENT_CRASH_agent_after_send_ack},
};

#ifdef ASSENT_WITH_CRASH_POINTS
static void look(evutil_socket_t fd, short events, void *context)
{
    static const struct timeval soon = {0, 1000};
    struct agent_sent *sent = context;
    size_t queued = 0;

    (void)fd;
    (void)events;
    for (size_t i = 0; i < sent->agent->link_count; i++)
        queued += agent_link_output_bytes(sent->agent->links[i]);
    if (queued) {
        event_add(sent->look, &soon);
        return;
    }
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
        for (; sent->unsent[points[i].kind]; sent->unsent[points[i].kind]--)
            assent_crash_point(points[i].after);
}

int agent_sent_open(struct assent_participant *agent)
{
    struct agent_sent *sent = calloc(1, sizeof(*sent));

    if (!sent)
        return ASSENT_E_NOMEM;
    agent->sent = sent;
    sent->agent = agent;
    sent->look = evtimer_new(agent->base, look, sent);
    return sent->look ? 0 : ASSENT_E_NOMEM;
}

void agent_sent_after(struct assent_participant *agent, enum assent_message_kind kind)
{
    static const struct timeval at_once = {0, 0};

    agent->sent->unsent[kind]++;
    if (!evtimer_pending(agent->sent->look, NULL))
        event_add(agent->sent->look, &at_once);
}
#else
int agent_sent_open(struct assent_participant *agent)
{
    (void)agent;
    return 0;
}

void agent_sent_after(struct assent_participant *agent, enum assent_message_kind kind)
{
    (void)agent;
    (void)kind;
}
#endif

void agent_sent_close(struct agent_sent *sent)
{
    if (!sent)
        return;
    if (sent->look)
        event_free(sent->look);
    free(sent);
}

void agent_sent_before(enum assent_message_kind kind)
{
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
        if (points[i].kind == kind)
            assent_crash_point(points[i].before);
}
