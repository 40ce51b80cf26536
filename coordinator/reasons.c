/* reasons.c: sentences for the enum assent_reason. */
#include "reasons.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "message.h"

void text_mend(char *text)
{
    size_t size = strlen(text), tail = 0, need;
    unsigned char lead;

    while (tail < size && tail < 4 && ((unsigned char)text[size - 1 - tail] & 0xc0) == 0x80)
        tail++;
    if (tail == size)
        return;
    lead = (unsigned char)text[size - 1 - tail];
    need = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    if (tail < need)
        text[size - 1 - tail] = '\0';
}

void text_copy(char *to, size_t size, const char *from)
{
    size_t length = strnlen(from, size - 1);

    memcpy(to, from, length);
    to[length] = '\0';
    if (from[length] != '\0')
        text_mend(to);
}

struct sentence {
    char *text;
    size_t size, used;
};

static void append(struct sentence *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void append(struct sentence *s, const char *format, ...)
{
    va_list arguments;
    int n;

    va_start(arguments, format);
    n = vsnprintf(s->text + s->used, s->size - s->used, format, arguments);
    va_end(arguments);
    if (n > 0)
        s->used += (size_t)n < s->size - s->used ? (size_t)n : s->size - s->used - 1;
}

static void append_missing(struct sentence *s, const struct missing_vote *missing, size_t count)
{
    for (size_t i = 0; i < count; i++)
        append(s, "%s%s%s", i == 0 ? " from " : ", ", missing[i].name,
               missing[i].connected ? "" : " (not connected)");
}

void reason_format(enum assent_reason reason, const char *name, const char *text,
                   const struct missing_vote *missing, size_t missing_count,
                   char ret_text[ASSENT_REASON_MAX + 1])
{
    struct sentence s = {ret_text, ASSENT_REASON_MAX + 1, 0};

    ret_text[0] = '\0';
    switch (reason) {
    case ASSENT_REASON_NONE:
        return;
    case ASSENT_REASON_VOTED_NO:
        append(&s, "%s voted no", name == NULL ? "a participant" : name);
        break;
    case ASSENT_REASON_WORK_FAILED:
        append(&s, "work failed%s%s", name == NULL ? "" : " at ", name == NULL ? "" : name);
        break;
    case ASSENT_REASON_VOTE_MISSING:
        append(&s, "no vote in time");
        append_missing(&s, missing, missing_count);
        break;
    case ASSENT_REASON_DEADLINE:
        append(&s, "transaction deadline passed");
        if (missing_count > 0)
            append(&s, ", no vote");
        append_missing(&s, missing, missing_count);
        break;
    case ASSENT_REASON_STALE:
    case ASSENT_REASON_NO_WORK:
    case ASSENT_REASON_CLOSED:
    case ASSENT_REASON_ALONE:
    case ASSENT_REASON_TERMINATED:
        if (name != NULL)
            append(&s, "%s: ", name);
        append(&s, "%s", assent_reason_text(reason));
        break;
    case ASSENT_REASON_REQUESTED:
    case ASSENT_REASON_APPLICATION_GONE:
    case ASSENT_REASON_SHUTDOWN:
    case ASSENT_REASON_PRESUMED:
    case ASSENT_REASON_OPERATOR:
        append(&s, "%s", assent_reason_text(reason));
        break;
    }
    if (text != NULL && text[0] != '\0')
        append(&s, ": %s", text);
    text_mend(ret_text);
}

void evidence_format(const char *name, int result, const char *text,
                     char ret_text[ASSENT_REASON_MAX + 1])
{
    struct sentence s = {ret_text, ASSENT_REASON_MAX + 1, 0};

    append(&s, "%s is %s%s%s", name, assent_branch_result_name(result),
           text != NULL && text[0] != '\0' ? ": " : "", text == NULL ? "" : text);
    text_mend(ret_text);
}
