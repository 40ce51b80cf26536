/*
 * store.c: opens and closes a store in the right order (lock, FORMAT, environment, identity,
 * writer) and passes its calls on: reads to the environment, writes to the writer.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "directory.h"
#include "lmdb_env.h"
#include "runtime.h"
#include "writer.h"

#define LOG_ID_KEY        "log-id"
#define INCARNATION_KEY   "incarnation"
#define FIRST_KEY         "first-incarnation"
#define INCARNATION_BYTES 4
#define INCARNATION_MAX   0xffffff

/* What the log says about itself in ASSENT_TABLE_META. */
struct identity {
    uint8_t log_id[ASSENT_LOG_ID_BYTES];
    uint32_t incarnation, first_incarnation;
    uint64_t age_ms;
};

struct assent_store {
    int lock_fd;
    struct assent_lmdb *lmdb;
    struct assent_store_writer *writer; /* NULL: a read-only view */
    struct identity identity;           /* age_ms: when it was opened */
    uint64_t first_position;
};

/* With a FORMAT there was a log: LMDB must not quietly make an empty one in its place, in which
 * every decision would be missing. */
static int check_data_is_there(const char *directory, int directory_fd, char *error,
                               size_t error_size)
{
    struct stat file;

    if (fstatat(directory_fd, "data.mdb", &file, 0) < 0) {
        snprintf(error, error_size, "%s: FORMAT is there, but data.mdb: %s", directory,
                 strerror(errno));
        return errno == ENOENT ? ASSENT_E_CORRUPT : ASSENT_E_IO;
    }
    if (file.st_size == 0) {
        snprintf(error, error_size, "%s: data.mdb is empty: the log is lost", directory);
        return ASSENT_E_CORRUPT;
    }
    return 0;
}

static bool stop_at_first(const void *key, size_t key_size, const void *value, size_t value_size,
                          int status, void *context)
{
    bool *found = context;

    (void)key;
    (void)key_size;
    (void)value;
    (void)value_size;
    (void)status;
    *found = true;
    return false;
}

/* FORMAT is written last, so without one the log was never used; anything in it says otherwise. */
static int check_never_used(struct assent_lmdb *lmdb, const char *directory, char *error,
                            size_t error_size)
{
    for (int table = ASSENT_TABLE_META + 1; table < ASSENT_TABLE_COUNT; table++) {
        bool found = false;
        int status =
            assent_lmdb_scan(lmdb, (enum assent_table)table, NULL, 0, 1, stop_at_first, &found);

        if (status < 0) {
            snprintf(error, error_size, "%s: cannot read data.mdb", directory);
            return status;
        }
        if (found) {
            snprintf(error, error_size, "%s: there are records, but no FORMAT file", directory);
            return ASSENT_E_CORRUPT;
        }
    }
    return 0;
}

static int read_meta(struct assent_lmdb *lmdb, const char *directory, const char *key,
                     uint8_t *value, size_t value_size, char *error, size_t error_size)
{
    size_t size;
    int status =
        assent_lmdb_get(lmdb, ASSENT_TABLE_META, key, strlen(key), value, value_size, &size);

    if (status == 0 && size != value_size)
        status = ASSENT_E_CORRUPT;
    if (status < 0)
        snprintf(error, error_size, "%s: record \"%s\" of the log: %s", directory, key,
                 assent_error_text(status));
    return status;
}

static int read_identity(struct assent_lmdb *lmdb, const char *directory,
                         struct identity *ret_identity, char *error, size_t error_size)
{
    uint8_t incarnation[INCARNATION_BYTES], first[INCARNATION_BYTES] = {0, 0, 0, 1};
    uint8_t age[ASSENT_STORE_AGE_BYTES];
    struct identity found;
    struct assent_reader reader;
    int status = read_meta(lmdb, directory, LOG_ID_KEY, found.log_id, sizeof(found.log_id), error,
                           error_size);

