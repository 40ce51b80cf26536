/*
 * service.c: probes of resources, see service.h. A scan settles what its RM lists and nobody here
 * knows, in this order: prepared (the first list), active (the branches here), decisions (the
 * coordinator's, through the branch's machine), prepared again (the second list, before anything is
 * done). So a branch that ends, or begins, while the lists are read is never taken for an orphan.
 */
#include "service.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "rng.h"

#define SOON_MS    1000 /* the first scan after a restart; each pause is twice the one before */
#define SUSPECT_MS 1000 /* not more often than this because of calls without an answer */

struct probe {
    struct agent_resource *resource;
    int error;
    char text[ASSENT_REASON_MAX + 1];
    struct agent_list list;
};

/* ---- lists ---- */

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct assent_branch_id));
}

static bool has(const struct agent_list *sorted, const struct assent_branch_id *id)
{
    return bsearch(id, sorted->ids, sorted->count, sizeof(*id), compare_ids) != NULL;
}

static void clear(struct agent_list *list)
{
    free(list->ids);
    *list = (struct agent_list){0};
}

/* ---- on the finishing thread ---- */

/* The resource may hold its own lock while it lists, so nothing is done here but to note. */
void agent_list_note(const struct assent_branch_id *id, void *context)
{
    struct agent_list *list = context;

    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        void *ids = realloc(list->ids, capacity * sizeof(*list->ids));

        if (!ids) {
            list->failed = true;
            return;
        }
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = *id;
}

int agent_service_list(const struct agent_resource *resource, struct agent_list *list, char *text,
                       size_t text_size)
{
    int error = ASSENT_E_UNAVAILABLE;

    if (!resource->handle) {
        snprintf(text, text_size, "the resource is not open yet");
        return error;
    }
    error = resource->ops->recover(resource->handle, agent_list_note, list);
    if (error == 0 && list->failed)
        error = ASSENT_E_NOMEM;
    if (error)
        snprintf(text, text_size, "cannot list its prepared branches%s%s",
                 error == ASSENT_E_UNAVAILABLE ? "" : ": ",
                 error == ASSENT_E_UNAVAILABLE ? "" : assent_error_text(error));
    return error;
}

static void look(struct probe *probe)
{
    struct agent_resource *resource = probe->resource;
    const struct assent_resource_ops *ops = resource->ops;
    void *handle;

    probe->error = 0;
    if (!resource->handle) {
        probe->error = ops->open(&resource->environment, &handle, probe->text, sizeof(probe->text));
        if (probe->error == 0)
            resource->handle = handle;
    }
    if (probe->error == 0 && ops->ping)
        probe->error = ops->ping(resource->handle, probe->text, sizeof(probe->text));
    if (probe->error == 0 && (ops->capabilities & ASSENT_CAP_PREPARED_LIST))
        probe->error = agent_service_list(resource, &probe->list, probe->text, sizeof(probe->text));
    if (probe->error && !probe->text[0])
        snprintf(probe->text, sizeof(probe->text), "%s", assent_error_text(probe->error));
}

static void free_probe(void *context)
{
    struct probe *probe = context;

    clear(&probe->list);
    free(probe);
}

static void run_probe(struct agent_job *job)
{
    look(job->context);
}

/* ---- on the loop ---- */

static void set_timer(struct agent_resource *resource, uint64_t wait_ms)
{
    struct timeval wait = {(time_t)(wait_ms / 1000), (suseconds_t)(wait_ms % 1000) * 1000};

    resource->service.due_ms = assent_now_ms() + wait_ms;
    if (event_add(&resource->service.timer, &wait))
        assent_panic(ASSENT_EXIT_RUNTIME, "out_of_memory", "what=timer");
}

static void probe_done(struct agent_job *job);

