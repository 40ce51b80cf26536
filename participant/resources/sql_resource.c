/*
 * sql_resource.c: operations of a resource that are the same for every SQL database: opening and
 * closing, the begin and the work of a branch, and questions.
 */
#include "sql.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

#define OWN      "own " /* begins no statement of SQL */
#define QUERY_MS 10000

void sql_answer(struct assent_call *call, enum assent_rm_result result, const char *format, ...)
{
    size_t size = ASSENT_REASON_MAX;
    va_list arguments;
    int wanted;

    call->result = result;
    va_start(arguments, format);
    wanted = vsnprintf(call->reason, sizeof(call->reason), format, arguments);
    va_end(arguments);
    if (wanted > ASSENT_REASON_MAX) {
        /* Cut: not within a character. */
        while (size > 0 && ((unsigned char)call->reason[size - 1] & 0xc0) == 0x80)
            size--;
        if (size > 0 && (unsigned char)call->reason[size - 1] >= 0xc0)
            size--;
        call->reason[size] = '\0';
    }
    for (char *c = call->reason; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
}

void sql_report(const struct sql_database *db, bool warning, const char *format, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (db->report != NULL)
        db->report(db->report_context, warning, text);
}

/* --- open and close --------------------------------------------------------------------------- */

void sql_init(struct sql_database *db, const struct sql_driver *driver,
              const struct assent_resource_environment *environment)
{
    *db = (struct sql_database){.driver = driver, .unswept = SQL_SWEEP_FORGETS};
    db->report = environment->report;
    db->report_context = environment->report_context;
    pthread_mutex_init(&db->mutex, NULL);
    pthread_mutex_init(&db->preflight_mutex, NULL);
    sql_pool_init(&db->workers, SQL_CONNECTIONS);
    sql_pool_init(&db->finishers, SQL_FINISHERS);
}

void sql_fini(struct sql_database *db)
{
    struct sql_branch *branch, *next;

    HASH_ITER (hh, db->branches, branch, next) {
        if (branch->session != NULL)
            branch->session->broken = true;
        sql_branch_drop(db, branch);
    }
    sql_pool_fini(db, &db->workers);
    sql_pool_fini(db, &db->finishers);
    pthread_mutex_destroy(&db->preflight_mutex);
    pthread_mutex_destroy(&db->mutex);
}

int sql_open(struct sql_database *db, char *error, size_t error_size)
{
    char reason[ASSENT_REASON_MAX + 1];
    struct sql_session *session;
    int r = sql_take_finisher(db, &session, reason);

    if (r == 0)
        sql_give_back(db, session);
    else
        snprintf(error, error_size, "%s: %s", db->driver->type, reason);
    return r;
}

/* --- one branch ------------------------------------------------------------------------------- */

/* No question to the server: work for a branch that is finished or prepared comes to nothing, since
 * its marker is there already and a second one is refused. */
void sql_begin(void *resource, struct assent_call *call)
{
    struct sql_database *db = resource;
    int r = sql_branch_find(db, &call->id) == NULL ? sql_branch_add(db, &call->id) : 0;

    if (r == ASSENT_E_LIMIT)
        sql_answer(call, ASSENT_RM_FAILED, "over %u branches are in work", SQL_BRANCHES_MAX);
    else if (r != 0)
        sql_answer(call, ASSENT_RM_FAILED, "%s", assent_error_text(r));
    else
        sql_answer(call, ASSENT_RM_OK, "%s", "");
}

void sql_work(void *resource, struct assent_call *call)
{
    struct sql_database *db = resource;
    struct sql_branch *branch = sql_branch_find(db, &call->id);

    call->reply = NULL;
    call->reply_size = 0;
    if (branch == NULL)
        sql_answer(call, ASSENT_RM_REFUSED, "no such branch");
    else if (branch->failed)
        sql_answer(call, ASSENT_RM_FAILED, "%s", branch->reason);
    else if (!call->no_wait)
        db->driver->work(db, branch, call);
    else if (branch->session == NULL && db->driver->work_later != NULL &&
             db->driver->work_later(db, branch, call))
        call->later = true;
    else
        call->would_wait = true;
}

/* --- questions -------------------------------------------------------------------------------- */

void sql_evidence(void *resource, struct assent_call *call)
{
    struct sql_database *db = resource;
    struct sql_branch *branch = sql_branch_find(db, &call->id);
    char reason[ASSENT_REASON_MAX + 1];
    struct sql_session *session;

    if (branch != NULL && branch->ended) { /* the server's list and the marker are the truth */
        sql_branch_drop(db, branch);
        branch = NULL;
    }
    if (branch != NULL) {
        sql_answer(call, ASSENT_RM_VANISHED, "%s",
                   branch->failed ? branch->reason : "the branch is not prepared");
    } else if (sql_take_finisher(db, &session, reason) != 0) {
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", reason);
    } else {
        db->driver->evidence(db, session, call);
        sql_give_back(db, session);
    }
}

int sql_recover(void *resource, void (*found)(const struct assent_branch_id *id, void *context),
                void *context)
{
    struct sql_database *db = resource;
    char reason[ASSENT_REASON_MAX + 1];
    struct sql_session *session;
    int r = sql_take_finisher(db, &session, reason);

    if (r == 0) {
        r = db->driver->recover(db, session, found, context);
        sql_give_back(db, session);
    }
    return r;
}

int sql_ping(void *resource, char *error, size_t error_size)
{
    struct sql_database *db = resource;
    char reason[ASSENT_REASON_MAX + 1];
    struct sql_session *session;
    int r = sql_take_finisher(db, &session, reason);

    if (r == 0) {
        r = db->driver->ping(session, reason);
        sql_give_back(db, session);
    }
    if (r != 0)
        snprintf(error, error_size, "%s: %s", db->driver->type, reason);
    return r;
}

/* The preflight once more. */
int sql_check(void *resource, char *error, size_t error_size)
{
    struct sql_database *db = resource;

    pthread_mutex_lock(&db->mutex);
    db->ready = false;
    pthread_mutex_unlock(&db->mutex);
    return sql_open(db, error, error_size);
}

/* "own BRANCH", or a statement, as in work, in a transaction that can only read and is rolled back.
 */
int sql_query(void *resource, const char *command, char **ret_json, char *error, size_t error_size)
{
    struct sql_database *db = resource;
    struct sql_branch reader = {.read_only = true};
    struct assent_call call = {
        .work = command, .work_size = strlen(command), .timeout_ms = QUERY_MS};

    if (strncmp(command, OWN, strlen(OWN)) == 0) {
        if (assent_branch_id_parse(command + strlen(OWN), &reader.id) == 0)
            return db->driver->own(db, &reader.id, ret_json);
        snprintf(error, error_size, "own: \"%.100s\" is not the name of a branch",
                 command + strlen(OWN));
        return ASSENT_E_INVALID;
    }
    db->driver->work(db, &reader, &call);
    if (reader.session != NULL) {
        db->driver->end_query(reader.session);
        sql_give_back(db, reader.session);
    }
    if (call.result != ASSENT_RM_OK) {
        snprintf(error, error_size, "%s: %s", db->driver->type, call.reason);
        return call.result == ASSENT_RM_FAILED ? ASSENT_E_INVALID : ASSENT_E_UNAVAILABLE;
    }
    *ret_json = call.reply;
    return 0;
}
