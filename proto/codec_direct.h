/*
 * codec_direct.h: the hot messages without the generated types. Private to the codec and its tests.
 */
#ifndef ASSENT_CODEC_DIRECT_H
#define ASSENT_CODEC_DIRECT_H

#include "codec.h"

struct codec_buffer {
    uint8_t *bytes;
    size_t capacity;
};
/* Keeps what is in it. 0, ASSENT_E_NOMEM, ASSENT_E_TOO_BIG (protobuf's own bound). */
ASSENT_CHECKED int codec_buffer_grow(struct codec_buffer *buffer, size_t size);

/* Whether messages of this kind are written here: run, result, branch. */
bool codec_direct_writes(enum assent_wire_kind kind);
/* Writes a checked message. 0, ASSENT_E_NOMEM, ASSENT_E_TOO_BIG. */
ASSENT_CHECKED int codec_direct_write(const struct assent_wire *wire, struct codec_buffer *buffer,
                                      size_t *ret_size);
/* False: not of these kinds, or not just as it is written here; ret_wire holds nothing of use then,
 * and the library must read it. The caller has reset the arena, and checks what was read. */
ASSENT_CHECKED bool codec_direct_read(const void *data, size_t size, struct assent_arena *arena,
                                      struct assent_wire *ret_wire);
/* As assent_wire_decode, but always the library's way. */
ASSENT_CHECKED int codec_decode_by_library(const void *data, size_t size,
                                           struct assent_arena *arena, struct assent_wire *ret_wire,
                                           char *error, size_t error_size);

#endif
