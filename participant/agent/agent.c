/*
 * agent.c: the life of a participant and its loop, see assent/participant.h. One thread owns all of
 * it; workers, the store's writer and assent_participant_stop() reach it through descriptors.
 */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver.h"

#define DISK_LOW_BYTES (16ull << 20)
/* Nobody waits for what is lazy here; each sync is in the way of one that somebody waits for. */
#define LAZY_FLUSH_MS 100
#define WATCH_S       1
#define STOP_LOOK_US  5000
/* Leaves almost all of the 24 bits to restarts. */
#define FIRST_INCARNATION_MAX (1u << 20)
/* Each branch has at most this many records queued at a time. */
#define RECORDS_PER_BRANCH 4

/* ---- what the other files ask for ---- */

struct agent_resource *agent_resource_find(struct assent_participant *agent, const char *name)
{
    if (name[0] == '\0')
        return &agent->resources[0];
    for (size_t i = 0; i < agent->resource_count; i++)
        if (strcmp(agent->resources[i].name, name) == 0)
            return &agent->resources[i];
    return NULL;
}

void agent_hello(struct assent_participant *agent, struct assent_wire *ret_wire)
{
    struct assent_wire_hello *hello = &ret_wire->u.hello;

    memset(ret_wire, 0, sizeof(*ret_wire));
    ret_wire->kind = ASSENT_WIRE_HELLO;
    hello->version_min = hello->version_max = ASSENT_WIRE_VERSION;
    hello->role = ASSENT_ROLE_PARTICIPANT;
    hello->name = agent->options.name;
    hello->cluster = agent->options.cluster;
    hello->address =
        agent->options.announce[0] ? agent->options.announce : agent_peers_address(agent->peers);
    hello->software = "assent " ASSENT_VERSION;
    hello->incarnation = assent_store_incarnation(agent->store);
    hello->has_log_id = true;
    memcpy(hello->log_id, assent_store_log_id(agent->store), sizeof(hello->log_id));
    for (size_t i = 0; i < agent->resource_count; i++) {
        hello->resources[i].name = agent->resources[i].name;
        hello->resources[i].type = agent->resources[i].ops->type;
        hello->resources[i].capabilities = agent->resources[i].ops->capabilities;
    }
    hello->resource_count = agent->resource_count;
}

int agent_hello_check(const struct assent_participant *agent, const struct assent_wire_hello *hello,
                      char *text, size_t text_size)
{
    if (hello->version_min > ASSENT_WIRE_VERSION || hello->version_max < ASSENT_WIRE_VERSION) {
        snprintf(text, text_size, "wire versions %" PRIu32 " to %" PRIu32 " do not include %d",
                 hello->version_min, hello->version_max, ASSENT_WIRE_VERSION);
        return ASSENT_E_VERSION;
    }
    if (strcmp(hello->cluster, agent->options.cluster) != 0) {
        snprintf(text, text_size, "cluster \"%s\" is not ours, which is \"%s\"", hello->cluster,
                 agent->options.cluster);
        return ASSENT_E_REFUSED;
    }
    return 0;
}

int agent_send(struct assent_participant *agent, struct assent_conn *conn,
               const struct assent_wire *wire)
{
    size_t size;
    int error = assent_wire_encode(wire, &agent->buffer, &agent->buffer_capacity, &size);

    if (error == 0)
        error = assent_conn_send(conn, agent->buffer, size);
    /* A connection that has ended says so itself, once. */
    if (error && error != ASSENT_E_CLOSED && error != ASSENT_E_LIMIT)
        assent_log(ASSENT_LOG_WARN, "send_failed", "peer=%s message=%s error=%s",
                   assent_conn_peer(conn), assent_wire_name(wire->kind),
                   assent_log_quote(assent_error_text(error)));
    return error;
}

void agent_refuse(struct assent_participant *agent, struct assent_conn *conn, uint64_t request,
                  int error, const char *text)
{
    struct assent_wire wire = {.kind = ASSENT_WIRE_REFUSAL, .request = request};

    wire.u.refusal.error = error;
    wire.u.refusal.text = text;
    (void)agent_send(agent, conn, &wire);
}

/* ---- events of the loop ---- */

static void on_store(evutil_socket_t fd, short events, void *context)
{
    struct assent_participant *agent = context;

    (void)fd;
    (void)events;
    assent_store_process(agent->store, 0, agent_driver_durable, agent);
}

