/*
 * mariadb.h: what the files of the MariaDB resource share; private to them. What every SQL database
 * needs is in sql.h.
 *
 *   mariadb.c            the tables of operations, open and close, recover, ping
 *   mariadb_preflight.c  what a server must have, what is warned of, the marker table
 *   mariadb_session.c    connections, and their answers with a deadline
 *   mariadb_xid.c        branch ids as MariaDB knows them
 *   mariadb_work.c       runs statements inside a branch
 *   mariadb_finish.c     prepare, commit, rollback
 *   mariadb_marker.c     evidence, forget
 *
 * A branch in work is an XA transaction in one session. Prepare inserts the branch's marker in it
 * and says XA PREPARE, with pseudo_slave_mode on: then the session has let go of the branch when
 * the answer comes, and any other can end it. Without, a session keeps what it has prepared until
 * it ends, and in doing so it hands the branch's name over before the branch itself: an XA COMMIT
 * or XA ROLLBACK that comes in between answers OK, does nothing, and takes the branch off the list
 * until the server starts anew (10.11.19). The process list shows the session as gone before both.
 *
 * The marker table is a write-once register for each branch, kept by its primary key: the branch
 * itself writes TRUE, in its own transaction, who rolls it back FALSE, and evidence that finds
 * neither NULL. Whoever comes second fails. So a session that is cut off from us and still
 * preparing, or still committing in one phase, cannot succeed once evidence has said that its
 * branch is not there.
 *
 * What the work has touched is what the server says itself, through session_track_transaction_info:
 * eight characters, where w is a write to a table without transactions, W to one with them, each
 * said when a table is locked for it, in triggers and functions too. They come with an answer that
 * is not rows, and only if something that is tracked was set: MARIADB_TELL makes it so.
 */
#ifndef ASSENT_MARIADB_H
#define ASSENT_MARIADB_H

#include <mysql.h>

#include "sql.h"

#define MARIADB_TEXT_MAX 255u
#define MARIADB_DATABASE_MAX                                                                       \
    60u /* bytes of a database's name: it goes into each xid, after 4 more */
/* X'gtrid',X'bqual',formatID with the NUL. */
#define MARIADB_XID_BYTES (2 * 64 + 2 * 64 + 24)
#define MARIADB_TELL      "SET time_zone = @@time_zone"

struct mariadb_conn {
    struct sql_session base;
    MYSQL *link;
    bool used;     /* a branch has run here: its settings are discarded before the next */
    bool open;     /* in a transaction, or perhaps */
    char state[9]; /* as last told; "" before that */
};

struct mariadb {
    struct sql_database base;
    /* "": libmariadb's own default */
    char host[MARIADB_TEXT_MAX + 1], socket[MARIADB_TEXT_MAX + 1], user[MARIADB_TEXT_MAX + 1];
    char database[MARIADB_DATABASE_MAX + 1], defaults_file[MARIADB_TEXT_MAX + 1];
    uint64_t port;
    bool alone; /* what an agent before us left behind has been waited for */
};

/* How a text of one or more statements has ended. */
struct mariadb_outcome {
    enum { MARIADB_DONE, MARIADB_REFUSED, MARIADB_LOST } kind;
    unsigned code;                    /* REFUSED: the server's number */
    char text[ASSENT_REASON_MAX + 1]; /* REFUSED: "number: message"; LOST: why */
    size_t done;                      /* statements without an error */
    size_t unsafe_at; /* the number, from 1, of the first after which w was told; 0: none */
    char value[64];   /* first column of the last row of all, "" without one */
};

static inline struct mariadb_conn *mariadb_conn_of(struct sql_session *session)
{
    return (struct mariadb_conn *)session;
}

/* mariadb_session.c */
int mariadb_dial(struct sql_database *db, uint32_t work_timeout_ms,
                 struct sql_session **ret_session, char reason[ASSENT_REASON_MAX + 1]);
