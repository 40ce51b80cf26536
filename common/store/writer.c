/*
 * writer.c: group commit. Each consumer adds to its gathering batch; the writer takes them all
 * whole, commits them as one transaction and hands each back as done; meanwhile the next ones
 * gather. Any failure to write ends the process here, before a batch is handed back: whether it
 * reached the disk is for the restart to read.
 *
 * The writer holds the mutexes of all queues while it takes the batches, so that what it takes is a
 * cut through all queues: if it has a put, it has every one that happened before it.
 */
#include "writer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "queue.h"
#include "runtime.h"

/* Without room nothing new begins, so perhaps no batch would ever come to find that room again. */
#define ROOM_RECHECK_MS 1000

struct assent_store_writer {
    struct assent_store_writer_options options;
    uint64_t opened_ms; /* on the monotonic clock, when the log's age was options.age_ms */
    pthread_t thread;
    atomic_bool has_room;

    pthread_mutex_t mutex; /* for all below; never taken under a queue's */
    pthread_cond_t wake;   /* to the writer: news or stopping changed */
    bool news, stopping;   /* news: a batch has got its first request, or its first forced one */
    struct assent_store_stats stats; /* but for queued */

    struct consumer {
        struct assent_queue queue;
        struct assent_batch *writing; /* taken, or NULL; the writer's own */
    } consumers[];                    /* options.consumers */
};

_Noreturn static void die(const char *operation, int number)
{
    assent_panic(ASSENT_EXIT_RUNTIME, "log-write-failed", "operation=%s error=%s", operation,
                 assent_log_quote(assent_lmdb_text(number)));
}

/* Whether the request must not be written because another decision stands. An unreadable record
 * may hold one, so it is not written over. */
static bool decided_otherwise(struct assent_lmdb *lmdb, struct assent_request *request)
{
    enum assent_table table = (enum assent_table)request->table;
    uint8_t wanted = request->bytes[request->key_size];
    const uint8_t *value;
    size_t size;
    int error = assent_lmdb_peek(lmdb, table, request->bytes, request->key_size, &value, &size);

    request->standing = wanted;
    if (error == ASSENT_E_NOT_FOUND)
        return false;
    if (error == 0 && size == 0)
        error = ASSENT_E_CORRUPT;
    if (error < 0)
        assent_panic(ASSENT_EXIT_DATA, "log-damaged", "operation=decide error=%s",
                     assent_log_quote(assent_error_text(error)));
    if (value[0] == ASSENT_DECISION_NONE || value[0] == wanted)
        return false;
    request->standing = value[0];
    return true;
}

static void write_request(struct assent_lmdb *lmdb, struct assent_request *request)
{
    enum assent_table table = (enum assent_table)request->table;
    const uint8_t *key = request->bytes;
    int number;

    if (request->flags & ASSENT_PUT_DELETE) {
        number = assent_lmdb_delete(lmdb, table, key, request->key_size);
        if (number != 0)
            die("delete", number);
        return;
    }
    if ((request->flags & ASSENT_PUT_DECIDE) && decided_otherwise(lmdb, request))
        return;
    number = assent_lmdb_put(lmdb, table, key, request->key_size, key + request->key_size,
                             request->value_size);
    if (number != 0)
        die("put", number);
}

/* The age goes with every batch, so no record can be older than the log at its next opening. */
static void write_age(struct assent_store_writer *writer)
{
    struct assent_writer bytes;
    uint8_t value[ASSENT_STORE_AGE_BYTES];
    int number;

    assent_writer_init(&bytes, value, sizeof(value));
    assent_write_u64(&bytes, assent_store_writer_age_ms(writer));
    number = assent_lmdb_put(writer->options.lmdb, ASSENT_TABLE_META, ASSENT_STORE_AGE_KEY,
                             strlen(ASSENT_STORE_AGE_KEY), value, sizeof(value));
    if (number != 0)
        die("put", number);
}

static void write_batch(struct assent_lmdb *lmdb, const struct assent_batch *batch)
{
    struct assent_request *request;
    size_t offset = 0;

    while ((request = assent_batch_next(batch, &offset)) != NULL)
        write_request(lmdb, request);
}

/* What was taken, or the age alone. Returns how long it took, in us. */
static uint64_t commit(struct assent_store_writer *writer)
{
    struct assent_lmdb *lmdb = writer->options.lmdb;
    uint64_t began_us = assent_now_us();
    int number = assent_lmdb_begin(lmdb);

    if (number != 0)
        die("begin", number);
    for (unsigned i = 0; i < writer->options.consumers; i++)
        if (writer->consumers[i].writing != NULL)
            write_batch(lmdb, writer->consumers[i].writing);
    write_age(writer);
    number = assent_lmdb_commit(lmdb);
    if (number != 0)
        die("commit", number);
    return assent_now_us() - began_us;
}

