/*
 * kv_store.c: LMDB for the kv resource, see kv_store.h. The environment has MDB_NOTLS and no other
 * flag: each commit is synced. Read transactions last for one call.
 */
#include "kv_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

#include "bytes.h"
#include "lmdb_readers.h"

#define READERS_MAX    1024 /* threads that read at one moment */
#define RECORD_VERSION 1
#define WRITE_OVERHEAD 4096 /* LMDB copies the page it writes into */
#define SEAL_BYTES     5    /* version before the body, CRC-32 after it */

static const char format_key[] = "format";
static const char format_value[] = "assent-kv 1";

struct kv_store {
    MDB_env *env;
    MDB_dbi data, intents, markers, meta;
    int lock_fd; /* of the directory: held by flock while open */
    struct assent_lmdb_readers readers;
};

/* The code for what LMDB returned, with a sentence unless the key is just not there. */
static int fail(int rc, const char *doing, char *error)
{
    if (rc == MDB_NOTFOUND)
        return ASSENT_E_NOT_FOUND;
    snprintf(error, ASSENT_REASON_MAX + 1, "kv store: %s: %s", doing, mdb_strerror(rc));
    switch (rc) {
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
        return ASSENT_E_FULL;
    case ENOMEM:
        return ASSENT_E_NOMEM;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
        return ASSENT_E_CORRUPT;
    case MDB_VERSION_MISMATCH:
        return ASSENT_E_VERSION;
    default:
        return ASSENT_E_IO;
    }
}

static MDB_val bytes(const void *data, size_t size)
{
    /* LMDB's values are not const, yet it only reads those given to it. */
    return (MDB_val){.mv_data = (void *)(uintptr_t)data, .mv_size = size};
}

/* --- records with a checksum ------------------------------------------------------------------ */

/* Over the name too, so that a record under another branch's name is not believed. */
static uint32_t checksum(const uint8_t name[ASSENT_BRANCH_ID_BYTES], const void *record,
                         size_t size)
{
    uLong crc = crc32(0, name, ASSENT_BRANCH_ID_BYTES);

    return (uint32_t)crc32_z(crc, record, size);
}

static void spend_room(struct kv_txn *txn, size_t size)
{
    size += WRITE_OVERHEAD;
    txn->room -= size < txn->room ? size : txn->room;
}

static int put_sealed(struct kv_txn *txn, MDB_cursor *table, const char *doing,
                      const uint8_t name[ASSENT_BRANCH_ID_BYTES], const void *body, size_t size,
                      char *error)
{
    MDB_val key = bytes(name, ASSENT_BRANCH_ID_BYTES), value = bytes(NULL, size + SEAL_BYTES);
    struct assent_writer writer;
    int rc = mdb_cursor_put(table, &key, &value, MDB_RESERVE);

    if (rc != 0)
        return fail(rc, doing, error);
    txn->dirty = true;
    spend_room(txn, size);
    assent_writer_init(&writer, value.mv_data, value.mv_size);
    assent_write_u8(&writer, RECORD_VERSION);
    assent_write_raw(&writer, body, size);
    assent_write_u32(&writer, checksum(name, value.mv_data, size + 1));
    return 0;
}

/* Checks a record and points *ret_body into it. */
static int unseal(const MDB_val *key, const MDB_val *value, const char *what,
                  const uint8_t **ret_body, size_t *ret_size, char *error)
{
    const uint8_t *record = value->mv_data;
    struct assent_reader reader;
    struct assent_branch_id id;
    char gtrid[ASSENT_GTRID_TEXT + 1];

    if (key->mv_size != ASSENT_BRANCH_ID_BYTES) {
        snprintf(error, ASSENT_REASON_MAX + 1, "kv store: %s under a name of %zu bytes", what,
                 key->mv_size);
        return ASSENT_E_CORRUPT;
    }
    if (value->mv_size >= SEAL_BYTES) {
        assent_reader_init(&reader, record + value->mv_size - 4, 4);
        if (assent_read_u32(&reader) == checksum(key->mv_data, record, value->mv_size - 4) &&
            record[0] == RECORD_VERSION) {
            *ret_body = record + 1;
            *ret_size = value->mv_size - SEAL_BYTES;
            return 0;
        }
    }
    assent_branch_id_decode(key->mv_data, &id);
    assent_gtrid_format(&id.gtrid, gtrid);
    snprintf(error, ASSENT_REASON_MAX + 1, "kv store: the %s of %s branch %u is damaged", what,
             gtrid, id.branch);
    return ASSENT_E_CORRUPT;
}

