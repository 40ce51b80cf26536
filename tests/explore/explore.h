/*
 * explore.h: every interleaving of one transaction, over the shipped machines, record codec and
 * wire codec: breadth first, with exact visited states, until nothing new is left.
 *
 * Files: main.c options and the documented sets; search.c the states, and what must hold in each;
 * steps.c what may happen in a state; settle.c whether everybody can still finish; local.c what one
 * event does to one node, worked out once; coordinator.c and participant.c drive the machines;
 * node.c nodes as bytes; wire.c messages and sets of them; intern.c bytes as numbers; trace.c what
 * happened, for people.
 *
 * Time is left out: a timer that is set may fire. Two models of it:
 * - `timeouts` 0, a perfect failure detector: a timer fires only when nothing else can happen, and
 *   then whatever was on its way to a dead process is lost. Messages are lost by `losses` only.
 * - `timeouts` > 0: a timer may fire at any moment, that many times, and what was sent may
 *   arrive at any time, as often as one likes, or never: losses, copies, any order and any
 *   partition are in that. So a message once sent stays; a step that only sends is made at once
 *   and costs nothing, since the state after it can do all that the one before it can; and who
 *   dies is back at once, since to the others it may as well be slow. Whether the living manage
 *   without it is tried too.
 * Fields that only say when (deadlines, back-off, jitter) or why (reasons) are made equal in every
 * state, and so is what was counted for a phase that is over.
 */
#ifndef ASSENT_EXPLORE_H
#define ASSENT_EXPLORE_H

#include <stdio.h>

#include "coordinator.h"
#include "participant.h"
#include "record.h"

#define PARTS_MAX  4
#define NODES_MAX  (PARTS_MAX + 1) /* node 0: the coordinator, node n: participant n */
#define RECORD_MAX 320
#define FRAME_MAX  256
#define WRITES_MAX 4
#define CALLS_MAX  2
#define SENDS_MAX  24
#define NONE       UINT32_MAX

/* ---- what is asked for ---- */

enum budget { CRASHES, LOSSES, DUPLICATES, TIMEOUTS, ELECTIONS, BUDGETS };

struct options {
    enum assent_protocol protocol;
    enum assent_termination termination;
    uint32_t participants;
    uint32_t budget[BUDGETS];
    bool keyed;       /* the transaction has an idempotency key */
    bool forget;      /* what has ended may be forgotten, while old messages are still about */
    bool at_once;     /* writes and RM calls take no time; a process may still die in them */
    bool other_votes; /* also with one participant that refuses, and one that only reads */
    uint64_t states_max;
};

extern struct options options; /* of the exploration under way */
extern struct assent_gtrid explored_gtrid;

/* ---- intern.c: equal bytes have equal numbers, from 0 up ---- */

struct intern {
    uint8_t *bytes;
    uint64_t *offsets; /* [n] to [n + 1]: item n */
    uint32_t *slots;
    size_t bytes_capacity, slot_count;
    uint32_t count, item_capacity;
};

uint32_t intern_put(struct intern *table, const void *data, size_t size, bool *ret_new);
/* NONE if it is not there. */
uint32_t intern_find(const struct intern *table, const void *data, size_t size);
const void *intern_get(const struct intern *table, uint32_t number, size_t *ret_size);
void intern_clear(struct intern *table);
void *grown(void *old, size_t count, size_t size);

/* ---- node.c ---- */

struct written {
    uint16_t size; /* 0: nothing */
    uint8_t kind;
    bool forced;
    uint8_t bytes[RECORD_MAX];
};

enum rm_state { RM_NONE, RM_ACTIVE, RM_PREPARED };

