/*
 * batch.h: requests that are committed together, one after the other in one piece of memory that
 * is used again for later batches. A batch gathers (consumer's thread), is written (writer), waits
 * done until its completions are delivered (consumer), and is then spare.
 */
#ifndef ASSENT_STORE_BATCH_H
#define ASSENT_STORE_BATCH_H

#include <sys/queue.h>

#include "store.h"

struct assent_request {
    uint64_t token, token2;
    uint32_t value_size;
    uint8_t key_size;
    uint8_t table;    /* enum assent_table */
    uint8_t flags;    /* enum assent_put_flags */
    uint8_t standing; /* enum assent_decision, filled by the writer */
    uint8_t bytes[];  /* key, then value */
};

struct assent_batch {
    STAILQ_ENTRY(assent_batch) next;
    uint8_t *data;
    size_t used, capacity; /* bytes of data */
    size_t count;          /* requests */
    size_t forced;         /* those that are not lazy */
    size_t wanted;         /* those whose completion is wanted */
    uint64_t since_ms;     /* when the first came */
};

STAILQ_HEAD(assent_batch_list, assent_batch);

struct assent_batch *assent_batch_new(void);
void assent_batch_free(struct assent_batch *batch);
/* Empties it for use again, giving back what one large batch took. */
void assent_batch_reset(struct assent_batch *batch);
/* Copies the put. 0 or ASSENT_E_NOMEM. */
ASSENT_CHECKED int assent_batch_add(struct assent_batch *batch, const struct assent_put *put);
/* The request at *offset (0: the first), and moves *offset past it; NULL at the end. */
struct assent_request *assent_batch_next(const struct assent_batch *batch, size_t *offset);

#endif
