/* ideal_participant.c: writes what must be written, answers. */
#include <stdio.h>
#include <unistd.h>

#include "ideal.h"
#include "runtime.h"

struct participant {
    const struct ideal_run *run;
    size_t branch;
    struct ideal_loop *loop;
    struct ideal_log *logs[IDEAL_LOG_COUNT];
};

static void go_on(struct participant *p, struct ideal_item item)
{
    const struct ideal_round *round = &p->run->plan->rounds[item.round];

    if (item.step < IDEAL_WRITES_MAX && round->writes[item.step] != IDEAL_NO_LOG)
        ideal_log_put(p->logs[round->writes[item.step]], item);
    else
        ideal_loop_send(p->loop, 0, &p->run->messages->answers[item.round][p->branch], item.number);
}

static void message(uint64_t number, enum assent_message_kind kind, void *context)
{
    struct participant *p = context;

    for (uint32_t i = 0; i < p->run->plan->round_count; i++)
        if (p->run->plan->rounds[i].ask == kind)
            go_on(p, (struct ideal_item){.number = number, .round = i});
}

static void durable(struct ideal_item item, void *context)
{
    item.step++;
    go_on(context, item);
}

static int open_logs(struct participant *p, char *error, size_t error_size)
{
    static const char *const names[IDEAL_LOG_COUNT] = {"log", "resource"};
    char directory[BENCH_PATH_BYTES];

    for (size_t i = 0; i < p->run->plan->round_count; i++)
        for (size_t k = 0; k < IDEAL_WRITES_MAX; k++) {
            enum ideal_log_name name = p->run->plan->rounds[i].writes[k];

            if (name == IDEAL_NO_LOG || p->logs[name])
                continue;
            snprintf(directory, sizeof(directory), "%s/participant-%zu-%s", p->run->directory,
                     p->branch + 1, names[name]);
            if (bench_directory_add(directory, error, error_size) ||
                ideal_log_open(directory, &p->logs[name], error, error_size) ||
                ideal_log_start(p->logs[name], error, error_size))
                return -1;
        }
    return 0;
}

void ideal_participant_run(void *context)
{
    static const struct ideal_handler handler = {message, durable};
    const struct ideal_run *run = context;
    struct participant p = {.run = run, .branch = run->starting};
    char error[BENCH_ERROR_BYTES];

    if (open_logs(&p, error, sizeof(error)) ||
        ideal_loop_new(&run->participant_fds[p.branch], 1, p.logs, &handler, &p, &p.loop, error,
                       sizeof(error))) {
        fprintf(stderr, "assent-bench: ideal participant: %s\n", error);
        _exit(1);
    }
    while (ideal_loop_turn(p.loop, -1))
        ;
    _exit(0);
}
