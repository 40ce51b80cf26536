/*
 * examine.c: what people ask about a resource itself: which branches it holds prepared and which of
 * them are known here, of which it has proof that they have committed, and what its preflight
 * finds. Asked on the resource's finishing thread; nothing is changed. (A scan, which does change
 * something, is service.c's.)
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

#define ROW_BYTES_MAX   200
#define MARKERS_AT_ONCE 1000

struct examine {
    struct agent_resource *resource;
    enum assent_query_kind kind;
    struct assent_branch_id after; /* MARKERS: those that follow it ... */
    bool has_after;                /* ... or the first */
    size_t limit;
    int error;
    char text[ASSENT_REASON_MAX + 1];
    struct agent_list list;
    json_t *findings;
};

static void free_examine(void *context)
{
    struct examine *examine = context;

    free(examine->list.ids);
    json_decref(examine->findings);
    free(examine);
}

/* ---- on the finishing thread ---- */

static void set_findings(struct agent_resource *resource, json_t *findings)
{
    pthread_mutex_lock(&resource->report_mutex);
    resource->findings = findings;
    pthread_mutex_unlock(&resource->report_mutex);
}

/* What is not open yet is opened for the look alone: taking it into service needs its list. */
static int look(struct agent_resource *resource, char *text, size_t size)
{
    const struct assent_resource_ops *ops = resource->ops;
    void *handle;
    int error;

    if (resource->handle && assent_resource_can_check(ops))
        return ops->check(resource->handle, text, size);
    if (resource->handle)
        return ops->ping ? ops->ping(resource->handle, text, size) : 0;
    error = ops->open(&resource->environment, &handle, text, size);
    if (error == 0)
        ops->close(handle);
    return error;
}

static void run_test(struct agent_job *job)
{
    struct examine *examine = job->context;

    set_findings(examine->resource, examine->findings);
    examine->error = look(examine->resource, examine->text, sizeof(examine->text));
    set_findings(examine->resource, NULL);
}

static void run_list(struct agent_job *job)
{
    struct examine *examine = job->context;

    examine->error =
        agent_service_list(examine->resource, &examine->list, examine->text, sizeof(examine->text));
}

static void run_markers(struct agent_job *job)
{
    struct examine *examine = job->context;
    const struct agent_resource *resource = examine->resource;

    examine->error = ASSENT_E_UNAVAILABLE;
    if (resource->handle)
        examine->error =
            resource->ops->markers(resource->handle, examine->has_after ? &examine->after : NULL,
                                   examine->limit, agent_list_note, &examine->list);
    if (examine->error == 0 && examine->list.failed)
        examine->error = ASSENT_E_NOMEM;
    if (examine->error)
        snprintf(examine->text, sizeof(examine->text), "cannot list its markers: %s",
                 assent_error_text(examine->error));
}

/* ---- on the loop ---- */

static json_t *row(const struct assent_branch_id *id, const char *log_text, const char *phase)
{
    char gtrid[ASSENT_GTRID_TEXT + 1];

    assent_gtrid_format(&id->gtrid, gtrid);
    return json_pack("{s:s, s:s, s:I, s:s?}", "log", log_text, "gtrid", gtrid, "branch",
                     (json_int_t)(id->branch & ~ASSENT_BRANCH_OF_3PC), "phase", phase);
}

