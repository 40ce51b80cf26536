/*
 * options.h: assentd's settings: one table gives flags, file, environment, help. Deliberately not
 * here: reading them (runtime/config.h).
 */
#ifndef ASSENT_COORDINATOR_OPTIONS_H
#define ASSENT_COORDINATOR_OPTIONS_H

#include "config.h"
#include "coordinator.h"
#include "net.h"
#include "runtime.h"

struct options {
    char *data_dir, *listen, *admin, *cluster, *log_level, *log_format, *crash_at;
    bool unsafe_storage;
    uint64_t id, incarnation_min, threads;
    uint64_t prepare_timeout_ms, precommit_timeout_ms, retry_min_ms, retry_max_ms;
    uint64_t abort_delivery_ms, timeout_default_ms, timeout_max_ms, work_timeout_ms, drain_ms;
    uint64_t heartbeat_ms, handshake_ms, user_timeout_ms, retention_ms, lazy_flush_ms;
    uint64_t map_bytes, disk_low_bytes, frame_bytes_max, output_bytes_max;
    uint64_t work_bytes_max, work_bytes_total_max;
    uint64_t transactions_max, connections_max, requests_max, participants_max, keys_max;
};

extern const struct assent_program options_program;

/* Loads and checks: what assent_config_load checks, and that the log level and format exist. */
enum assent_config_verdict options_load(int argc, char **argv, struct options *options);
void options_fini(struct options *options);
/* Takes from `fresh` what may change while running and names the rest in the log. */
void options_apply(struct options *options, struct options *fresh);

void options_setup_log(const struct options *options);
struct assent_coord_config options_coord_config(const struct options *options,
                                                uint32_t incarnation);
/* Event loops: what is set, or by the cores. */
unsigned options_threads(const struct options *options);
struct assent_net_limits options_net_limits(const struct options *options);

#endif
