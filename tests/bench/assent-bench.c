/*
 * assent-bench.c: measures one-shot transactions in a closed loop, beside what the disk and the
 * loopback of the same machine allow. By default it starts its own assentd and agents in a
 * temporary directory; with -H it uses running ones.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#ifndef BENCH_ASSENTD
#define BENCH_ASSENTD "assentd"
#define BENCH_AGENT   "assent-agent"
#endif

volatile bool bench_interrupted;

static const struct {
    struct option option;
    const char *argument, *help;
} table[] = {
    {{"protocol", required_argument, NULL, 'p'}, "2pc|3pc", "default 2pc; 3pc by quorum"},
    {{"branches", required_argument, NULL, 'k'}, "K", "participants of a transaction (2)"},
    {{"in-flight", required_argument, NULL, 'c'}, "C,...", "transactions open (1,64,1024)"},
    {{"connections", required_argument, NULL, 'n'}, "N", "to the coordinator (8)"},
    {{"seconds", required_argument, NULL, 's'}, "S", "of each run (5)"},
    {{"warmup", required_argument, NULL, 'w'}, "S", "before each run (1)"},
    {{"repeat", required_argument, NULL, 'r'}, "N", "runs of each size (1)"},
    {{"wait", no_argument, NULL, 'W'}, NULL, "until every branch has obeyed"},
    {{"resource", required_argument, NULL, 'R'}, "TYPE", "null, or kv with `add` work (null)"},
    {{"data-dir", required_argument, NULL, 'd'}, "DIR", "on the disk to measure (.)"},
    {{"host", required_argument, NULL, 'H'}, "ADDR", "a running coordinator"},
    {{"admin", required_argument, NULL, 'a'}, "ADDR", "with -H: where its /metrics is"},
    {{"participant", required_argument, NULL, 'P'}, "NAME", "with -H: whom to use (repeat)"},
    {{"pid", required_argument, NULL, 'i'}, "PID", "with -H: whose CPU to show (repeat)"},
    {{"no-ceilings", no_argument, NULL, 'C'}, NULL, "measure transactions only"},
    {{"assentd", required_argument, NULL, 'D'}, "PATH", "the program to start"},
    {{"assent-agent", required_argument, NULL, 'A'}, "PATH", "the program to start"},
    {{"output", required_argument, NULL, 'o'}, "table|json", "default table"},
    {{"help", no_argument, NULL, 'h'}, NULL, "this text"},
};
#define OPTION_COUNT (sizeof(table) / sizeof(table[0]))

static void print_help(void)
{
    printf("Usage: assent-bench [OPTION...]\n\n");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char left[64];

        snprintf(left, sizeof(left), "--%s %s", table[i].option.name,
                 table[i].argument ? table[i].argument : "");
        printf("  %-26s %s\n", left, table[i].help);
    }
    printf(
        "\nThe columns /records and /trips are tx/s divided by what the log alone, with as many\n"
        "records outstanding, and one loopback connection reach on this machine.\n");
}

static uint64_t number(const char *name, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || *text < '0' || *text > '9' || *end || value < min || value > max) {
        fprintf(stderr, "assent-bench: --%s is a number from %llu to %llu, not \"%s\"\n", name,
                (unsigned long long)min, (unsigned long long)max, text);
        exit(2);
    }
    return value;
}

static void take_steps(struct bench_options *options, const char *text)
{
    char *copy = strdup(text), *rest = NULL;

    options->step_count = 0;
    for (char *item = copy ? strtok_r(copy, ",", &rest) : NULL; item;
         item = strtok_r(NULL, ",", &rest)) {
        if (options->step_count == BENCH_STEPS_MAX) {
            fprintf(stderr, "assent-bench: --in-flight has at most %d sizes\n", BENCH_STEPS_MAX);
            exit(2);
        }
        options->in_flight[options->step_count++] =
            (size_t)number("in-flight", item, 1, BENCH_IN_FLIGHT_MAX);
    }
    free(copy);
    if (options->step_count == 0) {
        fprintf(stderr, "assent-bench: --in-flight needs a size\n");
        exit(2);
    }
}

/* One of two words; exits with 2 for any other. */
static bool second_word(const char *name, const char *text, const char *first, const char *second)
{
    if (strcmp(text, first) != 0 && strcmp(text, second) != 0) {
        fprintf(stderr, "assent-bench: --%s is %s or %s, not \"%s\"\n", name, first, second, text);
        exit(2);
    }
    return strcmp(text, second) == 0;
}

