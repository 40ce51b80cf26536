/*
 * xa_berkeley_db.c: a plug-in for the xa resource, for Berkeley DB 5.3, whose switch is the
 * db_xa_switch of libdb-5.3.so. Work is one command: "put KEY VALUE", "del KEY" or "get KEY", in
 * the database assent.db of the environment that the open string names; see docs/xa.md.
 *
 * What Berkeley DB asks of it:
 *   - Handles are made with DB_XA_CREATE, opened before any branch has started, and used without a
 *     transaction: the library takes that of the thread.
 *   - One environment may be opened once in a process, so all threads share one rmid.
 *   - After a crash its xa_recover lists XIDs without format and lengths, and its xa_commit does
 *     not know them; DB_ENV->txn_recover does, and so `end` goes that way.
 *   - Its xa_commit leaves the commit in memory, so `sync` flushes the log.
 *   - Locks are not waited for, and cover pages: branches side by side may fail of each other.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <db.h>

#include "assent/xa.h"
#include "assent/xa_work.h"

#define LIST_PAGE 32

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards all of these */
static unsigned threads;
static DB *database;
static DB_ENV *environment; /* of `end`, beside the one that xa_open has opened */
static char home[MAXINFOSIZE];

static int say(char reason[ASSENT_XA_REASON_BYTES], const char *what, int error)
{
    snprintf(reason, ASSENT_XA_REASON_BYTES, "%.100s: %.100s", what, db_strerror(error));
    return error;
}

static bool is_locked(int error)
{
    return error == DB_LOCK_DEADLOCK || error == DB_LOCK_NOTGRANTED;
}

/* Under the mutex. What a recovery has restored may lock the very first page; then there is no
 * database, and work fails, until `end` has ended it. */
static int open_database(char reason[ASSENT_XA_REASON_BYTES])
{
    DB_TXN *txn = NULL;
    DB_ENV *env;
    DB *db;
    int r = db_create(&db, NULL, DB_XA_CREATE);

    if (r != 0)
        return say(reason, "db_create", r);
    env = db->get_env(db);
    r = env->txn_begin(env, NULL, &txn, DB_TXN_NOWAIT);
    if (r == 0)
        r = db->open(db, txn, "assent.db", NULL, DB_BTREE, DB_CREATE | DB_THREAD, 0600);
    if (r == 0) {
        r = txn->commit(txn, 0);
        txn = NULL;
    }
    if (r == 0) {
        database = db;
        return 0;
    }
    if (txn != NULL)
        (void)txn->abort(txn);
    (void)db->close(db, 0);
    return is_locked(r) ? 0 : say(reason, "assent.db", r);
}

static int open_thread(const char *info, int rmid, void **ret_state,
                       char reason[ASSENT_XA_REASON_BYTES])
{
    int r = 0;

    (void)rmid;
    *ret_state = NULL;
    pthread_mutex_lock(&mutex);
    snprintf(home, sizeof(home), "%s", info);
    if (database == NULL)
        r = open_database(reason);
    if (r == 0)
        threads++;
    pthread_mutex_unlock(&mutex);
    return r;
}

static void close_thread(void *state)
{
    (void)state;
    pthread_mutex_lock(&mutex);
    if (--threads == 0) {
        if (database != NULL)
            (void)database->close(database, 0);
        database = NULL;
        if (environment != NULL)
            (void)environment->close(environment, 0);
        environment = NULL;
    }
    pthread_mutex_unlock(&mutex);
}

/* --- work ------------------------------------------------------------------------------------- */

static bool is_open(void)
{
    bool open;

    pthread_mutex_lock(&mutex);
    open = database != NULL;
    pthread_mutex_unlock(&mutex);
    return open;
}

static int get(DBT *key, struct assent_xa_work_call *call)
{
    DBT value = {.flags = DB_DBT_MALLOC};
    int r = database->get(database, NULL, key, &value, 0);

    call->read_only = true;
    if (r == 0) {
        call->reply = value.data;
        call->reply_size = value.size;
    }
    return r == DB_NOTFOUND ? 0 : r;
}