static void on_workers(evutil_socket_t fd, short events, void *context)
{
    struct assent_participant *agent = context;

    (void)fd;
    agent_workers_process(agent->workers, events & EV_READ);
    if (agent_workers_ready(agent->workers))
        event_active(agent->workers_event, EV_TIMEOUT, 0);
}

void agent_submit(struct assent_participant *agent, struct agent_job *job)
{
    agent_workers_submit(agent->workers, job);
    if (agent_workers_ready(agent->workers))
        event_active(agent->workers_event, EV_TIMEOUT, 0);
}

static void on_watch(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    agent_watch(context);
}

static bool output_is_out(void *context)
{
    const struct assent_participant *agent = context;

    for (size_t i = 0; i < agent->link_count; i++)
        if (agent_link_output_bytes(agent->links[i]) > 0)
            return false;
    return agent_peers_output_bytes(agent->peers) == 0;
}

static void on_stop_timer(evutil_socket_t fd, short events, void *context)
{
    struct assent_participant *agent = context;

    (void)fd;
    (void)events;
    if ((agent_driver_quiet(agent) && output_is_out(agent)) ||
        assent_now_ms() >= agent->stop_end_ms)
        event_base_loopbreak(agent->base);
}

static void on_stop(evutil_socket_t fd, short events, void *context)
{
    static const struct timeval often = {0, STOP_LOOK_US};
    struct assent_participant *agent = context;
    uint64_t count;

    (void)events;
    if (read(fd, &count, sizeof(count)) < 0 || agent->stopping)
        return;
    agent->stopping = true;
    agent->stop_end_ms = assent_now_ms() + agent->options.stop_ms;
    assent_log(ASSENT_LOG_INFO, "stopping", "branches=%zu", agent->branches.count);
    agent_driver_stop(agent);
    event_add(agent->stop_timer, &often);
}

/* ---- start ---- */

/* A log that was lost and made anew must not look like the one before: an agent that counted from
 * 1 again would be asked about a branch of incarnation 3, be in its own incarnation 3, and answer
 * that it never voted. So each log's incarnations begin somewhere else. */
static uint32_t draw_first_incarnation(void)
{
    uint32_t number;

    assent_random_bytes(&number, sizeof(number));
    return number % FIRST_INCARNATION_MAX + 1;
}

static int open_store(struct assent_participant *agent, char *error, size_t error_size)
{
    const struct assent_store_options options = {
        .directory = agent->options.data_directory,
        .owner = "assent-agent",
        .map_bytes = agent->options.map_bytes,
        .disk_low_bytes = DISK_LOW_BYTES,
        .lazy_flush_ms = LAZY_FLUSH_MS,
        .queue_max = (size_t)RECORDS_PER_BRANCH * agent->options.branches_max + 1024,
        .unsafe_storage = agent->options.unsafe_storage,
        .first_incarnation = draw_first_incarnation(),
    };

    return assent_store_open(&options, &agent->store, error, error_size);
}

/* A directory whose entry survives a power cut: what the resource syncs in it must be found. */
static int make_directory(const char *parent, const char *directory)
{
    int fd, result = 0;

    if (mkdir(directory, 0700))
        return errno == EEXIST ? 0 : -1;
    fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fsync(fd))
        result = -1;
    close(fd);
    return result;
}

/* What a resource has to say of its RM, on whatever thread. */
static void on_report(void *context, bool warning, const char *text)
{
    struct agent_resource *resource = context;

    assent_log(warning ? ASSENT_LOG_WARN : ASSENT_LOG_INFO, "resource_report",
               "resource=%s text=%s", resource->name, assent_log_quote(text));
    pthread_mutex_lock(&resource->report_mutex);
    if (resource->findings)
        json_array_append_new(
            resource->findings,
            json_pack("{s:s, s:s}", "level", warning ? "warning" : "ok", "text", text));
    pthread_mutex_unlock(&resource->report_mutex);
}

