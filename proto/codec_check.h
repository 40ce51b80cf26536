/*
 * codec_check.h: the rules that a message keeps in both directions, once for decode and encode.
 * Private to the codec.
 */
#ifndef ASSENT_CODEC_CHECK_H
#define ASSENT_CODEC_CHECK_H

#include "codec.h"

/* Remembers the first failure, so that callers ask once at the end. */
struct codec_check {
    int failed;    /* 0, or the error */
    int violation; /* of a broken rule: ASSENT_E_PROTOCOL decoding, ASSENT_E_INVALID encoding */
    int item;      /* of a repeated field, for the text; -1: none */
    char *text;    /* of text_size; may be NULL */
    size_t text_size;
};

void codec_fail(struct codec_check *check, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Everything that can be seen in the plain struct. A NULL string is "". */
void codec_check_wire(struct codec_check *check, const struct assent_wire *wire);

#endif
