/* test_ctl_args.c: assentctl's command line: what is understood, and what each mistake is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

#define WORDS_MAX 16

struct parsed {
    struct ctl ctl;
    struct ctl_args args;
    char *argv[WORDS_MAX + 1];
    char *said;
    size_t said_size;
    int result;
};

/* Parses "assentctl" and the given words, which end with NULL. */
static void parse(struct parsed *parsed, ...)
{
    va_list words;
    const char *word;
    int argc = 0;

    memset(parsed, 0, sizeof(*parsed));
    parsed->ctl.address = CTL_DEFAULT_ADDRESS;
    parsed->ctl.out = stdout;
    parsed->ctl.err = open_memstream(&parsed->said, &parsed->said_size);
    assert_non_null(parsed->ctl.err);
    parsed->argv[argc++] = strdup("assentctl");
    va_start(words, parsed);
    while ((word = va_arg(words, const char *)) != NULL) {
        assert_true(argc < WORDS_MAX);
        parsed->argv[argc++] = strdup(word);
    }
    va_end(words);
    parsed->result = ctl_parse(&parsed->ctl, argc, parsed->argv, &parsed->args);
    fclose(parsed->ctl.err);
}

static void parsed_fini(struct parsed *parsed)
{
    for (int i = 0; i < WORDS_MAX; i++)
        free(parsed->argv[i]);
    free(parsed->said);
}

static void assert_refused(struct parsed *parsed, const char *because)
{
    assert_int_equal(parsed->result, -1);
    if (!strstr(parsed->said, because))
        fail_msg("said \"%s\", not \"%s\"", parsed->said, because);
    parsed_fini(parsed);
}

static void global_options_stand_anywhere(void **state)
{
    struct parsed p;

    (void)state;
    parse(&p, "-H", "a:1", "kv", "get", "-o", "json", "alice", "--participant", "bank", "--timeout",
          "2s", NULL);
    assert_int_equal(p.result, 0);
    assert_string_equal(p.ctl.address, "a:1");
    assert_true(p.ctl.json);
    assert_int_equal(p.ctl.timeout_ms, 2000);
    assert_string_equal(p.args.command->verb, "get");
    assert_int_equal(p.args.word_count, 1);
    assert_string_equal(p.args.words[0], "alice");
    assert_string_equal(ctl_given(&p.args, "participant"), "bank");
    assert_null(ctl_given(&p.args, "host"));
    parsed_fini(&p);
}

static void a_noun_may_stand_alone(void **state)
{
    struct parsed p;

    (void)state;
    parse(&p, "health", "-o", "json", NULL);
    assert_int_equal(p.result, 0);
    assert_string_equal(p.args.command->noun, "health");
    assert_true(p.ctl.json);
    parsed_fini(&p);
}

static void repeated_options_keep_their_order(void **state)
{
    struct parsed p;

    (void)state;
    parse(&p, "tx", "run", "--branch", "a=1", "--wait", "--branch=b=2", "--branch", "a=3", NULL);
    assert_int_equal(p.result, 0);
    assert_string_equal(ctl_given_nth(&p.args, "branch", 0), "a=1");
    assert_string_equal(ctl_given_nth(&p.args, "branch", 1), "b=2");
    assert_string_equal(ctl_given_nth(&p.args, "branch", 2), "a=3");
    assert_null(ctl_given_nth(&p.args, "branch", 3));
    assert_string_equal(ctl_given(&p.args, "wait"), "");
    parsed_fini(&p);
}

static void mistakes_are_named(void **state)
{
    struct parsed p;

    (void)state;
    parse(&p, NULL);
    assert_refused(&p, "no command");
    parse(&p, "tx", NULL);
    assert_refused(&p, "no command \"tx\"");
    parse(&p, "tx", "frobnicate", NULL);
    assert_refused(&p, "no command \"tx frobnicate\"");
    parse(&p, "tx", "run", NULL);
    assert_refused(&p, "tx run needs --branch NAME=WORK");
    parse(&p, "tx", "work", "G", "--participant", "a", NULL);
    assert_refused(&p, "tx work needs GTRID WORK");
    parse(&p, "tx", "commit", "G", "more", NULL);
    assert_refused(&p, "unexpected \"more\"");
    parse(&p, "tx", "commit", "G", "--branch", "a=b", NULL);
    assert_refused(&p, "unknown option --branch");
    parse(&p, "tx", "commit", "-x", "G", NULL);
    assert_refused(&p, "unknown option -x");
    parse(&p, "tx", "run", "--branch", NULL);
    assert_refused(&p, "option --branch needs a value");
    parse(&p, "kv", "dump", "--participant", "a", "--participant", "b", NULL);
    assert_refused(&p, "--participant is given twice");
    parse(&p, "-o", "yaml", "health", NULL);
    assert_refused(&p, "--output is table or json, not \"yaml\"");
    parse(&p, "health", "--timeout", "10", NULL);
    assert_refused(&p, "--timeout needs a duration with its unit");
    parse(&p, "health", "-H", NULL);
    assert_refused(&p, "option -H needs a value");
}

