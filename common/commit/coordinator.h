/*
 * coordinator.h: the coordinator's machine for one transaction. PURE: events in, actions out; no
 * I/O, clock, allocation, globals or logging. docs/protocols.md draws it.
 *
 * Life: init (or recover, or none at all: answer_unknown) -> step per event -> ENDED. The driver
 * must, after each step, carry out the actions in order, and set its timer to machine->timer_ms.
 *
 * phase              waits for                           leaves to
 * ACTIVE             branches, commit or rollback        VOTING, ONE_PHASE_LOGGING, ABORTING,
 *                                                        ENDING
 * VOTING             votes                               COMMIT_LOGGING, PRECOMMIT_LOGGING,
 *                                                        ABORTING, ENDING
 * PRECOMMIT_LOGGING  the pre-commit record's sync        PRECOMMITTING, COMMITTING, ABORTING
 * PRECOMMITTING      acknowledgements of PreCommit:      COMMIT_LOGGING, COMMITTING,
 *                    all, or (quorum) a quorum's         MEMBER_LOGGING, ABORTING
 * COMMIT_LOGGING     the decision's sync                 COMMITTING
 * COMMITTING         every branch's ack, for ever        ENDING
 * ONE_PHASE_LOGGING  the one-phase record's sync         ONE_PHASE
 * ONE_PHASE          the branch's ack: the outcome       ENDING
 * ABORTING           acks, up to abort_delivery_ms, or   ENDING
 *                    after PreCommit for ever; with a
 *                    key, the reply waits for the
 *                    abort's record (lazy)
 * TERMINATING        an election's answers, or a peer's  MEMBER_LOGGING, COMMITTING, ABORTING
 *                    decision: one member among others
 * MEMBER_LOGGING     the sync of what an election        TERMINATING
 *                    changed, see member.h
 * ENDING             the outcome record (lazy); a reply  ENDED
 *                    not yet given waits too
 * ENDED              nothing
 */
#ifndef ASSENT_COMMIT_COORDINATOR_H
#define ASSENT_COMMIT_COORDINATOR_H

#include "member.h"
#include "message.h"
#include "record.h"

#define ASSENT_COORD_PHASES(X)                                                                     \
    X(ACTIVE, 0, "active")                                                                         \
    X(VOTING, 1, "voting")                                                                         \
    X(PRECOMMIT_LOGGING, 2, "logging pre-commit")                                                  \
    X(PRECOMMITTING, 3, "pre-committing")                                                          \
    X(COMMIT_LOGGING, 4, "logging commit")                                                         \
    X(COMMITTING, 5, "committing")                                                                 \
    X(ONE_PHASE_LOGGING, 6, "logging one-phase")                                                   \
    X(ONE_PHASE, 7, "one-phase")                                                                   \
    X(ABORTING, 8, "aborting")                                                                     \
    X(TERMINATING, 9, "terminating")                                                               \
    X(MEMBER_LOGGING, 10, "logging election")                                                      \
    X(ENDING, 11, "ending")                                                                        \
    X(ENDED, 12, "ended")

enum assent_coord_phase {
#define X(name, number, text) ASSENT_COORD_##name = (number),
    ASSENT_COORD_PHASES(X)
#undef X
};
#define ASSENT_COORD_PHASE_COUNT (ASSENT_COORD_ENDED + 1)

/* Timings and identity; the same for every transaction of one coordinator. */
struct assent_coord_config {
    uint32_t incarnation;
    uint32_t prepare_timeout_ms;         /* from commit to the last vote */
    uint32_t precommit_timeout_ms;       /* 3pc: for acknowledgements, and what participants wait */
    uint32_t retry_min_ms, retry_max_ms; /* back-off of the second phase */
    uint32_t
        abort_delivery_ms; /* abort is repeated this long; then presumed abort tells the rest */
};

