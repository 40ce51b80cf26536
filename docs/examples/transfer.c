/*
 * transfer.c: an application. It moves money between accounts that two kv participants keep:
 *
 *   transfer ADDRESS FROM ACCOUNT TO ACCOUNT AMOUNT KEY
 *   transfer 127.0.0.1:7372 bank-a alice bank-b bob 5 order-4711
 *
 * KEY is the idempotency key: whatever happens to this process, to the network or to the
 * coordinator, the same command again moves the money once. Ends with 0 if it is moved, 7 if it is
 * not, 8 if that could not be learned in time (run it again), 2 for a bad command line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "assent/client.h"

#define ATTEMPTS_MAX 30
#define PAUSE_MS     500

struct transfer {
    struct assent_client *client;
    const char *key;
    struct assent_work works[2];
    char debit[128], credit[128];
};

static void pause_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&time, NULL);
}

/* Both branches in one message. With a key this is safe to repeat: it finds the first one. */
static int run(struct transfer *transfer, struct assent_result *result)
{
    struct assent_begin_options options = {
        .size = sizeof(options), .protocol = ASSENT_2PC, .key = transfer->key};

    return assent_client_run(transfer->client, &options, transfer->works, 2, false, result);
}

/*
 * Until there is an outcome: run it; when the answer is lost or there is none yet, ask by key; and
 * when the coordinator has never seen the key, because the message was lost or because it crashed
 * before it decided, run it again. An unknown outcome is never taken for an abort.
 */
static int settle(struct transfer *transfer, struct assent_result *result)
{
    bool ask = false;
    int error = ASSENT_E_UNKNOWN;

    for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        if (attempt > 0)
            pause_ms(PAUSE_MS);
        error = ask ? assent_client_status(transfer->client, NULL, transfer->key, false, result)
                    : run(transfer, result);
        if (error == ASSENT_E_INVALID || error == ASSENT_E_NOT_FOUND)
            return error; /* it will not get better */
        if (error) {
            fprintf(stderr, "transfer: %s; asking again\n", assent_client_error(transfer->client));
            /* These three say that nothing was begun, or that nothing was sent at all. */
            ask = error != ASSENT_E_CONNECT && error != ASSENT_E_LIMIT && error != ASSENT_E_FULL;
            continue;
        }
        if (result->outcome == ASSENT_OUTCOME_NEVER_SEEN)
            ask = false;
        else if (result->outcome == ASSENT_OUTCOME_UNKNOWN)
            ask = true;
        else
            return 0;
    }
    return error ? error : ASSENT_E_UNKNOWN;
}

static int report(const struct assent_result *result)
{
    char gtrid[ASSENT_GTRID_TEXT + 1];

    assent_gtrid_format(&result->gtrid, gtrid);
    printf("%s %s%s%s\n", gtrid, assent_outcome_name((int)result->outcome),
           result->reason[0] ? ": " : "", result->reason);
    switch (result->outcome) {
    case ASSENT_OUTCOME_COMMITTED:
        return 0;
    case ASSENT_OUTCOME_ABORTED:
        return 7;
    case ASSENT_OUTCOME_UNKNOWN:
    case ASSENT_OUTCOME_MIXED:
    case ASSENT_OUTCOME_HAZARD:
    case ASSENT_OUTCOME_EXPIRED:
    case ASSENT_OUTCOME_NEVER_SEEN:
        break;
    }
    return 8; /* a person has to look */
}

int main(int argc, char **argv)
{
    struct assent_client_options options = {.size = sizeof(options), .name = "transfer"};
    struct assent_result result = {.outcome = ASSENT_OUTCOME_UNKNOWN};
    struct transfer transfer = {0};
    char error[256] = "";
    long amount;
    int failed;

    if (argc != 8 || (amount = strtol(argv[6], NULL, 10)) <= 0) {
        fputs("usage: transfer ADDRESS FROM ACCOUNT TO ACCOUNT AMOUNT KEY\n", stderr);
        return 2;
    }
    options.address = argv[1];
    transfer.key = argv[7];
    /* The guard makes the debit's participant vote no when the money is not there. */
    snprintf(transfer.debit, sizeof(transfer.debit), "add %s -%ld min 0", argv[3], amount);
    snprintf(transfer.credit, sizeof(transfer.credit), "add %s %ld", argv[5], amount);
    transfer.works[0] = (struct assent_work){argv[2], transfer.debit, strlen(transfer.debit)};
    transfer.works[1] = (struct assent_work){argv[4], transfer.credit, strlen(transfer.credit)};

    failed = assent_client_open(&options, &transfer.client, error, sizeof(error));
    for (int attempt = 1; failed == ASSENT_E_CONNECT && attempt < ATTEMPTS_MAX; attempt++) {
        pause_ms(PAUSE_MS);
        failed = assent_client_open(&options, &transfer.client, error, sizeof(error));
    }
    if (failed) {
        fprintf(stderr, "transfer: %s\n", error);
        return 8;
    }
    failed = settle(&transfer, &result);
    if (failed)
        fprintf(stderr, "transfer: %s\n", assent_client_error(transfer.client));
    assent_client_close(transfer.client);
    return failed ? 8 : report(&result);
}
