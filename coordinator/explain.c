/* explain.c: see explain.h. The texts stand in tables, by phase and by policy. */
#include "explain.h"

#include <stdarg.h>
#include <stdio.h>

#include "server.h"

/* Which choices a phase leaves to a person. */
enum choices { NONE, UNDECIDED, MEMBERS, DECIDED, ONE_PHASE };

struct phase_text {
    const char *waits_for; /* without whom */
    const char *unblocks;
    enum choices choices;
};

static const struct phase_text phases[ASSENT_COORD_PHASE_COUNT] = {
    [ASSENT_COORD_ACTIVE] = {"its application: work, commit or rollback",
                             "its application commits or rolls back, disconnects, or its deadline "
                             "passes",
                             UNDECIDED},
    [ASSENT_COORD_VOTING] = {"votes",
                             "the missing votes; without them it aborts at the deadline "
                             "or prepare_timeout",
                             UNDECIDED},
    [ASSENT_COORD_PRECOMMIT_LOGGING] = {"the log's sync of the pre-commit", "the disk", NONE},
    [ASSENT_COORD_PRECOMMITTING] = {"acknowledgements of PreCommit",
                                    "the missing acknowledgements; after precommit_timeout the "
                                    "policy ends it",
                                    MEMBERS},
    [ASSENT_COORD_COMMIT_LOGGING] = {"the log's sync of the decision", "the disk", NONE},
    [ASSENT_COORD_COMMITTING] = {"every branch to commit; the decision stands",
                                 "the branches it waits for connect: each is told again and again",
                                 DECIDED},
    [ASSENT_COORD_ONE_PHASE_LOGGING] = {"the log's sync of the one-phase record", "the disk", NONE},
    [ASSENT_COORD_ONE_PHASE] = {"the only branch, which was told to commit alone: it alone knows "
                                "the outcome",
                                "that branch's participant connects and answers", ONE_PHASE},
    [ASSENT_COORD_ABORTING] = {"every branch to abort; the decision stands",
                               "the branches it waits for connect; after abort_delivery it ends "
                               "without them, and they are told when they ask",
                               DECIDED},
    [ASSENT_COORD_TERMINATING] = {"an election: it is one member among the others, since it cannot "
                                  "know what they have decided",
                                  "enough members are connected to each other", MEMBERS},
    [ASSENT_COORD_MEMBER_LOGGING] = {"the log's sync of its part in an election", "the disk",
                                     MEMBERS},
    [ASSENT_COORD_ENDING] = {"the log's sync of the outcome", "the disk", NONE},
    [ASSENT_COORD_ENDED] = {"nothing", "", NONE},
};

static const char *policy_text(enum assent_protocol protocol, enum assent_termination termination)
{
    switch (termination) {
    case ASSENT_TERMINATION_NONE:
        return "participants in doubt wait for this coordinator";
    case ASSENT_TERMINATION_TIMEOUT:
        return "a participant that hears nothing aborts before PreCommit and commits after it, "
               "each alone: UNSAFE, one crash or partition can split the outcome";
    case ASSENT_TERMINATION_COOPERATIVE:
        if (protocol == ASSENT_2PC)
            return "participants in doubt ask each other: one that knows the decision tells it, "
                   "one that has not voted refuses for good; else they wait for this coordinator. "
                   "Safe";
        return "the participants that reach each other decide from their states: UNSAFE under a "
               "partition or a pause longer than the time-out, safe under crashes alone";
    case ASSENT_TERMINATION_QUORUM:
        return "a majority of the voters decides, with or without this coordinator; a part without "
               "a majority waits. Safe";
    }
    return "?";
}

__attribute__((format(printf, 2, 3))) static void add_text(json_t *list, const char *format, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    json_array_append_new(list, json_string(text));
}

static void add_choice(json_t *list, const char *choice, const char *risk)
{
    json_array_append_new(list, json_pack("{s:s, s:s}", "choice", choice, "risk", risk));
}

static json_t *choices_json(enum choices choices, enum assent_decision decision)
{
    json_t *list = json_array();

    switch (choices) {
    case NONE:
        return list;
    case UNDECIDED:
        add_choice(list, "roll it back: assentctl tx rollback GTRID",
                   "none: nothing is decided, and every branch undoes its work");
        add_choice(list, "wait", "none but time: its branches keep their locks until its deadline");
        return list;
    case MEMBERS:
        add_choice(list, "bring the participants that are down back, and wait",
                   "none but time: branches that voted yes keep their locks");
        add_choice(list, "end a branch by hand at its resource",
                   "the others may decide the opposite: the outcome is then mixed, and is shown as "
                   "such");
        return list;
    case ONE_PHASE:
        add_choice(list, "bring the participant back, and wait",
                   "none but time: the outcome stays unknown, and unknown is not aborted");
        add_choice(list, "take it for aborted and do the work again",
                   "the work may be done twice: the branch may have committed");
        return list;
    case DECIDED:
        add_choice(list, "bring the participants that are down back, and wait",
                   "none but time: their branches keep their locks until they are told");
        add_choice(list,
                   decision == ASSENT_DECISION_COMMIT
                       ? "commit a waiting branch by hand at its resource"
                       : "roll a waiting branch back by hand at its resource",
                   "none if it is done exactly so: the opposite makes the outcome mixed");
        return list;
    }
    return list;
}

