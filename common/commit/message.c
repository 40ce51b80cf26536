/* message.c: names of messages and branch results. */
#include "message.h"

#define X(name, number, text)                                                                      \
    case number:                                                                                   \
        return text;

const char *assent_message_name(int kind)
{
    switch (kind) {
        ASSENT_MESSAGES(X)
    default:
        return "?";
    }
}

const char *assent_member_state_name(int state)
{
    switch (state) {
        ASSENT_MEMBER_STATES(X)
    default:
        return "?";
    }
}

const char *assent_branch_result_name(int result)
{
    switch (result) {
        ASSENT_BRANCH_RESULTS(X)
    default:
        return "?";
    }
}
#undef X
