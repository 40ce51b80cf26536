/*
 * client_request.c: the requests that wait for an answer. Each is finished exactly once, and it is
 * off every list before its callback runs, so that the callback may submit again.
 */
#include "client_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gtrid.h"
#include "runtime.h"

static enum assent_wire_kind answer_of(enum assent_wire_kind kind)
{
    switch ((int)kind) {
    case ASSENT_WIRE_BEGIN:
        return ASSENT_WIRE_BEGIN_REPLY;
    case ASSENT_WIRE_ENLIST:
        return ASSENT_WIRE_ENLIST_REPLY;
    case ASSENT_WIRE_WORK:
        return ASSENT_WIRE_WORK_REPLY;
    case ASSENT_WIRE_INSPECT:
        return ASSENT_WIRE_INSPECTION;
    default: /* end, run, status, operate */
        return ASSENT_WIRE_RESULT;
    }
}

static struct client_request *request_new(struct assent_client *client)
{
    struct client_request *request = TAILQ_FIRST(&client->spare_ones);

    if (request == NULL)
        return malloc(sizeof(*request));
    TAILQ_REMOVE(&client->spare_ones, request, entries);
    return request;
}

/* Deadlines mostly come in order, so the place is mostly the end. */
static void insert_by_deadline(struct client_requests *list, struct client_request *request)
{
    struct client_request *before;

    TAILQ_FOREACH_REVERSE(before, list, client_requests, entries)
    {
        if (before->deadline_ms <= request->deadline_ms) {
            TAILQ_INSERT_AFTER(list, before, request, entries);
            return;
        }
    }
    TAILQ_INSERT_HEAD(list, request, entries);
}

int client_request_add(struct assent_client *client, struct assent_wire *wire, uint32_t timeout_ms,
                       const struct client_request *like)
{
    size_t queued_before = client->output.end - client->output.start;
    struct client_request *request;
    int error;

    if (client->fd < 0)
        return client_fail(client, ASSENT_E_CONNECT, "not connected to %s", client->address);
    if (HASH_COUNT(client->by_id) >= CLIENT_REQUESTS_MAX)
        return client_fail(client, ASSENT_E_LIMIT, "%d requests are open", CLIENT_REQUESTS_MAX);
    wire->request = client->last_id + 1;
    error = client_queue(client, wire);
    if (error != 0)
        return error;
    request = request_new(client);
    if (request == NULL)
        goto unqueue;
    *request = *like;
    request->id = wire->request;
    request->deadline_ms = assent_now_ms() + (timeout_ms != 0 ? timeout_ms : client->request_ms);
    request->answer = answer_of(wire->kind);
    HASH_ADD(hh, client->by_id, id, sizeof(request->id), request);
    if (request->hh.tbl == NULL) {
        TAILQ_INSERT_HEAD(&client->spare_ones, request, entries);
        goto unqueue;
    }
    insert_by_deadline(&client->open_ones, request);
    client->last_id = request->id;
    return 0;
unqueue:
    client->output.end = client->output.start + queued_before;
    return client_fail(client, ASSENT_E_NOMEM, "out of memory");
}

static void finish(struct assent_client *client, struct client_request *request, int error,
                   const char *text, const struct assent_wire *wire)
{
    HASH_DEL(client->by_id, request);
    TAILQ_REMOVE(&client->open_ones, request, entries);
    request->finished(request, error, text, wire);
    TAILQ_INSERT_HEAD(&client->spare_ones, request, entries);
}

/* An answer about another transaction than was asked about must never be taken for this one's. */
static bool is_answer(const struct client_request *request, const struct assent_wire *wire)
{
    if (wire->kind != request->answer)
        return false;
    return wire->kind != ASSENT_WIRE_RESULT || !request->has_gtrid ||
           assent_gtrid_equal(&wire->u.result.gtrid, &request->gtrid);
}

int client_request_answer(struct assent_client *client)
{
    const struct assent_wire *wire = &client->wire;
    struct client_request *request;

    if (wire->kind == ASSENT_WIRE_PING)
        return 0;
    if (wire->kind == ASSENT_WIRE_REFUSAL && wire->request == 0)
        return client_fail(client, ASSENT_E_CLOSED, "%s ended the connection: %s", client->address,
                           wire->u.refusal.text);
    HASH_FIND(hh, client->by_id, &wire->request, sizeof(wire->request), request);
    if (request == NULL && wire->request != 0 && wire->request <= client->last_id)
        return 0; /* it has timed out */
    if (request != NULL && wire->kind == ASSENT_WIRE_REFUSAL) {
        finish(client, request, wire->u.refusal.error, wire->u.refusal.text, NULL);
        return 0;
    }
    if (request == NULL || !is_answer(request, wire))
        return client_fail(client, ASSENT_E_PROTOCOL, "%s sent a %s that answers no request",
                           client->address, assent_wire_name((int)wire->kind));
    finish(client, request, 0, "", wire);
    return 0;
}

void client_request_expire(struct assent_client *client, uint64_t now_ms)
{
    struct client_request *request;
    char text[CLIENT_ERROR_BYTES];

    while ((request = TAILQ_FIRST(&client->open_ones)) != NULL && request->deadline_ms <= now_ms) {
        snprintf(text, sizeof(text), "no answer from %s in time", client->address);
        finish(client, request, ASSENT_E_TIMEOUT, text, NULL);
    }
}

void client_request_fail_all(struct assent_client *client, int error, const char *text)
{
    struct client_request *request;

    while ((request = TAILQ_FIRST(&client->open_ones)) != NULL)
        finish(client, request, error, text, NULL);
}

void client_request_free_all(struct assent_client *client)
{
    struct client_request *request;

    while ((request = TAILQ_FIRST(&client->spare_ones)) != NULL) {
        TAILQ_REMOVE(&client->spare_ones, request, entries);
        free(request);
    }
}
