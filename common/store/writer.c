/*
 * writer.c: group commit. The owner adds to the gathering batch; the writer takes it whole, commits
 * it as one transaction and hands it back as done; meanwhile the next one gathers. Any failure to
 * write ends the process here, before the batch is handed back: whether it reached the disk is for
 * the restart to read.
 */
#include "writer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "batch.h"
#include "bytes.h"
#include "runtime.h"

/* Without room nothing new begins, so perhaps no batch would ever come to find that room again. */
#define ROOM_RECHECK_MS 1000
/* One each gathering, being written and being delivered, and one over. */
#define SPARE_MAX 4

struct assent_store_writer {
    struct assent_store_writer_options options;
    uint64_t opened_ms; /* on the monotonic clock, when the log's age was options.age_ms */
    int fd;             /* eventfd: readable when done has something */
    pthread_t thread;
    atomic_bool has_room;

    pthread_mutex_t mutex; /* for all below */
    pthread_cond_t wake;   /* to the writer: gathering or stopping changed */
    bool stopping;
    struct assent_batch *gathering; /* NULL: nothing queued */
    struct assent_batch_list done;
    struct assent_batch_list spare;
    size_t spare_count;
    size_t outstanding; /* requests queued, or done and not yet delivered */
    struct assent_store_stats stats;
};

static void lock(struct assent_store_writer *writer)
{
    int error = pthread_mutex_lock(&writer->mutex);

    ASSENT_ASSERT(error == 0);
}

static void unlock(struct assent_store_writer *writer)
{
    int error = pthread_mutex_unlock(&writer->mutex);

    ASSENT_ASSERT(error == 0);
}

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

