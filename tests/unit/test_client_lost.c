/*
 * test_client_lost.c: the client's blocking calls when no answer comes, or none that can be
 * believed: the outcome is unknown, and nothing is asked twice.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "client_fixture.h"

static const struct assent_gtrid gtrid = {{7, 7, 7}};
static const struct assent_gtrid zero;

/* --- lost and late --- */

static void lose_answers_script(struct fake *fake)
{
    fake_greet(fake);
    fake_take(fake, ASSENT_WIRE_END);
    fake_close(fake);
    fake_greet(fake);
    fake_take(fake, ASSENT_WIRE_RUN); /* and not the commit again */
    fake_close(fake);
    fake_greet(fake);
    fake_take(fake, ASSENT_WIRE_STATUS);
    fake_result(fake, fake->wire.request, &gtrid, ASSENT_OUTCOME_COMMITTED);
    fake_take_end(fake);
}

static void a_lost_answer_is_unknown_and_never_asked_twice(void **state)
{
    struct assent_work work = {"a", "x", 1};
    struct assent_client *client;
    struct assent_result result;
    struct fake fake;

    (void)state;
    fake_init(&fake, lose_answers_script);
    client = opened(&fake, 0);
    result.outcome = ASSENT_OUTCOME_COMMITTED;
    assert_int_equal(assent_client_commit(client, &gtrid, false, &result), ASSENT_E_CLOSED);
    assert_int_equal(result.outcome, ASSENT_OUTCOME_UNKNOWN);
    assert_memory_equal(&result.gtrid, &gtrid, sizeof(gtrid));
    assert_non_null(strstr(assent_client_error(client), "lost"));
    result.outcome = ASSENT_OUTCOME_COMMITTED;
    assert_int_equal(assent_client_run(client, NULL, &work, 1, false, &result), ASSENT_E_CLOSED);
    assert_int_equal(result.outcome, ASSENT_OUTCOME_UNKNOWN);
    assert_memory_equal(&result.gtrid, &zero, sizeof(zero));
    assert_int_equal(assent_client_status(client, &gtrid, NULL, false, &result), 0);
    assert_int_equal(result.outcome, ASSENT_OUTCOME_COMMITTED);
    assent_client_close(client);
    fake_fini(&fake);
}

static void close_idle_script(struct fake *fake)
{
    fake_greet(fake);
    fake_refuse(fake, 0, ASSENT_E_CLOSED, "shutting down");
    fake_close(fake);
    fake_greet(fake);
    fake_begin_reply(fake, fake_take(fake, ASSENT_WIRE_BEGIN)->request, 9);
    fake_take_end(fake);
}

static void a_connection_that_ended_while_idle_is_dialled_again(void **state)
{
    struct assent_client *client;
    struct assent_gtrid begun;
    struct pollfd descriptor;
    struct fake fake;

    (void)state;
    fake_init(&fake, close_idle_script);
    client = opened(&fake, 0);
    descriptor = (struct pollfd){.fd = assent_client_fd(client), .events = POLLRDHUP};
    assert_int_equal(poll(&descriptor, 1, 20000), 1);
    assert_int_equal(assent_client_begin(client, NULL, &begun), 0);
    assert_int_equal(begun.bytes[0], 9);
    assent_client_close(client);
    fake_fini(&fake);
}

static void gone_script(struct fake *fake)
{
    fake_greet(fake);
    fake_take(fake, ASSENT_WIRE_END);
}

static void a_coordinator_that_is_gone_is_a_failed_connect(void **state)
{
    struct assent_client *client;
    struct assent_result result;
    struct fake fake;

    (void)state;
    fake_init(&fake, gone_script);
    client = opened(&fake, 0);
    assert_int_equal(assent_client_commit(client, &gtrid, false, &result), ASSENT_E_CLOSED);
    fake_fini(&fake);
    assert_int_equal(assent_client_commit(client, &gtrid, false, &result), ASSENT_E_CONNECT);
    assert_int_equal(result.outcome, ASSENT_OUTCOME_UNKNOWN);
    assent_client_close(client);
}

