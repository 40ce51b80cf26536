/*
 * ideal_log.c: a log in LMDB with the flags of the real one: records of fixed size under rising
 * keys, one synced commit for a batch. The thread takes all that has gathered, commits it, hands it
 * back and looks again.
 */
#include <errno.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ideal.h"
#include "runtime.h"

#define MAP_BYTES ((size_t)4 << 30) /* for some 20 million records; sparse */

struct ideal_log {
    MDB_env *env;
    MDB_dbi table;
    uint64_t records;
    struct ideal_items put, taken; /* of the loop's thread alone */
    int fd;
    pthread_mutex_t mutex; /* guards the following */
    pthread_cond_t wake;
    struct ideal_items gathering, done;
    bool idle;
};

void ideal_items_add(struct ideal_items *items, struct ideal_item item)
{
    if (items->count == items->capacity) {
        items->capacity = items->capacity ? 2 * items->capacity : 1024;
        items->items = reallocarray(items->items, items->capacity, sizeof(item));
        ASSENT_ASSERT(items->items);
    }
    items->items[items->count++] = item;
}

/* Empties from into to; swaps them if to is empty, as it usually is. */
static void move(struct ideal_items *to, struct ideal_items *from)
{
    struct ideal_items empty = *to;

    if (to->count == 0) {
        *to = *from;
        *from = empty;
        return;
    }
    for (size_t i = 0; i < from->count; i++)
        ideal_items_add(to, from->items[i]);
    from->count = 0;
}

static int fail(const char *what, int number, char *error, size_t error_size)
{
    snprintf(error, error_size, "LMDB: %s: %s", what, mdb_strerror(number));
    return -1;
}

int ideal_log_open(const char *directory, struct ideal_log **ret_log, char *error,
                   size_t error_size)
{
    struct ideal_log *log = calloc(1, sizeof(*log));
    MDB_txn *txn = NULL;
    int number, fd;

    ASSENT_ASSERT(log);
    log->fd = -1;
    if ((number = mdb_env_create(&log->env)) != 0 ||
        (number = mdb_env_set_mapsize(log->env, MAP_BYTES)) != 0 ||
        (number = mdb_env_open(log->env, directory, MDB_NOTLS, 0600)) != 0 ||
        (number = mdb_env_get_fd(log->env, &fd)) != 0 ||
        (number = ftruncate(fd, (off_t)MAP_BYTES) == 0 ? 0 : errno) != 0 ||
        (number = mdb_txn_begin(log->env, NULL, 0, &txn)) != 0 ||
        (number = mdb_dbi_open(txn, NULL, MDB_CREATE, &log->table)) != 0) {
        mdb_txn_abort(txn);
        ideal_log_close(log);
        return fail(directory, number, error, error_size);
    }
    if ((number = mdb_txn_commit(txn)) != 0) {
        ideal_log_close(log);
        return fail(directory, number, error, error_size);
    }
    *ret_log = log;
    return 0;
}

void ideal_log_close(struct ideal_log *log)
{
    if (log->env)
        mdb_env_close(log->env);
    free(log);
}

int ideal_log_commit(struct ideal_log *log, size_t count, char *error, size_t error_size)
{
    uint8_t key[ASSENT_GTRID_BYTES] = {0};
    MDB_val k = {sizeof(key), key}, v = {BENCH_RECORD_BYTES, NULL};
    MDB_txn *txn;
    int number = mdb_txn_begin(log->env, NULL, 0, &txn);

    if (number != 0)
        return fail("begin", number, error, error_size);
    for (size_t i = 0; i < count; i++) {
        uint64_t order = htobe64(log->records++);

        memcpy(key + sizeof(key) - sizeof(order), &order, sizeof(order));
        number = mdb_put(txn, log->table, &k, &v, MDB_RESERVE | MDB_APPEND);
        if (number != 0) {
            mdb_txn_abort(txn);
            return fail("put", number, error, error_size);
        }
        memset(v.mv_data, 1, v.mv_size);
    }
    number = mdb_txn_commit(txn);
    return number == 0 ? 0 : fail("commit", number, error, error_size);
}

/* Sleeps until something has gathered. */
static void take_batch(struct ideal_log *log, struct ideal_items *batch)
{
    pthread_mutex_lock(&log->mutex);
    while (log->gathering.count == 0) {
        log->idle = true;
        pthread_cond_wait(&log->wake, &log->mutex);
    }
    log->idle = false;
    move(batch, &log->gathering);
    pthread_mutex_unlock(&log->mutex);
}

static void *write_batches(void *context)
{
    const uint64_t one = 1;
    struct ideal_log *log = context;
    struct ideal_items batch = {0};
    char error[BENCH_ERROR_BYTES];

    for (;;) {
        take_batch(log, &batch);
        if (ideal_log_commit(log, batch.count, error, sizeof(error))) {
            fprintf(stderr, "assent-bench: ideal loop: %s\n", error);
            _exit(1);
        }
        pthread_mutex_lock(&log->mutex);
        move(&log->done, &batch);
        pthread_mutex_unlock(&log->mutex);
        if (write(log->fd, &one, sizeof(one)) < 0)
            _exit(1);
    }
    return NULL;
}

int ideal_log_start(struct ideal_log *log, char *error, size_t error_size)
{
    pthread_t thread;

    pthread_mutex_init(&log->mutex, NULL);
    pthread_cond_init(&log->wake, NULL);
    log->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (log->fd < 0 || pthread_create(&thread, NULL, write_batches, log) != 0) {
        snprintf(error, error_size, "cannot start a log's thread: %s", strerror(errno));
        return -1;
    }
    return 0;
}

int ideal_log_fd(const struct ideal_log *log)
{
    return log->fd;
}

void ideal_log_put(struct ideal_log *log, struct ideal_item item)
{
    ideal_items_add(&log->put, item);
}

void ideal_log_submit(struct ideal_log *log)
{
    bool idle;

    if (log->put.count == 0)
        return;
    pthread_mutex_lock(&log->mutex);
    move(&log->gathering, &log->put);
    idle = log->idle;
    pthread_mutex_unlock(&log->mutex);
    if (idle)
        pthread_cond_signal(&log->wake);
}

const struct ideal_items *ideal_log_take(struct ideal_log *log)
{
    uint64_t count;
    ssize_t ignored = read(log->fd, &count, sizeof(count));

    (void)ignored;
    log->taken.count = 0;
    pthread_mutex_lock(&log->mutex);
    move(&log->taken, &log->done);
    pthread_mutex_unlock(&log->mutex);
    return &log->taken;
}
