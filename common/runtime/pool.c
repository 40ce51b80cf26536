/* pool.c: see pool.h. */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#include "watched.h"

/* Kept at most; what a rare peak took goes back. Nothing is kept where AddressSanitizer is to see
 * that memory is used after it was given back. */
#ifdef ASSENT_WATCHED
#define UNUSED_MAX 0
#else
#define UNUSED_MAX 4096
#endif

#define CACHE_LINE_BYTES 64

void assent_pool_init(struct assent_pool *pool, size_t size, size_t cleared)
{
    *pool = (struct assent_pool){.size = size, .cleared = cleared};
}

/* What is given next was last used long ago, or by another core: it comes nearer meanwhile. */
static void fetch(const char *memory, size_t size)
{
    for (size_t at = 0; memory != NULL && at < size; at += CACHE_LINE_BYTES)
        __builtin_prefetch(memory + at, 1);
}

void *assent_pool_take(struct assent_pool *pool)
{
    void *memory = pool->unused;

    if (memory == NULL)
        return calloc(1, pool->size);
    memcpy(&pool->unused, memory, sizeof(pool->unused));
    fetch(pool->unused, pool->cleared);
    pool->count--;
    return memset(memory, 0, pool->cleared);
}

void assent_pool_give(struct assent_pool *pool, void *memory)
{
    if (pool->count >= UNUSED_MAX) {
        free(memory);
        return;
    }
    memcpy(memory, &pool->unused, sizeof(pool->unused));
    pool->unused = memory;
    pool->count++;
}

void assent_pool_fini(struct assent_pool *pool)
{
    void *memory;

    while ((memory = pool->unused) != NULL) {
        memcpy(&pool->unused, memory, sizeof(pool->unused));
        free(memory);
    }
    pool->count = 0;
}
