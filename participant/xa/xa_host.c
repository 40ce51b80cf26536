/*
 * xa_host.c: start of the helper process, its socket, and which thread does what: see xa_host.h.
 * The agent's xa resource starts it, with the socket as descriptor 3, and it ends with the agent:
 * by the socket's end, or by the signal that the kernel sends when the agent has died.
 */
#include "xa_host.h"

#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "runtime.h"

#define SOCKET 3

void host_reply(struct host *host, uint64_t number, struct host_answer *answer)
{
    bool reason = answer->body == NULL && (answer->source != XA_BY_HELPER || answer->reason[0]);
    const void *body = reason ? answer->reason : answer->body;
    struct xa_reply reply = {.number = number,
                             .size =
                                 (uint32_t)(reason ? strlen(answer->reason) : answer->body_size),
                             .source = answer->source,
                             .code = answer->code};

    pthread_mutex_lock(&host->send_mutex);
    if (xa_send(host->fd, &reply, sizeof(reply), body, reply.size) != 0)
        _exit(1); /* the agent is gone, and with it whoever wants an answer */
    pthread_mutex_unlock(&host->send_mutex);
    free(answer->body);
    answer->body = NULL;
}

static void reply_plainly(struct host *host, uint64_t number, enum assent_rm_result result,
                          const char *reason)
{
    struct host_answer answer = {0};

    host_answer(&answer, XA_BY_HELPER, (int)result, "%s", reason);
    host_reply(host, number, &answer);
}

/* --- branches and their threads --------------------------------------------------------------- */

static struct host_branch *find(struct host *host, const uint8_t name[ASSENT_BRANCH_ID_BYTES])
{
    struct host_branch *branch;

    HASH_FIND(hh, host->branches, name, ASSENT_BRANCH_ID_BYTES, branch);
    return branch;
}

static struct host_branch *add(struct host *host, const struct host_job *job)
{
    struct host_branch *branch;

    if (HASH_COUNT(host->branches) >= HOST_BRANCHES_MAX ||
        (branch = calloc(1, sizeof(*branch))) == NULL)
        return NULL;
    branch->id = job->id;
    memcpy(branch->name, job->request.branch, sizeof(branch->name));
    xa_xid_make(&job->id, &branch->xid);
    HASH_ADD(hh, host->branches, name, sizeof(branch->name), branch);
    if (branch->hh.tbl != NULL)
        return branch;
    free(branch);
    return NULL;
}

void host_branch_drop(struct host *host, struct host_branch *branch)
{
    HASH_DEL(host->branches, branch);
    free(branch);
}

static void push(struct host_thread *thread, struct host_job *job)
{
    STAILQ_INSERT_TAIL(&thread->queue, job, link);
    pthread_cond_signal(&thread->wake);
}

/* Under the mutex: the branch gets a thread of its own, or waits for one. */
static void push_work(struct host *host, struct host_job *job)
{
    struct host_thread *thread = job->branch->thread;

    for (uint32_t i = 0; thread == NULL && i < host->setup.threads; i++)
        if (host->threads[i].branch == NULL)
            thread = &host->threads[i];
    if (thread == NULL) {
        job->deadline_ms = assent_now_ms() + job->request.timeout_ms;
        STAILQ_INSERT_TAIL(&host->waiting, job, link);
        return;
    }
    thread->branch = job->branch;
    job->branch->thread = thread;
    push(thread, job);
}

/* An answer that needs no thread. */
struct plain {
    enum assent_rm_result result;
    const char *reason;
};

/* Under the mutex. False: it is on its way, and the job belongs to a thread. */
static bool dispatch_active(struct host *host, struct host_job *job, struct plain *ret_plain)
{
    struct host_branch *branch = job->branch;

    switch (job->request.operation) {
    case XA_OP_BEGIN:
        *ret_plain = (struct plain){ASSENT_RM_OK, ""};
        return true;
    case ASSENT_OP_WORK:
        push_work(host, job);
        return false;
    case ASSENT_OP_PREPARE:
    case ASSENT_OP_ONE_PHASE:
    case ASSENT_OP_ROLLBACK:
        if (branch->thread != NULL) {
            push(branch->thread, job);
            return false;
        }
        /* It has done nothing. */
        *ret_plain = (struct plain){
            job->request.operation == ASSENT_OP_PREPARE ? ASSENT_RM_READ_ONLY : ASSENT_RM_OK, ""};
        host_branch_drop(host, branch);
        return true;
    case ASSENT_OP_COMMIT:
    case ASSENT_OP_EVIDENCE:
        *ret_plain =
            (struct plain){job->request.operation == ASSENT_OP_COMMIT ? ASSENT_RM_UNKNOWN_CODE
                                                                      : ASSENT_RM_VANISHED,
                           "the branch is not prepared"};
        return true;
    default:
        *ret_plain = (struct plain){ASSENT_RM_OK, ""};
        return true;
    }
}

