/*
 * runtime.h: what every Assent process needs around the pure core: log lines, clocks, panic,
 * random seeds. Thread-safe throughout.
 */
#ifndef ASSENT_RUNTIME_H
#define ASSENT_RUNTIME_H

#include <stdarg.h>
#include <stdint.h>
#include <time.h>

#include "assent/types.h"

enum assent_log_level { ASSENT_LOG_DEBUG, ASSENT_LOG_INFO, ASSENT_LOG_WARN, ASSENT_LOG_ERROR };
enum assent_log_format { ASSENT_LOG_LOGFMT, ASSENT_LOG_JSON };

/* Call once before threads start. Default: INFO, logfmt, stderr. */
void assent_log_setup(enum assent_log_level level, enum assent_log_format format);

/* debug, info, warn, error; logfmt, json; -1 for any other name. */
int assent_log_level_find(const char *name);
int assent_log_format_find(const char *name);

/*
 * One event, one line on stderr: `ts=... level=info event=NAME key=value ...`. `fields` is a printf
 * format of space-separated `key=%...` pairs; a value that may hold blanks, quotes or control
 * bytes (text from outside, always) is written as key=%s with assent_log_quote(). In JSON format
 * the same pairs become members. A line is cut at 2048 bytes. Never pass a password.
 */
void assent_log(enum assent_log_level level, const char *event, const char *fields, ...)
    __attribute__((format(printf, 3, 4)));
void assent_log_va(enum assent_log_level level, const char *event, const char *fields,
                   va_list arguments) __attribute__((format(printf, 3, 0)));
/* Whether lines of that level are written: for callers that would prepare one for nothing. */
bool assent_log_wants(enum assent_log_level level);
/* Quotes text for one log line into a per-thread ring of 8 buffers; escapes control bytes. */
const char *assent_log_quote(const char *text);

/* CLOCK_MONOTONIC in ms and in us: deadlines and durations only come from here. */
uint64_t assent_now_ms(void);
uint64_t assent_now_us(void);
/* A moment of assent_now_ms(), for waits on CLOCK_MONOTONIC. */
struct timespec assent_moment(uint64_t at_ms);
/* CLOCK_REALTIME in ms: shown to people and put into gtrids for sorting; nothing depends on it. */
uint64_t assent_wall_ms(void);
/* RFC 3339 UTC with milliseconds, 24 characters and NUL. */
void assent_wall_format(uint64_t wall_ms, char text[25]);

/* Kernel randomness; stops the process if there is none. */
void assent_random_bytes(void *buffer, size_t size);

/* For programs, at their start: up to 128 MiB of freed memory stay for the next messages. Else
 * glibc gives the top of the heap back after each large message, and has it faulted in for the next
 * one: with 64 KiB of work for each branch, a quarter of the coordinator's time. And the first 64
 * MiB of the heap ask for huge pages: transactions are looked at in no order, and in a virtual
 * machine a miss of the TLB costs more than the look. */
void assent_heap_keep(void);

/* Logs the event at ERROR and ends the process with _exit(status) at once: nothing buffered is
 * sent, no handler runs. For failed durable writes and broken invariants. */
_Noreturn void assent_panic(int status, const char *event, const char *fields, ...)
    __attribute__((format(printf, 3, 4)));

/* Assertion that stays on in release builds. */
#define ASSENT_ASSERT(condition)                                                                   \
    ((condition) ? (void)0                                                                         \
                 : assent_panic(1, "assertion", "condition=%s file=%s line=%d",                    \
                                assent_log_quote(#condition), __FILE__, __LINE__))

/* Exit codes of the daemons. */
#define ASSENT_EXIT_OK      0
#define ASSENT_EXIT_RUNTIME 1
#define ASSENT_EXIT_USAGE   2
#define ASSENT_EXIT_DATA    3

#endif
