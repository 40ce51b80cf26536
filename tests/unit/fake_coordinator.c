/* fake_coordinator.c: see fake_coordinator.h. */
#include "fake_coordinator.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_BYTES_MAX (2u << 20)
#define WAIT_MS         20000

void fake_die(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: the fake coordinator wanted: %s\n", file, line, condition);
    abort();
}

static void *run(void *context)
{
    struct fake *fake = context;

    fake->script(fake);
    fake_close(fake);
    return NULL;
}

void fake_init(struct fake *fake, void (*script)(struct fake *fake))
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);

    memset(fake, 0, sizeof(*fake));
    fake->fd = -1;
    fake->script = script;
    MUST(assent_arena_new(FRAME_BYTES_MAX + ASSENT_ARENA_EXTRA, &fake->arena) == 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fake->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(fake->listener >= 0);
    MUST(bind(fake->listener, (struct sockaddr *)&address, size) == 0);
    MUST(getsockname(fake->listener, (struct sockaddr *)&address, &size) == 0);
    MUST(listen(fake->listener, 8) == 0);
    snprintf(fake->address, sizeof(fake->address), "127.0.0.1:%d", ntohs(address.sin_port));
    MUST(pthread_create(&fake->thread, NULL, run, fake) == 0);
}

void fake_fini(struct fake *fake)
{
    MUST(pthread_join(fake->thread, NULL) == 0);
    close(fake->listener);
    assent_arena_free(fake->arena);
    free(fake->buffer);
}

static void wait_for(int fd, short events)
{
    struct pollfd descriptor = {.fd = fd, .events = events};

    MUST(poll(&descriptor, 1, WAIT_MS) == 1);
}

void fake_accept(struct fake *fake)
{
    int on = 1;

    MUST(fake->fd < 0);
    wait_for(fake->listener, POLLIN);
    fake->fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
    MUST(fake->fd >= 0);
    MUST(setsockopt(fake->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0);
}

void fake_hello(struct assent_wire *ret_wire)
{
    memset(ret_wire, 0, sizeof(*ret_wire));
    ret_wire->kind = ASSENT_WIRE_HELLO;
    ret_wire->u.hello = (struct assent_wire_hello){
        .version_min = 1,
        .version_max = 1,
        .role = ASSENT_ROLE_COORDINATOR,
        .name = "fake",
        .cluster = "default",
        .has_log_id = true,
        .incarnation = 1,
    };
}

void fake_greet(struct fake *fake)
{
    struct assent_wire hello;

    fake_accept(fake);
    MUST(fake_take(fake, ASSENT_WIRE_HELLO)->u.hello.role == ASSENT_ROLE_APPLICATION);
    fake_hello(&hello);
    fake_send(fake, &hello);
}

void fake_close(struct fake *fake)
{
    if (fake->fd >= 0)
        close(fake->fd);
    fake->fd = -1;
}

static bool take_bytes(struct fake *fake, uint8_t *data, size_t size)
{
    size_t at = 0;

    while (at < size) {
        ssize_t got;

        wait_for(fake->fd, POLLIN);
        got = recv(fake->fd, data + at, size - at, 0);
        if (got <= 0) {
            MUST(at == 0);
            return false;
        }
        at += (size_t)got;
    }
    return true;
}

const struct assent_wire *fake_take(struct fake *fake, enum assent_wire_kind kind)
{
    static uint8_t frame[FRAME_BYTES_MAX];
    uint8_t header[4];
    char error[256];
    size_t size;

    MUST(take_bytes(fake, header, sizeof(header)));
    size = (size_t)header[0] << 24 | (size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3];
    MUST(size <= sizeof(frame));
    MUST(take_bytes(fake, frame, size));
    if (assent_wire_decode(frame, size, fake->arena, &fake->wire, error, sizeof(error)) != 0)
        fake_die(__FILE__, __LINE__, error);
    MUST(fake->wire.kind == kind);
    return &fake->wire;
}

void fake_take_end(struct fake *fake)
{
    uint8_t byte;

    MUST(!take_bytes(fake, &byte, 1));
}

void fake_send_raw(struct fake *fake, const void *data, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t sent;

        wait_for(fake->fd, POLLOUT);
        sent = send(fake->fd, (const uint8_t *)data + at, size - at, MSG_NOSIGNAL);
        MUST(sent > 0);
        at += (size_t)sent;
    }
}

void fake_send(struct fake *fake, const struct assent_wire *wire)
{
    uint8_t header[4];
    size_t size;

    MUST(assent_wire_encode(wire, &fake->buffer, &fake->capacity, &size) == 0);
    for (int i = 0; i < 4; i++)
        header[i] = (uint8_t)(size >> (24 - 8 * i));
    fake_send_raw(fake, header, sizeof(header));
    fake_send_raw(fake, fake->buffer, size);
}

void fake_begin_reply(struct fake *fake, uint64_t request, uint8_t first_byte)
{
    struct assent_wire wire = {.kind = ASSENT_WIRE_BEGIN_REPLY, .request = request};

    wire.u.begin_reply.gtrid.bytes[0] = first_byte;
    fake_send(fake, &wire);
}

void fake_result(struct fake *fake, uint64_t request, const struct assent_gtrid *gtrid,
                 enum assent_outcome outcome)
{
    struct assent_wire wire = {.kind = ASSENT_WIRE_RESULT, .request = request};

    wire.u.result.gtrid = *gtrid;
    wire.u.result.outcome = outcome;
    wire.u.result.phase = "ended";
    wire.u.result.reason = outcome == ASSENT_OUTCOME_ABORTED ? "b voted no: empty" : "";
    wire.u.result.ended = outcome != ASSENT_OUTCOME_UNKNOWN;
    fake_send(fake, &wire);
}

void fake_refuse(struct fake *fake, uint64_t request, int error, const char *text)
{
    struct assent_wire wire = {.kind = ASSENT_WIRE_REFUSAL, .request = request};

    wire.u.refusal.error = error;
    wire.u.refusal.text = text;
    fake_send(fake, &wire);
}