static int add_resource(struct assent_participant *agent,
                        const struct assent_participant_resource *from, char *error,
                        size_t error_size)
{
    struct agent_resource *resource = &agent->resources[agent->resource_count++];
    int result = ASSENT_E_NOMEM;

    resource->agent = agent;
    pthread_mutex_init(&resource->report_mutex, NULL);
    resource->ops = from->ops;
    resource->name = strdup(from->name);
    resource->parameters = strdup(from->parameters);
    if (!resource->name || !resource->parameters ||
        asprintf(&resource->directory, "%s/resource-%s", agent->options.data_directory,
                 from->name) < 0) {
        resource->directory = NULL;
        goto out;
    }
    if (make_directory(agent->options.data_directory, resource->directory)) {
        snprintf(error, error_size, "resource %s: cannot create %s: %s", from->name,
                 resource->directory, strerror(errno));
        return ASSENT_E_IO;
    }
    resource->environment = (struct assent_resource_environment){
        .name = resource->name,
        .parameters = resource->parameters,
        .data_directory = resource->directory,
        .report = on_report,
        .report_context = resource,
    };
    resource->config = (struct assent_part_config){
        .epoch = assent_store_incarnation(agent->store),
        .capabilities = resource->ops->capabilities,
        .retry_min_ms = agent->options.retry_min_ms,
        .retry_max_ms = agent->options.retry_max_ms,
        .inquire_ms = agent->options.inquire_ms,
    };
    result =
        agent_workers_add(agent->workers, resource->ops, &resource->handle, &resource->finisher);
    if (result == 0)
        return 0;
out:
    snprintf(error, error_size, "resource %s: %s", from->name, assent_error_text(result));
    return result;
}

static int open_loop(struct assent_participant *agent)
{
    static const struct timeval watch_period = {WATCH_S, 0};
    struct event_config *config = event_config_new();

    if (config) {
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
        agent->base = event_base_new_with_config(config);
        event_config_free(config);
    }
    agent->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!agent->base || agent->stop_fd < 0)
        return ASSENT_E_NOMEM;
    agent->store_event = event_new(agent->base, assent_store_fd(agent->store, 0),
                                   EV_READ | EV_PERSIST, on_store, agent);
    agent->workers_event = event_new(agent->base, agent_workers_fd(agent->workers),
                                     EV_READ | EV_PERSIST, on_workers, agent);
    agent->stop_event =
        event_new(agent->base, agent->stop_fd, EV_READ | EV_PERSIST, on_stop, agent);
    agent->stop_timer = event_new(agent->base, -1, EV_PERSIST, on_stop_timer, agent);
    agent->watch_timer = event_new(agent->base, -1, EV_PERSIST, on_watch, agent);
    if (!agent->store_event || !agent->workers_event || !agent->stop_event || !agent->stop_timer ||
        !agent->watch_timer)
        return ASSENT_E_NOMEM;
    if (event_add(agent->store_event, NULL) || event_add(agent->workers_event, NULL) ||
        event_add(agent->stop_event, NULL) || event_add(agent->watch_timer, &watch_period))
        return ASSENT_E_IO;
    return 0;
}

static int open_all(struct assent_participant *agent, char *error, size_t error_size)
{
    int result = open_store(agent, error, error_size);

    if (result)
        return result;
    result = agent_workers_new(agent->options.workers, &agent->jobs, agent_driver_worked, agent,
                               &agent->workers);
    if (result == 0)
        result = open_loop(agent);
    if (result == 0)
        result =
            assent_arena_new(agent->options.frame_bytes_max + ASSENT_ARENA_EXTRA, &agent->arena);
    if (result == 0)
        result = assent_sent_points_new(agent->base, output_is_out, agent, &agent->sent_points);
    if (result) {
        snprintf(error, error_size, "cannot start: %s", assent_error_text(result));
        return result;
    }
    for (size_t i = 0; i < agent->options.resource_count && result == 0; i++)
        result = add_resource(agent, &agent->options.resources[i], error, error_size);
    if (result == 0)
        result = agent_peers_open(agent, error, error_size);
    if (result == 0)
        result = agent_address_book_load(agent, error, error_size);
    if (result == 0)
        result = agent_marks_load(agent, error, error_size);
    if (result == 0)
        result = agent_recovery_run(agent, error, error_size);
    if (result == 0)
        result = agent_service_start(agent, error, error_size);
    return result;
}

int assent_participant_new(const struct assent_participant_options *options,
                           struct assent_participant **ret_participant, char *error,
                           size_t error_size)
{
    struct assent_participant *agent = calloc(1, sizeof(*agent));
    int result;

    if (!agent) {
        snprintf(error, error_size, "out of memory");
        return ASSENT_E_NOMEM;
    }
    agent->stop_fd = -1;
    agent_branches_init(&agent->branches);
    assent_random_bytes(&agent->seed, sizeof(agent->seed));
    result = agent_settings_copy(options, &agent->options, error, error_size);
    if (result == 0)
        result = open_all(agent, error, error_size);
    if (result) {
        assent_participant_free(agent);
        return result;
    }
    *ret_participant = agent;
    return 0;
}

