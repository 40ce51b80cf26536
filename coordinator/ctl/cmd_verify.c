/*
 * cmd_verify.c: holds what every participant's resource lists as prepared, and its proofs of
 * commit, against the coordinator's log. The order makes it safe while everything runs. Prepared:
 * the lists, then active and decisions (the log), and for whatever differs then, the lists again:
 * only what both lists show is drift. Markers: each is made after its decision and before its
 * branch is acknowledged, so the log is asked about a marker after it was seen, and one is looked
 * for after the log has named its branch.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "commands.h"

#define TRANSACTIONS_MAX 10000
#define MARKERS_MAX      100000 /* of one participant */
#define FIX_LOOKS        50
#define FIX_LOOK_MS      100

enum column { PREPARED, MATCH, ORPHAN, MISSING, MARKERS, CONTRADICTED, UNPROVED, FOREIGN, COLUMNS };
static const char *const columns[COLUMNS] = {"prepared", "match",        "orphan",   "missing",
                                             "markers",  "contradicted", "unproved", "foreign"};

/* One look at everything. */
struct verification {
    char log[64];
    json_t *participants, *drift;
    json_t *contradicts; /* gtrid -> whether the log contradicts a commit of it */
    bool clean;
};

/* A question whose refusal is an answer too. */
static int ask_for(struct ctl *ctl, const char *what, const char *argument, const char *participant,
                   json_t **ret_json)
{
    char *text = NULL;
    int error = assent_client_inspect(ctl->client, what, argument, participant, 0, &text);

    *ret_json = error == 0 ? json_loads(text, 0, NULL) : NULL;
    free(text);
    return error;
}

static json_t *ask(struct ctl *ctl, const char *what, const char *argument, const char *participant)
{
    json_t *json;

    (void)ask_for(ctl, what, argument, participant, &json);
    return json;
}

static const char *string_of(const json_t *object, const char *member)
{
    const char *text = json_string_value(json_object_get(object, member));

    return text ? text : "";
}

static bool same_branch(const json_t *a, const json_t *b)
{
    return strcmp(string_of(a, "log"), string_of(b, "log")) == 0 &&
           strcmp(string_of(a, "gtrid"), string_of(b, "gtrid")) == 0;
}

static bool has_branch(const json_t *list, const json_t *wanted)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (same_branch(json_array_get(list, i), wanted))
            return true;
    return false;
}

/* Whether the log has a transaction that has not ended and names this participant. */
static bool log_explains(struct ctl *ctl, const char *gtrid, const char *participant)
{
    json_t *json = ask(ctl, "transaction", gtrid, NULL);
    const json_t *branches = json_object_get(json, "branches");
    bool live = json && strcmp(string_of(json, "phase"), "ended") != 0, explains = false;

    for (size_t i = 0; live && i < json_array_size(branches); i++)
        explains |= strcmp(string_of(json_array_get(branches, i), "participant"), participant) == 0;
    json_decref(json);
    return explains;
}

static void add_drift(struct verification *v, const char *participant, const char *kind,
                      const json_t *branch)
{
    json_array_append_new(v->drift, json_pack("{s:s, s:s, s:O, s:s}", "participant", participant,
                                              "gtrid", string_of(branch, "gtrid"), "branch",
                                              json_object_get(branch, "branch"), "kind", kind));
}

/* Branches of committed transactions at this participant, as rows of a list: those that are waited
 * for, or those that have acknowledged. */
static json_t *committed(struct ctl *ctl, const struct verification *v, const json_t *transactions,
                         const char *participant, const char *result)
{
    json_t *rows = json_array(), *transaction, *json, *branch;
    size_t index, k;

    json_array_foreach((json_t *)(uintptr_t)transactions, index, transaction)
    {
        const char *gtrid = string_of(transaction, "gtrid");

        if (strcmp(string_of(transaction, "phase"), "committing") != 0)
            continue;
        json = ask(ctl, "transaction", gtrid, NULL);
        json_array_foreach(json_object_get(json, "branches"), k, branch)
        {
            if (strcmp(string_of(branch, "participant"), participant) == 0 &&
                strcmp(string_of(branch, "vote"), "yes") == 0 &&
                strcmp(string_of(branch, "result"), result) == 0)
                json_array_append_new(rows,
                                      json_pack("{s:s, s:s, s:O, s:O}", "log", v->log, "gtrid",
                                                gtrid, "branch", json_object_get(branch, "number"),
                                                "protocol", json_object_get(json, "protocol")));
        }
        json_decref(json);
    }
    return rows;
}

