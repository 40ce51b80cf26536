/* test_conn_end.c: every way in which a connection can end. */
#include "sides.h"

static void a_slow_reader_is_closed_at_the_output_cap(void **state)
{
    struct assent_net_limits limits = wide;
    struct side side = {0};
    uint8_t data[1000] = {0};
    int peer, result = 0;

    (void)state;
    limits.output_bytes_max = 100000;
    peer = open_with_raw_peer(&side, SOCK_STREAM, &limits);
    while (side.conn != NULL && result == 0) {
        result = assent_conn_send(side.conn, data, sizeof(data));
        assert_true(assent_conn_output_bytes(side.conn) <= 100000);
        if (++side.sent % 50 == 0)
            turn();
    }
    assert_int_equal(result, ASSENT_E_LIMIT);
    assert_true(side.sent >= 99);
    assert_int_equal(side.closes, 0); /* not from inside the call */
    assert_int_equal(assent_conn_send(side.conn, data, 1), ASSENT_E_CLOSED);
    turn();
    assert_int_equal(side.closes, 1);
    assert_int_equal(side.error, ASSENT_E_LIMIT);
    assert_non_null(strstr(side.detail, "the peer reads too slowly: "));
    assert_non_null(strstr(side.detail, " bytes queued, 100000 allowed"));
    close(peer);
}

static void one_frame_may_be_larger_than_the_output_cap(void **state)
{
    struct assent_net_limits limits = wide;
    struct side a = {0}, b = {0};
    uint8_t data[2000] = {0};

    (void)state;
    limits.output_bytes_max = 1000;
    open_pair(&a, &b, &limits);
    assert_int_equal(assent_conn_send(a.conn, data, sizeof(data)), 0);
    RUN_UNTIL(base, b.frames == 1);
    assent_conn_close(a.conn);
    assent_conn_close(b.conn);
}

static void a_handshake_that_never_comes_is_timed_out(void **state)
{
    struct assent_net_limits limits = wide;
    struct side side = {0};
    uint64_t start_ms = assent_now_ms();
    int peer;

    (void)state;
    limits.handshake_ms = 50;
    limits.heartbeat_ms = 5;
    peer = open_with_raw_peer(&side, SOCK_STREAM, &limits);
    put_frame(peer, "talking is not shaking hands");
    RUN_UNTIL(base, side.closes == 1);
    assert_true(assent_now_ms() - start_ms >= 49);
    assert_int_equal(side.frames, 1);
    assert_int_equal(side.heartbeats, 0);
    assert_int_equal(side.error, ASSENT_E_TIMEOUT);
    assert_string_equal(side.detail, "no handshake within 50 ms");
    close(peer);
}

static void silence_of_three_periods_closes(void **state)
{
    struct assent_net_limits limits = wide;
    struct side side = {0};
    uint64_t start_ms;
    int peer;

    (void)state;
    limits.handshake_ms = 10000;
    limits.heartbeat_ms = 20;
    peer = open_with_raw_peer(&side, SOCK_STREAM, &limits);
    assent_conn_established(side.conn, true);
    start_ms = assent_now_ms();
    RUN_UNTIL(base, side.closes == 1);
    assert_true(assent_now_ms() - start_ms >= 59);
    assert_int_equal(side.error, ASSENT_E_TIMEOUT);
    assert_non_null(strstr(side.detail, "nothing heard for "));
    close(peer);
}

static void heartbeats_keep_both_sides_up(void **state)
{
    struct assent_net_limits limits = wide;
    struct side a = {0}, b = {0};

    (void)state;
    limits.heartbeat_ms = 100; /* a loaded machine may stall the test, which is both sides */
    open_pair(&a, &b, &limits);
    assent_conn_established(a.conn, true);
    assent_conn_established(b.conn, true);
    RUN_UNTIL(base, a.heartbeats >= 5 && b.heartbeats >= 5);
    assert_true(a.closes == 0 && b.closes == 0 && a.frames > 0);
    assent_conn_close(a.conn);
    RUN_UNTIL(base, b.closes == 1);
}

static size_t beaten(const struct side *sides, size_t count)
{
    size_t beaten = 0;

    for (size_t i = 0; i < count; i++)
        beaten += sides[i].heartbeats > 0;
    return beaten;
}

