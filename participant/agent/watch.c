/*
 * watch.c: a branch in doubt holds locks at its resource and can only wait, so somebody must hear
 * of it: a warning when it has waited in_doubt_warn_ms, and again each time it has waited twice as
 * long as at the last one. Connections to other participants that idle are looked after here too.
 */
#include <inttypes.h>

#include "driver.h"

/* Lines per look; the rest is counted in one more. */
#define LINES_MAX 10

static void warn(const struct agent_branch *branch, uint64_t waited_ms)
{
    char gtrid[ASSENT_GTRID_TEXT + 1];

    assent_gtrid_format(&branch->id.gtrid, gtrid);
    assent_log(
        ASSENT_LOG_WARN, "in_doubt",
        "gtrid=%s branch=%u resource=%s phase=%s waited_ms=%" PRIu64 " coordinator=%s", gtrid,
        branch->id.branch, branch->resource->name,
        assent_log_quote(assent_part_phase_name(branch->machine.phase)), waited_ms,
        assent_log_quote(branch->log->link ? agent_link_name(branch->log->link) : "not connected"));
}

void agent_watch(struct assent_participant *agent)
{
    uint64_t now_ms = assent_now_ms(), lines = 0;
    struct coordinator_log *log, *next;
    struct agent_branch *branch;

    HASH_ITER (hh, agent->branches.logs, log, next)
        TAILQ_FOREACH (branch, &log->open, link) {
            uint64_t waited_ms = now_ms - branch->doubt_since_ms;

            if (branch->doubt_since_ms == 0 || waited_ms < branch->doubt_warn_ms)
                continue;
            branch->doubt_warn_ms = 2 * waited_ms;
            if (++lines <= LINES_MAX)
                warn(branch, waited_ms);
        }
    agent_peers_watch(agent, now_ms);
    if (lines > LINES_MAX)
        assent_log(ASSENT_LOG_WARN, "in_doubt", "more=%" PRIu64, lines - LINES_MAX);
}
