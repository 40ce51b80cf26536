/*
 * crash_point.h: named places where a test makes the process die at once, as by SIGKILL.
 *
 * Compiled in by -Dcrash_points=true (the developer's default); a release build has none of it.
 * A new durable write, send of a vote or decision, or RM call adds a point before and after it
 * here. `--crash-at NAME[:N]` dies at the Nth passage (default 1); `--crash-at list` prints them.
 */
#ifndef ASSENT_CRASH_POINT_H
#define ASSENT_CRASH_POINT_H

#include <stdbool.h>

#define ASSENT_CRASH_POINTS_COORDINATOR(X)                                                         \
    X(coord_before_log_one_phase)                                                                  \
    X(coord_after_log_one_phase)                                                                   \
    X(coord_before_log_precommit)                                                                  \
    X(coord_after_log_precommit)                                                                   \
    X(coord_before_log_commit)                                                                     \
    X(coord_after_log_commit)                                                                      \
    X(coord_before_log_abort)                                                                      \
    X(coord_after_log_abort)                                                                       \
    X(coord_before_log_preabort)                                                                   \
    X(coord_after_log_preabort)                                                                    \
    X(coord_before_log_outcome)                                                                    \
    X(coord_after_log_outcome)                                                                     \
    X(coord_before_send_prepare)                                                                   \
    X(coord_after_send_prepare)                                                                    \
    X(coord_before_send_precommit)                                                                 \
    X(coord_after_send_precommit)                                                                  \
    X(coord_before_send_commit)                                                                    \
    X(coord_after_send_commit)                                                                     \
    X(coord_before_send_abort)                                                                     \
    X(coord_after_send_abort)                                                                      \
    X(coord_before_send_one_phase)                                                                 \
    X(coord_after_send_one_phase)                                                                  \
    X(coord_before_send_elect)                                                                     \
    X(coord_after_send_elect)                                                                      \
    X(coord_before_send_propose)                                                                   \
    X(coord_after_send_propose)                                                                    \
    X(coord_before_reply)                                                                          \
    X(coord_after_reply)

#define ASSENT_CRASH_POINTS_AGENT(X)                                                               \
    X(agent_before_rm_work)                                                                        \
    X(agent_after_rm_work)                                                                         \
    X(agent_before_rm_prepare)                                                                     \
    X(agent_after_rm_prepare)                                                                      \
    X(agent_before_rm_commit)                                                                      \
    X(agent_after_rm_commit)                                                                       \
    X(agent_before_rm_rollback)                                                                    \
    X(agent_after_rm_rollback)                                                                     \
    X(agent_before_rm_one_phase)                                                                   \
    X(agent_after_rm_one_phase)                                                                    \
    X(agent_before_http_log)                                                                       \
    X(agent_after_http_log)                                                                        \
    X(agent_before_http_send)                                                                      \
    X(agent_after_http_send)                                                                       \
    X(agent_before_log_prepared)                                                                   \
    X(agent_after_log_prepared)                                                                    \
    X(agent_before_log_precommitted)                                                               \
    X(agent_after_log_precommitted)                                                                \
    X(agent_before_log_preaborted)                                                                 \
    X(agent_after_log_preaborted)                                                                  \
    X(agent_before_log_decision)                                                                   \
    X(agent_after_log_decision)                                                                    \
    X(agent_before_log_result)                                                                     \
    X(agent_after_log_result)                                                                      \
    X(agent_before_log_delete)                                                                     \
    X(agent_after_log_delete)                                                                      \
    X(agent_before_send_vote)                                                                      \
    X(agent_after_send_vote)                                                                       \
    X(agent_before_send_precommit_ack)                                                             \
    X(agent_after_send_precommit_ack)                                                              \
    X(agent_before_send_ack)                                                                       \
    X(agent_after_send_ack)                                                                        \
    X(agent_before_send_elect)                                                                     \
    X(agent_after_send_elect)                                                                      \
    X(agent_before_send_propose)                                                                   \
    X(agent_after_send_propose)

enum assent_crash_point {
#define X(name) ASSENT_CRASH_##name,
    ASSENT_CRASH_POINTS_COORDINATOR(X) ASSENT_CRASH_POINTS_AGENT(X)
#undef X
        ASSENT_CRASH_COUNT
};

/* The points of one daemon: [first, end). */
#define ASSENT_CRASH_COORDINATOR_FIRST 0
#define ASSENT_CRASH_AGENT_FIRST       ASSENT_CRASH_agent_before_rm_work

/* Dies here if armed. Any thread. Nothing at all in a build without crash points. */
#ifdef ASSENT_WITH_CRASH_POINTS
void assent_crash_point(enum assent_crash_point point);
#define ASSENT_CRASH_POINT(name) assent_crash_point(ASSENT_CRASH_##name)
#else
#define assent_crash_point(point) ((void)(point))
#define ASSENT_CRASH_POINT(name)  ((void)0)
#endif

/* Arms "NAME[:N]" out of [first, end). Returns 0, ASSENT_E_INVALID for a name or count that does
 * not exist, ASSENT_E_STATE in a build without crash points. Before threads start. */
int assent_crash_arm(const char *spec, int first, int end);
/* The name of a point, or NULL out of range. */
const char *assent_crash_name(int point);

#endif
