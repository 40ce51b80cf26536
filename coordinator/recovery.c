/* recovery.c: from the log back to machines and keys. */
#include "recovery.h"

#include <string.h>

#include "driver.h"
#include "gtrid.h"
#include "rng.h"
#include "server.h"

#define STEP_RECORDS         512
#define UNACKNOWLEDGED_LINES 100

static void report_damaged(struct server *server, const void *key, size_t key_size, int error)
{
    struct assent_gtrid gtrid;
    char text[ASSENT_GTRID_TEXT + 1] = "?";
    uint64_t order = 0;

    if (key_size == sizeof(gtrid.bytes)) {
        memcpy(gtrid.bytes, key, key_size);
        assent_gtrid_format(&gtrid, text);
        order = gtrid_order(&gtrid);
    }
    /* It may be a decision that is not obeyed yet: participants must not be told it has ended. */
    if (order < server->damaged_lowest)
        server->damaged_lowest = order;
    server->recovery.damaged++;
    server->shards[0].metrics.damaged_records++;
    assent_log(ASSENT_LOG_ERROR, "record_damaged", "gtrid=%s error=%s", text,
               assent_error_name(error));
}

static uint32_t highest_branch(const struct assent_coord_record *record)
{
    uint32_t highest = record->branch_count;

    for (uint32_t i = 0; i < record->branch_count; i++)
        if (record->branches[i].number > highest)
            highest = record->branches[i].number;
    return highest;
}

static void resume(struct server *server, const struct assent_coord_record *record)
{
    struct shard *shard = server_shard_of(server, &record->gtrid);
    struct transaction *t =
        transactions_add(&shard->transactions, &record->gtrid, highest_branch(record));
    uint64_t now_ms = assent_now_ms(), wall_ms = assent_wall_ms(), ran_ms = 0;

    if (t == NULL)
        assent_panic(ASSENT_EXIT_RUNTIME, "no_memory", "what=transaction");
    /* For people only: the wall clock may have jumped. */
    if (wall_ms > record->begun_wall_ms)
        ran_ms = wall_ms - record->begun_wall_ms;
    t->begun_wall_ms = record->begun_wall_ms;
    t->begun_ms = now_ms - (ran_ms < now_ms ? ran_ms : now_ms);
    t->decided_ms = record->decided_ms;
    transactions_set_text(&t->key, record->key);
    transactions_set_text(&t->reason_text, record->reason_text);
    for (uint32_t i = 0; i < record->branch_count; i++) {
        t->branches[record->branches[i].number - 1].voted_ms = record->branches[i].voted_ms;
        t->branches[record->branches[i].number - 1].done_ms = record->branches[i].done_ms;
    }
    assent_coord_recover(&t->machine, &server->coord, record, now_ms, assent_rng_next(&shard->rng),
                         &shard->actions);
    driver_carry_out(shard, t, now_ms);
    server->recovery.resumed++;
}

/* What nobody has seen to must not be forgotten over a restart. */
static void report_unacknowledged(struct server *server, const struct assent_coord_record *record)
{
    char text[ASSENT_GTRID_TEXT + 1];

    if (record->acknowledged ||
        (record->outcome != ASSENT_OUTCOME_MIXED && record->outcome != ASSENT_OUTCOME_HAZARD))
        return;
    assent_gtrid_format(&record->gtrid, text);
    if (server_unacknowledged(server) < UNACKNOWLEDGED_LINES)
        assent_log(ASSENT_LOG_ERROR, "unacknowledged", "gtrid=%s outcome=%s reason=%s", text,
                   assent_outcome_name((int)record->outcome),
                   assent_log_quote(record->reason_text));
    server->shards[0].unacknowledged++;
}

static bool visit(const void *key, size_t key_size, const void *value, size_t value_size,
                  int status, void *context)
{
    struct server *server = context;
    struct assent_coord_record record;

    if (key_size == sizeof(server->recovery.cursor)) {
        memcpy(server->recovery.cursor, key, key_size);
        server->recovery.started = true;
    }
    if (status == 0)
        status = assent_coord_record_decode(value, value_size, &record);
    if (status == 0 &&
        (key_size != sizeof(record.gtrid.bytes) || memcmp(key, record.gtrid.bytes, key_size) != 0))
        status = ASSENT_E_CORRUPT;
    if (status != 0) {
        report_damaged(server, key, key_size, status);
        return true;
    }
    if (!keys_add(server_keys_of(server, record.key), record.key, &record.gtrid))
        assent_panic(ASSENT_EXIT_RUNTIME, "no_memory", "what=key");
    if (record.kind == ASSENT_COORD_RECORD_OUTCOME) {
        recent_add(&server_shard_of(server, &record.gtrid)->recent, &record.gtrid, 0);
        server->recovery.outcomes++;
        report_unacknowledged(server, &record);
    } else {
        resume(server, &record);
    }
    return true;
}

static void finish(struct server *server)
{
    const struct recovery *r = &server->recovery;

    for (unsigned i = 0; i < server->shard_count; i++) {
        transactions_sort(&server->shards[i].transactions);
        shard_flush(&server->shards[i]);
    }
    assent_log(r->damaged > 0 ? ASSENT_LOG_WARN : ASSENT_LOG_INFO, "recovered",
               "outcomes=%llu resumed=%llu damaged=%llu participants=%u ms=%llu",
               (unsigned long long)r->outcomes, (unsigned long long)r->resumed,
               (unsigned long long)r->damaged, server->participants.count,
               (unsigned long long)(assent_now_ms() - r->began_ms));
    server_recovered(server);
}

/* Through the loop's timers, so that it looks at its sockets between two steps. */
static void schedule(struct server *server)
{
    if (evtimer_add(&server->recovery.timer, &(struct timeval){0}) != 0)
        assent_panic(ASSENT_EXIT_RUNTIME, "no_memory", "what=timer");
}

static void step(struct server *server)
{
    struct recovery *recovery = &server->recovery;
    uint64_t before = recovery->outcomes + recovery->resumed + recovery->damaged;
    int r;

    r = assent_store_scan(
        server->store, ASSENT_TABLE_TRANSACTION, recovery->started ? recovery->cursor : NULL,
        recovery->started ? sizeof(recovery->cursor) : 0, STEP_RECORDS, visit, server);
    if (r != 0) {
        assent_log(ASSENT_LOG_ERROR, "log_unreadable", "error=%s", assent_error_name(r));
        server_stop(server, ASSENT_EXIT_DATA);
    } else if (recovery->outcomes + recovery->resumed + recovery->damaged - before < STEP_RECORDS) {
        finish(server);
    } else {
        schedule(server);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    server_hold(context);
    step(context);
    server_release(context);
}

void recovery_start(struct server *server)
{
    server->recovery.began_ms = assent_now_ms();
    evtimer_assign(&server->recovery.timer, server->base, on_timer, server);
    schedule(server);
}

void recovery_stop(struct server *server)
{
    if (event_initialized(&server->recovery.timer))
        evtimer_del(&server->recovery.timer);
}
