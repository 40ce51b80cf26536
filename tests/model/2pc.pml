/*
 * Two-phase commit, presumed abort; with -DCOOPERATIVE, participants in doubt ask each other.
 *
 * Rule                                                             source
 * yes is durable before it is sent; a no is durable as aborted     design.md 2.1, e3pc.md
 * commit is logged before it is told; abort is not logged          protocols.md "The states"
 * votes missing at the deadline: abort                             protocols.md
 * a coordinator without a record answers abort                     protocols.md (presumed abort)
 * a participant not yet asked may abort alone                      protocols.md "Timeouts"
 * in doubt: ask; never decide from silence                         e3pc.md, last paragraph
 * an unvoted peer refuses for good (aborted, durably), then tells  e3pc.md, last paragraph
 *
 * Left out: one-phase commit, acknowledgements and forgetting.
 * -DALL_YES: nobody votes no.
 */
#define KINDS 5
#define PREPARE 0
#define VOTE_YES 1
#define VOTE_NO 2
#define COMMIT 3
#define ABORT 4

#include "members.pml"

byte votes; /* in the coordinator's memory */

/* Abort is presumed, not logged: a restart finds commit or nothing. */
inline lose(p)
{
    if
    :: p == 0 -> votes = 0; if :: st[0] == ABORTED -> st[0] = NONE :: else fi
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

proctype coordinator()
{
end:
    do
    :: atomic { GOT(VOTE_YES, 0) -> take(VOTE_YES, 0);
        if
        :: st[0] == NONE ->
            votes = votes | BIT(from);
            if
            :: votes == PARTICIPANTS -> decide(0, COMMITTED); broadcast(COMMIT, 0)
            :: else
            fi
        :: else -> tell(0, from)
        fi }
    :: atomic { GOT(VOTE_NO, 0) -> take(VOTE_NO, 0);
        if
        :: st[0] == NONE -> decide(0, ABORTED); broadcast(ABORT, 0)
        :: else
        fi }
    :: atomic { EXPIRED(0) && st[0] == NONE -> decide(0, ABORTED); broadcast(ABORT, 0) }
    :: atomic { GOT(ABORT, 0) -> take(ABORT, 0) }
    :: atomic { GOT(COMMIT, 0) -> take(COMMIT, 0) }
    od
}

/* p, in doubt, asks q. The question takes no time (p's timeout may be as late as one likes), the
 * answer does. Only questions with a new answer are asked, so that a run ends. */
#define ANSWER(q) (st[q] == COMMITTED -> COMMIT : ABORT)
#define CAN_HELP(q, p) (EXPIRED(p) && st[p] == YES && REACHES(p, q) && KNOWS(q) && \
                        !IN(net[ANSWER(q) * M + p], q))
#define KNOWS(q) (DECIDED(q) || (q != 0 && st[q] == NONE))

inline refuse(q)
{
    if :: st[q] == NONE -> decide(q, ABORTED) :: else fi
}

proctype participant(byte p)
{
end:
    do
    :: atomic { GOT(PREPARE, p) -> take(PREPARE, p);
        if
        :: st[p] == NONE -> st[p] = YES; said_yes = said_yes | BIT(p); send(VOTE_YES, p, 0)
#ifndef ALL_YES
        :: st[p] == NONE -> decide(p, ABORTED); send(VOTE_NO, p, 0)
#endif
        :: st[p] == YES -> send(VOTE_YES, p, 0)
        :: st[p] == ABORTED -> send(VOTE_NO, p, 0)
        :: st[p] == COMMITTED -> skip
        fi }
    :: atomic { GOT(COMMIT, p) -> take(COMMIT, p);
        if :: st[p] == YES -> decide(p, COMMITTED) :: else fi }
    :: atomic { GOT(ABORT, p) -> take(ABORT, p);
        if :: !DECIDED(p) -> decide(p, ABORTED) :: else fi }
    :: atomic { EXPIRED(p) && st[p] == NONE -> decide(p, ABORTED); send(VOTE_NO, p, 0) }
    :: atomic { CAN_HELP(0, p) -> tell(0, p) }
#ifdef COOPERATIVE
    :: atomic { CAN_HELP(1, p) -> refuse(1); tell(1, p) }
    :: atomic { CAN_HELP(2, p) -> refuse(2); tell(2, p) }
#if N > 2
    :: atomic { CAN_HELP(3, p) -> refuse(3); tell(3, p) }
#endif
#endif
    od
}

init
{
    atomic { broadcast(PREPARE, 0); start_all() }
}