/* Listed, of this log, and not explained by it: in the first list. */
static json_t *find_orphans(struct ctl *ctl, const struct verification *v, const json_t *prepared,
                            const char *name, json_int_t counts[COLUMNS])
{
    json_t *orphans = json_array();

    for (size_t i = 0; i < json_array_size(prepared); i++) {
        json_t *row = json_array_get(prepared, i);

        if (strcmp(string_of(row, "log"), v->log) != 0)
            counts[FOREIGN]++;
        else if (log_explains(ctl, string_of(row, "gtrid"), name))
            counts[MATCH]++;
        else
            json_array_append(orphans, row);
    }
    return orphans;
}

static bool knows(const json_t *list, const json_t *branch)
{
    return has_branch(json_object_get(list, "prepared"), branch) ||
           has_branch(json_object_get(list, "known"), branch);
}

/* What looks like drift is only that if a second list shows it too: else it was under way, and has
 * ended since. */
static void compare_prepared(struct ctl *ctl, struct verification *v, const json_t *transactions,
                             const char *name, const json_t *list, const json_t *again,
                             json_int_t counts[COLUMNS])
{
    json_t *orphans = find_orphans(ctl, v, json_object_get(list, "prepared"), name, counts);
    json_t *wanted = committed(ctl, v, transactions, name, "none");

    for (size_t i = 0; i < json_array_size(orphans); i++) {
        const json_t *row = json_array_get(orphans, i);
        bool still = has_branch(json_object_get(again, "prepared"), row);

        counts[still ? ORPHAN : MATCH]++;
        if (still)
            add_drift(v, name, "orphan", row);
    }
    for (size_t i = 0; i < json_array_size(wanted); i++) {
        const json_t *row = json_array_get(wanted, i);

        if (knows(list, row) || !again || knows(again, row) ||
            !log_explains(ctl, string_of(row, "gtrid"), name))
            continue;
        counts[MISSING]++;
        add_drift(v, name, "missing", row);
    }
    json_decref(orphans);
    json_decref(wanted);
}

/* ---- markers ---- */

/* 0 and the rows of all of them; ASSENT_E_NOT_FOUND: the resource has none to list. */
static int list_markers(struct ctl *ctl, const char *name, json_t **ret_markers)
{
    json_t *markers = json_array(), *page;
    char next[ASSENT_BRANCH_ID_TEXT + 1] = "";
    int error;

    do {
        error = ask_for(ctl, "markers", next, name, &page);
        if (error == 0 && json_array_size(markers) >= MARKERS_MAX)
            error = ASSENT_E_LIMIT;
        json_array_extend(markers, json_object_get(page, "markers"));
        snprintf(next, sizeof(next), "%s", string_of(page, "next"));
        json_decref(page);
    } while (error == 0 && next[0] != '\0');
    if (error == 0)
        *ret_markers = markers;
    else
        json_decref(markers);
    return error;
}

/* Whether the log says otherwise of a transaction that has committed somewhere. That it is mixed is
 * known, and shown elsewhere; what has expired, or was lost in a restore, it cannot say. */
static bool log_contradicts(struct ctl *ctl, struct verification *v, const char *gtrid)
{
    json_t *known = json_object_get(v->contradicts, gtrid), *json;
    const char *outcome, *phase;
    bool contradicts;

    if (known)
        return json_is_true(known);
    contradicts = ask_for(ctl, "transaction", gtrid, NULL, &json) == ASSENT_E_NOT_FOUND;
    outcome = string_of(json, "outcome");
    phase = string_of(json, "phase");
    contradicts |= strcmp(outcome, "aborted") == 0 || strcmp(phase, "active") == 0 ||
                   strcmp(phase, "voting") == 0;
    json_object_set_new(v->contradicts, gtrid, json_boolean(contradicts));
    json_decref(json);
    return contradicts;
}

/* Only read, under 3pc: it has no marker. */
static bool wrote_nothing(const json_t *list, const json_t *branch)
{
    const json_t *rows = json_object_get(list, "read_only");

    return strcmp(string_of(branch, "protocol"), "3pc") == 0 &&
           (!json_is_array(rows) || has_branch(rows, branch));
}

