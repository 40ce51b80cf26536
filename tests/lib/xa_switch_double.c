/*
 * xa_switch_double.c: for tests: a resource manager behind an XA switch, as a library, with its
 * plug-in for work. It keeps keys and values in one file that survives kill -9, is strict about
 * threads and states, and answers whatever it is told to. Its directory is the open string:
 *
 *   journal  its data: one line a write, prepare, commit or rollback, synced
 *   script   lines "FUNCTION CODE [EFFECT]": the next call of that function answers CODE, once.
 *            EFFECT: keep (default): nothing is done; done: the call is done; drop: the branch is
 *            rolled back; heur: the call is done and the branch stays listed until xa_forget.
 *            CODE "hang", "crash", "exit" and "kill" (kill -9) instead of an answer
 *   trace    one line a call: "FUNCTION rmid=N thread=N flags=N code=N"
 *   foreign  a number: so many XIDs of others are listed by xa_recover, before ours
 *   zeroed   if it is there: prepared branches that a restart has found are listed without format
 *            and lengths, and xa_commit and xa_rollback of them answer XAER_PROTO
 *
 * Two switches: double_switch, and double_registering, which registers by itself. Work is "put KEY
 * VALUE", "get KEY", "read", "fail REASON", "long SIZE", "outside" or a word of the script.
 */
#include "xa_double.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BRANCHES_MAX 4096
#define ROWS_MAX     8192
#define EXPORT       __attribute__((visibility("default")))

pthread_mutex_t double_mutex = PTHREAD_MUTEX_INITIALIZER;
static char directory[MAXINFOSIZE];
static int journal = -1;
static struct double_branch branches[BRANCHES_MAX];
static struct double_row rows[ROWS_MAX];
static size_t row_count;
_Thread_local struct double_branch *double_current;
_Thread_local int double_opened;
static _Thread_local long cursor;

EXPORT extern const struct xa_switch_t double_switch, double_registering;
_Atomic bool double_registers;

/* --- files ------------------------------------------------------------------------------------ */

static FILE *open_file(const char *name, const char *mode)
{
    char path[MAXINFOSIZE + 16];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return fopen(path, mode);
}

void double_trace(const char *function, int rmid, long flags, int code)
{
    FILE *file = open_file("trace", "a");

    if (file == NULL)
        return;
    fprintf(file, "%s rmid=%d thread=%lx flags=%lx code=%d\n", function, rmid,
            (unsigned long)pthread_self(), flags, code);
    fclose(file);
}

void double_misbehave(const char *how)
{
    if (strcmp(how, "hang") == 0)
        for (;;)
            pause();
    if (strcmp(how, "crash") == 0) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer has nothing to say of it */
        raise(SIGSEGV);
    }
    if (strcmp(how, "exit") == 0)
        _exit(7);
    if (strcmp(how, "kill") == 0)
        kill(getpid(), SIGKILL);
}

bool double_scripted(const char *function, char how[32], char effect[32])
{
    FILE *file = open_file("script", "r"), *rest;
    char line[128], left[4096] = "", name[32];
    bool found = false;

    if (file == NULL)
        return false;
    while (fgets(line, sizeof(line), file) != NULL) {
        char code[32], what[32] = "keep";

        if (!found && sscanf(line, "%31s %31s %31s", name, code, what) >= 2 &&
            strcmp(name, function) == 0) {
            found = true;
            strcpy(how, code);
            strcpy(effect, what);
        } else {
            strncat(left, line, sizeof(left) - strlen(left) - 1);
        }
    }
    fclose(file);
    if (found && (rest = open_file("script", "w")) != NULL) {
        fputs(left, rest);
        fclose(rest);
    }
    return found;
}

static int number_in(const char *name)
{
    FILE *file = open_file(name, "r");
    int number = 0;

    if (file == NULL)
        return -1;
    (void)!fscanf(file, "%d", &number);
    fclose(file);
    return number;
}

/* --- data ------------------------------------------------------------------------------------- */

void double_to_hex(const XID *xid, char hex[DOUBLE_HEX_BYTES])
{
    const unsigned char *bytes = (const unsigned char *)xid;

    for (size_t i = 0; i < sizeof(*xid); i++)
        sprintf(hex + 2 * i, "%02x", bytes[i]);
}

