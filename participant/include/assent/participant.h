/*
 * assent/participant.h: make a program a participant.
 *
 * A participant runs an agent inside this process: it dials the coordinators, votes and obeys for
 * the resources it is given, and recovers them after a crash. A resource is one table of
 * operations over a resource manager (RM). Caveats first:
 *   - Operations may block: they run on worker threads, and on the agent's own thread only if the
 *     resource declares ASSENT_CAP_TRY, with no_wait set. Calls for one branch never overlap; calls
 *     for different branches do.
 *   - Every operation must be idempotent per branch: it may be repeated after a crash or a lost
 *     reply.
 *   - Report, do not interpret: say what the RM said (enum assent_rm_result). What it means for the
 *     transaction is decided in one place, inside Assent. Anything unclear is UNAVAILABLE or
 *     UNKNOWN_CODE, never OK.
 *   - After prepare returned OK the branch must survive kill -9 and be listed by recover.
 */
#ifndef ASSENT_PARTICIPANT_H
#define ASSENT_PARTICIPANT_H

#include <stddef.h>

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a resource can do; declared, never guessed from missing functions. */
enum assent_capabilities {
    /* recover lists every branch whose prepare returned OK, so that Assent makes no second forced
     * write for a vote under 2PC. */
    ASSENT_CAP_PREPARED_LIST = 1,
    /* evidence answers from a marker written inside the branch's own local transaction. */
    ASSENT_CAP_EVIDENCE = 2,
    /* commit with one_phase set does work, prepare and commit at once. */
    ASSENT_CAP_ONE_PHASE = 4,
    /* batch is called for groups of prepare, commit, rollback and forget. */
    ASSENT_CAP_BATCH = 8,
    /* The resource keeps nothing: a crash loses branches, by declaration (for measuring only). */
    ASSENT_CAP_VOLATILE = 16,
    /* Calls come first with no_wait set, on the agent's own loop: what can be done in memory at
     * once is spared the way to a thread and back. */
    ASSENT_CAP_TRY = 32,
    /* With ASSENT_CAP_TRY: a call with no_wait may be under way afterwards, without a thread:
     * descriptor and progress are there. */
    ASSENT_CAP_LATER = 64,
};

enum assent_operation {
    ASSENT_OP_WORK,
    ASSENT_OP_PREPARE,
    ASSENT_OP_COMMIT,
    ASSENT_OP_ROLLBACK,
    ASSENT_OP_ONE_PHASE, /* commit without a prepare */
    ASSENT_OP_EVIDENCE,
    ASSENT_OP_FORGET,
    ASSENT_OP_COUNT
};

/* One call for one branch. Storage belongs to the agent and is valid during the call only. */
struct assent_call {
    enum assent_operation operation;
    struct assent_branch_id
        id;           /* to be taken as it is, all of it: its parts say more than a name */
    const void *work; /* WORK: what the application sent */
    size_t work_size;
    uint32_t timeout_ms; /* WORK: wait no longer than this, for example for a lock */
    /* ASSENT_CAP_TRY: do not wait for a lock, a disk or anybody. What cannot be done so sets
     * would_wait, does nothing, and is called again on a thread without no_wait. Not for evidence.
     */
    bool no_wait;
    bool no_reply; /* WORK: nobody will read a reply, so none need be made */
    /* WORK: what is called at once if this is OK, PREPARE or ONE_PHASE. It may be done together
     * with the work; the call that follows then answers how it ended. WORK: nothing is known. */
    enum assent_operation next;
    char traceparent[ASSENT_TRACEPARENT_MAX + 1]; /* the application's; "" if it is not known */
    /* Filled by the operation: */
    bool would_wait;
    bool later; /* no_wait and ASSENT_CAP_LATER: progress hands it out with its answer */
    enum assent_rm_result result;
    void *reply; /* WORK: malloc'ed, taken over by the agent; or NULL */
    size_t reply_size;
    char reason[ASSENT_REASON_MAX + 1]; /* readable, if the result is not OK; may stay empty */
};

struct assent_resource_environment {
    const char *name;           /* the resource's name at this participant */
    const char *parameters;     /* what follows "TYPE:", or "" */
    const char *data_directory; /* a directory of its own, created, for this resource's files */
    /* Tells people what the resource finds about its RM: a fact, or a risk that it names. May be
     * called by any operation, on any thread; NULL: nobody listens. */
    void (*report)(void *context, bool warning, const char *text);
    void *report_context;
};

struct assent_resource_ops {
    size_t size;      /* sizeof(struct assent_resource_ops) */
    const char *type; /* "kv" */
    uint32_t capabilities;

