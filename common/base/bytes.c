/* bytes.c: big-endian record writing and reading, see bytes.h. */
#include "bytes.h"

#include <string.h>

void assent_writer_init(struct assent_writer *writer, void *data, size_t capacity)
{
    *writer = (struct assent_writer){.data = data, .capacity = capacity};
}

void assent_write_raw(struct assent_writer *writer, const void *data, size_t size)
{
    if (writer->failed || size > writer->capacity - writer->size) {
        writer->failed = true;
        return;
    }
    if (size > 0)
        memcpy(writer->data + writer->size, data, size);
    writer->size += size;
}

static void write_be(struct assent_writer *writer, uint64_t value, size_t size)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
    assent_write_raw(writer, bytes, size);
}

void assent_write_u8(struct assent_writer *writer, uint8_t value)
{
    write_be(writer, value, 1);
}

void assent_write_u16(struct assent_writer *writer, uint16_t value)
{
    write_be(writer, value, 2);
}

void assent_write_u32(struct assent_writer *writer, uint32_t value)
{
    write_be(writer, value, 4);
}

void assent_write_u64(struct assent_writer *writer, uint64_t value)
{
    write_be(writer, value, 8);
}

void assent_write_text(struct assent_writer *writer, const char *text)
{
    size_t size = strlen(text);

    if (size > UINT8_MAX) {
        writer->failed = true;
        return;
    }
    assent_write_u8(writer, (uint8_t)size);
    assent_write_raw(writer, text, size);
}

void assent_reader_init(struct assent_reader *reader, const void *data, size_t size)
{
    *reader = (struct assent_reader){.data = data, .size = size};
}

void assent_read_raw(struct assent_reader *reader, void *data, size_t size)
{
    if (reader->failed || size > reader->size - reader->offset) {
        reader->failed = true;
        memset(data, 0, size);
        return;
    }
    memcpy(data, reader->data + reader->offset, size);
    reader->offset += size;
}

static uint64_t read_be(struct assent_reader *reader, size_t size)
{
    uint8_t bytes[8];
    uint64_t value = 0;

    assent_read_raw(reader, bytes, size);
    for (size_t i = 0; i < size; i++)
        value = value << 8 | bytes[i];
    return value;
}

uint8_t assent_read_u8(struct assent_reader *reader)
{
    return (uint8_t)read_be(reader, 1);
}

uint16_t assent_read_u16(struct assent_reader *reader)
{
    return (uint16_t)read_be(reader, 2);
}

uint32_t assent_read_u32(struct assent_reader *reader)
{
    return (uint32_t)read_be(reader, 4);
}

uint64_t assent_read_u64(struct assent_reader *reader)
{
    return read_be(reader, 8);
}

void assent_read_text(struct assent_reader *reader, char *text, size_t capacity)
{
    size_t size = assent_read_u8(reader);

    text[0] = '\0';
    if (size >= capacity) {
        reader->failed = true;
        return;
    }
    assent_read_raw(reader, text, size);
    text[size] = '\0';
    if (memchr(text, '\0', size) != NULL) {
        reader->failed = true;
        text[0] = '\0';
    }
}
