/*
 * assent-bench.c: measures one-shot transactions, in a closed loop or at a given rate, and if asked
 * beside what the disk and the loopback of the same machine allow, in turns. By default it starts
 * its own assentd and agents in a temporary directory; with -H it uses running ones.
 */
#include <signal.h>
#include <stdio.h>

#include "bench.h"

#ifndef BENCH_ASSENTD
#define BENCH_ASSENTD "assentd"
#define BENCH_AGENT   "assent-agent"
#endif

volatile bool bench_interrupted;

static int measure_turn(const struct bench_options *options, const struct bench_cluster *cluster,
                        const struct bench_step *step, struct bench_turn *turn, char *error,
                        size_t error_size)
{
    *turn = (struct bench_turn){0};
    if (options->ceiling && bench_floor_measure(options, &turn->floor, error, error_size))
        return -1;
    if (options->ceiling && bench_ideal_measure(options, step, &turn->ideal, error, error_size))
        return -1;
    if (bench_load_run(options, cluster, step, &turn->result, error, error_size))
        return -1;
    return bench_idle_check(cluster, error, error_size);
}

static int measure(const struct bench_options *options, const struct bench_cluster *cluster,
                   struct bench_report *report, char *error, size_t error_size)
{
    double peak = 0;

    for (size_t i = 0; i < options->step_count && !bench_interrupted; i++) {
        struct bench_step step = options->steps[i];
        struct bench_turn turn;
        double rate;

        if (step.percent > 0)
            step.rate = peak * step.percent / 100;
        for (uint64_t k = 0; k < options->repeat && !bench_interrupted; k++) {
            if (measure_turn(options, cluster, &step, &turn, error, error_size))
                return -1;
            bench_report_add(report, cluster, &step, &turn);
        }
        rate = bench_report_end_step(report);
        if (rate > peak)
            peak = rate;
    }
    return 0;
}

static void on_signal(int signal_number)
{
    (void)signal_number;
    bench_interrupted = true;
}

int main(int argc, char **argv)
{
    struct bench_options options = {.data_dir = ".",
                                    .resource = "null",
                                    .assentd = BENCH_ASSENTD,
                                    .agent = BENCH_AGENT,
                                    .branches = 2,
                                    .together = 1,
                                    .connections = 8,
                                    .seconds = 5,
                                    .warmup_seconds = 1,
                                    .repeat = 1};
    struct sigaction action = {.sa_handler = on_signal};
    char error[BENCH_ERROR_BYTES] = "";
    struct bench_cluster cluster;
    struct bench_report *report;
    int failed;

    bench_options_parse(&options, argc, argv);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    report = bench_report_new(&options);
    failed = bench_cluster_start(&cluster, &options, error, sizeof(error));
    if (!failed)
        failed = bench_cluster_ready(&cluster, options.branches, error, sizeof(error));
    if (!failed)
        failed = bench_idle_start(&cluster, &options, error, sizeof(error));
    if (!failed)
        failed = measure(&options, &cluster, report, error, sizeof(error));
    bench_cluster_stop(&cluster);
    if (failed)
        fprintf(stderr, "assent-bench: %s\n", error);
    bench_report_end(report);
    return failed || bench_interrupted ? 1 : 0;
}
