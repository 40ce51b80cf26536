/*
 * audit.h: what people have ordered by hand, kept in the log: who, when, what, why. Records are
 * only ever added.
 */
#ifndef ASSENT_COORDINATOR_AUDIT_H
#define ASSENT_COORDINATOR_AUDIT_H

#include <jansson.h>

#include "assent/types.h"

struct server;
struct shard;

#define AUDIT_KEY       "audit:"
#define AUDIT_KEY_BYTES (sizeof(AUDIT_KEY) - 1 + 8)
#define AUDIT_BYTES_MAX 1024

struct audit_record {
    uint64_t number, at_wall_ms;
    enum assent_action action;
    struct assent_gtrid gtrid; /* zero: of none */
    bool forced;
    char who[ASSENT_NAME_MAX + 1], from[64]; /* as the tool says, and its address */
    char reason[ASSENT_REASON_MAX + 1];
    char found[64]; /* what stood before */
};

/* Finds the number of the next record. */
ASSENT_CHECKED int audit_load(struct server *server);
/* Queues it, forced, with the next number and the time of now. Durable no later than what is queued
 * after it. */
void audit_put(struct shard *shard, struct audit_record *record);
/* 0 or ASSENT_E_CORRUPT, ASSENT_E_VERSION. */
ASSENT_CHECKED int audit_decode(const void *key, size_t key_size, const void *value, size_t size,
                                struct audit_record *ret_record);
json_t *audit_record_json(const struct audit_record *record);
/* The latest records, oldest first, at most `limit`; gtrid NULL: of all. */
json_t *audit_json(struct server *server, const struct assent_gtrid *gtrid, size_t limit);

#endif
