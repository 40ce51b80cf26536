/*
 * bench.h: what the parts of assent-bench share: its options, what one run and the ceilings
 * measured, and the processes under test.
 */
#ifndef ASSENT_BENCH_H
#define ASSENT_BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "assent/client.h"

#define BENCH_IN_FLIGHT_MAX 65536
#define BENCH_STEPS_MAX     16
#define BENCH_WATCHED_MAX   64
#define BENCH_PROCESSES_MAX (ASSENT_BRANCHES_MAX + BENCH_WATCHED_MAX + 2)
#define BENCH_CONNECTIONS   8
#define BENCH_RECORD_BYTES  128
#define BENCH_ERROR_BYTES   512

struct bench_options {
    const char *host, *admin; /* NULL host: start our own processes */
    const char *participants[ASSENT_BRANCHES_MAX];
    size_t participant_count;
    pid_t pids[BENCH_WATCHED_MAX]; /* of running processes, to watch their CPU */
    size_t pid_count;
    const char *data_dir, *resource, *assentd, *agent;
    enum assent_protocol protocol;
    size_t branches;
    size_t in_flight[BENCH_STEPS_MAX], step_count;
    size_t connections;
    uint64_t seconds, warmup_seconds, repeat;
    bool wait, json, ceilings;
};

/* A child, or a process whose CPU is watched. */
struct bench_process {
    char name[64];
    pid_t pid;
    bool child;
};

/* Everything that bench_cluster_start() made and bench_cluster_stop() ends and removes. */
struct bench_cluster {
    char directory[512]; /* "" if none was made */
    char address[64], admin[64];
    char names[ASSENT_BRANCHES_MAX][ASSENT_NAME_MAX + 1];
    struct bench_process processes[BENCH_PROCESSES_MAX];
    size_t process_count;
};

/* One look at counters; two of them make a measurement. */
struct bench_sample {
    uint64_t at_us;
    uint64_t syncs, records; /* of the coordinator's log; UINT64_MAX: not known */
    double cpu_seconds[BENCH_PROCESSES_MAX];
};

struct bench_result {
    size_t in_flight;
    double seconds;
    uint64_t committed, aborted, unknown, errors;
    char first_problem[ASSENT_REASON_MAX + 1]; /* of what did not commit */
    uint32_t p50_us, p99_us, p999_us, max_us;
    struct bench_sample before, after;
};

struct bench_store_rate {
    size_t outstanding;
    double commits_per_s, records_per_s;
};

struct bench_ceilings {
    struct bench_store_rate store[BENCH_STEPS_MAX];
    size_t store_count;
    double round_trips_per_s;
    size_t request_bytes, reply_bytes;
};

/* Set by SIGINT and SIGTERM: everything winds up. */
extern volatile bool bench_interrupted;

/* cluster.c: 0, or -1 with a sentence in error. */
int bench_cluster_start(struct bench_cluster *cluster, const struct bench_options *options,
                        char *error, size_t error_size);
void bench_cluster_stop(struct bench_cluster *cluster);
/* Waits until every participant is up, at most some seconds. 0 or -1. */
int bench_cluster_ready(const struct bench_cluster *cluster, size_t branches, char *error,
                        size_t error_size);

/* sample.c */
void bench_sample_take(const struct bench_cluster *cluster, struct bench_sample *ret_sample);

/* load.c: a closed loop with in_flight transactions open; 0, or -1 with a sentence in error. */
int bench_load_run(const struct bench_options *options, const struct bench_cluster *cluster,
                   size_t in_flight, struct bench_result *ret_result, char *error,
                   size_t error_size);
/* The work of one branch, for the given place in the loop. */
void bench_work_text(const struct bench_options *options, size_t slot, char *text, size_t size);

/* ceilings.c: what the disk and the loopback allow; in a directory of its own below data_dir. */
int bench_ceilings_measure(const struct bench_options *options, struct bench_ceilings *ret_ceilings,
                           char *error, size_t error_size);

/* directory.c: a fresh directory below parent, and its removal. */
int bench_directory_make(const char *parent, char *path, size_t size, char *error,
                         size_t error_size);
void bench_directory_remove(const char *path);

/* report.c */
struct bench_report;
struct bench_report *bench_report_new(const struct bench_options *options,
                                      const struct bench_ceilings *ceilings);
void bench_report_add(struct bench_report *report, const struct bench_cluster *cluster,
                      const struct bench_result *result);
/* The whole as JSON, if that was asked for; the table is printed line by line as it comes. */
void bench_report_end(struct bench_report *report);

#endif
