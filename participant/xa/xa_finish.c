/*
 * xa_finish.c: branches that are prepared, ended or unknown, on the finishing thread: see
 * xa_host.h. Deliberately nothing is concluded here from a switch that does not know a branch.
 */
#include "xa_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE         64
#define ONE_CALL_MAX 10000

/* --- the list --------------------------------------------------------------------------------- */

struct list {
    uint8_t *names; /* of ours, encoded, one after the other */
    size_t count, capacity, seen;
};

static bool list_add(struct list *list, const struct assent_branch_id *id)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : PAGE;
        uint8_t *names = realloc(list->names, capacity * ASSENT_BRANCH_ID_BYTES);

        if (names == NULL)
            return false;
        list->names = names;
        list->capacity = capacity;
    }
    assent_branch_id_encode(id, list->names + ASSENT_BRANCH_ID_BYTES * list->count++);
    return true;
}

/* False: this cannot be a list, and why. */
static bool list_page(struct host *host, struct list *list, const XID *xids, int count,
                      struct host_answer *answer)
{
    bool quirk = (host->setup.quirks & XA_QUIRK_ZEROED_XID) != 0;
    struct assent_branch_id id;

    list->seen += (size_t)count;
    if (list->seen > XA_RECOVER_MAX) {
        host_answer(answer, XA_BY_HELPER, ASSENT_RM_UNAVAILABLE, "xa_recover lists over %u XIDs",
                    XA_RECOVER_MAX);
        return false;
    }
    for (int i = 0; i < count; i++) {
        bool zeroed = xa_xid_zeroed(&xids[i]);

        if (zeroed && !quirk) {
            host_answer(answer, XA_BY_HELPER, ASSENT_RM_UNAVAILABLE,
                        "xa_recover lists an XID without format and lengths, whose branch cannot "
                        "be told: see quirks=recover-zeroed-xid");
            return false;
        }
        if (xa_xid_parse(&xids[i], zeroed, &id) && !list_add(list, &id)) {
            host_answer(answer, XA_BY_HELPER, ASSENT_RM_UNAVAILABLE, "out of memory");
            return false;
        }
    }
    return true;
}

/* One call: the number of XIDs, or -1 and why. */
static int list_call(struct host_thread *thread, struct list *list, XID *xids, int count,
                     long flags, struct host_answer *answer)
{
    int n = thread->host->xa->xa_recover_entry(xids, count, thread->rmid, flags);

    if (n < 0) {
        host_thread_note(thread, n);
        host_answer(answer, XA_BY_RECOVER, n, "xa_recover");
        return -1;
    }
    if (n > count) {
        host_answer(answer, XA_BY_HELPER, ASSENT_RM_UNAVAILABLE,
                    "xa_recover answers %d XIDs where %d were asked for", n, count);
        return -1;
    }
    return list_page(thread->host, list, xids, n, answer) ? n : -1;
}

/* Every XID that the switch lists, or false and why not. */
static bool list_all(struct host_thread *thread, struct list *list, struct host_answer *answer)
{
    bool at_once = thread->host->setup.recover_flags == XA_RECOVER_ONE_CALL;
    int asked = at_once ? ONE_CALL_MAX : PAGE, n;
    XID *xids = calloc((size_t)asked, sizeof(*xids));
    long flags = at_once ? TMSTARTRSCAN | TMENDRSCAN : TMSTARTRSCAN;

    if (xids == NULL) {
        host_answer(answer, XA_BY_HELPER, ASSENT_RM_UNAVAILABLE, "out of memory");
        return false;
    }
    do {
        memset(xids, 0, (size_t)asked * sizeof(*xids));
        n = list_call(thread, list, xids, asked, flags, answer);
        flags = TMNOFLAGS;
    } while (n == asked && !at_once);
    /* A short page may have ended the scan already, so an error here says nothing. */
    if (n >= 0 && thread->host->setup.recover_flags == XA_RECOVER_PAGED)
        (void)thread->host->xa->xa_recover_entry(xids, 0, thread->rmid, TMENDRSCAN);
    if (n == asked && at_once) {
        host_answer(answer, XA_BY_HELPER, ASSENT_RM_UNAVAILABLE,
                    "xa_recover lists %d XIDs or more in its one call", asked);
        n = -1;
    }
    free(xids);
    return n >= 0;
}

