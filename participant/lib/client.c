/*
 * client.c: opening and closing a client, and the blocking calls: each is one request that is
 * submitted and waited for.
 */
#include "client_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

#define DEFAULT_ADDRESS     "127.0.0.1:7372"
#define DEFAULT_CONNECT_MS  5000
#define DEFAULT_REQUEST_MS  60000
#define DEFAULT_FRAME_BYTES (1u << 20)
#define FRAME_BYTES_MIN     1024
#define FRAME_BYTES_MAX     (64u << 20)

/* Where a blocking call's answer goes; what a call does not want is NULL. */
struct awaited {
    bool finished;
    int error;
    struct assent_client *client;
    struct assent_result *result;
    struct assent_gtrid *gtrid;
    struct assent_branch_id *branch_id;
    char **reply;
    size_t *reply_size;
};

static int copy_option(struct assent_client *client, const char *option, const char *value,
                       const char *initial, char *copy, size_t copy_size)
{
    if (value == NULL)
        value = initial;
    if (strlen(value) >= copy_size)
        return client_fail(client, ASSENT_E_INVALID, "%s: more than %zu bytes", option,
                           copy_size - 1);
    snprintf(copy, copy_size, "%s", value);
    return 0;
}

static uint32_t or_default(uint32_t value, uint32_t initial)
{
    return value != 0 ? value : initial;
}

static int take_client_options(struct assent_client *client,
                               const struct assent_client_options *from)
{
    struct assent_client_options options = {.size = sizeof(options)};
    int error;

    if (client_take_options(&options, sizeof(options), from) != 0)
        return client_fail(client, ASSENT_E_INVALID,
                           "client options: size is not that of this version");
    error = copy_option(client, "address", options.address, DEFAULT_ADDRESS, client->address,
                        sizeof(client->address));
    if (error == 0)
        error = copy_option(client, "name", options.name, "application", client->name,
                            sizeof(client->name));
    if (error == 0)
        error = copy_option(client, "cluster", options.cluster, "default", client->cluster,
                            sizeof(client->cluster));
    client->connect_ms = or_default(options.connect_ms, DEFAULT_CONNECT_MS);
    client->request_ms = or_default(options.request_ms, DEFAULT_REQUEST_MS);
    client->frame_bytes_max = or_default(options.frame_bytes_max, DEFAULT_FRAME_BYTES);
    if (error == 0 &&
        (client->frame_bytes_max < FRAME_BYTES_MIN || client->frame_bytes_max > FRAME_BYTES_MAX))
        return client_fail(client, ASSENT_E_INVALID, "frame_bytes_max: %u, %d to %u wanted",
                           client->frame_bytes_max, FRAME_BYTES_MIN, FRAME_BYTES_MAX);
    return error;
}

int assent_client_open(const struct assent_client_options *options,
                       struct assent_client **ret_client, char *error, size_t error_size)
{
    struct assent_client *client = calloc(1, sizeof(*client));
    int result;

    if (client == NULL) {
        snprintf(error, error_size, "out of memory");
        return ASSENT_E_NOMEM;
    }
    client->fd = -1;
    TAILQ_INIT(&client->open_ones);
    TAILQ_INIT(&client->spare_ones);
    result = take_client_options(client, options);
    if (result == 0) {
        result = assent_arena_new(client->frame_bytes_max + ASSENT_ARENA_EXTRA, &client->arena);
        if (result != 0)
            client_fail(client, result, "%s", assent_error_text(result));
    }
    if (result == 0)
        result = client_connect(client);
    if (result != 0) {
        snprintf(error, error_size, "%s", client->error);
        assent_client_close(client);
        return result;
    }
    *ret_client = client;
    return 0;
}

void assent_client_close(struct assent_client *client)
{
    if (client == NULL)
        return;
    ASSENT_ASSERT(!client->processing);
    client_disconnect(client);
    client->processing = true;
    client_request_fail_all(client, ASSENT_E_CLOSED, "the client was closed");
    client_request_free_all(client);
    assent_arena_free(client->arena);
    free(client->input.data);
    free(client->output.data);
    free(client->encoded);
    free(client);
}