static bool dispatch_elsewhere(struct host *host, struct host_job *job, struct plain *ret_plain)
{
    switch (job->request.operation) {
    case XA_OP_BEGIN:
        if (add(host, job) != NULL)
            *ret_plain = (struct plain){ASSENT_RM_OK, ""};
        else
            *ret_plain = (struct plain){ASSENT_RM_FAILED, "too many branches are in work"};
        return true;
    case ASSENT_OP_WORK:
        *ret_plain = (struct plain){ASSENT_RM_REFUSED, "no such branch"};
        return true;
    case ASSENT_OP_ONE_PHASE:
        *ret_plain = (struct plain){ASSENT_RM_NOT_FOUND, "no such branch"};
        return true;
    default:
        push(host->finisher, job);
        return false;
    }
}

static void dispatch(struct host *host, struct host_job *job)
{
    bool of_none = job->request.operation == XA_OP_RECOVER || job->request.operation == XA_OP_PING;
    uint64_t number = job->request.number;
    struct plain plain;
    bool answered;

    pthread_mutex_lock(&host->mutex);
    assent_branch_id_decode(job->request.branch, &job->id);
    job->branch = of_none ? NULL : find(host, job->request.branch);
    if (job->branch != NULL)
        answered = dispatch_active(host, job, &plain);
    else
        answered = dispatch_elsewhere(host, job, &plain);
    pthread_mutex_unlock(&host->mutex);
    if (answered) {
        free(job);
        reply_plainly(host, number, plain.result, plain.reason);
    }
}

/* Answers work that has waited too long for a thread. The ms until the next one has; -1: none. */
static int expire(struct host *host)
{
    uint64_t now_ms = assent_now_ms(), next_ms = UINT64_MAX;
    struct host_jobs all = STAILQ_HEAD_INITIALIZER(all), late = STAILQ_HEAD_INITIALIZER(late);
    struct host_job *job;
    char reason[80];

    pthread_mutex_lock(&host->mutex);
    STAILQ_CONCAT(&all, &host->waiting);
    while ((job = STAILQ_FIRST(&all)) != NULL) {
        bool over = job->deadline_ms <= now_ms;

        STAILQ_REMOVE_HEAD(&all, link);
        if (!over && job->deadline_ms < next_ms)
            next_ms = job->deadline_ms;
        if (over)
            STAILQ_INSERT_TAIL(&late, job, link);
        else
            STAILQ_INSERT_TAIL(&host->waiting, job, link);
    }
    pthread_mutex_unlock(&host->mutex);
    snprintf(reason, sizeof(reason), "all %u threads are in work", host->setup.threads);
    while ((job = STAILQ_FIRST(&late)) != NULL) {
        STAILQ_REMOVE_HEAD(&late, link);
        reply_plainly(host, job->request.number, ASSENT_RM_FAILED, reason);
        free(job);
    }
    return next_ms == UINT64_MAX ? -1 : (int)(next_ms - now_ms);
}

/* --- the socket ------------------------------------------------------------------------------- */

/* The next request, or NULL: the agent is gone. */
static struct host_job *receive(struct host *host)
{
    struct xa_request request;
    struct host_job *job;

    if (xa_receive(host->fd, &request, sizeof(request)) != 0 || request.size > XA_FRAME_BYTES_MAX ||
        (job = calloc(1, sizeof(*job) + request.size + 1)) == NULL)
        return NULL;
    job->request = request;
    if (xa_receive(host->fd, job->body, request.size) != 0) {
        free(job);
        return NULL;
    }
    return job;
}

static void serve(struct host *host)
{
    struct pollfd ready = {.fd = host->fd, .events = POLLIN};
    struct host_job *job;

    for (;;) {
        int n = poll(&ready, 1, expire(host));

        if (n <= 0)
            continue;
        job = receive(host);
        if (job == NULL)
            return;
        dispatch(host, job);
    }
}

/* --- start and end ---------------------------------------------------------------------------- */

static void *load(const char *library, const char *symbol, char reason[ASSENT_REASON_MAX + 1])
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_GLOBAL), *found = NULL;

    if (handle != NULL)
        found = dlsym(handle, symbol);
    if (found == NULL) {
        const char *error = dlerror();

        snprintf(reason, ASSENT_REASON_MAX + 1, "%.*s", ASSENT_REASON_MAX, error ? error : symbol);
    }
    return found;
}

