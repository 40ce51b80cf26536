/*
 * cluster.c: the processes under test: one assentd and an assent-agent for each branch, or for
 * several, on loopback with free ports, in a temporary directory; ended by pid. They die with the
 * bench.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runtime.h"

#include "bench.h"
#include "log_fill.h"

#define START_MS    30000
#define STOP_MS     10000
#define POLL_MS     10
#define KEPT_PER_MS 20   /* outcomes, which are read before it serves */
#define LOG_BYTES   8192 /* of a log that are searched for its start-up line */
#define ARGUMENTS   24
#define SPARE       1024 /* connections and participants besides the idle ones */

static void pause_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&time, NULL);
}

/* Between fork and exec: nothing but system calls. */
static void become(const char *const *argv, const char *log)
{
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
        _exit(126);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static int start(struct bench_cluster *cluster, const char *name, const char *const *argv,
                 char *error, size_t error_size)
{
    struct bench_process *process = &cluster->processes[cluster->process_count];
    char log[700];
    pid_t pid;

    snprintf(log, sizeof(log), "%s/%s.log", cluster->directory, name);
    pid = fork();
    if (pid < 0) {
        snprintf(error, error_size, "cannot fork: %s", strerror(errno));
        return -1;
    }
    if (pid == 0)
        become(argv, log);
    snprintf(process->name, sizeof(process->name), "%s", name);
    process->pid = pid;
    process->child = true;
    cluster->process_count++;
    return 0;
}

/* The beginning of a file, or nothing. */
static void read_text(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "r");
    size_t used = 0;

    if (file) {
        used = fread(text, 1, size - 1, file);
        fclose(file);
    }
    text[used] = '\0';
}

/* Copies the value of key=... in the start-up line. */
static bool started_field(const char *text, const char *key, char *value, size_t size)
{
    const char *line = strstr(text, "event=started"), *end, *at;
    char pattern[32];
    size_t length;

    end = line ? strchr(line, '\n') : NULL;
    if (!end)
        return false;
    snprintf(pattern, sizeof(pattern), " %s=", key);
    at = strstr(line, pattern);
    if (!at || at > end)
        return false;
    at += strlen(pattern);
    at += *at == '"';
    length = strcspn(at, "\" \n");
    if (length >= size)
        return false;
    memcpy(value, at, length);
    value[length] = '\0';
    return true;
}

static int wait_assentd(struct bench_cluster *cluster, uint64_t wait_ms, char *error,
                        size_t error_size)
{
    const struct bench_process *process = &cluster->processes[cluster->process_count - 1];
    uint64_t end_ms = assent_now_ms() + wait_ms;
    char log[700], text[LOG_BYTES];

    snprintf(log, sizeof(log), "%s/%s.log", cluster->directory, process->name);
    for (;;) {
        read_text(log, text, sizeof(text));
        if (started_field(text, "listen", cluster->address, sizeof(cluster->address)) &&
            started_field(text, "admin", cluster->admin, sizeof(cluster->admin)))
            return 0;
        if (waitpid(process->pid, NULL, WNOHANG) == process->pid) {
            cluster->process_count--;
            snprintf(error, error_size, "assentd has ended at its start: %.300s", text);
            return -1;
        }
        if (bench_interrupted || assent_now_ms() > end_ms) {
            snprintf(error, error_size, "assentd has not started: %.300s", text);
            return -1;
        }
        pause_ms(POLL_MS);
    }
}

static int start_assentd(struct bench_cluster *cluster, const struct bench_options *options,
                         char *error, size_t error_size)
{
    char data[BENCH_PATH_BYTES + 80], connections[32], participants[32];
    const char *argv[ARGUMENTS] = {options->assentd,
                                   "--unsafe-storage",
                                   "--data-dir",
                                   data,
                                   "--listen",
                                   "127.0.0.1:0",
                                   "--admin",
                                   "127.0.0.1:0",
                                   "--requests-max",
                                   "65536",
                                   "--connections-max",
                                   connections,
                                   "--participants-max",
                                   participants,
                                   NULL};

    snprintf(data, sizeof(data), "%s/assentd", cluster->directory);
    snprintf(connections, sizeof(connections), "%zu",
             options->idle + options->idle_participants + SPARE);
    snprintf(participants, sizeof(participants), "%zu", options->idle_participants + SPARE);
    if (options->kept > 0 &&
        log_fill(data, ASSENT_COORD_RECORD_OUTCOME, options->kept, error, error_size))
        return -1;
    if (start(cluster, "assentd", argv, error, error_size))
        return -1;
    cluster->coordinator = cluster->processes[cluster->process_count - 1].pid;
    return wait_assentd(cluster, START_MS + options->kept / KEPT_PER_MS, error, error_size);
}

