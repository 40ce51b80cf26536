/*
 * null.c: the null resource: does nothing, keeps nothing, votes as it is told. For measuring what
 * Assent costs by itself, and for showing what a vote does.
 *
 *   parameters  vote=yes|no|read-only (yes), delay=10ms (0ms): each work takes so long
 *   work        "no" or "no REASON": this branch votes no; "read-only": it votes read-only;
 *               "fail": the work fails; anything else is done at once
 *
 * A branch has an entry in memory only if its work told it something, so the usual path takes no
 * lock and no memory.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "assent/participant.h"
#include "gtrid.h"
#include "parameters.h"

#define TOLD_MAX     10000u /* branches that were told something, at one moment */
#define DELAY_MAX_MS 60000

enum answer { ANSWER_YES, ANSWER_NO, ANSWER_READ_ONLY };
static const char *const answers[] = {"yes", "no", "read-only", NULL};

struct told {
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    enum answer answer;
    char reason[ASSENT_REASON_MAX + 1];
    UT_hash_handle hh;
};

struct null {
    enum answer answer;
    uint64_t delay_ms;
    atomic_size_t told_count;
    pthread_mutex_t mutex; /* guards told */
    struct told *told;     /* by branch id */
};

static void answer_with(struct assent_call *call, enum assent_rm_result result, const char *reason,
                        size_t size)
{
    call->result = result;
    if (size > ASSENT_REASON_MAX)
        size = ASSENT_REASON_MAX;
    memcpy(call->reason, reason, size);
    call->reason[size] = '\0';
}

static void answer(struct assent_call *call, enum assent_rm_result result, const char *reason)
{
    answer_with(call, result, reason, strlen(reason));
}

/* --- what branches were told ------------------------------------------------------------------ */

/* Called with the mutex held. */
static struct told *find(struct null *null, const struct assent_branch_id *id)
{
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    struct told *told;

    assent_branch_id_encode(id, name);
    HASH_FIND(hh, null->told, name, sizeof(name), told);
    return told;
}

static struct told *add(struct null *null, const struct assent_branch_id *id)
{
    struct told *told;

    if (HASH_COUNT(null->told) >= TOLD_MAX || (told = calloc(1, sizeof(*told))) == NULL)
        return NULL;
    assent_branch_id_encode(id, told->name);
    HASH_ADD(hh, null->told, name, sizeof(told->name), told);
    if (told->hh.tbl == NULL) {
        free(told);
        return NULL;
    }
    atomic_fetch_add(&null->told_count, 1);
    return told;
}

static void tell(struct null *null, struct assent_call *call, enum answer what, const char *reason,
                 size_t size)
{
    struct told *told;

    answer(call, ASSENT_RM_OK, "");
    pthread_mutex_lock(&null->mutex);
    told = find(null, &call->id);
    if (told == NULL)
        told = add(null, &call->id);
    if (told == NULL) {
        answer(call, ASSENT_RM_FAILED, "null: too many branches have been told how to vote");
    } else {
        told->answer = what;
        snprintf(told->reason, sizeof(told->reason), "%.*s",
                 (int)(size < ASSENT_REASON_MAX ? size : ASSENT_REASON_MAX), reason);
    }
    pthread_mutex_unlock(&null->mutex);
}

/* What this branch answers to a prepare, and if it is no, why. */
static enum answer ask(struct null *null, const struct assent_call *call,
                       char reason[ASSENT_REASON_MAX + 1])
{
    enum answer result = null->answer;
    struct told *told;

    if (result == ANSWER_NO)
        snprintf(reason, ASSENT_REASON_MAX + 1, "null: told to vote no");
    if (atomic_load(&null->told_count) == 0)
        return result;
    pthread_mutex_lock(&null->mutex);
    if ((told = find(null, &call->id)) != NULL) {
        result = told->answer;
        memcpy(reason, told->reason, sizeof(told->reason));
    }
    pthread_mutex_unlock(&null->mutex);
    return result;
}

static void drop(struct null *null, const struct assent_call *call)
{
    struct told *told;

    if (atomic_load(&null->told_count) == 0)
        return;
    pthread_mutex_lock(&null->mutex);
    if ((told = find(null, &call->id)) != NULL) {
        HASH_DEL(null->told, told);
        atomic_fetch_sub(&null->told_count, 1);
        free(told);
    }
    pthread_mutex_unlock(&null->mutex);
}

/* --- operations ------------------------------------------------------------------------------- */

static int open_null(const struct assent_resource_environment *environment, void **ret_resource,
                     char *error, size_t error_size)
{
    struct null *null = calloc(1, sizeof(*null));
    uint64_t vote = ANSWER_YES;
    int r;

    if (null == NULL) {
        snprintf(error, error_size, "null: out of memory");
        return ASSENT_E_NOMEM;
    }
    const struct assent_parameter parameters[] = {
        {"vote", ASSENT_PARAMETER_CHOICE, &vote, 0, 0, answers},
        {"delay", ASSENT_PARAMETER_DURATION, &null->delay_ms, 0, DELAY_MAX_MS, NULL},
    };
    r = assent_parameters_parse("null", environment->parameters, parameters, 2, error, error_size);
    if (r != 0) {
        free(null);
        return r;
    }
    null->answer = (enum answer)vote;
    pthread_mutex_init(&null->mutex, NULL);
    *ret_resource = null;
    return 0;
}

