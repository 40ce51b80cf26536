/* sample.c: looks at counters from outside: assentd's /metrics and memory, and the processes' CPU
 * time. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net.h"
#include "runtime.h"

#include "bench.h"

#define METRICS_BYTES_MAX (1024 * 1024)
#define HTTP_MS           5000

/* The whole answer to GET /metrics, or NULL; the caller frees it. */
static char *get_metrics(const char *address)
{
    char request[256], error[256], *text = NULL;
    int fd = assent_connect(address, HTTP_MS, error, sizeof(error));
    size_t used = 0;
    bool whole = false;

    if (fd < 0)
        return NULL;
    text = malloc(METRICS_BYTES_MAX + 1);
    ASSENT_ASSERT(text);
    snprintf(request, sizeof(request),
             "GET /metrics HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", address);
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request))
        goto out;
    while (used < METRICS_BYTES_MAX) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        ssize_t size;

        if (poll(&ready, 1, HTTP_MS) <= 0)
            goto out;
        size = recv(fd, text + used, METRICS_BYTES_MAX - used, 0);
        if (size < 0)
            goto out;
        whole = size == 0;
        if (whole)
            break;
        used += (size_t)size;
    }
    text[used] = '\0';
out:
    close(fd);
    if (!whole) {
        free(text);
        text = NULL;
    }
    return text;
}

/* The sum of all series of a name. */
static uint64_t metric(const char *text, const char *name)
{
    size_t length = strlen(name);
    bool found = false;
    double sum = 0;

    for (const char *line = text; line; line = strchr(line, '\n')) {
        const char *value;

        line += *line == '\n';
        if (strncmp(line, name, length) != 0 || (line[length] != ' ' && line[length] != '{'))
            continue;
        value = line[length] == '{' ? strchr(line, '}') : line + length;
        if (!value)
            continue;
        sum += strtod(value + 1, NULL);
        found = true;
    }
    return found ? (uint64_t)sum : UINT64_MAX;
}

/* User and system time of all threads. */
static double cpu_seconds(pid_t pid)
{
    char path[64], text[1024] = "";
    unsigned long user = 0, system = 0;
    const char *after_name;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    file = fopen(path, "r");
    if (!file)
        return 0;
    if (!fgets(text, sizeof(text), file))
        text[0] = '\0';
    fclose(file);
    after_name = strrchr(text, ')'); /* the name may hold anything */
    if (!after_name ||
        sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
               &system) != 2)
        return 0;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

uint64_t bench_sample_memory(const struct bench_cluster *cluster)
{
    char path[64], line[256];
    unsigned long long kib;
    uint64_t bytes = UINT64_MAX;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%ld/status", (long)cluster->coordinator);
    file = cluster->coordinator > 0 ? fopen(path, "r") : NULL;
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "RssAnon: %llu kB", &kib) == 1)
            bytes = kib * 1024;
    if (file)
        fclose(file);
    return bytes;
}

void bench_sample_take(const struct bench_cluster *cluster, struct bench_sample *ret_sample)
{
    char *text = cluster->admin[0] ? get_metrics(cluster->admin) : NULL;

    *ret_sample = (struct bench_sample){.syncs = UINT64_MAX, .records = UINT64_MAX};
    if (text) {
        ret_sample->syncs = metric(text, "assent_log_batch_records_count");
        ret_sample->records = metric(text, "assent_log_batch_records_sum");
    }
    free(text);
    for (size_t i = 0; i < cluster->process_count; i++)
        ret_sample->cpu_seconds[i] = cpu_seconds(cluster->processes[i].pid);
    ret_sample->memory = bench_sample_memory(cluster);
    ret_sample->at_us = assent_now_us();
}