/* --- open and close --------------------------------------------------------------------------- */

static int lock_directory(struct kv_store *store, const char *directory, char *error,
                          size_t error_size)
{
    store->lock_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->lock_fd < 0) {
        snprintf(error, error_size, "kv: cannot open %s: %s", directory, strerror(errno));
        return ASSENT_E_IO;
    }
    /* The logical locks are in memory: a second process would not see them. */
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        int held = errno == EWOULDBLOCK;

        snprintf(error, error_size, "kv: cannot lock %s: %s", directory,
                 held ? "another process has it open" : strerror(errno));
        return held ? ASSENT_E_LOCKED : ASSENT_E_IO;
    }
    return 0;
}

/* A file cut short would end the process by SIGBUS at some later read. To know one it is made as
 * long as its map (sparse: that takes no blocks): LMDB itself may leave it short of its last page,
 * if that was taken and freed in one transaction. */
static int check_file_size(struct kv_store *store, char *error)
{
    MDB_envinfo info;
    MDB_stat stat;
    struct stat file;
    int fd, rc;

    if ((rc = mdb_env_info(store->env, &info)) != 0 ||
        (rc = mdb_env_stat(store->env, &stat)) != 0 || (rc = mdb_env_get_fd(store->env, &fd)) != 0)
        return fail(rc, "reading its size", error);
    if (fstat(fd, &file) != 0)
        return fail(errno, "reading its size", error);
    if ((uint64_t)file.st_size < (info.me_last_pgno + 1) * stat.ms_psize) {
        snprintf(error, ASSENT_REASON_MAX + 1, "kv store: data.mdb is cut short at %lld bytes",
                 (long long)file.st_size);
        return ASSENT_E_CORRUPT;
    }
    if ((uint64_t)file.st_size < info.me_mapsize && ftruncate(fd, (off_t)info.me_mapsize) != 0)
        return fail(errno, "making it as long as its map", error);
    return 0;
}

static int check_format(struct kv_store *store, MDB_txn *txn, char *error)
{
    MDB_val key = bytes(format_key, strlen(format_key)), found;
    MDB_val value = bytes(format_value, strlen(format_value));
    int rc = mdb_get(txn, store->meta, &key, &found);

    if (rc == MDB_NOTFOUND)
        rc = mdb_put(txn, store->meta, &key, &value, 0);
    else if (rc == 0 && (found.mv_size != value.mv_size ||
                         memcmp(found.mv_data, value.mv_data, value.mv_size) != 0)) {
        snprintf(error, ASSENT_REASON_MAX + 1, "kv store: its format is not \"%s\"", format_value);
        return ASSENT_E_VERSION;
    }
    return rc == 0 ? 0 : fail(rc, "reading its format", error);
}

static int open_tables(struct kv_store *store, char *error)
{
    MDB_txn *txn = NULL;
    int rc, r;

    if ((rc = mdb_txn_begin(store->env, NULL, 0, &txn)) != 0)
        return fail(rc, "opening its tables", error);
    if ((rc = mdb_dbi_open(txn, "data", MDB_CREATE, &store->data)) != 0 ||
        (rc = mdb_dbi_open(txn, "intents", MDB_CREATE, &store->intents)) != 0 ||
        (rc = mdb_dbi_open(txn, "markers", MDB_CREATE, &store->markers)) != 0 ||
        (rc = mdb_dbi_open(txn, "meta", MDB_CREATE, &store->meta)) != 0) {
        r = fail(rc, "opening its tables", error);
        goto out;
    }
    if ((r = check_format(store, txn, error)) != 0)
        goto out;
    rc = mdb_txn_commit(txn);
    txn = NULL;
    r = rc == 0 ? 0 : fail(rc, "opening its tables", error);
out:
    if (txn != NULL)
        mdb_txn_abort(txn);
    return r;
}

