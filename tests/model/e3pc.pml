/*
 * E3PC (Keidar and Dolev): the policy `quorum` of 3pc, by the table of e3pc.md.
 *
 * A step below for each line of that table, in its order; guards that a mistake can break stand in
 * mistakes.pml. last_elected is elected[], last_attempt is attempt[]; state, elected and attempt
 * are durable, and a step writes them before anything it sends can be seen (a step is atomic).
 *
 * The network is as bad as can be: a message sent is a fact for ever, which a member may come to
 * know at any time, often, or never. That covers loss, duplication, delay, any order, partitions of
 * any shape, and false timeouts, without budgets. A member that is down is one that is slow. What a
 * crash takes from memory: the coordinator's voting (its restart aborts); a candidate needs nothing
 * that is not durable or on the network, so forgetting can only make it do less. Bounded is only
 * the number of elections: ballots 2 .. ELECTIONS + 1, each used once, in any order.
 *
 * Progress (-DCOORDINATOR_GONE and the like, below): at any moment faults end, for a connected set
 * of survivors. What is under way is lost; one candidate among them, any that may stand, holds one
 * election with a higher ballot, undisturbed (random back-off gives it the time). Then nobody among
 * them may be in doubt, if they hold a quorum.
 *
 * -DALL_YES: nobody votes no. -DNO_TIMEOUTS: and nobody gives up. -DM_...: a mistake; all of them
 * with their names in mistakes.pml and below.
 * Left out: forgetting (but see M_FORGETS), read-only witnesses (a yes with nothing to apply).
 */
#ifndef ELECTIONS
#define ELECTIONS 2
#endif
#define LAST (ELECTIONS + 1)
#define CALM (LAST + 1)
#define AT(b, p) ((b) * M + (p))
#define IN(set, p) (((set) >> (p)) & 1)

#ifdef M_HALF
#define QUORUM(set) (COUNT((set) & VOTERS) >= COUNT(VOTERS) / 2)
#endif
#include "members.pml"
#include "mistakes.pml"

byte elected[M] = FIRST_ELECTED, attempt[M];

/* What has been sent. A decision that anybody took is told to whoever asks: said_commit, said_abort
 * are those messages. */
byte votes;                     /* yes, from whom */
byte asked[LAST + 1];           /* by ballot: its candidate */
byte answer[(LAST + 1) * M];    /* by ballot and member: 0 none, or 1 + 2 rank + committable */
byte proposed[LAST + 1];        /* by ballot: bit 1 pre-commit, bit 2 pre-abort */
byte acked[LAST + 1];           /* by ballot: who accepted */
bool over;                      /* faults have ended and all is said */
hidden byte i, result, best, chosen, best_committable, some_committable;

#define PRECOMMIT 1
#define PREABORT 2
#define IN_DOUBT(p) (st[p] == YES || st[p] == PRECOMMITTED || st[p] == PREABORTED)

#if N > 2
#define ANSWERED_3(b) ((ANSWER(b, 3) != 0) << 3)
#else
#define ANSWERED_3(b) 0
#endif
#define ANSWERED(b) ((ANSWER(b, 0) != 0) | ((ANSWER(b, 1) != 0) << 1) | \
                     ((ANSWER(b, 2) != 0) << 2) | ANSWERED_3(b))
#define OWN_PROPOSAL(p, b) (proposed[b] != (PRECOMMIT | PREABORT) -> proposed[b] : \
                            (attempt[p] == b && st[p] == PRECOMMITTED -> PRECOMMIT : PREABORT))

/* Answers that nobody will look at any more are not kept: fewer states, the same runs. */
#if defined(M_PROPOSE_AGAIN) || defined(M_OLD_ANSWERS) || defined(M_SAME_BALLOT)
#define STILL_READ(b) true
#else
#define STILL_READ(b) (proposed[b] == 0)
#endif

inline accept(p, b, proposal)
{
    st[p] = (proposal == PRECOMMIT -> PRECOMMITTED : PREABORTED);
    elected[p] = b;
    attempt[p] = b
}

/* Looks at one answer, in the search for those with the highest last_attempt. */
inline weigh(rank, committable)
{
    some_committable = some_committable || committable;
    if
    :: rank > best -> best = rank; best_committable = committable
    :: rank == best -> best_committable = best_committable && committable
    :: else
    fi
}

