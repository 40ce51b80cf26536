/*
 * kv_batch.c: prepare, commit, rollback and forget of the kv resource, for any number of branches
 * with one durable write. A single call is a batch of one, so there is one path.
 *
 * Three steps: stage() puts each call's changes into one LMDB transaction and notes its result;
 * the transaction commits; settle() brings the branches in memory, and so the locks, to what is now
 * durable. Nobody sees a result before the commit. If staging fails for want of room or memory, the
 * transaction leaves no trace and each call is tried alone, so that one cannot spoil the others. If
 * the commit itself fails, what is on disk is not known: every call gets UNAVAILABLE, and so does
 * every later one, until the resource is opened again and reads what is really there.
 */
#include "kv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

static const char no_room[] = "kv store: 80 % of its map are in use";

static void mark_failed(struct kv *kv, const char *error)
{
    pthread_mutex_lock(&kv->mutex);
    if (!kv->failed) {
        kv->failed = true;
        snprintf(kv->reason, sizeof(kv->reason), "%s", error);
    }
    pthread_mutex_unlock(&kv->mutex);
}

/* For a branch that is not in memory: what its marker says. */
static int stage_from_marker(struct kv *kv, struct assent_call *call,
                             enum assent_rm_result committed, char *error)
{
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    int r;

    assent_branch_id_encode(&call->id, name);
    r = kv_store_marker(kv->store, name, error);
    if (r == 0)
        kv_answer(call, committed, "the branch has committed");
    else if (r == ASSENT_E_NOT_FOUND)
        kv_answer(call, ASSENT_RM_NOT_FOUND, "no such branch");
    else if (r == ASSENT_E_CORRUPT)
        kv_answer(call, ASSENT_RM_UNKNOWN_CODE, "%s", error);
    else
        return r;
    return 0;
}

static int stage_prepare(struct kv_txn *txn, struct kv_branch *branch, struct assent_call *call,
                         char *error)
{
    void *body;
    size_t size;
    int r;

    if (branch == NULL)
        kv_answer(call, ASSENT_RM_NOT_FOUND, "no such branch");
    else if (branch->prepared)
        kv_result(call, ASSENT_RM_OK);
    else if (branch->failed)
        kv_answer(call, ASSENT_RM_FAILED, "%s", branch->reason);
    else if (!kv_branch_wrote(branch))
        kv_result(call, ASSENT_RM_READ_ONLY);
    else if (!kv_txn_fits(txn, branch->bytes))
        kv_answer(call, ASSENT_RM_FAILED, "%s", no_room);
    else {
        if ((r = kv_branch_encode(branch, &body, &size)) != 0)
            return r;
        r = kv_txn_put_intents(txn, branch->name, body, size, error);
        free(body);
        kv_result(call, ASSENT_RM_OK);
        return r;
    }
    return 0;
}

static int stage_writes(struct kv_txn *txn, const struct kv_branch *branch, char *error)
{
    const char *key;
    size_t key_size;
    int r = 0;

    for (const struct kv_hold *hold = branch->holds; r == 0 && hold != NULL; hold = hold->hh.next) {
        key = kv_hold_key(hold, &key_size);
        switch (hold->write) {
        case KV_WRITE_NONE:
            break;
        case KV_WRITE_PUT:
            r = kv_txn_put(txn, key, key_size, hold->value, hold->value_size, error);
            break;
        case KV_WRITE_DELETE:
            r = kv_txn_delete(txn, key, key_size, error);
            break;
        }
    }
    /* The marker is the evidence of this commit: in the same transaction as its effects. */
    return r == 0 ? kv_txn_put_marker(txn, branch->name, error) : r;
}

static int stage_commit(struct kv *kv, struct kv_txn *txn, struct kv_branch *branch,
                        struct assent_call *call, char *error)
{
    int r;

