/*
 * The rules of e3pc.pml that a switch can break: each the right way first, then the mistake of
 * e3pc.md's list that -DM_... puts in its place. Mistakes that take a step of their own (a write
 * that a crash took) stand beside the step in e3pc.pml.
 */

/* Durable at the start. M_ELECTED_ZERO: last_elected starts at 0, and ballot 1 is anybody's. */
#ifdef M_ELECTED_ZERO
#define FIRST_ELECTED 0
#else
#define FIRST_ELECTED 1
#endif

/* Every yes is awaited. M_SOME_VOTES: a majority will do. */
#ifdef M_SOME_VOTES
#define VOTED(set) QUORUM(set)
#else
#define VOTED(set) ((set) == PARTICIPANTS)
#endif

/* The coordinator keeps its own promise when it sends PreCommit. M_OWN_PROMISE: it does not. */
#ifdef M_OWN_PROMISE
#define MAY_SEND_PRECOMMIT true
#else
#define MAY_SEND_PRECOMMIT (elected[0] <= 1)
#endif

/* So does a participant when it gets one. M_OLD_PRECOMMIT: it does not. */
#ifdef M_OLD_PRECOMMIT
#define MAY_PRECOMMIT(p) (st[p] == YES || st[p] == PREABORTED)
#else
#define MAY_PRECOMMIT(p) (st[p] == YES && elected[p] <= 1 && attempt[p] < 1)
#endif

/* M_ELECTED_FALLS: any ballot is answered, and last_elected goes down. */
#ifdef M_ELECTED_FALLS
#define MAY_ANSWER(p, b) true
#else
#define MAY_ANSWER(p, b) ((b) > elected[p] || ((b) == elected[p] && attempt[p] < (b)))
#endif

/* M_ACCEPT_ANY: any proposal is accepted. */
#ifdef M_ACCEPT_ANY
#define MAY_ACCEPT(p, b) (attempt[p] != (b))
#else
#define MAY_ACCEPT(p, b) ((b) >= elected[p] && attempt[p] < (b))
#endif

/* M_PROPOSE_AGAIN: the proposal is worked out again from later answers. */
#ifdef M_PROPOSE_AGAIN
#define MAY_PROPOSE(p, b) (elected[p] == (b) && attempt[p] <= (b))
#else
#define MAY_PROPOSE(p, b) (elected[p] == (b) && attempt[p] < (b))
#endif

/* A ballot has one candidate. M_SAME_BALLOT: two may use the same. */
#ifdef M_SAME_BALLOT
#define MAY_USE(p, b) (!IN(asked[b], p))
#else
#define MAY_USE(p, b) (asked[b] == 0)
#endif

/* Answers and acknowledgements count for their own ballot. */
#ifdef M_OLD_ANSWERS
#define ANSWER(b, p) (answer[AT(b, p)] != 0 -> answer[AT(b, p)] : answer[AT(b - 1, p)])
#else
#define ANSWER(b, p) answer[AT(b, p)]
#endif
#ifdef M_OLD_ACKS
#define ACKS(b) (acked[b] | acked[b - 1])
#else
#define ACKS(b) acked[b]
#endif

/* What an answer carries: last_attempt, and whether the state is pre-committed. M_BY_ELECTED:
 * last_elected in its place. M_YES_COUNTS: yes counts as committable. */
#ifdef M_BY_ELECTED
#define RANK(p) elected[p]
#else
#define RANK(p) attempt[p]
#endif
#ifdef M_YES_COUNTS
#define COMMITTABLE(p) (st[p] == PRECOMMITTED || st[p] == YES)
#else
#define COMMITTABLE(p) (st[p] == PRECOMMITTED)
#endif

/* Pre-commit if all those with the highest last_attempt are pre-committed. M_ANY_PRECOMMITTED: if
 * anybody is. */
#ifdef M_ANY_PRECOMMITTED
#define PROPOSES_COMMIT (some_committable)
#else
#define PROPOSES_COMMIT (best_committable)
#endif

/* A candidate decides on a quorum of acknowledgements. M_OWN_ACK: on its own. */
#ifdef M_OWN_ACK
#define ACCEPTED(p, b) IN(acked[b], p)
#else
#define ACCEPTED(p, b) QUORUM(ACKS(b))
#endif

/* Who takes part in elections: everybody. Without the unvoted, the pre-aborted, or the recovered
 * coordinator that has no record, nothing splits, but a majority blocks. */
#if defined(M_UNVOTED_SILENT)
#define ANSWERS(p) (st[p] != NONE || p == 0)
#elif defined(M_PREABORTED_SILENT)
#define ANSWERS(p) (st[p] != PREABORTED)
#elif defined(M_COORDINATOR_SILENT)
#define ANSWERS(p) (st[p] != NONE || p != 0)
#else
#define ANSWERS(p) true
#endif
