/*
 * dialer.c: connects to one address, again and again with back-off, as long as it is asked to.
 * Deliberately not here: the connection itself and its handshake.
 *
 *   WAITING     the timer runs, and starts the next attempt
 *   CONNECTING  a socket is on its way to one of the resolved addresses, the timer limits it
 *   IDLE        connected() has the socket; assent_dialer_retry() leads to WAITING
 *
 * Callbacks are the last thing that happens in an event, so they may close the dialer.
 */
#include "net.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "address.h"
#include "rng.h"
#include "runtime.h"

#define CONNECT_MS_MAX 5000

enum dialer_state { WAITING, CONNECTING, IDLE };

struct assent_dialer {
    enum dialer_state state;
    struct event_base *base;
    char *address;
    uint32_t min_ms, max_ms, attempt;
    uint64_t rng;
    struct addrinfo *list, *next; /* CONNECTING: what the name means, what is not tried yet */
    int fd;                       /* CONNECTING, else -1 */
    struct event timer, writable;
    void (*connected)(int fd, void *context);
    void (*failed)(const char *detail, void *context);
    void *context;
};

static void try_next(struct assent_dialer *dialer, int error);

static void set_timer(struct assent_dialer *dialer, uint32_t ms)
{
    struct timeval delay = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

    /* A dialer without its timer would never dial again: out of memory ends the process here. */
    ASSENT_ASSERT(event_add(&dialer->timer, &delay) == 0);
}

/* Drops what an attempt holds. */
static void end_attempt(struct assent_dialer *dialer)
{
    event_del(&dialer->timer);
    event_del(&dialer->writable);
    if (dialer->fd >= 0)
        close(dialer->fd);
    dialer->fd = -1;
    if (dialer->list != NULL)
        freeaddrinfo(dialer->list);
    dialer->list = dialer->next = NULL;
}

static void wait_for_next(struct assent_dialer *dialer)
{
    end_attempt(dialer);
    dialer->state = WAITING;
    set_timer(dialer,
              assent_backoff_ms(&dialer->rng, dialer->attempt, dialer->min_ms, dialer->max_ms));
    if (dialer->attempt < UINT32_MAX)
        dialer->attempt++;
}

static void report(struct assent_dialer *dialer, const char *detail)
{
    wait_for_next(dialer);
    if (dialer->failed != NULL)
        dialer->failed(detail, dialer->context);
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    struct assent_dialer *dialer = context;
    int error = -assent_socket_finish(fd);

    (void)what;
    if (error != 0) {
        try_next(dialer, error);
        return;
    }
    dialer->fd = -1; /* connected() takes it */
    end_attempt(dialer);
    dialer->state = IDLE;
    dialer->connected(fd, dialer->context);
}

/* Starts towards the next of the addresses; error is that of the one before. */
static void try_next(struct assent_dialer *dialer, int error)
{
    char detail[256];

    event_del(&dialer->writable);
    if (dialer->fd >= 0)
        close(dialer->fd);
    dialer->fd = -1;
    while (dialer->next != NULL) {
        const struct addrinfo *to = dialer->next;

        dialer->next = to->ai_next;
        dialer->fd = assent_socket_start(to);
        if (dialer->fd < 0) {
            error = -dialer->fd;
            dialer->fd = -1;
            continue;
        }
        event_assign(&dialer->writable, dialer->base, dialer->fd, EV_WRITE, on_writable, dialer);
        if (event_add(&dialer->writable, NULL) == 0) {
            set_timer(dialer, CONNECT_MS_MAX);
            return;
        }
        close(dialer->fd);
        dialer->fd = -1;
        error = ENOMEM;
    }
    snprintf(detail, sizeof(detail), "cannot connect to %.100s: %s", dialer->address,
             strerror(error));
    report(dialer, detail);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct assent_dialer *dialer = context;
    char detail[256];

    (void)fd;
    (void)what;
    if (dialer->state == CONNECTING) {
        try_next(dialer, ETIMEDOUT);
        return;
    }
    dialer->state = CONNECTING;
    if (assent_address_resolve(dialer->address, false, &dialer->list, detail, sizeof(detail)) !=
        0) {
        report(dialer, detail);
        return;
    }
    dialer->next = dialer->list;
    try_next(dialer, EADDRNOTAVAIL);
}

int assent_dialer_open(struct event_base *base, const char *address, uint32_t min_ms,
                       uint32_t max_ms, void (*connected)(int fd, void *context),
                       void (*failed)(const char *detail, void *context), void *context,
                       struct assent_dialer **ret_dialer)
{
    struct assent_dialer *dialer;
    char host[256], port[6];

    if (assent_address_split(address, host, sizeof(host), port, sizeof(port)) != 0)
        return ASSENT_E_INVALID;
    dialer = calloc(1, sizeof(*dialer));
    if (dialer == NULL)
        return ASSENT_E_NOMEM;
    dialer->address = strdup(address);
    if (dialer->address == NULL) {
        free(dialer);
        return ASSENT_E_NOMEM;
    }
    dialer->base = base;
    dialer->min_ms = min_ms;
    dialer->max_ms = max_ms;
    dialer->fd = -1;
    dialer->connected = connected;
    dialer->failed = failed;
    dialer->context = context;
    assent_random_bytes(&dialer->rng, sizeof(dialer->rng));
    event_assign(&dialer->timer, base, -1, 0, on_timer, dialer);
    event_assign(&dialer->writable, base, -1, EV_WRITE, on_writable, dialer);
    set_timer(dialer, 0);
    *ret_dialer = dialer;
    return 0;
}

void assent_dialer_retry(struct assent_dialer *dialer)
{
    if (dialer->state == IDLE)
        wait_for_next(dialer);
}

void assent_dialer_succeeded(struct assent_dialer *dialer)
{
    dialer->attempt = 0;
}

void assent_dialer_close(struct assent_dialer *dialer)
{
    if (dialer == NULL)
        return;
    end_attempt(dialer);
    free(dialer->address);
    free(dialer);
}
