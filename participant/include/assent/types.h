/*
 * assent/types.h: the vocabulary shared by applications, participants and Assent itself.
 *
 * Every enum here grows only at its end, so numbers on disk and on the wire keep their meaning.
 * Each comes from one X-list together with its name function. Includes libc alone.
 */
#ifndef ASSENT_TYPES_H
#define ASSENT_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ASSENT_API     __attribute__((visibility("default")))
#define ASSENT_CHECKED __attribute__((warn_unused_result))
#else
#define ASSENT_API
#define ASSENT_CHECKED
#endif

/* Bounds that both sides of every interface keep. */
#define ASSENT_BRANCHES_MAX    64  /* branches of one transaction */
#define ASSENT_FINISHERS_MAX   64  /* threads that end branches of one resource */
#define ASSENT_NAME_MAX        63  /* bytes of a participant or resource name, without the NUL */
#define ASSENT_KEY_MAX         63  /* bytes of an idempotency key, without the NUL */
#define ASSENT_REASON_MAX      255 /* bytes of a reason shown to people, without the NUL */
#define ASSENT_TRACEPARENT_MAX 55  /* bytes of a W3C traceparent, without the NUL */
#define ASSENT_GTRID_BYTES     16
#define ASSENT_GTRID_TEXT      26 /* characters of a gtrid in Crockford base32, without the NUL */
#define ASSENT_BRANCH_ID_TEXT  77 /* most characters of a branch's name, without the NUL */
#define ASSENT_LOG_ID_BYTES    16

/* Names one global transaction: 48 bits of time in ms (they only sort), 16 of coordinator id,
 * 24 of incarnation, 40 of sequence, all big-endian. Unique without the time bits. */
struct assent_gtrid {
    uint8_t bytes[ASSENT_GTRID_BYTES];
};

/* Names one branch wherever it is known: the coordinator's log, the transaction, the number. */
struct assent_branch_id {
    uint8_t log_id[ASSENT_LOG_ID_BYTES]; /* random id of the coordinator's log */
    struct assent_gtrid gtrid;
    uint32_t branch;
};

/* Errors: functions return 0 or one of these, negative. */
#define ASSENT_ERRORS(X)                                                                           \
    X(INVALID, 1, "invalid argument")                                                              \
    X(NOMEM, 2, "out of memory")                                                                   \
    X(IO, 3, "input/output error")                                                                 \
    X(FULL, 4, "the log has no room for new transactions")                                         \
    X(LIMIT, 5, "a configured limit is reached")                                                   \
    X(TIMEOUT, 6, "timed out")                                                                     \
    X(CLOSED, 7, "connection closed")                                                              \
    X(CONNECT, 8, "cannot connect")                                                                \
    X(PROTOCOL, 9, "protocol violation")                                                           \
    X(VERSION, 10, "version not supported")                                                        \
    X(NOT_FOUND, 11, "no such object")                                                             \
    X(STATE, 12, "not possible in this state")                                                     \
    X(REFUSED, 13, "refused")                                                                      \
    X(CORRUPT, 14, "data is damaged")                                                              \
    X(LOCKED, 15, "held by another process")                                                       \
    X(UNKNOWN, 16, "the outcome is unknown; ask again by gtrid or idempotency key")                \
    X(STALE, 17, "an older incarnation")                                                           \
    X(TOO_BIG, 18, "too big")                                                                      \
    X(UNAVAILABLE, 19, "participant not connected")                                                \
    X(CONFIG, 20, "configuration error")

enum assent_error {
#define X(name, number, text) ASSENT_E_##name = -(number),
    ASSENT_ERRORS(X)
#undef X
};

#define ASSENT_PROTOCOLS(X)                                                                        \
    X(2PC, 0, "2pc")                                                                               \
    X(3PC, 1, "3pc")

enum assent_protocol {
#define X(name, number, text) ASSENT_##name = (number),
    ASSENT_PROTOCOLS(X)
#undef X
};

