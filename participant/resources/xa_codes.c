/*
 * xa_codes.c: what each answer of an XA switch means, by number, from C193. What that in turn means
 * for the transaction is decided elsewhere, as for every resource.
 *
 * Where the standard leaves doubt, the answer here is the one that finds out: XAER_RMERR from a
 * commit says that the work was rolled back, and switches say it of much else; the next call, or
 * evidence, tells.
 */
#include "xa_resource.h"

#include <stdio.h>
#include <string.h>

#define OK      ASSENT_RM_OK
#define RDONLY  ASSENT_RM_READ_ONLY
#define REFUSED ASSENT_RM_REFUSED
#define FAILED  ASSENT_RM_FAILED
#define NONE    ASSENT_RM_NOT_FOUND
#define RETRY   ASSENT_RM_RETRY
#define AWAY    ASSENT_RM_UNAVAILABLE
#define H_COM   ASSENT_RM_HEUR_COMMITTED
#define H_RB    ASSENT_RM_HEUR_ABORTED
#define H_MIX   ASSENT_RM_HEUR_MIXED
#define H_HAZ   ASSENT_RM_HEUR_HAZARD
#define UNCLEAR ASSENT_RM_UNKNOWN_CODE

/* A branch that xa_start or xa_end marks as XA_RB* still has to be rolled back; one that xa_prepare
 * or xa_commit does is gone. An open, a list or a forget that fails is tried again. */
/* clang-format off */
static const struct {
    int code;
    const char *name;
    enum assent_rm_result by[XA_SOURCES];
} rows[] = {
    /*                  OPEN  START    END      PREPARE  COMMIT   1 PHASE  ROLLBACK RECOVER FORGET*/
#define ROW(code, ...) {code, #code, {UNCLEAR, __VA_ARGS__}}
    ROW(XA_OK,          OK,   OK,      OK,      OK,      OK,      OK,      OK,      OK,      OK),
    ROW(XA_RDONLY,      AWAY, FAILED,  FAILED,  RDONLY,  UNCLEAR, UNCLEAR, UNCLEAR, AWAY,    AWAY),
    ROW(XA_RETRY,       AWAY, RETRY,   RETRY,   RETRY,   RETRY,   RETRY,   RETRY,   AWAY,    AWAY),
    ROW(XA_HEURMIX,     AWAY, FAILED,  FAILED,  UNCLEAR, H_MIX,   H_MIX,   H_MIX,   AWAY,    AWAY),
    ROW(XA_HEURRB,      AWAY, FAILED,  FAILED,  UNCLEAR, H_RB,    H_RB,    H_RB,    AWAY,    AWAY),
    ROW(XA_HEURCOM,     AWAY, FAILED,  FAILED,  UNCLEAR, H_COM,   H_COM,   H_COM,   AWAY,    AWAY),
    ROW(XA_HEURHAZ,     AWAY, FAILED,  FAILED,  UNCLEAR, H_HAZ,   H_HAZ,   H_HAZ,   AWAY,    AWAY),
    ROW(XA_NOMIGRATE,   AWAY, FAILED,  OK,      UNCLEAR, UNCLEAR, UNCLEAR, UNCLEAR, AWAY,    AWAY),
    ROW(XA_RBROLLBACK,  AWAY, FAILED,  FAILED,  REFUSED, REFUSED, REFUSED, OK,      AWAY,    AWAY),
    ROW(XA_RBCOMMFAIL,  AWAY, FAILED,  FAILED,  REFUSED, REFUSED, REFUSED, OK,      AWAY,    AWAY),
    ROW(XA_RBDEADLOCK,  AWAY, FAILED,  FAILED,  REFUSED, REFUSED, REFUSED, OK,      AWAY,    AWAY),
    ROW(XA_RBINTEGRITY, AWAY, FAILED,  FAILED,  REFUSED, REFUSED, REFUSED, OK,      AWAY,    AWAY),
    ROW(XA_RBOTHER,     AWAY, FAILED,  FAILED,  REFUSED, REFUSED, REFUSED, OK,      AWAY,    AWAY),
    ROW(XA_RBPROTO,     AWAY, FAILED,  FAILED,  REFUSED, REFUSED, REFUSED, OK,      AWAY,    AWAY),
    ROW(XA_RBTIMEOUT,   AWAY, FAILED,  FAILED,  REFUSED, REFUSED, REFUSED, OK,      AWAY,    AWAY),
    ROW(XA_RBTRANSIENT, AWAY, FAILED,  FAILED,  REFUSED, REFUSED, REFUSED, OK,      AWAY,    AWAY),
    ROW(XAER_ASYNC,     AWAY, FAILED,  FAILED,  FAILED,  UNCLEAR, UNCLEAR, UNCLEAR, AWAY,    AWAY),
    ROW(XAER_RMERR,     AWAY, FAILED,  FAILED,  FAILED,  UNCLEAR, UNCLEAR, UNCLEAR, AWAY,    AWAY),
    ROW(XAER_NOTA,      AWAY, NONE,    NONE,    NONE,    NONE,    NONE,    NONE,    AWAY,    OK),
    ROW(XAER_INVAL,     AWAY, FAILED,  FAILED,  FAILED,  UNCLEAR, UNCLEAR, UNCLEAR, AWAY,    AWAY),
    ROW(XAER_PROTO,     AWAY, FAILED,  FAILED,  FAILED,  UNCLEAR, UNCLEAR, UNCLEAR, AWAY,    AWAY),
    ROW(XAER_RMFAIL,    AWAY, AWAY,    AWAY,    AWAY,    AWAY,    AWAY,    AWAY,    AWAY,    AWAY),
    ROW(XAER_DUPID,     AWAY, FAILED,  FAILED,  FAILED,  UNCLEAR, UNCLEAR, UNCLEAR, AWAY,    AWAY),
    ROW(XAER_OUTSIDE,   AWAY, FAILED,  FAILED,  FAILED,  UNCLEAR, UNCLEAR, UNCLEAR, AWAY,    AWAY),
#undef ROW
};
/* clang-format on */
#define ROWS (sizeof(rows) / sizeof(rows[0]))

enum assent_rm_result xa_result(enum xa_source source, int code)
{
    if ((unsigned)source >= XA_SOURCES)
        return UNCLEAR;
    if (source == XA_BY_HELPER)
        return (unsigned)code <= (unsigned)ASSENT_RM_VANISHED ? (enum assent_rm_result)code
                                                              : UNCLEAR;
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].code == code)
            return rows[i].by[source];
    return source == XA_BY_OPEN || source == XA_BY_FORGET || source == XA_BY_RECOVER ? AWAY
                                                                                     : UNCLEAR;
}

void xa_code_name(int code, char name[32])
{
    snprintf(name, 32, "code %d", code);
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].code == code)
            snprintf(name, 32, "%s", rows[i].name);
}