/* ---- run ---- */

static int open_links(struct assent_participant *agent)
{
    const char *const *addresses = agent->options.coordinators;
    size_t count = 0;

    while (addresses[count])
        count++;
    agent->links = calloc(count, sizeof(*agent->links));
    if (!agent->links)
        return ASSENT_E_NOMEM;
    while (agent->link_count < count) {
        int error =
            agent_link_open(agent, addresses[agent->link_count], &agent->links[agent->link_count]);

        if (error)
            return error;
        agent->link_count++;
    }
    return 0;
}

static void close_links(struct assent_participant *agent)
{
    while (agent->link_count)
        agent_link_close(agent->links[--agent->link_count]);
    free(agent->links);
    agent->links = NULL;
}

static void log_started(struct assent_participant *agent)
{
    char resources[ASSENT_RESOURCES_MAX * (ASSENT_NAME_MAX + 34)] = "";
    size_t length = 0;

    for (size_t i = 0; i < agent->resource_count && length < sizeof(resources); i++)
        length +=
            (size_t)snprintf(resources + length, sizeof(resources) - length, "%s%s:%.32s",
                             i ? "," : "", agent->resources[i].name, agent->resources[i].ops->type);
    assent_log(ASSENT_LOG_INFO, "started",
               "name=%s listen=%s resources=%s cluster=%s incarnation=%" PRIu32
               " data_dir=%s version=%s",
               agent->options.name, agent_peers_address(agent->peers), resources,
               agent->options.cluster, assent_store_incarnation(agent->store),
               assent_log_quote(agent->options.data_directory), ASSENT_VERSION);
    if (!agent->options.announce[0] &&
        (strncmp(agent_peers_address(agent->peers), "0.0.0.0:", 8) == 0 ||
         strncmp(agent_peers_address(agent->peers), "[::]:", 5) == 0))
        assent_log(ASSENT_LOG_WARN, "not_reachable", "listen=%s why=%s",
                   agent_peers_address(agent->peers),
                   assent_log_quote("other participants cannot dial that address: set announce"));
}

int assent_participant_run(struct assent_participant *agent)
{
    uint64_t now_ms;
    int error = agent_workers_start(agent->workers);

    if (error == 0)
        error = open_links(agent);
    if (error)
        return error;
    log_started(agent);
    if (event_base_dispatch(agent->base) < 0)
        error = ASSENT_E_IO;
    close_links(agent);
    now_ms = assent_now_ms();
    if (!agent_workers_stop(agent->workers, agent->stop_end_ms > now_ms
                                                ? (uint32_t)(agent->stop_end_ms - now_ms)
                                                : 0))
        error = ASSENT_E_TIMEOUT;
    assent_log(ASSENT_LOG_INFO, "stopped", "name=%s branches=%zu", agent->options.name,
               agent->branches.count);
    return error;
}

void assent_participant_stop(struct assent_participant *agent)
{
    int kept = errno;
    uint64_t one = 1;

    /* It can only fail when the counter is full, and then the stop is on its way already. */
    if (write(agent->stop_fd, &one, sizeof(one)) < 0)
        errno = kept;
}

static void free_event(struct event *event)
{
    if (event)
        event_free(event);
}

void assent_participant_free(struct assent_participant *agent)
{
    if (!agent)
        return;
    close_links(agent);
    agent_peers_close(agent->peers);
    agent_workers_free(agent->workers); /* before what its jobs point to */
    for (size_t i = 0; i < ASSENT_RESOURCES_MAX; i++) {
        struct agent_resource *resource = &agent->resources[i];

        agent_service_free(resource);
        if (resource->handle)
            resource->ops->close(resource->handle);
        if (resource->agent)
            pthread_mutex_destroy(&resource->report_mutex);
        free(resource->name);
        free(resource->parameters);
        free(resource->directory);
    }
    agent_branches_fini(&agent->branches);
    assent_pool_fini(&agent->jobs);
    agent_address_book_fini(&agent->address_book);
    assent_sent_points_free(agent->sent_points);
    free_event(agent->store_event);
    free_event(agent->workers_event);
    free_event(agent->stop_event);
    free_event(agent->stop_timer);
    free_event(agent->watch_timer);
    assent_store_close(agent->store);
    if (agent->base)
        event_base_free(agent->base);
    if (agent->stop_fd >= 0)
        close(agent->stop_fd);
    assent_arena_free(agent->arena);
    free(agent->buffer);
    agent_settings_free(&agent->options);
    free(agent);
}