/* What a node has done or said over all its lives, for the checks. */
enum history {
    COMMITTED = 1,       /* the RM has, or the application was told so */
    DECIDED_COMMIT = 2,  /* a durable decision */
    DECIDED_ABORT = 4,   /* a durable decision, after a yes vote */
    TOLD_ABORTED = 8,    /* the application */
    VOTED = 16,          /* yes or read-only */
    WAS_PREPARED = 32,   /* in the RM */
    ALARM = 64,          /* raised */
    IN_DOUBT = 128,      /* now: voted yes and knows no decision, or has not ended its voting */
    NEVER_CRASHED = 256, /* now: up, and never was not */
    AT_WORK = 512,       /* now: a write or an RM call is under way */
    UP = 1024,           /* now */
    UNFINISHED = 2048,   /* now: not yet what everybody must reach in the end */
    CLOSED = 4096,       /* now: has forgotten the transaction, which had ended */
    OVER = 8192,         /* now: a coordinator that would say so to who may forget */
    WRITES = 1 << 14,    /* the branch has something to commit */
    ANSWERS_COMMITTED = 1 << 15, /* now: the coordinator, to whoever asks for the outcome */
    ANSWERS_ABORTED = 1 << 16,
    WRITING = 1 << 17, /* now: of what it is at work at, a write */
};

struct node {
    uint32_t number;
    bool up, known, ended, closed; /* known: the machine is in memory */
    uint8_t life;                  /* incarnation, epoch */
    uint8_t writes_pending, calls_pending;
    struct written disk;
    struct written pending[WRITES_MAX]; /* become durable in order */
    bool writes, refuses;               /* the participant's work */
    enum rm_state rm;
    bool marker; /* the RM's proof that it committed */
    uint8_t calls[CALLS_MAX];
    bool call_begins[CALLS_MAX];
    uint32_t history; /* of enum history, those that are not "now" */
    union {
        struct assent_coord coord;
        struct assent_part part;
    } m;
};

void node_normalise_member(struct assent_member *member, bool decided);
uint32_t node_put(const struct node *node);
void node_get(uint32_t number, struct node *ret_node);
/* The highest ballot that it has promised; NONE once it knows the decision; 0: none. */
uint32_t node_elected(uint32_t number);
/* Of enum history, "now" included. */
uint32_t node_history(uint32_t number);
void node_clear(void);
uint32_t node_count(void);

/* ---- wire.c: messages as the codec's bytes, and multisets of them ---- */

uint32_t wire_put(uint32_t from, uint32_t to, const struct assent_message *message);
void wire_get(uint32_t number, uint32_t *ret_from, uint32_t *ret_to,
              struct assent_message *ret_message);
uint32_t wire_to(uint32_t number);
/* The ballot that the message answers; NONE: it answers none. */
uint32_t wire_answers(uint32_t number);
/* The set, in rising order, and how many. */
const uint32_t *net_get(uint32_t net, uint32_t *ret_count);
uint32_t net_of(const uint32_t *set, uint32_t count);
/* Without one `removed` (NONE: with all) and with those sent. */
uint32_t net_change(uint32_t net, uint32_t removed, const uint32_t *sent, uint32_t sent_count);
/* With those sent, each once. */
uint32_t net_with(uint32_t net, const uint32_t *sent, uint32_t sent_count);
/* Without what is on its way to these nodes. */
uint32_t net_without(uint32_t net, uint32_t nodes);
void wire_clear(void);

/* ---- local.c: an event at a node ---- */

enum event_kind {
    EV_START,   /* the coordinator: the application asks to commit */
    EV_DELIVER, /* argument: message */
    EV_DURABLE,
    EV_RM,
    EV_RETRY,   /* its nearer timer */
    EV_TIMER,   /* its last timer */
    EV_CONNECT, /* argument: the other node */
    EV_FORGET,
    EV_RESTART,
    EV_CRASH,
};

/* One thing that an event can lead to. */
struct outcome {
    uint32_t node;
    bool crash;    /* the process dies on the way */
    bool election; /* it stands as a candidate, or asks around */
    uint8_t send_count;
    const char *wrong; /* violated here, or NULL */
    uint32_t sends[SENDS_MAX];
};

