/*
 * xa.c: an X/Open XA resource manager as a table of operations: see xa_resource.h for how, and
 * docs/xa.md for whom. Every operation is one request to the helper process; what the switch
 * answered goes through the table in xa_codes.c.
 */
#include "xa_resource.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Calls under way at a time in a batch, so that none waits long behind the others. */
#define GROUP 64

struct xa {
    struct xa_parameters parameters;
    struct xa_link link;
};

/* --- open and close --------------------------------------------------------------------------- */

static void close_xa(void *resource)
{
    struct xa *xa = resource;

    xa_link_close(&xa->link);
    free(xa);
}

static int open_xa(const struct assent_resource_environment *environment, void **ret_resource,
                   char *error, size_t error_size)
{
    struct xa *xa = calloc(1, sizeof(*xa));
    int r;

    if (xa == NULL) {
        snprintf(error, error_size, "xa: out of memory");
        return ASSENT_E_NOMEM;
    }
    r = xa_parameters_parse(environment->parameters, &xa->parameters, error, error_size);
    if (r != 0) {
        free(xa);
        return r;
    }
    r = xa_link_open(&xa->link, &xa->parameters, environment, error, error_size);
    if (r != 0)
        close_xa(xa);
    else
        *ret_resource = xa;
    return r;
}

/* --- calls ------------------------------------------------------------------------------------ */

static void ask(struct xa *xa, struct xa_exchange *exchange, uint32_t operation,
                const struct assent_call *call)
{
    bool work = operation == ASSENT_OP_WORK;

    *exchange = (struct xa_exchange){
        .request = {.operation = operation,
                    .size = work ? (uint32_t)call->work_size : 0,
                    .timeout_ms = work ? call->timeout_ms : 0},
    };
    if (call != NULL)
        assent_branch_id_encode(&call->id, exchange->request.branch);
    xa_link_send(&xa->link, exchange, work ? call->work : NULL);
}

/* What a person reads: control bytes become '?'. */
static void explain(const struct xa_exchange *exchange, char reason[ASSENT_REASON_MAX + 1])
{
    char name[32];

    if (exchange->lost) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "%s", exchange->reason);
    } else if (exchange->reply.source == XA_BY_HELPER) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "%s", exchange->body);
    } else {
        xa_code_name(exchange->reply.code, name);
        snprintf(reason, ASSENT_REASON_MAX + 1, "%s: %s (%d)", exchange->body, name,
                 exchange->reply.code);
    }
    for (char *c = reason; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
}

static void take(struct xa *xa, struct xa_exchange *exchange, struct assent_call *call)
{
    xa_link_wait(&xa->link, exchange);
    call->result = ASSENT_RM_UNAVAILABLE;
    if (exchange->answered)
        call->result = xa_result((enum xa_source)exchange->reply.source, exchange->reply.code);
    call->reason[0] = '\0';
    if (call->result != ASSENT_RM_OK) {
        explain(exchange, call->reason);
    } else if (exchange->request.operation == ASSENT_OP_WORK && exchange->reply.size > 0) {
        call->reply = exchange->body;
        call->reply_size = exchange->reply.size;
        exchange->body = NULL;
    }
    free(exchange->body);
}

static void begin(void *resource, struct assent_call *call)
{
    struct xa_exchange exchange;

    ask(resource, &exchange, XA_OP_BEGIN, call);
    take(resource, &exchange, call);
}

static void work(void *resource, struct assent_call *call)
{
    struct xa_exchange exchange;

    call->reply = NULL;
    call->reply_size = 0;
    if (call->work_size >= XA_FRAME_BYTES_MAX) {
        call->result = ASSENT_RM_FAILED;
        snprintf(call->reason, sizeof(call->reason), "the work is over %u bytes",
                 XA_FRAME_BYTES_MAX);
        return;
    }
    ask(resource, &exchange, ASSENT_OP_WORK, call);
    take(resource, &exchange, call);
}

/* The call says which: prepare, commit, one-phase commit, rollback, evidence or forget. */
static void finish(void *resource, struct assent_call *call)
{
    struct xa_exchange exchange;

    ask(resource, &exchange, call->operation, call);
    take(resource, &exchange, call);
}

/* Branches that are prepared at one moment are so on threads of their own. */
static void batch(void *resource, struct assent_call **calls, size_t count)
{
    struct xa_exchange exchanges[GROUP];

    for (size_t first = 0; first < count; first += GROUP) {
        size_t size = count - first < GROUP ? count - first : GROUP;

        for (size_t i = 0; i < size; i++)
            ask(resource, &exchanges[i], calls[first + i]->operation, calls[first + i]);
        for (size_t i = 0; i < size; i++)
            take(resource, &exchanges[i], calls[first + i]);
    }
}

/* --- questions -------------------------------------------------------------------------------- */

static int recover(void *resource, void (*found)(const struct assent_branch_id *id, void *context),
                   void *context)
{
    struct xa *xa = resource;
    char reason[ASSENT_REASON_MAX + 1];
    struct xa_exchange exchange;
    struct assent_branch_id id;
    int r = 0;

    ask(xa, &exchange, XA_OP_RECOVER, NULL);
    xa_link_wait(&xa->link, &exchange);
    if (exchange.lost || exchange.reply.source != XA_BY_HELPER ||
        exchange.reply.code != ASSENT_RM_OK) {
        explain(&exchange, reason);
        if (xa->link.report != NULL)
            xa->link.report(xa->link.report_context, true, reason);
        r = ASSENT_E_UNAVAILABLE;
    }
    for (size_t i = 0; r == 0 && i + ASSENT_BRANCH_ID_BYTES <= exchange.reply.size;
         i += ASSENT_BRANCH_ID_BYTES) {
        assent_branch_id_decode((const uint8_t *)exchange.body + i, &id);
        found(&id, context);
    }
    free(exchange.body);
    return r;
}

static int ping(void *resource, char *error, size_t error_size)
{
    struct xa_exchange exchange;
    struct assent_call call = {0};

    ask(resource, &exchange, XA_OP_PING, NULL);
    take(resource, &exchange, &call);
    if (call.result == ASSENT_RM_OK)
        return 0;
    snprintf(error, error_size, "xa: %s", call.reason);
    return ASSENT_E_UNAVAILABLE;
}

const struct assent_resource_ops assent_resource_xa = {
    .size = sizeof(struct assent_resource_ops),
    .type = "xa",
    /* Evidence is the plug-in's; one that has none answers NOT_FOUND, which proves nothing. */
    .capabilities =
        ASSENT_CAP_PREPARED_LIST | ASSENT_CAP_EVIDENCE | ASSENT_CAP_ONE_PHASE | ASSENT_CAP_BATCH,
    .open = open_xa,
    .close = close_xa,
    .begin = begin,
    .work = work,
    .prepare = finish,
    .commit = finish,
    .rollback = finish,
    .evidence = finish,
    .forget = finish,
    .batch = batch,
    .recover = recover,
    .ping = ping,
    .query = NULL,
};
