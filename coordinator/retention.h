/*
 * retention.h: forgets outcomes that were kept for the set time, in small steps from the loop, and
 * remembers up to where, so that expired and never-seen stay different answers. Time is the log's
 * own age, so that no wall clock expires a record. Mixed and hazard are kept until a person acts.
 */
#ifndef ASSENT_COORDINATOR_RETENTION_H
#define ASSENT_COORDINATOR_RETENTION_H

#include <event2/event_struct.h>

#include "record.h"

struct server;

struct retention {
    struct event timer;
    uint64_t expired_below; /* highest order ever pruned; 0: none */
    uint8_t cursor[ASSENT_GTRID_BYTES];
    bool started; /* the cursor stands inside the table */
};

/* Reads the mark. 0 or ASSENT_E_*. */
ASSENT_CHECKED int retention_load(struct server *server);
/* Begins to walk. */
void retention_start(struct server *server);
void retention_stop(struct server *server);

/* Without a record, an order at or below the mark may have had one. */
bool retention_has_pruned(const struct retention *retention, uint64_t order);
bool retention_is_due(const struct assent_coord_record *record, uint64_t age_ms,
                      uint64_t retention_ms);

#endif
