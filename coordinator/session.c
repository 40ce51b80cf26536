/* session.c: connections of applications and participants. */
#include "session.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "application.h"
#include "driver.h"
#include "inspect.h"
#include "relays.h"
#include "routes.h"
#include "server.h"

/* What a ping says has ended may have led to letters from other shards, which come first. */
static bool goes_behind_letters(const struct session *session, const struct assent_wire *wire)
{
    return wire->kind == ASSENT_WIRE_PING && wire->u.ping.has_ended_below &&
           session->shard->server->shard_count > 1;
}

void session_send(struct session *session, const struct assent_wire *wire)
{
    struct shard *shard = session->shard;
    size_t size;
    int r;

    r = assent_wire_encode(wire, &shard->frame, &shard->frame_capacity, &size);
    if (r == ASSENT_E_NOMEM)
        assent_panic(ASSENT_EXIT_RUNTIME, "no_memory", "what=frame");
    if (r != 0) {
        assent_log(ASSENT_LOG_ERROR, "encode_failed", "kind=%s error=%s",
                   assent_wire_name(wire->kind), assent_error_name(r));
        return;
    }
    if (size > shard->server->options.frame_bytes_max)
        r = ASSENT_E_TOO_BIG;
    else if (session->conn != NULL && !goes_behind_letters(session, wire))
        r = assent_conn_send(session->conn, shard->frame, size);
    else
        routes_send(session, shard->frame, size);
    /* Full output ends the connection by itself: a slow reader asks again when it is back. The end
     * is logged once, however many answers are left unsent. */
    if (r != 0 && r != ASSENT_E_CLOSED && r != ASSENT_E_LIMIT)
        assent_log(ASSENT_LOG_WARN, "send_failed", "peer=%s kind=%s bytes=%zu error=%s",
                   session_peer(session), assent_wire_name(wire->kind), size, assent_error_name(r));
    if (r == ASSENT_E_TOO_BIG && wire->request != 0 && wire->kind != ASSENT_WIRE_REFUSAL)
        session_refuse(session, wire->request, r, "the answer of %zu bytes is longer than a frame",
                       size);
}

static void send_refusal(struct session *session, uint64_t request, int error, const char *text)
{
    struct assent_wire wire = {.kind = ASSENT_WIRE_REFUSAL, .request = request};

    wire.u.refusal.error = error;
    wire.u.refusal.text = text;
    if (error == ASSENT_E_LIMIT || error == ASSENT_E_FULL || error == ASSENT_E_UNAVAILABLE)
        wire.u.refusal.retry_after_ms = RETRY_AFTER_MS;
    session_send(session, &wire);
}

void session_refuse(struct session *session, uint64_t request, int error, const char *format, ...)
{
    char text[ASSENT_REASON_MAX + 1];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    text_mend(text);
    metrics_count_refusal(&session->shard->metrics, error);
    assent_log(ASSENT_LOG_DEBUG, "refused", "peer=%s name=%s error=%s text=%s",
               session_peer(session), assent_log_quote(session->name), assent_error_name(error),
               assent_log_quote(text));
    send_refusal(session, request, error, text);
}

void session_answer(struct session *session, uint64_t request, const struct answer *answer)
{
    struct assent_wire wire;

    assent_wire_clear(&wire, ASSENT_WIRE_RESULT);
    wire.request = request;
    wire.u.result.gtrid = answer->gtrid;
    wire.u.result.outcome = answer->outcome;
    wire.u.result.reason = answer->reason;
    wire.u.result.phase = answer->phase;
    wire.u.result.ended = answer->ended;
    session_send(session, &wire);
}

size_t session_output_bytes(const struct session *session)
{
    if (session->conn != NULL)
        return assent_conn_output_bytes(session->conn);
    return atomic_load_explicit(&session->home->output_bytes, memory_order_relaxed) +
           atomic_load_explicit(&session->home->mailed_bytes, memory_order_relaxed);
}