/* How participants in doubt finish without their coordinator. Asked for as NONE: the protocol's
 * default, COOPERATIVE for 2PC and QUORUM for 3PC. TIMEOUT is unsafe: a single crash of the
 * coordinator, or a partition, can make some commit and others abort; so is COOPERATIVE of a 3PC
 * under a partition or a false time-out. */
#define ASSENT_TERMINATIONS(X)                                                                     \
    X(NONE, 0, "none")                                                                             \
    X(TIMEOUT, 1, "timeout")         /* 3PC: each alone, by its clock */                           \
    X(COOPERATIVE, 2, "cooperative") /* 2PC: a peer that knows tells; 3PC: the reachable decide */ \
    X(QUORUM, 3, "quorum")           /* 3PC: a majority decides, safely */

enum assent_termination {
#define X(name, number, text) ASSENT_TERMINATION_##name = (number),
    ASSENT_TERMINATIONS(X)
#undef X
};

#define ASSENT_VOTES(X)                                                                            \
    X(NONE, 0, "none")                                                                             \
    X(YES, 1, "yes")                                                                               \
    X(NO, 2, "no")                                                                                 \
    X(READ_ONLY, 3, "read-only")

enum assent_vote {
#define X(name, number, text) ASSENT_VOTE_##name = (number),
    ASSENT_VOTES(X)
#undef X
};

#define ASSENT_DECISIONS(X)                                                                        \
    X(NONE, 0, "none")                                                                             \
    X(COMMIT, 1, "commit")                                                                         \
    X(ABORT, 2, "abort")

enum assent_decision {
#define X(name, number, text) ASSENT_DECISION_##name = (number),
    ASSENT_DECISIONS(X)
#undef X
};

/* What became of a transaction, as told to whoever asks. UNKNOWN: not decided yet, or the answer
 * was lost; ask again. EXPIRED: it was kept for the retention time and dropped. NEVER_SEEN: this
 * coordinator's log did not hand out that gtrid or key. The last three never mean aborted. */
#define ASSENT_OUTCOMES(X)                                                                         \
    X(UNKNOWN, 0, "unknown")                                                                       \
    X(COMMITTED, 1, "committed")                                                                   \
    X(ABORTED, 2, "aborted")                                                                       \
    X(MIXED, 3, "mixed")                                                                           \
    X(HAZARD, 4, "hazard")                                                                         \
    X(EXPIRED, 5, "expired")                                                                       \
    X(NEVER_SEEN, 6, "never-seen")

enum assent_outcome {
#define X(name, number, text) ASSENT_OUTCOME_##name = (number),
    ASSENT_OUTCOMES(X)
#undef X
};

/* Why a transaction or branch aborted. The text for people is made from this and the branch. */
#define ASSENT_REASONS(X)                                                                          \
    X(NONE, 0, "none")                                                                             \
    X(REQUESTED, 1, "rollback requested")                                                          \
    X(VOTED_NO, 2, "voted no")                                                                     \
    X(DEADLINE, 3, "transaction deadline passed")                                                  \
    X(VOTE_MISSING, 4, "no vote in time")                                                          \
    X(WORK_FAILED, 5, "work failed")                                                               \
    X(APPLICATION_GONE, 6, "application disconnected before commit")                               \
    X(SHUTDOWN, 7, "coordinator is shutting down")                                                 \
    X(PRESUMED, 8, "presumed aborted: no decision was logged before a restart")                    \
    X(STALE, 9, "the participant restarted since the branch began")                                \
    X(NO_WORK, 10, "the participant holds no work for this branch")                                \
    X(CLOSED, 11, "the branch is already finished")                                                \
    X(ALONE, 12, "the participant decided alone at its timeout")                                   \
    X(TERMINATED, 13, "aborted by the participants, without the coordinator")                      \
    X(OPERATOR, 14, "resolved by an operator")

enum assent_reason {
#define X(name, number, text) ASSENT_REASON_##name = (number),
    ASSENT_REASONS(X)
#undef X
};

