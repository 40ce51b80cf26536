/*
 * clock.c: monotonic time for deadlines and durations, wall time for people. Deliberately not here:
 * timers (the loop's) and any decision that rests on wall time (there is none).
 */
#include "runtime.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_us(clockid_t clock)
{
    struct timespec now;

    /* Cannot fail for the two clocks that every Linux has. */
    ASSENT_ASSERT(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t assent_now_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

uint64_t assent_now_ms(void)
{
    return read_us(CLOCK_MONOTONIC) / 1000;
}

struct timespec assent_moment(uint64_t at_ms)
{
    return (struct timespec){.tv_sec = (time_t)(at_ms / 1000),
                             .tv_nsec = (long)(at_ms % 1000) * 1000000};
}

uint64_t assent_wall_ms(void)
{
    return read_us(CLOCK_REALTIME) / 1000;
}

void assent_wall_format(uint64_t wall_ms, char text[25])
{
    /* The last second of the year 9999: beyond it the text would not fit its 24 characters. */
    const uint64_t last_ms = 253402300799999u;
    char long_text[96];
    struct tm tm;
    time_t seconds;

    if (wall_ms > last_ms)
        wall_ms = last_ms;
    seconds = (time_t)(wall_ms / 1000);
    ASSENT_ASSERT(gmtime_r(&seconds, &tm) != NULL);
    snprintf(long_text, sizeof(long_text), "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", tm.tm_year + 1900,
             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
             (unsigned)(wall_ms % 1000));
    snprintf(text, 25, "%.24s", long_text);
}