/* 0 or a number for assent_lmdb_text(). */
static int check_room(struct assent_store_writer *writer)
{
    struct assent_lmdb_usage usage;
    int number = assent_lmdb_usage(writer->options.lmdb, &usage);

    if (number != 0)
        return number;
    atomic_store(&writer->has_room,
                 usage.map_has_room && usage.disk_bytes >= writer->options.disk_low_bytes);
    assent_mutex_lock(&writer->mutex);
    writer->stats.used_bytes = usage.used_bytes;
    writer->stats.position = usage.position;
    writer->stats.map_bytes = usage.map_bytes;
    assent_mutex_unlock(&writer->mutex);
    return 0;
}

/* The first bucket whose bound, first << index, is above value; else the last. */
static size_t bucket(uint64_t value, uint64_t first)
{
    size_t index = 0;

    while (index < ASSENT_STORE_BUCKETS - 1 && value >= first << index)
        index++;
    return index;
}

/* What was taken counts as one batch. */
static void count(struct assent_store_writer *writer, uint64_t took_us)
{
    struct assent_store_stats *stats = &writer->stats;
    uint64_t records = 0, forced = 0;

    for (unsigned i = 0; i < writer->options.consumers; i++) {
        const struct assent_batch *batch = writer->consumers[i].writing;

        records += batch == NULL ? 0 : batch->count;
        forced += batch == NULL ? 0 : batch->forced;
    }
    assent_mutex_lock(&writer->mutex);
    stats->batches++;
    stats->records += records;
    stats->forced_records += forced;
    stats->lazy_records += records - forced;
    stats->commit_us_sum += took_us;
    if (took_us > stats->commit_us_max)
        stats->commit_us_max = took_us;
    stats->commit_us_bucket[bucket(took_us, 64)]++;
    stats->batch_bucket[bucket(records - 1, 1)]++;
    assent_mutex_unlock(&writer->mutex);
}

static void publish(struct consumer *consumer)
{
    struct assent_batch *batch = consumer->writing;

    consumer->writing = NULL;
    if (batch != NULL)
        assent_queue_publish(&consumer->queue, batch);
}

/* Takes all that is queued if it is time to write it: something is forced, or has waited long
 * enough, or `now`. Else says when that will be. Returns whether it took something. */
static bool take(struct assent_store_writer *writer, bool now, uint64_t *ret_due_ms)
{
    unsigned count = writer->options.consumers;
    uint64_t since_ms = UINT64_MAX;

    for (unsigned i = 0; i < count; i++) {
        const struct assent_batch *batch;

        assent_mutex_lock(&writer->consumers[i].queue.mutex);
        batch = writer->consumers[i].queue.gathering;
        if (batch == NULL)
            continue;
        now |= batch->forced > 0;
        since_ms = batch->since_ms < since_ms ? batch->since_ms : since_ms;
    }
    *ret_due_ms = since_ms == UINT64_MAX ? UINT64_MAX : since_ms + writer->options.lazy_flush_ms;
    now |= since_ms != UINT64_MAX && *ret_due_ms <= assent_now_ms();
    for (unsigned i = 0; i < count; i++) {
        struct consumer *consumer = &writer->consumers[i];

        if (now) {
            consumer->writing = consumer->queue.gathering;
            consumer->queue.gathering = NULL;
        }
        assent_mutex_unlock(&consumer->queue.mutex);
    }
    return now && since_ms != UINT64_MAX;
}

/* Under the mutex. */
static void wait_until(struct assent_store_writer *writer, uint64_t deadline_ms)
{
    struct timespec at = assent_moment(deadline_ms);
    int error = deadline_ms == UINT64_MAX
                    ? pthread_cond_wait(&writer->wake, &writer->mutex)
                    : pthread_cond_timedwait(&writer->wake, &writer->mutex, &at);

    ASSENT_ASSERT(error == 0 || error == ETIMEDOUT);
}

/* Sleeps until there is something to commit, which is taken then, or only the room to be looked at
 * (*ret_taken false). Returns false when stopping and nothing is left. */
static bool wait_for_work(struct assent_store_writer *writer, bool *ret_taken)
{
    const uint64_t recheck_ms =
        atomic_load(&writer->has_room) ? UINT64_MAX : assent_now_ms() + ROOM_RECHECK_MS;

    for (;;) {
        uint64_t deadline_ms;
        bool stopping;

        /* Before looking at the queues: what comes after that look is news again. */
        assent_mutex_lock(&writer->mutex);
        writer->news = false;
        stopping = writer->stopping;
        assent_mutex_unlock(&writer->mutex);
        *ret_taken = take(writer, stopping, &deadline_ms);
        if (*ret_taken || stopping)
            return *ret_taken;
        if (recheck_ms < deadline_ms)
            deadline_ms = recheck_ms;
        if (deadline_ms <= assent_now_ms())
            return true;
        assent_mutex_lock(&writer->mutex);
        if (!writer->news && !writer->stopping)
            wait_until(writer, deadline_ms);
        assent_mutex_unlock(&writer->mutex);
    }
}