/* Half a period apart at most; an eighth is borne, for a machine that stalls the test. */
static void heartbeats_of_those_who_came_together_are_spread(void **state)
{
    enum { COUNT = 32 };
    static struct side sides[COUNT];
    struct assent_net_limits limits = wide;
    uint64_t first_ms, start_ms;
    int peers[COUNT];

    (void)state;
    limits.heartbeat_ms = 1600;
    for (int i = 0; i < COUNT; i++)
        peers[i] = open_with_raw_peer(&sides[i], SOCK_STREAM, &limits);
    start_ms = assent_now_ms();
    for (int i = 0; i < COUNT; i++)
        assent_conn_established(sides[i].conn, true);
    RUN_UNTIL(base, beaten(sides, COUNT) > 0);
    first_ms = assent_now_ms();
    assert_true(first_ms - start_ms >= limits.heartbeat_ms / 2 - 1);
    RUN_UNTIL(base, beaten(sides, COUNT) == COUNT);
    assert_true(assent_now_ms() - first_ms >= limits.heartbeat_ms / 8);
    for (int i = 0; i < COUNT; i++) {
        assent_conn_close(sides[i].conn);
        close(peers[i]);
    }
}

static void without_heartbeats_silence_is_allowed(void **state)
{
    struct assent_net_limits limits = wide;
    struct side side = {0}, beating = {0};
    int peer, other;

    (void)state;
    limits.handshake_ms = 30;
    limits.heartbeat_ms = 20;
    peer = open_with_raw_peer(&side, SOCK_STREAM, &limits);
    assent_conn_established(side.conn, false);
    other = open_with_raw_peer(&beating, SOCK_STREAM, &limits);
    assent_conn_established(beating.conn, true);
    RUN_UNTIL(base, beating.closes == 1); /* by then the quiet one was silent as long */
    assert_int_equal(side.closes, 0);
    assert_int_equal(side.heartbeats, 0);
    assent_conn_close(side.conn);
    close(peer);
    close(other);
}

static void a_handler_may_close_its_connection(void **state)
{
    struct assent_net_limits limits = wide;
    struct side side = {.close_at_frame = 2}, beating = {.close_at_frame = -1};
    int peer, other;
    char byte;

    (void)state;
    peer = open_with_raw_peer(&side, SOCK_STREAM, &wide);
    for (int i = 0; i < 5; i++)
        put_frame(peer, "frame");
    turn();
    assert_int_equal(side.frames, 2);
    assert_int_equal(side.closes, 0);
    errno = 0;
    assert_true(recv(peer, &byte, 1, 0) <= 0 && errno != EAGAIN);
    close(peer);
    limits.heartbeat_ms = 50; /* three of which no pause of the machine lasts */
    other = open_with_raw_peer(&beating, SOCK_STREAM, &limits);
    assent_conn_established(beating.conn, true);
    RUN_UNTIL(base, beating.conn == NULL);
    turn();
    assert_int_equal(beating.heartbeats, 1);
    assert_int_equal(beating.closes, 0);
    close(other);
}

static void a_handler_may_close_another_connection(void **state)
{
    struct side first = {0}, second = {0};
    int peers[2];

    (void)state;
    peers[0] = open_with_raw_peer(&first, SOCK_STREAM, &wide);
    peers[1] = open_with_raw_peer(&second, SOCK_STREAM, &wide);
    first.close_other = &second.conn;
    second.close_other = &first.conn;
    /* Both are ready in the same turn; the first to be served closes the other. */
    put_frame(peers[0], "frame");
    put_frame(peers[1], "frame");
    turn();
    turn();
    assert_int_equal(first.frames + second.frames, 1);
    assert_int_equal(first.closes + second.closes, 0);
    assent_conn_close(first.conn);
    assent_conn_close(second.conn);
    close(peers[0]);
    close(peers[1]);
}

static void a_failure_before_the_close_is_not_told(void **state)
{
    struct side side = {0};
    uint8_t data[1000] = {0};
    int peer;

    (void)state;
    peer = open_with_raw_peer(&side, SOCK_STREAM, &(struct assent_net_limits){1000, 1000, 1000});
    assert_int_equal(assent_conn_send(side.conn, data, 900), 0);
    assert_int_equal(assent_conn_send(side.conn, data, 900), ASSENT_E_LIMIT);
    assent_conn_close(side.conn);
    turn();
    assert_int_equal(side.closes, 0);
    close(peer);
}

