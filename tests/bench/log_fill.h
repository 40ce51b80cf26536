/*
 * log_fill.h: a new log of a coordinator with many transactions in it, as if it had run them: for
 * measuring what a full log costs. Transactions are numbered from 1.
 */
#ifndef ASSENT_BENCH_LOG_FILL_H
#define ASSENT_BENCH_LOG_FILL_H

#include <stddef.h>

#include "gtrid.h"
#include "record.h"

#define LOG_FILL_KEY_BYTES 32

/* So many 2pc transactions over the null resources of bank-a and bank-b: COMMIT records, which
 * nobody has acknowledged, or OUTCOME records, kept under an idempotency key each. 0, or -1 with a
 * sentence in error. */
int log_fill(const char *directory, enum assent_coord_record_kind kind, uint64_t count, char *error,
             size_t error_size);
struct assent_gtrid log_fill_gtrid(uint64_t number);
void log_fill_key(uint64_t number, char key[LOG_FILL_KEY_BYTES]);

#endif
