/*
 * xa_resource.h: what the files of the X/Open XA resource share; private to them.
 *
 *   xa.c             the table of operations, open and close
 *   xa_parameters.c  what follows "xa:"
 *   xa_codes.c       what each answer of a switch means, by number
 *   xa_link.c        the helper process: started, asked, bounded, started again
 *   ../xa/           the helper process itself, and what is said on the way
 *
 * Nothing is remembered here: branches in work live in the helper process and die with it, prepared
 * ones are the resource manager's. A call is one request; when the helper dies, or is silent past
 * the call's bound and so is ended, every call under way is UNAVAILABLE, and the next helper, or
 * evidence, tells what became of the branch.
 */
#ifndef ASSENT_XA_RESOURCE_H
#define ASSENT_XA_RESOURCE_H

#include <pthread.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "assent/participant.h"
#include "xa_wire.h"

/* Longer than its timeout_ms work may not be silent. */
#define XA_WORK_GRACE_MS 5000

struct xa_parameters {
    char host[XA_PATH_BYTES]; /* the helper's program */
    struct xa_setup setup;
    uint64_t call_timeout_ms;
};

/* 0, or ASSENT_E_CONFIG with a sentence that names the parameter. */
ASSENT_CHECKED int xa_parameters_parse(const char *text, struct xa_parameters *ret_parameters,
                                       char *error, size_t error_size);

/* What the switch's answer means; the reason says which function gave which code. */
enum assent_rm_result xa_result(enum xa_source source, int code);
/* "XA_RBTIMEOUT", or "code 12". */
void xa_code_name(int code, char name[32]);

/* One request under way: storage is the caller's. send, then wait, once each. */
struct xa_exchange {
    TAILQ_ENTRY(xa_exchange) link;
    struct xa_request request;
    uint64_t deadline_ms;
    uint64_t generation; /* of the helper that was asked */
    bool answered, lost; /* lost: no answer will come, and reason says why */
    struct xa_reply reply;
    char *body; /* malloc'ed, NUL added; NULL if empty; the caller's after wait */
    char reason[ASSENT_REASON_MAX + 1];
};

struct xa_link {
    const struct xa_parameters *parameters;
    void (*report)(void *context, bool warning, const char *text);
    void *report_context;
    pthread_t supervisor;
    bool started;
    pthread_mutex_t send_mutex; /* one frame at a time */
    pthread_mutex_t mutex;      /* guards the rest */
    pthread_cond_t changed;
    TAILQ_HEAD(, xa_exchange) exchanges;
    uint64_t last_number, generation;
    int fd;    /* -1: none */
    pid_t pid; /* 0: none, or reaped */
    bool ready, stopping;
    unsigned failures;                /* starts in a row that came to nothing */
    int first_error;                  /* of the first start; 0: none */
    char down[ASSENT_REASON_MAX + 1]; /* why it is not ready */
};

/* Starts the helper and waits for its first answer: 0, or ASSENT_E_* with a sentence. */
ASSENT_CHECKED int xa_link_open(struct xa_link *link, const struct xa_parameters *parameters,
                                const struct assent_resource_environment *environment, char *error,
                                size_t error_size);
/* Lets the helper end by itself, for some seconds. After a failed open as well. */
void xa_link_close(struct xa_link *link);
/* The exchange's request holds operation, branch, size and timeout_ms. */
void xa_link_send(struct xa_link *link, struct xa_exchange *exchange, const void *body);
void xa_link_wait(struct xa_link *link, struct xa_exchange *exchange);

#endif