static void the_last_message_arrives_although_input_was_left(void **state)
{
    static uint8_t junk[300000];
    uint8_t bytes[64];
    struct side side = {0};
    int peer;

    (void)state;
    memset(junk, 1, sizeof(junk));
    peer = open_with_raw_tcp_peer(&side, &wide);
    fcntl(peer, F_SETFL, O_NONBLOCK);
    put_frame(peer, "hello");
    assert_true(write(peer, junk, sizeof(junk)) > 32768); /* inside a frame: 0x01010101 bytes */
    assent_conn_send(side.conn, "refused", 7);
    assent_conn_close_after_flush(side.conn);
    assert_int_equal(assent_conn_send(side.conn, "more", 4), ASSENT_E_CLOSED);
    turn();
    assert_int_equal(recv(peer, bytes, sizeof(bytes), 0), 11);
    assert_memory_equal(bytes + 4, "refused", 7);
    assert_int_equal(recv(peer, bytes, sizeof(bytes), 0), 0); /* an end, not a reset */
    assert_int_equal(side.closes, 0);
    close(peer);
    RUN_UNTIL(base, side.closes == 1);
    assert_int_equal(side.frames, 0);
    assert_int_equal(side.error, ASSENT_E_CLOSED);
}

static void a_peer_that_ignores_the_last_message_is_left_after_a_second(void **state)
{
    struct side side = {0};
    uint64_t start_ms = assent_now_ms();
    int peer;

    (void)state;
    peer = open_with_raw_peer(&side, SOCK_STREAM, &wide);
    assent_conn_send(side.conn, "refused", 7);
    assent_conn_close_after_flush(side.conn);
    RUN_UNTIL(base, side.closes == 1);
    assert_true(assent_now_ms() - start_ms >= 990);
    close(peer);
}

static void a_reset_is_told_as_the_end(void **state)
{
    struct linger at_once = {.l_onoff = 1};
    struct side side = {0};
    int peer;

    (void)state;
    peer = open_with_raw_tcp_peer(&side, &wide);
    assert_memory_equal(assent_conn_peer(side.conn), "127.0.0.1:", 10);
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(peer);
    RUN_UNTIL(base, side.closes == 1);
    assert_int_equal(side.error, ASSENT_E_CLOSED);
    assert_string_equal(side.detail, "Connection reset by peer");
}

static void last_words_are_read_although_writing_fails(void **state)
{
    struct side side = {0};
    int peer;

    (void)state;
    /* No SIGPIPE either, which would end the test. */
    peer = open_with_raw_peer(&side, SOCK_STREAM, &wide);
    put_frame(peer, "refused");
    close(peer);
    assert_int_equal(assent_conn_send(side.conn, "x", 1), 0);
    RUN_UNTIL(base, side.closes == 1);
    assert_int_equal(side.frames, 1);
    assert_memory_equal(side.last, "refused", 7);
    assert_int_equal(side.error, ASSENT_E_CLOSED);
}

static void a_new_handler_takes_over(void **state)
{
    struct side first = {0}, second = {0};
    int peer;

    (void)state;
    peer = open_with_raw_peer(&first, SOCK_STREAM, &wide);
    assert_string_equal(assent_conn_peer(first.conn), "unix");
    second.conn = first.conn;
    assent_conn_set_handler(first.conn, &handler, &second);
    put_frame(peer, "frame");
    close(peer);
    RUN_UNTIL(base, second.closes == 1);
    assert_int_equal(second.frames, 1);
    assert_int_equal(first.frames + first.closes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_reader_is_closed_at_the_output_cap),
        cmocka_unit_test(one_frame_may_be_larger_than_the_output_cap),
        cmocka_unit_test(a_handshake_that_never_comes_is_timed_out),
        cmocka_unit_test(silence_of_three_periods_closes),
        cmocka_unit_test(heartbeats_keep_both_sides_up),
        cmocka_unit_test(heartbeats_of_those_who_came_together_are_spread),
        cmocka_unit_test(without_heartbeats_silence_is_allowed),
        cmocka_unit_test(a_handler_may_close_its_connection),
        cmocka_unit_test(a_handler_may_close_another_connection),
        cmocka_unit_test(a_failure_before_the_close_is_not_told),
        cmocka_unit_test(the_last_message_arrives_although_input_was_left),
        cmocka_unit_test(a_peer_that_ignores_the_last_message_is_left_after_a_second),
        cmocka_unit_test(a_reset_is_told_as_the_end),
        cmocka_unit_test(last_words_are_read_although_writing_fails),
        cmocka_unit_test(a_new_handler_takes_over),
    };

    return cmocka_run_group_tests_name("conn_end", tests, make_base, free_base);
}
