/*
 * peers.h: what peers.c and peer_links.c share: connections between participants, those that were
 * accepted and those that were dialed. Both carry the same messages; whoever asks is answered where
 * it asked, and whom we ask is dialed.
 */
#ifndef ASSENT_AGENT_PEERS_H
#define ASSENT_AGENT_PEERS_H

#include "agent.h"

struct agent_peer;
struct peer_link;
struct local_message;

struct agent_peers {
    struct assent_participant *agent;
    struct assent_listener *listener;
    TAILQ_HEAD(, agent_peer) accepted;
    TAILQ_HEAD(peer_links, peer_link) links; /* the one used longest ago first */
    size_t link_count;
    STAILQ_HEAD(, local_message) local; /* for branches of this same participant */
    size_t local_count;
    struct event *local_event;
};

/* peers.c */
/* What a participant says over a connection on which both have said hello. */
void agent_peers_hear(struct assent_participant *agent, struct assent_conn *conn,
                      uint64_t connection, const struct assent_wire *wire);

/* peer_links.c */
ASSENT_CHECKED int agent_peer_links_open(struct agent_peers *peers);
void agent_peer_links_close(struct agent_peers *peers);
/* The open connection of that number, or NULL. */
struct assent_conn *agent_peer_links_find(const struct agent_peers *peers, uint64_t connection);
size_t agent_peer_links_output_bytes(const struct agent_peers *peers);
/* To a branch of this same participant, by way of the loop. */
int agent_peer_links_deliver_here(struct agent_peers *peers, const struct assent_wire *wire);

#endif