void host_recover(struct host_thread *thread, struct host_answer *answer)
{
    struct list list = {0};

    if (!list_all(thread, &list, answer)) {
        free(list.names);
        return;
    }
    host_answer(answer, XA_BY_HELPER, ASSENT_RM_OK, "%s", "");
    answer->body = list.names;
    answer->body_size = list.count * ASSENT_BRANCH_ID_BYTES;
}

/* 1: it is listed, 0: it is not, -1: nobody knows, and why. */
static int listed(struct host_thread *thread, const struct host_job *job,
                  struct host_answer *answer)
{
    struct list list = {0};
    int found = list_all(thread, &list, answer) ? 0 : -1;

    for (size_t i = 0; found == 0 && i < list.count; i++)
        found = memcmp(list.names + i * ASSENT_BRANCH_ID_BYTES, job->request.branch,
                       ASSENT_BRANCH_ID_BYTES) == 0;
    free(list.names);
    return found;
}

/* --- branches that were ended alone ----------------------------------------------------------- */

/* Under the mutex. */
static struct host_heuristic *heuristic_find(struct host *host,
                                             const uint8_t name[ASSENT_BRANCH_ID_BYTES])
{
    struct host_heuristic *heuristic;

    HASH_FIND(hh, host->heuristics, name, ASSENT_BRANCH_ID_BYTES, heuristic);
    return heuristic;
}

/* One that cannot be noted is listed by xa_recover, and so comes back. */
void host_heuristic_note(struct host *host, const uint8_t name[ASSENT_BRANCH_ID_BYTES], int code)
{
    struct host_heuristic *heuristic;

    if (code < XA_HEURMIX || code > XA_HEURHAZ)
        return;
    pthread_mutex_lock(&host->mutex);
    if (heuristic_find(host, name) == NULL && HASH_COUNT(host->heuristics) < HOST_BRANCHES_MAX &&
        (heuristic = calloc(1, sizeof(*heuristic))) != NULL) {
        memcpy(heuristic->name, name, sizeof(heuristic->name));
        HASH_ADD(hh, host->heuristics, name, sizeof(heuristic->name), heuristic);
        if (heuristic->hh.tbl == NULL)
            free(heuristic);
    }
    pthread_mutex_unlock(&host->mutex);
}

static bool heuristic_known(struct host *host, const struct host_job *job)
{
    bool known;

    pthread_mutex_lock(&host->mutex);
    known = heuristic_find(host, job->request.branch) != NULL;
    pthread_mutex_unlock(&host->mutex);
    return known;
}

static void heuristic_drop(struct host *host, const struct host_job *job)
{
    struct host_heuristic *heuristic;

    pthread_mutex_lock(&host->mutex);
    heuristic = heuristic_find(host, job->request.branch);
    HASH_DEL(host->heuristics, heuristic);
    pthread_mutex_unlock(&host->mutex);
    free(heuristic);
}

/* --- operations ------------------------------------------------------------------------------- */

static void end_prepared(struct host_thread *thread, const struct host_job *job,
                         struct host_answer *answer)
{
    const struct xa_switch_t *xa = thread->host->xa;
    const struct assent_xa_work *work = thread->host->work;
    bool commit = job->request.operation == ASSENT_OP_COMMIT;
    enum xa_source source = commit ? XA_BY_COMMIT : XA_BY_ROLLBACK;
    char reason[ASSENT_XA_REASON_BYTES] = "";
    struct assent_xa_branch name;
    XID xid;
    int code;

