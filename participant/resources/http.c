/*
 * http.c: an HTTP service as a table of operations: open and close, the begin of a branch, and the
 * questions that touch no branch. How the parts work together: http.h.
 */
#include "http.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#define QUERY_MS 10000

/* --- texts ------------------------------------------------------------------------------------ */

void http_text(char text[ASSENT_REASON_MAX + 1], const char *from)
{
    size_t size = strnlen(from, ASSENT_REASON_MAX + 1);

    if (size > ASSENT_REASON_MAX)
        for (size = ASSENT_REASON_MAX; size > 0 && ((unsigned char)from[size] & 0xc0) == 0x80;)
            size--;
    memmove(text, from, size);
    text[size] = '\0';
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
}

void http_result(struct assent_call *call, enum assent_rm_result result, const char *format, ...)
{
    char text[2 * ASSENT_REASON_MAX];
    va_list arguments;

    call->result = result;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    http_text(call->reason, text);
}

/* --- open and close --------------------------------------------------------------------------- */

static void close_http(void *resource)
{
    struct http *http = resource;
    struct http_branch *branch, *next;

    atomic_store(&http->stopping, true);
    http_orphans_stop(http);
    /* What was in work is TRYING in the barrier: the next open cancels it. */
    HASH_ITER (hh, http->branches, branch, next)
        http_branch_drop(http, branch);
    http_lanes_free(http);
    http_barrier_close(http->barrier);
    pthread_mutex_destroy(&http->mutex);
    explicit_bzero(http, sizeof(*http));
    free(http);
}

static int open_http(const struct assent_resource_environment *environment, void **ret_resource,
                     char *error, size_t error_size)
{
    struct http *http = calloc(1, sizeof(*http));
    char reason[ASSENT_REASON_MAX + 1];
    int r;

    if (http == NULL || http_exchange_init() != 0) {
        free(http);
        snprintf(error, error_size, "http: out of memory");
        return ASSENT_E_NOMEM;
    }
    pthread_mutex_init(&http->mutex, NULL);
    http->report = environment->report;
    http->report_context = environment->report_context;
    r = http_settings_parse(environment->parameters, &http->settings, error, error_size);
    if (r == 0) {
        r = http_barrier_open(environment->data_directory, http->settings.map_bytes, &http->barrier,
                              reason, sizeof(reason));
        if (r != 0)
            snprintf(error, error_size, "http: the barrier: %s", reason);
    }
    if (r == 0)
        r = http_orphans_start(http, error, error_size);
    if (r == 0) {
        http_settings_report(http);
        *ret_resource = http;
    } else {
        close_http(http);
    }
    return r;
}

/* --- one branch ------------------------------------------------------------------------------- */

static void begin_new(struct http *http, struct assent_call *call)
{
    int r = http_branch_add(http, &call->id);

    if (r == ASSENT_E_LIMIT)
        http_result(call, ASSENT_RM_FAILED, "over %u branches are in work", HTTP_BRANCHES_MAX);
    else if (r != 0)
        http_result(call, ASSENT_RM_FAILED, "%s", assent_error_text(r));
    else
        http_result(call, ASSENT_RM_OK, "%s", "");
}

static void begin(void *resource, struct assent_call *call)
{
    struct http *http = resource;
    struct http_record record;
    int r;

    if (http_branch_find(http, &call->id) != NULL) {
        http_result(call, ASSENT_RM_OK, "%s", "");
        return;
    }
    r = http_barrier_get(http->barrier, &call->id, &record);
    if (r == ASSENT_E_NOT_FOUND) {
        begin_new(http, call);
        return;
    }
    if (r != 0) {
        http_result(call, r == ASSENT_E_CORRUPT ? ASSENT_RM_UNKNOWN_CODE : ASSENT_RM_UNAVAILABLE,
                    "the barrier's record: %s", assent_error_text(r));
        return;
    }
    switch (record.state) {
    case HTTP_PREPARED:
        http_result(call, ASSENT_RM_FAILED, "the branch is prepared already");
        return;
    case HTTP_CONFIRMED:
        http_result(call, ASSENT_RM_WAS_COMMITTED, "the branch has committed");
        return;
    case HTTP_TRYING:
    case HTTP_CANCELLING:
    case HTTP_CANCELLED:
        http_result(call, ASSENT_RM_REFUSED, "the branch is cancelled: this Try is too late");
        return;
    }
}

static void work(void *resource, struct assent_call *call)
{
    struct http *http = resource;
    struct http_branch *branch = http_branch_find(http, &call->id);

    call->reply = NULL;
    call->reply_size = 0;
    if (branch == NULL)
        http_result(call, ASSENT_RM_REFUSED, "no such branch");
    else
        http_work(http, branch, call);
}

/* The call says which: prepare, commit, rollback or forget. */
static void finish(void *resource, struct assent_call *call)
{
    http_finish(resource, &call, 1);
}

