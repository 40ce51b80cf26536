/* names.c: the name functions of the public enums, from their X-lists. */
#include "assent/types.h"

#define X(name, number, text)                                                                      \
    case number:                                                                                   \
        return text;

const char *assent_error_text(int error)
{
    switch (-error) {
    case 0:
        return "no error";
        ASSENT_ERRORS(X)
    default:
        return "?";
    }
}

#define NAME_FUNCTION(function, LIST)                                                              \
    const char *function(int value)                                                                \
    {                                                                                              \
        switch (value) {                                                                           \
            LIST(X)                                                                                \
        default:                                                                                   \
            return "?";                                                                            \
        }                                                                                          \
    }

NAME_FUNCTION(assent_protocol_name, ASSENT_PROTOCOLS)
NAME_FUNCTION(assent_termination_name, ASSENT_TERMINATIONS)
NAME_FUNCTION(assent_vote_name, ASSENT_VOTES)
NAME_FUNCTION(assent_decision_name, ASSENT_DECISIONS)
NAME_FUNCTION(assent_outcome_name, ASSENT_OUTCOMES)
NAME_FUNCTION(assent_reason_text, ASSENT_REASONS)
NAME_FUNCTION(assent_rm_result_name, ASSENT_RM_RESULTS)
NAME_FUNCTION(assent_action_name, ASSENT_ACTIONS)
#undef X

const char *assent_error_name(int error)
{
    switch (-error) {
    case 0:
        return "OK";
#define X(name, number, text)                                                                      \
    case number:                                                                                   \
        return #name;
        ASSENT_ERRORS(X)
#undef X
    default:
        return "?";
    }
}
