/*
 * http.h: what the files of the HTTP resource share; private to them. A service takes part by Try,
 * Confirm and Cancel (TCC): what it must do for that is in docs/http.md.
 *
 *   http.c           the table of operations, open and close, begin, recover, ping, query
 *   http_settings.c  the parameters, and the file with header lines
 *   http_barrier.c   what has been asked of the service and what it has answered, durably
 *   http_branch.c    the branches in work, and their names as the service knows them
 *   http_exchange.c  libcurl: requests with bounds, several at once
 *   http_answer.c    what a status code means
 *   http_work.c      work: Try
 *   http_finish.c    prepare, commit: Confirm, rollback: Cancel, evidence, forget; many at once
 *   http_orphans.c   Cancel for what an earlier life of this process has tried and not prepared
 *
 * The service keeps reservations; we keep the barrier, one record for each branch:
 *
 *   (none)      nothing was ever sent       -> TRYING, CANCELLED
 *   TRYING      a Try may have been sent    -> PREPARED, CANCELLING, CANCELLED, (none: read-only)
 *   PREPARED    each Try was answered well  -> CONFIRMED, CANCELLED
 *   CONFIRMED   Confirm was answered well   -> (none: forgotten)
 *   CANCELLING  left over by a crash        -> CANCELLED, CONFIRMED (the service's word)
 *   CANCELLED   Cancel was answered well, or nothing had to be cancelled -> (none: forgotten)
 *
 * Each step is on disk before anybody acts on it: TRYING before the first Try is sent, PREPARED
 * before the vote, CONFIRMED and CANCELLED before the decision is acknowledged. A record with a
 * decision in it is never overwritten by another, so a late Try finds CANCELLED and is not sent.
 *
 * Threads: calls for one branch never overlap, so a branch belongs to the thread that calls for it.
 * Orphans have no branch in work; whoever else cancels one at the same moment sends the same thing.
 */
#ifndef ASSENT_HTTP_H
#define ASSENT_HTTP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

#include <curl/curl.h>

/* A table that cannot grow must fail one call, not end the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "assent/participant.h"
#include "gtrid.h"

#define HTTP_URL_MAX          2048
#define HTTP_PATH_MAX         1024
#define HTTP_BRANCHES_MAX     100000u     /* in work */
#define HTTP_TRIES_MAX        10000u      /* of one branch */
#define HTTP_PARALLEL         16u         /* requests of one batch under way at one moment */
#define HTTP_HEADER_BYTES_MAX (64u << 10) /* of one answer; also of the file with header lines */
#define HTTP_SWEEP_FORGETS    1024u
#define HTTP_CANCELLED_MAX    100000u /* cancelled branches that are remembered */

enum http_phase { HTTP_TRY, HTTP_CONFIRM, HTTP_CANCEL };
#define HTTP_PHASES 3

struct http_settings {
    char url[HTTP_PHASES][HTTP_URL_MAX + 1];                      /* by phase */
    char ping_url[HTTP_URL_MAX + 1], query_url[HTTP_URL_MAX + 1]; /* "": none */
    char header_file[HTTP_PATH_MAX + 1], ca_file[HTTP_PATH_MAX + 1];
    uint64_t timeout_ms, connect_timeout_ms, body_bytes_max, map_bytes;
};

/* begin -> work: tries -> prepare, or rollback: gone from here. A branch that has failed can only
 * roll back. */
struct http_branch {
    struct assent_branch_id id;
    uint8_t name[ASSENT_BRANCH_ID_BYTES]; /* the id, encoded: its key here */
    uint32_t tries; /* how many were begun; from the first on the barrier has a record */
    bool holds;     /* a Try was answered well, or nobody knows: Cancel must be sent */
    bool failed;
    char reason[ASSENT_REASON_MAX + 1];
    char traceparent[ASSENT_TRACEPARENT_MAX + 1];
    UT_hash_handle hh;
};

/* In a record's second byte; numbers stay. */
enum http_state {
    HTTP_TRYING = 1,
    HTTP_PREPARED = 2,
    HTTP_CONFIRMED = 3,
    HTTP_CANCELLING = 4,
    HTTP_CANCELLED = 5,
};

struct http_record {
    enum http_state state;
    char traceparent[ASSENT_TRACEPARENT_MAX + 1];
};

/* One write to the barrier. */
struct http_write {
    struct assent_branch_id id;
    struct http_record record;
    enum assent_decision standing; /* filled: what the branch's record says now. If that is not what
                                    * was written, nothing was written */
    bool done;
};

/* Whether it was written, as against another decision that stands. */
bool http_write_stands(const struct http_write *write);

struct http_barrier;

/* One request, and its answer. */
struct http_request {
    const char *url;
    const char *body;                     /* NULL: a GET */
    char key[ASSENT_BRANCH_ID_TEXT + 17]; /* Idempotency-Key; "": none */
    char traceparent[ASSENT_TRACEPARENT_MAX + 1];
    uint64_t timeout_ms;
    /* Filled: */
    bool sent;   /* some byte of it may have left */
    long status; /* 0: no answer, or not all of it; then reason says why */
    char *reply; /* malloc'ed, with a NUL behind; NULL: empty */
    size_t reply_size;
    char reason[ASSENT_REASON_MAX + 1];
    size_t header_bytes, reply_bytes_max; /* http_exchange.c's own */
};

