/* wire.c: messages as the bytes that the shipped codec makes of them, and multisets of messages
 * that are on their way. */
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "explore.h"

#define NET_MAX 256

static struct intern messages, nets;
static struct assent_wire wire;
static struct about {
    uint32_t to, answers;
} * abouts; /* of each message */
static uint32_t abouts_capacity;

uint32_t wire_put(uint32_t from, uint32_t to, const struct assent_message *message)
{
    static uint8_t *buffer;
    static size_t capacity;
    uint8_t item[FRAME_MAX + 2];
    uint32_t number;
    size_t size;
    bool fresh;

    wire.kind = ASSENT_WIRE_BRANCH;
    wire.u.branch.message = *message;
    wire.u.branch.message.timeout_ms = 1;
    wire.u.branch.message.reason = ASSENT_REASON_NONE;
    wire.u.branch.resource = "kv";
    memset(wire.u.branch.log_id, 7, sizeof(wire.u.branch.log_id));
    if (assent_wire_encode(&wire, &buffer, &capacity, &size) != 0 || size > FRAME_MAX)
        abort();
    item[0] = (uint8_t)from;
    item[1] = (uint8_t)to;
    memcpy(item + 2, buffer, size);
    number = intern_put(&messages, item, size + 2, &fresh);
    if (number >= abouts_capacity) {
        abouts_capacity = 2 * abouts_capacity + 1024;
        abouts = grown(abouts, abouts_capacity, sizeof(*abouts));
    }
    abouts[number] = (struct about){to, NONE};
    if (message->kind == ASSENT_MSG_ELECT_ANSWER || message->kind == ASSENT_MSG_PROPOSE_ACK)
        abouts[number].answers = message->ballot;
    return number;
}

void wire_get(uint32_t number, uint32_t *ret_from, uint32_t *ret_to,
              struct assent_message *ret_message)
{
    static struct assent_wire received;
    static struct assent_arena *arena;
    char error[200];
    size_t size;
    const uint8_t *item = intern_get(&messages, number, &size);

    if (arena == NULL && assent_arena_new(FRAME_MAX + ASSENT_ARENA_EXTRA, &arena) != 0)
        abort();
    if (assent_wire_decode(item + 2, size - 2, arena, &received, error, sizeof(error)) != 0)
        abort();
    *ret_from = item[0];
    *ret_to = item[1];
    *ret_message = received.u.branch.message;
}

uint32_t wire_to(uint32_t number)
{
    return abouts[number].to;
}

uint32_t wire_answers(uint32_t number)
{
    return abouts[number].answers;
}

const uint32_t *net_get(uint32_t net, uint32_t *ret_count)
{
    size_t size;
    const void *set = intern_get(&nets, net, &size);

    *ret_count = (uint32_t)(size / sizeof(uint32_t));
    return set;
}

uint32_t net_of(const uint32_t *set, uint32_t count)
{
    bool fresh;

    return intern_put(&nets, set, count * sizeof(*set), &fresh);
}

uint32_t net_change(uint32_t net, uint32_t removed, const uint32_t *sent, uint32_t sent_count)
{
    uint32_t set[NET_MAX], count = 0, old_count = 0;
    const uint32_t *old = net == NONE ? NULL : net_get(net, &old_count);

    if (removed == NONE && sent_count == 0 && net != NONE)
        return net;
    if (old_count + sent_count > NET_MAX)
        abort();
    for (uint32_t i = 0; i < old_count; i++) {
        if (old[i] == removed)
            removed = NONE; /* one copy */
        else
            set[count++] = old[i];
    }
    for (uint32_t i = 0; i < sent_count; i++) {
        uint32_t at = count++;

        for (; at > 0 && set[at - 1] > sent[i]; at--)
            set[at] = set[at - 1];
        set[at] = sent[i];
    }
    return net_of(set, count);
}

uint32_t net_with(uint32_t net, const uint32_t *sent, uint32_t sent_count)
{
    uint32_t more[NET_MAX], count = 0, old_count;
    const uint32_t *old = net_get(net, &old_count);

    for (uint32_t i = 0; i < sent_count; i++) {
        bool there = false;

        for (uint32_t j = 0; j < old_count && !there; j++)
            there = old[j] == sent[i];
        for (uint32_t j = 0; j < count && !there; j++)
            there = more[j] == sent[i];
        if (!there)
            more[count++] = sent[i];
    }
    return net_change(net, NONE, more, count);
}

uint32_t net_without(uint32_t net, uint32_t without)
{
    uint32_t set[NET_MAX], count = 0, old_count;
    const uint32_t *old = net_get(net, &old_count);

    for (uint32_t i = 0; i < old_count; i++)
        if ((without >> wire_to(old[i]) & 1) == 0)
            set[count++] = old[i];
    return count == old_count ? net : net_of(set, count);
}

void wire_clear(void)
{
    intern_clear(&messages);
    intern_clear(&nets);
    free(abouts);
    abouts = NULL;
    abouts_capacity = 0;
}
