/*
 * test_client.c: the client's blocking calls against a fake coordinator: what is asked, what comes
 * back, and what is refused before it is asked.
 */
#include <stdlib.h>
#include <string.h>

#include "client_fixture.h"

static const struct assent_gtrid gtrid = {{7, 7, 7}};

static void begin_and_work_script(struct fake *fake)
{
    const struct assent_wire *wire;
    struct assent_wire answer = {.kind = ASSENT_WIRE_WORK_REPLY};

    fake_greet(fake);
    wire = fake_take(fake, ASSENT_WIRE_BEGIN);
    MUST(wire->u.begin.protocol == ASSENT_3PC);
    MUST(wire->u.begin.termination == ASSENT_TERMINATION_TIMEOUT);
    MUST(wire->u.begin.timeout_ms == 1234 && wire->u.begin.detached);
    MUST(strcmp(wire->u.begin.key, "k1") == 0);
    MUST(strcmp(wire->u.begin.traceparent, "00-1-2-3") == 0);
    fake_begin_reply(fake, wire->request, 7);
    wire = fake_take(fake, ASSENT_WIRE_BEGIN); /* all defaults */
    MUST(wire->u.begin.protocol == ASSENT_2PC && wire->u.begin.key[0] == '\0');
    fake_begin_reply(fake, wire->request, 8);
    wire = fake_take(fake, ASSENT_WIRE_WORK);
    MUST(memcmp(&wire->u.work.gtrid, &gtrid, sizeof(gtrid)) == 0);
    MUST(strcmp(wire->u.work.participant, "bank/kv") == 0);
    MUST(wire->u.work.work.size == 9 && memcmp(wire->u.work.work.data, "get alice", 9) == 0);
    answer.request = wire->request;
    answer.u.work_reply.reply = (struct assent_bytes){"90", 2};
    fake_send(fake, &answer);
    answer.request = fake_take(fake, ASSENT_WIRE_WORK)->request;
    fake_send(fake, &answer);
    answer.kind = ASSENT_WIRE_ENLIST_REPLY;
    wire = fake_take(fake, ASSENT_WIRE_ENLIST);
    MUST(strcmp(wire->u.enlist.participant, "bank") == 0);
    answer.request = wire->request;
    answer.u.enlist_reply.branch = 3;
    memset(answer.u.enlist_reply.log_id, 0xab, ASSENT_LOG_ID_BYTES);
    fake_send(fake, &answer);
    fake_take_end(fake);
}

static void begin_work_and_enlist_are_answered(void **state)
{
    struct assent_begin_options options = {
        .size = sizeof(options),
        .protocol = ASSENT_3PC,
        .termination = ASSENT_TERMINATION_TIMEOUT,
        .timeout_ms = 1234,
        .key = "k1",
        .traceparent = "00-1-2-3",
        .detached = true,
    };
    struct assent_work work = {"bank/kv", "get alice", 9};
    struct assent_client *client;
    struct assent_branch_id id;
    struct assent_gtrid begun;
    struct fake fake;
    char *reply = NULL;
    size_t size = 0;

    (void)state;
    fake_init(&fake, begin_and_work_script);
    client = opened(&fake, 0);
    assert_int_equal(assent_client_begin(client, &options, &begun), 0);
    assert_int_equal(begun.bytes[0], 7);
    assert_int_equal(assent_client_begin(client, NULL, &begun), 0);
    assert_int_equal(begun.bytes[0], 8);
    assert_int_equal(assent_client_work(client, &gtrid, &work, &reply, &size), 0);
    assert_int_equal(size, 2);
    assert_string_equal(reply, "90");
    free(reply);
    assert_int_equal(assent_client_work(client, &gtrid, &work, NULL, NULL), 0);
    assert_int_equal(assent_client_enlist(client, &gtrid, "bank", &id), 0);
    assert_int_equal(id.branch, 3);
    assert_memory_equal(&id.gtrid, &gtrid, sizeof(gtrid));
    assert_int_equal(id.log_id[15], 0xab);
    assent_client_close(client);
    fake_fini(&fake);
}

