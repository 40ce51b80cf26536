/* codec_sample.c: messages to test with, see codec_sample.h. */
#include "codec_sample.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

struct assent_bytes bytes_of(const char *text)
{
    return (struct assent_bytes){text, strlen(text)};
}

static void fill_id(uint8_t *id, uint8_t first)
{
    for (size_t i = 0; i < ASSENT_GTRID_BYTES; i++)
        id[i] = (uint8_t)(first + i);
}

static void sample_begin(struct assent_wire_begin *begin)
{
    *begin = (struct assent_wire_begin){
        .protocol = ASSENT_3PC,
        .termination = ASSENT_TERMINATION_TIMEOUT,
        .timeout_ms = 30000,
        .key = "order-4711",
        .traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        .detached = true,
    };
}

static void sample_hello(struct assent_wire_hello *hello)
{
    *hello = (struct assent_wire_hello){
        .version_min = 1,
        .version_max = 3,
        .role = ASSENT_ROLE_COORDINATOR,
        .name = "bank-a",
        .cluster = "default",
        .address = "127.0.0.1:7400",
        .software = "assent 0.1.0",
        .has_log_id = true,
        .coordinator = 65535,
        .incarnation = (1u << 24) - 1,
        .position = 77,
        .life = UINT64_MAX,
        .accepted = 5,
        .resource_count = 2,
    };
    fill_id(hello->log_id, 1);
    hello->resources[0] = (struct assent_wire_resource){"kv", "kv", 11};
    hello->resources[1] = (struct assent_wire_resource){"ledger", "postgres", 3};
}

static void sample_branch(struct assent_wire *wire)
{
    wire->u.branch.message = (struct assent_message){
        .kind = ASSENT_MSG_VOTE,
        .branch = 3,
        .incarnation = 7,
        .epoch = UINT32_MAX,
        .protocol = ASSENT_3PC,
        .termination = ASSENT_TERMINATION_TIMEOUT,
        .branch_count = ASSENT_BRANCHES_MAX,
        .timeout_ms = 5000,
        .vote = ASSENT_VOTE_NO,
        .result = ASSENT_RESULT_HAZARD,
        .reason = ASSENT_REASON_WORK_FAILED,
        .has_work = true,
        .from = ASSENT_BRANCHES_MAX,
        .state = ASSENT_MEMBER_PREABORTED,
        .ballot = UINT32_MAX,
        .attempt = 77,
        .recovered = true,
    };
    wire->u.branch.peers[0] = (struct assent_wire_peer){"bank-a/kv", "127.0.0.1:7400", 3};
    wire->u.branch.peers[1] = (struct assent_wire_peer){"bank-b/kv", "[::1]:7400", UINT32_MAX};
    wire->u.branch.peer_count = 2;
    fill_id(wire->u.branch.message.gtrid.bytes, 2);
    fill_id(wire->u.branch.log_id, 9);
    wire->u.branch.reason_text = "konto überzogen";
    wire->u.branch.resource = "ledger";
    wire->u.branch.traceparent = "00-4bf9";
    wire->u.branch.work = (struct assent_bytes){"a\0b", 3};
}

static void sample_operate(struct assent_wire *wire)
{
    wire->u.operate.action = ASSENT_ACTION_ABORT;
    wire->u.operate.has_gtrid = true;
    fill_id(wire->u.operate.gtrid.bytes, 12);
    wire->u.operate.who = "alice@ops";
    wire->u.operate.reason = "the bank is gone";
    wire->u.operate.force = true;
}

static void sample_ping(struct assent_wire *wire)
{
    wire->u.ping.has_ended_below = true;
    fill_id(wire->u.ping.ended_below.bytes, 3);
    wire->u.ping.away[0] = (struct assent_wire_away){"ledger", "no route to host"};
    wire->u.ping.away[1] = (struct assent_wire_away){"stock", ""};
    wire->u.ping.away_count = 2;
    wire->u.ping.position = UINT64_MAX;
    wire->u.ping.accepted = 7;
    wire->u.ping.holds = true;
}

