/*
 * message.h: what coordinator and participant say to each other about one branch, as the core sees
 * it: plain data without pointers. Texts and work travel beside it (proto/codec.h).
 */
#ifndef ASSENT_COMMIT_MESSAGE_H
#define ASSENT_COMMIT_MESSAGE_H

#include "assent/types.h"

/* A time that never comes. */
#define ASSENT_NO_TIMER UINT64_MAX

/* Numbers are those of assent.v1.BranchKind. */
#define ASSENT_MESSAGES(X)                                                                         \
    X(NONE, 0, "none")                                                                             \
    X(WORK, 1, "work")                                                                             \
    X(PREPARE, 2, "prepare") /* 3pc: CanCommit */                                                  \
    X(PRECOMMIT, 3, "pre-commit")                                                                  \
    X(COMMIT, 4, "commit") /* 3pc: DoCommit */                                                     \
    X(ABORT, 5, "abort")                                                                           \
    X(COMMIT_ONE_PHASE, 6, "commit-one-phase")                                                     \
    X(WORK_REPLY, 7, "work-reply")                                                                 \
    X(VOTE, 8, "vote")                                                                             \
    X(PRECOMMIT_ACK, 9, "pre-commit-ack")                                                          \
    X(ACK, 10, "ack")                                                                              \
    X(INQUIRE, 11, "inquire")                                                                      \
    X(ELECT, 12, "elect")          /* a candidate asks a member for its state */                   \
    X(ELECT_ANSWER, 13, "elected") /* the member's promise and state */                            \
    X(PROPOSE, 14, "propose")      /* the candidate's proposal: pre-commit or pre-abort */         \
    X(PROPOSE_ACK, 15, "accepted")                                                                 \
    X(FORGET, 16, "forget") /* a person has acknowledged the heuristic result */

enum assent_message_kind {
#define X(name, number, text) ASSENT_MSG_##name = (number),
    ASSENT_MESSAGES(X)
#undef X
};

/* What a member of a termination holds, see member.h. Numbers are those of
 * assent.v1.MemberState. */
#define ASSENT_MEMBER_STATES(X)                                                                    \
    X(NONE, 0, "none")                                                                             \
    X(YES, 1, "yes")                                                                               \
    X(PRECOMMITTED, 2, "pre-committed")                                                            \
    X(PREABORTED, 3, "pre-aborted")

enum assent_member_state {
#define X(name, number, text) ASSENT_MEMBER_##name = (number),
    ASSENT_MEMBER_STATES(X)
#undef X
};

/* What became of one branch, from its participant. Numbers are those of assent.v1.BranchResult. */
#define ASSENT_BRANCH_RESULTS(X)                                                                   \
    X(NONE, 0, "none")                                                                             \
    X(COMMITTED, 1, "committed")                                                                   \
    X(ABORTED, 2, "aborted")                                                                       \
    X(HEUR_COMMITTED, 3, "heuristically committed")                                                \
    X(HEUR_ABORTED, 4, "heuristically aborted")                                                    \
    X(MIXED, 5, "mixed")                                                                           \
    X(HAZARD, 6, "hazard")

enum assent_branch_result {
#define X(name, number, text) ASSENT_RESULT_##name = (number),
    ASSENT_BRANCH_RESULTS(X)
#undef X
};

struct assent_message {
    enum assent_message_kind kind;
    struct assent_gtrid gtrid;
    uint32_t branch;      /* to a participant: its own; to the coordinator: the sender's */
    uint32_t from;        /* the member that speaks: 0 the coordinator, else a branch's number */
    uint32_t incarnation; /* of the coordinator that sends it, or that it answers */
    uint32_t epoch;       /* incarnation of the participant when the branch was enlisted */
    enum assent_protocol protocol;
    enum assent_termination termination;
    uint32_t branch_count; /* PREPARE, VOTE: of the whole transaction */
    uint32_t timeout_ms;   /* WORK, PREPARE: see assent.proto */
    enum assent_vote vote;
    enum assent_branch_result result;
    enum assent_reason reason;
    enum assent_member_state state; /* ELECT_ANSWER: held; PROPOSE: proposed */
    uint32_t ballot;                /* PRECOMMIT, PRECOMMIT_ACK, ELECT and what follows it */
    uint32_t attempt;               /* ELECT_ANSWER: ballot of the proposal accepted last */
    bool recovered;                 /* ELECT_ANSWER: has crashed since its vote */
    bool has_work; /* PREPARE, COMMIT_ONE_PHASE: work rides along, the branch is new */
};

const char *assent_message_name(int kind);
const char *assent_branch_result_name(int result);
const char *assent_member_state_name(int state);

#endif
