/*
 * participant_step.h: what the files of the participant's machine share among themselves.
 */
#ifndef ASSENT_COMMIT_PARTICIPANT_STEP_H
#define ASSENT_COMMIT_PARTICIPANT_STEP_H

#include "participant.h"
#include "rm_result.h"

/* One step's context, so that helpers take one argument. */
struct step {
    struct assent_part *m;
    const struct assent_part_config *config;
    uint64_t now_ms;
    struct assent_part_actions *actions;
    bool held; /* what its coordinator's log says of it may be lost, see participant.h */
};

/* participant_acts.c */
void part_set_phase(struct step *s, enum assent_part_phase phase);
void part_decide(struct assent_part *m, enum assent_decision decision);
struct assent_part_action *part_act(struct step *s, enum assent_part_action_kind kind);
void part_fill_message(const struct assent_part *m, enum assent_message_kind kind,
                       struct assent_message *message);
struct assent_message *part_send(struct step *s, enum assent_message_kind kind);
struct assent_message *part_send_to(struct step *s, uint32_t to, enum assent_message_kind kind);
void part_send_vote(struct step *s, enum assent_vote vote);
void part_send_ack(struct step *s, enum assent_branch_result result);
void part_log_record(struct step *s, enum assent_part_record_kind record, bool forced);
struct assent_part_action *part_call(struct step *s, enum assent_operation operation);
void part_schedule_retry(struct step *s);
void part_end_heuristic(struct step *s, enum assent_branch_result result);
bool part_contradicted(const struct assent_part *m);
void part_finish(struct step *s, enum assent_part_phase phase);
void part_start_rollback(struct step *s);
void part_start_commit(struct step *s);
void part_refuse_branch(struct step *s, enum assent_reason reason);
void part_carry_out(struct step *s, enum assent_decision decision);
void part_send_precommit_ack(struct step *s);
void part_wait_for_decision(struct step *s);
void part_enter_prepared(struct step *s);
void part_enter_precommitted(struct step *s);
bool part_learn_unasked(struct step *s, const struct assent_message *message);

/* participant_messages.c */
void part_on_message(struct step *s, const struct assent_message *message);

/* participant_termination.c */
void part_terminate(struct step *s);
void part_on_termination(struct step *s, const struct assent_message *message);
void part_member_durable(struct step *s);
void part_count_answers(struct step *s);
void part_tell_decision(struct step *s);

/* participant_rm.c */
void part_prove(struct step *s);
void part_on_rm(struct step *s, const struct assent_part_event *event);

#endif
