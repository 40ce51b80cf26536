/*
 * client_fixture.h: what the tests of the client share: cmocka and an open client of a fake
 * coordinator.
 */
#ifndef ASSENT_TEST_CLIENT_FIXTURE_H
#define ASSENT_TEST_CLIENT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "assent/client.h"
#include "fake_coordinator.h"

static inline int open_client(const struct fake *fake, uint32_t request_ms,
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

static inline struct assent_client *opened(const struct fake *fake, uint32_t request_ms)
{
    struct assent_client *client = NULL;
    char error[512];

    if (open_client(fake, request_ms, &client, error) != 0)
        fail_msg("%s", error);
    return client;
}

#endif
