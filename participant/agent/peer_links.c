/*
 * peer_links.c: what goes to another participant: over a connection that is dialed when it is first
 * needed and closed when nothing has needed it for long; or, if it is this same participant, by way
 * of the loop. A message that cannot leave is lost, as on a network: its sender repeats.
 *
 * A connection belongs to a participant's name, and its hello must say that name: an address may
 * have gone to somebody else, who must not answer for a branch that is not its own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "peers.h"

#define LINKS_MAX   256
#define DIAL_MIN_MS 50
#define DIAL_MAX_MS 2000
/* Messages that wait for a connection being made. */
#define QUEUE_MAX 256
/* Messages between branches of this participant that wait for the loop. */
#define LOCAL_MAX 65536
/* A connection that nothing has used for so many heartbeats is closed. */
#define IDLE_HEARTBEATS 15

struct queued_frame {
    STAILQ_ENTRY(queued_frame) link;
    size_t size;
    uint8_t data[];
};

struct peer_link {
    struct agent_peers *peers;
    char name[ASSENT_NAME_MAX + 1];
    char address[ASSENT_ADDRESS_MAX + 1];
    struct assent_dialer *dialer;
    struct assent_conn *conn;
    uint64_t connection; /* 0: no hello yet */
    uint64_t used_ms;
    bool failing; /* its trouble has been logged; the rest is for debugging */
    STAILQ_HEAD(, queued_frame) queue;
    size_t queue_count;
    TAILQ_ENTRY(peer_link) link;
};

struct local_message {
    STAILQ_ENTRY(local_message) link;
    struct coordinator_log *log;
    struct assent_message message;
    char resource[ASSENT_NAME_MAX + 1];
};

/* ---- the queue ---- */

static void drop_queue(struct peer_link *link)
{
    while (!STAILQ_EMPTY(&link->queue)) {
        struct queued_frame *frame = STAILQ_FIRST(&link->queue);

        STAILQ_REMOVE_HEAD(&link->queue, link);
        free(frame);
    }
    link->queue_count = 0;
}

static int enqueue(struct peer_link *link, const struct assent_wire *wire)
{
    struct assent_participant *agent = link->peers->agent;
    struct queued_frame *frame;
    size_t size;
    int error = assent_wire_encode(wire, &agent->buffer, &agent->buffer_capacity, &size);

    if (error)
        return error;
    if (link->queue_count >= QUEUE_MAX)
        return ASSENT_E_LIMIT;
    frame = malloc(sizeof(*frame) + size);
    if (!frame)
        return ASSENT_E_NOMEM;
    frame->size = size;
    memcpy(frame->data, agent->buffer, size);
    STAILQ_INSERT_TAIL(&link->queue, frame, link);
    link->queue_count++;
    return 0;
}

static void send_queue(struct peer_link *link)
{
    struct queued_frame *frame;

    STAILQ_FOREACH (frame, &link->queue, link)
        if (assent_conn_send(link->conn, frame->data, frame->size))
            break; /* the connection says itself what is wrong with it */
    drop_queue(link);
}

/* ---- the connection ---- */

static void log_down(struct peer_link *link, const char *event, const char *why)
{
    assent_log(link->failing ? ASSENT_LOG_DEBUG : ASSENT_LOG_INFO, event,
               "participant=%s address=%s why=%s", link->name, link->address,
               assent_log_quote(why));
    link->failing = true;
}

static void link_down(struct peer_link *link)
{
    link->conn = NULL;
    link->connection = 0;
    drop_queue(link);
    if (!link->peers->agent->stopping)
        assent_dialer_retry(link->dialer);
}

static void hang_up(struct peer_link *link, int error, const char *text)
{
    log_down(link, "peer_refused", text);
    agent_refuse(link->peers->agent, link->conn, 0, error, text);
    assent_conn_close_after_flush(link->conn);
    link->connection = 0;
}

static void on_closed(struct assent_conn *conn, int error, const char *detail, void *context)
{
    (void)conn;
    (void)error;
    log_down(context, "peer_disconnected", detail);
    link_down(context);
}

