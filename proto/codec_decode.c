/*
 * codec_decode.c: from a frame's bytes to struct assent_wire. Turns generated types into plain
 * ones and refuses what only shows on the wire: lengths of ids, hidden NULs, integers that do not
 * fit, more than one body. All other rules are in codec_check.c.
 */
#include "codec.h"

#include <string.h>

#include "arena.h"
#include "assent.pb-c.h"
#include "codec_check.h"
#include "codec_direct.h"

/* The numbers on the wire are those of the core's and the public enums. */
#define SAME(wire_name, number)                                                                    \
    _Static_assert((int)(wire_name) == (number), "assent.proto and the C enums disagree")
#define X(name, number, text) SAME(ASSENT__V1__PROTOCOL__PROTOCOL_##name, number);
ASSENT_PROTOCOLS(X)
#undef X
#define X(name, number, text) SAME(ASSENT__V1__TERMINATION__TERMINATION_##name, number);
ASSENT_TERMINATIONS(X)
#undef X
#define X(name, number, text) SAME(ASSENT__V1__VOTE__VOTE_##name, number);
ASSENT_VOTES(X)
#undef X
#define X(name, number, text) SAME(ASSENT__V1__OUTCOME__OUTCOME_##name, number);
ASSENT_OUTCOMES(X)
#undef X
#define X(name, number, text) SAME(ASSENT__V1__BRANCH_RESULT__RESULT_##name, number);
ASSENT_BRANCH_RESULTS(X)
#undef X
#define ASSENT__V1__BRANCH_KIND__BRANCH_NONE ASSENT__V1__BRANCH_KIND__BRANCH_UNSPECIFIED
#define X(name, number, text)                SAME(ASSENT__V1__BRANCH_KIND__BRANCH_##name, number);
ASSENT_MESSAGES(X)
#undef X
#define X(name, number, text) SAME(ASSENT__V1__MEMBER_STATE__MEMBER_##name, number);
ASSENT_MEMBER_STATES(X)
#undef X
#define X(name, number, text) SAME(ASSENT__V1__ENVELOPE__BODY_##name, number);
ASSENT_WIRES(X)
#undef X
SAME(ASSENT__V1__ROLE__ROLE_COORDINATOR, ASSENT_ROLE_COORDINATOR);
SAME(ASSENT__V1__ROLE__ROLE_PARTICIPANT, ASSENT_ROLE_PARTICIPANT);
SAME(ASSENT__V1__ROLE__ROLE_APPLICATION, ASSENT_ROLE_APPLICATION);

enum presence { REQUIRED, OPTIONAL };

/* Reads one varint; false if there is none. */
static bool read_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret_value)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;

        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

/* Counts the envelope's bodies of known kinds, which the library would merge or let the last one
 * win. Looks at the outermost fields only; false if they are damaged. */
static bool count_bodies(const uint8_t *data, size_t size, unsigned *ret_count)
{
    const uint8_t *at = data, *end = data + size;
    unsigned count = 0;
    uint64_t tag, value;

    while (at < end) {
        if (!read_varint(&at, end, &tag))
            return false;
        switch (tag & 7) {
        case 0:
            if (!read_varint(&at, end, &value))
                return false;
            value = 0;
            break;
        case 1:
            value = 8;
            break;
        case 2:
            if (!read_varint(&at, end, &value))
                return false;
            break;
        case 5:
            value = 4;
            break;
        default:
            return false;
        }
        if (value > (size_t)(end - at))
            return false;
        at += value;
        tag >>= 3;
        count += tag >= ASSENT_WIRE_HELLO && tag < ASSENT_WIRE_END_OF_KINDS;
    }
    *ret_count = count;
    return true;
}

static const char *text(struct codec_check *check, const char *field, const char *value)
{
    /* An absent string is the library's constant and not the arena's. */
    if (value == NULL || value == &protobuf_c_empty_string[0])
        return "";
    if (strlen(value) + 1 != assent_arena_size_of(value))
        codec_fail(check, check->violation, "%s: holds a NUL", field);
    return value;
}

static struct assent_bytes bytes(const ProtobufCBinaryData *value)
{
    return (struct assent_bytes){value->data, value->len};
}

/* True if there is an id; all zeros are stored when there is none. */
static bool id(struct codec_check *check, const char *field, const ProtobufCBinaryData *value,
               enum presence presence, uint8_t ret_id[ASSENT_GTRID_BYTES])
{
    if (value->len == ASSENT_GTRID_BYTES) {
        memcpy(ret_id, value->data, ASSENT_GTRID_BYTES);
        return true;
    }
    if (value->len > 0 || presence == REQUIRED)
        codec_fail(check, check->violation, "%s: %zu bytes, %d wanted", field, value->len,
                   ASSENT_GTRID_BYTES);
    memset(ret_id, 0, ASSENT_GTRID_BYTES);
    return false;
}
_Static_assert(ASSENT_GTRID_BYTES == ASSENT_LOG_ID_BYTES, "id() reads both");