/* batch NULL: the age alone. Returns how long it took, in us. */
static uint64_t commit(struct assent_store_writer *writer, struct assent_batch *batch)
{
    struct assent_lmdb *lmdb = writer->options.lmdb;
    struct assent_request *request;
    uint64_t began_us = assent_now_us();
    size_t offset = 0;
    int number = assent_lmdb_begin(lmdb);

    if (number != 0)
        die("begin", number);
    while (batch != NULL && (request = assent_batch_next(batch, &offset)) != NULL)
        write_request(lmdb, request);
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
    lock(writer);
    writer->stats.used_bytes = usage.used_bytes;
    writer->stats.position = usage.position;
    writer->stats.map_bytes = usage.map_bytes;
    unlock(writer);
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

static void count_batch(struct assent_store_stats *stats, const struct assent_batch *batch,
                        uint64_t took_us)
{
    stats->batches++;
    stats->records += batch->count;
    stats->forced_records += batch->forced;
    stats->lazy_records += batch->count - batch->forced;
    stats->commit_us_sum += took_us;
    if (took_us > stats->commit_us_max)
        stats->commit_us_max = took_us;
    stats->commit_us_bucket[bucket(took_us, 64)]++;
    stats->batch_bucket[bucket(batch->count - 1, 1)]++;
    stats->queued -= batch->count;
}

/* Under the mutex. */
static void give_back(struct assent_store_writer *writer, struct assent_batch *batch)
{
    if (writer->spare_count == SPARE_MAX) {
        assent_batch_free(batch);
        return;
    }
    assent_batch_reset(batch);
    STAILQ_INSERT_TAIL(&writer->spare, batch, next);
    writer->spare_count++;
}

static void publish(struct assent_store_writer *writer, struct assent_batch *batch,
                    uint64_t took_us)
{
    const uint64_t one = 1;
    bool wanted = batch->wanted > 0;

    lock(writer);
    count_batch(&writer->stats, batch, took_us);
    if (wanted) {
        STAILQ_INSERT_TAIL(&writer->done, batch, next);
    } else {
        writer->outstanding -= batch->count;
        give_back(writer, batch);
    }
    unlock(writer);
    /* EAGAIN would mean a counter near 2^64: readable all the same. */
    if (wanted && write(writer->fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
        die("eventfd", errno);
}

static void wait_until(struct assent_store_writer *writer, uint64_t deadline_ms)
{
    struct timespec at = {
        .tv_sec = (time_t)(deadline_ms / 1000),
        .tv_nsec = (long)(deadline_ms % 1000) * 1000000,
    };
    int error = deadline_ms == UINT64_MAX
                    ? pthread_cond_wait(&writer->wake, &writer->mutex)
                    : pthread_cond_timedwait(&writer->wake, &writer->mutex, &at);

    ASSENT_ASSERT(error == 0 || error == ETIMEDOUT);
}

/* Sleeps until there is a batch to commit, or only the room to be looked at (*ret_batch NULL).
 * Returns false when stopping and nothing is left. */
static bool wait_for_work(struct assent_store_writer *writer, struct assent_batch **ret_batch)
{
    const uint64_t recheck_ms =
        atomic_load(&writer->has_room) ? UINT64_MAX : assent_now_ms() + ROOM_RECHECK_MS;
    bool more = true;

    lock(writer);
    for (;;) {
        const struct assent_batch *batch = writer->gathering;
        uint64_t deadline_ms = recheck_ms;

        if (writer->stopping || (batch != NULL && batch->forced > 0))
            break;
        if (batch != NULL)
            deadline_ms = batch->since_ms + writer->options.lazy_flush_ms;
        if (deadline_ms <= assent_now_ms())
            break;
        wait_until(writer, deadline_ms);
    }
    if (writer->stopping && writer->gathering == NULL)
        more = false;
    *ret_batch = writer->gathering;
    writer->gathering = NULL;
    unlock(writer);
    return more;
}

static void *run(void *context)
{
    struct assent_store_writer *writer = context;
    struct assent_batch *batch;
    int number;

    while (wait_for_work(writer, &batch)) {
        uint64_t took_us = batch != NULL ? commit(writer, batch) : 0;

        number = check_room(writer);
        if (number != 0)
            die("usage", number);
        if (batch != NULL)
            publish(writer, batch, took_us);
    }
    commit(writer, NULL);
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
    int error = pthread_mutex_init(&writer->mutex, NULL);

    ASSENT_ASSERT(error == 0);
    error = pthread_condattr_init(&attributes);
    ASSENT_ASSERT(error == 0);
    error = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    ASSENT_ASSERT(error == 0);
    error = pthread_cond_init(&writer->wake, &attributes);
    ASSENT_ASSERT(error == 0);
    pthread_condattr_destroy(&attributes);
}

static void free_list(struct assent_batch_list *list)
{
    struct assent_batch *batch;

    while ((batch = STAILQ_FIRST(list)) != NULL) {
        STAILQ_REMOVE_HEAD(list, next);
        assent_batch_free(batch);
    }
}

static void free_writer(struct assent_store_writer *writer)
{
    free_list(&writer->done);
    free_list(&writer->spare);
    pthread_cond_destroy(&writer->wake);
    pthread_mutex_destroy(&writer->mutex);
    if (writer->fd >= 0)
        close(writer->fd);
    free(writer);
}

int assent_store_writer_start(const struct assent_store_writer_options *options,
                              struct assent_store_writer **ret_writer)
{
    struct assent_store_writer *writer = calloc(1, sizeof(*writer));
    int error;

    if (writer == NULL)
        return ASSENT_E_NOMEM;
    writer->options = *options;
    writer->opened_ms = assent_now_ms();
    STAILQ_INIT(&writer->done);
    STAILQ_INIT(&writer->spare);
    init_sync(writer);
    writer->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (writer->fd < 0 || check_room(writer) != 0) {
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
    lock(writer);
    writer->stopping = true;
    pthread_cond_signal(&writer->wake);
    unlock(writer);
    error = pthread_join(writer->thread, NULL);
    ASSENT_ASSERT(error == 0);
    free_writer(writer);
}

/* Under the mutex. */
static struct assent_batch *take_spare(struct assent_store_writer *writer)
{
    struct assent_batch *batch = STAILQ_FIRST(&writer->spare);

    if (batch == NULL)
        return assent_batch_new();
    STAILQ_REMOVE_HEAD(&writer->spare, next);
    writer->spare_count--;
    return batch;
}

int assent_store_writer_put(struct assent_store_writer *writer, const struct assent_put *put)
{
    struct assent_batch *batch;
    int error = 0;

    lock(writer);
    if (writer->outstanding >= writer->options.queue_max) {
        error = ASSENT_E_LIMIT;
        goto out;
    }
    batch = writer->gathering != NULL ? writer->gathering : take_spare(writer);
    if (batch == NULL) {
        error = ASSENT_E_NOMEM;
        goto out;
    }
    error = assent_batch_add(batch, put);
    if (error < 0) {
        if (batch != writer->gathering)
            give_back(writer, batch);
        goto out;
    }
    writer->outstanding++;
    writer->stats.queued++;
    if (batch != writer->gathering) {
        batch->since_ms = assent_now_ms();
        writer->gathering = batch;
    }
    /* Later puts change nothing that the writer could be waiting for. */
    if (batch->count == 1 || (batch->forced == 1 && !(put->flags & ASSENT_PUT_LAZY)))
        pthread_cond_signal(&writer->wake);
out:
    unlock(writer);
    return error;
}

int assent_store_writer_fd(const struct assent_store_writer *writer)
{
    return writer->fd;
}

static void deliver(const struct assent_batch *batch,
                    void (*done)(const struct assent_completion *completion, void *context),
                    void *context)
{
    const struct assent_request *request;
    size_t offset = 0;

    while ((request = assent_batch_next(batch, &offset)) != NULL) {
        struct assent_completion completion = {
            .token = request->token,
            .token2 = request->token2,
            .standing = (enum assent_decision)request->standing,
        };

        if (request->token != 0)
            done(&completion, context);
    }
}

void assent_store_writer_process(struct assent_store_writer *writer,
                                 void (*done)(const struct assent_completion *completion,
                                              void *context),
                                 void *context)
{
    struct assent_batch_list list = STAILQ_HEAD_INITIALIZER(list);
    struct assent_batch *batch;
    uint64_t count;
    /* Before the list is taken: a batch that comes in between raises it again. Whether it was
     * readable at all does not matter. */
    ssize_t ignored = read(writer->fd, &count, sizeof(count));

    (void)ignored;
    lock(writer);
    STAILQ_CONCAT(&list, &writer->done);
    /* Before the callbacks, which may put again. */
    STAILQ_FOREACH (batch, &list, next)
        writer->outstanding -= batch->count;
    unlock(writer);
    STAILQ_FOREACH (batch, &list, next)
        deliver(batch, done, context);
    lock(writer);
    while ((batch = STAILQ_FIRST(&list)) != NULL) {
        STAILQ_REMOVE_HEAD(&list, next);
        give_back(writer, batch);
    }
    unlock(writer);
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
    lock(writer);
    *ret_stats = writer->stats;
    unlock(writer);
}