static bool still_committing(struct ctl *ctl, const char *gtrid)
{
    json_t *json = ask(ctl, "transaction", gtrid, NULL);
    bool still = strcmp(string_of(json, "phase"), "committing") == 0;

    json_decref(json);
    return still;
}

static void compare_markers(struct ctl *ctl, struct verification *v, const json_t *markers,
                            const json_t *wanted, const char *name, const json_t *list,
                            json_int_t counts[COLUMNS])
{
    for (size_t i = 0; i < json_array_size(markers); i++) {
        const json_t *row = json_array_get(markers, i);

        if (strcmp(string_of(row, "log"), v->log) != 0) {
            counts[FOREIGN]++;
            continue;
        }
        counts[MARKERS]++;
        if (!log_contradicts(ctl, v, string_of(row, "gtrid")))
            continue;
        counts[CONTRADICTED]++;
        add_drift(v, name, "contradicted", row);
    }
    for (size_t i = 0; i < json_array_size(wanted); i++) {
        const json_t *row = json_array_get(wanted, i);

        /* While others are waited for, nobody may forget. */
        if (has_branch(markers, row) || wrote_nothing(list, row) ||
            !still_committing(ctl, string_of(row, "gtrid")))
            continue;
        counts[UNPROVED]++;
        add_drift(v, name, "unproved", row);
    }
}

/* Counts one participant; its state, if it could not tell everything, or NULL. */
static const char *compare(struct ctl *ctl, struct verification *v, const json_t *transactions,
                           const char *name, const json_t *list, json_t *ret_row)
{
    const json_t *prepared = json_object_get(list, "prepared");
    json_int_t counts[COLUMNS] = {[PREPARED] = (json_int_t)json_array_size(prepared)};
    json_t *wanted = committed(ctl, v, transactions, name, "committed"), *markers = NULL;
    int error = list_markers(ctl, name, &markers);
    json_t *again = ask(ctl, "prepared", NULL, name);

    compare_prepared(ctl, v, transactions, name, list, again, counts);
    if (markers)
        compare_markers(ctl, v, markers, wanted, name, again, counts);
    for (size_t i = 0; i < COLUMNS; i++)
        json_object_set_new(ret_row, columns[i],
                            !markers && i >= MARKERS && i <= UNPROVED ? json_null()
                                                                      : json_integer(counts[i]));
    v->clean &= counts[ORPHAN] == 0 && counts[MISSING] == 0 && counts[CONTRADICTED] == 0 &&
                counts[UNPROVED] == 0;
    json_decref(wanted);
    json_decref(markers);
    json_decref(again);
    if (error == ASSENT_E_LIMIT)
        return "truncated";
    return again && (error == 0 || error == ASSENT_E_NOT_FOUND) ? NULL : "not listed";
}

static void look_at(struct ctl *ctl, struct verification *v, const json_t *transactions,
                    const json_t *participant)
{
    const char *state = string_of(participant, "state"), *trouble = NULL;
    json_t *row, *list = NULL;
    char name[160];

    snprintf(name, sizeof(name), "%s/%s", string_of(participant, "name"),
             string_of(participant, "resource"));
    row = json_pack("{s:s}", "participant", name);
    if (strcmp(state, "down") != 0)
        list = ask(ctl, "prepared", NULL, name);
    if (list)
        trouble = compare(ctl, v, transactions, name, list, row);
    else
        for (size_t i = 0; i < COLUMNS; i++)
            json_object_set_new(row, columns[i], json_null());
    if (json_is_true(json_object_get(list, "truncated")))
        trouble = "truncated";
    else if (!list && strcmp(state, "up") == 0)
        trouble = "not listed";
    json_object_set_new(row, "state", json_string(trouble ? trouble : state));
    v->clean &= list != NULL && trouble == NULL;
    json_array_append_new(v->participants, row);
    json_decref(list);
}

