/* inspect.c: JSON views. Nothing here changes anything. */
#include "inspect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "audit.h"
#include "driver.h"
#include "explain.h"
#include "gtrid.h"
#include "outcomes.h"
#include "server.h"

#define LIMIT_DEFAULT 100

/* Running out of memory for a view is no reason to guess: the answer is refused. */
static json_t *gtrid_json(const struct assent_gtrid *gtrid)
{
    char text[ASSENT_GTRID_TEXT + 1];

    assent_gtrid_format(gtrid, text);
    return json_string(text);
}

static json_t *time_json(uint64_t wall_ms, bool known)
{
    char text[25];

    if (!known)
        return json_null();
    assent_wall_format(wall_ms, text);
    return json_string(text);
}

/* A transaction as the views see it, live or from its record. */
struct view {
    struct assent_coord_record record;
    const char *phase;
    uint32_t asked_ms;
    const struct transaction *live; /* NULL: ended */
};

static void view_live(const struct transaction *t, struct view *view)
{
    driver_describe(t, ASSENT_COORD_RECORD_OUTCOME, &view->record);
    /* A record of the end says what the outcome will be; people are told what stands. */
    view->record.outcome = t->machine.outcome;
    view->phase = assent_coord_phase_name((int)t->machine.phase);
    view->asked_ms = t->asked_ms;
    view->live = t;
}

static bool view_ended(const struct server *server, const struct assent_gtrid *gtrid,
                       struct view *view)
{
    if (outcomes_read(server, gtrid, &view->record) != 0)
        return false;
    view->phase = assent_coord_phase_name(ASSENT_COORD_ENDED);
    view->asked_ms = 0;
    view->live = NULL;
    return true;
}

/* --- one transaction --- */

struct moment {
    uint32_t ms;
    char event[2 * ASSENT_NAME_MAX + 64];
};

struct timeline {
    struct moment moments[2 * ASSENT_BRANCHES_MAX + 4];
    size_t count;
};

static void add_moment(struct timeline *line, bool happened, uint32_t ms, const char *first,
                       const char *second)
{
    struct moment *moment = &line->moments[line->count];

    if (!happened)
        return;
    moment->ms = ms;
    snprintf(moment->event, sizeof(moment->event), "%s%s", first, second);
    line->count++;
}

static int compare_moments(const void *a, const void *b)
{
    const struct moment *x = a, *y = b;

    return x->ms < y->ms ? -1 : x->ms > y->ms ? 1 : x < y ? -1 : 1;
}

static json_t *timeline_json(const struct server *server, const struct view *view)
{
    const struct assent_coord_record *r = &view->record;
    struct timeline line = {.count = 0};
    json_t *out = json_array();

    add_moment(&line, true, 0, "begun", "");
    add_moment(&line, view->asked_ms != 0, view->asked_ms, "commit requested", "");
    for (uint32_t i = 0; i < r->branch_count; i++) {
        const struct assent_coord_record_branch *b = &r->branches[i];
        char text[64];

        snprintf(text, sizeof(text), " voted %s", assent_vote_name((int)b->vote));
        add_moment(&line, b->voted_ms != 0, b->voted_ms, participants_name(server, b->participant),
                   text);
    }
    add_moment(&line, r->decided_ms != 0, r->decided_ms,
               "decided: ", assent_decision_name((int)r->decision));
    for (uint32_t i = 0; i < r->branch_count; i++) {
        const struct assent_coord_record_branch *b = &r->branches[i];
        char text[64];

        snprintf(text, sizeof(text), " %s", assent_branch_result_name((int)b->result));
        add_moment(&line, b->done_ms != 0 && b->vote != ASSENT_VOTE_NO, b->done_ms,
                   participants_name(server, b->participant), text);
    }
    add_moment(&line, r->ended_ms != 0, r->ended_ms,
               "ended: ", assent_outcome_name((int)r->outcome));
    qsort(line.moments, line.count, sizeof(line.moments[0]), compare_moments);
    for (size_t i = 0; i < line.count; i++)
        json_array_append_new(out, json_pack("{s:o, s:s}", "at",
                                             time_json(r->begun_wall_ms + line.moments[i].ms, true),
                                             "event", line.moments[i].event));
    return out;
}

