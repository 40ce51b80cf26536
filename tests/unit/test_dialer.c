/* test_dialer.c: dialing until it succeeds, again on request, and with growing delays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"
#include "loop.h"
#include "net.h"
#include "runtime.h"

#define TIMES_MAX 32

struct client {
    struct assent_dialer *dialer;
    int connected, failed, accepted;
    int fd, far_fd;
    bool close_in_connected, close_in_failed, retry_in_connected;
    uint64_t failed_ms[TIMES_MAX];
    char detail[200];
};

static struct event_base *base;

static void on_connected(int fd, void *context)
{
    struct client *client = context;

    client->connected++;
    if (client->fd >= 0)
        close(client->fd);
    client->fd = fd;
    if (client->retry_in_connected)
        assent_dialer_retry(client->dialer);
    if (client->close_in_connected) {
        assent_dialer_close(client->dialer);
        client->dialer = NULL;
    }
}

static void on_failed(const char *detail, void *context)
{
    struct client *client = context;

    if (client->failed < TIMES_MAX)
        client->failed_ms[client->failed] = assent_now_ms();
    client->failed++;
    snprintf(client->detail, sizeof(client->detail), "%s", detail);
    if (client->close_in_failed) {
        assent_dialer_close(client->dialer);
        client->dialer = NULL;
    }
}

static void on_accepted(int fd, void *context)
{
    struct client *client = context;

    client->accepted++;
    if (client->far_fd >= 0)
        close(client->far_fd);
    client->far_fd = fd;
}

static void init(struct client *client)
{
    *client = (struct client){.fd = -1, .far_fd = -1};
}

static void open_client(struct client *client, const char *address, uint32_t min_ms,
                        uint32_t max_ms)
{
    assert_int_equal(assent_dialer_open(base, address, min_ms, max_ms, on_connected, on_failed,
                                        client, &client->dialer),
                     0);
    assert_int_equal(client->connected + client->failed, 0); /* nothing from inside the call */
}

static void close_client(struct client *client)
{
    assent_dialer_close(client->dialer);
    if (client->fd >= 0)
        close(client->fd);
    if (client->far_fd >= 0)
        close(client->far_fd);
    assert_int_equal(event_base_loop(base, EVLOOP_NONBLOCK), 1); /* no event is left */
}

static struct assent_listener *listen_at(const char *address, struct client *client)
{
    struct assent_listener *listener = NULL;
    char error[200] = "";

    assert_int_equal(assent_listener_open(base, address, 100, on_accepted, client, &listener, error,
                                          sizeof(error)),
                     0);
    return listener;
}

/* An address where nothing listens; the socket keeps it. */
static int refused_address(char text[ASSENT_SOCKET_NAME_MAX + 1])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    assent_socket_name((struct sockaddr *)&address, size, text);
    return fd;
}

static void it_connects_and_again_when_asked(void **state)
{
    struct assent_listener *listener;
    struct client client;

    (void)state;
    init(&client);
    listener = listen_at("127.0.0.1:0", &client);
    open_client(&client, assent_listener_address(listener), 10, 50);
    assent_dialer_retry(client.dialer); /* while dialing: nothing */
    RUN_UNTIL(base, client.connected == 1 && client.accepted == 1);
    for (int i = 2; i <= 5; i++) {
        assent_dialer_succeeded(client.dialer);
        assent_dialer_retry(client.dialer);
        assent_dialer_retry(client.dialer);
        RUN_UNTIL(base, client.connected == i && client.accepted == i);
    }
    assert_int_equal(client.failed, 0);
    assent_listener_close(listener);
    close_client(&client);
}

static void it_goes_on_until_the_server_is_there(void **state)
{
    char address[ASSENT_SOCKET_NAME_MAX + 1], expected[200];
    int bound = refused_address(address);
    struct assent_listener *listener;
    struct client client;

    (void)state;
    init(&client);
    open_client(&client, address, 5, 20);
    RUN_UNTIL(base, client.failed == 3);
    snprintf(expected, sizeof(expected), "cannot connect to %s: Connection refused", address);
    assert_string_equal(client.detail, expected);
    assert_int_equal(client.connected, 0);
    close(bound);
    listener = listen_at(address, &client);
    RUN_UNTIL(base, client.connected == 1 && client.accepted == 1);
    assent_listener_close(listener);
    close_client(&client);
}

