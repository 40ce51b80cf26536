/*
 * postgres_later.c: calls that go on without a thread: what they have to say is sent on the agent's
 * loop, and their answers are taken there as they come. Only what needs nothing but an idle
 * session: the work of a branch that is ended with it, and the end of prepared branches. Whoever
 * has to wait for a session, to connect or to look at something in between has a thread.
 *
 * Threads: all of it belongs to the loop, but for the sessions of the pools. A session's descriptor
 * tells once, and only while it is armed: a thread that has the session disturbs nobody.
 */
#include "postgres.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "runtime.h"

#define EVENTS_MAX 64

int postgres_later_init(struct postgres *pg)
{
    struct epoll_event event = {.events = EPOLLIN};

    TAILQ_INIT(&pg->later);
    pg->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    pg->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (pg->epoll_fd < 0 || pg->timer_fd < 0 ||
        epoll_ctl(pg->epoll_fd, EPOLL_CTL_ADD, pg->timer_fd, &event) != 0)
        return ASSENT_E_LIMIT;
    return 0;
}

void postgres_later_fini(struct postgres *pg)
{
    struct postgres_later *later;

    while ((later = TAILQ_FIRST(&pg->later)) != NULL) {
        TAILQ_REMOVE(&pg->later, later, link);
        later->exchange.conn->base.broken = true;
        later->end(later, false);
    }
    if (pg->timer_fd >= 0)
        close(pg->timer_fd);
    if (pg->epoll_fd >= 0)
        close(pg->epoll_fd);
}

/* --- one of them ------------------------------------------------------------------------------ */

static bool arm(struct postgres *pg, struct postgres_conn *conn, bool unsent)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLONESHOT | (unsent ? (uint32_t)EPOLLOUT : 0), .data.ptr = conn};
    int operation = conn->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    conn->watched = epoll_ctl(pg->epoll_fd, operation, PQsocket(conn->link), &event) == 0;
    return conn->watched;
}

static void set_timer(struct postgres *pg, bool on)
{
    struct itimerspec each_second = {.it_interval.tv_sec = on, .it_value.tv_sec = on};

    if (pg->ticking != on)
        (void)timerfd_settime(pg->timer_fd, 0, &each_second, NULL);
    pg->ticking = on;
}

struct postgres_conn *postgres_later_session(struct postgres *pg, struct sql_pool *pool)
{
    struct sql_session *session = sql_take_idle(&pg->base, pool);

    if (session == NULL || arm(pg, postgres_conn_of(session), false))
        return postgres_conn_of(session);
    sql_give_back(&pg->base, session);
    return NULL;
}

void postgres_later_begin(struct postgres *pg, struct postgres_later *later)
{
    later->exchange.conn->later = later;
    TAILQ_INSERT_TAIL(&pg->later, later, link);
    set_timer(pg, true);
    if (PQflush(later->exchange.conn->link) > 0)
        (void)arm(pg, later->exchange.conn, true);
}

/* --- the loop --------------------------------------------------------------------------------- */

struct hand_out {
    void (*answered)(struct assent_call *call, void *context);
    void *context;
};

static void end(struct postgres *pg, struct postgres_later *later, const struct hand_out *out)
{
    struct assent_call *call = later->call;

    TAILQ_REMOVE(&pg->later, later, link);
    later->exchange.conn->later = NULL;
    later->end(later, true);
    out->answered(call, out->context);
}

static void go_on(struct postgres *pg, struct postgres_later *later, const struct hand_out *out)
{
    struct postgres_conn *conn = later->exchange.conn;

    (void)PQconsumeInput(conn->link); /* of a failure the result tells */
    postgres_take(&later->exchange, false);
    if (!later->exchange.done && !arm(pg, conn, PQflush(conn->link) > 0)) {
        conn->base.broken = true;
        postgres_take(&later->exchange, false);
    }
    if (later->exchange.done)
        end(pg, later, out);
}

/* Whether it must be ended without an event. Either its time is up, and the exchange is lost here:
 * a server that is silent holds nobody up for ever. Or its session is, and no event will tell. */
static bool is_over(struct postgres_later *later, uint64_t now_ms)
{
    struct postgres_conn *conn = later->exchange.conn;

    if (now_ms >= later->exchange.deadline_ms)
        postgres_lose(&later->exchange, "no answer in time");
    return conn->base.broken || PQsocket(conn->link) < 0;
}

/* Each is lost: a session that is given back must not be armed. */
static void tick(struct postgres *pg, const struct hand_out *out)
{
    uint64_t now_ms = assent_now_ms(), ticks;
    struct postgres_later *later, *next;

    (void)!read(pg->timer_fd, &ticks, sizeof(ticks));
    for (later = TAILQ_FIRST(&pg->later); later != NULL; later = next) {
        next = TAILQ_NEXT(later, link);
        if (is_over(later, now_ms)) {
            later->exchange.conn->base.broken = true;
            postgres_take(&later->exchange, false);
            end(pg, later, out);
        }
    }
    set_timer(pg, !TAILQ_EMPTY(&pg->later));
}

int postgres_descriptor(void *resource)
{
    struct postgres *pg = resource;

    return pg->epoll_fd;
}

void postgres_progress(void *resource, void (*answered)(struct assent_call *call, void *context),
                       void *context)
{
    const struct hand_out out = {answered, context};
    struct epoll_event events[EVENTS_MAX];
    struct postgres *pg = resource;
    bool ticked = false;
    int ready = epoll_wait(pg->epoll_fd, events, EVENTS_MAX, 0);

    for (int i = 0; i < ready; i++) {
        struct postgres_conn *conn = events[i].data.ptr;

        if (conn == NULL)
            ticked = true;
        else if (conn->later != NULL)
            go_on(pg, conn->later, &out);
    }
    if (ticked) /* last: it may end sessions that others here name */
        tick(pg, &out);
}
