/*
 * test_postgres_work.c: SQL as the work of a branch: its forms, its answers, its bounds, and what
 * is refused; on a real server.
 */
#include "postgres_fixture.h"

#include <pthread.h>

static void work_takes_sql_and_json_and_answers_rows_and_counts(void **state)
{
    struct driver *d = *state;

    expect_reply(d, 1, "INSERT INTO kv VALUES (1, 10), (2, 20)\n\nSELECT k, v FROM kv ORDER BY k",
                 "{\"results\":[{\"command\":\"INSERT\",\"count\":2},"
                 "{\"columns\":[\"k\",\"v\"],\"rows\":[[1,10],[2,20]],"
                 "\"command\":\"SELECT\",\"count\":2}]}");
    expect_reply(d, 1,
                 "{\"sql\":\"UPDATE kv SET v = v + $1 WHERE k = $2\",\"params\":[5,\"1\"],"
                 "\"rows\":1}",
                 "{\"results\":[{\"command\":\"UPDATE\",\"count\":1}]}");
    expect_reply(d, 1,
                 "[\"SELECT v FROM kv WHERE k = 1\", {\"sql\":\"SELECT $1::bool, $2::text, "
                 "$3::jsonb ->> 'a', $4::numeric, $5::text\","
                 "\"params\":[true, null, {\"a\":\"b\"}, 1.5, \"it's\"]}]",
                 "{\"results\":[{\"columns\":[\"v\"],\"rows\":[[15]],\"command\":\"SELECT\","
                 "\"count\":1},{\"columns\":[\"bool\",\"text\",\"?column?\",\"numeric\",\"text\"],"
                 "\"rows\":[[true,null,\"b\",\"1.5\",\"it's\"]],\"command\":\"SELECT\","
                 "\"count\":1}]}");
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
}

static void wrong_work_is_named(void **state)
{
    static const struct {
        const char *work, *reason;
    } rows[] = {
        {"", "the work has no statement"},
        {"[]", "the work has no statement, or over 10000"},
        {"{\"sql\":1}", "statement 1: no text \"sql\""},
        {"[\"SELECT 1\",{\"sql\":\"SELECT 1\",\"parms\":[]}]",
         "statement 2: there is no key \"parms\""},
        {"{\"sql\":\"SELECT 1\",\"params\":{}}",
         "statement 1: \"params\" is not an array of at most 1000"},
        {"{\"sql\":\"SELECT 1\",\"rows\":\"1\"}", "statement 1: \"rows\" is not a number"},
        {"SELECT 1\nCOMMIT", "statement 2: commit is not for the work of a branch"},
        {"/* a /* b */ */ ; -- c\r abort", "statement 1: abort is not for the work of a branch"},
        {"prepare transaction 'x'", "statement 1: prepare is not for the work of a branch"},
        {"SELECT 1; COMMIT",
         "statement 1: 42601: cannot insert multiple commands into a prepared statement"},
        {"SELECT 1\nSELEC 2", "statement 2: 42601: syntax error at or near \"SELEC\""},
        {"{\"sql\":\"SELECT 1 WHERE false\",\"rows\":1}", "statement 1: SELECT of 0 rows, not 1"},
        {"SELECT generate_series(1, 10001)", "statement 1: the rows of the reply are over 10000"},
        {"SELECT repeat('x', 600000)", "statement 1: the bytes of the reply are over 524288"},
    };
    struct driver *d = *state;

    for (unsigned n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
        struct assent_call call;

        assert_int_equal(driver_begin(d, n), ASSENT_RM_OK);
        call = driver_work(d, n, rows[n].work, 5000);
        assert_string_equal(call.reason, rows[n].reason);
        assert_int_equal(call.result, ASSENT_RM_FAILED);
        /* Failed once, failed for good: it can only roll back. */
        expect_work_fails(d, n, "SELECT 1", rows[n].reason);
        expect_reason(d, ASSENT_OP_PREPARE, n, ASSENT_RM_FAILED, rows[n].reason);
        expect(d, ASSENT_OP_ROLLBACK, n, ASSENT_RM_OK);
    }
}

static void a_wait_for_a_lock_ends_in_time(void **state)
{
    struct driver *d = *state;
    struct assent_call call;

    expect_work(d, 1, "INSERT INTO kv VALUES (1, 1)");
    expect(d, ASSENT_OP_ONE_PHASE, 1, ASSENT_RM_OK);
    expect_work(d, 2, "UPDATE kv SET v = 2");
    /* Long enough that a tenth of it is more than the statement takes to come to the lock. */
    assert_int_equal(driver_begin(d, 3), ASSENT_RM_OK);
    call = driver_work(d, 3, "UPDATE kv SET v = 3", 1000);
    assert_int_equal(call.result, ASSENT_RM_FAILED);
    assert_string_equal(call.reason, "statement 1: 55P03: canceling statement due to lock timeout");
    expect_work_fails(d, 4, "SELECT pg_sleep(60)",
                      "statement 1: 57014: canceling statement due to statement timeout");
    expect(d, ASSENT_OP_PREPARE, 2, ASSENT_RM_OK);
    expect(d, ASSENT_OP_COMMIT, 2, ASSENT_RM_OK);
}

/* Time-outs are the session's own for work that may take as long as the work that it was made for;
 * the user's options stay what they are. */
