/*
 * codec_encode.c: from struct assent_wire to a frame's bytes. Builds the generated message on the
 * stack with pointers into the caller's data, so that nothing is copied but into the buffer. The
 * hot messages are written by codec_direct.c instead.
 */
#include "codec.h"

#include <stdlib.h>
#include <string.h>

#include "assent.pb-c.h"
#include "codec_check.h"
#include "codec_direct.h"
#include "utf8.h"

/* Protobuf's own bound on a message. */
#define MESSAGE_BYTES_MAX INT32_MAX
#define BUFFER_BYTES_MIN  256

/* The generated message and all it points to; only what a kind needs is filled. */
struct encoding {
    Assent__V1__Envelope envelope;
    union {
        struct {
            Assent__V1__Hello hello;
            Assent__V1__Resource resources[ASSENT_RESOURCES_MAX];
            Assent__V1__Resource *pointers[ASSENT_RESOURCES_MAX];
        } hello;
        Assent__V1__Refusal refusal;
        struct {
            Assent__V1__Ping ping;
            Assent__V1__Away away[ASSENT_RESOURCES_MAX];
            Assent__V1__Away *pointers[ASSENT_RESOURCES_MAX];
            char reasons[ASSENT_RESOURCES_MAX][ASSENT_REASON_MAX + 1];
        } ping;
        Assent__V1__Begin begin;
        Assent__V1__BeginReply begin_reply;
        Assent__V1__Enlist enlist;
        Assent__V1__EnlistReply enlist_reply;
        Assent__V1__Work work;
        Assent__V1__WorkReply work_reply;
        Assent__V1__End end;
        Assent__V1__Status status;
        Assent__V1__Inspect inspect;
        Assent__V1__Inspection inspection;
        Assent__V1__ResourceQuery resource_query;
        Assent__V1__Operate operate;
    } u;
    char reason[ASSENT_REASON_MAX + 1];
    char *json; /* inspection only: a copy, because the library wants a NUL at its end */
};

/* The library's types have no const, but packing never writes. */
static char *text(const char *value)
{
    return (char *)(uintptr_t)(value == NULL ? "" : value);
}

static ProtobufCBinaryData bytes(const void *data, size_t size)
{
    return (ProtobufCBinaryData){.len = size, .data = (uint8_t *)(uintptr_t)data};
}

static ProtobufCBinaryData gtrid(const struct assent_gtrid *value)
{
    return bytes(value->bytes, sizeof(value->bytes));
}

static char *reason(struct encoding *encoding, const char *value)
{
    assent_utf8_clean(text(value), encoding->reason, sizeof(encoding->reason));
    return encoding->reason;
}

static void put_hello(struct encoding *to, const struct assent_wire_hello *from)
{
    Assent__V1__Hello *hello = &to->u.hello.hello;

    assent__v1__hello__init(hello);
    hello->version_min = from->version_min;
    hello->version_max = from->version_max;
    hello->role = (Assent__V1__Role)from->role;
    hello->name = text(from->name);
    hello->cluster = text(from->cluster);
    hello->address = text(from->address);
    hello->software = text(from->software);
    if (from->has_log_id)
        hello->log_id = bytes(from->log_id, sizeof(from->log_id));
    hello->coordinator = from->coordinator;
    hello->incarnation = from->incarnation;
    hello->position = from->position;
    hello->life = from->life;
    hello->accepted = from->accepted;
    for (size_t i = 0; i < from->resource_count; i++) {
        Assent__V1__Resource *resource = &to->u.hello.resources[i];

        assent__v1__resource__init(resource);
        resource->name = text(from->resources[i].name);
        resource->type = text(from->resources[i].type);
        resource->capabilities = from->resources[i].capabilities;
        to->u.hello.pointers[i] = resource;
    }
    hello->resources = to->u.hello.pointers;
    hello->n_resources = from->resource_count;
    to->envelope.hello = hello;
}

