/* test_retention.c: which outcomes may be forgotten, and what the mark says about the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "retention.h"

#define DAY 86400000ull

static struct assent_coord_record outcome(enum assent_outcome outcome, uint64_t ended_age_ms)
{
    return (struct assent_coord_record){
        .kind = ASSENT_COORD_RECORD_OUTCOME, .outcome = outcome, .ended_age_ms = ended_age_ms};
}

static void outcomes_are_kept_for_the_whole_time(void **state)
{
    struct assent_coord_record record = outcome(ASSENT_OUTCOME_COMMITTED, 1000);

    (void)state;
    assert_false(retention_is_due(&record, 1000, DAY));
    assert_false(retention_is_due(&record, 1000 + DAY - 1, DAY));
    assert_true(retention_is_due(&record, 1000 + DAY, DAY));
    record = outcome(ASSENT_OUTCOME_ABORTED, 1000);
    assert_false(retention_is_due(&record, 1000 + DAY - 1, DAY));
    assert_true(retention_is_due(&record, 1000 + DAY, DAY));
}

static void an_age_that_went_back_expires_nothing(void **state)
{
    struct assent_coord_record record = outcome(ASSENT_OUTCOME_COMMITTED, 5 * DAY);

    (void)state;
    assert_false(retention_is_due(&record, DAY, DAY));
}

static void mixed_and_hazard_wait_for_a_person(void **state)
{
    struct assent_coord_record mixed = outcome(ASSENT_OUTCOME_MIXED, 0);
    struct assent_coord_record hazard = outcome(ASSENT_OUTCOME_HAZARD, 0);

    (void)state;
    assert_false(retention_is_due(&mixed, 1000 * DAY, DAY));
    assert_false(retention_is_due(&hazard, 1000 * DAY, DAY));
}

static void what_has_not_ended_is_never_due(void **state)
{
    struct assent_coord_record record = outcome(ASSENT_OUTCOME_COMMITTED, 0);

    (void)state;
    record.kind = ASSENT_COORD_RECORD_COMMIT;
    assert_false(retention_is_due(&record, 1000 * DAY, DAY));
    record.kind = ASSENT_COORD_RECORD_ONE_PHASE;
    assert_false(retention_is_due(&record, 1000 * DAY, DAY));
    record.kind = ASSENT_COORD_RECORD_PRECOMMIT;
    assert_false(retention_is_due(&record, 1000 * DAY, DAY));
}

static void the_mark_covers_what_is_at_or_below_it(void **state)
{
    struct retention nothing = {.expired_below = 0};
    struct retention retention = {.expired_below = (uint64_t)2 << 40 | 5};

    (void)state;
    assert_false(retention_has_pruned(&nothing, (uint64_t)1 << 40));
    assert_true(retention_has_pruned(&retention, (uint64_t)1 << 40 | 900));
    assert_true(retention_has_pruned(&retention, (uint64_t)2 << 40 | 5));
    assert_false(retention_has_pruned(&retention, (uint64_t)2 << 40 | 6));
    assert_false(retention_has_pruned(&retention, (uint64_t)3 << 40));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outcomes_are_kept_for_the_whole_time),
        cmocka_unit_test(an_age_that_went_back_expires_nothing),
        cmocka_unit_test(mixed_and_hazard_wait_for_a_person),
        cmocka_unit_test(what_has_not_ended_is_never_due),
        cmocka_unit_test(the_mark_covers_what_is_at_or_below_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
