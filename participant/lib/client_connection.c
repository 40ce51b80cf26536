/*
 * client_connection.c: the client's one socket: dialling, the hellos, frames and their buffers.
 * Which answer belongs to which request is not known here.
 */
#include "client_private.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frame.h"
#include "net.h"
#include "runtime.h"

#define READ_BYTES (64u << 10)
/* Reads in one turn, so that a fast coordinator cannot keep process() from its deadlines. */
#define READS_MAX 16

int client_fail(struct assent_client *client, int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(client->error, sizeof(client->error), format, arguments);
    va_end(arguments);
    return error;
}

/* Makes room for size more bytes after end. */
static int reserve(struct client_buffer *buffer, size_t size)
{
    size_t used = buffer->end - buffer->start, wanted = buffer->capacity * 2;
    uint8_t *grown;

    if (used == 0)
        buffer->start = buffer->end = 0;
    if (buffer->capacity - buffer->end >= size)
        return 0;
    if (buffer->start > 0) {
        memmove(buffer->data, buffer->data + buffer->start, used);
        buffer->start = 0;
        buffer->end = used;
    }
    if (buffer->capacity - used >= size)
        return 0;
    if (wanted < used + size)
        wanted = used + size;
    grown = realloc(buffer->data, wanted);
    if (grown == NULL)
        return ASSENT_E_NOMEM;
    buffer->data = grown;
    buffer->capacity = wanted;
    return 0;
}

int client_queue(struct assent_client *client, const struct assent_wire *wire)
{
    struct client_buffer *output = &client->output;
    uint8_t *header;
    size_t size;
    int error = assent_wire_encode(wire, &client->encoded, &client->encoded_capacity, &size);

    if (error == ASSENT_E_INVALID)
        return assent_wire_check(wire, client->error, sizeof(client->error));
    if (error != 0)
        return client_fail(client, error, "%s", assent_error_text(error));
    if (size > client->frame_bytes_max)
        return client_fail(client, ASSENT_E_TOO_BIG, "a %s of %zu bytes; %u are the limit",
                           assent_wire_name((int)wire->kind), size, client->frame_bytes_max);
    if (output->end - output->start + size > CLIENT_OUTPUT_MAX)
        return client_fail(client, ASSENT_E_LIMIT, "%zu bytes are waiting to be sent",
                           output->end - output->start);
    if (reserve(output, ASSENT_FRAME_HEADER + size) != 0)
        return client_fail(client, ASSENT_E_NOMEM, "out of memory");
    header = output->data + output->end;
    assent_frame_header(header, (uint32_t)size);
    memcpy(header + ASSENT_FRAME_HEADER, client->encoded, size);
    output->end += ASSENT_FRAME_HEADER + size;
    return 0;
}

static int lost(struct assent_client *client, int number)
{
    return client_fail(client, ASSENT_E_CLOSED, "connection to %s lost: %s", client->address,
                       number == 0 ? "the coordinator closed it" : strerror(number));
}

int client_write(struct assent_client *client)
{
    struct client_buffer *output = &client->output;

    while (output->start < output->end) {
        ssize_t sent = send(client->fd, output->data + output->start, output->end - output->start,
                            MSG_NOSIGNAL);

        if (sent >= 0)
            output->start += (size_t)sent;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            return 0;
        else if (errno != EINTR)
            return lost(client, errno);
    }
    return 0;
}

int client_read(struct assent_client *client)
{
    struct client_buffer *input = &client->input;

    for (int i = 0; i < READS_MAX; i++) {
        size_t room;
        ssize_t got;

        if (reserve(input, READ_BYTES) != 0)
            return client_fail(client, ASSENT_E_CLOSED, "out of memory for an answer");
        room = input->capacity - input->end;
        got = recv(client->fd, input->data + input->end, room, 0);
        if (got == 0)
            return lost(client, 0);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (got < 0 && errno != EINTR)
            return lost(client, errno);
        if (got > 0)
            input->end += (size_t)got;
        if (got > 0 && (size_t)got < room)
            return 0; /* that was all; the next poll tells of more */
        /* One whole frame and the next one's header at most: the limit on memory is process's
         * handling of every frame before it reads again. */
        if (input->end - input->start > client->frame_bytes_max)
            return 0;
    }
    return 0;
}

