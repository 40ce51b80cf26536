/*
 * ceilings.c: what this machine allows at most, measured through the same code that the coordinator
 * uses: group commits of small records with so many outstanding as there will be transactions in
 * flight, and round trips of frames of the same size over one loopback connection.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "codec.h"
#include "net.h"
#include "runtime.h"
#include "store.h"

#include "bench.h"

#define WARMUP_US   200000
#define FRAME_BYTES 65536

/* --- the disk --- */

struct writes {
    struct assent_store *store;
    uint64_t sequence;
    uint64_t done;
    int error;
};

static void put(struct writes *writes)
{
    uint8_t key[ASSENT_GTRID_BYTES] = {0}, value[BENCH_RECORD_BYTES] = {0};
    struct assent_put request = {.table = ASSENT_TABLE_TRANSACTION,
                                 .key = key,
                                 .key_size = sizeof(key),
                                 .value = value,
                                 .value_size = sizeof(value),
                                 .token = 1};
    uint64_t sequence = writes->sequence++;

    for (size_t i = 0; i < 8; i++)
        key[sizeof(key) - 1 - i] = (uint8_t)(sequence >> (8 * i));
    if (writes->error == 0)
        writes->error = assent_store_put(writes->store, &request);
}

static void written(const struct assent_completion *completion, void *context)
{
    struct writes *writes = context;

    (void)completion;
    writes->done++;
    put(writes);
}

static void write_for(struct writes *writes, uint64_t us)
{
    uint64_t end_us = assent_now_us() + us;
    struct pollfd fd = {.fd = assent_store_fd(writes->store), .events = POLLIN};

    while (writes->error == 0 && assent_now_us() < end_us && !bench_interrupted)
        if (poll(&fd, 1, 100) > 0)
            assent_store_process(writes->store, written, writes);
}

static int measure_store(const char *parent, size_t outstanding, uint64_t us,
                         struct bench_store_rate *ret_rate, char *error, size_t error_size)
{
    char directory[600];
    struct assent_store_options options = {.directory = directory,
                                           .owner = "assent-bench",
                                           .map_bytes = 4ull << 30,
                                           .lazy_flush_ms = 10,
                                           .queue_max = outstanding + 1024,
                                           .unsafe_storage = true};
    struct assent_store_stats before, after;
    struct writes writes = {0};
    uint64_t begun_us, done;
    double seconds;

    snprintf(directory, sizeof(directory), "%s/store-%zu", parent, outstanding);
    if (assent_store_open(&options, &writes.store, error, error_size))
        return -1;
    for (size_t i = 0; i < outstanding; i++)
        put(&writes);
    write_for(&writes, WARMUP_US);
    assent_store_stats(writes.store, &before);
    done = writes.done;
    begun_us = assent_now_us();
    write_for(&writes, us);
    seconds = (double)(assent_now_us() - begun_us) / 1e6;
    assent_store_stats(writes.store, &after);
    assent_store_close(writes.store);
    if (writes.error) {
        snprintf(error, error_size, "writing the log: %s", assent_error_text(writes.error));
        return -1;
    }
    ret_rate->outstanding = outstanding;
    ret_rate->commits_per_s = (double)(after.batches - before.batches) / seconds;
    ret_rate->records_per_s = (double)(writes.done - done) / seconds;
    return 0;
}

/* --- the loopback --- */

struct echo {
    int listener;
    size_t request_bytes, reply_bytes;
};

/* Moves size bytes, at most FRAME_BYTES, whose content is of no interest. */
static bool transfer(int fd, bool sending, char *buffer, size_t size)
{
    while (size > 0) {
        ssize_t moved = sending ? send(fd, buffer, size, MSG_NOSIGNAL) : recv(fd, buffer, size, 0);

        if (moved < 0 && errno == EINTR)
            continue;
        if (moved <= 0)
            return false;
        size -= (size_t)moved;
    }
    return true;
}

static void no_delay(int fd)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void *serve(void *context)
{
    const struct echo *echo = context;
    char buffer[FRAME_BYTES] = {0};
    int fd = accept(echo->listener, NULL, NULL);

    if (fd < 0)
        return NULL;
    no_delay(fd);
    while (transfer(fd, false, buffer, echo->request_bytes) &&
           transfer(fd, true, buffer, echo->reply_bytes))
        ;
    close(fd);
    return NULL;
}