static void *run(void *context)
{
    struct assent_store_writer *writer = context;
    bool taken;
    int number;

    while (wait_for_work(writer, &taken)) {
        uint64_t took_us = taken ? commit(writer) : 0;

        number = check_room(writer);
        if (number != 0)
            die("usage", number);
        if (taken)
            count(writer, took_us);
        for (unsigned i = 0; i < writer->options.consumers; i++)
            publish(&writer->consumers[i]);
    }
    commit(writer);
    return NULL;
}

/* Signals are the owner's. A blocked SIGXFSZ also turns a file size limit into a failed write. */
static int start_thread(struct assent_store_writer *writer)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&writer->thread, NULL, run, writer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0 ? 0 : ASSENT_E_NOMEM;
}

static void init_sync(struct assent_store_writer *writer)
{
    pthread_condattr_t attributes;
    int error = pthread_condattr_init(&attributes);

    ASSENT_ASSERT(error == 0);
    error = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    ASSENT_ASSERT(error == 0);
    error = pthread_cond_init(&writer->wake, &attributes);
    ASSENT_ASSERT(error == 0);
    pthread_condattr_destroy(&attributes);
    assent_mutex_init(&writer->mutex);
}

static void free_writer(struct assent_store_writer *writer)
{
    for (unsigned i = 0; i < writer->options.consumers; i++)
        assent_queue_fini(&writer->consumers[i].queue);
    pthread_cond_destroy(&writer->wake);
    pthread_mutex_destroy(&writer->mutex);
    free(writer);
}

int assent_store_writer_start(const struct assent_store_writer_options *options,
                              struct assent_store_writer **ret_writer)
{
    struct assent_store_writer *writer =
        calloc(1, sizeof(*writer) + options->consumers * sizeof(struct consumer));
    bool opened = true;
    int error;

    if (writer == NULL)
        return ASSENT_E_NOMEM;
    writer->options = *options;
    writer->opened_ms = assent_now_ms();
    init_sync(writer);
    for (unsigned i = 0; i < options->consumers; i++)
        opened &= assent_queue_init(&writer->consumers[i].queue);
    if (!opened || check_room(writer) != 0) {
        error = ASSENT_E_IO;
        goto out;
    }
    error = start_thread(writer);
    if (error < 0)
        goto out;
    *ret_writer = writer;
    return 0;
out:
    free_writer(writer);
    return error;
}

void assent_store_writer_stop(struct assent_store_writer *writer)
{
    int error;

    if (writer == NULL)
        return;
    assent_mutex_lock(&writer->mutex);
    writer->stopping = true;
    pthread_cond_signal(&writer->wake);
    assent_mutex_unlock(&writer->mutex);
    error = pthread_join(writer->thread, NULL);
    ASSENT_ASSERT(error == 0);
    free_writer(writer);
}

int assent_store_writer_put(struct assent_store_writer *writer, const struct assent_put *put)
{
    int result;

    ASSENT_ASSERT(put->consumer < writer->options.consumers);
    result =
        assent_queue_put(&writer->consumers[put->consumer].queue, put, writer->options.queue_max);
    if (result <= 0)
        return result;
    assent_mutex_lock(&writer->mutex);
    writer->news = true;
    pthread_cond_signal(&writer->wake);
    assent_mutex_unlock(&writer->mutex);
    return 0;
}

int assent_store_writer_fd(const struct assent_store_writer *writer, unsigned consumer)
{
    ASSENT_ASSERT(consumer < writer->options.consumers);
    return writer->consumers[consumer].queue.fd;
}

void assent_store_writer_process(struct assent_store_writer *writer, unsigned consumer,
                                 void (*done)(const struct assent_completion *completion,
                                              void *context),
                                 void *context)
{
    ASSENT_ASSERT(consumer < writer->options.consumers);
    assent_queue_process(&writer->consumers[consumer].queue, done, context);
}

uint64_t assent_store_writer_age_ms(const struct assent_store_writer *writer)
{
    return writer->options.age_ms + (assent_now_ms() - writer->opened_ms);
}

bool assent_store_writer_has_room(struct assent_store_writer *writer)
{
    return atomic_load(&writer->has_room);
}

void assent_store_writer_stats(struct assent_store_writer *writer,
                               struct assent_store_stats *ret_stats)
{
    assent_mutex_lock(&writer->mutex);
    *ret_stats = writer->stats;
    assent_mutex_unlock(&writer->mutex);
    for (unsigned i = 0; i < writer->options.consumers; i++)
        ret_stats->queued +=
            atomic_load_explicit(&writer->consumers[i].queue.queued, memory_order_relaxed);
}
