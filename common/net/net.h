/*
 * net.h: framed TCP on a libevent loop: connections, a listener that survives running out of file
 * descriptors, a dialer that reconnects. A frame is a 4-byte big-endian length and that many
 * bytes. Deliberately not here: what the bytes mean (proto/codec.h) and who the peer is.
 *
 * Everything belongs to the loop's one thread. No callback runs inside a call of this interface,
 * except `frame` and `closed` inside the loop itself; a handler may close its connection.
 */
#ifndef ASSENT_NET_H
#define ASSENT_NET_H

#include "assent/types.h"
#include "frame.h"

struct event_base;
struct assent_conn;
struct assent_listener;
struct assent_dialer;

struct assent_net_limits {
    uint32_t frame_bytes_max;       /* longer frames close the connection, before allocation */
    uint32_t first_frame_bytes_max; /* the same until assent_conn_established() */
    uint32_t output_bytes_max; /* queued output beyond it closes the connection (slow reader) */
    uint32_t handshake_ms;     /* from connect or accept to assent_conn_established() */
    uint32_t heartbeat_ms;     /* heartbeat callback period; silence of 3 periods closes; 0: off */
    uint32_t user_timeout_ms;  /* TCP_USER_TIMEOUT and keepalive; 0: system's */
};

struct assent_conn_handler {
    /* One whole frame; data is valid during the call. */
    void (*frame)(struct assent_conn *conn, const uint8_t *data, size_t size, void *context);
    /* The connection is gone (error: ASSENT_E_*; detail: a sentence for the log). The conn is freed
     * after this returns. Not called for assent_conn_close(), but for the end after
     * assent_conn_close_after_flush(). May be NULL, as may heartbeat. */
    void (*closed)(struct assent_conn *conn, int error, const char *detail, void *context);
    /* Every heartbeat_ms once established, the first up to half of that earlier: send something. */
    void (*heartbeat)(struct assent_conn *conn, void *context);
    /* Output has left, or tried to: see assent_conn_output_bytes(). May be NULL. */
    void (*written)(struct assent_conn *conn, void *context);
};

/* Takes fd (non-blocking, connected) in every case. */
ASSENT_CHECKED int assent_conn_new(struct event_base *base, int fd,
                                   const struct assent_net_limits *limits,
                                   const struct assent_conn_handler *handler, void *context,
                                   struct assent_conn **ret_conn);
/* Closes now, unsent output is dropped; freed before the loop's next turn. NULL is allowed. Must be
 * called for every connection that was not closed() before the base is freed. */
void assent_conn_close(struct assent_conn *conn);
/* Sends what is queued, then closes; for a last refusal. No more frames are delivered; closed()
 * comes when the peer has gone too, or after a second. */
void assent_conn_close_after_flush(struct assent_conn *conn);
/* Queues one frame of at least one byte; everything queued in one loop turn leaves in one write. 0,
 * ASSENT_E_TOO_BIG, ASSENT_E_LIMIT (output full), ASSENT_E_NOMEM, ASSENT_E_CLOSED. After LIMIT and
 * NOMEM closed() will be called, from the loop. */
int assent_conn_send(struct assent_conn *conn, const void *data, size_t size);
/* The handshake is over: full frame limit, heartbeats on if `heartbeats`. */
void assent_conn_established(struct assent_conn *conn, bool heartbeats);
void assent_conn_set_handler(struct assent_conn *conn, const struct assent_conn_handler *handler,
                             void *context);
void *assent_conn_context(const struct assent_conn *conn);
/* "127.0.0.1:40312"; owned by the connection. */
const char *assent_conn_peer(const struct assent_conn *conn);
/* Reads and delivers nothing more until it is resumed; also one that is paused, or not. */
void assent_conn_pause(struct assent_conn *conn);
void assent_conn_resume(struct assent_conn *conn);
size_t assent_conn_output_bytes(const struct assent_conn *conn);
/* Since something came in last; since the start, if nothing has. */
uint64_t assent_conn_silent_ms(const struct assent_conn *conn);

/* Splits "host:port", "[v6]:port", ":port"; host and port are pieces of text (copied). 0 or
 * ASSENT_E_INVALID. */
ASSENT_CHECKED int assent_address_split(const char *address, char *host, size_t host_size,
                                        char *port, size_t port_size);

/* Listens on "host:port" (port 0 picks one). At EMFILE/ENFILE accepting pauses for 200 ms; beyond
 * connections_max accepted and not closed (tell it by assent_listener_released()) new ones are
 * closed at once. accepted() takes fd. 0, ASSENT_E_INVALID, ASSENT_E_CONNECT (cannot bind; a
 * sentence in error). */
ASSENT_CHECKED int assent_listener_open(struct event_base *base, const char *address,
                                        uint32_t connections_max,
                                        void (*accepted)(int fd, void *context), void *context,
                                        struct assent_listener **ret_listener, char *error,
                                        size_t error_size);
void assent_listener_close(struct assent_listener *listener);
/* One connection ended. Any thread. */
void assent_listener_released(struct assent_listener *listener);
/* "127.0.0.1:7372" with the real port; owned by the listener. */
const char *assent_listener_address(const struct assent_listener *listener);

/* Connects to address now and again after each assent_dialer_retry(), with jittered exponential
 * back-off from min_ms to max_ms; connected() takes fd and resets nothing: call
 * assent_dialer_succeeded() after the handshake. Resolves names anew each time (blocking, so name
 * addresses or hosts-file names). failed() is told each failure, for the log; the next
 * attempt is arranged already. 0, ASSENT_E_INVALID (address), ASSENT_E_NOMEM. */
ASSENT_CHECKED int assent_dialer_open(struct event_base *base, const char *address, uint32_t min_ms,
                                      uint32_t max_ms, void (*connected)(int fd, void *context),
                                      void (*failed)(const char *detail, void *context),
                                      void *context, struct assent_dialer **ret_dialer);
void assent_dialer_retry(struct assent_dialer *dialer);     /* the connection ended: dial again */
void assent_dialer_succeeded(struct assent_dialer *dialer); /* back-off starts from min_ms again */
void assent_dialer_close(struct assent_dialer *dialer);     /* also from its callbacks */

/* Blocking connect with a deadline, for clients without a loop: returns a non-blocking fd, or
 * ASSENT_E_CONNECT / ASSENT_E_TIMEOUT / ASSENT_E_INVALID with a sentence in error. */
int assent_connect(const char *address, uint32_t timeout_ms, char *error, size_t error_size);

#endif