static void end_script(struct fake *fake)
{
    const struct assent_wire *wire;

    fake_greet(fake);
    wire = fake_take(fake, ASSENT_WIRE_END);
    MUST(wire->u.end.commit && !wire->u.end.wait);
    fake_result(fake, wire->request, &wire->u.end.gtrid, ASSENT_OUTCOME_COMMITTED);
    wire = fake_take(fake, ASSENT_WIRE_END);
    MUST(!wire->u.end.commit && wire->u.end.wait);
    fake_result(fake, wire->request, &wire->u.end.gtrid, ASSENT_OUTCOME_ABORTED);
    wire = fake_take(fake, ASSENT_WIRE_STATUS);
    MUST(wire->u.status.has_gtrid && wire->u.status.key[0] == '\0' && wire->u.status.wait);
    fake_result(fake, wire->request, &gtrid, ASSENT_OUTCOME_EXPIRED);
    wire = fake_take(fake, ASSENT_WIRE_STATUS);
    MUST(!wire->u.status.has_gtrid && strcmp(wire->u.status.key, "k1") == 0);
    fake_result(fake, wire->request, &gtrid, ASSENT_OUTCOME_COMMITTED);
    fake_take_end(fake);
}

static void outcomes_are_told_as_they_are(void **state)
{
    struct assent_client *client;
    struct assent_result result;
    struct fake fake;

    (void)state;
    fake_init(&fake, end_script);
    client = opened(&fake, 0);
    assert_int_equal(assent_client_commit(client, &gtrid, false, &result), 0);
    assert_int_equal(result.outcome, ASSENT_OUTCOME_COMMITTED);
    assert_true(result.ended);
    assert_string_equal(result.phase, "ended");
    assert_memory_equal(&result.gtrid, &gtrid, sizeof(gtrid));
    assert_int_equal(assent_client_rollback(client, &gtrid, true, &result), 0);
    assert_int_equal(result.outcome, ASSENT_OUTCOME_ABORTED);
    assert_string_equal(result.reason, "b voted no: empty");
    assert_int_equal(assent_client_status(client, &gtrid, NULL, true, &result), 0);
    assert_int_equal(result.outcome, ASSENT_OUTCOME_EXPIRED);
    assert_int_equal(assent_client_status(client, NULL, "k1", false, &result), 0);
    assert_memory_equal(&result.gtrid, &gtrid, sizeof(gtrid));
    assent_client_close(client);
    fake_fini(&fake);
}

static void run_and_inspect_script(struct fake *fake)
{
    struct assent_wire answer = {.kind = ASSENT_WIRE_INSPECTION};
    const struct assent_wire *wire;

    fake_greet(fake);
    wire = fake_take(fake, ASSENT_WIRE_RUN);
    MUST(wire->u.run.branch_count == 2 && wire->u.run.wait);
    MUST(strcmp(wire->u.run.begin.key, "k2") == 0);
    MUST(strcmp(wire->u.run.branches[1].participant, "b") == 0);
    MUST(memcmp(wire->u.run.branches[1].work.data, "add y 1", 7) == 0);
    fake_result(fake, wire->request, &gtrid, ASSENT_OUTCOME_COMMITTED);
    wire = fake_take(fake, ASSENT_WIRE_INSPECT);
    MUST(strcmp(wire->u.inspect.what, "query") == 0);
    MUST(strcmp(wire->u.inspect.argument, "get y") == 0);
    MUST(strcmp(wire->u.inspect.participant, "b") == 0 && wire->u.inspect.limit == 5);
    answer.request = wire->request;
    answer.u.inspection.json = (struct assent_bytes){"{\"y\":1}", 7};
    fake_send(fake, &answer);
    fake_take_end(fake);
}

static void run_and_inspect_are_answered(void **state)
{
    struct assent_begin_options options = {.size = sizeof(options), .key = "k2"};
    struct assent_work works[] = {{"a", "add x -1", 8}, {"b", "add y 1", 7}};
    struct assent_client *client;
    struct assent_result result;
    struct fake fake;
    char *json = NULL;

    (void)state;
    fake_init(&fake, run_and_inspect_script);
    client = opened(&fake, 0);
    assert_int_equal(assent_client_run(client, &options, works, 2, true, &result), 0);
    assert_int_equal(result.outcome, ASSENT_OUTCOME_COMMITTED);
    assert_memory_equal(&result.gtrid, &gtrid, sizeof(gtrid));
    assert_int_equal(assent_client_inspect(client, "query", "get y", "b", 5, &json), 0);
    assert_string_equal(json, "{\"y\":1}");
    free(json);
    assent_client_close(client);
    fake_fini(&fake);
}

static void refuse_all_script(struct fake *fake)
{
    fake_greet(fake);
    fake_refuse(fake, fake_take(fake, ASSENT_WIRE_BEGIN)->request, ASSENT_E_FULL,
                "the log is full");
    fake_refuse(fake, fake_take(fake, ASSENT_WIRE_WORK)->request, ASSENT_E_UNAVAILABLE,
                "b is away");
    fake_refuse(fake, fake_take(fake, ASSENT_WIRE_END)->request, ASSENT_E_NOT_FOUND, "");
    fake_begin_reply(fake, fake_take(fake, ASSENT_WIRE_BEGIN)->request, 1);
    fake_take_end(fake);
}

