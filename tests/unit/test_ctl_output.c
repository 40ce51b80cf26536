/* test_ctl_output.c: assentctl's tables, texts, durations and the reading of work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"

static char *print(struct ctl_table *table, bool heading, bool color)
{
    char *text = NULL;
    size_t size;
    struct ctl ctl = {.color = color, .out = open_memstream(&text, &size)};

    ctl_table_print(table, &ctl, heading);
    fclose(ctl.out);
    ctl_table_free(table);
    return text;
}

static void columns_are_aligned_by_characters(void **state)
{
    struct ctl_table *table = ctl_table_new(2);
    char *text;

    (void)state;
    ctl_table_row(table, (const char *[]){"NAME", "STATE"});
    ctl_table_row(table, (const char *[]){"Zürich", "up"});
    ctl_table_row(table, (const char *[]){"b", "down"});
    text = print(table, true, false);
    assert_string_equal(text, "NAME    STATE\n"
                              "Zürich  up\n"
                              "b       down\n");
    free(text);
}

static void control_characters_do_not_reach_the_terminal(void **state)
{
    struct ctl_table *table = ctl_table_new(1);
    char *text;

    (void)state;
    ctl_table_row(table, (const char *[]){"a\033[31mb\nc\x7f\xc2\x9b"
                                          "d\xc2\xa7"});
    text = print(table, false, false);
    assert_string_equal(text, "a?[31mb?c??d\xc2\xa7\n");
    free(text);
}

static void color_changes_no_width(void **state)
{
    struct ctl_table *table = ctl_table_new(2);
    char *text;

    (void)state;
    ctl_table_row(table, (const char *[]){"committed", "x"});
    ctl_table_row(table, (const char *[]){"other", "y"});
    text = print(table, false, true);
    assert_string_equal(text, "\033[32mcommitted\033[0m  x\n"
                              "other      y\n");
    free(text);
}

static void members_become_text(void **state)
{
    json_t *json = json_pack("{s:s, s:s, s:i, s:b, s:n, s:[s,s], s:[]}", "text", "abc", "empty", "",
                             "number", -5, "yes", 1, "null", "list", "b", "c", "none");
    char text[8];

    (void)state;
    assert_string_equal(ctl_text(json, "text", text, sizeof(text)), "abc");
    assert_string_equal(ctl_text(json, "empty", text, sizeof(text)), "-");
    assert_string_equal(ctl_text(json, "number", text, sizeof(text)), "-5");
    assert_string_equal(ctl_text(json, "yes", text, sizeof(text)), "yes");
    assert_string_equal(ctl_text(json, "null", text, sizeof(text)), "-");
    assert_string_equal(ctl_text(json, "absent", text, sizeof(text)), "-");
    assert_string_equal(ctl_text(json, "list", text, sizeof(text)), "b, c");
    assert_string_equal(ctl_text(json, "none", text, sizeof(text)), "-");
    assert_string_equal(ctl_text(json, "list", text, 4), "b, ");
    json_decref(json);
}

static void durations_read_well(void **state)
{
    char text[32];

    (void)state;
    assert_string_equal(ctl_duration(0, text, sizeof(text)), "0ms");
    assert_string_equal(ctl_duration(999, text, sizeof(text)), "999ms");
    assert_string_equal(ctl_duration(1234, text, sizeof(text)), "1.2s");
    assert_string_equal(ctl_duration(61000, text, sizeof(text)), "1m1s");
    assert_string_equal(ctl_duration(3600000, text, sizeof(text)), "1h0m");
    assert_string_equal(ctl_duration(90000000, text, sizeof(text)), "1d1h");
}

static void hints_are_silent_with_json(void **state)
{
    char *text = NULL;
    size_t size;
    struct ctl ctl = {.out = stdout, .err = open_memstream(&text, &size)};

    (void)state;
    ctl_hint(&ctl, "try %d", 1);
    ctl.json = true;
    ctl_hint(&ctl, "try %d", 2);
    ctl_error(&ctl, "bad %s", "a\tb");
    fclose(ctl.err);
    assert_string_equal(text, "hint: try 1\nassentctl: bad a?b\n");
    free(text);
}

static void a_branch_is_a_name_and_work(void **state)
{
    char error[128], *name, *work;
    size_t size;

    (void)state;
    assert_int_equal(
        ctl_branch_parse("a/kv=put x =1\\nget x", &name, &work, &size, error, sizeof(error)), 0);
    assert_string_equal(name, "a/kv");
    assert_int_equal(size, strlen("put x =1\nget x"));
    assert_memory_equal(work, "put x =1\nget x", size);
    free(name);
    free(work);
    assert_int_equal(ctl_branch_parse("a=", &name, &work, &size, error, sizeof(error)), 0);
    assert_int_equal(size, 0);
    free(name);
    free(work);
    assert_int_equal(ctl_branch_parse("=x", &name, &work, &size, error, sizeof(error)), -1);
    assert_int_equal(ctl_branch_parse("abc", &name, &work, &size, error, sizeof(error)), -1);
    assert_non_null(strstr(error, "abc"));
}

static void work_comes_from_a_file_within_its_bound(void **state)
{
    char path[] = "/tmp/assent-ctl-XXXXXX", argument[64], error[128], *work = NULL;
    int fd = mkstemp(path);
    size_t size = 0;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "put a\\n\0b", 9), 9);
    snprintf(argument, sizeof(argument), "@%s", path);
    assert_int_equal(ctl_work_parse(argument, &work, &size, error, sizeof(error)), 0);
    assert_int_equal(size, 9);
    assert_memory_equal(work, "put a\\n\0b", 9); /* bytes of a file are taken as they are */
    free(work);
    assert_int_equal(ftruncate(fd, CTL_WORK_BYTES_MAX), 0);
    assert_int_equal(ctl_work_parse(argument, &work, &size, error, sizeof(error)), 0);
    free(work);
    assert_int_equal(ftruncate(fd, CTL_WORK_BYTES_MAX + 1), 0);
    assert_int_equal(ctl_work_parse(argument, &work, &size, error, sizeof(error)), -1);
    assert_non_null(strstr(error, path));
    close(fd);
    unlink(path);
    assert_int_equal(ctl_work_parse(argument, &work, &size, error, sizeof(error)), -1);
    assert_non_null(strstr(error, path));
}

