/*
 * admin.h: /livez, /readyz and /metrics over HTTP, on a listener of their own with tight limits.
 * Read only; whoever may connect may read.
 */
#ifndef ASSENT_COORDINATOR_ADMIN_H
#define ASSENT_COORDINATOR_ADMIN_H

#include "assent/types.h"

struct server;

/* Listens on options.admin; nothing if it is empty. 0 or ASSENT_E_* with a sentence in error. */
ASSENT_CHECKED int admin_open(struct server *server, char *error, size_t error_size);
void admin_close(struct server *server);

#endif
