/*
 * lmdb_env.c: one LMDB environment: opening it safely, write transactions, reads, how full it is.
 *
 * Flags are MDB_NOTLS and, for a view, MDB_RDONLY; no other, since each of the rest gives up
 * durability or safety against a full disk. The data file is made as long as the map at once
 * (sparse: it takes no blocks). Then a file shorter than the pages that the log has reached was
 * surely cut, and can be refused before touching a missing page kills the process; without it LMDB
 * itself may leave the file short of its last page, when that page was taken and freed in one
 * transaction.
 */
#include "lmdb_env.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "envelope.h"
#include "lmdb_readers.h"
#include "runtime.h"

#define ROOM_PERCENT 80

static const char *const table_names[ASSENT_TABLE_COUNT] = {
    [ASSENT_TABLE_META] = "meta",
    [ASSENT_TABLE_TRANSACTION] = "transaction",
    [ASSENT_TABLE_PARTICIPANT] = "participant",
    [ASSENT_TABLE_BRANCH] = "branch",
};

/* No key of the table is above this one, so a put above it appends. */
struct top_key {
    uint8_t bytes[ASSENT_STORE_KEY_MAX];
    size_t size;
};

struct assent_lmdb {
    MDB_env *env;
    MDB_dbi tables[ASSENT_TABLE_COUNT];
    size_t page_bytes, map_bytes;
    /* By the writing thread: */
    MDB_txn *writer;
    struct top_key tops[ASSENT_TABLE_COUNT];
    /* By whoever reads, each with one of its own, and a visit of a scan that gets with another. */
    struct assent_lmdb_readers readers;
};

const char *assent_lmdb_text(int number)
{
    return mdb_strerror(number);
}

static int map_error(int number)
{
    switch (number) {
    case MDB_NOTFOUND:
        return ASSENT_E_NOT_FOUND;
    case ENOMEM:
        return ASSENT_E_NOMEM;
    case MDB_VERSION_MISMATCH:
        return ASSENT_E_VERSION;
    case MDB_INVALID:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INCOMPATIBLE:
        return ASSENT_E_CORRUPT;
    default:
        return ASSENT_E_IO;
    }
}

static int fail(const char *directory, const char *what, int number, char *error, size_t error_size)
{
    snprintf(error, error_size, "%s: %s: %s", directory, what, mdb_strerror(number));
    return map_error(number);
}

/* Before the first transaction: past the end of a cut file every page kills with SIGBUS. */
static int check_length(struct assent_lmdb *lmdb, const char *directory, bool read_only,
                        char *error, size_t error_size)
{
    uint64_t reached, length;
    MDB_envinfo info;
    MDB_stat pages;
    struct stat file;
    int fd, number = mdb_env_get_fd(lmdb->env, &fd);

    if (number == 0)
        number = mdb_env_info(lmdb->env, &info);
    if (number == 0)
        number = mdb_env_stat(lmdb->env, &pages);
    if (number == 0 && fstat(fd, &file) < 0)
        number = errno;
    if (number != 0)
        return fail(directory, "cannot examine data.mdb", number, error, error_size);
    lmdb->page_bytes = pages.ms_psize;
    lmdb->map_bytes = info.me_mapsize;
    reached = ((uint64_t)info.me_last_pgno + 1) * pages.ms_psize;
    length = (uint64_t)file.st_size;
    if (length < reached) {
        snprintf(error, error_size,
                 "%s: data.mdb is cut off: it has %llu bytes and the log in it reaches %llu",
                 directory, (unsigned long long)length, (unsigned long long)reached);
        return ASSENT_E_CORRUPT;
    }
    if (!read_only && length < info.me_mapsize && ftruncate(fd, (off_t)info.me_mapsize) < 0)
        return fail(directory, "cannot extend data.mdb to the size of its map", errno, error,
                    error_size);
    return 0;
}

static int load_top(struct assent_lmdb *lmdb, MDB_txn *txn, enum assent_table table)
{
    struct top_key *top = &lmdb->tops[table];
    MDB_cursor *cursor;
    MDB_val key, value;
    int number = mdb_cursor_open(txn, lmdb->tables[table], &cursor);

    if (number != 0)
        return number;
    number = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    mdb_cursor_close(cursor);
    if (number == MDB_NOTFOUND)
        return 0;
    if (number == 0 && key.mv_size > sizeof(top->bytes))
        return MDB_CORRUPTED;
    if (number == 0) {
        memcpy(top->bytes, key.mv_data, key.mv_size);
        top->size = key.mv_size;
    }
    return number;
}

