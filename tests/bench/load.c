/*
 * load.c: one-shot transactions over some connections, through the client's form for event loops.
 *
 * Closed loop: a fixed number in flight; each answer is followed by the next transaction. Counted
 * is what is answered between the end of the warm-up and the end of the run.
 *
 * Open loop: so many begin each second, whether others are answered or not. Counted is what was to
 * begin in that time, with its latency from the moment when it was to begin: if the bench itself is
 * late, that is part of it.
 */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "runtime.h"

#include "bench.h"

#define DRAIN_MS      30000 /* for the last answers, after the run */
#define KEYS_OF_PLACE 2

struct load;

/* One place in the loop: at most one transaction at a time. */
struct slot {
    struct load *load;
    size_t number, connection;
    size_t begun; /* transactions so far */
    uint64_t begun_us;
    bool counted; /* open loop */
};

enum load_phase { WARMING, MEASURING, DRAINING };

struct load {
    const struct bench_options *options;
    const struct bench_cluster *cluster;
    struct assent_client *clients[BENCH_CONNECTIONS_MAX];
    size_t connections;
    struct slot *slots;
    size_t in_flight; /* at most */
    size_t *idle;     /* numbers of slots to fill again */
    size_t idle_count, open_count;
    enum load_phase phase;
    double interval_us, next_us;   /* open loop: when the next is to begin; 0: closed loop */
    double count_from_us, stop_us; /* open loop: what is to begin in between counts */
    struct bench_latencies latencies;
    struct bench_result *result;
    char *error;
    size_t error_size;
};

size_t bench_work(const struct bench_options *options, size_t key, char work[BENCH_WORK_BYTES])
{
    if (strncmp(options->resource, "kv", 2) == 0)
        return (size_t)snprintf(work, BENCH_WORK_BYTES, "add bench-%zu 1", key);
    memset(work, 'x', options->payload); /* which tells the null resource nothing */
    return options->payload;
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

    if (load->interval_us > 0 ? slot->counted : load->phase == MEASURING) {
        count_answer(load, answer);
        if (answer->error == 0 && answer->result.outcome == ASSENT_OUTCOME_COMMITTED)
            bench_latencies_add(&load->latencies, assent_now_us() - slot->begun_us);
    }
    load->open_count--;
    load->idle[load->idle_count++] = slot->number;
}

/* Transactions are not to wait for each other's locks: each place has keys of its own, and two of
 * them in turn, since the reply comes with the decision, and the locks go when branches commit. */
static size_t next_key(struct slot *slot)
{
    return slot->number * KEYS_OF_PLACE + slot->begun++ % KEYS_OF_PLACE;
}

static int fill(struct load *load, struct slot *slot, uint64_t begun_us)
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
    char work[BENCH_WORK_BYTES];
    size_t size = bench_work(load->options, next_key(slot), work);
    int error;

    for (size_t i = 0; i < load->options->branches; i++)
        works[i] = (struct assent_work){load->cluster->names[i], work, size};
    slot->begun_us = begun_us;
    slot->counted = (double)begun_us >= load->count_from_us;
    error = assent_client_submit(load->clients[slot->connection], &request, answered, slot);
    if (error) {
        snprintf(load->error, load->error_size, "cannot submit: %s", assent_error_text(error));
        return -1;
    }
    load->open_count++;
    return 0;
}

/* Begins what is to begin now. */
static int fill_all(struct load *load)
{
    uint64_t now_us = assent_now_us();

    while (load->idle_count > 0) {
        uint64_t begun_us = now_us;

        if (load->interval_us > 0) {
            if (load->next_us > (double)now_us || load->next_us >= load->stop_us)
                return 0;
            begun_us = (uint64_t)load->next_us;
            load->next_us += load->interval_us;
        } else if (load->phase == DRAINING) {
            return 0;
        }
        if (fill(load, &load->slots[load->idle[--load->idle_count]], begun_us))
            return -1;
    }
    return 0;
}

static uint64_t wait_us(const struct load *load, uint64_t end_us)
{
    uint64_t until_us = end_us, now_us = assent_now_us();

    if (load->interval_us > 0 && load->idle_count > 0 && load->next_us < (double)end_us &&
        load->next_us < load->stop_us)
        until_us =
            (uint64_t)load->next_us + (load->interval_us < BENCH_TICK_US ? BENCH_TICK_US : 0);
    return until_us > now_us ? until_us - now_us : 0;
}