static uint32_t narrow(struct codec_check *check, const char *field, uint64_t value)
{
    if (value > UINT32_MAX)
        codec_fail(check, check->violation, "%s: %llu does not fit 32 bits", field,
                   (unsigned long long)value);
    return (uint32_t)value;
}

static void take_hello(struct codec_check *check, const Assent__V1__Hello *from,
                       struct assent_wire_hello *to)
{
    to->version_min = from->version_min;
    to->version_max = from->version_max;
    to->role = (enum assent_role)from->role;
    to->name = text(check, "hello.name", from->name);
    to->cluster = text(check, "hello.cluster", from->cluster);
    to->address = text(check, "hello.address", from->address);
    to->software = text(check, "hello.software", from->software);
    to->has_log_id = id(check, "hello.log_id", &from->log_id, OPTIONAL, to->log_id);
    to->coordinator = from->coordinator;
    to->incarnation = narrow(check, "hello.incarnation", from->incarnation);
    to->position = from->position;
    to->life = from->life;
    to->accepted = from->accepted;
    to->resource_count = from->n_resources; /* too many: refused by the check, not stored */
    for (size_t i = 0; i < from->n_resources && i < ASSENT_RESOURCES_MAX; i++) {
        check->item = (int)i;
        to->resources[i] = (struct assent_wire_resource){
            .name = text(check, "hello.resources.name", from->resources[i]->name),
            .type = text(check, "hello.resources.type", from->resources[i]->type),
            .capabilities = from->resources[i]->capabilities,
        };
    }
    check->item = -1;
}

static void take_ping(struct codec_check *check, const Assent__V1__Ping *from,
                      struct assent_wire *to)
{
    to->u.ping.has_ended_below =
        id(check, "ping.ended_below", &from->ended_below, OPTIONAL, to->u.ping.ended_below.bytes);
    to->u.ping.position = from->position;
    to->u.ping.accepted = from->accepted;
    to->u.ping.holds = from->holds != 0;
    to->u.ping.away_count = from->n_away; /* too many: refused by the check, not stored */
    for (size_t i = 0; i < from->n_away && i < ASSENT_RESOURCES_MAX; i++) {
        check->item = (int)i;
        to->u.ping.away[i] = (struct assent_wire_away){
            .resource = text(check, "ping.away.resource", from->away[i]->resource),
            .reason = text(check, "ping.away.reason", from->away[i]->reason),
        };
    }
    check->item = -1;
}

static void take_begin(struct codec_check *check, const Assent__V1__Begin *from,
                       struct assent_wire_begin *to)
{
    to->protocol = (enum assent_protocol)from->protocol;
    to->termination = (enum assent_termination)from->termination;
    to->timeout_ms = from->timeout_ms;
    to->key = text(check, "begin.key", from->key);
    to->traceparent = text(check, "begin.traceparent", from->traceparent);
    to->detached = from->detached;
}

static void take_run(struct codec_check *check, const Assent__V1__Run *from, struct assent_wire *to)
{
    Assent__V1__Begin defaults;

    assent__v1__begin__init(&defaults);
    take_begin(check, from->begin != NULL ? from->begin : &defaults, &to->u.run.begin);
    to->u.run.wait = from->wait;
    to->u.run.branch_count = from->n_branches; /* too many: refused by the check, not stored */
    for (size_t i = 0; i < from->n_branches && i < ASSENT_BRANCHES_MAX; i++) {
        check->item = (int)i;
        to->u.run.branches[i].participant =
            text(check, "run.branches.participant", from->branches[i]->participant);
        to->u.run.branches[i].work = bytes(&from->branches[i]->work);
    }
    check->item = -1;
}

static void take_peers(struct codec_check *check, const Assent__V1__Branch *from,
                       struct assent_wire *to)
{
    to->u.branch.peer_count = from->n_peers; /* too many: refused by the check, not stored */
    for (size_t i = 0; i < from->n_peers && i < ASSENT_BRANCHES_MAX; i++) {
        struct assent_wire_peer *peer = &to->u.branch.peers[i];

        check->item = (int)i;
        peer->participant = text(check, "branch.peers.participant", from->peers[i]->participant);
        peer->address = text(check, "branch.peers.address", from->peers[i]->address);
        peer->epoch = narrow(check, "branch.peers.epoch", from->peers[i]->epoch);
    }
    check->item = -1;
}

