/* operate.c: orders of people, see operate.h. */
#include "operate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "bytes.h"
#include "driver.h"
#include "gtrid.h"
#include "outcomes.h"
#include "routes.h"
#include "server.h"

#define ACCEPTED_KEY "accepted"

struct operation {
    struct operation *next;
    uint64_t id;
    struct session *asker; /* NULL: gone */
    uint64_t request;
    enum assent_action action;
    struct assent_gtrid gtrid;
};

struct rewrite {
    LIST_ENTRY(rewrite) link;
    struct assent_coord_record record;
    uint64_t operation; /* 0: of a late result, which nobody waits for */
};

static uint64_t add(struct session *session, const struct assent_wire *wire)
{
    struct operations *all = &session->shard->server->operations;
    struct operation *operation = calloc(1, sizeof(*operation));

    if (operation == NULL)
        assent_panic(ASSENT_EXIT_RUNTIME, "no_memory", "what=operation");
    *operation = (struct operation){.next = all->first,
                                    .id = ++all->last_id,
                                    .asker = session,
                                    .request = wire->request,
                                    .action = wire->u.operate.action,
                                    .gtrid = wire->u.operate.gtrid};
    session_count_asked(session, 1);
    all->first = operation;
    return operation->id;
}

void operate_asker_gone(struct server *server, const struct session *home)
{
    for (struct operation *o = server->operations.first; o != NULL; o = o->next)
        if (o->asker != NULL && o->asker->home == home)
            o->asker = NULL;
}

void operate_fini(struct server *server)
{
    struct operation *operation;
    struct rewrite *rewrite;

    while ((operation = server->operations.first) != NULL) {
        server->operations.first = operation->next;
        free(operation);
    }
    for (unsigned i = 0; i < server->shard_count; i++)
        while ((rewrite = LIST_FIRST(&server->shards[i].rewrites)) != NULL) {
            LIST_REMOVE(rewrite, link);
            free(rewrite);
        }
}

static void audit(struct session *session, const struct assent_wire *wire, const char *found)
{
    struct audit_record record = {.action = wire->u.operate.action,
                                  .gtrid = wire->u.operate.gtrid,
                                  .forced = wire->u.operate.force};
    char gtrid[ASSENT_GTRID_TEXT + 1];

    text_copy(record.who, sizeof(record.who), wire->u.operate.who);
    text_copy(record.from, sizeof(record.from), session_peer(session));
    text_copy(record.reason, sizeof(record.reason), wire->u.operate.reason);
    text_copy(record.found, sizeof(record.found), found);
    audit_put(session->shard, &record);
    assent_gtrid_format(&record.gtrid, gtrid);
    assent_log(ASSENT_LOG_WARN, "by_hand", "action=%s gtrid=%s who=%s from=%s reason=%s found=%s",
               assent_action_name((int)record.action), gtrid, assent_log_quote(record.who),
               record.from, assent_log_quote(record.reason), assent_log_quote(record.found));
}

/* --- what is presumed --- */

bool operate_presumes(const struct server *server, const struct assent_gtrid *gtrid)
{
    return !server->restored || assent_gtrid_incarnation(gtrid) == server->coord.incarnation;
}

int operate_load(struct server *server)
{
    uint8_t value[4];
    struct assent_reader reader;
    size_t size;
    int r = assent_store_get(server->store, ASSENT_TABLE_META, ACCEPTED_KEY, strlen(ACCEPTED_KEY),
                             value, sizeof(value), &size);

    if (r == ASSENT_E_NOT_FOUND)
        return 0;
    if (r != 0)
        return r;
    assent_reader_init(&reader, value, size);
    server->accepted = assent_read_u32(&reader);
    return reader.failed ? ASSENT_E_CORRUPT : 0;
}

