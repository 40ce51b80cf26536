/*
 * assent/client.h: begin, work, commit and ask, from an application.
 *
 * Caveats first:
 *   - ASSENT_OUTCOME_UNKNOWN is an outcome of its own: the answer was lost or is not there yet. Ask
 *     again with assent_client_status() by gtrid or by idempotency key; never take it for aborted.
 *   - A client belongs to one thread at a time. It keeps one connection, dials again by itself at
 *     the next request, and never sends a request twice.
 *   - Times are in milliseconds, all strings UTF-8.
 *
 * Two forms over the same requests: calls that block until the answer or the time-out, and
 * assent_client_submit() with a pollable descriptor for event loops.
 */
#ifndef ASSENT_CLIENT_H
#define ASSENT_CLIENT_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

struct assent_client;

struct assent_client_options {
    size_t size;              /* sizeof(struct assent_client_options) */
    const char *address;      /* "host:port"; NULL: 127.0.0.1:7372 */
    const char *name;         /* shown in the coordinator's log; NULL: "application" */
    const char *cluster;      /* NULL: "default" */
    uint32_t connect_ms;      /* 0: 5000 */
    uint32_t request_ms;      /* longest wait for an answer; 0: 60000 */
    uint32_t frame_bytes_max; /* 0: 1 MiB */
};

struct assent_begin_options {
    size_t size; /* sizeof(struct assent_begin_options) */
    enum assent_protocol protocol;
    enum assent_termination termination; /* how participants finish without the coordinator; NONE:
                                          * the protocol's safe one (types.h says which, and what
                                          * the others risk). Of a 2PC only COOPERATIVE */
    uint32_t timeout_ms;                 /* from begin to decision; 0: the coordinator's default */
    const char *key;                     /* idempotency key, or NULL: the same key again finds the
                                          * same transaction */
    const char *traceparent;             /* W3C trace context, or NULL */
    bool detached; /* outlives this connection, until its deadline; else the coordinator aborts an
                    * unfinished transaction when the connection ends */
};

/* What became of a transaction. */
struct assent_result {
    struct assent_gtrid gtrid;
    enum assent_outcome outcome;
    bool ended; /* every branch has obeyed */
    char phase[32];
    char reason[ASSENT_REASON_MAX + 1];
};

struct assent_work {
    const char *participant; /* "NAME" or "NAME/RESOURCE" */
    const void *data;
    size_t size;
};

/* Makes a client and connects; options NULL: all defaults. 0; ASSENT_E_CONNECT, ASSENT_E_TIMEOUT,
 * ASSENT_E_VERSION, ASSENT_E_REFUSED (another cluster), ASSENT_E_PROTOCOL (no coordinator answers
 * there), ASSENT_E_INVALID, ASSENT_E_NOMEM, or what the coordinator refuses with (ASSENT_E_LIMIT),
 * with a sentence in error. Safe to repeat. */
ASSENT_API ASSENT_CHECKED int assent_client_open(const struct assent_client_options *options,
                                                 struct assent_client **ret_client, char *error,
                                                 size_t error_size);
/* NULL is allowed. Submitted requests that have no answer yet get ASSENT_E_CLOSED. Not from inside
 * a callback. */
ASSENT_API void assent_client_close(struct assent_client *client);
/* A sentence about the last call that failed; owned by the client, until its next call. */
ASSENT_API const char *assent_client_error(const struct assent_client *client);

/*
 * Blocking calls. Besides the errors named at each: ASSENT_E_CLOSED and ASSENT_E_TIMEOUT when no
 * answer came, ASSENT_E_PROTOCOL when it made no sense (safe to repeat unless said); the errors of
 * assent_client_open() when it had to connect and ASSENT_E_TOO_BIG, ASSENT_E_INVALID,
 * ASSENT_E_NOMEM, with nothing sent; ASSENT_E_LIMIT and ASSENT_E_FULL when the coordinator sheds
 * load (nothing was begun; repeat later); ASSENT_E_STATE while submitted requests are open.
 */

/* Begins a transaction. Nothing is on disk. With a key that is known already: 0 and its gtrid. */
ASSENT_API ASSENT_CHECKED int assent_client_begin(struct assent_client *client,
                                                  const struct assent_begin_options *options,
                                                  struct assent_gtrid *ret_gtrid);
/* Runs work at a participant inside the transaction. *ret_reply (may be NULL if not wanted) is the
 * caller's, by free(). ASSENT_E_NOT_FOUND: no such participant or transaction;
 * ASSENT_E_UNAVAILABLE: participant not connected; ASSENT_E_REFUSED: the work failed and the
 * transaction is aborted; ASSENT_E_STATE: it is finished. Not safe to repeat after ASSENT_E_CLOSED
 * or ASSENT_E_TIMEOUT: the work may have been done. */
ASSENT_API ASSENT_CHECKED int assent_client_work(struct assent_client *client,
                                                 const struct assent_gtrid *gtrid,
                                                 const struct assent_work *work, char **ret_reply,
                                                 size_t *ret_reply_size);
/* Makes the participant a branch of the transaction without any work through the agent. */
ASSENT_API ASSENT_CHECKED int assent_client_enlist(struct assent_client *client,
                                                   const struct assent_gtrid *gtrid,
                                                   const char *participant,
                                                   struct assent_branch_id *ret_id);
/* Commits. 0 with the outcome: COMMITTED is durable, whatever crashes next; ABORTED with the
 * reason; MIXED, HAZARD. When the answer is lost: 0 is not returned, the error is, and
 * ret_result->outcome is UNKNOWN. Repeating is always safe and answers the same outcome.
 * wait: answer after every branch has obeyed. */
