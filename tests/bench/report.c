/*
 * report.c: what was measured: a table with a line for each step, or one JSON document at the end.
 * Each run is a JSON object; medians are taken member by member over the runs of a step, and those
 * of ratios are medians of ratios. A figure that is not known is NAN here and null there.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "runtime.h"

#include "bench.h"

#define TMPFS_KIND 0x01021994

struct bench_report {
    const struct bench_options *options;
    json_t *runs, *medians;
    size_t step_begin; /* the runs from here on are those of the present step */
};

/* What the table shows of a median. */
static const struct {
    const char *member, *heading;
    double unit;
    int digits;
} columns[] = {
    {"tx_per_s", "tx/s", 1, 0},
    {"ideal_tx_per_s", "ideal tx/s", 1, 0},
    {"of_ideal", "of ideal", 1, 3},
    {"p50_us", "p50 ms", 1e3, 2},
    {"of_floor", "of floor", 1, 2},
    {"p99_us", "p99 ms", 1e3, 2},
    {"ideal_p99_us", "ideal p99", 1e3, 2},
    {"of_commit", "of commit", 1, 1},
    {"p999_us", "p999 ms", 1e3, 2},
    {"aborted", "aborted", 1, 0},
    {"unknown", "unknown", 1, 0},
    {"syncs_per_s", "syncs/s", 1, 0},
    {"records_per_sync", "rec/sync", 1, 1},
};
#define COLUMN_COUNT (sizeof(columns) / sizeof(columns[0]))
#define COLUMN_WIDTH 10

static void cpu_model(char *text, size_t size)
{
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[512];

    snprintf(text, size, "unknown");
    while (file && fgets(line, sizeof(line), file)) {
        char *colon = strchr(line, ':');

        if (strncmp(line, "model name", 10) != 0 || !colon || strlen(colon) < 3)
            continue;
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(text, size, "%s", colon + 2);
        break;
    }
    if (file)
        fclose(file);
}

/* Syncs of a file system in memory cost nothing, so figures from there would deceive. */
static bool in_memory(const char *directory)
{
    struct statfs status;

    return statfs(directory, &status) == 0 && status.f_type == TMPFS_KIND;
}