static double ping_for(int fd, const struct echo *echo, uint64_t us)
{
    uint64_t begun_us = assent_now_us(), count = 0, now_us = begun_us;
    char buffer[FRAME_BYTES] = {0};

    while (now_us < begun_us + us && !bench_interrupted &&
           transfer(fd, true, buffer, echo->request_bytes) &&
           transfer(fd, false, buffer, echo->reply_bytes)) {
        count++;
        now_us = assent_now_us();
    }
    return now_us > begun_us ? (double)count * 1e6 / (double)(now_us - begun_us) : 0;
}

static int measure_loopback(struct bench_ceilings *ceilings, uint64_t us, char *error,
                            size_t error_size)
{
    struct echo echo = {-1, ceilings->request_bytes, ceilings->reply_bytes};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    pthread_t thread;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), failed = -1;

    echo.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || echo.listener < 0 ||
        bind(echo.listener, (struct sockaddr *)&address, sizeof(address)) ||
        listen(echo.listener, 1) ||
        getsockname(echo.listener, (struct sockaddr *)&address, &size) ||
        connect(fd, (struct sockaddr *)&address, sizeof(address)) ||
        pthread_create(&thread, NULL, serve, &echo)) {
        snprintf(error, error_size, "loopback: %s", strerror(errno));
        goto out;
    }
    no_delay(fd);
    ping_for(fd, &echo, WARMUP_US);
    ceilings->round_trips_per_s = ping_for(fd, &echo, us);
    shutdown(fd, SHUT_RDWR);
    pthread_join(thread, NULL);
    failed = 0;
out:
    if (fd >= 0)
        close(fd);
    if (echo.listener >= 0)
        close(echo.listener);
    return failed;
}

/* The sizes of a transaction's request and its answer on the wire. */
static int frame_sizes(const struct bench_options *options, struct bench_ceilings *ceilings)
{
    struct assent_wire *wire = calloc(1, sizeof(*wire));
    uint8_t *buffer = NULL;
    size_t capacity = 0, size = 0;
    char work[64];
    int failed = -1;

    if (!wire)
        return -1;
    wire->kind = ASSENT_WIRE_RUN;
    wire->request = 1000000;
    wire->u.run.begin.protocol = options->protocol;
    wire->u.run.branch_count = options->branches;
    bench_work_text(options, 100, work, sizeof(work));
    for (size_t i = 0; i < options->branches; i++)
        wire->u.run.branches[i] = (struct assent_wire_branch_work){"agent-1", {work, strlen(work)}};
    if (assent_wire_encode(wire, &buffer, &capacity, &size))
        goto out;
    ceilings->request_bytes = ASSENT_FRAME_HEADER + size;
    memset(wire, 0, sizeof(*wire));
    wire->kind = ASSENT_WIRE_RESULT;
    wire->request = 1000000;
    memset(wire->u.result.gtrid.bytes, 1, sizeof(wire->u.result.gtrid.bytes));
    wire->u.result.outcome = ASSENT_OUTCOME_COMMITTED;
    wire->u.result.phase = "committing";
    if (assent_wire_encode(wire, &buffer, &capacity, &size))
        goto out;
    ceilings->reply_bytes = ASSENT_FRAME_HEADER + size;
    failed = ceilings->request_bytes > FRAME_BYTES || ceilings->reply_bytes > FRAME_BYTES ? -1 : 0;
out:
    free(buffer);
    free(wire);
    return failed;
}

int bench_ceilings_measure(const struct bench_options *options, struct bench_ceilings *ret_ceilings,
                           char *error, size_t error_size)
{
    struct bench_ceilings ceilings = {0};
    uint64_t us = (options->seconds < 2 ? options->seconds : 2) * 1000000;
    char directory[512];
    int failed = 0;

    if (frame_sizes(options, &ceilings)) {
        snprintf(error, error_size, "a transaction's frame cannot be made");
        return -1;
    }
    if (bench_directory_make(options->data_dir, directory, sizeof(directory), error, error_size))
        return -1;
    for (size_t i = 0; i < options->step_count && !failed; i++)
        failed = measure_store(directory, options->in_flight[i], us,
                               &ceilings.store[ceilings.store_count++], error, error_size);
    bench_directory_remove(directory);
    if (failed || measure_loopback(&ceilings, us, error, error_size))
        return -1;
    *ret_ceilings = ceilings;
    return 0;
}
