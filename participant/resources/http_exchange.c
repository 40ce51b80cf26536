/*
 * http_exchange.c: requests through libcurl, one or many at once, each within its time and bytes:
 * HTTP and HTTPS only, certificates checked, no redirect followed, no proxy, no cookie, connections
 * kept for the next request. Deliberately not here: what an answer means.
 *
 * A lane has the connections of one caller at a time, since libcurl's handles belong to one thread;
 * lanes wait in a list for the next caller.
 */
#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash_point.h"
#include "runtime.h"

#define POLL_MS 100 /* how soon a stop is seen */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode global;

static void init_global(void)
{
    global = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int http_exchange_init(void)
{
    pthread_once(&once, init_global);
    return global == CURLE_OK ? 0 : ASSENT_E_NOMEM;
}

/* --- lanes ------------------------------------------------------------------------------------ */

static struct http_lane *take_lane(struct http *http)
{
    struct http_lane *lane;

    pthread_mutex_lock(&http->mutex);
    if ((lane = SLIST_FIRST(&http->idle)) != NULL)
        SLIST_REMOVE_HEAD(&http->idle, idle);
    pthread_mutex_unlock(&http->mutex);
    if (lane != NULL || (lane = calloc(1, sizeof(*lane))) == NULL)
        return lane;
    if ((lane->multi = curl_multi_init()) == NULL) {
        free(lane);
        return NULL;
    }
    curl_multi_setopt(lane->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_PARALLEL);
    return lane;
}

static void give_lane(struct http *http, struct http_lane *lane)
{
    pthread_mutex_lock(&http->mutex);
    SLIST_INSERT_HEAD(&http->idle, lane, idle);
    pthread_mutex_unlock(&http->mutex);
}

void http_lanes_free(struct http *http)
{
    struct http_lane *lane;

    while ((lane = SLIST_FIRST(&http->idle)) != NULL) {
        SLIST_REMOVE_HEAD(&http->idle, idle);
        for (size_t i = 0; i < HTTP_PARALLEL; i++)
            curl_easy_cleanup(lane->easy[i]);
        curl_multi_cleanup(lane->multi);
        free(lane);
    }
}

/* --- one transfer ----------------------------------------------------------------------------- */

struct transfer {
    struct http_request *request; /* NULL: free */
    struct curl_slist *headers;
    char error[CURL_ERROR_SIZE];
};

/* Returning less than size makes libcurl end the transfer. */
static size_t on_body(char *data, size_t one, size_t size, void *context)
{
    struct http_request *request = context;
    char *grown;

    (void)one;
    if (size > request->reply_bytes_max - request->reply_size) {
        snprintf(request->reason, sizeof(request->reason), "the answer has over %zu bytes",
                 request->reply_bytes_max);
        return 0;
    }
    if ((grown = realloc(request->reply, request->reply_size + size + 1)) == NULL)
        return 0;
    memcpy(grown + request->reply_size, data, size);
    request->reply = grown;
    request->reply_size += size;
    grown[request->reply_size] = '\0';
    return size;
}

static size_t on_header(char *data, size_t one, size_t size, void *context)
{
    struct http_request *request = context;

    (void)data;
    (void)one;
    request->header_bytes += size;
    if (request->header_bytes <= HTTP_HEADER_BYTES_MAX)
        return size;
    snprintf(request->reason, sizeof(request->reason), "the answer's header has over %u bytes",
             HTTP_HEADER_BYTES_MAX);
    return 0;
}

static int add_header(struct curl_slist **headers, const char *name, const char *value)
{
    char line[ASSENT_BRANCH_ID_TEXT + 64];
    struct curl_slist *longer;

    snprintf(line, sizeof(line), "%s: %s", name, value);
    if ((longer = curl_slist_append(*headers, line)) == NULL)
        return ASSENT_E_NOMEM;
    *headers = longer;
    return 0;
}

static int make_headers(const struct http *http, struct http_request *request,
                        struct curl_slist **ret_headers)
{
    struct curl_slist *headers = NULL;
    int r = add_header(&headers, "Accept", "application/json");

    snprintf(request->reason, sizeof(request->reason), "out of memory");
    if (r == 0 && request->body != NULL)
        r = add_header(&headers, "Content-Type", "application/json");
    if (r == 0 && request->key[0] != '\0')
        r = add_header(&headers, "Idempotency-Key", request->key);
    if (r == 0 && request->traceparent[0] != '\0')
        r = add_header(&headers, "traceparent", request->traceparent);
    if (r == 0)
        r = http_settings_headers(&http->settings, &headers, request->reason);
    if (r != 0) {
        curl_slist_free_all(headers);
        return r;
    }
    request->reason[0] = '\0';
    *ret_headers = headers;
    return 0;
}

/* What the process's environment says (proxies) does not count: where requests go is in the
 * parameters alone. */
static int set_options(const struct http *http, CURL *easy, struct transfer *transfer)
{
    const struct http_settings *settings = &http->settings;
    struct http_request *request = transfer->request;
    CURLcode rc = CURLE_OK;

#define SET(option, value)                                                                         \
    do {                                                                                           \
        if (rc == CURLE_OK)                                                                        \
            rc = curl_easy_setopt(easy, option, value);                                            \
    } while (0)
    curl_easy_reset(easy); /* keeps its connection */
    SET(CURLOPT_URL, request->url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    if (settings->ca_file[0] != '\0')
        SET(CURLOPT_CAINFO, settings->ca_file);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)settings->connect_timeout_ms);
    SET(CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    SET(CURLOPT_USERAGENT, "assent/" ASSENT_VERSION);
    SET(CURLOPT_HTTPHEADER, transfer->headers);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, request);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, request);
    SET(CURLOPT_ERRORBUFFER, transfer->error);
    SET(CURLOPT_PRIVATE, transfer);
    if (request->body != NULL) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE, (long)strlen(request->body));
        SET(CURLOPT_POSTFIELDS, request->body);
    }
