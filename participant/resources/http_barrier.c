/*
 * http_barrier.c: the barrier's records in a store of their own (common/store), which brings group
 * commit, checksums, the lock and the write-once decision. Its calls belong to one thread at a
 * time: here that is whoever holds the mutex, so any thread may call.
 *
 * A record is the decision (0: none yet), the state, and the traceparent as text.
 */
#include "http.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "crash_point.h"
#include "runtime.h"
#include "store.h"

#define RECORD_BYTES_MAX (3 + ASSENT_TRACEPARENT_MAX)
#define LAZY_FLUSH_MS    100
#define DISK_LOW_BYTES   (16ull << 20)
#define QUEUE_MAX        1000000

struct http_barrier {
    pthread_mutex_t mutex; /* guards the rest */
    struct assent_store *store;
    bool waiting; /* a thread waits for the store on behalf of all */
    pthread_cond_t moved;
};

static enum assent_decision decision_of(enum http_state state)
{
    switch (state) {
    case HTTP_TRYING:
    case HTTP_PREPARED:
        break;
    case HTTP_CONFIRMED:
        return ASSENT_DECISION_COMMIT;
    case HTTP_CANCELLING:
    case HTTP_CANCELLED:
        return ASSENT_DECISION_ABORT;
    }
    return ASSENT_DECISION_NONE;
}

bool http_write_stands(const struct http_write *write)
{
    return write->standing == decision_of(write->record.state);
}

static size_t encode(const struct http_record *record, uint8_t bytes[RECORD_BYTES_MAX])
{
    struct assent_writer writer;

    assent_writer_init(&writer, bytes, RECORD_BYTES_MAX);
    assent_write_u8(&writer, (uint8_t)decision_of(record->state));
    assent_write_u8(&writer, (uint8_t)record->state);
    assent_write_text(&writer, record->traceparent);
    ASSENT_ASSERT(!writer.failed);
    return writer.size;
}

static int decode(const void *bytes, size_t size, struct http_record *ret_record)
{
    struct assent_reader reader;
    struct http_record record;
    uint8_t decision, state;

    assent_reader_init(&reader, bytes, size);
    decision = assent_read_u8(&reader);
    state = assent_read_u8(&reader);
    assent_read_text(&reader, record.traceparent, sizeof(record.traceparent));
    if (reader.failed || reader.offset != size || state < HTTP_TRYING || state > HTTP_CANCELLED)
        return ASSENT_E_CORRUPT;
    record.state = (enum http_state)state;
    if (decision != decision_of(record.state))
        return ASSENT_E_CORRUPT;
    *ret_record = record;
    return 0;
}

int http_barrier_open(const char *directory, uint64_t map_bytes, struct http_barrier **ret_barrier,
                      char *error, size_t error_size)
{
    /* The agent has judged the storage already: this directory is in its own. */
    const struct assent_store_options options = {
        .directory = directory,
        .owner = "assent-http",
        .map_bytes = map_bytes,
        .disk_low_bytes = DISK_LOW_BYTES,
        .lazy_flush_ms = LAZY_FLUSH_MS,
        .queue_max = QUEUE_MAX,
        .unsafe_storage = true,
    };
    struct http_barrier *barrier = calloc(1, sizeof(*barrier));
    int r = ASSENT_E_NOMEM;

    snprintf(error, error_size, "out of memory");
    if (barrier != NULL)
        r = assent_store_open(&options, &barrier->store, error, error_size);
    if (r != 0) {
        free(barrier);
        return r;
    }
    pthread_mutex_init(&barrier->mutex, NULL);
    pthread_cond_init(&barrier->moved, NULL);
    *ret_barrier = barrier;
    return 0;
}

void http_barrier_close(struct http_barrier *barrier)
{
    if (barrier == NULL)
        return;
    assent_store_close(barrier->store);
    pthread_cond_destroy(&barrier->moved);
    pthread_mutex_destroy(&barrier->mutex);
    free(barrier);
}

bool http_barrier_has_room(struct http_barrier *barrier)
{
    return assent_store_has_room(barrier->store);
}

int http_barrier_get(struct http_barrier *barrier, const struct assent_branch_id *id,
                     struct http_record *ret_record)
{
    uint8_t key[ASSENT_BRANCH_ID_BYTES], bytes[RECORD_BYTES_MAX];
    size_t size;
    int r;

    assent_branch_id_encode(id, key);
    pthread_mutex_lock(&barrier->mutex);
    r = assent_store_get(barrier->store, ASSENT_TABLE_BRANCH, key, sizeof(key), bytes,
                         sizeof(bytes), &size);
    pthread_mutex_unlock(&barrier->mutex);
    if (r == ASSENT_E_TOO_BIG)
        return ASSENT_E_CORRUPT;
    return r == 0 ? decode(bytes, size, ret_record) : r;
}

