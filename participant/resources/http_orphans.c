/*
 * http_orphans.c: a crash between Try and prepare leaves a reservation that nobody will ever
 * confirm: the branch has not voted, and now it cannot. At open all such branches are marked as
 * cancelling, and a thread sends their Cancel until the service has taken each, whether or not a
 * coordinator still knows of them.
 */
#include "http.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

#define GROUP        HTTP_PARALLEL
#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 30000

struct orphan {
    struct assent_branch_id id;
    struct http_record record;
    bool done;
};

struct http_orphans {
    struct http *http;
    struct orphan *items;
    size_t count, capacity;
    bool out_of_memory;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards stopping */
    pthread_cond_t wake;
    bool stopping, started;
};

/* --- at open ---------------------------------------------------------------------------------- */

static bool note(const struct assent_branch_id *id, const struct http_record *record, void *context)
{
    struct http_orphans *orphans = context;

    if (record->state == HTTP_CANCELLED)
        atomic_fetch_add(&orphans->http->cancelled, 1);
    if (record->state != HTTP_TRYING && record->state != HTTP_CANCELLING)
        return true;
    if (orphans->count == orphans->capacity) {
        size_t capacity = orphans->capacity ? 2 * orphans->capacity : 64;
        void *items = realloc(orphans->items, capacity * sizeof(*orphans->items));

        if (items == NULL) {
            orphans->out_of_memory = true;
            return false;
        }
        orphans->items = items;
        orphans->capacity = capacity;
    }
    orphans->items[orphans->count++] = (struct orphan){.id = *id, .record = *record};
    return true;
}

/* From now on it is not prepared, and not tried again. */
static int mark_cancelling(struct http_orphans *orphans)
{
    struct http_write *writes = calloc(orphans->count, sizeof(*writes));

    if (writes == NULL && orphans->count > 0)
        return ASSENT_E_NOMEM;
    for (size_t i = 0; i < orphans->count; i++) {
        orphans->items[i].record.state = HTTP_CANCELLING;
        writes[i].id = orphans->items[i].id;
        writes[i].record = orphans->items[i].record;
    }
    http_barrier_put(orphans->http->barrier, writes, orphans->count);
    free(writes);
    return 0;
}

/* --- the thread ------------------------------------------------------------------------------- */

static void tell(const struct http *http, bool warning, const char *text)
{
    if (http->report != NULL)
        http->report(http->report_context, warning, text);
}

/* Whoever rolls it back for a coordinator may have been quicker. */
static bool is_cancelling(struct http *http, const struct assent_branch_id *id)
{
    struct http_record record;

    return http_barrier_get(http->barrier, id, &record) == 0 && record.state == HTTP_CANCELLING;
}

static void end(struct http *http, struct orphan *orphan, const struct assent_call *call)
{
    struct http_write write = {.id = orphan->id, .record = orphan->record};
    char id[ASSENT_BRANCH_ID_TEXT + 1], text[ASSENT_REASON_MAX + 1];

    write.record.state = HTTP_CANCELLED;
    if (call->result == ASSENT_RM_HEUR_COMMITTED) { /* then it stays, for whoever asks */
        write.record.state = HTTP_CONFIRMED;
        assent_branch_id_format(&orphan->id, id);
        snprintf(text, sizeof(text), "the service has confirmed %s by itself", id);
        tell(http, true, text);
    }
    http_barrier_put(http->barrier, &write, 1);
    orphan->done = true;
}

/* Up to GROUP of them, from `first` on. */
static void cancel_group(struct http *http, struct orphan *orphans, size_t count,
                         char reason[ASSENT_REASON_MAX + 1])
{
    struct http_request requests[GROUP], *pointers[GROUP];
    char *bodies[GROUP];
    size_t which[GROUP], sends = 0;

    for (size_t i = 0; i < count; i++) {
        if (!orphans[i].done && !is_cancelling(http, &orphans[i].id))
            orphans[i].done = true;
        if (orphans[i].done ||
            http_request_make(http, &orphans[i].id, HTTP_CANCEL, 0, NULL,
                              orphans[i].record.traceparent, &requests[sends], &bodies[sends]) != 0)
            continue;
        pointers[sends] = &requests[sends];
        which[sends++] = i;
    }
    if (sends > 0)
        http_exchange(http, pointers, sends);
    for (size_t i = 0; i < sends; i++) {
        struct assent_call call = {.operation = ASSENT_OP_ROLLBACK};

        http_answer_finish(&call, &requests[i], HTTP_CANCEL);
        if (call.result == ASSENT_RM_OK || call.result == ASSENT_RM_HEUR_COMMITTED)
            end(http, &orphans[which[i]], &call);
        else
            http_text(reason, call.reason);
        http_request_clear(&requests[i]);
        free(bodies[i]);
    }
}