static int open_environment(struct kv_store *store, const char *directory, uint64_t map_bytes,
                            char *error)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    int rc, r;

    if ((rc = mdb_env_create(&store->env)) != 0 ||
        (rc = mdb_env_set_mapsize(store->env, (map_bytes + page - 1) / page * page)) != 0 ||
        (rc = mdb_env_set_maxdbs(store->env, 4)) != 0 ||
        (rc = mdb_env_set_maxreaders(store->env, READERS_MAX)) != 0 ||
        (rc = mdb_env_open(store->env, directory, MDB_NOTLS, 0600)) != 0)
        return fail(rc, "opening it", error);
    if ((r = check_file_size(store, error)) != 0)
        return r;
    return open_tables(store, error);
}

int kv_store_open(const char *directory, uint64_t map_bytes, struct kv_store **ret_store,
                  char *error, size_t error_size)
{
    struct kv_store *store = calloc(1, sizeof(*store));
    char reason[ASSENT_REASON_MAX + 1] = "";
    int r;

    if (store == NULL) {
        snprintf(error, error_size, "kv: out of memory");
        return ASSENT_E_NOMEM;
    }
    r = lock_directory(store, directory, error, error_size);
    if (r == 0 && (r = open_environment(store, directory, map_bytes, reason)) != 0)
        snprintf(error, error_size, "%s: %s", directory, reason);
    if (r == 0)
        *ret_store = store;
    else
        kv_store_close(store);
    return r;
}

void kv_store_close(struct kv_store *store)
{
    if (store == NULL)
        return;
    assent_lmdb_readers_close(&store->readers);
    if (store->env != NULL)
        mdb_env_close(store->env);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    free(store);
}

/* --- reads ------------------------------------------------------------------------------------ */

int kv_store_get(struct kv_store *store, const char *key, size_t key_size, char *near,
                 size_t near_size, char **ret_far, size_t *ret_size, char *error)
{
    MDB_val name = bytes(key, key_size), found;
    MDB_txn *txn = NULL;
    char *far = NULL;
    int rc, r = 0;

    if ((rc = assent_lmdb_readers_begin(&store->readers, store->env, &txn)) != 0)
        return fail(rc, "reading", error);
    if ((rc = mdb_get(txn, store->data, &name, &found)) != 0)
        r = fail(rc, "reading", error);
    else if (found.mv_size > near_size && (far = malloc(found.mv_size)) == NULL)
        r = fail(ENOMEM, "reading", error);
    else {
        memcpy(far != NULL ? far : near, found.mv_data, found.mv_size);
        *ret_far = far;
        *ret_size = found.mv_size;
    }
    assent_lmdb_readers_end(&store->readers, txn);
    return r;
}

int kv_store_marker(struct kv_store *store, const uint8_t name[ASSENT_BRANCH_ID_BYTES], char *error)
{
    MDB_val key = bytes(name, ASSENT_BRANCH_ID_BYTES), found;
    MDB_txn *txn = NULL;
    const uint8_t *body;
    size_t size;
    int rc, r;

    if ((rc = assent_lmdb_readers_begin(&store->readers, store->env, &txn)) != 0)
        return fail(rc, "reading a marker", error);
    if ((rc = mdb_get(txn, store->markers, &key, &found)) != 0)
        r = fail(rc, "reading a marker", error);
    else if ((r = unseal(&key, &found, "marker", &body, &size, error)) == 0 &&
             (size != 1 || body[0] != ASSENT_OUTCOME_COMMITTED)) {
        snprintf(error, ASSENT_REASON_MAX + 1, "kv store: a marker of an unknown outcome");
        r = ASSENT_E_CORRUPT;
    }
    assent_lmdb_readers_end(&store->readers, txn);
    return r;
}

int kv_store_last_marker(struct kv_store *store, uint8_t ret_name[ASSENT_BRANCH_ID_BYTES],
                         char *error)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val key = {0}, value;
    int rc, r;

    if ((rc = assent_lmdb_readers_begin(&store->readers, store->env, &txn)) != 0)
        return fail(rc, "reading the last marker", error);
    if ((rc = mdb_cursor_open(txn, store->markers, &cursor)) == 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    if (rc != 0) {
        r = fail(rc, "reading the last marker", error);
    } else if (key.mv_size != ASSENT_BRANCH_ID_BYTES) {
        snprintf(error, ASSENT_REASON_MAX + 1, "kv store: marker under a name of %zu bytes",
                 key.mv_size);
        r = ASSENT_E_CORRUPT;
    } else {
        memcpy(ret_name, key.mv_data, ASSENT_BRANCH_ID_BYTES);
        r = 0;
    }
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    assent_lmdb_readers_end(&store->readers, txn);
    return r;
}

