/* census.c: one walk over the live transactions. */
#include "census.h"

#include <string.h>

#include "server.h"

static bool in_doubt(enum assent_coord_phase phase)
{
    switch (phase) {
    case ASSENT_COORD_VOTING:
    case ASSENT_COORD_PRECOMMIT_LOGGING:
    case ASSENT_COORD_PRECOMMITTING:
    case ASSENT_COORD_COMMIT_LOGGING:
    case ASSENT_COORD_COMMITTING:
    case ASSENT_COORD_ONE_PHASE_LOGGING:
    case ASSENT_COORD_ONE_PHASE:
    case ASSENT_COORD_ABORTING:
    case ASSENT_COORD_TERMINATING:
    case ASSENT_COORD_MEMBER_LOGGING:
        return true;
    case ASSENT_COORD_ACTIVE:
    case ASSENT_COORD_ENDING:
    case ASSENT_COORD_ENDED:
        return false;
    }
    return false;
}

static void count(const struct shard *shard, uint64_t now_ms, struct census *census)
{
    for (const struct transaction *t = shard->transactions.by_order; t != NULL; t = t->hh.next) {
        census->live++;
        census->by_phase[t->machine.phase]++;
        census->undecided += t->machine.outcome == ASSENT_OUTCOME_UNKNOWN;
        if (!in_doubt(t->machine.phase))
            continue;
        census->in_doubt++;
        if (now_ms - t->begun_ms > census->oldest_in_doubt_ms)
            census->oldest_in_doubt_ms = now_ms - t->begun_ms;
    }
}

void census_take(const struct server *server, struct census *census)
{
    uint64_t now_ms = assent_now_ms();

    memset(census, 0, sizeof(*census));
    for (unsigned i = 0; i < server->shard_count; i++)
        count(&server->shards[i], now_ms, census);
    for (uint32_t i = 0; i < server->participants.count; i++)
        census->participants_up += participant_is_up(server->participants.by_number[i]);
}