static void on_hello(struct peer_link *link, const struct assent_wire_hello *hello)
{
    struct assent_participant *agent = link->peers->agent;
    char text[ASSENT_REASON_MAX + 1];
    int error = agent_hello_check(agent, hello, text, sizeof(text));

    if (error == 0 &&
        (hello->role != ASSENT_ROLE_PARTICIPANT || strcmp(hello->name, link->name) != 0)) {
        error = ASSENT_E_REFUSED;
        snprintf(text, sizeof(text), "this is %.64s, not participant %s", hello->name, link->name);
    }
    if (error) {
        hang_up(link, error, text);
        return;
    }
    link->connection = ++agent->connections;
    link->failing = false;
    assent_conn_established(link->conn, true);
    assent_dialer_succeeded(link->dialer);
    agent_address_book_moved(agent, hello);
    assent_log(ASSENT_LOG_INFO, "peer_connected", "participant=%s address=%s", link->name,
               link->address);
    send_queue(link);
}

static void touch(struct peer_link *link)
{
    TAILQ_REMOVE(&link->peers->links, link, link);
    TAILQ_INSERT_TAIL(&link->peers->links, link, link);
    link->used_ms = assent_now_ms();
}

static void on_frame(struct assent_conn *conn, const uint8_t *data, size_t size, void *context)
{
    struct peer_link *link = context;
    struct assent_participant *agent = link->peers->agent;
    char text[ASSENT_REASON_MAX + 1] = "";
    struct assent_wire wire;
    int error = assent_wire_decode(data, size, agent->arena, &wire, text, sizeof(text));

    if (error) {
        hang_up(link, error, text);
    } else if (link->connection) {
        if (wire.kind == ASSENT_WIRE_BRANCH)
            touch(link);
        agent_peers_hear(agent, conn, link->connection, &wire);
    } else if (wire.kind == ASSENT_WIRE_HELLO) {
        on_hello(link, &wire.u.hello);
    } else {
        snprintf(text, sizeof(text), "%s instead of a hello%s%s", assent_wire_name(wire.kind),
                 wire.kind == ASSENT_WIRE_REFUSAL ? ": " : "",
                 wire.kind == ASSENT_WIRE_REFUSAL ? wire.u.refusal.text : "");
        hang_up(link, ASSENT_E_PROTOCOL, text);
    }
}

static void on_heartbeat(struct assent_conn *conn, void *context)
{
    struct peer_link *link = context;
    struct assent_wire wire = {.kind = ASSENT_WIRE_PING};

    (void)agent_send(link->peers->agent, conn, &wire);
}

static void on_connected(int fd, void *context)
{
    static const struct assent_conn_handler handler = {on_frame, on_closed, on_heartbeat};
    struct peer_link *link = context;
    struct assent_participant *agent = link->peers->agent;
    struct assent_net_limits limits = agent_net_limits(agent);
    struct assent_wire hello;

    if (assent_conn_new(agent->base, fd, &limits, &handler, link, &link->conn)) {
        log_down(link, "peer_connect_failed", "out of memory");
        link_down(link);
        return;
    }
    agent_hello(agent, &hello);
    (void)agent_send(agent, link->conn, &hello);
}

static void on_dial_failed(const char *detail, void *context)
{
    drop_queue(context);
    log_down(context, "peer_connect_failed", detail);
}

static void close_link(struct peer_link *link)
{
    TAILQ_REMOVE(&link->peers->links, link, link);
    link->peers->link_count--;
    drop_queue(link);
    assent_conn_close(link->conn);
    assent_dialer_close(link->dialer);
    free(link);
}

static struct peer_link *open_link(struct agent_peers *peers, const struct agent_address *to)
{
    struct peer_link *link;

    if (peers->link_count == LINKS_MAX)
        close_link(TAILQ_FIRST(&peers->links));
    link = calloc(1, sizeof(*link));
    if (!link)
        return NULL;
    link->peers = peers;
    snprintf(link->name, sizeof(link->name), "%s", to->name);
    snprintf(link->address, sizeof(link->address), "%s", to->address);
    STAILQ_INIT(&link->queue);
    if (assent_dialer_open(peers->agent->base, to->address, DIAL_MIN_MS, DIAL_MAX_MS, on_connected,
                           on_dial_failed, link, &link->dialer)) {
        free(link);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&peers->links, link, link);
    peers->link_count++;
    return link;
}

static struct peer_link *link_to(struct agent_peers *peers, const struct agent_address *to)
{
    struct peer_link *link;

    TAILQ_FOREACH (link, &peers->links, link)
        if (strcmp(link->name, to->name) == 0)
            break;
    if (link && strcmp(link->address, to->address) != 0) {
        close_link(link); /* the participant has moved: nobody is there any more */
        link = NULL;
    }
    return link ? link : open_link(peers, to);
}

