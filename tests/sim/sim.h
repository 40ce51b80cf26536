/*
 * sim.h: a whole Assent in one deterministic process: the shipped machines, the shipped record
 * codec and the shipped wire codec over virtual clocks, network, disks and resource managers. One
 * seed is one schedule; the same seed gives the same schedule to the byte.
 *
 * Files: main.c options and runs; plan.c what a seed draws; world.c events, clocks, faults of
 * processes; network.c messages; disk.c records; sim_coordinator.c and sim_participant.c drive the
 * machines; restore.c a restored log, and what people do; sim_rm.c the resource managers; checker.c
 * what must hold; table.c policy by fault; shrink.c makes a failing schedule small; costs.c counts
 * what a transaction costs.
 */
#ifndef ASSENT_SIM_H
#define ASSENT_SIM_H

#include <stdio.h>

#include "coordinator.h"
#include "participant.h"
#include "record.h"

#define SIM_PARTS_MAX     7
#define SIM_TXS_MAX       3
#define SIM_NODES_MAX     (SIM_PARTS_MAX + 1) /* node 0: the coordinator, node n: participant n */
#define SIM_RECORD_MAX    320
#define SIM_FRAME_MAX     256
#define SIM_DELETE        (-1) /* instead of a record's kind: the record goes */
#define SIM_NEVER         UINT64_MAX
#define SIM_COST_DELAY_MS 1000u

/* What may go wrong in a schedule. */
enum sim_fault {
    SIM_LOSS = 1,
    SIM_DUPLICATE = 1 << 1,
    SIM_DELAY = 1 << 2,             /* far beyond every timeout */
    SIM_CRASH_COORDINATOR = 1 << 3, /* between any two actions; back some time later */
    SIM_CRASH_PARTICIPANT = 1 << 4,
    SIM_RM_TROUBLE = 1 << 5, /* UNAVAILABLE, RETRY, NOT_FOUND or nonsense, done or not done */
    SIM_SLOW_DISK = 1 << 6,
    SIM_DISK_FAILS = 1 << 7, /* EIO, ENOSPC: the process ends, the write is there or not */
    SIM_PARTITION = 1 << 8,  /* any set of links, each way by itself */
    SIM_CLOG = 1 << 9,       /* a link holds everything back, then lets it go at once */
    SIM_PAUSE = 1 << 10,     /* a process stands still for longer than every timeout */
    SIM_CLOCKS = 1 << 11,    /* clocks run at 0.1 to 10 times the true rate */
    SIM_GONE = 1 << 12,      /* a crashed coordinator never comes back */
    SIM_RESTORE = 1 << 13,   /* the coordinator comes back with an older copy of its log */
};
#define SIM_FAULTS 14
#define SIM_ALL    ((1u << SIM_FAULTS) - 1)

/* Rare paths that a long run must have taken; one never taken is a test that tests nothing. */
#define SIM_PROBES(X)                                                                              \
    X(COMMITTED_BY_COORDINATOR, "a coordinator in an election decided to commit")                  \
    X(ABORTED_BY_COORDINATOR, "a coordinator in an election decided to abort")                     \
    X(COMMITTED_BY_PARTICIPANT, "a participant in an election decided to commit")                  \
    X(ABORTED_BY_PARTICIPANT, "a participant in an election decided to abort")                     \
    X(COMMITTED_BY_QUORUM, "a coordinator committed without every acknowledgement")                \
    X(PRECOMMIT_REFUSED, "a pre-commit came after a promise, and was refused")                     \
    X(OUTBID, "a candidate gave way to a higher ballot")                                           \
    X(PROPOSAL_TURNED, "a pre-aborted member accepted a pre-commit")                               \
    X(PROPOSAL_TURNED_BACK, "a pre-committed member accepted a pre-abort")                         \
    X(MANY_ELECTIONS, "one member stood five times")                                               \
    X(RECOVERED_PRECOMMITTED, "a participant came back pre-committed")                             \
    X(RECOVERED_PREABORTED, "a participant came back pre-aborted")                                 \
    X(COORDINATOR_RECOVERED_PREABORTED, "a coordinator came back pre-aborted")                     \
    X(COORDINATOR_LEARNED, "a coordinator learned the decision from a participant")                \
    X(PRESUMED_TO_CANDIDATE, "a coordinator without a record answered a candidate")                \
    X(REFUSED_FOR_GOOD, "a participant that had not voted was asked, and refused for good")        \
    X(STALE_ANSWERED, "a participant without a record answered for an earlier life")               \
    X(WITNESS, "a read-only member took part in an election")                                      \
    X(PEER_TOLD, "a 2pc participant in doubt learned the decision from a peer")                    \
    X(CLOSED_ASKED, "a member that had forgotten was asked")                                       \
    X(KEYED_ABORT, "an abort was recorded for its key")                                            \
    X(EVIDENCE, "a resource manager proved a commit")                                              \
    X(LED, "a cooperative member gave way to a lower one")                                         \
    X(RESOLVED, "a person decided, and nobody else had")                                           \
    X(ORPHAN, "a scan found what an application had prepared, and its transaction was over")       \
    X(ADOPTED_VOTES, "a branch that a scan had found was asked for its vote")                      \
    X(BARRED, "an application could not prepare any more what had been aborted")                   \
    X(LOST_COMMIT, "a coordinator's log was restored that had lost a commit")                      \
    X(ABORT_HELD, "an abort from a restored log, or passed on, was not believed")                  \
    X(HELD_TOLD, "a held branch learned the commit from a peer")                                   \
    X(LOSS_SHOWN, "a commit that a restored log had lost was shown when that was accepted")        \
    X(CLOSED_COMMIT, "a restored log told a commit to one that had forgotten it")                  \
    X(FORCED, "a person had to find out what a restored log could not")                            \
    X(RM_CAME_BACK, "a resource manager came back before the next try")                            \
    X(RELEASED, "a person had seen to a heuristic branch, and it was released")                    \
    X(BY_HAND, "a person ended a branch in doubt at its resource manager")                         \
    X(BY_HAND_PEER, "a peer told the decision for a branch that a person had ended")