static void each_work_has_its_time_out_and_the_users_options(void **state)
{
    static const char ask[] = "SELECT current_setting('statement_timeout')"
                              " || current_setting('lock_timeout') || current_setting('work_mem')";
    static const struct {
        uint32_t timeout_ms;
        const char *work, *answer;
    } rows[] = {
        {5000, ask, "\"5s4500ms7MB\""},
        {20, ask, "\"20ms18ms7MB\""},
        {5000, "SET statement_timeout = 1", "SET"},
        {5000, "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET"},
        {5000, ask, "\"5s4500ms7MB\""},
    };
    struct driver *d = *state;
    char optional[600];

    driver_close(d);
    snprintf(optional, sizeof(optional), "connections=1 %s options='-c work_mem=7MB'", parameters);
    d->parameters = optional;
    driver_reopen(d);
    for (unsigned n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
        struct assent_call call;

        assert_int_equal(driver_begin(d, n), ASSENT_RM_OK);
        call = driver_work(d, n, rows[n].work, rows[n].timeout_ms);
        assert_int_equal(call.result, ASSENT_RM_OK);
        assert_non_null(strstr(call.reply, rows[n].answer));
        free(call.reply);
        /* The next work of the same branch has its own. */
        call = driver_work(d, n, ask, 7000);
        assert_non_null(strstr(call.reply, "\"7s6300ms7MB\""));
        free(call.reply);
        expect(d, ASSENT_OP_PREPARE, n, ASSENT_RM_READ_ONLY);
    }
    d->parameters = parameters;
}

static void settings_of_one_branch_do_not_reach_the_next(void **state)
{
    struct driver *d = *state;

    expect_work(d, 1, "SET search_path = nowhere\nSELECT pg_advisory_lock(1)");
    expect(d, ASSENT_OP_PREPARE, 1, ASSENT_RM_READ_ONLY);
    expect_reply(d, 2, "SELECT count(*) FROM kv\nSELECT pg_try_advisory_lock(1)",
                 "{\"results\":[{\"columns\":[\"count\"],\"rows\":[[0]],\"command\":\"SELECT\","
                 "\"count\":1},{\"columns\":[\"pg_try_advisory_lock\"],\"rows\":[[true]],"
                 "\"command\":\"SELECT\",\"count\":1}]}");
    expect(d, ASSENT_OP_ROLLBACK, 2, ASSENT_RM_OK);
}

struct thread {
    struct driver *driver;
    unsigned first, failures;
};

static void *run_branches(void *context)
{
    struct thread *thread = context;

    for (unsigned n = thread->first; n < thread->first + 10; n++) {
        struct assent_call call;

        (void)driver_begin(thread->driver, n);
        call = driver_work(thread->driver, n, "SELECT 1", 5000);
        free(call.reply);
        thread->failures += call.result != ASSENT_RM_OK;
        (void)driver_call(thread->driver, ASSENT_OP_ROLLBACK, n);
    }
    return NULL;
}

/* Who finds all in work waits for one that is given back, and says so if none is. */
static void the_pool_is_bounded_and_says_so(void **state)
{
    struct driver *d = *state;
    struct thread threads[4];
    struct assent_call call;
    char bounded[600];
    pthread_t ids[4];

    driver_close(d);
    snprintf(bounded, sizeof(bounded), "connections=2 %s", parameters);
    d->parameters = bounded;
    driver_reopen(d);
    for (unsigned i = 0; i < 4; i++) {
        threads[i] = (struct thread){.driver = d, .first = 100 * i};
        assert_int_equal(pthread_create(&ids[i], NULL, run_branches, &threads[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(ids[i], NULL);
        assert_int_equal(threads[i].failures, 0);
    }
    expect_work(d, 1, "SELECT 1");
    expect_work(d, 2, "SELECT 1");
    assert_int_equal(driver_begin(d, 3), ASSENT_RM_OK);
    call = driver_work(d, 3, "SELECT 1", 20);
    assert_int_equal(call.result, ASSENT_RM_UNAVAILABLE);
    assert_string_equal(call.reason, "all 2 connections are in work");
    expect(d, ASSENT_OP_ROLLBACK, 3, ASSENT_RM_OK);
    expect(d, ASSENT_OP_ROLLBACK, 1, ASSENT_RM_OK);
    expect_work(d, 4, "SELECT 1");
    d->parameters = parameters;
}

static void a_query_reads_and_cannot_write(void **state)
{
    struct driver *d = *state;
    char error[512], *json = NULL;

    expect_work(d, 1, "INSERT INTO kv VALUES (1, 7)");
    expect(d, ASSENT_OP_ONE_PHASE, 1, ASSENT_RM_OK);
    assert_int_equal(
        d->ops->query(d->resource, "SELECT v FROM kv WHERE k = 1", &json, error, sizeof(error)), 0);
    assert_string_equal(json, "{\"results\":[{\"columns\":[\"v\"],\"rows\":[[7]],"
                              "\"command\":\"SELECT\",\"count\":1}]}");
    free(json);
    assert_int_equal(d->ops->query(d->resource, "DELETE FROM kv", &json, error, sizeof(error)),
                     ASSENT_E_INVALID);
    assert_string_equal(error, "postgres: statement 1: 25006: cannot execute DELETE in a read-only "
                               "transaction");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(work_takes_sql_and_json_and_answers_rows_and_counts),
        TEST(wrong_work_is_named),
        TEST(a_wait_for_a_lock_ends_in_time),
        TEST(each_work_has_its_time_out_and_the_users_options),
        TEST(settings_of_one_branch_do_not_reach_the_next),
        TEST(the_pool_is_bounded_and_says_so),
        TEST(a_query_reads_and_cannot_write),
    };
#undef TEST

    return find_server() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