/* What this transaction knows of each branch, and what it still wants of it. */
static const char *branch_wants(const struct transaction *live,
                                const struct assent_coord_record_branch *b)
{
    if (live == NULL || live->machine.phase == ASSENT_COORD_ENDED)
        return "nothing";
    if (live->machine.phase == ASSENT_COORD_TERMINATING && b->result == ASSENT_RESULT_NONE)
        return "its part in the election";
    if (!assent_coord_awaits(&live->machine, b->number))
        return "nothing";
    switch (live->machine.phase) {
    case ASSENT_COORD_VOTING:
        return "its vote";
    case ASSENT_COORD_PRECOMMITTING:
        return "its acknowledgement of PreCommit";
    case ASSENT_COORD_COMMITTING:
        return "to commit";
    case ASSENT_COORD_ABORTING:
        return "to abort";
    case ASSENT_COORD_ONE_PHASE:
        return "what became of it";
    case ASSENT_COORD_ACTIVE:
    case ASSENT_COORD_PRECOMMIT_LOGGING:
    case ASSENT_COORD_COMMIT_LOGGING:
    case ASSENT_COORD_ONE_PHASE_LOGGING:
    case ASSENT_COORD_TERMINATING:
    case ASSENT_COORD_MEMBER_LOGGING:
    case ASSENT_COORD_ENDING:
    case ASSENT_COORD_ENDED:
        return "nothing";
    }
    return "nothing";
}

static json_t *branch_json(const struct server *server, const struct transaction *live,
                           const struct assent_coord_record_branch *b)
{
    const struct participant *p = participants_get(server, b->participant);
    char since[25] = "";

    if (p != NULL)
        assent_wall_format(p->since_wall_ms, since);
    return json_pack(
        "{s:I, s:s, s:s, s:s?, s:s, s:s, s:s, s:b, s:s}", "number", (json_int_t)b->number,
        "participant", participants_name(server, b->participant), "connection",
        p != NULL && participant_is_up(p) ? "up" : "down", "since", since[0] == '\0' ? NULL : since,
        "address", p == NULL ? "" : p->address, "vote", assent_vote_name((int)b->vote), "result",
        assent_branch_result_name((int)b->result), "same_life",
        (int)(p != NULL && p->epoch == b->epoch), "wanted", branch_wants(live, b));
}

/* Which members are missing for a majority, as far as this coordinator is connected to them. */
static void explain_quorum(const struct server *server, const struct transaction *live,
                           json_t *unblocks)
{
    const struct assent_coord *m = &live->machine;
    uint32_t voters = 0, up = 0;

    for (uint32_t number = 0; number <= m->branch_count; number++) {
        const struct participant *p =
            number == 0 ? NULL : participants_get(server, m->branches[number - 1].participant);

        if (!assent_member_votes(&m->member, number))
            continue;
        voters++;
        up += number == 0 || (p != NULL && participant_is_up(p));
    }
    add_text(unblocks,
             "%u of %u voters are a majority%s; %u are connected to this coordinator, and those "
             "that reach each other can also finish without it",
             voters / 2 + 1, voters,
             assent_member_votes(&m->member, 0) ? " (it is one of them)" : "", up);
}

json_t *explain_transaction(const struct server *server, const struct transaction *live,
                            const struct assent_coord_record *record)
{
    enum assent_coord_phase phase = live == NULL ? ASSENT_COORD_ENDED : live->machine.phase;
    const struct phase_text *text = &phases[phase];
    json_t *branches = json_array(), *unblocks = json_array();
    char gtrid[ASSENT_GTRID_TEXT + 1];

    assent_gtrid_format(&record->gtrid, gtrid);
    if (text->unblocks[0] != '\0')
        add_text(unblocks, "%s", text->unblocks);
    if (live != NULL && text->choices == MEMBERS &&
        record->termination == ASSENT_TERMINATION_QUORUM)
        explain_quorum(server, live, unblocks);
    for (uint32_t i = 0; i < record->branch_count; i++) {
        const struct assent_coord_record_branch *b = &record->branches[i];
        const struct participant *p = participants_get(server, b->participant);

        json_array_append_new(branches, branch_json(server, live, b));
        if (branch_wants(live, b)[0] != 'n' && (p == NULL || !participant_is_up(p)))
            add_text(unblocks, "%s connects", participants_name(server, b->participant));
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:o, s:o}", "gtrid", gtrid,
                     "protocol", assent_protocol_name((int)record->protocol), "termination",
                     assent_termination_name((int)record->termination), "phase",
                     assent_coord_phase_name((int)phase), "decision",
                     assent_decision_name((int)record->decision), "outcome",
                     assent_outcome_name((int)record->outcome), "reason", record->reason_text,
                     "branches", branches, "waits_for", text->waits_for, "policy",
                     policy_text(record->protocol, record->termination), "unblocks", unblocks,
                     "choices", choices_json(text->choices, record->decision));
}
