/*
 * listener.c: accepts connections up to a maximum, and lives through running out of descriptors.
 * Deliberately not here: what is done with an accepted connection.
 */
#include "net.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"
#include "runtime.h"

#define PAUSE_MS 200

struct assent_listener {
    struct evconnlistener *socket;
    struct event *resume;
    _Atomic uint32_t connections; /* fewer by whoever releases */
    uint32_t connections_max;
    void (*accepted)(int fd, void *context);
    void *context;
    char address[ASSENT_SOCKET_NAME_MAX + 1];
};

static void on_accept(struct evconnlistener *socket, evutil_socket_t fd, struct sockaddr *address,
                      int size, void *context)
{
    struct assent_listener *listener = context;

    (void)socket;
    (void)address;
    (void)size;
    if (listener->connections >= listener->connections_max) {
        close(fd);
        return;
    }
    listener->connections++;
    listener->accepted(fd, listener->context);
}

/* Out of descriptors or memory: the waiting connection keeps the socket readable, so without a
 * pause the loop would spin. Whatever the reason, trying again later is right. */
static void on_error(struct evconnlistener *socket, void *context)
{
    struct assent_listener *listener = context;
    struct timeval pause = {.tv_usec = PAUSE_MS * 1000};

    if (event_add(listener->resume, &pause) == 0)
        evconnlistener_disable(socket);
}

static void on_resume(evutil_socket_t fd, short what, void *context)
{
    struct assent_listener *listener = context;

    (void)fd;
    (void)what;
    evconnlistener_enable(listener->socket);
}

/* A bound socket, or -errno. */
static int bind_one(const struct addrinfo *at)
{
    int fd = socket(at->ai_family, at->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, at->ai_protocol);
    int on = 1, error;

    if (fd < 0)
        return -errno;
    /* A restarted server must get its port back although old connections linger. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    error = errno;
    close(fd);
    return -error;
}

static int bind_any(const char *address, char *error, size_t error_size, int *ret_fd)
{
    int fd = -EADDRNOTAVAIL, result;
    struct addrinfo *list;

    result = assent_address_resolve(address, true, &list, error, error_size);
    if (result != 0)
        return result;
    for (const struct addrinfo *at = list; at != NULL && fd < 0; at = at->ai_next)
        fd = bind_one(at);
    freeaddrinfo(list);
    if (fd < 0) {
        snprintf(error, error_size, "cannot listen on %.100s: %s", address, strerror(-fd));
        return ASSENT_E_CONNECT;
    }
    *ret_fd = fd;
    return 0;
}

int assent_listener_open(struct event_base *base, const char *address, uint32_t connections_max,
                         void (*accepted)(int fd, void *context), void *context,
                         struct assent_listener **ret_listener, char *error, size_t error_size)
{
    struct assent_listener *listener = NULL;
    struct sockaddr_storage bound = {0};
    socklen_t bound_size = sizeof(bound);
    int fd = -1, result = bind_any(address, error, error_size, &fd);

    if (result != 0)
        return result;
    result = ASSENT_E_NOMEM;
    listener = calloc(1, sizeof(*listener));
    if (listener == NULL)
        goto out;
    listener->connections_max = connections_max;
    listener->accepted = accepted;
    listener->context = context;
    if (getsockname(fd, (struct sockaddr *)&bound, &bound_size) != 0)
        bound_size = 0;
    assent_socket_name((struct sockaddr *)&bound, bound_size, listener->address);
    listener->resume = evtimer_new(base, on_resume, listener);
    if (listener->resume == NULL)
        goto out;
    /* Backlog 0: bind_one() listens already. */
    listener->socket = evconnlistener_new(base, on_accept, listener,
                                          LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (listener->socket == NULL)
        goto out;
    fd = -1;
    evconnlistener_set_error_cb(listener->socket, on_error);
    *ret_listener = listener;
    listener = NULL;
    result = 0;
out:
    assent_listener_close(listener);
    if (fd >= 0)
        close(fd);
    if (result != 0)
        snprintf(error, error_size, "cannot listen on %.100s: out of memory", address);
    return result;
}

void assent_listener_close(struct assent_listener *listener)
{
    if (listener == NULL)
        return;
    if (listener->socket != NULL)
        evconnlistener_free(listener->socket);
    if (listener->resume != NULL)
        event_free(listener->resume);
    free(listener);
}

void assent_listener_released(struct assent_listener *listener)
{
    uint32_t before = atomic_fetch_sub(&listener->connections, 1);

    ASSENT_ASSERT(before > 0);
}

const char *assent_listener_address(const struct assent_listener *listener)
{
    return listener->address;
}