/* 0, or an exit code after saying why. */
static int verify(struct ctl *ctl, struct verification *v)
{
    json_t *health, *participants = NULL, *transactions = NULL;
    int code = ctl_inspect(ctl, "health", NULL, NULL, 0, &health);

    *v = (struct verification){.clean = true,
                               .participants = json_array(),
                               .drift = json_array(),
                               .contradicts = json_object()};
    if (code)
        return code;
    snprintf(v->log, sizeof(v->log), "%s", string_of(health, "log"));
    json_decref(health);
    code = ctl_inspect(ctl, "participants", NULL, NULL, 0, &participants);
    if (code == 0)
        code = ctl_inspect(ctl, "transactions", NULL, NULL, TRANSACTIONS_MAX, &transactions);
    for (size_t i = 0;
         code == 0 && i < json_array_size(json_object_get(participants, "participants")); i++)
        look_at(ctl, v, json_object_get(transactions, "transactions"),
                json_array_get(json_object_get(participants, "participants"), i));
    json_decref(participants);
    json_decref(transactions);
    return code;
}

static void forget(struct verification *v)
{
    json_decref(v->participants);
    json_decref(v->drift);
    json_decref(v->contradicts);
}

static bool has_orphans(const struct verification *v)
{
    for (size_t i = 0; i < json_array_size(v->drift); i++)
        if (strcmp(string_of(json_array_get(v->drift, i), "kind"), "orphan") == 0)
            return true;
    return false;
}

/* Agents settle orphans as the log decides, and leave what it cannot decide. */
static int fix(struct ctl *ctl, struct verification *v)
{
    int code = 0;

    for (size_t i = 0; i < json_array_size(v->drift); i++)
        json_decref(ask(ctl, "scan", NULL, string_of(json_array_get(v->drift, i), "participant")));
    for (int i = 0; code == 0 && i < FIX_LOOKS && has_orphans(v); i++) {
        struct timespec wait = {.tv_nsec = FIX_LOOK_MS * 1000000L};

        (void)nanosleep(&wait, NULL);
        forget(v);
        code = verify(ctl, v);
    }
    return code;
}

static void print_table(struct ctl *ctl, const struct verification *v)
{
    struct ctl_table *table = ctl_table_new(COLUMNS + 2);
    size_t index;
    json_t *row;

    ctl_table_row(table,
                  (const char *[]){"PARTICIPANT", "STATE", "PREPARED", "MATCH", "ORPHAN", "MISSING",
                                   "MARKERS", "CONTRADICTED", "UNPROVED", "FOREIGN"});
    json_array_foreach(v->participants, index, row)
    {
        char cells[COLUMNS + 2][200];
        const char *texts[COLUMNS + 2] = {ctl_text(row, "participant", cells[0], sizeof(cells[0])),
                                          ctl_text(row, "state", cells[1], sizeof(cells[1]))};

        for (size_t i = 0; i < COLUMNS; i++)
            texts[i + 2] = ctl_text(row, columns[i], cells[i + 2], sizeof(cells[i + 2]));
        ctl_table_row(table, texts);
    }
    ctl_table_print(table, ctl, true);
    ctl_table_free(table);
    json_array_foreach(v->drift, index, row)
        ctl_error(ctl, "%s: %s %s", string_of(row, "participant"), string_of(row, "kind"),
                  string_of(row, "gtrid"));
}

static int run(struct ctl *ctl, const struct ctl_args *args)
{
    struct verification v;
    json_t *json;
    int code = verify(ctl, &v);

    if (code == 0 && ctl_given(args, "fix"))
        code = fix(ctl, &v);
    if (code == 0 && ctl->json) {
        json = json_pack("{s:b, s:O, s:O}", "clean", (int)v.clean, "participants", v.participants,
                         "drift", v.drift);
        code = ctl_print_json(ctl, json);
        json_decref(json);
    } else if (code == 0) {
        print_table(ctl, &v);
    }
    if (code == 0 && !v.clean) {
        if (has_orphans(&v) && !ctl_given(args, "fix"))
            ctl_hint(ctl, "assentctl verify --fix has the agents settle what the log decides");
        code = CTL_EXIT_UNHEALTHY;
    }
    forget(&v);
    return code;
}

static const struct ctl_option options[] = {
    {"fix", NULL, "have orphans settled as the log decides, and nothing else", false, false},
    {0},
};

const struct ctl_command ctl_verify = {
    .noun = "verify",
    .words = "",
    .summary = "Hold every participant's prepared branches and markers against the log",
    .detail = "Ends with 5 on drift: an orphan (prepared there, of no open transaction here), a"
              " missing branch (committed here, not known there), a contradicted marker (committed"
              " there, not here), an unproved branch (committed here and there, and its marker is"
              " gone), or a participant that cannot be asked.",
    .options = options,
    .run = run,
};
