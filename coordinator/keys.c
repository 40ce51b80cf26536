/* keys.c: the index of idempotency keys. */
#include "keys.h"

#include <stdlib.h>
#include <string.h>

#include "gtrid.h"
#include "hash.h"

struct key {
    UT_hash_handle hh;
    struct assent_gtrid gtrid;
    char text[];
};

static struct key *find(const struct keys *keys, const char *text)
{
    struct key *key;

    HASH_FIND(hh, keys->by_text, text, strlen(text), key);
    return key;
}

static void set_count(struct keys *keys)
{
    atomic_store_explicit(&keys->count, HASH_COUNT(keys->by_text), memory_order_relaxed);
}

bool keys_add(struct keys *keys, const char *text, const struct assent_gtrid *gtrid)
{
    size_t size = strlen(text);
    struct key *key;

    if (size == 0 || find(keys, text) != NULL)
        return true;
    key = malloc(sizeof(*key) + size + 1);
    if (key == NULL)
        return false;
    key->gtrid = *gtrid;
    memcpy(key->text, text, size + 1);
    HASH_ADD_KEYPTR(hh, keys->by_text, key->text, size, key);
    set_count(keys);
    return true;
}

const struct assent_gtrid *keys_find(const struct keys *keys, const char *text)
{
    struct key *key = text[0] == '\0' ? NULL : find(keys, text);

    return key == NULL ? NULL : &key->gtrid;
}

void keys_remove(struct keys *keys, const char *text, const struct assent_gtrid *gtrid)
{
    struct key *key = find(keys, text);

    if (key == NULL || !assent_gtrid_equal(&key->gtrid, gtrid))
        return;
    HASH_DEL(keys->by_text, key);
    set_count(keys);
    free(key);
}

size_t keys_count(const struct keys *keys)
{
    return atomic_load_explicit(&keys->count, memory_order_relaxed);
}

/* FNV-1a. */
uint32_t keys_hash(const char *text)
{
    uint32_t hash = 2166136261u;

    for (; *text != '\0'; text++)
        hash = (hash ^ (uint8_t)*text) * 16777619u;
    return hash;
}

void keys_fini(struct keys *keys)
{
    struct key *key, *next;

    HASH_ITER (hh, keys->by_text, key, next) {
        HASH_DEL(keys->by_text, key);
        free(key);
    }
}
