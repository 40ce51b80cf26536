/* test_routes.c: which shard a frame concerns, and which frames have to have all shards held. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gtrid.h"
#include "keys.h"
#include "routes.h"
#include "server.h"

static struct session session = {.state = SESSION_UP};

static enum route find(enum assent_role role, const struct assent_wire *wire, uint64_t *ret_number)
{
    session.role = role;
    *ret_number = UINT64_MAX;
    return routes_find(&session, wire, ret_number);
}

static void goes_to(enum assent_role role, const struct assent_wire *wire, uint64_t expected)
{
    uint64_t number;

    assert_int_equal(find(role, wire, &number), ROUTE_SHARD);
    assert_int_equal(number, expected);
}

static void stays(enum assent_role role, const struct assent_wire *wire, enum route expected)
{
    uint64_t number;

    assert_int_equal(find(role, wire, &number), expected);
}

static struct assent_gtrid gtrid_of(uint64_t sequence)
{
    return assent_gtrid_make(1, 2, 3, sequence);
}

static void what_names_a_transaction_goes_to_its_shard(void **state)
{
    struct assent_wire wire;

    (void)state;
    for (uint64_t sequence = 1; sequence < 20; sequence++) {
        wire = (struct assent_wire){.kind = ASSENT_WIRE_BRANCH};
        wire.u.branch.message.gtrid = gtrid_of(sequence);
        goes_to(ASSENT_ROLE_PARTICIPANT, &wire, sequence);
        wire = (struct assent_wire){.kind = ASSENT_WIRE_END};
        wire.u.end.gtrid = gtrid_of(sequence);
        goes_to(ASSENT_ROLE_APPLICATION, &wire, sequence);
        wire = (struct assent_wire){.kind = ASSENT_WIRE_ENLIST};
        wire.u.enlist.gtrid = gtrid_of(sequence);
        goes_to(ASSENT_ROLE_APPLICATION, &wire, sequence);
        wire = (struct assent_wire){.kind = ASSENT_WIRE_WORK};
        wire.u.work.gtrid = gtrid_of(sequence);
        goes_to(ASSENT_ROLE_APPLICATION, &wire, sequence);
        wire = (struct assent_wire){.kind = ASSENT_WIRE_STATUS};
        wire.u.status.has_gtrid = true;
        wire.u.status.key = "";
        wire.u.status.gtrid = gtrid_of(sequence);
        goes_to(ASSENT_ROLE_APPLICATION, &wire, sequence);
    }
}

static void a_key_has_one_place_and_without_one_it_is_the_connections(void **state)
{
    struct assent_wire begin = {.kind = ASSENT_WIRE_BEGIN}, run = {.kind = ASSENT_WIRE_RUN};
    struct assent_wire status = {.kind = ASSENT_WIRE_STATUS};

    (void)state;
    begin.u.begin.key = run.u.run.begin.key = status.u.status.key = "order-1";
    goes_to(ASSENT_ROLE_APPLICATION, &begin, keys_hash("order-1"));
    goes_to(ASSENT_ROLE_APPLICATION, &run, keys_hash("order-1"));
    goes_to(ASSENT_ROLE_APPLICATION, &status, keys_hash("order-1"));
    begin.u.begin.key = run.u.run.begin.key = "";
    stays(ASSENT_ROLE_APPLICATION, &begin, ROUTE_HERE);
    stays(ASSENT_ROLE_APPLICATION, &run, ROUTE_HERE);
    /* FNV-1a, as published. */
    assert_int_equal(keys_hash("a"), 0xe40c292c);
}

static void an_answer_to_a_relay_goes_to_who_asked(void **state)
{
    struct assent_wire wire = {.kind = ASSENT_WIRE_INSPECTION, .request = 4711};

    (void)state;
    goes_to(ASSENT_ROLE_PARTICIPANT, &wire, 4711);
    wire.kind = ASSENT_WIRE_REFUSAL;
    goes_to(ASSENT_ROLE_PARTICIPANT, &wire, 4711);
}

static void what_concerns_all_has_all_held(void **state)
{
    struct assent_wire wire = {.kind = ASSENT_WIRE_OPERATE};

    (void)state;
    stays(ASSENT_ROLE_APPLICATION, &wire, ROUTE_HELD);
    wire = (struct assent_wire){.kind = ASSENT_WIRE_INSPECT};
    wire.u.inspect.what = "transactions";
    stays(ASSENT_ROLE_APPLICATION, &wire, ROUTE_HELD);
    wire.u.inspect.what = "query";
    stays(ASSENT_ROLE_APPLICATION, &wire, ROUTE_HERE);
    /* What is out of place ends the connection. */
    wire = (struct assent_wire){.kind = ASSENT_WIRE_BEGIN};
    stays(ASSENT_ROLE_PARTICIPANT, &wire, ROUTE_HELD);
    wire.kind = ASSENT_WIRE_BRANCH;
    stays(ASSENT_ROLE_APPLICATION, &wire, ROUTE_HELD);
    wire = (struct assent_wire){.kind = ASSENT_WIRE_PING};
    stays(ASSENT_ROLE_PARTICIPANT, &wire, ROUTE_HERE);
    wire.u.ping.holds = true;
    stays(ASSENT_ROLE_PARTICIPANT, &wire, ROUTE_HELD);
}

