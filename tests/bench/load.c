/*
 * load.c: the closed loop: a fixed number of one-shot transactions in flight over some connections,
 * through the client's form for event loops. Each answer is followed by the next transaction.
 * Counted is what is answered between the end of the warm-up and the end of the run.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

#include "bench.h"

#define DRAIN_MS        30000 /* for the last answers, after the run */
#define WORK_BYTES      64
#define CONNECTIONS_MAX 256

struct load;

/* One place in the loop: at most one transaction at a time. */
struct slot {
    struct load *load;
    size_t number, connection;
    uint64_t begun_us;
};

enum load_phase { WARMING, MEASURING, DRAINING };

struct load {
    const struct bench_options *options;
    const struct bench_cluster *cluster;
    struct assent_client *clients[CONNECTIONS_MAX];
    size_t connections;
    struct slot *slots;
    size_t in_flight;
    size_t *idle; /* numbers of slots to fill again */
    size_t idle_count, open_count;
    enum load_phase phase;
    uint32_t *latencies_us;
    size_t latency_count, latency_capacity;
    struct bench_result *result;
    char *error;
    size_t error_size;
};

void bench_work_text(const struct bench_options *options, size_t slot, char *text, size_t size)
{
    /* A key of its own for each place, so that transactions do not wait for each other's locks. */
    if (strncmp(options->resource, "kv", 2) == 0)
        snprintf(text, size, "add bench-%zu 1", slot);
    else
        text[0] = '\0';
}