static void put_ping(struct encoding *to, const struct assent_wire *from)
{
    Assent__V1__Ping *ping = &to->u.ping.ping;

    assent__v1__ping__init(ping);
    if (from->u.ping.has_ended_below)
        ping->ended_below = gtrid(&from->u.ping.ended_below);
    for (size_t i = 0; i < from->u.ping.away_count; i++) {
        Assent__V1__Away *away = &to->u.ping.away[i];

        assent__v1__away__init(away);
        away->resource = text(from->u.ping.away[i].resource);
        assent_utf8_clean(text(from->u.ping.away[i].reason), to->u.ping.reasons[i],
                          sizeof(to->u.ping.reasons[i]));
        away->reason = to->u.ping.reasons[i];
        to->u.ping.pointers[i] = away;
    }
    ping->position = from->u.ping.position;
    ping->accepted = from->u.ping.accepted;
    ping->holds = from->u.ping.holds;
    ping->away = to->u.ping.pointers;
    ping->n_away = from->u.ping.away_count;
    to->envelope.ping = ping;
}

static void put_begin(Assent__V1__Begin *to, const struct assent_wire_begin *from)
{
    assent__v1__begin__init(to);
    to->protocol = (Assent__V1__Protocol)from->protocol;
    to->termination = (Assent__V1__Termination)from->termination;
    to->timeout_ms = from->timeout_ms;
    to->key = text(from->key);
    to->traceparent = text(from->traceparent);
    to->detached = from->detached;
}

static int put_inspection(struct encoding *to, struct assent_bytes json)
{
    to->json = malloc(json.size + 1);
    if (to->json == NULL)
        return ASSENT_E_NOMEM;
    if (json.size > 0)
        memcpy(to->json, json.data, json.size);
    to->json[json.size] = '\0';
    assent__v1__inspection__init(&to->u.inspection);
    to->u.inspection.json = to->json;
    to->envelope.inspection = &to->u.inspection;
    return 0;
}

/* Starts the body of one kind: initialises it and makes the envelope point to it. */
#define START(kind) (assent__v1__##kind##__init(&to->u.kind), to->envelope.kind = &to->u.kind)

static void put_work(struct encoding *to, const struct assent_wire *from)
{
    START(work);
    to->u.work.gtrid = gtrid(&from->u.work.gtrid);
    to->u.work.participant = text(from->u.work.participant);
    to->u.work.work = bytes(from->u.work.work.data, from->u.work.work.size);
}

static void put_status(struct encoding *to, const struct assent_wire *from)
{
    START(status);
    if (from->u.status.has_gtrid)
        to->u.status.gtrid = gtrid(&from->u.status.gtrid);
    to->u.status.key = text(from->u.status.key);
    to->u.status.wait = from->u.status.wait;
}

static void put_inspect(struct encoding *to, const struct assent_wire *from)
{
    START(inspect);
    to->u.inspect.what = text(from->u.inspect.what);
    to->u.inspect.argument = text(from->u.inspect.argument);
    to->u.inspect.participant = text(from->u.inspect.participant);
    to->u.inspect.limit = from->u.inspect.limit;
}

static void put_end(struct encoding *to, const struct assent_wire *from)
{
    START(end);
    to->u.end.gtrid = gtrid(&from->u.end.gtrid);
    to->u.end.commit = from->u.end.commit;
    to->u.end.wait = from->u.end.wait;
}

static void put_refusal(struct encoding *to, const struct assent_wire *from)
{
    START(refusal);
    to->u.refusal.error = from->u.refusal.error;
    to->u.refusal.text = reason(to, from->u.refusal.text);
    to->u.refusal.retry_after_ms = from->u.refusal.retry_after_ms;
}

static void put_enlist(struct encoding *to, const struct assent_wire *from)
{
    START(enlist);
    to->u.enlist.gtrid = gtrid(&from->u.enlist.gtrid);
    to->u.enlist.participant = text(from->u.enlist.participant);
}

static void put_operate(struct encoding *to, const struct assent_wire *from)
{
    START(operate);
    to->u.operate.action = (Assent__V1__Action)from->u.operate.action;
    if (from->u.operate.has_gtrid)
        to->u.operate.gtrid = gtrid(&from->u.operate.gtrid);
    to->u.operate.force = from->u.operate.force;
    to->u.operate.who = text(from->u.operate.who);
    to->u.operate.reason = reason(to, from->u.operate.reason);
}

