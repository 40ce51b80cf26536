/*
 * search.c: the states and what may happen in each, breadth first: a state's number in the table of
 * all states is its place in the queue, and the first violation found is one of the nearest.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "explore.h"

struct options options;
struct assent_gtrid explored_gtrid;

static struct intern states;
static uint32_t *parents;
static uint32_t parents_capacity;
static struct intern vectors; /* of nodes, from which it was tried to finish */
static struct found *found;
static uint32_t wrong_state, wrong_live;
static bool wrong_when_settling, wrong_healed;

static uint32_t expanding;
static FILE *printing;
static uint32_t wanted;

static size_t state_bytes(void)
{
    return offsetof(struct state, nodes) + (options.participants + 1) * sizeof(uint32_t);
}

static void state_get(uint32_t number, struct state *ret_state)
{
    size_t size;
    const void *bytes = intern_get(&states, number, &size);

    memset(ret_state, 0, sizeof(*ret_state));
    memcpy(ret_state, bytes, size);
}

/* ---- what must hold ---- */

const char *check_histories(const uint32_t *nodes)
{
    uint32_t all = 0, votes = VOTED, parts = 0;

    for (uint32_t node = 0; node <= options.participants; node++) {
        uint32_t history = node_history(nodes[node]);

        all |= history;
        if (node > 0) {
            votes &= history;
            parts |= history;
        }
    }
    if ((all & (COMMITTED | DECIDED_COMMIT)) != 0 && (all & (DECIDED_ABORT | TOLD_ABORTED)) != 0)
        return "AC1: one decided commit, another abort";
    if ((all & COMMITTED) != 0 && votes == 0 &&
        !(options.participants == 1 && (parts & COMMITTED) != 0))
        return "AC3: committed without every vote";
    if ((all & ALARM) != 0)
        return "an alarm was raised although nothing is split";
    return NULL;
}

static void violated(uint32_t state, const char *wrong)
{
    if (found->wrong != NULL)
        return;
    found->wrong = wrong;
    wrong_state = state;
}

/* By a rule of its own, not the core's: a majority of the participants, among whom the coordinator
 * counts as one when their number is even. */
static bool holds_quorum(uint32_t live)
{
    uint32_t voters = options.participants, there = live >> 1;

    if (voters % 2 == 0) {
        voters++;
        there = live;
    }
    return 2 * (uint32_t)__builtin_popcount(there) > voters;
}

/* Whether theory says that these can finish without the others. */
static bool must_finish(const struct state *s, uint32_t live)
{
    bool closed = false, unbroken = false;

    for (uint32_t node = 1; node <= options.participants; node++) {
        uint32_t history = node_history(s->nodes[node]);

        closed |= (history & CLOSED) != 0;
        unbroken |= (live >> node & 1) != 0 && (history & NEVER_CRASHED) != 0;
    }
    if (options.protocol == ASSENT_2PC)
        return false;
    /* Who has forgotten must not answer, and so the coordinator may be needed. */
    if (options.termination == ASSENT_TERMINATION_QUORUM)
        return !closed || (live & 1) != 0;
    return !any_moment() && options.budget[LOSSES] == 0 && unbroken;
}

static void settle_part(uint32_t number, const struct state *s, uint32_t live)
{
    const char *wrong = NULL;
    enum settled result = settle_live(s->nodes, live, &wrong);

    if (result == SETTLED || found->wrong != NULL)
        return;
    if (result == BLOCKED && !must_finish(s, live)) {
        found->blocked += options.termination != ASSENT_TERMINATION_QUORUM;
        return;
    }
    violated(number, result == WRONG ? wrong : "those alive and connected cannot finish");
    wrong_when_settling = true;
    wrong_live = live;
}

static void settle_all(uint32_t number, const struct state *s)
{
    uint32_t live = 0;
    const char *wrong = NULL;
    bool fresh;

    (void)intern_put(&vectors, s->nodes, (options.participants + 1) * sizeof(s->nodes[0]), &fresh);
    if (!fresh)
        return;
    found->settled++;
    if (settle_healed(s->nodes, &wrong) != SETTLED) {
        violated(number, wrong != NULL ? wrong : "AC5: all is whole again, yet not all finish");
        wrong_when_settling = wrong_healed = true;
        return;
    }
    for (uint32_t node = 0; node <= options.participants; node++)
        if ((node_history(s->nodes[node]) & UP) != 0)
            live |= 1u << node;
    if (options.termination != ASSENT_TERMINATION_QUORUM) {
        /* Where nobody stays down, the coordinator is the one to be without. */
        settle_part(number, s, any_moment() ? live & ~1u : live);
        return;
    }
    for (uint32_t part = live; part != 0; part = (part - 1) & live)
        if (holds_quorum(part))
            settle_part(number, s, part);
}

