/*
 * application.h: what an application may ask: begin, enlist, work, commit or roll back, one-shot,
 * status. Each checks its request and turns it into events for a machine.
 */
#ifndef ASSENT_COORDINATOR_APPLICATION_H
#define ASSENT_COORDINATOR_APPLICATION_H

#include "codec.h"

struct session;

/* A request that names a transaction which has begun: it is answered where that transaction is. */
struct application_known {
    struct assent_gtrid gtrid;
    uint64_t request;
    enum assent_wire_kind kind; /* BEGIN: told so; RUN, STATUS: its outcome */
    bool wait;                  /* until it has ended */
};

void application_begin(struct session *session, const struct assent_wire *wire);
void application_enlist(struct session *session, const struct assent_wire *wire);
void application_work(struct session *session, const struct assent_wire *wire);
void application_end(struct session *session, const struct assent_wire *wire);
void application_run(struct session *session, const struct assent_wire *wire);
void application_status(struct session *session, const struct assent_wire *wire);
void application_known(struct session *session, const struct application_known *known);

#endif
