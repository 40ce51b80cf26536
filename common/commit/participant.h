/*
 * participant.h: the participant's machine for one branch. PURE, like coordinator.h: its driver
 * carries out the actions in order after each step and sets its timer to machine->timer_ms.
 *
 * phase              waits for                           leaves to
 * NONE               the first message                   WORKING, PREPARING, ONE_PHASE, COMMITTING,
 *                                                        PROVING, ABORTED, DECISION_LOGGING
 * WORKING            work, prepare, abort; may abort     PREPARING, ONE_PHASE, ABORTING,
 *                    alone                               DECISION_LOGGING
 * PREPARING          the RM's prepare                    PREPARE_LOGGING, PREPARED, READ_ONLY,
 *                                                        ABORTING, ABORTED
 * PREPARE_LOGGING    the prepared record's sync          PREPARED, ABORTING
 * PREPARED           the decision: in doubt              PRECOMMIT_LOGGING, MEMBER_LOGGING,
 *                                                        DECISION_LOGGING, COMMITTING, ABORTING;
 *                                                        found by a scan: PREPARING
 * PRECOMMIT_LOGGING  the pre-committed record's sync     PRECOMMITTED
 * PRECOMMITTED       DoCommit: in doubt                  MEMBER_LOGGING, DECISION_LOGGING
 * PREABORTED         the decision: in doubt, after an    MEMBER_LOGGING, DECISION_LOGGING
 *                    election
 * MEMBER_LOGGING     the sync of what an election        PREPARED, PRECOMMITTED, PREABORTED
 *                    changed, see member.h
 * DECISION_LOGGING   the sync of a 3pc decision          COMMITTING, ABORTING
 * ONE_PHASE          the RM's one-phase commit           COMMITTED, ABORTED, PROVING
 * COMMITTING         the RM's commit                     COMMITTED, PROVING, RESULT_LOGGING
 * ABORTING           the RM's rollback                   ABORTED, PROVING, RESULT_LOGGING
 * PROVING            the RM's evidence                   COMMITTED, ABORTED, COMMITTING,
 *                                                        RESULT_LOGGING
 * RESULT_LOGGING     the sync of a heuristic result      HEURISTIC
 * COMMITTED, ABORTED, READ_ONLY, HEURISTIC               final: tombstones that answer again; told
 *                                                        the opposite: RESULT_LOGGING
 *
 * While a transaction is held (event->lost_below), an abort of it proves nothing: its commit may be
 * what the log has lost, and whoever passes the abort on may have it from there. So a held branch
 * obeys a commit and no abort, takes no part in elections and decides nothing alone; it asks
 * everybody, tells what it knows, and waits for a person.
 */
#ifndef ASSENT_COMMIT_PARTICIPANT_H
#define ASSENT_COMMIT_PARTICIPANT_H

#include "assent/participant.h"
#include "member.h"
#include "message.h"
#include "record.h"

#define ASSENT_PART_PHASES(X)                                                                      \
    X(NONE, 0, "none")                                                                             \
    X(WORKING, 1, "working")                                                                       \
    X(PREPARING, 2, "preparing")                                                                   \
    X(PREPARE_LOGGING, 3, "logging prepared")                                                      \
    X(PREPARED, 4, "prepared")                                                                     \
    X(PRECOMMIT_LOGGING, 5, "logging pre-committed")                                               \
    X(PRECOMMITTED, 6, "pre-committed")                                                            \
    X(DECISION_LOGGING, 7, "logging decision")                                                     \
    X(ONE_PHASE, 8, "one-phase")                                                                   \
    X(COMMITTING, 9, "committing")                                                                 \
    X(ABORTING, 10, "aborting")                                                                    \
    X(PROVING, 11, "proving")                                                                      \
    X(RESULT_LOGGING, 12, "logging result")                                                        \
    X(COMMITTED, 13, "committed")                                                                  \
    X(ABORTED, 14, "aborted")                                                                      \
    X(READ_ONLY, 15, "read-only")                                                                  \
    X(HEURISTIC, 16, "heuristic")                                                                  \
    X(PREABORTED, 17, "pre-aborted")                                                               \
    X(MEMBER_LOGGING, 18, "logging election")

enum assent_part_phase {
#define X(name, number, text) ASSENT_PART_##name = (number),
    ASSENT_PART_PHASES(X)
#undef X
};
#define ASSENT_PART_PHASE_COUNT (ASSENT_PART_MEMBER_LOGGING + 1)

struct assent_part_config {
    uint32_t epoch;                      /* this participant's incarnation */
    uint32_t capabilities;               /* of the branch's resource */
    uint32_t retry_min_ms, retry_max_ms; /* back-off of inquiries and of a failing RM */
    uint32_t inquire_ms;                 /* in doubt this long: ask */
};

struct assent_part {
    struct assent_gtrid gtrid;
    uint32_t branch;
    uint32_t incarnation; /* highest of the coordinator's seen for this branch */
    uint32_t epoch;
    uint32_t branch_count;
    uint32_t timeout_ms;
    uint32_t attempt;
    enum assent_protocol protocol : 8;
    enum assent_termination termination : 8;
    enum assent_part_phase phase : 8;
    enum assent_decision
        decision : 8;              /* carried out here: told by the coordinator or taken alone */
    enum assent_decision told : 8; /* by the coordinator */
    enum assent_branch_result result : 8;
    enum assent_reason reason : 8;
    enum assent_operation calling : 8; /* the RM call under way, if rm_busy */
    bool rm_busy : 1;
    bool ack_owed : 1; /* the coordinator wants to hear the result */
    bool closed : 1;   /* ended and forgotten here: only refuses, and owes nobody an answer */
    bool recorded : 1; /* our store has a record of this branch */
    bool released : 1; /* HEURISTIC: a person has seen to it, it need not be kept */
    bool witness : 1;  /* read-only under 3pc: it has a part in elections, and nothing to apply */
    bool tell_all : 1; /* decided with others: all members hear it once it is durable */
    bool asked : 1;    /* so does the member asked_by, for whom we refused for good */
    uint8_t asked_by;
    uint8_t elections; /* stood for, or asked in; back-off grows with them */
    struct assent_member member;
    uint64_t alone_ms; /* abort alone (WORKING) or terminate without the coordinator then */
    uint64_t retry_ms; /* repeat the inquiry or the RM call then */
    uint64_t timer_ms; /* give a TIMER event then; ASSENT_NO_TIMER: none */
    uint64_t rng;
};

