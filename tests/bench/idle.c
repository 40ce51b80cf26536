/*
 * idle.c: connections that do nothing: applications that have said hello and ask for nothing, and
 * participants idle-1, idle-2, ... with one null resource that nobody uses, which send heartbeats.
 * They live in a child of the bench, so that its own CPU time stays that of the load.
 *
 * The child's report is a pipe: a line once all are greeted, and a sentence if one of them ends.
 */
#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "codec.h"
#include "net.h"
#include "runtime.h"

#include "bench.h"

#define READY           "ready\n"
#define READY_MS        120000
#define CONNECT_MS      10000
#define HANDSHAKES_MAX  64 /* at one time, so that the coordinator's backlog holds them */
#define FRAME_BYTES_MAX (1024 * 1024)
#define SPARE_FILES     64

struct idle {
    const char *address;
    size_t participants, total, dialled, greeted;
    int report;
    struct event_base *base;
    struct assent_arena *arena;
    struct assent_wire wire;
    uint8_t *frame;
    size_t frame_capacity;
};

static const struct assent_net_limits limits = {.frame_bytes_max = FRAME_BYTES_MAX,
                                                .first_frame_bytes_max = FRAME_BYTES_MAX,
                                                .output_bytes_max = FRAME_BYTES_MAX,
                                                .handshake_ms = READY_MS,
                                                .heartbeat_ms = 2000};

/* --- in the child --- */

__attribute__((format(printf, 2, 3), noreturn)) static void give_up(const struct idle *idle,
                                                                    const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vdprintf(idle->report, format, arguments);
    va_end(arguments);
    _exit(1);
}

static void send_wire(struct idle *idle, struct assent_conn *conn, const struct assent_wire *wire)
{
    size_t size;
    int r = assent_wire_encode(wire, &idle->frame, &idle->frame_capacity, &size);

    if (r == 0)
        r = assent_conn_send(conn, idle->frame, size);
    if (r != 0)
        give_up(idle, "an idle connection cannot send: %s", assent_error_text(r));
}

static void say_hello(struct idle *idle, struct assent_conn *conn, size_t number)
{
    struct assent_wire wire = {.kind = ASSENT_WIRE_HELLO};
    struct assent_wire_hello *hello = &wire.u.hello;
    char name[ASSENT_NAME_MAX + 1];

    snprintf(name, sizeof(name), "idle-%zu", number);
    *hello = (struct assent_wire_hello){.version_min = ASSENT_WIRE_VERSION,
                                        .version_max = ASSENT_WIRE_VERSION,
                                        .role = ASSENT_ROLE_APPLICATION,
                                        .name = name,
                                        .cluster = "default",
                                        .software = "assent-bench " ASSENT_VERSION};
    if (number <= idle->participants) {
        hello->role = ASSENT_ROLE_PARTICIPANT;
        hello->incarnation = 1;
        hello->resources[0] = (struct assent_wire_resource){.name = "null", .type = "null"};
        hello->resource_count = 1;
    }
    send_wire(idle, conn, &wire);
}

static void dial(struct idle *idle);

static void read_frame(struct idle *idle, struct assent_conn *conn, const uint8_t *data,
                       size_t size, bool heartbeats)
{
    char error[ASSENT_REASON_MAX + 1];

    if (assent_wire_decode(data, size, idle->arena, &idle->wire, error, sizeof(error)))
        give_up(idle, "an idle connection: %s", error);
    if (idle->wire.kind == ASSENT_WIRE_REFUSAL)
        give_up(idle, "an idle connection was refused: %s", idle->wire.u.refusal.text);
    if (idle->wire.kind != ASSENT_WIRE_HELLO)
        return;
    assent_conn_established(conn, heartbeats);
    if (idle->dialled < idle->total)
        dial(idle);
    if (++idle->greeted == idle->total)
        dprintf(idle->report, READY);
}

static void on_application_frame(struct assent_conn *conn, const uint8_t *data, size_t size,
                                 void *context)
{
    read_frame(context, conn, data, size, false);
}

static void on_participant_frame(struct assent_conn *conn, const uint8_t *data, size_t size,
                                 void *context)
{
    read_frame(context, conn, data, size, true);
}

static void on_closed(struct assent_conn *conn, int error, const char *detail, void *context)
{
    (void)conn;
    (void)error;
    give_up(context, "an idle connection has ended: %s", detail);
}

