/*
 * xa_wire.h: what the xa resource and its helper process say to each other over a socketpair, and
 * how a branch is named to an XA resource manager. Both ends come from one build, which the first
 * frame checks, so frames are plain structs.
 *
 * The resource sends a setup, the helper answers it when its first xa_open is done; from then on
 * requests and replies cross in any order, matched by their number.
 */
#ifndef ASSENT_XA_WIRE_H
#define ASSENT_XA_WIRE_H

#include "assent/participant.h"
#include "assent/xa.h"
#include "gtrid.h"

#define XA_FRAME_BYTES_MAX (65u << 20) /* the agent's longest frame, and some more */
#define XA_RECOVER_MAX     100000u     /* XIDs in one list, anybody's */

/* The setup's number is 0; its body is struct xa_setup. */
#define XA_OP_SETUP   100
#define XA_OP_BEGIN   101
#define XA_OP_RECOVER 102
#define XA_OP_PING    103

struct xa_request {
    uint64_t number;
    uint32_t size;       /* of the body that follows */
    uint32_t operation;  /* enum assent_operation, or one of the above */
    uint32_t timeout_ms; /* WORK */
    uint8_t branch[ASSENT_BRANCH_ID_BYTES];
};

/* Who gave the answer: a function of the switch, or the helper itself. */
enum xa_source {
    XA_BY_HELPER, /* code is an enum assent_rm_result, the body a reason; no switch has said no */
    XA_BY_OPEN,
    XA_BY_START, /* start, and end for a while or because of a failure */
    XA_BY_END,   /* end before prepare or commit */
    XA_BY_PREPARE,
    XA_BY_COMMIT,
    XA_BY_ONE_PHASE,
    XA_BY_ROLLBACK,
    XA_BY_RECOVER,
    XA_BY_FORGET,
    XA_SOURCES
};

struct xa_reply {
    uint64_t number;
    uint32_t size;
    uint32_t source;
    int32_t code;
};

/* Quirks of resource managers: bits of xa_setup.quirks. */
enum xa_quirk {
    /* All threads open one rmid, for libraries that cannot open one home twice in one process. */
    XA_QUIRK_SHARED_RMID = 1,
    /* After a crash xa_recover lists XIDs whose format and lengths are 0; data tells ours. */
    XA_QUIRK_ZEROED_XID = 2,
    /* XAER_PROTO from xa_commit and xa_rollback of a branch prepared earlier: the plug-in ends it
     * by the resource manager's own interface. */
    XA_QUIRK_END_BY_PLUGIN = 4,
};

enum xa_recover_flags {
    XA_RECOVER_PAGED,        /* TMSTARTRSCAN, TMNOFLAGS up to a short page, TMENDRSCAN */
    XA_RECOVER_PAGED_NO_END, /* the same without the last */
    XA_RECOVER_ONE_CALL,     /* TMSTARTRSCAN | TMENDRSCAN, with room for all */
};

#define XA_PATH_BYTES   1024
#define XA_SYMBOL_BYTES 128

struct xa_setup {
    char version[32];
    char switch_library[XA_PATH_BYTES];
    char switch_symbol[XA_SYMBOL_BYTES];
    char work_library[XA_PATH_BYTES];
    char info[MAXINFOSIZE];
    uint32_t threads; /* that work; a single one also ends what is prepared */
    uint32_t quirks;
    uint32_t recover_flags;
};

/* Whole or not at all: 0, ASSENT_E_CLOSED, ASSENT_E_IO; EINTR goes on. */
ASSENT_CHECKED int xa_send(int fd, const void *head, size_t head_size, const void *body,
                           size_t body_size);
ASSENT_CHECKED int xa_receive(int fd, void *buffer, size_t size);

/* The XID of a branch: gtrid is log id and gtrid, bqual a word of ours and the branch number. */
void xa_xid_make(const struct assent_branch_id *id, XID *ret_xid);
/* False: not one that xa_xid_make could have made. With any_header, data alone decides. */
bool xa_xid_parse(const XID *xid, bool any_header, struct assent_branch_id *ret_id);
/* Format and lengths are all 0, which no XID may have. */
bool xa_xid_zeroed(const XID *xid);

#endif
