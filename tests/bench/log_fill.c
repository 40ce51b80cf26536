/* log_fill.c: see log_fill.h. */
#include "log_fill.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "participant_record.h"
#include "runtime.h"
#include "store.h"

#define COORDINATOR 1 /* assentd's default */
#define INCARNATION 1 /* of a log's first life, which is this one */
#define BRANCHES    2
#define QUEUED_MAX  65536
#define WAIT_MS     300000

struct assent_gtrid log_fill_gtrid(uint64_t number)
{
    return assent_gtrid_make(1700000000000 + number / 1000, COORDINATOR, INCARNATION, number);
}

void log_fill_key(uint64_t number, char key[LOG_FILL_KEY_BYTES])
{
    snprintf(key, LOG_FILL_KEY_BYTES, "order-%llu", (unsigned long long)number);
}

/* Batches become durable in order, so the last one's number is how many there are. */
static void on_done(const struct assent_completion *completion, void *context)
{
    *(uint64_t *)context = completion->token;
}

static int put_participants(struct assent_store *store)
{
    int r = 0;

    for (uint32_t number = 1; r == 0 && number <= BRANCHES; number++) {
        struct participant_record record = {.number = number, .resource = "null", .type = "null"};
        uint8_t key[PARTICIPANT_KEY_BYTES], value[PARTICIPANT_RECORD_BYTES_MAX];

        snprintf(record.name, sizeof(record.name), "bank-%c", 'a' + (int)number - 1);
        r = assent_store_put(store, &(struct assent_put){.table = ASSENT_TABLE_PARTICIPANT,
                                                         .key = key,
                                                         .key_size = sizeof(key),
                                                         .value = value,
                                                         .value_size = participant_record_encode(
                                                             &record, key, value)});
    }
    return r;
}

static int put_transaction(struct assent_store *store, enum assent_coord_record_kind kind,
                           uint64_t number)
{
    struct assent_coord_record record = {.kind = kind,
                                         .decision = ASSENT_DECISION_COMMIT,
                                         .outcome = ASSENT_OUTCOME_COMMITTED,
                                         .gtrid = log_fill_gtrid(number),
                                         .protocol = ASSENT_2PC,
                                         .begun_wall_ms = assent_wall_ms(),
                                         .decided_ms = 1,
                                         .branch_count = BRANCHES};
    bool ended = kind == ASSENT_COORD_RECORD_OUTCOME;
    uint8_t value[ASSENT_RECORD_BYTES_MAX];
    size_t size;
    int r;

    for (uint32_t i = 0; i < BRANCHES; i++)
        record.branches[i] = (struct assent_coord_record_branch){
            .number = i + 1,
            .participant = i + 1,
            .epoch = 1,
            .vote = ASSENT_VOTE_YES,
            .result = ended ? ASSENT_RESULT_COMMITTED : ASSENT_RESULT_NONE,
            .voted_ms = 1,
            .done_ms = ended ? 2 : 0};
    record.ended_ms = ended ? 2 : 0;
    if (ended)
        log_fill_key(number, record.key);
    r = assent_coord_record_encode(&record, value, sizeof(value), &size);
    if (r == 0)
        r = assent_store_put(store, &(struct assent_put){.table = ASSENT_TABLE_TRANSACTION,
                                                         .key = record.gtrid.bytes,
                                                         .key_size = sizeof(record.gtrid.bytes),
                                                         .value = value,
                                                         .value_size = size,
                                                         .token = number});
    return r;
}

int log_fill(const char *directory, enum assent_coord_record_kind kind, uint64_t count, char *error,
             size_t error_size)
{
    struct assent_store_options options = {.directory = directory,
                                           .owner = "assentd",
                                           .map_bytes = (uint64_t)16 << 30,
                                           .lazy_flush_ms = 1000,
                                           .queue_max = 2 * QUEUED_MAX,
                                           .unsafe_storage = true,
                                           .first_incarnation = INCARNATION};
    struct assent_store *store;
    uint64_t done = 0, queued = 0;
    int r = assent_store_open(&options, &store, error, error_size);

    if (r != 0)
        return -1;
    r = put_participants(store);
    while (r == 0 && done < count) {
        struct pollfd p = {.fd = assent_store_fd(store, 0), .events = POLLIN};

        while (r == 0 && queued < count && queued - done < QUEUED_MAX)
            r = put_transaction(store, kind, ++queued);
        if (r == 0 && poll(&p, 1, WAIT_MS) != 1)
            r = ASSENT_E_TIMEOUT;
        assent_store_process(store, 0, on_done, &done);
    }
    assent_store_close(store);
    if (r == 0)
        return 0;
    snprintf(error, error_size, "cannot fill %s: %s", directory, assent_error_text(r));
    return -1;
}
