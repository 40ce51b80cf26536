/* node.c: a node as bytes, so that equal nodes have one number; and what it looks like from
 * outside. Not what it does. */
#include <stdlib.h>
#include <string.h>

#include "explore.h"

#define NODE_BYTES_MAX (sizeof(struct node) + 64)

static struct intern nodes;
static struct look {
    uint32_t history, elected;
} * looks; /* of each node */
static uint32_t looks_capacity;

static size_t machine_bytes(const struct node *node)
{
    if (!node->known)
        return 0;
    if (node->number == 0)
        return offsetof(struct assent_coord, branches) +
               options.participants * sizeof(struct assent_coord_branch);
    return sizeof(struct assent_part);
}

static uint8_t *put_written(uint8_t *to, const struct written *written)
{
    memcpy(to, written, offsetof(struct written, bytes) + written->size);
    return to + offsetof(struct written, bytes) + written->size;
}

static const uint8_t *get_written(const uint8_t *from, struct written *ret_written)
{
    memcpy(ret_written, from, offsetof(struct written, bytes));
    memcpy(ret_written->bytes, from + offsetof(struct written, bytes), ret_written->size);
    return from + offsetof(struct written, bytes) + ret_written->size;
}

static uint32_t coordinator_history(const struct node *node)
{
    static struct assent_coord_record record;
    enum assent_outcome answer = ASSENT_OUTCOME_ABORTED;
    uint32_t now = 0;

    if (node->known)
        answer = node->m.coord.outcome;
    else if (node->disk.size > 0 &&
             assent_coord_record_decode(node->disk.bytes, node->disk.size, &record) == 0)
        answer = record.outcome;
    if (answer == ASSENT_OUTCOME_COMMITTED)
        now |= ANSWERS_COMMITTED;
    if (answer == ASSENT_OUTCOME_ABORTED)
        now |= ANSWERS_ABORTED;
    if (!node->up || !node->known || node->ended)
        return node->up ? now | OVER : now;
    if (node->m.coord.decision == ASSENT_DECISION_NONE)
        now |= IN_DOUBT;
    return now | UNFINISHED;
}

static uint32_t participant_history(const struct node *node)
{
    uint32_t now = node->writes ? WRITES : 0;

    if (node->closed)
        now |= CLOSED;
    if (node->rm != RM_NONE || node->calls_pending > 0)
        now |= UNFINISHED;
    if (node->calls_pending > 0)
        now |= AT_WORK;
    if (!node->up || !node->known || assent_part_final(&node->m.part))
        return now;
    if (node->m.part.decision == ASSENT_DECISION_NONE)
        now |= IN_DOUBT;
    return now | UNFINISHED;
}

static uint32_t history_of(const struct node *node)
{
    uint32_t now = node->history;

    now |= node->number == 0 ? coordinator_history(node) : participant_history(node);
    if (!node->up)
        return now;
    now |= UP;
    if (node->life == 1)
        now |= NEVER_CRASHED;
    for (uint32_t i = 0; i < node->writes_pending; i++)
        if (node->number == 0 || node->pending[i].forced)
            now |= AT_WORK | WRITING;
    return now;
}

static uint32_t elected_of(const struct node *node)
{
    bool coordinator = node->number == 0;

    if (!node->up || !node->known)
        return 0;
    if ((coordinator ? node->m.coord.decision : node->m.part.decision) != ASSENT_DECISION_NONE)
        return NONE;
    return coordinator ? node->m.coord.member.last_elected : node->m.part.member.last_elected;
}

/* What was counted for a role that is over says nothing any more. */
void node_normalise_member(struct assent_member *member, bool decided)
{
    if (decided)
        member->role = ASSENT_MEMBER_IDLE;
    if (member->role != ASSENT_MEMBER_IDLE)
        return;
    member->any_precommitted = member->led = member->best_precommitted = false;
    member->best_attempt = 0;
    member->heard = member->reached = (struct assent_member_set){0};
}

uint32_t node_put(const struct node *node)
{
    static uint8_t bytes[NODE_BYTES_MAX];
    uint8_t *at = bytes;
    uint32_t number;
    bool fresh;

    /* What is fixed comes first, then what has a length. */
    memset(bytes, 0, 32);
    *at++ = (uint8_t)node->number;
    *at++ = (uint8_t)(node->up | node->known << 1 | node->ended << 2 | node->closed << 3 |
                      node->writes << 4 | node->refuses << 5 | node->marker << 6);
    *at++ = node->life;
    *at++ = (uint8_t)node->rm;
    *at++ = node->writes_pending;
    *at++ = node->calls_pending;
    memcpy(at, node->calls, node->calls_pending);
    at += CALLS_MAX;
    memcpy(at, node->call_begins, node->calls_pending * sizeof(node->call_begins[0]));
    at += sizeof(node->call_begins);
    memcpy(at, &node->history, sizeof(node->history));
    at += sizeof(node->history);
    at = put_written(at, &node->disk);
    for (uint32_t i = 0; i < node->writes_pending; i++)
        at = put_written(at, &node->pending[i]);
    memcpy(at, &node->m, machine_bytes(node));
    at += machine_bytes(node);
    number = intern_put(&nodes, bytes, (size_t)(at - bytes), &fresh);
    if (!fresh)
        return number;
    if (number >= looks_capacity) {
        looks_capacity = 2 * looks_capacity + 1024;
        looks = grown(looks, looks_capacity, sizeof(*looks));
    }
    looks[number] = (struct look){history_of(node), elected_of(node)};
    return number;
}

void node_get(uint32_t number, struct node *ret_node)
{
    struct node *n = ret_node;
    size_t size;
    const uint8_t *at = intern_get(&nodes, number, &size);

    memset(n, 0, sizeof(*n));
    n->number = *at++;
    n->up = *at & 1;
    n->known = *at >> 1 & 1;
    n->ended = *at >> 2 & 1;
    n->closed = *at >> 3 & 1;
    n->writes = *at >> 4 & 1;
    n->refuses = *at >> 5 & 1;
    n->marker = *at++ >> 6 & 1;
    n->life = *at++;
    n->rm = (enum rm_state) * at++;
    n->writes_pending = *at++;
    n->calls_pending = *at++;
    memcpy(n->calls, at, CALLS_MAX);
    at += CALLS_MAX;
    memcpy(n->call_begins, at, sizeof(n->call_begins));
    at += sizeof(n->call_begins);
    memcpy(&n->history, at, sizeof(n->history));
    at += sizeof(n->history);
    at = get_written(at, &n->disk);
    for (uint32_t i = 0; i < n->writes_pending; i++)
        at = get_written(at, &n->pending[i]);
    memcpy(&n->m, at, machine_bytes(n));
}

uint32_t node_history(uint32_t number)
{
    return looks[number].history;
}

uint32_t node_elected(uint32_t number)
{
    return looks[number].elected;
}

uint32_t node_count(void)
{
    return nodes.count;
}

void node_clear(void)
{
    intern_clear(&nodes);
    free(looks);
    looks = NULL;
    looks_capacity = 0;
}
