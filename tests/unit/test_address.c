/* test_address.c: addresses as text, and the blocking connect. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "address.h"
#include "net.h"

static void good_addresses_are_split(void **state)
{
    static const char *const good[][3] = {
        {"127.0.0.1:7372", "127.0.0.1", "7372"},
        {"localhost:0", "localhost", "0"},
        {":65535", "", "65535"},
        {"[::1]:7372", "::1", "7372"},
        {"[fe80::1%eth0]:1", "fe80::1%eth0", "1"},
        {"agent-1.example.org:00080", "agent-1.example.org", "00080"},
    };
    char host[64], port[6];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(assent_address_split(good[i][0], host, sizeof(host), port, sizeof(port)),
                         0);
        assert_string_equal(host, good[i][1]);
        assert_string_equal(port, good[i][2]);
    }
}

static void bad_addresses_are_refused_and_nothing_is_written(void **state)
{
    static const char *const bad[] = {
        "",
        "localhost",
        "localhost:",
        "localhost:x",
        "localhost:65536",
        "localhost:-1",
        "localhost: 1",
        "localhost:1 ",
        "localhost:123456",
        "::1:7372",
        "[::1]",
        "[::1]7372",
        "[::1:7372",
        "::1]:7372",
        "[]:1",
        "[[::1]]:1",
        "local host:1",
        "http://localhost:1",
        "user@host:1",
        "host\n:1",
        "a-host-name-that-is-longer-than-its-place:1",
    };
    char host[32] = "before", port[6] = "1";

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(assent_address_split(bad[i], host, sizeof(host), port, sizeof(port)),
                         ASSENT_E_INVALID);
    assert_int_equal(assent_address_split("a:7372", host, sizeof(host), port, 4), ASSENT_E_INVALID);
    assert_string_equal(host, "before");
    assert_string_equal(port, "1");
}

/* A listening socket on loopback; its address as text. */
static int listen_somewhere(int backlog, char text[ASSENT_SOCKET_NAME_MAX + 1])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    if (backlog >= 0)
        assert_int_equal(listen(fd, backlog), 0);
    assent_socket_name((struct sockaddr *)&address, size, text);
    return fd;
}

static void connect_returns_a_socket_ready_for_use(void **state)
{
    char address[ASSENT_SOCKET_NAME_MAX + 1], error[200] = "";
    int server = listen_somewhere(5, address), fd, on = 0;
    socklen_t size = sizeof(on);

    (void)state;
    fd = assent_connect(address, 5000, error, sizeof(error));
    assert_true(fd >= 0);
    assert_string_equal(error, "");
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
    assert_int_equal(on, 1);
    close(fd);
    close(server);
}

static void failures_to_connect_say_to_what_and_why(void **state)
{
    char address[ASSENT_SOCKET_NAME_MAX + 1], error[200], expected[200];
    int bound = listen_somewhere(-1, address); /* bound, not listening: refused */

    (void)state;
    assert_int_equal(assent_connect(address, 5000, error, sizeof(error)), ASSENT_E_CONNECT);
    snprintf(expected, sizeof(expected), "cannot connect to %s: Connection refused", address);
    assert_string_equal(error, expected);
    close(bound);
    assert_int_equal(assent_connect("nonsense", 5000, error, sizeof(error)), ASSENT_E_INVALID);
    assert_string_equal(error, "'nonsense' is not an address (host:port or [v6]:port)");
    assert_int_equal(assent_connect("999.999.999.999.invalid:1", 5000, error, sizeof(error)),
                     ASSENT_E_CONNECT);
    assert_memory_equal(error, "cannot resolve 999.999.999.999.invalid: ", 40);
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void a_server_that_does_not_answer_is_given_up_in_time(void **state)
{
    char address[ASSENT_SOCKET_NAME_MAX + 1], error[200], expected[200];
    int server = listen_somewhere(0, address), fds[16], count = 0, result;
    int64_t start_ms = now_ms(), took_ms;

    (void)state;
    /* Once the queue of connections not accepted is full, further ones are not answered. */
    do {
        start_ms = now_ms();
        result = assent_connect(address, 100, error, sizeof(error));
        took_ms = now_ms() - start_ms;
        if (result >= 0)
            fds[count++] = result;
    } while (result >= 0 && count < 16);
    assert_int_equal(result, ASSENT_E_TIMEOUT);
    assert_true(took_ms >= 99);
    snprintf(expected, sizeof(expected), "no connection to %s within 100 ms", address);
    assert_string_equal(error, expected);
    while (count > 0)
        close(fds[--count]);
    close(server);
}

static void a_socket_connected_to_itself_is_refused(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(assent_socket_finish(fd), -ECONNREFUSED);
    close(fd);
}

static void names_of_sockets_can_be_split_again(void **state)
{
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(7372), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    char text[ASSENT_SOCKET_NAME_MAX + 1], host[64], port[6];

    (void)state;
    assent_socket_name((struct sockaddr *)&v6, sizeof(v6), text);
    assert_string_equal(text, "[::1]:7372");
    assert_int_equal(assent_address_split(text, host, sizeof(host), port, sizeof(port)), 0);
    assent_socket_name((struct sockaddr *)&v6, 0, text);
    assert_string_equal(text, "unknown");
}

static void frame_headers_are_big_endian_and_checked(void **state)
{
    uint8_t header[ASSENT_FRAME_HEADER];
    char error[100] = "";

    (void)state;
    assent_frame_header(header, 0x01020304);
    assert_memory_equal(header, "\1\2\3\4", 4);
    assert_int_equal(assent_frame_size(header), 0x01020304);
    assert_int_equal(assent_frame_check(1, 1, error, sizeof(error)), 0);
    assert_string_equal(error, "");
    assert_int_equal(assent_frame_check(0, 1, error, sizeof(error)), ASSENT_E_PROTOCOL);
    assert_int_equal(assent_frame_check(UINT32_MAX, 1048576, error, sizeof(error)),
                     ASSENT_E_TOO_BIG);
    assert_string_equal(error, "frame of 4294967295 bytes announced, 1048576 allowed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_addresses_are_split),
        cmocka_unit_test(bad_addresses_are_refused_and_nothing_is_written),
        cmocka_unit_test(connect_returns_a_socket_ready_for_use),
        cmocka_unit_test(failures_to_connect_say_to_what_and_why),
        cmocka_unit_test(a_server_that_does_not_answer_is_given_up_in_time),
        cmocka_unit_test(a_socket_connected_to_itself_is_refused),
        cmocka_unit_test(names_of_sockets_can_be_split_again),
        cmocka_unit_test(frame_headers_are_big_endian_and_checked),
    };

    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
