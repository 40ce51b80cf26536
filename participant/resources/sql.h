/*
 * sql.h: what resources over SQL databases share; private to them. A database's own files say how
 * its server is spoken to (struct sql_driver); everything that would be the same is here:
 *
 *   sql_resource.c   begin, work, evidence, recover, ping and query as operations of a resource
 *   sql_finish.c     prepare, commit, rollback, forget
 *   sql_branch.c     the branches in work, and their names in a marker table
 *   sql_marker.c     lists markers
 *   sql_pool.c       sessions: for branches in work, and for what ends branches
 *   sql_statement.c  parses work into statements
 *   sql_reply.c      rows and counts as JSON, within bounds
 *
 * A branch in work is one open transaction in one session of the pool for work. Once prepared,
 * nothing is remembered here: the server's own list is the truth. Prepared branches are ended in
 * sessions of a pool of their own, one for each finishing thread: they must not wait for work,
 * which may wait for the lock of such a branch.
 *
 * Threads: calls for one branch never overlap, so a branch and its session belong to the thread
 * that calls for it. A session of a pool belongs to whoever has taken it.
 */
#ifndef ASSENT_SQL_H
#define ASSENT_SQL_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

/* A table that cannot grow must fail one call, not end the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include <jansson.h>

#include "assent/participant.h"
#include "gtrid.h"

#define SQL_BRANCHES_MAX    100000u
#define SQL_STATEMENTS_MAX  10000u /* of one piece of work */
#define SQL_PARAMS_MAX      1000u  /* of one statement */
#define SQL_ROWS_MAX        10000u /* of one piece of work */
#define SQL_REPLY_BYTES_MAX (512u << 10)
#define SQL_CONNECTIONS     20 /* of branches in work, unless said otherwise; at most */
#define SQL_CONNECTIONS_MAX 1000
#define SQL_FINISHERS       16u /* threads, and sessions, that end branches side by side */
#define SQL_SWEEP_FORGETS   1024u
#define SQL_FINISH_MS       30000 /* longest wait for an answer to what is not work */
#define SQL_REPLY_GRACE_MS  2000  /* on top of work's time-out: the server's own speaks first */
#define SQL_NAME_HEX_BYTES  (2 * ASSENT_BRANCH_ID_BYTES + 1) /* a branch's name, with the NUL */

struct sql_database;

struct sql_pool {
    uint64_t most;     /* sessions */
    size_t open_count; /* idle or taken */
    SLIST_HEAD(, sql_session) idle;
    pthread_cond_t returned;
};

/* The first member of a driver's own session. */
struct sql_session {
    struct sql_pool *pool;
    bool broken; /* nothing that it says counts any more */
    SLIST_ENTRY(sql_session) idle;
};

/* begin -> work: a session with an open transaction -> prepare, one-phase commit or rollback: gone.
 * A branch that has failed can only roll back; if its session is gone too, the server has rolled it
 * back or will, since nothing that could commit it was ever sent: a branch is dropped as soon as
 * that may not be so. */
struct sql_branch {
    struct assent_branch_id id;
    uint8_t name[ASSENT_BRANCH_ID_BYTES]; /* the id, encoded: its key here */
    struct sql_session *session;          /* NULL: no work yet, or the session is gone */
    bool read_only;                       /* not a branch: a query */
    bool wrote;                           /* or may have */
    bool failed;
    bool ended; /* together with its work: the end has an answer, which that call will ask for */
    enum assent_operation end;    /* ended: PREPARE or ONE_PHASE ... */
    enum assent_rm_result result; /* ... and how */
    char reason[ASSENT_REASON_MAX + 1];
    UT_hash_handle hh;
};