/* An agent for the branches from `first` on, which takes as many as are together. */
static int start_agent(struct bench_cluster *cluster, const struct bench_options *options,
                       size_t first, char *error, size_t error_size)
{
    char data[BENCH_PATH_BYTES + 80], name[32], resources[BENCH_TOGETHER_MAX][BENCH_PATH_BYTES];
    const char *argv[ARGUMENTS + 2 * BENCH_TOGETHER_MAX] = {
        options->agent,   "--unsafe-storage", "--name", name,       "--coordinator",
        cluster->address, "--data-dir",       data,     "--listen", "127.0.0.1:0"};
    size_t at = 10;

    snprintf(name, sizeof(name), "agent-%zu", first / options->together + 1);
    snprintf(data, sizeof(data), "%s/%s", cluster->directory, name);
    for (size_t i = 0; i < options->together && first + i < options->branches; i++) {
        char *full = cluster->names[first + i];

        snprintf(full, sizeof(cluster->names[first + i]), "%s", name);
        if (options->together > 1) {
            snprintf(resources[i], sizeof(resources[i]), "r%zu=%s", i + 1, options->resource);
            snprintf(full, sizeof(cluster->names[first + i]), "%s/r%zu", name, i + 1);
        }
        argv[at++] = "--resource";
        argv[at++] = options->together > 1 ? resources[i] : options->resource;
    }
    return start(cluster, name, argv, error, error_size);
}

/* Processes that run already: named as the kernel names them. */
static void watch(struct bench_cluster *cluster, const struct bench_options *options)
{
    for (size_t i = 0; i < options->pid_count; i++) {
        struct bench_process *process = &cluster->processes[cluster->process_count++];
        char path[64];

        process->pid = options->pids[i];
        snprintf(path, sizeof(path), "/proc/%ld/comm", (long)process->pid);
        read_text(path, process->name, sizeof(process->name));
        process->name[strcspn(process->name, "\n")] = '\0';
    }
}

int bench_cluster_start(struct bench_cluster *cluster, const struct bench_options *options,
                        char *error, size_t error_size)
{
    *cluster = (struct bench_cluster){
        .idle_report = -1, .memory_bare = UINT64_MAX, .memory_idle = UINT64_MAX};
    snprintf(cluster->processes[0].name, sizeof(cluster->processes[0].name), "assent-bench");
    cluster->processes[cluster->process_count++].pid = getpid();
    if (options->host) {
        for (size_t i = 0; i < options->branches; i++)
            snprintf(cluster->names[i], sizeof(cluster->names[i]), "%s", options->participants[i]);
        snprintf(cluster->address, sizeof(cluster->address), "%s", options->host);
        snprintf(cluster->admin, sizeof(cluster->admin), "%s",
                 options->admin ? options->admin : "");
        watch(cluster, options);
        return 0;
    }
    if (bench_directory_make(options->data_dir, cluster->directory, sizeof(cluster->directory),
                             error, error_size) ||
        start_assentd(cluster, options, error, error_size))
        return -1;
    for (size_t i = 0; i < options->branches; i += options->together)
        if (start_agent(cluster, options, i, error, error_size))
            return -1;
    return 0;
}

static void stop_child(struct bench_process *process)
{
    uint64_t end_ms = assent_now_ms() + STOP_MS;

    kill(process->pid, SIGTERM);
    while (waitpid(process->pid, NULL, WNOHANG) == 0) {
        if (assent_now_ms() > end_ms) {
            fprintf(stderr, "assent-bench: %s did not stop in %d s and is killed\n", process->name,
                    STOP_MS / 1000);
            kill(process->pid, SIGKILL);
            waitpid(process->pid, NULL, 0);
            return;
        }
        pause_ms(POLL_MS);
    }
}

void bench_cluster_stop(struct bench_cluster *cluster)
{
    for (size_t i = cluster->process_count; i > 0; i--)
        if (cluster->processes[i - 1].child)
            stop_child(&cluster->processes[i - 1]);
    cluster->process_count = 0;
    if (cluster->idle_report >= 0)
        close(cluster->idle_report);
    bench_directory_remove(cluster->directory);
}

/* Participants of ours that the coordinator says are up; "NAME/RESOURCE" counts as its NAME. */
static size_t count_up(const struct bench_cluster *cluster, size_t branches, const char *text)
{
    json_t *json = json_loads(text, 0, NULL), *row;
    size_t index, count = 0;

    for (size_t i = 0; i < branches; i++) {
        size_t length = strcspn(cluster->names[i], "/");

        json_array_foreach(json_object_get(json, "participants"), index, row)
        {
            const char *name = json_string_value(json_object_get(row, "name"));
            const char *state = json_string_value(json_object_get(row, "state"));

            if (name && state && strcmp(state, "up") == 0 && strlen(name) == length &&
                memcmp(name, cluster->names[i], length) == 0) {
                count++;
                break;
            }
        }
    }
    json_decref(json);
    return count;
}

int bench_cluster_ready(const struct bench_cluster *cluster, size_t branches, char *error,
                        size_t error_size)
{
    struct assent_client_options options = {
        .size = sizeof(options), .address = cluster->address, .name = "assent-bench"};
    uint64_t end_ms = assent_now_ms() + START_MS;
    struct assent_client *client = NULL;
    size_t up = 0;

    if (assent_client_open(&options, &client, error, error_size))
        return -1;
    for (;;) {
        char *text = NULL;

        if (assent_client_inspect(client, "participants", NULL, NULL, 0, &text)) {
            snprintf(error, error_size, "%s", assent_client_error(client));
            break;
        }
        up = count_up(cluster, branches, text);
        free(text);
        if (up == branches)
            break;
        if (bench_interrupted || assent_now_ms() > end_ms) {
            snprintf(error, error_size, "%zu of %zu participants are up", up, branches);
            break;
        }
        pause_ms(POLL_MS);
    }
    assent_client_close(client);
    return up == branches ? 0 : -1;
}
