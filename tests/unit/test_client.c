/*
 * test_client.c: the client's blocking calls and its hello against a fake coordinator: what is
 * asked, what comes back, and what is said when nothing does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/client.h"
#include "fake_coordinator.h"

static const struct assent_gtrid gtrid = {{7, 7, 7}};
static const struct assent_gtrid zero;

static int open_client(const struct fake *fake, uint32_t request_ms,
                       struct assent_client **ret_client, char error[512])
{
    struct assent_client_options options = {
        .size = sizeof(options),
        .address = fake->address,
        .name = "shop",
        .connect_ms = 10000,
        .request_ms = request_ms,
    };

    error[0] = '\0';
    return assent_client_open(&options, ret_client, error, 512);
}

static struct assent_client *opened(const struct fake *fake, uint32_t request_ms)
{
    struct assent_client *client = NULL;
    char error[512];

    if (open_client(fake, request_ms, &client, error) != 0)
        fail_msg("%s", error);
    return client;
}

/* --- opening --- */

static void hello_script(struct fake *fake)
{
    const struct assent_wire_hello *hello;
    struct assent_wire answer;

    fake_accept(fake);
    hello = &fake_take(fake, ASSENT_WIRE_HELLO)->u.hello;
    MUST(hello->role == ASSENT_ROLE_APPLICATION);
    MUST(strcmp(hello->name, "shop") == 0);
    MUST(strcmp(hello->cluster, "default") == 0);
    MUST(hello->version_min == 1 && hello->version_max == 1);
    MUST(strncmp(hello->software, "libassent ", 10) == 0);
    fake_hello(&answer);
    answer.u.hello.version_max = 9;
    fake_send(fake, &answer);
    fake_take_end(fake);
}

static void open_says_who_it_is(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake, hello_script);
    assent_client_close(opened(&fake, 0));
    assent_client_close(NULL);
    fake_fini(&fake);
}

static void answer_hello_with(struct fake *fake, const struct assent_wire *answer)
{
    fake_accept(fake);
    fake_take(fake, ASSENT_WIRE_HELLO);
    fake_send(fake, answer);
    fake_take_end(fake);
}

static void newer_script(struct fake *fake)
{
    struct assent_wire hello;

    fake_hello(&hello);
    hello.u.hello.version_min = hello.u.hello.version_max = 2;
    answer_hello_with(fake, &hello);
}

static void other_cluster_script(struct fake *fake)
{
    struct assent_wire hello;

    fake_hello(&hello);
    hello.u.hello.cluster = "staging";
    answer_hello_with(fake, &hello);
}

static void participant_script(struct fake *fake)
{
    struct assent_wire hello;

    fake_hello(&hello);
    hello.u.hello.role = ASSENT_ROLE_PARTICIPANT;
    answer_hello_with(fake, &hello);
}

static void refusing_script(struct fake *fake)
{
    fake_accept(fake);
    fake_take(fake, ASSENT_WIRE_HELLO);
    fake_refuse(fake, 0, ASSENT_E_LIMIT, "too many connections");
}

static void closing_script(struct fake *fake)
{
    fake_accept(fake);
    fake_take(fake, ASSENT_WIRE_HELLO);
}

