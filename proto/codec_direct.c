/*
 * codec_direct.c: the messages that every transaction is made of (run, result, branch), written and
 * read by tables instead of the generated types, for about a tenth of the instructions. What is
 * written is what the library would write, byte for byte. What is read is only what such a writer
 * writes: anything else (a field unknown or repeated, a number too large, a NUL in a text) is left
 * to codec_decode.c, which goes the library's way and alone says what is wrong.
 */
#include "codec_direct.h"

#include <stddef.h>
#include <string.h>

#include "arena.h"
#include "utf8.h"

enum form {
    NUMBER, /* uint32_t or an enum; up to 64 bits wide on the wire */
    FLAG,   /* bool */
    ID,     /* 16 bytes, always there */
    ID_OR_NONE,
    TEXT,
    REASON, /* a text that is made to fit when it is written */
    BYTES,  /* struct assent_bytes */
    PART,   /* a message within this one, always there */
    PARTS,  /* any number of them */
};

/* A message's fields, in order of their numbers, which begin at 1 and leave none out. */
struct shape {
    const struct field *fields;
    size_t count, size; /* of the struct, as an element of PARTS */
};

struct field {
    enum form form;
    size_t at; /* in the struct */
    const struct shape *part;
    size_t count_at, count_max; /* PARTS */
};

#define SHAPE(name, type)                                                                          \
    static const struct shape name = {name##_fields, sizeof(name##_fields) / sizeof(struct field), \
                                      sizeof(type)}

#define AT(member) offsetof(struct assent_wire_peer, member)
static const struct field peer_fields[] = {
    {TEXT, AT(participant), NULL, 0, 0},
    {TEXT, AT(address), NULL, 0, 0},
    {NUMBER, AT(epoch), NULL, 0, 0},
};
SHAPE(peer, struct assent_wire_peer);
#undef AT

#define AT(member) offsetof(struct assent_wire_begin, member)
static const struct field begin_fields[] = {
    {NUMBER, AT(protocol), NULL, 0, 0},   {NUMBER, AT(termination), NULL, 0, 0},
    {NUMBER, AT(timeout_ms), NULL, 0, 0}, {TEXT, AT(key), NULL, 0, 0},
    {TEXT, AT(traceparent), NULL, 0, 0},  {FLAG, AT(detached), NULL, 0, 0},
};
SHAPE(begin, struct assent_wire_begin);
#undef AT

#define AT(member) offsetof(struct assent_wire_branch_work, member)
static const struct field branch_work_fields[] = {
    {TEXT, AT(participant), NULL, 0, 0},
    {BYTES, AT(work), NULL, 0, 0},
};
SHAPE(branch_work, struct assent_wire_branch_work);
#undef AT

#define AT(member) offsetof(struct assent_wire, u.run.member)
static const struct field run_fields[] = {
    {PART, AT(begin), &begin, 0, 0},
    {PARTS, AT(branches), &branch_work, AT(branch_count), ASSENT_BRANCHES_MAX},
    {FLAG, AT(wait), NULL, 0, 0},
};
SHAPE(run, struct assent_wire);
#undef AT

#define AT(member) offsetof(struct assent_wire, u.result.member)
static const struct field result_fields[] = {
    {ID, AT(gtrid), NULL, 0, 0},      {NUMBER, AT(outcome), NULL, 0, 0},
    {REASON, AT(reason), NULL, 0, 0}, {TEXT, AT(phase), NULL, 0, 0},
    {FLAG, AT(ended), NULL, 0, 0},
};
SHAPE(result, struct assent_wire);
#undef AT

