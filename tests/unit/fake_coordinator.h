/*
 * fake_coordinator.h: the other end of a client's socket, for tests: a thread that runs a script of
 * what to take and what to answer. Anything unexpected ends the process (cmocka's assertions do
 * not work off the main thread). Every wait ends after 20 s.
 */
#ifndef ASSENT_FAKE_COORDINATOR_H
#define ASSENT_FAKE_COORDINATOR_H

#include <pthread.h>

#include "codec.h"

#define MUST(condition) ((condition) ? (void)0 : fake_die(__FILE__, __LINE__, #condition))

struct fake {
    int listener, fd;
    char address[32];
    pthread_t thread;
    void (*script)(struct fake *fake);
    struct assent_arena *arena;
    struct assent_wire wire; /* what was taken last */
    uint8_t *buffer;
    size_t capacity;
};

_Noreturn void fake_die(const char *file, int line, const char *condition);
/* Listens, and runs the script in a thread; fini waits for its end. */
void fake_init(struct fake *fake, void (*script)(struct fake *fake));
void fake_fini(struct fake *fake);

/* For scripts: */
void fake_accept(struct fake *fake); /* without a hello */
void fake_greet(struct fake *fake);  /* accept, take the hello and answer it */
void fake_close(struct fake *fake);
void fake_hello(struct assent_wire *ret_wire); /* a good one, to be changed and sent */
/* The next request, which must be of that kind. */
const struct assent_wire *fake_take(struct fake *fake, enum assent_wire_kind kind);
/* The client has closed its end and sent nothing before. */
void fake_take_end(struct fake *fake);
void fake_send(struct fake *fake, const struct assent_wire *wire);
void fake_send_raw(struct fake *fake, const void *data, size_t size);
/* Frequent answers. */
void fake_begin_reply(struct fake *fake, uint64_t request, uint8_t first_byte);
void fake_result(struct fake *fake, uint64_t request, const struct assent_gtrid *gtrid,
                 enum assent_outcome outcome);
void fake_refuse(struct fake *fake, uint64_t request, int error, const char *text);

#endif