/* How one kind of server is spoken to. Each fills result and reason of the calls it is given. */
struct sql_driver {
    const char *type;
    /* For work that mostly may take so long; 0: not for work. */
    int (*connect)(struct sql_database *db, uint32_t work_timeout_ms,
                   struct sql_session **ret_session, char reason[ASSENT_REASON_MAX + 1]);
    void (*disconnect)(struct sql_session *session);
    /* False: the other side has ended the session while nobody looked, or it holds what a branch
     * has left there; without `wait` also if that cannot be told yet. */
    bool (*alive)(struct sql_session *session, bool wait);
    /* In no transaction, or about to be: may be given back. */
    bool (*idle)(struct sql_session *session);
    /* Looks at the server before anything is entrusted to it. */
    int (*preflight)(struct sql_database *db, struct sql_session *session,
                     char reason[ASSENT_REASON_MAX + 1]);
    /* Takes a session for the branch if it has none. May end the branch as well, as call->next
     * says, and then fills `ended`, or drops it if nobody can tell how. */
    void (*work)(struct sql_database *db, struct sql_branch *branch, struct assent_call *call);
    /* The next two are NULL if nothing goes on later: begin what work does for a branch without a
     * session, and what end_elsewhere does, without waiting. False: that cannot be. */
    bool (*work_later)(struct sql_database *db, struct sql_branch *branch,
                       struct assent_call *call);
    bool (*end_later)(struct sql_database *db, struct assent_call *call);
    /* Rolls back what a query did. */
    void (*end_query)(struct sql_session *session);
    /* What an application runs that works on a connection of its own: as malloc'ed JSON, what comes
     * before its statements and what after them. */
    int (*own)(struct sql_database *db, const struct assent_branch_id *id, char **ret_json);
    /* Ends a branch in its own session (PREPARE, ONE_PHASE, ROLLBACK). The branch is dropped
     * afterwards: whatever is left of it must end with the session. */
    void (*end_active)(struct sql_database *db, struct sql_branch *branch, struct assent_call *call,
                       uint64_t deadline_ms);
    /* Asks after a prepared branch (PREPARE) or ends it (COMMIT, ROLLBACK). */
    void (*end_elsewhere)(struct sql_database *db, struct sql_session *session,
                          struct assent_call *call, uint64_t deadline_ms);
    /* Deletes the markers of these branches; with `sweep` also those that sql_sweep_bounds of the
     * last of them names. 0, or ASSENT_E_* with a sentence in reason. */
    int (*forget)(struct sql_session *session, const struct assent_branch_id *ids, size_t count,
                  bool sweep, char reason[ASSENT_REASON_MAX + 1]);
    void (*evidence)(struct sql_database *db, struct sql_session *session,
                     struct assent_call *call);
    int (*recover)(struct sql_database *db, struct sql_session *session,
                   void (*found)(const struct assent_branch_id *id, void *context), void *context);
    int (*ping)(struct sql_session *session, char reason[ASSENT_REASON_MAX + 1]);
    /* Writes a query: names in hex of committed branches, greater than `after`, in their order. */
    void (*list_markers)(const char *after, size_t limit, char *sql, size_t size);
};

/* The first member of a driver's own resource. */
struct sql_database {
    const struct sql_driver *driver;
    void (*report)(void *context, bool warning, const char *text);
    void *report_context;
    pthread_mutex_t mutex; /* guards the rest */
    struct sql_branch *branches;
    struct sql_pool workers;         /* for branches in work */
    struct sql_pool finishers;       /* for what ends branches, and for questions */
    bool ready;                      /* the server behind the finishers has passed the preflight */
    size_t unswept;                  /* forgets since the last sweep of the marker table */
    pthread_mutex_t preflight_mutex; /* one at a time; never under mutex */
};

/* sql_resource.c */
void sql_init(struct sql_database *db, const struct sql_driver *driver,
              const struct assent_resource_environment *environment);
