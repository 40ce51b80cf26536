/* ideal_coordinator.c: asks, counts the answers, replies. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ideal.h"
#include "runtime.h"

struct place {
    uint64_t number; /* of the transaction that has it now */
    size_t round, answered;
};

struct coordinator {
    const struct ideal_run *run;
    const struct ideal_plan *plan;
    size_t branches;
    struct ideal_loop *loop;
    struct ideal_log *log;
    struct place *places;
};

/* The round begins, and everything that it promises is durable. */
static void ask(struct coordinator *c, const struct place *place)
{
    size_t connection = place->number % c->run->in_flight % c->run->connections;

    if (place->round == c->plan->reply_round)
        ideal_loop_send(c->loop, c->branches + connection, &c->run->messages->reply, place->number);
    if (place->round < c->plan->round_count)
        for (size_t i = 0; i < c->branches; i++)
            ideal_loop_send(c->loop, i, &c->run->messages->asks[place->round][i], place->number);
}

static void begin_round(struct coordinator *c, struct place *place, size_t round)
{
    place->round = round;
    place->answered = 0;
    if (round < c->plan->round_count && c->plan->rounds[round].forced)
        ideal_log_put(c->log, (struct ideal_item){.number = place->number});
    else
        ask(c, place);
}

static void message(uint64_t number, enum assent_message_kind kind, void *context)
{
    struct coordinator *c = context;
    struct place *place = &c->places[number % c->run->in_flight];

    if (kind == ASSENT_MSG_NONE) {
        place->number = number;
        begin_round(c, place, 0);
        return;
    }
    /* An answer that nobody waits for any more comes after its transaction's last round, or its
     * quorum. */
    if (place->number == number && place->round < c->plan->round_count &&
        c->plan->rounds[place->round].answer == kind &&
        ++place->answered == c->plan->rounds[place->round].wanted)
        begin_round(c, place, place->round + 1);
}

static void durable(struct ideal_item item, void *context)
{
    struct coordinator *c = context;

    ask(c, &c->places[item.number % c->run->in_flight]);
}

void ideal_coordinator_run(void *context)
{
    static const struct ideal_handler handler = {message, durable};
    const struct ideal_run *run = context;
    struct coordinator c = {.run = run, .plan = run->plan, .branches = run->options->branches};
    struct ideal_log *logs[IDEAL_LOG_COUNT] = {NULL};
    char directory[BENCH_PATH_BYTES], error[BENCH_ERROR_BYTES];

    c.places = calloc(run->in_flight, sizeof(*c.places));
    ASSENT_ASSERT(c.places);
    snprintf(directory, sizeof(directory), "%s/coordinator", run->directory);
    if (bench_directory_add(directory, error, sizeof(error)) ||
        ideal_log_open(directory, &c.log, error, sizeof(error)) ||
        ideal_log_start(c.log, error, sizeof(error)))
        goto out;
    logs[IDEAL_LOG] = c.log;
    if (ideal_loop_new(run->coordinator_fds, c.branches + run->connections, logs, &handler, &c,
                       &c.loop, error, sizeof(error)))
        goto out;
    while (ideal_loop_turn(c.loop, -1))
        ;
    _exit(0);
out:
    fprintf(stderr, "assent-bench: ideal coordinator: %s\n", error);
    _exit(1);
}