const char *assent_client_error(const struct assent_client *client)
{
    return client->error;
}

/* A copy for the caller, with a NUL behind it. */
static int copy_reply(struct assent_bytes from, char **ret_reply, size_t *ret_size)
{
    char *copy;

    if (ret_reply == NULL)
        return 0;
    copy = malloc(from.size + 1);
    if (copy == NULL)
        return ASSENT_E_NOMEM;
    if (from.size > 0)
        memcpy(copy, from.data, from.size);
    copy[from.size] = '\0';
    *ret_reply = copy;
    if (ret_size != NULL)
        *ret_size = from.size;
    return 0;
}

static int take_answer(const struct client_request *request, const struct assent_wire *wire,
                       struct awaited *awaited)
{
    switch ((int)wire->kind) {
    case ASSENT_WIRE_BEGIN_REPLY:
        *awaited->gtrid = wire->u.begin_reply.gtrid;
        return 0;
    case ASSENT_WIRE_ENLIST_REPLY:
        if (awaited->branch_id == NULL)
            return 0;
        awaited->branch_id->gtrid = request->gtrid;
        awaited->branch_id->branch = wire->u.enlist_reply.branch;
        memcpy(awaited->branch_id->log_id, wire->u.enlist_reply.log_id, ASSENT_LOG_ID_BYTES);
        return 0;
    case ASSENT_WIRE_WORK_REPLY:
        return copy_reply(wire->u.work_reply.reply, awaited->reply, awaited->reply_size);
    case ASSENT_WIRE_INSPECTION:
        return copy_reply(wire->u.inspection.json, awaited->reply, NULL);
    default:
        client_take_result(wire, awaited->result);
        return 0;
    }
}

static void on_finished(const struct client_request *request, int error, const char *text,
                        const struct assent_wire *wire)
{
    struct awaited *awaited = request->context;

    if (wire != NULL) {
        error = take_answer(request, wire, awaited);
        text = "out of memory for the answer";
    }
    awaited->error = error;
    awaited->finished = true;
    if (error != 0)
        client_fail(awaited->client, error, "%s", *text != '\0' ? text : assent_error_text(error));
}

/* Makes sure of a connection before anything is sent: one that ended while idle is noticed here,
 * so that its end is not mistaken for a lost answer. */
static int make_ready(struct assent_client *client)
{
    if (client->processing || !TAILQ_EMPTY(&client->open_ones))
        return client_fail(client, ASSENT_E_STATE,
                           "a blocking call while submitted requests are open");
    if (client->fd >= 0 && assent_client_process(client) == 0)
        return 0;
    return client_connect(client);
}

static int call(struct assent_client *client, struct assent_wire *wire,
                const struct assent_gtrid *gtrid, struct awaited *awaited)
{
    struct client_request like = {.finished = on_finished, .context = awaited};
    int error = make_ready(client);

    if (error != 0)
        return error;
    awaited->client = client;
    if (gtrid != NULL) {
        like.has_gtrid = true;
        like.gtrid = *gtrid;
    }
    error = client_request_add(client, wire, 0, &like);
    if (error != 0)
        return error;
    for (;;) {
        /* A failure here finishes the request. */
        (void)!assent_client_process(client);
        if (awaited->finished)
            return awaited->error;
        client_wait(client, assent_client_events(client),
                    TAILQ_FIRST(&client->open_ones)->deadline_ms);
    }
}

static int call_request(struct assent_client *client, const struct assent_request *request,
                        struct awaited *awaited)
{
    struct assent_wire wire;
    int error;

    if (awaited->result != NULL)
        client_unknown_result(request->gtrid, awaited->result);
    error = client_request_wire(client, request, &wire);
    if (error != 0)
        return error;
    return call(client, &wire, request->gtrid, awaited);
}

int assent_client_begin(struct assent_client *client, const struct assent_begin_options *options,
                        struct assent_gtrid *ret_gtrid)
{
    struct assent_request request = {.kind = ASSENT_REQUEST_BEGIN, .begin = options};
    struct awaited awaited = {.gtrid = ret_gtrid};

