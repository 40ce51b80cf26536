/*
 * member.c: the rules of termination, see member.h. In `quorum` this is the choice of a value by
 * ballots: what a quorum has accepted, every later candidate finds and proposes again, since two
 * quorums share a voter.
 */
#include "member.h"

#include <string.h>

#include "check.h"

void assent_member_init(struct assent_member *member, uint32_t self, uint32_t count)
{
    CORE_CHECK(count <= ASSENT_BRANCHES_MAX && self <= ASSENT_BRANCHES_MAX);
    memset(member, 0, sizeof(*member));
    member->self = (uint8_t)self;
    member->count = (uint8_t)count;
    member->last_elected = ASSENT_BALLOT_FIRST;
}

/* ---- sets ---- */

void assent_member_set_add(struct assent_member_set *set, uint32_t number)
{
    CORE_CHECK(number <= ASSENT_BRANCHES_MAX);
    if (number < 64)
        set->low |= (uint64_t)1 << number;
    else
        set->last = true;
}

bool assent_member_set_has(const struct assent_member_set *set, uint32_t number)
{
    return number < 64 ? (set->low >> number & 1) != 0 : number == 64 && set->last;
}

static bool is_member(const struct assent_member *member, uint32_t number)
{
    return number <= member->count;
}

bool assent_member_votes(const struct assent_member *member, uint32_t number)
{
    return is_member(member, number) && (number > 0 || member->count % 2 == 0);
}

bool assent_member_is_quorum(const struct assent_member *member,
                             const struct assent_member_set *set)
{
    uint32_t voters = 0, there = 0;

    for (uint32_t number = 0; number <= member->count; number++) {
        bool votes = assent_member_votes(member, number);

        voters += votes;
        there += votes && assent_member_set_has(set, number);
    }
    return there > voters / 2;
}

static void only_self(struct assent_member *member, enum assent_member_role role)
{
    member->role = role;
    memset(&member->heard, 0, sizeof(member->heard));
    assent_member_set_add(&member->heard, member->self);
}

/* ---- quorum ---- */

bool assent_member_precommit(struct assent_member *member)
{
    if (member->state == ASSENT_MEMBER_PRECOMMITTED && member->last_attempt == ASSENT_BALLOT_FIRST)
        return true; /* again: it was accepted, and may be said again */
    if (member->state != ASSENT_MEMBER_YES || member->last_elected > ASSENT_BALLOT_FIRST ||
        member->last_attempt > 0)
        return false;
    member->state = ASSENT_MEMBER_PRECOMMITTED;
    member->last_attempt = ASSENT_BALLOT_FIRST;
    return true;
}

/* Ballots of different members never meet: each counts up from its own number. */
static uint32_t next_ballot(const struct assent_member *member)
{
    uint32_t step = member->count + 1u;
    uint32_t first = ASSENT_BALLOT_FIRST + 1 + member->self;

    if (member->last_elected < first)
        return first;
    return first + ((member->last_elected - first) / step + 1) * step;
}

bool assent_member_stand(struct assent_member *member)
{
    uint32_t ballot = next_ballot(member);

    if (ballot > ASSENT_BALLOT_MAX)
        return false;
    member->last_elected = ballot;
    member->best_attempt = member->last_attempt;
    member->best_precommitted = member->state == ASSENT_MEMBER_PRECOMMITTED;
    only_self(member, ASSENT_MEMBER_ASKING);
    member->next = ASSENT_MEMBER_ASK;
    return true;
}

bool assent_member_promise(struct assent_member *member, uint32_t from, uint32_t ballot)
{
    bool again = ballot == member->last_elected && member->last_attempt < ballot;

    if (!is_member(member, from) || from == member->self || ballot > ASSENT_BALLOT_MAX ||
        ballot <= ASSENT_BALLOT_FIRST || !(ballot > member->last_elected || again))
        return false;
    member->last_elected = ballot;
    member->role = ASSENT_MEMBER_IDLE; /* our own candidacy is over */
    member->next = ASSENT_MEMBER_ANSWER;
    member->next_to = (uint8_t)from;
    return true;
}

void assent_member_answered(struct assent_member *member, uint32_t from, uint32_t ballot,
                            enum assent_member_state state, uint32_t attempt)
{
    bool precommitted = state == ASSENT_MEMBER_PRECOMMITTED;

