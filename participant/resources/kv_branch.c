/*
 * kv_branch.c: the branches that the kv resource knows, in memory, and the body of the intents
 * record that a prepared branch has on disk. Deliberately not here: when either changes.
 *
 *   body: u32 number of holds, then per hold: u8 mode, u8 write, u8 key size, key,
 *         if it puts: u32 value size, value
 */
#include "kv.h"

#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "id_table.h"

struct kv_branch *kv_branch_at(const struct kv *kv, const struct assent_branch_id *id)
{
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    struct kv_branch *branch;

    assent_branch_id_encode(id, name);
    HASH_FIND(hh, kv->branches, name, sizeof(name), branch);
    return branch;
}

struct kv_branch *kv_branch_find(struct kv *kv, const struct assent_branch_id *id)
{
    struct kv_branch *branch;

    pthread_mutex_lock(&kv->mutex);
    branch = kv_branch_at(kv, id);
    pthread_mutex_unlock(&kv->mutex);
    return branch;
}

/* The loop's core wrote it: it comes here while others are looked at. */
static void fetch_ahead(const struct kv_branch *branch)
{
    const struct kv_hold *hold = STAILQ_FIRST(&branch->holds);

    if (hold == NULL)
        return;
    __builtin_prefetch((const char *)hold + 64);
    kv_hold_fetch_key(hold);
}

void kv_branch_find_all(struct kv *kv, struct assent_call **calls, struct kv_branch **ret_branches,
                        size_t count)
{
    pthread_mutex_lock(&kv->mutex);
    for (size_t i = 0; i < count; i++) {
        ret_branches[i] = kv_branch_at(kv, &calls[i]->id);
        if (ret_branches[i] != NULL)
            __builtin_prefetch(STAILQ_FIRST(&ret_branches[i]->holds));
    }
    pthread_mutex_unlock(&kv->mutex);
    for (size_t i = 0; i < count; i++)
        if (ret_branches[i] != NULL)
            fetch_ahead(ret_branches[i]);
}

/* Under the mutex. */
static int add(struct kv *kv, const struct assent_branch_id *id, struct kv_branch **ret_branch)
{
    struct kv_branch *branch;

    if (HASH_COUNT(kv->branches) >= KV_BRANCHES_MAX)
        return ASSENT_E_LIMIT;
    if ((branch = assent_pool_take(&kv->branch_pool)) == NULL)
        return ASSENT_E_NOMEM;
    branch->id = *id;
    assent_branch_id_encode(id, branch->name);
    STAILQ_INIT(&branch->holds);
    ASSENT_ID_ADD(kv->branches, kv->branches_kept, name, branch);
    if (branch->hh.tbl == NULL) {
        assent_pool_give(&kv->branch_pool, branch);
        return ASSENT_E_NOMEM;
    }
    *ret_branch = branch;
    return 0;
}

int kv_branch_add(struct kv *kv, const struct assent_branch_id *id, bool unmarked,
                  struct kv_branch **ret_branch)
{
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    struct kv_branch *branch;
    int r;

    assent_branch_id_encode(id, name);
    pthread_mutex_lock(&kv->mutex);
    if ((branch = kv_branch_at(kv, id)) != NULL) {
        *ret_branch = branch;
        r = ASSENT_E_STATE;
    } else if (!unmarked && memcmp(name, kv->last_marker, sizeof(name)) <= 0) {
        r = ASSENT_E_UNKNOWN;
    } else {
        r = add(kv, id, ret_branch);
    }
    pthread_mutex_unlock(&kv->mutex);
    return r;
}

void kv_branch_set_prepared(struct kv *kv, struct kv_branch *branch)
{
    if (!branch->prepared)
        kv->prepared_count++;
    branch->prepared = true;
}

void kv_branch_marked(struct kv *kv, const uint8_t name[ASSENT_BRANCH_ID_BYTES])
{
    if (memcmp(name, kv->last_marker, sizeof(kv->last_marker)) > 0)
        memcpy(kv->last_marker, name, sizeof(kv->last_marker));
}