    /* Opens the RM. 0 and *ret_resource, or an ASSENT_E_* with a sentence in error: UNAVAILABLE or
     * TIMEOUT when the RM is not there, and open is called again later; any other refuses the
     * start of the agent. Any other operation gets that resource, and none is called before. */
    int (*open)(const struct assent_resource_environment *environment, void **ret_resource,
                char *error, size_t error_size);
    void (*close)(void *resource);

    /* Starts the branch's local transaction; before its first work. */
    void (*begin)(void *resource, struct assent_call *call);
    /* Runs work inside the branch. OK, FAILED (branch must be rolled back), REFUSED (it has been),
     * UNAVAILABLE. */
    void (*work)(void *resource, struct assent_call *call);
    /* Makes the branch durable and able to go either way. OK, READ_ONLY, REFUSED, FAILED,
     * NOT_FOUND, UNAVAILABLE. A repeat on a prepared branch answers OK. */
    void (*prepare)(void *resource, struct assent_call *call);
    /* Commits a prepared branch; with operation ONE_PHASE one that was not prepared. OK only when
     * it is durable; REFUSED (one phase): rolled back; NOT_FOUND; RETRY; UNAVAILABLE; HEUR_*. */
    void (*commit)(void *resource, struct assent_call *call);
    /* Rolls back a branch, active or prepared. OK, NOT_FOUND, RETRY, UNAVAILABLE, HEUR_*. */
    void (*rollback)(void *resource, struct assent_call *call);
    /* Says what became of a branch that the RM does not list: WAS_COMMITTED, WAS_ABORTED (it was
     * rolled back), VANISHED (it is in work here, and only its own session could commit it, which
     * is yours to end; or it is not there and cannot commit any more, and nobody knows why), OK (it
     * is still prepared), NOT_FOUND (no evidence), UNAVAILABLE. */
    void (*evidence)(void *resource, struct assent_call *call);
    /* Drops what is kept about a finished branch (marker, heuristic). OK or UNAVAILABLE. Called
     * when its coordinator has said that this transaction, and all that it began before (by
     * incarnation and sequence), have ended everywhere. */
    void (*forget)(void *resource, struct assent_call *call);
    /* Does several calls at once, each as above, filling each result (ASSENT_CAP_BATCH). */
    void (*batch)(void *resource, struct assent_call **calls, size_t count);
    /* Lists prepared branches: calls found for each. 0, or an error: the list is then not known,
     * and no branch counts as absent. */
    int (*recover)(void *resource, void (*found)(const struct assent_branch_id *id, void *context),
                   void *context);
    /* 0 if the RM answers. */
    int (*ping)(void *resource, char *error, size_t error_size);
    /* Reads committed data for people, outside any transaction: "get KEY", "dump". *ret_json is
     * malloc'ed JSON text. NULL if there is nothing to read. */
    int (*query)(void *resource, const char *command, char **ret_json, char *error,
                 size_t error_size);
    /* Looks anew at all that open looks at, and reports each finding. 0, or an ASSENT_E_* with a
     * sentence in error: open would refuse it now. NULL: ping must do. */
    int (*check)(void *resource, char *error, size_t error_size);
    /* Lists the proofs of commit that evidence answers from: calls found for each, in the order of
     * log id, gtrid and branch number as bytes, for at most `limit` of those that follow `after`
     * (NULL: from the first). Only reads. 0, or an error: the list is then not known. NULL: there
     * is nothing to list. */
    int (*markers)(void *resource, const struct assent_branch_id *after, size_t limit,
                   void (*found)(const struct assent_branch_id *id, void *context), void *context);
    /* Threads that end branches side by side, so that the RM can group their syncs: prepare,
     * commit, rollback and evidence are then called one by one, and batch for forget alone. 0 and
     * 1: one thread, and batch for all of them. At most ASSENT_FINISHERS_MAX. */
    uint32_t finishers;
    /* Readable when a call under way can go on (ASSENT_CAP_LATER); one and the same from open to
     * close. */
    int (*descriptor)(void *resource);
    /* On the agent's own loop, when it is readable: goes on with what is under way, without
     * waiting, and hands out each call that is answered. Only then may that be called anew. */
    void (*progress)(void *resource, void (*answered)(struct assent_call *call, void *context),
                     void *context);
};

/* A table that was built against an older header is shorter. */
static inline bool assent_resource_can_check(const struct assent_resource_ops *ops)
{
    return ops->size > offsetof(struct assent_resource_ops, check) && ops->check != NULL;
}