#define AT(member) offsetof(struct assent_wire, u.branch.member)
static const struct field branch_fields[] = {
    {NUMBER, AT(message.kind), NULL, 0, 0},
    {ID, AT(message.gtrid), NULL, 0, 0},
    {NUMBER, AT(message.branch), NULL, 0, 0},
    {NUMBER, AT(message.incarnation), NULL, 0, 0},
    {NUMBER, AT(message.epoch), NULL, 0, 0},
    {NUMBER, AT(message.protocol), NULL, 0, 0},
    {NUMBER, AT(message.termination), NULL, 0, 0},
    {NUMBER, AT(message.branch_count), NULL, 0, 0},
    {NUMBER, AT(message.timeout_ms), NULL, 0, 0},
    {NUMBER, AT(message.vote), NULL, 0, 0},
    {NUMBER, AT(message.result), NULL, 0, 0},
    {NUMBER, AT(message.reason), NULL, 0, 0},
    {REASON, AT(reason_text), NULL, 0, 0},
    {TEXT, AT(resource), NULL, 0, 0},
    {BYTES, AT(work), NULL, 0, 0},
    {FLAG, AT(message.has_work), NULL, 0, 0},
    {TEXT, AT(traceparent), NULL, 0, 0},
    {ID_OR_NONE, AT(log_id), NULL, 0, 0},
    {NUMBER, AT(message.from), NULL, 0, 0},
    {NUMBER, AT(message.ballot), NULL, 0, 0},
    {NUMBER, AT(message.state), NULL, 0, 0},
    {NUMBER, AT(message.attempt), NULL, 0, 0},
    {FLAG, AT(message.recovered), NULL, 0, 0},
    {PARTS, AT(peers), &peer, AT(peer_count), ASSENT_BRANCHES_MAX},
};
SHAPE(branch, struct assent_wire);
#undef AT

_Static_assert(sizeof(enum assent_vote) == sizeof(uint32_t), "NUMBER is 32 bits");
_Static_assert(ASSENT_GTRID_BYTES == ASSENT_LOG_ID_BYTES, "both are an ID");
#define ID_BYTES ASSENT_GTRID_BYTES

static const struct shape *shape_of(enum assent_wire_kind kind)
{
    return kind == ASSENT_WIRE_BRANCH   ? &branch
           : kind == ASSENT_WIRE_RUN    ? &run
           : kind == ASSENT_WIRE_RESULT ? &result
                                        : NULL;
}

bool codec_direct_writes(enum assent_wire_kind kind)
{
    return shape_of(kind) != NULL;
}

/* --- writing ---------------------------------------------------------------------------------- */

enum wire_type { VARINT = 0, LENGTH = 2 };

#define VARINT_BYTES_MAX 10

/* The first failure stands; after it nothing is written. */
struct sink {
    struct codec_buffer *buffer;
    size_t size;
    int failed;
};

/* Where `size` more bytes may go; NULL if they may not. */
static uint8_t *room(struct sink *sink, size_t size)
{
    if (sink->failed == 0 && size > sink->buffer->capacity - sink->size)
        sink->failed = codec_buffer_grow(sink->buffer, sink->size + size);
    return sink->failed == 0 ? sink->buffer->bytes + sink->size : NULL;
}

static size_t format_varint(uint64_t value, uint8_t *to)
{
    size_t size = 0;

    for (; value > 0x7f; value >>= 7)
        to[size++] = (uint8_t)(value | 0x80);
    to[size++] = (uint8_t)value;
    return size;
}

static void put_number(struct sink *sink, size_t number, uint64_t value)
{
    uint8_t *to = value != 0 ? room(sink, 2 * VARINT_BYTES_MAX) : NULL;
    size_t size;

    if (to == NULL) /* what is empty is not written */
        return;
    size = format_varint(number << 3 | VARINT, to);
    sink->size += size + format_varint(value, to + size);
}

static void put_length(struct sink *sink, size_t number, const void *data, size_t size)
{
    uint8_t *to = size > 0 ? room(sink, 2 * VARINT_BYTES_MAX + size) : NULL;
    size_t head;

    if (to == NULL)
        return;
    head = format_varint(number << 3 | LENGTH, to);
    head += format_varint(size, to + head);
    memcpy(to + head, data, size);
    sink->size += head + size;
}

static void put_reason(struct sink *sink, size_t number, const char *text)
{
    char clean[ASSENT_REASON_MAX + 1];

    if (text == NULL || text[0] == '\0')
        return;
    assent_utf8_clean(text, clean, sizeof(clean));
    put_length(sink, number, clean, strlen(clean));
}

static void put_shape(struct sink *sink, const struct shape *shape, const uint8_t *from);

/* Its length stands before it, and is known only afterwards: one byte is left for it, and if it
 * needs more, what was written moves on. */
