/*
 * intern.c: equal bytes have equal numbers. Everything large is kept once, so that a state is a
 * few numbers and the visited set can be exact. Not a general table: nothing is ever removed but
 * all at once.
 */
#include <stdlib.h>
#include <string.h>

#include "explore.h"

void *grown(void *old, size_t count, size_t size)
{
    void *made = realloc(old, count * size);

    if (made == NULL)
        abort();
    return made;
}

static uint64_t hash(const uint8_t *data, size_t size)
{
    uint64_t h = size * 0x9e3779b97f4a7c15u, word;

    for (; size >= 8; data += 8, size -= 8) {
        memcpy(&word, data, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    word = 0;
    memcpy(&word, data, size);
    h = (h ^ word) * 0xff51afd7ed558ccdu;
    h ^= h >> 29;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 32;
}

static uint32_t *slot_of(const struct intern *t, const void *data, size_t size)
{
    size_t at = hash(data, size) & (t->slot_count - 1);

    for (;; at = (at + 1) & (t->slot_count - 1)) {
        uint32_t number = t->slots[at];
        size_t found;
        const void *item;

        if (number == NONE)
            return &t->slots[at];
        item = intern_get(t, number, &found);
        if (found == size && memcmp(item, data, size) == 0)
            return &t->slots[at];
    }
}

static void more_slots(struct intern *t)
{
    size_t old_count = t->slot_count;

    t->slot_count = old_count == 0 ? 1024 : old_count * 2;
    t->slots = grown(t->slots, t->slot_count, sizeof(*t->slots));
    memset(t->slots, 0xff, t->slot_count * sizeof(*t->slots));
    for (uint32_t i = 0; i < t->count; i++) {
        size_t size;
        const void *item = intern_get(t, i, &size);

        *slot_of(t, item, size) = i;
    }
}

const void *intern_get(const struct intern *table, uint32_t number, size_t *ret_size)
{
    *ret_size = (size_t)(table->offsets[number + 1] - table->offsets[number]);
    return table->bytes + table->offsets[number];
}

uint32_t intern_find(const struct intern *table, const void *data, size_t size)
{
    return table->slot_count == 0 ? NONE : *slot_of(table, data, size);
}

uint32_t intern_put(struct intern *t, const void *data, size_t size, bool *ret_new)
{
    uint32_t *slot;
    uint64_t offset;

    if (2 * ((size_t)t->count + 1) > t->slot_count)
        more_slots(t);
    slot = slot_of(t, data, size);
    *ret_new = *slot == NONE;
    if (!*ret_new)
        return *slot;
    if (t->count + 2 > t->item_capacity) {
        t->item_capacity = t->item_capacity == 0 ? 256 : 2 * t->item_capacity;
        t->offsets = grown(t->offsets, t->item_capacity, sizeof(*t->offsets));
        t->offsets[0] = 0;
    }
    offset = t->offsets[t->count];
    if (offset + size > t->bytes_capacity) {
        t->bytes_capacity = 2 * t->bytes_capacity + size + 4096;
        t->bytes = grown(t->bytes, t->bytes_capacity, 1);
    }
    memcpy(t->bytes + offset, data, size);
    t->offsets[t->count + 1] = offset + size;
    *slot = t->count;
    return t->count++;
}

void intern_clear(struct intern *t)
{
    free(t->bytes);
    free(t->offsets);
    free(t->slots);
    memset(t, 0, sizeof(*t));
}