    if (status == 0)
        status = read_meta(lmdb, directory, INCARNATION_KEY, incarnation, sizeof(incarnation),
                           error, error_size);
    if (status == 0)
        status =
            read_meta(lmdb, directory, ASSENT_STORE_AGE_KEY, age, sizeof(age), error, error_size);
    if (status < 0)
        return status;
    /* Absent from logs that began with 1. */
    status = read_meta(lmdb, directory, FIRST_KEY, first, sizeof(first), error, error_size);
    if (status < 0 && status != ASSENT_E_NOT_FOUND)
        return status;
    assent_reader_init(&reader, first, sizeof(first));
    found.first_incarnation = assent_read_u32(&reader);
    assent_reader_init(&reader, incarnation, sizeof(incarnation));
    found.incarnation = assent_read_u32(&reader);
    assent_reader_init(&reader, age, sizeof(age));
    found.age_ms = assent_read_u64(&reader);
    *ret_identity = found;
    return 0;
}

static int put_meta(struct assent_lmdb *lmdb, const char *key, const uint8_t *value, size_t size)
{
    return assent_lmdb_put(lmdb, ASSENT_TABLE_META, key, strlen(key), value, size);
}

static int write_identity(struct assent_lmdb *lmdb, const char *directory,
                          const struct identity *identity, char *error, size_t error_size)
{
    uint8_t incarnation[INCARNATION_BYTES], first[INCARNATION_BYTES], age[ASSENT_STORE_AGE_BYTES];
    struct assent_writer writer;
    int number;

    assent_writer_init(&writer, incarnation, sizeof(incarnation));
    assent_write_u32(&writer, identity->incarnation);
    assent_writer_init(&writer, first, sizeof(first));
    assent_write_u32(&writer, identity->first_incarnation);
    assent_writer_init(&writer, age, sizeof(age));
    assent_write_u64(&writer, identity->age_ms);
    number = assent_lmdb_begin(lmdb);
    if (number == 0)
        number = put_meta(lmdb, LOG_ID_KEY, identity->log_id, sizeof(identity->log_id));
    if (number == 0)
        number = put_meta(lmdb, INCARNATION_KEY, incarnation, sizeof(incarnation));
    if (number == 0)
        number = put_meta(lmdb, FIRST_KEY, first, sizeof(first));
    if (number == 0)
        number = put_meta(lmdb, ASSENT_STORE_AGE_KEY, age, sizeof(age));
    if (number == 0)
        number = assent_lmdb_commit(lmdb);
    if (number != 0) {
        snprintf(error, error_size, "%s: cannot raise the incarnation of the log: %s", directory,
                 assent_lmdb_text(number));
        return ASSENT_E_IO;
    }
    return 0;
}

static int raise_incarnation(struct assent_store *store, const struct assent_store_options *options,
                             bool fresh, char *error, size_t error_size)
{
    uint32_t first = options->first_incarnation ? options->first_incarnation : 1;
    struct identity identity = {.first_incarnation = first, .incarnation = first - 1};
    const char *directory = options->directory;
    int status = read_identity(store->lmdb, directory, &identity, error, error_size);

    if (status == ASSENT_E_NOT_FOUND && fresh)
        assent_random_bytes(identity.log_id, sizeof(identity.log_id));
    else if (status < 0)
        return status == ASSENT_E_NOT_FOUND ? ASSENT_E_CORRUPT : status;
    if (identity.incarnation >= INCARNATION_MAX) {
        snprintf(error, error_size, "%s: incarnation %d of the log is the last one possible",
                 directory, INCARNATION_MAX);
        return ASSENT_E_LIMIT;
    }
    identity.incarnation++;
    if (identity.incarnation < options->incarnation_min)
        identity.incarnation = options->incarnation_min;
    status = write_identity(store->lmdb, directory, &identity, error, error_size);
    if (status < 0)
        return status;
    store->identity = identity;
    return 0;
}

