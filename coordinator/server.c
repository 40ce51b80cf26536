/* server.c: from start to stop. */
#include "server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "admin.h"
#include "audit.h"
#include "bytes.h"
#include "driver.h"
#include "gtrid.h"

#define ID_KEY   "coordinator"
#define FLUSH_MS 200 /* at the end: for answers on their way out */
#define LOOK_MS  10

/* --- all shards --- */

static void wake_all(void *context)
{
    struct server *server = context;

    for (unsigned i = 0; i < server->shard_count; i++)
        mailbox_wake(&server->shards[i].inbox);
}

/* A letter leads to others, but those that lead to none are soon all there are: a frame to what is
 * sent back. */
static void settle(struct server *server)
{
    for (bool any = true; any;) {
        any = false;
        for (unsigned i = 0; i < server->shard_count; i++)
            shard_flush(&server->shards[i]);
        for (unsigned i = 0; i < server->shard_count; i++)
            any |= shard_deliver(&server->shards[i]);
    }
}

void server_hold(struct server *server)
{
    if (server->shard_count == 1)
        return;
    hold_take(&server->hold, wake_all, server);
    settle(server);
}

void server_release(struct server *server)
{
    if (server->shard_count > 1)
        hold_release(&server->hold);
}

void server_assert_held(const struct server *server)
{
    ASSENT_ASSERT(server->shard_count == 1 || hold_is_mine());
}

uint64_t server_ended_below(const struct server *server)
{
    const struct shard *shard = &server->shards[0];
    uint64_t lowest, next;

    if (server->shard_count > 1) {
        lowest = numbers_ended_below(&server->numbers);
        return lowest < server->damaged_lowest ? lowest : server->damaged_lowest;
    }
    lowest = transactions_lowest(&shard->transactions);
    next = (uint64_t)server->coord.incarnation << 40 | shard->sequence;
    if (server->damaged_lowest < lowest)
        lowest = server->damaged_lowest;
    return lowest < next ? lowest : next;
}

uint64_t server_ended_below_for_ping(struct server *server)
{
    uint64_t closed_ms = atomic_load(&server->round_closed_ms), now_ms = assent_now_ms();

    /* Each participant's ping comes by: one round for many of them, for it leaves numbers out. */
    if (server->shard_count > 1 && now_ms >= closed_ms + server->options.heartbeat_ms / 2 &&
        atomic_compare_exchange_strong(&server->round_closed_ms, &closed_ms, now_ms))
        numbers_close_round(&server->numbers);
    return server_ended_below(server);
}

struct shard *server_shard_of(struct server *server, const struct assent_gtrid *gtrid)
{
    return &server->shards[assent_gtrid_sequence(gtrid) % server->shard_count];
}

size_t server_transactions_count(const struct server *server)
{
    size_t count = 0;

    for (unsigned i = 0; i < server->shard_count; i++)
        count += transactions_count(&server->shards[i].transactions);
    return count;
}

struct keys *server_keys_of(struct server *server, const char *key)
{
    return &server->shards[keys_hash(key) % server->shard_count].keys;
}

size_t server_keys_count(const struct server *server)
{
    size_t count = 0;

    for (unsigned i = 0; i < server->shard_count; i++)
        count += keys_count(&server->shards[i].keys);
    return count;
}

size_t server_work_bytes(const struct server *server)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < server->shard_count; i++)
        bytes +=
            atomic_load_explicit(&server->shards[i].transactions.work_bytes, memory_order_relaxed);
    return bytes;
}

uint64_t server_unacknowledged(const struct server *server)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < server->shard_count; i++)
        count += server->shards[i].unacknowledged;
    return count;
}

/* --- stopping --- */

void server_stop(struct server *server, int status)
{
    server->exit_status = status;
    event_base_loopbreak(server->base);
}

/* Draining and flushing look at intervals whether they are over: a look walks all transactions. */
static void look_again(struct server *server)
{
    if (evtimer_add(server->stop_timer, &(struct timeval){.tv_usec = LOOK_MS * 1000}) != 0)
        server_stop(server, ASSENT_EXIT_RUNTIME);
}

