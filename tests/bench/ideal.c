/* ideal.c: forks the processes of the ideal loop, and measures them as their client. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ideal.h"
#include "runtime.h"

/* What the logs have room for. */
#define SECONDS_MAX        5
#define WARMUP_SECONDS_MAX 1

struct client {
    const struct ideal_run *run;
    struct ideal_loop *loop;
    uint64_t *begun_us;   /* by place; 0: it is free */
    uint64_t next_number; /* open loop, as the next */
    double next_us;       /* when it is to begin */
    bool measuring;
    struct bench_latencies latencies;
};

struct children {
    pid_t pids[ASSENT_BRANCHES_MAX + 1];
    size_t count;
};

static bool is_open(const struct client *client)
{
    return client->run->interval_us > 0;
}

static uint64_t *place_of(struct client *client, uint64_t number)
{
    return &client->begun_us[number % client->run->in_flight];
}

static void request(struct client *client, uint64_t number, uint64_t now_us)
{
    size_t place = number % client->run->in_flight;

    ASSENT_ASSERT(client->begun_us[place] == 0);
    client->begun_us[place] = now_us;
    ideal_loop_send(client->loop, place % client->run->connections, &client->run->messages->request,
                    number);
}

static void answered(uint64_t number, enum assent_message_kind kind, void *context)
{
    struct client *client = context;
    uint64_t now_us = assent_now_us();

    (void)kind;
    ASSENT_ASSERT(*place_of(client, number) != 0);
    if (client->measuring)
        bench_latencies_add(&client->latencies, now_us - *place_of(client, number));
    *place_of(client, number) = 0;
    if (!is_open(client))
        request(client, number + client->run->in_flight, now_us);
}

/* Begins what is due, as far as its places are free. */
static void begin_due(struct client *client)
{
    double now_us = (double)assent_now_us();

    while (client->next_us <= now_us && *place_of(client, client->next_number) == 0) {
        request(client, client->next_number++, (uint64_t)client->next_us);
        client->next_us += client->run->interval_us;
    }
}

static uint64_t at_most(uint64_t value, uint64_t most)
{
    return value < most ? value : most;
}

static int turns(struct client *client, uint64_t us)
{
    uint64_t end_us = assent_now_us() + us;

    while (assent_now_us() < end_us && !bench_interrupted) {
        if (is_open(client))
            begin_due(client);
        if (!ideal_loop_turn(client->loop, is_open(client) ? BENCH_TICK_US : (int64_t)us))
            return -1;
    }
    return 0;
}

static int measure(const struct ideal_run *run, struct bench_ideal *ret_ideal, char *error,
                   size_t error_size)
{
    static const struct ideal_handler handler = {answered, NULL};
    struct client client = {.run = run};
    uint64_t from_us, us;
    int failed = ideal_loop_new(run->client_fds, run->connections, NULL, &handler, &client,
                                &client.loop, error, error_size);

    if (failed)
        return -1;
    client.begun_us = calloc(run->in_flight, sizeof(*client.begun_us));
    ASSENT_ASSERT(client.begun_us);
    client.next_number = run->in_flight;
    client.next_us = (double)assent_now_us();
    for (size_t i = 0; i < run->in_flight && !is_open(&client); i++)
        request(&client, run->in_flight + i, assent_now_us());
    failed = turns(&client, at_most(run->options->warmup_seconds, WARMUP_SECONDS_MAX) * 1000000);
    from_us = assent_now_us();
    client.measuring = true;
    if (!failed)
        failed = turns(&client, at_most(run->options->seconds, SECONDS_MAX) * 1000000);
    us = assent_now_us() - from_us;
    failed |= client.latencies.count == 0 && !bench_interrupted;
    if (failed)
        snprintf(error, error_size, "the ideal loop has ended, or answers nothing");
    else
        *ret_ideal =
            (struct bench_ideal){.tx_per_s = (double)client.latencies.count * 1e6 / (double)us,
                                 .p50_us = bench_latencies_quantile(&client.latencies, 0.5),
                                 .p99_us = bench_latencies_quantile(&client.latencies, 0.99)};
    bench_latencies_fini(&client.latencies);
    free(client.begun_us);
    ideal_loop_free(client.loop);
    return failed;
}

