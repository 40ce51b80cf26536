/* outcomes.c: asks the log about transactions that have ended, or that it never saw. */
#include "outcomes.h"

#include "driver.h"
#include "gtrid.h"
#include "server.h"

bool outcomes_is_ours(const struct shard *shard, const struct assent_gtrid *gtrid)
{
    uint32_t incarnation = assent_gtrid_incarnation(gtrid);

    if (assent_gtrid_coordinator(gtrid) != shard->server->options.id)
        return false;
    if (incarnation == shard->server->coord.incarnation)
        return shard_has_given(shard, assent_gtrid_sequence(gtrid));
    return incarnation > 0 && incarnation < shard->server->coord.incarnation;
}

int outcomes_read(const struct server *server, const struct assent_gtrid *gtrid,
                  struct assent_coord_record *ret_record)
{
    uint8_t value[ASSENT_RECORD_BYTES_MAX];
    char text[ASSENT_GTRID_TEXT + 1];
    size_t size;
    int r;

    r = assent_store_get(server->store, ASSENT_TABLE_TRANSACTION, gtrid->bytes,
                         sizeof(gtrid->bytes), value, sizeof(value), &size);
    if (r == 0)
        r = assent_coord_record_decode(value, size, ret_record);
    if (r == 0 && !assent_gtrid_equal(&ret_record->gtrid, gtrid))
        r = ASSENT_E_CORRUPT;
    if (r != 0 && r != ASSENT_E_NOT_FOUND) {
        assent_gtrid_format(gtrid, text);
        assent_log(ASSENT_LOG_ERROR, "record_damaged", "gtrid=%s error=%s", text,
                   assent_error_name(r));
    }
    return r;
}

static void set(struct answer *answer, enum assent_outcome outcome, bool ended, const char *phase,
                const char *reason)
{
    answer->outcome = outcome;
    answer->ended = ended;
    answer->phase = phase;
    text_copy(answer->reason, sizeof(answer->reason), reason);
}

void outcomes_answer(struct shard *shard, const struct assent_gtrid *gtrid, struct answer *answer)
{
    const struct transaction *t = transactions_find(&shard->transactions, gtrid);
    struct assent_coord_record record;
    int r;

    if (t != NULL) {
        driver_answer_of(t, answer);
        return;
    }
    /* Elsewhere it may be live, and nothing here would say so. */
    ASSENT_ASSERT(server_shard_of(shard->server, gtrid) == shard);
    answer->gtrid = *gtrid;
    r = outcomes_read(shard->server, gtrid, &record);
    if (r == 0)
        set(answer, record.outcome, record.kind == ASSENT_COORD_RECORD_OUTCOME,
            assent_coord_phase_name(ASSENT_COORD_ENDED), record.reason_text);
    else if (r != ASSENT_E_NOT_FOUND)
        set(answer, ASSENT_OUTCOME_UNKNOWN, false, "damaged",
            "record damaged: it is kept, and its outcome is not known to this coordinator");
    else if (!outcomes_is_ours(shard, gtrid))
        set(answer, ASSENT_OUTCOME_NEVER_SEEN, false, "", "");
    else if (!operate_presumes(shard->server, gtrid))
        set(answer, ASSENT_OUTCOME_UNKNOWN, false, "lost",
            "this log was restored: what it does not know is not known until that is accepted");
    else if (retention_has_pruned(&shard->server->retention, gtrid_order(gtrid)))
        set(answer, ASSENT_OUTCOME_EXPIRED, true, "", "");
    else
        set(answer, ASSENT_OUTCOME_ABORTED, true, assent_coord_phase_name(ASSENT_COORD_ENDED),
            assent_reason_text(ASSENT_REASON_PRESUMED));
}

/* --- participants that ask --- */

/* A branch was ended against what stands, and says so only now: kept for a person to see. */
static void note_contradiction(struct shard *shard, const struct assent_coord_record *found,
                               const struct assent_wire *wire, const struct participant *p,
                               struct assent_coord_record *record)
{
    const struct assent_message *message = &wire->u.branch.message;
    char gtrid[ASSENT_GTRID_TEXT + 1];

    if (found == NULL || found->acknowledged ||
        (found->outcome != ASSENT_OUTCOME_MIXED && found->outcome != ASSENT_OUTCOME_HAZARD))
        shard->unacknowledged++;
    evidence_format(p->full, message->result,
                    record->decision != ASSENT_DECISION_NONE
                        ? wire->u.branch.reason_text
                        : "its transaction may have expired, so nobody knows whether that agrees",
                    record->reason_text);
    assent_gtrid_format(&message->gtrid, gtrid);
    shard->metrics.alarms++;
    assent_log(ASSENT_LOG_ERROR, "branch_contradicts",
               "gtrid=%s branch=%u participant=%s decision=%s result=%s outcome=%s reason=%s",
               gtrid, message->branch, p->full, assent_decision_name((int)record->decision),
               assent_log_quote(assent_branch_result_name((int)message->result)),
               assent_outcome_name((int)record->outcome), assent_log_quote(record->reason_text));
    if (found == NULL)
        recent_add(&shard->recent, &message->gtrid, assent_now_ms());
    operate_put_outcome(shard, record, 0);
}

static void late_result(struct shard *shard, struct session *session,
                        const struct assent_coord_record *found, const struct assent_wire *wire)
{
    const struct assent_message *message = &wire->u.branch.message;
    const struct participant *p = participants_of_branch(shard->server, session, found,
                                                         message->branch, wire->u.branch.resource);
    bool expired = retention_has_pruned(&shard->server->retention, gtrid_order(&message->gtrid));
    struct assent_coord_record record;

    if (p == NULL)
        return;
    switch (assent_coord_late_result(found, expired, message, p->number, &record)) {
    case ASSENT_COORD_LATE_NOTHING:
        return;
    case ASSENT_COORD_LATE_RECORD:
        note_contradiction(shard, found, wire, p, &record);
        return;
    case ASSENT_COORD_LATE_FORGET:
        operate_send_forget(shard, session, message);
        return;
    }
}

void outcomes_message(struct shard *shard, struct session *session, const struct assent_wire *wire)
{
    const struct assent_message *message = &wire->u.branch.message;
    struct assent_coord_record record;
    int r;

    /* Elsewhere it may be live, and be answered here as if it had ended. */
    ASSENT_ASSERT(server_shard_of(shard->server, &message->gtrid) == shard);
    r = message->kind == ASSENT_MSG_ACK ? operate_latest(shard, &message->gtrid, &record)
                                        : outcomes_read(shard->server, &message->gtrid, &record);
    if (r != 0 && (r != ASSENT_E_NOT_FOUND || !operate_presumes(shard->server, &message->gtrid)))
        return;
    if (message->kind == ASSENT_MSG_ACK) {
        late_result(shard, session, r == 0 ? &record : NULL, wire);
        return;
    }
    assent_coord_answer_unknown(&shard->server->coord, r == 0 ? &record : NULL, message,
                                &shard->actions);
    for (size_t i = 0; i < shard->actions.count; i++)
        driver_send(shard, session, NULL, &shard->actions.items[i].message, 0, NULL);
}
