/*
 * Network, clocks and faults for 2pc.pml and 3pc.pml; each kind of fault has a budget.
 *
 *   -DCRASHES=n   crashes, of the members in -DVICTIMS (a set; at most one of them a participant)
 *   -DRESTARTS=n  restarts; a member down comes back at some time, if the budget allows
 *   -DCUTS=n      partitions into two parts, any two; -DHEALS=n of them end
 *   -DLOSSES=n    messages lost between members that are up and connected
 *   -DDELAY       no bound on delays: timeouts are false alarms too, messages outlive their sender
 *   -DDUPLICATES  a message may arrive again and again (then no run ends: use SAFETY_ONLY)
 *   -DSAFETY_ONLY blocking is not looked at
 *
 * Messages between two members arrive in any order. Without DELAY, timeouts are true: one expires
 * only when nothing is under way, so that silence proves a crash, a partition or a loss. A crash
 * takes along what the member knew only in memory (the model's lose()) and what it had on the way:
 * what arrived before is another interleaving, so each subset of a broadcast is covered.
 * The model defines lose(p), recover(p) and KINDS.
 */
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef VICTIMS
#define VICTIMS ALL
#endif
#ifndef RESTARTS
#define RESTARTS 0
#endif
#ifndef CUTS
#define CUTS 0
#endif
#ifndef HEALS
#define HEALS 0
#endif
#ifndef LOSSES
#define LOSSES 0
#endif

byte net[KINDS * M]; /* net[kind * M + to]: the set of those from whom one is under way */
byte under_way;      /* how many in all */
byte up = ALL, side; /* who runs; who is on the other side of a partition */
byte crashes = CRASHES, restarts = RESTARTS, cuts = CUTS, heals = HEALS, losses = LOSSES;
hidden byte from, i, k; /* scratch, inside atomic steps only; a d_step would not restore it */

#define IN(set, p) (((set) >> (p)) & 1)
#define REACHES(p, q) (IN(up, q) && IN(side, p) == IN(side, q))
#define GOT(kind, p) (IN(up, p) && net[(kind) * M + (p)] != 0)
#ifdef DELAY
#define EXPIRED(p) IN(up, p)
#else
#define EXPIRED(p) (IN(up, p) && under_way == 0)
#endif

inline send(kind, who, whom)
{
    if
    :: REACHES(who, whom) && !IN(net[(kind) * M + (whom)], who) ->
        if
        :: net[(kind) * M + (whom)] = net[(kind) * M + (whom)] | BIT(who); under_way++
        :: losses > 0 -> losses--
        fi
    :: else
    fi
}

inline broadcast(kind, who)
{
    i = 0;
    do
    :: i < M -> if :: i != who -> send(kind, who, i) :: else fi; i++
    :: else -> break
    od;
    i = 0
}

inline drop(at, who)
{
    if
    :: IN(net[at], who) -> net[at] = net[at] & ~BIT(who); under_way--
    :: else
    fi
}

/* Takes one of the messages of a kind, from any of its senders. */
inline take(kind, who)
{
    if
    :: IN(net[(kind) * M + (who)], 0) -> from = 0
    :: IN(net[(kind) * M + (who)], 1) -> from = 1
    :: IN(net[(kind) * M + (who)], 2) -> from = 2
    :: IN(net[(kind) * M + (who)], 3) -> from = 3
    fi;
    if
    :: drop((kind) * M + (who), from)
#ifdef DUPLICATES
    :: skip
#endif
    fi
}

/* Drops what is under way to a member that is down or, delays being bounded, out of reach. */
#ifdef DELAY
#define LOST(p, q) (!IN(up, q))
#else
#define LOST(p, q) (!REACHES(p, q) || !IN(up, p))
#endif
inline drop_lost()
{
    k = 0;
    do
    :: k < KINDS * M ->
        i = 0;
        do
        :: i < M -> if :: LOST(i, k % M) -> drop(k, i) :: else fi; i++
        :: else -> break
        od;
        k++
    :: else -> break
    od;
    k = 0;
    i = 0
}

/* Member p fails, and comes back. */
proctype failure(byte p)
{
end:
    do
    :: atomic {
        crashes > 0 && IN(up & (VICTIMS), p) && (p == 0 || (up | 1) == ALL) -> crashes--;
        up = up & ~BIT(p);
        lose(p);
        drop_lost() }
    :: atomic { restarts > 0 && !IN(up, p) -> restarts--; up = up | BIT(p); recover(p) }
    od
}

proctype partition()
{
end:
    do
    :: atomic {
        cuts > 0 && side == 0 -> cuts--; side = 1;
        do
        :: side < ALL / 2 -> side++
        :: break
        od;
        drop_lost() }
    :: atomic { heals > 0 && side != 0 -> heals--; side = 0 }
    od
}

/* A part of the network, by its side; what no longer can change is judged when nothing can happen:
 * budgets spent, everything delivered, every timeout expired. */
#define WAITING (up & ~(said_commit | said_abort))

bool all_decide = true, majority_decides = true, never_commit = true, never_abort = true;

proctype verdict()
{
    timeout;
    d_step {
        majority_decides = !((QUORUM(up & side) && (WAITING & side)) ||
                             (QUORUM(up & ~side) && (WAITING & ~side)));
        all_decide = !WAITING;
        never_commit = said_commit == 0;
        never_abort = said_abort == 0
    }
    assert(majority_decides);
    assert(all_decide);
    assert(never_commit);
    assert(never_abort)
}

inline start_all()
{
    run coordinator();
    run participant(1);
    run participant(2);
#if N > 2
    run participant(3);
#endif
    run failure(0);
    run failure(1);
    run failure(2);
#if N > 2
    run failure(3);
#endif
    run partition();
#ifndef SAFETY_ONLY
    run verdict()
#endif
}