/* What comes after `after`; in a table of branches `sealed` names what is in it. */
static int scan(struct kv_store *store, MDB_dbi table, const char *sealed, const MDB_val *after,
                kv_store_visit *visit, void *context, char *error)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val key = after != NULL ? *after : bytes(NULL, 0), value;
    MDB_cursor_op op = after != NULL ? MDB_SET_RANGE : MDB_FIRST;
    const uint8_t *body;
    size_t size;
    int rc, r = 0;

    if ((rc = assent_lmdb_readers_begin(&store->readers, store->env, &txn)) != 0)
        return fail(rc, "reading", error);
    if ((rc = mdb_cursor_open(txn, table, &cursor)) != 0)
        goto out;
    for (; (rc = mdb_cursor_get(cursor, &key, &value, op)) == 0; op = MDB_NEXT) {
        body = value.mv_data;
        size = value.mv_size;
        if (op == MDB_SET_RANGE && mdb_cmp(txn, table, &key, after) == 0)
            continue;
        if (sealed != NULL && (r = unseal(&key, &value, sealed, &body, &size, error)) != 0)
            goto out;
        if (!visit(key.mv_data, key.mv_size, body, size, context))
            goto out;
    }
out:
    if (rc != 0 && rc != MDB_NOTFOUND)
        r = fail(rc, "reading", error);
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    assent_lmdb_readers_end(&store->readers, txn);
    return r;
}

int kv_store_scan_data(struct kv_store *store, kv_store_visit *visit, void *context, char *error)
{
    return scan(store, store->data, NULL, NULL, visit, context, error);
}

int kv_store_scan_intents(struct kv_store *store, kv_store_visit *visit, void *context, char *error)
{
    return scan(store, store->intents, "intents", NULL, visit, context, error);
}

int kv_store_scan_markers(struct kv_store *store, const uint8_t after[ASSENT_BRANCH_ID_BYTES],
                          kv_store_visit *visit, void *context, char *error)
{
    MDB_val name = bytes(after, ASSENT_BRANCH_ID_BYTES);

    return scan(store, store->markers, "marker", after != NULL ? &name : NULL, visit, context,
                error);
}

int kv_store_ping(struct kv_store *store, char *error)
{
    MDB_txn *txn = NULL;
    MDB_stat stat;
    int rc = assent_lmdb_readers_begin(&store->readers, store->env, &txn);

    if (rc == 0) {
        rc = mdb_stat(txn, store->data, &stat);
        assent_lmdb_readers_end(&store->readers, txn);
    }
    return rc == 0 ? 0 : fail(rc, "reading", error);
}

/* --- writes ----------------------------------------------------------------------------------- */

/* Pages that earlier transactions freed: table 0 is LMDB's own list of them. */
static size_t free_pages(MDB_env *env)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    size_t pages = 0, count;

    if (mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0)
        return 0;
    if (mdb_cursor_open(txn, 0, &cursor) == 0) {
        while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
            memcpy(&count, value.mv_data, sizeof(count));
            pages += count;
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    return pages;
}

static uint64_t room_below_80_percent(const struct kv_store *store)
{
    MDB_envinfo info;
    MDB_stat stat;
    size_t limit, used;

    if (mdb_env_info(store->env, &info) != 0 || mdb_env_stat(store->env, &stat) != 0)
        return 0;
    limit = info.me_mapsize / stat.ms_psize / 5 * 4;
    used = info.me_last_pgno + 1;
    /* The file never shrinks, so its free pages count, but are only counted once it is long. */
    if (used > limit / 2)
        used -= free_pages(store->env);
    return used < limit ? (uint64_t)(limit - used) * stat.ms_psize : 0;
}

bool kv_txn_fits(const struct kv_txn *txn, size_t size)
{
    return size + WRITE_OVERHEAD <= txn->room;
}

int kv_txn_begin(struct kv_store *store, struct kv_txn *ret_txn, char *error)
{
    MDB_txn *handle = NULL;
    MDB_cursor *intents, *markers;
    int rc = mdb_txn_begin(store->env, NULL, 0, &handle);

    if (rc != 0)
        return fail(rc, "beginning to write", error);
    if ((rc = mdb_cursor_open(handle, store->intents, &intents)) != 0 ||
        (rc = mdb_cursor_open(handle, store->markers, &markers)) != 0) {
        mdb_txn_abort(handle);
        return fail(rc, "beginning to write", error);
    }
    *ret_txn = (struct kv_txn){.store = store,
                               .handle = handle,
                               .intents = intents,
                               .markers = markers,
                               .room = room_below_80_percent(store)};
    return 0;
}

