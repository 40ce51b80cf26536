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

struct kv_branch *kv_branch_find(struct kv *kv, const struct assent_branch_id *id)
{
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    struct kv_branch *branch;

    assent_branch_id_encode(id, name);
    pthread_mutex_lock(&kv->mutex);
    HASH_FIND(hh, kv->branches, name, sizeof(name), branch);
    pthread_mutex_unlock(&kv->mutex);
    return branch;
}

int kv_branch_add(struct kv *kv, const struct assent_branch_id *id, struct kv_branch **ret_branch)
{
    struct kv_branch *branch = calloc(1, sizeof(*branch));
    int r = 0;

    if (branch == NULL)
        return ASSENT_E_NOMEM;
    branch->id = *id;
    assent_branch_id_encode(id, branch->name);
    pthread_mutex_lock(&kv->mutex);
    if (HASH_COUNT(kv->branches) >= KV_BRANCHES_MAX) {
        r = ASSENT_E_LIMIT;
    } else {
        HASH_ADD(hh, kv->branches, name, sizeof(branch->name), branch);
        if (branch->hh.tbl == NULL)
            r = ASSENT_E_NOMEM;
    }
    pthread_mutex_unlock(&kv->mutex);
    if (r == 0)
        *ret_branch = branch;
    else
        free(branch);
    return r;
}

void kv_branch_set_prepared(struct kv *kv, struct kv_branch *branch)
{
    pthread_mutex_lock(&kv->mutex);
    if (!branch->prepared)
        kv->prepared_count++;
    branch->prepared = true;
    pthread_mutex_unlock(&kv->mutex);
}

void kv_branch_drop(struct kv *kv, struct kv_branch *branch)
{
    pthread_mutex_lock(&kv->mutex);
    HASH_DEL(kv->branches, branch);
    if (branch->prepared)
        kv->prepared_count--;
    pthread_mutex_unlock(&kv->mutex);
    kv_unlock_all(&kv->locks, branch);
    free(branch);
}

bool kv_branch_wrote(const struct kv_branch *branch)
{
    for (const struct kv_hold *hold = branch->holds; hold != NULL; hold = hold->hh.next)
        if (hold->write != KV_WRITE_NONE)
            return true;
    return false;
}

int kv_branch_encode(const struct kv_branch *branch, void **ret_body, size_t *ret_size)
{
    const struct kv_hold *hold;
    struct assent_writer writer;
    size_t size = 4, key_size;
    const char *key;
    void *body;

    for (hold = branch->holds; hold != NULL; hold = hold->hh.next) {
        kv_hold_key(hold, &key_size);
        size += 3 + key_size + (hold->write == KV_WRITE_PUT ? 4 + hold->value_size : 0);
    }
    if ((body = malloc(size)) == NULL)
        return ASSENT_E_NOMEM;
    assent_writer_init(&writer, body, size);
    assent_write_u32(&writer, HASH_COUNT(branch->holds));
    for (hold = branch->holds; hold != NULL; hold = hold->hh.next) {
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
    int r;

    assent_read_raw(reader, key, key_size);
    if (reader->failed || mode > KV_EXCLUSIVE || write > KV_WRITE_DELETE)
        return ASSENT_E_CORRUPT;
    r = kv_lock(&kv->locks, branch, key, key_size, (enum kv_mode)mode, 0, &hold, &holder);
    if (r != 0) /* these branches held their locks side by side before */
        return r == ASSENT_E_TIMEOUT ? ASSENT_E_CORRUPT : r;
    hold->write = (enum kv_write)write;
    if (hold->write != KV_WRITE_PUT)
        return 0;
    hold->value_size = assent_read_u32(reader);
    if (hold->value_size > KV_VALUE_MAX)
        return ASSENT_E_CORRUPT;
    if ((hold->value = malloc(hold->value_size + 1)) == NULL)
        return ASSENT_E_NOMEM;
    assent_read_raw(reader, hold->value, hold->value_size);
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