/* One turn: begin what is due, wait for the network, take the answers. */
static int turn(struct load *load, uint64_t end_us)
{
    struct pollfd fds[BENCH_CONNECTIONS_MAX];
    struct timespec wait;
    uint64_t us;

    if (fill_all(load))
        return -1;
    us = wait_us(load, end_us);
    for (size_t i = 0; i < load->connections; i++) {
        int own_ms = assent_client_wait_ms(load->clients[i]);

        fds[i].fd = assent_client_fd(load->clients[i]);
        fds[i].events = assent_client_events(load->clients[i]);
        fds[i].revents = 0;
        if (own_ms >= 0 && (uint64_t)own_ms * 1000 < us)
            us = (uint64_t)own_ms * 1000;
    }
    wait = (struct timespec){(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    if (ppoll(fds, load->connections, &wait, NULL) < 0 && errno != EINTR) {
        snprintf(load->error, load->error_size, "poll: %s", strerror(errno));
        return -1;
    }
    for (size_t i = 0; i < load->connections; i++) {
        if (fds[i].revents == 0 && assent_client_wait_ms(load->clients[i]) != 0)
            continue; /* three reads of four would find nothing */
        if (assent_client_process(load->clients[i])) {
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
        if (phase == DRAINING && load->open_count == 0 &&
            (load->interval_us == 0 || load->next_us >= load->stop_us))
            break;
        if (turn(load, end_us))
            return -1;
    }
    return 0;
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
        load->slots[i] =
            (struct slot){.load = load, .number = i, .connection = i % load->connections};
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
    bench_latencies_fini(&load->latencies);
}

/* Of an open loop's transactions, those that the end of the run finds not begun or not answered. */
static uint64_t missing(const struct load *load)
{
    if (load->interval_us == 0)
        return 0;
    if (load->next_us >= load->stop_us)
        return load->open_count;
    return load->open_count + (uint64_t)((load->stop_us - load->next_us) / load->interval_us);
}

static int run_phases(struct load *load)
{
    const struct bench_options *options = load->options;
    struct bench_result *result = load->result;
    uint64_t us = options->seconds * 1000000;

    load->next_us = (double)assent_now_us();
    if (turns(load, WARMING, options->warmup_seconds * 1000000))
        return -1;
    bench_sample_take(load->cluster, &result->before);
    load->count_from_us = (double)assent_now_us();
    load->stop_us = load->count_from_us + (double)us;
    if (turns(load, MEASURING, us))
        return -1;
    bench_sample_take(load->cluster, &result->after);
    if (turns(load, DRAINING, DRAIN_MS * 1000ull))
        return -1;
    result->unknown += missing(load);
    return 0;
}

int bench_load_run(const struct bench_options *options, const struct bench_cluster *cluster,
                   const struct bench_step *step, struct bench_result *ret_result, char *error,
                   size_t error_size)
{
    struct bench_result result = {0};
    struct load load = {.options = options,
                        .cluster = cluster,
                        .in_flight = step->in_flight > 0 ? step->in_flight : BENCH_IN_FLIGHT_MAX,
                        .interval_us = step->rate > 0 ? 1e6 / step->rate : 0,
                        .count_from_us = HUGE_VAL,
                        .stop_us = HUGE_VAL,
                        .result = &result,
                        .error = error,
                        .error_size = error_size};
    int failed = load_init(&load);

    if (step->rate > 0)
        prctl(PR_SET_TIMERSLACK, 1); /* so that transactions begin on time */
    if (!failed)
        failed = run_phases(&load);
    if (!failed) {
        result.seconds = (double)(result.after.at_us - result.before.at_us) / 1e6;
        result.p50_us = bench_latencies_quantile(&load.latencies, 0.5);
        result.p99_us = bench_latencies_quantile(&load.latencies, 0.99);
        result.p999_us = bench_latencies_quantile(&load.latencies, 0.999);
        result.max_us = bench_latencies_quantile(&load.latencies, 1.0);
        *ret_result = result;
    }
    load_fini(&load);
    return failed;
}
