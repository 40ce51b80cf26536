/* test_xa_wire.c: what the xa resource and its helper say, and which XIDs are ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "xa_wire.h"

/* Quotes, NULs and bytes of every kind. */
static struct assent_branch_id branch(void)
{
    struct assent_branch_id id = {.branch = ASSENT_BRANCH_OF_3PC | 0x002722ff};

    for (unsigned i = 0; i < sizeof(id.log_id); i++)
        id.log_id[i] = (uint8_t)(i * 0x27);
    for (unsigned i = 0; i < sizeof(id.gtrid.bytes); i++)
        id.gtrid.bytes[i] = (uint8_t)(0xff - i * 17);
    return id;
}

static void an_xid_names_its_branch(void **state)
{
    struct assent_branch_id id = branch(), same;
    XID xid;

    (void)state;
    xa_xid_make(&id, &xid);
    assert_in_range(xid.gtrid_length, 1, MAXGTRIDSIZE);
    assert_in_range(xid.bqual_length, 1, MAXBQUALSIZE);
    assert_true(xa_xid_parse(&xid, false, &same));
    assert_memory_equal(&same, &id, sizeof(id));
    /* What follows bqual means nothing, unless data has to speak for itself. */
    xid.data[XIDDATASIZE - 1] = 'x';
    assert_true(xa_xid_parse(&xid, false, &same));
    assert_false(xa_xid_parse(&xid, true, &same));
    xid.data[XIDDATASIZE - 1] = 0;
    assert_false(xa_xid_zeroed(&xid));
    xid.formatID = xid.gtrid_length = xid.bqual_length = 0;
    assert_true(xa_xid_zeroed(&xid));
    assert_false(xa_xid_parse(&xid, false, &same));
    assert_true(xa_xid_parse(&xid, true, &same));
    assert_memory_equal(&same, &id, sizeof(id));
}

static void branches_of_one_transaction_differ_in_bqual_alone(void **state)
{
    struct assent_branch_id id = branch();
    XID one, other;

    (void)state;
    xa_xid_make(&id, &one);
    id.branch++;
    xa_xid_make(&id, &other);
    assert_memory_equal(one.data, other.data, (size_t)one.gtrid_length);
    assert_memory_not_equal(one.data + one.gtrid_length, other.data + one.gtrid_length,
                            (size_t)one.bqual_length);
}

static void what_is_not_exactly_ours_is_somebody_elses(void **state)
{
    struct assent_branch_id id = branch(), untouched = {.branch = 7};
    XID ours, xid;

    (void)state;
    xa_xid_make(&id, &ours);
    for (int field = 0; field < 3; field++) {
        for (int by = -1; by <= 1; by += 2) {
            xid = ours;
            *(field == 0   ? &xid.formatID
              : field == 1 ? &xid.gtrid_length
                           : &xid.bqual_length) += by;
            assert_false(xa_xid_parse(&xid, false, &untouched));
        }
    }
    for (size_t i = 0; i < 6; i++) { /* the word in bqual */
        xid = ours;
        xid.data[(size_t)xid.gtrid_length + i] ^= 1;
        assert_false(xa_xid_parse(&xid, false, &untouched));
        assert_false(xa_xid_parse(&xid, true, &untouched));
    }
    xid = (XID){.formatID = -1};
    assert_false(xa_xid_parse(&xid, false, &untouched));
    assert_int_equal(untouched.branch, 7);
}

static char sent[300000], received[300000];

static void *send_it(void *fd)
{
    return (void *)(intptr_t)xa_send(*(int *)fd, sent, 10, sent + 10, sizeof(sent) - 10);
}

static void frames_are_whole_or_an_error(void **state)
{
    pthread_t thread;
    void *result;
    int fds[2];

    (void)state;
    for (size_t i = 0; i < sizeof(sent); i++)
        sent[i] = (char)(i * 31);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(pthread_create(&thread, NULL, send_it, &fds[0]), 0); /* more than fits */
    assert_int_equal(xa_receive(fds[1], received, sizeof(received)), 0);
    pthread_join(thread, &result);
    assert_null(result);
    assert_memory_equal(sent, received, sizeof(sent));
    assert_int_equal(xa_send(fds[0], sent, 10, NULL, 0), 0);
    close(fds[0]);
    assert_int_equal(xa_receive(fds[1], received, 11), ASSENT_E_CLOSED);
    assert_int_equal(xa_send(fds[1], sent, 10, NULL, 0), ASSENT_E_CLOSED); /* and no SIGPIPE */
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_xid_names_its_branch),
        cmocka_unit_test(branches_of_one_transaction_differ_in_bqual_alone),
        cmocka_unit_test(what_is_not_exactly_ours_is_somebody_elses),
        cmocka_unit_test(frames_are_whole_or_an_error),
    };

    return cmocka_run_group_tests_name("xa_wire", tests, NULL, NULL);
}
