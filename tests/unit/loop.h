/* loop.h: runs a libevent loop until a condition holds, within a deadline; for the tests of net. */
#ifndef ASSENT_TEST_LOOP_H
#define ASSENT_TEST_LOOP_H

#include <event2/event.h>
#include <stdbool.h>

#define DEADLINE_S 20

static inline void on_deadline(evutil_socket_t fd, short what, void *expired)
{
    (void)fd;
    (void)what;
    *(bool *)expired = true;
}

/* Fails the test if the condition does not come to hold; it may be evaluated once more. */
#define RUN_UNTIL(base, condition)                                                                 \
    do {                                                                                           \
        bool expired_ = false;                                                                     \
        struct event *deadline_ = evtimer_new(base, on_deadline, &expired_);                       \
                                                                                                   \
        event_add(deadline_, &(struct timeval){.tv_sec = DEADLINE_S});                             \
        while (!(condition) && !expired_)                                                          \
            event_base_loop(base, EVLOOP_ONCE);                                                    \
        event_free(deadline_);                                                                     \
        assert_true(condition);                                                                    \
    } while (0)

#endif
