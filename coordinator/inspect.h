/*
 * inspect.h: views for people, as JSON with stable names (docs/wire-protocol.md): transactions,
 * one transaction with its timeline, participants, health; and queries passed on to a resource.
 */
#ifndef ASSENT_COORDINATOR_INSPECT_H
#define ASSENT_COORDINATOR_INSPECT_H

#include "codec.h"

struct session;

/* Views are of all shards, and made while they are held; a query is only passed on. */
void inspect_request(struct session *session, const struct assent_wire *wire);

/* Whether the request is such a query. */
bool inspect_asks_participant(const struct assent_wire *wire);

#endif
