/* test_config.c: where values come from, what is refused and how it is said, what is printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "runtime.h"

#define ARGUMENTS_MAX 16
#define BIG           (20 * 1024)

struct options {
    char *data_dir;
    uint64_t workers, timeout_ms, map_bytes, unbounded;
    bool strict;
    struct assent_list resource;
    char *crash_at;
};

static const struct assent_setting settings[] = {
    {"data_dir", ASSENT_SETTING_STRING, offsetof(struct options, data_dir), "/var/lib/assent", 0, 0,
     "DIR", "Directory of the log.", false},
    {"workers", ASSENT_SETTING_UINT, offsetof(struct options, workers), "8", 1, 64, "N",
     "Threads that work.", false},
    {"prepare_timeout", ASSENT_SETTING_DURATION, offsetof(struct options, timeout_ms), "10s", 10,
     3600000, "TIME", "Longest wait for a vote.", false},
    {"map_size", ASSENT_SETTING_SIZE, offsetof(struct options, map_bytes), "64M", 4096, 0, "SIZE",
     "Size of the map.", false},
    {"unbounded", ASSENT_SETTING_UINT, offsetof(struct options, unbounded), NULL, 0, 0, "N",
     "A number without a bound.", false},
    {"strict", ASSENT_SETTING_BOOL, offsetof(struct options, strict), "no", 0, 0, NULL, "A switch.",
     false},
    {"resource", ASSENT_SETTING_LIST, offsetof(struct options, resource), "kv", 0, 0,
     "TYPE[:PARAMETERS]", "What to serve.", false},
    {"crash_at", ASSENT_SETTING_STRING, offsetof(struct options, crash_at), NULL, 0, 0, "NAME",
     "Where to die.", true},
    {NULL},
};
static const struct assent_program program = {
    "assent-test",
    "Tests the configuration of programs, with a summary that is longer than eighty characters.",
    settings};

static char file_path[] = "/tmp/assent-test-config-XXXXXX";
static char out_text[BIG], err_text[BIG];
static struct options options;
static char *last_argv[ARGUMENTS_MAX];
static int last_argc;

static void write_file(const char *text, size_t size)
{
    FILE *file = fopen(file_path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static int redirect(int fd, FILE *to)
{
    int saved = dup(fd);

    fflush(fd == 1 ? stdout : stderr);
    assert_int_equal(dup2(fileno(to), fd), fd);
    return saved;
}

static void restore(int fd, int saved, FILE *from, char text[BIG])
{
    size_t size;

    fflush(fd == 1 ? stdout : stderr);
    dup2(saved, fd);
    close(saved);
    rewind(from);
    size = fread(text, 1, BIG - 1, from);
    text[size] = '\0';
    fclose(from);
}

/* Loads with the flags given (ends with NULL) into `options`; texts are kept. */
static enum assent_config_verdict load(const char *flag, ...)
{
    FILE *out = tmpfile(), *err = tmpfile();
    static char program_name[] = "assent-test";
    enum assent_config_verdict verdict;
    int saved_out, saved_err;
    va_list flags;

    last_argv[0] = program_name;
    last_argc = 1;
    va_start(flags, flag);
    for (; flag != NULL; flag = va_arg(flags, const char *))
        last_argv[last_argc++] = (char *)(uintptr_t)flag;
    va_end(flags);
    last_argv[last_argc] = NULL;
    assent_config_fini(&program, &options);
    options = (struct options){0};
    saved_out = redirect(1, out);
    saved_err = redirect(2, err);
    verdict = assent_config_load(&program, last_argc, last_argv, &options);
    restore(1, saved_out, out, out_text);
    restore(2, saved_err, err, err_text);
    return verdict;
}

static void put(const char *text)
{
    write_file(text, strlen(text));
}

static enum assent_config_verdict load_file(const char *text)
{
    put(text);
    return load("--config", file_path, NULL);
}

