/*
 * postgres_branch.c: the branches in work, and the names that branches have in PostgreSQL: the id
 * of the prepared transaction and the key of the marker. Prepared branches are not here: they are
 * in pg_prepared_xacts.
 */
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct postgres_branch *postgres_branch_find(struct postgres *pg, const struct assent_branch_id *id)
{
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    struct postgres_branch *branch;

    assent_branch_id_encode(id, name);
    pthread_mutex_lock(&pg->mutex);
    HASH_FIND(hh, pg->branches, name, sizeof(name), branch);
    pthread_mutex_unlock(&pg->mutex);
    return branch;
}

int postgres_branch_add(struct postgres *pg, const struct assent_branch_id *id)
{
    struct postgres_branch *branch = calloc(1, sizeof(*branch));
    int r = 0;

    if (branch == NULL)
        return ASSENT_E_NOMEM;
    branch->id = *id;
    assent_branch_id_encode(id, branch->name);
    pthread_mutex_lock(&pg->mutex);
    if (HASH_COUNT(pg->branches) >= POSTGRES_BRANCHES_MAX) {
        r = ASSENT_E_LIMIT;
    } else {
        HASH_ADD(hh, pg->branches, name, sizeof(branch->name), branch);
        if (branch->hh.tbl == NULL)
            r = ASSENT_E_NOMEM;
    }
    pthread_mutex_unlock(&pg->mutex);
    if (r != 0)
        free(branch);
    return r;
}

void postgres_branch_drop(struct postgres *pg, struct postgres_branch *branch)
{
    pthread_mutex_lock(&pg->mutex);
    HASH_DEL(pg->branches, branch);
    pthread_mutex_unlock(&pg->mutex);
    if (branch->conn != NULL)
        postgres_give_back(pg, branch->conn);
    free(branch);
}

void postgres_branch_fail(struct postgres *pg, struct postgres_branch *branch, const char *reason)
{
    branch->failed = true;
    snprintf(branch->reason, sizeof(branch->reason), "%s", reason);
    if (branch->conn != NULL && branch->conn->broken) {
        postgres_give_back(pg, branch->conn);
        branch->conn = NULL;
    }
}

static void write_hex(const uint8_t *bytes, size_t size, char *text)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < size; i++) {
        *text++ = digits[bytes[i] >> 4];
        *text++ = digits[bytes[i] & 15];
    }
    *text = '\0';
}

void postgres_name_format(const struct assent_branch_id *id, char name[POSTGRES_NAME_BYTES])
{
    uint8_t bytes[ASSENT_BRANCH_ID_BYTES];

    assent_branch_id_encode(id, bytes);
    memcpy(name, "\\x", 2);
    write_hex(bytes, sizeof(bytes), name + 2);
}