static int work(void *state, struct assent_xa_work_call *call)
{
    char text[4096], *command, *key_text, *value_text = NULL;
    DBT key = {0}, value = {0};
    int r;

    (void)state;
    if (!is_open())
        return say(call->reason, "assent.db", DB_LOCK_NOTGRANTED);
    if (call->work_size >= sizeof(text))
        return say(call->reason, "the work is too long", EINVAL);
    memcpy(text, call->work, call->work_size);
    text[call->work_size] = '\0';
    command = strtok_r(text, " ", &value_text);
    key_text = strtok_r(NULL, " ", &value_text);
    if (key_text == NULL)
        return say(call->reason, "put KEY VALUE, del KEY or get KEY", EINVAL);
    key.data = key_text;
    key.size = (u_int32_t)strlen(key_text);
    value.data = value_text;
    value.size = (u_int32_t)strlen(value_text);
    if (strcmp(command, "put") == 0)
        r = database->put(database, NULL, &key, &value, 0);
    else if (strcmp(command, "del") == 0)
        r = database->del(database, NULL, &key, 0);
    else if (strcmp(command, "get") == 0)
        r = get(&key, call);
    else
        r = EINVAL;
    return r == 0 ? 0 : say(call->reason, command, r);
}

/* --- branches that a recovery has restored ---------------------------------------------------- */

/* Joins the environment, which xa_open has opened and recovered. */
static int join(char reason[ASSENT_XA_REASON_BYTES])
{
    int r;

    if (environment != NULL)
        return 0;
    r = db_env_create(&environment, 0);
    if (r != 0)
        return say(reason, "db_env_create", r);
    r = environment->open(environment, home,
                          DB_INIT_LOCK | DB_INIT_LOG | DB_INIT_MPOOL | DB_INIT_TXN | DB_THREAD, 0);
    if (r != 0) {
        (void)environment->close(environment, 0);
        environment = NULL;
        return say(reason, home, r);
    }
    return 0;
}

/* Looks through the whole list, so that no handle is left over. */
static int end_listed(const struct assent_xa_branch *branch, bool commit, int *ret_code,
                      char reason[ASSENT_XA_REASON_BYTES])
{
    DB_PREPLIST list[LIST_PAGE];
    u_int32_t flags = DB_FIRST;
    long count;
    int r = 0;

    *ret_code = XAER_NOTA;
    do {
        r = environment->txn_recover(environment, list, LIST_PAGE, &count, flags);
        if (r != 0)
            return say(reason, "txn_recover", r);
        for (long i = 0; i < count; i++) {
            DB_TXN *txn = list[i].txn;

            if (memcmp(list[i].gid, branch->data, sizeof(branch->data)) != 0) {
                (void)txn->discard(txn, 0);
                continue;
            }
            r = commit ? txn->commit(txn, DB_TXN_SYNC) : txn->abort(txn);
            *ret_code = r == 0 ? XA_OK : XAER_RMERR;
        }
        flags = DB_NEXT;
    } while (count == LIST_PAGE);
    return 0;
}

static int end(void *state, const struct assent_xa_branch *branch, bool commit, int *ret_code,
               char reason[ASSENT_XA_REASON_BYTES])
{
    int r;

    (void)state;
    pthread_mutex_lock(&mutex);
    r = join(reason);
    if (r == 0)
        r = end_listed(branch, commit, ret_code, reason);
    if (r == 0 && database == NULL)
        (void)open_database(reason); /* has failed: the next work says so */
    pthread_mutex_unlock(&mutex);
    return r;
}

static int sync_log(void *state, char reason[ASSENT_XA_REASON_BYTES])
{
    DB_ENV *env;
    int r;

    (void)state;
    pthread_mutex_lock(&mutex);
    env = database != NULL ? database->get_env(database) : environment;
    r = env != NULL ? env->log_flush(env, NULL) : EINVAL;
    pthread_mutex_unlock(&mutex);
    return r == 0 ? 0 : say(reason, "log_flush", r);
}

/* No marks: they would be on pages that all branches share, and so make them fail of each other. */
const struct assent_xa_work assent_xa_work = {
    .size = sizeof(struct assent_xa_work),
    .open = open_thread,
    .close = close_thread,
    .work = work,
    .sync = sync_log,
    .end = end,
};
