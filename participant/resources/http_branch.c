/*
 * http_branch.c: the branches in work, the names that branches have at the service, and the bodies
 * of requests. Prepared branches are not here: they are in the barrier.
 */
#include "http.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct http_branch *http_branch_find(struct http *http, const struct assent_branch_id *id)
{
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    struct http_branch *branch;

    assent_branch_id_encode(id, name);
    pthread_mutex_lock(&http->mutex);
    HASH_FIND(hh, http->branches, name, sizeof(name), branch);
    pthread_mutex_unlock(&http->mutex);
    return branch;
}

int http_branch_add(struct http *http, const struct assent_branch_id *id)
{
    struct http_branch *branch = calloc(1, sizeof(*branch));
    int r = 0;

    if (branch == NULL)
        return ASSENT_E_NOMEM;
    branch->id = *id;
    assent_branch_id_encode(id, branch->name);
    pthread_mutex_lock(&http->mutex);
    if (HASH_COUNT(http->branches) >= HTTP_BRANCHES_MAX) {
        r = ASSENT_E_LIMIT;
    } else {
        HASH_ADD(hh, http->branches, name, sizeof(branch->name), branch);
        if (branch->hh.tbl == NULL)
            r = ASSENT_E_NOMEM;
    }
    pthread_mutex_unlock(&http->mutex);
    if (r != 0)
        free(branch);
    return r;
}

void http_branch_drop(struct http *http, struct http_branch *branch)
{
    pthread_mutex_lock(&http->mutex);
    HASH_DEL(http->branches, branch);
    pthread_mutex_unlock(&http->mutex);
    free(branch);
}

static void write_hex(const uint8_t *bytes, size_t size, char *text)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < size; i++) {
        *text++ = digits[bytes[i] >> 4];
        *text++ = digits[bytes[i] & 15];
    }
    *text = '\0';
}

/* The application's, so that its trace goes on in the service; else, or if that is no traceparent,
 * one that the gtrid gives, so that all requests of a transaction are found together. */
static void make_traceparent(const struct assent_branch_id *id, enum http_phase phase,
                             const char *given, char text[ASSENT_TRACEPARENT_MAX + 1])
{
    char trace[2 * ASSENT_GTRID_BYTES + 1];

    if (strlen(given) == ASSENT_TRACEPARENT_MAX &&
        strspn(given, "0123456789abcdef-") == ASSENT_TRACEPARENT_MAX) {
        snprintf(text, ASSENT_TRACEPARENT_MAX + 1, "%s", given);
        return;
    }
    write_hex(id->gtrid.bytes, sizeof(id->gtrid.bytes), trace);
    snprintf(text, ASSENT_TRACEPARENT_MAX + 1, "00-%s-%08" PRIx32 "%08x-00", trace, id->branch,
             (unsigned)phase + 1);
}

int http_request_make(const struct http *http, const struct assent_branch_id *id,
                      enum http_phase phase, uint32_t number, const char *work,
                      const char *traceparent, struct http_request *ret_request, char **ret_body)
{
    static const char *const names[HTTP_PHASES] = {
        [HTTP_TRY] = "try", [HTTP_CONFIRM] = "confirm", [HTTP_CANCEL] = "cancel"};
    char name[ASSENT_BRANCH_ID_TEXT + 1], gtrid[ASSENT_GTRID_TEXT + 1], tail[32] = "", *body;
    int size;

    assent_branch_id_format(id, name);
    assent_gtrid_format(&id->gtrid, gtrid);
    if (phase == HTTP_TRY)
        snprintf(tail, sizeof(tail), ",\"try\":%" PRIu32, number);
    size = asprintf(
        &body, "{\"id\":\"%s\",\"gtrid\":\"%s\",\"branch\":%" PRIu32 ",\"phase\":\"%s\"%s%s%s}",
        name, gtrid, id->branch & ~ASSENT_BRANCH_OF_3PC, names[phase], tail,
        work != NULL ? ",\"work\":" : "", work != NULL ? work : "");
    if (size < 0)
        return ASSENT_E_NOMEM;
    *ret_request = (struct http_request){
        .url = http->settings.url[phase], .body = body, .timeout_ms = http->settings.timeout_ms};
    if (phase == HTTP_TRY)
        snprintf(tail, sizeof(tail), ":%" PRIu32, number);
    snprintf(ret_request->key, sizeof(ret_request->key), "%s:%s%s", name, names[phase], tail);
    make_traceparent(id, phase, traceparent, ret_request->traceparent);
    *ret_body = body;
    return 0;
}