static void from_hex(const char *hex, XID *xid)
{
    unsigned char *bytes = (unsigned char *)xid;

    for (size_t i = 0; i < sizeof(*xid); i++) {
        unsigned byte = 0;

        (void)!sscanf(hex + 2 * i, "%2x", &byte);
        bytes[i] = (unsigned char)byte;
    }
}

static bool same(const XID *a, const XID *b)
{
    return a->formatID == b->formatID && a->gtrid_length == b->gtrid_length &&
           a->bqual_length == b->bqual_length && memcmp(a->data, b->data, sizeof(a->data)) == 0;
}

struct double_branch *double_find(const XID *xid)
{
    for (size_t i = 0; i < BRANCHES_MAX; i++)
        if (branches[i].state != FREE && same(&branches[i].xid, xid))
            return &branches[i];
    return NULL;
}

struct double_branch *double_add(const XID *xid, enum double_state state)
{
    for (size_t i = 0; i < BRANCHES_MAX; i++)
        if (branches[i].state == FREE) {
            memset(&branches[i], 0, sizeof(branches[i]));
            branches[i].xid = *xid;
            branches[i].state = state;
            branches[i].thread = pthread_self();
            return &branches[i];
        }
    return NULL;
}

struct double_row *double_find_row(const char *key)
{
    for (size_t i = 0; i < row_count; i++)
        if (strcmp(rows[i].key, key) == 0)
            return &rows[i];
    return NULL;
}

void double_put_row(const struct double_row *row)
{
    struct double_row *there = double_find_row(row->key);

    if (there == NULL && row_count < ROWS_MAX)
        there = &rows[row_count++];
    if (there != NULL)
        *there = *row;
}

void double_record(const char *what, const XID *xid, const struct double_row *row)
{
    char hex[DOUBLE_HEX_BYTES], line[DOUBLE_HEX_BYTES + 512];

    double_to_hex(xid, hex);
    snprintf(line, sizeof(line), "%s %s %s %s\n", what, hex, row ? row->key : "-",
             row ? row->value : "-");
    if (write(journal, line, strlen(line)) != (ssize_t)strlen(line) || fdatasync(journal) != 0)
        abort();
}

static void end_branch(struct double_branch *branch, bool commit)
{
    for (size_t i = 0; commit && i < branch->write_count; i++)
        double_put_row(&branch->writes[i]);
    branch->state = FREE;
}

static void do_prepare(struct double_branch *branch)
{
    for (size_t i = 0; i < branch->write_count; i++)
        double_record("write", &branch->xid, &branch->writes[i]);
    double_record("prepare", &branch->xid, NULL);
    branch->state = PREPARED;
}

void double_end(struct double_branch *branch, bool commit)
{
    if (commit && branch->state != PREPARED)
        do_prepare(branch);
    double_record(commit ? "commit" : "rollback", &branch->xid, NULL);
    end_branch(branch, commit);
}

static void replay(void)
{
    char line[DOUBLE_HEX_BYTES + 512], what[16], hex[DOUBLE_HEX_BYTES];
    FILE *file = open_file("journal", "r");
    struct double_row row;
    XID xid;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        struct double_branch *branch;

        if (sscanf(line, "%15s %304s %319s %63s", what, hex, row.key, row.value) != 4)
            continue;
        from_hex(hex, &xid);
        branch = double_find(&xid);
        if (branch == NULL)
            branch = double_add(&xid, ENDED);
        if (strcmp(what, "write") == 0)
            branch->writes[branch->write_count++] = row;
        else if (strcmp(what, "prepare") == 0)
            branch->state = PREPARED;
        else
            end_branch(branch, strcmp(what, "commit") == 0);
        branch->restored = true;
    }
    if (file != NULL)
        fclose(file);
    for (size_t i = 0; i < BRANCHES_MAX; i++)
        if (branches[i].state != PREPARED)
            branches[i].state = FREE;
}

/* --- the switch ------------------------------------------------------------------------------- */