static bool load_all(struct host *host, char reason[ASSENT_REASON_MAX + 1])
{
    const struct xa_setup *setup = &host->setup;
    const struct xa_switch_t *xa = load(setup->switch_library, setup->switch_symbol, reason);
    const struct assent_xa_work *work;

    host->xa = xa;
    if (xa == NULL)
        return false;
    if (xa->version != 0 || !xa->xa_open_entry || !xa->xa_close_entry || !xa->xa_start_entry ||
        !xa->xa_end_entry || !xa->xa_rollback_entry || !xa->xa_prepare_entry ||
        !xa->xa_commit_entry || !xa->xa_recover_entry || !xa->xa_forget_entry) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "%.120s is not an xa_switch_t of version 0",
                 setup->switch_symbol);
        return false;
    }
    host->work = work = load(setup->work_library, "assent_xa_work", reason);
    if (work == NULL)
        return false;
    if (work->size != sizeof(*work) || work->work == NULL || !work->mark != !work->evidence ||
        !work->mark != !work->unmark) {
        snprintf(reason, ASSENT_REASON_MAX + 1,
                 "assent_xa_work of %.150s is not a table as this version's xa_work.h has it",
                 setup->work_library);
        return false;
    }
    return true;
}

static bool start_threads(struct host *host)
{
    uint32_t count = host->setup.threads > 1 ? host->setup.threads + 1 : 1;
    bool shared = (host->setup.quirks & XA_QUIRK_SHARED_RMID) != 0;

    for (uint32_t i = 0; i < count; i++) {
        struct host_thread *thread = &host->threads[i];

        thread->host = host;
        thread->rmid = shared ? 1 : (int)i + 1;
        STAILQ_INIT(&thread->queue);
        pthread_cond_init(&thread->wake, NULL);
        if (pthread_create(&thread->thread, NULL, host_thread_run, thread) != 0)
            return false;
        host->thread_count++;
    }
    host->finisher = &host->threads[count - 1];
    return true;
}

static void stop_threads(struct host *host)
{
    pthread_mutex_lock(&host->mutex);
    host->stopping = true;
    for (uint32_t i = 0; i < host->thread_count; i++)
        pthread_cond_signal(&host->threads[i].wake);
    pthread_mutex_unlock(&host->mutex);
    for (uint32_t i = 0; i < host->thread_count; i++)
        pthread_join(host->threads[i].thread, NULL);
}

/* The first request: what to load. Its answer is that of the first xa_open. */
static bool set_up(struct host *host)
{
    char reason[ASSENT_REASON_MAX + 1] = "";
    struct host_job *job = receive(host);

    if (job == NULL || job->request.operation != XA_OP_SETUP ||
        job->request.size != sizeof(host->setup)) {
        free(job);
        return false;
    }
    memcpy(&host->setup, job->body, sizeof(host->setup));
    if (strcmp(host->setup.version, ASSENT_VERSION) != 0)
        snprintf(reason, sizeof(reason), "assent-xa-host is of version " ASSENT_VERSION);
    else if (host->setup.threads < 1 || host->setup.threads > HOST_THREADS_MAX)
        snprintf(reason, sizeof(reason), "threads is not from 1 to %u", HOST_THREADS_MAX);
    else if (load_all(host, reason) && !start_threads(host))
        snprintf(reason, sizeof(reason), "cannot start %u threads", host->setup.threads);
    if (reason[0] != '\0') {
        reply_plainly(host, 0, ASSENT_RM_UNKNOWN_CODE, reason);
        free(job);
        return false;
    }
    pthread_mutex_lock(&host->mutex);
    push(host->finisher, job);
    pthread_mutex_unlock(&host->mutex);
    return true;
}

int main(int argc, char **argv)
{
    static struct host host = {
        .fd = SOCKET, .mutex = PTHREAD_MUTEX_INITIALIZER, .send_mutex = PTHREAD_MUTEX_INITIALIZER};

    if (argc != 2) {
        fprintf(stderr, "assent-xa-host is started by the xa resource of assent-agent\n");
        return ASSENT_EXIT_USAGE;
    }
    /* The agent may have died before the kernel was asked to tell. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != (pid_t)strtol(argv[1], NULL, 10))
        return ASSENT_EXIT_RUNTIME;
    STAILQ_INIT(&host.waiting);
    if (set_up(&host))
        serve(&host);
    stop_threads(&host);
    return ASSENT_EXIT_OK;
}
