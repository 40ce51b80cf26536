/*
 * assent/xa_work.h: how work gets done in a branch of an X/Open XA resource.
 *
 * XA says how a branch begins and ends; what is done in between goes through the resource manager's
 * own interface. So the xa resource (docs/xa.md) takes a second library beside the switch: a
 * plug-in, which exports one table of this header, by the name assent_xa_work.
 *
 *   - The plug-in is loaded into the helper process, never into the agent.
 *   - Every function gets the state that open made for the thread which calls; a thread has one
 *     rmid, and a branch one thread. Calls on one state never overlap, calls on others do.
 *   - A plug-in that crashes or hangs ends the helper process: its branches in work are rolled back
 *     by the resource manager, prepared ones stay.
 */
#ifndef ASSENT_XA_WORK_H
#define ASSENT_XA_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSENT_XA_REASON_BYTES 256 /* with the NUL */
#define ASSENT_XA_REPLY_MAX    (512u << 10)

/* A branch: an XID as xa.h lays it out. In ours the bytes after gtrid and bqual are 0, so that
 * data alone, all of it, names the branch as well. */
struct assent_xa_branch {
    long format_id;
    long gtrid_length;
    long bqual_length;
    unsigned char data[128];
};

/* One piece of work. Storage belongs to the caller and is valid during the call only. */
struct assent_xa_work_call {
    size_t size;      /* sizeof(struct assent_xa_work_call) */
    const void *work; /* what the application sent; no NUL at its end */
    size_t work_size;
    uint32_t timeout_ms; /* wait no longer than this, as for a lock; some seconds later the helper
                            process is ended */
    /* Filled by the plug-in, all zero before: */
    bool read_only; /* this work has surely written nothing. If no work of a branch has, the branch
                     * votes read-only, whatever the switch can say of it */
    void *reply;    /* malloc'ed, for the application, at most ASSENT_XA_REPLY_MAX; or NULL */
    size_t reply_size;
    char reason[ASSENT_XA_REASON_BYTES]; /* of a failure, readable */
};

/* Functions return 0, or anything else with a sentence in reason; what may be NULL says so. */
struct assent_xa_work {
    size_t size; /* sizeof(struct assent_xa_work) */

    /* After xa_open on this thread, with the same string and rmid: database handles, cursors,
     * whatever must not be opened inside of a branch. May be NULL. */
    int (*open)(const char *info, int rmid, void **ret_state, char reason[ASSENT_XA_REASON_BYTES]);
    /* Before xa_close, outside of any branch. May be NULL. */
    void (*close)(void *state);
    /* Runs work in the branch that this thread has started. After an error the branch is rolled
     * back. */
    int (*work)(void *state, struct assent_xa_work_call *call);

    /* The next three are NULL, or all there: proof of what became of a branch that the resource
     * manager does not list any more. Without them such a branch becomes a hazard that a person
     * must look at.
     *
     * mark: inside the branch, after its last work, before it is prepared or committed in one
     * phase: writes "committed" under the branch's name, as part of the branch. Not called if it
     * has only read. */
    int (*mark)(void *state, const struct assent_xa_branch *branch,
                char reason[ASSENT_XA_REASON_BYTES]);
    /* Outside of any branch: *ret_committed says whether a committed mark is there. If there is
     * none, nothing may be able to write it any more: where a session that was cut off could go on,
     * "not committed" must be written durably under the same unique name before the answer, so that
     * a mark that comes late fails with its branch. */
    int (*evidence)(void *state, const struct assent_xa_branch *branch, bool *ret_committed,
                    char reason[ASSENT_XA_REASON_BYTES]);
    /* Outside of any branch, when the transaction has ended everywhere: drops the mark. */
    int (*unmark)(void *state, const struct assent_xa_branch *branch,
                  char reason[ASSENT_XA_REASON_BYTES]);

    /* Outside of any branch, after xa_commit has answered XA_OK and before that is believed: brings
     * to disk what the switch has left in memory. May be NULL, if its commits are durable. */
    int (*sync)(void *state, char reason[ASSENT_XA_REASON_BYTES]);

    /* Outside of any branch: commits or rolls back a prepared branch by the resource manager's own
     * interface, durably. For those whose xa_commit does not know what their recovery has restored
     * (quirk end-by-plugin). *ret_code is an answer of xa_commit or xa_rollback: XA_OK, XAER_NOTA,
     * XAER_RMFAIL and so on. May be NULL. */
    int (*end)(void *state, const struct assent_xa_branch *branch, bool commit, int *ret_code,
               char reason[ASSENT_XA_REASON_BYTES]);
};

#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
extern const struct assent_xa_work assent_xa_work;

#ifdef __cplusplus
}
#endif
#endif
