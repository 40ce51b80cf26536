/*
 * xa_double.h: what the two halves of the tests' resource manager share: xa_switch_double.c, its
 * switch and its data, and xa_work_double.c, its plug-in for work.
 */
#ifndef ASSENT_TEST_XA_DOUBLE_H
#define ASSENT_TEST_XA_DOUBLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "assent/xa.h"
#include "assent/xa_work.h"

#define DOUBLE_WRITES_MAX 64
#define DOUBLE_HEX_BYTES  (2 * sizeof(XID) + 1)

enum double_state { FREE, ACTIVE, SUSPENDED, ENDED, PREPARED, HEURISTIC };

struct double_row {
    char key[320], value[64];
};

struct double_branch {
    enum double_state state;
    XID xid;
    pthread_t thread;
    int heuristic; /* what it answers until it is forgotten */
    bool restored;
    size_t write_count;
    struct double_row writes[DOUBLE_WRITES_MAX];
};

extern pthread_mutex_t double_mutex;                       /* guards all that follows */
extern _Thread_local struct double_branch *double_current; /* of this thread */
extern _Thread_local int double_opened;                    /* its rmid, or 0 */
extern _Atomic bool double_registers;

void double_trace(const char *function, int rmid, long flags, int code);
/* The first line of the script for this function, taken out of it. */
bool double_scripted(const char *function, char how[32], char effect[32]);
/* Does not come back if this is a word for it. */
void double_misbehave(const char *how);
void double_to_hex(const XID *xid, char hex[DOUBLE_HEX_BYTES]);
struct double_branch *double_find(const XID *xid);
struct double_branch *double_add(const XID *xid, enum double_state state);
struct double_row *double_find_row(const char *key);
void double_put_row(const struct double_row *row);
void double_record(const char *what, const XID *xid, const struct double_row *row);
void double_end(struct double_branch *branch, bool commit);

#endif
