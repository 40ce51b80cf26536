/*
 * address.c: addresses as text, and connecting to them; the part of the net layer that needs no
 * loop, so that the client library can have it without libevent.
 */
#include "address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net.h"

#define HOST_BYTES_MAX 256

/* Copies a piece as text; false if it does not fit or holds what no host or port does. */
static bool copy_piece(const char *from, size_t size, char *to, size_t capacity)
{
    if (size >= capacity)
        return false;
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)from[i] <= ' ' || from[i] == 0x7f || strchr("[]/@", from[i]) != NULL)
            return false;
    memcpy(to, from, size);
    to[size] = '\0';
    return true;
}

int assent_address_split(const char *address, char *host, size_t host_size, char *port,
                         size_t port_size)
{
    const char *colon = strrchr(address, ':'), *from = address;
    size_t digits, size;

    if (colon == NULL)
        return ASSENT_E_INVALID;
    size = (size_t)(colon - address);
    digits = strspn(colon + 1, "0123456789");
    if (digits == 0 || digits > 5 || colon[1 + digits] != '\0' || atoi(colon + 1) > UINT16_MAX)
        return ASSENT_E_INVALID;
    if (address[0] == '[') {
        if (size < 3 || colon[-1] != ']')
            return ASSENT_E_INVALID;
        from++;
        size -= 2;
    } else if (memchr(address, ':', size) != NULL) {
        return ASSENT_E_INVALID; /* an IPv6 address without brackets could mean anything */
    }
    if (digits >= port_size || !copy_piece(from, size, host, host_size))
        return ASSENT_E_INVALID;
    memcpy(port, colon + 1, digits + 1);
    return 0;
}

int assent_address_resolve(const char *address, bool passive, struct addrinfo **ret_list,
                           char *error, size_t error_size)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)};
    char host[HOST_BYTES_MAX], port[6];
    int result;

    if (assent_address_split(address, host, sizeof(host), port, sizeof(port)) != 0) {
        snprintf(error, error_size, "'%.100s' is not an address (host:port or [v6]:port)", address);
        return ASSENT_E_INVALID;
    }
    result = getaddrinfo(host[0] == '\0' ? NULL : host, port, &hints, ret_list);
    if (result != 0) {
        snprintf(error, error_size, "cannot resolve %.100s: %s", host,
                 result == EAI_SYSTEM ? strerror(errno) : gai_strerror(result));
        return ASSENT_E_CONNECT;
    }
    return 0;
}

void assent_socket_name(const struct sockaddr *address, socklen_t size,
                        char text[ASSENT_SOCKET_NAME_MAX + 1])
{
    char host[ASSENT_SOCKET_NAME_MAX - 8], port[6];
    bool v6 = size >= sizeof(sa_family_t) && address->sa_family == AF_INET6;

    if (size < sizeof(sa_family_t) || address->sa_family == AF_UNIX ||
        getnameinfo(address, size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(text, ASSENT_SOCKET_NAME_MAX + 1, "%s",
                 size >= sizeof(sa_family_t) && address->sa_family == AF_UNIX ? "unix" : "unknown");
    else
        snprintf(text, ASSENT_SOCKET_NAME_MAX + 1, v6 ? "[%s]:%s" : "%s:%s", host, port);
}

int assent_socket_start(const struct addrinfo *to)
{
    int fd = socket(to->ai_family, to->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, to->ai_protocol);
    int error;

    if (fd < 0)
        return -errno;
    if (connect(fd, to->ai_addr, to->ai_addrlen) == 0 || errno == EINPROGRESS)
        return fd;
    error = errno;
    close(fd);
    return -error;
}

int assent_socket_finish(int fd)
{
    struct sockaddr_storage here = {0}, there = {0};
    socklen_t here_size = sizeof(here), there_size = sizeof(there), size = sizeof(int);
    int error = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        return -errno;
    if (error != 0)
        return -error;
    if (getsockname(fd, (struct sockaddr *)&here, &here_size) != 0 ||
        getpeername(fd, (struct sockaddr *)&there, &there_size) != 0)
        return -errno;
    /* A loopback port nobody listens on can be chosen as our own: TCP then connects the socket to
     * itself, and keeps the server from binding its port again. */
    if (here_size == there_size && memcmp(&here, &there, here_size) == 0)
        return -ECONNREFUSED;
    return 0;
}

static void set_option(int fd, int level, int name, int value)
{
    /* A socket pair knows none of them; a connection without one of them still works. */
    (void)setsockopt(fd, level, name, &value, sizeof(value));
}

void assent_socket_tune(int fd, uint32_t user_timeout_ms)
{
    int seconds = (int)(user_timeout_ms / 1000);

    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (user_timeout_ms == 0)
        return;
    /* Unsent data is given up after the time-out; an idle peer is probed so that it is missed
     * within about the same time. */
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)user_timeout_ms);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds > 2 ? seconds / 2 : 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds > 6 ? seconds / 6 : 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits until the connect is through: 0, -ETIMEDOUT at the deadline, or -errno. */
static int wait_connected(int fd, int64_t deadline_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};

    for (;;) {
        int64_t left_ms = deadline_ms - now_ms();
        int ready = poll(&poll_fd, 1, left_ms > 0 ? (int)left_ms : 0);

        if (ready > 0)
            return assent_socket_finish(fd);
        if (ready == 0 && left_ms <= 0)
            return -ETIMEDOUT;
        if (ready < 0 && errno != EINTR)
            return -errno;
    }
}

int assent_connect(const char *address, uint32_t timeout_ms, char *error, size_t error_size)
{
    int64_t deadline_ms = now_ms() + (timeout_ms > INT32_MAX ? INT32_MAX : timeout_ms);
    int fd = -1, failure = -ECONNREFUSED;
    struct addrinfo *list;
    int result = assent_address_resolve(address, false, &list, error, error_size);

    if (result != 0)
        return result;
    for (const struct addrinfo *at = list; at != NULL; at = at->ai_next) {
        fd = assent_socket_start(at);
        failure = fd < 0 ? fd : wait_connected(fd, deadline_ms);
        if (failure == 0)
            break;
        if (fd >= 0)
            close(fd);
    }
    freeaddrinfo(list);
    if (failure == 0) {
        assent_socket_tune(fd, 0);
        return fd;
    }
    if (failure == -ETIMEDOUT && now_ms() >= deadline_ms) {
        snprintf(error, error_size, "no connection to %.100s within %u ms", address, timeout_ms);
        return ASSENT_E_TIMEOUT;
    }
    snprintf(error, error_size, "cannot connect to %.100s: %s", address, strerror(-failure));
    return ASSENT_E_CONNECT;
}