#define START_WEIGHING best = 0; best_committable = 1; some_committable = 0

#if defined(M_STORE_LOST) || defined(M_FORGETS)
bit lost;
inline start_anew(p)
{
    st[p] = NONE;
    elected[p] = FIRST_ELECTED;
    attempt[p] = 0
}
#endif

proctype participant(byte p) provided (!over)
{
end:
    do
    /* CanCommit: a yes is durable before it is sent; a no, or a timeout, is an abort for good. */
    :: atomic { st[p] == NONE ->
        st[p] = YES;
        said_yes = said_yes | BIT(p);
#ifdef M_VOTE_RESETS
        elected[p] = 1;
#endif
        votes = votes | BIT(p) }
#ifndef ALL_YES
    :: atomic { st[p] == NONE -> decide(p, ABORTED) }
#endif
#ifdef M_YES_EARLY
    :: atomic { st[p] == NONE -> votes = votes | BIT(p) }
#endif
    /* PreCommit of ballot 1. */
    :: atomic { (proposed[1] & PRECOMMIT) && !DECIDED(p) && MAY_PRECOMMIT(p) ->
        st[p] = PRECOMMITTED;
        attempt[p] = 1;
        acked[1] = acked[1] | BIT(p) }
#ifdef M_ACK_EARLY
    :: atomic { (proposed[1] & PRECOMMIT) && !DECIDED(p) && MAY_PRECOMMIT(p) ->
        acked[1] = acked[1] | BIT(p) }
#endif
#ifdef M_STORE_LOST
    :: atomic { lost == 0 && IN_DOUBT(p) -> lost = 1; start_anew(p) }
#endif
#ifdef M_FORGETS
    :: atomic { lost == 0 && DECIDED(p) -> lost = 1; start_anew(p) }
#endif
    od
}

proctype coordinator() provided (!over)
{
end:
    do
    /* Every yes: pre-committed, durably, then PreCommit to all. */
    :: atomic { st[0] == NONE && VOTED(votes) && MAY_SEND_PRECOMMIT ->
        st[0] = PRECOMMITTED;
        attempt[0] = 1;
        proposed[1] = proposed[1] | PRECOMMIT;
        acked[1] = acked[1] | BIT(0) }
#ifdef M_PRECOMMIT_EARLY
    :: atomic { st[0] == NONE && VOTED(votes) && MAY_SEND_PRECOMMIT -> proposed[1] = PRECOMMIT }
#endif
    /* A no, a vote missing at the deadline, or a restart without a record: abort. */
#ifndef NO_TIMEOUTS
    :: atomic { st[0] == NONE -> decide(0, ABORTED) }
#endif
#ifdef M_VOTING_RESUMED
    :: atomic { st[0] == NONE -> said_abort = said_abort | BIT(0) }
#endif
    /* A quorum acknowledged: committed. */
    :: atomic { (proposed[1] & PRECOMMIT) && !DECIDED(0) && QUORUM(acked[1]) ->
        decide(0, COMMITTED) }
#ifdef M_COMMITS_ALONE
    :: atomic { st[0] == PRECOMMITTED -> decide(0, COMMITTED) }
#endif
#ifdef M_ABORTS_ALONE
    :: atomic { st[0] == PRECOMMITTED && attempt[0] == 1 -> decide(0, ABORTED) }
#endif
    od
}