static bool output_is_out(const struct server *server)
{
    for (unsigned i = 0; i < server->shard_count; i++)
        if (!shard_output_is_out(&server->shards[i]))
            return false;
    return true;
}

static bool any_undecided(const struct server *server)
{
    struct census census;

    census_take(server, &census);
    return census.undecided > 0;
}

/* Active ones are rolled back. Decided ones are on record: the next start goes on telling their
 * branches. What is between stays undecided, and the next start aborts it. */
static void start_flushing(struct server *server)
{
    server->flushing = true;
    server->stage_end_ms = assent_now_ms() + FLUSH_MS;
    for (unsigned i = 0; i < server->shard_count; i++) {
        struct shard *shard = &server->shards[i];
        struct transaction *t, *next;

        HASH_ITER (hh, shard->transactions.by_order, t, next) {
            if (t->machine.phase == ASSENT_COORD_ACTIVE)
                driver_rollback(shard, t, ASSENT_REASON_SHUTDOWN);
        }
    }
}

static void look_at_end(struct server *server)
{
    bool late = assent_now_ms() >= server->stage_end_ms;

    if (!server->flushing && (late || !any_undecided(server))) {
        start_flushing(server);
        late = false;
    }
    if (server->flushing && (late || output_is_out(server)))
        server_stop(server, ASSENT_EXIT_OK);
    else
        look_again(server);
}

static void on_stop_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    server_hold(context);
    look_at_end(context);
    server_release(context);
}

static void on_stop_signal(evutil_socket_t signal, short what, void *context)
{
    struct server *server = context;

    (void)what;
    if (server->state != SERVER_SERVING) {
        assent_log(ASSENT_LOG_INFO, "stopping_now", "signal=%d", (int)signal);
        server_stop(server, ASSENT_EXIT_OK);
        return;
    }
    server_hold(server);
    server->state = SERVER_DRAINING;
    server_release(server);
    server->stage_end_ms = assent_now_ms() + server->options.drain_ms;
    assent_log(ASSENT_LOG_INFO, "draining", "signal=%d transactions=%zu ms=%llu", (int)signal,
               server_transactions_count(server), (unsigned long long)server->options.drain_ms);
    look_again(server);
}

/* --- reload --- */

static void on_reload_signal(evutil_socket_t signal, short what, void *context)
{
    struct server *server = context;
    struct options fresh;

    (void)signal;
    (void)what;
    memset(&fresh, 0, sizeof(fresh));
    if (assent_config_reload(&options_program, server->argc, server->argv, &fresh) != 0) {
        assent_log(ASSENT_LOG_ERROR, "reload_failed", "kept=old");
    } else {
        server_hold(server);
        options_apply(&server->options, &fresh);
        options_setup_log(&server->options);
        server->coord = options_coord_config(&server->options, server->coord.incarnation);
        server_release(server);
    }
    options_fini(&fresh);
}

/* --- starting --- */

static void on_accepted(int fd, void *context)
{
    struct server *server = context;
    unsigned to = server->accepts++ % server->shard_count;

    if (to == 0)
        session_accept(&server->shards[0], fd);
    else
        shard_post(&server->shards[0], to,
                   &(struct letter){.kind = LETTER_ACCEPT, .size = sizeof(fd)}, &fd);
}

void server_recovered(struct server *server)
{
    const struct options *options = &server->options;
    char error[ASSENT_REASON_MAX + 1];
    int r = assent_listener_open(server->base, options->listen, (uint32_t)options->connections_max,
                                 on_accepted, server, &server->listener, error, sizeof(error));

    if (r != 0) {
        assent_log(ASSENT_LOG_ERROR, "listen_failed", "address=%s error=%s",
                   assent_log_quote(options->listen), assent_log_quote(error));
        server_stop(server, ASSENT_EXIT_RUNTIME);
        return;
    }
    server->state = SERVER_SERVING;
    retention_start(server);
    assent_log(ASSENT_LOG_INFO, "started",
               "listen=%s admin=%s id=%u incarnation=%u version=%s threads=%u",
               assent_listener_address(server->listener),
               server->admin == NULL ? "none" : server->admin_address, (unsigned)options->id,
               server->coord.incarnation, ASSENT_VERSION, server->shard_count);
}