static int put_body(struct encoding *to, const struct assent_wire *from)
{
    switch (from->kind) {
    case ASSENT_WIRE_HELLO:
        put_hello(to, &from->u.hello);
        return 0;
    case ASSENT_WIRE_REFUSAL:
        put_refusal(to, from);
        return 0;
    case ASSENT_WIRE_PING:
        put_ping(to, from);
        return 0;
    case ASSENT_WIRE_BEGIN:
        put_begin(&to->u.begin, &from->u.begin);
        to->envelope.begin = &to->u.begin;
        return 0;
    case ASSENT_WIRE_BEGIN_REPLY:
        START(begin_reply);
        to->u.begin_reply.gtrid = gtrid(&from->u.begin_reply.gtrid);
        to->u.begin_reply.timeout_ms = from->u.begin_reply.timeout_ms;
        return 0;
    case ASSENT_WIRE_ENLIST:
        put_enlist(to, from);
        return 0;
    case ASSENT_WIRE_ENLIST_REPLY:
        START(enlist_reply);
        to->u.enlist_reply.branch = from->u.enlist_reply.branch;
        to->u.enlist_reply.log_id = bytes(from->u.enlist_reply.log_id, ASSENT_LOG_ID_BYTES);
        return 0;
    case ASSENT_WIRE_WORK:
        put_work(to, from);
        return 0;
    case ASSENT_WIRE_WORK_REPLY:
        START(work_reply);
        to->u.work_reply.branch = from->u.work_reply.branch;
        to->u.work_reply.reply =
            bytes(from->u.work_reply.reply.data, from->u.work_reply.reply.size);
        return 0;
    case ASSENT_WIRE_END:
        put_end(to, from);
        return 0;
    case ASSENT_WIRE_STATUS:
        put_status(to, from);
        return 0;
    case ASSENT_WIRE_INSPECT:
        put_inspect(to, from);
        return 0;
    case ASSENT_WIRE_INSPECTION:
        return put_inspection(to, from->u.inspection.json);
    case ASSENT_WIRE_OPERATE:
        put_operate(to, from);
        return 0;
    case ASSENT_WIRE_RESOURCE_QUERY:
        START(resource_query);
        to->u.resource_query.resource = text(from->u.resource_query.resource);
        to->u.resource_query.command = text(from->u.resource_query.command);
        to->u.resource_query.kind = (Assent__V1__QueryKind)from->u.resource_query.kind;
        return 0;
    case ASSENT_WIRE_RUN: /* these go by codec_direct.c */
    case ASSENT_WIRE_RESULT:
    case ASSENT_WIRE_BRANCH:
    case ASSENT_WIRE_END_OF_KINDS:
        break;
    }
    return ASSENT_E_INVALID;
}

int codec_buffer_grow(struct codec_buffer *buffer, size_t size)
{
    size_t wanted = buffer->capacity * 2 > size ? buffer->capacity * 2 : size;
    uint8_t *grown;

    if (size > MESSAGE_BYTES_MAX)
        return ASSENT_E_TOO_BIG;
    if (size <= buffer->capacity)
        return 0;
    if (wanted < BUFFER_BYTES_MIN)
        wanted = BUFFER_BYTES_MIN;
    grown = realloc(buffer->bytes, wanted);
    if (grown == NULL)
        return ASSENT_E_NOMEM;
    buffer->bytes = grown;
    buffer->capacity = wanted;
    return 0;
}

int assent_wire_check(const struct assent_wire *wire, char *error, size_t error_size)
{
    struct codec_check check = {
        .violation = ASSENT_E_INVALID, .item = -1, .text = error, .text_size = error_size};

    codec_check_wire(&check, wire);
    return check.failed;
}

static int write_by_library(const struct assent_wire *wire, struct codec_buffer *buffer,
                            size_t *ret_size)
{
    struct encoding encoding;
    int error;

    assent__v1__envelope__init(&encoding.envelope);
    encoding.json = NULL;
    encoding.envelope.request = wire->request;
    encoding.envelope.body_case = (Assent__V1__Envelope__BodyCase)wire->kind;
    error = put_body(&encoding, wire);
    if (error == 0)
        error =
            codec_buffer_grow(buffer, assent__v1__envelope__get_packed_size(&encoding.envelope));
    if (error == 0)
        *ret_size = assent__v1__envelope__pack(&encoding.envelope, buffer->bytes);
    free(encoding.json);
    return error;
}

int assent_wire_encode(const struct assent_wire *wire, uint8_t **buffer, size_t *capacity,
                       size_t *ret_size)
{
    struct codec_buffer grown = {*buffer, *capacity};
    int error = assent_wire_check(wire, NULL, 0);

    if (error == 0)
        error = codec_direct_writes(wire->kind) ? codec_direct_write(wire, &grown, ret_size)
                                                : write_by_library(wire, &grown, ret_size);
    *buffer = grown.bytes;
    *capacity = grown.capacity;
    return error;
}
