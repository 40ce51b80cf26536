/*
 * inspection.c: a participant's branches as JSON, for a person who asks the participant itself.
 * Nothing here changes anything.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "driver.h"

#define LIMIT_DEFAULT 100
/* Of one row, and of what stands around the rows. */
#define ROW_BYTES_MAX 1024

struct list {
    struct assent_participant *agent;
    json_t *rows;
    size_t limit;
    bool truncated;
    uint64_t now_ms;
};

static json_t *doubt_since(const struct list *list, const struct agent_branch *branch)
{
    char text[25];

    if (branch->doubt_since_ms == 0)
        return json_null();
    assent_wall_format(assent_wall_ms() - (list->now_ms - branch->doubt_since_ms), text);
    return json_string(text);
}

static bool list_branch(struct list *list, const struct agent_branch *branch)
{
    const struct assent_part *m = &branch->machine;
    char gtrid[ASSENT_GTRID_TEXT + 1];

    if (json_array_size(list->rows) >= list->limit) {
        list->truncated = true;
        return false;
    }
    assent_gtrid_format(&branch->id.gtrid, gtrid);
    json_array_append_new(
        list->rows,
        json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:I}", "gtrid",
                  gtrid, "branch", (json_int_t)branch->id.branch, "resource",
                  branch->resource->name, "protocol", assent_protocol_name((int)m->protocol),
                  "termination", assent_termination_name((int)m->termination), "phase",
                  branch->damaged ? "damaged" : assent_part_phase_name((int)m->phase), "decision",
                  assent_decision_name((int)m->decision), "told",
                  assent_decision_name((int)m->told), "result",
                  assent_branch_result_name((int)m->result), "in_doubt_since",
                  doubt_since(list, branch), "log", branch->log->text, "coordinator",
                  branch->log->link ? "up" : "down", "peers", (json_int_t)branch->peer_count));
    return true;
}

/* Those under way, oldest first; then finished ones, latest first. */
static void list_all(struct list *list)
{
    struct coordinator_log *log, *next;
    const struct agent_branch *branch;

    HASH_ITER (hh, list->agent->branches.logs, log, next)
        TAILQ_FOREACH (branch, &log->open, link)
            if (!list_branch(list, branch))
                return;
    HASH_ITER (hh, list->agent->branches.logs, log, next)
        TAILQ_FOREACH_REVERSE(branch, &log->ended, agent_branch_list, link)
    if (!list_branch(list, branch))
        return;
}

static void list_transaction(struct list *list, const struct assent_gtrid *gtrid)
{
    struct coordinator_log *log, *next;

    HASH_ITER (hh, list->agent->branches.logs, log, next)
        for (uint32_t number = 1; number <= ASSENT_BRANCHES_MAX; number++) {
            struct assent_branch_id id = {.gtrid = *gtrid, .branch = number};
            const struct agent_branch *branch;

            memcpy(id.log_id, log->id, sizeof(id.log_id));
            branch = agent_branches_find(&list->agent->branches, &id);
            if (branch && !list_branch(list, branch))
                return;
        }
}

void agent_inspection_answer(struct assent_participant *agent, struct assent_conn *conn,
                             const struct assent_wire *wire)
{
    struct assent_wire answer = {.kind = ASSENT_WIRE_INSPECTION, .request = wire->request};
    size_t most = agent->options.frame_bytes_max / ROW_BYTES_MAX - 1;
    struct list list = {.agent = agent, .now_ms = assent_now_ms()};
    struct assent_gtrid gtrid;
    char *text;
    json_t *json;

    if (strcmp(wire->u.inspect.what, "branches") != 0) {
        agent_refuse(agent, conn, wire->request, ASSENT_E_INVALID,
                     "inspect: what must be branches at a participant");
        return;
    }
    if (wire->u.inspect.argument[0] && assent_gtrid_parse(wire->u.inspect.argument, &gtrid)) {
        agent_refuse(agent, conn, wire->request, ASSENT_E_INVALID,
                     "a gtrid has 26 characters of Crockford base32");
        return;
    }
    list.limit = wire->u.inspect.limit ? wire->u.inspect.limit : LIMIT_DEFAULT;
    if (list.limit > most)
        list.limit = most;
    list.rows = json_array();
    if (wire->u.inspect.argument[0])
        list_transaction(&list, &gtrid);
    else
        list_all(&list);
    json = json_pack("{s:s, s:I, s:o, s:b}", "participant", agent->options.name, "incarnation",
                     (json_int_t)assent_store_incarnation(agent->store), "branches", list.rows,
                     "truncated", (int)list.truncated);
    text = json_dumps(json, JSON_COMPACT);
    if (text) {
        answer.u.inspection.json = (struct assent_bytes){text, strlen(text)};
        (void)agent_send(agent, conn, &answer);
    } else {
        agent_refuse(agent, conn, wire->request, ASSENT_E_NOMEM, "out of memory");
    }
    free(text);
    json_decref(json);
}
