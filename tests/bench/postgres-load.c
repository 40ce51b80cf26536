/*
 * postgres-load.c: the same two updates in two PostgreSQL databases as one transaction, four ways:
 *
 *   client        by the client itself: each step (BEGIN and UPDATE, PREPARE TRANSACTION, COMMIT
 *                 PREPARED) is sent to both databases, and then both are waited for. Nothing is
 *                 logged: if this client dies in between, nobody knows what to do
 *   client-logged the same, but its decision is durable in LOG before the first COMMIT PREPARED:
 *                 one record, synced together with those of the other clients
 *   assent        by Assent in one call, answered at the durable decision
 *   assent-wait   the same, answered when both have committed
 *
 *   postgres-load CONNINFO CONNINFO COORDINATOR PARTICIPANT PARTICIPANT CLIENTS SECONDS WAY LOG
 *
 * CLIENTS threads, each with its own connections and some rows of its own that take turns: with one
 * row each, whoever is answered at the decision would wait for its own last commit. Prints one line
 * of JSON. tests/bench/postgres.py starts all that it needs.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "assent/client.h"
#include "runtime.h"

#define CLIENTS_MAX  256
#define DATABASES    2
#define ROWS_EACH    8
#define RECORD_BYTES 128
#define LOG_RECORDS  (64u << 10) /* then from the front again */

/* Of all clients. Written in full size before, so that a sync has nothing but data to write. */
struct decision_log {
    int fd; /* -1: none */
    pthread_mutex_t mutex;
    pthread_cond_t synced;
    uint64_t written, durable; /* records */
    bool syncing;
};

struct run {
    char **argv;
    bool by_client, wait;
    struct decision_log *log;
    uint64_t measure_from_us, end_us;
};

struct worker {
    const struct run *run;
    pthread_t thread;
    unsigned number;
    uint64_t count; /* of transactions that ended in the time that is measured */
    uint32_t *latencies_us;
    size_t capacity;
    char problem[256]; /* "": none */
};

static bool take_results(struct worker *worker, PGconn *database)
{
    bool done = true;
    PGresult *result;

    while ((result = PQgetResult(database)) != NULL) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK) {
            snprintf(worker->problem, sizeof(worker->problem), "%s", PQerrorMessage(database));
            done = false;
        }
        PQclear(result);
    }
    return done;
}

/* One step in both databases at once. */
static bool both(struct worker *worker, PGconn **databases, const char *format, uint64_t id)
{
    char sql[256];
    bool done = true;

    for (int i = 0; i < DATABASES; i++) {
        snprintf(sql, sizeof(sql), format, worker->number, (unsigned long long)id, i);
        if (!PQsendQuery(databases[i], sql)) {
            snprintf(worker->problem, sizeof(worker->problem), "%s", PQerrorMessage(databases[i]));
            return false;
        }
    }
    for (int i = 0; i < DATABASES; i++)
        done &= take_results(worker, databases[i]);
    return done;
}

static bool open_log(struct decision_log *log, const char *path)
{
    static const char zeros[LOG_RECORDS / 64 * RECORD_BYTES];
    bool done;

    log->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    done = log->fd >= 0;
    for (unsigned i = 0; done && i < 64; i++)
        done = write(log->fd, zeros, sizeof(zeros)) == sizeof(zeros);
    return done && fsync(log->fd) == 0;
}

/* Whoever finds nobody syncing syncs all that is written by then. */
static bool log_decision(struct worker *worker, uint64_t id)
{
    struct decision_log *log = worker->run->log;
    char record[RECORD_BYTES] = "";
    uint64_t mine, until;
    bool done;

    snprintf(record, sizeof(record), "commit load:%u:%llu", worker->number, (unsigned long long)id);
    pthread_mutex_lock(&log->mutex);
    mine = log->written++;
    done = pwrite(log->fd, record, sizeof(record), (off_t)(mine % LOG_RECORDS * RECORD_BYTES)) ==
           sizeof(record);
    while (done && log->durable <= mine) {
        if (log->syncing) {
            pthread_cond_wait(&log->synced, &log->mutex);
            continue;
        }
        log->syncing = true;
        until = log->written;
        pthread_mutex_unlock(&log->mutex);
        done = fdatasync(log->fd) == 0;
        pthread_mutex_lock(&log->mutex);
        log->syncing = false;
        log->durable = done ? until : log->durable;
        pthread_cond_broadcast(&log->synced);
    }
    pthread_mutex_unlock(&log->mutex);
    if (!done)
        snprintf(worker->problem, sizeof(worker->problem), "cannot log a decision");
    return done;
}

static unsigned row_of(const struct worker *worker, uint64_t id)
{
    return worker->number * ROWS_EACH + (unsigned)(id % ROWS_EACH);
}

static bool by_client(struct worker *worker, PGconn **databases, uint64_t id)
{
    char begin[128];

    snprintf(begin, sizeof(begin), "BEGIN; UPDATE account SET balance = balance + 1 WHERE id = %u",
             row_of(worker, id));
    return both(worker, databases, begin, id) &&
           both(worker, databases, "PREPARE TRANSACTION 'load:%u:%llu:%d'", id) &&
           (worker->run->log->fd < 0 || log_decision(worker, id)) &&
           both(worker, databases, "COMMIT PREPARED 'load:%u:%llu:%d'", id);
}

