/*
 * http_answer.c: what the service's answer means. The tables are those of docs/http.md; what is in
 * neither is never success.
 */
#include "http.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

/* A "no" of the service itself. The others of 4xx ask to come again. */
static bool is_refusal(long status)
{
    return status >= 400 && status <= 499 && status != 408 && status != 425 && status != 429;
}

static bool is_away(long status)
{
    return status == 408 || status == 425 || status == 429 || (status >= 500 && status <= 599);
}

static json_t *parse(const struct http_request *request)
{
    if (request->reply == NULL)
        return NULL;
    return json_loadb(request->reply, request->reply_size,
                      JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL);
}

/* "409: sold out": the number, and the body's "reason" if it has one. */
static void explain(struct assent_call *call, enum assent_rm_result result,
                    const struct http_request *request, const json_t *body)
{
    const char *reason = json_string_value(json_object_get(body, "reason"));

    if (reason == NULL && request->status >= 300 && request->status <= 399)
        reason = "redirects are not followed";
    http_result(call, result, "%ld%s%s", request->status, reason != NULL ? ": " : "",
                reason != NULL ? reason : "");
}

bool http_answer_try(struct assent_call *call, const struct http_request *request)
{
    json_t *body;
    bool holds = true;

    if (request->status == 0) {
        http_result(call, ASSENT_RM_UNAVAILABLE, "%s", request->reason);
        return request->sent;
    }
    body = parse(request);
    if (request->status >= 200 && request->status <= 299) {
        if (request->reply != NULL && body == NULL) {
            http_result(call, ASSENT_RM_UNKNOWN_CODE, "%ld: the answer is not JSON",
                        request->status);
        } else {
            http_result(call, ASSENT_RM_OK, "%s", "");
            holds = !json_is_true(json_object_get(body, "read_only"));
        }
    } else if (is_refusal(request->status)) {
        explain(call, ASSENT_RM_FAILED, request, body);
        holds = false;
    } else {
        explain(call, is_away(request->status) ? ASSENT_RM_UNAVAILABLE : ASSENT_RM_UNKNOWN_CODE,
                request, body);
    }
    json_decref(body);
    return holds;
}

/* What the body says became of the branch. */
static enum assent_decision said(const json_t *body)
{
    const char *outcome = json_string_value(json_object_get(body, "outcome"));

    if (outcome != NULL && strcmp(outcome, "confirmed") == 0)
        return ASSENT_DECISION_COMMIT;
    if (outcome != NULL && strcmp(outcome, "cancelled") == 0)
        return ASSENT_DECISION_ABORT;
    return ASSENT_DECISION_NONE;
}

void http_answer_finish(struct assent_call *call, const struct http_request *request,
                        enum http_phase phase)
{
    enum assent_decision asked =
        phase == HTTP_CONFIRM ? ASSENT_DECISION_COMMIT : ASSENT_DECISION_ABORT;
    enum assent_decision word;
    bool good = request->status >= 200 && request->status <= 299;
    json_t *body;

    if (request->status == 0) {
        http_result(call, request->sent ? ASSENT_RM_UNAVAILABLE : ASSENT_RM_RETRY, "%s",
                    request->reason);
        return;
    }
    body = parse(request);
    word = good || request->status == 409 || request->status == 410 ? said(body)
                                                                    : ASSENT_DECISION_NONE;
    if (word == asked || (good && word == ASSENT_DECISION_NONE))
        http_result(call, ASSENT_RM_OK, "%s", "");
    else if (word != ASSENT_DECISION_NONE)
        explain(call,
                word == ASSENT_DECISION_COMMIT ? ASSENT_RM_HEUR_COMMITTED : ASSENT_RM_HEUR_ABORTED,
                request, body);
    else
        explain(call, is_away(request->status) ? ASSENT_RM_UNAVAILABLE : ASSENT_RM_UNKNOWN_CODE,
                request, body);
    json_decref(body);
}
