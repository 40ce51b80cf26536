/*
 * xa_work_double.c: for tests: the plug-in of the resource manager in xa_switch_double.c, which
 * says what its work is. Marks are keys like any other, in the branch they belong to.
 */
#include "xa_double.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a registering switch does at the first use of its own interface. */
static bool join(char reason[ASSENT_XA_REASON_BYTES])
{
    struct double_branch *branch;
    XID xid;
    int code;

    if (!double_registers || double_current != NULL)
        return double_current != NULL;
    code = ax_reg(double_opened, &xid, TMNOFLAGS);
    pthread_mutex_lock(&double_mutex);
    double_trace("ax_reg", double_opened, TMNOFLAGS, code);
    branch = double_find(&xid);
    if (code == TM_OK && branch == NULL)
        double_current = double_add(&xid, ACTIVE);
    else if (code == TM_RESUME && branch != NULL && branch->state == SUSPENDED)
        double_current = branch;
    if (double_current != NULL)
        double_current->state = ACTIVE;
    else
        snprintf(reason, ASSENT_XA_REASON_BYTES, "ax_reg: %d", code);
    pthread_mutex_unlock(&double_mutex);
    return double_current != NULL;
}

static int open_work(const char *info, int rmid, void **ret_state,
                     char reason[ASSENT_XA_REASON_BYTES])
{
    char how[32], effect[32];
    int code = 0;

    (void)info;
    (void)rmid;
    pthread_mutex_lock(&double_mutex);
    if (double_scripted("work-open", how, effect)) {
        snprintf(reason, ASSENT_XA_REASON_BYTES, "told not to open");
        code = atoi(how);
    }
    if (double_registers) {
        XID xid;

        /* Local work, outside of any branch. */
        double_trace("ax_reg", rmid, TMNOFLAGS, ax_reg(rmid, &xid, TMNOFLAGS));
        double_trace(xid.formatID == -1 ? "null-xid" : "some-xid", rmid, 0, 0);
        double_trace("ax_unreg", rmid, TMNOFLAGS, ax_unreg(rmid, TMNOFLAGS));
        double_trace("ax_unreg", rmid, TMNOFLAGS, ax_unreg(rmid, TMNOFLAGS));
    }
    pthread_mutex_unlock(&double_mutex);
    *ret_state = NULL;
    return code;
}

static int put(const char *key, const char *value, char reason[ASSENT_XA_REASON_BYTES])
{
    int r = -1;

    if (!join(reason))
        return -1;
    pthread_mutex_lock(&double_mutex);
    snprintf(reason, ASSENT_XA_REASON_BYTES, "no room");
    if (double_current->write_count < DOUBLE_WRITES_MAX) {
        struct double_row *row = &double_current->writes[double_current->write_count++];

        snprintf(row->key, sizeof(row->key), "%s", key);
        snprintf(row->value, sizeof(row->value), "%s", value);
        r = 0;
        reason[0] = '\0';
    }
    pthread_mutex_unlock(&double_mutex);
    return r;
}

static int work_double(void *state, struct assent_xa_work_call *work)
{
    char text[256], key[64] = "", value[64] = "";
    struct double_row *row;

    (void)state;
    snprintf(text, sizeof(text), "%.*s", (int)work->work_size, (const char *)work->work);
    if (sscanf(text, "put %63s %63s", key, value) == 2)
        return put(key, value, work->reason);
    if (sscanf(text, "long %63s", value) == 1) {
        work->reply_size = (size_t)atol(value);
        work->reply = calloc(1, work->reply_size + 1);
        return 0;
    }
    if (strncmp(text, "fail ", 5) == 0) {
        snprintf(work->reason, sizeof(work->reason), "%s", text + 5);
        return 1;
    }
    double_misbehave(text);
    if (sscanf(text, "get %63s", key) == 1) {
        work->read_only = true;
        pthread_mutex_lock(&double_mutex);
        row = double_find_row(key);
        work->reply = strdup(row != NULL ? row->value : "nothing");
        work->reply_size = strlen(work->reply);
        pthread_mutex_unlock(&double_mutex);
    }
    /* "read": says nothing of reading only, so the switch has to find out. */
    return 0;
}

static void mark_key(const struct assent_xa_branch *branch, char key[320])
{
    XID xid;

    memcpy(&xid, branch, sizeof(xid));
    strcpy(key, "mark:");
    double_to_hex(&xid, key + 5);
}

static int mark_double(void *state, const struct assent_xa_branch *branch,
                       char reason[ASSENT_XA_REASON_BYTES])
{
    char key[320];

    (void)state;
    /* A branch that has written nothing else stays one that has only read. */
    if (double_current == NULL || double_current->write_count == 0)
        return 0;
    mark_key(branch, key);
    return put(key, "committed", reason);
}

static int evidence_double(void *state, const struct assent_xa_branch *branch, bool *ret_committed,
                           char reason[ASSENT_XA_REASON_BYTES])
{
    char key[320];
    struct double_row *row;

    (void)state;
    (void)reason;
    mark_key(branch, key);
    pthread_mutex_lock(&double_mutex);
    row = double_find_row(key);
    *ret_committed = row != NULL && strcmp(row->value, "committed") == 0;
    pthread_mutex_unlock(&double_mutex);
    return 0;
}

static int unmark_double(void *state, const struct assent_xa_branch *branch,
                         char reason[ASSENT_XA_REASON_BYTES])
{
    struct double_row row = {.value = "-"};
    XID xid;

    (void)state;
    (void)reason;
    mark_key(branch, row.key);
    memcpy(&xid, branch, sizeof(xid));
    pthread_mutex_lock(&double_mutex);
    if (double_find_row(row.key) != NULL) {
        double_record("write", &xid, &row);
        double_record("commit", &xid, NULL);
        double_put_row(&row);
    }
    pthread_mutex_unlock(&double_mutex);
    return 0;
}

static int end_natively(void *state, const struct assent_xa_branch *branch, bool commit,
                        int *ret_code, char reason[ASSENT_XA_REASON_BYTES])
{
    struct double_branch *there;
    XID xid;

    (void)state;
    (void)reason;
    memcpy(&xid, branch, sizeof(xid));
    pthread_mutex_lock(&double_mutex);
    there = double_find(&xid);
    *ret_code = there != NULL && there->state == PREPARED ? XA_OK : XAER_NOTA;
    if (*ret_code == XA_OK)
        double_end(there, commit);
    double_trace("native", 0, commit, *ret_code);
    pthread_mutex_unlock(&double_mutex);
    return 0;
}

static int sync_double(void *state, char reason[ASSENT_XA_REASON_BYTES])
{
    char how[32], effect[32];
    bool told;

    (void)state;
    pthread_mutex_lock(&double_mutex);
    told = double_scripted("sync", how, effect);
    pthread_mutex_unlock(&double_mutex);
    if (told)
        snprintf(reason, ASSENT_XA_REASON_BYTES, "the disk is full");
    return told;
}

const struct assent_xa_work assent_xa_work = {
    .size = sizeof(struct assent_xa_work),
    .open = open_work,
    .work = work_double,
    .mark = mark_double,
    .evidence = evidence_double,
    .unmark = unmark_double,
    .sync = sync_double,
    .end = end_natively,
};
