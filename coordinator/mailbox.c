/* mailbox.c: a list of bags whose head is exchanged atomically. */
#include "mailbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime.h"

#define BAG_BYTES_FIRST 4096

struct letter_bag {
    struct letter_bag *next; /* written: NULL; handed over: the one before; taken: the one after */
    size_t used, capacity;
    _Alignas(struct letter) uint8_t bytes[];
};

static size_t letter_bytes(size_t size)
{
    size_t align = _Alignof(struct letter);

    return (sizeof(struct letter) + size + align - 1) / align * align;
}

bool mailbox_open(struct mailbox *mailbox)
{
    atomic_init(&mailbox->last, NULL);
    mailbox->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return mailbox->fd >= 0;
}

void mailbox_close(struct mailbox *mailbox)
{
    struct letter_bag *bag = mailbox_take(mailbox);

    while (bag != NULL)
        bag = letter_bag_drop(bag);
    if (mailbox->fd > 0)
        close(mailbox->fd);
    mailbox->fd = -1;
}

void letter_write(struct letter_bag **bag, const struct letter *letter, const void *bytes)
{
    size_t size = letter_bytes(letter->size);
    size_t used = *bag == NULL ? 0 : (*bag)->used, capacity = *bag == NULL ? 0 : (*bag)->capacity;

    if (capacity - used < size) {
        struct letter_bag *grown;

        for (capacity = capacity == 0 ? BAG_BYTES_FIRST : capacity; capacity - used < size;)
            capacity *= 2;
        grown = realloc(*bag, sizeof(**bag) + capacity);
        if (grown == NULL)
            assent_panic(1, "no_memory", "what=letters");
        grown->next = NULL;
        grown->used = used;
        grown->capacity = capacity;
        *bag = grown;
    }
    memcpy((*bag)->bytes + used, letter, sizeof(*letter));
    memcpy((*bag)->bytes + used + sizeof(*letter), bytes, letter->size);
    (*bag)->used += size;
}

void mailbox_put(struct mailbox *mailbox, struct letter_bag **bag)
{
    struct letter_bag *before = atomic_load_explicit(&mailbox->last, memory_order_relaxed);

    do
        (*bag)->next = before;
    while (!atomic_compare_exchange_weak(&mailbox->last, &before, *bag));
    *bag = NULL;
    /* With others before it the owner has been woken and has not looked yet. */
    if (before == NULL)
        mailbox_wake(mailbox);
}

void mailbox_wake(struct mailbox *mailbox)
{
    const uint64_t one = 1;

    /* EAGAIN would mean a counter near 2^64: readable all the same. */
    if (write(mailbox->fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
        assent_panic(1, "wake_failed", "error=%s", assent_log_quote(strerror(errno)));
}

void mailbox_woken(struct mailbox *mailbox)
{
    uint64_t count;
    /* Before the bags are taken: one that comes in between raises it again. */
    ssize_t ignored = read(mailbox->fd, &count, sizeof(count));

    (void)ignored;
}

struct letter_bag *mailbox_take(struct mailbox *mailbox)
{
    struct letter_bag *bag = atomic_exchange(&mailbox->last, NULL), *first = NULL;

    while (bag != NULL) {
        struct letter_bag *before = bag->next;

        bag->next = first;
        first = bag;
        bag = before;
    }
    return first;
}

const struct letter *letter_read(const struct letter_bag *bag, size_t *offset,
                                 const void **ret_bytes)
{
    const struct letter *letter;

    if (*offset == bag->used)
        return NULL;
    letter = (const struct letter *)(const void *)(bag->bytes + *offset);
    *offset += letter_bytes(letter->size);
    *ret_bytes = letter + 1;
    return letter;
}

struct letter_bag *letter_bag_drop(struct letter_bag *bag)
{
    struct letter_bag *next = bag->next;

    free(bag);
    return next;
}
