/* report.c: what was measured, as a table line by line, or as one JSON document at the end. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "runtime.h"

#include "bench.h"

#define NUMBER_BYTES 32
#define TMPFS_KIND   0x01021994

struct bench_report {
    const struct bench_options *options;
    const struct bench_ceilings *ceilings;
    json_t *runs;
};

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

static const struct bench_store_rate *store_rate(const struct bench_report *report,
                                                 size_t in_flight)
{
    for (size_t i = 0; i < report->ceilings->store_count; i++)
        if (report->ceilings->store[i].outstanding == in_flight)
            return &report->ceilings->store[i];
    return NULL;
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static void print_ceilings(const struct bench_report *report)
{
    const struct bench_ceilings *ceilings = report->ceilings;

    printf("ceilings of this machine\n");
    printf("%12s  %12s  %12s  %15s\n", "outstanding", "commits/s", "records/s", "records/commit");
    for (size_t i = 0; i < ceilings->store_count; i++) {
        const struct bench_store_rate *rate = &ceilings->store[i];

        printf("%12zu  %12.0f  %12.0f  %15.1f\n", rate->outstanding, rate->commits_per_s,
               rate->records_per_s, ratio(rate->records_per_s, rate->commits_per_s));
    }
    printf("loopback round trips/s on one connection, %zu bytes there and %zu back: %.0f\n\n",
           ceilings->request_bytes, ceilings->reply_bytes, ceilings->round_trips_per_s);
}

struct bench_report *bench_report_new(const struct bench_options *options,
                                      const struct bench_ceilings *ceilings)
{
    struct bench_report *report = calloc(1, sizeof(*report));

    ASSENT_ASSERT(report);
    report->options = options;
    report->ceilings = ceilings;
    report->runs = json_array();
    ASSENT_ASSERT(report->runs);
    if (in_memory(options->data_dir))
        fprintf(stderr, "assent-bench: %s is in memory: syncs cost nothing there\n",
                options->data_dir);
    if (options->json)
        return report;
    if (options->ceilings)
        print_ceilings(report);
    printf("%s, %zu branches on %s, %llu s a run, 128-byte records\n",
           assent_protocol_name((int)options->protocol), options->branches,
           options->host ? options->host : options->resource, (unsigned long long)options->seconds);
    printf("%9s %9s %8s %8s %8s %8s %8s %8s %8s %9s %9s  %s\n", "in flight", "tx/s", "p50 ms",
           "p99 ms", "p999 ms", "aborted", "unknown", "syncs/s", "rec/sync", "/records", "/trips",
           "CPU %");
    return report;
}

/* A member as text, or "-" if it is not known. */
static const char *number(const json_t *run, const char *member, int digits, char *text)
{
    const json_t *value = json_object_get(run, member);

    if (json_is_number(value))
        snprintf(text, NUMBER_BYTES, "%.*f", digits, json_number_value(value));
    else
        snprintf(text, NUMBER_BYTES, "-");
    return text;
}

static void print_result(const struct bench_cluster *cluster, const struct bench_result *result,
                         const json_t *run)
{
    char texts[4][NUMBER_BYTES];

    printf("%9zu %9.0f %8.2f %8.2f %8.2f %8llu %8llu %8s %8s %9s %9s ", result->in_flight,
           json_number_value(json_object_get(run, "tx_per_s")), result->p50_us / 1e3,
           result->p99_us / 1e3, result->p999_us / 1e3, (unsigned long long)result->aborted,
           (unsigned long long)(result->unknown + result->errors),
           number(run, "syncs_per_s", 0, texts[0]), number(run, "records_per_sync", 1, texts[1]),
           number(run, "ratio_to_records", 3, texts[2]),
           number(run, "ratio_to_round_trips", 3, texts[3]));
    for (size_t i = 0; i < cluster->process_count; i++)
        printf(" %s %.0f", cluster->processes[i].name,
               100 * ratio(result->after.cpu_seconds[i] - result->before.cpu_seconds[i],
                           result->seconds));
    printf("\n");
    if (result->first_problem[0])
        printf("          first that did not commit: %s\n", result->first_problem);
    fflush(stdout);
}

