/* relays.c: from an application's request to a participant and back. */
#include "relays.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "server.h"

struct relay {
    UT_hash_handle hh;
    struct shard *shard;
    uint64_t id;
    struct session *asker; /* NULL: gone, nobody wants the answer */
    uint64_t request;
    struct session *answerer;
    char name[PARTICIPANT_FULL_MAX + 1]; /* of the participant */
    bool is_work;
    uint64_t order; /* work: of the transaction */
    uint32_t branch;
    struct event timer;
};

static struct transaction *transaction_of(const struct relay *relay)
{
    return relay->is_work ? transactions_find_order(&relay->shard->transactions, relay->order)
                          : NULL;
}

/* Forgets the relay. */
static void finish(struct relay *relay)
{
    struct transaction *t = transaction_of(relay);

    if (t != NULL)
        t->works_pending--;
    if (relay->asker != NULL)
        session_count_asked(relay->asker, -1);
    evtimer_del(&relay->timer);
    HASH_DEL(relay->shard->relays.by_id, relay);
    free(relay);
}

static void refuse(const struct relay *relay, int error, const char *text)
{
    if (relay->asker != NULL)
        session_refuse(relay->asker, relay->request, error, "%s", text);
}

/* The work was not done, or nobody knows: the transaction cannot commit any more. text: the
 * participant's words; error and its sentence are for the application. */
static void fail(struct relay *relay, int error, const char *text)
{
    struct shard *shard = relay->shard;
    struct transaction *t = transaction_of(relay);
    uint32_t branch = relay->branch;
    char sentence[ASSENT_REASON_MAX + 1];

    snprintf(sentence, sizeof(sentence), "%s: %s", relay->name, text);
    text_mend(sentence);
    refuse(relay, error, sentence);
    finish(relay);
    if (t != NULL)
        driver_work_failed(shard, t, branch, text);
}

static void on_timeout(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    fail(context, ASSENT_E_TIMEOUT, "no answer in time");
}

static struct relay *add(struct shard *shard, struct session *asker, uint64_t request,
                         const struct participant *p)
{
    struct timeval wait = {(time_t)(shard->server->options.work_timeout_ms / 1000),
                           (suseconds_t)(shard->server->options.work_timeout_ms % 1000 * 1000)};
    struct relay *relay;

    if (!session_may_ask(asker, request))
        return NULL;
    relay = calloc(1, sizeof(*relay));
    if (relay == NULL) {
        session_refuse(asker, request, ASSENT_E_NOMEM, "out of memory");
        return NULL;
    }
    relay->shard = shard;
    relay->id = shard->relays.last_id += shard->server->shard_count;
    relay->asker = asker;
    relay->request = request;
    relay->answerer = participants_session(p, shard);
    snprintf(relay->name, sizeof(relay->name), "%s", p->full);
    session_count_asked(asker, 1);
    evtimer_assign(&relay->timer, shard->base, on_timeout, relay);
    if (evtimer_add(&relay->timer, &wait) != 0)
        assent_panic(ASSENT_EXIT_RUNTIME, "no_memory", "what=timer");
    HASH_ADD(hh, shard->relays.by_id, id, sizeof(relay->id), relay);
    return relay;
}

void relays_work(struct shard *shard, struct session *asker, uint64_t request,
                 struct transaction *t, uint32_t branch, const struct participant *p,
                 const struct assent_bytes *work)
{
    struct relay *relay = add(shard, asker, request, p);
    struct assent_message message;

    if (relay == NULL)
        return;
    relay->is_work = true;
    relay->order = t->order;
    relay->branch = branch;
    t->works_pending++;
    assent_coord_work_message(&t->machine, &shard->server->coord, branch, assent_now_ms(),
                              &message);
    driver_send(shard, relay->answerer, t, &message, relay->id, work);
}

void relays_query(struct shard *shard, struct session *asker, uint64_t request,
                  const struct participant *p, enum assent_query_kind kind, const char *command)
{
    struct relay *relay = add(shard, asker, request, p);
    struct assent_wire wire = {.kind = ASSENT_WIRE_RESOURCE_QUERY};

    if (relay == NULL)
        return;
    wire.request = relay->id;
    wire.u.resource_query.resource = p->resource;
    wire.u.resource_query.kind = kind;
    wire.u.resource_query.command = command;
    session_send(relay->answerer, &wire);
}

static void answer_work(struct relay *relay, const struct assent_wire *wire)
{
    const struct assent_message *message = &wire->u.branch.message;
    struct assent_wire reply = {.kind = ASSENT_WIRE_WORK_REPLY, .request = relay->request};
    const char *text = wire->u.branch.reason_text;

    if (message->vote != ASSENT_VOTE_YES) {
        fail(relay, ASSENT_E_REFUSED,
             text[0] == '\0' ? assent_reason_text((int)message->reason) : text);
        return;
    }
    reply.u.work_reply.branch = relay->branch;
    reply.u.work_reply.reply = wire->u.branch.work;
    if (relay->asker != NULL)
        session_send(relay->asker, &reply);
    finish(relay);
}

void relays_answer(struct shard *shard, struct session *participant, const struct assent_wire *wire)
{
    struct relay *relay;

    HASH_FIND(hh, shard->relays.by_id, &wire->request, sizeof(wire->request), relay);
    if (relay == NULL || relay->answerer != participant) {
        assent_log(ASSENT_LOG_DEBUG, "late_answer_ignored", "name=%s kind=%s",
                   assent_log_quote(participant->name), assent_wire_name(wire->kind));
    } else if (wire->kind == ASSENT_WIRE_REFUSAL) {
        fail(relay, wire->u.refusal.error, wire->u.refusal.text);
    } else if (relay->is_work && wire->kind == ASSENT_WIRE_BRANCH) {
        answer_work(relay, wire);
    } else if (!relay->is_work && wire->kind == ASSENT_WIRE_INSPECTION) {
        struct assent_wire reply = {.kind = ASSENT_WIRE_INSPECTION, .request = relay->request};

        reply.u.inspection.json = wire->u.inspection.json;
        if (relay->asker != NULL)
            session_send(relay->asker, &reply);
        finish(relay);
    }
}

void relays_participant_gone(struct shard *shard, const struct session *participant)
{
    struct relay *relay, *next;

    HASH_ITER (hh, shard->relays.by_id, relay, next) {
        if (relay->answerer == participant)
            relay->answerer = NULL;
    }
    /* A failing work refuses the others of its transaction, so look afresh after each. */
    for (bool found = true; found;) {
        found = false;
        HASH_ITER (hh, shard->relays.by_id, relay, next) {
            if (relay->answerer == NULL) {
                fail(relay, ASSENT_E_UNAVAILABLE, "disconnected before it answered");
                found = true;
                break;
            }
        }
    }
}

void relays_asker_gone(struct shard *shard, const struct session *asker)
{
    struct relay *relay, *next;

    HASH_ITER (hh, shard->relays.by_id, relay, next) {
        if (relay->asker == asker)
            relay->asker = NULL;
    }
}

void relays_transaction_over(struct shard *shard, struct transaction *t)
{
    struct relay *relay, *next;

    if (t->works_pending == 0)
        return;
    HASH_ITER (hh, shard->relays.by_id, relay, next) {
        if (!relay->is_work || relay->order != t->order)
            continue;
        refuse(relay, ASSENT_E_REFUSED,
               t->reason_text[0] == '\0' ? "the transaction is over" : t->reason_text);
        finish(relay);
    }
}

void relays_fini(struct shard *shard)
{
    struct relay *relay, *next;

    HASH_ITER (hh, shard->relays.by_id, relay, next)
        finish(relay);
}