static inline bool assent_resource_has_markers(const struct assent_resource_ops *ops)
{
    return ops->size > offsetof(struct assent_resource_ops, markers) && ops->markers != NULL;
}

static inline uint32_t assent_resource_finishers(const struct assent_resource_ops *ops)
{
    uint32_t wanted =
        ops->size > offsetof(struct assent_resource_ops, finishers) ? ops->finishers : 0;

    return wanted > ASSENT_FINISHERS_MAX ? ASSENT_FINISHERS_MAX : wanted > 0 ? wanted : 1;
}

struct assent_participant_resource {
    const char *name; /* 1 to ASSENT_NAME_MAX of [A-Za-z0-9_.-] */
    const struct assent_resource_ops *ops;
    const char *parameters; /* may be NULL */
};

struct assent_participant_options {
    size_t size;                     /* sizeof(struct assent_participant_options) */
    const char *name;                /* of this participant; unique at its coordinators */
    const char *const *coordinators; /* "host:port", ends with NULL */
    const char *data_directory;      /* the agent's own store; created if missing */
    const char *listen;              /* address for peers, "host:port"; NULL: 127.0.0.1:0. A fixed
                                      * port lets peers find it again after a restart */
    const char *cluster;             /* NULL: "default"; others are refused */
    const struct assent_participant_resource *resources;
    size_t resource_count; /* 1 to 16 */
    uint32_t workers; /* threads for work; 0: 8. Each resource has its own to finish, mostly one */
    uint64_t map_bytes;        /* of the agent's store; 0: 256 MiB */
    uint32_t heartbeat_ms;     /* 0: 2000 */
    uint64_t frame_bytes_max;  /* 0: 1 MiB */
    uint32_t inquire_ms;       /* in doubt this long: ask the coordinator; 0: 5000 */
    uint32_t retry_min_ms;     /* back-off of inquiries and of a failing resource; 0: 100 */
    uint32_t retry_max_ms;     /* 0: 30000 */
    uint32_t work_timeout_ms;  /* longest that work may wait, as for a lock; 0: 10000 */
    uint32_t in_doubt_warn_ms; /* warn of a branch in doubt this long, then ever later; 0: 30000 */
    uint32_t branches_max; /* branches in memory, finished ones included until their transaction has
                            * ended everywhere; beyond it new ones are voted down; 0: 1,000,000 */
    uint32_t stop_ms;      /* longest wait for calls under way and for output, at a stop; 0: 5000 */
    bool unsafe_storage;   /* allow data_directory on NFS, CIFS or tmpfs, which can lose votes */
    const char *announce;  /* address told to peers, if it is not that of listen; NULL: listen's */
    uint32_t recover_ms;   /* between scans of what the resources list as prepared; 0: 60000 */
};

struct assent_participant;

/* Opens the store and the resources and lists the prepared branches; no thread or connection yet.
 * A resource whose RM is not there is opened later, and votes no until then. 0, or ASSENT_E_* with
 * a sentence in error. Must follow any fork. */
ASSENT_API ASSENT_CHECKED int
assent_participant_new(const struct assent_participant_options *options,
                       struct assent_participant **ret_participant, char *error, size_t error_size);
/* Serves until stopped: 0 after assent_participant_stop; ASSENT_E_TIMEOUT if a resource has not
 * returned from a call by then (assent_participant_free would wait for it); other ASSENT_E_* if it
 * could not start. Blocks; one thread; installs no signal handler. A failed durable write ends the
 * process. */
ASSENT_API ASSENT_CHECKED int assent_participant_run(struct assent_participant *participant);
/* Ends run: work under way is rolled back, prepared branches stay for the next start. From any
 * thread or signal handler. */
ASSENT_API void assent_participant_stop(struct assent_participant *participant);
/* After run has returned. NULL is allowed. */
ASSENT_API void assent_participant_free(struct assent_participant *participant);

/* The resources that come with Assent, for programs that embed them. */
ASSENT_API extern const struct assent_resource_ops assent_resource_kv;
ASSENT_API extern const struct assent_resource_ops assent_resource_null;
/* Only in a build with libmariadb; see docs/mariadb.md. */
ASSENT_API extern const struct assent_resource_ops assent_resource_mariadb;
/* Only in a build with libpq; see docs/postgresql.md. */
ASSENT_API extern const struct assent_resource_ops assent_resource_postgres;
/* Only in a build with libcurl; see docs/http.md. */
ASSENT_API extern const struct assent_resource_ops assent_resource_http;
/* See docs/xa.md. */
ASSENT_API extern const struct assent_resource_ops assent_resource_xa;

#ifdef __cplusplus
}
#endif
#endif
