/* test_keys.c: the index of idempotency keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "gtrid.h"
#include "keys.h"

static void a_key_finds_its_first_transaction(void **state)
{
    struct assent_gtrid first = assent_gtrid_make(1, 1, 1, 1), second = {.bytes = {9}};
    struct keys keys = {0};

    (void)state;
    assert_true(keys_add(&keys, "order-7", &first));
    assert_true(keys_add(&keys, "order-7", &second));
    assert_true(assent_gtrid_equal(keys_find(&keys, "order-7"), &first));
    assert_null(keys_find(&keys, "order-8"));
    keys_fini(&keys);
}

static void an_empty_key_is_nobodys(void **state)
{
    struct assent_gtrid gtrid = assent_gtrid_make(1, 1, 1, 1);
    struct keys keys = {0};

    (void)state;
    assert_true(keys_add(&keys, "", &gtrid));
    assert_int_equal(keys_count(&keys), 0);
    assert_null(keys_find(&keys, ""));
    keys_fini(&keys);
}

static void a_key_is_removed_only_by_its_own_transaction(void **state)
{
    struct assent_gtrid gtrid = assent_gtrid_make(1, 1, 1, 1), other = {.bytes = {9}};
    struct keys keys = {0};

    (void)state;
    assert_true(keys_add(&keys, "k", &gtrid));
    keys_remove(&keys, "k", &other);
    assert_int_equal(keys_count(&keys), 1);
    keys_remove(&keys, "k", &gtrid);
    assert_null(keys_find(&keys, "k"));
    keys_fini(&keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_finds_its_first_transaction),
        cmocka_unit_test(an_empty_key_is_nobodys),
        cmocka_unit_test(a_key_is_removed_only_by_its_own_transaction),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
