/*
 * client_loop.c: the form for event loops: submit, the descriptor to poll, process. Requests gather
 * in the output and leave together in one write at process().
 */
#include "client_private.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "runtime.h"

int client_take_options(void *to, size_t to_size, const void *from)
{
    size_t size;

    if (from == NULL)
        return 0;
    memcpy(&size, from, sizeof(size));
    if (size < sizeof(size) || size > to_size)
        return ASSENT_E_INVALID;
    memcpy(to, from, size);
    return 0;
}

static int take_begin(struct assent_client *client, const struct assent_begin_options *from,
                      struct assent_wire_begin *to)
{
    struct assent_begin_options options = {.size = sizeof(options)};

    if (client_take_options(&options, sizeof(options), from) != 0)
        return client_fail(client, ASSENT_E_INVALID,
                           "begin options: size is not that of this version");
    *to = (struct assent_wire_begin){
        .protocol = options.protocol,
        .termination = options.termination,
        .timeout_ms = options.timeout_ms,
        .key = options.key,
        .traceparent = options.traceparent,
        .detached = options.detached,
    };
    return 0;
}

static int take_run(struct assent_client *client, const struct assent_request *request,
                    struct assent_wire *wire)
{
    if (request->work_count > ASSENT_BRANCHES_MAX ||
        (request->work_count > 0 && request->works == NULL))
        return client_fail(client, ASSENT_E_INVALID, "run: %zu works, 0 to %d wanted",
                           request->work_count, ASSENT_BRANCHES_MAX);
    for (size_t i = 0; i < request->work_count; i++)
        wire->u.run.branches[i] = (struct assent_wire_branch_work){
            .participant = request->works[i].participant,
            .work = {request->works[i].data, request->works[i].size},
        };
    wire->u.run.branch_count = request->work_count;
    wire->u.run.wait = request->wait;
    return take_begin(client, request->begin, &wire->u.run.begin);
}

static int take_work(struct assent_client *client, const struct assent_request *request,
                     struct assent_wire *wire)
{
    if (request->works == NULL || request->work_count != 1)
        return client_fail(client, ASSENT_E_INVALID, "work: exactly one piece of work is wanted");
    wire->u.work.gtrid = *request->gtrid;
    wire->u.work.participant = request->works->participant;
    wire->u.work.work = (struct assent_bytes){request->works->data, request->works->size};
    return 0;
}

static void take_status(const struct assent_request *request, struct assent_wire *wire)
{
    wire->u.status.has_gtrid = request->gtrid != NULL;
    if (request->gtrid != NULL)
        wire->u.status.gtrid = *request->gtrid;
    wire->u.status.key = request->gtrid != NULL ? NULL : request->key;
    wire->u.status.wait = request->wait;
}

static bool wants_gtrid(enum assent_request_kind kind)
{
    return kind == ASSENT_REQUEST_WORK || kind == ASSENT_REQUEST_COMMIT ||
           kind == ASSENT_REQUEST_ROLLBACK;
}

int client_request_wire(struct assent_client *client, const struct assent_request *request,
                        struct assent_wire *ret_wire)
{
    if (wants_gtrid(request->kind) && request->gtrid == NULL)
        return client_fail(client, ASSENT_E_INVALID, "gtrid: missing");
    switch (request->kind) {
    case ASSENT_REQUEST_BEGIN:
        ret_wire->kind = ASSENT_WIRE_BEGIN;
        return take_begin(client, request->begin, &ret_wire->u.begin);
    case ASSENT_REQUEST_WORK:
        ret_wire->kind = ASSENT_WIRE_WORK;
        return take_work(client, request, ret_wire);
    case ASSENT_REQUEST_COMMIT:
    case ASSENT_REQUEST_ROLLBACK:
        ret_wire->kind = ASSENT_WIRE_END;
        ret_wire->u.end.gtrid = *request->gtrid;
        ret_wire->u.end.commit = request->kind == ASSENT_REQUEST_COMMIT;
        ret_wire->u.end.wait = request->wait;
        return 0;
    case ASSENT_REQUEST_RUN:
        ret_wire->kind = ASSENT_WIRE_RUN;
        return take_run(client, request, ret_wire);
    case ASSENT_REQUEST_STATUS:
        ret_wire->kind = ASSENT_WIRE_STATUS;
        take_status(request, ret_wire);
        return 0;
    }
    return client_fail(client, ASSENT_E_INVALID, "no request of kind %d", (int)request->kind);
}

void client_unknown_result(const struct assent_gtrid *gtrid, struct assent_result *ret_result)
{
    *ret_result = (struct assent_result){.outcome = ASSENT_OUTCOME_UNKNOWN};
    if (gtrid != NULL)
        ret_result->gtrid = *gtrid;
}