static void put_part(struct sink *sink, size_t number, const struct shape *shape,
                     const uint8_t *from)
{
    uint8_t *to = room(sink, VARINT_BYTES_MAX + 1), length[VARINT_BYTES_MAX];
    size_t start, size, digits;

    if (to == NULL)
        return;
    sink->size += format_varint(number << 3 | LENGTH, to) + 1;
    start = sink->size;
    put_shape(sink, shape, from);
    size = sink->size - start;
    digits = format_varint(size, length);
    if (room(sink, digits) == NULL)
        return;
    to = sink->buffer->bytes + start - 1;
    if (digits > 1)
        memmove(to + digits, to + 1, size);
    memcpy(to, length, digits);
    sink->size += digits - 1;
}

static void put_field(struct sink *sink, size_t number, const struct field *field,
                      const uint8_t *from)
{
    static const uint8_t none[ID_BYTES];
    const void *at = from + field->at;
    const struct assent_bytes *bytes;
    const char *text;
    size_t count;

    switch (field->form) {
    case NUMBER:
        put_number(sink, number, *(const uint32_t *)at);
        return;
    case FLAG:
        put_number(sink, number, *(const bool *)at);
        return;
    case ID:
        put_length(sink, number, at, ID_BYTES);
        return;
    case ID_OR_NONE:
        put_length(sink, number, at, memcmp(at, none, ID_BYTES) == 0 ? 0 : ID_BYTES);
        return;
    case TEXT:
        text = *(const char *const *)at;
        put_length(sink, number, text, text == NULL ? 0 : strlen(text));
        return;
    case REASON:
        put_reason(sink, number, *(const char *const *)at);
        return;
    case BYTES:
        bytes = at;
        put_length(sink, number, bytes->data, bytes->size);
        return;
    case PART:
        put_part(sink, number, field->part, at);
        return;
    case PARTS:
        count = *(const size_t *)(const void *)(from + field->count_at);
        for (size_t i = 0; i < count; i++)
            put_part(sink, number, field->part, (const uint8_t *)at + i * field->part->size);
        return;
    }
}

static void put_shape(struct sink *sink, const struct shape *shape, const uint8_t *from)
{
    for (size_t i = 0; i < shape->count; i++)
        put_field(sink, i + 1, &shape->fields[i], from);
}

int codec_direct_write(const struct assent_wire *wire, struct codec_buffer *buffer,
                       size_t *ret_size)
{
    struct sink sink = {buffer, 0, 0};

    put_number(&sink, 1, wire->request);
    put_part(&sink, (size_t)wire->kind, shape_of(wire->kind), (const uint8_t *)wire);
    *ret_size = sink.size;
    return sink.failed;
}

/* --- reading ---------------------------------------------------------------------------------- */

struct source {
    const uint8_t *at, *end;
    ProtobufCAllocator *memory;
};

static bool take_varint(struct source *source, uint64_t *ret_value)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64 && source->at < source->end; shift += 7) {
        uint8_t byte = *source->at++;

        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret_value = value;
            return shift < 63 || byte <= 1;
        }
    }
    return false;
}

/* A copy that outlives the frame, with a NUL behind it. */
static const void *copy(const struct source *source, const uint8_t *data, size_t size)
{
    uint8_t *bytes = source->memory->alloc(source->memory->allocator_data, size + 1);

    if (bytes == NULL)
        return NULL;
    memcpy(bytes, data, size);
    bytes[size] = '\0';
    return bytes;
}

static void clear(const struct shape *shape, uint8_t *to)
{
    for (size_t i = 0; i < shape->count; i++) {
        const struct field *field = &shape->fields[i];
        void *at = to + field->at;

        switch (field->form) {
        case NUMBER:
            *(uint32_t *)at = 0;
            break;
        case FLAG:
            *(bool *)at = false;
            break;
        case ID:
        case ID_OR_NONE:
            memset(at, 0, ID_BYTES);
            break;
        case TEXT:
        case REASON:
            *(const char **)at = "";
            break;
        case BYTES:
            *(struct assent_bytes *)at = (struct assent_bytes){NULL, 0};
            break;
        case PART:
            clear(field->part, at);
            break;
        case PARTS:
            *(size_t *)(void *)(to + field->count_at) = 0;
            break;
        }
    }
}