    return call_request(client, &request, &awaited);
}

int assent_client_work(struct assent_client *client, const struct assent_gtrid *gtrid,
                       const struct assent_work *work, char **ret_reply, size_t *ret_reply_size)
{
    struct assent_request request = {
        .kind = ASSENT_REQUEST_WORK, .gtrid = gtrid, .works = work, .work_count = 1};
    struct awaited awaited = {.reply = ret_reply, .reply_size = ret_reply_size};

    return call_request(client, &request, &awaited);
}

int assent_client_enlist(struct assent_client *client, const struct assent_gtrid *gtrid,
                         const char *participant, struct assent_branch_id *ret_id)
{
    struct assent_wire wire;
    struct awaited awaited = {.branch_id = ret_id};

    if (gtrid == NULL)
        return client_fail(client, ASSENT_E_INVALID, "gtrid: missing");
    wire.kind = ASSENT_WIRE_ENLIST;
    wire.u.enlist.gtrid = *gtrid;
    wire.u.enlist.participant = participant;
    return call(client, &wire, gtrid, &awaited);
}

static int end(struct assent_client *client, enum assent_request_kind kind,
               const struct assent_gtrid *gtrid, bool wait, struct assent_result *ret_result)
{
    struct assent_request request = {.kind = kind, .gtrid = gtrid, .wait = wait};
    struct awaited awaited = {.result = ret_result};

    return call_request(client, &request, &awaited);
}

int assent_client_commit(struct assent_client *client, const struct assent_gtrid *gtrid, bool wait,
                         struct assent_result *ret_result)
{
    return end(client, ASSENT_REQUEST_COMMIT, gtrid, wait, ret_result);
}

int assent_client_rollback(struct assent_client *client, const struct assent_gtrid *gtrid,
                           bool wait, struct assent_result *ret_result)
{
    return end(client, ASSENT_REQUEST_ROLLBACK, gtrid, wait, ret_result);
}

int assent_client_run(struct assent_client *client, const struct assent_begin_options *options,
                      const struct assent_work *works, size_t count, bool wait,
                      struct assent_result *ret_result)
{
    struct assent_request request = {.kind = ASSENT_REQUEST_RUN,
                                     .begin = options,
                                     .works = works,
                                     .work_count = count,
                                     .wait = wait};
    struct awaited awaited = {.result = ret_result};

    return call_request(client, &request, &awaited);
}

int assent_client_status(struct assent_client *client, const struct assent_gtrid *gtrid,
                         const char *key, bool wait, struct assent_result *ret_result)
{
    struct assent_request request = {
        .kind = ASSENT_REQUEST_STATUS, .gtrid = gtrid, .key = key, .wait = wait};
    struct awaited awaited = {.result = ret_result};

    return call_request(client, &request, &awaited);
}

int assent_client_inspect(struct assent_client *client, const char *what, const char *argument,
                          const char *participant, uint32_t limit, char **ret_json)
{
    struct assent_wire wire;
    struct awaited awaited = {.reply = ret_json};

    wire.kind = ASSENT_WIRE_INSPECT;
    wire.u.inspect.what = what;
    wire.u.inspect.argument = argument;
    wire.u.inspect.participant = participant;
    wire.u.inspect.limit = limit;
    return call(client, &wire, NULL, &awaited);
}

int assent_client_operate(struct assent_client *client, enum assent_action action,
                          const struct assent_gtrid *gtrid, const char *who, const char *reason,
                          bool force, struct assent_result *ret_result)
{
    struct assent_wire wire = {.kind = ASSENT_WIRE_OPERATE};
    struct awaited awaited = {.result = ret_result};

    wire.u.operate.action = action;
    wire.u.operate.has_gtrid = gtrid != NULL;
    if (gtrid != NULL)
        wire.u.operate.gtrid = *gtrid;
    wire.u.operate.who = who;
    wire.u.operate.reason = reason;
    wire.u.operate.force = force;
    return call(client, &wire, gtrid, &awaited);
}
