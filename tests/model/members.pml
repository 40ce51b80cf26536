/*
 * Who takes part, what each holds durably, and what must never happen: shared by all models.
 * Source: design.md parts 1 and 2, reliability.md part 3.
 *
 * Member 0 is the coordinator, 1..N are the participants. A verifier is built with -DN=2 or -DN=3.
 * The assertions carry the names under which the runner reads them from pan's output.
 */
#ifndef N
#define N 3
#endif
#define M (N + 1)
#define BIT(i) (1 << (i))
#define ALL (BIT(M) - 1)
#define PARTICIPANTS (ALL - 1)

/* Quorums: the participants vote, and the coordinator too when their number is even, so that the
 * number of voters is odd (e3pc.md). For N = 2 and N = 3 that makes three voters. */
#ifndef VOTERS
#define VOTERS (N % 2 == 0 -> ALL : PARTICIPANTS)
#endif
#define COUNT(set) (((set) & 1) + (((set) >> 1) & 1) + (((set) >> 2) & 1) + (((set) >> 3) & 1))
#ifndef QUORUM
#define QUORUM(set) (2 * COUNT((set) & VOTERS) > COUNT(VOTERS))
#endif

#define NONE 0
#define YES 1
#define PRECOMMITTED 2
#define PREABORTED 3
#define COMMITTED 4
#define ABORTED 5
byte st[M];

#define DECIDED(p) (st[p] >= COMMITTED)

/* What has been said, for ever: who decided what, and whose yes was durable. */
byte said_commit, said_abort, said_yes;
bool agreement = true, stability = true, validity = true;

/* The only place where a decision is taken or obeyed. */
inline decide(p, v)
{
    st[p] = v;
    if
    :: v == COMMITTED -> said_commit = said_commit | BIT(p)
    :: else -> said_abort = said_abort | BIT(p)
    fi;
    stability = (said_commit & said_abort) == 0;             /* AC2 */
    agreement = said_commit == 0 || said_abort == 0;         /* AC1 */
    validity = said_commit == 0 || said_yes == PARTICIPANTS; /* AC3 */
    assert(stability);
    assert(agreement);
    assert(validity)
}