static json_t *transaction_json(struct server *server, const struct view *view)
{
    const struct assent_coord_record *r = &view->record;
    json_t *branches = json_array(), *waiting = json_array();

    for (uint32_t i = 0; i < r->branch_count; i++) {
        const struct assent_coord_record_branch *b = &r->branches[i];
        const char *name = participants_name(server, b->participant);

        json_array_append_new(branches, json_pack("{s:I, s:s, s:s, s:s, s:I}", "number",
                                                  (json_int_t)b->number, "participant", name,
                                                  "vote", assent_vote_name((int)b->vote), "result",
                                                  assent_branch_result_name((int)b->result),
                                                  "epoch", (json_int_t)b->epoch));
        if (view->live != NULL && assent_coord_awaits(&view->live->machine, b->number))
            json_array_append_new(waiting, json_string(name));
    }
    return json_pack(
        "{s:o, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o}", "gtrid",
        gtrid_json(&r->gtrid), "protocol", assent_protocol_name((int)r->protocol), "termination",
        assent_termination_name((int)r->termination), "phase", view->phase, "outcome",
        assent_outcome_name((int)r->outcome), "reason", r->reason_text, "key", r->key, "begun",
        time_json(r->begun_wall_ms, true), "decided",
        time_json(r->begun_wall_ms + r->decided_ms, r->decided_ms != 0), "ended",
        time_json(r->begun_wall_ms + r->ended_ms, r->ended_ms != 0), "branches", branches,
        "waiting_for", waiting, "timeline", timeline_json(server, view), "acknowledged",
        (int)r->acknowledged, "by_hand", audit_json(server, &r->gtrid, LIMIT_DEFAULT));
}

/* An outcome that is known although there is no record: presumed, or not known at all. */
static json_t *bare_json(const struct answer *answer)
{
    return json_pack("{s:o, s:s, s:s, s:s, s:[], s:[], s:[]}", "gtrid", gtrid_json(&answer->gtrid),
                     "phase", answer->phase, "outcome", assent_outcome_name((int)answer->outcome),
                     "reason", answer->reason, "branches", "waiting_for", "timeline");
}

static json_t *describe(struct server *server, const struct view *view, bool explain)
{
    return explain ? explain_transaction(server, view->live, &view->record)
                   : transaction_json(server, view);
}

static json_t *inspect_transaction(struct session *session, const struct assent_wire *wire,
                                   bool explain)
{
    struct server *server = session->shard->server;
    const struct transaction *t;
    struct shard *shard;
    struct assent_gtrid gtrid;
    struct answer answer;
    struct view view;

    if (assent_gtrid_parse(wire->u.inspect.argument, &gtrid) != 0) {
        session_refuse(session, wire->request, ASSENT_E_INVALID,
                       "a gtrid has %d characters of Crockford base32", ASSENT_GTRID_TEXT);
        return NULL;
    }
    shard = server_shard_of(server, &gtrid);
    t = transactions_find(&shard->transactions, &gtrid);
    if (t != NULL) {
        view_live(t, &view);
        return describe(server, &view, explain);
    }
    if (view_ended(server, &gtrid, &view))
        return describe(server, &view, explain);
    outcomes_answer(shard, &gtrid, &answer);
    if (answer.outcome == ASSENT_OUTCOME_NEVER_SEEN) {
        session_refuse(session, wire->request, ASSENT_E_NOT_FOUND,
                       "this coordinator began no such transaction");
        return NULL;
    }
    return bare_json(&answer);
}

/* --- lists --- */

struct list {
    json_t *rows;
    size_t limit, bytes, bytes_max;
    bool truncated;
};

/* An answer is one frame, so a list ends where the frame would. */
static bool list_takes(struct list *list, size_t bytes)
{
    if (json_array_size(list->rows) == list->limit || list->bytes + bytes > list->bytes_max) {
        list->truncated = true;
        return false;
    }
    list->bytes += bytes;
    return true;
}

static struct list list_new(const struct server *server, const struct assent_wire *wire)
{
    return (struct list){
        .rows = json_array(),
        .limit = wire->u.inspect.limit == 0 ? LIMIT_DEFAULT : wire->u.inspect.limit,
        .bytes_max = server->options.frame_bytes_max / 4 * 3,
    };
}

