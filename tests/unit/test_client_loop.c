/*
 * test_client_loop.c: the client's form for event loops against a fake coordinator: many requests
 * in flight, answers in any order, and exactly one answer each whatever happens.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "client_fixture.h"
#include "rng.h"

#define MANY 10000

static const struct assent_gtrid gtrid = {{7, 7, 7}};

/* One submitted request and what came back. */
struct slot {
    unsigned answers;
    int error;
    struct assent_result result;
    char text[300];
    size_t reply_size;
    uint32_t branch;
    struct assent_client *client; /* to submit again from the callback */
    struct slot *next;
};

static void remember(const struct assent_answer *answer, void *context)
{
    struct slot *slot = context;

    slot->answers++;
    slot->error = answer->error;
    slot->result = answer->result;
    slot->reply_size = answer->reply_size;
    slot->branch = answer->branch;
    snprintf(slot->text, sizeof(slot->text), "%s", answer->error_text);
}

static int submit_begin(struct assent_client *client, uint32_t timeout_ms, struct slot *slot)
{
    struct assent_request request = {
        .size = sizeof(request), .kind = ASSENT_REQUEST_BEGIN, .timeout_ms = timeout_ms};

    return assent_client_submit(client, &request, remember, slot);
}

static int submit_commit(struct assent_client *client, struct slot *slot)
{
    struct assent_request request = {
        .size = sizeof(request), .kind = ASSENT_REQUEST_COMMIT, .gtrid = &gtrid};

    return assent_client_submit(client, &request, remember, slot);
}

/* Runs the loop until the slot has its answer; the loop's own waits end after 20 s. */
static int run_until(struct assent_client *client, const struct slot *slot)
{
    int error = 0;

    while (slot->answers == 0 && error == 0) {
        int wait_ms = assent_client_wait_ms(client);
        struct pollfd descriptor = {.fd = assent_client_fd(client),
                                    .events = assent_client_events(client)};

        if (wait_ms < 0 || wait_ms > 20000)
            wait_ms = 20000;
        assert_true(poll(&descriptor, 1, wait_ms) >= 0);
        error = assent_client_process(client);
    }
    return error;
}

static void out_of_order_script(struct fake *fake)
{
    uint64_t requests[3];

    fake_greet(fake);
    for (int i = 0; i < 3; i++)
        requests[i] = fake_take(fake, ASSENT_WIRE_BEGIN)->request;
    for (int i = 2; i >= 0; i--)
        fake_begin_reply(fake, requests[i], (uint8_t)(10 + i));
    fake_take_end(fake);
}

static void answers_out_of_order_find_their_requests(void **state)
{
    struct slot slots[3] = {{0}};
    struct assent_client *client;
    struct fake fake;

    (void)state;
    fake_init(&fake, out_of_order_script);
    client = opened(&fake, 0);
    assert_int_equal(assent_client_events(client), POLLIN);
    assert_int_equal(assent_client_wait_ms(client), -1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(submit_begin(client, 0, &slots[i]), 0);
    assert_int_equal(assent_client_events(client), POLLIN | POLLOUT);
    assert_int_equal(run_until(client, &slots[0]), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(slots[i].answers, 1);
        assert_int_equal(slots[i].error, 0);
        assert_int_equal(slots[i].result.gtrid.bytes[0], 10 + i);
    }
    assent_client_close(client);
    fake_fini(&fake);
}

static void shuffle_script(struct fake *fake)
{
    static uint64_t requests[MANY];
    uint64_t rng = 3;

    fake_greet(fake);
    for (int i = 0; i < MANY; i++)
        requests[i] = fake_take(fake, ASSENT_WIRE_END)->request;
    for (int i = MANY - 1; i >= 0; i--) {
        size_t k = assent_rng_below(&rng, (uint64_t)i + 1);

        fake_result(fake, requests[k], &gtrid,
                    requests[k] % 2 == 0 ? ASSENT_OUTCOME_COMMITTED : ASSENT_OUTCOME_ABORTED);
        requests[k] = requests[i];
    }
    fake_take_end(fake);
}

static void many_in_flight_get_one_answer_each(void **state)
{
    struct slot *slots = calloc(MANY, sizeof(*slots));
    struct assent_client *client;
    struct fake fake;

    (void)state;
    assert_non_null(slots);
    fake_init(&fake, shuffle_script);
    client = opened(&fake, 0);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(submit_commit(client, &slots[i]), 0);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(run_until(client, &slots[i]), 0);
        assert_int_equal(slots[i].error, 0);
        assert_int_equal(slots[i].answers, 1);
        /* Ids rise by one from 1. */
        assert_int_equal(slots[i].result.outcome,
                         i % 2 == 1 ? ASSENT_OUTCOME_COMMITTED : ASSENT_OUTCOME_ABORTED);
    }
    assert_int_equal(assent_client_wait_ms(client), -1);
    assent_client_close(client);
    fake_fini(&fake);
    free(slots);
}