static void batch(void *resource, struct assent_call **calls, size_t count)
{
    http_finish(resource, calls, count);
}

static void evidence(void *resource, struct assent_call *call)
{
    http_evidence(resource, call);
}

/* --- questions -------------------------------------------------------------------------------- */

struct listing {
    enum http_state state; /* of those that are listed */
    size_t limit;
    void (*found)(const struct assent_branch_id *id, void *context);
    void *context;
};

static bool list_some(const struct assent_branch_id *id, const struct http_record *record,
                      void *context)
{
    struct listing *listing = context;

    if (record->state != listing->state)
        return true;
    listing->found(id, listing->context);
    return --listing->limit > 0;
}

static int recover(void *resource, void (*found)(const struct assent_branch_id *id, void *context),
                   void *context)
{
    struct http *http = resource;
    struct listing listing = {HTTP_PREPARED, SIZE_MAX, found, context};
    struct assent_branch_id damaged;

    return http_barrier_scan(http->barrier, NULL, list_some, &listing, &damaged);
}

/* What the service has confirmed. */
static int markers(void *resource, const struct assent_branch_id *after, size_t limit,
                   void (*found)(const struct assent_branch_id *id, void *context), void *context)
{
    struct http *http = resource;
    struct listing listing = {HTTP_CONFIRMED, limit, found, context};
    struct assent_branch_id damaged;

    return http_barrier_scan(http->barrier, after, list_some, &listing, &damaged);
}

/* A GET. 0 and the reply in the request, or an error. */
static int ask(struct http *http, const char *url, struct http_request *request, char *error,
               size_t error_size)
{
    *request = (struct http_request){.url = url, .timeout_ms = http->settings.timeout_ms};
    if (request->timeout_ms > QUERY_MS)
        request->timeout_ms = QUERY_MS;
    http_exchange(http, &request, 1);
    if (request->status >= 200 && request->status <= 299)
        return 0;
    if (request->status != 0)
        snprintf(error, error_size, "http: the service answered %ld", request->status);
    else
        snprintf(error, error_size, "http: %s", request->reason);
    http_request_clear(request);
    return ASSENT_E_UNAVAILABLE;
}

/* What is prepared is in the barrier, so an agent can start while its service is away; one that is
 * given a URL to ask there does not. */
static int ping(void *resource, char *error, size_t error_size)
{
    struct http *http = resource;
    struct http_request request;
    int r;

    if (http->settings.ping_url[0] == '\0')
        return 0;
    if ((r = ask(http, http->settings.ping_url, &request, error, error_size)) == 0)
        http_request_clear(&request);
    return r;
}

/* GET of the query URL with the command behind it, as q=COMMAND. */
static int query(void *resource, const char *command, char **ret_json, char *error,
                 size_t error_size)
{
    struct http *http = resource;
    const char *base = http->settings.query_url;
    char *escaped = NULL, *url = NULL;
    struct http_request request;
    json_t *json = NULL;
    int r = ASSENT_E_NOMEM;

    if (strncmp(command, "own ", 4) == 0) {
        snprintf(error, error_size, "http: a service is asked by its agent alone");
        return ASSENT_E_INVALID;
    }
    if (*base == '\0') {
        snprintf(error, error_size, "http: there is no parameter \"query\"");
        return ASSENT_E_NOT_FOUND;
    }
    snprintf(error, error_size, "http: out of memory");
    if ((escaped = curl_easy_escape(NULL, command, 0)) == NULL)
        return r;
    if (asprintf(&url, "%s%cq=%s", base, strchr(base, '?') != NULL ? '&' : '?', escaped) < 0) {
        url = NULL;
        goto out;
    }
    if ((r = ask(http, url, &request, error, error_size)) != 0)
        goto out;
    if (request.reply != NULL)
        json = json_loadb(request.reply, request.reply_size, JSON_DECODE_ANY, NULL);
    if (json == NULL) {
        snprintf(error, error_size, "http: the service's answer is not JSON");
        r = ASSENT_E_INVALID;
    } else {
        *ret_json = request.reply;
        request.reply = NULL;
    }
    http_request_clear(&request);
out:
    json_decref(json);
    curl_free(escaped);
    free(url);
    return r;
}

const struct assent_resource_ops assent_resource_http = {
    .size = sizeof(struct assent_resource_ops),
    .type = "http",
    .capabilities = ASSENT_CAP_PREPARED_LIST | ASSENT_CAP_EVIDENCE | ASSENT_CAP_BATCH,
    .open = open_http,
    .close = close_http,
    .begin = begin,
    .work = work,
    .prepare = finish,
    .commit = finish,
    .rollback = finish,
    .evidence = evidence,
    .forget = finish,
    .batch = batch,
    .recover = recover,
    .ping = ping,
    .query = query,
    .markers = markers,
};
