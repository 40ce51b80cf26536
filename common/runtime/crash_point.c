/*
 * crash_point.c: dies by SIGKILL at the Nth passage of the one armed point, see crash_point.h.
 * Compiled without ASSENT_WITH_CRASH_POINTS only the names are left.
 */
#include "crash_point.h"

#include <stdlib.h>
#include <string.h>

#include "runtime.h"

static const char *const names[] = {
#define X(name) #name,
    ASSENT_CRASH_POINTS_COORDINATOR(X) ASSENT_CRASH_POINTS_AGENT(X)
#undef X
};

const char *assent_crash_name(int point)
{
    return point >= 0 && point < ASSENT_CRASH_COUNT ? names[point] : NULL;
}

#ifdef ASSENT_WITH_CRASH_POINTS

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#define PASSAGES_MAX 1000000000

/* Written before threads start, except the count. */
static int armed_point = -1;
static atomic_long passages_left;

void assent_crash_point(enum assent_crash_point point)
{
    if ((int)point != armed_point || atomic_fetch_sub(&passages_left, 1) != 1)
        return;
    /* On stderr only, so a test can tell this death from another one. */
    assent_log(ASSENT_LOG_WARN, "crash_point", "name=%s", names[point]);
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

int assent_crash_arm(const char *spec, int first, int end)
{
    size_t name_size = strcspn(spec, ":");
    long passages = 1;

    if (spec[name_size] == ':') {
        const char *digits = spec + name_size + 1;
        size_t count = strspn(digits, "0123456789");

        if (count == 0 || count > 10 || digits[count] != '\0')
            return ASSENT_E_INVALID;
        passages = strtol(digits, NULL, 10);
        if (passages < 1 || passages > PASSAGES_MAX)
            return ASSENT_E_INVALID;
    }
    for (int point = first; point < end; point++) {
        const char *name = assent_crash_name(point);

        if (name == NULL || strlen(name) != name_size || memcmp(name, spec, name_size) != 0)
            continue;
        atomic_store(&passages_left, passages);
        armed_point = point;
        return 0;
    }
    return ASSENT_E_INVALID;
}

#else

int assent_crash_arm(const char *spec, int first, int end)
{
    (void)spec;
    (void)first;
    (void)end;
    return ASSENT_E_STATE;
}

#endif
