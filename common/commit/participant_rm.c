/*
 * participant_rm.c: what the participant does with the answers of its resource manager, as
 * rm_result.h reads them.
 */
#include "participant_step.h"

#include "rm_result.h"

static void on_work_done(struct step *s, enum assent_verdict verdict)
{
    struct assent_part *m = s->m;
    struct assent_part_action *reply = part_act(s, ASSENT_PART_ACT_WORK_DONE);
    bool ok = verdict == ASSENT_VERDICT_DONE && m->phase == ASSENT_PART_WORKING;

    if (!ok && m->phase == ASSENT_PART_WORKING)
        m->reason = ASSENT_REASON_WORK_FAILED;
    part_fill_message(m, ASSENT_MSG_WORK_REPLY, &reply->message);
    reply->message.vote = ok ? ASSENT_VOTE_YES : ASSENT_VOTE_NO;
    if (ok || m->phase != ASSENT_PART_WORKING)
        return;
    if (verdict == ASSENT_VERDICT_GONE)
        part_refuse_branch(s, ASSENT_REASON_WORK_FAILED);
    else
        part_start_rollback(s);
}

static void vote_no(struct step *s, enum assent_verdict verdict, enum assent_reason reason)
{
    s->m->reason = reason;
    part_send_vote(s, ASSENT_VOTE_NO);
    if (verdict == ASSENT_VERDICT_GONE)
        part_refuse_branch(s, reason);
    else
        part_start_rollback(s);
}

static void on_prepare_done(struct step *s, enum assent_verdict verdict,
                            enum assent_rm_result result)
{
    struct assent_part *m = s->m;

    bool witness = verdict == ASSENT_VERDICT_READ_ONLY && m->protocol == ASSENT_3PC &&
                   m->termination != ASSENT_TERMINATION_TIMEOUT;

    if (verdict == ASSENT_VERDICT_PREPARED || witness) {
        m->witness = witness;
        m->member.state = ASSENT_MEMBER_YES;
        if (m->told != ASSENT_DECISION_ABORT &&
            (m->protocol == ASSENT_3PC || !(s->config->capabilities & ASSENT_CAP_PREPARED_LIST))) {
            part_set_phase(s, ASSENT_PART_PREPARE_LOGGING);
            part_log_record(s, ASSENT_PART_RECORD_PREPARED, true);
        } else {
            part_enter_prepared(s);
        }
    } else if (verdict == ASSENT_VERDICT_READ_ONLY) {
        part_set_phase(s, ASSENT_PART_READ_ONLY);
        part_send_vote(s, ASSENT_VOTE_READ_ONLY);
        if (m->ack_owed)
            part_send_ack(s, ASSENT_RESULT_ABORTED);
        part_act(s, ASSENT_PART_ACT_ENDED);
    } else {
        vote_no(s, verdict,
                result == ASSENT_RM_NOT_FOUND ? ASSENT_REASON_NO_WORK : ASSENT_REASON_VOTED_NO);
    }
}

void part_prove(struct step *s)
{
    part_set_phase(s, ASSENT_PART_PROVING);
    if (s->config->capabilities & ASSENT_CAP_EVIDENCE)
        part_call(s, ASSENT_OP_EVIDENCE);
    else if (s->m->decision == ASSENT_DECISION_ABORT)
        part_finish(s, ASSENT_PART_ABORTED);
    else
        part_end_heuristic(s, ASSENT_RESULT_HAZARD);
}

/* The verdict on a commit, rollback, one-phase commit or on evidence. */
static void on_verdict(struct step *s, enum assent_verdict verdict)
{
    struct assent_part *m = s->m;

    switch (verdict) {
    case ASSENT_VERDICT_DONE:
    case ASSENT_VERDICT_READ_ONLY:
        if (m->decision == ASSENT_DECISION_NONE) /* one-phase: decided by the RM */
            part_decide(m, ASSENT_DECISION_COMMIT);
        part_finish(s, m->decision == ASSENT_DECISION_COMMIT ? ASSENT_PART_COMMITTED
                                                             : ASSENT_PART_ABORTED);
        return;
    case ASSENT_VERDICT_GONE:
        part_refuse_branch(s, ASSENT_REASON_VOTED_NO);
        return;
    case ASSENT_VERDICT_ROLL_BACK:
        if (m->reason == ASSENT_REASON_NONE)
            m->reason = ASSENT_REASON_VOTED_NO;
        part_start_rollback(s);
        return;
    case ASSENT_VERDICT_PREPARED: /* evidence: still there, so obey again */
        if (m->decision == ASSENT_DECISION_COMMIT)
            part_start_commit(s);
        else
            part_start_rollback(s);
        return;
    case ASSENT_VERDICT_RETRY:
        part_schedule_retry(s);
        return;
    case ASSENT_VERDICT_PROVE:
        part_prove(s);
        return;
    case ASSENT_VERDICT_HEUR_COMMITTED:
        part_end_heuristic(s, ASSENT_RESULT_HEUR_COMMITTED);
        return;
    case ASSENT_VERDICT_HEUR_ABORTED:
        part_end_heuristic(s, ASSENT_RESULT_HEUR_ABORTED);
        return;
    case ASSENT_VERDICT_MIXED:
        part_end_heuristic(s, ASSENT_RESULT_MIXED);
        return;
    case ASSENT_VERDICT_HAZARD:
        part_end_heuristic(s, ASSENT_RESULT_HAZARD);
        return;
    }
}

void part_on_rm(struct step *s, const struct assent_part_event *event)
{
    struct assent_part *m = s->m;
    enum assent_verdict verdict = assent_rm_verdict(event->operation, event->result, m->decision);

    if (event->operation == ASSENT_OP_WORK) {
        /* Several may be under way; they answer in order, before whatever was called after them. */
        on_work_done(s, verdict);
        return;
    }
    if (!m->rm_busy || event->operation != m->calling)
        return;
    m->rm_busy = false;
    if (event->operation == ASSENT_OP_PREPARE)
        on_prepare_done(s, verdict, event->result);
    else
        on_verdict(s, verdict);
}
