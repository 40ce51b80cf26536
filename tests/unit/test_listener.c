/* test_listener.c: accepting, its maximum, and running out of file descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"
#include "net.h"
#include "runtime.h"

#define FDS_MAX 16

static struct event_base *base;

struct server {
    struct assent_listener *listener;
    int fds[FDS_MAX];
    int count;
    bool close_in_callback;
};

static void on_accepted(int fd, void *context)
{
    struct server *server = context;

    assert_true(server->count < FDS_MAX);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    server->fds[server->count++] = fd;
    if (server->close_in_callback) {
        assent_listener_close(server->listener);
        server->listener = NULL;
    }
}

static void open_server(struct server *server, uint32_t connections_max)
{
    char error[200] = "";

    assert_int_equal(assent_listener_open(base, "127.0.0.1:0", connections_max, on_accepted, server,
                                          &server->listener, error, sizeof(error)),
                     0);
}

static void close_server(struct server *server)
{
    assent_listener_close(server->listener);
    while (server->count > 0)
        close(server->fds[--server->count]);
}

static int dial(const struct server *server)
{
    char error[200];
    int fd = assent_connect(assent_listener_address(server->listener), 5000, error, sizeof(error));

    assert_true(fd >= 0);
    return fd;
}

/* Waits for the far end's close. */
static bool is_closed(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0 || errno != EAGAIN;
}

static void connections_are_accepted_at_the_address_it_names(void **state)
{
    struct server server = {0};
    int clients[3];

    (void)state;
    open_server(&server, 10);
    assert_memory_equal(assent_listener_address(server.listener), "127.0.0.1:", 10);
    assert_string_not_equal(assent_listener_address(server.listener), "127.0.0.1:0");
    for (int i = 0; i < 3; i++)
        clients[i] = dial(&server);
    RUN_UNTIL(base, server.count == 3);
    for (int i = 0; i < 3; i++)
        close(clients[i]);
    close_server(&server);
}

static void beyond_the_maximum_connections_are_closed_until_one_is_released(void **state)
{
    struct server server = {0};
    int clients[4];

    (void)state;
    open_server(&server, 2);
    for (int i = 0; i < 3; i++) {
        clients[i] = dial(&server);
        event_base_loop(base, EVLOOP_ONCE);
    }
    RUN_UNTIL(base, is_closed(clients[2]));
    assert_int_equal(server.count, 2);
    assert_false(is_closed(clients[0]));
    assent_listener_released(server.listener);
    clients[3] = dial(&server);
    RUN_UNTIL(base, server.count == 3);
    assert_false(is_closed(clients[3]));
    for (int i = 0; i < 4; i++)
        close(clients[i]);
    close_server(&server);
}

static uint64_t cpu_ms(void)
{
    struct timespec used;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

static void out_of_descriptors_it_rests_and_comes_back(void **state)
{
    struct rlimit limit, low;
    struct server server = {0};
    int client, lowest, turns = 0;
    uint64_t cpu_before, start_ms;

    (void)state;
    open_server(&server, 10);
    client = dial(&server);
    lowest = dup(0);
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = limit;
    low.rlim_cur = (rlim_t)lowest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    cpu_before = cpu_ms();
    /* The failing accept, a pause, the next failing accept. */
    for (start_ms = assent_now_ms(); assent_now_ms() - start_ms < 500; turns++)
        event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(server.count, 0);
    assert_true(turns <= 12);
    assert_true(cpu_ms() - cpu_before < 100);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    start_ms = assent_now_ms();
    RUN_UNTIL(base, server.count == 1);
    assert_true(assent_now_ms() - start_ms < 1000);
    close(client);
    close_server(&server);
}

static void it_may_be_closed_while_it_rests_and_from_its_callback(void **state)
{
    struct server server = {0}, resting = {0};
    struct rlimit limit, low;
    int client, other, lowest;

    (void)state;
    open_server(&server, 10);
    open_server(&resting, 10);
    server.close_in_callback = true;
    client = dial(&server);
    other = dial(&server);
    RUN_UNTIL(base, server.count == 1);
    close(client);
    close(other);
    close_server(&server);
    client = dial(&resting);
    lowest = dup(0);
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = limit;
    low.rlim_cur = (rlim_t)lowest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    event_base_loop(base, EVLOOP_ONCE);
    close_server(&resting);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(event_base_loop(base, EVLOOP_NONBLOCK), 1); /* no event is left */
    close(client);
}

static void addresses_that_cannot_be_bound_are_named(void **state)
{
    struct server server = {0}, second = {0};
    char error[200], expected[200];

    (void)state;
    open_server(&server, 10);
    assert_int_equal(assent_listener_open(base, assent_listener_address(server.listener), 10,
                                          on_accepted, &second, &second.listener, error,
                                          sizeof(error)),
                     ASSENT_E_CONNECT);
    snprintf(expected, sizeof(expected), "cannot listen on %s: Address already in use",
             assent_listener_address(server.listener));
    assert_string_equal(error, expected);
    assert_null(second.listener);
    close_server(&server);
    assert_int_equal(assent_listener_open(base, "7372", 10, on_accepted, &second, &second.listener,
                                          error, sizeof(error)),
                     ASSENT_E_INVALID);
    assert_string_equal(error, "'7372' is not an address (host:port or [v6]:port)");
    assert_int_equal(assent_listener_open(base, "192.0.2.1:7372", 10, on_accepted, &second,
                                          &second.listener, error, sizeof(error)),
                     ASSENT_E_CONNECT);
    assert_string_equal(error, "cannot listen on 192.0.2.1:7372: Cannot assign requested address");
}

static int make_base(void **state)
{
    (void)state;
    base = event_base_new();
    return base == NULL;
}

static int free_base(void **state)
{
    (void)state;
    event_base_free(base);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_are_accepted_at_the_address_it_names),
        cmocka_unit_test(beyond_the_maximum_connections_are_closed_until_one_is_released),
        cmocka_unit_test(out_of_descriptors_it_rests_and_comes_back),
        cmocka_unit_test(it_may_be_closed_while_it_rests_and_from_its_callback),
        cmocka_unit_test(addresses_that_cannot_be_bound_are_named),
    };

    return cmocka_run_group_tests_name("listener", tests, make_base, free_base);
}