static void begin_probe(struct agent_resource *resource)
{
    struct agent_job *job = agent_job_new(resource->finisher, NULL, 0);
    struct probe *probe = calloc(1, sizeof(*probe));

    if (!job || !probe)
        assent_panic(ASSENT_EXIT_RUNTIME, "out_of_memory", "what=probe");
    probe->resource = resource;
    job->task = run_probe;
    job->done = probe_done;
    job->drop = free_probe;
    job->context = probe;
    resource->service.probing = true;
    resource->service.again = false;
    event_del(&resource->service.timer);
    agent_submit(resource->agent, job);
}

static void on_timer(evutil_socket_t fd, short events, void *context)
{
    struct agent_resource *resource = context;

    (void)fd;
    (void)events;
    if (!resource->agent->stopping)
        begin_probe(resource);
}

/* Until the next scan. What a session of the process before this one was still about to prepare
 * appears soon after the first list, and holds its locks until it is found. A new agent has had no
 * process before it; one whose log was lost has, and finds that only after the full period. */
static uint64_t scan_period_ms(struct agent_resource *resource)
{
    struct assent_participant *agent = resource->agent;
    uint64_t period_ms = (uint64_t)SOON_MS << resource->service.scans;

    if (agent_recovery_log_is_new(agent) || period_ms >= agent->options.recover_ms)
        return agent->options.recover_ms;
    resource->service.scans++;
    return period_ms;
}

/* Agents that were started together do not look together for ever. */
static void schedule(struct agent_resource *resource)
{
    struct assent_participant *agent = resource->agent;
    uint64_t period_ms = resource->service.up ? scan_period_ms(resource) : 0;

    if (resource->service.up)
        set_timer(resource,
                  period_ms - period_ms / 4 + assent_rng_below(&agent->seed, period_ms / 2 + 1));
    else
        set_timer(resource,
                  assent_backoff_ms(&agent->seed, resource->service.attempt++,
                                    agent->options.retry_min_ms, agent->options.retry_max_ms));
}

static void tell_coordinators(struct assent_participant *agent)
{
    for (size_t i = 0; i < agent->link_count; i++)
        agent_link_ping(agent->links[i]);
}

static void went_away(struct agent_resource *resource, const char *text)
{
    struct agent_service *service = &resource->service;
    bool news = service->up || strcmp(service->away, text) != 0;

    service->up = false;
    clear(&service->orphans);
    snprintf(service->away, sizeof(service->away), "%s", text);
    assent_log(news ? ASSENT_LOG_WARN : ASSENT_LOG_DEBUG, "resource_away",
               "resource=%s attempt=%" PRIu32 " reason=%s", resource->name, service->attempt,
               assent_log_quote(text));
    if (news)
        tell_coordinators(resource->agent);
}

static void came_up(struct agent_resource *resource)
{
    struct agent_service *service = &resource->service;
    bool was_away = service->away[0] != '\0';

    service->up = true;
    agent_workers_opened(resource->finisher);
    service->attempt = 0;
    service->away[0] = '\0';
    if (!was_away)
        return;
    assent_log(ASSENT_LOG_INFO, "resource_up", "resource=%s", resource->name);
    tell_coordinators(resource->agent);
    agent_driver_resource_up(resource->agent, resource);
}

/* One list of a scan. What the first names and nobody knows waits for the second. True: that is
 * wanted now. */
static bool scan(struct agent_resource *resource, struct agent_list *list)
{
    struct agent_service *service = &resource->service;
    struct agent_list orphans = {0};
    bool second = service->orphans.count > 0;

    for (size_t i = 0; i < list->count; i++)
        if (agent_recovery_is_orphan(resource, &list->ids[i]) &&
            (!second || has(&service->orphans, &list->ids[i])))
            agent_list_note(&list->ids[i], &orphans);
    clear(&service->orphans);
    if (second) {
        for (size_t i = 0; i < orphans.count; i++)
            agent_recovery_adopt(resource, &orphans.ids[i]);
        clear(&orphans);
    }
    if (orphans.count > 0)
        qsort(orphans.ids, orphans.count, sizeof(*orphans.ids), compare_ids);
    service->orphans = orphans;
    return orphans.count > 0;
}