static void log_text(const uint8_t id[ASSENT_LOG_ID_BYTES], char text[2 * ASSENT_LOG_ID_BYTES + 1])
{
    for (size_t i = 0; i < ASSENT_LOG_ID_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", id[i]);
}

static struct assent_branch_id own_id(struct assent_branch_id rm_id)
{
    rm_id.branch &= ~ASSENT_BRANCH_OF_3PC;
    return rm_id;
}

/* Committed, without a marker: they had written nothing. NULL if there are too many. */
static json_t *read_only_json(const struct agent_resource *resource, size_t most)
{
    json_t *rows = json_array();
    struct coordinator_log *log, *next;
    const struct agent_branch *branch;

    HASH_ITER (hh, resource->agent->branches.logs, log, next)
        TAILQ_FOREACH (branch, &log->ended, link) {
            if (branch->resource != resource || !branch->machine.witness)
                continue;
            if (json_array_size(rows) == most) {
                json_decref(rows);
                return NULL;
            }
            json_array_append_new(rows, row(&branch->id, log->text, NULL));
        }
    return rows;
}

static json_t *markers_json(const struct examine *examine)
{
    const struct agent_list *list = &examine->list;
    char text[2 * ASSENT_LOG_ID_BYTES + 1], last[ASSENT_BRANCH_ID_TEXT + 1];
    json_t *markers = json_array();

    for (size_t i = 0; i < list->count; i++) {
        struct assent_branch_id id = own_id(list->ids[i]);

        log_text(id.log_id, text);
        json_array_append_new(markers, row(&id, text, NULL));
    }
    if (list->count > 0)
        assent_branch_id_format(&list->ids[list->count - 1], last);
    return json_pack("{s:s, s:s, s:o, s:s?}", "participant", examine->resource->agent->options.name,
                     "resource", examine->resource->name, "markers", markers, "next",
                     list->count < examine->limit ? NULL : last);
}

static json_t *list_json(const struct examine *examine)
{
    const struct agent_resource *resource = examine->resource;
    const struct assent_participant *agent = resource->agent;
    size_t most = agent->options.frame_bytes_max / ROW_BYTES_MAX / 2;
    json_t *prepared = json_array(), *known = json_array();
    struct coordinator_log *log, *next;
    const struct agent_branch *branch;
    bool truncated = examine->list.count > most;

    for (size_t i = 0; i < examine->list.count && i < most; i++) {
        struct assent_branch_id id = own_id(examine->list.ids[i]);
        char text[2 * ASSENT_LOG_ID_BYTES + 1];

        branch = agent_branches_find(&agent->branches, &id);
        log_text(id.log_id, text);
        json_array_append_new(
            prepared,
            row(&id, text, branch ? assent_part_phase_name((int)branch->machine.phase) : NULL));
    }
    HASH_ITER (hh, agent->branches.logs, log, next)
        TAILQ_FOREACH (branch, &log->open, link) {
            if (branch->resource != resource)
                continue;
            truncated |= json_array_size(known) >= most;
            if (json_array_size(known) < most)
                json_array_append_new(known,
                                      row(&branch->id, log->text,
                                          assent_part_phase_name((int)branch->machine.phase)));
        }
    return json_pack("{s:s, s:s, s:o, s:o, s:o?, s:b}", "participant", agent->options.name,
                     "resource", resource->name, "prepared", prepared, "known", known, "read_only",
                     read_only_json(resource, most), "truncated", (int)truncated);
}

static json_t *test_json(const struct examine *examine)
{
    if (examine->error)
        json_array_append_new(
            examine->findings,
            json_pack("{s:s, s:s}", "level", "refused", "text",
                      examine->text[0] ? examine->text : assent_error_text(examine->error)));
    else if (json_array_size(examine->findings) == 0)
        json_array_append_new(examine->findings,
                              json_pack("{s:s, s:s}", "level", "ok", "text", "it answers"));
    return json_pack("{s:s, s:s, s:s, s:b, s:O}", "participant",
                     examine->resource->agent->options.name, "resource", examine->resource->name,
                     "type", examine->resource->ops->type, "refused", examine->error != 0,
                     "findings", examine->findings);
}

static void examine_done(struct agent_job *job)
{
    struct examine *examine = job->context;
    struct agent_link *link = job->asker;
    struct assent_wire wire = {.kind = ASSENT_WIRE_INSPECTION, .request = job->request};
    json_t *json;
    char *text;

    examine->resource->agent->queries--;
    if (agent_link_connection(link) != job->connection) {
        agent_job_free(job); /* whoever asked is gone */
        return;
    }
    if (examine->error && examine->kind != ASSENT_QUERY_TEST) {
        agent_link_refuse(link, job->request, ASSENT_E_UNAVAILABLE, examine->text);
        agent_job_free(job);
        return;
    }
    json = examine->kind == ASSENT_QUERY_LIST      ? list_json(examine)
           : examine->kind == ASSENT_QUERY_MARKERS ? markers_json(examine)
                                                   : test_json(examine);
    text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    if (text) {
        wire.u.inspection.json = (struct assent_bytes){text, strlen(text)};
        (void)agent_link_send(link, &wire);
    } else {
        agent_link_refuse(link, job->request, ASSENT_E_NOMEM, "out of memory, or not UTF-8");
    }
    free(text);
    json_decref(json);
    agent_job_free(job);
}

static void scan(struct agent_link *link, struct agent_resource *resource, uint64_t request)
{
    static const char text[] = "{\"scanning\":true}";
    struct assent_wire wire = {.kind = ASSENT_WIRE_INSPECTION, .request = request};

    agent_service_look(resource);
    wire.u.inspection.json = (struct assent_bytes){text, strlen(text)};
    (void)agent_link_send(link, &wire);
}

/* NULL, or why the resource cannot be asked that. */
static const char *cannot(const struct agent_resource *resource, const struct assent_wire *wire)
{
    switch (wire->u.resource_query.kind) {
    case ASSENT_QUERY_LIST:
        return resource->ops->capabilities & ASSENT_CAP_PREPARED_LIST
                   ? NULL
                   : "the resource has no list of prepared branches";
    case ASSENT_QUERY_MARKERS:
        return assent_resource_has_markers(resource->ops) ? NULL
                                                          : "the resource has no list of markers";
    case ASSENT_QUERY_READ:
    case ASSENT_QUERY_SCAN:
    case ASSENT_QUERY_TEST:
        return NULL;
    }
    return NULL;
}

static void (*task_of(enum assent_query_kind kind))(struct agent_job *job)
{
    return kind == ASSENT_QUERY_LIST      ? run_list
           : kind == ASSENT_QUERY_MARKERS ? run_markers
                                          : run_test;
}

void agent_examine_ask(struct agent_link *link, struct agent_resource *resource,
                       const struct assent_wire *wire)
{
    struct assent_participant *agent = resource->agent;
    const char *after = wire->u.resource_query.command, *no = cannot(resource, wire);
    struct assent_branch_id id = {.branch = 0};
    struct examine *examine;
    struct agent_job *job;

    if (wire->u.resource_query.kind == ASSENT_QUERY_SCAN) {
        scan(link, resource, wire->request);
        return;
    }
    if (after[0] && assent_branch_id_parse(after, &id)) {
        agent_link_refuse(link, wire->request, ASSENT_E_INVALID,
                          "the command must be the name of a branch");
        return;
    }
    if (no) {
        agent_link_refuse(link, wire->request, ASSENT_E_NOT_FOUND, no);
        return;
    }
    examine = calloc(1, sizeof(*examine));
    job = agent->queries < AGENT_QUERIES_MAX ? agent_job_new(resource->finisher, NULL, 0) : NULL;
    if (!examine || !job) {
        free(examine);
        agent_job_free(job);
        agent_link_refuse(link, wire->request, ASSENT_E_LIMIT, "too many queries at a time");
        return;
    }
    examine->resource = resource;
    examine->kind = wire->u.resource_query.kind;
    examine->findings = json_array();
    examine->limit = agent->options.frame_bytes_max / ROW_BYTES_MAX / 2;
    if (examine->limit > MARKERS_AT_ONCE)
        examine->limit = MARKERS_AT_ONCE;
    examine->has_after = after[0] != '\0';
    examine->after = id;
    job->task = task_of(examine->kind);
    job->done = examine_done;
    job->drop = free_examine;
    job->context = examine;
    job->asker = link;
    job->request = wire->request;
    job->connection = agent_link_connection(link);
    agent->queries++;
    agent_submit(agent, job);
}