void kv_branches_drop(struct kv *kv, struct kv_branch **branches, size_t count)
{
    pthread_mutex_lock(&kv->mutex);
    for (size_t i = 0; i < count; i++) {
        if (branches[i] == NULL)
            continue;
        ASSENT_ID_DEL(kv->branches, kv->branches_kept, branches[i]);
        if (branches[i]->prepared)
            kv->prepared_count--;
    }
    pthread_mutex_unlock(&kv->mutex);
    kv_unlock_all(&kv->locks, branches, count);
    pthread_mutex_lock(&kv->mutex);
    for (size_t i = 0; i < count; i++) {
        if (branches[i] == NULL)
            continue;
        free(branches[i]->reason);
        assent_pool_give(&kv->branch_pool, branches[i]);
    }
    pthread_mutex_unlock(&kv->mutex);
}

void kv_branches_fini(struct kv *kv)
{
    while (kv->branches != NULL)
        kv_branches_drop(kv, &(struct kv_branch *){kv->branches}, 1);
    assent_id_table_free(kv->branches_kept);
    assent_pool_fini(&kv->branch_pool);
}

bool kv_branch_wrote(const struct kv_branch *branch)
{
    const struct kv_hold *hold;

    STAILQ_FOREACH (hold, &branch->holds, of_branch)
        if (hold->write != KV_WRITE_NONE)
            return true;
    return false;
}

const char *kv_branch_reason(const struct kv_branch *branch)
{
    return branch->reason != NULL ? branch->reason : "out of memory";
}

int kv_branch_encode(const struct kv_branch *branch, void **ret_body, size_t *ret_size)
{
    const struct kv_hold *hold;
    struct assent_writer writer;
    size_t size = 4, key_size;
    uint32_t count = 0;
    const char *key;
    void *body;

    STAILQ_FOREACH (hold, &branch->holds, of_branch) {
        kv_hold_key(hold, &key_size);
        count++;
        size += 3 + key_size + (hold->write == KV_WRITE_PUT ? 4 + hold->value_size : 0);
    }
    if ((body = malloc(size)) == NULL)
        return ASSENT_E_NOMEM;
    assent_writer_init(&writer, body, size);
    assent_write_u32(&writer, count);
    STAILQ_FOREACH (hold, &branch->holds, of_branch) {
        key = kv_hold_key(hold, &key_size);
        assent_write_u8(&writer, (uint8_t)hold->mode);
        assent_write_u8(&writer, (uint8_t)hold->write);
        assent_write_u8(&writer, (uint8_t)key_size);
        assent_write_raw(&writer, key, key_size);
        if (hold->write == KV_WRITE_PUT) {
            assent_write_u32(&writer, (uint32_t)hold->value_size);
            assent_write_raw(&writer, hold->value, hold->value_size);
        }
    }
    *ret_body = body;
    *ret_size = size;
    return 0;
}

/* Whatever is out of range makes the reader fail, so that the caller checks one thing. */
static int decode_hold(struct kv *kv, struct kv_branch *branch, struct assent_reader *reader)
{
    uint8_t mode = assent_read_u8(reader), write = assent_read_u8(reader);
    char key[KV_KEY_MAX];
    size_t key_size = assent_read_u8(reader);
    struct assent_branch_id holder;
    struct kv_hold *hold;
    size_t value_size;
    char *value;
    int r;

    assent_read_raw(reader, key, key_size);
    if (reader->failed || key_size == 0 || mode > KV_EXCLUSIVE || write > KV_WRITE_DELETE)
        return ASSENT_E_CORRUPT;
    r = kv_lock(&kv->locks, branch, key, key_size, (enum kv_mode)mode, 0, &hold, &holder);
    if (r != 0) /* these branches held their locks side by side before */
        return r == ASSENT_E_TIMEOUT ? ASSENT_E_CORRUPT : r;
    hold->write = (enum kv_write)write;
    if (hold->write != KV_WRITE_PUT)
        return 0;
    value_size = assent_read_u32(reader);
    if (value_size > KV_VALUE_MAX)
        return ASSENT_E_CORRUPT;
    if ((value = kv_hold_value(hold, value_size)) == NULL)
        return ASSENT_E_NOMEM;
    assent_read_raw(reader, value, value_size);
    return reader->failed ? ASSENT_E_CORRUPT : 0;
}

int kv_branch_decode(struct kv *kv, struct kv_branch *branch, const void *body, size_t size)
{
    struct assent_reader reader;
    uint32_t count;
    int r = 0;

    assent_reader_init(&reader, body, size);
    count = assent_read_u32(&reader);
    for (uint32_t i = 0; r == 0 && i < count; i++)
        r = decode_hold(kv, branch, &reader);
    if (r == 0 && (reader.failed || reader.offset != size))
        r = ASSENT_E_CORRUPT;
    return r;
}
