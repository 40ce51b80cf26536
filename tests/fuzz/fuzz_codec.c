/*
 * fuzz_codec.c: any bytes into the decoder; the library's way must say the same about them, and
 * what is accepted must encode and decode again.
 *
 *   CC=clang meson setup build-fuzz -Dfuzz=true -Dc_args=-fsanitize=fuzzer-no-link \
 *       -Db_sanitize=address,undefined -Db_lundef=false
 *   ninja -C build-fuzz tests/fuzz/fuzz_codec
 *   build-fuzz/tests/fuzz/fuzz_codec -max_len=4096 -max_total_time=60
 */
#include <stdint.h>
#include <stdlib.h>

#include "codec_direct.h"

#define ARENA_BYTES (4096 + ASSENT_ARENA_EXTRA)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct assent_arena *first, *second;
    static uint8_t *buffer;
    static size_t capacity;
    struct assent_wire wire, again;
    char error[256];
    size_t encoded;
    int result;

    if (first == NULL &&
        (assent_arena_new(ARENA_BYTES, &first) != 0 || assent_arena_new(ARENA_BYTES, &second) != 0))
        abort();
    result = assent_wire_decode(data, size, first, &wire, error, sizeof(error));
    if (codec_decode_by_library(data, size, second, &again, error, sizeof(error)) != result)
        abort();
    if (result != 0)
        return 0;
    if (assent_wire_encode(&wire, &buffer, &capacity, &encoded) != 0 ||
        assent_wire_decode(buffer, encoded, second, &again, error, sizeof(error)) != 0 ||
        again.kind != wire.kind || again.request != wire.request)
        abort();
    return 0;
}
