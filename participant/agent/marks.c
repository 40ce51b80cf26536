/*
 * marks.c: what is kept of each coordinator log: the highest incarnation seen, so that an earlier
 * life of it is never listened to again; how far it had come, so that an older copy of it is
 * noticed; and up to where its transactions have ended, so that a branch forgotten here stays
 * closed after a restart and is not taken for one that never voted.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "bytes.h"
#include "driver.h"

#define PREFIX "coordinator:"

static int put_mark(struct assent_participant *agent, struct coordinator_log *log, bool forced)
{
    uint8_t value[4 + 8 + 8 + 4 + ASSENT_GTRID_BYTES];
    char key[ASSENT_STORE_KEY_MAX];
    struct assent_writer writer;
    struct assent_put put = {.table = ASSENT_TABLE_META,
                             .flags = forced ? 0 : ASSENT_PUT_LAZY,
                             .key = key,
                             .value = value,
                             .token = (uintptr_t)log,
                             .token2 = forced ? AGENT_TOKEN_MARK : AGENT_TOKEN_ENDED};

    assent_writer_init(&writer, value, sizeof(value));
    assent_write_u32(&writer, log->incarnation);
    assent_write_u64(&writer, log->life);
    assent_write_u64(&writer, log->position);
    assent_write_u32(&writer, log->holds);
    if (log->has_ended_below)
        assent_write_raw(&writer, log->ended_below.bytes, sizeof(log->ended_below.bytes));
    put.key_size = (size_t)snprintf(key, sizeof(key), PREFIX "%s", log->text);
    put.value_size = writer.size;
    return assent_store_put(agent->store, &put);
}

static void panic_if(int error)
{
    if (error)
        assent_panic(ASSENT_EXIT_RUNTIME, "log_failed", "error=%s",
                     assent_log_quote(assent_error_text(error)));
}

void agent_marks_save_incarnation(struct assent_participant *agent, struct coordinator_log *log)
{
    struct pollfd fd = {assent_store_fd(agent->store, 0), POLLIN, 0};
    int error;

    log->mark_durable = false;
    error = put_mark(agent, log, true);
    while (error == 0 && !log->mark_durable) {
        if (poll(&fd, 1, -1) < 0 && errno != EINTR)
            error = ASSENT_E_IO;
        assent_store_process(agent->store, 0, agent_driver_durable, agent);
    }
    panic_if(error);
}

void agent_marks_save_lazily(struct assent_participant *agent, struct coordinator_log *log)
{
    agent->records_pending++;
    log->ended_saves++;
    panic_if(put_mark(agent, log, false));
}

/* ---- at start ---- */

struct marks {
    struct assent_participant *agent;
    int error;
};

static int read_mark(struct coordinator_log *log, const void *value, size_t size)
{
    struct assent_reader reader;

    assent_reader_init(&reader, value, size);
    log->incarnation = assent_read_u32(&reader);
    if (size != 4 && size != 4 + ASSENT_GTRID_BYTES) { /* as marks were at first */
        log->life = assent_read_u64(&reader);
        log->position = assent_read_u64(&reader);
        log->holds = assent_read_u32(&reader);
    }
    log->has_ended_below = size > reader.offset;
    if (log->has_ended_below)
        assent_read_raw(&reader, log->ended_below.bytes, sizeof(log->ended_below.bytes));
    return reader.failed ? ASSENT_E_CORRUPT : 0;
}

static bool visit_mark(const void *key, size_t key_size, const void *value, size_t value_size,
                       int status, void *context)
{
    size_t prefix = strlen(PREFIX), digits = 2 * ASSENT_LOG_ID_BYTES;
    uint8_t id[ASSENT_LOG_ID_BYTES];
    struct marks *marks = context;
    struct coordinator_log *log;

    if (key_size != prefix + digits || memcmp(key, PREFIX, prefix) != 0)
        return true;
    if (status) {
        marks->error = status;
        return false;
    }
    for (size_t i = 0; i < sizeof(id); i++) {
        char digit[3] = {0};
        unsigned number = 0;

        memcpy(digit, (const char *)key + prefix + 2 * i, 2);
        sscanf(digit, "%x", &number);
        id[i] = (uint8_t)number;
    }
    log = agent_branches_log(&marks->agent->branches, id);
    marks->error = log ? read_mark(log, value, value_size) : ASSENT_E_LIMIT;
    return marks->error == 0;
}

int agent_marks_load(struct assent_participant *agent, char *error, size_t error_size)
{
    struct marks marks = {agent, 0};
    int result = assent_store_scan(agent->store, ASSENT_TABLE_META, NULL, 0, 0, visit_mark, &marks);

    if (result == 0)
        result = marks.error;
    if (result)
        snprintf(error, error_size, "cannot read which coordinators were seen: %s",
                 assent_error_text(result));
    return result;
}
