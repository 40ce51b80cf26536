/*
 * codec_check.c: ranges, limits, names and UTF-8 of every message, see codec_check.h. What can only
 * be seen on the wire (lengths of ids, hidden NULs, wide integers) is in codec_decode.c. Whether a
 * message makes sense now is the receiver's question, not asked here.
 */
#include "codec_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gtrid.h"
#include "utf8.h"

/* Lists are numbered 0, 1, 2, ...: the count bounds them, and each number is below it. */
#define COUNT(name, number, text) +1
enum {
    PROTOCOL_COUNT = 0 ASSENT_PROTOCOLS(COUNT),
    TERMINATION_COUNT = 0 ASSENT_TERMINATIONS(COUNT),
    VOTE_COUNT = 0 ASSENT_VOTES(COUNT),
    OUTCOME_COUNT = 0 ASSENT_OUTCOMES(COUNT),
    REASON_COUNT = 0 ASSENT_REASONS(COUNT),
    MESSAGE_COUNT = 0 ASSENT_MESSAGES(COUNT),
    RESULT_COUNT = 0 ASSENT_BRANCH_RESULTS(COUNT),
    STATE_COUNT = 0 ASSENT_MEMBER_STATES(COUNT),
    ACTION_COUNT = 0 ASSENT_ACTIONS(COUNT), /* from 1 on */
};
#define X(name, number, text) _Static_assert((number) < PROTOCOL_COUNT, "a gap");
ASSENT_PROTOCOLS(X)
#undef X
#define X(name, number, text) _Static_assert((number) < TERMINATION_COUNT, "a gap");
ASSENT_TERMINATIONS(X)
#undef X
#define X(name, number, text) _Static_assert((number) < VOTE_COUNT, "a gap");
ASSENT_VOTES(X)
#undef X
#define X(name, number, text) _Static_assert((number) < OUTCOME_COUNT, "a gap");
ASSENT_OUTCOMES(X)
#undef X
#define X(name, number, text) _Static_assert((number) < REASON_COUNT, "a gap");
ASSENT_REASONS(X)
#undef X
#define X(name, number, text) _Static_assert((number) < MESSAGE_COUNT, "a gap");
ASSENT_MESSAGES(X)
#undef X
#define X(name, number, text) _Static_assert((number) < RESULT_COUNT, "a gap");
ASSENT_BRANCH_RESULTS(X)
#undef X
#define X(name, number, text) _Static_assert((number) < STATE_COUNT, "a gap");
ASSENT_MEMBER_STATES(X)
#undef X

/* Errors grow at their end, so a newer peer's are let through; but never 0 or above, which would
 * be a success, nor what cannot be negated. */
#define ERROR_MIN (-9999)

#define SOFTWARE_MAX 63

enum name_rule {
    NAME = 0,
    NAME_OPTIONAL = 1, /* may be empty */
    NAME_RESOURCE = 2, /* may be "NAME/RESOURCE" */
};

void codec_fail(struct codec_check *check, int error, const char *format, ...)
{
    va_list arguments;
    int length;

    if (check->failed != 0)
        return;
    check->failed = error;
    if (check->text == NULL || check->text_size == 0)
        return;
    va_start(arguments, format);
    length = vsnprintf(check->text, check->text_size, format, arguments);
    va_end(arguments);
    if (check->item >= 0 && length >= 0 && (size_t)length < check->text_size)
        snprintf(check->text + length, check->text_size - (size_t)length, " (item %d)",
                 check->item);
}

static void check_range(struct codec_check *check, const char *field, uint32_t value,
                        uint32_t least, uint32_t most)
{
    if (value < least || value > most)
        codec_fail(check, check->violation, "%s: %u, %u to %u wanted", field, value, least, most);
}

static void check_text(struct codec_check *check, const char *field, const char *text, size_t most)
{
    size_t size = text == NULL ? 0 : strnlen(text, most + 1);

    if (size > most)
        codec_fail(check, check->violation, "%s: more than %zu bytes", field, most);
    else if (size > 0 && !assent_utf8_valid(text, size))
        codec_fail(check, check->violation, "%s: not UTF-8", field);
}