int kv_txn_put(struct kv_txn *txn, const char *key, size_t key_size, const void *value, size_t size,
               char *error)
{
    MDB_val name = bytes(key, key_size), data = bytes(value, size);
    int rc = mdb_put(txn->handle, txn->store->data, &name, &data, 0);

    txn->dirty = true;
    spend_room(txn, size);
    return rc == 0 ? 0 : fail(rc, "writing", error);
}

/* Deletes without error what is not there. */
static int deleted(struct kv_txn *txn, int rc, char *error)
{
    if (rc == MDB_NOTFOUND)
        return 0;
    txn->dirty = true;
    return rc == 0 ? 0 : fail(rc, "deleting", error);
}

static int delete_branch(struct kv_txn *txn, MDB_cursor *table,
                         const uint8_t name[ASSENT_BRANCH_ID_BYTES], char *error)
{
    MDB_val key = bytes(name, ASSENT_BRANCH_ID_BYTES), value;
    int rc = mdb_cursor_get(table, &key, &value, MDB_SET);

    return deleted(txn, rc == 0 ? mdb_cursor_del(table, 0) : rc, error);
}

int kv_txn_delete(struct kv_txn *txn, const char *key, size_t key_size, char *error)
{
    MDB_val name = bytes(key, key_size);

    return deleted(txn, mdb_del(txn->handle, txn->store->data, &name, NULL), error);
}

int kv_txn_delete_intents(struct kv_txn *txn, const uint8_t name[ASSENT_BRANCH_ID_BYTES],
                          char *error)
{
    return delete_branch(txn, txn->intents, name, error);
}

int kv_txn_delete_marker(struct kv_txn *txn, const uint8_t name[ASSENT_BRANCH_ID_BYTES],
                         char *error)
{
    return delete_branch(txn, txn->markers, name, error);
}

/* A name begins with its log, and has its incarnation and sequence from byte 24 on. */
static bool is_swept_with(const MDB_val *key, const uint8_t name[ASSENT_BRANCH_ID_BYTES])
{
    return key->mv_size == ASSENT_BRANCH_ID_BYTES &&
           memcmp((const uint8_t *)key->mv_data + 24, name + 24, 8) <= 0;
}

int kv_txn_sweep_markers(struct kv_txn *txn, const uint8_t name[ASSENT_BRANCH_ID_BYTES],
                         size_t most, size_t *ret_deleted, char *error)
{
    MDB_val key = bytes(name, ASSENT_LOG_ID_BYTES), value;
    int rc = mdb_cursor_get(txn->markers, &key, &value, MDB_SET_RANGE);

    *ret_deleted = 0;
    while (rc == 0 && *ret_deleted < most && key.mv_size >= ASSENT_LOG_ID_BYTES &&
           memcmp(key.mv_data, name, ASSENT_LOG_ID_BYTES) == 0) {
        if (is_swept_with(&key, name)) {
            if ((rc = mdb_cursor_del(txn->markers, 0)) != 0)
                break;
            (*ret_deleted)++;
        }
        rc = mdb_cursor_get(txn->markers, &key, &value, MDB_NEXT);
    }
    if (*ret_deleted > 0)
        txn->dirty = true;
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : fail(rc, "sweeping markers", error);
}

int kv_txn_put_intents(struct kv_txn *txn, const uint8_t name[ASSENT_BRANCH_ID_BYTES],
                       const void *body, size_t size, char *error)
{
    return put_sealed(txn, txn->intents, "writing intents", name, body, size, error);
}

int kv_txn_put_marker(struct kv_txn *txn, const uint8_t name[ASSENT_BRANCH_ID_BYTES], char *error)
{
    const uint8_t outcome = ASSENT_OUTCOME_COMMITTED;

    return put_sealed(txn, txn->markers, "writing a marker", name, &outcome, 1, error);
}

void kv_txn_abort(struct kv_txn *txn)
{
    mdb_txn_abort(txn->handle);
}

int kv_txn_commit(struct kv_txn *txn, char *error)
{
    int rc = mdb_txn_commit(txn->handle);

    return rc == 0 ? 0 : fail(rc, "committing", error);
}
