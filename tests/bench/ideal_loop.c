/*
 * ideal_loop.c: connections and logs of one process. A turn reads each connection that has
 * something once, hands its frames over where they lie, and writes each connection that was given
 * something once.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frame.h"
#include "ideal.h"
#include "runtime.h"

#define INPUT_BYTES (1024 * 1024)
#define EVENTS_MAX  64

struct link {
    int fd;
    uint8_t *input, *output;
    size_t input_used, output_begin, output_used, output_capacity;
    bool waits; /* until the peer has read */
};

struct ideal_loop {
    int epoll;
    const struct ideal_handler *handler;
    void *context;
    struct ideal_log *logs[IDEAL_LOG_COUNT];
    size_t link_count;
    struct link links[];
};

/* Links are known to epoll by their places, logs by what follows. */
static int watch(struct ideal_loop *loop, int operation, int fd, size_t place, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = place};

    return epoll_ctl(loop->epoll, operation, fd, &event);
}

int ideal_loop_new(const int *fds, size_t fd_count, struct ideal_log *logs[IDEAL_LOG_COUNT],
                   const struct ideal_handler *handler, void *context, struct ideal_loop **ret_loop,
                   char *error, size_t error_size)
{
    struct ideal_loop *loop = calloc(1, sizeof(*loop) + fd_count * sizeof(loop->links[0]));
    int failed;

    ASSENT_ASSERT(loop);
    loop->handler = handler;
    loop->context = context;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    failed = loop->epoll < 0;
    for (size_t i = 0; i < fd_count; i++) {
        struct link *link = &loop->links[loop->link_count++];

        link->fd = fds[i];
        link->input = malloc(INPUT_BYTES);
        ASSENT_ASSERT(link->input);
        failed |= watch(loop, EPOLL_CTL_ADD, link->fd, i, EPOLLIN);
    }
    for (size_t i = 0; logs && i < IDEAL_LOG_COUNT; i++)
        if (logs[i]) {
            loop->logs[i] = logs[i];
            failed |= watch(loop, EPOLL_CTL_ADD, ideal_log_fd(logs[i]), fd_count + i, EPOLLIN);
        }
    if (failed) {
        snprintf(error, error_size, "epoll: %s", strerror(errno));
        ideal_loop_free(loop);
        return -1;
    }
    *ret_loop = loop;
    return 0;
}

void ideal_loop_free(struct ideal_loop *loop)
{
    if (!loop)
        return;
    for (size_t i = 0; i < loop->link_count; i++) {
        free(loop->links[i].input);
        free(loop->links[i].output);
    }
    if (loop->epoll >= 0)
        close(loop->epoll);
    free(loop);
}

void ideal_loop_send(struct ideal_loop *loop, size_t connection,
                     const struct ideal_message *message, uint64_t number)
{
    struct link *link = &loop->links[connection];
    size_t wanted = link->output_used + message->bytes + IDEAL_FRAME_SLACK;

    if (wanted > link->output_capacity) {
        link->output_capacity = 2 * wanted;
        link->output = realloc(link->output, link->output_capacity);
        ASSENT_ASSERT(link->output);
    }
    link->output_used += ideal_message_pack(message, number, link->output + link->output_used);
}

/* False: the peer has gone. What it has no room for goes once it has read. */
static bool flush(struct ideal_loop *loop, struct link *link)
{
    bool waits;
    ssize_t sent;

    sent = send(link->fd, link->output + link->output_begin, link->output_used - link->output_begin,
                MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        return false;
    link->output_begin += sent < 0 ? 0 : (size_t)sent;
    waits = link->output_begin < link->output_used;
    if (!waits)
        link->output_begin = link->output_used = 0;
    if (waits != link->waits && watch(loop, EPOLL_CTL_MOD, link->fd, (size_t)(link - loop->links),
                                      waits ? EPOLLIN | EPOLLOUT : EPOLLIN) != 0)
        return false;
    link->waits = waits;
    return true;
}

/* False: the peer has gone, or speaks nonsense. */
static bool take_frames(struct ideal_loop *loop, struct link *link)
{
    const uint8_t *at = link->input, *end;
    ssize_t got = recv(link->fd, link->input + link->input_used, INPUT_BYTES - link->input_used,
                       MSG_DONTWAIT);

    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    end = at + link->input_used + (size_t)got;
    while (end - at >= ASSENT_FRAME_HEADER) {
        size_t size = assent_frame_size(at);
        enum assent_message_kind kind;
        uint64_t number;

        if (size > (size_t)(end - at) - ASSENT_FRAME_HEADER)
            break;
        if (!ideal_message_unpack(at + ASSENT_FRAME_HEADER, size, &number, &kind))
            return false;
        loop->handler->message(number, kind, loop->context);
        at += ASSENT_FRAME_HEADER + size;
    }
    link->input_used = (size_t)(end - at);
    memmove(link->input, at, link->input_used);
    return true;
}

static bool handle(struct ideal_loop *loop, size_t place)
{
    const struct ideal_items *durable;

    if (place < loop->link_count)
        return take_frames(loop, &loop->links[place]);
    durable = ideal_log_take(loop->logs[place - loop->link_count]);
    for (size_t i = 0; i < durable->count; i++)
        loop->handler->durable(durable->items[i], loop->context);
    return true;
}

bool ideal_loop_turn(struct ideal_loop *loop, int64_t wait_us)
{
    struct timespec wait = {wait_us / 1000000, wait_us % 1000000 * 1000};
    struct epoll_event events[EVENTS_MAX];
    int count;

    for (size_t i = 0; i < IDEAL_LOG_COUNT; i++)
        if (loop->logs[i])
            ideal_log_submit(loop->logs[i]);
    for (size_t i = 0; i < loop->link_count; i++)
        if (loop->links[i].output_used > 0 && !flush(loop, &loop->links[i]))
            return false;
    count = epoll_pwait2(loop->epoll, events, EVENTS_MAX, wait_us < 0 ? NULL : &wait, NULL);
    if (count < 0)
        return errno == EINTR;
    for (int i = 0; i < count; i++)
        if (!handle(loop, events[i].data.u64))
            return false;
    return true;
}
