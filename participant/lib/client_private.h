/*
 * client_private.h: what the files of the client share.
 *
 *   client.c             open, close, the blocking calls
 *   client_loop.c        submit and process, the form for event loops
 *   client_request.c     open requests: ids, deadlines, answers
 *   client_connection.c  the socket: hello, frames, buffers
 *
 * A request's life: added (encoded into the output) -> sent by process -> finished exactly once: by
 * its answer, its deadline, the end of the connection or of the client.
 */
#ifndef ASSENT_CLIENT_PRIVATE_H
#define ASSENT_CLIENT_PRIVATE_H

#include <sys/queue.h>
/* Failing to add leaves the table as it was; see uthash's user guide. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "assent/client.h"
#include "codec.h"

#define CLIENT_REQUESTS_MAX 65536       /* open at once */
#define CLIENT_OUTPUT_MAX   (64u << 20) /* bytes not yet sent */
#define CLIENT_ERROR_BYTES  512

struct client_request;
/* wire is the answer if error is 0, else NULL; all is valid during the call. */
typedef void client_finished(const struct client_request *request, int error, const char *text,
                             const struct assent_wire *wire);

struct client_request {
    UT_hash_handle hh;                   /* by id */
    TAILQ_ENTRY(client_request) entries; /* by deadline; or in the list of spares */
    uint64_t id;
    uint64_t deadline_ms;
    enum assent_wire_kind answer; /* the kind that answers it */
    bool has_gtrid;
    struct assent_gtrid gtrid;
    client_finished *finished;
    assent_answered *answered; /* submitted requests: the caller's */
    void *context;
};
TAILQ_HEAD(client_requests, client_request);

/* Bytes [start, end) are in use. */
struct client_buffer {
    uint8_t *data;
    size_t start, end, capacity;
};

struct assent_client {
    char address[ASSENT_ADDRESS_MAX + 1];
    char name[ASSENT_NAME_MAX + 1];
    char cluster[ASSENT_NAME_MAX + 1];
    uint32_t connect_ms, request_ms, frame_bytes_max;
    int fd;          /* -1: not connected; else both hellos are done */
    bool processing; /* inside process: callbacks may submit and nothing else */
    struct client_buffer input, output;
    uint8_t *encoded; /* scratch of one message */
    size_t encoded_capacity;
    struct assent_arena *arena; /* of the message being handled */
    struct assent_wire wire;    /* that message */
    uint64_t last_id;
    struct client_request *by_id;      /* uthash */
    struct client_requests open_ones;  /* ordered by deadline */
    struct client_requests spare_ones; /* to be used again */
    char error[CLIENT_ERROR_BYTES];
};

/* Sets the sentence of assent_client_error() and returns error. */
int client_fail(struct assent_client *client, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* --- client_connection.c --- */

/* Dials and exchanges hellos; blocks up to connect_ms. */
ASSENT_CHECKED int client_connect(struct assent_client *client);
/* Closes the socket and drops what is buffered; answers nobody. */
void client_disconnect(struct assent_client *client);
/* Encodes and queues one message. */
ASSENT_CHECKED int client_queue(struct assent_client *client, const struct assent_wire *wire);
/* Writes what the socket takes; reads what it has. 0 or ASSENT_E_CLOSED. What was read before the
 * end of the connection is in the input all the same. */
ASSENT_CHECKED int client_write(struct assent_client *client);
ASSENT_CHECKED int client_read(struct assent_client *client);
/* Decodes the next whole message of the input into client->wire: 1, 0 (there is none) or
 * ASSENT_E_PROTOCOL. */
ASSENT_CHECKED int client_next(struct assent_client *client);
/* Waits for the socket at most until deadline_ms. */
void client_wait(const struct assent_client *client, short events, uint64_t deadline_ms);

/* --- client_request.c --- */

/* Queues the message as a request that is like *request (its finished, answered, context, has_gtrid
 * and gtrid). */
ASSENT_CHECKED int client_request_add(struct assent_client *client, struct assent_wire *wire,
                                      uint32_t timeout_ms, const struct client_request *request);
/* Gives client->wire to the request that it answers. 0, or ASSENT_E_PROTOCOL / ASSENT_E_CLOSED if
 * the connection must end. */
ASSENT_CHECKED int client_request_answer(struct assent_client *client);
/* Finishes what is due at now_ms with ASSENT_E_TIMEOUT. */
void client_request_expire(struct assent_client *client, uint64_t now_ms);
/* Finishes every open request with the error. */
void client_request_fail_all(struct assent_client *client, int error, const char *text);
void client_request_free_all(struct assent_client *client);

/* --- client_loop.c --- */

/* Copies an options struct of the caller's size into ours, whose rest stays as it is. */
ASSENT_CHECKED int client_take_options(void *to, size_t to_size, const void *from);
/* The message of a request; its pointers are the request's. 0 or ASSENT_E_INVALID. */
ASSENT_CHECKED int client_request_wire(struct assent_client *client,
                                       const struct assent_request *request,
                                       struct assent_wire *ret_wire);
void client_take_result(const struct assent_wire *wire, struct assent_result *ret_result);
/* An outcome that is not known, of a transaction that may be (gtrid NULL: it is not). */
void client_unknown_result(const struct assent_gtrid *gtrid, struct assent_result *ret_result);

#endif
