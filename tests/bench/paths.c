/*
 * paths.c: the hot paths, each so many times in one go, for counting their instructions under
 * callgrind (paths.py). Prints "NAME CALLS" for each, in the order in which they are run; that a
 * path did what its name says is asserted. Deliberately not here: time, which is noisy where
 * instructions are not (assent-bench measures that).
 *
 *   paths DIRECTORY     where a log is made
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "coordinator.h"
#include "gtrid.h"
#include "participant.h"
#include "record.h"
#include "runtime.h"
#include "store.h"

#define BRANCHES    2
#define QUEUE_MAX   32
#define CALLS       512
#define BATCH       64 /* records of one group commit */
#define BATCHES     16
#define DEADLINE_MS 60000

static const struct assent_gtrid gtrid = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

/* --- the core: a coordinator's machine and its branches', what each says given to the other --- */

static const struct assent_coord_config coord_config = {
    .incarnation = 7,
    .prepare_timeout_ms = 1000,
    .precommit_timeout_ms = 500,
    .retry_min_ms = 100,
    .retry_max_ms = 1000,
    .abort_delivery_ms = 5000,
};
static const struct assent_part_config part_config = {
    .epoch = 3,
    .capabilities = ASSENT_CAP_PREPARED_LIST | ASSENT_CAP_EVIDENCE,
    .retry_min_ms = 100,
    .retry_max_ms = 1000,
    .inquire_ms = 300,
};

struct transaction_path {
    enum assent_protocol protocol;
    enum assent_termination termination;
    enum assent_rm_result prepare; /* of the last branch; the others' works */
    enum assent_outcome outcome;
};

struct queued {
    uint32_t to; /* 0: the coordinator */
    struct assent_coord_event coord;
    struct assent_part_event part;
};

static struct {
    struct assent_coord coord;
    struct assent_part parts[BRANCHES];
    struct assent_coord_actions coord_acts;
    struct assent_part_actions part_acts;
    struct queued queue[QUEUE_MAX];
    size_t head, tail;
    const struct transaction_path *path;
} world;

static struct queued *queue_for(uint32_t member)
{
    struct queued *q = &world.queue[world.tail++ % QUEUE_MAX];

    ASSENT_ASSERT(world.tail - world.head < QUEUE_MAX);
    q->to = member;
    return q;
}

static void carry_out_coord(void)
{
    for (size_t i = 0; i < world.coord_acts.count; i++) {
        const struct assent_coord_action *a = &world.coord_acts.items[i];

        if (a->kind == ASSENT_COORD_ACT_SEND)
            queue_for(a->message.branch)->part =
                (struct assent_part_event){.kind = ASSENT_PART_EV_MESSAGE, .message = a->message};
        else if (a->kind == ASSENT_COORD_ACT_LOG)
            queue_for(0)->coord = (struct assent_coord_event){.kind = ASSENT_COORD_EV_DURABLE,
                                                              .record = a->record,
                                                              .standing = world.coord.decision};
    }
}

static void carry_out_part(uint32_t member)
{
    enum assent_rm_result prepare = member == BRANCHES ? world.path->prepare : ASSENT_RM_OK;

    for (size_t i = 0; i < world.part_acts.count; i++) {
        const struct assent_part_action *a = &world.part_acts.items[i];

        if (a->kind == ASSENT_PART_ACT_SEND)
            queue_for(0)->coord =
                (struct assent_coord_event){.kind = ASSENT_COORD_EV_MESSAGE, .message = a->message};
        else if (a->kind == ASSENT_PART_ACT_LOG && a->forced)
            queue_for(member)->part =
                (struct assent_part_event){.kind = ASSENT_PART_EV_DURABLE, .record = a->record};
        else if (a->kind == ASSENT_PART_ACT_CALL)
            queue_for(member)->part = (struct assent_part_event){
                .kind = ASSENT_PART_EV_RM,
                .operation = a->operation,
                .result = a->operation == ASSENT_OP_PREPARE ? prepare : ASSENT_RM_OK};
    }
}

static void step_coord(const struct assent_coord_event *event)
{
    assent_coord_step(&world.coord, &coord_config, event, &world.coord_acts);
    carry_out_coord();
}

static void transaction(const void *argument)
{
    const struct transaction_path *path = argument;
    struct assent_coord_begin begin = {.protocol = path->protocol,
                                       .termination = path->termination,
                                       .deadline_ms = 10000,
                                       .seed = 1};

    world.path = path;
    assent_coord_init(&world.coord, &gtrid, &begin);
    for (uint32_t i = 1; i <= BRANCHES; i++) {
        assent_part_init(&world.parts[i - 1], &gtrid, i, 1);
        step_coord(&(struct assent_coord_event){
            .kind = ASSENT_COORD_EV_ENLIST, .participant = i, .epoch = 3, .has_work = true});
    }
    step_coord(&(struct assent_coord_event){.kind = ASSENT_COORD_EV_COMMIT});
    while (world.head < world.tail) {
        const struct queued *q = &world.queue[world.head++ % QUEUE_MAX];

        if (q->to == 0) {
            step_coord(&q->coord);
        } else {
            assent_part_step(&world.parts[q->to - 1], &part_config, &q->part, &world.part_acts);
            carry_out_part(q->to);
        }
    }
    ASSENT_ASSERT(world.coord.phase == ASSENT_COORD_ENDED);
    ASSENT_ASSERT(world.coord.outcome == path->outcome);
}

