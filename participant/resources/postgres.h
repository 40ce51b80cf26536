/*
 * postgres.h: what the files of the PostgreSQL resource share; private to them. What every SQL
 * database needs is in sql.h.
 *
 *   postgres.c            the tables of operations, open and close, recover, ping
 *   postgres_preflight.c  what a server must have, what is warned of, the marker table
 *   postgres_session.c    connections, and their answers with a deadline
 *   postgres_statement.c  what is not for the work of a branch
 *   postgres_work.c       runs statements inside a branch
 *   postgres_finish.c     prepare, commit, rollback, forget, evidence
 *   postgres_later.c      calls that go on without a thread
 *   postgres_prepared.c   the transactions of prepared branches
 *
 * Prepare inserts the branch's marker in its transaction and turns it into a prepared one; from
 * then on PostgreSQL's own list is the truth.
 *
 * The marker table is a write-once register for each branch, kept by its primary key: the branch
 * itself writes that it committed, in its own transaction; evidence writes that it did not. Whoever
 * comes second fails. So a session that is cut off from us and still preparing, or still committing
 * in one phase, cannot succeed once evidence has called its branch aborted.
 */
#ifndef ASSENT_POSTGRES_H
#define ASSENT_POSTGRES_H

#include <libpq-fe.h>

#include "sql.h"

#define POSTGRES_OPTIONS_MAX 1023u
/* A branch id as the text of a bytea, with the NUL. */
#define POSTGRES_NAME_BYTES (2 + SQL_NAME_HEX_BYTES)
#define POSTGRES_DISCARD    "DISCARD ALL"

/* How a row of statements up to a sync has ended. */
struct postgres_outcome {
    enum { POSTGRES_DONE, POSTGRES_REFUSED, POSTGRES_LOST } kind;
    char sqlstate[6];                 /* REFUSED: of the first error */
    char text[ASSENT_REASON_MAX + 1]; /* REFUSED: "SQLSTATE: message"; LOST: why */
    char tag[32];                     /* DONE: what the last statement says it did */
    char value[64];                   /* first column of the last row, "" without one */
    bool ended;                       /* the transaction of a branch has: no error changes that,
                                       * but the session may still be lost */
    bool discarded;                   /* what the branch has left: not an answer to anything */
};

struct postgres_conn;

/* An exchange with the server: what was sent up to a sync, and the results as they come. */
struct postgres_exchange {
    struct postgres_conn *conn;
    uint64_t deadline_ms;
    /* Takes each result, and NULL at the end of a statement's. NULL: all go into the outcome. */
    void (*feed)(struct postgres_exchange *exchange, const PGresult *result);
    struct postgres_outcome outcome; /* LOST whatever feed does */
    bool done;
};

/* A call that goes on without a thread. */
struct postgres_later {
    struct postgres_exchange exchange;
    struct assent_call *call;
    /* All results are here: answers the call, unless told not to, and frees this. */
    void (*end)(struct postgres_later *later, bool answer);
    TAILQ_ENTRY(postgres_later) link;
};

struct postgres_conn {
    struct sql_session base;
    PGconn *link;                     /* does not block, always in pipeline mode */
    uint32_t timeout_ms;              /* of work, unless its branch says otherwise; 0: none */
    struct postgres_exchange discard; /* of what a branch has left ... */
    bool discarding;                  /* ... is not done yet, as far as is known here */
    bool watched;                     /* known to epoll */
    struct postgres_later *later;     /* whose exchange it is, if that is a call without a thread */
};

struct postgres_prepared {
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    uint64_t xid;
    UT_hash_handle hh;
};

struct postgres {
    struct sql_database base;
    char *conninfo;
    char options[POSTGRES_OPTIONS_MAX + 1]; /* the user's, from wherever libpq has them ... */
    bool options_known;                     /* ... once there has been a session */
    struct postgres_prepared *prepared;     /* under base.mutex */
    int epoll_fd, timer_fd;
    TAILQ_HEAD(, postgres_later) later; /* the loop's, as the next */
    bool ticking;
};

static inline struct postgres_conn *postgres_conn_of(struct sql_session *session)
{
    return (struct postgres_conn *)session;
}

static inline struct postgres *postgres_of(struct sql_database *db)
{
    return (struct postgres *)db;
}

/* postgres_prepared.c */
/* Notes the transaction of a prepared branch, once more if it is known; without memory it is not
 * known later. */
void postgres_prepared_note(struct postgres *pg, const struct assent_branch_id *id, uint64_t xid);
/* 0: not known. */
uint64_t postgres_prepared_xid(struct postgres *pg, const struct assent_branch_id *id);
/* id NULL: all of them. */
void postgres_prepared_drop(struct postgres *pg, const struct assent_branch_id *id);