const char *session_peer(const struct session *session)
{
    return assent_conn_peer(session->home->conn);
}

void session_count_asked(struct session *session, int by)
{
    atomic_fetch_add_explicit(&session->home->in_flight, (uint32_t)by, memory_order_relaxed);
}

bool session_may_ask(struct session *session, uint64_t request)
{
    uint32_t in_flight = atomic_load_explicit(&session->home->in_flight, memory_order_relaxed);

    if (in_flight < session->shard->server->options.requests_max)
        return true;
    session_refuse(session, request, ASSENT_E_LIMIT,
                   "%u requests of this connection wait already (requests_max)", in_flight);
    return false;
}

bool session_wait(struct session *session, struct transaction *t, uint64_t request, bool until_end)
{
    struct waiter *waiter = assent_pool_take(&t->table->waiters);

    if (waiter == NULL) {
        session_refuse(session, request, ASSENT_E_NOMEM, "out of memory");
        return false;
    }
    *waiter = (struct waiter){
        .transaction = t, .session = session, .request = request, .until_end = until_end};
    TAILQ_INSERT_TAIL(&t->waiters, waiter, of_transaction);
    TAILQ_INSERT_TAIL(&session->waiters, waiter, of_session);
    session_count_asked(session, 1);
    return true;
}

void session_wait_over(struct waiter *waiter)
{
    TAILQ_REMOVE(&waiter->transaction->waiters, waiter, of_transaction);
    TAILQ_REMOVE(&waiter->session->waiters, waiter, of_session);
    session_count_asked(waiter->session, -1);
    assent_pool_give(&waiter->transaction->table->waiters, waiter);
}

void session_own(struct session *session, struct transaction *t)
{
    t->owner = session;
    TAILQ_INSERT_TAIL(&session->owned, t, of_owner);
}

void session_disown(struct transaction *t)
{
    if (t->owner == NULL)
        return;
    TAILQ_REMOVE(&t->owner->owned, t, of_owner);
    t->owner = NULL;
}

/* Takes a session or a face out of everything that knows it on its shard. Its transactions that did
 * not ask to commit are rolled back: nobody is left who could. */
static void let_go_here(struct session *session)
{
    struct shard *shard = session->shard;

    session->state = SESSION_LEAVING;
    handover_stop(session);
    while (!TAILQ_EMPTY(&session->waiters))
        session_wait_over(TAILQ_FIRST(&session->waiters));
    if (session->role == ASSENT_ROLE_PARTICIPANT)
        relays_participant_gone(shard, session);
    relays_asker_gone(shard, session);
    while (!TAILQ_EMPTY(&session->owned)) {
        struct transaction *t = TAILQ_FIRST(&session->owned);

        session_disown(t);
        driver_application_gone(shard, t);
    }
}

/* Whether its end concerns more than its own shard, so that all have to be held. */
static bool is_known_elsewhere(const struct session *session)
{
    return session->role == ASSENT_ROLE_PARTICIPANT || session->known_elsewhere;
}

static void let_go(struct session *session)
{
    struct server *server = session->shard->server;

    if (session->state == SESSION_LEAVING)
        return;
    session->state = SESSION_LEAVING;
    if (is_known_elsewhere(session)) {
        server_assert_held(server);
        operate_asker_gone(server, session);
        participants_down(server, session);
    }
    for (unsigned i = 0; i < server->shard_count; i++)
        if (session->faces[i] != NULL)
            let_go_here(session->faces[i]);
    for (unsigned i = 0; i < server->shard_count; i++) {
        struct session *face = session->faces[i];

        if (face == NULL || face == session)
            continue;
        TAILQ_REMOVE(&face->shard->sessions, face, link);
        session->faces[i] = NULL;
        free(face);
    }
}

