/*
 * service.h: whether each resource can be used. A resource is away until it is open, answers, and
 * has listed all its prepared branches; while it is away nothing new is let in and no branch counts
 * as absent. A probe, on the resource's finishing thread, does what is missing: at start, with
 * back-off while it is away, soon after a call that it did not answer, and on a schedule, when its
 * list is looked through for branches that nobody here knows (recovery.c).
 */
#ifndef ASSENT_AGENT_SERVICE_H
#define ASSENT_AGENT_SERVICE_H

#include <event2/event_struct.h>

#include "assent/participant.h"

struct agent_job;
struct agent_resource;
struct agent_branch;
struct assent_wire;

/* A list of branches, as a resource gives it. */
struct agent_list {
    struct assent_branch_id *ids;
    size_t count, capacity;
    bool failed; /* out of memory: it is not whole */
};
/* Adds one; the context is the list. */
void agent_list_note(const struct assent_branch_id *id, void *context);

struct agent_service {
    bool up;                          /* new branches are let in */
    bool listed;                      /* its branches have been taken up since the start */
    bool probing;                     /* a probe is under way */
    bool again;                       /* look again as soon as it is done */
    uint32_t attempt;                 /* probes that have failed in a row */
    uint32_t scans;                   /* that came early, after a restart */
    char away[ASSENT_REASON_MAX + 1]; /* why it is not up */
    struct agent_list orphans;        /* unknown here, in the first of a scan's two lists */
    struct event timer;               /* of the next probe */
    uint64_t due_ms;
};

/* The first probe of every resource, before anything else runs: one that refuses for good refuses
 * the start, one that is away is tried again. 0, or ASSENT_E_* with a sentence in error. */
ASSENT_CHECKED int agent_service_start(struct assent_participant *agent, char *error,
                                       size_t error_size);
void agent_service_free(struct agent_resource *resource);
/* On the finishing thread: all that it holds prepared, or an error with a sentence in text. */
ASSENT_CHECKED int agent_service_list(const struct agent_resource *resource,
                                      struct agent_list *list, char *text, size_t text_size);
/* A call had no answer: is the resource there at all? */
void agent_service_suspect(struct agent_resource *resource);
/* Looks at it now, or as soon as what is under way is done. */
void agent_service_look(struct agent_resource *resource);
/* The branch has ended and is forgotten: an earlier list that names it means nothing any more. */
void agent_service_forgotten(struct agent_resource *resource, const struct assent_branch_id *rm_id);
/* For a ping: names those that are away, and why. */
void agent_service_report(struct assent_participant *agent, struct assent_wire *wire);

#endif
