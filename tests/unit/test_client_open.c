/*
 * test_client_open.c: a client's hello against a fake coordinator: who it says it is, and what is
 * said when the other side is not what was wanted.
 */
#include <stdio.h>
#include <string.h>

#include "client_fixture.h"

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

static void application_script(struct fake *fake)
{
    struct assent_wire hello;

    fake_hello(&hello);
    hello.u.hello.role = ASSENT_ROLE_APPLICATION;
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
        {application_script, ASSENT_E_PROTOCOL, " does not answer as a coordinator"},
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_says_who_it_is),
        cmocka_unit_test(open_says_why_it_failed),
        cmocka_unit_test(a_silent_server_is_given_up),
        cmocka_unit_test(nobody_listening_is_a_failed_connect),
        cmocka_unit_test(bad_options_are_refused_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