/* Its connection is gone or going. */
static void free_session(struct session *session)
{
    struct shard *shard = session->shard;

    let_go(session);
    TAILQ_REMOVE(&shard->sessions, session, link);
    shard->session_count--;
    if (shard->server->listener != NULL)
        assent_listener_released(shard->server->listener);
    free(session);
}

void session_close(struct session *session, int error, const char *text)
{
    ASSENT_ASSERT(session->conn != NULL);
    assent_log(ASSENT_LOG_WARN, "session_closed", "peer=%s name=%s error=%s detail=%s",
               session_peer(session), assent_log_quote(session->name), assent_error_name(error),
               assent_log_quote(text));
    metrics_count_refusal(&session->shard->metrics, error);
    send_refusal(session, 0, error, text);
    assent_conn_close_after_flush(session->conn);
    let_go(session);
}

void session_close_all(struct shard *shard)
{
    struct session *session, *next;

    for (session = TAILQ_FIRST(&shard->sessions); session != NULL; session = next) {
        next = TAILQ_NEXT(session, link);
        /* Those of this shard's connections go with them, others with their homes. */
        if (session->conn == NULL)
            continue;
        assent_conn_close(session->conn);
        free_session(session);
    }
}

static void send_hello(struct session *session)
{
    struct shard *shard = session->shard;
    struct assent_wire wire = {.kind = ASSENT_WIRE_HELLO};
    struct assent_wire_hello *hello = &wire.u.hello;

    hello->version_min = ASSENT_WIRE_VERSION;
    hello->version_max = ASSENT_WIRE_VERSION;
    hello->role = ASSENT_ROLE_COORDINATOR;
    hello->name = "assentd";
    hello->cluster = shard->server->options.cluster;
    hello->software = "assentd " ASSENT_VERSION;
    hello->has_log_id = true;
    memcpy(hello->log_id, assent_store_log_id(shard->server->store), ASSENT_LOG_ID_BYTES);
    hello->coordinator = (uint32_t)shard->server->options.id;
    hello->incarnation = shard->server->coord.incarnation;
    hello->position = assent_store_first_position(shard->server->store);
    hello->life = shard->server->life;
    hello->accepted = shard->server->accepted;
    session_send(session, &wire);
}

void session_up(struct session *session)
{
    bool participant = session->role == ASSENT_ROLE_PARTICIPANT;

    session->state = SESSION_UP;
    send_hello(session);
    assent_conn_established(session->conn, participant);
    assent_log(participant ? ASSENT_LOG_INFO : ASSENT_LOG_DEBUG, "connected",
               "peer=%s role=%s name=%s incarnation=%u", session_peer(session),
               participant ? "participant" : "application", assent_log_quote(session->name),
               session->incarnation);
    /* Whatever it takes part in from now on has a higher sequence than what its life before knew:
     * with the first of these that it forgets, it drops all that is left of those. */
    if (participant && session->shard->server->shard_count > 1)
        numbers_close_round(&session->shard->server->numbers);
    for (unsigned i = 0; participant && i < session->shard->server->shard_count; i++)
        handover_start(routes_face(session, &session->shard->server->shards[i]));
}

static void on_hello(struct session *session, const struct assent_wire *wire)
{
    const struct assent_wire_hello *hello = &wire->u.hello;
    struct shard *shard = session->shard;
    char error[ASSENT_REASON_MAX + 1];
    int r;

    if (hello->version_min > ASSENT_WIRE_VERSION || hello->version_max < ASSENT_WIRE_VERSION) {
        snprintf(error, sizeof(error), "this coordinator speaks version %d, you %u to %u",
                 ASSENT_WIRE_VERSION, hello->version_min, hello->version_max);
        session_close(session, ASSENT_E_VERSION, error);
        return;
    }
    if (strcmp(hello->cluster, shard->server->options.cluster) != 0) {
        session_close(session, ASSENT_E_REFUSED, "this coordinator belongs to another cluster");
        return;
    }
    text_copy(session->name, sizeof(session->name), hello->name);
    session->incarnation = hello->incarnation;
    if (hello->role == ASSENT_ROLE_APPLICATION) {
        session->role = hello->role;
        session_up(session);
        return;
    }
    if (hello->role != ASSENT_ROLE_PARTICIPANT) {
        session_close(session, ASSENT_E_PROTOCOL, "hello: role must be participant or application");
        return;
    }
    r = participants_register(shard->server, session, hello, error, sizeof(error));
    if (r != 0) {
        session_close(session, r, error);
        return;
    }
    session->role = hello->role;
    session->state = SESSION_REGISTERING;
    if (participants_all_durable(shard->server, session))
        session_up(session);
}