enum sim_probe {
#define X(name, text) SIM_PROBE_##name,
    SIM_PROBES(X)
#undef X
        SIM_PROBE_COUNT
};

enum sim_rm_state { SIM_RM_NONE, SIM_RM_ACTIVE, SIM_RM_PREPARED };

/* One durable record, as bytes. */
struct sim_record {
    uint32_t size;
    uint8_t bytes[SIM_RECORD_MAX];
};

struct sim_branch {
    bool known;    /* the machine exists in memory */
    bool deleting; /* its record is on the way out */
    struct assent_part machine;
    uint64_t armed_ms;        /* true time of the timer event under way, or SIM_NEVER */
    struct sim_record record; /* the agent's own store */
    enum sim_rm_state rm;     /* PREPARED is durable, ACTIVE is lost in a crash */
    bool marker;              /* the RM's durable proof that it committed */
    uint64_t rm_at_ms;        /* calls of one branch take effect in order */
    bool writes;              /* else it votes read-only */
    bool refuses;             /* votes no */
    bool own;                 /* its application works past the agent, and prepares it itself */
    bool own_late;            /* perhaps after it has asked to commit, or never */
    bool barred;              /* evidence has said for good that it did not commit */
    bool by_hand;             /* a person has ended it at the RM */
    bool by_hand_unseen;      /* and its agent, which had no record of it, died before it knew */
    /* for the checker, over all lives */
    bool was_prepared, voted_yes, committed, decided_commit, decided_abort;
    uint64_t doubt_ms; /* true time of the yes vote; decided_ms of the decision; 0: not */
    uint64_t decided_ms;
};

struct sim_node {
    bool up, gone;
    uint32_t rate;         /* of its clock, in thousandths */
    uint64_t paused_until; /* true time */
    uint64_t written_ms;   /* writes of one store become durable in order */
    uint64_t kill_in;      /* dies before this many more actions; 0: not planned */
    uint64_t kill_for_ms;  /* and comes back after this; SIM_NEVER: never */
};

struct sim_participant {
    uint32_t epoch, capabilities;
    uint32_t ended_below; /* transactions below are on record at the coordinator; durable */
    struct sim_branch branches[SIM_TXS_MAX];
};

struct sim_tx {
    struct assent_gtrid gtrid;
    enum assent_protocol protocol;
    enum assent_termination termination;
    uint32_t participants[SIM_PARTS_MAX]; /* nodes of its branches */
    uint32_t epochs[SIM_PARTS_MAX];       /* when they were enlisted */
    uint32_t branch_count;
    bool one_shot, will_roll_back, keyed;
    bool may_be_resolved; /* by a person, to abort */
    bool known, ended;    /* machine in memory; ended in this life */
    struct assent_coord machine;
    uint64_t armed_ms;
    struct sim_record record, copy; /* the copy is older */
    /* for the checker, over all lives */
    bool told_committed, told_aborted, logged_commit, logged_abort, split;
    bool begun;
    bool restored;  /* it began before the log was restored */
    bool witnessed; /* and somebody knew, when that was accepted, that it was committed */
};