static int connect_all(struct ideal_run *run, char *error, size_t error_size)
{
    for (size_t i = 0; i < run->options->branches + run->connections; i++) {
        int pair[2];

        if (bench_loopback_pair(pair, error, error_size))
            return -1;
        run->coordinator_fds[i] = pair[0];
        if (i < run->options->branches)
            run->participant_fds[i] = pair[1];
        else
            run->client_fds[i - run->options->branches] = pair[1];
    }
    return 0;
}

static int start_child(struct children *children, void (*run)(void *run), struct ideal_run *context,
                       const int *fds, size_t fd_count, char *error, size_t error_size)
{
    pid_t pid = bench_child_start(run, context, fds, fd_count, error, error_size);

    if (pid < 0)
        return -1;
    children->pids[children->count++] = pid;
    return 0;
}

static int start_all(struct children *children, struct ideal_run *run, char *error,
                     size_t error_size)
{
    for (size_t i = 0; i < run->options->branches; i++) {
        run->starting = i;
        if (start_child(children, ideal_participant_run, run, &run->participant_fds[i], 1, error,
                        error_size))
            return -1;
    }
    return start_child(children, ideal_coordinator_run, run, run->coordinator_fds,
                       run->options->branches + run->connections, error, error_size);
}

static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static int run_in(struct ideal_run *run, struct bench_ideal *ret_ideal, char *error,
                  size_t error_size)
{
    struct children children = {.count = 0};
    int failed = connect_all(run, error, error_size);

    if (!failed)
        failed = start_all(&children, run, error, error_size);
    close_all(run->participant_fds, run->options->branches);
    close_all(run->coordinator_fds, run->options->branches + run->connections);
    if (!failed)
        failed = measure(run, ret_ideal, error, error_size);
    close_all(run->client_fds, run->connections);
    for (size_t i = 0; i < children.count; i++)
        bench_child_stop(children.pids[i]);
    return failed;
}

int bench_ideal_measure(const struct bench_options *options, const struct bench_step *step,
                        struct bench_ideal *ret_ideal, char *error, size_t error_size)
{
    size_t in_flight = step->in_flight > 0 ? step->in_flight : BENCH_IN_FLIGHT_MAX;
    struct ideal_messages *messages = calloc(1, sizeof(*messages));
    struct ideal_run *run = calloc(1, sizeof(*run));
    char directory[BENCH_PATH_BYTES] = "";
    struct ideal_plan plan;
    int failed = -1;

    ASSENT_ASSERT(messages && run);
    if (ideal_plan_make(options, &plan)) {
        *ret_ideal = (struct bench_ideal){0};
        failed = 0;
        goto out;
    }
    if (ideal_messages_make(options, &plan, messages, error, error_size) ||
        bench_directory_make(options->data_dir, directory, sizeof(directory), error, error_size))
        goto out;
    *run = (struct ideal_run){
        .options = options,
        .plan = &plan,
        .messages = messages,
        .directory = directory,
        .in_flight = in_flight,
        .interval_us = step->in_flight > 0 ? 0 : 1e6 / step->rate,
        .connections = options->connections < in_flight ? options->connections : in_flight,
    };
    memset(run->coordinator_fds, -1, sizeof(run->coordinator_fds));
    memset(run->participant_fds, -1, sizeof(run->participant_fds));
    memset(run->client_fds, -1, sizeof(run->client_fds));
    failed = run_in(run, ret_ideal, error, error_size);
out:
    bench_directory_remove(directory);
    ideal_messages_free(messages);
    free(messages);
    free(run);
    return failed;
}