static void assert_error(const char *expected_format, ...)
{
    char expected[1024];
    va_list arguments;

    va_start(arguments, expected_format);
    vsnprintf(expected, sizeof(expected), expected_format, arguments);
    va_end(arguments);
    if (strstr(err_text, expected) == NULL)
        fail_msg("error is %s, wanted %s", err_text, expected);
    assert_ptr_equal(strchr(err_text, '\n'), err_text + strlen(err_text) - 1);
}

static void defaults_stand_when_nothing_is_given(void **state)
{
    (void)state;
    assert_int_equal(load(NULL), ASSENT_CONFIG_RUN);
    assert_string_equal(options.data_dir, "/var/lib/assent");
    assert_int_equal(options.workers, 8);
    assert_int_equal(options.timeout_ms, 10000);
    assert_int_equal(options.map_bytes, 64 << 20);
    assert_int_equal(options.unbounded, 0);
    assert_false(options.strict);
    assert_int_equal(options.resource.count, 1);
    assert_string_equal(options.resource.items[0], "kv");
    assert_string_equal(options.crash_at, "");
    assert_string_equal(out_text, "");
    assert_string_equal(err_text, "");
}

static void file_environment_and_flags_stand_over_each_other_in_that_order(void **state)
{
    (void)state;
    put("workers = 2\nprepare_timeout = 2s\nstrict = true\ndata_dir = /file\n");
    setenv("ASSENT_WORKERS", "3", 1);
    setenv("ASSENT_PREPARE_TIMEOUT", "3s", 1);
    assert_int_equal(load("--config", file_path, "--workers=4", NULL), ASSENT_CONFIG_RUN);
    unsetenv("ASSENT_WORKERS");
    unsetenv("ASSENT_PREPARE_TIMEOUT");
    assert_int_equal(options.workers, 4);
    assert_int_equal(options.timeout_ms, 3000);
    assert_true(options.strict);
    assert_string_equal(options.data_dir, "/file");
    assert_int_equal(options.map_bytes, 64 << 20);
}

static void lists_are_replaced_by_a_higher_source_and_grow_within_one(void **state)
{
    (void)state;
    assert_int_equal(load_file("resource = {\"a\", 'b'}\nresource += {c}"), ASSENT_CONFIG_RUN);
    assert_int_equal(options.resource.count, 3);
    assert_string_equal(options.resource.items[2], "c");
    setenv("ASSENT_RESOURCE", "kv\npostgres:host=a,b port=1", 1);
    assert_int_equal(load("--config", file_path, NULL), ASSENT_CONFIG_RUN);
    assert_int_equal(options.resource.count, 2);
    assert_string_equal(options.resource.items[1], "postgres:host=a,b port=1");
    assert_int_equal(
        load("--config", file_path, "--resource", "x", "--workers", "9", "--resource=y", NULL),
        ASSENT_CONFIG_RUN);
    unsetenv("ASSENT_RESOURCE");
    assert_int_equal(options.resource.count, 2);
    assert_string_equal(options.resource.items[0], "x");
    assert_string_equal(options.resource.items[1], "y");
    assert_int_equal(load_file("resource = {}"), ASSENT_CONFIG_RUN);
    assert_int_equal(options.resource.count, 0);
    assert_int_equal(load_file("resource = alone"), ASSENT_CONFIG_RUN);
    assert_int_equal(options.resource.count, 1);
}

