/*
 * postgres_branch.c: the branches in work, and the names that branches have in PostgreSQL: the id
 * of the prepared transaction and the key of the marker. Prepared branches are not here: they are
 * in pg_prepared_xacts.
 */
#include "postgres.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GID_PREFIX "assent:"
#define LOG_ID_HEX (2 * ASSENT_LOG_ID_BYTES)

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

void postgres_gid_format(const struct assent_branch_id *id, char gid[POSTGRES_GID_BYTES])
{
    char log_id[LOG_ID_HEX + 1], gtrid[ASSENT_GTRID_TEXT + 1];

    write_hex(id->log_id, sizeof(id->log_id), log_id);
    assent_gtrid_format(&id->gtrid, gtrid);
    snprintf(gid, POSTGRES_GID_BYTES, GID_PREFIX "%s:%s:%" PRIu32, log_id, gtrid, id->branch);
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 0;
}

bool postgres_gid_parse(const char *gid, struct assent_branch_id *ret_id)
{
    const size_t log_at = sizeof(GID_PREFIX) - 1, gtrid_at = log_at + LOG_ID_HEX + 1;
    const size_t branch_at = gtrid_at + ASSENT_GTRID_TEXT + 1;
    char gtrid[ASSENT_GTRID_TEXT + 1], same[POSTGRES_GID_BYTES];
    struct assent_branch_id id;
    size_t size = strlen(gid);

    if (size <= branch_at || size >= POSTGRES_GID_BYTES)
        return false;
    for (size_t i = 0; i < ASSENT_LOG_ID_BYTES; i++)
        id.log_id[i] =
            (uint8_t)(nibble(gid[log_at + 2 * i]) << 4 | nibble(gid[log_at + 2 * i + 1]));
    memcpy(gtrid, gid + gtrid_at, ASSENT_GTRID_TEXT);
    gtrid[ASSENT_GTRID_TEXT] = '\0';
    if (assent_gtrid_parse(gtrid, &id.gtrid) != 0)
        return false;
    id.branch = (uint32_t)strtoul(gid + branch_at, NULL, 10);
    /* Ours is only what we would write in exactly this way. */
    postgres_gid_format(&id, same);
    if (strcmp(gid, same) != 0)
        return false;
    *ret_id = id;
    return true;
}

void postgres_name_format(const struct assent_branch_id *id, char name[POSTGRES_NAME_BYTES])
{
    uint8_t bytes[ASSENT_BRANCH_ID_BYTES];

    assent_branch_id_encode(id, bytes);
    memcpy(name, "\\x", 2);
    write_hex(bytes, sizeof(bytes), name + 2);
}
