/* utf8.c: validity of UTF-8, see utf8.h. */
#include "utf8.h"

#include <stdint.h>
#include <string.h>

/* Bytes of the character at text, at most size of them readable; 0 if there is none. */
static size_t character(const uint8_t *text, size_t size)
{
    uint8_t first = text[0], low = 0x80, high = 0xbf;
    size_t length;

    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (size < length)
        return 0;
    /* The second byte's range excludes overlong forms, surrogates and what is above U+10FFFF. */
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    if (text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (text[i] < 0x80 || text[i] > 0xbf)
            return 0;
    return length;
}

bool assent_utf8_valid(const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t length = 1;

        if ((uint8_t)text[at] >= 0x80)
            length = character((const uint8_t *)text + at, size - at);
        if (length == 0)
            return false;
        at += length;
    }
    return true;
}

void assent_utf8_clean(const char *text, char *clean, size_t capacity)
{
    /* No character that starts inside the room reaches further than 4 bytes. */
    size_t size = strnlen(text, capacity + 4), out = 0;

    for (size_t at = 0; at < size;) {
        size_t length = character((const uint8_t *)text + at, size - at);
        size_t wanted = length == 0 ? 1 : length;

        if (out + wanted >= capacity)
            break;
        if (length == 0)
            clean[out] = '?';
        else
            memcpy(clean + out, text + at, length);
        out += wanted;
        at += wanted;
    }
    clean[out] = '\0';
}