static void a_participant_comes_while_all_are_held(void **state)
{
    struct assent_wire wire = {.kind = ASSENT_WIRE_HELLO};

    (void)state;
    session.state = SESSION_NEW;
    wire.u.hello.role = ASSENT_ROLE_PARTICIPANT;
    stays(0, &wire, ROUTE_HELD);
    wire.u.hello.role = ASSENT_ROLE_APPLICATION;
    stays(0, &wire, ROUTE_HERE);
    session.state = SESSION_REGISTERING;
    wire = (struct assent_wire){.kind = ASSENT_WIRE_BRANCH};
    stays(ASSENT_ROLE_PARTICIPANT, &wire, ROUTE_HELD);
    session.state = SESSION_UP;
}

/* Two shards, run by hand. */
struct two {
    struct server server;
    struct shard shards[2];
    int peer; /* the other end of a connection that the first has */
};

static struct session *open_two(struct two *two)
{
    struct options *options = &two->server.options;
    int pair[2];

    memset(two, 0, sizeof(*two));
    options->frame_bytes_max = options->output_bytes_max = 1 << 24;
    options->heartbeat_ms = options->handshake_ms = 600000;
    two->server.shards = two->shards;
    two->server.shard_count = 2;
    hold_init(&two->server.hold);
    hold_join(&two->server.hold);
    for (unsigned i = 0; i < 2; i++)
        assert_true(shard_open(&two->shards[i], &two->server, i));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    two->peer = pair[1];
    session_accept(&two->shards[0], pair[0]);
    TAILQ_FIRST(&two->shards[0].sessions)->state = SESSION_UP;
    return TAILQ_FIRST(&two->shards[0].sessions);
}

static void close_two(struct two *two)
{
    close(two->peer);
    server_hold(&two->server);
    session_close_all(&two->shards[0]);
    server_release(&two->server);
    for (unsigned i = 0; i < 2; i++) {
        shard_stop(&two->shards[i]);
        shard_close(&two->shards[i]);
    }
    hold_fini(&two->server.hold);
}

/* As much as goes in, of one frame over and over; *offset: how far it is in the present one. */
static size_t write_all(int fd, const uint8_t *frame, size_t size, size_t *offset)
{
    size_t sum = 0;
    ssize_t sent;

    while ((sent = write(fd, frame + *offset, size - *offset)) > 0) {
        sum += (size_t)sent;
        *offset = (*offset + (size_t)sent) % size;
    }
    return sum;
}

static void a_connection_is_not_read_while_too_much_of_it_waits_elsewhere(void **state)
{
    struct assent_wire wire = {.kind = ASSENT_WIRE_BEGIN, .request = 1};
    uint8_t *body = NULL, frame[4096];
    size_t capacity = 0, size, offset = 0, sent = 0, more;
    struct session *home;
    struct two two;

    (void)state;
    home = open_two(&two);
    home->role = ASSENT_ROLE_APPLICATION;
    two.server.state = SERVER_DRAINING; /* all are refused */
    wire.u.begin.traceparent = "";
    wire.u.begin.key = keys_hash("k") % 2 == 1 ? "k" : "l";
    assert_int_equal(keys_hash(wire.u.begin.key) % 2, 1);
    assert_int_equal(assent_wire_encode(&wire, &body, &capacity, &size), 0);
    assent_frame_header(frame, (uint32_t)size);
    memcpy(frame + ASSENT_FRAME_HEADER, body, size);
    size += ASSENT_FRAME_HEADER;
    /* Nobody takes them: what comes in has an end. */
    while ((more = write_all(two.peer, frame, size, &offset)) > 0) {
        sent += more;
        assert_true(sent < 8 * PASSED_BYTES_MAX);
        event_base_loop(two.shards[0].base, EVLOOP_NONBLOCK);
    }
    assert_true(home->passed_bytes > PASSED_BYTES_MAX);
    assert_true(home->passed_bytes < PASSED_BYTES_MAX + sizeof(struct letter) + size);
    /* The other one takes them, and then there is room for more. */
    shard_flush(&two.shards[0]);
    assert_true(shard_deliver(&two.shards[1]));
    shard_flush(&two.shards[1]);
    assert_int_equal(home->passed_bytes, 0);
    event_base_loop(two.shards[0].base, EVLOOP_NONBLOCK);
    event_base_loop(two.shards[0].base, EVLOOP_NONBLOCK);
    assert_true(home->passed_bytes > 0);
    assert_true(write_all(two.peer, frame, size, &offset) > 0);
    free(body);
    close_two(&two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_names_a_transaction_goes_to_its_shard),
        cmocka_unit_test(a_key_has_one_place_and_without_one_it_is_the_connections),
        cmocka_unit_test(an_answer_to_a_relay_goes_to_who_asked),
        cmocka_unit_test(what_concerns_all_has_all_held),
        cmocka_unit_test(a_participant_comes_while_all_are_held),
        cmocka_unit_test(a_connection_is_not_read_while_too_much_of_it_waits_elsewhere),
    };

    return cmocka_run_group_tests_name("routes", tests, NULL, NULL);
}