static void unanswered_script(struct fake *fake)
{
    fake_greet(fake);
    fake_take(fake, ASSENT_WIRE_END);
    fake_take_end(fake);
}

static void a_missing_answer_is_a_timeout_and_unknown(void **state)
{
    struct assent_client *client;
    struct assent_result result;
    struct fake fake;

    (void)state;
    fake_init(&fake, unanswered_script);
    client = opened(&fake, 50);
    assert_int_equal(assent_client_commit(client, &gtrid, false, &result), ASSENT_E_TIMEOUT);
    assert_int_equal(result.outcome, ASSENT_OUTCOME_UNKNOWN);
    assert_memory_equal(&result.gtrid, &gtrid, sizeof(gtrid));
    assert_non_null(strstr(assent_client_error(client), "in time"));
    assent_client_close(client);
    fake_fini(&fake);
}

/* --- answers that are none --- */

static const struct assent_gtrid other = {{8}};

static void wrong_gtrid_script(struct fake *fake)
{
    fake_greet(fake);
    fake_result(fake, fake_take(fake, ASSENT_WIRE_END)->request, &other, ASSENT_OUTCOME_COMMITTED);
    fake_take_end(fake);
}

static void wrong_kind_script(struct fake *fake)
{
    fake_greet(fake);
    fake_begin_reply(fake, fake_take(fake, ASSENT_WIRE_END)->request, 1);
    fake_take_end(fake);
}

static void wrong_request_script(struct fake *fake)
{
    fake_greet(fake);
    fake_result(fake, fake_take(fake, ASSENT_WIRE_END)->request + 1, &gtrid,
                ASSENT_OUTCOME_COMMITTED);
    fake_take_end(fake);
}

static void huge_frame_script(struct fake *fake)
{
    fake_greet(fake);
    fake_take(fake, ASSENT_WIRE_END);
    fake_send_raw(fake, "\xff\xff\xff\xff", 4);
    fake_take_end(fake);
}

static void garbage_script(struct fake *fake)
{
    fake_greet(fake);
    fake_take(fake, ASSENT_WIRE_END);
    fake_send_raw(fake, "\0\0\0\3\xff\xff\xff", 7);
    fake_take_end(fake);
}

static void a_wrong_answer_is_a_violation_and_unknown(void **state)
{
    static const struct {
        void (*script)(struct fake *fake);
        const char *text;
    } cases[] = {
        {wrong_gtrid_script, " sent a result that answers no request"},
        {wrong_kind_script, " sent a begin_reply that answers no request"},
        {wrong_request_script, " sent a result that answers no request"},
        {huge_frame_script,
         " broke the protocol: frame of 4294967295 bytes announced, 1048576 allowed"},
        {garbage_script, " broke the protocol: envelope: not a protobuf message"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct assent_client *client;
        struct assent_result result;
        struct fake fake;
        char wanted[512];

        fake_init(&fake, cases[i].script);
        client = opened(&fake, 0);
        assert_int_equal(assent_client_commit(client, &gtrid, false, &result), ASSENT_E_PROTOCOL);
        assert_int_equal(result.outcome, ASSENT_OUTCOME_UNKNOWN);
        snprintf(wanted, sizeof(wanted), "%s%s", fake.address, cases[i].text);
        assert_string_equal(assent_client_error(client), wanted);
        assent_client_close(client);
        fake_fini(&fake);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_answer_is_unknown_and_never_asked_twice),
        cmocka_unit_test(a_connection_that_ended_while_idle_is_dialled_again),
        cmocka_unit_test(a_coordinator_that_is_gone_is_a_failed_connect),
        cmocka_unit_test(a_missing_answer_is_a_timeout_and_unknown),
        cmocka_unit_test(a_wrong_answer_is_a_violation_and_unknown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
