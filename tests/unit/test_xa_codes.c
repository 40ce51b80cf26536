/* test_xa_codes.c: every answer that a switch can give is taken for what the standard says. */
#include "xa_fixture.h"

#include "assent/xa.h"

static const struct {
    int code;
    const char *name;
    enum assent_rm_result start, prepare, commit, one_phase, rollback;
} codes[] = {
#define UNCLEAR ASSENT_RM_UNKNOWN_CODE
#define FAILED  ASSENT_RM_FAILED
#define REFUSED ASSENT_RM_REFUSED
#define AWAY    ASSENT_RM_UNAVAILABLE
#define RB(code)                                                                                   \
    {                                                                                              \
        code, #code, FAILED, REFUSED, REFUSED, REFUSED, ASSENT_RM_OK                               \
    }
#define ERROR(code)                                                                                \
    {                                                                                              \
        code, #code, FAILED, FAILED, UNCLEAR, UNCLEAR, UNCLEAR                                     \
    }
#define HEUR(code, result)                                                                         \
    {                                                                                              \
        code, #code, FAILED, UNCLEAR, result, result, result                                       \
    }
    {XA_RDONLY, "XA_RDONLY", FAILED, ASSENT_RM_READ_ONLY, UNCLEAR, UNCLEAR, UNCLEAR},
    {XA_RETRY, "XA_RETRY", ASSENT_RM_RETRY, ASSENT_RM_RETRY, ASSENT_RM_RETRY, ASSENT_RM_RETRY,
     ASSENT_RM_RETRY},
    HEUR(XA_HEURMIX, ASSENT_RM_HEUR_MIXED),
    HEUR(XA_HEURRB, ASSENT_RM_HEUR_ABORTED),
    HEUR(XA_HEURCOM, ASSENT_RM_HEUR_COMMITTED),
    HEUR(XA_HEURHAZ, ASSENT_RM_HEUR_HAZARD),
    {XA_NOMIGRATE, "XA_NOMIGRATE", FAILED, UNCLEAR, UNCLEAR, UNCLEAR, UNCLEAR},
    RB(XA_RBROLLBACK),
    RB(XA_RBCOMMFAIL),
    RB(XA_RBDEADLOCK),
    RB(XA_RBINTEGRITY),
    RB(XA_RBOTHER),
    RB(XA_RBPROTO),
    RB(XA_RBTIMEOUT),
    RB(XA_RBTRANSIENT),
    ERROR(XAER_ASYNC),
    ERROR(XAER_RMERR),
    {XAER_NOTA, "XAER_NOTA", ASSENT_RM_NOT_FOUND, ASSENT_RM_NOT_FOUND, ASSENT_RM_NOT_FOUND,
     ASSENT_RM_NOT_FOUND, ASSENT_RM_NOT_FOUND},
    ERROR(XAER_INVAL),
    ERROR(XAER_PROTO),
    {XAER_RMFAIL, "XAER_RMFAIL", AWAY, AWAY, AWAY, AWAY, AWAY},
    ERROR(XAER_DUPID),
    ERROR(XAER_OUTSIDE),
    {42, "code 42", UNCLEAR, UNCLEAR, UNCLEAR, UNCLEAR, UNCLEAR},
    {-99, "code -99", UNCLEAR, UNCLEAR, UNCLEAR, UNCLEAR, UNCLEAR},
};
#define CODES (sizeof(codes) / sizeof(codes[0]))

static void tell(const char *function, int code)
{
    char line[64];

    snprintf(line, sizeof(line), "%s %d\n", function, code);
    script(line);
}

static void expect_code(struct driver *d, enum assent_operation operation, unsigned n,
                        enum assent_rm_result result, size_t row)
{
    struct assent_call call = driver_call(d, operation, n);

    if (call.result != result)
        fail_msg("%s on operation %d: %s (%s)", codes[row].name, (int)operation,
                 assent_rm_result_name(call.result), call.reason);
    if (result != ASSENT_RM_OK)
        assert_non_null(strstr(call.reason, codes[row].name));
}

static void every_code_of_the_switch_has_its_meaning(void **state)
{
    struct driver *d = open_double("double_switch", "threads=3");

    (void)state;
    for (size_t i = 0; i < CODES; i++) {
        unsigned n = 10 * (unsigned)i;
        struct assent_call call;

        tell("start", codes[i].code);
        assert_int_equal(driver_begin(d, n), ASSENT_RM_OK);
        call = driver_work(d, n, "put a 1", 1000);
        assert_int_equal(call.result, codes[i].start);
        expect(d, ASSENT_OP_ROLLBACK, n, ASSENT_RM_OK);

        expect_work(d, n + 1, "put a 1");
        tell("prepare", codes[i].code);
        expect_code(d, ASSENT_OP_PREPARE, n + 1, codes[i].prepare, i);
        (void)driver_call(d, ASSENT_OP_ROLLBACK, n + 1);

        expect_work(d, n + 2, "put a 1");
        tell("one-phase", codes[i].code);
        expect_code(d, ASSENT_OP_ONE_PHASE, n + 2, codes[i].one_phase, i);

        for (unsigned end = 3; end <= 4; end++) {
            expect_work(d, n + end, "put a 1");
            expect(d, ASSENT_OP_PREPARE, n + end, ASSENT_RM_OK);
            tell(end == 3 ? "commit" : "rollback", codes[i].code);
            expect_code(d, end == 3 ? ASSENT_OP_COMMIT : ASSENT_OP_ROLLBACK, n + end,
                        end == 3 ? codes[i].commit : codes[i].rollback, i);
        }
    }
    driver_fini(d);
}

static void a_code_from_the_end_of_work_leaves_a_branch_to_roll_back(void **state)
{
    struct driver *d = open_double("double_switch", "");
    char line[64];

    (void)state;
    for (size_t i = 0; i < CODES; i++) {
        if (codes[i].code == XAER_RMFAIL || codes[i].code == XA_NOMIGRATE ||
            codes[i].code == XAER_NOTA || codes[i].code == XA_RETRY)
            continue;
        expect_work(d, 1, "put a 1");
        snprintf(line, sizeof(line), "end %d done\n", codes[i].code);
        script(line);
        assert_int_not_equal(driver_call(d, ASSENT_OP_PREPARE, 1).result, ASSENT_RM_OK);
        expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_FAILED);
        expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    }
    driver_fini(d);
}

static void a_refused_prepare_needs_no_rollback_and_a_failed_one_gets_it(void **state)
{
    struct driver *d = open_double("double_switch", "");

    (void)state;
    expect_work(d, 1, "put a 1");
    script("prepare 106 drop\n");
    expect_reason(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_REFUSED, "xa_prepare: XA_RBTIMEOUT (106)");
    assert_null(strstr(trace(), "rollback"));
    expect_work(d, 2, "put a 1");
    script("prepare -3\n");
    expect_reason(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_FAILED, "xa_prepare: XAER_RMERR (-3)");
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_EVIDENCE, 2, ASSENT_RM_WAS_ABORTED);
    driver_fini(d);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, empty_before)
    const struct CMUnitTest tests[] = {
        TEST(every_code_of_the_switch_has_its_meaning),
        TEST(a_code_from_the_end_of_work_leaves_a_branch_to_roll_back),
        TEST(a_refused_prepare_needs_no_rollback_and_a_failed_one_gets_it),
    };
#undef TEST
    int failed;

    if (!find_double())
        return 1;
    failed = cmocka_run_group_tests_name("xa_codes", tests, NULL, NULL);
    reset();
    rmdir(home);
    return failed;
}
