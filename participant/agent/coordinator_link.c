/*
 * coordinator_link.c: the connection to one coordinator address: dialed, and dialed again whenever
 * it ends; hello, heartbeats, and where each message goes. A coordinator is known by the id of its
 * log, not by its address; an earlier life of that log (a copy, a restored backup, a process that
 * slept) is refused, because its decisions may contradict those of the later one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

#define DIAL_MIN_MS 50
#define DIAL_MAX_MS 2000

struct agent_link {
    struct assent_participant *agent;
    char *address;
    struct assent_dialer *dialer;
    struct assent_conn *conn;
    struct coordinator_log *log; /* NULL: not connected */
    uint64_t connection;         /* number of this one; 0: not connected */
    char name[ASSENT_NAME_MAX + 1];
    bool failing, refused; /* its trouble has been logged; the rest is for debugging */
};

/* ---- the connection's end ---- */

/* The connection is of no use any more, although it may not be closed yet. */
static void detach(struct agent_link *link)
{
    if (link->log)
        link->log->link = NULL;
    link->log = NULL;
    link->connection = 0;
}

static void link_down(struct agent_link *link)
{
    detach(link);
    link->conn = NULL;
    if (!link->agent->stopping)
        assent_dialer_retry(link->dialer);
}

static void log_down(struct agent_link *link, const char *event, const char *why)
{
    assent_log(link->failing ? ASSENT_LOG_DEBUG : ASSENT_LOG_WARN, event,
               "address=%s coordinator=%s why=%s", link->address, assent_log_quote(link->name),
               assent_log_quote(why));
    link->failing = true;
}

/* Says why and hangs up; on_closed() dials again. */
static void hang_up(struct agent_link *link, int error, const char *text)
{
    link->failing &= link->refused; /* why it is refused is worth a line of its own */
    link->refused = true;
    log_down(link, "coordinator_refused", text);
    agent_refuse(link->agent, link->conn, 0, error, text);
    assent_conn_close_after_flush(link->conn);
    detach(link);
}

static void on_closed(struct assent_conn *conn, int error, const char *detail, void *context)
{
    struct agent_link *link = context;

    (void)conn;
    (void)error;
    log_down(link, "disconnected", detail);
    link_down(link);
}

/* ---- hello ---- */

/* 0, or why this coordinator is not ours, with a sentence. */
static int check_hello(struct agent_link *link, const struct assent_wire_hello *hello,
                       struct coordinator_log **ret_log, char *text, size_t text_size)
{
    struct coordinator_log *log;
    int error = agent_hello_check(link->agent, hello, text, text_size);

    if (error)
        return error;
    if (hello->role != ASSENT_ROLE_COORDINATOR || !hello->has_log_id) {
        snprintf(text, text_size, "%s is no coordinator", link->address);
        return ASSENT_E_PROTOCOL;
    }
    log = agent_branches_log(&link->agent->branches, hello->log_id);
    if (!log) {
        snprintf(text, text_size, "more than %d coordinator logs were seen", AGENT_LOGS_MAX);
        return ASSENT_E_LIMIT;
    }
    if (hello->incarnation < log->incarnation) {
        snprintf(text, text_size,
                 "incarnation %" PRIu32 " of log %s is an earlier one: %" PRIu32
                 " was seen; if the log was restored, start it with incarnation_min above that",
                 hello->incarnation, log->text, log->incarnation);
        return ASSENT_E_STALE;
    }
    if (hello->incarnation == log->incarnation && log->life != 0 && hello->life != log->life) {
        snprintf(text, text_size,
                 "incarnation %" PRIu32 " of log %s is not the one that was seen: the log was "
                 "restored; start it with incarnation_min above that",
                 hello->incarnation, log->text);
        return ASSENT_E_STALE;
    }
    if (log->link) {
        snprintf(text, text_size, "the coordinator is connected already, as %s",
                 log->link->address);
        return ASSENT_E_REFUSED;
    }
    *ret_log = log;
    return 0;
}

/* A life of the log that was not seen before. It must have begun where the last one that was seen
 * had come to, or later: else the log is an older copy, and what is absent in it proves nothing
 * until a person accepts that. True: this was accepted now, or while nobody here looked. */
