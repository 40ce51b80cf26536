/*
 * calls.h: a job's calls of its resource, one after the other, with the crash points around them.
 * Each runs on the thread that has the job, and fills job->call. Deliberately not here: which
 * thread that is.
 */
#ifndef ASSENT_AGENT_CALLS_H
#define ASSENT_AGENT_CALLS_H

#include "workers.h"

/* Begin and work, as asked and as far as nothing would wait. True: `operation` is still to be done.
 */
bool agent_call_work(const struct assent_resource_ops *ops, void *resource, struct agent_job *job);
/* `operation`, by itself. */
void agent_call_rest(const struct assent_resource_ops *ops, void *resource, struct agent_job *job);
enum agent_tried {
    AGENT_TRIED_DONE,
    AGENT_TRIED_WAITS, /* the rest is for the threads */
    AGENT_TRIED_LATER, /* the resource goes on with it by itself */
};
/* All of it, as far as nothing waits. */
enum agent_tried agent_call_try(const struct assent_resource_ops *ops, void *resource,
                                struct agent_job *job);
/* What was to go on later has its answer: the rest of the job. */
enum agent_tried agent_call_go_on(const struct assent_resource_ops *ops, void *resource,
                                  struct agent_job *job);
void agent_call_query(const struct assent_resource_ops *ops, void *resource, struct agent_job *job);
/* `operation` of many jobs at once, each readied before. */
struct assent_call *agent_call_ready(struct agent_job *job);
void agent_call_batch(const struct assent_resource_ops *ops, void *resource,
                      struct assent_call **calls, size_t count);
/* The answer while the resource is not open. */
void agent_call_nobody(struct agent_job *job);

#endif