/* 0, or the error that takes it out of service, with a sentence in probe->text. */
static int take_list(struct agent_resource *resource, struct probe *probe, bool *ret_again)
{
    *ret_again = false;
    if (resource->service.listed) {
        *ret_again = scan(resource, &probe->list);
        return 0;
    }
    /* Nothing was let in before this list, so it is whole and nothing in it is under way. */
    probe->error = agent_recovery_take_up(resource, &probe->list, probe->text, sizeof(probe->text));
    resource->service.listed = probe->error == 0;
    return probe->error;
}

static void finish_probe(struct agent_resource *resource, struct probe *probe)
{
    bool again = false;

    if (probe->error == 0)
        (void)take_list(resource, probe, &again);
    if (probe->error)
        went_away(resource, probe->text);
    else
        came_up(resource);
    if (probe->error == 0 && !again)
        assent_log(ASSENT_LOG_DEBUG, "scanned", "resource=%s prepared=%zu", resource->name,
                   probe->list.count);
    if (!again && !resource->service.again)
        schedule(resource);
    else if (!resource->agent->stopping)
        begin_probe(resource);
}

static void probe_done(struct agent_job *job)
{
    struct probe *probe = job->context;

    probe->resource->service.probing = false;
    finish_probe(probe->resource, probe);
    agent_job_free(job);
}

void agent_service_suspect(struct agent_resource *resource)
{
    struct agent_service *service = &resource->service;

    if (!service->up || service->probing || service->due_ms < assent_now_ms() + SUSPECT_MS)
        return;
    set_timer(resource, SUSPECT_MS);
}

void agent_service_look(struct agent_resource *resource)
{
    if (resource->service.probing)
        resource->service.again = true;
    else if (!resource->agent->stopping)
        begin_probe(resource);
}

void agent_service_forgotten(struct agent_resource *resource, const struct assent_branch_id *rm_id)
{
    struct agent_list *orphans = &resource->service.orphans;

    for (size_t i = 0; i < orphans->count; i++)
        if (memcmp(&orphans->ids[i], rm_id, sizeof(*rm_id)) == 0)
            memmove(&orphans->ids[i], &orphans->ids[i + 1],
                    (--orphans->count - i) * sizeof(*orphans->ids));
}

void agent_service_report(struct assent_participant *agent, struct assent_wire *wire)
{
    size_t count = 0;

    for (size_t i = 0; i < agent->resource_count; i++)
        if (!agent->resources[i].service.up)
            wire->u.ping.away[count++] = (struct assent_wire_away){
                agent->resources[i].name, agent->resources[i].service.away};
    wire->u.ping.away_count = count;
}

/* ---- start and end ---- */

/* Whether it makes sense to try again: the RM is not there, as opposed to wrong. */
static bool may_come(int error)
{
    return error == ASSENT_E_UNAVAILABLE || error == ASSENT_E_TIMEOUT || error == ASSENT_E_CONNECT;
}

static int start(struct agent_resource *resource, char *error, size_t error_size)
{
    struct probe probe = {.resource = resource};
    int result;

    event_assign(&resource->service.timer, resource->agent->base, -1, 0, on_timer, resource);
    look(&probe);
    result = probe.error;
    if (result == 0 || may_come(result)) {
        finish_probe(resource, &probe);
        result = may_come(probe.error) ? 0 : probe.error;
    }
    if (result)
        snprintf(error, error_size, "resource %s: %.200s", resource->name, probe.text);
    clear(&probe.list);
    return result;
}

int agent_service_start(struct assent_participant *agent, char *error, size_t error_size)
{
    for (size_t i = 0; i < agent->resource_count; i++) {
        int result = start(&agent->resources[i], error, error_size);

        if (result)
            return result;
    }
    return 0;
}

void agent_service_free(struct agent_resource *resource)
{
    if (event_initialized(&resource->service.timer))
        event_del(&resource->service.timer);
    clear(&resource->service.orphans);
}