/* Reasons are mended when encoding and so only checked when decoding. */
static void check_reason(struct codec_check *check, const char *field, const char *text)
{
    if (check->violation == ASSENT_E_PROTOCOL)
        check_text(check, field, text, ASSENT_REASON_MAX);
}

static bool is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
}

static void check_name(struct codec_check *check, const char *field, const char *text,
                       unsigned rule)
{
    size_t size = 0; /* of the part before or after the '/' */

    if (text == NULL || *text == '\0') {
        if (!(rule & NAME_OPTIONAL))
            codec_fail(check, check->violation, "%s: missing", field);
        return;
    }
    for (; *text != '\0' && size <= ASSENT_NAME_MAX; text++) {
        if (is_name_character(*text)) {
            size++;
        } else if (*text == '/' && (rule & NAME_RESOURCE) && size > 0) {
            rule &= ~(unsigned)NAME_RESOURCE; /* one is enough */
            size = 0;
        } else {
            codec_fail(check, check->violation, "%s: byte 0x%02x does not belong in a name", field,
                       (unsigned)(unsigned char)*text);
            return;
        }
    }
    if (size == 0)
        codec_fail(check, check->violation, "%s: nothing after the '/'", field);
    else if (size > ASSENT_NAME_MAX)
        codec_fail(check, check->violation, "%s: more than %d bytes", field, ASSENT_NAME_MAX);
}

static void check_bytes(struct codec_check *check, const char *field, struct assent_bytes bytes)
{
    if (bytes.size > 0 && bytes.data == NULL)
        codec_fail(check, check->violation, "%s: no data", field);
}

static void check_hello(struct codec_check *check, const struct assent_wire_hello *hello)
{
    check_range(check, "hello.version_min", hello->version_min, 1, UINT32_MAX);
    check_range(check, "hello.version_max", hello->version_max, hello->version_min, UINT32_MAX);
    check_range(check, "hello.role", hello->role, ASSENT_ROLE_COORDINATOR, ASSENT_ROLE_APPLICATION);
    check_name(check, "hello.name", hello->name,
               hello->role == ASSENT_ROLE_PARTICIPANT ? NAME : NAME_OPTIONAL);
    check_name(check, "hello.cluster", hello->cluster, NAME);
    check_text(check, "hello.address", hello->address, ASSENT_ADDRESS_MAX);
    check_text(check, "hello.software", hello->software, SOFTWARE_MAX);
    check_range(check, "hello.coordinator", hello->coordinator, 0, UINT16_MAX);
    if (hello->role == ASSENT_ROLE_COORDINATOR) {
        check_range(check, "hello.incarnation", hello->incarnation, 0, ASSENT_INCARNATION_MAX);
        if (!hello->has_log_id)
            codec_fail(check, check->violation, "hello.log_id: missing");
    }
    if (hello->resource_count > ASSENT_RESOURCES_MAX) {
        codec_fail(check, check->violation, "hello.resources: %zu, at most %d wanted",
                   hello->resource_count, ASSENT_RESOURCES_MAX);
        return;
    }
    for (size_t i = 0; i < hello->resource_count; i++) {
        check->item = (int)i;
        check_name(check, "hello.resources.name", hello->resources[i].name, NAME);
        check_name(check, "hello.resources.type", hello->resources[i].type, NAME);
    }
    check->item = -1;
}

static void check_ping(struct codec_check *check, const struct assent_wire *wire)
{
    if (wire->u.ping.away_count > ASSENT_RESOURCES_MAX) {
        codec_fail(check, check->violation, "ping.away: %zu, at most %d wanted",
                   wire->u.ping.away_count, ASSENT_RESOURCES_MAX);
        return;
    }
    for (size_t i = 0; i < wire->u.ping.away_count; i++) {
        check->item = (int)i;
        check_name(check, "ping.away.resource", wire->u.ping.away[i].resource, NAME);
        check_reason(check, "ping.away.reason", wire->u.ping.away[i].reason);
    }
    check->item = -1;
}

