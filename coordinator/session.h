/*
 * session.h: one connection: its hello, its role, frames in and out, what it may ask at once.
 * Deliberately not here: what the requests mean (application.c, inspect.c) and the protocol's
 * messages (driver.c).
 *
 * Life: NEW -> (participant: REGISTERING, until its numbers are on disk) -> UP -> LEAVING, when the
 * connection ends or session_close() is called: nobody knows it any more -> freed, with its
 * connection.
 */
#ifndef ASSENT_COORDINATOR_SESSION_H
#define ASSENT_COORDINATOR_SESSION_H

#include "codec.h"
#include "handover.h"
#include "transactions.h"

struct shard;
struct assent_conn;

enum session_state { SESSION_NEW, SESSION_REGISTERING, SESSION_UP, SESSION_LEAVING };

struct session {
    TAILQ_ENTRY(session) link;
    struct shard *shard;
    struct assent_conn *conn;
    enum session_state state;
    enum assent_role role;
    char name[ASSENT_NAME_MAX + 1];
    uint32_t incarnation;
    uint32_t in_flight; /* requests that wait for an answer */
    struct waiters waiters;
    struct owned_transactions owned;
    struct handover handover;
};
TAILQ_HEAD(sessions, session);

/* What a request for an outcome is answered with. */
struct answer {
    struct assent_gtrid gtrid;
    enum assent_outcome outcome;
    bool ended;
    const char *phase;
    char reason[ASSENT_REASON_MAX + 1];
};

/* Takes fd in every case. */
void session_accept(struct shard *shard, int fd);
/* The participant's numbers are on disk: greets it and tells its branches' machines. */
void session_up(struct session *session);
/* Says why and closes after that has left. Never inside a core's step. */
void session_close(struct session *session, int error, const char *text);
/* Closes every session, unsent output is dropped. */
void session_close_all(struct shard *shard);

void session_send(struct session *session, const struct assent_wire *wire);
/* Refuses one request. */
void session_refuse(struct session *session, uint64_t request, int error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void session_answer(struct session *session, uint64_t request, const struct answer *answer);

/* The request is answered when the transaction is decided, or has ended. False: the limit of
 * requests is reached, or there is no memory; the request has been refused. */
bool session_wait(struct session *session, struct transaction *transaction, uint64_t request,
                  bool until_end);
void session_wait_over(struct waiter *waiter);
/* False if the session may not wait for one more answer; the request has been refused. */
bool session_may_ask(struct session *session, uint64_t request);

/* A ping out of turn, since what it says has changed. */
void session_ping_participants(struct shard *shard);

void session_own(struct session *session, struct transaction *transaction);
void session_disown(struct transaction *transaction);

#endif
