/*
 * arena.h: the bounded memory behind one decoded message, as the allocator that protobuf-c is
 * given. Private to the codec and its tests.
 */
#ifndef ASSENT_ARENA_H
#define ASSENT_ARENA_H

#include <protobuf-c/protobuf-c.h>

#include "codec.h"

/* Forgets everything allocated; memory stays for the next message. */
void assent_arena_reset(struct assent_arena *arena);
ProtobufCAllocator *assent_arena_allocator(struct assent_arena *arena);
/* Bytes asked for at one address, as the allocator was asked. */
size_t assent_arena_size_of(const void *address);
/* Since the last reset: bytes in use; whether an allocation was refused. */
size_t assent_arena_used(const struct assent_arena *arena);
bool assent_arena_refused(const struct assent_arena *arena);

#endif
