/* participant_record.c: see participant_record.h. */
#include "participant_record.h"

#include "bytes.h"
#include "runtime.h"

#define VERSION 1

size_t participant_record_encode(const struct participant_record *record,
                                 uint8_t key[PARTICIPANT_KEY_BYTES],
                                 uint8_t value[PARTICIPANT_RECORD_BYTES_MAX])
{
    struct assent_writer keys, values;

    assent_writer_init(&keys, key, PARTICIPANT_KEY_BYTES);
    assent_write_u32(&keys, record->number);
    assent_writer_init(&values, value, PARTICIPANT_RECORD_BYTES_MAX);
    assent_write_u8(&values, VERSION);
    assent_write_text(&values, record->name);
    assent_write_text(&values, record->resource);
    assent_write_text(&values, record->type);
    ASSENT_ASSERT(!keys.failed && !values.failed);
    return values.size;
}

int participant_record_decode(const void *key, size_t key_size, const void *value, size_t size,
                              struct participant_record *ret_record)
{
    struct participant_record record;
    struct assent_reader keys, values;
    unsigned version;

    assent_reader_init(&keys, key, key_size);
    record.number = assent_read_u32(&keys);
    assent_reader_init(&values, value, size);
    version = assent_read_u8(&values);
    if (version > VERSION)
        return ASSENT_E_VERSION;
    assent_read_text(&values, record.name, sizeof(record.name));
    assent_read_text(&values, record.resource, sizeof(record.resource));
    assent_read_text(&values, record.type, sizeof(record.type));
    if (version != VERSION || key_size != PARTICIPANT_KEY_BYTES || values.failed)
        return ASSENT_E_CORRUPT;
    *ret_record = record;
    return 0;
}