ASSENT_API ASSENT_CHECKED int assent_client_commit(struct assent_client *client,
                                                   const struct assent_gtrid *gtrid, bool wait,
                                                   struct assent_result *ret_result);
/* Rolls back; the answer is the outcome that stands, which may be COMMITTED if a commit won. */
ASSENT_API ASSENT_CHECKED int assent_client_rollback(struct assent_client *client,
                                                     const struct assent_gtrid *gtrid, bool wait,
                                                     struct assent_result *ret_result);
/* One-shot: begin, all work and commit in one round trip. Results as for commit; ret_result->gtrid
 * names it. Repeat only with a key, which then finds the first one's outcome. */
ASSENT_API ASSENT_CHECKED int assent_client_run(struct assent_client *client,
                                                const struct assent_begin_options *options,
                                                const struct assent_work *works, size_t count,
                                                bool wait, struct assent_result *ret_result);
/* Asks what became of a transaction, by gtrid or (gtrid NULL) by key. Always safe. wait: until it
 * has ended or request_ms have passed. */
ASSENT_API ASSENT_CHECKED int assent_client_status(struct assent_client *client,
                                                   const struct assent_gtrid *gtrid,
                                                   const char *key, bool wait,
                                                   struct assent_result *ret_result);
/* Views for people, as JSON (docs/wire-protocol.md): what is "transactions", "transaction",
 * "participants", "health", or "query" (participant and a command of its resource). *ret_json is
 * the caller's, by free(). ASSENT_E_NOT_FOUND, ASSENT_E_UNAVAILABLE. Always safe. */
ASSENT_API ASSENT_CHECKED int assent_client_inspect(struct assent_client *client, const char *what,
                                                    const char *argument, const char *participant,
                                                    uint32_t limit, char **ret_json);

/* What a person orders by hand (docs/operating.md): ASSENT_ACTION_COMMIT or ABORT decides what is
 * undecided, ACKNOWLEDGE says that somebody has seen to a mixed outcome or a hazard, ACCEPT (gtrid
 * NULL) that a restored log is to be believed. Kept in the coordinator's log with who and reason
 * (both needed), on disk at return. ASSENT_E_STATE: not in this state, a decision stands;
 * ASSENT_E_REFUSED: only with force; ASSENT_E_NOT_FOUND. */
ASSENT_API ASSENT_CHECKED int assent_client_operate(struct assent_client *client,
                                                    enum assent_action action,
                                                    const struct assent_gtrid *gtrid,
                                                    const char *who, const char *reason, bool force,
                                                    struct assent_result *ret_result);

/*
 * The form for event loops. Submit as many as you like; each gets exactly one answer, from inside
 * assent_client_process(). Do not mix with blocking calls while requests are open.
 */
struct assent_answer {
    int error; /* 0 or ASSENT_E_*; after CLOSED or TIMEOUT result.outcome is UNKNOWN */
    const char *error_text;
    struct assent_result result; /* gtrid always, for requests that have one */
    const void *reply;           /* work: what the participant answered; valid in the callback */
    size_t reply_size;
    uint32_t branch; /* work, enlist */
};
typedef void assent_answered(const struct assent_answer *answer, void *context);

enum assent_request_kind {
    ASSENT_REQUEST_BEGIN,
    ASSENT_REQUEST_WORK,
    ASSENT_REQUEST_COMMIT,
    ASSENT_REQUEST_ROLLBACK,
    ASSENT_REQUEST_RUN,
    ASSENT_REQUEST_STATUS,
};

struct assent_request {
    size_t size; /* sizeof(struct assent_request) */
    enum assent_request_kind kind;
    const struct assent_begin_options *begin; /* BEGIN, RUN */
    const struct assent_gtrid *gtrid;         /* WORK, COMMIT, ROLLBACK, STATUS */
    const char *key;                          /* STATUS without gtrid */
    const struct assent_work *works;          /* WORK: one; RUN: work_count */
    size_t work_count;
    bool wait;
    uint32_t timeout_ms; /* 0: the client's request_ms */
};

/* Queues a request; everything it points to is copied. A callback may submit again, and call
 * nothing else of the client. 0, ASSENT_E_INVALID, ASSENT_E_TOO_BIG, ASSENT_E_NOMEM, ASSENT_E_LIMIT
 * (65536 open requests or 64 MiB unsent), ASSENT_E_CONNECT (not connected: call
 * assent_client_reconnect): then answered is not called. */
ASSENT_API ASSENT_CHECKED int assent_client_submit(struct assent_client *client,
                                                   const struct assent_request *request,
                                                   assent_answered *answered, void *context);
/* To poll: the descriptor (-1 when not connected), the poll(2) events wanted, and the longest wait
 * in ms (-1: none) before calling process although nothing happened. */
ASSENT_API int assent_client_fd(const struct assent_client *client);
ASSENT_API short assent_client_events(const struct assent_client *client);
ASSENT_API int assent_client_wait_ms(const struct assent_client *client);
/* Reads, writes, answers, and times out what is due; never blocks. 0, or ASSENT_E_CLOSED /
 * ASSENT_E_PROTOCOL after every open request was answered with it. */
ASSENT_API ASSENT_CHECKED int assent_client_process(struct assent_client *client);
/* Connects again if it is not connected; blocks up to connect_ms. Errors as of
 * assent_client_open(). */
ASSENT_API ASSENT_CHECKED int assent_client_reconnect(struct assent_client *client);

#ifdef __cplusplus
}
#endif
#endif
