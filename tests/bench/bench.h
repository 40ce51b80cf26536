/*
 * bench.h: what the parts of assent-bench share: its options, what was measured, and the processes
 * under test.
 */
#ifndef ASSENT_BENCH_H
#define ASSENT_BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "assent/client.h"

#define BENCH_IN_FLIGHT_MAX   65536
#define BENCH_STEPS_MAX       16
#define BENCH_WATCHED_MAX     64
#define BENCH_PROCESSES_MAX   (ASSENT_BRANCHES_MAX + BENCH_WATCHED_MAX + 3)
#define BENCH_CONNECTIONS_MAX 256
#define BENCH_RECORD_BYTES    128
#define BENCH_PAYLOAD_MAX     65536
#define BENCH_WORK_BYTES      (BENCH_PAYLOAD_MAX + 1)
#define BENCH_IDLE_MAX        100000
#define BENCH_TOGETHER_MAX    16 /* resources of an agent */
#define BENCH_KEPT_MAX        100000000
#define BENCH_ERROR_BYTES     512
#define BENCH_FDS_MAX         4096 /* which the bench itself stays far below */
#define BENCH_PATH_BYTES      512
#define BENCH_NAME_BYTES      (2 * ASSENT_NAME_MAX + 2)
/* Open loop: what is due within it begins at once, late by as much at most; else waking for each of
 * 100,000 a second takes as much of the machine as what is measured. */
#define BENCH_TICK_US 500

/* How transactions are begun. */
struct bench_step {
    size_t in_flight; /* closed loop: so many, each answer is followed by the next; 0: open loop */
    double rate;      /* open loop: tx/s, whether they are answered or not */
    double percent;   /* of the fastest closed loop's rate, which is put into rate */
};

struct bench_options {
    const char *host, *admin; /* NULL host: start our own processes */
    const char *participants[ASSENT_BRANCHES_MAX];
    size_t participant_count;
    pid_t pids[BENCH_WATCHED_MAX]; /* of running processes, to watch their CPU */
    size_t pid_count;
    const char *data_dir, *resource, *assentd, *agent;
    enum assent_protocol protocol;
    size_t branches;
    size_t together;                              /* branches that have an agent in common */
    struct bench_step steps[2 * BENCH_STEPS_MAX]; /* closed loops first */
    size_t step_count;
    size_t connections;
    size_t payload; /* bytes of work of each branch */
    size_t idle, idle_participants;
    uint64_t kept; /* outcomes in the log at the start */
    uint64_t seconds, warmup_seconds, repeat;
    bool wait, json, ceiling;
};

/* A child, or a process whose CPU is watched. */
struct bench_process {
    char name[64];
    pid_t pid;
    bool child;
};

/* Everything that bench_cluster_start() made and bench_cluster_stop() ends and removes. */
struct bench_cluster {
    char directory[BENCH_PATH_BYTES]; /* "" if none was made */
    char address[64], admin[64];
    char names[ASSENT_BRANCHES_MAX][BENCH_NAME_BYTES];
    struct bench_process processes[BENCH_PROCESSES_MAX];
    size_t process_count;
    pid_t coordinator;    /* 0: not a process of ours */
    int idle_report;      /* what idle.c's child says of itself; -1: there is none */
    uint64_t memory_bare; /* of the coordinator, bytes, before the idle ones; UINT64_MAX: unknown */
    uint64_t memory_idle; /* and with them */
};

/* One look at counters; two of them make a measurement. */
struct bench_sample {
    uint64_t at_us;
    uint64_t syncs, records; /* of the coordinator's log; UINT64_MAX: not known */
    uint64_t memory;         /* of the coordinator, bytes; UINT64_MAX: not known */
    double cpu_seconds[BENCH_PROCESSES_MAX];
};

struct bench_result {
    double seconds;
    uint64_t committed, aborted, unknown, errors;
    char first_problem[ASSENT_REASON_MAX + 1]; /* of what did not commit */
    uint32_t p50_us, p99_us, p999_us, max_us;
    struct bench_sample before, after;
};

/* One size of group commit. */
struct bench_commits {
    double per_s, records_per_s;
    uint32_t p50_us;
};

#define BENCH_COMMIT_SIZES 5
extern const size_t bench_commit_sizes[BENCH_COMMIT_SIZES]; /* in records */

