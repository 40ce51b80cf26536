/*
 * participant_record.h: one row of the coordinator's table of participants as bytes, for assentd,
 * which writes it, and for assentctl, which reads a stopped log.
 */
#ifndef ASSENT_COORDINATOR_PARTICIPANT_RECORD_H
#define ASSENT_COORDINATOR_PARTICIPANT_RECORD_H

#include "assent/types.h"

#define PARTICIPANT_KEY_BYTES        4
#define PARTICIPANT_RECORD_BYTES_MAX 256

struct participant_record {
    uint32_t number;
    char name[ASSENT_NAME_MAX + 1], resource[ASSENT_NAME_MAX + 1], type[ASSENT_NAME_MAX + 1];
};

/* The value's size. */
size_t participant_record_encode(const struct participant_record *record,
                                 uint8_t key[PARTICIPANT_KEY_BYTES],
                                 uint8_t value[PARTICIPANT_RECORD_BYTES_MAX]);
/* 0, ASSENT_E_VERSION (a newer record), ASSENT_E_CORRUPT; written only on success. */
ASSENT_CHECKED int participant_record_decode(const void *key, size_t key_size, const void *value,
                                             size_t size, struct participant_record *ret_record);

#endif
