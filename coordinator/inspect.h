/*
 * inspect.h: views for people, as JSON with stable names (docs/wire-protocol.md): transactions,
 * one transaction with its timeline, participants, health; and queries passed on to a resource.
 */
#ifndef ASSENT_COORDINATOR_INSPECT_H
#define ASSENT_COORDINATOR_INSPECT_H

#include "codec.h"

struct session;

void inspect_request(struct session *session, const struct assent_wire *wire);

#endif
