/*
 * mariadb_xid.c: the names that branches have in MariaDB. The format id is ours; gtrid is the log
 * id (16 bytes) and the gtrid (16), bqual the branch's number (4, big-endian) and the database's
 * name, because the server has one list for all its databases.
 */
#include "mariadb.h"

#include <stdio.h>
#include <string.h>

#define FORMAT_ID 1095978580u /* "ASNT" */
#define GTRID_HEX (2 * (ASSENT_LOG_ID_BYTES + ASSENT_GTRID_BYTES))

void mariadb_xid_format(const struct mariadb *maria, const struct assent_branch_id *id,
                        char xid[MARIADB_XID_BYTES])
{
    char name[SQL_NAME_HEX_BYTES], database[2 * MARIADB_DATABASE_MAX + 1];

    sql_name_hex(id, name);
    sql_hex((const uint8_t *)maria->database, strlen(maria->database), database);
    snprintf(xid, MARIADB_XID_BYTES, "X'%.*s',X'%s%s',%u", GTRID_HEX, name, name + GTRID_HEX,
             database, FORMAT_ID);
}

bool mariadb_xid_parse(const struct mariadb *maria, const char *xid,
                       struct assent_branch_id *ret_id)
{
    const size_t gtrid_at = 2, bqual_at = gtrid_at + GTRID_HEX + strlen("',X'");
    char same[MARIADB_XID_BYTES];
    struct assent_branch_id id;
    uint8_t number[4];

    if (strlen(xid) < bqual_at + 8 || !sql_unhex(xid + gtrid_at, id.log_id, sizeof(id.log_id)) ||
        !sql_unhex(xid + gtrid_at + 2 * sizeof(id.log_id), id.gtrid.bytes,
                   sizeof(id.gtrid.bytes)) ||
        !sql_unhex(xid + bqual_at, number, sizeof(number)))
        return false;
    id.branch = (uint32_t)number[0] << 24 | (uint32_t)number[1] << 16 | (uint32_t)number[2] << 8 |
                number[3];
    /* Ours is only what we would write in exactly this way. */
    mariadb_xid_format(maria, &id, same);
    if (strcmp(xid, same) != 0)
        return false;
    *ret_id = id;
    return true;
}