static int open_tables(struct assent_lmdb *lmdb, bool read_only)
{
    MDB_txn *txn;
    int number = mdb_txn_begin(lmdb->env, NULL, read_only ? MDB_RDONLY : 0, &txn);

    if (number != 0)
        return number;
    for (int table = 0; table < ASSENT_TABLE_COUNT && number == 0; table++) {
        number =
            mdb_dbi_open(txn, table_names[table], read_only ? 0 : MDB_CREATE, &lmdb->tables[table]);
        if (number == 0)
            number = load_top(lmdb, txn, (enum assent_table)table);
    }
    if (number != 0) {
        mdb_txn_abort(txn);
        /* A log is made whole in its first transaction: a missing table is damage. */
        return number == MDB_NOTFOUND ? MDB_CORRUPTED : number;
    }
    return mdb_txn_commit(txn);
}

int assent_lmdb_open(const char *directory, bool read_only, uint64_t map_bytes,
                     struct assent_lmdb **ret_lmdb, char *error, size_t error_size)
{
    MDB_txn *reader;
    struct assent_lmdb *lmdb = calloc(1, sizeof(*lmdb));
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned flags = MDB_NOTLS | (read_only ? MDB_RDONLY : 0);
    int number, status;

    number = lmdb != NULL ? mdb_env_create(&lmdb->env) : ENOMEM;
    if (number == 0)
        number = mdb_env_set_maxdbs(lmdb->env, ASSENT_TABLE_COUNT);
    if (number == 0 && !read_only)
        number = mdb_env_set_mapsize(lmdb->env, (size_t)map_bytes / page * page);
    if (number == 0)
        number = mdb_env_open(lmdb->env, directory, flags, 0600);
    if (number != 0) {
        status = fail(directory, "cannot open data.mdb", number, error, error_size);
        goto out;
    }
    status = check_length(lmdb, directory, read_only, error, error_size);
    if (status < 0)
        goto out;
    number = open_tables(lmdb, read_only);
    if (number == 0)
        number = assent_lmdb_readers_begin(&lmdb->readers, lmdb->env, &reader);
    if (number != 0) {
        status = fail(directory, "cannot read data.mdb", number, error, error_size);
        goto out;
    }
    assent_lmdb_readers_end(&lmdb->readers, reader);
    *ret_lmdb = lmdb;
    return 0;
out:
    assent_lmdb_close(lmdb);
    return status;
}

void assent_lmdb_close(struct assent_lmdb *lmdb)
{
    if (lmdb == NULL)
        return;
    assent_lmdb_abort(lmdb);
    assent_lmdb_readers_close(&lmdb->readers);
    if (lmdb->env != NULL)
        mdb_env_close(lmdb->env);
    free(lmdb);
}

/* LMDB takes keys through a pointer to non-const, and only reads them. */
static MDB_val key_value(const void *key, size_t key_size)
{
    union {
        const void *in;
        void *out;
    } pointer = {.in = key};

    return (MDB_val){.mv_size = key_size, .mv_data = pointer.out};
}

int assent_lmdb_begin(struct assent_lmdb *lmdb)
{
    ASSENT_ASSERT(lmdb->writer == NULL);
    return mdb_txn_begin(lmdb->env, NULL, 0, &lmdb->writer);
}

/* True if the key goes behind all others; remembers it then. Appended pages are filled whole,
 * where an ordinary insert leaves them half empty. */
static bool appends(struct top_key *top, const void *key, size_t key_size)
{
    size_t common = key_size < top->size ? key_size : top->size;
    int order = memcmp(key, top->bytes, common);

    if (order < 0 || (order == 0 && key_size <= top->size))
        return false;
    memcpy(top->bytes, key, key_size);
    top->size = key_size;
    return true;
}

int assent_lmdb_put(struct assent_lmdb *lmdb, enum assent_table table, const void *key,
                    size_t key_size, const void *value, size_t value_size)
{
    MDB_val k = key_value(key, key_size), v = {.mv_size = ASSENT_ENVELOPE_BYTES + value_size};
    unsigned append = appends(&lmdb->tops[table], key, key_size) ? MDB_APPEND : 0;
    int number = mdb_put(lmdb->writer, lmdb->tables[table], &k, &v, MDB_RESERVE | append);

    if (number == 0)
        assent_envelope_seal(v.mv_data, table, key, key_size, value, value_size);
    return number;
}

int assent_lmdb_delete(struct assent_lmdb *lmdb, enum assent_table table, const void *key,
                       size_t key_size)
{
    MDB_val k = key_value(key, key_size);
    int number = mdb_del(lmdb->writer, lmdb->tables[table], &k, NULL);

    return number == MDB_NOTFOUND ? 0 : number;
}

int assent_lmdb_commit(struct assent_lmdb *lmdb)
{
    MDB_txn *txn = lmdb->writer;

    lmdb->writer = NULL;
    return mdb_txn_commit(txn);
}

void assent_lmdb_abort(struct assent_lmdb *lmdb)
{
    mdb_txn_abort(lmdb->writer);
    lmdb->writer = NULL;
}

static int find(struct assent_lmdb *lmdb, MDB_txn *txn, enum assent_table table, const void *key,
                size_t key_size, const uint8_t **ret_value, size_t *ret_size)
{
    MDB_val k = key_value(key, key_size), v;
    int number = mdb_get(txn, lmdb->tables[table], &k, &v);

    if (number != 0)
        return map_error(number);
    return assent_envelope_open(table, key, key_size, v.mv_data, v.mv_size, ret_value, ret_size);
}

