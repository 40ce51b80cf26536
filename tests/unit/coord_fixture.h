/*
 * coord_fixture.h: what tests of the coordinator's machine share: one machine, its last actions,
 * and questions about them.
 */
#ifndef ASSENT_TEST_COORD_FIXTURE_H
#define ASSENT_TEST_COORD_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator.h"
#include "gtrid.h"

static const struct assent_coord_config config = {
    .incarnation = 7,
    .prepare_timeout_ms = 1000,
    .precommit_timeout_ms = 500,
    .retry_min_ms = 100,
    .retry_max_ms = 1000,
    .abort_delivery_ms = 5000,
};

static struct assent_coord m;
static struct assent_coord_actions acts;

static inline void step(struct assent_coord_event event)
{
    assent_coord_step(&m, &config, &event, &acts);
}

static inline unsigned count(enum assent_coord_action_kind kind)
{
    unsigned n = 0;

    for (size_t i = 0; i < acts.count; i++)
        n += acts.items[i].kind == kind;
    return n;
}

static inline unsigned sent(enum assent_message_kind kind)
{
    unsigned n = 0;

    for (size_t i = 0; i < acts.count; i++)
        n += acts.items[i].kind == ASSENT_COORD_ACT_SEND && acts.items[i].message.kind == kind;
    return n;
}

static inline bool logs(enum assent_coord_record_kind record, bool forced)
{
    for (size_t i = 0; i < acts.count; i++)
        if (acts.items[i].kind == ASSENT_COORD_ACT_LOG && acts.items[i].record == record)
            return acts.items[i].forced == forced;
    return false;
}

#endif