static int find_position(struct assent_store *store, const char *directory, char *error,
                         size_t error_size)
{
    struct assent_lmdb_usage usage;
    int number = assent_lmdb_usage(store->lmdb, &usage);

    if (number != 0) {
        snprintf(error, error_size, "%s: %s", directory, assent_lmdb_text(number));
        return ASSENT_E_IO;
    }
    store->first_position = usage.position;
    return 0;
}

static struct assent_store *new_store(const char *directory, char *error, size_t error_size)
{
    struct assent_store *store = calloc(1, sizeof(*store));

    if (store == NULL)
        snprintf(error, error_size, "%s: out of memory", directory);
    else
        store->lock_fd = -1;
    return store;
}

static int start_writer(struct assent_store *store, const struct assent_store_options *options,
                        char *error, size_t error_size)
{
    struct assent_store_writer_options writer = {
        .lmdb = store->lmdb,
        .age_ms = store->identity.age_ms,
        .disk_low_bytes = options->disk_low_bytes,
        .lazy_flush_ms = options->lazy_flush_ms,
        .queue_max = options->queue_max,
        .consumers = options->consumers == 0 ? 1 : options->consumers,
    };
    int status = assent_store_writer_start(&writer, &store->writer);

    if (status < 0)
        snprintf(error, error_size, "%s: cannot start the writer: %s", options->directory,
                 assent_error_text(status));
    return status;
}

int assent_store_open(const struct assent_store_options *options, struct assent_store **ret_store,
                      char *error, size_t error_size)
{
    const char *directory = options->directory;
    struct assent_store *store = new_store(directory, error, error_size);
    bool fresh;
    int status, directory_fd = -1;

    if (store == NULL)
        return ASSENT_E_NOMEM;
    status = assent_directory_open(directory, true, &directory_fd, error, error_size);
    if (status == 0 && !options->unsafe_storage)
        status = assent_directory_check_storage(directory, directory_fd, error, error_size);
    if (status < 0)
        goto out;
    status =
        assent_directory_lock(directory, directory_fd, false, &store->lock_fd, error, error_size);
    if (status < 0)
        goto out;
    status =
        assent_directory_check_format(directory, directory_fd, options->owner, error, error_size);
    fresh = status == ASSENT_E_NOT_FOUND;
    if (status == 0)
        status = check_data_is_there(directory, directory_fd, error, error_size);
    if (status < 0 && !fresh)
        goto out;
    status =
        assent_lmdb_open(directory, false, options->map_bytes, &store->lmdb, error, error_size);
    if (status == 0 && fresh)
        status = check_never_used(store->lmdb, directory, error, error_size);
    if (status == 0)
        status = find_position(store, directory, error, error_size);
    if (status == 0)
        status = raise_incarnation(store, options, fresh, error, error_size);
    if (status == 0 && fresh)
        status = assent_directory_write_format(directory, directory_fd, options->owner, error,
                                               error_size);
    if (status == 0)
        status = start_writer(store, options, error, error_size);
    if (status < 0)
        goto out;
    *ret_store = store;
    store = NULL;
out:
    if (directory_fd >= 0)
        close(directory_fd);
    assent_store_close(store);
    return status;
}

int assent_store_open_read_only(const char *directory, const char *owner,
                                struct assent_store **ret_store, char *error, size_t error_size)
{
    struct assent_store *store = new_store(directory, error, error_size);
    int status, directory_fd = -1;

    if (store == NULL)
        return ASSENT_E_NOMEM;
    status = assent_directory_open(directory, false, &directory_fd, error, error_size);
    if (status < 0)
        goto out;
    /* Before the lock, whose file is only to be made in a data directory. */
    status = assent_directory_check_format(directory, directory_fd, owner, error, error_size);
    if (status < 0) {
        status = status == ASSENT_E_NOT_FOUND ? ASSENT_E_CORRUPT : status;
        goto out;
    }
    status =
        assent_directory_lock(directory, directory_fd, true, &store->lock_fd, error, error_size);
    if (status == 0)
        status = check_data_is_there(directory, directory_fd, error, error_size);
    if (status == 0)
        status = assent_lmdb_open(directory, true, 0, &store->lmdb, error, error_size);
    if (status < 0)
        goto out;
    status = read_identity(store->lmdb, directory, &store->identity, error, error_size);
    if (status < 0) {
        status = status == ASSENT_E_NOT_FOUND ? ASSENT_E_CORRUPT : status;
        goto out;
    }
    *ret_store = store;
    store = NULL;
out:
    if (directory_fd >= 0)
        close(directory_fd);
    assent_store_close(store);
    return status;
}

