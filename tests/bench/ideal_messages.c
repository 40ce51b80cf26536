/*
 * ideal_messages.c: one message of each kind, filled as the coordinator and the agent fill it, so
 * that it is as long on the wire. It goes through the codec once, as a check, and from then on
 * through the generated functions alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent.pb-c.h"
#include "codec.h"
#include "frame.h"
#include "ideal.h"

#define NUMBER_AT (ASSENT_GTRID_BYTES - sizeof(uint64_t)) /* in a gtrid */
/* As long on the wire as real ones. */
#define EPOCH                  700000
#define TIMEOUT_MS             60000
#define TIMEOUT_PREPARE_3PC_MS 15000
/* What a message unpacks to; the next one takes its place. */
#define UNPACKED_BYTES (1024 * 1024)

static const char address[] = "127.0.0.1:40000";

static struct {
    _Alignas(16) uint8_t memory[UNPACKED_BYTES];
    size_t used;
} unpacked;

static void *allocate(void *context, size_t size)
{
    size_t at = unpacked.used;

    (void)context;
    size = (size + 15) & ~(size_t)15;
    if (size > sizeof(unpacked.memory) - at)
        return NULL;
    unpacked.used += size;
    return unpacked.memory + at;
}

static void release(void *context, void *memory)
{
    (void)context;
    (void)memory;
}

static ProtobufCAllocator allocator = {allocate, release, NULL};

/* --- making --- */

static int make(const struct assent_wire *wire, struct ideal_message *ret_message)
{
    uint8_t *buffer = NULL;
    size_t capacity = 0, size = 0;
    int failed = assent_wire_encode(wire, &buffer, &capacity, &size);

    if (failed == 0) {
        ret_message->envelope = assent__v1__envelope__unpack(NULL, size, buffer);
        ret_message->bytes = ASSENT_FRAME_HEADER + size;
        failed = ret_message->envelope ? 0 : -1;
    }
    free(buffer);
    return failed;
}

static void fill_branch(const struct bench_options *options, size_t branch, const char *resource,
                        enum assent_message_kind kind, struct assent_wire *wire)
{
    memset(wire, 0, sizeof(*wire));
    wire->kind = ASSENT_WIRE_BRANCH;
    wire->u.branch.message = (struct assent_message){
        .kind = kind,
        .branch = (uint32_t)branch + 1,
        .incarnation = 1,
        .epoch = EPOCH,
        .protocol = options->protocol,
        .termination = options->protocol == ASSENT_3PC ? ASSENT_TERMINATION_QUORUM
                                                       : ASSENT_TERMINATION_COOPERATIVE,
        .branch_count = (uint32_t)options->branches,
    };
    memset(wire->u.branch.message.gtrid.bytes, 1, ASSENT_GTRID_BYTES);
    memset(wire->u.branch.log_id, 1, sizeof(wire->u.branch.log_id));
    wire->u.branch.resource = resource;
}

static int make_ask(const struct bench_options *options, size_t branch, const char *resource,
                    enum assent_message_kind kind, struct assent_wire *wire,
                    struct ideal_message *ret_message)
{
    char full[ASSENT_BRANCHES_MAX][2 * ASSENT_NAME_MAX + 2], work[BENCH_WORK_BYTES];
    bool prepare = kind == ASSENT_MSG_PREPARE;

    fill_branch(options, branch, resource, kind, wire);
    wire->u.branch.message.timeout_ms =
        prepare && options->protocol == ASSENT_3PC ? TIMEOUT_PREPARE_3PC_MS : TIMEOUT_MS;
    wire->u.branch.message.has_work = true;
    if (kind == ASSENT_MSG_PRECOMMIT)
        wire->u.branch.message.ballot = 1;
    if (prepare || kind == ASSENT_MSG_COMMIT_ONE_PHASE) {
        wire->u.branch.work.size = bench_work(options, 100, work);
        wire->u.branch.work.data = work;
    }
    if (prepare && options->branches > 1)
        for (size_t i = 0; i < options->branches; i++) {
            snprintf(full[i], sizeof(full[i]), "agent-%zu/%s", i + 1, resource);
            wire->u.branch.peers[wire->u.branch.peer_count++] =
                (struct assent_wire_peer){full[i], address, EPOCH};
        }
    return make(wire, ret_message);
}

static int make_answer(const struct bench_options *options, size_t branch, const char *resource,
                       enum assent_message_kind kind, struct assent_wire *wire,
                       struct ideal_message *ret_message)
{
    struct assent_message *message = &wire->u.branch.message;

    fill_branch(options, branch, resource, kind, wire);
    message->from = message->branch;
    if (kind == ASSENT_MSG_VOTE)
        message->vote = ASSENT_VOTE_YES;
    if (kind == ASSENT_MSG_ACK)
        message->result = ASSENT_RESULT_COMMITTED;
    if (kind == ASSENT_MSG_PRECOMMIT_ACK)
        message->ballot = 1;
    return make(wire, ret_message);
}