enum sim_event_kind {
    SIM_EV_BEGIN,
    SIM_EV_COMMIT,
    SIM_EV_MESSAGE,
    SIM_EV_TIMER,
    SIM_EV_DURABLE,
    SIM_EV_RM_EFFECT,
    SIM_EV_RM_ANSWER,
    SIM_EV_RESOLVE, /* a person decides, where no force is needed */
    SIM_EV_OWN,     /* an application prepares a branch on a connection of its own */
    SIM_EV_SCAN,    /* a participant compares its RM's list with what it knows */
    SIM_EV_RESTART,
    SIM_EV_CONNECT, /* coordinator and a participant see each other (again) */
    SIM_EV_PING,    /* the coordinator says what has ended */
    SIM_EV_CUT,     /* links are cut, or clogged, or a process pauses */
    SIM_EV_JOIN,    /* all links are whole again */
    SIM_EV_COPY,    /* of the coordinator's log */
    SIM_EV_RESTORE, /* it will be put back soon; all participants notice */
    SIM_EV_ACCEPT,  /* a person accepts what was lost */
    SIM_EV_FORCE,   /* and decides what nobody can know any more */
    SIM_EV_RELEASE, /* a person has seen to what is mixed or a hazard */
    SIM_EV_BY_HAND, /* a person ends a branch at its RM, past its agent */
    SIM_EV_RM_UP,   /* a participant notices that its RM answers again */
};

struct sim_event {
    enum sim_event_kind kind;
    uint32_t node, tx; /* where it happens */
    uint32_t from;     /* MESSAGE */
    bool with_work, with_begin;
    enum assent_operation operation;
    enum assent_rm_result result;
    int record_kind;
    uint32_t size; /* of the frame or record below */
    uint8_t bytes[SIM_RECORD_MAX];
};

struct sim_slot {
    uint64_t at_ms, tie;
    uint32_t event;
};

/* The fault of one cell of the table; 0: drawn at random. */
enum sim_cell {
    SIM_CELL_NONE,
    SIM_CELL_COORDINATOR_DIES,
    SIM_CELL_COORDINATOR_RETURNS,
    SIM_CELL_COORDINATOR_AND_ONE_DIE,
    SIM_CELL_PARTITION,
    SIM_CELL_PARTITION_AND_DEATH,
    SIM_CELL_FALSE_TIMEOUT,
    SIM_CELL_COUNT
};

/* What a run is asked for, the same for all its seeds. */
struct sim_options {
    unsigned faults;    /* only these */
    enum sim_cell cell; /* with protocol and termination */
    enum assent_protocol protocol;
    enum assent_termination termination;
    const uint8_t *suppressed; /* bit n: the nth fault does not happen; or NULL */
    uint32_t suppressed_count;
    bool cost;        /* messages take SIM_COST_DELAY_MS, nothing else takes time */
    uint32_t only_tx; /* 1 + the only transaction that begins; 0: all */
    FILE *trace;      /* or NULL */
};

struct sim_world {
    const struct sim_options *options;
    uint64_t rng, now_ms;
    unsigned faults;
    bool healed;
    uint32_t fault_count; /* faults that chance has brought so far */
    struct sim_slot *heap;
    size_t heap_count, heap_capacity;
    struct sim_event *pool;
    uint32_t pool_count, pool_capacity, pool_free;
    uint32_t *freed;
    uint64_t events;
    uint64_t hash; /* of what happened: equal for equal seeds */
    uint64_t probes[SIM_PROBE_COUNT];

    uint32_t part_count, tx_count;
    struct sim_node nodes[SIM_NODES_MAX];
    uint32_t cut[SIM_NODES_MAX]; /* bit: nothing gets there */
    uint64_t clogged_until[SIM_NODES_MAX][SIM_NODES_MAX];
    uint32_t lost;                 /* bit: its link with the coordinator lost something */
    uint32_t majority;             /* nodes of the larger part, in a cell */
    uint64_t cut_at_message, sent; /* in a cell */
    uint32_t cell_cut[SIM_NODES_MAX];
    uint32_t pause_node;
    uint32_t incarnation;
    bool restores, restored, accepted; /* at the coordinator's next death; done; by a person */
    uint32_t lost_below; /* what the participants see in a restored log until it is accepted */
    bool rms_tell;       /* that they are back */
    struct assent_coord_config coord_config;
    struct sim_tx txs[SIM_TXS_MAX];
    struct sim_participant parts[SIM_NODES_MAX]; /* by node; 0 is not used */

    const char *violation; /* the first that theory does not allow, or NULL */
    uint32_t violation_tx;
    uint32_t alarms, splits;
    uint32_t forced[SIM_NODES_MAX], rm_synced[SIM_NODES_MAX]; /* writes, for the costs */
    uint32_t blocked_majority, blocked_minority;              /* transactions, at the end */
    uint64_t blocked_ms; /* the longest doubt of a live participant */
};

struct sim_totals {
    uint64_t schedules, events, commits, aborts, splits, unexpected, hash;
    uint64_t blocked_majority, blocked_minority, blocked_ms_sum, blocked_ms_max;
    uint64_t probes[SIM_PROBE_COUNT];
    const char *violation;
    uint32_t violation_tx, fault_count;
};