static const struct transaction_path commit_2pc = {ASSENT_2PC, ASSENT_TERMINATION_NONE,
                                                   ASSENT_RM_OK, ASSENT_OUTCOME_COMMITTED};
static const struct transaction_path commit_3pc = {ASSENT_3PC, ASSENT_TERMINATION_QUORUM,
                                                   ASSENT_RM_OK, ASSENT_OUTCOME_COMMITTED};
static const struct transaction_path abort_2pc = {ASSENT_2PC, ASSENT_TERMINATION_NONE,
                                                  ASSENT_RM_REFUSED, ASSENT_OUTCOME_ABORTED};

/* --- the codec --- */

static struct assent_arena *arena;
static uint8_t *frame;
static size_t frame_capacity, frame_size;
static struct assent_wire decoded;

static void encode(const void *wire)
{
    int r = assent_wire_encode(wire, &frame, &frame_capacity, &frame_size);

    ASSENT_ASSERT(r == 0);
}

/* What the last encode wrote. */
static void decode(const void *wire)
{
    char error[256];
    int r = assent_wire_decode(frame, frame_size, arena, &decoded, error, sizeof(error));

    ASSENT_ASSERT(r == 0 && decoded.kind == ((const struct assent_wire *)wire)->kind);
}

static struct assent_wire run, prepare, vote, commit, ack, result;

static void branch_message(struct assent_wire *wire, enum assent_message_kind kind)
{
    wire->kind = ASSENT_WIRE_BRANCH;
    wire->u.branch.message = (struct assent_message){.kind = kind,
                                                     .gtrid = gtrid,
                                                     .branch = 1,
                                                     .incarnation = 7,
                                                     .epoch = 3,
                                                     .branch_count = BRANCHES};
    memset(wire->u.branch.log_id, 9, sizeof(wire->u.branch.log_id));
    wire->u.branch.resource = "kv";
}

static void make_messages(void)
{
    static const struct assent_bytes work = {"add alice -10 min 0", 19};

    run.kind = ASSENT_WIRE_RUN;
    run.request = 4711;
    run.u.run.begin.protocol = ASSENT_2PC;
    run.u.run.branch_count = BRANCHES;
    run.u.run.branches[0] = (struct assent_wire_branch_work){"bank-a", work};
    run.u.run.branches[1] = (struct assent_wire_branch_work){"bank-b", work};
    branch_message(&prepare, ASSENT_MSG_PREPARE);
    prepare.u.branch.message.protocol = ASSENT_2PC;
    prepare.u.branch.message.timeout_ms = 5000;
    prepare.u.branch.message.has_work = true;
    prepare.u.branch.work = work;
    branch_message(&vote, ASSENT_MSG_VOTE);
    vote.u.branch.message.vote = ASSENT_VOTE_YES;
    branch_message(&commit, ASSENT_MSG_COMMIT);
    branch_message(&ack, ASSENT_MSG_ACK);
    ack.u.branch.message.result = ASSENT_RESULT_COMMITTED;
    result.kind = ASSENT_WIRE_RESULT;
    result.request = 4711;
    result.u.result.gtrid = gtrid;
    result.u.result.outcome = ASSENT_OUTCOME_COMMITTED;
    result.u.result.phase = "committing";
}

/* --- records --- */

static struct assent_coord_record coord_record = {.kind = ASSENT_COORD_RECORD_COMMIT,
                                                  .decision = ASSENT_DECISION_COMMIT,
                                                  .outcome = ASSENT_OUTCOME_COMMITTED,
                                                  .protocol = ASSENT_2PC,
                                                  .begun_wall_ms = 1,
                                                  .decided_ms = 2,
                                                  .branch_count = BRANCHES};
static struct assent_part_record part_record = {.kind = ASSENT_PART_RECORD_PREPARED,
                                                .branch = 1,
                                                .incarnation = 7,
                                                .epoch = 3,
                                                .protocol = ASSENT_3PC,
                                                .termination = ASSENT_TERMINATION_QUORUM,
                                                .branch_count = BRANCHES,
                                                .peer_count = BRANCHES,
                                                .resource = "kv"};
static uint8_t record[ASSENT_RECORD_BYTES_MAX];
static size_t record_size;

static void make_records(void)
{
    coord_record.gtrid = part_record.gtrid = gtrid;
    for (uint32_t i = 0; i < BRANCHES; i++) {
        coord_record.branches[i] = (struct assent_coord_record_branch){
            .number = i + 1, .participant = i + 1, .epoch = 3, .vote = ASSENT_VOTE_YES};
        part_record.peers[i] = (struct assent_part_record_peer){.number = i + 1, .epoch = 3};
    }
}

static void encode_coord_record(const void *from)
{
    int r = assent_coord_record_encode(from, record, sizeof(record), &record_size);

    ASSENT_ASSERT(r == 0);
}

