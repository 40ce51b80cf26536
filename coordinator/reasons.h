/*
 * reasons.h: why a transaction aborted, as a sentence for people: made once, at the decision, from
 * the core's reason, the branch's participant and the participant's own words.
 */
#ifndef ASSENT_COORDINATOR_REASONS_H
#define ASSENT_COORDINATOR_REASONS_H

#include "assent/types.h"

/* A participant whose vote is missing. */
struct missing_vote {
    const char *name;
    bool connected;
};

/* name: participant of the reason's branch, or NULL; text: what it said, or NULL. */
void reason_format(enum assent_reason reason, const char *name, const char *text,
                   const struct missing_vote *missing, size_t missing_count,
                   char ret_text[ASSENT_REASON_MAX + 1]);

/* What a branch that did not obey says: "NAME is heuristically aborted: TEXT"; text may be NULL. */
void evidence_format(const char *name, int result, const char *text,
                     char ret_text[ASSENT_REASON_MAX + 1]);

/* Copies as much as fits, cut between characters of UTF-8. */
void text_copy(char *to, size_t size, const char *from);
/* Drops a character of UTF-8 that a cut has left incomplete at the end. */
void text_mend(char *text);

#endif
