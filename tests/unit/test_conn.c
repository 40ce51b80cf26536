/* test_conn.c: frames over one connection. */
#include "sides.h"

#define FRAMES 10000

static void ten_thousand_frames_arrive_in_order(void **state)
{
    struct side a = {0}, b = {.in_order = true};

    (void)state;
    open_pair(&a, &b, &wide);
    for (uint32_t i = 0; i < FRAMES; i++) {
        uint8_t data[40] = {0};

        memcpy(data, &i, sizeof(i));
        assert_int_equal(assent_conn_send(a.conn, data, sizeof(i) + i % 37), 0);
    }
    assert_true(assent_conn_output_bytes(a.conn) > FRAMES * 8);
    RUN_UNTIL(base, b.frames == FRAMES);
    assert_int_equal(assent_conn_output_bytes(a.conn), 0);
    assent_conn_close(a.conn);
    RUN_UNTIL(base, b.closes == 1);
    assert_int_equal(b.error, ASSENT_E_CLOSED);
    assert_string_equal(b.detail, "closed by the peer");
    assert_int_equal(a.closes, 0);
}

static void frames_of_every_size_cross_whole(void **state)
{
    static const size_t sizes[] = {1,     2,     127,   4092,  4096,    32763,
                                   32764, 32765, 65536, 65537, 1000000, 1 << 20};
    struct side a = {0}, b = {0};
    uint8_t *data = malloc(1 << 20);

    (void)state;
    memset(data, 0x5a, 1 << 20);
    open_pair(&a, &b, &wide);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        b.bytes = 0;
        assert_int_equal(assent_conn_send(a.conn, data, sizes[i]), 0);
        RUN_UNTIL(base, b.frames == (int)i + 1);
        assert_int_equal(b.bytes, sizes[i]);
    }
    assert_int_equal(assent_conn_send(a.conn, data, (1 << 20) + 1), ASSENT_E_TOO_BIG);
    assert_int_equal(assent_conn_send(a.conn, data, 1), 0);
    assent_conn_close(a.conn);
    RUN_UNTIL(base, b.closes == 1);
    free(data);
}

static void one_byte_at_a_time_makes_the_same_frames(void **state)
{
    static const uint8_t bytes[] = {0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 1, 'd'};
    struct side side = {0};
    int peer;

    (void)state;
    peer = open_with_raw_peer(&side, SOCK_STREAM, &wide);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        put(peer, bytes + i, 1);
        turn();
        assert_int_equal(side.frames, (i >= 6) + (i >= 11));
    }
    assert_memory_equal(side.last, "d", 1);
    assent_conn_close(side.conn);
    close(peer);
}

static void frames_read_together_are_delivered_in_one_turn(void **state)
{
    struct side side = {0};
    int peer;

    (void)state;
    peer = open_with_raw_peer(&side, SOCK_STREAM, &wide);
    for (int i = 0; i < 100; i++)
        put_frame(peer, "together");
    turn();
    assert_int_equal(side.frames, 100);
    assent_conn_close(side.conn);
    close(peer);
}

static void pause_at_third(struct assent_conn *conn, const uint8_t *data, size_t size,
                           void *context)
{
    struct side *side = context;

    on_frame(conn, data, size, context);
    if (side->frames == 3)
        assent_conn_pause(conn);
}

static void a_paused_connection_delivers_nothing_and_loses_nothing(void **state)
{
    static const struct assent_conn_handler pausing = {.frame = pause_at_third,
                                                       .closed = on_closed};
    struct side side = {0};
    int peer;

    (void)state;
    peer = open_with_raw_peer(&side, SOCK_STREAM, &wide);
    assent_conn_set_handler(side.conn, &pausing, &side);
    for (int i = 0; i < 10; i++)
        put_frame(peer, "early");
    turn();
    assert_int_equal(side.frames, 3);
    put_frame(peer, "later");
    turn();
    assert_int_equal(side.frames, 3);
    close(peer);
    assent_conn_resume(side.conn);
    assent_conn_resume(side.conn);
    RUN_UNTIL(base, side.closes == 1);
    assert_int_equal(side.frames, 11);
    assert_string_equal(side.detail, "closed by the peer");
}

static void what_is_queued_in_one_turn_leaves_in_one_write(void **state)
{
    struct side side = {0};
    uint8_t bytes[4096];
    int peer;

    (void)state;
    /* Each read of a SEQPACKET socket returns what one write sent. */
    peer = open_with_raw_peer(&side, SOCK_SEQPACKET, &wide);
    for (int i = 0; i < 100; i++)
        assert_int_equal(assent_conn_send(side.conn, "0123456789", 10), 0);
    assert_true(recv(peer, bytes, sizeof(bytes), 0) < 0 && errno == EAGAIN);
    turn();
    assert_int_equal(recv(peer, bytes, sizeof(bytes), 0), 1400);
    assert_true(recv(peer, bytes, sizeof(bytes), 0) < 0 && errno == EAGAIN);
    assent_conn_close(side.conn);
    close(peer);
}