static void every_outcome_has_its_exit_code(void **state)
{
    (void)state;
    assert_int_equal(ctl_exit_for_outcome(ASSENT_OUTCOME_COMMITTED), 0);
    assert_int_equal(ctl_exit_for_outcome(ASSENT_OUTCOME_ABORTED), 7);
    assert_int_equal(ctl_exit_for_outcome(ASSENT_OUTCOME_UNKNOWN), 8);
    assert_int_equal(ctl_exit_for_outcome(ASSENT_OUTCOME_MIXED), 5);
    assert_int_equal(ctl_exit_for_outcome(ASSENT_OUTCOME_HAZARD), 5);
    assert_int_equal(ctl_exit_for_outcome(ASSENT_OUTCOME_EXPIRED), 4);
    assert_int_equal(ctl_exit_for_outcome(ASSENT_OUTCOME_NEVER_SEEN), 4);
    assert_int_equal(ctl_exit_for_error(0), 0);
    assert_int_equal(ctl_exit_for_error(ASSENT_E_IO), 1);
    assert_int_equal(ctl_exit_for_error(ASSENT_E_INVALID), 2);
    assert_int_equal(ctl_exit_for_error(ASSENT_E_CONNECT), 3);
    assert_int_equal(ctl_exit_for_error(ASSENT_E_NOT_FOUND), 4);
    assert_int_equal(ctl_exit_for_error(ASSENT_E_CORRUPT), 5);
    assert_int_equal(ctl_exit_for_error(ASSENT_E_UNKNOWN), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_aligned_by_characters),
        cmocka_unit_test(control_characters_do_not_reach_the_terminal),
        cmocka_unit_test(color_changes_no_width),
        cmocka_unit_test(members_become_text),
        cmocka_unit_test(durations_read_well),
        cmocka_unit_test(hints_are_silent_with_json),
        cmocka_unit_test(a_branch_is_a_name_and_work),
        cmocka_unit_test(work_comes_from_a_file_within_its_bound),
        cmocka_unit_test(every_outcome_has_its_exit_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