/* The first outcome is the one without a crash, except for EV_CRASH. count 0: it cannot happen. */
const struct outcome *local_outcomes(uint32_t node, enum event_kind kind, uint32_t argument,
                                     uint32_t *ret_count);
void local_clear(void);

/* Being worked out: what the drivers fill. */
struct doing {
    struct node node;
    uint32_t action_count; /* of the step just made */
    bool election;
    bool drop; /* the machine is not kept after the step */
    uint32_t send_count;
    uint32_t sends[SENDS_MAX];
    const char *wrong;
};

/* The clock that a step is given: it is before every timer, or shows that one. */
enum { CLOCK_BEFORE = 1, CLOCK_RETRY = 1000, CLOCK_TIMER = 2000, CLOCK_DEADLINE = 3000 };

void doing_send(struct doing *d, uint32_t to, const struct assent_message *message);
void doing_wrong(struct doing *d, const char *what);
void doing_write(struct doing *d, int kind, bool forced, const uint8_t *bytes, size_t size);

/* coordinator.c, participant.c: make the step; then carry out its first actions. step: false: the
 * event cannot happen. */
bool coordinator_step(struct doing *d, enum event_kind kind, uint32_t argument);
void coordinator_begin(struct node *node, const struct assent_gtrid *gtrid);
void coordinator_act(struct doing *d, uint32_t count);
void coordinator_land(struct doing *d, const struct written *written);
bool participant_step(struct doing *d, enum event_kind kind, uint32_t argument);
void participant_act(struct doing *d, uint32_t count);
void participant_land(struct doing *d, const struct written *written);
void participant_rm_effect(struct doing *d, uint32_t call, enum assent_rm_result *ret_result);

/* ---- steps.c: what may happen in a state ---- */

/* What is used up, what is on its way, the nodes. */
struct state {
    uint8_t used[8];
    uint32_t net;
    uint32_t nodes[NODES_MAX];
};

struct step {
    uint32_t node, argument;
    enum event_kind kind;
    uint32_t before; /* the node then */
    const struct outcome *outcome;
    const char *note;
    const struct step *earlier; /* made just before, or NULL */
};

/* Whether timers may fire at any moment. */
bool any_moment(void);
/* Calls visit for each state that one step leads to. */
void expand(const struct state *state,
            void (*visit)(const struct state *next, const struct step *step));
/* Whether nothing can happen but a timer, a crash or a restart. */
bool quiet(const struct state *state);
/* Adds what the nodes send without a change, after `changed` took a step. */
void saturate(struct state *state, uint32_t changed, FILE *trace);

/* ---- search.c ---- */

struct found {
    uint64_t states, transitions;
    uint32_t depth;
    uint64_t settled; /* vectors of nodes from which it was tried to finish */
    uint64_t blocked; /* of them, where somebody alive could not */
    bool complete;    /* nothing is left */
    const char *wrong;
    double seconds;
};

void search(struct found *found, FILE *trace);
/* The first violation of these nodes' histories, or NULL. */
const char *check_histories(const uint32_t *nodes);

/* ---- settle.c ---- */

enum settled { SETTLED, BLOCKED, WRONG };

/* Whether those of `live` finish among themselves, the others cut off and every message lost. */
enum settled settle_live(const uint32_t *nodes, uint32_t live, const char **ret_wrong);
/* Whether all finish once everybody is back and connected. */
enum settled settle_healed(const uint32_t *nodes, const char **ret_wrong);
/* Whether that ends committed. */
bool settle_commits(const uint32_t *nodes);
void settle_clear(void);
/* The same again, with its steps printed. */
void settle_print(const uint32_t *nodes, uint32_t live, bool healed, FILE *trace);

/* ---- trace.c ---- */

void trace_step(FILE *trace, uint32_t before, uint32_t node, enum event_kind kind,
                uint32_t argument, const struct outcome *outcome, const char *note);
void trace_node(FILE *trace, uint32_t node);

#endif
