/*
 * sends.c: where each message of a machine goes: to its coordinator, to one of the transaction's
 * other participants, or to all of them; and the first-phase message, which names those.
 */
#include <stdlib.h>
#include <string.h>

#include "crash_point.h"
#include "driver.h"

struct points {
    bool named;
    enum assent_crash_point before, after;
};

static const struct points send_points[ASSENT_MSG_FORGET + 1] = {
    [ASSENT_MSG_VOTE] = {true, ASSENT_CRASH_agent_before_send_vote,
                         ASSENT_CRASH_agent_after_send_vote},
    [ASSENT_MSG_PRECOMMIT_ACK] = {true, ASSENT_CRASH_agent_before_send_precommit_ack,
                                  ASSENT_CRASH_agent_after_send_precommit_ack},
    [ASSENT_MSG_ACK] = {true, ASSENT_CRASH_agent_before_send_ack,
                        ASSENT_CRASH_agent_after_send_ack},
    [ASSENT_MSG_ELECT] = {true, ASSENT_CRASH_agent_before_send_elect,
                          ASSENT_CRASH_agent_after_send_elect},
    [ASSENT_MSG_PROPOSE] = {true, ASSENT_CRASH_agent_before_send_propose,
                            ASSENT_CRASH_agent_after_send_propose},
};

static void start(const struct agent_branch *branch, const struct assent_message *message,
                  struct assent_wire *ret_wire)
{
    assent_wire_clear(ret_wire, ASSENT_WIRE_BRANCH);
    ret_wire->u.branch.message = *message;
    memcpy(ret_wire->u.branch.log_id, branch->id.log_id, sizeof(ret_wire->u.branch.log_id));
}

static int to_coordinator(const struct agent_step *step, const struct assent_message *message)
{
    struct agent_branch *branch = step->branch;
    struct agent_link *link = branch->log->link;
    struct assent_wire wire;

    if (!link)
        return ASSENT_E_UNAVAILABLE; /* the machine repeats it when the coordinator is back */
    /* All that is in doubt asks at once when a coordinator is back: not more than it can take. */
    if (message->kind == ASSENT_MSG_INQUIRE &&
        agent_link_output_bytes(link) > AGENT_OUTPUT_BYTES_MAX / 2)
        return ASSENT_E_LIMIT;
    start(branch, message, &wire);
    assent_part_address(&wire.u.branch.message, ASSENT_TO_COORDINATOR);
    wire.u.branch.resource = branch->resource->name;
    if (message->vote == ASSENT_VOTE_NO || message->result >= ASSENT_RESULT_ABORTED)
        wire.u.branch.reason_text = branch->reason_text;
    if (message->kind == ASSENT_MSG_WORK_REPLY) {
        if (step->job && step->job->connection != agent_link_connection(link))
            return ASSENT_E_UNAVAILABLE; /* whoever asked is gone */
        if (step->job) {
            wire.request = step->job->request;
            wire.u.branch.work.data = step->job->call.reply;
            wire.u.branch.work.size = step->job->call.reply_size;
        } else if (step->wire) {
            wire.request = step->wire->request;
        }
    }
    return agent_link_send(link, &wire);
}

/* Whoever has asked is answered where it asked: that reaches it wherever it is now, also before our
 * coordinator has told us of it. */
static int to_peer(const struct agent_branch *branch, const struct assent_message *message,
                   uint32_t to)
{
    struct assent_participant *agent = branch->agent;
    const struct agent_address *address = NULL;
    struct assent_wire wire;

    start(branch, message, &wire);
    assent_part_address(&wire.u.branch.message, to);
    wire.u.branch.message.epoch = 0;
    if (to <= branch->peer_count) {
        wire.u.branch.message.epoch = branch->peers[to - 1].epoch;
        address = agent_address_book_get(&agent->address_book, branch->peers[to - 1].number);
    }
    if (address)
        wire.u.branch.resource = address->resource;
    if (to == branch->asker &&
        agent_peers_answer(agent, branch->asker_connection, &wire) != ASSENT_E_UNAVAILABLE)
        return 0;
    return address ? agent_peers_send(agent, address, &wire) : ASSENT_E_UNAVAILABLE;
}

void agent_sends_message(const struct agent_step *step, const struct assent_message *message,
                         uint32_t to)
{
    const struct agent_branch *branch = step->branch;
    struct points points = send_points[message->kind];
    bool sent = false;

    if (points.named)
        assent_crash_point(points.before);
    if (to == ASSENT_TO_COORDINATOR || to == ASSENT_TO_ALL)
        sent = to_coordinator(step, message) == 0;
    if (to != ASSENT_TO_COORDINATOR)
        for (uint32_t member = 1; member <= ASSENT_BRANCHES_MAX; member++)
            if (member != branch->id.branch &&
                (to == member || (to == ASSENT_TO_ALL && member <= branch->peer_count)))
                sent |= to_peer(branch, message, member) == 0;
    if (sent && points.named)
        assent_sent_points_after(branch->agent->sent_points, points.after);
}

/* Without them the branch can wait for its coordinator alone, as one of a single branch does. */
void agent_sends_learn_peers(struct agent_branch *branch, const struct assent_wire *wire)
{
    uint32_t count = (uint32_t)wire->u.branch.peer_count;
    struct assent_part_record_peer peers[ASSENT_BRANCHES_MAX];

    if (wire->u.branch.message.kind != ASSENT_MSG_PREPARE || branch->peers || count == 0)
        return;
    for (uint32_t i = 0; i < count; i++) {
        const struct agent_address *address =
            agent_address_book_learn(branch->agent, &wire->u.branch.peers[i]);

        if (!address || count != wire->u.branch.message.branch_count) {
            assent_log(ASSENT_LOG_WARN, "peers_ignored", "why=%s",
                       assent_log_quote(address ? "they are not one for each branch"
                                                : "the address book is full"));
            return;
        }
        peers[i].number = address->number;
        peers[i].epoch = wire->u.branch.peers[i].epoch;
    }
    agent_branches_keep_peers(branch, peers, count);
}