struct assent_coord_branch {
    uint32_t participant; /* the driver's number for it */
    uint32_t epoch;       /* incarnation of the participant when enlisted */
    enum assent_vote vote : 8;
    enum assent_branch_result result : 8; /* NONE until it has acknowledged */
    bool precommitted : 1;                /* has acknowledged PreCommit */
    bool has_work : 1;                    /* one-shot: its work rides on the first message */
    bool one_phase : 1;                   /* its resource can commit without a prepare */
};

struct assent_coord {
    struct assent_gtrid gtrid;
    enum assent_protocol protocol : 8;
    enum assent_termination termination : 8;
    enum assent_coord_phase phase : 8;
    enum assent_decision decision : 8;
    enum assent_outcome outcome : 8; /* UNKNOWN until it may be told to anyone */
    enum assent_reason reason : 8;
    bool told : 1;                    /* REPLY was given */
    bool keyed : 1;                   /* an abort is on record before it is told */
    bool outdated : 1;                /* the outcome's record that is on its way to disk */
    enum assent_decision learned : 8; /* from a participant, while a write was under way */
    uint8_t elections;                /* stood for, or asked in; back-off grows with them */
    struct assent_member member;      /* 3pc, from its pre-commit on */
    uint32_t reason_branch;           /* 0: none */
    uint32_t attempt;                 /* of the running phase */
    uint64_t deadline_ms;             /* of the transaction until it is decided */
    uint64_t phase_end_ms;            /* VOTING, PRECOMMITTING, ABORTING: given up then */
    uint64_t retry_ms; /* COMMITTING, ONE_PHASE, ABORTING, TERMINATING: repeated then */
    uint64_t timer_ms; /* give a TIMER event then; ASSENT_NO_TIMER: none */
    uint64_t rng;
    uint32_t branch_count;
    /* Number 1 is [0]. Last, so that a machine that never gets more branches can do with less
     * memory: nothing beyond branch_count is looked at. */
    struct assent_coord_branch branches[ASSENT_BRANCHES_MAX];
};

enum assent_coord_event_kind {
    ASSENT_COORD_EV_ENLIST,      /* participant, epoch, has_work -> ENLISTED or REFUSED */
    ASSENT_COORD_EV_COMMIT,      /* the application asks to commit */
    ASSENT_COORD_EV_ROLLBACK,    /* reason: REQUESTED, APPLICATION_GONE, SHUTDOWN */
    ASSENT_COORD_EV_WORK_FAILED, /* branch: its work failed, the transaction cannot commit */
    ASSENT_COORD_EV_MESSAGE,     /* from a participant */
    ASSENT_COORD_EV_DURABLE,     /* the record asked for with LOG is on disk; record, standing */
    ASSENT_COORD_EV_TIMER,
    ASSENT_COORD_EV_PEER_UP, /* participant is connected (again) */
    ASSENT_COORD_EV_RESOLVE, /* a person decides: decision; assent_coord_may_resolve() is 0 */
};

struct assent_coord_event {
    enum assent_coord_event_kind kind;
    uint64_t now_ms;
    uint32_t participant, epoch; /* ENLIST, PEER_UP */
    bool has_work, one_phase;    /* ENLIST */
    enum assent_reason reason;   /* ROLLBACK */
    uint32_t branch;             /* WORK_FAILED */
    struct assent_message message;
    enum assent_coord_record_kind record; /* DURABLE */
    enum assent_decision decision;        /* RESOLVE */
    enum assent_decision standing;        /* DURABLE of a decision: what the register holds */
};

enum assent_coord_action_kind {
    ASSENT_COORD_ACT_SEND,     /* message to the participant of message.branch */
    ASSENT_COORD_ACT_LOG,      /* write assent_coord_to_record(); forced; then DURABLE */
    ASSENT_COORD_ACT_REPLY,    /* machine->outcome may be told to whoever waits for the decision */
    ASSENT_COORD_ACT_ENLISTED, /* branch */
    ASSENT_COORD_ACT_REFUSED,  /* error: ASSENT_E_STATE, ASSENT_E_LIMIT */
    ASSENT_COORD_ACT_ALARM,    /* branch contradicts the decision, or its result is a hazard */
    ASSENT_COORD_ACT_ENDED,    /* on record and obeyed: the machine may be dropped */
};