static size_t cancel_all(struct http_orphans *orphans, char reason[ASSENT_REASON_MAX + 1])
{
    struct http *http = orphans->http;
    size_t left = 0;

    for (size_t i = 0; i < orphans->count && !atomic_load(&http->stopping); i += GROUP)
        cancel_group(http, &orphans->items[i],
                     orphans->count - i < GROUP ? orphans->count - i : GROUP, reason);
    for (size_t i = 0; i < orphans->count; i++)
        left += !orphans->items[i].done;
    return left;
}

/* True: stop. */
static bool pause_for(struct http_orphans *orphans, uint64_t wait_ms)
{
    struct timespec until = assent_moment(assent_now_ms() + wait_ms);
    bool stop;

    pthread_mutex_lock(&orphans->mutex);
    while (!orphans->stopping &&
           pthread_cond_timedwait(&orphans->wake, &orphans->mutex, &until) == 0)
        ;
    stop = orphans->stopping;
    pthread_mutex_unlock(&orphans->mutex);
    return stop;
}

static void *run(void *context)
{
    struct http_orphans *orphans = context;
    char text[ASSENT_REASON_MAX + 1], reason[ASSENT_REASON_MAX + 1], told[ASSENT_REASON_MAX + 1];
    uint64_t wait_ms = RETRY_MIN_MS;
    size_t left;

    told[0] = reason[0] = '\0';
    snprintf(text, sizeof(text),
             "%zu branches were tried and not prepared before a crash: Cancel "
             "is sent to them",
             orphans->count);
    tell(orphans->http, false, text);
    while ((left = cancel_all(orphans, reason)) > 0) {
        if (strcmp(reason, told) != 0) { /* not each time, for days */
            snprintf(text, sizeof(text), "%zu of them are not cancelled yet: %.180s", left, reason);
            tell(orphans->http, true, text);
            memcpy(told, reason, sizeof(told));
        }
        if (pause_for(orphans, wait_ms))
            return NULL;
        wait_ms = 2 * wait_ms < RETRY_MAX_MS ? 2 * wait_ms : RETRY_MAX_MS;
    }
    tell(orphans->http, false, "all of them are cancelled");
    return NULL;
}

static void init_sync(struct http_orphans *orphans)
{
    pthread_condattr_t monotonic;

    pthread_mutex_init(&orphans->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&orphans->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

/* Signals belong to the program's own threads. */
static int start_thread(struct http_orphans *orphans)
{
    sigset_t all, before;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&orphans->thread, NULL, run, orphans);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    orphans->started = r == 0;
    return r == 0 ? 0 : ASSENT_E_LIMIT;
}

int http_orphans_start(struct http *http, char *error, size_t error_size)
{
    struct http_orphans *orphans = calloc(1, sizeof(*orphans));
    char id[ASSENT_BRANCH_ID_TEXT + 1];
    struct assent_branch_id damaged;
    int r;

    if (orphans == NULL) {
        snprintf(error, error_size, "http: out of memory");
        return ASSENT_E_NOMEM;
    }
    orphans->http = http;
    init_sync(orphans);
    http->orphans = orphans;
    r = http_barrier_scan(http->barrier, NULL, note, orphans, &damaged);
    if (r != 0) {
        assent_branch_id_format(&damaged, id);
        snprintf(error, error_size, "http: the barrier's record of %s: %s", id,
                 assent_error_text(r));
        return r;
    }
    r = orphans->out_of_memory ? ASSENT_E_NOMEM : mark_cancelling(orphans);
    if (r == 0 && orphans->count > 0)
        r = start_thread(orphans);
    if (r != 0)
        snprintf(error, error_size, "http: %s", assent_error_text(r));
    return r;
}

void http_orphans_stop(struct http *http)
{
    struct http_orphans *orphans = http->orphans;

    if (orphans == NULL)
        return;
    pthread_mutex_lock(&orphans->mutex);
    orphans->stopping = true;
    pthread_cond_signal(&orphans->wake);
    pthread_mutex_unlock(&orphans->mutex);
    if (orphans->started)
        pthread_join(orphans->thread, NULL);
    pthread_cond_destroy(&orphans->wake);
    pthread_mutex_destroy(&orphans->mutex);
    free(orphans->items);
    free(orphans);
    http->orphans = NULL;
}
