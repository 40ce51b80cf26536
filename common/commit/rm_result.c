/*
 * rm_result.c: the table of RM results, see rm_result.h. Read a row as: this answer, to each call.
 * Whatever is not plainly success is never taken for it: an unlisted code on a commit is retried
 * (edge case 24), "no such branch" needs evidence (20, 21), and a prepare that failed in an unknown
 * way is rolled back and looked for until it is gone (15, 16).
 */
#include "rm_result.h"

#define DONE      ASSENT_VERDICT_DONE
#define PREPARED  ASSENT_VERDICT_PREPARED
#define READ_ONLY ASSENT_VERDICT_READ_ONLY
#define GONE      ASSENT_VERDICT_GONE
#define ROLL_BACK ASSENT_VERDICT_ROLL_BACK
#define RETRY     ASSENT_VERDICT_RETRY
#define PROVE     ASSENT_VERDICT_PROVE
#define H_COMMIT  ASSENT_VERDICT_HEUR_COMMITTED
#define H_ABORT   ASSENT_VERDICT_HEUR_ABORTED
#define MIXED     ASSENT_VERDICT_MIXED
#define HAZARD    ASSENT_VERDICT_HAZARD

#define CALLS   5 /* WORK, PREPARE, COMMIT, ROLLBACK, ONE_PHASE */
#define RESULTS (ASSENT_RM_VANISHED + 1)

/* clang-format off */
static const enum assent_verdict calls[RESULTS][CALLS] = {
    /*                             WORK       PREPARE    COMMIT    ROLLBACK  ONE_PHASE */
    [ASSENT_RM_OK]             = { DONE,      PREPARED,  DONE,     DONE,     DONE },
    [ASSENT_RM_READ_ONLY]      = { ROLL_BACK, READ_ONLY, PROVE,    DONE,     DONE },
    [ASSENT_RM_REFUSED]        = { GONE,      GONE,      H_ABORT,  DONE,     GONE },
    [ASSENT_RM_FAILED]         = { ROLL_BACK, ROLL_BACK, RETRY,    RETRY,    ROLL_BACK },
    [ASSENT_RM_NOT_FOUND]      = { ROLL_BACK, ROLL_BACK, PROVE,    PROVE,    PROVE },
    [ASSENT_RM_RETRY]          = { ROLL_BACK, ROLL_BACK, RETRY,    RETRY,    RETRY },
    [ASSENT_RM_UNAVAILABLE]    = { ROLL_BACK, ROLL_BACK, RETRY,    RETRY,    PROVE },
    [ASSENT_RM_HEUR_COMMITTED] = { ROLL_BACK, ROLL_BACK, DONE,     H_COMMIT, DONE },
    [ASSENT_RM_HEUR_ABORTED]   = { ROLL_BACK, ROLL_BACK, H_ABORT,  DONE,     GONE },
    [ASSENT_RM_HEUR_MIXED]     = { ROLL_BACK, ROLL_BACK, MIXED,    MIXED,    MIXED },
    [ASSENT_RM_HEUR_HAZARD]    = { ROLL_BACK, ROLL_BACK, HAZARD,   HAZARD,   HAZARD },
    [ASSENT_RM_WAS_COMMITTED]  = { ROLL_BACK, ROLL_BACK, PROVE,    PROVE,    PROVE },
    [ASSENT_RM_WAS_ABORTED]    = { ROLL_BACK, ROLL_BACK, PROVE,    PROVE,    PROVE },
    [ASSENT_RM_UNKNOWN_CODE]   = { ROLL_BACK, ROLL_BACK, RETRY,    RETRY,    PROVE },
    [ASSENT_RM_VANISHED]       = { ROLL_BACK, ROLL_BACK, PROVE,    PROVE,    PROVE },
};

/* EVIDENCE, by the decision that it is to confirm. ROLL_BACK: not committed, and may not be. */
static const enum assent_verdict evidence[RESULTS][3] = {
    /*                             NONE       COMMIT     ABORT */
    [ASSENT_RM_OK]             = { ROLL_BACK, PREPARED,  PREPARED },
    [ASSENT_RM_READ_ONLY]      = { RETRY,     RETRY,     RETRY },
    [ASSENT_RM_REFUSED]        = { RETRY,     RETRY,     RETRY },
    [ASSENT_RM_FAILED]         = { RETRY,     RETRY,     RETRY },
    [ASSENT_RM_NOT_FOUND]      = { HAZARD,    HAZARD,    DONE },
    [ASSENT_RM_RETRY]          = { RETRY,     RETRY,     RETRY },
    [ASSENT_RM_UNAVAILABLE]    = { RETRY,     RETRY,     RETRY },
    [ASSENT_RM_HEUR_COMMITTED] = { DONE,      DONE,      H_COMMIT },
    [ASSENT_RM_HEUR_ABORTED]   = { ROLL_BACK, H_ABORT,   DONE },
    [ASSENT_RM_HEUR_MIXED]     = { MIXED,     MIXED,     MIXED },
    [ASSENT_RM_HEUR_HAZARD]    = { HAZARD,    HAZARD,    HAZARD },
    [ASSENT_RM_WAS_COMMITTED]  = { DONE,      DONE,      H_COMMIT },
    [ASSENT_RM_WAS_ABORTED]    = { ROLL_BACK, H_ABORT,   DONE },
    [ASSENT_RM_UNKNOWN_CODE]   = { RETRY,     RETRY,     RETRY },
    [ASSENT_RM_VANISHED]       = { ROLL_BACK, HAZARD,    DONE },
};
/* clang-format on */

enum assent_verdict assent_rm_verdict(enum assent_operation operation, enum assent_rm_result result,
                                      enum assent_decision decision)
{
    /* A code outside the enum comes from a resource's mistake: an unknown code, never success. */
    if ((unsigned)result >= RESULTS)
        result = ASSENT_RM_UNKNOWN_CODE;
    if (operation == ASSENT_OP_EVIDENCE)
        return evidence[result][decision];
    return calls[result][operation];
}