/* Options about processes; false: not one of them. */
static bool take_process_option(struct bench_options *options, int option, const char *value)
{
    switch (option) {
    case 'H':
        options->host = value;
        return true;
    case 'a':
        options->admin = value;
        return true;
    case 'P':
        if (options->participant_count < ASSENT_BRANCHES_MAX)
            options->participants[options->participant_count++] = value;
        return true;
    case 'i':
        if (options->pid_count < BENCH_WATCHED_MAX)
            options->pids[options->pid_count++] = (pid_t)number("pid", value, 1, INT32_MAX);
        return true;
    case 'D':
        options->assentd = value;
        return true;
    case 'A':
        options->agent = value;
        return true;
    case 'd':
        options->data_dir = value;
        return true;
    case 'R':
        options->resource = value;
        return true;
    default:
        return false;
    }
}

static void take_option(struct bench_options *options, int option, const char *value)
{
    switch (option) {
    case 'p':
        options->protocol = second_word("protocol", value, "2pc", "3pc") ? ASSENT_3PC : ASSENT_2PC;
        return;
    case 'k':
        options->branches = (size_t)number("branches", value, 1, ASSENT_BRANCHES_MAX);
        return;
    case 'c':
        take_steps(options, value);
        return;
    case 'n':
        options->connections = (size_t)number("connections", value, 1, 256);
        return;
    case 's':
        options->seconds = number("seconds", value, 1, 3600);
        return;
    case 'w':
        options->warmup_seconds = number("warmup", value, 0, 600);
        return;
    case 'r':
        options->repeat = number("repeat", value, 1, 1000);
        return;
    case 'W':
        options->wait = true;
        return;
    case 'C':
        options->ceilings = false;
        return;
    case 'o':
        options->json = second_word("output", value, "table", "json");
        return;
    case 'h':
        print_help();
        exit(0);
    default:
        if (!take_process_option(options, option, value))
            exit(2); /* getopt has said why */
    }
}

static void parse(struct bench_options *options, int argc, char **argv)
{
    struct option long_options[OPTION_COUNT + 1] = {{0}};
    int option;

    for (size_t i = 0; i < OPTION_COUNT; i++)
        long_options[i] = table[i].option;
    while ((option = getopt_long(argc, argv, "H:o:h", long_options, NULL)) != -1)
        take_option(options, option, optarg);
    if (optind < argc) {
        fprintf(stderr, "assent-bench: unexpected \"%s\"\n", argv[optind]);
        exit(2);
    }
    if (options->host && options->participant_count == 0) {
        fprintf(stderr, "assent-bench: -H needs --participant NAME for each branch\n");
        exit(2);
    }
    if (options->host)
        options->branches = options->participant_count;
}

static int measure(const struct bench_options *options, struct bench_report *report, char *error,
                   size_t error_size)
{
    struct bench_cluster cluster;
    int failed = bench_cluster_start(&cluster, options, error, error_size);

    if (!failed)
        failed = bench_cluster_ready(&cluster, options->branches, error, error_size);
    for (size_t i = 0; !failed && i < options->step_count; i++)
        for (uint64_t k = 0; !failed && k < options->repeat && !bench_interrupted; k++) {
            struct bench_result result;

            failed = bench_load_run(options, &cluster, options->in_flight[i], &result, error,
                                    error_size);
            if (!failed)
                bench_report_add(report, &cluster, &result);
        }
    bench_cluster_stop(&cluster);
    return failed;
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
                                    .in_flight = {1, 64, 1024},
                                    .step_count = 3,
                                    .connections = BENCH_CONNECTIONS,
                                    .seconds = 5,
                                    .warmup_seconds = 1,
                                    .repeat = 1,
                                    .ceilings = true};
    struct sigaction action = {.sa_handler = on_signal};
    struct bench_ceilings ceilings = {0};
    char error[BENCH_ERROR_BYTES] = "";
    struct bench_report *report;
    int failed;

    parse(&options, argc, argv);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (options.ceilings && bench_ceilings_measure(&options, &ceilings, error, sizeof(error))) {
        fprintf(stderr, "assent-bench: %s\n", error);
        return 1;
    }
    report = bench_report_new(&options, &ceilings);
    failed = measure(&options, report, error, sizeof(error));
    if (failed)
        fprintf(stderr, "assent-bench: %s\n", error);
    bench_report_end(report);
    return failed || bench_interrupted ? 1 : 0;
}