static json_t *cpu_of(const struct bench_cluster *cluster, const struct bench_result *result)
{
    json_t *list = json_array();

    ASSENT_ASSERT(list);
    for (size_t i = 0; i < cluster->process_count; i++) {
        double seconds = result->after.cpu_seconds[i] - result->before.cpu_seconds[i];
        json_t *item =
            json_pack("{s:s, s:f, s:f}", "process", cluster->processes[i].name, "seconds", seconds,
                      "percent", 100 * ratio(seconds, result->seconds));

        ASSENT_ASSERT(item && json_array_append_new(list, item) == 0);
    }
    return list;
}

static json_t *rate(uint64_t before, uint64_t after, double per)
{
    if (before == UINT64_MAX || after == UINT64_MAX || per <= 0)
        return json_null();
    return json_real((double)(after - before) / per);
}

/* Of a ceiling; null if it was not measured. */
static json_t *share(double value, double ceiling)
{
    return ceiling > 0 ? json_real(value / ceiling) : json_null();
}

void bench_report_add(struct bench_report *report, const struct bench_cluster *cluster,
                      const struct bench_result *result)
{
    const struct bench_store_rate *store = store_rate(report, result->in_flight);
    double tx_per_s = ratio((double)result->committed, result->seconds);
    double syncs = (double)(result->after.syncs - result->before.syncs);
    json_t *run = json_pack(
        "{s:I, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}",
        "in_flight", (json_int_t)result->in_flight, "seconds", result->seconds, "tx_per_s",
        tx_per_s, "p50_us", (json_int_t)result->p50_us, "p99_us", (json_int_t)result->p99_us,
        "p999_us", (json_int_t)result->p999_us, "max_us", (json_int_t)result->max_us, "committed",
        (json_int_t)result->committed, "aborted", (json_int_t)result->aborted, "unknown",
        (json_int_t)result->unknown, "errors", (json_int_t)result->errors, "syncs_per_s",
        rate(result->before.syncs, result->after.syncs, result->seconds), "records_per_s",
        rate(result->before.records, result->after.records, result->seconds), "records_per_sync",
        rate(result->before.records, result->after.records, syncs), "ratio_to_records",
        share(tx_per_s, store ? store->records_per_s : 0), "ratio_to_round_trips",
        share(tx_per_s, report->ceilings->round_trips_per_s), "cpu", cpu_of(cluster, result));

    ASSENT_ASSERT(run && json_array_append(report->runs, run) == 0);
    if (!report->options->json)
        print_result(cluster, result, run);
    json_decref(run);
}

static json_t *ceilings_json(const struct bench_ceilings *ceilings)
{
    json_t *store = json_array(), *json;

    ASSENT_ASSERT(store);
    for (size_t i = 0; i < ceilings->store_count; i++) {
        json_t *item =
            json_pack("{s:I, s:f, s:f}", "outstanding", (json_int_t)ceilings->store[i].outstanding,
                      "commits_per_s", ceilings->store[i].commits_per_s, "records_per_s",
                      ceilings->store[i].records_per_s);

        ASSENT_ASSERT(item && json_array_append_new(store, item) == 0);
    }
    json = json_pack("{s:i, s:o, s:f, s:I, s:I}", "record_bytes", BENCH_RECORD_BYTES, "store",
                     store, "round_trips_per_s", ceilings->round_trips_per_s, "request_bytes",
                     (json_int_t)ceilings->request_bytes, "reply_bytes",
                     (json_int_t)ceilings->reply_bytes);
    ASSENT_ASSERT(json);
    return json;
}

void bench_report_end(struct bench_report *report)
{
    const struct bench_options *options = report->options;

    if (options->json) {
        json_t *json = json_pack(
            "{s:s, s:o, s:s, s:I, s:s, s:I, s:b, s:o, s:O}", "version", ASSENT_VERSION, "machine",
            machine(options), "protocol", assent_protocol_name((int)options->protocol), "branches",
            (json_int_t)options->branches, "resource",
            options->host ? "running participants" : options->resource, "connections",
            (json_int_t)options->connections, "wait", (int)options->wait, "ceilings",
            options->ceilings ? ceilings_json(report->ceilings) : json_null(), "runs",
            report->runs);

        ASSENT_ASSERT(json);
        json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        fputc('\n', stdout);
        json_decref(json);
    }
    json_decref(report->runs);
    free(report);
}