static void answer_some_script(struct fake *fake)
{
    fake_greet(fake);
    for (int i = 0; i < 100; i++) {
        fake_take(fake, ASSENT_WIRE_END);
        if (i < 10)
            fake_result(fake, fake->wire.request, &gtrid, ASSENT_OUTCOME_COMMITTED);
    }
}

static void a_lost_connection_answers_every_open_request(void **state)
{
    struct slot slots[100] = {{0}}, later = {0};
    struct assent_client *client;
    struct fake fake;

    (void)state;
    fake_init(&fake, answer_some_script);
    client = opened(&fake, 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(submit_commit(client, &slots[i]), 0);
    assert_int_equal(run_until(client, &slots[99]), ASSENT_E_CLOSED);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(slots[i].answers, 1);
        assert_int_equal(slots[i].error, i < 10 ? 0 : ASSENT_E_CLOSED);
        assert_int_equal(slots[i].result.outcome,
                         i < 10 ? ASSENT_OUTCOME_COMMITTED : ASSENT_OUTCOME_UNKNOWN);
        assert_memory_equal(&slots[i].result.gtrid, &gtrid, sizeof(gtrid));
    }
    assert_non_null(strstr(slots[99].text, "lost"));
    assert_int_equal(assent_client_fd(client), -1);
    assert_int_equal(assent_client_events(client), 0);
    assert_int_equal(submit_commit(client, &later), ASSENT_E_CONNECT);
    assert_int_equal(assent_client_process(client), ASSENT_E_CLOSED);
    assert_int_equal(later.answers, 0);
    assent_client_close(client);
    fake_fini(&fake);
}

static void answer_and_close_script(struct fake *fake)
{
    fake_greet(fake);
    fake_take(fake, ASSENT_WIRE_END);
    fake_result(fake, fake->wire.request, &gtrid, ASSENT_OUTCOME_COMMITTED);
}

static void an_answer_before_the_end_counts_although_writing_fails(void **state)
{
    struct slot answered = {0}, lost = {0};
    struct assent_client *client;
    struct pollfd descriptor;
    struct fake fake;

    (void)state;
    fake_init(&fake, answer_and_close_script);
    client = opened(&fake, 0);
    assert_int_equal(submit_commit(client, &answered), 0);
    assert_int_equal(assent_client_process(client), 0);
    fake_fini(&fake);
    /* Makes the closed end send a reset, after which writes fail. */
    descriptor = (struct pollfd){.fd = assent_client_fd(client), .events = 0};
    assert_int_equal(send(descriptor.fd, "x", 1, MSG_NOSIGNAL), 1);
    assert_int_equal(poll(&descriptor, 1, 20000), 1);
    assert_true(descriptor.revents & (POLLERR | POLLHUP));
    assert_int_equal(submit_commit(client, &lost), 0);
    assert_int_equal(assent_client_process(client), ASSENT_E_CLOSED);
    assert_int_equal(answered.error, 0);
    assert_int_equal(answered.result.outcome, ASSENT_OUTCOME_COMMITTED);
    assert_int_equal(lost.error, ASSENT_E_CLOSED);
    assert_int_equal(lost.result.outcome, ASSENT_OUTCOME_UNKNOWN);
    assent_client_close(client);
}

static void reconnect_script(struct fake *fake)
{
    fake_greet(fake);
    fake_close(fake);
    fake_greet(fake);
    fake_begin_reply(fake, fake_take(fake, ASSENT_WIRE_BEGIN)->request, 4);
    fake_take_end(fake);
}

static void reconnect_serves_on(void **state)
{
    struct slot lost = {0}, served = {0};
    struct assent_client *client;
    struct fake fake;

    (void)state;
    fake_init(&fake, reconnect_script);
    client = opened(&fake, 0);
    assert_int_equal(submit_commit(client, &lost), 0);
    assert_int_equal(run_until(client, &lost), ASSENT_E_CLOSED);
    assert_int_equal(lost.error, ASSENT_E_CLOSED);
    assert_int_equal(assent_client_reconnect(client), 0);
    assert_int_equal(assent_client_reconnect(client), 0);
    assert_int_equal(submit_begin(client, 0, &served), 0);
    assert_int_equal(run_until(client, &served), 0);
    assert_int_equal(served.result.gtrid.bytes[0], 4);
    assent_client_close(client);
    fake_fini(&fake);
}