#undef SET
    return rc == CURLE_OK ? 0 : ASSENT_E_NOMEM;
}

/* False: it has ended already, with a reason. */
static bool start(const struct http *http, struct http_lane *lane, size_t slot,
                  struct transfer *transfer, struct http_request *request)
{
    *transfer = (struct transfer){.request = request};
    request->reply_bytes_max = http->settings.body_bytes_max;
    if (make_headers(http, request, &transfer->headers) != 0)
        goto out;
    if (lane->easy[slot] == NULL)
        lane->easy[slot] = curl_easy_init();
    if (lane->easy[slot] != NULL && set_options(http, lane->easy[slot], transfer) == 0) {
        ASSENT_CRASH_POINT(agent_before_http_send);
        if (curl_multi_add_handle(lane->multi, lane->easy[slot]) == CURLM_OK)
            return true;
    }
    snprintf(request->reason, sizeof(request->reason), "out of memory");
out:
    curl_slist_free_all(transfer->headers);
    transfer->request = NULL;
    return false;
}

static void finish(struct http_lane *lane, CURL *easy, struct transfer *transfer, CURLcode rc)
{
    struct http_request *request = transfer->request;
    long bytes = 0, status = 0;

    curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &bytes);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    request->sent = bytes > 0;
    if (rc == CURLE_OK)
        request->status = status;
    else if (request->reason[0] == '\0')
        http_text(request->reason,
                  transfer->error[0] != '\0' ? transfer->error : curl_easy_strerror(rc));
    curl_multi_remove_handle(lane->multi, easy);
    curl_slist_free_all(transfer->headers);
    transfer->request = NULL;
    ASSENT_CRASH_POINT(agent_after_http_send);
}

/* --- all of them ------------------------------------------------------------------------------ */

static size_t collect(struct http_lane *lane)
{
    struct transfer *transfer;
    size_t ended = 0;
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(lane->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        finish(lane, message->easy_handle, transfer, message->data.result);
        ended++;
    }
    return ended;
}

static void give_up(struct http_lane *lane, struct transfer *transfers, const char *reason)
{
    for (size_t i = 0; i < HTTP_PARALLEL; i++) {
        if (transfers[i].request == NULL)
            continue;
        snprintf(transfers[i].request->reason, sizeof(transfers[i].request->reason), "%s", reason);
        finish(lane, lane->easy[i], &transfers[i], CURLE_ABORTED_BY_CALLBACK);
    }
}

/* Starts as many as have a place; those whose turn comes too late are not sent. */
static size_t start_more(struct http *http, struct http_lane *lane, struct transfer *transfers,
                         struct http_request **requests, size_t count, size_t *next, bool late)
{
    size_t started = 0;

    for (size_t slot = 0; slot < HTTP_PARALLEL && *next < count; slot++) {
        while (transfers[slot].request == NULL && *next < count) {
            struct http_request *request = requests[(*next)++];

            if (late)
                snprintf(request->reason, sizeof(request->reason),
                         "not sent: the requests before it took too long");
            else if (start(http, lane, slot, &transfers[slot], request))
                started++;
        }
    }
    return started;
}

void http_exchange(struct http *http, struct http_request **requests, size_t count)
{
    uint64_t deadline_ms = assent_now_ms() + http->settings.timeout_ms;
    struct transfer transfers[HTTP_PARALLEL] = {{.request = NULL}};
    struct http_lane *lane = take_lane(http);
    size_t next = 0, active = 0;
    int running;

    for (size_t i = 0; lane == NULL && i < count; i++)
        snprintf(requests[i]->reason, sizeof(requests[i]->reason), "out of memory");
    if (lane == NULL)
        return;
    while (next < count || active > 0) {
        active += start_more(http, lane, transfers, requests, count, &next,
                             assent_now_ms() > deadline_ms);
        if (curl_multi_perform(lane->multi, &running) != CURLM_OK || atomic_load(&http->stopping)) {
            give_up(lane, transfers, "given up: the resource is being closed");
            active = 0;
            continue;
        }
        active -= collect(lane);
        if (running > 0)
            (void)curl_multi_poll(lane->multi, NULL, 0, POLL_MS, NULL);
    }
    give_lane(http, lane);
}

void http_request_clear(struct http_request *request)
{
    free(request->reply);
    request->reply = NULL;
    request->reply_size = 0;
}
