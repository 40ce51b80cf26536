/* retention.c: walks the table of transactions over and over, a few records at a time. */
#include "retention.h"

#include <string.h>

#include "bytes.h"
#include "outcomes.h"
#include "server.h"

#define STEP_RECORDS 256
#define STEP_BUSY_MS 5     /* to the next step while there is much to prune */
#define STEP_IDLE_MS 50    /* while there is not */
#define REST_MAX_MS  60000 /* between two walks */
#define QUEUED_MAX   1024  /* step aside while the log has this much to write */
#define MARK_KEY     "expired_below"
#define MARK_BYTES   8

bool retention_has_pruned(const struct retention *retention, uint64_t order)
{
    return order <= retention->expired_below;
}

bool retention_is_due(const struct assent_coord_record *record, uint64_t age_ms,
                      uint64_t retention_ms)
{
    if (record->kind != ASSENT_COORD_RECORD_OUTCOME || age_ms < record->ended_age_ms)
        return false;
    switch (record->outcome) {
    case ASSENT_OUTCOME_COMMITTED:
    case ASSENT_OUTCOME_ABORTED:
        return age_ms - record->ended_age_ms >= retention_ms;
    case ASSENT_OUTCOME_MIXED:
    case ASSENT_OUTCOME_HAZARD:
        return record->acknowledged && age_ms - record->ended_age_ms >= retention_ms;
    case ASSENT_OUTCOME_UNKNOWN:
    case ASSENT_OUTCOME_EXPIRED:
    case ASSENT_OUTCOME_NEVER_SEEN:
        return false;
    }
    return false;
}

int retention_load(struct server *server)
{
    uint8_t value[MARK_BYTES];
    struct assent_reader reader;
    size_t size;
    int r = assent_store_get(server->store, ASSENT_TABLE_META, MARK_KEY, strlen(MARK_KEY), value,
                             sizeof(value), &size);

    if (r == ASSENT_E_NOT_FOUND)
        return 0;
    if (r != 0)
        return r;
    assent_reader_init(&reader, value, size);
    server->retention.expired_below = assent_read_u64(&reader);
    return reader.failed ? ASSENT_E_CORRUPT : 0;
}

static void put_lazy(struct server *server, struct assent_put put)
{
    int r;

    put.flags |= ASSENT_PUT_LAZY;
    r = assent_store_put(server->store, &put);
    if (r != 0)
        assent_panic(ASSENT_EXIT_RUNTIME, "log_put_failed", "what=retention error=%s",
                     assent_error_name(r));
}

static void put_mark(struct server *server)
{
    uint8_t value[MARK_BYTES];
    struct assent_writer writer;

    assent_writer_init(&writer, value, sizeof(value));
    assent_write_u64(&writer, server->retention.expired_below);
    put_lazy(server, (struct assent_put){.table = ASSENT_TABLE_META,
                                         .key = MARK_KEY,
                                         .key_size = strlen(MARK_KEY),
                                         .value = value,
                                         .value_size = writer.size});
}

struct step {
    struct server *server;
    size_t visited, due_count;
    struct {
        struct assent_gtrid gtrid;
        char key[ASSENT_KEY_MAX + 1];
    } due[STEP_RECORDS];
};

static bool visit(const void *key, size_t key_size, const void *value, size_t value_size,
                  int status, void *context)
{
    struct step *step = context;
    struct server *server = step->server;
    struct assent_coord_record record;

    step->visited++;
    if (key_size == ASSENT_GTRID_BYTES) {
        memcpy(server->retention.cursor, key, key_size);
        server->retention.started = true;
    }
    /* A record that cannot be read is kept: it may be a decision somebody needs. */
    if (status != 0 || assent_coord_record_decode(value, value_size, &record) != 0 ||
        !retention_is_due(&record, assent_store_age_ms(server->store),
                          server->options.retention_ms))
        return true;
    step->due[step->due_count].gtrid = record.gtrid;
    memcpy(step->due[step->due_count].key, record.key, sizeof(record.key));
    step->due_count++;
    return true;
}

