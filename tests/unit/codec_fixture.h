/*
 * codec_fixture.h: what the tests of the codec share: cmocka, samples, an arena and a buffer for
 * what is encoded.
 */
#ifndef ASSENT_TEST_CODEC_FIXTURE_H
#define ASSENT_TEST_CODEC_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "codec_sample.h"

#define ARENA_BYTES ((1u << 20) + ASSENT_ARENA_EXTRA)

static struct assent_arena *arena;
static uint8_t *buffer;
static size_t capacity;

static inline int setup(void **state)
{
    (void)state;
    return assent_arena_new(ARENA_BYTES, &arena);
}

static inline int teardown(void **state)
{
    (void)state;
    assent_arena_free(arena);
    free(buffer);
    return 0;
}

static inline void encode(const struct assent_wire *wire, size_t *ret_size)
{
    assert_int_equal(assent_wire_encode(wire, &buffer, &capacity, ret_size), 0);
}

#endif
