/*
 * mariadb.c: a MariaDB database as a table of operations: open and close, and the questions that
 * touch no branch. How the parts work together: mariadb.h.
 *
 *   parameters  database=NAME and, separated by commas or blanks, connections=N (sessions for
 *               branches in work, 20), host=, port=, socket=, user=, defaults_file=
 */
#include "mariadb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parameters.h"
#include "runtime.h"

#define LIST_MAX 1000000u

/* --- questions -------------------------------------------------------------------------------- */

struct list {
    const struct mariadb *maria;
    struct assent_branch_id *ids;
    size_t count;
    bool failed;
};

static void add_prepared(void *context, char **cells)
{
    struct list *list = context;
    struct assent_branch_id id, *ids = list->ids;

    if (list->failed || cells[3] == NULL || !mariadb_xid_parse(list->maria, cells[3], &id))
        return;
    if ((list->count & (list->count - 1)) == 0) { /* full: twice as many */
        ids = list->count < LIST_MAX
                  ? realloc(ids, (list->count ? 2 * list->count : 1) * sizeof(*ids))
                  : NULL;
        list->failed = ids == NULL;
    }
    if (!list->failed) {
        list->ids = ids;
        list->ids[list->count++] = id;
    }
}

/* Ids of ours for this database; what else is there is none of our business. */
static int recover(struct sql_database *db, struct sql_session *lane,
                   void (*found)(const struct assent_branch_id *id, void *context), void *context)
{
    struct list list = {.maria = (struct mariadb *)db};
    struct mariadb_outcome outcome;
    int r = 0;

    mariadb_send(mariadb_conn_of(lane), "XA RECOVER FORMAT='SQL'");
    mariadb_collect_rows(mariadb_conn_of(lane), assent_now_ms() + SQL_FINISH_MS, add_prepared,
                         &list, &outcome);
    /* Only a list that is whole is one. */
    if (outcome.kind != MARIADB_DONE || list.failed)
        r = list.failed ? ASSENT_E_NOMEM : ASSENT_E_UNAVAILABLE;
    for (size_t i = 0; r == 0 && i < list.count; i++)
        found(&list.ids[i], context);
    free(list.ids);
    return r;
}

static int ping(struct sql_session *lane, char reason[ASSENT_REASON_MAX + 1])
{
    struct mariadb_outcome outcome;

    mariadb_ask(mariadb_conn_of(lane), "DO 1", &outcome);
    memcpy(reason, outcome.text, sizeof(outcome.text));
    return outcome.kind == MARIADB_DONE ? 0 : ASSENT_E_UNAVAILABLE;
}

static void end_query(struct sql_session *session)
{
    struct mariadb_outcome outcome;

    mariadb_ask(mariadb_conn_of(session), "ROLLBACK", &outcome);
    mariadb_conn_of(session)->open = outcome.kind != MARIADB_DONE;
}

static int own(struct sql_database *db, const struct assent_branch_id *id, char **ret_json)
{
    char xid[MARIADB_XID_BYTES], name[SQL_NAME_HEX_BYTES];

    mariadb_xid_format((struct mariadb *)db, id, xid);
    sql_name_hex(id, name);
    return asprintf(ret_json,
                    "{\"before\": [\"XA START %s\"], \"after\": [\"SET"
                    " pseudo_slave_mode = 1\", \"INSERT INTO assent_marker (branch) VALUES "
                    "(X'%s')\", \"XA END %s\","
                    " \"XA PREPARE %s\"]}",
                    xid, name, xid, xid) < 0
               ? ASSENT_E_NOMEM
               : 0;
}

static void list_markers(const char *after, size_t limit, char *sql, size_t size)
{
    snprintf(sql, size,
             "SELECT LOWER(HEX(branch)) FROM assent_marker WHERE committed AND branch > X'%s'"
             " ORDER BY branch LIMIT %zu",
             after, limit);
}

static const struct sql_driver driver = {
    .type = "mariadb",
    .connect = mariadb_dial,
    .disconnect = mariadb_hang_up,
    .alive = mariadb_alive,
    .idle = mariadb_idle,
    .preflight = mariadb_preflight,
    .work = mariadb_work,
    .end_query = end_query,
    .own = own,
    .end_active = mariadb_end_active,
    .end_elsewhere = mariadb_end_elsewhere,
    .forget = mariadb_forget,
    .evidence = mariadb_evidence,
    .recover = recover,
    .ping = ping,
    .list_markers = list_markers,
};

/* --- open and close --------------------------------------------------------------------------- */

static int parse_parameters(struct mariadb *maria, const char *text, char *error, size_t error_size)
{
    const struct assent_parameter parameters[] = {
        {"connections", ASSENT_PARAMETER_SIZE, &maria->base.workers.most, 1, SQL_CONNECTIONS_MAX},
        {"port", ASSENT_PARAMETER_SIZE, &maria->port, 1, 65535},
        {"host", ASSENT_PARAMETER_TEXT, .max = MARIADB_TEXT_MAX, .text = maria->host},
        {"socket", ASSENT_PARAMETER_TEXT, .max = MARIADB_TEXT_MAX, .text = maria->socket},
        {"user", ASSENT_PARAMETER_TEXT, .max = MARIADB_TEXT_MAX, .text = maria->user},
        {"database", ASSENT_PARAMETER_TEXT, .max = MARIADB_DATABASE_MAX, .text = maria->database},
        {"defaults_file", ASSENT_PARAMETER_TEXT, .max = MARIADB_TEXT_MAX,
         .text = maria->defaults_file},
    };
    int r = assent_parameters_parse("mariadb", text, parameters,
                                    sizeof(parameters) / sizeof(parameters[0]), error, error_size);

    if (r == 0 && maria->database[0] == '\0') {
        snprintf(error, error_size, "mariadb: parameter \"database\" is missing");
        r = ASSENT_E_CONFIG;
    }
    return r;
}

static void close_mariadb(void *resource)
{
    struct mariadb *maria = resource;

    sql_fini(&maria->base);
    free(maria);
}

static int open_mariadb(const struct assent_resource_environment *environment, void **ret_resource,
                        char *error, size_t error_size)
{
    struct mariadb *maria = calloc(1, sizeof(*maria));
    int r;

    if (maria == NULL) {
        snprintf(error, error_size, "mariadb: out of memory");
        return ASSENT_E_NOMEM;
    }
    sql_init(&maria->base, &driver, environment);
    r = parse_parameters(maria, environment->parameters, error, error_size);
    if (r == 0)
        r = sql_open(&maria->base, error, error_size);
    if (r == 0)
        *ret_resource = maria;
    else
        close_mariadb(maria);
    return r;
}

const struct assent_resource_ops assent_resource_mariadb = {
    .size = sizeof(struct assent_resource_ops),
    .type = "mariadb",
    .capabilities =
        ASSENT_CAP_PREPARED_LIST | ASSENT_CAP_EVIDENCE | ASSENT_CAP_ONE_PHASE | ASSENT_CAP_BATCH,
    .open = open_mariadb,
    .close = close_mariadb,
    .begin = sql_begin,
    .work = sql_work,
    .prepare = sql_finish,
    .commit = sql_finish,
    .rollback = sql_finish,
    .evidence = sql_evidence,
    .forget = sql_forget,
    .batch = sql_batch,
    .recover = sql_recover,
    .ping = sql_ping,
    .query = sql_query,
    .check = sql_check,
    .markers = sql_markers,
    .finishers = SQL_FINISHERS,
};