/* Every gtrid of a log carries the coordinator's number, so the number stays with the log. */
static int keep_id(struct server *server, char *error, size_t error_size)
{
    uint8_t value[2];
    struct assent_writer writer;
    struct assent_put put = {.table = ASSENT_TABLE_META,
                             .key = ID_KEY,
                             .key_size = strlen(ID_KEY),
                             .value = value,
                             .value_size = sizeof(value)};
    uint32_t kept;
    size_t size;
    int r = assent_store_get(server->store, ASSENT_TABLE_META, ID_KEY, strlen(ID_KEY), value,
                             sizeof(value), &size);

    if (r == ASSENT_E_NOT_FOUND) {
        assent_writer_init(&writer, value, sizeof(value));
        assent_write_u16(&writer, (uint16_t)server->options.id);
        return assent_store_put(server->store, &put);
    }
    if (r == 0 && size != sizeof(value))
        r = ASSENT_E_CORRUPT;
    if (r != 0) {
        snprintf(error, error_size, "cannot read the coordinator's number in the log: %s",
                 assent_error_text(r));
        return r;
    }
    kept = (uint32_t)value[0] << 8 | value[1];
    if (kept != server->options.id) {
        snprintf(error, error_size, "this log belongs to coordinator %u, not to %u (id)", kept,
                 (unsigned)server->options.id);
        return ASSENT_E_CONFIG;
    }
    return 0;
}

static int open_log(struct server *server, char *error, size_t error_size)
{
    const struct options *options = &server->options;
    struct assent_store_options store = {
        .directory = options->data_dir,
        .owner = "assentd",
        .map_bytes = options->map_bytes,
        .disk_low_bytes = options->disk_low_bytes,
        .lazy_flush_ms = options->lazy_flush_ms,
        .unsafe_storage = options->unsafe_storage,
        .incarnation_min = (uint32_t)options->incarnation_min,
        /* A transaction has one write queued at a time; participants and retention have few. */
        .consumers = server->shard_count,
        .queue_max = 4 * (size_t)options->transactions_max + options->participants_max + 65536,
    };
    int r = assent_store_open(&store, &server->store, error, error_size);

    if (r != 0)
        return r;
    server->coord = options_coord_config(options, assent_store_incarnation(server->store));
    numbers_init(&server->numbers, server->shard_count, server->coord.incarnation);
    assent_random_bytes(&server->life, sizeof(server->life));
    r = keep_id(server, error, error_size);
    if (r == 0)
        r = participants_load(server, error, error_size);
    if (r == 0 && (r = audit_load(server)) == 0)
        r = operate_load(server);
    if (r == 0) {
        r = retention_load(server);
        if (r != 0)
            snprintf(error, error_size, "cannot read the retention mark in the log: %s",
                     assent_error_text(r));
    }
    return r;
}

/* As many files as the system allows: each connection is one. */
static void raise_file_limit(const struct options *options)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < options->connections_max + 64)
        assent_log(ASSENT_LOG_WARN, "few_files", "limit=%llu connections_max=%llu",
                   (unsigned long long)limit.rlim_max,
                   (unsigned long long)options->connections_max);
}

