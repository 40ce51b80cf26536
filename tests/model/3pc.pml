/*
 * Three-phase commit with the two textbook policies: the rule of timeouts, or with -DCOOPERATIVE
 * Skeen's termination protocol. (The third policy, quorum, is e3pc.pml.)
 *
 * Rule                                                             source
 * yes and pre-committed are durable before they are told           design.md 2.1, protocols.md
 * every yes, then PreCommit, then DoCommit                         protocols.md "The states"
 * votes missing: abort; PreCommit acks missing: commit             protocols.md "Timeouts in 3PC"
 * no CanCommit yet: abort alone                                    protocols.md "Timeouts in 3PC"
 * `timeout`: yes -> abort, pre-committed -> commit                 protocols.md "Timeouts in 3PC"
 * a coordinator without a pre-commit record aborts at recovery     e3pc.md (the same presumption)
 * a recovered coordinator is an ordinary member of termination     reliability.md part 3; with
 *   -DRECOVERED_ASK, who has restarted only asks for the decision  Skeen's assumption: see rows.py
 *
 * Skeen's rule, with the lowest of the members that reach each other as the backup coordinator
 * (Bernstein, Hadzilacos, Goodman, 7.5). It asks all, and when all who can have answered: a
 * decision known: that one; nobody pre-committed: abort; else it moves all to pre-committed, then
 * commits. An unvoted member refuses for good. Who is asked gives up a round of its own.
 *
 * Without RECOVERED_ASK two crashes and one return split it in a perfect network: the coordinator
 * crashes pre-committed, with PreCommit told to nobody; a participant, finding only yes, decides to
 * abort and crashes before it has told; meanwhile the coordinator has come back, polls the rest and
 * moves them to commit. With it the price is to wait when all have failed.
 *
 * Left out: acknowledgements of the decision and forgetting; answers that say "yes, in doubt",
 * which change nothing. -DALL_YES: nobody votes no.
 */
#define KINDS 8
#define CAN_COMMIT 0
#define VOTE_YES 1
#define VOTE_NO 2
#define PRECOMMIT 3
#define ACK 4
#define COMMIT 5
#define ABORT 6
#define POLL 7
#ifdef COOPERATIVE
#undef KINDS
#define KINDS 9
#define IS_PRECOMMITTED 8
#endif

#include "members.pml"

/* In memory: the coordinator's votes and acknowledgements; the step of a backup coordinator's
 * round. */
byte votes, acks;
#define IDLE 0
#define ASKED 1
#define ASKED_SOME_PRECOMMITTED 2
#define MOVED 3
byte backup[M];
#if defined(DELAY) && defined(COOPERATIVE)
byte rounds = ROUNDS; /* false alarms know no bound, so the number of rounds gets one */
#endif

/* The coordinator's second phase lasts until it decides or crashes. Recovered, it is a member like
 * the others; under the rule of timeouts it goes on. */
#ifdef COOPERATIVE
byte recovered; /* who has restarted */
#define COORDINATING (st[0] == PRECOMMITTED && !IN(recovered, 0))
#else
#define COORDINATING (st[0] == PRECOMMITTED)
#endif

inline lose(p)
{
    backup[p] = IDLE;
#ifdef COOPERATIVE
    recovered = recovered | BIT(p);
#endif
    if
    :: p == 0 ->
        votes = 0;
        acks = 0;
        if :: st[0] == ABORTED -> st[0] = NONE :: else fi
    :: else
    fi
}

inline recover(p)
{
    if
    :: p == 0 && st[0] == NONE -> decide(0, ABORTED)
    :: else
    fi
}

#include "network.pml"

inline tell(who, whom)
{
    if
    :: st[who] == COMMITTED -> send(COMMIT, who, whom)
    :: st[who] == ABORTED -> send(ABORT, who, whom)
    :: else
    fi
}

inline finish(who, outcome)
{
    decide(who, outcome);
    backup[who] = IDLE;
    if
    :: outcome == COMMITTED -> broadcast(COMMIT, who)
    :: else -> broadcast(ABORT, who)
    fi
}

inline obey(who, kind, outcome)
{
    take(kind, who);
    if
    :: !DECIDED(who) -> decide(who, outcome); backup[who] = IDLE
    :: else
    fi
}

proctype coordinator()
{
end:
    do
    :: atomic { GOT(VOTE_YES, 0) -> take(VOTE_YES, 0);
        if
        :: st[0] == NONE ->
            votes = votes | BIT(from);
            if
            :: votes == PARTICIPANTS -> st[0] = PRECOMMITTED; broadcast(PRECOMMIT, 0)
            :: else
            fi
        :: else -> tell(0, from)
        fi }
    :: atomic { GOT(VOTE_NO, 0) -> take(VOTE_NO, 0);
        if :: st[0] == NONE -> finish(0, ABORTED) :: else fi }
    :: atomic { EXPIRED(0) && st[0] == NONE -> finish(0, ABORTED) }
    :: atomic { EXPIRED(0) && COORDINATING -> finish(0, COMMITTED) }
    od
}