int client_next(struct assent_client *client)
{
    struct client_buffer *input = &client->input;
    const uint8_t *at = input->data + input->start;
    size_t available = input->end - input->start;
    char detail[CLIENT_ERROR_BYTES - ASSENT_ADDRESS_MAX - 32];
    uint32_t length;
    int error;

    if (available < ASSENT_FRAME_HEADER)
        return 0;
    length = assent_frame_size(at);
    if (assent_frame_check(length, client->frame_bytes_max, detail, sizeof(detail)) != 0)
        return client_fail(client, ASSENT_E_PROTOCOL, "%s broke the protocol: %s", client->address,
                           detail);
    if (available - ASSENT_FRAME_HEADER < length)
        return 0;
    input->start += ASSENT_FRAME_HEADER + length;
    error = assent_wire_decode(at + ASSENT_FRAME_HEADER, length, client->arena, &client->wire,
                               detail, sizeof(detail));
    if (error != 0)
        return client_fail(client, ASSENT_E_PROTOCOL, "%s broke the protocol: %s", client->address,
                           detail);
    return 1;
}

void client_wait(const struct assent_client *client, short events, uint64_t deadline_ms)
{
    struct pollfd descriptor = {.fd = client->fd, .events = events};
    uint64_t now_ms = assent_now_ms();

    /* A signal or an error only makes the caller look earlier. */
    if (now_ms < deadline_ms)
        (void)poll(&descriptor, 1,
                   deadline_ms - now_ms > INT32_MAX ? INT32_MAX : (int)(deadline_ms - now_ms));
}

void client_disconnect(struct assent_client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->input.start = client->input.end = 0;
    client->output.start = client->output.end = 0;
}

static int check_hello(struct assent_client *client)
{
    const struct assent_wire *wire = &client->wire;
    const struct assent_wire_hello *hello = &wire->u.hello;

    if (wire->kind == ASSENT_WIRE_REFUSAL)
        return client_fail(client, wire->u.refusal.error, "%s refused the connection: %s",
                           client->address, wire->u.refusal.text);
    /* A participant refuses by name what only a coordinator serves. */
    if (wire->kind != ASSENT_WIRE_HELLO || hello->role == ASSENT_ROLE_APPLICATION)
        return client_fail(client, ASSENT_E_PROTOCOL, "%s does not answer as a coordinator",
                           client->address);
    if (hello->version_min > ASSENT_WIRE_VERSION || hello->version_max < ASSENT_WIRE_VERSION)
        return client_fail(client, ASSENT_E_VERSION,
                           "%s speaks protocol versions %u to %u, this library %d", client->address,
                           hello->version_min, hello->version_max, ASSENT_WIRE_VERSION);
    if (strcmp(hello->cluster, client->cluster) != 0)
        return client_fail(client, ASSENT_E_REFUSED, "%s belongs to cluster %s, not %s",
                           client->address, hello->cluster, client->cluster);
    return 0;
}

static int exchange_hellos(struct assent_client *client, uint64_t deadline_ms)
{
    int error, got;

    client->wire.kind = ASSENT_WIRE_HELLO;
    client->wire.request = 0;
    client->wire.u.hello = (struct assent_wire_hello){
        .version_min = ASSENT_WIRE_VERSION,
        .version_max = ASSENT_WIRE_VERSION,
        .role = ASSENT_ROLE_APPLICATION,
        .name = client->name,
        .cluster = client->cluster,
        .software = "libassent " ASSENT_VERSION,
    };
    error = client_queue(client, &client->wire);
    if (error != 0)
        return error;
    for (;;) {
        int read_error;

        error = client_write(client);
        read_error = client_read(client);
        got = client_next(client); /* a refusal may stand before the end of the connection */
        if (got > 0)
            return check_hello(client);
        if (got < 0)
            return got;
        if (error != 0 || read_error != 0)
            return client_fail(client, ASSENT_E_CONNECT, "%s closed the connection before a hello",
                               client->address);
        if (assent_now_ms() >= deadline_ms)
            return client_fail(client, ASSENT_E_TIMEOUT, "no hello from %s within %u ms",
                               client->address, client->connect_ms);
        client_wait(client, assent_client_events(client), deadline_ms);
    }
}

int client_connect(struct assent_client *client)
{
    uint64_t deadline_ms = assent_now_ms() + client->connect_ms;
    char detail[CLIENT_ERROR_BYTES];
    int fd, error;

    client_disconnect(client);
    fd = assent_connect(client->address, client->connect_ms, detail, sizeof(detail));
    if (fd < 0)
        return client_fail(client, fd, "%s", detail);
    client->fd = fd;
    error = exchange_hellos(client, deadline_ms);
    if (error != 0)
        client_disconnect(client);
    return error;
}