/* Every function: under the mutex, by the script if there is a line for it. `run` does it. */
static int call(const char *function, XID *xid, int rmid, long flags,
                int (*run)(struct double_branch *branch, XID *xid, long flags))
{
    char how[32], effect[32];
    struct double_branch *branch;
    int code;

    pthread_mutex_lock(&double_mutex);
    branch = double_find(xid);
    if (double_opened != rmid) {
        code = XAER_PROTO; /* this thread has not double_opened it */
    } else if (!double_scripted(function, how, effect)) {
        code = run(branch, xid, flags);
    } else {
        code = atoi(how);
        if (strcmp(effect, "done") == 0 || strcmp(effect, "heur") == 0)
            (void)run(branch, xid, flags);
        if (strcmp(effect, "drop") == 0 && branch != NULL)
            double_end(branch, false);
        if (strcmp(effect, "heur") == 0 && (branch = double_add(xid, HEURISTIC)) != NULL)
            branch->heuristic = code;
        if (code == 0 && how[0] != '0') {
            pthread_mutex_unlock(&double_mutex);
            double_misbehave(how);
        }
    }
    double_trace(function, rmid, flags, code);
    pthread_mutex_unlock(&double_mutex);
    return code;
}

static int open_double(char *info, int rmid, long flags)
{
    char how[32] = "0", effect[32], path[MAXINFOSIZE + 16];
    int code;

    pthread_mutex_lock(&double_mutex);
    snprintf(directory, sizeof(directory), "%s", info);
    if (double_scripted("open", how, effect))
        double_misbehave(how);
    code = atoi(how);
    snprintf(path, sizeof(path), "%s/journal", directory);
    if (code == XA_OK && journal < 0) {
        replay();
        journal = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        code = journal < 0 ? XAER_RMERR : XA_OK;
    }
    if (code == XA_OK)
        double_opened = rmid;
    double_trace("open", rmid, flags, code);
    pthread_mutex_unlock(&double_mutex);
    return code;
}

static int close_double(char *info, int rmid, long flags)
{
    (void)info;
    pthread_mutex_lock(&double_mutex);
    double_opened = 0;
    double_trace("close", rmid, flags, XA_OK);
    pthread_mutex_unlock(&double_mutex);
    return XA_OK;
}

static int run_start(struct double_branch *branch, XID *xid, long flags)
{
    if (double_current != NULL || double_registers)
        return XAER_PROTO;
    if (flags == TMRESUME) {
        if (branch == NULL || branch->state != SUSPENDED ||
            !pthread_equal(branch->thread, pthread_self()))
            return XAER_PROTO;
        branch->state = ACTIVE;
        double_current = branch;
        return XA_OK;
    }
    if (branch != NULL)
        return XAER_DUPID;
    double_current = double_add(xid, ACTIVE);
    return double_current != NULL ? XA_OK : XAER_RMERR;
}

static int run_end(struct double_branch *branch, XID *xid, long flags)
{
    (void)xid;
    if (branch == NULL)
        return XAER_NOTA;
    if (!pthread_equal(branch->thread, pthread_self()) ||
        (branch->state == ACTIVE && branch != double_current))
        return XAER_PROTO;
    if (branch->state != ACTIVE && !(branch->state == SUSPENDED && double_registers))
        return XAER_PROTO;
    branch->state = flags == TMSUSPEND ? SUSPENDED : ENDED;
    double_current = NULL;
    return XA_OK;
}

static int run_prepare(struct double_branch *branch, XID *xid, long flags)
{
    (void)xid;
    (void)flags;
    if (branch == NULL)
        return XAER_NOTA;
    if (branch->state != ENDED || !pthread_equal(branch->thread, pthread_self()))
        return XAER_PROTO;
    if (branch->write_count == 0) {
        branch->state = FREE;
        return XA_RDONLY;
    }
    do_prepare(branch);
    return XA_OK;
}

static int run_commit(struct double_branch *branch, XID *xid, long flags)
{
    (void)xid;
    if (branch == NULL)
        return XAER_NOTA;
    if (branch->state == HEURISTIC)
        return branch->heuristic;
    if (double_current != NULL || branch->state != (flags & TMONEPHASE ? ENDED : PREPARED) ||
        (branch->restored && number_in("zeroed") >= 0))
        return XAER_PROTO;
    double_end(branch, true);
    return XA_OK;
}

