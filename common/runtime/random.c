/* random.c: kernel randomness for ids, see runtime.h. Jitter and simulation use base/rng.h. */
#include "runtime.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

void assent_random_bytes(void *buffer, size_t size)
{
    uint8_t *at = buffer;

    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);

        if (got < 0 && errno == EINTR)
            continue;
        /* An id that might repeat could make two logs look like one, so there is no second best. */
        if (got <= 0)
            assent_panic(ASSENT_EXIT_RUNTIME, "no_randomness", "error=%s",
                         assent_log_quote(strerror(errno)));
        at += got;
        size -= (size_t)got;
    }
}
