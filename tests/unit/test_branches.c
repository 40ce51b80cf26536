/* test_branches.c: finding branches, open ones and tombstones, coordinator logs and their bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "branches.h"

static struct assent_branch_id make_id(uint8_t log, uint64_t sequence, uint32_t branch)
{
    struct assent_branch_id id;

    memset(id.log_id, log, sizeof(id.log_id));
    id.gtrid = assent_gtrid_make(1700000000000, 1, 7, sequence);
    id.branch = branch;
    return id;
}

static struct agent_branch *add(struct agent_branches *branches, const struct assent_branch_id *id)
{
    struct coordinator_log *log = agent_branches_log(branches, id->log_id);
    struct agent_branch *branch;

    assert_non_null(log);
    branch = agent_branches_add(branches, log, id);
    assert_non_null(branch);
    return branch;
}

static size_t length(const struct agent_branch_list *list)
{
    struct agent_branch *branch;
    size_t count = 0;

    TAILQ_FOREACH (branch, list, link)
        count++;
    return count;
}

static void each_part_of_the_id_tells_branches_apart(void **state)
{
    struct agent_branches branches;
    struct assent_branch_id ids[] = {make_id(1, 1, 1), make_id(1, 1, 2), make_id(1, 2, 1),
                                     make_id(2, 1, 1)};
    struct assent_branch_id unknown = make_id(2, 2, 1);
    struct agent_branch *added[4];

    (void)state;
    agent_branches_init(&branches);
    for (int i = 0; i < 4; i++)
        added[i] = add(&branches, &ids[i]);
    for (int i = 0; i < 4; i++)
        assert_ptr_equal(agent_branches_find(&branches, &ids[i]), added[i]);
    assert_null(agent_branches_find(&branches, &unknown));
    assert_int_equal(branches.count, 4);
    agent_branches_remove(&branches, added[1]);
    assert_null(agent_branches_find(&branches, &ids[1]));
    assert_int_equal(branches.count, 3);
    agent_branches_fini(&branches);
}

static void a_final_branch_is_a_tombstone_until_it_opens_again(void **state)
{
    struct agent_branches branches;
    struct assent_branch_id id = make_id(1, 1, 1), other = make_id(1, 2, 1);
    struct agent_branch *branch;

    (void)state;
    agent_branches_init(&branches);
    branch = add(&branches, &id);
    add(&branches, &other);
    branch->machine.phase = ASSENT_PART_COMMITTED;
    agent_branches_settle(branch);
    agent_branches_settle(branch);
    assert_int_equal(length(&branch->log->open), 1);
    assert_int_equal(length(&branch->log->ended), 1);
    branch->machine.phase = ASSENT_PART_RESULT_LOGGING;
    agent_branches_settle(branch);
    assert_int_equal(length(&branch->log->open), 2);
    assert_int_equal(length(&branch->log->ended), 0);
    agent_branches_fini(&branches);
}

static void closed_follows_the_order_of_one_log_and_not_the_clock(void **state)
{
    struct agent_branches branches;
    struct assent_branch_id id = make_id(1, 1, 1);
    struct coordinator_log *log;
    struct assent_gtrid early = assent_gtrid_make(9, 1, 7, 99),
                        late = assent_gtrid_make(1, 1, 8, 0);
    struct assent_gtrid same = assent_gtrid_make(5, 1, 7, 100);

    (void)state;
    agent_branches_init(&branches);
    log = agent_branches_log(&branches, id.log_id);
    assert_non_null(log);
    assert_false(agent_branches_closed(log, &early));
    log->has_ended_below = true;
    log->ended_below = same;
    assert_true(agent_branches_closed(log, &early));
    assert_false(agent_branches_closed(log, &same));
    assert_false(agent_branches_closed(log, &late));
    agent_branches_fini(&branches);
}

static void coordinator_logs_are_bounded(void **state)
{
    struct agent_branches branches;
    uint8_t id[ASSENT_LOG_ID_BYTES] = {0};

    (void)state;
    agent_branches_init(&branches);
    for (int i = 0; i < AGENT_LOGS_MAX; i++) {
        id[0] = (uint8_t)i;
        id[1] = 1;
        assert_non_null(agent_branches_log(&branches, id));
    }
    assert_non_null(agent_branches_log(&branches, id));
    id[1] = 2;
    assert_null(agent_branches_log(&branches, id));
    agent_branches_fini(&branches);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_part_of_the_id_tells_branches_apart),
        cmocka_unit_test(a_final_branch_is_a_tombstone_until_it_opens_again),
        cmocka_unit_test(closed_follows_the_order_of_one_log_and_not_the_clock),
        cmocka_unit_test(coordinator_logs_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
