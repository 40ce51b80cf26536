/* test_mailbox.c: letters come whole and in order, from several senders at once, with a wake-up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "mailbox.h"

#define SENDERS     3
#define LETTERS     20000
#define DEADLINE_MS 30000

static bool is_readable(const struct mailbox *mailbox, int wait_ms)
{
    struct pollfd p = {.fd = mailbox->fd, .events = POLLIN};

    return poll(&p, 1, wait_ms) == 1;
}

static void write_text(struct letter_bag **bag, enum letter_kind kind, const char *text)
{
    letter_write(bag, &(struct letter){.kind = kind, .size = (uint32_t)strlen(text)}, text);
}

static void read_text(const struct letter_bag *bag, size_t *offset, enum letter_kind kind,
                      const char *text)
{
    const void *bytes;
    const struct letter *letter = letter_read(bag, offset, &bytes);

    assert_non_null(letter);
    assert_int_equal(letter->kind, kind);
    assert_int_equal(letter->size, strlen(text));
    assert_memory_equal(bytes, text, letter->size);
}

static void letters_come_in_the_order_in_which_bags_were_handed_over(void **state)
{
    struct letter_bag *first = NULL, *second = NULL, *bag;
    struct mailbox mailbox = {0};
    const void *bytes;
    size_t offset = 0;

    (void)state;
    assert_true(mailbox_open(&mailbox));
    assert_null(mailbox_take(&mailbox));
    write_text(&first, LETTER_FRAME, "one");
    write_text(&second, LETTER_OUT, "three");
    write_text(&first, LETTER_KNOWN, "");
    assert_false(is_readable(&mailbox, 0));
    mailbox_put(&mailbox, &first);
    assert_true(is_readable(&mailbox, 0));
    mailbox_put(&mailbox, &second);
    assert_null(first);
    mailbox_woken(&mailbox);
    bag = mailbox_take(&mailbox);
    read_text(bag, &offset, LETTER_FRAME, "one");
    read_text(bag, &offset, LETTER_KNOWN, "");
    assert_null(letter_read(bag, &offset, &bytes));
    offset = 0;
    bag = letter_bag_drop(bag);
    read_text(bag, &offset, LETTER_OUT, "three");
    assert_null(letter_read(bag, &offset, &bytes));
    assert_null(letter_bag_drop(bag));
    assert_false(is_readable(&mailbox, 0));
    mailbox_close(&mailbox);
}

static void a_letter_may_be_longer_than_a_bag_begins_with(void **state)
{
    struct letter_bag *bag = NULL;
    struct mailbox mailbox = {0};
    const size_t size = 1 << 20;
    const struct letter *letter;
    char *text = malloc(size);
    const void *bytes;
    size_t offset = 0;

    (void)state;
    assert_non_null(text);
    memset(text, 'x', size);
    assert_true(mailbox_open(&mailbox));
    write_text(&bag, LETTER_FRAME, "first");
    letter_write(&bag, &(struct letter){.kind = LETTER_FRAME, .size = (uint32_t)size}, text);
    mailbox_put(&mailbox, &bag);
    bag = mailbox_take(&mailbox);
    read_text(bag, &offset, LETTER_FRAME, "first");
    letter = letter_read(bag, &offset, &bytes);
    assert_int_equal(letter->size, size);
    assert_memory_equal(bytes, text, size);
    assert_null(letter_bag_drop(bag));
    free(text);
    mailbox_close(&mailbox);
}

static void what_nobody_took_goes_with_the_mailbox(void **state)
{
    struct letter_bag *bag = NULL;
    struct mailbox mailbox = {0};

    (void)state;
    assert_true(mailbox_open(&mailbox));
    write_text(&bag, LETTER_FRAME, "first");
    mailbox_put(&mailbox, &bag);
    write_text(&bag, LETTER_FRAME, "second");
    mailbox_put(&mailbox, &bag);
    mailbox_close(&mailbox);
}

static void what_nobody_handed_over_is_dropped_alone(void **state)
{
    struct letter_bag *bag = NULL;

    (void)state;
    /* Memory that was never written is not zero by chance, under AddressSanitizer anyway. */
    (void)mallopt(M_PERTURB, 0xa5);
    write_text(&bag, LETTER_OUT, "first");
    assert_null(letter_bag_drop(bag));
}

struct sender {
    struct mailbox *mailbox;
    uint32_t index;
};

static void *send_all(void *context)
{
    const struct sender *sender = context;
    struct letter_bag *bag = NULL;

    for (uint32_t i = 0; i < LETTERS; i++) {
        uint32_t bytes[2] = {sender->index, i};

        letter_write(&bag, &(struct letter){.kind = LETTER_OUT, .size = sizeof(bytes)}, bytes);
        /* Bags of different lengths. */
        if (i % (7 + sender->index) == 0 || i + 1 == LETTERS)
            mailbox_put(sender->mailbox, &bag);
    }
    return NULL;
}

static void of_each_sender_they_come_in_order_and_none_is_lost(void **state)
{
    struct mailbox mailbox = {0};
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    uint32_t next[SENDERS] = {0};
    uint32_t count = 0;

    (void)state;
    assert_true(mailbox_open(&mailbox));
    for (uint32_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){&mailbox, i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
    while (count < SENDERS * LETTERS) {
        /* A wake-up for everything: whoever relies on it alone misses nothing. */
        assert_true(is_readable(&mailbox, DEADLINE_MS));
        mailbox_woken(&mailbox);
        for (struct letter_bag *bag = mailbox_take(&mailbox); bag != NULL;
             bag = letter_bag_drop(bag)) {
            const void *bytes;

            for (size_t offset = 0; letter_read(bag, &offset, &bytes) != NULL; count++) {
                uint32_t got[2];

                memcpy(got, bytes, sizeof(got));
                assert_true(got[0] < SENDERS);
                assert_int_equal(got[1], next[got[0]]);
                next[got[0]]++;
            }
        }
    }
    for (uint32_t i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_null(mailbox_take(&mailbox));
    mailbox_close(&mailbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_come_in_the_order_in_which_bags_were_handed_over),
        cmocka_unit_test(a_letter_may_be_longer_than_a_bag_begins_with),
        cmocka_unit_test(what_nobody_took_goes_with_the_mailbox),
        cmocka_unit_test(what_nobody_handed_over_is_dropped_alone),
        cmocka_unit_test(of_each_sender_they_come_in_order_and_none_is_lost),
    };

    return cmocka_run_group_tests_name("mailbox", tests, NULL, NULL);
}
