/*
 * pool.h: memory of one size that is taken and given back all the time, without the allocator in
 * between. Deliberately not here: threads (whoever shares a pool has a mutex for it).
 *
 * Life: init -> take and give, any number of times -> fini, which frees what was given back.
 */
#ifndef ASSENT_RUNTIME_POOL_H
#define ASSENT_RUNTIME_POOL_H

#include <stddef.h>

struct assent_pool {
    void *unused; /* each begins with the address of the next */
    size_t count, size, cleared;
};

/* size: at least a pointer's. cleared: so many bytes of it, from its beginning, are zero when it is
 * taken; what follows may be anything. */
void assent_pool_init(struct assent_pool *pool, size_t size, size_t cleared);
/* NULL without memory. The caller gives it back to this pool. */
void *assent_pool_take(struct assent_pool *pool);
void assent_pool_give(struct assent_pool *pool, void *memory);
void assent_pool_fini(struct assent_pool *pool);

#endif
