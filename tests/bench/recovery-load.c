/*
 * recovery-load.c: a coordinator's log with many transactions in it, and questions about them. What
 * recovery.py measures with; it starts the processes, this only fills and asks.
 *
 *   recovery-load fill DIRECTORY commit|outcome COUNT   a new log: so many 2pc commits that are
 *                        decided and not acknowledged, or so many kept outcomes
 *   recovery-load ask ADDRESS gtrid|key COUNT LOOKUPS   dials until it is answered, then asks for
 *                        the outcomes of so many of them, in random order and one after the other
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/client.h"

#include "log_fill.h"
#include "rng.h"
#include "runtime.h"

#define WAIT_MS  300000
#define PAUSE_MS 5

static int fail(const char *what, int error)
{
    fprintf(stderr, "%s: %s\n", what, assent_error_text(error));
    return 1;
}

static int fill(const char *directory, const char *kind, uint64_t count)
{
    char error[256];

    if (log_fill(directory,
                 strcmp(kind, "commit") == 0 ? ASSENT_COORD_RECORD_COMMIT
                                             : ASSENT_COORD_RECORD_OUTCOME,
                 count, error, sizeof(error)) == 0)
        return 0;
    fprintf(stderr, "%s\n", error);
    return 1;
}

static int ask_one(struct assent_client *client, bool by_key, uint64_t number)
{
    struct assent_gtrid gtrid = log_fill_gtrid(number);
    char key[LOG_FILL_KEY_BYTES];
    struct assent_result result;
    int r;

    log_fill_key(number, key);
    r = assent_client_status(client, by_key ? NULL : &gtrid, by_key ? key : NULL, false, &result);
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
static int ask(const char *address, bool by_key, uint64_t count, size_t lookups)
{
    uint64_t *times_us = calloc(lookups + 1, sizeof(*times_us)), began_us, rng = 1;
    struct assent_client *client = NULL;
    int r = times_us == NULL ? ASSENT_E_NOMEM : dial(address, &client);

    if (r == 0)
        r = ask_one(client, by_key, count);
    if (r == 0) {
        printf("{\"answered_us\": %llu", (unsigned long long)assent_now_us());
        fflush(stdout);
    }
    for (size_t i = 0; r == 0 && i < lookups; i++) {
        began_us = assent_now_us();
        r = ask_one(client, by_key, 1 + assent_rng_below(&rng, count));
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
        return fill(argv[2], argv[3], strtoull(argv[4], NULL, 10));
    if (argc == 6 && strcmp(argv[1], "ask") == 0)
        return ask(argv[2], strcmp(argv[3], "key") == 0, strtoull(argv[4], NULL, 10),
                   strtoul(argv[5], NULL, 10));
    fprintf(stderr, "usage: recovery-load fill DIRECTORY commit|outcome COUNT\n"
                    "       recovery-load ask ADDRESS gtrid|key COUNT LOOKUPS\n");
    return 2;
}