static void put(struct http_barrier *barrier, const struct assent_put *put)
{
    int r = assent_store_put(barrier->store, put);

    if (r != 0)
        assent_panic(ASSENT_EXIT_RUNTIME, "barrier_failed", "error=%s",
                     assent_log_quote(assent_error_text(r)));
}

static void on_durable(const struct assent_completion *completion, void *context)
{
    struct http_write *write = (struct http_write *)(uintptr_t)completion->token;

    (void)context;
    write->standing = completion->standing;
    write->done = true;
}

/* Under the mutex. One thread sleeps on the store's descriptor and wakes the others. */
static void await(struct http_barrier *barrier, const struct http_write *write)
{
    struct pollfd ready = {.fd = assent_store_fd(barrier->store, 0), .events = POLLIN};

    while (!write->done) {
        if (barrier->waiting) {
            pthread_cond_wait(&barrier->moved, &barrier->mutex);
            continue;
        }
        barrier->waiting = true;
        pthread_mutex_unlock(&barrier->mutex);
        if (poll(&ready, 1, -1) < 0)
            ASSENT_ASSERT(errno == EINTR);
        pthread_mutex_lock(&barrier->mutex);
        assent_store_process(barrier->store, 0, on_durable, NULL);
        barrier->waiting = false;
        pthread_cond_broadcast(&barrier->moved);
    }
}

void http_barrier_put(struct http_barrier *barrier, struct http_write *writes, size_t count)
{
    uint8_t key[ASSENT_BRANCH_ID_BYTES], bytes[RECORD_BYTES_MAX];

    if (count == 0)
        return;
    ASSENT_CRASH_POINT(agent_before_http_log);
    pthread_mutex_lock(&barrier->mutex);
    for (size_t i = 0; i < count; i++) {
        assent_branch_id_encode(&writes[i].id, key);
        writes[i].done = false;
        put(barrier, &(struct assent_put){
                         .table = ASSENT_TABLE_BRANCH,
                         .flags = ASSENT_PUT_DECIDE,
                         .key = key,
                         .key_size = sizeof(key),
                         .value = bytes,
                         .value_size = encode(&writes[i].record, bytes),
                         .token = (uintptr_t)&writes[i],
                     });
    }
    for (size_t i = 0; i < count; i++)
        await(barrier, &writes[i]);
    pthread_mutex_unlock(&barrier->mutex);
    ASSENT_CRASH_POINT(agent_after_http_log);
}

void http_barrier_delete(struct http_barrier *barrier, const struct assent_branch_id *id)
{
    uint8_t key[ASSENT_BRANCH_ID_BYTES];

    assent_branch_id_encode(id, key);
    pthread_mutex_lock(&barrier->mutex);
    put(barrier, &(struct assent_put){
                     .table = ASSENT_TABLE_BRANCH,
                     .flags = ASSENT_PUT_LAZY | ASSENT_PUT_DELETE,
                     .key = key,
                     .key_size = sizeof(key),
                 });
    pthread_mutex_unlock(&barrier->mutex);
}

struct scan {
    http_barrier_visit *visit;
    void *context;
    struct assent_branch_id *damaged;
    int error;
};

static bool visit_record(const void *key, size_t key_size, const void *value, size_t value_size,
                         int status, void *context)
{
    struct scan *scan = context;
    struct http_record record;
    struct assent_branch_id id = {.branch = 0};

    if (key_size == ASSENT_BRANCH_ID_BYTES)
        assent_branch_id_decode(key, &id);
    else
        status = ASSENT_E_CORRUPT;
    if (status == 0)
        status = decode(value, value_size, &record);
    if (status != 0) {
        scan->error = status;
        *scan->damaged = id;
        return false;
    }
    return scan->visit(&id, &record, scan->context);
}

int http_barrier_scan(struct http_barrier *barrier, const struct assent_branch_id *after,
                      http_barrier_visit *visit, void *context,
                      struct assent_branch_id *ret_damaged)
{
    struct scan scan = {.visit = visit, .context = context, .damaged = ret_damaged};
    uint8_t key[ASSENT_BRANCH_ID_BYTES];
    int r;

    memset(ret_damaged, 0, sizeof(*ret_damaged));
    if (after != NULL)
        assent_branch_id_encode(after, key);
    pthread_mutex_lock(&barrier->mutex);
    r = assent_store_scan(barrier->store, ASSENT_TABLE_BRANCH, after != NULL ? key : NULL,
                          after != NULL ? sizeof(key) : 0, 0, visit_record, &scan);
    pthread_mutex_unlock(&barrier->mutex);
    return r == 0 ? scan.error : r;
}
