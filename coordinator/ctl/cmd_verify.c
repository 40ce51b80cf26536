/*
 * cmd_verify.c: holds what every participant's resource lists as prepared against the coordinator's
 * log. The order makes it safe while everything runs: prepared (the lists), active and decisions
 * (the log), and for whatever differs then, the lists again: only what both lists show is drift.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "commands.h"

#define TRANSACTIONS_MAX 10000
#define FIX_LOOKS        50
#define FIX_LOOK_MS      100

enum column { PREPARED, MATCH, ORPHAN, MISSING, FOREIGN, COLUMNS };
static const char *const columns[COLUMNS] = {"prepared", "match", "orphan", "missing", "foreign"};

/* One look at everything. */
struct verification {
    char log[64];
    json_t *participants, *drift;
    bool clean;
};

/* A question whose refusal is an answer too. */
static json_t *ask(struct ctl *ctl, const char *what, const char *argument, const char *participant,
                   uint32_t limit)
{
    char *text = NULL;
    json_t *json = NULL;

    if (assent_client_inspect(ctl->client, what, argument, participant, limit, &text) == 0)
        json = json_loads(text, 0, NULL);
    free(text);
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
    json_t *json = ask(ctl, "transaction", gtrid, NULL, 0);
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

/* Branches that committed transactions wait for at this participant, as rows of a list. */
static json_t *awaited(struct ctl *ctl, const struct verification *v, const json_t *transactions,
                       const char *participant)
{
    json_t *rows = json_array(), *transaction, *json, *branch;
    size_t index, k;

    json_array_foreach((json_t *)(uintptr_t)transactions, index, transaction)
    {
        const char *gtrid = string_of(transaction, "gtrid");

        if (strcmp(string_of(transaction, "phase"), "committing") != 0)
            continue;
        json = ask(ctl, "transaction", gtrid, NULL, 0);
        json_array_foreach(json_object_get(json, "branches"), k, branch)
        {
            if (strcmp(string_of(branch, "participant"), participant) == 0 &&
                strcmp(string_of(branch, "vote"), "yes") == 0 &&
                strcmp(string_of(branch, "result"), "none") == 0)
                json_array_append_new(rows,
                                      json_pack("{s:s, s:s, s:O}", "log", v->log, "gtrid", gtrid,
                                                "branch", json_object_get(branch, "number")));
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

/* Counts one participant. What looks like drift is only that if a second list shows it too: else it
 * was under way, and has ended since. */
static void compare(struct ctl *ctl, struct verification *v, const json_t *transactions,
                    const char *name, const json_t *list, json_t *ret_row)
{
    const json_t *prepared = json_object_get(list, "prepared");
    json_int_t counts[COLUMNS] = {[PREPARED] = (json_int_t)json_array_size(prepared)};
    json_t *orphans = find_orphans(ctl, v, prepared, name, counts);
    json_t *wanted = awaited(ctl, v, transactions, name);
    json_t *again = ask(ctl, "prepared", NULL, name, 0);

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
    for (size_t i = 0; i < COLUMNS; i++)
        json_object_set_new(ret_row, columns[i], json_integer(counts[i]));
    v->clean &= again && counts[ORPHAN] == 0 && counts[MISSING] == 0;
    json_decref(orphans);
    json_decref(wanted);
    json_decref(again);
}

static void look_at(struct ctl *ctl, struct verification *v, const json_t *transactions,
                    const json_t *participant)
{
    const char *state = string_of(participant, "state");
    json_t *row, *list = NULL;
    char name[160];

    snprintf(name, sizeof(name), "%s/%s", string_of(participant, "name"),
             string_of(participant, "resource"));
    row = json_pack("{s:s}", "participant", name);
    if (strcmp(state, "down") != 0)
        list = ask(ctl, "prepared", NULL, name, 0);
    if (list)
        compare(ctl, v, transactions, name, list, row);
    else
        for (size_t i = 0; i < COLUMNS; i++)
            json_object_set_new(row, columns[i], json_null());
    if (json_is_true(json_object_get(list, "truncated")))
        state = "truncated";
    else if (!list && strcmp(state, "up") == 0)
        state = "not listed";
    json_object_set_new(row, "state", json_string(state));
    v->clean &= list != NULL && strcmp(state, "truncated") != 0;
    json_array_append_new(v->participants, row);
    json_decref(list);
}

/* 0, or an exit code after saying why. */
static int verify(struct ctl *ctl, struct verification *v)
{
    json_t *health, *participants = NULL, *transactions = NULL;
    int code = ctl_inspect(ctl, "health", NULL, NULL, 0, &health);

    *v = (struct verification){.clean = true, .participants = json_array(), .drift = json_array()};
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
        json_decref(
            ask(ctl, "scan", NULL, string_of(json_array_get(v->drift, i), "participant"), 0));
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

    ctl_table_row(table, (const char *[]){"PARTICIPANT", "STATE", "PREPARED", "MATCH", "ORPHAN",
                                          "MISSING", "FOREIGN"});
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
    .summary = "Hold every participant's prepared branches against the log",
    .detail = "Ends with 5 on drift: an orphan (prepared there, of no open transaction here), a"
              " missing branch (committed here, not known there), or a participant that cannot be"
              " asked.",
    .options = options,
    .run = run,
};
