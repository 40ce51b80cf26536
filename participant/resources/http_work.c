/*
 * http_work.c: work is a Try. Before the first of a branch the barrier says, on disk, that one may
 * have been sent; a barrier that says "cancelled" refuses it (edge case 53). A Try is sent once:
 * whatever is not a clear answer makes the branch roll back, and Cancel is repeated instead.
 */
#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* Work that is JSON goes into the body as it is, any other text as a string. 0,
 * ASSENT_E_INVALID: it is no text; ASSENT_E_NOMEM. *ret_json is NULL for no work at all. */
static int work_json(const struct assent_call *call, char **ret_json)
{
    const int flags = JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL;
    json_t *value;
    char *json;

    *ret_json = NULL;
    if (call->work_size == 0)
        return 0;
    value = json_loadb(call->work, call->work_size, flags, NULL);
    if (value != NULL) {
        json = strndup(call->work, call->work_size);
    } else {
        value = json_stringn(call->work, call->work_size);
        if (value == NULL)
            return ASSENT_E_INVALID;
        json = json_dumps(value, JSON_ENCODE_ANY);
    }
    json_decref(value);
    *ret_json = json;
    return json != NULL ? 0 : ASSENT_E_NOMEM;
}

/* False: no Try may be sent, and why is in the call. */
static bool open_barrier(struct http *http, struct http_branch *branch, struct assent_call *call)
{
    struct http_write write = {.id = branch->id, .record.state = HTTP_TRYING};

    if (!http_barrier_has_room(http->barrier)) {
        http_result(call, ASSENT_RM_FAILED, "the barrier has no room for new branches");
        return false;
    }
    memcpy(branch->traceparent, call->traceparent, sizeof(branch->traceparent));
    memcpy(write.record.traceparent, call->traceparent, sizeof(write.record.traceparent));
    http_barrier_put(http->barrier, &write, 1);
    if (write.standing != ASSENT_DECISION_NONE) {
        http_result(call, ASSENT_RM_REFUSED, "the branch has ended: this Try is too late");
        return false;
    }
    return true;
}

static void send_try(struct http *http, struct http_branch *branch, struct assent_call *call,
                     const char *json)
{
    struct http_request request, *requests[] = {&request};
    char *body;

    if (http_request_make(http, &branch->id, HTTP_TRY, branch->tries, json, branch->traceparent,
                          &request, &body) != 0) {
        http_result(call, ASSENT_RM_FAILED, "out of memory");
        return;
    }
    if (call->timeout_ms != 0 && call->timeout_ms < request.timeout_ms)
        request.timeout_ms = call->timeout_ms;
    http_exchange(http, requests, 1);
    if (http_answer_try(call, &request))
        branch->holds = true;
    if (call->result == ASSENT_RM_OK) {
        call->reply = request.reply;
        call->reply_size = request.reply_size;
        request.reply = NULL;
    }
    http_request_clear(&request);
    free(body);
}

void http_work(struct http *http, struct http_branch *branch, struct assent_call *call)
{
    char *json = NULL;
    int r;

    if (branch->failed) {
        http_result(call, ASSENT_RM_FAILED, "%s", branch->reason);
        return;
    }
    if ((r = work_json(call, &json)) != 0)
        http_result(call, ASSENT_RM_FAILED, "%s",
                    r == ASSENT_E_INVALID ? "the work is neither JSON nor UTF-8 text"
                                          : assent_error_text(r));
    else if (branch->tries == HTTP_TRIES_MAX)
        http_result(call, ASSENT_RM_FAILED, "over %u pieces of work", HTTP_TRIES_MAX);
    else if (branch->tries > 0 || open_barrier(http, branch, call)) {
        branch->tries++;
        send_try(http, branch, call, json);
    }
    if (call->result != ASSENT_RM_OK) {
        branch->failed = true;
        http_text(branch->reason, call->reason);
    }
    free(json);
}
