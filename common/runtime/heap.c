/* heap.c: how the C library's heap treats what is freed. Of one that is not glibc's: as it does. */
#include <malloc.h>

#include "runtime.h"

#define KEPT_BYTES (64 << 20)
/* Above any message: larger pieces are tables that grow, and go back. */
#define MAPPED_BYTES (4 << 20)

void assent_heap_keep(void)
{
#ifdef __GLIBC__
    (void)mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
    (void)mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
#endif
}
