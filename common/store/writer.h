/*
 * writer.h: the thread that commits what is queued, and each consumer's two queues: requests to it
 * and completions from it. It alone writes to the environment while it runs.
 */
#ifndef ASSENT_STORE_WRITER_H
#define ASSENT_STORE_WRITER_H

#include "lmdb_env.h"
#include "store.h"

/* The key in ASSENT_TABLE_META under which each batch leaves the log's age: ms, 8 bytes. */
#define ASSENT_STORE_AGE_KEY   "age-ms"
#define ASSENT_STORE_AGE_BYTES 8

struct assent_store_writer;

struct assent_store_writer_options {
    struct assent_lmdb *lmdb;
    uint64_t age_ms; /* the log's age now */
    uint64_t disk_low_bytes;
    uint64_t lazy_flush_ms;
    size_t queue_max; /* of each consumer */
    unsigned consumers;
};

/* 0, ASSENT_E_NOMEM, ASSENT_E_IO. */
ASSENT_CHECKED int assent_store_writer_start(const struct assent_store_writer_options *options,
                                             struct assent_store_writer **ret_writer);
/* Commits what is queued and the log's age, ends the thread. NULL is allowed. */
void assent_store_writer_stop(struct assent_store_writer *writer);

/* As the functions of store.h. */
ASSENT_CHECKED int assent_store_writer_put(struct assent_store_writer *writer,
                                           const struct assent_put *put);
int assent_store_writer_fd(const struct assent_store_writer *writer, unsigned consumer);
void assent_store_writer_process(struct assent_store_writer *writer, unsigned consumer,
                                 void (*done)(const struct assent_completion *completion,
                                              void *context),
                                 void *context);
uint64_t assent_store_writer_age_ms(const struct assent_store_writer *writer);
bool assent_store_writer_has_room(struct assent_store_writer *writer);
void assent_store_writer_stats(struct assent_store_writer *writer,
                               struct assent_store_stats *ret_stats);

#endif
