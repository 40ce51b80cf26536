/* test_heap.c: memory that one burst of messages has used is there for the next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "runtime.h"

#define MESSAGES      64
#define MESSAGE_BYTES (200 * 1024)
#define PAGE_BYTES    4096

static void burst(void)
{
    void *messages[MESSAGES];

    for (size_t i = 0; i < MESSAGES; i++) {
        messages[i] = malloc(MESSAGE_BYTES);
        assert_non_null(messages[i]);
        memset(messages[i], 'x', MESSAGE_BYTES);
    }
    for (size_t i = 0; i < MESSAGES; i++)
        free(messages[i]);
}

static long faults(void)
{
    struct rusage usage;

    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_minflt;
}

static void a_second_burst_faults_nothing_in(void **state)
{
    long before;

    (void)state;
    assent_heap_keep();
    burst();
    before = faults();
    burst();
    assert_true(faults() - before < MESSAGES * MESSAGE_BYTES / PAGE_BYTES / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_second_burst_faults_nothing_in)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
