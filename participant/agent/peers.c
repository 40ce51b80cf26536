/*
 * peers.c: the listener whose address we announce to our coordinators for other participants. A
 * peer gets a hello and heartbeats; questions between participants are not part of wire version 1,
 * so anything else is refused by name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

#define PEERS_MAX 256

struct agent_peer {
    struct agent_peers *peers;
    struct assent_conn *conn;
    bool greeted;
    TAILQ_ENTRY(agent_peer) link;
};

struct agent_peers {
    struct assent_participant *agent;
    struct assent_listener *listener;
    TAILQ_HEAD(, agent_peer) all;
};

static void peer_free(struct agent_peer *peer)
{
    TAILQ_REMOVE(&peer->peers->all, peer, link);
    assent_listener_released(peer->peers->listener);
    free(peer);
}

static void hang_up(struct agent_peer *peer, int error, const char *text)
{
    assent_log(ASSENT_LOG_WARN, "peer_refused", "peer=%s why=%s", assent_conn_peer(peer->conn),
               assent_log_quote(text));
    agent_refuse(peer->peers->agent, peer->conn, 0, error, text);
    assent_conn_close_after_flush(peer->conn);
}

static void on_closed(struct assent_conn *conn, int error, const char *detail, void *context)
{
    assent_log(error == ASSENT_E_CLOSED ? ASSENT_LOG_DEBUG : ASSENT_LOG_WARN, "peer_disconnected",
               "peer=%s why=%s", assent_conn_peer(conn), assent_log_quote(detail));
    peer_free(context);
}

static void on_frame(struct assent_conn *conn, const uint8_t *data, size_t size, void *context)
{
    struct agent_peer *peer = context;
    struct assent_participant *agent = peer->peers->agent;
    char text[ASSENT_REASON_MAX + 1] = "";
    struct assent_wire wire, hello;
    int error = assent_wire_decode(data, size, agent->arena, &wire, text, sizeof(text));

    if (error == 0 && !peer->greeted) {
        if (wire.kind == ASSENT_WIRE_HELLO) {
            error = agent_hello_check(agent, &wire.u.hello, text, sizeof(text));
        } else {
            error = ASSENT_E_PROTOCOL;
            snprintf(text, sizeof(text), "message %s before hello", assent_wire_name(wire.kind));
        }
    }
    if (error) {
        hang_up(peer, error, text);
    } else if (!peer->greeted) {
        peer->greeted = true;
        assent_conn_established(conn, true);
        agent_hello(agent, &hello);
        (void)agent_send(agent, conn, &hello);
    } else if (wire.kind != ASSENT_WIRE_PING && wire.kind != ASSENT_WIRE_REFUSAL) {
        snprintf(text, sizeof(text), "a participant does not serve %s",
                 assent_wire_name(wire.kind));
        agent_refuse(agent, conn, wire.request, ASSENT_E_REFUSED, text);
    }
}

static void on_heartbeat(struct assent_conn *conn, void *context)
{
    struct agent_peer *peer = context;
    struct assent_wire wire = {.kind = ASSENT_WIRE_PING};

    (void)agent_send(peer->peers->agent, conn, &wire);
}

static void on_accepted(int fd, void *context)
{
    static const struct assent_conn_handler handler = {on_frame, on_closed, on_heartbeat};
    struct agent_peers *peers = context;
    struct assent_net_limits limits = agent_net_limits(peers->agent);
    struct agent_peer *peer = calloc(1, sizeof(*peer));

    if (!peer) {
        evutil_closesocket(fd);
        assent_listener_released(peers->listener);
        return;
    }
    peer->peers = peers;
    TAILQ_INSERT_TAIL(&peers->all, peer, link);
    if (assent_conn_new(peers->agent->base, fd, &limits, &handler, peer, &peer->conn))
        peer_free(peer);
}

int agent_peers_open(struct assent_participant *agent, char *error, size_t error_size)
{
    struct agent_peers *peers = calloc(1, sizeof(*peers));
    int result;

    if (!peers) {
        snprintf(error, error_size, "out of memory");
        return ASSENT_E_NOMEM;
    }
    peers->agent = agent;
    TAILQ_INIT(&peers->all);
    result = assent_listener_open(agent->base, agent->options.listen, PEERS_MAX, on_accepted, peers,
                                  &peers->listener, error, error_size);
    if (result) {
        free(peers);
        return result;
    }
    agent->peers = peers;
    return 0;
}

void agent_peers_close(struct agent_peers *peers)
{
    if (!peers)
        return;
    while (!TAILQ_EMPTY(&peers->all)) {
        struct agent_peer *peer = TAILQ_FIRST(&peers->all);

        assent_conn_close(peer->conn);
        peer_free(peer);
    }
    assent_listener_close(peers->listener);
    free(peers);
}

const char *agent_peers_address(const struct agent_peers *peers)
{
    return assent_listener_address(peers->listener);
}