static void refusals_keep_their_error_and_the_connection(void **state)
{
    struct assent_work work = {"b", "x", 1};
    struct assent_client *client;
    struct assent_result result;
    struct assent_gtrid begun;
    struct fake fake;

    (void)state;
    fake_init(&fake, refuse_all_script);
    client = opened(&fake, 0);
    assert_int_equal(assent_client_begin(client, NULL, &begun), ASSENT_E_FULL);
    assert_string_equal(assent_client_error(client), "the log is full");
    assert_int_equal(assent_client_work(client, &gtrid, &work, NULL, NULL), ASSENT_E_UNAVAILABLE);
    assert_string_equal(assent_client_error(client), "b is away");
    assert_int_equal(assent_client_commit(client, &gtrid, false, &result), ASSENT_E_NOT_FOUND);
    assert_string_equal(assent_client_error(client), "no such object");
    assert_int_equal(result.outcome, ASSENT_OUTCOME_UNKNOWN);
    assert_int_equal(assent_client_begin(client, NULL, &begun), 0);
    assent_client_close(client);
    fake_fini(&fake);
}

/* --- arguments --- */

static void one_begin_script(struct fake *fake)
{
    fake_greet(fake);
    fake_begin_reply(fake, fake_take(fake, ASSENT_WIRE_BEGIN)->request, 1);
    fake_take_end(fake);
}

static void bad_arguments_are_refused_before_anything_is_sent(void **state)
{
    struct assent_begin_options options = {.size = sizeof(options) + 1};
    struct assent_work work = {"no blanks", "x", 1};
    char *large = calloc(1, 1u << 20), *json;
    struct assent_client *client;
    struct assent_result result;
    struct assent_gtrid begun;
    struct fake fake;

    (void)state;
    assert_non_null(large);
    fake_init(&fake, one_begin_script);
    client = opened(&fake, 0);
    assert_int_equal(assent_client_begin(client, &options, &begun), ASSENT_E_INVALID);
    options = (struct assent_begin_options){.size = sizeof(options)};
    options.protocol = (enum assent_protocol)2;
    assert_int_equal(assent_client_begin(client, &options, &begun), ASSENT_E_INVALID);
    assert_string_equal(assent_client_error(client), "begin.protocol: 2, 0 to 1 wanted");
    assert_int_equal(assent_client_work(client, &gtrid, &work, NULL, NULL), ASSENT_E_INVALID);
    assert_string_equal(assent_client_error(client),
                        "work.participant: byte 0x20 does not belong in a name");
    assert_int_equal(assent_client_work(client, NULL, &work, NULL, NULL), ASSENT_E_INVALID);
    assert_string_equal(assent_client_error(client), "gtrid: missing");
    work = (struct assent_work){"a", large, 1u << 20};
    assert_int_equal(assent_client_work(client, &gtrid, &work, NULL, NULL), ASSENT_E_TOO_BIG);
    assert_int_equal(assent_client_run(client, NULL, &work, 65, false, &result), ASSENT_E_INVALID);
    assert_string_equal(assent_client_error(client), "run: 65 works, 0 to 64 wanted");
    assert_int_equal(result.outcome, ASSENT_OUTCOME_UNKNOWN);
    assert_int_equal(assent_client_commit(client, NULL, false, &result), ASSENT_E_INVALID);
    assert_int_equal(assent_client_enlist(client, NULL, "a", NULL), ASSENT_E_INVALID);
    assert_int_equal(assent_client_status(client, NULL, NULL, false, &result), ASSENT_E_INVALID);
    assert_string_equal(assent_client_error(client), "status: neither gtrid nor key");
    assert_int_equal(assent_client_inspect(client, NULL, NULL, NULL, 0, &json), ASSENT_E_INVALID);
    assert_int_equal(assent_client_begin(client, NULL, &begun), 0);
    assent_client_close(client);
    fake_fini(&fake);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begin_work_and_enlist_are_answered),
        cmocka_unit_test(outcomes_are_told_as_they_are),
        cmocka_unit_test(run_and_inspect_are_answered),
        cmocka_unit_test(refusals_keep_their_error_and_the_connection),
        cmocka_unit_test(bad_arguments_are_refused_before_anything_is_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