static void take_branch(struct codec_check *check, const Assent__V1__Branch *from,
                        struct assent_wire *to)
{
    struct assent_message *message = &to->u.branch.message;

    message->kind = (enum assent_message_kind)from->kind;
    id(check, "branch.gtrid", &from->gtrid, REQUIRED, message->gtrid.bytes);
    message->branch = from->branch;
    message->incarnation = narrow(check, "branch.incarnation", from->incarnation);
    message->epoch = narrow(check, "branch.epoch", from->epoch);
    message->protocol = (enum assent_protocol)from->protocol;
    message->termination = (enum assent_termination)from->termination;
    message->branch_count = from->branch_count;
    message->timeout_ms = from->timeout_ms;
    message->vote = (enum assent_vote)from->vote;
    message->result = (enum assent_branch_result)from->result;
    message->reason = (enum assent_reason)from->reason;
    message->has_work = from->has_work;
    message->from = from->from;
    message->ballot = from->ballot;
    message->state = (enum assent_member_state)from->state;
    message->attempt = from->attempt;
    message->recovered = from->recovered;
    id(check, "branch.log_id", &from->log_id, OPTIONAL, to->u.branch.log_id);
    to->u.branch.reason_text = text(check, "branch.reason_text", from->reason_text);
    to->u.branch.resource = text(check, "branch.resource", from->resource);
    to->u.branch.traceparent = text(check, "branch.traceparent", from->traceparent);
    to->u.branch.work = bytes(&from->work);
    take_peers(check, from, to);
}

static void take_result(struct codec_check *check, const Assent__V1__Result *from,
                        struct assent_wire *to)
{
    id(check, "result.gtrid", &from->gtrid, REQUIRED, to->u.result.gtrid.bytes);
    to->u.result.outcome = (enum assent_outcome)from->outcome;
    to->u.result.reason = text(check, "result.reason", from->reason);
    to->u.result.phase = text(check, "result.phase", from->phase);
    to->u.result.ended = from->ended;
}

static void take_inspection(struct codec_check *check, const Assent__V1__Inspection *from,
                            struct assent_wire *to)
{
    const char *json = text(check, "inspection.json", from->json);

    to->u.inspection.json = (struct assent_bytes){json, strlen(json)};
}

static void take_work(struct codec_check *check, const Assent__V1__Work *from,
                      struct assent_wire *to)
{
    id(check, "work.gtrid", &from->gtrid, REQUIRED, to->u.work.gtrid.bytes);
    to->u.work.participant = text(check, "work.participant", from->participant);
    to->u.work.work = bytes(&from->work);
}

static void take_status(struct codec_check *check, const Assent__V1__Status *from,
                        struct assent_wire *to)
{
    to->u.status.has_gtrid =
        id(check, "status.gtrid", &from->gtrid, OPTIONAL, to->u.status.gtrid.bytes);
    to->u.status.key = text(check, "status.key", from->key);
    to->u.status.wait = from->wait;
}

static void take_inspect(struct codec_check *check, const Assent__V1__Inspect *from,
                         struct assent_wire *to)
{
    to->u.inspect.what = text(check, "inspect.what", from->what);
    to->u.inspect.argument = text(check, "inspect.argument", from->argument);
    to->u.inspect.participant = text(check, "inspect.participant", from->participant);
    to->u.inspect.limit = from->limit;
}

static void take_end(struct codec_check *check, const Assent__V1__End *from, struct assent_wire *to)
{
    id(check, "end.gtrid", &from->gtrid, REQUIRED, to->u.end.gtrid.bytes);
    to->u.end.commit = from->commit;
    to->u.end.wait = from->wait;
}