    if (member->role != ASSENT_MEMBER_ASKING || ballot != member->last_elected ||
        !is_member(member, from) || state == ASSENT_MEMBER_NONE || attempt >= ballot)
        return;
    if (attempt > member->best_attempt) {
        member->best_attempt = attempt;
        member->best_precommitted = precommitted;
    } else if (attempt == member->best_attempt) {
        member->best_precommitted = member->best_precommitted && precommitted;
    }
    assent_member_set_add(&member->heard, from);
}

bool assent_member_choose(struct assent_member *member)
{
    if (member->role != ASSENT_MEMBER_ASKING || !assent_member_is_quorum(member, &member->heard))
        return false;
    /* Once: later answers change nothing. */
    member->state =
        member->best_precommitted ? ASSENT_MEMBER_PRECOMMITTED : ASSENT_MEMBER_PREABORTED;
    member->last_attempt = member->last_elected;
    only_self(member, ASSENT_MEMBER_PROPOSING);
    member->next = ASSENT_MEMBER_PROPOSE;
    return true;
}

bool assent_member_accept(struct assent_member *member, uint32_t from, uint32_t ballot,
                          enum assent_member_state proposal)
{
    if (!is_member(member, from) || from == member->self || ballot > ASSENT_BALLOT_MAX ||
        ballot <= ASSENT_BALLOT_FIRST || ballot < member->last_elected ||
        ballot < member->last_attempt ||
        (proposal != ASSENT_MEMBER_PRECOMMITTED && proposal != ASSENT_MEMBER_PREABORTED))
        return false;
    if (ballot == member->last_attempt && proposal != member->state)
        return false; /* one ballot has one proposal */
    member->state = proposal;
    member->last_elected = ballot;
    member->last_attempt = ballot;
    member->role = ASSENT_MEMBER_IDLE;
    member->next = ASSENT_MEMBER_ACCEPT;
    member->next_to = (uint8_t)from;
    return true;
}

void assent_member_accepted(struct assent_member *member, uint32_t from, uint32_t ballot)
{
    if (member->role == ASSENT_MEMBER_PROPOSING && ballot == member->last_attempt &&
        is_member(member, from))
        assent_member_set_add(&member->heard, from);
}

bool assent_member_decides(const struct assent_member *member)
{
    return member->role == ASSENT_MEMBER_PROPOSING &&
           assent_member_is_quorum(member, &member->heard);
}

/* ---- cooperative ---- */

void assent_member_ask(struct assent_member *member)
{
    member->last_elected++;
    member->any_precommitted = member->state == ASSENT_MEMBER_PRECOMMITTED;
    member->led = false;
    only_self(member, ASSENT_MEMBER_ASKING);
}

void assent_member_heard(struct assent_member *member, const struct assent_message *answer)
{
    if (member->role == ASSENT_MEMBER_IDLE || answer->ballot != member->last_elected ||
        !is_member(member, answer->from))
        return;
    assent_member_set_add(&member->heard, answer->from);
    if (member->role != ASSENT_MEMBER_ASKING)
        return;
    /* Who has crashed may have missed an abort that was decided without it, so what it holds counts
     * only for one that has crashed too, and such a one lets anybody lead that has not. */
    member->any_precommitted |=
        answer->state == ASSENT_MEMBER_PRECOMMITTED && (!answer->recovered || member->recovered);
    member->led |= answer->from != 0 && !answer->recovered &&
                   (answer->from < member->self || member->recovered);
}

bool assent_member_heard_all(const struct assent_member *member)
{
    for (uint32_t number = 0; number <= member->count; number++)
        if (!assent_member_set_has(&member->heard, number) &&
            (member->role == ASSENT_MEMBER_ASKING ||
             assent_member_set_has(&member->reached, number)))
            return false;
    return true;
}

enum assent_member_verdict assent_member_verdict(const struct assent_member *member)
{
    /* Who has crashed may have missed what the others decided meanwhile: it decides only if nobody
     * is missing, the coordinator included. */
    if (member->led || (member->recovered && !assent_member_heard_all(member)))
        return ASSENT_MEMBER_WAIT;
    return member->any_precommitted ? ASSENT_MEMBER_PRECOMMIT : ASSENT_MEMBER_ABORT;
}

void assent_member_lead(struct assent_member *member)
{
    member->reached = member->heard;
    member->reached.low &= ~(uint64_t)1; /* a coordinator that answers is pre-committed already */
    member->state = ASSENT_MEMBER_PRECOMMITTED;
    only_self(member, ASSENT_MEMBER_PROPOSING);
    member->next = ASSENT_MEMBER_PROPOSE;
}