proctype participant(byte p)
{
end:
    do
    :: atomic { GOT(CAN_COMMIT, p) -> take(CAN_COMMIT, p);
        if
        :: st[p] == NONE -> st[p] = YES; said_yes = said_yes | BIT(p); send(VOTE_YES, p, 0)
#ifndef ALL_YES
        :: st[p] == NONE -> decide(p, ABORTED); send(VOTE_NO, p, 0)
#endif
        :: st[p] == ABORTED -> send(VOTE_NO, p, 0)
        :: st[p] != NONE && st[p] != ABORTED -> send(VOTE_YES, p, 0)
        fi }
    :: atomic { EXPIRED(p) && st[p] == NONE -> decide(p, ABORTED); send(VOTE_NO, p, 0) }
#ifndef COOPERATIVE
    :: atomic { EXPIRED(p) && st[p] == YES -> decide(p, ABORTED) }
    :: atomic { EXPIRED(p) && st[p] == PRECOMMITTED -> decide(p, COMMITTED) }
#endif
    od
}

/* In doubt, not in a round, and to its knowledge the lowest of those in doubt: with true timeouts
 * its knowledge is right, with false ones anybody may think so. (A decided member answers when it
 * is asked.) */
#ifdef RECOVERED_ASK
#define COUNTS(p) (!IN(recovered, p))
#else
#define COUNTS(p) true
#endif
#define IN_DOUBT(p) ((st[p] == YES || st[p] == PRECOMMITTED) && !(p == 0 && COORDINATING))
#ifdef DELAY
#define LOWER(p, q) (rounds == 0)
#define START_ROUND rounds--
#else
#define START_ROUND skip
#define LOWER(p, q) (q < p && REACHES(p, q) && !DECIDED(q) && COUNTS(q))
#endif
#define LEARNS(p, q) (EXPIRED(p) && IN_DOUBT(p) && !COUNTS(p) && REACHES(p, q) && DECIDED(q) && \
                      !IN(net[(st[q] == COMMITTED -> COMMIT : ABORT) * M + p], q))
#define MAY_LEAD(p) (IN_DOUBT(p) && COUNTS(p) && backup[p] == IDLE && \
                     !LOWER(p, 0) && !LOWER(p, 1) && !LOWER(p, 2))

/* Every member, the coordinator too. */
proctype member(byte p)
{
end:
    do
    :: atomic { GOT(COMMIT, p) -> obey(p, COMMIT, COMMITTED) }
    :: atomic { GOT(ABORT, p) -> obey(p, ABORT, ABORTED) }
    :: atomic { GOT(PRECOMMIT, p) -> take(PRECOMMIT, p);
        if
        :: st[p] == YES || st[p] == PRECOMMITTED -> st[p] = PRECOMMITTED; send(ACK, p, from)
        :: else -> tell(p, from)
        fi }
    :: atomic { GOT(ACK, p) -> take(ACK, p);
        if
        :: p == 0 && COORDINATING ->
            acks = acks | BIT(from);
            if :: acks == PARTICIPANTS -> finish(0, COMMITTED) :: else fi
        :: else
        fi }
#ifdef COOPERATIVE
    :: atomic { GOT(POLL, p) -> take(POLL, p);
        backup[p] = IDLE;
        if :: st[p] == NONE -> decide(p, ABORTED) :: else fi;
        if
        :: st[p] == PRECOMMITTED && COUNTS(p) -> send(IS_PRECOMMITTED, p, from)
        :: else -> tell(p, from) /* in doubt: says so, which changes nothing */
        fi }
    :: atomic { GOT(IS_PRECOMMITTED, p) -> take(IS_PRECOMMITTED, p);
        if :: backup[p] == ASKED -> backup[p] = ASKED_SOME_PRECOMMITTED :: else fi }
    :: atomic { EXPIRED(p) && MAY_LEAD(p) -> START_ROUND; backup[p] = ASKED; broadcast(POLL, p) }
    :: atomic { EXPIRED(p) && (backup[p] == ASKED || backup[p] == ASKED_SOME_PRECOMMITTED) ->
        if
        :: st[p] == PRECOMMITTED || backup[p] == ASKED_SOME_PRECOMMITTED ->
            st[p] = PRECOMMITTED; backup[p] = MOVED; broadcast(PRECOMMIT, p)
        :: else -> finish(p, ABORTED)
        fi }
    :: atomic { EXPIRED(p) && backup[p] == MOVED -> finish(p, COMMITTED) }
#ifdef RECOVERED_ASK
    :: atomic { LEARNS(p, 0) -> tell(0, p) }
    :: atomic { LEARNS(p, 1) -> tell(1, p) }
    :: atomic { LEARNS(p, 2) -> tell(2, p) }
#if N > 2
    :: atomic { LEARNS(p, 3) -> tell(3, p) }
#endif
#endif
#endif
    od
}

init
{
    atomic {
        broadcast(CAN_COMMIT, 0);
        run member(0);
        run member(1);
        run member(2);
#if N > 2
        run member(3);
#endif
        start_all()
    }
}