static void put_accepted(struct shard *shard, uint64_t token)
{
    uint8_t value[4];
    struct assent_writer writer;
    struct assent_put put = {.consumer = shard->index,
                             .table = ASSENT_TABLE_META,
                             .key = ACCEPTED_KEY,
                             .key_size = strlen(ACCEPTED_KEY),
                             .value = value,
                             .value_size = sizeof(value),
                             .token = token,
                             .token2 = TOKEN_OPERATION};
    int r;

    assent_writer_init(&writer, value, sizeof(value));
    assent_write_u32(&writer, shard->server->coord.incarnation);
    r = assent_store_put(shard->server->store, &put);
    if (r != 0)
        assent_panic(ASSENT_EXIT_RUNTIME, "log_put_failed", "what=accepted error=%s",
                     assent_error_name(r));
}

/* --- records without a machine --- */

static const struct rewrite *rewrite_of(const struct shard *shard, const struct assent_gtrid *gtrid)
{
    const struct rewrite *rewrite, *last = NULL;

    LIST_FOREACH (rewrite, &shard->rewrites, link) /* the newest first */
        if (last == NULL && assent_gtrid_equal(&rewrite->record.gtrid, gtrid))
            last = rewrite;
    return last;
}

bool operate_is_rewriting(const struct shard *shard, const struct assent_gtrid *gtrid)
{
    return rewrite_of(shard, gtrid) != NULL;
}

int operate_latest(const struct shard *shard, const struct assent_gtrid *gtrid,
                   struct assent_coord_record *ret_record)
{
    const struct rewrite *rewrite = rewrite_of(shard, gtrid);

    if (rewrite == NULL)
        return outcomes_read(shard->server, gtrid, ret_record);
    *ret_record = rewrite->record;
    return 0;
}

static void put_record(struct shard *shard, struct assent_coord_record *record,
                       struct assent_put put)
{
    uint8_t value[ASSENT_RECORD_BYTES_MAX];
    int r;

    put.consumer = shard->index;
    put.table = ASSENT_TABLE_TRANSACTION;
    put.key = record->gtrid.bytes;
    put.key_size = sizeof(record->gtrid.bytes);
    put.value = value;
    if (record->begun_wall_ms == 0)
        record->begun_wall_ms = assent_wall_ms();
    record->ended_age_ms = assent_store_age_ms(shard->server->store);
    r = assent_coord_record_encode(record, value, sizeof(value), &put.value_size);
    if (r == 0)
        r = assent_store_put(shard->server->store, &put);
    if (r != 0)
        assent_panic(ASSENT_EXIT_RUNTIME, "log_put_failed", "what=outcome error=%s",
                     assent_error_name(r));
}

void operate_put_outcome(struct shard *shard, struct assent_coord_record *record,
                         uint64_t operation)
{
    struct rewrite *rewrite = calloc(1, sizeof(*rewrite));

    if (rewrite == NULL)
        assent_panic(ASSENT_EXIT_RUNTIME, "no_memory", "what=rewrite");
    put_record(shard, record,
               (struct assent_put){.token = (uintptr_t)rewrite, .token2 = TOKEN_REWRITE});
    rewrite->record = *record;
    rewrite->operation = operation;
    atomic_store(&shard->server->rewrites_outcomes, true);
    LIST_INSERT_HEAD(&shard->rewrites, rewrite, link);
}

void operate_rewritten(struct shard *shard, struct rewrite *rewrite)
{
    uint64_t operation = rewrite->operation;

    LIST_REMOVE(rewrite, link);
    free(rewrite);
    if (operation != 0)
        operate_durable(shard->server, operation);
}

static void send_forget(struct shard *shard, struct session *session,
                        const struct assent_coord_record *record, uint32_t branch, uint32_t epoch)
{
    struct assent_message message = {.kind = ASSENT_MSG_FORGET,
                                     .gtrid = record->gtrid,
                                     .branch = branch,
                                     .incarnation = shard->server->coord.incarnation,
                                     .epoch = epoch,
                                     .protocol = record->protocol,
                                     .termination = record->termination};

    driver_send(shard, session, NULL, &message, 0, NULL);
}