void sample(enum assent_wire_kind kind, struct assent_wire *wire)
{
    memset(wire, 0, sizeof(*wire));
    wire->kind = kind;
    wire->request = UINT64_MAX - kind;
    switch (kind) {
    case ASSENT_WIRE_HELLO:
        sample_hello(&wire->u.hello);
        return;
    case ASSENT_WIRE_REFUSAL:
        wire->u.refusal.error = ASSENT_E_LIMIT;
        wire->u.refusal.text = "too many transactions";
        wire->u.refusal.retry_after_ms = 250;
        return;
    case ASSENT_WIRE_PING:
        sample_ping(wire);
        return;
    case ASSENT_WIRE_BEGIN:
        sample_begin(&wire->u.begin);
        return;
    case ASSENT_WIRE_BEGIN_REPLY:
        fill_id(wire->u.begin_reply.gtrid.bytes, 4);
        wire->u.begin_reply.timeout_ms = 60000;
        return;
    case ASSENT_WIRE_ENLIST:
        fill_id(wire->u.enlist.gtrid.bytes, 5);
        wire->u.enlist.participant = "bank-a/kv";
        return;
    case ASSENT_WIRE_ENLIST_REPLY:
        wire->u.enlist_reply.branch = 4;
        fill_id(wire->u.enlist_reply.log_id, 6);
        return;
    case ASSENT_WIRE_WORK:
        fill_id(wire->u.work.gtrid.bytes, 7);
        wire->u.work.participant = "bank-a";
        wire->u.work.work = bytes_of("add alice -10 min 0");
        return;
    case ASSENT_WIRE_WORK_REPLY:
        wire->u.work_reply.branch = 5;
        wire->u.work_reply.reply = bytes_of("90");
        return;
    case ASSENT_WIRE_END:
        fill_id(wire->u.end.gtrid.bytes, 8);
        wire->u.end.commit = wire->u.end.wait = true;
        return;
    case ASSENT_WIRE_RUN:
        sample_begin(&wire->u.run.begin);
        wire->u.run.branch_count = 2;
        wire->u.run.branches[0] = (struct assent_wire_branch_work){"a", bytes_of("put x 1")};
        wire->u.run.branches[1] = (struct assent_wire_branch_work){"b/r", bytes_of("")};
        wire->u.run.wait = true;
        return;
    case ASSENT_WIRE_STATUS:
        wire->u.status.has_gtrid = true;
        fill_id(wire->u.status.gtrid.bytes, 10);
        wire->u.status.key = "k";
        wire->u.status.wait = true;
        return;
    case ASSENT_WIRE_RESULT:
        fill_id(wire->u.result.gtrid.bytes, 11);
        wire->u.result.outcome = ASSENT_OUTCOME_NEVER_SEEN;
        wire->u.result.reason = "no";
        wire->u.result.phase = "preparing";
        wire->u.result.ended = true;
        return;
    case ASSENT_WIRE_INSPECT:
        wire->u.inspect.what = "query";
        wire->u.inspect.argument = "get alice";
        wire->u.inspect.participant = "bank-a/kv";
        wire->u.inspect.limit = 100;
        return;
    case ASSENT_WIRE_INSPECTION:
        wire->u.inspection.json = bytes_of("{\"value\":\"ü\"}");
        return;
    case ASSENT_WIRE_BRANCH:
        sample_branch(wire);
        return;
    case ASSENT_WIRE_RESOURCE_QUERY:
        wire->u.resource_query.resource = "kv";
        wire->u.resource_query.command = "dump";
        wire->u.resource_query.kind = ASSENT_QUERY_MARKERS;
        return;
    case ASSENT_WIRE_OPERATE:
        sample_operate(wire);
        return;
    case ASSENT_WIRE_END_OF_KINDS:
        break;
    }
    fail();
}
