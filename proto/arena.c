/*
 * arena.c: bounded memory for one decoded message, see arena.h.
 *
 * A bump allocator over address space that is reserved once; the kernel adds pages as they are
 * first touched. A message can cost far more decoded than on the wire (an empty sub-message is 2
 * bytes there and over 50 here), so a limit on frames alone bounds nothing: this does.
 */
#include "arena.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "watched.h"

#ifdef ASSENT_WATCHED
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size)   ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

/* Pages kept from one message to the next; what a rare large message took goes back. */
#define KEPT_BYTES ((size_t)1 << 20)

/* Stands before each allocation. Its size tells a string's length, which protobuf-c forgets, and
 * with it whether a NUL hides inside. */
struct header {
    size_t size;
    size_t unused; /* keeps what follows aligned to 16 */
};

struct assent_arena {
    ProtobufCAllocator allocator;
    uint8_t *memory;
    size_t bytes_max, used;
    bool refused;
};

static void *allocate(void *context, size_t size)
{
    struct assent_arena *arena = context;
    size_t room = arena->bytes_max - arena->used, padded;
    struct header *header;

    if (room < sizeof(*header) || size > room - sizeof(*header)) {
        arena->refused = true;
        return NULL;
    }
    padded = (size + 15) & ~(size_t)15; /* fits: room is a multiple of 16 */
    header = (struct header *)(void *)(arena->memory + arena->used);
    ASAN_UNPOISON_MEMORY_REGION(header, sizeof(*header) + size);
    header->size = size;
    ASAN_POISON_MEMORY_REGION(header, sizeof(*header));
    arena->used += sizeof(*header) + padded;
    return header + 1;
}

static void release(void *context, void *address)
{
    (void)context;
    (void)address;
}

int assent_arena_new(size_t bytes_max, struct assent_arena **ret_arena)
{
    struct assent_arena *arena;
    size_t size = bytes_max & ~(size_t)15;

    if (size == 0)
        return ASSENT_E_INVALID;
    arena = calloc(1, sizeof(*arena));
    if (arena == NULL)
        return ASSENT_E_NOMEM;
    arena->memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena->memory == MAP_FAILED) {
        free(arena);
        return ASSENT_E_NOMEM;
    }
    arena->bytes_max = size;
    arena->allocator = (ProtobufCAllocator){allocate, release, arena};
    ASAN_POISON_MEMORY_REGION(arena->memory, size);
    *ret_arena = arena;
    return 0;
}

void assent_arena_free(struct assent_arena *arena)
{
    if (arena == NULL)
        return;
    ASAN_UNPOISON_MEMORY_REGION(arena->memory, arena->bytes_max);
    munmap(arena->memory, arena->bytes_max);
    free(arena);
}

void assent_arena_reset(struct assent_arena *arena)
{
    if (arena->used > KEPT_BYTES)
        /* A failure only keeps pages longer. */
        (void)madvise(arena->memory + KEPT_BYTES, arena->used - KEPT_BYTES, MADV_DONTNEED);
    ASAN_POISON_MEMORY_REGION(arena->memory, arena->used);
    arena->used = 0;
    arena->refused = false;
}

ProtobufCAllocator *assent_arena_allocator(struct assent_arena *arena)
{
    return &arena->allocator;
}

size_t assent_arena_size_of(const void *address)
{
    const struct header *header = (const struct header *)address - 1;
    size_t size;

    ASAN_UNPOISON_MEMORY_REGION(header, sizeof(*header));
    size = header->size;
    ASAN_POISON_MEMORY_REGION(header, sizeof(*header));
    return size;
}

size_t assent_arena_used(const struct assent_arena *arena)
{
    return arena->used;
}

bool assent_arena_refused(const struct assent_arena *arena)
{
    return arena->refused;
}