static void answer_the_second_script(struct fake *fake)
{
    fake_greet(fake);
    fake_take(fake, ASSENT_WIRE_BEGIN);
    fake_take(fake, ASSENT_WIRE_BEGIN);
    fake_take(fake, ASSENT_WIRE_BEGIN);
    fake_take(fake, ASSENT_WIRE_END); /* sent after the second one's time-out */
    fake_begin_reply(fake, 1, 1);
    fake_begin_reply(fake, 2, 2); /* late */
    fake_begin_reply(fake, 3, 3);
    fake_result(fake, fake->wire.request, &gtrid, ASSENT_OUTCOME_COMMITTED);
    fake_take_end(fake);
}

static void each_request_has_its_own_timeout(void **state)
{
    struct slot slots[3] = {{0}}, commit = {0};
    struct assent_client *client;
    struct fake fake;

    (void)state;
    fake_init(&fake, answer_the_second_script);
    client = opened(&fake, 0);
    assert_int_equal(submit_begin(client, 60000, &slots[0]), 0);
    assert_int_equal(submit_begin(client, 20, &slots[1]), 0);
    assert_int_equal(submit_begin(client, 0, &slots[2]), 0);
    assert_true(assent_client_wait_ms(client) <= 20);
    assert_int_equal(run_until(client, &slots[1]), 0);
    assert_int_equal(slots[1].error, ASSENT_E_TIMEOUT);
    assert_int_equal(slots[0].answers + slots[2].answers, 0);
    assert_true(assent_client_wait_ms(client) > 20);
    assert_int_equal(submit_commit(client, &commit), 0);
    assert_int_equal(run_until(client, &commit), 0);
    assert_int_equal(slots[0].result.gtrid.bytes[0], 1);
    assert_int_equal(slots[1].answers, 1);
    assert_int_equal(slots[2].result.gtrid.bytes[0], 3);
    assent_client_close(client);
    fake_fini(&fake);
}

static void chain_script(struct fake *fake)
{
    fake_greet(fake);
    for (int i = 0; i < 3; i++)
        fake_begin_reply(fake, fake_take(fake, ASSENT_WIRE_BEGIN)->request, (uint8_t)(i + 1));
    fake_take_end(fake);
}

static void remember_and_submit_next(const struct assent_answer *answer, void *context)
{
    struct assent_request request = {.size = sizeof(request), .kind = ASSENT_REQUEST_BEGIN};
    struct slot *slot = context;

    remember(answer, slot);
    if (slot->next != NULL)
        assert_int_equal(
            assent_client_submit(slot->client, &request, remember_and_submit_next, slot->next), 0);
}

static void a_callback_may_submit_again(void **state)
{
    struct assent_request request = {.size = sizeof(request), .kind = ASSENT_REQUEST_BEGIN};
    struct slot slots[3] = {{0}};
    struct assent_client *client;
    struct fake fake;

    (void)state;
    fake_init(&fake, chain_script);
    client = opened(&fake, 0);
    for (int i = 0; i < 3; i++) {
        slots[i].client = client;
        slots[i].next = i < 2 ? &slots[i + 1] : NULL;
    }
    assert_int_equal(assent_client_submit(client, &request, remember_and_submit_next, &slots[0]),
                     0);
    assert_int_equal(run_until(client, &slots[2]), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(slots[i].result.gtrid.bytes[0], i + 1);
    assent_client_close(client);
    fake_fini(&fake);
}

static void idle_script(struct fake *fake)
{
    fake_greet(fake);
    fake_take_end(fake);
}

static void closing_answers_what_is_open_and_blocking_calls_keep_out(void **state)
{
    struct slot slot = {0};
    struct assent_client *client;
    struct assent_gtrid begun;
    struct fake fake;

    (void)state;
    fake_init(&fake, idle_script);
    client = opened(&fake, 0);
    assert_int_equal(submit_commit(client, &slot), 0);
    assert_int_equal(assent_client_begin(client, NULL, &begun), ASSENT_E_STATE);
    assert_int_equal(slot.answers, 0);
    assent_client_close(client);
    assert_int_equal(slot.answers, 1);
    assert_int_equal(slot.error, ASSENT_E_CLOSED);
    assert_int_equal(slot.result.outcome, ASSENT_OUTCOME_UNKNOWN);
    fake_fini(&fake);
}

static void large_script(struct fake *fake)
{
    struct assent_wire answer = {.kind = ASSENT_WIRE_WORK_REPLY};

    fake_greet(fake);
    for (int i = 0; i < 8; i++) {
        const struct assent_wire *wire = fake_take(fake, ASSENT_WIRE_WORK);

        MUST(wire->u.work.work.size == 1000000);
        answer.request = wire->request;
        answer.u.work_reply.branch = (uint32_t)i;
        answer.u.work_reply.reply = wire->u.work.work; /* still in the arena */
        fake_send(fake, &answer);
    }
    fake_take_end(fake);
}

/* 8 MB each way is more than the sockets' buffers take at once. */
static void large_messages_pass_in_pieces(void **state)
{
    struct assent_work work = {"a", calloc(1, 1000000), 1000000};
    struct assent_request request = {.size = sizeof(request),
                                     .kind = ASSENT_REQUEST_WORK,
                                     .gtrid = &gtrid,
                                     .works = &work,
                                     .work_count = 1};
    struct slot slots[8] = {{0}};
    struct assent_client *client;
    struct fake fake;

    (void)state;
    assert_non_null(work.data);
    fake_init(&fake, large_script);
    client = opened(&fake, 0);
    for (int i = 0; i < 8; i++)
        assert_int_equal(assent_client_submit(client, &request, remember, &slots[i]), 0);
    assert_int_equal(run_until(client, &slots[7]), 0);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(slots[i].answers, 1);
        assert_int_equal(slots[i].reply_size, 1000000);
        assert_int_equal(slots[i].branch, i);
    }
    assent_client_close(client);
    fake_fini(&fake);
    free((void *)(uintptr_t)work.data);
}