static bool new_life(struct agent_link *link, struct coordinator_log *log,
                     const struct assent_wire_hello *hello)
{
    bool went_back = hello->position < log->position, lost = went_back || log->holds;

    if (went_back && hello->accepted <= log->incarnation) {
        log->holds = log->incarnation;
        assent_log(
            ASSENT_LOG_ERROR, "log_restored",
            "coordinator=%s log=%s position=%" PRIu64 " seen=%" PRIu64 " why=%s",
            assent_log_quote(link->name), log->text, hello->position, log->position,
            assent_log_quote("the log is an older copy: aborts of what began before are held "
                             "back until `assentctl log accept`"));
    }
    if (log->holds && hello->accepted > log->holds)
        log->holds = 0;
    log->incarnation = hello->incarnation;
    log->life = hello->life;
    log->position = hello->position + 1; /* it has raised its incarnation since */
    agent_marks_save_incarnation(link->agent, log);
    return lost && !log->holds;
}

static void on_hello(struct agent_link *link, const struct assent_wire_hello *hello)
{
    struct assent_participant *agent = link->agent;
    char text[ASSENT_REASON_MAX + 1];
    struct coordinator_log *log;
    int error = check_hello(link, hello, &log, text, sizeof(text));
    bool accepted = false;

    snprintf(link->name, sizeof(link->name), "%s", hello->name);
    if (error) {
        hang_up(link, error, text);
        return;
    }
    if (hello->incarnation > log->incarnation)
        accepted = new_life(link, log, hello);
    link->log = log;
    link->connection = ++agent->connections;
    link->failing = link->refused = false;
    log->link = link;
    assent_conn_established(link->conn, true);
    assent_dialer_succeeded(link->dialer);
    assent_log(ASSENT_LOG_INFO, "connected",
               "address=%s coordinator=%s log=%s incarnation=%" PRIu32, link->address,
               assent_log_quote(link->name), log->text, log->incarnation);
    agent_link_ping(link);
    agent_driver_peer_up(log, accepted);
}

/* ---- frames ---- */

static void on_refusal(struct agent_link *link, const struct assent_wire *wire)
{
    char text[2 * ASSENT_REASON_MAX];

    if (link->log) {
        assent_log(ASSENT_LOG_WARN, "refused", "coordinator=%s error=%s text=%s",
                   assent_log_quote(link->name), assent_error_name(wire->u.refusal.error),
                   assent_log_quote(wire->u.refusal.text));
        return;
    }
    snprintf(text, sizeof(text), "%s (%s)", wire->u.refusal.text,
             assent_error_text(wire->u.refusal.error));
    log_down(link, "hello_refused", text);
    assent_conn_close(link->conn);
    link_down(link);
}

static bool from_coordinator(const struct assent_message *message)
{
    if (message->from != 0)
        return false;
    switch (message->kind) {
    case ASSENT_MSG_WORK:
    case ASSENT_MSG_PREPARE:
    case ASSENT_MSG_PRECOMMIT:
    case ASSENT_MSG_COMMIT:
    case ASSENT_MSG_ABORT:
    case ASSENT_MSG_COMMIT_ONE_PHASE:
    case ASSENT_MSG_INQUIRE:
    case ASSENT_MSG_ELECT:
    case ASSENT_MSG_ELECT_ANSWER:
    case ASSENT_MSG_PROPOSE:
    case ASSENT_MSG_PROPOSE_ACK:
    case ASSENT_MSG_FORGET:
        return true;
    case ASSENT_MSG_NONE:
    case ASSENT_MSG_WORK_REPLY:
    case ASSENT_MSG_VOTE:
    case ASSENT_MSG_PRECOMMIT_ACK:
    case ASSENT_MSG_ACK:
        return false;
    }
    return false;
}

static void on_ping(struct agent_link *link, const struct assent_wire *wire)
{
    struct coordinator_log *log = link->log;
    bool accepted = log->holds && wire->u.ping.accepted > log->holds;

    if (accepted)
        log->holds = 0;
    if (wire->u.ping.position > log->position || accepted) {
        log->position = wire->u.ping.position;
        agent_marks_save_lazily(link->agent, log);
    }
    if (accepted) {
        assent_log(ASSENT_LOG_WARN, "restore_accepted", "coordinator=%s log=%s",
                   assent_log_quote(link->name), log->text);
        agent_link_ping(link);
        agent_driver_peer_up(log, true);
    }
    if (wire->u.ping.has_ended_below && !log->holds)
        agent_tombstones_sweep(link->agent, log, &wire->u.ping.ended_below);
}