/* Connections that one caller at a time uses. */
struct http_lane {
    CURLM *multi;
    CURL *easy[HTTP_PARALLEL];
    SLIST_ENTRY(http_lane) idle;
};

struct http {
    struct http_settings settings;
    struct http_barrier *barrier;
    void (*report)(void *context, bool warning, const char *text);
    void *report_context;
    pthread_mutex_t mutex; /* guards the next two */
    struct http_branch *branches;
    SLIST_HEAD(, http_lane) idle;
    atomic_size_t forgets;        /* since the last sweep */
    atomic_llong cancelled;       /* records, about */
    atomic_bool stopping;         /* no exchange goes on */
    struct http_orphans *orphans; /* NULL: there are none */
};

/* Fills result and reason; control bytes in the text become '?'. */
void http_result(struct assent_call *call, enum assent_rm_result result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Copies readable text: control bytes become '?', and no character is cut in half. */
void http_text(char text[ASSENT_REASON_MAX + 1], const char *from);

/* http_settings.c */
ASSENT_CHECKED int http_settings_parse(const char *text, struct http_settings *ret_settings,
                                       char *error, size_t error_size);
/* Adds the file's lines to *lines; at each request, so that a new secret needs no restart. 0, or
 * ASSENT_E_* with a sentence that shows none of them. */
ASSENT_CHECKED int http_settings_headers(const struct http_settings *settings,
                                         struct curl_slist **lines,
                                         char reason[ASSENT_REASON_MAX + 1]);
/* Tells people what is risky about them. */
void http_settings_report(const struct http *http);

/* http_barrier.c. A write that fails ends the process, as one to the agent's own log does. Any
 * thread. */
ASSENT_CHECKED int http_barrier_open(const char *directory, uint64_t map_bytes,
                                     struct http_barrier **ret_barrier, char *error,
                                     size_t error_size);
void http_barrier_close(struct http_barrier *barrier); /* NULL is allowed */
/* Whether new branches may begin: what has begun can always be finished. */
bool http_barrier_has_room(struct http_barrier *barrier);
/* 0, ASSENT_E_NOT_FOUND, ASSENT_E_CORRUPT, ASSENT_E_IO ... */
ASSENT_CHECKED int http_barrier_get(struct http_barrier *barrier, const struct assent_branch_id *id,
                                    struct http_record *ret_record);
/* Returns when all are on disk, together with whatever other threads write at that moment. */
void http_barrier_put(struct http_barrier *barrier, struct http_write *writes, size_t count);
/* Soon; lost in a crash. */
void http_barrier_delete(struct http_barrier *barrier, const struct assent_branch_id *id);
/* Every record after `after` (NULL: from the first) in order of log and time, until visit returns
 * false. A damaged one: ASSENT_E_CORRUPT and, after the call, its id in *ret_damaged. */
typedef bool http_barrier_visit(const struct assent_branch_id *id, const struct http_record *record,
                                void *context);
ASSENT_CHECKED int http_barrier_scan(struct http_barrier *barrier,
                                     const struct assent_branch_id *after,
                                     http_barrier_visit *visit, void *context,
                                     struct assent_branch_id *ret_damaged);

/* http_branch.c */
struct http_branch *http_branch_find(struct http *http, const struct assent_branch_id *id);
/* 0, ASSENT_E_LIMIT, ASSENT_E_NOMEM. */
ASSENT_CHECKED int http_branch_add(struct http *http, const struct assent_branch_id *id);
void http_branch_drop(struct http *http, struct http_branch *branch);
/* Readies a request of a phase. `extra` stands in the body after the names, NULL: nothing; tries
 * count for Try. *ret_body is the body, malloc'ed, to outlive the request. 0 or ASSENT_E_NOMEM. */
ASSENT_CHECKED int http_request_make(const struct http *http, const struct assent_branch_id *id,
                                     enum http_phase phase, uint32_t number, const char *work,
                                     const char *traceparent, struct http_request *ret_request,
                                     char **ret_body);

/* http_exchange.c */
/* For the process, once; a later call does nothing. */
ASSENT_CHECKED int http_exchange_init(void);
/* Sends all and waits for all: for about as long as two of them may take, however many they are;
 * who has not had a turn by then is not sent. */
void http_exchange(struct http *http, struct http_request **requests, size_t count);
void http_request_clear(struct http_request *request); /* frees the reply */
void http_lanes_free(struct http *http);

/* http_answer.c: results for Try: OK, FAILED, UNAVAILABLE, UNKNOWN_CODE; for Confirm and Cancel as
 * participant.h has them for commit and rollback. Each fills result and reason. */
/* True: the service may hold something now, so that Cancel must be sent if it does not commit. */
bool http_answer_try(struct assent_call *call, const struct http_request *request);
void http_answer_finish(struct assent_call *call, const struct http_request *request,
                        enum http_phase phase);

/* http_work.c */
void http_work(struct http *http, struct http_branch *branch, struct assent_call *call);

/* http_finish.c */
void http_finish(struct http *http, struct assent_call **calls, size_t count);
void http_evidence(struct http *http, struct assent_call *call);

/* http_orphans.c */
/* Marks as CANCELLING what is TRYING, and begins to cancel. 0, or ASSENT_E_* and a sentence. */
ASSENT_CHECKED int http_orphans_start(struct http *http, char *error, size_t error_size);
void http_orphans_stop(struct http *http);

#endif
