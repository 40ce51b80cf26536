/* heap.c: how the C library's heap treats what is freed, and which pages it has. Of one that is not
 * glibc's: as it does. */
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime.h"

#define KEPT_BYTES (64 << 20)
/* Above any message: larger pieces are tables that grow, and go back. */
#define MAPPED_BYTES    (4 << 20)
#define HUGE_PAGE_BYTES (2 << 20)
#define PAD_BYTES       (128 << 10) /* glibc's own */

#ifdef __GLIBC__
/* The heap grows by KEPT_BYTES this once, of which nothing is in memory before it is used. */
static void ask_for_huge_pages(void)
{
    void *volatile first;
    uintptr_t end, start;

    (void)mallopt(M_TOP_PAD, KEPT_BYTES);
    first = malloc(MAPPED_BYTES / 2);
    free(first);
    (void)mallopt(M_TOP_PAD, PAD_BYTES);
    end = (uintptr_t)sbrk(0);
    start = (end - KEPT_BYTES + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    (void)madvise((void *)start, end - start, MADV_HUGEPAGE); /* if not: as it was */
}
#endif

void assent_heap_keep(void)
{
#ifdef __GLIBC__
    (void)mallopt(M_TRIM_THRESHOLD, 2 * KEPT_BYTES); /* at least the first KEPT_BYTES stay */
    (void)mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
    ask_for_huge_pages();
#endif
}