/* postgres_session.c */
int postgres_connect(struct sql_database *db, uint32_t work_timeout_ms,
                     struct sql_session **ret_session, char reason[ASSENT_REASON_MAX + 1]);
/* As PostgreSQL has them for work that may take so long; of the two a wait for a lock ends first,
 * and then says that it was one. */
void postgres_timeouts(uint32_t timeout_ms, unsigned *ret_statement_ms, unsigned *ret_lock_ms);
void postgres_disconnect(struct sql_session *session);
bool postgres_alive(struct sql_session *session, bool wait);
bool postgres_idle(struct sql_session *session);
/* The next two queue; what cannot be queued breaks the connection, and collecting says so. */
void postgres_send(struct postgres_conn *conn, const char *sql, int count,
                   const char *const *values);
void postgres_sync(struct postgres_conn *conn);
/* The next result, or NULL at the end of a statement's. 0, or ASSENT_E_TIMEOUT. */
ASSENT_CHECKED int postgres_result(struct postgres_conn *conn, uint64_t deadline_ms,
                                   PGresult **ret_result);
/* Takes results until the exchange is done; without `wait`, those that are here. */
void postgres_take(struct postgres_exchange *exchange, bool wait);
/* There is no answer to be had from it any more. */
void postgres_lose(struct postgres_exchange *exchange, const char *why);
/* A result into the exchange's outcome. */
void postgres_note(struct postgres_exchange *exchange, const PGresult *result);
/* The results of all that was sent up to the next sync. */
void postgres_collect(struct postgres_conn *conn, uint64_t deadline_ms,
                      struct postgres_outcome *ret_outcome);
/* The words of a command tag without its numbers: "INSERT 0 1" is INSERT. */
void postgres_tag(const PGresult *result, char tag[32]);

/* Sends what discards all that a branch has left in its session, if that has not gone out with what
 * ended the branch. */
void postgres_send_discard(struct postgres_conn *conn);

/* postgres_preflight.c */
/* Asks the server whether it can be used; makes the marker table if need be and allowed. 0, or
 * ASSENT_E_* and what to do about it in reason. */
int postgres_preflight(struct sql_database *db, struct sql_session *session,
                       char reason[ASSENT_REASON_MAX + 1]);

/* postgres_statement.c */
int postgres_statement_check(const char *sql, size_t number, char *reason);
/* It cannot but write, or change nothing; false: that is not known. */
bool postgres_statement_writes(const char *sql);

/* postgres_work.c */
void postgres_work(struct sql_database *db, struct sql_branch *branch, struct assent_call *call);
bool postgres_work_later(struct sql_database *db, struct sql_branch *branch,
                         struct assent_call *call);

/* postgres_finish.c */
/* The branch as the marker table knows it, as the text of a bytea. */
void postgres_name_format(const struct assent_branch_id *id, char name[POSTGRES_NAME_BYTES]);
/* Sends what ends a branch in its own session (PREPARE, ONE_PHASE, ROLLBACK), and discards what it
 * has left there. */
void postgres_send_end(const struct sql_branch *branch, enum assent_operation operation);
/* What the answer to that means: fills result and reason of the call. Whatever is left to be
 * discarded goes out. */
void postgres_answer_end(struct postgres *pg, const struct sql_branch *branch,
                         const struct postgres_outcome *outcome, struct assent_call *call);
/* Sends what ends a prepared branch in any session: COMMIT, ROLLBACK. */
void postgres_send_prepared(struct postgres_conn *conn, const struct assent_call *call);
void postgres_answer_prepared(struct postgres *pg, const struct postgres_outcome *outcome,
                              struct assent_call *call);
/* The rest are members of struct sql_driver. */
bool postgres_end_later(struct sql_database *db, struct assent_call *call);
void postgres_end_active(struct sql_database *db, struct sql_branch *branch,
                         struct assent_call *call, uint64_t deadline_ms);
void postgres_end_elsewhere(struct sql_database *db, struct sql_session *session,
                            struct assent_call *call, uint64_t deadline_ms);
int postgres_forget(struct sql_session *session, const struct assent_branch_id *ids, size_t count,
                    bool sweep, char reason[ASSENT_REASON_MAX + 1]);
void postgres_evidence(struct sql_database *db, struct sql_session *session,
                       struct assent_call *call);

/* postgres_later.c */
ASSENT_CHECKED int postgres_later_init(struct postgres *pg);
/* Nobody waits for an answer any more. */
void postgres_later_fini(struct postgres *pg);
/* An idle session that can be used without a thread, or NULL. */
struct postgres_conn *postgres_later_session(struct postgres *pg, struct sql_pool *pool);
/* All has been sent, as far as it could be without waiting. */
void postgres_later_begin(struct postgres *pg, struct postgres_later *later);
int postgres_descriptor(void *resource);
void postgres_progress(void *resource, void (*answered)(struct assent_call *call, void *context),
                       void *context);

#endif