static void not_allowed(struct session *session, const struct assent_wire *wire)
{
    char text[ASSENT_REASON_MAX + 1];

    snprintf(text, sizeof(text), "%s is not what a %s may send now", assent_wire_name(wire->kind),
             session->state == SESSION_NEW              ? "newcomer"
             : session->role == ASSENT_ROLE_PARTICIPANT ? "participant"
                                                        : "application");
    session_close(session, ASSENT_E_PROTOCOL, text);
}

static void from_participant(struct session *session, const struct assent_wire *wire)
{
    if (wire->kind == ASSENT_WIRE_PING)
        participants_away(session->shard->server, session, wire);
    else if (session->state == SESSION_UP && wire->kind == ASSENT_WIRE_BRANCH)
        driver_message(session->shard, session, wire);
    else if (session->state == SESSION_UP &&
             (wire->kind == ASSENT_WIRE_INSPECTION || wire->kind == ASSENT_WIRE_REFUSAL))
        relays_answer(session->shard, session, wire);
    else
        not_allowed(session, wire);
}

static void from_application(struct session *session, const struct assent_wire *wire)
{
    switch (wire->kind) {
    case ASSENT_WIRE_PING:
        session_send(session,
                     &(struct assent_wire){.kind = ASSENT_WIRE_PING, .request = wire->request});
        return;
    case ASSENT_WIRE_BEGIN:
        application_begin(session, wire);
        return;
    case ASSENT_WIRE_ENLIST:
        application_enlist(session, wire);
        return;
    case ASSENT_WIRE_WORK:
        application_work(session, wire);
        return;
    case ASSENT_WIRE_END:
        application_end(session, wire);
        return;
    case ASSENT_WIRE_RUN:
        application_run(session, wire);
        return;
    case ASSENT_WIRE_STATUS:
        application_status(session, wire);
        return;
    case ASSENT_WIRE_INSPECT:
        inspect_request(session, wire);
        return;
    case ASSENT_WIRE_OPERATE:
        operate_request(session, wire);
        return;
    case ASSENT_WIRE_HELLO:
    case ASSENT_WIRE_REFUSAL:
    case ASSENT_WIRE_BEGIN_REPLY:
    case ASSENT_WIRE_ENLIST_REPLY:
    case ASSENT_WIRE_WORK_REPLY:
    case ASSENT_WIRE_RESULT:
    case ASSENT_WIRE_INSPECTION:
    case ASSENT_WIRE_BRANCH:
    case ASSENT_WIRE_RESOURCE_QUERY:
    case ASSENT_WIRE_END_OF_KINDS:
        not_allowed(session, wire);
        return;
    }
}

void session_take(struct session *session, const struct assent_wire *wire)
{
    if (session->state == SESSION_NEW && wire->kind == ASSENT_WIRE_HELLO)
        on_hello(session, wire);
    else if (session->state == SESSION_NEW)
        not_allowed(session, wire);
    else if (session->role == ASSENT_ROLE_PARTICIPANT)
        from_participant(session, wire);
    else
        from_application(session, wire);
}

