/* world.c: the simulator's clock, event heap, network, disk latency and trace. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"
#include "sim.h"

uint64_t sim_below(struct sim_world *w, uint64_t bound)
{
    return assent_rng_below(&w->rng, bound);
}

bool sim_chance(struct sim_world *w, unsigned fault, unsigned percent)
{
    return (w->faults & fault) != 0 && !w->healed && sim_below(w, 100) < percent;
}

void sim_trace(struct sim_world *w, const char *format, ...)
{
    char line[256];
    va_list args;
    int size;

    va_start(args, format);
    size = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    for (int i = 0; i < size && i < (int)sizeof(line) - 1; i++)
        w->hash = (w->hash ^ (uint8_t)line[i]) * 0x100000001b3u; /* FNV-1a */
    if (w->trace != NULL)
        fprintf(w->trace, "%8llu %s\n", (unsigned long long)w->now_ms, line);
}

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->tie < b->tie;
}

static void swap(struct sim_event *a, struct sim_event *b)
{
    struct sim_event c = *a;

    *a = *b;
    *b = c;
}

static void sift_up(struct sim_world *w, size_t at)
{
    for (; at > 0 && before(&w->heap[at], &w->heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&w->heap[at], &w->heap[(at - 1) / 2]);
}

static void sift_down(struct sim_world *w, size_t at)
{
    for (;;) {
        size_t least = at;

        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < w->heap_count; child++)
            if (before(&w->heap[child], &w->heap[least]))
                least = child;
        if (least == at)
            return;
        swap(&w->heap[at], &w->heap[least]);
        at = least;
    }
}

static void push(struct sim_world *w, const struct sim_event *event)
{
    if (w->heap_count == w->heap_capacity) {
        w->heap_capacity = w->heap_capacity == 0 ? 64 : 2 * w->heap_capacity;
        w->heap = realloc(w->heap, w->heap_capacity * sizeof(*w->heap));
        if (w->heap == NULL)
            abort();
    }
    w->heap[w->heap_count++] = *event;
    sift_up(w, w->heap_count - 1);
}

void sim_schedule(struct sim_world *w, uint64_t delay_ms, struct sim_event event)
{
    event.at_ms = w->now_ms + delay_ms;
    /* Equal times: any order, but the same for the same seed. Writes keep theirs by their time. */
    event.tie = assent_rng_next(&w->rng);
    push(w, &event);
}

bool sim_next(struct sim_world *w, struct sim_event *ret_event)
{
    if (w->heap_count == 0)
        return false;
    *ret_event = w->heap[0];
    w->heap[0] = w->heap[--w->heap_count];
    sift_down(w, 0);
    w->now_ms = ret_event->at_ms;
    w->events++;
    return true;
}

static int by_time(const void *a, const void *b)
{
    return before(a, b) ? -1 : 1;
}

static bool belongs(const struct sim_event *event, int participant)
{
    switch (event->kind) {
    case SIM_EV_COORDINATOR_TIMER:
    case SIM_EV_COORDINATOR_DURABLE:
        return participant < 0;
    case SIM_EV_PARTICIPANT_TIMER:
    case SIM_EV_PARTICIPANT_DURABLE:
    case SIM_EV_RM_EFFECT:
    case SIM_EV_RM_ANSWER:
        return participant >= 0 && event->participant == (uint32_t)participant;
    case SIM_EV_BEGIN:
    case SIM_EV_COMMIT:
    case SIM_EV_TO_COORDINATOR:
    case SIM_EV_TO_PARTICIPANT:
    case SIM_EV_RESTART_COORDINATOR:
    case SIM_EV_RESTART_PARTICIPANT:
    case SIM_EV_CONNECT:
    case SIM_EV_PING:
        return false;
    }
    return false;
}

void sim_crash(struct sim_world *w, int participant,
               bool (*happens)(struct sim_world *w, struct sim_event *event))
{
    struct sim_event *theirs = calloc(w->heap_count + 1, sizeof(*theirs));
    size_t count = 0, kept = 0;
    bool going = true;

    if (theirs == NULL)
        abort();
    for (size_t i = 0; i < w->heap_count; i++) {
        if (belongs(&w->heap[i], participant))
            theirs[count++] = w->heap[i];
        else
            w->heap[kept++] = w->heap[i];
    }
    w->heap_count = kept;
    for (size_t i = kept; i-- > 0;)
        sift_down(w, i);
    /* A store's writes land in order: some first ones may have, none after one that has not. */
    qsort(theirs, count, sizeof(*theirs), by_time);
    for (size_t i = 0; i < count; i++) {
        going = going && happens(w, &theirs[i]);
        free(theirs[i].write);
    }
    free(theirs);
}

void sim_send(struct sim_world *w, enum sim_event_kind kind, uint32_t participant, uint32_t tx,
              const struct assent_message *message)
{
    struct sim_event event = {
        .kind = kind, .participant = participant, .tx = tx, .message = *message};
    uint64_t delay = 1 + sim_below(w, 10);
    int copies = 1;

    if (sim_chance(w, SIM_LOSS, 10))
        copies = 0;
    else if (sim_chance(w, SIM_DUPLICATE, 15))
        copies = 2;
    sim_trace(w, "send tx%u p%u %s vote=%s result=%s inc=%u epoch=%u copies=%d", tx, participant,
              assent_message_name(message->kind), assent_vote_name(message->vote),
              assent_branch_result_name(message->result), message->incarnation, message->epoch,
              copies);
    for (int i = 0; i < copies; i++) {
        if (sim_chance(w, SIM_DELAY, 10))
            delay += sim_below(w, 10000);
        sim_schedule(w, delay, event);
        delay += sim_below(w, 2000);
    }
}

void sim_write(struct sim_world *w, int participant, uint32_t tx, int record_kind, bool forced,
               const uint8_t *bytes, size_t size)
{
    struct sim_event event = {
        .kind = participant < 0 ? SIM_EV_COORDINATOR_DURABLE : SIM_EV_PARTICIPANT_DURABLE,
        .participant = participant < 0 ? 0 : (uint32_t)participant,
        .tx = tx,
        .record_kind = record_kind,
    };
    uint64_t *written = participant < 0 ? &w->written_ms : &w->parts[participant].written_ms;
    uint64_t at = w->now_ms + 1 + sim_below(w, 5);

    if (sim_chance(w, SIM_SLOW_DISK, 20))
        at += sim_below(w, 3000);
    if (!forced)
        at += sim_below(w, 200);
    if (at <= *written)
        at = *written + 1;
    *written = at;
    event.write = malloc(sizeof(*event.write));
    if (event.write == NULL)
        abort();
    event.write->size = size;
    memcpy(event.write->bytes, bytes, size);
    sim_schedule(w, at - w->now_ms, event);
}