int assent_lmdb_peek(struct assent_lmdb *lmdb, enum assent_table table, const void *key,
                     size_t key_size, const uint8_t **ret_value, size_t *ret_size)
{
    return find(lmdb, lmdb->writer, table, key, key_size, ret_value, ret_size);
}

int assent_lmdb_get(struct assent_lmdb *lmdb, enum assent_table table, const void *key,
                    size_t key_size, void *buffer, size_t cap, size_t *ret_size)
{
    const uint8_t *value;
    size_t size;
    MDB_txn *reader;
    int status, number = assent_lmdb_readers_begin(&lmdb->readers, lmdb->env, &reader);

    if (number != 0)
        return map_error(number);
    status = find(lmdb, reader, table, key, key_size, &value, &size);
    if (status == 0 && size > cap)
        status = ASSENT_E_TOO_BIG;
    if (status == 0) {
        memcpy(buffer, value, size);
        *ret_size = size;
    }
    assent_lmdb_readers_end(&lmdb->readers, reader);
    return status;
}

/* Moves to the first key above `after`. */
static int seek(MDB_cursor *cursor, const void *after, size_t after_size, MDB_val *key,
                MDB_val *value)
{
    int number;

    if (after == NULL)
        return mdb_cursor_get(cursor, key, value, MDB_FIRST);
    *key = key_value(after, after_size);
    number = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
    if (number == 0 && key->mv_size == after_size && memcmp(key->mv_data, after, after_size) == 0)
        number = mdb_cursor_get(cursor, key, value, MDB_NEXT);
    return number;
}

int assent_lmdb_scan(struct assent_lmdb *lmdb, enum assent_table table, const void *after,
                     size_t after_size, size_t limit, assent_store_visit *visit, void *context)
{
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    MDB_txn *reader;
    int number = assent_lmdb_readers_begin(&lmdb->readers, lmdb->env, &reader);

    if (number != 0)
        return map_error(number);
    number = mdb_cursor_open(reader, lmdb->tables[table], &cursor);
    if (number == 0)
        number = seek(cursor, after, after_size, &key, &value);
    for (size_t visited = 0; number == 0; number = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        const uint8_t *bytes = value.mv_data;
        size_t size = value.mv_size;
        int status = assent_envelope_open(table, key.mv_data, key.mv_size, value.mv_data,
                                          value.mv_size, &bytes, &size);

        if (!visit(key.mv_data, key.mv_size, bytes, size, status, context) || ++visited == limit)
            break;
    }
    mdb_cursor_close(cursor);
    assent_lmdb_readers_end(&lmdb->readers, reader);
    return number == 0 || number == MDB_NOTFOUND ? 0 : map_error(number);
}

/* LMDB keeps free pages in its table 0: each value is a count, then the page numbers. */
static int count_free(struct assent_lmdb *lmdb, uint64_t *ret_pages)
{
    const MDB_dbi free_pages = 0;
    MDB_cursor *cursor;
    MDB_txn *txn;
    MDB_val key, value;
    uint64_t pages = 0;
    int number = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &txn);

    if (number != 0)
        return number;
    number = mdb_cursor_open(txn, free_pages, &cursor);
    if (number != 0)
        goto out;
    while ((number = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        size_t count;

        memcpy(&count, value.mv_data, sizeof(count));
        pages += count;
    }
    mdb_cursor_close(cursor);
    if (number == MDB_NOTFOUND) {
        number = 0;
        *ret_pages = pages;
    }
out:
    mdb_txn_abort(txn);
    return number;
}

int assent_lmdb_usage(struct assent_lmdb *lmdb, struct assent_lmdb_usage *ret_usage)
{
    uint64_t used, free_pages = 0, most = lmdb->map_bytes / 100 * ROOM_PERCENT;
    struct statvfs disk;
    MDB_envinfo info;
    int fd, number = mdb_env_info(lmdb->env, &info);

    if (number != 0)
        return number;
    used = ((uint64_t)info.me_last_pgno + 1) * lmdb->page_bytes;
    /* The walk over the free pages is only worth its time when it can matter. */
    if (used > most) {
        number = count_free(lmdb, &free_pages);
        if (number != 0)
            return number;
        used -= free_pages * lmdb->page_bytes;
    }
    number = mdb_env_get_fd(lmdb->env, &fd);
    if (number != 0)
        return number;
    if (fstatvfs(fd, &disk) < 0)
        return errno;
    *ret_usage = (struct assent_lmdb_usage){
        .used_bytes = used,
        .position = info.me_last_txnid,
        .map_bytes = lmdb->map_bytes,
        .disk_bytes = (uint64_t)disk.f_bavail * disk.f_frsize,
        .map_has_room = used <= most,
    };
    return 0;
}