static void check_begin(struct codec_check *check, const struct assent_wire_begin *begin)
{
    check_range(check, "begin.protocol", begin->protocol, 0, PROTOCOL_COUNT - 1);
    check_range(check, "begin.termination", begin->termination, 0, TERMINATION_COUNT - 1);
    check_text(check, "begin.key", begin->key, ASSENT_KEY_MAX);
    check_text(check, "begin.traceparent", begin->traceparent, ASSENT_TRACEPARENT_MAX);
}

static void check_run(struct codec_check *check, const struct assent_wire *wire)
{
    check_begin(check, &wire->u.run.begin);
    if (wire->u.run.branch_count > ASSENT_BRANCHES_MAX) {
        codec_fail(check, check->violation, "run.branches: %zu, at most %d wanted",
                   wire->u.run.branch_count, ASSENT_BRANCHES_MAX);
        return;
    }
    for (size_t i = 0; i < wire->u.run.branch_count; i++) {
        check->item = (int)i;
        check_name(check, "run.branches.participant", wire->u.run.branches[i].participant,
                   NAME_RESOURCE);
        check_bytes(check, "run.branches.work", wire->u.run.branches[i].work);
    }
    check->item = -1;
}

static void check_peers(struct codec_check *check, const struct assent_wire *wire)
{
    if (wire->u.branch.peer_count > ASSENT_BRANCHES_MAX) {
        codec_fail(check, check->violation, "branch.peers: %zu, at most %d wanted",
                   wire->u.branch.peer_count, ASSENT_BRANCHES_MAX);
        return;
    }
    for (size_t i = 0; i < wire->u.branch.peer_count; i++) {
        check->item = (int)i;
        check_name(check, "branch.peers.participant", wire->u.branch.peers[i].participant,
                   NAME_RESOURCE);
        check_text(check, "branch.peers.address", wire->u.branch.peers[i].address,
                   ASSENT_ADDRESS_MAX);
    }
    check->item = -1;
}

static void check_branch(struct codec_check *check, const struct assent_wire *wire)
{
    const struct assent_message *message = &wire->u.branch.message;

    check_range(check, "branch.kind", message->kind, 1, MESSAGE_COUNT - 1);
    check_range(check, "branch.incarnation", message->incarnation, 0, ASSENT_INCARNATION_MAX);
    check_range(check, "branch.protocol", message->protocol, 0, PROTOCOL_COUNT - 1);
    check_range(check, "branch.termination", message->termination, 0, TERMINATION_COUNT - 1);
    check_range(check, "branch.branch_count", message->branch_count, 0, ASSENT_BRANCHES_MAX);
    check_range(check, "branch.vote", message->vote, 0, VOTE_COUNT - 1);
    check_range(check, "branch.result", message->result, 0, RESULT_COUNT - 1);
    check_range(check, "branch.reason", message->reason, 0, REASON_COUNT - 1);
    check_reason(check, "branch.reason_text", wire->u.branch.reason_text);
    check_name(check, "branch.resource", wire->u.branch.resource, NAME_OPTIONAL);
    check_text(check, "branch.traceparent", wire->u.branch.traceparent, ASSENT_TRACEPARENT_MAX);
    check_bytes(check, "branch.work", wire->u.branch.work);
    check_range(check, "branch.from", message->from, 0, ASSENT_BRANCHES_MAX);
    check_range(check, "branch.state", message->state, 0, STATE_COUNT - 1);
    check_peers(check, wire);
}

static void check_inspection(struct codec_check *check, struct assent_bytes json)
{
    check_bytes(check, "inspection.json", json);
    if (check->failed == 0 && json.size > 0 &&
        (memchr(json.data, '\0', json.size) != NULL || !assent_utf8_valid(json.data, json.size)))
        codec_fail(check, check->violation, "inspection.json: not UTF-8 without NUL");
}

static void check_refusal(struct codec_check *check, const struct assent_wire *wire)
{
    if (wire->u.refusal.error >= 0 || wire->u.refusal.error < ERROR_MIN)
        codec_fail(check, check->violation, "refusal.error: %d, %d to -1 wanted",
                   wire->u.refusal.error, ERROR_MIN);
    check_reason(check, "refusal.text", wire->u.refusal.text);
}