static void units_are_understood(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } durations[] = {{"500ms", 500}, {"10s", 10000}, {"5m", 300000}, {"1h", 3600000}};
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {
        {"4096", 4096}, {"64K", 65536}, {"16M", 16 << 20}, {"4G", 4ull << 30}, {"2T", 2ull << 40}};
    static const char *const yes[] = {"true", "yes", "on", "YES"};
    static const char *const no[] = {"false", "no", "off"};

    (void)state;
    for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
        assert_int_equal(load("--prepare-timeout", durations[i].text, NULL), ASSENT_CONFIG_RUN);
        assert_int_equal(options.timeout_ms, durations[i].ms);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(load("--map-size", sizes[i].text, NULL), ASSENT_CONFIG_RUN);
        assert_true(options.map_bytes == sizes[i].bytes);
    }
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        setenv("ASSENT_STRICT", yes[i], 1);
        assert_int_equal(load(NULL), ASSENT_CONFIG_RUN);
        assert_true(options.strict);
    }
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        setenv("ASSENT_STRICT", no[i], 1);
        assert_int_equal(load(NULL), ASSENT_CONFIG_RUN);
        assert_false(options.strict);
    }
    assert_int_equal(load("--strict", NULL), ASSENT_CONFIG_RUN);
    assert_true(options.strict);
    setenv("ASSENT_STRICT", "yes", 1);
    assert_int_equal(load("--strict=no", NULL), ASSENT_CONFIG_RUN);
    assert_false(options.strict);
    unsetenv("ASSENT_STRICT");
    assert_int_equal(load("--unbounded", "18446744073709551615", NULL), ASSENT_CONFIG_RUN);
    assert_true(options.unbounded == UINT64_MAX);
}

