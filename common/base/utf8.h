/* utf8.h: is it UTF-8, and how to make it so. RFC 3629: no surrogates, no overlong forms. */
#ifndef ASSENT_UTF8_H
#define ASSENT_UTF8_H

#include <stdbool.h>
#include <stddef.h>

bool assent_utf8_valid(const char *text, size_t size);
/* Copies text to clean, which holds capacity bytes with the NUL: cut before the character that
 * does not fit, '?' for each byte that belongs to no character. */
void assent_utf8_clean(const char *text, char *clean, size_t capacity);

#endif