static bool open_loop(struct server *server)
{
    static const int signals[3] = {SIGTERM, SIGINT, SIGHUP};

    signal(SIGPIPE, SIG_IGN);
    server->shards = calloc(options_threads(&server->options), sizeof(*server->shards));
    if (server->shards == NULL)
        return false;
    server->shard_count = options_threads(&server->options);
    for (unsigned i = 0; i < server->shard_count; i++)
        if (!shard_open(&server->shards[i], server, i))
            return false;
    server->base = server->shards[0].base;
    server->stop_timer = evtimer_new(server->base, on_stop_timer, server);
    if (server->stop_timer == NULL)
        return false;
    for (size_t i = 0; i < 3; i++) {
        server->signals[i] =
            evsignal_new(server->base, signals[i],
                         signals[i] == SIGHUP ? on_reload_signal : on_stop_signal, server);
        if (server->signals[i] == NULL || event_add(server->signals[i], NULL) != 0)
            return false;
    }
    return true;
}

static int start(struct server *server)
{
    char error[ASSENT_REASON_MAX + 1] = "";
    int r;

    if (!open_loop(server)) {
        assent_log(ASSENT_LOG_ERROR, "start_failed", "error=%s", "loop");
        return ASSENT_EXIT_RUNTIME;
    }
    r = open_log(server, error, sizeof(error));
    if (r != 0) {
        assent_log(ASSENT_LOG_ERROR, "log_failed", "data_dir=%s error=%s detail=%s",
                   assent_log_quote(server->options.data_dir), assent_error_name(r),
                   assent_log_quote(error));
        return r == ASSENT_E_CONFIG ? ASSENT_EXIT_USAGE : ASSENT_EXIT_DATA;
    }
    r = admin_open(server, error, sizeof(error));
    if (r != 0) {
        assent_log(ASSENT_LOG_ERROR, "start_failed", "error=%s", assent_log_quote(error));
        return r == ASSENT_E_INVALID ? ASSENT_EXIT_USAGE : ASSENT_EXIT_RUNTIME;
    }
    for (unsigned i = 0; i < server->shard_count; i++)
        if (!shard_start(&server->shards[i]))
            return ASSENT_EXIT_RUNTIME;
    assent_log(ASSENT_LOG_INFO, "reading_log", "data_dir=%s admin=%s",
               assent_log_quote(server->options.data_dir),
               server->admin == NULL ? "none" : server->admin_address);
    recovery_start(server);
    return ASSENT_EXIT_OK;
}

static void free_event(struct event **event)
{
    if (*event != NULL)
        event_free(*event);
    *event = NULL;
}

/* From here on the first thread is the only one, and has all to itself. */
static void stop_threads(struct server *server)
{
    atomic_store(&server->stopping, true);
    hold_leave(&server->hold);
    for (unsigned i = 0; i < server->shard_count; i++)
        shard_join(&server->shards[i]);
    hold_join(&server->hold);
    server_hold(server);
}

static void fini(struct server *server)
{
    recovery_stop(server);
    retention_stop(server);
    stop_threads(server);
    for (unsigned i = 0; i < server->shard_count; i++)
        if (server->shards[i].base != NULL)
            session_close_all(&server->shards[i]);
    for (unsigned i = 0; i < server->shard_count; i++)
        shard_stop(&server->shards[i]);
    operate_fini(server);
    assent_listener_close(server->listener);
    admin_close(server);
    /* Commits what is queued. */
    assent_store_close(server->store);
    participants_fini(&server->participants);
    for (size_t i = 0; i < 3; i++)
        free_event(&server->signals[i]);
    free_event(&server->stop_timer);
    for (unsigned i = 0; i < server->shard_count; i++)
        shard_close(&server->shards[i]);
    free(server->shards);
    server_release(server);
    hold_fini(&server->hold);
}

int server_run(struct server *server)
{
    server->damaged_lowest = UINT64_MAX;
    server->started_ms = assent_now_ms();
    hold_init(&server->hold);
    hold_join(&server->hold);
    raise_file_limit(&server->options);
    server->exit_status = start(server);
    if (server->exit_status == ASSENT_EXIT_OK && event_base_dispatch(server->base) < 0)
        server->exit_status = ASSENT_EXIT_RUNTIME;
    fini(server);
    if (server->exit_status == ASSENT_EXIT_OK)
        assent_log(ASSENT_LOG_INFO, "stopped", "status=%d", server->exit_status);
    return server->exit_status;
}
