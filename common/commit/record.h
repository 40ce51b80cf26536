/*
 * record.h: the durable records of coordinator and participant, and their bytes. The store wraps
 * the bytes with a checksum; here is only what they mean. docs/log-format.md is the contract.
 *
 * The first byte of every coordinator record is its enum assent_decision, so that the store can
 * hold the register to its promise: decided once.
 */
#ifndef ASSENT_COMMIT_RECORD_H
#define ASSENT_COMMIT_RECORD_H

#include "assent/types.h"
#include "message.h"

#define ASSENT_RECORD_VERSION 1
/* Largest encoded record of either kind. */
#define ASSENT_RECORD_BYTES_MAX 4096

/* How far a coordinator's record has come. */
#define ASSENT_COORD_RECORDS(X)                                                                    \
    X(ONE_PHASE, 1, "one-phase")  /* one branch was told to commit alone: it knows the outcome */  \
    X(PRECOMMIT, 2, "pre-commit") /* 3pc: every vote is yes */                                     \
    X(COMMIT, 3, "commit")        /* decided; branches are being told */                           \
    X(OUTCOME, 4, "outcome")      /* ended; kept so that it can be asked for */                    \
    X(ABORT, 5, "abort")          /* decided, of a transaction with a key; branches are told */    \
    X(PREABORT, 6, "pre-abort")   /* 3pc: an election tends to abort */

enum assent_coord_record_kind {
#define X(name, number, text) ASSENT_COORD_RECORD_##name = (number),
    ASSENT_COORD_RECORDS(X)
#undef X
};

struct assent_coord_record_branch {
    uint32_t number;
    uint32_t participant; /* number in the coordinator's table of participants */
    uint32_t epoch;
    enum assent_vote vote;
    enum assent_branch_result result;
    uint32_t voted_ms, done_ms; /* after begun_wall_ms, for people; 0: not */
};

struct assent_coord_record {
    enum assent_coord_record_kind kind;
    enum assent_decision decision;
    enum assent_outcome outcome;
    struct assent_gtrid gtrid;
    enum assent_protocol protocol;
    enum assent_termination termination;
    enum assent_reason reason;
    uint32_t reason_branch;              /* number of the branch that is the reason; 0: none */
    uint32_t last_elected, last_attempt; /* of the coordinator as a member, see member.h */
    bool acknowledged;     /* OUTCOME: a person has seen to it that it is mixed or a hazard */
    uint32_t branch_count; /* branches below: those that voted yes, or all for OUTCOME */
    struct assent_coord_record_branch branches[ASSENT_BRANCHES_MAX];
    /* For people and for asking, filled by the coordinator's driver: */
    uint64_t begun_wall_ms;
    uint32_t decided_ms, ended_ms; /* after begun_wall_ms */
    uint64_t ended_age_ms;         /* assent_store_age_ms() at the end: retention counts from it */
    char key[ASSENT_KEY_MAX + 1];
    char reason_text[ASSENT_REASON_MAX + 1];
};

/* How far a participant's record has come. */
#define ASSENT_PART_RECORDS(X)                                                                     \
    X(PREPARED, 1, "prepared")                                                                     \
    X(PRECOMMITTED, 2, "pre-committed")                                                            \
    X(DECIDED, 3, "decided") /* decided alone, before the RM is told */                            \
    X(RESULT, 4, "result")   /* heuristic: kept */                                                 \
    X(DONE, 5, "done")       /* obeyed; may be dropped once the coordinator has ended it */        \
    X(PREABORTED, 6, "pre-aborted")

enum assent_part_record_kind {
#define X(name, number, text) ASSENT_PART_RECORD_##name = (number),
    ASSENT_PART_RECORDS(X)
#undef X
};

/* Another participant of the transaction. */
struct assent_part_record_peer {
    uint32_t number; /* in the agent's address book */
    uint32_t epoch;  /* its incarnation when its branch was enlisted */
};

struct assent_part_record {
    enum assent_part_record_kind kind;
    enum assent_decision decision;
    struct assent_gtrid gtrid;
    uint32_t branch;
    uint32_t incarnation; /* of the coordinator, highest seen for this branch */
    uint32_t epoch;
    enum assent_protocol protocol;
    enum assent_termination termination;
    uint32_t branch_count;
    uint32_t timeout_ms;
    enum assent_branch_result result;
    enum assent_reason reason;
    bool witness;
    uint32_t last_elected, last_attempt; /* see member.h */
    /* Filled by the agent's driver: */
    uint32_t peer_count; /* 0, or one for each branch of the transaction, in order */
    struct assent_part_record_peer peers[ASSENT_BRANCHES_MAX];
    char resource[ASSENT_NAME_MAX + 1];
};

/* Encode to at most capacity bytes: 0 or ASSENT_E_TOO_BIG. Decode: 0, ASSENT_E_VERSION (a newer
 * record), ASSENT_E_CORRUPT; the record is written only on success. */
ASSENT_CHECKED int assent_coord_record_encode(const struct assent_coord_record *record,
                                              void *buffer, size_t capacity, size_t *ret_size);
ASSENT_CHECKED int assent_coord_record_decode(const void *data, size_t size,
                                              struct assent_coord_record *ret_record);
ASSENT_CHECKED int assent_part_record_encode(const struct assent_part_record *record, void *buffer,
                                             size_t capacity, size_t *ret_size);
ASSENT_CHECKED int assent_part_record_decode(const void *data, size_t size,
                                             struct assent_part_record *ret_record);
const char *assent_coord_record_name(int kind);
const char *assent_part_record_name(int kind);

#endif
