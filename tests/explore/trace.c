/* trace.c: what happened, for people. */
#include <inttypes.h>

#include "explore.h"

static void print_message(FILE *trace, uint32_t number)
{
    struct assent_message m;
    uint32_t from, to;

    wire_get(number, &from, &to, &m);
    fprintf(trace, "%s", assent_message_name((int)m.kind));
    if (m.vote != ASSENT_VOTE_NONE)
        fprintf(trace, " %s", assent_vote_name((int)m.vote));
    if (m.ballot > 0)
        fprintf(trace, " ballot %" PRIu32, m.ballot);
    if (m.state != ASSENT_MEMBER_NONE)
        fprintf(trace, " %s/%" PRIu32, assent_member_state_name((int)m.state), m.attempt);
    if (m.kind == ASSENT_MSG_ACK)
        fprintf(trace, " %s", assent_branch_result_name((int)m.result));
    fprintf(trace, " %" PRIu32 "->%" PRIu32, from, to);
}

void trace_node(FILE *trace, uint32_t number)
{
    struct node n;
    const struct assent_member *member;

    node_get(number, &n);
    if (!n.up || !n.known) {
        fprintf(trace, "%s", !n.up ? "down" : n.closed ? "forgotten" : "no machine");
    } else {
        member = n.number == 0 ? &n.m.coord.member : &n.m.part.member;
        fprintf(trace, "%s",
                n.number == 0 ? assent_coord_phase_name(n.m.coord.phase)
                              : assent_part_phase_name(n.m.part.phase));
        if (member->count > 0 && options.protocol == ASSENT_3PC)
            fprintf(trace, " (%s, elected %" PRIu32 ", attempt %" PRIu32 ")",
                    assent_member_state_name(member->state), member->last_elected,
                    member->last_attempt);
    }
    if (n.disk.size > 0)
        fprintf(trace, "; on disk: %s",
                n.number == 0 ? assent_coord_record_name(n.disk.kind)
                              : assent_part_record_name(n.disk.kind));
    if (n.rm != RM_NONE)
        fprintf(trace, "; rm %s", n.rm == RM_ACTIVE ? "active" : "prepared");
    if (n.marker)
        fprintf(trace, "; rm has committed");
}

static const char *event_text(enum event_kind kind)
{
    switch (kind) {
    case EV_START:
        return "is asked to commit";
    case EV_DELIVER:
        return "gets";
    case EV_DURABLE:
        return "has its write on disk";
    case EV_RM:
        return "has its rm's answer";
    case EV_RETRY:
        return "repeats (timer)";
    case EV_TIMER:
        return "has waited long enough (timer)";
    case EV_CONNECT:
        return "is connected again";
    case EV_FORGET:
        return "forgets";
    case EV_RESTART:
        return "restarts";
    case EV_CRASH:
        return "dies";
    }
    return "?";
}

void trace_step(FILE *trace, uint32_t before, uint32_t node, enum event_kind kind,
                uint32_t argument, const struct outcome *outcome, const char *note)
{
    if (node == 0)
        fprintf(trace, "  coordinator %s ", event_text(kind));
    else
        fprintf(trace, "  participant %" PRIu32 " %s ", node, event_text(kind));
    if (kind == EV_DELIVER)
        print_message(trace, argument);
    fprintf(trace, "%s%s", note, outcome->crash && kind != EV_CRASH ? ", and dies on the way" : "");
    if (outcome->node != before) {
        fprintf(trace, ": ");
        trace_node(trace, outcome->node);
    }
    for (uint32_t i = 0; i < outcome->send_count; i++) {
        fprintf(trace, "%s", i == 0 ? "; sends " : ", ");
        print_message(trace, outcome->sends[i]);
    }
    fputc('\n', trace);
    if (outcome->wrong != NULL)
        fprintf(trace, "  ! %s\n", outcome->wrong);
}
