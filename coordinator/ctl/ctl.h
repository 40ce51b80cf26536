/*
 * ctl.h: what the parts of assentctl share. Each command is one const struct ctl_command in a file
 * of its own; commands.c lists them, and the same table gives parsing, help and usage errors.
 * Data goes to stdout, messages and hints to stderr.
 */
#ifndef ASSENT_CTL_H
#define ASSENT_CTL_H

#include <stdio.h>

#include "assent/client.h"
#include "output.h"

/* Exit codes; docs name them, scripts rely on them. */
enum ctl_exit {
    CTL_EXIT_OK = 0,
    CTL_EXIT_SERVER = 1,    /* the server (or the tool itself) failed */
    CTL_EXIT_USAGE = 2,     /* bad command line or bad input */
    CTL_EXIT_CONNECT = 3,   /* the coordinator cannot be reached */
    CTL_EXIT_NOT_FOUND = 4, /* no such transaction, participant, key or directory */
    CTL_EXIT_UNHEALTHY = 5, /* unhealthy, damaged records, mixed or hazard */
    CTL_EXIT_FORCE = 6,     /* refused without force */
    CTL_EXIT_ABORTED = 7,
    CTL_EXIT_UNKNOWN = 8, /* the outcome is not known; ask again */
};

#define CTL_DEFAULT_ADDRESS    "127.0.0.1:7372"
#define CTL_DEFAULT_TIMEOUT_MS 60000
#define CTL_OPTIONS_MAX        128 /* options given on one command line */
#define CTL_WORK_BYTES_MAX     (1024 * 1024)

struct ctl_option {
    const char *name;     /* long option without dashes */
    const char *argument; /* NULL: a switch */
    const char *help;
    bool required;
    bool repeated;
};

struct ctl_args;

struct ctl_command {
    const char *noun, *verb; /* verb NULL: the noun stands alone */
    const char *words;       /* synopsis of what is not an option, or "" */
    size_t words_min, words_max;
    const char *summary;              /* one line */
    const char *detail;               /* for `help NOUN VERB`, or NULL */
    const struct ctl_option *options; /* ends with name == NULL; may be NULL */
    int (*run)(struct ctl *ctl, const struct ctl_args *args);
};

/* One parsed command line. Strings belong to argv. */
struct ctl_args {
    const struct ctl_command *command;
    char **words;
    size_t word_count;
    struct {
        const char *name, *value;
    } given[CTL_OPTIONS_MAX];
    size_t given_count;
};

/* What every command can use. */
struct ctl {
    const char *address;
    uint32_t timeout_ms; /* 0: not given */
    bool json, color;
    bool help;
    FILE *out, *err;
    struct assent_client *client;
};

/* commands.c: the table, ends with noun == NULL. */
extern const struct ctl_command *const ctl_commands[];
const struct ctl_command *ctl_find(const char *noun, const char *verb);

/* args.c */
/* Parses a whole command line: global options anywhere, noun, verb, the command's own. 0; -1 after
 * saying on ctl->err what is wrong. command is NULL when only help was asked for. */
int ctl_parse(struct ctl *ctl, int argc, char **argv, struct ctl_args *ret_args);
/* The value of an option ("" for a switch), or NULL if it was not given. */
const char *ctl_given(const struct ctl_args *args, const char *name);
/* The nth (from 0) value of a repeated option, or NULL. */
const char *ctl_given_nth(const struct ctl_args *args, const char *name, size_t n);
/* "500ms", "10s", "5m", "1h" to ms. 0 or -1. */
int ctl_parse_duration(const char *text, uint32_t *ret_ms);
/* A decimal number in [min, max]. 0 or -1. */
int ctl_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value);

/* help.c */
void ctl_help(FILE *out);
void ctl_help_command(FILE *out, const struct ctl_command *command);

/* work.c: "NAME=WORK" or "NAME=@FILE" (@- is stdin) to a participant and its work, in which the
 * two characters \n stand for a new line. The caller frees both. 0, or -1 with a sentence. */
int ctl_branch_parse(const char *text, char **ret_participant, char **ret_work, size_t *ret_size,
                     char *error, size_t error_size);
/* The part after '='. */
int ctl_work_parse(const char *text, char **ret_work, size_t *ret_size, char *error,
                   size_t error_size);

/* begin.c: the options that `tx run` and `tx begin` have in common. */
#define CTL_BEGIN_OPTIONS                                                                          \
    {"protocol", "2pc|3pc", "the commit protocol (default 2pc)", false, false},                    \
        {"termination", "quorum|cooperative|timeout",                                              \
         "how participants finish without the coordinator. 2pc: cooperative. 3pc: quorum, the "    \
         "safe default; cooperative (unsafe under partition) and timeout (unsafe under a single "  \
         "crash too) can make some branches commit and others abort",                              \
         false, false},                                                                            \
        {"key", "KEY", "idempotency key: the same key again finds the same transaction", false,    \
         false},                                                                                   \
        {"timeout-ms", "N", "from begin to decision; else the coordinator's default", false,       \
         false},                                                                                   \
    {                                                                                              \
        "traceparent", "TEXT", "W3C trace context to travel with it", false, false                 \
    }
int ctl_begin_options(struct ctl *ctl, const struct ctl_args *args,
                      struct assent_begin_options *ret_options);

/* server.c: talking to the coordinator. Each says on ctl->err what failed; an exit code. */
int ctl_connect(struct ctl *ctl);
/* Connects if nobody has, inspects and parses; *ret_json is the caller's reference. */
int ctl_inspect(struct ctl *ctl, const char *what, const char *argument, const char *participant,
                uint32_t limit, json_t **ret_json);
/* After a call on ctl->client failed with error: says so, returns the exit code. */
int ctl_failed(struct ctl *ctl, const char *what, int error);
/* The exit code for an error or an outcome. */
int ctl_exit_for_error(int error);
int ctl_exit_for_outcome(enum assent_outcome outcome);
int ctl_parse_gtrid(struct ctl *ctl, const char *text, struct assent_gtrid *ret_gtrid);
/* The options that every order by hand has in common, and the order itself; gtrid may be NULL. */
#define CTL_OPERATE_OPTIONS                                                                        \
    {"reason", "TEXT", "why; kept in the log for ever", true, false},                              \
    {                                                                                              \
        "who", "NAME", "who; else the user and host of this command", false, false                 \
    }
int ctl_operate(struct ctl *ctl, const struct ctl_args *args, enum assent_action action,
                const struct assent_gtrid *gtrid, bool force, struct assent_result *ret_result);
/* Prints what became of a transaction, and a hint; key may be NULL. */
void ctl_print_result(struct ctl *ctl, const struct assent_result *result, const char *key);
/* The same after a call that asks for an outcome: error is what it returned, what names the call.
 * A lost answer is printed as the outcome unknown, a refusal as an error. An exit code. */
int ctl_finish(struct ctl *ctl, const char *what, int error, const struct assent_result *result,
               const char *key);

#endif