void mariadb_hang_up(struct sql_session *session);
bool mariadb_alive(struct sql_session *session, bool wait);
bool mariadb_idle(struct sql_session *session);
/* Whatever the server still has to say is not waited for. */
void mariadb_cut(struct mariadb_conn *conn);
/* Statements, separated by semicolons; a failure breaks the session, and collecting says so. */
void mariadb_send(struct mariadb_conn *conn, const char *sql);
void mariadb_send_format(struct mariadb_conn *conn, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Takes the first answer to what was sent, until a moment; then rows, if any, are to be read. */
void mariadb_answer(struct mariadb_conn *conn, uint64_t deadline_ms,
                    struct mariadb_outcome *ret_outcome);
/* The next one. False: there is none. */
bool mariadb_next(struct mariadb_conn *conn, struct mariadb_outcome *outcome);
/* Whether the session is in a transaction, as the last answer says. */
bool mariadb_in_transaction(const struct mariadb_conn *conn);
/* Takes all answers to what was sent. The second hands out each row, if row is not NULL. */
void mariadb_collect(struct mariadb_conn *conn, uint64_t deadline_ms,
                     struct mariadb_outcome *ret_outcome);
void mariadb_collect_rows(struct mariadb_conn *conn, uint64_t deadline_ms,
                          void (*row)(void *context, char **cells), void *context,
                          struct mariadb_outcome *ret_outcome);
/* Both at once, within SQL_FINISH_MS. */
void mariadb_ask(struct mariadb_conn *conn, const char *sql, struct mariadb_outcome *ret_outcome);
/* The session has an error, or is lost. */
void mariadb_note_error(struct mariadb_conn *conn, struct mariadb_outcome *outcome);
/* XA END and XA ROLLBACK; a session in which that does not work is broken, and ends with it. */
void mariadb_roll_back(struct mariadb_conn *conn, const char *xid, uint64_t deadline_ms);

/* mariadb_xid.c */
/* For this branch of this database. */
void mariadb_xid_format(const struct mariadb *maria, const struct assent_branch_id *id,
                        char xid[MARIADB_XID_BYTES]);
/* False: not a text that mariadb_xid_format could have made. */
bool mariadb_xid_parse(const struct mariadb *maria, const char *xid,
                       struct assent_branch_id *ret_id);

/* mariadb_preflight.c */
int mariadb_preflight(struct sql_database *db, struct sql_session *session,
                      char reason[ASSENT_REASON_MAX + 1]);
enum mariadb_fact {
    MARIADB_VERSION,
    MARIADB_LEGACY_XA,
    MARIADB_WSREP_ON,
    MARIADB_READ_ONLY,
    MARIADB_FLUSH,
    MARIADB_DOUBLEWRITE,
    MARIADB_LOG_BUFFERING,
    MARIADB_LOG_BIN,
    MARIADB_SYNC_BINLOG,
    MARIADB_MAX_CONNECTIONS,
    MARIADB_ISOLATION,
    MARIADB_FACTS
};
struct mariadb_facts {
    char values[MARIADB_FACTS][64]; /* "": the server has no such variable */
};
/* 0, or ASSENT_E_CONFIG with what makes two-phase commit impossible here. */
ASSENT_CHECKED int mariadb_judge(const struct mariadb_facts *facts,
                                 char reason[ASSENT_REASON_MAX + 1]);

/* mariadb_work.c */
void mariadb_work(struct sql_database *db, struct sql_branch *branch, struct assent_call *call);

/* mariadb_finish.c: members of struct sql_driver. */
void mariadb_end_active(struct sql_database *db, struct sql_branch *branch,
                        struct assent_call *call, uint64_t deadline_ms);
void mariadb_end_elsewhere(struct sql_database *db, struct sql_session *session,
                           struct assent_call *call, uint64_t deadline_ms);
/* Is the branch on the list of prepared ones? The answer counts only if the outcome is DONE. */
ASSENT_CHECKED bool mariadb_listed(struct mariadb_conn *conn, const char *xid, uint64_t deadline_ms,
                                   struct mariadb_outcome *ret_outcome);

/* mariadb_marker.c */
#define MARIADB_CREATE_MARKER                                                                      \
    "CREATE TABLE IF NOT EXISTS assent_marker (branch BINARY(36) PRIMARY KEY, "                    \
    "committed BOOLEAN DEFAULT TRUE, "                                                             \
    "at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP) ENGINE=InnoDB"
int mariadb_forget(struct sql_session *lane, const struct assent_branch_id *ids, size_t count,
                   bool sweep, char reason[ASSENT_REASON_MAX + 1]);
void mariadb_evidence(struct sql_database *db, struct sql_session *lane, struct assent_call *call);
/* Deletes markers by key, after reading which ones the condition names: a DELETE by a condition
 * would wait for the markers of branches that are prepared. 0, or ASSENT_E_* with a sentence. */
ASSENT_CHECKED int mariadb_delete_where(struct mariadb_conn *conn, const char *where,
                                        char reason[ASSENT_REASON_MAX + 1]);

#endif
