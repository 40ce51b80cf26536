/*
 * floor.c: what the disk and the loopback of this machine allow without any protocol: group commits
 * by size, round trips and a stream of frames as long as a request and its answer.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime.h"

#include "bench.h"
#include "ideal.h"

#define COMMITS_US  200000 /* for each size */
#define LOOPBACK_US 200000
#define FRAME_MAX   (1024 * 1024)
#define READ_BYTES  (256 * 1024)

const size_t bench_commit_sizes[BENCH_COMMIT_SIZES] = {1, 8, 64, 512, 4096};

/* --- the disk --- */

static int measure_commits(struct ideal_log *log, size_t records, struct bench_commits *ret_commits,
                           char *error, size_t error_size)
{
    struct bench_latencies latencies = {0};
    uint64_t begun_us = assent_now_us(), before_us, now_us = begun_us;
    double seconds;
    int failed = 0;

    while (!failed && now_us < begun_us + COMMITS_US) {
        before_us = now_us;
        failed = ideal_log_commit(log, records, error, error_size);
        now_us = assent_now_us();
        bench_latencies_add(&latencies, now_us - before_us);
    }
    seconds = (double)(now_us - begun_us) / 1e6;
    *ret_commits =
        (struct bench_commits){.per_s = (double)latencies.count / seconds,
                               .records_per_s = (double)(latencies.count * records) / seconds,
                               .p50_us = bench_latencies_quantile(&latencies, 0.5)};
    bench_latencies_fini(&latencies);
    return failed;
}

static int measure_disk(const char *parent, struct bench_floor *floor, char *error,
                        size_t error_size)
{
    char directory[BENCH_PATH_BYTES];
    struct ideal_log *log;
    int failed = 0;

    if (bench_directory_make(parent, directory, sizeof(directory), error, error_size))
        return -1;
    failed = ideal_log_open(directory, &log, error, error_size);
    if (!failed) {
        for (size_t i = 0; i < BENCH_COMMIT_SIZES && !failed; i++)
            failed =
                measure_commits(log, bench_commit_sizes[i], &floor->commits[i], error, error_size);
        ideal_log_close(log);
    }
    bench_directory_remove(directory);
    return failed;
}

/* --- the loopback --- */

struct peer {
    int fd;
    size_t request_bytes, reply_bytes;
};

/* Moves size bytes whose content is of no interest. */
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

static void echo(void *context)
{
    const struct peer *peer = context;
    char buffer[FRAME_MAX] = {0};

    while (transfer(peer->fd, false, buffer, peer->request_bytes) &&
           transfer(peer->fd, true, buffer, peer->reply_bytes))
        ;
}

/* Answers once, at the end of what it is sent. */
static void swallow(void *context)
{
    static char buffer[READ_BYTES];
    const struct peer *peer = context;

    while (recv(peer->fd, buffer, sizeof(buffer), 0) > 0)
        ;
    transfer(peer->fd, true, buffer, 1);
}

static bool ping(int fd, const struct peer *peer, struct bench_floor *floor)
{
    struct bench_latencies latencies = {0};
    uint64_t begun_us = assent_now_us(), before_us, now_us = begun_us;
    char buffer[FRAME_MAX] = {0};
    bool going = true;

    while (going && now_us < begun_us + LOOPBACK_US) {
        before_us = now_us;
        going = transfer(fd, true, buffer, peer->request_bytes) &&
                transfer(fd, false, buffer, peer->reply_bytes);
        now_us = assent_now_us();
        bench_latencies_add(&latencies, now_us - before_us);
    }
    floor->round_trips_per_s = (double)latencies.count * 1e6 / (double)(now_us - begun_us);
    floor->round_trip_p50_us = bench_latencies_quantile(&latencies, 0.5);
    bench_latencies_fini(&latencies);
    return going;
}

/* Each frame in a write of its own. */
static bool stream(int fd, const struct peer *peer, struct bench_floor *floor)
{
    uint64_t begun_us = assent_now_us(), end_us = begun_us + LOOPBACK_US, count = 0;
    char buffer[FRAME_MAX] = {0};
    bool going = true;

    while (going && assent_now_us() < end_us) {
        going = transfer(fd, true, buffer, peer->request_bytes);
        count++;
    }
    shutdown(fd, SHUT_WR);
    going = going && transfer(fd, false, buffer, 1);
    floor->messages_per_s = (double)count * 1e6 / (double)(assent_now_us() - begun_us);
    return going;
}

static int with_peer(struct peer *peer, void (*run)(void *context),
                     bool (*measure)(int fd, const struct peer *peer, struct bench_floor *floor),
                     struct bench_floor *floor, char *error, size_t error_size)
{
    int fds[2], failed = -1;
    pid_t pid;

    if (bench_loopback_pair(fds, error, error_size))
        return -1;
    peer->fd = fds[1];
    pid = bench_child_start(run, peer, &fds[1], 1, error, error_size);
    close(fds[1]);
    if (pid >= 0) {
        failed = measure(fds[0], peer, floor) ? 0 : -1;
        if (failed)
            snprintf(error, error_size, "loopback: the peer has ended");
        bench_child_stop(pid);
    }
    close(fds[0]);
    return failed;
}

int bench_floor_measure(const struct bench_options *options, struct bench_floor *ret_floor,
                        char *error, size_t error_size)
{
    struct peer peer = {.fd = -1};

    if (bench_ideal_frames(options, &peer.request_bytes, &peer.reply_bytes) ||
        peer.request_bytes > FRAME_MAX || peer.reply_bytes > FRAME_MAX) {
        snprintf(error, error_size, "a transaction's frame cannot be made");
        return -1;
    }
    if (measure_disk(options->data_dir, ret_floor, error, error_size) ||
        with_peer(&peer, echo, ping, ret_floor, error, error_size) ||
        with_peer(&peer, swallow, stream, ret_floor, error, error_size))
        return -1;
    return 0;
}
