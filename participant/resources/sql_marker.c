/*
 * sql_marker.c: lists the markers of committed branches, for people who hold them against the
 * coordinator's log. It only reads: unlike evidence, which settles for good what a marker does not
 * say, it writes none.
 */
#include "sql.h"

#include <stdio.h>
#include <stdlib.h>

/* The first column of the rows of the only statement. */
static int take_rows(const json_t *reply,
                     void (*found)(const struct assent_branch_id *id, void *context), void *context)
{
    const json_t *rows =
        json_object_get(json_array_get(json_object_get(reply, "results"), 0), "rows");
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    struct assent_branch_id id;

    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *cell = json_array_get(json_array_get(rows, i), 0);

        if (json_string_length(cell) != 2 * sizeof(name) ||
            !sql_unhex(json_string_value(cell), name, sizeof(name)))
            continue; /* no name that we give */
        assent_branch_id_decode(name, &id);
        found(&id, context);
    }
    return json_is_array(rows) ? 0 : ASSENT_E_INVALID;
}

int sql_markers(void *resource, const struct assent_branch_id *after, size_t limit,
                void (*found)(const struct assent_branch_id *id, void *context), void *context)
{
    struct sql_database *db = resource;
    char name[SQL_NAME_HEX_BYTES] = "", sql[512], error[ASSENT_REASON_MAX + 1];
    char *text = NULL;
    json_t *reply;
    int r;

    if (after != NULL)
        sql_name_hex(after, name);
    db->driver->list_markers(name, limit, sql, sizeof(sql));
    r = sql_query(db, sql, &text, error, sizeof(error));
    if (r != 0)
        return r;
    reply = json_loads(text, 0, NULL);
    free(text);
    r = reply != NULL ? take_rows(reply, found, context) : ASSENT_E_NOMEM;
    json_decref(reply);
    return r;
}