static void byte_by_byte_script(struct fake *fake)
{
    struct assent_wire ping = {.kind = ASSENT_WIRE_PING};
    uint8_t frame[64];
    size_t size;

    fake_greet(fake);
    fake_take(fake, ASSENT_WIRE_BEGIN);
    fake_send(fake, &ping); /* a heartbeat, to be ignored */
    ping.kind = ASSENT_WIRE_BEGIN_REPLY;
    ping.request = fake->wire.request;
    ping.u.begin_reply.gtrid = gtrid;
    MUST(assent_wire_encode(&ping, &fake->buffer, &fake->capacity, &size) == 0);
    MUST(size <= sizeof(frame) - 4);
    memcpy(frame, (uint8_t[]){0, 0, 0, (uint8_t)size}, 4);
    memcpy(frame + 4, fake->buffer, size);
    for (size_t i = 0; i < size + 4; i++)
        fake_send_raw(fake, frame + i, 1);
    fake_take_end(fake);
}

static void an_answer_may_come_byte_by_byte(void **state)
{
    struct assent_client *client;
    struct slot slot = {0};
    struct fake fake;

    (void)state;
    fake_init(&fake, byte_by_byte_script);
    client = opened(&fake, 0);
    assert_int_equal(submit_begin(client, 0, &slot), 0);
    assert_int_equal(run_until(client, &slot), 0);
    assert_memory_equal(&slot.result.gtrid, &gtrid, sizeof(gtrid));
    assent_client_close(client);
    fake_fini(&fake);
}

static void too_much_at_once_is_refused_by_name(void **state)
{
    struct assent_work work = {"a", calloc(1, 1000000), 1000000};
    struct assent_request request = {.size = sizeof(request),
                                     .kind = ASSENT_REQUEST_WORK,
                                     .gtrid = &gtrid,
                                     .works = &work,
                                     .work_count = 1};
    struct assent_client *client;
    struct slot slot = {0};
    unsigned queued = 0;
    struct fake fake;
    int error;

    (void)state;
    assert_non_null(work.data);
    fake_init(&fake, idle_script);
    client = opened(&fake, 0);
    while ((error = assent_client_submit(client, &request, remember, &slot)) == 0)
        queued++;
    assert_int_equal(error, ASSENT_E_LIMIT);
    assert_int_equal(queued, (64u << 20) / 1000000);
    request.work_count = 2;
    assert_int_equal(assent_client_submit(client, &request, remember, &slot), ASSENT_E_INVALID);
    request.size = sizeof(request) + 1;
    assert_int_equal(assent_client_submit(client, &request, remember, &slot), ASSENT_E_INVALID);
    assent_client_close(client);
    assert_int_equal(slot.answers, queued);
    fake_fini(&fake);
    free((void *)(uintptr_t)work.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_out_of_order_find_their_requests),
        cmocka_unit_test(many_in_flight_get_one_answer_each),
        cmocka_unit_test(a_lost_connection_answers_every_open_request),
        cmocka_unit_test(an_answer_before_the_end_counts_although_writing_fails),
        cmocka_unit_test(reconnect_serves_on),
        cmocka_unit_test(each_request_has_its_own_timeout),
        cmocka_unit_test(a_callback_may_submit_again),
        cmocka_unit_test(closing_answers_what_is_open_and_blocking_calls_keep_out),
        cmocka_unit_test(large_messages_pass_in_pieces),
        cmocka_unit_test(an_answer_may_come_byte_by_byte),
        cmocka_unit_test(too_much_at_once_is_refused_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