/* While all are held: what is being written anew, or has been since the walk read it, stays. */
static bool is_still_due(struct server *server, const struct assent_gtrid *gtrid)
{
    struct assent_coord_record record;

    return !operate_is_rewriting(server_shard_of(server, gtrid), gtrid) &&
           outcomes_read(server, gtrid, &record) == 0 &&
           retention_is_due(&record, assent_store_age_ms(server->store),
                            server->options.retention_ms);
}

static void keep_rewritten(struct step *step)
{
    size_t due_count = 0;

    if (!atomic_load(&step->server->rewrites_outcomes))
        return;
    for (size_t i = 0; i < step->due_count; i++)
        if (is_still_due(step->server, &step->due[i].gtrid))
            step->due[due_count++] = step->due[i];
    step->due_count = due_count;
}

static void delete_due(struct server *server, const struct step *step)
{
    struct retention *retention = &server->retention;

    /* The mark is queued before the deletions, so it is on disk no later than they are. */
    for (size_t i = 0; i < step->due_count; i++)
        if (gtrid_order(&step->due[i].gtrid) > retention->expired_below)
            retention->expired_below = gtrid_order(&step->due[i].gtrid);
    put_mark(server);
    for (size_t i = 0; i < step->due_count; i++) {
        put_lazy(server, (struct assent_put){.table = ASSENT_TABLE_TRANSACTION,
                                             .flags = ASSENT_PUT_DELETE,
                                             .key = step->due[i].gtrid.bytes,
                                             .key_size = ASSENT_GTRID_BYTES});
        keys_remove(server_keys_of(server, step->due[i].key), step->due[i].key,
                    &step->due[i].gtrid);
    }
    server->shards[0].metrics.pruned += step->due_count;
}

static void prune(struct server *server, struct step *step)
{
    if (step->due_count == 0)
        return;
    server_hold(server);
    keep_rewritten(step);
    if (step->due_count > 0)
        delete_due(server, step);
    server_release(server);
}

static void schedule(struct server *server, uint64_t ms)
{
    struct timeval wait = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};

    if (evtimer_add(&server->retention.timer, &wait) != 0)
        assent_panic(ASSENT_EXIT_RUNTIME, "no_memory", "what=timer");
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct server *server = context;
    struct retention *retention = &server->retention;
    struct step step = {.server = server};
    struct assent_store_stats stats;
    uint64_t rest_ms = server->options.retention_ms / 10;
    int r;

    (void)fd;
    (void)what;
    assent_store_stats(server->store, &stats);
    if (stats.queued > QUEUED_MAX) {
        schedule(server, STEP_IDLE_MS);
        return;
    }
    r = assent_store_scan(
        server->store, ASSENT_TABLE_TRANSACTION, retention->started ? retention->cursor : NULL,
        retention->started ? sizeof(retention->cursor) : 0, STEP_RECORDS, visit, &step);
    if (r != 0)
        assent_log(ASSENT_LOG_WARN, "retention_scan_failed", "error=%s", assent_error_name(r));
    prune(server, &step);
    if (r == 0 && step.visited == STEP_RECORDS) {
        schedule(server, step.due_count > 0 ? STEP_BUSY_MS : STEP_IDLE_MS);
        return;
    }
    retention->started = false;
    schedule(server, rest_ms > REST_MAX_MS    ? REST_MAX_MS
                     : rest_ms < STEP_IDLE_MS ? STEP_IDLE_MS
                                              : rest_ms);
}

void retention_start(struct server *server)
{
    evtimer_assign(&server->retention.timer, server->base, on_timer, server);
    schedule(server, STEP_IDLE_MS);
}

void retention_stop(struct server *server)
{
    if (event_initialized(&server->retention.timer))
        evtimer_del(&server->retention.timer);
}
