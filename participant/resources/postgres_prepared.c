/*
 * postgres_prepared.c: the transactions of prepared branches, as long as this process remembers
 * them: by its transaction PostgreSQL can tell whether somebody has rolled a branch back, or has
 * never heard of it, as after a restore.
 */
#include "postgres.h"

#include <stdlib.h>

void postgres_prepared_note(struct postgres *pg, const struct assent_branch_id *id, uint64_t xid)
{
    struct postgres_prepared *prepared, *fresh = calloc(1, sizeof(*fresh));

    if (fresh == NULL)
        return;
    assent_branch_id_encode(id, fresh->name);
    pthread_mutex_lock(&pg->base.mutex);
    HASH_FIND(hh, pg->prepared, fresh->name, sizeof(fresh->name), prepared);
    if (prepared == NULL && HASH_COUNT(pg->prepared) < SQL_BRANCHES_MAX) {
        prepared = fresh;
        HASH_ADD(hh, pg->prepared, name, sizeof(prepared->name), prepared);
        if (prepared->hh.tbl != NULL)
            fresh = NULL;
    }
    if (prepared != NULL && prepared != fresh)
        prepared->xid = xid;
    pthread_mutex_unlock(&pg->base.mutex);
    free(fresh);
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
        if (prepared != NULL)
            HASH_DEL(pg->prepared, prepared);
        free(prepared);
    } else {
        HASH_ITER (hh, pg->prepared, prepared, next) {
            HASH_DEL(pg->prepared, prepared);
            free(prepared);
        }
    }
    pthread_mutex_unlock(&pg->base.mutex);
}
