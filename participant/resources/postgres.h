/*
 * postgres.h: what the files of the PostgreSQL resource share; private to them.
 *
 *   postgres.c            the table of operations, open and close, recover, ping, query
 *   postgres_preflight.c  what a server must have, what is warned of, the marker table
 *   postgres_pool.c       connections, and their answers with a deadline
 *   postgres_branch.c     the branches in work, and their ids as PostgreSQL knows them
 *   postgres_statement.c  parses work into statements
 *   postgres_work.c       runs statements inside a branch, rows to JSON
 *   postgres_batch.c      prepare, commit, rollback, forget, evidence: many branches at once
 *
 * A branch in work is one open transaction in one session of the pool. Prepare inserts the branch's
 * marker in that transaction and turns it into a prepared one; from then on nothing is remembered
 * here, and PostgreSQL's own list is the truth.
 *
 * The marker table is a write-once register for each branch, kept by its primary key: the branch
 * itself writes that it committed, in its own transaction; evidence writes that it did not. Whoever
 * comes second fails. So a session that is cut off from us and still preparing, or still committing
 * in one phase, cannot succeed once evidence has called its branch aborted.
 *
 * Threads: calls for one branch never overlap, so a branch and its connection belong to the thread
 * that calls for it.
 */
#ifndef ASSENT_POSTGRES_H
#define ASSENT_POSTGRES_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

#include <libpq-fe.h>

/* A table that cannot grow must fail one call, not end the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "assent/participant.h"
#include "gtrid.h"

#define POSTGRES_BRANCHES_MAX    100000u
#define POSTGRES_STATEMENTS_MAX  10000u /* of one piece of work */
#define POSTGRES_PARAMS_MAX      1000u  /* of one statement */
#define POSTGRES_ROWS_MAX        10000u /* of one piece of work */
#define POSTGRES_REPLY_BYTES_MAX (512u << 10)
#define POSTGRES_LANES           4u /* sessions that finish branches side by side */
#define POSTGRES_SWEEP_FORGETS   1024u
#define POSTGRES_FINISH_MS       30000 /* longest wait for an answer to what is not work */
/* A branch id as the text of a bytea, with the NUL. */
#define POSTGRES_NAME_BYTES (2 + 2 * ASSENT_BRANCH_ID_BYTES + 1)

struct postgres_conn {
    PGconn *link; /* does not block, always in pipeline mode */
    bool used;    /* a branch has run here: its settings are discarded before the next */
    bool broken;  /* nothing that it says counts any more */
    SLIST_ENTRY(postgres_conn) idle;
};

/* begin -> work: a session with an open transaction -> prepare, one-phase commit or rollback: gone.
 * A branch that has failed can only roll back; if its session is lost too, the server has rolled it
 * back or will, since neither PREPARE nor COMMIT was ever sent. */
struct postgres_branch {
    struct assent_branch_id id;
    uint8_t name[ASSENT_BRANCH_ID_BYTES]; /* the id, encoded: its key here */
    struct postgres_conn *conn;           /* NULL: no work yet, or the session is lost */
    bool read_only;                       /* not a branch: a query */
    bool wrote;                           /* PostgreSQL has given it a transaction id */
    bool failed;
    char reason[ASSENT_REASON_MAX + 1];
    UT_hash_handle hh;
};

struct postgres {
    char *conninfo;
    uint64_t connections_max; /* of branches in work */
    void (*report)(void *context, bool warning, const char *text);
    void *report_context;
    pthread_mutex_t mutex; /* guards the next three */
    struct postgres_branch *branches;
    SLIST_HEAD(, postgres_conn) idle;
    size_t open_count; /* connections of the pool, idle or in work */
    pthread_cond_t returned;
    pthread_mutex_t lanes_mutex; /* one batch at a time; guards the rest */
    struct postgres_conn *lanes[POSTGRES_LANES];
    bool ready;     /* the server behind the lanes has passed the preflight */
    size_t unswept; /* forgets since the last sweep of the marker table */
};

/* How a row of statements up to a sync has ended. */
struct postgres_outcome {
    enum { POSTGRES_DONE, POSTGRES_REFUSED, POSTGRES_LOST } kind;
    char sqlstate[6];                 /* REFUSED: of the first error */
    char text[ASSENT_REASON_MAX + 1]; /* REFUSED: "SQLSTATE: message"; LOST: why */
    char tag[32];                     /* DONE: what the last statement says it did */
    char value[64];                   /* first column of the last row, "" without one */
};

/* Fills result and reason; control bytes become '?', the end is cut before a character. */
void postgres_answer(struct assent_call *call, enum assent_rm_result result, const char *format,
                     ...) __attribute__((format(printf, 3, 4)));

