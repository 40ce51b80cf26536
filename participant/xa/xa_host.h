/*
 * xa_host.h: what the files of assent-xa-host share: the helper process of the xa resource, where a
 * vendor's switch and a plug-in for work run, so that nothing they do can stop or crash an agent.
 *
 *   xa_host.c    start, the socket, and which thread does what
 *   xa_thread.c  a thread and its rmid: open, close, the queue; ax_reg and ax_unreg
 *   xa_branch.c  a branch in work: start, suspend, work, end, prepare, one-phase commit, rollback
 *   xa_finish.c  branches that are prepared or gone: commit, rollback, recover, evidence, forget
 *
 * Threads: the main thread reads requests and runs nothing of the vendor's after it has loaded the
 * libraries. A branch gets a thread at its first work and keeps it up to prepare or rollback, so
 * everything up to there happens on the thread that started it (TMNOMIGRATE or not), and no other
 * branch is in work there. What is prepared or unknown goes to the finishing thread; with one
 * thread only, that one suspends its own branch for it. One mutex guards the queues, the table of
 * branches and which thread belongs to whom; what happens to a branch belongs to its thread.
 */
#ifndef ASSENT_XA_HOST_H
#define ASSENT_XA_HOST_H

#include <pthread.h>
#include <sys/queue.h>

/* A table that cannot grow must fail one call, not end the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "assent/xa_work.h"
#include "xa_wire.h"

#define HOST_BRANCHES_MAX 100000u /* in work; and as many that were ended heuristically */
#define HOST_THREADS_MAX  64u

/* NEW -> STARTED <-> SUSPENDED -> ENDED: as the switch knows it. Dropped after prepare, one-phase
 * commit and rollback, whatever they answered, but for a prepare that has failed: that is rolled
 * back on the same thread. */
enum host_branch_state { HOST_NEW, HOST_STARTED, HOST_SUSPENDED, HOST_ENDED };

struct host_branch {
    struct assent_branch_id id;
    uint8_t name[ASSENT_BRANCH_ID_BYTES]; /* the id, encoded: its key here */
    XID xid;
    struct host_thread *thread; /* NULL: no work yet */
    enum host_branch_state state;
    bool wrote;  /* or may have */
    bool failed; /* can only roll back */
    char reason[ASSENT_REASON_MAX + 1];
    UT_hash_handle hh;
};

struct host_job {
    STAILQ_ENTRY(host_job) link;
    struct xa_request request;
    struct assent_branch_id id;
    struct host_branch *branch; /* NULL: not in work */
    uint64_t deadline_ms;       /* work that waits for a thread */
    char body[];
};
STAILQ_HEAD(host_jobs, host_job);

struct host_answer {
    enum xa_source source;
    int code;
    char reason[ASSENT_REASON_MAX + 1];
    void *body; /* malloc'ed; NULL: the reason is the body */
    size_t body_size;
    bool drop; /* the branch is in work no longer */
};

struct host_thread {
    struct host *host;
    int rmid;
    pthread_t thread;
    pthread_cond_t wake;
    struct host_jobs queue;
    struct host_branch *branch; /* whose thread this is, under the mutex */
    /* Its own: */
    bool open;
    bool reopen;                 /* the switch has failed: close and open before the next use */
    void *state;                 /* the plug-in's */
    struct host_branch *working; /* the plug-in is at work in it: ax_reg registers it */
    bool outside;                /* ax_reg has registered local work */
};

/* A branch that was ended heuristically, and that the switch is to forget. */
struct host_heuristic {
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    UT_hash_handle hh;
};

struct host {
    struct xa_setup setup;
    const struct xa_switch_t *xa;
    const struct assent_xa_work *work;
    int fd;
    pthread_mutex_t send_mutex;
    pthread_mutex_t mutex; /* guards the rest */
    struct host_heuristic *heuristics;
    struct host_branch *branches;
    struct host_jobs waiting; /* work that waits for a thread */
    struct host_thread threads[HOST_THREADS_MAX + 1];
    uint32_t thread_count;
    struct host_thread *finisher; /* the last; with one thread, that one */
    bool stopping;
};

void host_answer(struct host_answer *answer, enum xa_source source, int code, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));

/* xa_host.c */
/* Sends it, and frees its body. */
void host_reply(struct host *host, uint64_t number, struct host_answer *answer);
/* Under the mutex. */
void host_branch_drop(struct host *host, struct host_branch *branch);

/* xa_thread.c */
void *host_thread_run(void *thread);
/* True: the switch is open for this thread; else why not. */
bool host_thread_open(struct host_thread *thread, struct host_answer *answer);
void host_thread_close(struct host_thread *thread);
/* After a commit that the switch says is done. False: it may not be on disk, and why. */
bool host_thread_sync(struct host_thread *thread, struct host_answer *answer);
/* After an answer of the switch: what says that it has failed asks for a reopen. */
void host_thread_note(struct host_thread *thread, int code);

/* xa_branch.c: on the branch's thread */
void host_branch_work(struct host_thread *thread, struct host_job *job, struct host_answer *answer);
void host_branch_prepare(struct host_thread *thread, struct host_branch *branch, bool one_phase,
                         struct host_answer *answer);
void host_branch_rollback(struct host_thread *thread, struct host_branch *branch,
                          struct host_answer *answer);
/* Makes room for another branch on this thread. */
void host_branch_suspend(struct host_thread *thread, struct host_branch *branch);

/* xa_finish.c: on the finishing thread, but for the first */
/* What was ended alone is forgotten later. */
void host_heuristic_note(struct host *host, const uint8_t name[ASSENT_BRANCH_ID_BYTES], int code);
void host_finish(struct host_thread *thread, const struct host_job *job,
                 struct host_answer *answer);
void host_recover(struct host_thread *thread, struct host_answer *answer);

#endif
