/* batch.c: requests packed one after the other; not their order of life, which is the writer's. */
#include "batch.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY_FIRST (64 * 1024)
/* What a spare batch may keep. */
#define CAPACITY_KEPT (1024 * 1024)

static size_t request_bytes(size_t key_size, size_t value_size)
{
    size_t bytes = sizeof(struct assent_request) + key_size + value_size;
    size_t align = _Alignof(struct assent_request);

    return (bytes + align - 1) / align * align;
}

struct assent_batch *assent_batch_new(void)
{
    return calloc(1, sizeof(struct assent_batch));
}

void assent_batch_free(struct assent_batch *batch)
{
    if (batch == NULL)
        return;
    free(batch->data);
    free(batch);
}

void assent_batch_reset(struct assent_batch *batch)
{
    if (batch->capacity > CAPACITY_KEPT) {
        free(batch->data);
        batch->data = NULL;
        batch->capacity = 0;
    }
    batch->used = batch->count = batch->forced = batch->wanted = 0;
}

static int reserve(struct assent_batch *batch, size_t bytes)
{
    size_t capacity = batch->capacity > 0 ? batch->capacity : CAPACITY_FIRST;
    uint8_t *data;

    if (batch->capacity - batch->used >= bytes)
        return 0;
    while (capacity - batch->used < bytes)
        capacity *= 2;
    data = realloc(batch->data, capacity);
    if (data == NULL)
        return ASSENT_E_NOMEM;
    batch->data = data;
    batch->capacity = capacity;
    return 0;
}

int assent_batch_add(struct assent_batch *batch, const struct assent_put *put)
{
    size_t value_size = (put->flags & ASSENT_PUT_DELETE) ? 0 : put->value_size;
    size_t bytes = request_bytes(put->key_size, value_size);
    struct assent_request *request;
    int error = reserve(batch, bytes);

    if (error < 0)
        return error;
    request = (struct assent_request *)(void *)(batch->data + batch->used);
    *request = (struct assent_request){
        .token = put->token,
        .token2 = put->token2,
        .value_size = (uint32_t)value_size,
        .key_size = (uint8_t)put->key_size,
        .table = (uint8_t)put->table,
        .flags = (uint8_t)put->flags,
        .standing = ASSENT_DECISION_NONE,
    };
    memcpy(request->bytes, put->key, put->key_size);
    if (value_size > 0)
        memcpy(request->bytes + put->key_size, put->value, value_size);
    batch->used += bytes;
    batch->count++;
    if (!(put->flags & ASSENT_PUT_LAZY))
        batch->forced++;
    if (put->token != 0)
        batch->wanted++;
    return 0;
}

struct assent_request *assent_batch_next(const struct assent_batch *batch, size_t *offset)
{
    struct assent_request *request;

    if (*offset == batch->used)
        return NULL;
    request = (struct assent_request *)(void *)(batch->data + *offset);
    *offset += request_bytes(request->key_size, request->value_size);
    return request;
}