void assent_store_close(struct assent_store *store)
{
    if (store == NULL)
        return;
    assent_store_writer_stop(store->writer);
    assent_lmdb_close(store->lmdb);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    free(store);
}

const uint8_t *assent_store_log_id(const struct assent_store *store)
{
    return store->identity.log_id;
}

uint32_t assent_store_first_incarnation(const struct assent_store *store)
{
    return store->identity.first_incarnation;
}

uint32_t assent_store_incarnation(const struct assent_store *store)
{
    return store->identity.incarnation;
}

uint64_t assent_store_first_position(const struct assent_store *store)
{
    return store->first_position;
}

uint64_t assent_store_age_ms(const struct assent_store *store)
{
    if (store->writer == NULL)
        return store->identity.age_ms;
    return assent_store_writer_age_ms(store->writer);
}

int assent_store_put(struct assent_store *store, const struct assent_put *put)
{
    ASSENT_ASSERT(store->writer != NULL);
    ASSENT_ASSERT((unsigned)put->table < ASSENT_TABLE_COUNT && put->key_size > 0);
    ASSENT_ASSERT(!(put->flags & ASSENT_PUT_DECIDE) ||
                  (!(put->flags & ASSENT_PUT_DELETE) && put->value_size > 0));
    if (put->key_size > ASSENT_STORE_KEY_MAX)
        return ASSENT_E_TOO_BIG;
    if (!(put->flags & ASSENT_PUT_DELETE) && put->value_size > ASSENT_STORE_VALUE_MAX)
        return ASSENT_E_TOO_BIG;
    return assent_store_writer_put(store->writer, put);
}

int assent_store_fd(const struct assent_store *store, unsigned consumer)
{
    ASSENT_ASSERT(store->writer != NULL);
    return assent_store_writer_fd(store->writer, consumer);
}

void assent_store_process(struct assent_store *store, unsigned consumer,
                          void (*done)(const struct assent_completion *completion, void *context),
                          void *context)
{
    ASSENT_ASSERT(store->writer != NULL);
    assent_store_writer_process(store->writer, consumer, done, context);
}

int assent_store_get(struct assent_store *store, enum assent_table table, const void *key,
                     size_t key_size, void *buffer, size_t cap, size_t *ret_size)
{
    ASSENT_ASSERT((unsigned)table < ASSENT_TABLE_COUNT && key_size > 0);
    if (key_size > ASSENT_STORE_KEY_MAX)
        return ASSENT_E_NOT_FOUND;
    return assent_lmdb_get(store->lmdb, table, key, key_size, buffer, cap, ret_size);
}

int assent_store_scan(struct assent_store *store, enum assent_table table, const void *after,
                      size_t after_size, size_t limit, assent_store_visit *visit, void *context)
{
    ASSENT_ASSERT((unsigned)table < ASSENT_TABLE_COUNT);
    ASSENT_ASSERT(after == NULL || (after_size > 0 && after_size <= ASSENT_STORE_KEY_MAX));
    return assent_lmdb_scan(store->lmdb, table, after, after_size, limit, visit, context);
}

bool assent_store_has_room(const struct assent_store *store)
{
    ASSENT_ASSERT(store->writer != NULL);
    return assent_store_writer_has_room(store->writer);
}

void assent_store_stats(const struct assent_store *store, struct assent_store_stats *ret_stats)
{
    ASSENT_ASSERT(store->writer != NULL);
    assent_store_writer_stats(store->writer, ret_stats);
}
