/*
 * conn.c: one framed connection on the loop. Deliberately not here: who the peer is and what the
 * frames mean; accepting and dialing.
 *
 *   OPEN      reads and delivers frames, writes what is queued. Until assent_conn_established()
 *             the timer ends it; afterwards the timer is the heartbeat and watches for silence.
 *   FLUSHING  after assent_conn_close_after_flush(): input is thrown away, output goes out, then
 *             our side is shut and the peer's end awaited for at most LINGER_MS. Closing at once
 *             with input unread would send a reset, and that can overtake the last message.
 *   FAILED    something ended it; closed() is due, from the loop.
 *   CLOSED    given up by its owner (or closed() has been called); freed as soon as no callback of
 *             ours is on the stack.
 *
 * Why not a bufferevent: libevent 2.1's reads at most 4096 bytes at a time with an extra system
 * call for each, adds and removes the socket from epoll for each burst of output, and raises
 * SIGPIPE in programs that did not ask for it. Here input is read in large pieces, and output is
 * written at the end of the loop's turn in which it was queued, in one sendmsg.
 */
#include "net.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/util.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "address.h"
#include "frame.h"
#include "runtime.h"

#define READ_BYTES_MAX   32768
#define WRITE_PIECES_MAX 64
#define LINGER_MS        1000
#define SILENT_PERIODS   3

enum conn_state { OPEN, FLUSHING, FAILED, CLOSED };

struct assent_conn {
    int fd;
    enum conn_state state;
    unsigned busy; /* callbacks of ours on the stack */
    bool established;
    bool paused;     /* by its owner */
    bool beating;    /* the first heartbeat is over */
    bool shut;       /* our side is shut down */
    int write_error; /* errno of a failed write; what the peer sent before is still read */
    int error;       /* FAILED: why */
    uint64_t heard_ms;
    struct event readable, writable, timer;
    struct evbuffer *input, *output;
    struct assent_net_limits limits;
    const struct assent_conn_handler *handler;
    void *context;
    char peer[ASSENT_SOCKET_NAME_MAX + 1];
    char detail[160];
};

static void set_timer(struct assent_conn *conn, uint32_t ms)
{
    struct timeval period = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

    event_del(&conn->timer);
    /* Without its timer a connection could hang for ever, so it ends at once instead. */
    if (ms > 0 && event_add(&conn->timer, &period) != 0)
        event_active(&conn->timer, EV_TIMEOUT, 0);
}

/* Thousands may connect at one moment, and their heartbeats must not fall into one turn of the loop
 * ever after: the first comes after half a period to a whole one, by the descriptor. */
static uint32_t first_heartbeat_ms(const struct assent_conn *conn)
{
    uint32_t half_ms = conn->limits.heartbeat_ms / 2, spread = (uint32_t)conn->fd * 2654435769u;

    return conn->limits.heartbeat_ms - (uint32_t)((uint64_t)spread * half_ms >> 32);
}

static void destroy(struct assent_conn *conn)
{
    event_del(&conn->readable);
    event_del(&conn->writable);
    event_del(&conn->timer);
    evbuffer_free(conn->input);
    evbuffer_free(conn->output);
    close(conn->fd);
    free(conn);
}

static void enter(struct assent_conn *conn)
{
    conn->busy++;
}

static void leave(struct assent_conn *conn)
{
    if (--conn->busy == 0 && conn->state == CLOSED)
        destroy(conn);
}

/* The end, for a reason; on_writable() tells the owner in this turn of the loop. */
__attribute__((format(printf, 3, 4))) static void fail(struct assent_conn *conn, int error,
                                                       const char *format, ...)
{
    va_list arguments;

    if (conn->state == FAILED || conn->state == CLOSED)
        return;
    conn->state = FAILED;
    conn->error = error;
    va_start(arguments, format);
    vsnprintf(conn->detail, sizeof(conn->detail), format, arguments);
    va_end(arguments);
    event_del(&conn->readable);
    event_del(&conn->timer);
    event_active(&conn->writable, EV_WRITE, 0);
}

static void fail_errno(struct assent_conn *conn, int error)
{
    fail(conn, error == ETIMEDOUT ? ASSENT_E_TIMEOUT : ASSENT_E_CLOSED, "%s", strerror(error));
}

/* Delivers the first frame of the input; false when there is no whole one or the end has come. */
static bool deliver_frame(struct assent_conn *conn)
{
    uint32_t size_max =
        conn->established ? conn->limits.frame_bytes_max : conn->limits.first_frame_bytes_max;
    size_t have = evbuffer_get_length(conn->input);
    uint8_t header[ASSENT_FRAME_HEADER];
    unsigned char *data;
    char wrong[100];
    uint32_t size;
    int error;

    if (conn->state != OPEN || conn->paused || have < sizeof(header))
        return false;
    evbuffer_copyout(conn->input, header, sizeof(header));
    size = assent_frame_size(header);
    error = assent_frame_check(size, size_max, wrong, sizeof(wrong));
    if (error != 0) {
        fail(conn, error, "%s", wrong);
        return false;
    }
    if (have - sizeof(header) < size)
        return false;
    data = evbuffer_pullup(conn->input, (ssize_t)(sizeof(header) + size));
    if (data == NULL) {
        fail(conn, ASSENT_E_NOMEM, "out of memory for a frame of %u bytes", size);
        return false;
    }
    conn->handler->frame(conn, data + sizeof(header), size, conn->context);
    evbuffer_drain(conn->input, sizeof(header) + size); /* freed by leave() at the earliest */
    return true;
}