static bool take_shape(const struct source *source, const struct shape *shape, uint8_t *to);

static bool take_number(const struct field *field, uint64_t value, uint8_t *to)
{
    void *at = to + field->at;

    if (value > (field->form == FLAG ? 1 : UINT32_MAX))
        return false;
    if (field->form == FLAG)
        *(bool *)at = value != 0;
    else
        *(uint32_t *)at = (uint32_t)value;
    return true;
}

static bool take_content(const struct source *source, const struct field *field, uint8_t *to)
{
    size_t size = (size_t)(source->end - source->at), *count;
    struct assent_bytes *bytes;
    void *at = to + field->at;

    switch (field->form) {
    case ID:
    case ID_OR_NONE:
        if (size == ID_BYTES)
            memcpy(at, source->at, ID_BYTES);
        return size == ID_BYTES;
    case TEXT:
    case REASON:
        *(const char **)at = copy(source, source->at, size);
        return *(const char **)at != NULL && memchr(source->at, '\0', size) == NULL;
    case BYTES:
        bytes = at;
        *bytes = (struct assent_bytes){copy(source, source->at, size), size};
        return bytes->data != NULL;
    case PART:
        return take_shape(source, field->part, at);
    case PARTS:
        count = (size_t *)(void *)(to + field->count_at);
        if (*count == field->count_max)
            return false;
        at = (uint8_t *)at + (*count)++ * field->part->size;
        clear(field->part, at);
        return take_shape(source, field->part, at);
    case NUMBER:
    case FLAG:
        break;
    }
    return false;
}

/* One field, of which the tag has been read. */
static bool take_field(struct source *source, const struct field *field, unsigned type, uint8_t *to)
{
    struct source content = *source;
    uint64_t value;

    if (type != (field->form <= FLAG ? VARINT : LENGTH) || !take_varint(source, &value))
        return false;
    if (type == VARINT)
        return take_number(field, value, to);
    if (value == 0 && field->form != PART && field->form != PARTS)
        return false; /* would not have been written */
    if (value > (size_t)(source->end - source->at))
        return false;
    content.at = source->at;
    source->at += value;
    content.end = source->at;
    return take_content(&content, field, to);
}

static bool take_shape(const struct source *whole, const struct shape *shape, uint8_t *to)
{
    struct source source = *whole;
    size_t last = 0;
    uint64_t tag;

    while (source.at < source.end) {
        const struct field *field;

        if (!take_varint(&source, &tag) || tag >> 3 == 0 || tag >> 3 > shape->count)
            return false;
        field = &shape->fields[(tag >> 3) - 1];
        /* Written in order, and once. */
        if (tag >> 3 < last || (tag >> 3 == last && field->form != PARTS))
            return false;
        last = tag >> 3;
        if (!take_field(&source, field, tag & 7, to))
            return false;
    }
    return true;
}

/* The ID that must be there, and never is all zeros. */
static bool has_id(const struct assent_wire *wire)
{
    static const struct assent_gtrid none;
    const struct assent_gtrid *gtrid =
        wire->kind == ASSENT_WIRE_RESULT ? &wire->u.result.gtrid : &wire->u.branch.message.gtrid;

    return wire->kind == ASSENT_WIRE_RUN || memcmp(gtrid, &none, sizeof(none)) != 0;
}

bool codec_direct_read(const void *data, size_t size, struct assent_arena *arena,
                       struct assent_wire *ret_wire)
{
    struct source source = {data, (const uint8_t *)data + size, assent_arena_allocator(arena)};
    const struct shape *shape;
    uint64_t tag, length;

    ret_wire->request = 0;
    if (!take_varint(&source, &tag))
        return false;
    if (tag == (1 << 3 | VARINT) &&
        (!take_varint(&source, &ret_wire->request) || !take_varint(&source, &tag)))
        return false;
    ret_wire->kind = (enum assent_wire_kind)(tag >> 3);
    shape = shape_of(ret_wire->kind);
    if (shape == NULL || (tag & 7) != LENGTH || !take_varint(&source, &length) ||
        length != (size_t)(source.end - source.at))
        return false;
    clear(shape, (uint8_t *)ret_wire);
    return take_shape(&source, shape, (uint8_t *)ret_wire) && has_id(ret_wire);
}