/* world.c */
struct sim_world *sim_world_new(void);
void sim_world_free(struct sim_world *w);
/* Empties the world for the next seed; memory is kept. */
void sim_world_reset(struct sim_world *w);
uint64_t sim_below(struct sim_world *w, uint64_t bound);
/* Whether that fault happens now. Draws the same numbers whether or not it is suppressed. */
bool sim_chance(struct sim_world *w, unsigned fault, unsigned per_thousand);
struct sim_event *sim_schedule(struct sim_world *w, uint64_t delay_ms, enum sim_event_kind kind,
                               uint32_t node, uint32_t tx);
/* The next event, valid until the next call; NULL: none. */
struct sim_event *sim_next(struct sim_world *w);
/* True time to a node's own clock, and how long until its clock shows that. */
uint64_t sim_clock(const struct sim_world *w, uint32_t node);
uint64_t sim_until(const struct sim_world *w, uint32_t node, uint64_t clock_ms);
/* Keeps one timer event under way, at or before the machine's timer. */
void sim_arm(struct sim_world *w, uint32_t node, uint32_t tx, uint64_t timer_ms,
             uint64_t *armed_ms);
/* Whether the process dies before this action. */
bool sim_dies(struct sim_world *w, uint32_t node);
/* The process ends: its events leave the heap, writes and calls under way happen or not. */
void sim_crash(struct sim_world *w, uint32_t node);
void sim_probe(struct sim_world *w, enum sim_probe probe);
void sim_violation(struct sim_world *w, uint32_t tx, const char *what);
#define sim_trace(w, ...)                                                                          \
    do {                                                                                           \
        if ((w)->options->trace != NULL)                                                           \
            sim_trace_line((w), __VA_ARGS__);                                                      \
    } while (0)
void sim_trace_line(const struct sim_world *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* network.c */
void sim_send(struct sim_world *w, uint32_t from, uint32_t to, uint32_t tx,
              const struct assent_message *message);
/* The message of a MESSAGE event, decoded from its bytes. */
void sim_receive(const struct sim_event *event, struct assent_message *ret_message);
void sim_network_event(struct sim_world *w, const struct sim_event *event);
void sim_network_plan(struct sim_world *w, uint64_t until_ms);
void sim_join(struct sim_world *w);

/* disk.c: false: the write failed, and the process with it */
bool sim_write(struct sim_world *w, uint32_t node, uint32_t tx, int record_kind, bool forced,
               const uint8_t *bytes, size_t size);

/* plan.c */
void sim_plan(struct sim_world *w, uint64_t seed);
extern const uint64_t sim_heal_ms;

/* sim_coordinator.c, sim_participant.c: drivers of the shipped machines */
void sim_coordinator_event(struct sim_world *w, struct sim_event *event);
void sim_coordinator_start(struct sim_world *w);
void sim_coordinator_land(struct sim_world *w, const struct sim_event *event);
void sim_coordinator_step(struct sim_world *w, uint32_t tx, struct assent_coord_event event);
void sim_participant_start(struct sim_world *w, uint32_t node);
void sim_participant_event(struct sim_world *w, struct sim_event *event);
void sim_participant_land(struct sim_world *w, const struct sim_event *event);
void sim_participants_ping(struct sim_world *w, uint32_t node, uint32_t ended_below);
void sim_participants_accepted(struct sim_world *w);

/* restore.c */
/* After the coordinator has died. */
void sim_restore(struct sim_world *w);
void sim_people_event(struct sim_world *w, const struct sim_event *event);
/* A result without a machine: it may contradict what stands. */
void sim_late_result(struct sim_world *w, const struct sim_event *event,
                     const struct assent_message *message);

/* sim_rm.c */
void sim_rm_call(struct sim_world *w, uint32_t node, uint32_t tx,
                 const struct assent_part_action *action);
void sim_rm_event(struct sim_world *w, struct sim_event *event);
/* The call had left the process that died. */
void sim_rm_effect(struct sim_world *w, struct sim_event *event);
/* The application's own session; no fault of the agent touches it. */
void sim_rm_own(struct sim_world *w, uint32_t node, uint32_t tx);
void sim_rm_by_hand(struct sim_world *w, uint32_t node, uint32_t tx);

/* checker.c: AC1 to AC5 */
void sim_check(struct sim_world *w, uint32_t tx);
void sim_check_end(struct sim_world *w);

/* main.c: one schedule; false on an unexpected violation. */
bool sim_run(struct sim_world *w, uint64_t seed, struct sim_totals *totals);

/* table.c, shrink.c, costs.c */
void sim_costs(struct sim_world *w);
int sim_table(struct sim_world *w, uint64_t seed, uint64_t schedules, const char *json_path);
void sim_shrink(struct sim_world *w, uint64_t seed);

#endif