static void help_asks_for_nothing_else(void **state)
{
    struct parsed p;

    (void)state;
    parse(&p, "--help", NULL);
    assert_int_equal(p.result, 0);
    assert_true(p.ctl.help);
    assert_null(p.args.command);
    parsed_fini(&p);
    parse(&p, "help", "tx", "run", NULL);
    assert_int_equal(p.result, 0);
    assert_true(p.ctl.help);
    assert_string_equal(p.args.command->verb, "run");
    parsed_fini(&p);
    parse(&p, "tx", "run", "-h", NULL);
    assert_int_equal(p.result, 0);
    assert_true(p.ctl.help);
    parsed_fini(&p);
}

static void help_names_every_command_and_option(void **state)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    ctl_help(out);
    fclose(out);
    for (const struct ctl_command *const *at = ctl_commands; *at; at++) {
        char name[64], *own = NULL;

        snprintf(name, sizeof(name), "%s %s", (*at)->noun, (*at)->verb ? (*at)->verb : "");
        assert_non_null(strstr(text, name));
        out = open_memstream(&own, &size);
        ctl_help_command(out, *at);
        fclose(out);
        for (const struct ctl_option *option = (*at)->options; option && option->name; option++)
            assert_non_null(strstr(own, option->name));
        free(own);
    }
    free(text);
}

static void durations_have_a_unit_and_a_bound(void **state)
{
    uint32_t ms = 0;

    (void)state;
    assert_int_equal(ctl_parse_duration("500ms", &ms), 0);
    assert_int_equal(ms, 500);
    assert_int_equal(ctl_parse_duration("5m", &ms), 0);
    assert_int_equal(ms, 300000);
    assert_int_equal(ctl_parse_duration("1193h", &ms), 0);
    assert_int_equal(ctl_parse_duration("1194h", &ms), -1);
    assert_int_equal(ctl_parse_duration("0s", &ms), -1);
    assert_int_equal(ctl_parse_duration("-1s", &ms), -1);
    assert_int_equal(ctl_parse_duration("5", &ms), -1);
    assert_int_equal(ctl_parse_duration("s", &ms), -1);
    assert_int_equal(ctl_parse_duration("99999999999s", &ms), -1);
}

static void numbers_are_decimal_and_bounded(void **state)
{
    uint64_t value = 7;

    (void)state;
    assert_int_equal(ctl_parse_number("10", 1, 10, &value), 0);
    assert_int_equal(value, 10);
    assert_int_equal(ctl_parse_number("11", 1, 10, &value), -1);
    assert_int_equal(ctl_parse_number("0x1", 0, 10, &value), -1);
    assert_int_equal(ctl_parse_number("-1", 0, UINT64_MAX, &value), -1);
    assert_int_equal(ctl_parse_number("99999999999999999999", 0, UINT64_MAX, &value), -1);
    assert_int_equal(value, 10);
}

static int begin(const char *protocol, const char *termination, const char *timeout,
                 struct assent_begin_options *ret_options)
{
    struct parsed p;
    int result;

    parse(&p, "tx", "begin", "--protocol", protocol, "--timeout-ms", timeout,
          termination ? "--termination" : NULL, termination, NULL);
    assert_int_equal(p.result, 0);
    p.ctl.err = fopen("/dev/null", "w");
    result = ctl_begin_options(&p.ctl, &p.args, ret_options);
    fclose(p.ctl.err);
    parsed_fini(&p);
    return result;
}

static void a_policy_must_fit_its_protocol(void **state)
{
    struct assent_begin_options options;

    (void)state;
    assert_int_equal(begin("2pc", NULL, "5", &options), 0);
    assert_int_equal(options.protocol, ASSENT_2PC);
    assert_int_equal(options.timeout_ms, 5);
    assert_int_equal(begin("3pc", "timeout", "5", &options), 0);
    assert_int_equal(options.protocol, ASSENT_3PC);
    assert_int_equal(options.termination, ASSENT_TERMINATION_TIMEOUT);
    assert_int_equal(begin("3pc", "quorum", "5", &options), 0);
    assert_int_equal(options.termination, ASSENT_TERMINATION_QUORUM);
    assert_int_equal(begin("3pc", NULL, "5", &options), 0);
    assert_int_equal(options.termination, ASSENT_TERMINATION_NONE);
    assert_int_equal(begin("2pc", "cooperative", "5", &options), 0);
    assert_int_equal(options.termination, ASSENT_TERMINATION_COOPERATIVE);
    assert_int_equal(begin("2pc", "timeout", "5", &options), -1);
    assert_int_equal(begin("2pc", "quorum", "5", &options), -1);
    assert_int_equal(begin("3pc", "hope", "5", &options), -1);
    assert_int_equal(begin("4pc", NULL, "5", &options), -1);
    assert_int_equal(begin("2pc", NULL, "soon", &options), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(global_options_stand_anywhere),
        cmocka_unit_test(a_noun_may_stand_alone),
        cmocka_unit_test(repeated_options_keep_their_order),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(help_asks_for_nothing_else),
        cmocka_unit_test(help_names_every_command_and_option),
        cmocka_unit_test(durations_have_a_unit_and_a_bound),
        cmocka_unit_test(numbers_are_decimal_and_bounded),
        cmocka_unit_test(a_policy_must_fit_its_protocol),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