    xa_xid_make(&job->id, &xid);
    memcpy(&name, &xid, sizeof(name));
    code = commit ? xa->xa_commit_entry(&xid, thread->rmid, TMNOFLAGS)
                  : xa->xa_rollback_entry(&xid, thread->rmid, TMNOFLAGS);
    host_answer(answer, source, code, commit ? "xa_commit" : "xa_rollback");
    if (code == XAER_PROTO && (thread->host->setup.quirks & XA_QUIRK_END_BY_PLUGIN) != 0 &&
        work->end != NULL) {
        if (work->end(thread->state, &name, commit, &code, reason) == 0) {
            host_answer(answer, source, code, "end by the plug-in");
        } else {
            reason[sizeof(reason) - 1] = '\0';
            host_answer(answer, XA_BY_HELPER, ASSENT_RM_UNAVAILABLE, "%s", reason);
        }
    }
    if (commit && code == XA_OK)
        (void)host_thread_sync(thread, answer);
    host_thread_note(thread, code);
    host_heuristic_note(thread->host, job->request.branch, code);
}

static void prove(struct host_thread *thread, const struct host_job *job,
                  struct host_answer *answer)
{
    const struct assent_xa_work *work = thread->host->work;
    char reason[ASSENT_XA_REASON_BYTES] = "";
    struct assent_xa_branch name;
    bool committed = false;
    int found = listed(thread, job, answer);
    XID xid;

    if (found < 0)
        return;
    xa_xid_make(&job->id, &xid);
    memcpy(&name, &xid, sizeof(name));
    if (found > 0)
        host_answer(answer, XA_BY_HELPER, ASSENT_RM_OK, "%s", "");
    else if (work->evidence == NULL)
        host_answer(answer, XA_BY_HELPER, ASSENT_RM_NOT_FOUND,
                    "not listed, and the plug-in keeps no proof");
    else if (work->evidence(thread->state, &name, &committed, reason) != 0)
        host_answer(answer, XA_BY_HELPER, ASSENT_RM_UNAVAILABLE, "%.*s", ASSENT_XA_REASON_BYTES - 1,
                    reason);
    else
        host_answer(answer, XA_BY_HELPER,
                    committed ? ASSENT_RM_WAS_COMMITTED : ASSENT_RM_WAS_ABORTED, "%s", "");
}

/* The switch is asked only about what it has ended alone: some drop a prepared branch at that. */
static void forget(struct host_thread *thread, const struct host_job *job,
                   struct host_answer *answer)
{
    const struct assent_xa_work *work = thread->host->work;
    char reason[ASSENT_XA_REASON_BYTES] = "";
    struct assent_xa_branch name;
    XID xid;

    xa_xid_make(&job->id, &xid);
    memcpy(&name, &xid, sizeof(name));
    if (heuristic_known(thread->host, job)) {
        int code = thread->host->xa->xa_forget_entry(&xid, thread->rmid, TMNOFLAGS);

        host_thread_note(thread, code);
        if (code != XA_OK && code != XAER_NOTA) {
            host_answer(answer, XA_BY_FORGET, code, "xa_forget");
            return;
        }
        heuristic_drop(thread->host, job);
    }
    if (work->unmark != NULL && work->unmark(thread->state, &name, reason) != 0)
        host_answer(answer, XA_BY_HELPER, ASSENT_RM_UNAVAILABLE, "%.*s", ASSENT_XA_REASON_BYTES - 1,
                    reason);
    else
        host_answer(answer, XA_BY_HELPER, ASSENT_RM_OK, "%s", "");
}

void host_finish(struct host_thread *thread, const struct host_job *job, struct host_answer *answer)
{
    int found;

    switch (job->request.operation) {
    case ASSENT_OP_PREPARE: /* again, after it was prepared? */
        found = listed(thread, job, answer);
        if (found >= 0)
            host_answer(answer, XA_BY_HELPER, found ? ASSENT_RM_OK : ASSENT_RM_NOT_FOUND, "%s",
                        found ? "" : "no such branch");
        break;
    case ASSENT_OP_COMMIT:
    case ASSENT_OP_ROLLBACK:
        end_prepared(thread, job, answer);
        break;
    case ASSENT_OP_EVIDENCE:
        prove(thread, job, answer);
        break;
    case ASSENT_OP_FORGET:
        forget(thread, job, answer);
        break;
    case XA_OP_RECOVER:
        host_recover(thread, answer);
        break;
    case XA_OP_PING:
        host_answer(answer, XA_BY_HELPER, ASSENT_RM_OK, "%s", "");
        break;
    }
}
