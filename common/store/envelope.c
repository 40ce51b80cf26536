/* envelope.c: version and checksum of stored values; not their meaning. */
#include "envelope.h"

#include <string.h>
#include <zlib.h>

#include "bytes.h"

/* Table and key are covered too: a value that turns up under another key is not that key's. */
static uint32_t checksum(enum assent_table table, const void *key, size_t key_size,
                         const void *value, size_t value_size)
{
    uint8_t number = (uint8_t)table;
    uLong crc = crc32(0, &number, 1);

    crc = crc32(crc, key, (uInt)key_size);
    /* For zlib a NULL buffer means "start anew", so an empty value is left out. */
    if (value_size > 0)
        crc = crc32(crc, value, (uInt)value_size);
    return (uint32_t)crc;
}

void assent_envelope_seal(uint8_t *stored, enum assent_table table, const void *key,
                          size_t key_size, const void *value, size_t value_size)
{
    struct assent_writer writer;

    assent_writer_init(&writer, stored, ASSENT_ENVELOPE_BYTES);
    assent_write_u8(&writer, ASSENT_ENVELOPE_VERSION);
    assent_write_u32(&writer, checksum(table, key, key_size, value, value_size));
    if (value_size > 0)
        memcpy(stored + ASSENT_ENVELOPE_BYTES, value, value_size);
}

int assent_envelope_open(enum assent_table table, const void *key, size_t key_size,
                         const void *stored, size_t stored_size, const uint8_t **ret_value,
                         size_t *ret_value_size)
{
    struct assent_reader reader;
    const uint8_t *value = (const uint8_t *)stored + ASSENT_ENVELOPE_BYTES;
    size_t value_size;
    uint8_t version;

    assent_reader_init(&reader, stored, stored_size);
    version = assent_read_u8(&reader);
    /* A newer version may check differently, so it is told apart before the checksum. */
    if (version > ASSENT_ENVELOPE_VERSION)
        return ASSENT_E_VERSION;
    if (version == 0 || stored_size < ASSENT_ENVELOPE_BYTES)
        return ASSENT_E_CORRUPT;
    value_size = stored_size - ASSENT_ENVELOPE_BYTES;
    if (assent_read_u32(&reader) != checksum(table, key, key_size, value, value_size))
        return ASSENT_E_CORRUPT;
    *ret_value = value;
    *ret_value_size = value_size;
    return 0;
}
