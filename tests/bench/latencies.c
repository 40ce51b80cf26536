/* latencies.c: how long each transaction took, and the quantiles of that. */
#include <stdlib.h>

#include "runtime.h"

#include "bench.h"

void bench_latencies_add(struct bench_latencies *latencies, uint64_t us)
{
    if (latencies->count == latencies->capacity) {
        latencies->capacity = latencies->capacity ? 2 * latencies->capacity : 65536;
        latencies->us = reallocarray(latencies->us, latencies->capacity, sizeof(uint32_t));
        ASSENT_ASSERT(latencies->us);
    }
    latencies->us[latencies->count++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
    latencies->sorted = false;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

uint32_t bench_latencies_quantile(struct bench_latencies *latencies, double q)
{
    size_t at = (size_t)((double)latencies->count * q);

    if (latencies->count == 0)
        return 0;
    if (!latencies->sorted)
        qsort(latencies->us, latencies->count, sizeof(uint32_t), by_value);
    latencies->sorted = true;
    return latencies->us[at < latencies->count ? at : latencies->count - 1];
}

void bench_latencies_fini(struct bench_latencies *latencies)
{
    free(latencies->us);
}
