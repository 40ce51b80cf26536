/*
 * envelope.h: what is put around each stored value: a version byte and a CRC-32 over table, key
 * and value, since LMDB 0.9 has no checksums. Deliberately not here: what the value means.
 */
#ifndef ASSENT_STORE_ENVELOPE_H
#define ASSENT_STORE_ENVELOPE_H

#include "store.h"

#define ASSENT_ENVELOPE_VERSION 1
/* Bytes in front of the value: version, then the CRC-32 big-endian. */
#define ASSENT_ENVELOPE_BYTES 5

/* Writes ASSENT_ENVELOPE_BYTES + value_size bytes to stored. */
void assent_envelope_seal(uint8_t *stored, enum assent_table table, const void *key,
                          size_t key_size, const void *value, size_t value_size);
/* Checks a stored value and finds the value in it. 0, ASSENT_E_VERSION (written by a newer
 * program), ASSENT_E_CORRUPT. */
ASSENT_CHECKED int assent_envelope_open(enum assent_table table, const void *key, size_t key_size,
                                        const void *stored, size_t stored_size,
                                        const uint8_t **ret_value, size_t *ret_value_size);

#endif
