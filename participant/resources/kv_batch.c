/*
 * kv_batch.c: prepare, commit, rollback and forget of the kv resource, for any number of branches
 * with one durable write. A single call is a batch of one, so there is one path.
 *
 * Three steps: stage() puts each call's changes into one LMDB transaction and notes its result;
 * the transaction commits; settle() brings the branches in memory, and so the locks, to what is now
 * durable. Nobody sees a result before the commit. If staging fails for want of room or memory, the
 * transaction leaves no trace and each call is tried alone, so that one cannot spoil the others;
 * forgets that ride along spoil none, and wait for another batch. If the commit itself fails, what
 * is on disk is not known: every call gets UNAVAILABLE, and so does every later one, until the
 * resource is opened again and reads what is really there.
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
    if (!atomic_load(&kv->failed)) {
        snprintf(kv->reason, sizeof(kv->reason), "%s", error);
        atomic_store(&kv->failed, true);
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
        kv_answer(call, ASSENT_RM_FAILED, "%s", kv_branch_reason(branch));
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
    const struct kv_hold *hold;
    const char *key;
    size_t key_size;
    int r = 0;

    STAILQ_FOREACH (hold, &branch->holds, of_branch) {
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
        if (r != 0)
            return r;
    }
    /* The marker is the evidence of this commit: in the same transaction as its effects. */
    return kv_txn_put_marker(txn, branch->name, error);
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
        kv_answer(call, ASSENT_RM_REFUSED, "%s", kv_branch_reason(branch));
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
 * waits for a batch that writes anyway. A branch that is not finished has no marker yet, and keeps
 * the one to come. */
bool kv_forget_later(struct kv *kv, struct assent_call *call)
{
    struct kv_forgets *forgets = &kv->forgets;
    bool room = true;

    kv_result(call, ASSENT_RM_OK);
    pthread_mutex_lock(&kv->mutex);
    if (kv_branch_at(kv, &call->id) == NULL && (room = forgets->count < KV_FORGETS_MAX))
        assent_branch_id_encode(&call->id, forgets->names[forgets->count++]);
    pthread_mutex_unlock(&kv->mutex);
    return room;
}

static int stage_forget(struct kv *kv, struct kv_txn *txn, struct assent_call *call, char *error)
{
    uint8_t name[ASSENT_BRANCH_ID_BYTES];

    if (kv_forget_later(kv, call))
        return 0;
    txn->dirty = true; /* those that wait go with this one */
    assent_branch_id_encode(&call->id, name);
    return kv_txn_delete_marker(txn, name, error);
}

/* An agent that was started anew does not know all that it left behind, so at times what ended
 * before goes as well. */
static int sweep(struct kv *kv, struct kv_txn *txn, char *error)
{
    const struct kv_forgets *forgetting = &kv->forgetting;
    size_t deleted = 0;
    int r;

    kv->sweeps = forgetting->count > 0 && kv->unswept >= KV_SWEEP_FORGETS;
    if (!kv->sweeps)
        return 0;
    r = kv_txn_sweep_markers(txn, forgetting->names[forgetting->count - 1], KV_SWEEP_MAX, &deleted,
                             error);
    kv->sweeps = deleted < KV_SWEEP_MAX; /* else there may be more */
    return r;
}

static void note_forgotten(struct kv *kv)
{
    kv->unswept = kv->sweeps ? 0 : kv->unswept + kv->forgetting.count;
    kv->forgetting.count = 0;
}

/* Those that an earlier batch failed to delete come first: nobody asks for them a second time. */
static int stage_forgets(struct kv *kv, struct kv_txn *txn, char *error)
{
    struct kv_forgets *forgetting = &kv->forgetting;
    int r = 0;

    if (forgetting->count == 0) {
        pthread_mutex_lock(&kv->mutex);
        forgetting->count = kv->forgets.count;
        memcpy(forgetting->names, kv->forgets.names,
               kv->forgets.count * sizeof(forgetting->names[0]));
        kv->forgets.count = 0;
        pthread_mutex_unlock(&kv->mutex);
    }
    for (size_t i = 0; r == 0 && i < forgetting->count; i++)
        r = kv_txn_delete_marker(txn, forgetting->names[i], error);
    return r != 0 ? r : sweep(kv, txn, error);
}

