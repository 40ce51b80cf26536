/*
 * mailbox.h: letters from one event loop to another: gathered by the sender for a turn of its loop,
 * handed over as one bag without a lock, with one wake-up for all bags that have not been taken
 * yet. Deliberately not here: what the letters mean (shard.c).
 *
 * Of one sender they come in the order in which they were written; and a bag that was handed over
 * before another, whoever sent them, comes before it.
 */
#ifndef ASSENT_COORDINATOR_MAILBOX_H
#define ASSENT_COORDINATOR_MAILBOX_H

#include <stdatomic.h>

#include "assent/types.h"

struct session;
struct letter_bag;

enum letter_kind {
    LETTER_ACCEPT, /* bytes: a descriptor, int */
    LETTER_FRAME,  /* bytes: a frame that came in for the session, which is elsewhere */
    LETTER_TAKEN,  /* no bytes: of such frames not too many wait any more */
    LETTER_KNOWN,  /* bytes: a struct application_known of the session, which is elsewhere */
    LETTER_OUT     /* bytes: a frame to be sent on the session's connection, which is here */
};

struct letter {
    enum letter_kind kind;
    uint32_t size; /* of the bytes that follow */
    struct session *session;
};

struct mailbox {
    int fd; /* eventfd: readable when bags wait, or the owner is to look around */
    _Atomic(struct letter_bag *) last;
};

/* False without a descriptor. */
ASSENT_CHECKED bool mailbox_open(struct mailbox *mailbox);
/* Drops what nobody has taken. Also one that was never opened: all zero. */
void mailbox_close(struct mailbox *mailbox);

/* The sender's side: writes a letter into a bag of its own (NULL: an empty one). Without memory the
 * process ends. */
void letter_write(struct letter_bag **bag, const struct letter *letter, const void *bytes);
/* Hands the bag over, which is NULL then. Any thread. */
void mailbox_put(struct mailbox *mailbox, struct letter_bag **bag);
/* Makes the descriptor readable. Any thread. */
void mailbox_wake(struct mailbox *mailbox);

/* The owner's side: all bags that wait, in order, or NULL. */
struct letter_bag *mailbox_take(struct mailbox *mailbox);
/* Before taking, after the descriptor was readable. */
void mailbox_woken(struct mailbox *mailbox);
/* The letter at *offset of the first bag, and moves *offset past it; NULL at the bag's end. The
 * bytes are valid until the bag is dropped. */
const struct letter *letter_read(const struct letter_bag *bag, size_t *offset,
                                 const void **ret_bytes);
/* Frees the first bag and returns the next one. */
struct letter_bag *letter_bag_drop(struct letter_bag *bag);

#endif
