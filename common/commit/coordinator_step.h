/*
 * coordinator_step.h: what the files of the coordinator's machine share among themselves.
 */
#ifndef ASSENT_COMMIT_COORDINATOR_STEP_H
#define ASSENT_COMMIT_COORDINATOR_STEP_H

#include "coordinator.h"

/* One step's context, so that helpers take one argument. */
struct step {
    struct assent_coord *m;
    const struct assent_coord_config *config;
    uint64_t now_ms;
    struct assent_coord_actions *actions;
};

/* coordinator_acts.c */
bool coord_every_vote_is_in(const struct assent_coord *m);
void coord_set_phase(struct step *s, enum assent_coord_phase phase);
void coord_decide(struct assent_coord *m, enum assent_decision decision);
struct assent_coord_action *coord_act(struct step *s, enum assent_coord_action_kind kind);
void coord_log_record(struct step *s, enum assent_coord_record_kind record, bool forced);
void coord_fill_message(const struct assent_coord *m, const struct assent_coord_config *config,
                        uint32_t branch, enum assent_message_kind kind, uint64_t now_ms,
                        struct assent_message *message);
struct assent_message *coord_send(struct step *s, uint32_t branch, enum assent_message_kind kind);
bool coord_voted_yes(const struct assent_coord_branch *b);
bool coord_awaited(const struct assent_coord *m, const struct assent_coord_branch *b);
void coord_send_phase(struct step *s, uint32_t participant);
bool coord_nobody_awaited(const struct assent_coord *m);
enum assent_outcome coord_outcome_of(const struct assent_coord *m);
void coord_tell(struct step *s, enum assent_outcome outcome);
void coord_log_outcome(struct step *s);
void coord_end(struct step *s);
void coord_end_if_all_obeyed(struct step *s);
void coord_schedule_retry(struct step *s);
uint64_t coord_abort_given_up_ms(const struct step *s);
void coord_enter_aborting(struct step *s);
void coord_abort_because(struct step *s, enum assent_reason reason, uint32_t branch);
void coord_enter_committing(struct step *s);
void coord_log_commit(struct step *s);
void coord_commit_read_only(struct step *s);
void coord_all_votes_in(struct step *s);

/* coordinator_termination.c */
void coord_terminate(struct step *s);
void coord_resume_as_member(struct step *s);
void coord_member_durable(struct step *s);
void coord_on_termination(struct step *s, const struct assent_message *message);
void coord_decided_by_quorum(struct step *s, enum assent_decision decision);
bool coord_has_quorum_of_precommits(const struct assent_coord *m);

/* coordinator_operator.c */
void coord_resolve(struct step *s, enum assent_decision decision);

/* coordinator_messages.c */
/* As decided, or nothing yet. */
bool coord_is_plain(enum assent_branch_result result);
enum assent_branch_result coord_result_against(enum assent_decision decision,
                                               enum assent_branch_result result);
void coord_on_message(struct step *s, const struct assent_message *message);

/* coordinator.c */
bool coord_may_still_abort(const struct assent_coord *m);

#endif