static int make_request(const struct bench_options *options, struct assent_wire *wire,
                        struct ideal_message *ret_message)
{
    char names[ASSENT_BRANCHES_MAX][32], work[BENCH_WORK_BYTES];
    size_t work_size;

    memset(wire, 0, sizeof(*wire));
    wire->kind = ASSENT_WIRE_RUN;
    wire->request = 100000;
    wire->u.run.begin.protocol = options->protocol;
    wire->u.run.branch_count = options->branches;
    wire->u.run.wait = options->wait;
    work_size = bench_work(options, 100, work);
    for (size_t i = 0; i < options->branches; i++) {
        snprintf(names[i], sizeof(names[i]), "agent-%zu", i + 1);
        wire->u.run.branches[i] = (struct assent_wire_branch_work){names[i], {work, work_size}};
    }
    return make(wire, ret_message);
}

static int make_reply(const struct bench_options *options, struct assent_wire *wire,
                      struct ideal_message *ret_message)
{
    memset(wire, 0, sizeof(*wire));
    wire->kind = ASSENT_WIRE_RESULT;
    wire->request = 100000;
    memset(wire->u.result.gtrid.bytes, 1, ASSENT_GTRID_BYTES);
    wire->u.result.outcome = ASSENT_OUTCOME_COMMITTED;
    wire->u.result.phase = options->wait ? "ended" : "committing";
    wire->u.result.ended = options->wait;
    return make(wire, ret_message);
}

static void message_free(struct ideal_message *message)
{
    assent__v1__envelope__free_unpacked(message->envelope, NULL);
}

int bench_ideal_frames(const struct bench_options *options, size_t *ret_request, size_t *ret_reply)
{
    struct assent_wire *wire = calloc(1, sizeof(*wire));
    struct ideal_message request = {NULL, 0}, reply = {NULL, 0};
    int failed = !wire || make_request(options, wire, &request) != 0 ||
                 make_reply(options, wire, &reply) != 0;

    *ret_request = request.bytes;
    *ret_reply = reply.bytes;
    message_free(&request);
    message_free(&reply);
    free(wire);
    return failed ? -1 : 0;
}

int ideal_messages_make(const struct bench_options *options, const struct ideal_plan *plan,
                        struct ideal_messages *ret_messages, char *error, size_t error_size)
{
    struct assent_wire *wire = calloc(1, sizeof(*wire)); /* too large for the stack */
    struct ideal_messages *m = ret_messages;
    char resource[ASSENT_NAME_MAX + 1];
    int failed = wire ? 0 : -1;

    memset(m, 0, sizeof(*m));
    snprintf(resource, sizeof(resource), "%.*s", (int)strcspn(options->resource, ":"),
             options->resource);
    if (!failed)
        failed = make_request(options, wire, &m->request);
    if (!failed)
        failed = make_reply(options, wire, &m->reply);
    for (size_t i = 0; i < plan->round_count; i++)
        for (size_t k = 0; k < options->branches && !failed; k++) {
            failed = make_ask(options, k, resource, plan->rounds[i].ask, wire, &m->asks[i][k]);
            if (!failed)
                failed = make_answer(options, k, resource, plan->rounds[i].answer, wire,
                                     &m->answers[i][k]);
        }
    free(wire);
    if (failed)
        snprintf(error, error_size, "the messages of a transaction cannot be made");
    return failed ? -1 : 0;
}

void ideal_messages_free(struct ideal_messages *messages)
{
    message_free(&messages->request);
    message_free(&messages->reply);
    for (size_t i = 0; i < IDEAL_ROUNDS_MAX; i++)
        for (size_t k = 0; k < ASSENT_BRANCHES_MAX; k++) {
            message_free(&messages->asks[i][k]);
            message_free(&messages->answers[i][k]);
        }
}

/* --- using --- */

size_t ideal_message_pack(const struct ideal_message *message, uint64_t number, uint8_t *to)
{
    Assent__V1__Envelope *envelope = message->envelope;
    size_t size;

    if (envelope->body_case == ASSENT__V1__ENVELOPE__BODY_BRANCH)
        memcpy(envelope->branch->gtrid.data + NUMBER_AT, &number, sizeof(number));
    else
        envelope->request = number;
    size = assent__v1__envelope__pack(envelope, to + ASSENT_FRAME_HEADER);
    assent_frame_header(to, (uint32_t)size);
    return ASSENT_FRAME_HEADER + size;
}

bool ideal_message_unpack(const uint8_t *data, size_t size, uint64_t *ret_number,
                          enum assent_message_kind *ret_kind)
{
    const Assent__V1__Envelope *envelope;

    unpacked.used = 0;
    envelope = assent__v1__envelope__unpack(&allocator, size, data);
    if (!envelope)
        return false;
    if (envelope->body_case != ASSENT__V1__ENVELOPE__BODY_BRANCH) {
        *ret_number = envelope->request;
        *ret_kind = ASSENT_MSG_NONE;
        return true;
    }
    memcpy(ret_number, envelope->branch->gtrid.data + NUMBER_AT, sizeof(*ret_number));
    *ret_kind = (enum assent_message_kind)envelope->branch->kind;
    return true;
}