    if (branch == NULL)
        return stage_from_marker(kv, call, ASSENT_RM_OK, error);
    if (!branch->prepared) {
        kv_answer(call, ASSENT_RM_UNKNOWN_CODE, "the branch is not prepared");
        return 0;
    }
    kv_result(call, ASSENT_RM_OK);
    if ((r = stage_writes(txn, branch, error)) != 0)
        return r;
    return kv_txn_delete_intents(txn, branch->name, error);
}

static int stage_one_phase(struct kv *kv, struct kv_txn *txn, struct kv_branch *branch,
                           struct assent_call *call, char *error)
{
    if (branch == NULL)
        return stage_from_marker(kv, call, ASSENT_RM_OK, error);
    if (branch->prepared)
        kv_answer(call, ASSENT_RM_UNKNOWN_CODE, "the branch is prepared already");
    else if (branch->failed)
        kv_answer(call, ASSENT_RM_REFUSED, "%s", branch->reason);
    else if (!kv_txn_fits(txn, branch->bytes))
        kv_answer(call, ASSENT_RM_REFUSED, "%s", no_room);
    else {
        kv_result(call, ASSENT_RM_OK);
        return stage_writes(txn, branch, error);
    }
    return 0;
}

static int stage_rollback(struct kv *kv, struct kv_txn *txn, struct kv_branch *branch,
                          struct assent_call *call, char *error)
{
    if (branch == NULL)
        return stage_from_marker(kv, call, ASSENT_RM_HEUR_COMMITTED, error);
    kv_result(call, ASSENT_RM_OK);
    return branch->prepared ? kv_txn_delete_intents(txn, branch->name, error) : 0;
}

/* A forget needs no sync of its own: lost in a crash, it leaves a marker that harms nobody. So it
 * waits for a batch that writes anyway. */
static int stage_forget(struct kv *kv, struct kv_txn *txn, struct kv_branch *branch,
                        struct assent_call *call, char *error)
{
    uint8_t name[ASSENT_BRANCH_ID_BYTES];

    kv_result(call, ASSENT_RM_OK);
    if (branch != NULL) /* not finished: it has no marker yet, and keeps the one to come */
        return 0;
    assent_branch_id_encode(&call->id, name);
    if (kv->forget_count == KV_FORGETS_MAX)
        return kv_txn_delete_marker(txn, name, error);
    memcpy(kv->forgets[kv->forget_count++], name, sizeof(name));
    return 0;
}

static int stage_forgets(struct kv *kv, struct kv_txn *txn, char *error)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < kv->forget_count; i++)
        r = kv_txn_delete_marker(txn, kv->forgets[i], error);
    return r;
}

static int stage(struct kv *kv, struct kv_txn *txn, struct assent_call *call, char *error)
{
    struct kv_branch *branch = kv_branch_find(kv, &call->id);

    switch (call->operation) {
    case ASSENT_OP_PREPARE:
        return stage_prepare(txn, branch, call, error);
    case ASSENT_OP_COMMIT:
        return stage_commit(kv, txn, branch, call, error);
    case ASSENT_OP_ONE_PHASE:
        return stage_one_phase(kv, txn, branch, call, error);
    case ASSENT_OP_ROLLBACK:
        return stage_rollback(kv, txn, branch, call, error);
    case ASSENT_OP_FORGET:
        return stage_forget(kv, txn, branch, call, error);
    case ASSENT_OP_WORK:
    case ASSENT_OP_EVIDENCE:
    case ASSENT_OP_COUNT:
        break;
    }
    ASSENT_ASSERT(!"an operation that finishes a branch");
    return ASSENT_E_INVALID;
}

/* Brings memory to what a call's noted result has made durable. */
static void settle(struct kv *kv, const struct assent_call *call)
{
    struct kv_branch *branch = kv_branch_find(kv, &call->id);
    bool done = call->result == ASSENT_RM_OK;

    if (branch == NULL || call->operation == ASSENT_OP_FORGET)
        return;
    if (call->operation == ASSENT_OP_PREPARE && done)
        kv_branch_set_prepared(kv, branch);
    else if (done || call->result == ASSENT_RM_READ_ONLY || call->result == ASSENT_RM_REFUSED)
        kv_branch_drop(kv, branch);
}