static void on_heartbeat(struct assent_conn *conn, void *context)
{
    send_wire(context, conn, &(struct assent_wire){.kind = ASSENT_WIRE_PING});
}

/* Participants first, so that their names are those from idle-1 on. */
static void dial(struct idle *idle)
{
    static const struct assent_conn_handler applications = {.frame = on_application_frame,
                                                            .closed = on_closed};
    static const struct assent_conn_handler participants = {on_participant_frame, on_closed,
                                                            on_heartbeat};
    size_t number = ++idle->dialled;
    struct assent_conn *conn;
    char error[BENCH_ERROR_BYTES];
    int fd = assent_connect(idle->address, CONNECT_MS, error, sizeof(error));

    if (fd < 0)
        give_up(idle, "idle connection %zu: %s", number, error);
    if (assent_conn_new(idle->base, fd, &limits,
                        number <= idle->participants ? &participants : &applications, idle, &conn))
        give_up(idle, "idle connection %zu: out of memory", number);
    say_hello(idle, conn, number);
}

static void run(void *context)
{
    struct idle *idle = context;
    struct rlimit files = {0};

    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_IGN); /* the bench ends it */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (files.rlim_cur < idle->total + SPARE_FILES)
        give_up(idle, "%zu idle connections need more files than a process may have open (%llu)",
                idle->total, (unsigned long long)files.rlim_cur);
    idle->base = event_base_new();
    if (!idle->base || assent_arena_new(FRAME_BYTES_MAX + ASSENT_ARENA_EXTRA, &idle->arena))
        give_up(idle, "out of memory");
    while (idle->dialled < idle->total && idle->dialled < HANDSHAKES_MAX)
        dial(idle);
    event_base_dispatch(idle->base);
    give_up(idle, "the loop of idle connections has ended");
}

/* --- in the bench --- */

/* What the child says within that time: 0 and "" for nothing. */
static int hear(int fd, int wait_ms, char *text, size_t size)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    ssize_t got = 0;
    int r = poll(&ready, 1, wait_ms);

    if (r > 0)
        got = read(fd, text, size - 1);
    text[got > 0 ? got : 0] = '\0';
    return r;
}

static int start(struct bench_cluster *cluster, const struct bench_options *options, int report,
                 char *error, size_t error_size)
{
    struct bench_process *process = &cluster->processes[cluster->process_count];
    struct idle *idle = calloc(1, sizeof(*idle));

    ASSENT_ASSERT(idle);
    idle->address = cluster->address;
    idle->participants = options->idle_participants;
    idle->total = options->idle + options->idle_participants;
    idle->report = report;
    process->pid = bench_child_start(run, idle, &report, 1, error, error_size);
    free(idle);
    if (process->pid < 0)
        return -1;
    snprintf(process->name, sizeof(process->name), "idle");
    process->child = true;
    cluster->process_count++;
    return 0;
}

int bench_idle_start(struct bench_cluster *cluster, const struct bench_options *options,
                     char *error, size_t error_size)
{
    char text[BENCH_ERROR_BYTES];
    int report[2], failed;

    cluster->memory_bare = cluster->memory_idle = bench_sample_memory(cluster);
    if (options->idle + options->idle_participants == 0)
        return 0;
    if (pipe(report) != 0) {
        snprintf(error, error_size, "pipe: %s", strerror(errno));
        return -1;
    }
    failed = start(cluster, options, report[1], error, error_size);
    close(report[1]);
    cluster->idle_report = report[0];
    if (failed)
        return -1;
    if (hear(report[0], READY_MS, text, sizeof(text)) <= 0 || strcmp(text, READY) != 0) {
        snprintf(error, error_size, "%s", text[0] ? text : "idle connections are not greeted");
        return -1;
    }
    cluster->memory_idle = bench_sample_memory(cluster);
    return 0;
}

int bench_idle_check(const struct bench_cluster *cluster, char *error, size_t error_size)
{
    char text[BENCH_ERROR_BYTES];

    if (cluster->idle_report < 0 || hear(cluster->idle_report, 0, text, sizeof(text)) == 0)
        return 0;
    snprintf(error, error_size, "%s", text[0] ? text : "the idle connections have ended");
    return -1;
}