enum assent_part_event_kind {
    ASSENT_PART_EV_MESSAGE, /* from the coordinator, or from another participant */
    ASSENT_PART_EV_RM,      /* the RM answered: operation, result */
    ASSENT_PART_EV_DURABLE, /* the record asked for with LOG is on disk */
    ASSENT_PART_EV_TIMER,
    ASSENT_PART_EV_PEER_UP, /* the coordinator is connected (again) */
    ASSENT_PART_EV_RM_UP,   /* the RM answers again: no need to wait for the next try */
    ASSENT_PART_EV_STOP,    /* this process stops: give up what has not voted */
    /* A person has accepted what the coordinator's log, which was restored, has lost. */
    ASSENT_PART_EV_ACCEPTED,
};

struct assent_part_event {
    enum assent_part_event_kind kind;
    uint64_t now_ms;
    /* Not 0: the coordinator's log is an older copy than what was seen of it, and nobody has
     * accepted that yet: it may have lost what it began in lives before this one. */
    uint32_t lost_below;
    struct assent_message message;
    enum assent_operation operation;     /* RM */
    enum assent_rm_result result;        /* RM */
    enum assent_part_record_kind record; /* DURABLE */
};

enum assent_part_action_kind {
    ASSENT_PART_ACT_SEND,      /* message to the member `to` */
    ASSENT_PART_ACT_LOG,       /* write assent_part_to_record(); forced: then DURABLE */
    ASSENT_PART_ACT_CALL,      /* call the RM: operation; with_work: begin and work first, in one
                                * go, and report the first result that is not OK */
    ASSENT_PART_ACT_WORK_DONE, /* the reply of the WORK call may go to the coordinator */
    ASSENT_PART_ACT_ALARM,     /* contradiction or hazard: a person should look */
    ASSENT_PART_ACT_ENDED,     /* final: the machine is a tombstone from now on */
};

#define ASSENT_TO_COORDINATOR 0
#define ASSENT_TO_ALL         255 /* the coordinator and every other participant */

struct assent_part_action {
    enum assent_part_action_kind kind;
    struct assent_message message;       /* SEND; WORK_DONE: the WORK_REPLY */
    uint32_t to;                         /* SEND: a member's number, or ASSENT_TO_ALL */
    enum assent_part_record_kind record; /* LOG */
    bool forced;                         /* LOG */
    enum assent_operation operation;     /* CALL */
    bool with_work, with_begin;          /* CALL */
};

#define ASSENT_PART_ACTIONS_MAX 8
struct assent_part_actions {
    size_t count;
    struct assent_part_action items[ASSENT_PART_ACTIONS_MAX];
};

/* A machine in NONE for the branch that a first message names. If it is in NONE still after that
 * message's step, the driver drops it: the message was stale. */
void assent_part_init(struct assent_part *machine, const struct assent_gtrid *gtrid,
                      uint32_t branch, uint64_t seed);
/* A machine for a branch whose transaction is known to have ended: it refuses whatever comes. */
void assent_part_init_closed(struct assent_part *machine, const struct assent_gtrid *gtrid,
                             uint32_t branch);

/* After a restart: from this participant's own record ... */
void assent_part_recover(struct assent_part *machine, const struct assent_part_config *config,
                         const struct assent_part_record *record, uint64_t now_ms, uint64_t seed,
                         struct assent_part_actions *actions);
/* ... or, without one, for a branch that the RM lists as prepared. */
enum assent_listed {
    /* At a start: a 3pc's yes needs a record of ours, so it was never sent, and the branch is
     * rolled back. A 2pc's may have been: it asks. */
    ASSENT_LISTED_AT_START,
    /* At a start with a store that is new: whatever it knew is gone. It only asks, in every later
     * life too. */
    ASSENT_LISTED_LOG_LOST,
    /* By a later scan: nobody here began it. It asks, and may still vote if its application, which
     * has prepared it, gets to commit. */
    ASSENT_LISTED_BY_SCAN
};
void assent_part_recover_listed(struct assent_part *machine,
                                const struct assent_part_config *config,
                                const struct assent_gtrid *gtrid, uint32_t branch,
                                enum assent_protocol protocol, enum assent_listed listed,
                                uint64_t now_ms, uint64_t seed,
                                struct assent_part_actions *actions);

/* Makes the message, which has one member's number in `from`, fit for that receiver. `epoch` of a
 * participant is not known here: the driver fills in the one of the enlisted branch. */
void assent_part_address(struct assent_message *message, uint32_t to);

/* Clears actions, then fills them. */
void assent_part_step(struct assent_part *machine, const struct assent_part_config *config,
                      const struct assent_part_event *event, struct assent_part_actions *actions);

void assent_part_to_record(const struct assent_part *machine, enum assent_part_record_kind kind,
                           struct assent_part_record *ret_record);
bool assent_part_final(const struct assent_part *machine);
/* Voted yes and does not know the decision. */
bool assent_part_in_doubt(const struct assent_part *machine);
const char *assent_part_phase_name(int phase);

#endif
