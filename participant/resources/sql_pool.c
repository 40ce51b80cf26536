/*
 * sql_pool.c: sessions with a database server: a bounded pool for branches in work, and the lanes,
 * a few that are kept for ending branches whose own session is gone.
 */
#include "sql.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

static struct timespec until(uint64_t timeout_ms)
{
    struct timespec moment;

    clock_gettime(CLOCK_MONOTONIC, &moment);
    moment.tv_sec += (time_t)(timeout_ms / 1000);
    moment.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (moment.tv_nsec >= 1000000000) {
        moment.tv_nsec -= 1000000000;
        moment.tv_sec++;
    }
    return moment;
}

/* Under the mutex: an idle session that lives, or NULL. */
static struct sql_session *pop_idle(struct sql_database *db)
{
    struct sql_session *session;

    while ((session = SLIST_FIRST(&db->idle)) != NULL) {
        SLIST_REMOVE_HEAD(&db->idle, idle);
        if (db->driver->alive(session))
            return session;
        db->open_count--;
        db->driver->disconnect(session);
    }
    return NULL;
}

int sql_take(struct sql_database *db, uint32_t timeout_ms, struct sql_session **ret_session,
             char reason[ASSENT_REASON_MAX + 1])
{
    struct timespec moment = until(timeout_ms);
    struct sql_session *session;
    bool room = true;
    int r = 0;

    pthread_mutex_lock(&db->mutex);
    while ((session = pop_idle(db)) == NULL && db->open_count >= db->connections_max && room)
        room = pthread_cond_timedwait(&db->returned, &db->mutex, &moment) != ETIMEDOUT;
    room = session == NULL && db->open_count < db->connections_max;
    if (room)
        db->open_count++; /* ours, before anybody else can think so */
    pthread_mutex_unlock(&db->mutex);
    if (session == NULL && !room) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "all %llu connections are in work",
                 (unsigned long long)db->connections_max);
        return ASSENT_E_LIMIT;
    }
    if (session == NULL && (r = db->driver->connect(db, &session, reason)) != 0) {
        pthread_mutex_lock(&db->mutex);
        db->open_count--;
        pthread_cond_signal(&db->returned);
        pthread_mutex_unlock(&db->mutex);
        return r;
    }
    *ret_session = session;
    return 0;
}

void sql_give_back(struct sql_database *db, struct sql_session *session)
{
    bool whole = !session->broken && db->driver->idle(session);

    if (!whole)
        db->driver->disconnect(session);
    pthread_mutex_lock(&db->mutex);
    if (whole)
        SLIST_INSERT_HEAD(&db->idle, session, idle);
    else
        db->open_count--;
    pthread_cond_signal(&db->returned);
    pthread_mutex_unlock(&db->mutex);
}

int sql_lanes(struct sql_database *db, size_t wanted, size_t *ret_count,
              char reason[ASSENT_REASON_MAX + 1])
{
    size_t count = 0;
    int r = 0;

    for (; r == 0 && count < SQL_LANES && count < wanted; count++) {
        struct sql_session **lane = &db->lanes[count];

        if (*lane != NULL && !db->driver->alive(*lane)) {
            db->driver->disconnect(*lane);
            *lane = NULL;
        }
        if (count == 0 && *lane == NULL)
            db->ready = false; /* whatever is there next is looked at anew */
        if (*lane == NULL && (r = db->driver->connect(db, lane, reason)) != 0)
            break;
        if (count == 0 && !db->ready) {
            r = db->driver->preflight(db, *lane, reason);
            db->ready = r == 0;
        }
    }
    if (count == 0 || (r != 0 && !db->ready))
        return r;
    *ret_count = count;
    return 0;
}