/* ---- for the rest of the agent ---- */

int agent_peers_send(struct assent_participant *agent, const struct agent_address *to,
                     const struct assent_wire *wire)
{
    struct peer_link *link;

    if (strcmp(to->name, agent->options.name) == 0)
        return agent_peer_links_deliver_here(agent->peers, wire);
    if (agent->stopping || !to->address[0])
        return ASSENT_E_UNAVAILABLE;
    link = link_to(agent->peers, to);
    if (!link)
        return ASSENT_E_UNAVAILABLE;
    touch(link);
    return link->connection ? agent_send(agent, link->conn, wire) : enqueue(link, wire);
}

void agent_peers_watch(struct assent_participant *agent, uint64_t now_ms)
{
    uint64_t idle_ms = (uint64_t)IDLE_HEARTBEATS * agent->options.heartbeat_ms;
    struct peer_links *links = &agent->peers->links;

    while (!TAILQ_EMPTY(links) && now_ms - TAILQ_FIRST(links)->used_ms >= idle_ms) {
        assent_log(ASSENT_LOG_DEBUG, "peer_idle", "participant=%s", TAILQ_FIRST(links)->name);
        close_link(TAILQ_FIRST(links));
    }
}

struct assent_conn *agent_peer_links_find(const struct agent_peers *peers, uint64_t connection)
{
    struct peer_link *link;

    TAILQ_FOREACH (link, &peers->links, link)
        if (link->connection && link->connection == connection)
            return link->conn;
    return NULL;
}

size_t agent_peer_links_output_bytes(const struct agent_peers *peers)
{
    const struct peer_link *link;
    size_t bytes = 0;

    TAILQ_FOREACH (link, &peers->links, link)
        bytes += link->conn ? assent_conn_output_bytes(link->conn) : 0;
    return bytes;
}

/* ---- to ourselves ---- */

int agent_peer_links_deliver_here(struct agent_peers *peers, const struct assent_wire *wire)
{
    static const struct timeval soon = {0, 0};
    struct local_message *local;

    if (peers->local_count >= LOCAL_MAX)
        return ASSENT_E_LIMIT;
    local = calloc(1, sizeof(*local));
    if (!local || event_add(peers->local_event, &soon)) {
        free(local);
        return ASSENT_E_NOMEM;
    }
    local->log = agent_branches_find_log(&peers->agent->branches, wire->u.branch.log_id);
    local->message = wire->u.branch.message;
    snprintf(local->resource, sizeof(local->resource), "%s",
             wire->u.branch.resource ? wire->u.branch.resource : "");
    STAILQ_INSERT_TAIL(&peers->local, local, link);
    peers->local_count++;
    return 0;
}

static void drop_first_local(struct agent_peers *peers)
{
    struct local_message *local = STAILQ_FIRST(&peers->local);

    STAILQ_REMOVE_HEAD(&peers->local, link);
    peers->local_count--;
    free(local);
}

/* Those that are queued while these are delivered wait for the loop's next turn. */
static void on_local(evutil_socket_t fd, short events, void *context)
{
    struct agent_peers *peers = context;

    (void)fd;
    (void)events;
    for (size_t count = peers->local_count; count > 0; count--) {
        struct local_message *local = STAILQ_FIRST(&peers->local);
        struct assent_wire wire = {.kind = ASSENT_WIRE_BRANCH};

        wire.u.branch.message = local->message;
        wire.u.branch.resource = local->resource;
        memcpy(wire.u.branch.log_id, local->log->id, sizeof(wire.u.branch.log_id));
        agent_driver_message(peers->agent, local->log, AGENT_CONNECTION_HERE, &wire);
        drop_first_local(peers);
    }
}

int agent_peer_links_open(struct agent_peers *peers)
{
    TAILQ_INIT(&peers->links);
    STAILQ_INIT(&peers->local);
    peers->local_event = evtimer_new(peers->agent->base, on_local, peers);
    return peers->local_event ? 0 : ASSENT_E_NOMEM;
}

void agent_peer_links_close(struct agent_peers *peers)
{
    while (!TAILQ_EMPTY(&peers->links))
        close_link(TAILQ_FIRST(&peers->links));
    while (!STAILQ_EMPTY(&peers->local))
        drop_first_local(peers);
    if (peers->local_event)
        event_free(peers->local_event);
    peers->local_event = NULL;
}
