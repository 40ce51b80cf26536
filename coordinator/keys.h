/*
 * keys.h: idempotency keys in memory: key -> gtrid, for live transactions and kept outcomes. The
 * log is ordered by gtrid, so that inserts append; this index is rebuilt from it at start.
 */
#ifndef ASSENT_COORDINATOR_KEYS_H
#define ASSENT_COORDINATOR_KEYS_H

#include <stdatomic.h>

#include "assent/types.h"

struct key;
struct keys {
    struct key *by_text;
    atomic_size_t count; /* changed by the owner alone; any thread may read it */
};

/* The first one stays: a key that is there is not replaced. An empty key is nobody's. False when
 * there is no memory. */
bool keys_add(struct keys *keys, const char *text, const struct assent_gtrid *gtrid);
/* NULL: not known. */
const struct assent_gtrid *keys_find(const struct keys *keys, const char *text);
/* Only if it leads to this gtrid. */
void keys_remove(struct keys *keys, const char *text, const struct assent_gtrid *gtrid);
/* Any thread. */
size_t keys_count(const struct keys *keys);
/* The same for a text at all times: which of several tables has it. */
uint32_t keys_hash(const char *text);
void keys_fini(struct keys *keys);

#endif
