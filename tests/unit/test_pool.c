/* test_pool.c: memory that is taken and given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "pool.h"

#define SIZE    24
#define CLEARED 17

static void what_is_taken_is_cleared(void **state)
{
    static const uint8_t zeros[CLEARED];
    struct assent_pool pool;

    (void)state;
    assent_pool_init(&pool, SIZE, CLEARED);
    for (int i = 0; i < 3; i++) {
        uint8_t *memory = assent_pool_take(&pool);

        assert_non_null(memory);
        assert_memory_equal(memory, zeros, CLEARED);
        memset(memory, 0xa5, SIZE);
        assent_pool_give(&pool, memory);
    }
    assent_pool_fini(&pool);
}

static void pieces_are_apart(void **state)
{
    enum { PIECES = 5000 }; /* more than are kept */
    uint32_t *pieces[PIECES];
    struct assent_pool pool;

    (void)state;
    assent_pool_init(&pool, SIZE, CLEARED);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < PIECES; i++) {
            pieces[i] = assent_pool_take(&pool);
            assert_non_null(pieces[i]);
            *pieces[i] = i;
        }
        for (uint32_t i = 0; i < PIECES; i++) {
            assert_int_equal(*pieces[i], i);
            assent_pool_give(&pool, pieces[i]);
        }
        assert_true(pool.count < PIECES);
    }
    assent_pool_fini(&pool);
    assert_int_equal(pool.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_taken_is_cleared),
        cmocka_unit_test(pieces_are_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
