/*
 * options.h: what assent-agent is told by flags, environment and file, and how that becomes the
 * options of a participant.
 */
#ifndef ASSENT_AGENT_OPTIONS_H
#define ASSENT_AGENT_OPTIONS_H

#include "assent/participant.h"
#include "config.h"
#include "runtime.h"

struct agent_program_options {
    char *name, *data_dir, *listen, *announce, *cluster, *log_level, *log_format, *crash_at;
    struct assent_list coordinators, resources;
    bool unsafe_storage;
    uint64_t workers, map_bytes, frame_bytes_max, branches_max;
    uint64_t heartbeat_ms, inquire_ms, retry_min_ms, retry_max_ms, work_timeout_ms;
    uint64_t in_doubt_warn_ms, stop_ms, recover_ms;
};

extern const struct assent_program agent_program;

/* What the table cannot refuse, as a sentence; NULL: nothing. */
const char *agent_options_problem(const struct agent_program_options *options);
void agent_options_fini(struct agent_program_options *options);
/* Of options without a problem. */
void agent_options_setup_log(const struct agent_program_options *options);

/* The participant's options; strings and lists in them belong to *ret_parts, which the caller frees
 * with agent_options_parts_free() in every case. ASSENT_E_CONFIG with a sentence in error. */
struct agent_options_parts {
    char **coordinators; /* ends with NULL */
    size_t coordinator_count;
    char **names;
    struct assent_participant_resource *resources;
    size_t resource_count;
};
ASSENT_CHECKED int agent_options_participant(const struct agent_program_options *options,
                                             struct agent_options_parts *ret_parts,
                                             struct assent_participant_options *ret_options,
                                             char *error, size_t error_size);
void agent_options_parts_free(struct agent_options_parts *parts);

#endif
