/*
 * bytes.h: writes and reads big-endian records in a caller's buffer. A writer or reader that meets
 * its end remembers that it failed and does nothing more, so callers check once.
 */
#ifndef ASSENT_BASE_BYTES_H
#define ASSENT_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct assent_writer {
    uint8_t *data;
    size_t size, capacity;
    bool failed;
};

struct assent_reader {
    const uint8_t *data;
    size_t size, offset;
    bool failed;
};

void assent_writer_init(struct assent_writer *writer, void *data, size_t capacity);
void assent_write_u8(struct assent_writer *writer, uint8_t value);
void assent_write_u16(struct assent_writer *writer, uint16_t value);
void assent_write_u32(struct assent_writer *writer, uint32_t value);
void assent_write_u64(struct assent_writer *writer, uint64_t value);
void assent_write_raw(struct assent_writer *writer, const void *data, size_t size);
/* One length byte, then the bytes of a string of at most 255. */
void assent_write_text(struct assent_writer *writer, const char *text);

void assent_reader_init(struct assent_reader *reader, const void *data, size_t size);
uint8_t assent_read_u8(struct assent_reader *reader);
uint16_t assent_read_u16(struct assent_reader *reader);
uint32_t assent_read_u32(struct assent_reader *reader);
uint64_t assent_read_u64(struct assent_reader *reader);
void assent_read_raw(struct assent_reader *reader, void *data, size_t size);
/* Fails if the text does not fit capacity with its NUL, or holds a NUL. */
void assent_read_text(struct assent_reader *reader, char *text, size_t capacity);

#endif
