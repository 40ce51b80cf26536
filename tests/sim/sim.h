/*
 * sim.h: a whole Assent in one deterministic process: the shipped machines and the shipped record
 * codec over a virtual clock, network, disk and resource managers. One seed is one schedule; the
 * same seed gives the same schedule to the byte.
 */
#ifndef ASSENT_SIM_H
#define ASSENT_SIM_H

#include <stdio.h>

#include "coordinator.h"
#include "participant.h"
#include "record.h"

#define SIM_PARTS_MAX 4
#define SIM_TXS_MAX   4

/* Faults, drawn per seed: a run without any must commit everything that all vote for. */
enum sim_fault {
    SIM_LOSS = 1,
    SIM_DUPLICATE = 2,
    SIM_DELAY = 4, /* far beyond every timeout */
    SIM_CRASH_COORDINATOR = 8,
    SIM_CRASH_PARTICIPANT = 16,
    SIM_RM_TROUBLE = 32, /* answers UNAVAILABLE, RETRY or nonsense, done or not done */
    SIM_SLOW_DISK = 64,
    SIM_ALL = 127,
};

enum sim_rm_state { SIM_RM_NONE, SIM_RM_ACTIVE, SIM_RM_PREPARED };

/* One durable record, as bytes, and the write to it under way. */
struct sim_record {
    size_t size;
    uint8_t bytes[ASSENT_RECORD_BYTES_MAX];
};

struct sim_branch {
    bool known; /* the machine exists in memory */
    struct assent_part machine;
    struct sim_record record; /* the agent's own store */
    enum sim_rm_state rm;     /* PREPARED is durable, ACTIVE is lost in a crash */
    bool marker;              /* the RM's durable proof that it committed */
    uint64_t rm_at_ms;        /* calls of one branch take effect in order */
    bool writes;              /* else it votes read-only */
    bool refuses;             /* votes no */
    bool was_prepared, voted_yes, committed,
        aborted_after_yes; /* for the checker, over all lives */
};

struct sim_participant {
    bool up;
    uint32_t epoch, capabilities;
    uint64_t written_ms;  /* writes of one store become durable in order */
    uint32_t ended_below; /* transactions below are on record at the coordinator */
    struct sim_branch branches[SIM_TXS_MAX];
};

struct sim_tx {
    struct assent_gtrid gtrid;
    enum assent_protocol protocol;
    uint32_t participants[SIM_PARTS_MAX]; /* of its branches */
    uint32_t branch_count;
    bool one_shot, will_roll_back, keyed;
    bool known, ended; /* machine in memory; ended in this life */
    struct assent_coord machine;
    struct sim_record record;
    /* for the checker, over all lives */
    bool told_committed, told_aborted, logged_commit, logged_abort, split;
    bool begun;
};

enum sim_event_kind {
    SIM_EV_BEGIN,
    SIM_EV_COMMIT,
    SIM_EV_TO_COORDINATOR,
    SIM_EV_TO_PARTICIPANT,
    SIM_EV_COORDINATOR_TIMER,
    SIM_EV_PARTICIPANT_TIMER,
    SIM_EV_COORDINATOR_DURABLE,
    SIM_EV_PARTICIPANT_DURABLE,
    SIM_EV_RM_EFFECT,
    SIM_EV_RM_ANSWER,
    SIM_EV_RESTART_COORDINATOR,
    SIM_EV_RESTART_PARTICIPANT,
    SIM_EV_CONNECT, /* coordinator and a participant see each other (again) */
    SIM_EV_PING,    /* the coordinator says what has ended */
};

struct sim_event {
    uint64_t at_ms, tie;
    enum sim_event_kind kind;
    uint32_t tx, participant;
    struct assent_message message;
    bool with_work, with_begin;
    enum assent_operation operation;
    enum assent_rm_result result;
    int record_kind;
    struct sim_record *write; /* owned by the event */
};

struct sim_world {
    uint64_t rng, now_ms, ties;
    unsigned faults;
    uint64_t heal_ms; /* no fault after it */
    bool healed;
    struct sim_event *heap;
    size_t heap_count, heap_capacity;
    uint64_t events;
    uint64_t hash; /* of the trace: equal for equal seeds */
    FILE *trace;   /* or NULL */

    bool coordinator_up;
    uint64_t written_ms;
    uint32_t incarnation;
    struct assent_coord_config coord_config;
    uint32_t tx_count, part_count;
    struct sim_tx txs[SIM_TXS_MAX];
    struct sim_participant parts[SIM_PARTS_MAX];

    const char *violation; /* the first that theory does not allow, or NULL */
    uint32_t violation_tx;
    uint32_t alarms;
    uint32_t splits; /* transactions that the timeout rule split, as theory says it can */
};

struct sim_totals {
    uint64_t schedules, events, commits, aborts, splits, unexpected;
    uint64_t hash;
};

/* world.c: clock, events, faults */
uint64_t sim_below(struct sim_world *w, uint64_t bound);
bool sim_chance(struct sim_world *w, unsigned fault, unsigned percent);
void sim_schedule(struct sim_world *w, uint64_t delay_ms, struct sim_event event);
bool sim_next(struct sim_world *w, struct sim_event *ret_event);
/* A crash: the process's events leave the heap. In their order each is offered to `happens`, which
 * may let it take place after all and says whether the next may. participant < 0: coordinator. */
void sim_crash(struct sim_world *w, int participant,
               bool (*happens)(struct sim_world *w, struct sim_event *event));
void sim_trace(struct sim_world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_send(struct sim_world *w, enum sim_event_kind kind, uint32_t participant, uint32_t tx,
              const struct assent_message *message);
/* Queues a write of the record's bytes; `kind` is given when it is durable. */
void sim_write(struct sim_world *w, int participant, uint32_t tx, int record_kind, bool forced,
               const uint8_t *bytes, size_t size);

/* sim_coordinator.c, sim_participant.c: drivers of the shipped machines */
void sim_coordinator_event(struct sim_world *w, struct sim_event *event);
void sim_coordinator_start(struct sim_world *w);
void sim_participant_start(struct sim_world *w, uint32_t participant);
void sim_participant_event(struct sim_world *w, struct sim_event *event);

/* checker.c: AC1 to AC5 */
void sim_check(struct sim_world *w, uint32_t tx);
void sim_check_end(struct sim_world *w);
/* The outcome that asking the coordinator by gtrid would give. */
enum assent_outcome sim_asked(const struct sim_world *w, const struct sim_tx *tx);

/* Runs one schedule. Returns false on an unexpected violation. */
bool sim_run(uint64_t seed, FILE *trace, struct sim_totals *totals);

#endif