static void close_null(void *resource)
{
    struct null *null = resource;
    struct told *told, *next;

    HASH_ITER (hh, null->told, told, next) {
        HASH_DEL(null->told, told);
        free(told);
    }
    pthread_mutex_destroy(&null->mutex);
    free(null);
}

static void begin(void *resource, struct assent_call *call)
{
    (void)resource;
    answer(call, ASSENT_RM_OK, "");
}

static void work(void *resource, struct assent_call *call)
{
    static const char told_no[] = "null: told to vote no";
    struct null *null = resource;
    const char *text = call->work;
    size_t size = call->work_size;

    call->reply = NULL;
    call->reply_size = 0;
    call->would_wait = call->no_wait && null->delay_ms > 0;
    if (call->would_wait)
        return;
    if (null->delay_ms > 0) {
        struct timespec delay = {.tv_sec = (time_t)(null->delay_ms / 1000),
                                 .tv_nsec = (long)(null->delay_ms % 1000) * 1000000};

        (void)nanosleep(&delay, NULL);
    }
    if (size == 2 && memcmp(text, "no", 2) == 0)
        tell(null, call, ANSWER_NO, told_no, strlen(told_no));
    else if (size > 3 && memcmp(text, "no ", 3) == 0)
        tell(null, call, ANSWER_NO, text + 3, size - 3);
    else if (size == 9 && memcmp(text, "read-only", 9) == 0)
        tell(null, call, ANSWER_READ_ONLY, "", 0);
    else if (size == 4 && memcmp(text, "fail", 4) == 0)
        answer(call, ASSENT_RM_FAILED, "null: told to fail");
    else
        answer(call, ASSENT_RM_OK, "");
}

static void prepare(void *resource, struct assent_call *call)
{
    struct null *null = resource;
    char reason[ASSENT_REASON_MAX + 1];

    switch (ask(null, call, reason)) {
    case ANSWER_YES:
        answer(call, ASSENT_RM_OK, "");
        break;
    case ANSWER_NO: /* the entry stays until the rollback, so that a repeat answers the same */
        answer(call, ASSENT_RM_FAILED, reason);
        break;
    case ANSWER_READ_ONLY:
        answer(call, ASSENT_RM_READ_ONLY, "");
        drop(null, call);
        break;
    }
}

static void commit(void *resource, struct assent_call *call)
{
    struct null *null = resource;
    char reason[ASSENT_REASON_MAX + 1];

    if (call->operation == ASSENT_OP_ONE_PHASE && ask(null, call, reason) == ANSWER_NO)
        answer(call, ASSENT_RM_REFUSED, reason);
    else
        answer(call, ASSENT_RM_OK, "");
    drop(null, call);
}

static void rollback(void *resource, struct assent_call *call)
{
    drop(resource, call);
    answer(call, ASSENT_RM_OK, "");
}

static void evidence(void *resource, struct assent_call *call)
{
    (void)resource;
    answer(call, ASSENT_RM_NOT_FOUND, "null: keeps no evidence");
}

static void batch(void *resource, struct assent_call **calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        switch (calls[i]->operation) {
        case ASSENT_OP_PREPARE:
            prepare(resource, calls[i]);
            break;
        case ASSENT_OP_COMMIT:
        case ASSENT_OP_ONE_PHASE:
            commit(resource, calls[i]);
            break;
        case ASSENT_OP_ROLLBACK:
        case ASSENT_OP_FORGET:
            rollback(resource, calls[i]);
            break;
        case ASSENT_OP_WORK:
        case ASSENT_OP_EVIDENCE:
        case ASSENT_OP_COUNT:
            answer(calls[i], ASSENT_RM_UNKNOWN_CODE, "null: not an operation of a batch");
            break;
        }
    }
}

static int recover(void *resource, void (*found)(const struct assent_branch_id *id, void *context),
                   void *context)
{
    (void)resource;
    (void)found;
    (void)context;
    return 0;
}

static int ping(void *resource, char *error, size_t error_size)
{
    (void)resource;
    (void)error;
    (void)error_size;
    return 0;
}

const struct assent_resource_ops assent_resource_null = {
    .size = sizeof(struct assent_resource_ops),
    .type = "null",
    .capabilities = ASSENT_CAP_PREPARED_LIST | ASSENT_CAP_ONE_PHASE | ASSENT_CAP_BATCH |
                    ASSENT_CAP_VOLATILE | ASSENT_CAP_TRY,
    .open = open_null,
    .close = close_null,
    .begin = begin,
    .work = work,
    .prepare = prepare,
    .commit = commit,
    .rollback = rollback,
    .evidence = evidence,
    .forget = rollback,
    .batch = batch,
    .recover = recover,
    .ping = ping,
    .query = NULL,
};
