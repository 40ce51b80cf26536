/* test_heap.c: memory that one burst of messages has used is there for the next; huge pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime.h"

#define MESSAGES      64
#define MESSAGE_BYTES (200 * 1024)
#define PAGE_BYTES    4096
#define HEAP_BYTES    (3 << 20)

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

/* Whether the mapping that holds it asks for them, as the kernel shows it. */
static bool asks_for_huge_pages(const void *memory)
{
    unsigned long begin, end, at = (unsigned long)(uintptr_t)memory;
    FILE *smaps = fopen("/proc/self/smaps", "r");
    bool here = false, asks = false;
    char line[512];

    assert_non_null(smaps);
    while (fgets(line, sizeof(line), smaps) != NULL)
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
            here = begin <= at && at < end;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            asks = strstr(line, " hg") != NULL;
    fclose(smaps);
    return asks;
}

static void what_is_made_later_is_in_huge_pages(void **state)
{
    char *first, *later;

    (void)state;
    if (access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0)
        skip();
    later = malloc(PAGE_BYTES);
    assert_false(asks_for_huge_pages(later));
    free(later);
    assent_heap_keep();
    first = malloc(HEAP_BYTES);
    later = malloc(HEAP_BYTES); /* behind what the heap had, and the edge of its first huge page */
    assert_non_null(first);
    assert_non_null(later);
    assert_true(asks_for_huge_pages(later + HEAP_BYTES - 1));
    free(first);
    free(later);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_made_later_is_in_huge_pages), /* before what else calls it */
        cmocka_unit_test(a_second_burst_faults_nothing_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