static bool list_transaction(struct list *list, const struct view *view)
{
    const struct assent_coord_record *r = &view->record;
    uint64_t now_ms = assent_wall_ms();

    /* Escapes may double what a quote or backslash takes. */
    if (!list_takes(list, 256 + 2 * (strlen(r->reason_text) + strlen(r->key))))
        return false;
    json_array_append_new(
        list->rows,
        json_pack("{s:o, s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:o}", "gtrid", gtrid_json(&r->gtrid),
                  "protocol", assent_protocol_name((int)r->protocol), "phase", view->phase,
                  "outcome", assent_outcome_name((int)r->outcome), "age_ms",
                  (json_int_t)(now_ms > r->begun_wall_ms ? now_ms - r->begun_wall_ms : 0),
                  "branches", (json_int_t)r->branch_count, "key", r->key, "reason", r->reason_text,
                  "begun", time_json(r->begun_wall_ms, true)));
    return true;
}

/* The first by order of what each shard has left, and goes past it; NULL at the end. */
static const struct transaction *next_live(const struct transaction *left[], unsigned count)
{
    const struct transaction **first = &left[0], *t;

    for (unsigned i = 1; i < count; i++)
        if (*first == NULL || (left[i] != NULL && left[i]->order < (*first)->order))
            first = &left[i];
    t = *first;
    if (t != NULL)
        *first = t->hh.next;
    return t;
}

/* The same of those that ended, latest first; left: how many each shard has not shown. */
static const struct ended *next_ended(const struct server *server, uint64_t left[])
{
    const struct ended *latest = NULL;
    unsigned of = 0;

    for (unsigned i = 0; i < server->shard_count; i++) {
        const struct ended *ended = recent_get(&server->shards[i].recent, left[i]);

        if (ended == NULL ||
            (latest != NULL && (ended->at_ms < latest->at_ms ||
                                (ended->at_ms == latest->at_ms &&
                                 gtrid_order(&ended->gtrid) < gtrid_order(&latest->gtrid)))))
            continue;
        latest = ended;
        of = i;
    }
    if (latest != NULL)
        left[of]--;
    return latest;
}

/* Those that have not ended, oldest first; then those that ended last, latest first. */
static json_t *inspect_transactions(struct session *session, const struct assent_wire *wire)
{
    const struct server *server = session->shard->server;
    const struct transaction *live[SHARDS_MAX], *t;
    struct list list = list_new(server, wire);
    uint64_t left[SHARDS_MAX];
    const struct ended *ended;
    struct view view;

    for (unsigned i = 0; i < server->shard_count; i++) {
        live[i] = server->shards[i].transactions.by_order;
        left[i] = server->shards[i].recent.count;
    }
    while ((t = next_live(live, server->shard_count)) != NULL) {
        view_live(t, &view);
        if (!list_transaction(&list, &view))
            break;
    }
    while (!list.truncated && (ended = next_ended(server, left)) != NULL)
        if (view_ended(server, &ended->gtrid, &view) && !list_transaction(&list, &view))
            break;
    return json_pack("{s:o, s:b}", "transactions", list.rows, "truncated", (int)list.truncated);
}

static json_t *inspect_participants(struct session *session, const struct assent_wire *wire)
{
    struct server *server = session->shard->server;
    struct list list = list_new(server, wire);

    if (wire->u.inspect.limit == 0)
        list.limit = SIZE_MAX;
    for (uint32_t i = 0; i < server->participants.count; i++) {
        const struct participant *p = server->participants.by_number[i];

        if (!list_takes(&list, 256 + 2 * (strlen(p->full) + strlen(p->type) + strlen(p->address) +
                                          strlen(p->away))))
            break;
        json_array_append_new(list.rows,
                              json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:o}", "number",
                                        (json_int_t)p->number, "name", p->name, "resource",
                                        p->resource, "type", p->type, "state", participant_state(p),
                                        "reason", participant_is_up(p) ? p->away : "", "epoch",
                                        (json_int_t)p->epoch, "address", p->address, "since",
                                        time_json(p->since_wall_ms, true)));
    }
    return json_pack("{s:o, s:b}", "participants", list.rows, "truncated", (int)list.truncated);
}