static void delays_grow_to_the_maximum_and_shrink_after_success(void **state)
{
    char address[ASSENT_SOCKET_NAME_MAX + 1];
    int bound = refused_address(address);
    struct assent_listener *listener;
    struct client client;
    uint64_t start_ms;

    (void)state;
    init(&client);
    open_client(&client, address, 8, 64);
    RUN_UNTIL(base, client.failed == 7);
    /* Delay n is at least half of 8 * 2^n, at most 64, ms; one more for rounding. */
    for (int n = 0; n < 6; n++) {
        uint64_t least_ms = (uint64_t)(n < 3 ? 4 << n : 32);

        assert_true(client.failed_ms[n + 1] - client.failed_ms[n] + 1 >= least_ms);
    }
    close(bound);
    listener = listen_at(address, &client);
    RUN_UNTIL(base, client.connected == 1);
    /* No success was told: the handshake failed, say. The next delay is a long one. */
    start_ms = assent_now_ms();
    assent_dialer_retry(client.dialer);
    RUN_UNTIL(base, client.connected == 2);
    assert_true(assent_now_ms() - start_ms + 1 >= 32);
    assent_listener_close(listener);
    close_client(&client);
}

static void success_starts_the_delays_afresh(void **state)
{
    struct assent_listener *listener;
    struct client client;
    uint64_t start_ms;

    (void)state;
    init(&client);
    listener = listen_at("127.0.0.1:0", &client);
    open_client(&client, assent_listener_address(listener), 10, 3600000);
    RUN_UNTIL(base, client.connected == 1);
    start_ms = assent_now_ms();
    /* Twelve delays that doubled would take 20 s at least. */
    for (int i = 2; i <= 13; i++) {
        assent_dialer_succeeded(client.dialer);
        for (int again = 0; again < 15; again++)
            assent_dialer_retry(client.dialer); /* once it waits, no more delay is added */
        RUN_UNTIL(base, client.connected == i);
    }
    assert_true(assent_now_ms() - start_ms < 10000);
    assent_listener_close(listener);
    close_client(&client);
}

static void retry_may_be_called_inside_connected(void **state)
{
    struct assent_listener *listener;
    struct client client;

    (void)state;
    init(&client);
    client.retry_in_connected = true;
    listener = listen_at("127.0.0.1:0", &client);
    open_client(&client, assent_listener_address(listener), 1, 5);
    RUN_UNTIL(base, client.connected == 5 && client.accepted == 5);
    assent_listener_close(listener);
    close_client(&client);
}

static void it_may_be_closed_at_any_moment(void **state)
{
    char address[ASSENT_SOCKET_NAME_MAX + 1];
    int bound = refused_address(address);
    struct assent_listener *listener;
    struct client client;

    (void)state;
    init(&client);
    open_client(&client, address, 1, 5); /* before its first attempt */
    close_client(&client);
    init(&client);
    client.close_in_failed = true;
    open_client(&client, address, 1, 5);
    RUN_UNTIL(base, client.failed == 1);
    close_client(&client);
    init(&client);
    open_client(&client, address, 60000, 60000); /* between attempts */
    RUN_UNTIL(base, client.failed == 1);
    close_client(&client);
    init(&client);
    client.close_in_connected = true;
    listener = listen_at("127.0.0.1:0", &client);
    open_client(&client, assent_listener_address(listener), 1, 5);
    RUN_UNTIL(base, client.connected == 1);
    assent_listener_close(listener);
    close_client(&client);
    close(bound);
}

static void names_that_mean_nothing_are_reported_and_tried_again(void **state)
{
    struct client client;

    (void)state;
    init(&client);
    open_client(&client, "no.such.host.invalid:1", 1, 5);
    RUN_UNTIL(base, client.failed >= 2);
    assert_memory_equal(client.detail, "cannot resolve no.such.host.invalid: ", 37);
    close_client(&client);
    assert_int_equal(assent_dialer_open(base, "nonsense", 1, 5, on_connected, on_failed, &client,
                                        &client.dialer),
                     ASSENT_E_INVALID);
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
        cmocka_unit_test(it_connects_and_again_when_asked),
        cmocka_unit_test(it_goes_on_until_the_server_is_there),
        cmocka_unit_test(delays_grow_to_the_maximum_and_shrink_after_success),
        cmocka_unit_test(success_starts_the_delays_afresh),
        cmocka_unit_test(retry_may_be_called_inside_connected),
        cmocka_unit_test(it_may_be_closed_at_any_moment),
        cmocka_unit_test(names_that_mean_nothing_are_reported_and_tried_again),
    };

    return cmocka_run_group_tests_name("dialer", tests, make_base, free_base);
}