static void count_latency(struct load *load, uint64_t us)
{
    if (load->latency_count == load->latency_capacity) {
        load->latency_capacity = load->latency_capacity ? 2 * load->latency_capacity : 65536;
        load->latencies_us =
            reallocarray(load->latencies_us, load->latency_capacity, sizeof(uint32_t));
        ASSENT_ASSERT(load->latencies_us);
    }
    load->latencies_us[load->latency_count++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static void count_answer(struct load *load, const struct assent_answer *answer)
{
    struct bench_result *result = load->result;
    const char *problem = NULL;

    if (answer->error == ASSENT_E_CLOSED || answer->error == ASSENT_E_TIMEOUT) {
        result->unknown++;
        problem = answer->error_text;
    } else if (answer->error) {
        result->errors++;
        problem = answer->error_text;
    } else if (answer->result.outcome == ASSENT_OUTCOME_COMMITTED) {
        result->committed++;
    } else if (answer->result.outcome == ASSENT_OUTCOME_ABORTED) {
        result->aborted++;
        problem = answer->result.reason;
    } else {
        result->unknown++;
        problem = assent_outcome_name((int)answer->result.outcome);
    }
    if (problem && !result->first_problem[0])
        snprintf(result->first_problem, sizeof(result->first_problem), "%s", problem);
}

static void answered(const struct assent_answer *answer, void *context)
{
    struct slot *slot = context;
    struct load *load = slot->load;

    if (load->phase == MEASURING) {
        count_answer(load, answer);
        if (answer->error == 0 && answer->result.outcome == ASSENT_OUTCOME_COMMITTED)
            count_latency(load, assent_now_us() - slot->begun_us);
    }
    load->open_count--;
    load->idle[load->idle_count++] = slot->number;
}

static int fill(struct load *load, struct slot *slot)
{
    struct assent_begin_options begin = {
        .size = sizeof(begin),
        .protocol = load->options->protocol, /* with its default termination */
    };
    struct assent_work works[ASSENT_BRANCHES_MAX];
    struct assent_request request = {
        .size = sizeof(request),
        .kind = ASSENT_REQUEST_RUN,
        .begin = &begin,
        .works = works,
        .work_count = load->options->branches,
        .wait = load->options->wait,
    };
    char text[WORK_BYTES];
    int error;

    bench_work_text(load->options, slot->number, text, sizeof(text));
    for (size_t i = 0; i < load->options->branches; i++)
        works[i] = (struct assent_work){load->cluster->names[i], text, strlen(text)};
    slot->begun_us = assent_now_us();
    error = assent_client_submit(load->clients[slot->connection], &request, answered, slot);
    if (error) {
        snprintf(load->error, load->error_size, "cannot submit: %s", assent_error_text(error));
        return -1;
    }
    load->open_count++;
    return 0;
}

/* One turn: fill what is idle, wait for the network, take the answers. */
static int turn(struct load *load, uint64_t end_us)
{
    struct pollfd fds[CONNECTIONS_MAX];
    uint64_t now = assent_now_us();
    int wait_ms = now < end_us ? (int)((end_us - now) / 1000 + 1) : 0;

    while (load->phase != DRAINING && load->idle_count > 0)
        if (fill(load, &load->slots[load->idle[--load->idle_count]]))
            return -1;
    for (size_t i = 0; i < load->connections; i++) {
        int own_ms = assent_client_wait_ms(load->clients[i]);

        fds[i].fd = assent_client_fd(load->clients[i]);
        fds[i].events = assent_client_events(load->clients[i]);
        fds[i].revents = 0;
        if (own_ms >= 0 && own_ms < wait_ms)
            wait_ms = own_ms;
    }
    if (poll(fds, load->connections, wait_ms) < 0 && errno != EINTR) {
        snprintf(load->error, load->error_size, "poll: %s", strerror(errno));
        return -1;
    }
    for (size_t i = 0; i < load->connections; i++) {
        int error = assent_client_process(load->clients[i]);

        if (error) {
            snprintf(load->error, load->error_size, "a connection to the coordinator ended: %s",
                     assent_client_error(load->clients[i]));
            return -1;
        }
    }
    return 0;
}

static int turns(struct load *load, enum load_phase phase, uint64_t us)
{
    uint64_t end_us = assent_now_us() + us;

    load->phase = phase;
    while (assent_now_us() < end_us && !bench_interrupted) {
        if (phase == DRAINING && load->open_count == 0)
            break;
        if (turn(load, end_us))
            return -1;
    }
    return 0;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static uint32_t quantile(const struct load *load, double q)
{
    size_t at = (size_t)((double)load->latency_count * q);

    if (load->latency_count == 0)
        return 0;
    return load->latencies_us[at < load->latency_count ? at : load->latency_count - 1];
}

static int load_init(struct load *load)
{
    struct assent_client_options options = {
        .size = sizeof(options), .address = load->cluster->address, .name = "assent-bench"};

    load->connections =
        load->options->connections < load->in_flight ? load->options->connections : load->in_flight;
    load->slots = calloc(load->in_flight, sizeof(*load->slots));
    load->idle = calloc(load->in_flight, sizeof(*load->idle));
    ASSENT_ASSERT(load->slots && load->idle);
    for (size_t i = 0; i < load->in_flight; i++) {
        load->slots[i] = (struct slot){load, i, i % load->connections, 0};
        load->idle[load->idle_count++] = i;
    }
    for (size_t i = 0; i < load->connections; i++)
        if (assent_client_open(&options, &load->clients[i], load->error, load->error_size))
            return -1;
    return 0;
}

/* Closing answers what is still open, so the slots go last. */
static void load_fini(struct load *load)
{
    for (size_t i = 0; i < load->connections; i++)
        assent_client_close(load->clients[i]);
    free(load->slots);
    free(load->idle);
    free(load->latencies_us);
}

int bench_load_run(const struct bench_options *options, const struct bench_cluster *cluster,
                   size_t in_flight, struct bench_result *ret_result, char *error,
                   size_t error_size)
{
    struct bench_result result = {.in_flight = in_flight};
    struct load load = {.options = options,
                        .cluster = cluster,
                        .in_flight = in_flight,
                        .result = &result,
                        .error = error,
                        .error_size = error_size};
    int failed = -1;

    if (load_init(&load) || turns(&load, WARMING, options->warmup_seconds * 1000000))
        goto out;
    bench_sample_take(cluster, &result.before);
    if (turns(&load, MEASURING, options->seconds * 1000000))
        goto out;
    bench_sample_take(cluster, &result.after);
    if (turns(&load, DRAINING, DRAIN_MS * 1000ull))
        goto out;
    result.seconds = (double)(result.after.at_us - result.before.at_us) / 1e6;
    if (load.latency_count > 0)
        qsort(load.latencies_us, load.latency_count, sizeof(uint32_t), by_value);
    result.p50_us = quantile(&load, 0.5);
    result.p99_us = quantile(&load, 0.99);
    result.p999_us = quantile(&load, 0.999);
    result.max_us = quantile(&load, 1.0);
    *ret_result = result;
    failed = 0;
out:
    load_fini(&load);
    return failed;
}
