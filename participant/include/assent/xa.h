/*
 * assent/xa.h: the XA interface between transaction managers and resource managers, written from
 * X/Open CAE Specification C193, "Distributed Transaction Processing: The XA Specification"
 * (December 1991), whose numbers and names stand here as that document fixes them.
 *
 * For switches and for those that call them. A resource manager that brings an xa.h of its own is
 * used with that one: the two say the same, so never include both.
 */
#ifndef ASSENT_XA_H
#define ASSENT_XA_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ASSENT_XA_API __attribute__((visibility("default")))
#else
#define ASSENT_XA_API
#endif

/* Names one branch: gtrid_length bytes of data, then bqual_length more; the rest means nothing. */
#define XIDDATASIZE  128
#define MAXGTRIDSIZE 64
#define MAXBQUALSIZE 64

struct xid_t {
    long formatID;     /* -1: no branch at all, the null XID */
    long gtrid_length; /* 1 to 64 */
    long bqual_length; /* 1 to 64 */
    char data[XIDDATASIZE];
};
typedef struct xid_t XID;

/* What a transaction manager offers to resource managers that register by themselves. */
ASSENT_XA_API extern int ax_reg(int rmid, XID *xid, long flags);
ASSENT_XA_API extern int ax_unreg(int rmid, long flags);

/* What a resource manager offers: one table. Strings are NUL-terminated. */
#define RMNAMESZ    32
#define MAXINFOSIZE 256

struct xa_switch_t {
    char name[RMNAMESZ];
    long flags;   /* TMREGISTER, TMNOMIGRATE, TMUSEASYNC */
    long version; /* 0 */
    int (*xa_open_entry)(char *info, int rmid, long flags);
    int (*xa_close_entry)(char *info, int rmid, long flags);
    int (*xa_start_entry)(XID *xid, int rmid, long flags);
    int (*xa_end_entry)(XID *xid, int rmid, long flags);
    int (*xa_rollback_entry)(XID *xid, int rmid, long flags);
    int (*xa_prepare_entry)(XID *xid, int rmid, long flags);
    int (*xa_commit_entry)(XID *xid, int rmid, long flags);
    int (*xa_recover_entry)(XID *xids, long count, int rmid, long flags);
    int (*xa_forget_entry)(XID *xid, int rmid, long flags);
    int (*xa_complete_entry)(int *handle, int *retval, int rmid, long flags);
};

/* Flags of the switch. */
#define TMNOFLAGS   0x00000000L
#define TMREGISTER  0x00000001L
#define TMNOMIGRATE 0x00000002L
#define TMUSEASYNC  0x00000004L

/* Flags of calls. */
#define TMASYNC      0x80000000L
#define TMONEPHASE   0x40000000L
#define TMFAIL       0x20000000L
#define TMNOWAIT     0x10000000L
#define TMRESUME     0x08000000L
#define TMSUCCESS    0x04000000L
#define TMSUSPEND    0x02000000L
#define TMSTARTRSCAN 0x01000000L
#define TMENDRSCAN   0x00800000L
#define TMMULTIPLE   0x00400000L
#define TMJOIN       0x00200000L
#define TMMIGRATE    0x00100000L

/* Answers of ax_reg and ax_unreg. */
#define TM_JOIN    2
#define TM_RESUME  1
#define TM_OK      0
#define TMER_TMERR (-1)
#define TMER_INVAL (-2)
#define TMER_PROTO (-3)

/* Answers of the switch: the branch is rolled back, or can only be, and why. */
#define XA_RBBASE      100
#define XA_RBROLLBACK  XA_RBBASE
#define XA_RBCOMMFAIL  (XA_RBBASE + 1)
#define XA_RBDEADLOCK  (XA_RBBASE + 2)
#define XA_RBINTEGRITY (XA_RBBASE + 3)
#define XA_RBOTHER     (XA_RBBASE + 4)
#define XA_RBPROTO     (XA_RBBASE + 5)
#define XA_RBTIMEOUT   (XA_RBBASE + 6)
#define XA_RBTRANSIENT (XA_RBBASE + 7)
#define XA_RBEND       XA_RBTRANSIENT

#define XA_NOMIGRATE 9 /* suspended, and to be resumed on this thread */
#define XA_HEURHAZ   8 /* perhaps ended alone */
#define XA_HEURCOM   7 /* committed alone */
#define XA_HEURRB    6 /* rolled back alone */
#define XA_HEURMIX   5 /* partly both */
#define XA_RETRY     4 /* nothing was done: again, later */
#define XA_RDONLY    3 /* it had only read, and is gone */
#define XA_OK        0

#define XAER_ASYNC   (-2) /* an asynchronous operation is under way */
#define XAER_RMERR   (-3) /* the resource manager failed in the branch */
#define XAER_NOTA    (-4) /* it does not know the XID */
#define XAER_INVAL   (-5) /* wrong arguments */
#define XAER_PROTO   (-6) /* not at this moment */
#define XAER_RMFAIL  (-7) /* the resource manager is gone */
#define XAER_DUPID   (-8) /* it knows the XID already */
#define XAER_OUTSIDE (-9) /* it works outside of any global transaction */

#ifdef __cplusplus
}
#endif
#endif
