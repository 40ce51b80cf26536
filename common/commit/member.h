/*
 * member.h: one member of a transaction's termination: a participant, or the coordinator. PURE.
 *
 * When the coordinator falls silent the members of a 3pc finish without it. Under `quorum` that is
 * E3PC (Keidar and Dolev 1998): a candidate with a new ballot asks all members, proposes what the
 * answers of a quorum of voters allow, and decides when a quorum has accepted. Under `cooperative`
 * (Skeen 1981) the lowest live participant decides from the states of those it reaches.
 *
 * Here are the rules alone: what a member may promise, accept, propose and decide. Both machines
 * carry them out: they write the durable fields before anything that rests on them is sent.
 * Deliberately not here: timers, messages, what a decision does to a branch.
 */
#ifndef ASSENT_COMMIT_MEMBER_H
#define ASSENT_COMMIT_MEMBER_H

#include "message.h"

/* The original coordinator's ballot; candidates' ballots are above it. */
#define ASSENT_BALLOT_FIRST 1
/* Messages with higher ballots are ignored: no transaction lives through that many elections. */
#define ASSENT_BALLOT_MAX (1u << 30)

/* A set of members: bit n is member n, 0 the coordinator. */
struct assent_member_set {
    uint64_t low; /* members 0 to 63 */
    bool last;    /* member 64 */
};

enum assent_member_role { ASSENT_MEMBER_IDLE, ASSENT_MEMBER_ASKING, ASSENT_MEMBER_PROPOSING };

/* What a durable write of the fields below was for. */
enum assent_member_next {
    ASSENT_MEMBER_NOTHING,
    ASSENT_MEMBER_ASK,     /* we are a candidate: ask all members */
    ASSENT_MEMBER_ANSWER,  /* the candidate next_to */
    ASSENT_MEMBER_PROPOSE, /* we accept our own proposal: propose it to all members */
    ASSENT_MEMBER_ACCEPT,  /* the proposal of next_to */
};

struct assent_member {
    uint8_t self;                       /* own number: 0 the coordinator, else the branch's */
    uint8_t count;                      /* of participants */
    enum assent_member_state state : 8; /* durable, with the next two, in one write */
    enum assent_member_role role : 8;
    enum assent_member_next next : 8;
    uint8_t next_to;
    bool recovered : 1;         /* crashed since the vote: `cooperative` trusts it with less */
    bool any_precommitted : 1;  /* cooperative: among those asked */
    bool led : 1;               /* cooperative: a live participant with a lower number answered */
    bool best_precommitted : 1; /* every answer with best_attempt was pre-committed */
    uint32_t last_elected;      /* highest ballot promised; never goes down */
    uint32_t last_attempt;      /* ballot of the proposal accepted last; 0: none */
    uint32_t best_attempt;      /* highest last_attempt among the answers */
    struct assent_member_set heard;   /* answered or accepted in this role */
    struct assent_member_set reached; /* cooperative: those that answered, when proposing */
};

void assent_member_init(struct assent_member *member, uint32_t self, uint32_t count);
/* Who counts: the participants, and the coordinator when their number is even. A majority of them
 * is a quorum. */
bool assent_member_votes(const struct assent_member *member, uint32_t number);
bool assent_member_is_quorum(const struct assent_member *member,
                             const struct assent_member_set *set);
void assent_member_set_add(struct assent_member_set *set, uint32_t number);
bool assent_member_set_has(const struct assent_member_set *set, uint32_t number);

/* --- quorum; each function that says "write" has changed durable fields --- */

/* The coordinator's PreCommit, ballot 1: true: write, then acknowledge. */
bool assent_member_precommit(struct assent_member *member);
/* Becomes a candidate with its next ballot: write, then ask. False: no ballot is left. */
bool assent_member_stand(struct assent_member *member);
/* Asked with that ballot: true: write, then answer. */
bool assent_member_promise(struct assent_member *member, uint32_t from, uint32_t ballot);
/* An answer to our question. */
void assent_member_answered(struct assent_member *member, uint32_t from, uint32_t ballot,
                            enum assent_member_state state, uint32_t attempt);
/* True when a quorum has answered: the proposal is chosen, and accepted by ourselves: write, then
 * propose. */
bool assent_member_choose(struct assent_member *member);
/* A proposal: true: write, then accept. */
bool assent_member_accept(struct assent_member *member, uint32_t from, uint32_t ballot,
                          enum assent_member_state proposal);
/* An acceptance of our proposal. */
void assent_member_accepted(struct assent_member *member, uint32_t from, uint32_t ballot);
/* A quorum has accepted our proposal: it is decided. */
bool assent_member_decides(const struct assent_member *member);

/* --- cooperative: nothing of it but the state is durable --- */

/* Asks again: a new ballot, to tell its answers from older ones. */
void assent_member_ask(struct assent_member *member);
void assent_member_heard(struct assent_member *member, const struct assent_message *answer);
/* Nobody is left to wait for in this role. */
bool assent_member_heard_all(const struct assent_member *member);
enum assent_member_verdict {
    ASSENT_MEMBER_WAIT, /* another one leads, or too little is known */
    ASSENT_MEMBER_ABORT,
    ASSENT_MEMBER_PRECOMMIT, /* move all that were reached to pre-committed, then commit */
};
/* The time for answers is over. */
enum assent_member_verdict assent_member_verdict(const struct assent_member *member);
/* Proposes pre-commit to those that were reached. */
void assent_member_lead(struct assent_member *member);

#endif