static json_t *inspect_health(struct session *session)
{
    struct server *server = session->shard->server;
    char log_id[2 * ASSENT_LOG_ID_BYTES + 1];
    struct assent_store_stats log;
    struct census census;

    for (size_t i = 0; i < ASSENT_LOG_ID_BYTES; i++)
        snprintf(log_id + 2 * i, 3, "%02x", assent_store_log_id(server->store)[i]);
    census_take(server, &census);
    assent_store_stats(server->store, &log);
    return json_pack(
        "{s:b, s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, "
        "s:I, s:I, s:I}",
        "ready", (int)(server->state == SERVER_SERVING), "state",
        server->state == SERVER_SERVING ? "serving" : "draining", "log", log_id, "room",
        (int)assent_store_has_room(server->store), "restored", (int)server->restored,
        "unacknowledged", (json_int_t)server_unacknowledged(server), "active",
        (json_int_t)census.live, "in_doubt", (json_int_t)census.in_doubt, "oldest_in_doubt_ms",
        (json_int_t)census.oldest_in_doubt_ms, "participants_up",
        (json_int_t)census.participants_up, "participants_known",
        (json_int_t)server->participants.count, "damaged_records",
        (json_int_t)server->shards[0].metrics.damaged_records, "coordinator",
        (json_int_t)server->options.id, "incarnation", (json_int_t)server->coord.incarnation,
        "version", ASSENT_VERSION, "uptime_ms", (json_int_t)(assent_now_ms() - server->started_ms),
        "log_used_bytes", (json_int_t)log.used_bytes, "log_map_bytes", (json_int_t)log.map_bytes);
}

static void query(struct session *session, const struct assent_wire *wire,
                  enum assent_query_kind kind)
{
    char error[ASSENT_REASON_MAX + 1];
    struct participant *p = NULL;
    int r = participants_find(session->shard->server, wire->u.inspect.participant, &p, error,
                              sizeof(error));

    if (r != 0)
        session_refuse(session, wire->request, r, "%s", error);
    else
        relays_query(session->shard, session, wire->request, p, kind, wire->u.inspect.argument);
}

static void send_json(struct session *session, uint64_t request, json_t *json)
{
    struct assent_wire wire = {.kind = ASSENT_WIRE_INSPECTION, .request = request};
    char *text = json_dumps(json, JSON_COMPACT);

    if (text == NULL) {
        session_refuse(session, request, ASSENT_E_NOMEM, "out of memory");
    } else {
        wire.u.inspection.json = (struct assent_bytes){text, strlen(text)};
        session_send(session, &wire);
    }
    free(text);
    json_decref(json);
}

/* What is asked of a participant. */
static const struct {
    const char *what;
    enum assent_query_kind kind;
} queries[] = {
    {"query", ASSENT_QUERY_READ}, {"prepared", ASSENT_QUERY_LIST},   {"scan", ASSENT_QUERY_SCAN},
    {"test", ASSENT_QUERY_TEST},  {"markers", ASSENT_QUERY_MARKERS},
};

static bool find_query(const char *what, enum assent_query_kind *ret_kind)
{
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++)
        if (strcmp(what, queries[i].what) == 0) {
            *ret_kind = queries[i].kind;
            return true;
        }
    return false;
}

bool inspect_asks_participant(const struct assent_wire *wire)
{
    enum assent_query_kind kind;

    return find_query(wire->u.inspect.what, &kind);
}

void inspect_request(struct session *session, const struct assent_wire *wire)
{
    const char *what = wire->u.inspect.what;
    enum assent_query_kind kind;
    json_t *json = NULL;

    if (find_query(what, &kind)) {
        query(session, wire, kind);
    } else if (strcmp(what, "transaction") == 0) {
        json = inspect_transaction(session, wire, false);
    } else if (strcmp(what, "explain") == 0) {
        json = inspect_transaction(session, wire, true);
    } else if (strcmp(what, "transactions") == 0) {
        json = inspect_transactions(session, wire);
    } else if (strcmp(what, "participants") == 0) {
        json = inspect_participants(session, wire);
    } else if (strcmp(what, "audit") == 0) {
        json = json_pack("{s:o}", "audit",
                         audit_json(session->shard->server, NULL,
                                    wire->u.inspect.limit ? wire->u.inspect.limit : LIMIT_DEFAULT));
    } else if (strcmp(what, "health") == 0) {
        json = inspect_health(session);
    } else {
        session_refuse(session, wire->request, ASSENT_E_INVALID,
                       "inspect: what must be transactions, transaction, explain, participants, "
                       "health, audit, query, prepared, scan, test or markers");
    }
    if (json != NULL)
        send_json(session, wire->request, json);
}
