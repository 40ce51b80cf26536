/* queries.c: reads committed data at a resource for people, outside any transaction. */
#include <stdio.h>
#include <string.h>

#include "driver.h"

void agent_queries_ask(struct assent_participant *agent, struct agent_link *link,
                       const struct assent_wire *wire)
{
    struct agent_resource *resource = agent_resource_find(agent, wire->u.resource_query.resource);
    struct agent_job *job = NULL;

    if (resource && wire->u.resource_query.kind != ASSENT_QUERY_READ) {
        agent_examine_ask(link, resource, wire);
        return;
    }
    if (!resource || !resource->ops->query) {
        agent_link_refuse(link, wire->request, ASSENT_E_NOT_FOUND,
                          resource ? "the resource has nothing to read"
                                   : "the participant has no resource of that name");
        return;
    }
    if (!resource->service.up) {
        agent_link_refuse(link, wire->request, ASSENT_E_UNAVAILABLE, resource->service.away);
        return;
    }
    if (agent->queries < AGENT_QUERIES_MAX)
        job = agent_job_new(resource->finisher, NULL, 0);
    if (job)
        job->command = strdup(wire->u.resource_query.command);
    if (!job || !job->command) {
        agent_job_free(job);
        agent_link_refuse(link, wire->request, ASSENT_E_LIMIT, "too many queries at a time");
        return;
    }
    job->context = link;
    job->request = wire->request;
    job->connection = agent_link_connection(link);
    agent->queries++;
    agent_submit(agent, job);
}

void agent_queries_answer(struct assent_participant *agent, struct agent_job *job)
{
    struct agent_link *link = job->context;
    struct assent_wire wire = {.kind = ASSENT_WIRE_INSPECTION, .request = job->request};

    agent->queries--;
    if (agent_link_connection(link) != job->connection)
        goto out; /* whoever asked is gone */
    if (job->query_error == 0 &&
        job->call.reply_size + AGENT_FRAME_EXTRA > agent->options.frame_bytes_max) {
        job->query_error = ASSENT_E_TOO_BIG;
        snprintf(job->call.reason, sizeof(job->call.reason),
                 "the answer of %zu bytes does not fit a frame", job->call.reply_size);
    }
    if (job->query_error) {
        agent_link_refuse(link, job->request, job->query_error, job->call.reason);
        goto out;
    }
    wire.u.inspection.json.data = job->call.reply;
    wire.u.inspection.json.size = job->call.reply_size;
    (void)agent_link_send(link, &wire);
out:
    agent_job_free(job);
}