/* False: no coordinator says that now. */
static bool on_message(struct agent_link *link, const struct assent_wire *wire)
{
    struct assent_participant *agent = link->agent;

    if (wire->kind == ASSENT_WIRE_PING) {
        on_ping(link, wire);
        return true;
    }
    if (wire->kind == ASSENT_WIRE_BRANCH && from_coordinator(&wire->u.branch.message)) {
        agent_driver_message(agent, link->log, link->connection, wire);
        return true;
    }
    if (wire->kind == ASSENT_WIRE_RESOURCE_QUERY) {
        agent_queries_ask(agent, link, wire);
        return true;
    }
    return false;
}

static void on_frame(struct assent_conn *conn, const uint8_t *data, size_t size, void *context)
{
    struct agent_link *link = context;
    char text[ASSENT_REASON_MAX + 1] = "";
    struct assent_wire wire;
    int error = assent_wire_decode(data, size, link->agent->arena, &wire, text, sizeof(text));

    (void)conn;
    if (error) {
        hang_up(link, error, text);
    } else if (wire.kind == ASSENT_WIRE_REFUSAL) {
        on_refusal(link, &wire);
    } else if (!link->log && wire.kind == ASSENT_WIRE_HELLO) {
        on_hello(link, &wire.u.hello);
    } else if (!link->log || !on_message(link, &wire)) {
        snprintf(text, sizeof(text), "message %s is out of order", assent_wire_name(wire.kind));
        hang_up(link, ASSENT_E_PROTOCOL, text);
    }
}

static void on_heartbeat(struct assent_conn *conn, void *context)
{
    (void)conn;
    agent_link_ping(context);
}

/* ---- dialing ---- */

static void on_connected(int fd, void *context)
{
    static const struct assent_conn_handler handler = {on_frame, on_closed, on_heartbeat};
    struct agent_link *link = context;
    struct assent_participant *agent = link->agent;
    struct assent_net_limits limits = agent_net_limits(agent);
    struct assent_wire hello;

    if (assent_conn_new(agent->base, fd, &limits, &handler, link, &link->conn)) {
        link->conn = NULL;
        log_down(link, "connect_failed", "out of memory");
        link_down(link);
        return;
    }
    agent_hello(agent, &hello);
    (void)agent_send(agent, link->conn, &hello);
}

static void on_dial_failed(const char *detail, void *context)
{
    log_down(context, "connect_failed", detail);
}

int agent_link_open(struct assent_participant *agent, const char *address,
                    struct agent_link **ret_link)
{
    struct agent_link *link = calloc(1, sizeof(*link));
    int error = ASSENT_E_NOMEM;

    if (!link)
        return error;
    link->agent = agent;
    link->address = strdup(address);
    if (link->address)
        error = assent_dialer_open(agent->base, address, DIAL_MIN_MS, DIAL_MAX_MS, on_connected,
                                   on_dial_failed, link, &link->dialer);
    if (error) {
        agent_link_close(link);
        return error;
    }
    *ret_link = link;
    return 0;
}

void agent_link_close(struct agent_link *link)
{
    if (!link)
        return;
    if (link->log)
        link->log->link = NULL;
    assent_conn_close(link->conn);
    if (link->dialer)
        assent_dialer_close(link->dialer);
    free(link->address);
    free(link);
}

int agent_link_send(struct agent_link *link, const struct assent_wire *wire)
{
    if (!link->log)
        return ASSENT_E_UNAVAILABLE;
    return agent_send(link->agent, link->conn, wire);
}

void agent_link_ping(struct agent_link *link)
{
    struct assent_wire wire = {.kind = ASSENT_WIRE_PING};

    agent_service_report(link->agent, &wire);
    wire.u.ping.holds = link->log && link->log->holds;
    (void)agent_link_send(link, &wire);
}

void agent_link_refuse(struct agent_link *link, uint64_t request, int error, const char *text)
{
    if (link->log)
        agent_refuse(link->agent, link->conn, request, error, text);
}

size_t agent_link_output_bytes(const struct agent_link *link)
{
    return link->conn ? assent_conn_output_bytes(link->conn) : 0;
}

uint64_t agent_link_connection(const struct agent_link *link)
{
    return link ? link->connection : 0;
}

const char *agent_link_name(const struct agent_link *link)
{
    return link->name;
}
