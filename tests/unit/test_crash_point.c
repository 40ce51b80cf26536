/* test_crash_point.c: an armed point kills the process at the wanted passage, and only there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash_point.h"
#include "runtime.h"

static void names_are_those_of_the_list(void **state)
{
    (void)state;
    assert_string_equal(assent_crash_name(0), "coord_before_log_one_phase");
    assert_string_equal(assent_crash_name(ASSENT_CRASH_AGENT_FIRST), "agent_before_rm_work");
    for (int i = 0; i < ASSENT_CRASH_COUNT; i++)
        assert_non_null(assent_crash_name(i));
    assert_null(assent_crash_name(-1));
    assert_null(assent_crash_name(ASSENT_CRASH_COUNT));
}

#ifdef ASSENT_WITH_CRASH_POINTS

/* Runs body in a child; returns its wait status. */
static int in_child(void (*body)(void))
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void pass_five_times(void)
{
    for (int i = 0; i < 5; i++) {
        ASSENT_CRASH_POINT(agent_before_send_vote);
        assent_crash_point(ASSENT_CRASH_agent_after_send_vote);
    }
    _exit(7);
}

static void arm_agent(const char *spec)
{
    if (assent_crash_arm(spec, ASSENT_CRASH_AGENT_FIRST, ASSENT_CRASH_COUNT) != 0)
        _exit(9);
}

static void dies_at_first(void)
{
    arm_agent("agent_before_send_vote");
    pass_five_times();
}

static void dies_at_fifth(void)
{
    arm_agent("agent_after_send_vote:5");
    pass_five_times();
}

static void outlives_five(void)
{
    arm_agent("agent_after_send_vote:6");
    pass_five_times();
}

static void never_armed(void)
{
    pass_five_times();
}

static void dies_as_by_sigkill_at_the_wanted_passage(void **state)
{
    int status;

    (void)state;
    status = in_child(dies_at_first);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    status = in_child(dies_at_fifth);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    status = in_child(outlives_five);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    status = in_child(never_armed);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void unknown_names_and_counts_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        ":",
        "agent_before",
        "agent_before_send_votes",
        "coord_before_reply", /* another daemon's */
        "agent_before_send_vote:",
        "agent_before_send_vote:0",
        "agent_before_send_vote:-1",
        "agent_before_send_vote:+1",
        "agent_before_send_vote:1x",
        "agent_before_send_vote:99999999999",
        "agent_before_send_vote:4294967297",
        " agent_before_send_vote",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(assent_crash_arm(bad[i], ASSENT_CRASH_AGENT_FIRST, ASSENT_CRASH_COUNT),
                         ASSENT_E_INVALID);
}

#else

static void without_crash_points_arming_says_so(void **state)
{
    (void)state;
    assert_int_equal(assent_crash_arm("coord_before_reply", 0, ASSENT_CRASH_COUNT), ASSENT_E_STATE);
}

#endif

static void panic_ends_with_its_status_at_once(void **state)
{
    pid_t child = fork();
    int status;

    (void)state;
    assert_true(child >= 0);
    if (child == 0)
        assent_panic(42, "test_panic", "why=%s", "test");
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_those_of_the_list),
#ifdef ASSENT_WITH_CRASH_POINTS
        cmocka_unit_test(dies_as_by_sigkill_at_the_wanted_passage),
        cmocka_unit_test(unknown_names_and_counts_are_refused),
#else
        cmocka_unit_test(without_crash_points_arming_says_so),
#endif
        cmocka_unit_test(panic_ends_with_its_status_at_once),
    };

    return cmocka_run_group_tests_name("crash_point", tests, NULL, NULL);
}