static void decode_coord_record(const void *unused)
{
    struct assent_coord_record into;
    int r = assent_coord_record_decode(record, record_size, &into);

    (void)unused;
    ASSENT_ASSERT(r == 0 && into.branch_count == BRANCHES);
}

static void encode_part_record(const void *from)
{
    int r = assent_part_record_encode(from, record, sizeof(record), &record_size);

    ASSENT_ASSERT(r == 0);
}

static void decode_part_record(const void *unused)
{
    struct assent_part_record into;
    int r = assent_part_record_decode(record, record_size, &into);

    (void)unused;
    ASSENT_ASSERT(r == 0 && into.peer_count == BRANCHES);
}

/* --- the store: both threads, from the put to the completion --- */

static struct assent_store *store;
static uint64_t next_key;

static void on_done(const struct assent_completion *completion, void *context)
{
    ASSENT_ASSERT(completion->standing == ASSENT_DECISION_COMMIT);
    ++*(size_t *)context;
}

/* The last put alone is not lazy, so that the writer wakes once and takes them all. */
static void put_batch(const void *unused)
{
    size_t done = 0;

    (void)unused;
    for (unsigned i = 1; i <= BATCH; i++) {
        struct assent_gtrid key = assent_gtrid_make(1, 2, 7, ++next_key);
        struct assent_put put = {.table = ASSENT_TABLE_TRANSACTION,
                                 .flags = ASSENT_PUT_DECIDE | (i < BATCH ? ASSENT_PUT_LAZY : 0),
                                 .key = key.bytes,
                                 .key_size = sizeof(key.bytes),
                                 .value = record,
                                 .value_size = record_size,
                                 .token = next_key};
        int r = assent_store_put(store, &put);

        ASSENT_ASSERT(r == 0);
    }
    while (done < BATCH) {
        struct pollfd p = {.fd = assent_store_fd(store, 0), .events = POLLIN};
        int ready = poll(&p, 1, DEADLINE_MS);

        ASSENT_ASSERT(ready == 1);
        assent_store_process(store, 0, on_done, &done);
    }
}

static int open_store(const char *directory)
{
    struct assent_store_options options = {.directory = directory,
                                           .owner = "assentd",
                                           .map_bytes = 64u << 20,
                                           .lazy_flush_ms = 3600 * 1000,
                                           .queue_max = 2 * (size_t)BATCH,
                                           .unsafe_storage = true};
    char error[256];
    int r = assent_store_open(&options, &store, error, sizeof(error));

    if (r != 0)
        fprintf(stderr, "%s: %s\n", directory, error);
    return r;
}

/* --- all of them --- */

static const struct path {
    const char *name;
    void (*call)(const void *argument);
    const void *argument;
    unsigned calls;
    unsigned units; /* of each call, for the count: a batch's records */
} paths[] = {
    {"core_2pc_commit", transaction, &commit_2pc, CALLS, 1},
    {"core_3pc_quorum_commit", transaction, &commit_3pc, CALLS, 1},
    {"core_2pc_abort", transaction, &abort_2pc, CALLS, 1},
    /* A decode reads what the encode before it wrote. */
    {"encode_run", encode, &run, CALLS, 1},
    {"decode_run", decode, &run, CALLS, 1},
    {"encode_prepare", encode, &prepare, CALLS, 1},
    {"decode_prepare", decode, &prepare, CALLS, 1},
    {"encode_vote", encode, &vote, CALLS, 1},
    {"decode_vote", decode, &vote, CALLS, 1},
    {"encode_commit", encode, &commit, CALLS, 1},
    {"decode_commit", decode, &commit, CALLS, 1},
    {"encode_ack", encode, &ack, CALLS, 1},
    {"decode_ack", decode, &ack, CALLS, 1},
    {"encode_result", encode, &result, CALLS, 1},
    {"decode_result", decode, &result, CALLS, 1},
    {"encode_part_record", encode_part_record, &part_record, CALLS, 1},
    {"decode_part_record", decode_part_record, NULL, CALLS, 1},
    {"encode_coord_record", encode_coord_record, &coord_record, CALLS, 1},
    {"decode_coord_record", decode_coord_record, NULL, CALLS, 1},
    {"store_put", put_batch, NULL, BATCHES, BATCH},
};

/* Counting begins where this is entered and ends where it is left. */
__attribute__((noinline)) static void counted(const struct path *path)
{
    for (unsigned i = 0; i < path->calls; i++)
        path->call(path->argument);
}

int main(int argc, char **argv)
{
    if (argc != 2 || open_store(argv[1]) != 0 ||
        assent_arena_new((1u << 20) + ASSENT_ARENA_EXTRA, &arena) != 0) {
        fprintf(stderr, "usage: paths DIRECTORY\n");
        return 2;
    }
    make_messages();
    make_records();
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        paths[i].call(paths[i].argument); /* so that buffers have grown */
        counted(&paths[i]);
        printf("%s %u\n", paths[i].name, paths[i].calls * paths[i].units);
    }
    assent_store_close(store);
    assent_arena_free(arena);
    free(frame);
    return 0;
}