struct assent_coord_action {
    enum assent_coord_action_kind kind;
    struct assent_message message;        /* SEND */
    uint32_t participant;                 /* SEND */
    enum assent_coord_record_kind record; /* LOG */
    bool forced;                          /* LOG */
    uint32_t branch;                      /* ENLISTED, ALARM */
    int error;                            /* REFUSED */
};

#define ASSENT_COORD_ACTIONS_MAX (2 * ASSENT_BRANCHES_MAX + 8)
struct assent_coord_actions {
    size_t count;
    struct assent_coord_action items[ASSENT_COORD_ACTIONS_MAX];
};

/* What is asked of a new transaction. */
struct assent_coord_begin {
    enum assent_protocol protocol;
    enum assent_termination termination; /* a 3pc needs one */
    bool keyed;           /* it has an idempotency key: an abort is on record before it is told */
    uint64_t deadline_ms; /* on the clock of now_ms */
    uint64_t seed;        /* for jitter */
};

void assent_coord_init(struct assent_coord *machine, const struct assent_gtrid *gtrid,
                       const struct assent_coord_begin *begin);

/* Continues a machine from its record after a restart: emits what recovery sends. An OUTCOME record
 * gives an ENDED machine. */
void assent_coord_recover(struct assent_coord *machine, const struct assent_coord_config *config,
                          const struct assent_coord_record *record, uint64_t now_ms, uint64_t seed,
                          struct assent_coord_actions *actions);

/* Clears actions, then fills them. */
void assent_coord_step(struct assent_coord *machine, const struct assent_coord_config *config,
                       const struct assent_coord_event *event,
                       struct assent_coord_actions *actions);

/* The WORK message for a branch of an ACTIVE machine; the work's bytes travel beside it. */
void assent_coord_work_message(const struct assent_coord *machine,
                               const struct assent_coord_config *config, uint32_t branch,
                               uint64_t now_ms, struct assent_message *ret_message);

/* The machine as a record of the given kind (driver's fields zero). */
void assent_coord_to_record(const struct assent_coord *machine, enum assent_coord_record_kind kind,
                            struct assent_coord_record *ret_record);

/* A message for a transaction that has no machine: answers from its OUTCOME record, or (record
 * NULL) by presuming abort. The caller has checked that the gtrid is of this coordinator's log and
 * of no later incarnation, and that its record is really absent (not unreadable). At most one
 * SEND. */
void assent_coord_answer_unknown(const struct assent_coord_config *config,
                                 const struct assent_coord_record *record,
                                 const struct assent_message *message,
                                 struct assent_coord_actions *actions);

/* Whether a person may decide now. 0; ASSENT_E_STATE: it is decided, or its participants' votes
 * decide; ASSENT_E_REFUSED: only by force, since others may have decided already. */
ASSENT_CHECKED int assent_coord_may_resolve(const struct assent_coord *machine,
                                            enum assent_decision decision, bool force);

/* What becomes of a branch's result that comes when its transaction has no machine any more. */
enum assent_coord_late {
    ASSENT_COORD_LATE_NOTHING,
    ASSENT_COORD_LATE_RECORD, /* it contradicts what is on record: a person should look */
    ASSENT_COORD_LATE_FORGET, /* a person has looked, or it agrees: the branch need not be kept */
};
/* From the transaction's record. NULL: none; then it is presumed aborted, or, if it may have
 * expired, nobody knows what stood, and a person is asked (again). RECORD: ret_record is what
 * stands now. */
enum assent_coord_late assent_coord_late_result(const struct assent_coord_record *record,
                                                bool may_have_expired,
                                                const struct assent_message *message,
                                                uint32_t participant,
                                                struct assent_coord_record *ret_record);

/* Whether the phase waits for that branch's next answer. */
bool assent_coord_awaits(const struct assent_coord *machine, uint32_t branch);
const char *assent_coord_phase_name(int phase);

#endif
