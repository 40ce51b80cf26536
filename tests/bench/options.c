/* options.c: the arguments of assent-bench. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

static const struct {
    struct option option;
    const char *argument, *help;
} table[] = {
    {{"protocol", required_argument, NULL, 'p'}, "2pc|3pc", "default 2pc; 3pc by quorum"},
    {{"branches", required_argument, NULL, 'k'}, "K", "participants of a transaction (2)"},
    {{"together", required_argument, NULL, 'T'}, "N", "of them in one agent, up to 16 (1)"},
    {{"in-flight", required_argument, NULL, 'c'}, "C,...", "transactions open (1,64,1024)"},
    {{"rate", required_argument, NULL, 'q'}, "R,...", "open loop: tx/s, or N% of the best"},
    {{"connections", required_argument, NULL, 'n'}, "N", "to the coordinator (8)"},
    {{"payload", required_argument, NULL, 'y'}, "BYTES", "of opaque work for each branch (0)"},
    {{"idle", required_argument, NULL, 'I'}, "N", "idle application connections besides (0)"},
    {{"idle-participants", required_argument, NULL, 'J'}, "N", "idle participants besides (0)"},
    {{"kept", required_argument, NULL, 'K'}, "N", "kept outcomes in the log at the start (0)"},
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
    {{"ceiling", no_argument, NULL, 'C'}, NULL, "measure beside it what this machine allows"},
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
        "\n"
        "With --ceiling, in turns with each run: LMDB commits by number of records, loopback\n"
        "round trips, and the ideal loop: as many processes exchange the same messages and sync\n"
        "the same records, without any protocol. Then `of ideal` is tx/s as a part of the ideal\n"
        "loop's; `of floor`, with 1 in flight, p50 as a multiple of the commits and round trips\n"
        "that cannot be had at once; `of commit`, with --rate, p99 as a multiple of the p50 of a\n"
        "commit of as many records. With --rate, latency counts from when a transaction was to\n"
        "begin. Figures are medians of --repeat runs.\n");
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

static double rate(const char *text, bool *ret_percent)
{
    char *end;
    double value = strtod(text, &end);

    *ret_percent = *end == '%';
    if (*text < '0' || *text > '9' || end[*ret_percent] != '\0' || value <= 0 || value > 1e7) {
        fprintf(stderr, "assent-bench: --rate is a number of tx/s or N%%, not \"%s\"\n", text);
        exit(2);
    }
    return value;
}

static struct bench_step step(int option, const char *text)
{
    struct bench_step step = {0};
    bool percent;

    if (option == 'c') {
        step.in_flight = (size_t)number("in-flight", text, 1, BENCH_IN_FLIGHT_MAX);
        return step;
    }
    step.rate = rate(text, &percent);
    if (percent) {
        step.percent = step.rate;
        step.rate = 0;
    }
    return step;
}

/* A list that takes the place of the steps of its kind; closed loops stay first. */
static void take_steps(struct bench_options *options, int option, const char *text)
{
    struct bench_step taken[BENCH_STEPS_MAX], others[BENCH_STEPS_MAX];
    size_t taken_count = 0, other_count = 0, at = 0;
    char *copy = strdup(text), *rest = NULL;
    bool closed = option == 'c';

    for (char *item = copy ? strtok_r(copy, ",", &rest) : NULL; item;
         item = strtok_r(NULL, ",", &rest)) {
        if (taken_count == BENCH_STEPS_MAX) {
            fprintf(stderr, "assent-bench: at most %d in a list\n", BENCH_STEPS_MAX);
            exit(2);
        }
        taken[taken_count++] = step(option, item);
    }
    free(copy);
    if (taken_count == 0) {
        fprintf(stderr, "assent-bench: a list is empty\n");
        exit(2);
    }
    for (size_t i = 0; i < options->step_count; i++)
        if ((options->steps[i].in_flight > 0) != closed)
            others[other_count++] = options->steps[i];
    for (size_t i = 0; i < taken_count && closed; i++)
        options->steps[at++] = taken[i];
    for (size_t i = 0; i < other_count; i++)
        options->steps[at++] = others[i];
    for (size_t i = 0; i < taken_count && !closed; i++)
        options->steps[at++] = taken[i];
    options->step_count = at;
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

/* Options about how much there is of everything; false: not one of them. */
static bool take_size_option(struct bench_options *options, int option, const char *value)
{
    switch (option) {
    case 'k':
        options->branches = (size_t)number("branches", value, 1, ASSENT_BRANCHES_MAX);
        return true;
    case 'T':
        options->together = (size_t)number("together", value, 1, BENCH_TOGETHER_MAX);
        return true;
    case 'c':
    case 'q':
        take_steps(options, option, value);
        return true;
    case 'n':
        options->connections = (size_t)number("connections", value, 1, BENCH_CONNECTIONS_MAX);
        return true;
    case 'y':
        options->payload = (size_t)number("payload", value, 0, BENCH_PAYLOAD_MAX);
        return true;
    case 'I':
        options->idle = (size_t)number("idle", value, 0, BENCH_IDLE_MAX);
        return true;
    case 'J':
        options->idle_participants = (size_t)number("idle-participants", value, 0, BENCH_IDLE_MAX);
        return true;
    case 'K':
        options->kept = number("kept", value, 0, BENCH_KEPT_MAX);
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
        options->ceiling = true;
        return;
    case 'o':
        options->json = second_word("output", value, "table", "json");
        return;
    case 'h':
        print_help();
        exit(0);
    default:
        if (!take_process_option(options, option, value) &&
            !take_size_option(options, option, value))
            exit(2); /* getopt has said why */
    }
}

/* Options that do not go together; exits with 2. */
static void check(const struct bench_options *options)
{
    const char *wrong = NULL;

    if (options->host && options->participant_count == 0)
        wrong = "-H needs --participant NAME for each branch";
    else if (options->host && options->kept > 0)
        wrong = "--kept fills the log of a coordinator that the bench starts itself, not with -H";
    else if (options->host && options->idle_participants > 0)
        wrong = "--idle-participants is not for -H: its log would keep their names for ever";
    else if (options->together > 1 && (options->host || options->ceiling))
        wrong = "--together is for agents of our own, and the ideal loop has no such thing";
    else if (options->payload > 0 && strncmp(options->resource, "null", 4) != 0)
        wrong = "--payload is for the null resource, which does nothing with it";
    else if (options->steps[options->step_count - 1].percent > 0 &&
             options->steps[0].in_flight == 0)
        wrong = "--rate N% needs --in-flight to be a part of";
    if (wrong) {
        fprintf(stderr, "assent-bench: %s\n", wrong);
        exit(2);
    }
}

void bench_options_parse(struct bench_options *options, int argc, char **argv)
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
    if (options->step_count == 0)
        take_steps(options, 'c', "1,64,1024");
    check(options);
    if (options->host)
        options->branches = options->participant_count;
}
