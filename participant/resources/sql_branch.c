/*
 * sql_branch.c: the branches in work, and the names that branches have in a marker table. Prepared
 * branches are not here: they are in the server's list.
 */
#include "sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sql_branch *sql_branch_find(struct sql_database *db, const struct assent_branch_id *id)
{
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    struct sql_branch *branch;

    assent_branch_id_encode(id, name);
    pthread_mutex_lock(&db->mutex);
    HASH_FIND(hh, db->branches, name, sizeof(name), branch);
    pthread_mutex_unlock(&db->mutex);
    return branch;
}

int sql_branch_add(struct sql_database *db, const struct assent_branch_id *id)
{
    struct sql_branch *branch = calloc(1, sizeof(*branch));
    int r = 0;

    if (branch == NULL)
        return ASSENT_E_NOMEM;
    branch->id = *id;
    assent_branch_id_encode(id, branch->name);
    pthread_mutex_lock(&db->mutex);
    if (HASH_COUNT(db->branches) >= SQL_BRANCHES_MAX) {
        r = ASSENT_E_LIMIT;
    } else {
        HASH_ADD(hh, db->branches, name, sizeof(branch->name), branch);
        if (branch->hh.tbl == NULL)
            r = ASSENT_E_NOMEM;
    }
    pthread_mutex_unlock(&db->mutex);
    if (r != 0)
        free(branch);
    return r;
}

void sql_branch_drop(struct sql_database *db, struct sql_branch *branch)
{
    pthread_mutex_lock(&db->mutex);
    HASH_DEL(db->branches, branch);
    pthread_mutex_unlock(&db->mutex);
    if (branch->session != NULL)
        sql_give_back(db, branch->session);
    free(branch);
}

void sql_branch_fail(struct sql_database *db, struct sql_branch *branch, const char *reason)
{
    branch->failed = true;
    snprintf(branch->reason, sizeof(branch->reason), "%s", reason);
    if (branch->session != NULL && branch->session->broken) {
        sql_give_back(db, branch->session);
        branch->session = NULL;
    }
}

/* --- names ------------------------------------------------------------------------------------ */

void sql_hex(const uint8_t *bytes, size_t size, char *text)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < size; i++) {
        *text++ = digits[bytes[i] >> 4];
        *text++ = digits[bytes[i] & 15];
    }
    *text = '\0';
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool sql_unhex(const char *text, uint8_t *ret_bytes, size_t size)
{
    for (size_t i = 0; i < 2 * size; i++)
        if (nibble(text[i]) < 0)
            return false;
    for (size_t i = 0; i < size; i++)
        ret_bytes[i] = (uint8_t)(nibble(text[2 * i]) << 4 | nibble(text[2 * i + 1]));
    return true;
}

void sql_name_hex(const struct assent_branch_id *id, char hex[SQL_NAME_HEX_BYTES])
{
    uint8_t bytes[ASSENT_BRANCH_ID_BYTES];

    assent_branch_id_encode(id, bytes);
    sql_hex(bytes, sizeof(bytes), hex);
}

void sql_sweep_bounds(const struct assent_branch_id *id, char log_id[2 * ASSENT_LOG_ID_BYTES + 1],
                      char order[2 * 8 + 1])
{
    sql_hex(id->log_id, sizeof(id->log_id), log_id);
    sql_hex(id->gtrid.bytes + 8, 8, order);
}
