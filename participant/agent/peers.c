/*
 * peers.c: the listener whose address we announce to our coordinators for other participants, and
 * what may come in from them: the messages by which the members of a transaction finish without its
 * coordinator, and nothing else. assentctl may look at our branches here, since with the
 * coordinator gone there is nobody else to ask.
 */
#include "peers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

#define PEERS_MAX 256

struct agent_peer {
    struct agent_peers *peers;
    struct assent_conn *conn;
    enum assent_role role; /* 0 until its hello */
    uint64_t connection;
    TAILQ_ENTRY(agent_peer) link;
};

static void peer_free(struct agent_peer *peer)
{
    TAILQ_REMOVE(&peer->peers->accepted, peer, link);
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

/* ---- what comes in ---- */

static bool from_participant(const struct assent_message *message)
{
    if (message->from == 0)
        return false;
    switch (message->kind) {
    case ASSENT_MSG_COMMIT:
    case ASSENT_MSG_ABORT:
    case ASSENT_MSG_INQUIRE:
    case ASSENT_MSG_ELECT:
    case ASSENT_MSG_ELECT_ANSWER:
    case ASSENT_MSG_PROPOSE:
    case ASSENT_MSG_PROPOSE_ACK:
        return true;
    case ASSENT_MSG_NONE:
    case ASSENT_MSG_WORK:
    case ASSENT_MSG_PREPARE:
    case ASSENT_MSG_PRECOMMIT:
    case ASSENT_MSG_COMMIT_ONE_PHASE:
    case ASSENT_MSG_WORK_REPLY:
    case ASSENT_MSG_VOTE:
    case ASSENT_MSG_PRECOMMIT_ACK:
    case ASSENT_MSG_ACK:
    case ASSENT_MSG_FORGET:
        return false;
    }
    return false;
}

void agent_peers_hear(struct assent_participant *agent, struct assent_conn *conn,
                      uint64_t connection, const struct assent_wire *wire)
{
    char text[ASSENT_REASON_MAX + 1];
    struct coordinator_log *log;
    int error = ASSENT_E_REFUSED;

    if (wire->kind == ASSENT_WIRE_PING)
        return;
    if (wire->kind == ASSENT_WIRE_REFUSAL) {
        assent_log(ASSENT_LOG_WARN, "refused", "peer=%s error=%s text=%s", assent_conn_peer(conn),
                   assent_error_name(wire->u.refusal.error),
                   assent_log_quote(wire->u.refusal.text));
        return;
    }
    if (wire->kind != ASSENT_WIRE_BRANCH) {
        snprintf(text, sizeof(text), "a participant does not serve %s",
                 assent_wire_name(wire->kind));
    } else if (!from_participant(&wire->u.branch.message)) {
        snprintf(text, sizeof(text), "%s from member %u is not for a participant to say",
                 assent_message_name(wire->u.branch.message.kind), wire->u.branch.message.from);
    } else {
        log = agent_branches_find_log(&agent->branches, wire->u.branch.log_id);
        if (log) {
            agent_driver_message(agent, log, connection, wire);
            return;
        }
        error = ASSENT_E_NOT_FOUND;
        snprintf(text, sizeof(text), "no coordinator with that log was ever connected here");
    }
    agent_refuse(agent, conn, wire->request, error, text);
}

static void from_application(struct agent_peer *peer, const struct assent_wire *wire)
{
    struct assent_participant *agent = peer->peers->agent;
    struct assent_wire pong = {.kind = ASSENT_WIRE_PING, .request = wire->request};
    char text[ASSENT_REASON_MAX + 1];

    if (wire->kind == ASSENT_WIRE_PING) {
        (void)agent_send(agent, peer->conn, &pong);
    } else if (wire->kind == ASSENT_WIRE_INSPECT) {
        agent_inspection_answer(agent, peer->conn, wire);
    } else {
        snprintf(text, sizeof(text), "this is a participant: it serves inspect alone, not %s",
                 assent_wire_name(wire->kind));
        agent_refuse(agent, peer->conn, wire->request, ASSENT_E_REFUSED, text);
    }
}

static void on_hello(struct agent_peer *peer, const struct assent_wire_hello *hello)
{
    struct assent_participant *agent = peer->peers->agent;
    char text[ASSENT_REASON_MAX + 1];
    struct assent_wire answer;
    int error = agent_hello_check(agent, hello, text, sizeof(text));

    if (error == 0 && hello->role == ASSENT_ROLE_COORDINATOR) {
        error = ASSENT_E_PROTOCOL;
        snprintf(text, sizeof(text), "a participant dials its coordinators itself");
    }
    if (error) {
        hang_up(peer, error, text);
        return;
    }
    peer->role = hello->role;
    peer->connection = ++agent->connections;
    assent_conn_established(peer->conn, hello->role == ASSENT_ROLE_PARTICIPANT);
    if (hello->role == ASSENT_ROLE_PARTICIPANT)
        agent_address_book_moved(agent, hello);
    agent_hello(agent, &answer);
    (void)agent_send(agent, peer->conn, &answer);
}

static void on_frame(struct assent_conn *conn, const uint8_t *data, size_t size, void *context)
{
    struct agent_peer *peer = context;
    struct assent_participant *agent = peer->peers->agent;
    char text[ASSENT_REASON_MAX + 1] = "";
    struct assent_wire wire;
    int error = assent_wire_decode(data, size, agent->arena, &wire, text, sizeof(text));

    if (error == 0 && !peer->role && wire.kind != ASSENT_WIRE_HELLO) {
        error = ASSENT_E_PROTOCOL;
        snprintf(text, sizeof(text), "message %s before hello", assent_wire_name(wire.kind));
    }
    if (error)
        hang_up(peer, error, text);
    else if (!peer->role)
        on_hello(peer, &wire.u.hello);
    else if (peer->role == ASSENT_ROLE_APPLICATION)
        from_application(peer, &wire);
    else
        agent_peers_hear(agent, conn, peer->connection, &wire);
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
    TAILQ_INSERT_TAIL(&peers->accepted, peer, link);
    if (assent_conn_new(peers->agent->base, fd, &limits, &handler, peer, &peer->conn))
        peer_free(peer);
}

/* ---- what goes out ---- */

int agent_peers_answer(struct assent_participant *agent, uint64_t connection,
                       const struct assent_wire *wire)
{
    struct assent_conn *conn = agent_peer_links_find(agent->peers, connection);
    struct agent_peer *peer;

    if (connection == AGENT_CONNECTION_HERE)
        return agent_peer_links_deliver_here(agent->peers, wire);
    TAILQ_FOREACH (peer, &agent->peers->accepted, link)
        if (peer->connection == connection)
            conn = peer->conn;
    return conn ? agent_send(agent, conn, wire) : ASSENT_E_UNAVAILABLE;
}

size_t agent_peers_output_bytes(const struct agent_peers *peers)
{
    size_t bytes = agent_peer_links_output_bytes(peers);
    const struct agent_peer *peer;

    TAILQ_FOREACH (peer, &peers->accepted, link)
        bytes += assent_conn_output_bytes(peer->conn);
    return bytes;
}

const char *agent_peers_address(const struct agent_peers *peers)
{
    return assent_listener_address(peers->listener);
}

/* ---- life ---- */

int agent_peers_open(struct assent_participant *agent, char *error, size_t error_size)
{
    struct agent_peers *peers = calloc(1, sizeof(*peers));
    int result;

    if (!peers) {
        snprintf(error, error_size, "out of memory");
        return ASSENT_E_NOMEM;
    }
    peers->agent = agent;
    TAILQ_INIT(&peers->accepted);
    result = agent_peer_links_open(peers);
    if (result)
        snprintf(error, error_size, "out of memory");
    else
        result = assent_listener_open(agent->base, agent->options.listen, PEERS_MAX, on_accepted,
                                      peers, &peers->listener, error, error_size);
    if (result) {
        agent_peers_close(peers);
        return result;
    }
    agent->peers = peers;
    return 0;
}

void agent_peers_close(struct agent_peers *peers)
{
    if (!peers)
        return;
    agent_peer_links_close(peers);
    while (!TAILQ_EMPTY(&peers->accepted)) {
        struct agent_peer *peer = TAILQ_FIRST(&peers->accepted);

        assent_conn_close(peer->conn);
        peer_free(peer);
    }
    assent_listener_close(peers->listener);
    free(peers);
}
