/*
 * postgres_prepared.c: the transactions of prepared branches, as long as this process remembers
 * them: by its transaction PostgreSQL can tell whether somebody has rolled a branch back, or has
 * never heard of it, as after a restore.
 *
 * They are noted when they are prepared and again by each scan of the server's list, and dropped
 * when they have ended. A few stay behind: a scan may note what has just ended. So beyond the bound
 * the one goes that was noted longest ago, which no scan has seen since.
 */
#include "postgres.h"

#include <stdlib.h>

/* Under the mutex. The table keeps the order in which they were put in. */
static void take_out(struct postgres *pg, struct postgres_prepared *prepared)
{
    if (prepared != NULL)
        HASH_DEL(pg->prepared, prepared);
    free(prepared);
}

void postgres_prepared_note(struct postgres *pg, const struct assent_branch_id *id, uint64_t xid)
{
    struct postgres_prepared *old, *fresh = calloc(1, sizeof(*fresh));

    if (fresh == NULL)
        return;
    assent_branch_id_encode(id, fresh->name);
    fresh->xid = xid;
    pthread_mutex_lock(&pg->base.mutex);
    HASH_FIND(hh, pg->prepared, fresh->name, sizeof(fresh->name), old);
    take_out(pg, old == NULL && HASH_COUNT(pg->prepared) >= SQL_BRANCHES_MAX ? pg->prepared : old);
    HASH_ADD(hh, pg->prepared, name, sizeof(fresh->name), fresh);
    if (fresh->hh.tbl == NULL)
        free(fresh);
    pthread_mutex_unlock(&pg->base.mutex);
}

uint64_t postgres_prepared_xid(struct postgres *pg, const struct assent_branch_id *id)
{
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    struct postgres_prepared *prepared;
    uint64_t xid;

    assent_branch_id_encode(id, name);
    pthread_mutex_lock(&pg->base.mutex);
    HASH_FIND(hh, pg->prepared, name, sizeof(name), prepared);
    xid = prepared != NULL ? prepared->xid : 0;
    pthread_mutex_unlock(&pg->base.mutex);
    return xid;
}

void postgres_prepared_drop(struct postgres *pg, const struct assent_branch_id *id)
{
    uint8_t name[ASSENT_BRANCH_ID_BYTES] = {0};
    struct postgres_prepared *prepared, *next;

    if (id != NULL)
        assent_branch_id_encode(id, name);
    pthread_mutex_lock(&pg->base.mutex);
    if (id != NULL) {
        HASH_FIND(hh, pg->prepared, name, sizeof(name), prepared);
        take_out(pg, prepared);
    } else {
        HASH_ITER (hh, pg->prepared, prepared, next)
            take_out(pg, prepared);
    }
    pthread_mutex_unlock(&pg->base.mutex);
}