static void take_body(struct codec_check *check, const Assent__V1__Envelope *from,
                      struct assent_wire *to)
{
    switch (to->kind) {
    case ASSENT_WIRE_HELLO:
        take_hello(check, from->hello, &to->u.hello);
        return;
    case ASSENT_WIRE_REFUSAL:
        to->u.refusal.error = from->refusal->error;
        to->u.refusal.text = text(check, "refusal.text", from->refusal->text);
        to->u.refusal.retry_after_ms = from->refusal->retry_after_ms;
        return;
    case ASSENT_WIRE_PING:
        take_ping(check, from->ping, to);
        return;
    case ASSENT_WIRE_BEGIN:
        take_begin(check, from->begin, &to->u.begin);
        return;
    case ASSENT_WIRE_BEGIN_REPLY:
        id(check, "begin_reply.gtrid", &from->begin_reply->gtrid, REQUIRED,
           to->u.begin_reply.gtrid.bytes);
        to->u.begin_reply.timeout_ms = from->begin_reply->timeout_ms;
        return;
    case ASSENT_WIRE_ENLIST:
        id(check, "enlist.gtrid", &from->enlist->gtrid, REQUIRED, to->u.enlist.gtrid.bytes);
        to->u.enlist.participant = text(check, "enlist.participant", from->enlist->participant);
        return;
    case ASSENT_WIRE_ENLIST_REPLY:
        to->u.enlist_reply.branch = from->enlist_reply->branch;
        id(check, "enlist_reply.log_id", &from->enlist_reply->log_id, REQUIRED,
           to->u.enlist_reply.log_id);
        return;
    case ASSENT_WIRE_WORK:
        take_work(check, from->work, to);
        return;
    case ASSENT_WIRE_WORK_REPLY:
        to->u.work_reply.branch = from->work_reply->branch;
        to->u.work_reply.reply = bytes(&from->work_reply->reply);
        return;
    case ASSENT_WIRE_END:
        take_end(check, from->end, to);
        return;
    case ASSENT_WIRE_RUN:
        take_run(check, from->run, to);
        return;
    case ASSENT_WIRE_STATUS:
        take_status(check, from->status, to);
        return;
    case ASSENT_WIRE_RESULT:
        take_result(check, from->result, to);
        return;
    case ASSENT_WIRE_INSPECT:
        take_inspect(check, from->inspect, to);
        return;
    case ASSENT_WIRE_INSPECTION:
        take_inspection(check, from->inspection, to);
        return;
    case ASSENT_WIRE_BRANCH:
        take_branch(check, from->branch, to);
        return;
    case ASSENT_WIRE_OPERATE:
        to->u.operate.action = (enum assent_action)from->operate->action;
        to->u.operate.has_gtrid =
            id(check, "operate.gtrid", &from->operate->gtrid, OPTIONAL, to->u.operate.gtrid.bytes);
        to->u.operate.force = from->operate->force != 0;
        to->u.operate.who = text(check, "operate.who", from->operate->who);
        to->u.operate.reason = text(check, "operate.reason", from->operate->reason);
        return;
    case ASSENT_WIRE_RESOURCE_QUERY:
        to->u.resource_query.kind = (enum assent_query_kind)from->resource_query->kind;
        to->u.resource_query.resource =
            text(check, "resource_query.resource", from->resource_query->resource);
        to->u.resource_query.command =
            text(check, "resource_query.command", from->resource_query->command);
        return;
    case ASSENT_WIRE_END_OF_KINDS:
        break;
    }
    codec_fail(check, check->violation, "envelope: no body");
}

int codec_decode_by_library(const void *data, size_t size, struct assent_arena *arena,
                            struct assent_wire *ret_wire, char *error, size_t error_size)
{
    struct codec_check check = {
        .violation = ASSENT_E_PROTOCOL, .item = -1, .text = error, .text_size = error_size};
    const Assent__V1__Envelope *envelope;
    unsigned bodies;

    assent_arena_reset(arena);
    if (!count_bodies(data, size, &bodies)) {
        codec_fail(&check, ASSENT_E_PROTOCOL, "envelope: not a protobuf message");
        return check.failed;
    }
    if (bodies != 1) {
        codec_fail(&check, ASSENT_E_PROTOCOL, "envelope: %u bodies of a known kind, 1 wanted",
                   bodies);
        return check.failed;
    }
    envelope = assent__v1__envelope__unpack(assent_arena_allocator(arena), size, data);
    if (envelope == NULL && assent_arena_refused(arena))
        codec_fail(&check, ASSENT_E_TOO_BIG, "envelope: decoded, it is above the memory limit");
    else if (envelope == NULL)
        codec_fail(&check, ASSENT_E_PROTOCOL, "envelope: not a message of this protocol");
    if (check.failed != 0)
        return check.failed;
    ret_wire->kind = (enum assent_wire_kind)envelope->body_case;
    ret_wire->request = envelope->request;
    take_body(&check, envelope, ret_wire);
    if (check.failed == 0)
        codec_check_wire(&check, ret_wire);
    return check.failed;
}

int assent_wire_decode(const void *data, size_t size, struct assent_arena *arena,
                       struct assent_wire *ret_wire, char *error, size_t error_size)
{
    struct codec_check check = {
        .violation = ASSENT_E_PROTOCOL, .item = -1, .text = error, .text_size = error_size};

    assent_arena_reset(arena);
    if (!codec_direct_read(data, size, arena, ret_wire))
        return codec_decode_by_library(data, size, arena, ret_wire, error, error_size);
    codec_check_wire(&check, ret_wire);
    return check.failed;
}

const char *assent_wire_name(int kind)
{
    switch (kind) {
#define X(name, number, text)                                                                      \
    case number:                                                                                   \
        return text;
        ASSENT_WIRES(X)
#undef X
    default:
        return "?";
    }
}