/* Those that are not up ask again when they are. */
static void send_forgets(struct shard *shard, const struct assent_coord_record *record)
{
    for (uint32_t i = 0; i < record->branch_count; i++) {
        const struct assent_coord_record_branch *b = &record->branches[i];
        const struct participant *p = participants_get(shard->server, b->participant);

        if (b->result > ASSENT_RESULT_ABORTED && p != NULL && participant_is_up(p))
            send_forget(shard, participants_session(p, shard), record, b->number, b->epoch);
    }
}

void operate_send_forget(struct shard *shard, struct session *session,
                         const struct assent_message *message)
{
    struct assent_coord_record record = {.gtrid = message->gtrid,
                                         .protocol = message->protocol,
                                         .termination = message->termination};

    send_forget(shard, session, &record, message->branch, message->epoch);
}

/* --- requests --- */

static enum assent_decision decision_of(enum assent_action action)
{
    return action == ASSENT_ACTION_COMMIT ? ASSENT_DECISION_COMMIT : ASSENT_DECISION_ABORT;
}

static void refuse_resolve(struct session *session, uint64_t request, int error,
                           const struct transaction *t)
{
    const char *phase = assent_coord_phase_name((int)t->machine.phase);

    if (error == ASSENT_E_REFUSED)
        session_refuse(session, request, error,
                       "%s: others may have decided already, and the outcome be mixed: --force, "
                       "after a look at `tx explain` and at each participant's branches",
                       phase);
    else if (t->machine.decision != ASSENT_DECISION_NONE)
        session_refuse(session, request, error, "it is decided: %s, and that stands",
                       assent_decision_name((int)t->machine.decision));
    else
        session_refuse(session, request, error,
                       "%s: it can only be aborted by hand, and not while a record is written",
                       phase);
}

static void resolve_live(struct session *session, const struct assent_wire *wire,
                         struct transaction *t)
{
    enum assent_decision decision = decision_of(wire->u.operate.action);
    struct assent_coord_event event = {.kind = ASSENT_COORD_EV_RESOLVE, .decision = decision};
    int r = assent_coord_may_resolve(&t->machine, decision, wire->u.operate.force);

    if (r != 0) {
        refuse_resolve(session, wire->request, r, t);
        return;
    }
    if (!session_wait(session, t, wire->request, false))
        return;
    audit(session, wire, assent_coord_phase_name((int)t->machine.phase));
    transactions_set_text(&t->reason_text, "");
    driver_step(session->shard, t, &event, wire->u.operate.reason);
}

/* A transaction that the log does not know is undecided only if the log has lost something. */
static void resolve_lost(struct session *session, const struct assent_wire *wire)
{
    struct server *server = session->shard->server;
    const struct assent_gtrid *gtrid = &wire->u.operate.gtrid;
    enum assent_decision decision = decision_of(wire->u.operate.action);
    struct assent_coord_record record = {.kind = ASSENT_COORD_RECORD_OUTCOME,
                                         .decision = decision,
                                         .outcome = decision == ASSENT_DECISION_COMMIT
                                                        ? ASSENT_OUTCOME_COMMITTED
                                                        : ASSENT_OUTCOME_ABORTED,
                                         .gtrid = *gtrid,
                                         .reason = ASSENT_REASON_OPERATOR};
    struct assent_coord_record found;
    struct answer answer;
    int r = outcomes_read(server, gtrid, &found);

    if (r == ASSENT_E_NOT_FOUND && outcomes_is_ours(session->shard, gtrid) &&
        !operate_presumes(server, gtrid)) {
        snprintf(record.reason_text, sizeof(record.reason_text), "by hand: %.200s",
                 wire->u.operate.reason);
        text_mend(record.reason_text);
        audit(session, wire, "lost in a restore");
        put_record(session->shard, &record,
                   (struct assent_put){.flags = ASSENT_PUT_DECIDE,
                                       .token = add(session, wire),
                                       .token2 = TOKEN_OPERATION});
        return;
    }
    outcomes_answer(session->shard, gtrid, &answer);
    if (answer.outcome == ASSENT_OUTCOME_NEVER_SEEN)
        session_refuse(session, wire->request, ASSENT_E_NOT_FOUND,
                       "this coordinator began no such transaction");
    else
        session_refuse(session, wire->request, ASSENT_E_STATE, "it is %s already, and that stands",
                       assent_outcome_name((int)answer.outcome));
}

