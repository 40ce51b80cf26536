/*
 * panic.c: the one way out when going on could tell a lie: log one line, end at once. No atexit
 * handler, no flush: what a handler would send has not been proven durable.
 */
#include "runtime.h"

#include <unistd.h>

_Noreturn void assent_panic(int status, const char *event, const char *fields, ...)
{
    va_list arguments;

    va_start(arguments, fields);
    assent_log_va(ASSENT_LOG_ERROR, event, fields, arguments);
    va_end(arguments);
    _exit(status);
}
