/* test_reasons.c: the sentences that say why a transaction aborted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "reasons.h"

static char text[ASSENT_REASON_MAX + 1];

static void a_no_names_the_voter_and_quotes_it(void **state)
{
    (void)state;
    reason_format(ASSENT_REASON_VOTED_NO, "bank/kv", "alice: 30 - 50 = -20 is below min 0", NULL, 0,
                  text);
    assert_string_equal(text, "bank/kv voted no: alice: 30 - 50 = -20 is below min 0");
    reason_format(ASSENT_REASON_VOTED_NO, "bank/kv", "", NULL, 0, text);
    assert_string_equal(text, "bank/kv voted no");
}

static void a_missing_vote_names_everyone_it_is_missing_from(void **state)
{
    struct missing_vote missing[] = {{"bank/kv", false}, {"shop/kv", true}};

    (void)state;
    reason_format(ASSENT_REASON_VOTE_MISSING, "bank/kv", NULL, missing, 2, text);
    assert_string_equal(text, "no vote in time from bank/kv (not connected), shop/kv");
    reason_format(ASSENT_REASON_DEADLINE, "bank/kv", NULL, missing, 1, text);
    assert_string_equal(text, "transaction deadline passed, no vote from bank/kv (not connected)");
    reason_format(ASSENT_REASON_DEADLINE, NULL, NULL, NULL, 0, text);
    assert_string_equal(text, "transaction deadline passed");
}

static void other_reasons_are_sentences_of_their_own(void **state)
{
    (void)state;
    reason_format(ASSENT_REASON_WORK_FAILED, "shop/kv", "key is locked", NULL, 0, text);
    assert_string_equal(text, "work failed at shop/kv: key is locked");
    reason_format(ASSENT_REASON_APPLICATION_GONE, NULL, NULL, NULL, 0, text);
    assert_string_equal(text, "application disconnected before commit");
    reason_format(ASSENT_REASON_NO_WORK, "shop/kv", NULL, NULL, 0, text);
    assert_string_equal(text, "shop/kv: the participant holds no work for this branch");
    reason_format(ASSENT_REASON_NONE, NULL, NULL, NULL, 0, text);
    assert_string_equal(text, "");
}

static void a_long_text_is_cut_between_characters(void **state)
{
    char longest[ASSENT_REASON_MAX + 3];

    (void)state;
    /* The cut of 255 bytes falls inside the last of these two-byte characters. */
    for (size_t i = 0; i + 2 < sizeof(longest); i += 2)
        memcpy(longest + i, "\xc3\xa4", 3);
    text_copy(text, sizeof(text), longest);
    assert_int_equal(strlen(text), ASSENT_REASON_MAX - 1);
    assert_int_equal((unsigned char)text[strlen(text) - 1], 0xa4);
    text_copy(text, sizeof(text), "whole \xc3\xa4");
    assert_string_equal(text, "whole \xc3\xa4");
    reason_format(ASSENT_REASON_VOTED_NO, "bank/kv", longest, NULL, 0, text);
    assert_in_range(strlen(text), ASSENT_REASON_MAX - 1, ASSENT_REASON_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_no_names_the_voter_and_quotes_it),
        cmocka_unit_test(a_missing_vote_names_everyone_it_is_missing_from),
        cmocka_unit_test(other_reasons_are_sentences_of_their_own),
        cmocka_unit_test(a_long_text_is_cut_between_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
