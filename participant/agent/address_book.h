/*
 * address_book.h: where the other participants of our transactions are reached. A branch refers to
 * its peers by their numbers in the book, so that its record stays short; rows are never removed,
 * and one whose participant has moved is written again. Deliberately not here: connections.
 */
#ifndef ASSENT_AGENT_ADDRESS_BOOK_H
#define ASSENT_AGENT_ADDRESS_BOOK_H

#include "codec.h"
#include "hash.h"

/* Rows ever learned; each is a few hundred bytes. */
#define AGENT_ADDRESSES_MAX 65536

struct assent_participant;

struct agent_address {
    uint32_t number;                    /* from 1 */
    char full[2 * ASSENT_NAME_MAX + 2]; /* "NAME/RESOURCE": the key */
    char name[ASSENT_NAME_MAX + 1], resource[ASSENT_NAME_MAX + 1];
    char address[ASSENT_ADDRESS_MAX + 1]; /* "": it has announced none */
    UT_hash_handle hh;
};

struct agent_address_book {
    struct agent_address *by_full;
    struct agent_address **by_number; /* 1 is [0]; NULL where a row was damaged */
    uint32_t count, capacity;
    uint32_t last; /* number of the row that was found last */
};

/* Reads the book at start: 0, or ASSENT_E_* with a sentence in error. A damaged row is logged, and
 * its participant cannot be asked. */
ASSENT_CHECKED int agent_address_book_load(struct assent_participant *agent, char *error,
                                           size_t error_size);
void agent_address_book_fini(struct agent_address_book *book);
/* The row of a peer as its coordinator names it, made or brought up to date. It is queued for the
 * log at once, so it is there no later than any record queued after this. NULL: the book is full,
 * or there is no memory. */
const struct agent_address *agent_address_book_learn(struct assent_participant *agent,
                                                     const struct assent_wire_peer *peer);
/* A participant says itself where it is now. */
void agent_address_book_moved(struct assent_participant *agent,
                              const struct assent_wire_hello *hello);
/* NULL: there is no such row. */
const struct agent_address *agent_address_book_get(const struct agent_address_book *book,
                                                   uint32_t number);

#endif