static void acknowledge(struct session *session, const struct assent_wire *wire)
{
    struct assent_coord_record record;
    int r = operate_latest(session->shard, &wire->u.operate.gtrid, &record);

    if (transactions_find(&session->shard->transactions, &wire->u.operate.gtrid) != NULL)
        session_refuse(session, wire->request, ASSENT_E_STATE, "it has not ended yet");
    else if (r != 0)
        session_refuse(session, wire->request, r, "there is no record of it");
    else if (record.outcome != ASSENT_OUTCOME_MIXED && record.outcome != ASSENT_OUTCOME_HAZARD)
        session_refuse(session, wire->request, ASSENT_E_STATE,
                       "it is %s: only mixed and hazard are acknowledged",
                       assent_outcome_name((int)record.outcome));
    else if (record.acknowledged)
        session_refuse(session, wire->request, ASSENT_E_STATE, "it was acknowledged before");
    else {
        audit(session, wire, assent_outcome_name((int)record.outcome));
        record.acknowledged = true;
        session->shard->unacknowledged--;
        operate_put_outcome(session->shard, &record, add(session, wire));
    }
}

static void accept_restored(struct session *session, const struct assent_wire *wire)
{
    struct server *server = session->shard->server;

    if (!server->restored) {
        session_refuse(session, wire->request, ASSENT_E_STATE,
                       "no participant says that this log has lost anything");
        return;
    }
    audit(session, wire, "an older log than participants have seen");
    put_accepted(session->shard, add(session, wire));
}

void operate_request(struct session *home, const struct assent_wire *wire)
{
    struct shard *shard = server_shard_of(home->shard->server, &wire->u.operate.gtrid);
    struct transaction *t = transactions_find(&shard->transactions, &wire->u.operate.gtrid);
    struct session *session;

    server_assert_held(shard->server);
    home->known_elsewhere = true;
    session = routes_face(home, shard);
    if (!session_may_ask(session, wire->request))
        return;
    switch (wire->u.operate.action) {
    case ASSENT_ACTION_COMMIT:
    case ASSENT_ACTION_ABORT:
        if (t != NULL)
            resolve_live(session, wire, t);
        else
            resolve_lost(session, wire);
        return;
    case ASSENT_ACTION_ACKNOWLEDGE:
        acknowledge(session, wire);
        return;
    case ASSENT_ACTION_ACCEPT:
        accept_restored(session, wire);
        return;
    }
}

/* Only now may anyone act on it. */
static void take_effect(struct server *server, const struct operation *operation)
{
    struct assent_coord_record record;

    switch (operation->action) {
    case ASSENT_ACTION_COMMIT:
    case ASSENT_ACTION_ABORT:
        return; /* who asks is told */
    case ASSENT_ACTION_ACKNOWLEDGE:
        /* What has come since is for a person again. */
        if (outcomes_read(server, &operation->gtrid, &record) == 0 && record.acknowledged)
            send_forgets(server_shard_of(server, &operation->gtrid), &record);
        return;
    case ASSENT_ACTION_ACCEPT:
        server->restored = false;
        server->accepted = server->coord.incarnation;
        session_ping_participants(&server->shards[0]);
        return;
    }
}

void operate_durable(struct server *server, uint64_t id)
{
    struct operation **at = &server->operations.first, *operation;
    struct answer answer = {.phase = ""};

    while (*at != NULL && (*at)->id != id)
        at = &(*at)->next;
    operation = *at;
    ASSENT_ASSERT(operation != NULL);
    *at = operation->next;
    take_effect(server, operation);
    if (operation->asker != NULL) {
        session_count_asked(operation->asker, -1);
        if (operation->action != ASSENT_ACTION_ACCEPT)
            outcomes_answer(server_shard_of(server, &operation->gtrid), &operation->gtrid, &answer);
        session_answer(operation->asker, operation->request, &answer);
    }
    free(operation);
}