static void check_result(struct codec_check *check, const struct assent_wire *wire)
{
    check_range(check, "result.outcome", wire->u.result.outcome, 0, OUTCOME_COUNT - 1);
    check_reason(check, "result.reason", wire->u.result.reason);
    check_text(check, "result.phase", wire->u.result.phase, ASSENT_PHASE_MAX);
}

static void check_status(struct codec_check *check, const struct assent_wire *wire)
{
    const char *key = wire->u.status.key;

    check_text(check, "status.key", key, ASSENT_KEY_MAX);
    if (!wire->u.status.has_gtrid && (key == NULL || *key == '\0'))
        codec_fail(check, check->violation, "status: neither gtrid nor key");
}

static void check_operate(struct codec_check *check, const struct assent_wire *wire)
{
    check_range(check, "operate.action", wire->u.operate.action, 1, ACTION_COUNT);
    if (wire->u.operate.has_gtrid == (wire->u.operate.action == ASSENT_ACTION_ACCEPT))
        codec_fail(check, check->violation, "operate.gtrid: %s",
                   wire->u.operate.has_gtrid ? "not wanted" : "missing");
    check_text(check, "operate.who", wire->u.operate.who, ASSENT_NAME_MAX);
    check_reason(check, "operate.reason", wire->u.operate.reason);
    if (wire->u.operate.reason == NULL || wire->u.operate.reason[0] == '\0')
        codec_fail(check, check->violation, "operate.reason: missing");
}

static void check_inspect(struct codec_check *check, const struct assent_wire *wire)
{
    check_name(check, "inspect.what", wire->u.inspect.what, NAME);
    check_text(check, "inspect.argument", wire->u.inspect.argument, ASSENT_COMMAND_MAX);
    check_name(check, "inspect.participant", wire->u.inspect.participant,
               NAME_RESOURCE | NAME_OPTIONAL);
}

void codec_check_wire(struct codec_check *check, const struct assent_wire *wire)
{
    switch (wire->kind) {
    case ASSENT_WIRE_HELLO:
        check_hello(check, &wire->u.hello);
        return;
    case ASSENT_WIRE_REFUSAL:
        check_refusal(check, wire);
        return;
    case ASSENT_WIRE_BEGIN:
        check_begin(check, &wire->u.begin);
        return;
    case ASSENT_WIRE_ENLIST:
        check_name(check, "enlist.participant", wire->u.enlist.participant, NAME_RESOURCE);
        return;
    case ASSENT_WIRE_WORK:
        check_name(check, "work.participant", wire->u.work.participant, NAME_RESOURCE);
        check_bytes(check, "work.work", wire->u.work.work);
        return;
    case ASSENT_WIRE_WORK_REPLY:
        check_bytes(check, "work_reply.reply", wire->u.work_reply.reply);
        return;
    case ASSENT_WIRE_RUN:
        check_run(check, wire);
        return;
    case ASSENT_WIRE_STATUS:
        check_status(check, wire);
        return;
    case ASSENT_WIRE_RESULT:
        check_result(check, wire);
        return;
    case ASSENT_WIRE_INSPECT:
        check_inspect(check, wire);
        return;
    case ASSENT_WIRE_INSPECTION:
        check_inspection(check, wire->u.inspection.json);
        return;
    case ASSENT_WIRE_BRANCH:
        check_branch(check, wire);
        return;
    case ASSENT_WIRE_RESOURCE_QUERY:
        check_name(check, "resource_query.resource", wire->u.resource_query.resource,
                   NAME_OPTIONAL);
        check_text(check, "resource_query.command", wire->u.resource_query.command,
                   ASSENT_COMMAND_MAX);
        check_range(check, "resource_query.kind", wire->u.resource_query.kind, 0,
                    ASSENT_QUERY_MARKERS);
        return;
    case ASSENT_WIRE_OPERATE:
        check_operate(check, wire);
        return;
    case ASSENT_WIRE_PING:
        check_ping(check, wire);
        return;
    case ASSENT_WIRE_BEGIN_REPLY:
    case ASSENT_WIRE_ENLIST_REPLY:
    case ASSENT_WIRE_END:
        return; /* ids and numbers only */
    case ASSENT_WIRE_END_OF_KINDS:
        break;
    }
    codec_fail(check, check->violation, "envelope: no message of kind %d", (int)wire->kind);
}