/* What the disk and the loopback allow. */
struct bench_floor {
    struct bench_commits commits[BENCH_COMMIT_SIZES];
    double round_trips_per_s, messages_per_s;
    uint32_t round_trip_p50_us;
};

/* What the ideal loop reached; all 0 if there is none for this resource. */
struct bench_ideal {
    double tx_per_s;
    uint32_t p50_us, p99_us;
};

/* All that was measured one after the other, to be compared. */
struct bench_turn {
    struct bench_floor floor;
    struct bench_ideal ideal;
    struct bench_result result;
};

struct bench_latencies {
    uint32_t *us;
    size_t count, capacity;
    bool sorted;
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

/* idle.c: a child whose connections do nothing until the bench ends. Returns when the coordinator
 * has greeted them all: 0, or -1 with a sentence in error. */
int bench_idle_start(struct bench_cluster *cluster, const struct bench_options *options,
                     char *error, size_t error_size);
/* Whether they all are still there. 0, or -1 with a sentence in error. */
int bench_idle_check(const struct bench_cluster *cluster, char *error, size_t error_size);

/* sample.c */
/* What the coordinator holds in memory of its own, without its log's pages; UINT64_MAX: unknown. */
uint64_t bench_sample_memory(const struct bench_cluster *cluster);
void bench_sample_take(const struct bench_cluster *cluster, struct bench_sample *ret_sample);

/* load.c: 0, or -1 with a sentence in error. */
int bench_load_run(const struct bench_options *options, const struct bench_cluster *cluster,
                   const struct bench_step *step, struct bench_result *ret_result, char *error,
                   size_t error_size);
/* The work of one branch, upon the given key: its size. */
size_t bench_work(const struct bench_options *options, size_t key, char work[BENCH_WORK_BYTES]);

/* latencies.c: a quantile of none is 0. */
void bench_latencies_add(struct bench_latencies *latencies, uint64_t us);
uint32_t bench_latencies_quantile(struct bench_latencies *latencies, double q);
void bench_latencies_fini(struct bench_latencies *latencies);

/* floor.c: in a directory of its own below data_dir. 0, or -1 with a sentence in error. */
int bench_floor_measure(const struct bench_options *options, struct bench_floor *ret_floor,
                        char *error, size_t error_size);

/* ideal.c: the loop of ideal.h. 0, or -1 with a sentence in error. */
int bench_ideal_measure(const struct bench_options *options, const struct bench_step *step,
                        struct bench_ideal *ret_ideal, char *error, size_t error_size);
/* What a transaction waits for, one after the other, before its reply; false: there is no ideal
 * for this resource. */
bool bench_ideal_waits(const struct bench_options *options, size_t *ret_commits,
                       size_t *ret_round_trips);
/* The sizes of a transaction's request and its answer on the wire. */
int bench_ideal_frames(const struct bench_options *options, size_t *ret_request, size_t *ret_reply);

/* child.c: forks; the child keeps standard streams and the given descriptors, runs, and ends; it
 * dies with the bench. Its pid, or -1 with a sentence in error. */
pid_t bench_child_start(void (*run)(void *context), void *context, const int *keep,
                        size_t keep_count, char *error, size_t error_size);
void bench_child_stop(pid_t pid);
/* The two ends of a TCP connection. 0, or -1 with a sentence in error. */
int bench_loopback_pair(int ret_fds[2], char *error, size_t error_size);

/* directory.c: a fresh directory below parent, one of that name, and their removal. */
int bench_directory_make(const char *parent, char *path, size_t size, char *error,
                         size_t error_size);
int bench_directory_add(const char *path, char *error, size_t error_size);
void bench_directory_remove(const char *path);

/* options.c: exits with 2 if the arguments are wrong. */
void bench_options_parse(struct bench_options *options, int argc, char **argv);

/* report.c */
struct bench_report;
struct bench_report *bench_report_new(const struct bench_options *options);
void bench_report_add(struct bench_report *report, const struct bench_cluster *cluster,
                      const struct bench_step *step, const struct bench_turn *turn);
/* All turns of a step have been added: prints their medians. Returns the median of tx/s. */
double bench_report_end_step(struct bench_report *report);
/* The ceilings at the end of the table, or the whole as JSON. */
void bench_report_end(struct bench_report *report);

#endif