static void bad_lengths_close_before_allocation(void **state)
{
    static const struct {
        uint8_t header[4];
        int error;
        const char *detail;
    } bad[] = {
        {{0xff, 0xff, 0xff, 0xff},
         ASSENT_E_TOO_BIG,
         "frame of 4294967295 bytes announced, 1048576 allowed"},
        {{0, 0x10, 0, 1}, ASSENT_E_TOO_BIG, "frame of 1048577 bytes announced, 1048576 allowed"},
        {{'G', 'E', 'T', ' '},
         ASSENT_E_TOO_BIG,
         "frame of 1195725856 bytes announced, 1048576 allowed"},
        {{0, 0, 0, 0}, ASSENT_E_PROTOCOL, "empty frame"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct side side = {0};
        int peer = open_with_raw_peer(&side, SOCK_STREAM, &wide);

        put_frame(peer, "before");
        put(peer, bad[i].header, 4);
        put_frame(peer, "after");
        RUN_UNTIL(base, side.closes == 1);
        assert_int_equal(side.frames, 1);
        assert_int_equal(side.error, bad[i].error);
        assert_string_equal(side.detail, bad[i].detail);
        close(peer);
    }
}

static void the_first_frame_has_a_limit_of_its_own(void **state)
{
    struct assent_net_limits limits = wide;
    struct side side = {0}, other = {0};
    int peer;

    (void)state;
    limits.first_frame_bytes_max = 8;
    peer = open_with_raw_peer(&side, SOCK_STREAM, &limits);
    put_frame(peer, "12345678");
    RUN_UNTIL(base, side.frames == 1);
    assent_conn_established(side.conn, false);
    put_frame(peer, "123456789");
    RUN_UNTIL(base, side.frames == 2);
    assent_conn_close(side.conn);
    close(peer);
    peer = open_with_raw_peer(&other, SOCK_STREAM, &limits);
    put_frame(peer, "123456789");
    RUN_UNTIL(base, other.closes == 1);
    assert_string_equal(other.detail, "frame of 9 bytes announced, 8 allowed");
    close(peer);
}

static void a_peer_gone_inside_a_frame_is_told_apart(void **state)
{
    struct side side = {0};
    int peer;

    (void)state;
    peer = open_with_raw_peer(&side, SOCK_STREAM, &wide);
    put_frame(peer, "whole");
    put(peer, "\0\0\0\x09half", 8);
    close(peer);
    RUN_UNTIL(base, side.closes == 1);
    assert_int_equal(side.frames, 1);
    assert_int_equal(side.error, ASSENT_E_CLOSED);
    assert_string_equal(side.detail, "closed by the peer inside a frame, after 8 bytes of it");
}

static void random_bytes_never_get_past_the_frame_check(void **state)
{
    uint64_t rng = 20240501;

    (void)state;
    for (int round = 0; round < 200; round++) {
        struct side side = {0};
        int peer = open_with_raw_peer(&side, SOCK_STREAM, &wide);

        for (int piece = 0; piece < 20 && side.conn != NULL; piece++) {
            uint8_t bytes[64];
            size_t size = 1 + assent_rng_below(&rng, sizeof(bytes));

            for (size_t i = 0; i < size; i++)
                bytes[i] = (uint8_t)(assent_rng_next(&rng) & (round % 2 ? 0xff : 0x03));
            if (write(peer, bytes, size) < 0)
                break;
            turn();
        }
        close(peer);
        RUN_UNTIL(base, side.closes == 1);
        assert_true(side.detail[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_frames_arrive_in_order),
        cmocka_unit_test(frames_of_every_size_cross_whole),
        cmocka_unit_test(one_byte_at_a_time_makes_the_same_frames),
        cmocka_unit_test(frames_read_together_are_delivered_in_one_turn),
        cmocka_unit_test(a_paused_connection_delivers_nothing_and_loses_nothing),
        cmocka_unit_test(what_is_queued_in_one_turn_leaves_in_one_write),
        cmocka_unit_test(bad_lengths_close_before_allocation),
        cmocka_unit_test(the_first_frame_has_a_limit_of_its_own),
        cmocka_unit_test(a_peer_gone_inside_a_frame_is_told_apart),
        cmocka_unit_test(random_bytes_never_get_past_the_frame_check),
    };

    return cmocka_run_group_tests_name("conn", tests, make_base, free_base);
}