/* The one call could not be staged, and nothing was changed. */
static void answer_not_done(struct assent_call *call, const char *error)
{
    switch (call->operation) {
    case ASSENT_OP_PREPARE:
        kv_answer(call, ASSENT_RM_FAILED, "%s", error);
        break;
    case ASSENT_OP_ONE_PHASE:
        kv_answer(call, ASSENT_RM_REFUSED, "%s", error);
        break;
    case ASSENT_OP_COMMIT:
    case ASSENT_OP_ROLLBACK:
        kv_answer(call, ASSENT_RM_RETRY, "%s", error);
        break;
    case ASSENT_OP_FORGET:
    case ASSENT_OP_WORK:
    case ASSENT_OP_EVIDENCE:
    case ASSENT_OP_COUNT:
        kv_answer(call, ASSENT_RM_UNAVAILABLE, "%s", error);
        break;
    }
}

/* 0: durable, results noted. FULL or NOMEM: nothing was changed. Otherwise: not known. */
static int write_all(struct kv *kv, struct assent_call **calls, size_t count, char *error)
{
    struct kv_txn txn;
    int r = kv_txn_begin(kv->store, &txn, error);

    if (r != 0)
        return r;
    for (size_t i = 0; r == 0 && i < count; i++)
        r = stage(kv, &txn, calls[i], error);
    if (r == 0 && (txn.dirty || kv->forget_count == KV_FORGETS_MAX)) {
        r = stage_forgets(kv, &txn, error);
        txn.dirty = true;
    }
    if (r != 0 || !txn.dirty) {
        kv_txn_abort(&txn);
        return r;
    }
    if (kv_txn_commit(&txn, error) != 0)
        return ASSENT_E_UNKNOWN;
    kv->forget_count = 0;
    return 0;
}

static int attempt(struct kv *kv, struct assent_call **calls, size_t count)
{
    char error[ASSENT_REASON_MAX + 1] = "out of memory";
    int r = write_all(kv, calls, count, error);

    if (r == ASSENT_E_FULL || r == ASSENT_E_NOMEM) {
        if (count > 1)
            return r;
        answer_not_done(calls[0], error);
    } else if (r != 0) {
        mark_failed(kv, error);
        for (size_t i = 0; i < count; i++)
            kv_answer(calls[i], ASSENT_RM_UNAVAILABLE, "%s", error);
        return 0;
    }
    for (size_t i = 0; i < count; i++)
        settle(kv, calls[i]);
    return 0;
}

void kv_batch(struct kv *kv, struct assent_call **calls, size_t count)
{
    bool refused = false;

    pthread_mutex_lock(&kv->batch_mutex);
    for (size_t i = 0; i < count; i++)
        refused = kv_answer_failed(kv, calls[i]);
    if (count > 0 && !refused && attempt(kv, calls, count) != 0)
        for (size_t i = 0; i < count; i++)
            if (!kv_answer_failed(kv, calls[i]))
                (void)attempt(kv, &calls[i], 1);
    pthread_mutex_unlock(&kv->batch_mutex);
}

void kv_batch_flush(struct kv *kv)
{
    char error[ASSENT_REASON_MAX + 1];
    struct kv_txn txn;

    /* A failure here loses forgets only, as a crash would. */
    if (kv->failed || kv->forget_count == 0 || kv_txn_begin(kv->store, &txn, error) != 0)
        return;
    if (stage_forgets(kv, &txn, error) != 0)
        kv_txn_abort(&txn);
    else if (kv_txn_commit(&txn, error) == 0)
        kv->forget_count = 0;
}
