/*
 * sql_pool.c: sessions with a database server, in two bounded pools: for branches in work, and for
 * what ends branches, so that neither waits for the other.
 */
#include "sql.h"

#include <errno.h>
#include <stdio.h>

#include "runtime.h"

#define IDLE_TRIES 4u

void sql_pool_init(struct sql_pool *pool, uint64_t most)
{
    pthread_condattr_t monotonic;

    *pool = (struct sql_pool){.most = most};
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->returned, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void sql_pool_fini(struct sql_database *db, struct sql_pool *pool)
{
    struct sql_session *session;

    while ((session = SLIST_FIRST(&pool->idle)) != NULL) {
        SLIST_REMOVE_HEAD(&pool->idle, idle);
        db->driver->disconnect(session);
    }
    pthread_cond_destroy(&pool->returned);
}

/* A session less. Whatever the next one of the finishers finds is looked at anew. */
static void lose(struct sql_database *db, struct sql_pool *pool)
{
    pthread_mutex_lock(&db->mutex);
    pool->open_count--;
    if (pool == &db->finishers)
        db->ready = false;
    pthread_cond_signal(&pool->returned);
    pthread_mutex_unlock(&db->mutex);
}

/* An idle session, or NULL and a place for a new one. ASSENT_E_LIMIT: neither in time. */
static int reserve(struct sql_database *db, struct sql_pool *pool, const struct timespec *moment,
                   struct sql_session **ret_session)
{
    struct sql_session *session;
    bool late = false;
    int r = 0;

    pthread_mutex_lock(&db->mutex);
    while (SLIST_EMPTY(&pool->idle) && pool->open_count >= pool->most && !late)
        late = pthread_cond_timedwait(&pool->returned, &db->mutex, moment) == ETIMEDOUT;
    session = SLIST_FIRST(&pool->idle);
    if (session != NULL)
        SLIST_REMOVE_HEAD(&pool->idle, idle);
    else if (pool->open_count < pool->most)
        pool->open_count++; /* ours, before anybody else can think so */
    else
        r = ASSENT_E_LIMIT;
    pthread_mutex_unlock(&db->mutex);
    *ret_session = session;
    return r;
}

static int take(struct sql_database *db, struct sql_pool *pool, uint32_t timeout_ms,
                struct sql_session **ret_session, char reason[ASSENT_REASON_MAX + 1])
{
    struct timespec moment = assent_moment(assent_now_ms() + timeout_ms);
    struct sql_session *session;
    int r;

    while ((r = reserve(db, pool, &moment, &session)) == 0 && session != NULL) {
        if (db->driver->alive(session, true)) {
            *ret_session = session;
            return 0;
        }
        db->driver->disconnect(session);
        lose(db, pool);
    }
    if (r != 0) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "all %llu connections are in work",
                 (unsigned long long)pool->most);
        return r;
    }
    r = db->driver->connect(db, pool == &db->workers ? timeout_ms : 0, &session, reason);
    if (r != 0) {
        lose(db, pool);
        return r;
    }
    session->pool = pool;
    *ret_session = session;
    return 0;
}

int sql_take_worker(struct sql_database *db, uint32_t timeout_ms, struct sql_session **ret_session,
                    char reason[ASSENT_REASON_MAX + 1])
{
    return take(db, &db->workers, timeout_ms, ret_session, reason);
}

static bool is_ready(struct sql_database *db, bool found)
{
    bool ready;

    pthread_mutex_lock(&db->mutex);
    ready = db->ready |= found;
    pthread_mutex_unlock(&db->mutex);
    return ready;
}

static int look_at(struct sql_database *db, struct sql_session *session, char *reason)
{
    int r = 0;

    pthread_mutex_lock(&db->preflight_mutex);
    if (!is_ready(db, false)) {
        r = db->driver->preflight(db, session, reason);
        (void)is_ready(db, r == 0);
    }
    pthread_mutex_unlock(&db->preflight_mutex);
    return r;
}

int sql_take_finisher(struct sql_database *db, struct sql_session **ret_session,
                      char reason[ASSENT_REASON_MAX + 1])
{
    struct sql_session *session;
    int r = take(db, &db->finishers, SQL_FINISH_MS, &session, reason);

    if (r != 0)
        return r;
    if (!is_ready(db, false))
        r = look_at(db, session, reason);
    if (r == 0)
        *ret_session = session;
    else
        sql_give_back(db, session);
    return r;
}

/* The last that was given back may not have settled yet, so a few are looked at. One that is dead
 * is left to those who can wait for another. Under the mutex, or somebody else would take it. */
static struct sql_session *find_idle(struct sql_database *db, struct sql_pool *pool)
{
    struct sql_session *session;
    unsigned tries = 0;

    SLIST_FOREACH (session, &pool->idle, idle) {
        if (db->driver->alive(session, false))
            return session;
        if (++tries == IDLE_TRIES)
            break;
    }
    return NULL;
}

struct sql_session *sql_take_idle(struct sql_database *db, struct sql_pool *pool)
{
    struct sql_session *session = NULL;

    pthread_mutex_lock(&db->mutex);
    if (pool == &db->workers || db->ready)
        session = find_idle(db, pool);
    if (session != NULL)
        SLIST_REMOVE(&pool->idle, session, sql_session, idle);
    pthread_mutex_unlock(&db->mutex);
    return session;
}

void sql_give_back(struct sql_database *db, struct sql_session *session)
{
    struct sql_pool *pool = session->pool;

    if (session->broken || !db->driver->idle(session)) {
        db->driver->disconnect(session);
        lose(db, pool);
        return;
    }
    pthread_mutex_lock(&db->mutex);
    SLIST_INSERT_HEAD(&pool->idle, session, idle);
    pthread_cond_signal(&pool->returned);
    pthread_mutex_unlock(&db->mutex);
}
