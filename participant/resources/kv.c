/*
 * kv.c: the embedded kv resource as a table of operations: open and close, the begin of a branch,
 * and the questions that touch no branch. How the parts work together: kv.h.
 */
#include "kv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "parameters.h"

/* --- answers ---------------------------------------------------------------------------------- */

void kv_result(struct assent_call *call, enum assent_rm_result result)
{
    call->result = result;
    call->reason[0] = '\0';
}

void kv_answer(struct assent_call *call, enum assent_rm_result result, const char *format, ...)
{
    va_list arguments;

    call->result = result;
    va_start(arguments, format);
    vsnprintf(call->reason, sizeof(call->reason), format, arguments);
    va_end(arguments);
    for (char *c = call->reason; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
}

bool kv_answer_failed(struct kv *kv, struct assent_call *call)
{
    if (!atomic_load(&kv->failed))
        return false;
    pthread_mutex_lock(&kv->mutex);
    kv_answer(call, ASSENT_RM_UNAVAILABLE, "%s", kv->reason);
    pthread_mutex_unlock(&kv->mutex);
    return true;
}

int kv_shown(const char *text, size_t size, size_t max)
{
    if (size <= max)
        return (int)size;
    while (max > 0 && ((unsigned char)text[max] & 0xc0) == 0x80)
        max--;
    return (int)max;
}

/* --- open and close --------------------------------------------------------------------------- */

static void close_kv(void *resource)
{
    struct kv *kv = resource;

    if (kv->store != NULL)
        kv_batch_flush(kv);
    kv_branches_fini(kv);
    kv_store_close(kv->store);
    kv_locks_fini(&kv->locks);
    pthread_mutex_destroy(&kv->batch_mutex);
    pthread_mutex_destroy(&kv->mutex);
    free(kv);
}

struct loading {
    struct kv *kv;
    char *error;
    size_t error_size;
    int status;
};

/* Re-takes the locks of one prepared branch. */
static bool load_branch(const void *key, size_t key_size, const void *body, size_t size,
                        void *context)
{
    struct loading *loading = context;
    struct assent_branch_id id;
    struct kv_branch *branch;
    char gtrid[ASSENT_GTRID_TEXT + 1];

    (void)key_size; /* checked with the record */
    assent_branch_id_decode(key, &id);
    loading->status = kv_branch_add(loading->kv, &id, true, &branch);
    if (loading->status == 0) {
        loading->status = kv_branch_decode(loading->kv, branch, body, size);
        pthread_mutex_lock(&loading->kv->mutex);
        kv_branch_set_prepared(loading->kv, branch);
        pthread_mutex_unlock(&loading->kv->mutex);
    }
    if (loading->status != 0) {
        assent_gtrid_format(&id.gtrid, gtrid);
        snprintf(loading->error, loading->error_size, "kv: the intents of %s branch %u: %s", gtrid,
                 id.branch, assent_error_text(loading->status));
    }
    return loading->status == 0;
}

static int load_branches(struct kv *kv, char *error, size_t error_size)
{
    struct loading loading = {.kv = kv, .error = error, .error_size = error_size};
    char reason[ASSENT_REASON_MAX + 1];
    int r = kv_store_scan_intents(kv->store, load_branch, &loading, reason);

    if (r != 0)
        snprintf(error, error_size, "%s", reason);
    return r != 0 ? r : loading.status;
}

static int load_last_marker(struct kv *kv, char *error, size_t error_size)
{
    char reason[ASSENT_REASON_MAX + 1];
    int r = kv_store_last_marker(kv->store, kv->last_marker, reason);

    if (r == ASSENT_E_NOT_FOUND)
        return 0;
    if (r != 0)
        snprintf(error, error_size, "%s", reason);
    return r;
}

static int open_kv(const struct assent_resource_environment *environment, void **ret_resource,
                   char *error, size_t error_size)
{
    struct kv *kv = calloc(1, sizeof(*kv));
    uint64_t map_bytes = 256ull << 20;
    int r;

    if (kv == NULL || kv_locks_init(&kv->locks) != 0) {
        free(kv);
        snprintf(error, error_size, "kv: out of memory");
        return ASSENT_E_NOMEM;
    }
    assent_pool_init(&kv->branch_pool, sizeof(struct kv_branch), sizeof(struct kv_branch));
    pthread_mutex_init(&kv->mutex, NULL);
    pthread_mutex_init(&kv->batch_mutex, NULL);
    kv->lock_wait_ms = 2000;
    kv->unswept = KV_SWEEP_FORGETS; /* the first forget looks for what earlier lives have left */
    const struct assent_parameter parameters[] = {
        {"map", ASSENT_PARAMETER_SIZE, &map_bytes, 16ull << 20, 1ull << 40, NULL},
        {"lock_wait", ASSENT_PARAMETER_DURATION, &kv->lock_wait_ms, 0, 3600000, NULL},
    };
    r = assent_parameters_parse("kv", environment->parameters, parameters, 2, error, error_size);
    if (r == 0)
        r = kv_store_open(environment->data_directory, map_bytes, &kv->store, error, error_size);
    if (r == 0)
        r = load_last_marker(kv, error, error_size);
    if (r == 0)
        r = load_branches(kv, error, error_size);
    if (r == 0)
        *ret_resource = kv;
    else
        close_kv(kv);
    return r;
}

/* --- one branch ------------------------------------------------------------------------------- */

static void begin(void *resource, struct assent_call *call)
{
    struct kv *kv = resource;
    struct kv_branch *branch;
    char error[ASSENT_REASON_MAX + 1];
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    int r;

    if (kv_answer_failed(kv, call))
        return;
    r = kv_branch_add(kv, &call->id, false, &branch);
    if (r == ASSENT_E_UNKNOWN) {
        /* A late repeat of work that has committed must not run a second time. */
        assent_branch_id_encode(&call->id, name);
        r = kv_store_marker(kv->store, name, error);
        if (r == 0) {
            kv_answer(call, ASSENT_RM_WAS_COMMITTED, "the branch has committed");
            return;
        }
        if (r != ASSENT_E_NOT_FOUND) {
            kv_answer(call, ASSENT_RM_UNAVAILABLE, "%s", error);
            return;
        }
        r = kv_branch_add(kv, &call->id, true, &branch);
    }
    if (r == ASSENT_E_STATE && branch->prepared)
        kv_answer(call, ASSENT_RM_FAILED, "the branch is prepared already");
    else if (r == ASSENT_E_LIMIT)
        kv_answer(call, ASSENT_RM_FAILED, "kv: over %u branches are open", KV_BRANCHES_MAX);
    else if (r != 0 && r != ASSENT_E_STATE)
        kv_answer(call, ASSENT_RM_FAILED, "%s", assent_error_text(r));
    else
        kv_result(call, ASSENT_RM_OK);
}

static void work(void *resource, struct assent_call *call)
{
    struct kv *kv = resource;
    struct kv_branch *branch = kv_branch_find(kv, &call->id);

    call->reply = NULL;
    call->reply_size = 0;
    if (kv_answer_failed(kv, call))
        return;
    if (branch == NULL)
        kv_answer(call, ASSENT_RM_REFUSED, "no such branch");
    else if (call->no_wait && (!STAILQ_EMPTY(&branch->holds) || call->work_size > KV_TRY_BYTES_MAX))
        call->would_wait = true;
    else
        kv_work(kv, branch, call);
}

/* The call says which: prepare, commit, one-phase commit or rollback. They wait for the disk. */
static void finish(void *resource, struct assent_call *call)
{
    call->would_wait = call->no_wait;
    if (!call->would_wait)
        kv_batch(resource, &call, 1);
}

static void forget(void *resource, struct assent_call *call)
{
    struct kv *kv = resource;

    if (kv_answer_failed(kv, call))
        return;
    if (!call->no_wait)
        kv_batch(kv, &call, 1);
    else if (!kv_forget_later(kv, call))
        call->would_wait = true;
}

static void batch(void *resource, struct assent_call **calls, size_t count)
{
    kv_batch(resource, calls, count);
}

static void evidence(void *resource, struct assent_call *call)
{
    struct kv *kv = resource;
    struct kv_branch *branch = kv_branch_find(kv, &call->id);
    char error[ASSENT_REASON_MAX + 1];
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    int r;

    if (kv_answer_failed(kv, call))
        return;
    if (branch != NULL) {
        if (branch->prepared)
            kv_result(call, ASSENT_RM_OK);
        else
            kv_answer(call, ASSENT_RM_VANISHED, "the branch is not prepared");
        return;
    }
    assent_branch_id_encode(&call->id, name);
    r = kv_store_marker(kv->store, name, error);
    if (r == 0)
        kv_answer(call, ASSENT_RM_WAS_COMMITTED, "its marker is here");
    else if (r == ASSENT_E_NOT_FOUND) /* a commit always leaves its marker, until it is forgotten */
        kv_answer(call, ASSENT_RM_WAS_ABORTED, "neither intents nor marker are here");
    else
        kv_answer(call, r == ASSENT_E_CORRUPT ? ASSENT_RM_UNKNOWN_CODE : ASSENT_RM_UNAVAILABLE,
                  "%s", error);
}

/* --- questions -------------------------------------------------------------------------------- */

struct listing {
    void (*found)(const struct assent_branch_id *id, void *context);
    void *context;
    size_t limit;
};

static bool list_branch(const void *key, size_t key_size, const void *body, size_t size,
                        void *context)
{
    struct listing *listing = context;
    struct assent_branch_id id;

    (void)key_size; /* checked with the record */
    (void)body;
    (void)size;
    assent_branch_id_decode(key, &id);
    listing->found(&id, listing->context);
    return --listing->limit > 0;
}

static int recover(void *resource, void (*found)(const struct assent_branch_id *id, void *context),
                   void *context)
{
    struct kv *kv = resource;
    struct listing listing = {.found = found, .context = context, .limit = SIZE_MAX};
    struct assent_call failed;
    char error[ASSENT_REASON_MAX + 1];

    if (kv_answer_failed(kv, &failed))
        return ASSENT_E_UNAVAILABLE;
    return kv_store_scan_intents(kv->store, list_branch, &listing, error);
}

static int markers(void *resource, const struct assent_branch_id *after, size_t limit,
                   void (*found)(const struct assent_branch_id *id, void *context), void *context)
{
    struct kv *kv = resource;
    struct listing listing = {.found = found, .context = context, .limit = limit};
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    char error[ASSENT_REASON_MAX + 1];

    if (after != NULL)
        assent_branch_id_encode(after, name);
    return kv_store_scan_markers(kv->store, after != NULL ? name : NULL, list_branch, &listing,
                                 error);
}

static int ping(void *resource, char *error, size_t error_size)
{
    struct kv *kv = resource;
    struct assent_call call;
    int r = ASSENT_E_UNAVAILABLE;

    if (kv_answer_failed(kv, &call) || (r = kv_store_ping(kv->store, call.reason)) != 0)
        snprintf(error, error_size, "%s", call.reason);
    return r;
}

struct dump {
    json_t *entries;
    size_t bytes;
    bool truncated, failed;
};

static bool dump_entry(const void *key, size_t key_size, const void *value, size_t size,
                       void *context)
{
    struct dump *dump = context;
    char name[KV_KEY_MAX + 1];

    dump->bytes += key_size + size;
    dump->truncated =
        json_object_size(dump->entries) == KV_DUMP_ENTRIES_MAX || dump->bytes > KV_REPLY_BYTES_MAX;
    if (dump->truncated)
        return false;
    snprintf(name, sizeof(name), "%.*s", (int)key_size, (const char *)key);
    dump->failed = json_object_set_new(dump->entries, name, json_stringn(value, size)) != 0;
    return !dump->failed;
}

static int query_dump(struct kv *kv, json_t **ret_json, char *error)
{
    struct dump dump = {.entries = json_object()};
    size_t prepared;
    int r;

    snprintf(error, ASSENT_REASON_MAX + 1, "kv: out of memory, or a value is not UTF-8");
    if (dump.entries == NULL)
        return ASSENT_E_NOMEM;
    pthread_mutex_lock(&kv->mutex);
    prepared = kv->prepared_count;
    pthread_mutex_unlock(&kv->mutex);
    r = kv_store_scan_data(kv->store, dump_entry, &dump, error);
    if (r == 0 && !dump.failed)
        *ret_json = json_pack("{s:O, s:I, s:b}", "entries", dump.entries, "prepared",
                              (json_int_t)prepared, "truncated", (int)dump.truncated);
    json_decref(dump.entries);
    if (r == 0 && (dump.failed || *ret_json == NULL))
        r = ASSENT_E_NOMEM;
    return r;
}

static int query_get(struct kv *kv, const char *key, json_t **ret_json, char *error)
{
    size_t key_size = strlen(key), size = 0;
    char *value = NULL, empty[1] = "";
    int r;

    if (key_size == 0 || key_size > KV_KEY_MAX || strpbrk(key, " \t\n") != NULL) {
        snprintf(error, ASSENT_REASON_MAX + 1, "kv: a key is 1 to %u bytes without blanks",
                 KV_KEY_MAX);
        return ASSENT_E_INVALID;
    }
    r = kv_store_get(kv->store, key, key_size, empty, 0, &value, &size, error);
    if (r == 0)
        *ret_json =
            json_pack("{s:s, s:s%}", "key", key, "value", value != NULL ? value : empty, size);
    else if (r == ASSENT_E_NOT_FOUND)
        *ret_json = json_pack("{s:s, s:n}", "key", key, "value");
    else
        return r;
    free(value);
    if (*ret_json == NULL) {
        snprintf(error, ASSENT_REASON_MAX + 1, "kv: out of memory, or the key is not UTF-8");
        return ASSENT_E_INVALID;
    }
    return 0;
}

static int query(void *resource, const char *command, char **ret_json, char *error,
                 size_t error_size)
{
    struct kv *kv = resource;
    char reason[ASSENT_REASON_MAX + 1];
    json_t *json = NULL;
    char *text = NULL;
    int r;

    if (strcmp(command, "dump") == 0)
        r = query_dump(kv, &json, reason);
    else if (strncmp(command, "get ", 4) == 0)
        r = query_get(kv, command + 4, &json, reason);
    else {
        snprintf(reason, sizeof(reason), "kv: the queries are \"get KEY\" and \"dump\"");
        r = ASSENT_E_INVALID;
    }
    if (r == 0 && (text = json_dumps(json, JSON_COMPACT)) == NULL) {
        snprintf(reason, sizeof(reason), "kv: out of memory");
        r = ASSENT_E_NOMEM;
    }
    json_decref(json);
    if (r == 0)
        *ret_json = text;
    else
        snprintf(error, error_size, "%s", reason);
    return r;
}

const struct assent_resource_ops assent_resource_kv = {
    .size = sizeof(struct assent_resource_ops),
    .type = "kv",
    .capabilities = ASSENT_CAP_PREPARED_LIST | ASSENT_CAP_EVIDENCE | ASSENT_CAP_ONE_PHASE |
                    ASSENT_CAP_BATCH | ASSENT_CAP_TRY,
    .open = open_kv,
    .close = close_kv,
    .begin = begin,
    .work = work,
    .prepare = finish,
    .commit = finish,
    .rollback = finish,
    .evidence = evidence,
    .forget = forget,
    .batch = batch,
    .recover = recover,
    .ping = ping,
    .query = query,
    .markers = markers,
};