static json_t *machine(const struct bench_options *options)
{
    struct utsname name;
    char model[256];
    json_t *json;

    cpu_model(model, sizeof(model));
    if (uname(&name) != 0)
        snprintf(name.release, sizeof(name.release), "unknown");
    json = json_pack("{s:s, s:I, s:s, s:s, s:b}", "cpu", model, "cores",
                     (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "kernel", name.release, "data_dir",
                     options->data_dir, "data_dir_in_memory", (int)in_memory(options->data_dir));
    ASSENT_ASSERT(json);
    return json;
}

/* --- numbers --- */

static double ratio(double a, double b)
{
    return b > 0 ? a / b : NAN;
}

static void put(json_t *to, const char *member, double value)
{
    int failed = json_object_set_new(to, member, isnan(value) ? json_null() : json_real(value));

    ASSENT_ASSERT(failed == 0);
}

static double get(const json_t *from, const char *member)
{
    const json_t *value = json_object_get(from, member);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Over rows from the given one on; of what is inside their member `within`, if that is not NULL. */
static double median(const json_t *rows, size_t from, const char *within, const char *member)
{
    size_t count = json_array_size(rows) - from;
    double *values = calloc(count + 1, sizeof(*values)), result = NAN;
    bool known = count > 0;

    ASSENT_ASSERT(values);
    for (size_t i = 0; i < count; i++) {
        const json_t *row = json_array_get(rows, from + i);

        values[i] = get(within ? json_object_get(row, within) : row, member);
        known &= !isnan(values[i]);
    }
    if (known) {
        qsort(values, count, sizeof(*values), by_value);
        result = (values[(count - 1) / 2] + values[count / 2]) / 2;
    }
    free(values);
    return result;
}

/* --- one run --- */

static json_t *floor_json(const struct bench_floor *floor)
{
    json_t *json = json_object();

    ASSENT_ASSERT(json);
    for (size_t i = 0; i < BENCH_COMMIT_SIZES; i++) {
        char name[64];

        snprintf(name, sizeof(name), "commits_per_s_%zu", bench_commit_sizes[i]);
        put(json, name, floor->commits[i].per_s);
        snprintf(name, sizeof(name), "records_per_s_%zu", bench_commit_sizes[i]);
        put(json, name, floor->commits[i].records_per_s);
        snprintf(name, sizeof(name), "commit_p50_us_%zu", bench_commit_sizes[i]);
        put(json, name, floor->commits[i].p50_us);
    }
    put(json, "round_trips_per_s", floor->round_trips_per_s);
    put(json, "round_trip_p50_us", floor->round_trip_p50_us);
    put(json, "messages_per_s", floor->messages_per_s);
    return json;
}

/* Of commits with at least as many records as a sync of the run had. */
static double commit_us(const struct bench_floor *floor, double records)
{
    size_t i = 0;

    while (i < BENCH_COMMIT_SIZES - 1 && (double)bench_commit_sizes[i] < records)
        i++;
    return floor->commits[i].p50_us;
}

static void put_comparison(const struct bench_options *options, const struct bench_step *step,
                           const struct bench_turn *turn, json_t *run)
{
    double floor_us = NAN, group_us = NAN, ideal = turn->ideal.tx_per_s;
    size_t commits, round_trips;

    if (options->ceiling && step->in_flight == 1 &&
        bench_ideal_waits(options, &commits, &round_trips))
        floor_us = (double)commits * turn->floor.commits[0].p50_us +
                   (double)round_trips * turn->floor.round_trip_p50_us;
    if (options->ceiling && step->in_flight == 0)
        group_us = commit_us(&turn->floor, get(run, "records_per_sync"));
    put(run, "ideal_tx_per_s", ideal > 0 ? ideal : NAN);
    put(run, "ideal_p50_us", ideal > 0 ? turn->ideal.p50_us : NAN);
    put(run, "ideal_p99_us", ideal > 0 ? turn->ideal.p99_us : NAN);
    put(run, "of_ideal", step->in_flight > 0 ? ratio(get(run, "tx_per_s"), ideal) : NAN);
    put(run, "floor_us", floor_us);
    put(run, "of_floor", ratio(turn->result.p50_us, floor_us));
    put(run, "commit_us", group_us);
    put(run, "of_commit", ratio(turn->result.p99_us, group_us));
}

static double known(uint64_t bytes)
{
    return bytes == UINT64_MAX ? NAN : (double)bytes;
}

/* Percent of a core, by process. */
static json_t *cpu_json(const struct bench_cluster *cluster, const struct bench_result *result)
{
    json_t *json = json_object();

    ASSENT_ASSERT(json);
    for (size_t i = 0; i < cluster->process_count; i++) {
        double seconds = result->after.cpu_seconds[i] - result->before.cpu_seconds[i];
        char name[sizeof(cluster->processes[i].name) + 24];

        snprintf(name, sizeof(name), "%s", cluster->processes[i].name);
        if (json_object_get(json, name)) /* two that run the same program */
            snprintf(name, sizeof(name), "%s %ld", cluster->processes[i].name,
                     (long)cluster->processes[i].pid);
        put(json, name, 100 * ratio(seconds, result->seconds));
    }
    return json;
}

static double counted(uint64_t before, uint64_t after)
{
    return before == UINT64_MAX || after == UINT64_MAX ? NAN : (double)(after - before);
}

void bench_report_add(struct bench_report *report, const struct bench_cluster *cluster,
                      const struct bench_step *step, const struct bench_turn *turn)
{
    const struct bench_result *result = &turn->result;
    double syncs = counted(result->before.syncs, result->after.syncs);
    double records = counted(result->before.records, result->after.records);
    json_t *run = json_object();
    int failed;

    ASSENT_ASSERT(run);
    put(run, "in_flight", step->in_flight > 0 ? (double)step->in_flight : NAN);
    put(run, "rate", step->in_flight > 0 ? NAN : step->rate);
    put(run, "seconds", result->seconds);
    put(run, "tx_per_s", ratio((double)result->committed, result->seconds));
    put(run, "p50_us", result->p50_us);
    put(run, "p99_us", result->p99_us);
    put(run, "p999_us", result->p999_us);
    put(run, "max_us", result->max_us);
    put(run, "committed", (double)result->committed);
    put(run, "aborted", (double)result->aborted);
    put(run, "unknown", (double)(result->unknown + result->errors));
    put(run, "syncs_per_s", ratio(syncs, result->seconds));
    put(run, "records_per_s", ratio(records, result->seconds));
    put(run, "records_per_sync", ratio(records, syncs));
    put(run, "memory_bare_bytes", known(cluster->memory_bare));
    put(run, "memory_idle_bytes", known(cluster->memory_idle));
    put(run, "memory_load_bytes", known(result->after.memory));
    put_comparison(report->options, step, turn, run);
    failed = json_object_set_new(run, "cpu_percent", cpu_json(cluster, result)) ||
             json_object_set_new(
                 run, "floor", report->options->ceiling ? floor_json(&turn->floor) : json_null()) ||
             json_array_append_new(report->runs, run);
    ASSENT_ASSERT(!failed);
    if (result->first_problem[0])
        fprintf(stderr, "assent-bench: the first that did not commit: %s\n", result->first_problem);
}

/* --- one step --- */

static void print_median(const json_t *row)
{
    const char *name;
    json_t *value;

    if (isnan(get(row, "in_flight")))
        printf("%9.0f/s", get(row, "rate"));
    else
        printf("%11.0f", get(row, "in_flight"));
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        double number = get(row, columns[i].member) / columns[i].unit;

        if (isnan(number))
            printf(" %*s", COLUMN_WIDTH, "-");
        else
            printf(" %*.*f", COLUMN_WIDTH, columns[i].digits, number);
    }
    json_object_foreach(json_object_get(row, "cpu_percent"), name, value)
        printf("  %s %.0f", name, json_number_value(value));
    printf("\n");
    fflush(stdout);
}

double bench_report_end_step(struct bench_report *report)
{
    const json_t *first = json_array_get(report->runs, report->step_begin);
    json_t *row = json_object(), *cpu = json_object(), *value;
    double rate = NAN;
    const char *name;
    int failed;

    ASSENT_ASSERT(row && cpu);
    json_object_foreach((json_t *)(uintptr_t)first, name,
                        value) if (json_is_number(value) || json_is_null(value))
        put(row, name, median(report->runs, report->step_begin, NULL, name));
    json_object_foreach(json_object_get(first, "cpu_percent"), name, value)
        put(cpu, name, median(report->runs, report->step_begin, "cpu_percent", name));
    json_object_del(row, "floor");
    failed = json_object_set_new(row, "cpu_percent", cpu);
    ASSENT_ASSERT(!failed);
    if (first) {
        rate = get(row, "tx_per_s");
        if (!report->options->json)
            print_median(row);
        failed = json_array_append(report->medians, row);
        ASSENT_ASSERT(!failed);
    }
    json_decref(row);
    report->step_begin = json_array_size(report->runs);
    return rate;
}

/* --- the whole --- */

struct bench_report *bench_report_new(const struct bench_options *options)
{
    struct bench_report *report = calloc(1, sizeof(*report));

    ASSENT_ASSERT(report);
    report->options = options;
    report->runs = json_array();
    report->medians = json_array();
    ASSENT_ASSERT(report->runs && report->medians);
    if (in_memory(options->data_dir))
        fprintf(stderr, "assent-bench: %s is in memory: syncs cost nothing there\n",
                options->data_dir);
    if (options->json)
        return report;
    printf("%s, %zu branches on %s, medians of %llu runs of %llu s\n",
           assent_protocol_name((int)options->protocol), options->branches,
           options->host ? options->host : options->resource, (unsigned long long)options->repeat,
           (unsigned long long)options->seconds);
    printf("%11s", "in flight");
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        printf(" %*s", COLUMN_WIDTH, columns[i].heading);
    printf("  CPU %%\n");
    return report;
}

static double floor_median(const struct bench_report *report, const char *member, size_t size)
{
    char name[64];

    snprintf(name, sizeof(name), "%s_%zu", member, size);
    return median(report->runs, 0, "floor", name);
}

static json_t *ceilings_json(const struct bench_report *report)
{
    size_t request = 0, reply = 0, commits = 0, round_trips = 0;
    json_t *sizes = json_array(), *json = json_object();

    ASSENT_ASSERT(sizes && json);
    for (size_t i = 0; i < BENCH_COMMIT_SIZES; i++) {
        size_t size = bench_commit_sizes[i];
        json_t *row = json_object();
        int failed = json_array_append_new(sizes, row);

        ASSENT_ASSERT(!failed);
        put(row, "records", (double)size);
        put(row, "commits_per_s", floor_median(report, "commits_per_s", size));
        put(row, "records_per_s", floor_median(report, "records_per_s", size));
        put(row, "commit_p50_us", floor_median(report, "commit_p50_us", size));
    }
    bench_ideal_frames(report->options, &request, &reply);
    json_object_set_new(json, "commits", sizes);
    put(json, "record_bytes", BENCH_RECORD_BYTES);
    put(json, "request_bytes", (double)request);
    put(json, "reply_bytes", (double)reply);
    put(json, "round_trips_per_s", median(report->runs, 0, "floor", "round_trips_per_s"));
    put(json, "round_trip_p50_us", median(report->runs, 0, "floor", "round_trip_p50_us"));
    put(json, "messages_per_s", median(report->runs, 0, "floor", "messages_per_s"));
    if (bench_ideal_waits(report->options, &commits, &round_trips)) {
        put(json, "floor_commits", (double)commits);
        put(json, "floor_round_trips", (double)round_trips);
    }
    return json;
}

static void print_ceilings(const json_t *ceilings)
{
    const json_t *row;
    size_t index;

    printf("\nceilings of this machine, medians of all turns\n");
    printf("%11s %10s %10s %10s\n", "records", "commits/s", "records/s", "p50 ms");
    json_array_foreach(json_object_get(ceilings, "commits"), index, row)
        printf("%11.0f %10.0f %10.0f %10.2f\n", get(row, "records"), get(row, "commits_per_s"),
               get(row, "records_per_s"), get(row, "commit_p50_us") / 1e3);
    printf("loopback, one connection: %.0f round trips/s, p50 %.3f ms, with %.0f bytes there and "
           "%.0f back; %.0f frames/s one way\n",
           get(ceilings, "round_trips_per_s"), get(ceilings, "round_trip_p50_us") / 1e3,
           get(ceilings, "request_bytes"), get(ceilings, "reply_bytes"),
           get(ceilings, "messages_per_s"));
    if (!isnan(get(ceilings, "floor_commits")))
        printf("floor with 1 in flight: %.0f commits and %.0f round trips\n",
               get(ceilings, "floor_commits"), get(ceilings, "floor_round_trips"));
}

void bench_report_end(struct bench_report *report)
{
    const struct bench_options *options = report->options;
    bool measured = options->ceiling && json_array_size(report->runs) > 0;
    json_t *ceilings = measured ? ceilings_json(report) : json_null();

    if (options->json) {
        json_t *json = json_pack(
            "{s:s, s:o, s:s, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:O, s:O, s:O}",
            "version", ASSENT_VERSION, "machine", machine(options), "protocol",
            assent_protocol_name((int)options->protocol), "branches", (json_int_t)options->branches,
            "together", (json_int_t)options->together, "resource", options->resource, "connections",
            (json_int_t)options->connections, "payload", (json_int_t)options->payload, "idle",
            (json_int_t)options->idle, "idle_participants", (json_int_t)options->idle_participants,
            "kept", (json_int_t)options->kept, "wait", (int)options->wait, "ceilings", ceilings,
            "medians", report->medians, "runs", report->runs);

        ASSENT_ASSERT(json);
        json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        fputc('\n', stdout);
        json_decref(json);
    } else if (measured) {
        print_ceilings(ceilings);
    }
    json_decref(ceilings);
    json_decref(report->runs);
    json_decref(report->medians);
    free(report);
}