static void bad_values_are_refused_by_name(void **state)
{
    static const char *const bad[][3] = {
        {"--workers", "0", "--workers: '0' is not from 1 to 64"},
        {"--workers", "65", "--workers: '65' is not from 1 to 64"},
        {"--workers", "", "--workers: '' is not a whole number"},
        {"--workers", "-1", "--workers: '-1' is not a whole number"},
        {"--workers", "+1", "--workers: '+1' is not a whole number"},
        {"--workers", " 1", "--workers: ' 1' is not a whole number"},
        {"--workers", "1.5", "is not a whole number"},
        {"--workers", "0x10", "is not a whole number"},
        {"--workers", "8s", "is not a whole number"},
        {"--unbounded", "18446744073709551616", "is not a whole number"},
        {"--prepare-timeout", "10", "is not a duration with its unit"},
        {"--prepare-timeout", "10 s", "is not a duration"},
        {"--prepare-timeout", "s", "is not a duration"},
        {"--prepare-timeout", "10S", "is not a duration"},
        {"--prepare-timeout", "0", "'0' is not from 10ms to 1h"},
        {"--prepare-timeout", "2h", "'2h' is not from 10ms to 1h"},
        {"--prepare-timeout", "18446744073709551615d", "is not a duration"},
        {"--map-size", "4095", "'4095' is less than 4K"},
        {"--map-size", "1KB", "is not a size"},
        {"--map-size", "16777216T", "is not a size"},
        {"--strict=maybe", NULL, "--strict: 'maybe' is not true or false"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(load(bad[i][0], bad[i][1], NULL), ASSENT_CONFIG_BAD);
        assert_error("%s", bad[i][2]);
        assert_memory_equal(err_text, "assent-test: ", 13);
        assert_null(options.data_dir);
    }
    setenv("ASSENT_WORKERS", "many", 1);
    assert_int_equal(load(NULL), ASSENT_CONFIG_BAD);
    assert_error("ASSENT_WORKERS: 'many' is not a whole number");
    unsetenv("ASSENT_WORKERS");
}

static void bad_flags_are_refused_by_name(void **state)
{
    static const char *const bad[][3] = {
        {"--nonsense", NULL, "unknown flag --nonsense"},
        {"--data", "x", "unknown flag --data;"},
        {"--data=x", NULL, "unknown flag --data=x"},
        {"--p", NULL, "unknown flag --p;"},
        {"-w", "3", "unknown flag -w"},
        {"--workers", NULL, "flag --workers needs a value"},
        {"--help=x", NULL, "flag --help takes no value"},
        {"--workers=1", "stray", "unexpected argument 'stray'"},
        {"--data_dir", "x", "unknown flag --data_dir"},
        {"--", "stray", "unexpected argument 'stray'"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(load(bad[i][0], bad[i][1], NULL), ASSENT_CONFIG_BAD);
        assert_error("%s", bad[i][2]);
    }
}

static void bad_files_are_refused_with_file_and_line(void **state)
{
    static const struct {
        const char *text;
        int line;
        const char *error;
    } bad[] = {
        {"\n\nnonsense = 1\n", 3, "no such option 'nonsense'"},
        {"# one\n# two\n/* three\nfour */ // more\nnonsense = 1\n", 5, "no such option"},
        {"workers = 2\nworkers = 3\n", 2, "workers was given already at line 1"},
        {"resource = {a}\n\nresource = {b}\n", 3, "resource was given already at line 1"},
        {"resource = {a}\n\nresource = {}\n", 1, "resource is given more than once"},
        {"\nworkers = 65\n", 2, "workers: '65' is not from 1 to 64"},
        {"workers = many\n", 1, "workers: 'many' is not a whole number"},
        {"workers = {1, 2}\n", 1, "unexpected token '{'"},
        {"workers 2\n", 1, "missing equal sign after option 'workers'"},
        {"workers =\n", 2, "premature end of file"},
        {"workers = 2 3\n", 1, "no such option '3'"},
        {"workers += 2\n", 1, "attempt to append to non-list"},
        {"resource = {a b}\n", 1, "unexpected token 'b'"},
        {"resource = {a, b\n", 2, "premature end of file"},
        {"crash_at = here\n", 1, "no such option 'crash_at'"},
        {"include(\"/etc/passwd\")\n", 1, "no such option 'include'"},
        {"__unknown = 1\n", 1, "no such option '__unknown'"},
        {"workers|x = 1\n", 1, "workers"},
        {"\ndata_dir = ${HOME}/x\n", 2, "${...} is not replaced"},
        {"data_dir = a${HOME}\n", 1, "${...} is not replaced"},
        {"\ndata_dir = \"a\n${HOME:-b}\"\n", 3, "${...} is not replaced"},
        {"\ndata_dir = \"open\n\n", 2, "this string is not closed"},
        {"\ndata_dir = 'open\n\n", 2, "this string is not closed"},
        {"data_dir = 'open\\'", 1, "this string is not closed"},
        {"data_dir = 'open\\", 1, "this string is not closed"},
        {"workers = 2\n/* open\nworkers = 3\n", 2, "this comment is not closed"},
        {"/*/", 1, "this comment is not closed"},
        {"data_dir = \"\\400\"\n", 1, "unknown escape"},
        {"data_dir = \"\\x41\"\n", 1, "unknown escape"},
        {"workers = *2\n", 1, "this character must stand in quotes"},
        {"workers = 2/*3*/\n", 1, "this character must stand in quotes"},
        {"data_dir = a+b\n", 1, "this character must stand in quotes"},
        {"data_dir = \x01\n", 1, "this character must stand in quotes"},
        {"data_dir = a(b)\n", 1, "unexpected token '('"},
        {"}\n", 1, "unexpected closing brace"},
        {"= 2\n", 1, "unexpected token '='"},
        {"\xff\xfe = 2\n", 1, "no such option"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(load_file(bad[i].text), ASSENT_CONFIG_BAD);
        assert_error("assent-test: %s:%d: ", file_path, bad[i].line);
        assert_error("%s", bad[i].error);
        /* A mistake leaves nothing behind in the parser. */
        assert_int_equal(load_file("workers = 7"), ASSENT_CONFIG_RUN);
        assert_int_equal(options.workers, 7);
    }
    write_file("workers = 2\nda\0ta", 17);
    assert_int_equal(load("--config", file_path, NULL), ASSENT_CONFIG_BAD);
    assert_error("%s:2: a NUL byte", file_path);
}

static void files_that_cannot_be_read_are_named(void **state)
{
    static char big[(1 << 20) + 1];

    (void)state;
    assert_int_equal(load("--config", "/nonexistent/assent.conf", NULL), ASSENT_CONFIG_BAD);
    assert_error("cannot read /nonexistent/assent.conf: No such file or directory");
    assert_int_equal(load("--config", "/tmp", NULL), ASSENT_CONFIG_BAD);
    assert_error("cannot read /tmp: Is a directory");
    assert_int_equal(load("--config", "", NULL), ASSENT_CONFIG_BAD);
    assert_error("cannot read : No such file");
    memset(big, '\n', sizeof(big));
    write_file(big, sizeof(big));
    assert_int_equal(load("--config", file_path, NULL), ASSENT_CONFIG_BAD);
    assert_error("longer than 1048576 bytes");
    write_file(big, sizeof(big) - 1);
    assert_int_equal(load("--config", file_path, NULL), ASSENT_CONFIG_RUN);
}

static void good_files_say_what_they_mean(void **state)
{
    static const char *const paths[][2] = {
        {"data_dir = /a/b//c", "/a/b//c"},
        {"data_dir = http://x/#comment", "http://x/"},
        {"data_dir = \"/with # hash\" // comment", "/with # hash"},
        {"data_dir = '/with \\' and \\\\ and \\n' /* comment */", "/with ' and \\ and \\n"},
        {"data_dir = \"\\\"\\\\\\n\\t\\r\\${HOME}\"", "\"\\\n\t\r${HOME}"},
        {"data_dir = '${HOME}'", "${HOME}"},
        {"data_dir = \"\"", ""},
        {"data_dir = x\r\n", "x"},
        {"data_dir=~", "~"},
        {"data_dir = \"gr\xc3\xbc\xc3\x9f\"", "gr\xc3\xbc\xc3\x9f"},
        {"", "/var/lib/assent"},
        {"# only a comment", "/var/lib/assent"},
        {"\t \n", "/var/lib/assent"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (load_file(paths[i][0]) != ASSENT_CONFIG_RUN)
            fail_msg("%s: %s", paths[i][0], err_text);
        assert_string_equal(options.data_dir, paths[i][1]);
    }
}

static void printed_configuration_reads_back_to_the_same(void **state)
{
    static char printed[BIG];

    (void)state;
    assert_int_equal(load("--data-dir", "it's \\ \"here\"\n# ${X} */", "--prepare-timeout",
                          "1500ms", "--map-size", "5000", "--strict", "--resource", "kv",
                          "--resource", "pg:a='b',c", "--crash-at", "x", "--print-config", NULL),
                     ASSENT_CONFIG_EXIT);
    assert_null(options.data_dir);
    snprintf(printed, sizeof(printed), "%s", out_text);
    assert_non_null(strstr(printed, "prepare_timeout = 1500ms\n"));
    assert_non_null(strstr(printed, "# Longest wait for a vote. (default 10s; from 10ms to 1h)\n"));
    assert_null(strstr(printed, "crash_at"));
    put(printed);
    assert_int_equal(load("--config", file_path, "--print-config", NULL), ASSENT_CONFIG_EXIT);
    assert_string_equal(out_text, printed);
    assert_int_equal(load("--config", file_path, NULL), ASSENT_CONFIG_RUN);
    assert_string_equal(options.data_dir, "it's \\ \"here\"\n# ${X} */");
    assert_int_equal(options.timeout_ms, 1500);
    assert_int_equal(options.map_bytes, 5000);
    assert_int_equal(options.resource.count, 2);
    assert_string_equal(options.resource.items[1], "pg:a='b',c");
    assert_int_equal(load("--resource=", "--print-config", NULL), ASSENT_CONFIG_EXIT);
    assert_non_null(strstr(out_text, "resource = {}\n"));
    assert_int_equal(load("--print-config", "--workers", "99", NULL), ASSENT_CONFIG_BAD);
}

static void help_names_every_flag_and_fits_the_screen(void **state)
{
    (void)state;
    assert_int_equal(load("--workers", "99", "--help", NULL), ASSENT_CONFIG_EXIT);
    assert_memory_equal(out_text, "Usage: assent-test [FLAG...]\n", 29);
    assert_non_null(strstr(out_text, "  --data-dir DIR\n"));
    assert_non_null(
        strstr(out_text, "  --workers N\n        Threads that work. (default 8; from 1"));
    assert_non_null(strstr(out_text, "  --strict[=no]\n"));
    assert_non_null(strstr(out_text, "  --resource TYPE[:PARAMETERS] (may be repeated)\n"));
    assert_non_null(strstr(out_text, "  --crash-at NAME\n"));
    for (const char *line = out_text; *line != '\0'; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 80);
    assert_int_equal(load("--version", NULL), ASSENT_CONFIG_EXIT);
    assert_string_equal(out_text, "assent-test " ASSENT_VERSION "\n");
    assert_int_equal(load("--check-config", NULL), ASSENT_CONFIG_EXIT);
    put("x = 1");
    assert_int_equal(load("--check-config", "--config", file_path, NULL), ASSENT_CONFIG_BAD);
}

static void output_that_cannot_be_written_is_an_error(void **state)
{
    FILE *full = fopen("/dev/full", "w");
    static char name[] = "assent-test", help[] = "--help";
    char *argv[] = {name, help, NULL};
    struct options fresh = {0};
    int saved;

    (void)state;
    assert_non_null(full);
    saved = redirect(1, full);
    assert_int_equal(assent_config_load(&program, 2, argv, &fresh), ASSENT_CONFIG_BAD);
    dup2(saved, 1);
    close(saved);
    clearerr(stdout);
    fclose(full);
}

static void note_change(const char *key, void *context)
{
    strcat(context, key);
    strcat(context, " ");
}

static void reload_shows_what_changed_and_keeps_flags(void **state)
{
    struct options again = {0}, bad = {0};
    char changes[200] = "";

    (void)state;
    put("workers = 2\ndata_dir = a\nresource = {x, y}");
    assert_int_equal(load("--config", file_path, "--data-dir", "flag", NULL), ASSENT_CONFIG_RUN);
    assert_int_equal(assent_config_reload(&program, last_argc, last_argv, &again), 0);
    assent_config_diff(&program, &options, &again, note_change, changes);
    assert_string_equal(changes, "");
    assent_config_fini(&program, &again);
    put("workers = 3\ndata_dir = b\nresource = {x, z}\nprepare_timeout = 11s\nstrict = on");
    assert_int_equal(assent_config_reload(&program, last_argc, last_argv, &again), 0);
    assent_config_diff(&program, &options, &again, note_change, changes);
    assert_string_equal(changes, "workers prepare_timeout strict resource ");
    assent_config_fini(&program, &again);
    put("workers = 300");
    assert_int_equal(assent_config_reload(&program, last_argc, last_argv, &bad), ASSENT_E_CONFIG);
    assert_null(bad.data_dir);
}

static int make_file(void **state)
{
    int fd = mkstemp(file_path);

    (void)state;
    close(fd);
    return fd < 0;
}

static int remove_file(void **state)
{
    (void)state;
    assent_config_fini(&program, &options);
    return unlink(file_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_stand_when_nothing_is_given),
        cmocka_unit_test(file_environment_and_flags_stand_over_each_other_in_that_order),
        cmocka_unit_test(lists_are_replaced_by_a_higher_source_and_grow_within_one),
        cmocka_unit_test(units_are_understood),
        cmocka_unit_test(bad_values_are_refused_by_name),
        cmocka_unit_test(bad_flags_are_refused_by_name),
        cmocka_unit_test(bad_files_are_refused_with_file_and_line),
        cmocka_unit_test(files_that_cannot_be_read_are_named),
        cmocka_unit_test(good_files_say_what_they_mean),
        cmocka_unit_test(printed_configuration_reads_back_to_the_same),
        cmocka_unit_test(help_names_every_flag_and_fits_the_screen),
        cmocka_unit_test(output_that_cannot_be_written_is_an_error),
        cmocka_unit_test(reload_shows_what_changed_and_keeps_flags),
    };

    return cmocka_run_group_tests_name("config", tests, make_file, remove_file);
}
