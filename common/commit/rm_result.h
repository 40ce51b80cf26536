/*
 * rm_result.h: the one table that says what an RM's answer means. Resources only report.
 */
#ifndef ASSENT_COMMIT_RM_RESULT_H
#define ASSENT_COMMIT_RM_RESULT_H

#include "assent/participant.h"

enum assent_verdict {
    ASSENT_VERDICT_DONE,           /* as asked */
    ASSENT_VERDICT_PREPARED,       /* can go either way, durably */
    ASSENT_VERDICT_READ_ONLY,      /* nothing was written and the branch is gone */
    ASSENT_VERDICT_GONE,           /* rolled back and gone: no rollback is sent to it */
    ASSENT_VERDICT_ROLL_BACK,      /* cannot commit, or not known to be prepared: roll back */
    ASSENT_VERDICT_RETRY,          /* the same call again, later, for as long as it takes */
    ASSENT_VERDICT_PROVE,          /* only evidence can tell */
    ASSENT_VERDICT_HEUR_COMMITTED, /* against the decision */
    ASSENT_VERDICT_HEUR_ABORTED,
    ASSENT_VERDICT_MIXED,
    ASSENT_VERDICT_HAZARD, /* nobody can tell: a person must look */
};

/* operation: not FORGET. decision: what EVIDENCE is to confirm; NONE after a one-phase commit. */
enum assent_verdict assent_rm_verdict(enum assent_operation operation, enum assent_rm_result result,
                                      enum assent_decision decision);

#endif
