/*
 * explain.h: why a transaction is where it is, for people: what it waits for, which policy applies,
 * what would unblock it, and what each choice risks. A view like those of inspect.h.
 */
#ifndef ASSENT_COORDINATOR_EXPLAIN_H
#define ASSENT_COORDINATOR_EXPLAIN_H

#include <jansson.h>

#include "record.h"

struct server;
struct transaction;

/* Of a transaction under way (live) or on record (live NULL). NULL: no memory. */
json_t *explain_transaction(const struct server *server, const struct transaction *live,
                            const struct assent_coord_record *record);

#endif