/* What a resource manager answered to one call; see docs on adding a resource. */
#define ASSENT_RM_RESULTS(X)                                                                       \
    X(OK, 0, "ok")                         /* done, durably where the call promises it */          \
    X(READ_ONLY, 1, "read-only")           /* prepare: nothing was written, branch is gone */      \
    X(REFUSED, 2, "refused")               /* the branch is rolled back and gone (XA_RB*) */       \
    X(FAILED, 3, "failed")                 /* the call failed; the branch still needs rollback */  \
    X(NOT_FOUND, 4, "not-found")           /* no such branch: evidence of nothing by itself */     \
    X(RETRY, 5, "retry")                   /* not done, branch unchanged; call again later */      \
    X(UNAVAILABLE, 6, "unavailable")       /* RM away; whether it was done is not known */         \
    X(HEUR_COMMITTED, 7, "heur-committed") /* the RM or a person committed it alone */             \
    X(HEUR_ABORTED, 8, "heur-aborted")     /* the RM or a person rolled it back alone */           \
    X(HEUR_MIXED, 9, "heur-mixed")         /* partly both */                                       \
    X(HEUR_HAZARD, 10, "heur-hazard")      /* perhaps decided alone */                             \
    X(WAS_COMMITTED, 11, "was-committed")  /* evidence: the marker proves the commit */            \
    X(WAS_ABORTED, 12, "was-aborted")      /* evidence: proven not committed */                    \
    X(UNKNOWN_CODE, 13, "unknown-code")    /* anything not listed: never success */                \
    X(VANISHED, 14, "vanished") /* evidence: not prepared, it cannot commit, nobody knows why */

enum assent_rm_result {
#define X(name, number, text) ASSENT_RM_##name = (number),
    ASSENT_RM_RESULTS(X)
#undef X
};

/* What a person may order by hand, see assent_client_operate(). */
#define ASSENT_ACTIONS(X)                                                                          \
    X(COMMIT, 1, "commit")                                                                         \
    X(ABORT, 2, "abort")                                                                           \
    X(ACKNOWLEDGE, 3, "acknowledge")                                                               \
    X(ACCEPT, 4, "accept")

enum assent_action {
#define X(name, number, text) ASSENT_ACTION_##name = (number),
    ASSENT_ACTIONS(X)
#undef X
};

/* Names for people and logs; "?" for a number out of range. Static storage; any thread. */
ASSENT_API const char *assent_error_text(int error);
ASSENT_API const char *assent_error_name(int error);
ASSENT_API const char *assent_protocol_name(int protocol);
ASSENT_API const char *assent_termination_name(int termination);
ASSENT_API const char *assent_vote_name(int vote);
ASSENT_API const char *assent_decision_name(int decision);
ASSENT_API const char *assent_outcome_name(int outcome);
ASSENT_API const char *assent_reason_text(int reason);
ASSENT_API const char *assent_rm_result_name(int result);
ASSENT_API const char *assent_action_name(int action);

/* Writes the branch's name as resource managers know it, "assent:LOG:GTRID:NUMBER" with the id of
 * the log in hex, and a NUL. Any thread. */
ASSENT_API void assent_branch_id_format(const struct assent_branch_id *id,
                                        char text[ASSENT_BRANCH_ID_TEXT + 1]);
/* Reads exactly what assent_branch_id_format writes. 0, or ASSENT_E_INVALID and *ret_id is left
 * alone. Any thread. */
ASSENT_API ASSENT_CHECKED int assent_branch_id_parse(const char *text,
                                                     struct assent_branch_id *ret_id);
/* Writes 26 characters and a NUL to text. Any thread. */
ASSENT_API void assent_gtrid_format(const struct assent_gtrid *gtrid,
                                    char text[ASSENT_GTRID_TEXT + 1]);
/* Reads exactly 26 characters of Crockford base32, either case. Returns 0 or ASSENT_E_INVALID
 * and then leaves *ret_gtrid alone. Any thread. */
ASSENT_API ASSENT_CHECKED int assent_gtrid_parse(const char *text, struct assent_gtrid *ret_gtrid);

#ifdef __cplusplus
}
#endif
#endif