/* What member p does about ballot b, from last_elected's first value + 1 on. */
proctype election(byte p, b) provided (!over)
{
end:
    do
    /* A timeout, in doubt: stands as the candidate of an unused ballot and asks all, itself too. */
    :: atomic { IN_DOUBT(p) && b > elected[p] && MAY_USE(p, b) ->
        asked[b] = asked[b] | BIT(p);
        answer[AT(b, p)] = 1 + 2 * RANK(p) + COMMITTABLE(p);
        elected[p] = b }
#ifdef M_ASK_EARLY
    :: atomic { IN_DOUBT(p) && b > elected[p] && MAY_USE(p, b) ->
        asked[b] = asked[b] | BIT(p);
        answer[AT(b, p)] = 1 + 2 * RANK(p) + COMMITTABLE(p) }
    :: atomic { IN_DOUBT(p) && b > elected[p] && IN(asked[b], p) -> elected[p] = b }
#endif
    /* Asked: promises, then answers. */
    :: atomic { asked[b] && !DECIDED(p) && answer[AT(b, p)] == 0 && MAY_ANSWER(p, b) ->
        answer[AT(b, p)] = (STILL_READ(b) -> 1 + 2 * RANK(p) + COMMITTABLE(p) : 0);
        elected[p] = b }
#ifdef M_ANSWER_EARLY
    :: atomic { asked[b] && !DECIDED(p) && answer[AT(b, p)] == 0 && MAY_ANSWER(p, b) ->
        answer[AT(b, p)] = 1 + 2 * RANK(p) + COMMITTABLE(p) }
#endif
    /* Answers of a quorum, whichever: proposes. */
    :: atomic { IN(asked[b], p) && !DECIDED(p) && MAY_PROPOSE(p, b) && QUORUM(ANSWERED(b)) ->
        START_WEIGHING;
        chosen = 0;
        i = 0;
        do
        :: i < M && ANSWER(b, i) != 0 ->
            chosen = chosen | BIT(i);
            result = ANSWER(b, i) - 1;
            weigh((result / 2), (result & 1));
            i++
        :: i < M -> i++
        :: else -> break
        od;
        if
        :: QUORUM(chosen) ->
#ifdef M_NO_PROPOSAL
            result = (PROPOSES_COMMIT -> COMMITTED : ABORTED);
            decide(p, result)
#else
            result = (PROPOSES_COMMIT -> PRECOMMIT : PREABORT);
            accept(p, b, result);
            proposed[b] = proposed[b] | result;
            acked[b] = acked[b] | BIT(p);
            i = 0;
            do
            :: i < M && !STILL_READ(b) -> answer[AT(b, i)] = 0; i++
            :: else -> break
            od
#endif
        :: else
        fi }
    /* Gets a proposal: accepts, state and attempt in one write, then acknowledges. */
    :: atomic { (proposed[b] & PRECOMMIT) && !DECIDED(p) && MAY_ACCEPT(p, b) ->
        accept(p, b, PRECOMMIT); acked[b] = acked[b] | BIT(p) }
    :: atomic { (proposed[b] & PREABORT) && !DECIDED(p) && MAY_ACCEPT(p, b) ->
        accept(p, b, PREABORT); acked[b] = acked[b] | BIT(p) }
#ifdef M_ACK_EARLY
    :: atomic { proposed[b] && !DECIDED(p) && MAY_ACCEPT(p, b) -> acked[b] = acked[b] | BIT(p) }
#endif
#ifdef M_STATE_FIRST
    :: atomic { proposed[b] && !DECIDED(p) && MAY_ACCEPT(p, b) ->
        st[p] = (proposed[b] == PRECOMMIT -> PRECOMMITTED : PREABORTED);
        acked[b] = acked[b] | BIT(p) }
#endif
#ifdef M_ATTEMPT_FIRST
    :: atomic { proposed[b] && !DECIDED(p) && MAY_ACCEPT(p, b) -> elected[p] = b; attempt[p] = b }
#endif
    /* Acknowledgements of a quorum for its ballot: decides. */
    :: atomic { IN(asked[b], p) && proposed[b] && !DECIDED(p) && ACCEPTED(p, b) ->
        result = (OWN_PROPOSAL(p, b) == PRECOMMIT -> COMMITTED : ABORTED);
        decide(p, result) }
#ifdef H_DECISION_UNFORCED
    :: atomic { IN(asked[b], p) && proposed[b] && !DECIDED(p) && ACCEPTED(p, b) ->
        if
        :: proposed[b] == PRECOMMIT -> said_commit = said_commit | BIT(p)
        :: else -> said_abort = said_abort | BIT(p)
        fi }
#endif
    od
}

/* Any member learns a decision. */
proctype learner(byte p) provided (!over)
{
end:
    do
    :: atomic { said_commit && !DECIDED(p) -> decide(p, COMMITTED) }
    :: atomic { said_abort && !DECIDED(p) -> decide(p, ABORTED) }
    od
}