static void http_script(struct fake *fake)
{
    fake_accept(fake);
    fake_take(fake, ASSENT_WIRE_HELLO);
    fake_send_raw(fake, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    fake_take_end(fake);
}

static void open_says_why_it_failed(void **state)
{
    static const struct {
        void (*script)(struct fake *fake);
        int error;
        const char *text;
    } cases[] = {
        {newer_script, ASSENT_E_VERSION, " speaks protocol versions 2 to 2, this library 1"},
        {other_cluster_script, ASSENT_E_REFUSED, " belongs to cluster staging, not default"},
        {participant_script, ASSENT_E_PROTOCOL, " does not answer as a coordinator"},
        {refusing_script, ASSENT_E_LIMIT, " refused the connection: too many connections"},
        {closing_script, ASSENT_E_CONNECT, " closed the connection before a hello"},
        {http_script, ASSENT_E_PROTOCOL,
         " broke the protocol: frame of 1213486160 bytes announced, 1048576 allowed"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct assent_client *client = NULL;
        struct fake fake;
        char error[512], wanted[512];

        fake_init(&fake, cases[i].script);
        snprintf(wanted, sizeof(wanted), "%s%s", fake.address, cases[i].text);
        assert_int_equal(open_client(&fake, 0, &client, error), cases[i].error);
        assert_string_equal(error, wanted);
        assert_null(client);
        fake_fini(&fake);
    }
}

static void silent_script(struct fake *fake)
{
    fake_accept(fake);
    fake_take(fake, ASSENT_WIRE_HELLO);
    fake_take_end(fake);
}

static void a_silent_server_is_given_up(void **state)
{
    struct assent_client *client = NULL;
    struct fake fake;
    char error[512];
    struct assent_client_options options = {.size = sizeof(options), .connect_ms = 300};

    (void)state;
    fake_init(&fake, silent_script);
    options.address = fake.address;
    assert_int_equal(assent_client_open(&options, &client, error, sizeof(error)), ASSENT_E_TIMEOUT);
    assert_non_null(strstr(error, "no hello from 127.0.0.1:"));
    fake_fini(&fake);
}

static void nothing_script(struct fake *fake)
{
    (void)fake;
}

static void nobody_listening_is_a_failed_connect(void **state)
{
    struct assent_client *client = NULL;
    struct fake fake;
    char error[512];

    (void)state;
    fake_init(&fake, nothing_script);
    fake_fini(&fake);
    assert_int_equal(open_client(&fake, 0, &client, error), ASSENT_E_CONNECT);
    assert_true(strlen(error) > 0);
}

static void no_hello_script(struct fake *fake)
{
    fake_accept(fake);
    fake_take_end(fake);
}

static void bad_options_are_refused_by_name(void **state)
{
    struct assent_client_options options = {.size = sizeof(options) + 8};
    struct assent_client *client = NULL;
    struct fake fake;
    char error[512], longer[300];

    (void)state;
    assert_int_equal(assent_client_open(&options, &client, error, 512), ASSENT_E_INVALID);
    assert_string_equal(error, "client options: size is not that of this version");
    options.size = sizeof(options);
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    options.address = longer;
    assert_int_equal(assent_client_open(&options, &client, error, 512), ASSENT_E_INVALID);
    assert_string_equal(error, "address: more than 255 bytes");
    options.frame_bytes_max = 100;
    options.address = NULL;
    assert_int_equal(assent_client_open(&options, &client, error, 512), ASSENT_E_INVALID);
    assert_string_equal(error, "frame_bytes_max: 100, 1024 to 67108864 wanted");
    options.frame_bytes_max = 0;
    options.name = "two words";
    fake_init(&fake, no_hello_script);
    options.address = fake.address;
    assert_int_equal(assent_client_open(&options, &client, error, 512), ASSENT_E_INVALID);
    assert_string_equal(error, "hello.name: byte 0x20 does not belong in a name");
    assert_null(client);
    fake_fini(&fake);
}

/* --- each call --- */

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
        cmocka_unit_test(open_says_who_it_is),
        cmocka_unit_test(open_says_why_it_failed),
        cmocka_unit_test(a_silent_server_is_given_up),
        cmocka_unit_test(nobody_listening_is_a_failed_connect),
        cmocka_unit_test(bad_options_are_refused_by_name),
        cmocka_unit_test(begin_work_and_enlist_are_answered),
        cmocka_unit_test(outcomes_are_told_as_they_are),
        cmocka_unit_test(run_and_inspect_are_answered),
        cmocka_unit_test(refusals_keep_their_error_and_the_connection),
        cmocka_unit_test(a_lost_answer_is_unknown_and_never_asked_twice),
        cmocka_unit_test(a_connection_that_ended_while_idle_is_dialled_again),
        cmocka_unit_test(a_coordinator_that_is_gone_is_a_failed_connect),
        cmocka_unit_test(a_missing_answer_is_a_timeout_and_unknown),
        cmocka_unit_test(a_wrong_answer_is_a_violation_and_unknown),
        cmocka_unit_test(bad_arguments_are_refused_before_anything_is_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