static int run_rollback(struct double_branch *branch, XID *xid, long flags)
{
    (void)xid;
    (void)flags;
    if (branch == NULL)
        return XAER_NOTA;
    if (branch->state == HEURISTIC)
        return branch->heuristic;
    if (double_current != NULL || (branch->state != PREPARED && branch->state != ENDED) ||
        (branch->restored && number_in("zeroed") >= 0))
        return XAER_PROTO;
    double_end(branch, false);
    return XA_OK;
}

static int run_forget(struct double_branch *branch, XID *xid, long flags)
{
    (void)xid;
    (void)flags;
    if (branch == NULL || branch->state != HEURISTIC)
        return XAER_NOTA;
    branch->state = FREE;
    return XA_OK;
}

static int start_double(XID *xid, int rmid, long flags)
{
    return call("start", xid, rmid, flags, run_start);
}

static int end_double(XID *xid, int rmid, long flags)
{
    return call("end", xid, rmid, flags, run_end);
}

static int prepare_double(XID *xid, int rmid, long flags)
{
    return call("prepare", xid, rmid, flags, run_prepare);
}

static int commit_double(XID *xid, int rmid, long flags)
{
    return call(flags & TMONEPHASE ? "one-phase" : "commit", xid, rmid, flags, run_commit);
}

static int rollback_double(XID *xid, int rmid, long flags)
{
    return call("rollback", xid, rmid, flags, run_rollback);
}

static int forget_double(XID *xid, int rmid, long flags)
{
    return call("forget", xid, rmid, flags, run_forget);
}

/* The XID at this place of the list: false behind its end. */
static bool list_at(long place, XID *xid)
{
    long foreign = number_in("foreign");

    if (place < foreign) {
        *xid = (XID){.formatID = 1 + place, .gtrid_length = 8, .bqual_length = 1};
        memcpy(xid->data, "somebody", 8);
        return true;
    }
    place -= foreign > 0 ? foreign : 0;
    for (size_t i = 0; i < BRANCHES_MAX; i++) {
        if (branches[i].state != PREPARED && branches[i].state != HEURISTIC)
            continue;
        if (place-- > 0)
            continue;
        *xid = branches[i].xid;
        if (branches[i].restored && number_in("zeroed") >= 0)
            xid->formatID = xid->gtrid_length = xid->bqual_length = 0;
        return true;
    }
    return false;
}

static int recover_double(XID *xids, long count, int rmid, long flags)
{
    char how[32] = "0", effect[32];
    int n = 0;

    pthread_mutex_lock(&double_mutex);
    if (flags & TMSTARTRSCAN)
        cursor = 0;
    if (double_scripted("recover", how, effect)) {
        double_misbehave(how);
        n = atoi(how);
    } else {
        while (n < count && list_at(cursor, &xids[n])) {
            cursor++;
            n++;
        }
    }
    double_trace("recover", rmid, flags, n);
    pthread_mutex_unlock(&double_mutex);
    return n;
}

#define ENTRIES                                                                                    \
    .xa_open_entry = open_double, .xa_close_entry = close_double, .xa_start_entry = start_double,  \
    .xa_end_entry = end_double, .xa_rollback_entry = rollback_double,                              \
    .xa_prepare_entry = prepare_double, .xa_commit_entry = commit_double,                          \
    .xa_recover_entry = recover_double, .xa_forget_entry = forget_double

static int open_registering(char *info, int rmid, long flags)
{
    double_registers = true;
    return open_double(info, rmid, flags);
}

const struct xa_switch_t double_switch = {.name = "double", .flags = TMNOMIGRATE, ENTRIES};
#undef ENTRIES
const struct xa_switch_t double_registering = {
    .name = "registering double",
    .flags = TMREGISTER,
    .xa_open_entry = open_registering,
    .xa_close_entry = close_double,
    .xa_start_entry = start_double,
    .xa_end_entry = end_double,
    .xa_rollback_entry = rollback_double,
    .xa_prepare_entry = prepare_double,
    .xa_commit_entry = commit_double,
    .xa_recover_entry = recover_double,
    .xa_forget_entry = forget_double,
};
