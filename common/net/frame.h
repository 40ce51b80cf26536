/*
 * frame.h: the 4 bytes before each message. PURE: no I/O; shared by connections on a loop and by
 * the client library.
 */
#ifndef ASSENT_FRAME_H
#define ASSENT_FRAME_H

#include "assent/types.h"

#define ASSENT_FRAME_HEADER 4

void assent_frame_header(uint8_t header[ASSENT_FRAME_HEADER], uint32_t size);
/* The size that a header announces. */
uint32_t assent_frame_size(const uint8_t header[ASSENT_FRAME_HEADER]);
/* Before anything is allocated for it: 0, ASSENT_E_PROTOCOL (empty) or ASSENT_E_TOO_BIG with a
 * sentence in error. */
ASSENT_CHECKED int assent_frame_check(uint32_t size, uint32_t size_max, char *error,
                                      size_t error_size);

#endif