void session_take_frame(struct session *session, const uint8_t *data, size_t size)
{
    struct shard *shard = session->shard;
    char error[ASSENT_REASON_MAX + 1];
    int r = assent_wire_decode(data, size, shard->arena, &shard->wire, error, sizeof(error));

    if (r != 0)
        session_close(session, r, error);
    else
        session_take(session, &shard->wire);
}

static void on_frame(struct assent_conn *conn, const uint8_t *data, size_t size, void *context)
{
    struct session *session = context;

    (void)conn;
    if (session->shard->server->shard_count == 1)
        session_take_frame(session, data, size);
    else
        routes_frame(session, data, size);
}

static void on_closed(struct assent_conn *conn, int error, const char *detail, void *context)
{
    struct session *session = context;
    struct server *server = session->shard->server;
    bool worth_a_line = session->role == ASSENT_ROLE_PARTICIPANT || error != ASSENT_E_CLOSED;
    enum assent_log_level level = error == ASSENT_E_LIMIT ? ASSENT_LOG_WARN
                                  : worth_a_line          ? ASSENT_LOG_INFO
                                                          : ASSENT_LOG_DEBUG;
    bool held = is_known_elsewhere(session);

    if (held)
        server_hold(server);
    /* One that we closed has had its line. */
    if (session->state != SESSION_LEAVING)
        assent_log(level, "disconnected", "peer=%s name=%s error=%s detail=%s",
                   assent_conn_peer(conn), assent_log_quote(session->name),
                   assent_error_name(error), assent_log_quote(detail));
    let_go(session);
    /* Nothing that is under way may name it any more. */
    ASSENT_ASSERT(session->mailed_bytes == 0);
    free_session(session);
    if (held)
        server_release(server);
}

static void ping(struct session *session)
{
    struct assent_wire wire = {.kind = ASSENT_WIRE_PING};
    struct assent_store_stats stats;

    assent_store_stats(session->shard->server->store, &stats);
    wire.u.ping.position = stats.position;
    wire.u.ping.accepted = session->shard->server->accepted;
    wire.u.ping.has_ended_below = true;
    wire.u.ping.ended_below = gtrid_of_order(server_ended_below_for_ping(session->shard->server),
                                             (uint16_t)session->shard->server->options.id);
    session_send(session, &wire);
}

static void on_heartbeat(struct assent_conn *conn, void *context)
{
    (void)conn;
    ping(context);
}

void session_ping_participants(struct shard *shard)
{
    struct session *session;

    TAILQ_FOREACH (session, &shard->sessions, link)
        if (session->state == SESSION_UP && session->role == ASSENT_ROLE_PARTICIPANT)
            ping(session);
}

static void on_written(struct assent_conn *conn, void *context)
{
    (void)conn;
    routes_note_output(context);
}

static const struct assent_conn_handler session_handler = {
    .frame = on_frame, .closed = on_closed, .heartbeat = on_heartbeat};
static const struct assent_conn_handler shared_handler = {
    .frame = on_frame, .closed = on_closed, .heartbeat = on_heartbeat, .written = on_written};

void session_accept(struct shard *shard, int fd)
{
    struct session *session = calloc(1, sizeof(*session));
    struct assent_net_limits limits = options_net_limits(&shard->server->options);
    int r;

    if (session == NULL) {
        close(fd);
        assent_listener_released(shard->server->listener);
        return;
    }
    session->shard = shard;
    session->home = session->faces[shard->index] = session;
    TAILQ_INIT(&session->waiters);
    TAILQ_INIT(&session->owned);
    r = assent_conn_new(shard->base, fd, &limits,
                        shard->server->shard_count > 1 ? &shared_handler : &session_handler,
                        session, &session->conn);
    if (r != 0) {
        assent_log(ASSENT_LOG_WARN, "accept_failed", "error=%s", assent_error_name(r));
        free(session);
        assent_listener_released(shard->server->listener);
        return;
    }
    TAILQ_INSERT_TAIL(&shard->sessions, session, link);
    shard->session_count++;
    shard->metrics.connections++;
}
