/* shard.c: from opening a loop to closing it. */
#include "shard.h"

#include <signal.h>
#include <stdlib.h>

#include "driver.h"
#include "gtrid.h"
#include "routes.h"
#include "server.h"

void recent_add(struct recent *recent, const struct assent_gtrid *gtrid, uint64_t at_ms)
{
    recent->last[recent->count++ % RECENT_MAX] = (struct ended){*gtrid, at_ms};
}

const struct ended *recent_get(const struct recent *recent, uint64_t number)
{
    if (number == 0 || recent->count - number >= RECENT_MAX)
        return NULL;
    return &recent->last[(number - 1) % RECENT_MAX];
}

bool shard_output_is_out(void *context)
{
    const struct shard *shard = context;
    const struct session *session;

    TAILQ_FOREACH (session, &shard->sessions, link)
        if (session_output_bytes(session) > 0)
            return false;
    return true;
}

/* --- letters --- */

void shard_park_if_wanted(struct shard *shard)
{
    if (hold_wanted(&shard->server->hold))
        hold_park(&shard->server->hold);
}

/* At the end of this turn: an event that is made active comes after all that are so already. */
static void flush_soon(struct shard *shard)
{
    if (shard->flush_due)
        return;
    shard->flush_due = true;
    event_active(shard->flush_event, EV_TIMEOUT, 0);
}

void shard_post(struct shard *shard, unsigned to, const struct letter *letter, const void *bytes)
{
    letter_write(&shard->out[to], letter, bytes);
    flush_soon(shard);
}

void shard_flush(struct shard *shard)
{
    struct server *server = shard->server;

    if (server->shard_count == 1)
        return;
    shard->flush_due = false;
    for (unsigned i = 0; i < server->shard_count; i++)
        if (shard->out[i] != NULL)
            mailbox_put(&server->shards[i].inbox, &shard->out[i]);
    /* After the letters: what a transaction sent comes before the word that it has ended, which
     * goes by letter too. */
    numbers_set_low(&server->numbers, shard->index, transactions_lowest(&shard->transactions));
}

bool shard_deliver(struct shard *shard)
{
    struct letter_bag *bag = mailbox_take(&shard->inbox);
    bool any = bag != NULL;

    for (; bag != NULL; bag = letter_bag_drop(bag)) {
        const struct letter *letter;
        const void *bytes;
        size_t offset = 0;

        while ((letter = letter_read(bag, &offset, &bytes)) != NULL)
            routes_letter(shard, letter, bytes);
    }
    return any;
}

static void on_flush(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    shard_flush(context);
}

static void on_wake(evutil_socket_t fd, short what, void *context)
{
    struct shard *shard = context;

    (void)fd;
    (void)what;
    mailbox_woken(&shard->inbox);
    shard_park_if_wanted(shard);
    (void)shard_deliver(shard);
    if (shard->index != 0 && atomic_load(&shard->server->stopping))
        event_base_loopbreak(shard->base);
}

/* --- sequences --- */

uint64_t shard_take_sequence(struct shard *shard)
{
    if (shard->server->shard_count > 1)
        return numbers_take(&shard->server->numbers, shard->index);
    ASSENT_ASSERT(shard->sequence <= ASSENT_SEQUENCE_MAX);
    return shard->sequence++;
}

bool shard_has_given(const struct shard *shard, uint64_t sequence)
{
    if (shard->server->shard_count > 1)
        return numbers_given(&shard->server->numbers, shard->index, sequence);
    return sequence < shard->sequence;
}

void shard_note_ended(struct shard *shard)
{
    if (shard->server->shard_count > 1)
        flush_soon(shard);
}

/* --- from open to close --- */

/* Letters need more than one shard. */
static bool open_mailbox(struct shard *shard)
{
    if (!mailbox_open(&shard->inbox))
        return false;
    shard->wake_event =
        event_new(shard->base, shard->inbox.fd, EV_READ | EV_PERSIST, on_wake, shard);
    shard->flush_event = event_new(shard->base, -1, EV_PERSIST, on_flush, shard);
    return shard->wake_event != NULL && shard->flush_event != NULL &&
           event_add(shard->wake_event, NULL) == 0;
}

bool shard_open(struct shard *shard, struct server *server, unsigned index)
{
    size_t arena_bytes = (size_t)server->options.frame_bytes_max + ASSENT_ARENA_EXTRA;

    shard->server = server;
    shard->index = index;
    shard->sequence = 1;
    shard->relays.last_id = index;
    TAILQ_INIT(&shard->sessions);
    assent_random_bytes(&shard->rng, sizeof(shard->rng));
    shard->base = event_base_new();
    if (shard->base == NULL || assent_arena_new(arena_bytes, &shard->arena) != 0)
        return false;
    transactions_init(&shard->transactions, shard->base, driver_due, shard);
    if (server->shard_count > 1 && !open_mailbox(shard))
        return false;
    return assent_sent_points_new(shard->base, shard_output_is_out, shard, &shard->sent_points) ==
           0;
}

static void on_store(evutil_socket_t fd, short what, void *context)
{
    struct shard *shard = context;

    (void)fd;
    (void)what;
    assent_store_process(shard->server->store, shard->index, driver_durable, shard);
}

static void *run(void *context)
{
    struct shard *shard = context;

    if (event_base_dispatch(shard->base) < 0)
        assent_panic(ASSENT_EXIT_RUNTIME, "loop_failed", "shard=%u", shard->index);
    hold_leave(&shard->server->hold);
    return NULL;
}

/* Signals are the first thread's. */
static bool start_thread(struct shard *shard)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    shard->has_thread = pthread_create(&shard->thread, NULL, run, shard) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return shard->has_thread;
}

bool shard_start(struct shard *shard)
{
    shard->store_event = event_new(shard->base, assent_store_fd(shard->server->store, shard->index),
                                   EV_READ | EV_PERSIST, on_store, shard);
    if (shard->store_event == NULL || event_add(shard->store_event, NULL) != 0)
        return false;
    if (shard->index == 0)
        return true;
    hold_join(&shard->server->hold);
    if (start_thread(shard))
        return true;
    hold_leave(&shard->server->hold);
    return false;
}

void shard_join(struct shard *shard)
{
    if (!shard->has_thread)
        return;
    mailbox_wake(&shard->inbox);
    ASSENT_ASSERT(pthread_join(shard->thread, NULL) == 0);
    shard->has_thread = false;
}

static void free_event(struct event *event)
{
    if (event != NULL)
        event_free(event);
}

void shard_stop(struct shard *shard)
{
    if (shard->base == NULL)
        return;
    assent_sent_points_free(shard->sent_points);
    relays_fini(shard);
    free_event(shard->store_event);
}

void shard_close(struct shard *shard)
{
    if (shard->base == NULL)
        return;
    free_event(shard->wake_event);
    free_event(shard->flush_event);
    for (unsigned i = 0; i < SHARDS_MAX; i++)
        while (shard->out[i] != NULL)
            shard->out[i] = letter_bag_drop(shard->out[i]);
    mailbox_close(&shard->inbox);
    transactions_fini(&shard->transactions);
    keys_fini(&shard->keys);
    assent_arena_free(shard->arena);
    free(shard->frame);
    event_base_free(shard->base);
}
