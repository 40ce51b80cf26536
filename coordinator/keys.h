/*
 * keys.h: idempotency keys in memory: key -> gtrid, for live transactions and kept outcomes. The
 * log is ordered by gtrid, so that inserts append; this index is rebuilt from it at start.
 */
#ifndef ASSENT_COORDINATOR_KEYS_H
#define ASSENT_COORDINATOR_KEYS_H

#include "assent/types.h"

struct key;
struct keys {
    struct key *by_text;
};

/* The first one stays: a key that is there is not replaced. An empty key is nobody's. False when
 * there is no memory. */
bool keys_add(struct keys *keys, const char *text, const struct assent_gtrid *gtrid);
/* NULL: not known. */
const struct assent_gtrid *keys_find(const struct keys *keys, const char *text);
/* Only if it leads to this gtrid. */
void keys_remove(struct keys *keys, const char *text, const struct assent_gtrid *gtrid);
size_t keys_count(const struct keys *keys);
void keys_fini(struct keys *keys);

#endif
