/* sides.h: the two ends of a connection, and what happened at each; for the tests of conn.c. */
#ifndef ASSENT_TEST_SIDES_H
#define ASSENT_TEST_SIDES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop.h"
#include "net.h"
#include "rng.h"
#include "runtime.h"

/* One end of a connection and what happened at it. */
struct side {
    struct assent_conn *conn; /* NULL once it is gone */
    int frames, heartbeats, closes, sent;
    bool in_order;      /* frame n holds the number n */
    int close_at_frame; /* close in the handler of this frame; 0: never */
    struct assent_conn **close_other;
    int error;
    char detail[200];
    uint8_t last[128];
    size_t last_size, bytes;
};

static struct event_base *base;
static const struct assent_net_limits wide = {
    .frame_bytes_max = 1 << 20,
    .first_frame_bytes_max = 1 << 20,
    .output_bytes_max = 1 << 20,
};

static inline void on_frame(struct assent_conn *conn, const uint8_t *data, size_t size,
                            void *context)
{
    struct side *side = context;
    uint32_t number;

    assert_ptr_equal(side->conn, conn);
    assert_ptr_equal(assent_conn_context(conn), context);
    if (side->in_order) {
        memcpy(&number, data, sizeof(number));
        assert_int_equal(number, side->frames);
    }
    side->frames++;
    side->bytes += size;
    side->last_size = size < sizeof(side->last) ? size : sizeof(side->last);
    memcpy(side->last, data, side->last_size);
    if (side->close_other != NULL) {
        assent_conn_close(*side->close_other);
        *side->close_other = NULL;
    }
    if (side->frames == side->close_at_frame) {
        assent_conn_close(conn);
        assert_int_equal(assent_conn_send(conn, "x", 1), ASSENT_E_CLOSED);
        side->conn = NULL;
    }
}

static inline void on_closed(struct assent_conn *conn, int error, const char *detail, void *context)
{
    struct side *side = context;

    assert_ptr_equal(side->conn, conn);
    side->conn = NULL;
    side->closes++;
    side->error = error;
    snprintf(side->detail, sizeof(side->detail), "%s", detail);
    assert_int_equal(assent_conn_send(conn, "x", 1), ASSENT_E_CLOSED);
    assent_conn_close(conn); /* allowed, and of no effect */
}

static inline void on_heartbeat(struct assent_conn *conn, void *context)
{
    struct side *side = context;

    side->heartbeats++;
    if (side->close_at_frame < 0) {
        side->conn = NULL;
        assent_conn_close(conn);
        return;
    }
    assent_conn_send(conn, "beat", 4);
}

static const struct assent_conn_handler handler = {on_frame, on_closed, on_heartbeat};

static inline void open_side(struct side *side, int fd, const struct assent_net_limits *limits)
{
    assert_int_equal(assent_conn_new(base, fd, limits, &handler, side, &side->conn), 0);
}

/* A connection, and the bare socket at its other end. */
static inline int open_with_raw_peer(struct side *side, int type,
                                     const struct assent_net_limits *limits)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, fds), 0);
    open_side(side, fds[0], limits);
    return fds[1];
}

static inline void open_pair(struct side *a, struct side *b, const struct assent_net_limits *limits)
{
    int fd = open_with_raw_peer(a, SOCK_STREAM, limits);

    open_side(b, fd, limits);
}

/* The same over TCP. */
static inline int open_with_raw_tcp_peer(struct side *side, const struct assent_net_limits *limits)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int server = socket(AF_INET, SOCK_STREAM, 0), peer, fd;

    assert_int_equal(bind(server, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(server, 1), 0);
    assert_int_equal(getsockname(server, (struct sockaddr *)&address, &size), 0);
    peer = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(peer, (struct sockaddr *)&address, sizeof(address)), 0);
    fd = accept4(server, NULL, NULL, SOCK_NONBLOCK);
    assert_true(fd >= 0);
    close(server);
    open_side(side, fd, limits);
    return peer;
}

static inline void turn(void)
{
    event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static inline void put(int fd, const void *data, size_t size)
{
    assert_int_equal(write(fd, data, size), size);
}

static inline void put_frame(int fd, const char *text)
{
    uint8_t frame[256];

    assent_frame_header(frame, (uint32_t)strlen(text));
    memcpy(frame + ASSENT_FRAME_HEADER, text, strlen(text));
    put(fd, frame, ASSENT_FRAME_HEADER + strlen(text));
}

static inline int make_base(void **state)
{
    (void)state;
    base = event_base_new();
    return base == NULL;
}

static inline int free_base(void **state)
{
    (void)state;
    event_base_free(base);
    return 0;
}

#endif
