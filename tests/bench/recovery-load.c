/*
 * recovery-load.c: a coordinator's log with many transactions in it, and questions about them. What
 * recovery.py measures with; it starts the processes, this only fills and asks.
 *
 *   recovery-load fill DIRECTORY commit|outcome COUNT   a new log: so many 2pc commits that are
 *                        decided and not acknowledged, or so many kept outcomes, over the null
 *                        resources of bank-a and bank-b
 *   recovery-load ask ADDRESS COUNT LOOKUPS             dials until it is answered, then asks for
 *                        the outcomes of so many of them, in random order and one after the other
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "assent/client.h"

#include "gtrid.h"
#include "participant_record.h"
#include "record.h"
#include "rng.h"
#include "runtime.h"
#include "store.h"

#define COORDINATOR 1 /* assentd's default */
#define INCARNATION 1 /* of a log's first life, which is this one */
#define BRANCHES    2
#define QUEUED_MAX  65536
#define WAIT_MS     300000
#define PAUSE_MS    5

static struct assent_gtrid gtrid_of(uint64_t number)
{
    return assent_gtrid_make(1700000000000 + number / 1000, COORDINATOR, INCARNATION, number);
}

static int fail(const char *what, int error)
{
    fprintf(stderr, "%s: %s\n", what, assent_error_text(error));
    return 1;
}

/* --- fill --- */

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
                                         .gtrid = gtrid_of(number),
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

static int fill(const char *directory, enum assent_coord_record_kind kind, uint64_t count)
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
    char error[256];
    int r = assent_store_open(&options, &store, error, sizeof(error));

    if (r != 0) {
        fprintf(stderr, "%s: %s\n", directory, error);
        return 1;
    }
    r = put_participants(store);
    while (r == 0 && done < count) {
        struct pollfd p = {.fd = assent_store_fd(store), .events = POLLIN};

        while (r == 0 && queued < count && queued - done < QUEUED_MAX)
            r = put_transaction(store, kind, ++queued);
        if (r == 0 && poll(&p, 1, WAIT_MS) != 1)
            r = ASSENT_E_TIMEOUT;
        assent_store_process(store, on_done, &done);
    }
    assent_store_close(store);
    return r == 0 ? 0 : fail(directory, r);
}

/* --- ask --- */

static int ask_one(struct assent_client *client, uint64_t number)
{
    struct assent_gtrid gtrid = gtrid_of(number);
    struct assent_result result;
    int r = assent_client_status(client, &gtrid, NULL, false, &result);

    return r == 0 && result.outcome != ASSENT_OUTCOME_COMMITTED ? ASSENT_E_CORRUPT : r;
}

static int dial(const char *address, struct assent_client **ret_client)
{
    struct assent_client_options options = {
        .size = sizeof(options), .address = address, .request_ms = WAIT_MS};
    uint64_t end_ms = assent_now_ms() + WAIT_MS;
    char error[ASSENT_REASON_MAX + 1];
    int r;

    while ((r = assent_client_open(&options, ret_client, error, sizeof(error))) != 0 &&
           assent_now_ms() < end_ms)
        poll(NULL, 0, PAUSE_MS);
    return r;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

/* The last one is asked for first: it is the last that a reader of the log comes to. */
static int ask(const char *address, uint64_t count, size_t lookups)
{
    uint64_t *times_us = calloc(lookups + 1, sizeof(*times_us)), began_us, rng = 1;
    struct assent_client *client = NULL;
    int r = times_us == NULL ? ASSENT_E_NOMEM : dial(address, &client);

    if (r == 0)
        r = ask_one(client, count);
    if (r == 0) {
        printf("{\"answered_us\": %llu", (unsigned long long)assent_now_us());
        fflush(stdout);
    }
    for (size_t i = 0; r == 0 && i < lookups; i++) {
        began_us = assent_now_us();
        r = ask_one(client, 1 + assent_rng_below(&rng, count));
        times_us[i] = assent_now_us() - began_us;
    }
    if (r == 0) {
        qsort(times_us, lookups, sizeof(*times_us), compare);
        printf(", \"p50_us\": %llu, \"p99_us\": %llu, \"max_us\": %llu}\n",
               (unsigned long long)times_us[lookups / 2],
               (unsigned long long)times_us[lookups * 99 / 100],
               (unsigned long long)times_us[lookups == 0 ? 0 : lookups - 1]);
    }
    assent_client_close(client);
    free(times_us);
    return r == 0 ? 0 : fail(address, r);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "fill") == 0)
        return fill(argv[2],
                    strcmp(argv[3], "commit") == 0 ? ASSENT_COORD_RECORD_COMMIT
                                                   : ASSENT_COORD_RECORD_OUTCOME,
                    strtoull(argv[4], NULL, 10));
    if (argc == 5 && strcmp(argv[1], "ask") == 0)
        return ask(argv[2], strtoull(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
    fprintf(stderr, "usage: recovery-load fill DIRECTORY commit|outcome COUNT\n"
                    "       recovery-load ask ADDRESS COUNT LOOKUPS\n");
    return 2;
}