/* Branches in work roll back with their sessions. */
void sql_fini(struct sql_database *db);
/* The preflight, as part of open. */
ASSENT_CHECKED int sql_open(struct sql_database *db, char *error, size_t error_size);
void sql_report(const struct sql_database *db, bool warning, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Fills result and reason; control bytes become '?', the end is cut before a character. */
void sql_answer(struct assent_call *call, enum assent_rm_result result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* As operations of a resource whose first member is a struct sql_database. */
void sql_begin(void *resource, struct assent_call *call);
void sql_work(void *resource, struct assent_call *call);
void sql_evidence(void *resource, struct assent_call *call);
int sql_recover(void *resource, void (*found)(const struct assent_branch_id *id, void *context),
                void *context);
int sql_ping(void *resource, char *error, size_t error_size);
int sql_check(void *resource, char *error, size_t error_size);
int sql_query(void *resource, const char *command, char **ret_json, char *error, size_t error_size);

/* sql_marker.c */
int sql_markers(void *resource, const struct assent_branch_id *after, size_t limit,
                void (*found)(const struct assent_branch_id *id, void *context), void *context);

/* sql_finish.c: the same. The call says which: prepare, commit, one-phase commit or rollback. */
void sql_finish(void *resource, struct assent_call *call);
void sql_forget(void *resource, struct assent_call *call);
void sql_batch(void *resource, struct assent_call **calls, size_t count);

/* sql_branch.c */
struct sql_branch *sql_branch_find(struct sql_database *db, const struct assent_branch_id *id);
/* 0, ASSENT_E_LIMIT, ASSENT_E_NOMEM. */
ASSENT_CHECKED int sql_branch_add(struct sql_database *db, const struct assent_branch_id *id);
/* Takes it out and frees it; gives its session back. */
void sql_branch_drop(struct sql_database *db, struct sql_branch *branch);
/* From now on it can only roll back. */
void sql_branch_fail(struct sql_database *db, struct sql_branch *branch, const char *reason);
void sql_hex(const uint8_t *bytes, size_t size, char *text);
/* Digits in lower case; false and nothing written for anything else. */
ASSENT_CHECKED bool sql_unhex(const char *text, uint8_t *ret_bytes, size_t size);
/* The branch as a marker table knows it, in hex. */
void sql_name_hex(const struct assent_branch_id *id, char hex[SQL_NAME_HEX_BYTES]);
/* What is forgotten has nothing but ended transactions of its log before it. In hex: the name's
 * first 16 bytes are the log, and eight from byte 24 on are incarnation and sequence. */
void sql_sweep_bounds(const struct assent_branch_id *id, char log_id[2 * ASSENT_LOG_ID_BYTES + 1],
                      char order[2 * 8 + 1]);

/* sql_pool.c */
void sql_pool_init(struct sql_pool *pool, uint64_t most);
void sql_pool_fini(struct sql_database *db, struct sql_pool *pool);
/* A session for a branch: an idle one or a new one, or the first that is given back within
 * timeout_ms. 0; ASSENT_E_LIMIT, ASSENT_E_UNAVAILABLE, ASSENT_E_NOMEM with a sentence in reason. */
ASSENT_CHECKED int sql_take_worker(struct sql_database *db, uint32_t timeout_ms,
                                   struct sql_session **ret_session,
                                   char reason[ASSENT_REASON_MAX + 1]);
/* The same, of a server that has passed the preflight; there is one for each finishing thread. */
ASSENT_CHECKED int sql_take_finisher(struct sql_database *db, struct sql_session **ret_session,
                                     char reason[ASSENT_REASON_MAX + 1]);
/* One that is idle, or NULL; without waiting. */
struct sql_session *sql_take_idle(struct sql_database *db, struct sql_pool *pool);
/* Ends the session unless it is whole and outside of a transaction. */
void sql_give_back(struct sql_database *db, struct sql_session *session);

/* sql_statement.c */
struct sql_statement {
    const char *sql;
    char **values; /* NULL in it: null */
    bool *bare;    /* a number, true or false: could stand in SQL as it is */
    size_t value_count;
    long long rows_wanted; /* -1: any number */
};
struct sql_statements {
    struct sql_statement *statements;
    size_t count;
    char *text; /* holds the sql */
};
/* `check` refuses what is not for the work of a branch: ASSENT_E_INVALID with a sentence.
 * 0, or ASSENT_E_INVALID, ASSENT_E_NOMEM with a sentence in reason. */
ASSENT_CHECKED int sql_statements_parse(const void *work, size_t size,
                                        int (*check)(const char *sql, size_t number, char *reason),
                                        struct sql_statements *ret_statements,
                                        char reason[ASSENT_REASON_MAX + 1]);
void sql_statements_free(struct sql_statements *statements);

/* sql_reply.c: {"results":[{"columns":[...],"rows":[[...],...],"command":"SELECT","count":N},
 * {"command":"UPDATE","count":N}]}: integers and booleans as such, null as null, else text. */
struct sql_reply {
    json_t *results, *current;
    size_t number; /* of the current statement, from 1 */
    size_t row_count, bytes;
    char reason[ASSENT_REASON_MAX + 1]; /* of the first failure; "": none */
};
struct sql_cell {
    enum { SQL_NULL, SQL_TEXT, SQL_INTEGER, SQL_BOOLEAN } kind;
    const char *text; /* BOOLEAN: begins with t or f */
    size_t size;
};
void sql_reply_init(struct sql_reply *reply);
void sql_reply_fini(struct sql_reply *reply);
/* The first failure stands. */
void sql_reply_fail(struct sql_reply *reply, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void sql_reply_statement(struct sql_reply *reply, size_t number);
bool sql_reply_has_columns(const struct sql_reply *reply);
/* Once before the columns, even if there are none. */
void sql_reply_table(struct sql_reply *reply);
void sql_reply_column(struct sql_reply *reply, const char *name);
/* False: too much; whatever is still to come is not to be read. */
ASSENT_CHECKED bool sql_reply_row(struct sql_reply *reply, const struct sql_cell *cells,
                                  size_t count);
/* count -1: the statement has none. */
void sql_reply_end(struct sql_reply *reply, const char *command, long long count,
                   long long rows_wanted);
/* Hands the reply to the call; fails for want of memory. */
void sql_reply_give(struct sql_reply *reply, struct assent_call *call);

#endif