/* postgres_branch.c */
struct postgres_branch *postgres_branch_find(struct postgres *pg,
                                             const struct assent_branch_id *id);
/* 0, ASSENT_E_LIMIT, ASSENT_E_NOMEM. */
ASSENT_CHECKED int postgres_branch_add(struct postgres *pg, const struct assent_branch_id *id);
/* Takes it out and frees it; gives its connection back. */
void postgres_branch_drop(struct postgres *pg, struct postgres_branch *branch);
/* From now on it can only roll back. */
void postgres_branch_fail(struct postgres *pg, struct postgres_branch *branch, const char *reason);
/* The branch as the marker table knows it, as the text of a bytea. */
void postgres_name_format(const struct assent_branch_id *id, char name[POSTGRES_NAME_BYTES]);

/* postgres_pool.c */
/* A session for a branch: an idle one or a new one, or the first that is given back within
 * timeout_ms. 0; ASSENT_E_LIMIT, ASSENT_E_UNAVAILABLE, ASSENT_E_NOMEM with a sentence in reason. */
ASSENT_CHECKED int postgres_take(struct postgres *pg, uint32_t timeout_ms,
                                 struct postgres_conn **ret_conn,
                                 char reason[ASSENT_REASON_MAX + 1]);
/* Ends the session unless it is whole and outside of a transaction. */
void postgres_give_back(struct postgres *pg, struct postgres_conn *conn);
ASSENT_CHECKED int postgres_connect(struct postgres *pg, struct postgres_conn **ret_conn,
                                    char reason[ASSENT_REASON_MAX + 1]);
/* NULL is allowed. */
void postgres_disconnect(struct postgres_conn *conn);
/* False: the other side has ended the session while nobody looked. */
bool postgres_alive(struct postgres_conn *conn);
/* The next two queue; what cannot be queued breaks the connection, and collecting says so. */
void postgres_send(struct postgres_conn *conn, const char *sql, int count,
                   const char *const *values);
void postgres_sync(struct postgres_conn *conn);
/* The next result, or NULL at the end of a statement's. 0, or ASSENT_E_TIMEOUT. */
ASSENT_CHECKED int postgres_result(struct postgres_conn *conn, uint64_t deadline_ms,
                                   PGresult **ret_result);
/* Takes the results of all that was sent up to the next sync. */
void postgres_collect(struct postgres_conn *conn, uint64_t deadline_ms,
                      struct postgres_outcome *ret_outcome);
/* Says that there is no answer to be had from it any more. */
void postgres_lose(struct postgres_conn *conn, const char *why,
                   struct postgres_outcome *ret_outcome);
/* An error into the outcome; the first one stands. */
void postgres_note_error(struct postgres_conn *conn, const PGresult *result,
                         struct postgres_outcome *outcome);
/* The words of a command tag without its numbers: "INSERT 0 1" is INSERT. */
void postgres_tag(const PGresult *result, char tag[32]);

/* postgres_preflight.c */
/* Asks the server whether it can be used; makes the marker table if need be and allowed. 0, or
 * ASSENT_E_* and what to do about it in reason. */
ASSENT_CHECKED int postgres_preflight(struct postgres *pg, struct postgres_conn *conn,
                                      char reason[ASSENT_REASON_MAX + 1]);

/* postgres_statement.c */
struct postgres_statement {
    const char *sql;
    char **values; /* NULL in it: null */
    size_t value_count;
    long long rows_wanted; /* -1: any number */
};
struct postgres_statements {
    struct postgres_statement *statements;
    size_t count;
    char *text; /* holds the sql */
};
/* 0, or ASSENT_E_INVALID, ASSENT_E_NOMEM with a sentence in reason. */
ASSENT_CHECKED int postgres_statements_parse(const void *work, size_t size,
                                             struct postgres_statements *ret_statements,
                                             char reason[ASSENT_REASON_MAX + 1]);
void postgres_statements_free(struct postgres_statements *statements);

/* postgres_work.c */
void postgres_work(struct postgres *pg, struct postgres_branch *branch, struct assent_call *call);

/* postgres_batch.c */
void postgres_batch(struct postgres *pg, struct assent_call **calls, size_t count);
void postgres_evidence(struct postgres *pg, struct assent_call *call);
/* Under lanes_mutex: lanes that can be used, at least one and at most `wanted` in ret_count.
 * 0, or ASSENT_E_* with a sentence in reason. */
ASSENT_CHECKED int postgres_lanes(struct postgres *pg, size_t wanted, size_t *ret_count,
                                  char reason[ASSENT_REASON_MAX + 1]);

#endif