/* Who survives, connected, by the name of the fault. */
#ifdef COORDINATOR_GONE
#define SURVIVORS(s) ((s) == PARTICIPANTS)
#endif
#ifdef COORDINATOR_AND_ONE_GONE
#define SURVIVORS(s) (!IN(s, 0) && COUNT(s) == N - 1)
#endif
#ifdef COORDINATOR_BACK_ONE_GONE
#define SURVIVORS(s) (IN(s, 0) && COUNT(s) == N)
#endif
#ifdef PARTITION
#define SURVIVORS(s) ((s) != ALL)
#endif
#ifdef PARTITION_COORDINATOR_GONE
#define SURVIVORS(s) (!IN(s, 0) && (s) != PARTICIPANTS)
#endif
#if defined(NOBODY_GONE) || defined(COORDINATOR_BACK)
#define SURVIVORS(s) ((s) == ALL)
#endif

#ifdef SURVIVORS
bool all_decide = true, majority_decides = true;

#define IN_DOUBT_AMONG(s) ((IN(s, 0) && IN_DOUBT(0)) || (IN(s, 1) && IN_DOUBT(1)) || \
                           (IN(s, 2) && IN_DOUBT(2)) || (M > 3 && IN(s, M - 1) && IN_DOUBT(M - 1)))

/* A coordinator that is still voting comes to its deadline, or has just restarted: abort. */
inline end_voting()
{
    if
    :: IN(survivors, 0) && st[0] == NONE && ANSWERS(0) -> decide(0, ABORTED); outcome = ABORTED
    :: else
    fi
}

/* One election of one candidate among the survivors, by the rules above. */
inline hold_election()
{
    START_WEIGHING;
    chosen = 0;
    i = 0;
    do
    :: i < M ->
        if
        :: !IN(survivors, i) || (!DECIDED(i) && !ANSWERS(i)) -> skip
        :: IN(survivors, i) && DECIDED(i) -> outcome = st[i]
        :: else -> chosen = chosen | BIT(i); weigh(attempt[i], COMMITTABLE(i))
        fi;
        i++
    :: else -> break
    od;
    if
    :: outcome == NONE && QUORUM(chosen) ->
        result = (PROPOSES_COMMIT -> PRECOMMIT : PREABORT);
        i = 0;
        do
        :: i < M ->
            if
            :: IN(chosen, i) -> accept(i, CALM, result)
            :: else
            fi;
            i++
        :: else -> break
        od;
        outcome = (PROPOSES_COMMIT -> COMMITTED : ABORTED)
    :: else
    fi
}

inline tell_survivors()
{
    i = 0;
    do
    :: i < M ->
        if
        :: IN(survivors, i) && !DECIDED(i) && outcome != NONE -> decide(i, outcome)
        :: else
        fi;
        i++
    :: else -> break
    od
}

proctype repair() provided (!over)
{
    byte survivors, candidate, outcome;

    atomic {
        do
        :: survivors < ALL -> survivors++
        :: break
        od;
        do
        :: candidate < N -> candidate++
        :: break
        od;
        if
        :: SURVIVORS(survivors) && IN(survivors, candidate) && IN_DOUBT(candidate) &&
           ANSWERS(candidate) ->
            outcome = NONE;
            if
            :: end_voting()
#if !defined(COORDINATOR_BACK) && !defined(COORDINATOR_BACK_ONE_GONE)
            :: skip
#endif
            fi;
            hold_election();
            if
            :: outcome == NONE -> end_voting()
            :: else
            fi;
            tell_survivors();
            all_decide = !IN_DOUBT_AMONG(survivors);
            majority_decides = all_decide || !QUORUM(survivors);
            assert(majority_decides);
            assert(all_decide)
        :: else
        fi;
        survivors = 0;
        candidate = 0;
        outcome = 0;
        over = true
    }
}
#endif

#ifdef NO_TIMEOUTS
bool never_commit = true, never_abort = true, all_decide = true;
active proctype verdict()
{
    timeout;
    all_decide = (said_commit | said_abort) == ALL;
    never_commit = said_commit == 0;
    never_abort = said_abort == 0;
    assert(all_decide);
    assert(never_commit);
    assert(never_abort)
}
#endif

init
{
    byte p, b;

    atomic {
        run coordinator();
        p = 1;
        do
        :: p < M -> run participant(p); p++
        :: else -> break
        od;
        p = 0;
        do
        :: p < M ->
            run learner(p);
            b = FIRST_ELECTED + 1;
            do
            :: b <= LAST -> run election(p, b); b++
            :: else -> break
            od;
            p++
        :: else -> break
        od;
        p = 0;
        b = 0;
#ifdef SURVIVORS
        run repair();
#endif
        skip
    }
}