/* The codec has checked that it fits. */
static void copy_text(char *to, size_t size, const char *from)
{
    size_t length = strlen(from);

    ASSENT_ASSERT(length < size);
    memcpy(to, from, length + 1);
}

void client_take_result(const struct assent_wire *wire, struct assent_result *ret_result)
{
    *ret_result = (struct assent_result){
        .gtrid = wire->u.result.gtrid,
        .outcome = wire->u.result.outcome,
        .ended = wire->u.result.ended,
    };
    copy_text(ret_result->phase, sizeof(ret_result->phase), wire->u.result.phase);
    copy_text(ret_result->reason, sizeof(ret_result->reason), wire->u.result.reason);
}

/* Hands a finished request to the caller who submitted it. */
static void tell(const struct client_request *request, int error, const char *text,
                 const struct assent_wire *wire)
{
    struct assent_answer answer = {.error = error, .error_text = text};

    client_unknown_result(request->has_gtrid ? &request->gtrid : NULL, &answer.result);
    if (wire != NULL && wire->kind == ASSENT_WIRE_BEGIN_REPLY) {
        answer.result.gtrid = wire->u.begin_reply.gtrid;
    } else if (wire != NULL && wire->kind == ASSENT_WIRE_WORK_REPLY) {
        answer.branch = wire->u.work_reply.branch;
        answer.reply = wire->u.work_reply.reply.data;
        answer.reply_size = wire->u.work_reply.reply.size;
    } else if (wire != NULL && wire->kind == ASSENT_WIRE_RESULT) {
        client_take_result(wire, &answer.result);
    }
    request->answered(&answer, request->context);
}

int assent_client_submit(struct assent_client *client, const struct assent_request *request,
                         assent_answered *answered, void *context)
{
    struct assent_request taken = {.size = 0};
    struct client_request like = {.finished = tell, .answered = answered, .context = context};
    struct assent_wire wire;
    int error;

    if (request == NULL || answered == NULL ||
        client_take_options(&taken, sizeof(taken), request) != 0)
        return client_fail(client, ASSENT_E_INVALID, "request: size is not that of this version");
    error = client_request_wire(client, &taken, &wire);
    if (error != 0)
        return error;
    like.has_gtrid = taken.gtrid != NULL;
    if (like.has_gtrid)
        like.gtrid = *taken.gtrid;
    return client_request_add(client, &wire, taken.timeout_ms, &like);
}

int assent_client_fd(const struct assent_client *client)
{
    return client->fd;
}

short assent_client_events(const struct assent_client *client)
{
    if (client->fd < 0)
        return 0;
    return client->output.start < client->output.end ? POLLIN | POLLOUT : POLLIN;
}

int assent_client_wait_ms(const struct assent_client *client)
{
    const struct client_request *first = TAILQ_FIRST(&client->open_ones);
    uint64_t now_ms;

    if (first == NULL)
        return -1;
    now_ms = assent_now_ms();
    if (first->deadline_ms <= now_ms)
        return 0;
    return first->deadline_ms - now_ms > INT32_MAX ? INT32_MAX : (int)(first->deadline_ms - now_ms);
}

static int handle_input(struct assent_client *client)
{
    int got, error = 0;

    while (error == 0 && (got = client_next(client)) != 0)
        error = got < 0 ? got : client_request_answer(client);
    return error;
}

int assent_client_process(struct assent_client *client)
{
    int error, read_error, handled;

    ASSENT_ASSERT(!client->processing);
    if (client->fd < 0)
        return client_fail(client, ASSENT_E_CLOSED, "not connected to %s", client->address);
    client->processing = true;
    error = client_write(client);
    /* Answers that came before the connection ended still count, so it is read whatever the write
     * said, and all that was read is handled. */
    read_error = client_read(client);
    handled = handle_input(client);
    if (handled != 0)
        error = handled;
    else if (error == 0)
        error = read_error;
    client_request_expire(client, assent_now_ms());
    if (error == 0)
        error = client_write(client); /* what the callbacks have submitted */
    if (error != 0) {
        char text[CLIENT_ERROR_BYTES];

        /* A copy: callbacks may fail at submitting. */
        snprintf(text, sizeof(text), "%s", client->error);
        client_disconnect(client);
        client_request_fail_all(client, error, text);
        client_fail(client, error, "%s", text);
    }
    client->processing = false;
    return error;
}

int assent_client_reconnect(struct assent_client *client)
{
    ASSENT_ASSERT(!client->processing);
    if (client->fd >= 0)
        return 0;
    return client_connect(client);
}