static bool by_assent(struct worker *worker, struct assent_client *client, uint64_t id)
{
    struct assent_begin_options begin = {.size = sizeof(begin), .protocol = ASSENT_2PC};
    struct assent_work works[DATABASES];
    struct assent_result result;
    char sql[128];
    int error;

    snprintf(sql, sizeof(sql), "UPDATE account SET balance = balance + 1 WHERE id = %u",
             row_of(worker, id));
    for (int i = 0; i < DATABASES; i++)
        works[i] = (struct assent_work){worker->run->argv[4 + i], sql, strlen(sql)};
    error = assent_client_run(client, &begin, works, DATABASES, worker->run->wait, &result);
    if (error == 0 && result.outcome == ASSENT_OUTCOME_COMMITTED)
        return true;
    snprintf(worker->problem, sizeof(worker->problem), "%s",
             error ? assent_client_error(client) : result.reason);
    return false;
}

static void note(struct worker *worker, uint64_t began_us, uint64_t now_us)
{
    if (began_us < worker->run->measure_from_us || now_us > worker->run->end_us)
        return;
    if (worker->count == worker->capacity) {
        worker->capacity = worker->capacity ? 2 * worker->capacity : 4096;
        worker->latencies_us =
            reallocarray(worker->latencies_us, worker->capacity, sizeof(uint32_t));
        ASSENT_ASSERT(worker->latencies_us);
    }
    worker->latencies_us[worker->count++] = (uint32_t)(now_us - began_us);
}

static void *work(void *context)
{
    struct worker *worker = context;
    struct assent_client_options options = {.size = sizeof(options),
                                            .address = worker->run->argv[3]};
    PGconn *databases[DATABASES] = {NULL};
    struct assent_client *client = NULL;
    bool going = true;

    if (worker->run->by_client)
        for (int i = 0; i < DATABASES; i++) {
            databases[i] = PQconnectdb(worker->run->argv[1 + i]);
            going &= PQstatus(databases[i]) == CONNECTION_OK;
        }
    else
        going =
            assent_client_open(&options, &client, worker->problem, sizeof(worker->problem)) == 0;
    if (!going && worker->problem[0] == '\0')
        snprintf(worker->problem, sizeof(worker->problem), "cannot connect to a database");
    for (uint64_t id = 1; going && assent_now_us() < worker->run->end_us; id++) {
        uint64_t began_us = assent_now_us();

        going = worker->run->by_client ? by_client(worker, databases, id)
                                       : by_assent(worker, client, id);
        if (going)
            note(worker, began_us, assent_now_us());
    }
    assent_client_close(client);
    for (int i = 0; i < DATABASES; i++)
        PQfinish(databases[i]);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static int report(const struct worker *workers, unsigned count, unsigned seconds)
{
    uint32_t *all;
    uint64_t total = 0, at = 0;

    for (unsigned i = 0; i < count; i++) {
        if (workers[i].problem[0] != '\0') {
            fprintf(stderr, "postgres-load: %s\n", workers[i].problem);
            return 1;
        }
        total += workers[i].count;
    }
    if (total == 0) {
        fputs("postgres-load: no transaction has ended\n", stderr);
        return 1;
    }
    all = calloc(total, sizeof(*all));
    ASSENT_ASSERT(all);
    for (unsigned i = 0; i < count; i++)
        for (uint64_t k = 0; k < workers[i].count; k++)
            all[at++] = workers[i].latencies_us[k];
    qsort(all, total, sizeof(*all), by_value);
    printf("{\"tx_per_s\": %.1f, \"p50_us\": %u, \"p99_us\": %u}\n", (double)total / seconds,
           all[total / 2], all[total * 99 / 100]);
    free(all);
    return 0;
}

int main(int argc, char **argv)
{
    static struct worker workers[CLIENTS_MAX];
    static struct decision_log log = {
        .fd = -1, .mutex = PTHREAD_MUTEX_INITIALIZER, .synced = PTHREAD_COND_INITIALIZER};
    struct run run = {.argv = argv, .log = &log};
    unsigned clients = argc == 10 ? (unsigned)atoi(argv[6]) : 0;
    unsigned seconds = argc == 10 ? (unsigned)atoi(argv[7]) : 0;
    int code;

    if (clients == 0 || clients > CLIENTS_MAX || seconds == 0) {
        fputs("usage: postgres-load CONNINFO CONNINFO COORDINATOR PARTICIPANT PARTICIPANT CLIENTS "
              "SECONDS client|client-logged|assent|assent-wait LOG\n",
              stderr);
        return 2;
    }
    run.by_client = strncmp(argv[8], "client", 6) == 0;
    run.wait = strcmp(argv[8], "assent-wait") == 0;
    if (strcmp(argv[8], "client-logged") == 0 && !open_log(&log, argv[9])) {
        fprintf(stderr, "postgres-load: cannot write %s\n", argv[9]);
        return 1;
    }
    run.measure_from_us = assent_now_us() + 500000; /* warm by then */
    run.end_us = run.measure_from_us + seconds * 1000000ull;
    for (unsigned i = 0; i < clients; i++) {
        workers[i] = (struct worker){.run = &run, .number = i};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            return 1;
    }
    for (unsigned i = 0; i < clients; i++)
        pthread_join(workers[i].thread, NULL);
    code = report(workers, clients, seconds);
    for (unsigned i = 0; i < clients; i++)
        free(workers[i].latencies_us);
    return code;
}
