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
#include "numbers.h"
#include "transactions.h"

struct shard;
struct assent_conn;

enum session_state { SESSION_NEW, SESSION_REGISTERING, SESSION_UP, SESSION_LEAVING };

struct session {
    TAILQ_ENTRY(session) link;
    struct shard *shard;
    struct session *home; /* itself; or it is a face (routes.h), then whose */
    struct session
        *faces[SHARDS_MAX];   /* of a home: of each shard that knows it; itself among them */
    struct assent_conn *conn; /* NULL: a face */
    enum session_state state;
    enum assent_role role;
    char name[ASSENT_NAME_MAX + 1];
    uint32_t incarnation;
    bool known_elsewhere; /* a home: more than its own shard may know it */
    /* Of a home, for its faces as well: requests that wait for an answer; what its connection has
     * queued, as far as its faces need to know; what is under way to it by letters, and from it. */
    _Atomic uint32_t in_flight;
    atomic_size_t output_bytes, mailed_bytes, passed_bytes;
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

/* A frame that concerns this session's shard, or one that has been read. */
void session_take_frame(struct session *session, const uint8_t *data, size_t size);
void session_take(struct session *session, const struct assent_wire *wire);
void session_send(struct session *session, const struct assent_wire *wire);
/* What is on its way out; "127.0.0.1:40312". Of a face: its home's. */
size_t session_output_bytes(const struct session *session);
const char *session_peer(const struct session *session);
/* So many more requests wait for an answer, or fewer. */
void session_count_asked(struct session *session, int by);
/* Refuses one request. */
void session_refuse(struct session *session, uint64_t request, int error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void session_answer(struct session *session, uint64_t request, const struct answer *answer);

/* The request is answered when the transaction is decided, or has ended. Whoever calls has asked
 * session_may_ask() before anything began: on another shard the limit may be reached since. False:
 * there is no memory; the request has been refused. */
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