static int stage(struct kv *kv, struct kv_txn *txn, struct kv_branch *branch,
                 struct assent_call *call, char *error)
{
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
        return stage_forget(kv, txn, call, error);
    case ASSENT_OP_WORK:
    case ASSENT_OP_EVIDENCE:
    case ASSENT_OP_COUNT:
        break;
    }
    ASSENT_ASSERT(!"an operation that finishes a branch");
    return ASSENT_E_INVALID;
}

/* Whether the call's noted result has ended the branch; what else it has changed is noted here.
 * Under the mutex. */
static bool note_result(struct kv *kv, struct kv_branch *branch, const struct assent_call *call)
{
    bool done = call->result == ASSENT_RM_OK;

    if (branch == NULL || call->operation == ASSENT_OP_FORGET)
        return false;
    if (done && call->operation == ASSENT_OP_PREPARE) {
        kv_branch_set_prepared(kv, branch);
        return false;
    }
    if (done && call->operation != ASSENT_OP_ROLLBACK)
        kv_branch_marked(kv, branch->name);
    return done || call->result == ASSENT_RM_READ_ONLY || call->result == ASSENT_RM_REFUSED;
}

/* Brings memory to what the calls' noted results have made durable. */
static void settle(struct kv *kv, struct assent_call **calls, size_t count)
{
    pthread_mutex_lock(&kv->mutex);
    for (size_t i = 0; i < count; i++)
        if (!note_result(kv, kv->found[i], calls[i]))
            kv->found[i] = NULL;
    pthread_mutex_unlock(&kv->mutex);
    kv_branches_drop(kv, kv->found, count);
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

static bool lacks_room(int error)
{
    return error == ASSENT_E_FULL || error == ASSENT_E_NOMEM;
}

/* 0: durable, results noted. FULL or NOMEM: nothing was changed. Otherwise: not known. */
static int write_all(struct kv *kv, struct assent_call **calls, size_t count, bool forget,
                     char *error)
{
    struct kv_txn txn;
    int r = kv_txn_begin(kv->store, &txn, error);

    if (r != 0)
        return r;
    for (size_t i = 0; r == 0 && i < count; i++)
        r = stage(kv, &txn, kv->found[i], calls[i], error);
    if (r == 0 && txn.dirty && forget) {
        r = stage_forgets(kv, &txn, error);
        if (lacks_room(r)) { /* they can wait, and the calls cannot */
            kv_txn_abort(&txn);
            return write_all(kv, calls, count, false, error);
        }
    }
    if (r != 0 || !txn.dirty) {
        kv_txn_abort(&txn);
        return r;
    }
    if (kv_txn_commit(&txn, error) != 0)
        return ASSENT_E_UNKNOWN;
    if (forget)
        note_forgotten(kv);
    return 0;
}

static int attempt(struct kv *kv, struct assent_call **calls, size_t count)
{
    char error[ASSENT_REASON_MAX + 1] = "out of memory";
    int r;

    kv_branch_find_all(kv, calls, kv->found, count);
    r = write_all(kv, calls, count, true, error);
    if (lacks_room(r)) {
        if (count > 1)
            return r;
        answer_not_done(calls[0], error);
    } else if (r != 0) {
        mark_failed(kv, error);
        for (size_t i = 0; i < count; i++)
            kv_answer(calls[i], ASSENT_RM_UNAVAILABLE, "%s", error);
        return 0;
    }
    settle(kv, calls, count);
    return 0;
}

void kv_batch(struct kv *kv, struct assent_call **calls, size_t count)
{
    pthread_mutex_lock(&kv->batch_mutex);
    for (size_t taken; count > 0; calls += taken, count -= taken) {
        bool refused = false;

        taken = count < KV_BATCH_MAX ? count : KV_BATCH_MAX;
        for (size_t i = 0; i < taken; i++)
            refused = kv_answer_failed(kv, calls[i]);
        if (!refused && attempt(kv, calls, taken) != 0)
            for (size_t i = 0; i < taken; i++)
                if (!kv_answer_failed(kv, calls[i]))
                    (void)attempt(kv, &calls[i], 1);
    }
    pthread_mutex_unlock(&kv->batch_mutex);
}

void kv_batch_flush(struct kv *kv)
{
    char error[ASSENT_REASON_MAX + 1];
    struct kv_txn txn;

    /* A failure here loses forgets only, as a crash would. */
    if (atomic_load(&kv->failed) || kv_txn_begin(kv->store, &txn, error) != 0)
        return;
    if (stage_forgets(kv, &txn, error) != 0 || !txn.dirty)
        kv_txn_abort(&txn);
    else if (kv_txn_commit(&txn, error) == 0)
        note_forgotten(kv);
}