/* ---- states ---- */

static void add(const struct state *next, const struct step *step)
{
    struct state s = *next;
    bool fresh;
    uint32_t number;

    found->transitions++;
    if (any_moment())
        saturate(&s, step->node, NULL);
    number = intern_put(&states, &s, state_bytes(), &fresh);
    if (!fresh)
        return;
    if (number >= parents_capacity) {
        parents_capacity = 2 * parents_capacity + 1024;
        parents = grown(parents, parents_capacity, sizeof(*parents));
    }
    parents[number] = expanding;
    if (step->outcome->wrong != NULL)
        violated(number, step->outcome->wrong);
    else if (check_histories(s.nodes) != NULL)
        violated(number, check_histories(s.nodes));
}

static void print_step(const struct step *step)
{
    if (step->earlier != NULL)
        print_step(step->earlier);
    trace_step(printing, step->before, step->node, step->kind, step->argument, step->outcome,
               step->note);
}

/* Prints the step that leads to the wanted state. */
static void match(const struct state *next, const struct step *step)
{
    struct state s = *next;

    if (any_moment())
        saturate(&s, step->node, NULL);
    if (wanted == NONE || intern_find(&states, &s, state_bytes()) != wanted)
        return;
    wanted = NONE;
    print_step(step);
    s = *next;
    if (any_moment())
        saturate(&s, step->node, printing);
}

/* ---- the first states ---- */

static void begin(uint32_t refuses, uint32_t reads)
{
    static struct node node;
    static const struct outcome nothing;
    struct state s = {.net = net_change(NONE, NONE, NULL, 0)};

    for (uint32_t number = 0; number <= options.participants; number++) {
        memset(&node, 0, sizeof(node));
        node.number = number;
        node.up = true;
        node.life = 1;
        if (number == 0)
            coordinator_begin(&node, &explored_gtrid);
        node.writes = number > 0 && number != reads;
        node.refuses = number > 0 && number == refuses;
        s.nodes[number] = node_put(&node);
    }
    expanding = NONE;
    add(&s, &(struct step){.outcome = &nothing});
}

static void begin_all(void)
{
    struct state first;

    explored_gtrid.bytes[15] = 1;
    begin(0, 0);
    state_get(0, &first);
    if (!settle_commits(first.nodes))
        violated(0, "AC4: no fault, all yes, and not committed");
    for (uint32_t node = 1; options.other_votes && node <= options.participants; node++) {
        begin(node, 0);
        begin(0, node);
    }
}

/* ---- the way to a state ---- */

static void print_way(uint32_t number)
{
    uint32_t way[1024], length = 0;

    for (; number != NONE && length < 1024; number = parents[number])
        way[length++] = number;
    while (length-- > 1) {
        struct state s;

        wanted = way[length - 1];
        state_get(way[length], &s);
        expand(&s, match);
    }
}

static void print_wrong(FILE *trace)
{
    struct state s;

    printing = trace;
    print_way(wrong_state);
    state_get(wrong_state, &s);
    if (wrong_when_settling) {
        fprintf(trace, "  and from here, %s:\n",
                wrong_healed ? "everybody back and connected" : "nothing more fails");
        for (uint32_t node = 0; !wrong_healed && node <= options.participants; node++)
            if ((wrong_live >> node & 1) == 0)
                fprintf(trace, "  (node %u is cut off)\n", (unsigned)node);
        settle_print(s.nodes, wrong_live, wrong_healed, trace);
    }
    fprintf(trace, "  VIOLATED: %s\n", found->wrong);
}

static void clear(void)
{
    intern_clear(&states);
    intern_clear(&vectors);
    free(parents);
    parents = NULL;
    parents_capacity = 0;
    settle_clear();
    local_clear();
    wire_clear();
    node_clear();
}

void search(struct found *result, FILE *trace)
{
    clock_t began = clock();
    uint32_t level_end;

    memset(result, 0, sizeof(*result));
    found = result;
    wrong_when_settling = wrong_healed = false;
    begin_all();
    level_end = states.count;
    for (uint32_t i = 0; i < states.count && found->wrong == NULL; i++) {
        struct state s;

        if (states.count > options.states_max)
            break;
        if (i == level_end) {
            level_end = states.count;
            found->depth++;
        }
        state_get(i, &s);
        if (any_moment() || quiet(&s))
            settle_all(i, &s);
        if (found->wrong == NULL) {
            expanding = i;
            expand(&s, add);
        }
        found->complete = i + 1 == states.count;
    }
    found->states = states.count;
    found->seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
    if (trace != NULL && found->wrong != NULL)
        print_wrong(trace);
    clear();
}
