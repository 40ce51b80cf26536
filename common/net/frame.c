/* frame.c: length prefixes, see frame.h. */
#include "frame.h"

#include <stdio.h>

#include "bytes.h"

void assent_frame_header(uint8_t header[ASSENT_FRAME_HEADER], uint32_t size)
{
    struct assent_writer writer;

    assent_writer_init(&writer, header, ASSENT_FRAME_HEADER);
    assent_write_u32(&writer, size);
}

uint32_t assent_frame_size(const uint8_t header[ASSENT_FRAME_HEADER])
{
    struct assent_reader reader;

    assent_reader_init(&reader, header, ASSENT_FRAME_HEADER);
    return assent_read_u32(&reader);
}

int assent_frame_check(uint32_t size, uint32_t size_max, char *error, size_t error_size)
{
    if (size == 0) {
        snprintf(error, error_size, "empty frame");
        return ASSENT_E_PROTOCOL;
    }
    if (size > size_max) {
        snprintf(error, error_size, "frame of %u bytes announced, %u allowed", size, size_max);
        return ASSENT_E_TOO_BIG;
    }
    return 0;
}