/* Where the peer left off, for the log. */
static void fail_at_end(struct assent_conn *conn)
{
    size_t have = evbuffer_get_length(conn->input);

    if (conn->state == FLUSHING)
        fail(conn, ASSENT_E_CLOSED, "closed after the last message");
    else if (have > 0)
        fail(conn, ASSENT_E_CLOSED, "closed by the peer inside a frame, after %zu bytes of it",
             have);
    else
        fail(conn, ASSENT_E_CLOSED, "closed by the peer");
}

/* Reads once. Not inlined: its buffer need not lie under the handlers on the stack. */
__attribute__((noinline)) static void read_some(struct assent_conn *conn)
{
    uint8_t bytes[READ_BYTES_MAX];
    ssize_t got = recv(conn->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (got > 0) {
        conn->heard_ms = assent_now_ms();
        if (conn->state == OPEN && evbuffer_add(conn->input, bytes, (size_t)got) != 0)
            fail(conn, ASSENT_E_NOMEM, "out of memory for %zd bytes of input", got);
    } else if (got == 0) {
        fail_at_end(conn);
    } else if (errno != EAGAIN && errno != EINTR) {
        fail_errno(conn, errno);
    } else if (conn->write_error != 0) {
        fail_errno(conn, conn->write_error);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    struct assent_conn *conn = context;

    (void)fd;
    (void)what;
    enter(conn);
    /* What was read before a pause goes first. */
    while (deliver_frame(conn))
        ;
    if (!conn->paused)
        read_some(conn);
    while (deliver_frame(conn))
        ;
    leave(conn);
}

static void write_queued(struct assent_conn *conn)
{
    while (conn->write_error == 0 && evbuffer_get_length(conn->output) > 0) {
        struct evbuffer_iovec pieces[WRITE_PIECES_MAX];
        int count = evbuffer_peek(conn->output, -1, NULL, pieces, WRITE_PIECES_MAX);
        struct msghdr message = {.msg_iov = pieces,
                                 .msg_iovlen =
                                     (size_t)(count < WRITE_PIECES_MAX ? count : WRITE_PIECES_MAX)};
        ssize_t sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent >= 0) {
            evbuffer_drain(conn->output, (size_t)sent);
        } else if (errno == EAGAIN) {
            if (event_add(&conn->writable, NULL) != 0)
                fail(conn, ASSENT_E_NOMEM, "cannot wait for the peer to read");
            return;
        } else if (errno != EINTR) {
            conn->write_error = errno;
            evbuffer_drain(conn->output, evbuffer_get_length(conn->output));
            /* The peer may have said why before it went away: read first, then give up. */
            event_active(&conn->readable, EV_READ, 0);
        }
    }
    if (conn->state == FLUSHING && !conn->shut) {
        conn->shut = true;
        shutdown(conn->fd, SHUT_WR);
    }
}

/* Something is queued and this turn of the loop nears its end, or the socket has room again, or
 * the end is to be told. */
static void on_writable(evutil_socket_t fd, short what, void *context)
{
    struct assent_conn *conn = context;

    (void)fd;
    (void)what;
    enter(conn);
    if (conn->state == OPEN || conn->state == FLUSHING)
        write_queued(conn);
    if (conn->handler->written != NULL && conn->state != CLOSED)
        conn->handler->written(conn, conn->context);
    if (conn->state == FAILED) {
        conn->state = CLOSED;
        if (conn->handler->closed != NULL)
            conn->handler->closed(conn, conn->error, conn->detail, conn->context);
    }
    leave(conn);
}

uint64_t assent_conn_silent_ms(const struct assent_conn *conn)
{
    return assent_now_ms() - conn->heard_ms;
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct assent_conn *conn = context;
    uint64_t silent_ms = assent_conn_silent_ms(conn);

    (void)fd;
    (void)what;
    enter(conn);
    if (conn->established && !conn->beating) {
        conn->beating = true;
        set_timer(conn, conn->limits.heartbeat_ms);
    }
    if (conn->state == FLUSHING)
        fail(conn, ASSENT_E_CLOSED, "closed; the peer did not take the last message in %d ms",
             LINGER_MS);
    else if (!conn->established)
        fail(conn, ASSENT_E_TIMEOUT, "no handshake within %u ms", conn->limits.handshake_ms);
    else if (silent_ms >= (uint64_t)SILENT_PERIODS * conn->limits.heartbeat_ms)
        fail(conn, ASSENT_E_TIMEOUT, "nothing heard for %llu ms", (unsigned long long)silent_ms);
    else if (conn->handler->heartbeat != NULL)
        conn->handler->heartbeat(conn, conn->context);
    leave(conn);
}

int assent_conn_new(struct event_base *base, int fd, const struct assent_net_limits *limits,
                    const struct assent_conn_handler *handler, void *context,
                    struct assent_conn **ret_conn)
{
    struct assent_conn *conn = calloc(1, sizeof(*conn));
    struct sockaddr_storage peer = {0};
    socklen_t peer_size = sizeof(peer);

    if (conn == NULL) {
        close(fd);
        return ASSENT_E_NOMEM;
    }
    conn->fd = fd;
    conn->limits = *limits;
    conn->handler = handler;
    conn->context = context;
    conn->heard_ms = assent_now_ms();
    if (getpeername(fd, (struct sockaddr *)&peer, &peer_size) != 0)
        peer_size = 0; /* gone already: the first read will tell */
    assent_socket_name((struct sockaddr *)&peer, peer_size, conn->peer);
    assent_socket_tune(fd, limits->user_timeout_ms);
    event_assign(&conn->readable, base, fd, EV_READ | EV_PERSIST, on_readable, conn);
    event_assign(&conn->writable, base, fd, EV_WRITE, on_writable, conn);
    event_assign(&conn->timer, base, -1, EV_PERSIST, on_timer, conn);
    conn->input = evbuffer_new();
    conn->output = evbuffer_new();
    if (conn->input == NULL || conn->output == NULL || event_add(&conn->readable, NULL) != 0) {
        if (conn->input != NULL)
            evbuffer_free(conn->input);
        if (conn->output != NULL)
            evbuffer_free(conn->output);
        close(fd);
        free(conn);
        return ASSENT_E_NOMEM;
    }
    set_timer(conn, limits->handshake_ms);
    *ret_conn = conn;
    return 0;
}

void assent_conn_close(struct assent_conn *conn)
{
    if (conn == NULL || conn->state == CLOSED)
        return;
    conn->state = CLOSED;
    if (conn->busy == 0)
        destroy(conn);
}

void assent_conn_close_after_flush(struct assent_conn *conn)
{
    if (conn->state != OPEN)
        return;
    conn->state = FLUSHING;
    assent_conn_resume(conn);
    set_timer(conn, LINGER_MS);
    event_active(&conn->writable, EV_WRITE, 0);
}

int assent_conn_send(struct assent_conn *conn, const void *data, size_t size)
{
    size_t queued = evbuffer_get_length(conn->output);
    uint8_t header[ASSENT_FRAME_HEADER];

    ASSENT_ASSERT(size > 0);
    if (conn->state != OPEN || conn->write_error != 0)
        return ASSENT_E_CLOSED;
    if (size > conn->limits.frame_bytes_max)
        return ASSENT_E_TOO_BIG;
    /* A frame alone may be as long as any: only what waits for a slow reader is limited. */
    if (queued > 0 && queued + sizeof(header) + size > conn->limits.output_bytes_max) {
        fail(conn, ASSENT_E_LIMIT, "the peer reads too slowly: %zu bytes queued, %u allowed",
             queued + sizeof(header) + size, conn->limits.output_bytes_max);
        return ASSENT_E_LIMIT;
    }
    assent_frame_header(header, (uint32_t)size);
    if (evbuffer_add(conn->output, header, sizeof(header)) != 0 ||
        evbuffer_add(conn->output, data, size) != 0) {
        /* Half a frame may be queued. */
        fail(conn, ASSENT_E_NOMEM, "out of memory for a frame of %zu bytes", size);
        return ASSENT_E_NOMEM;
    }
    if (queued == 0)
        event_active(&conn->writable, EV_WRITE, 0);
    return 0;
}

void assent_conn_pause(struct assent_conn *conn)
{
    if (conn->state != OPEN || conn->paused)
        return;
    conn->paused = true;
    event_del(&conn->readable);
}

void assent_conn_resume(struct assent_conn *conn)
{
    if (!conn->paused)
        return;
    conn->paused = false;
    if (conn->state != OPEN && conn->state != FLUSHING)
        return;
    if (event_add(&conn->readable, NULL) != 0)
        fail(conn, ASSENT_E_NOMEM, "cannot wait for the peer to write");
    else
        event_active(&conn->readable, EV_READ, 0);
}

void assent_conn_established(struct assent_conn *conn, bool heartbeats)
{
    if (conn->state != OPEN)
        return;
    conn->established = true;
    conn->heard_ms = assent_now_ms();
    set_timer(conn, heartbeats ? first_heartbeat_ms(conn) : 0);
}

void assent_conn_set_handler(struct assent_conn *conn, const struct assent_conn_handler *handler,
                             void *context)
{
    conn->handler = handler;
    conn->context = context;
}

void *assent_conn_context(const struct assent_conn *conn)
{
    return conn->context;
}

const char *assent_conn_peer(const struct assent_conn *conn)
{
    return conn->peer;
}

size_t assent_conn_output_bytes(const struct assent_conn *conn)
{
    return evbuffer_get_length(conn->output);
}
