/*
 * codec_direct.c: the messages that every transaction is made of (run, result, branch), written and
 * read straight from struct assent_wire, for about a twentieth of the library's instructions. Each
 * message is one list of its fields, of which the functions that write, clear and read it are made.
 * What is written is what the library would write, byte for byte. What is read is only what such a
 * writer writes: anything else (a field unknown or repeated, a number too large, a NUL in a text)
 * is left to codec_decode.c, which goes the library's way and alone says what is wrong.
 */
#include "codec_direct.h"

#include <string.h>

#include "arena.h"
#include "utf8.h"

/*
 * The fields of each message, in order of their numbers.
 *   F(number, FORM, member): put_FORM(), clear_FORM() and take_FORM() say how a form is written.
 *       NUMBER      uint32_t or an enum; up to 64 bits wide on the wire
 *       FLAG        bool
 *       ID          16 bytes, always there; ID_OR_NONE: all zeros if it is not
 *       TEXT        a string; REASON: one that is made to fit when it is written
 *       BYTES       struct assent_bytes
 *   P(number, message, member): a message within this one, always there
 *   L(number, message, list, count): any number of them
 */
#define PEER_FIELDS(F, P, L)                                                                       \
    F(1, TEXT, participant)                                                                        \
    F(2, TEXT, address)                                                                            \
    F(3, NUMBER, epoch)

#define WORK_FIELDS(F, P, L)                                                                       \
    F(1, TEXT, participant)                                                                        \
    F(2, BYTES, work)

#define BEGIN_FIELDS(F, P, L)                                                                      \
    F(1, NUMBER, protocol)                                                                         \
    F(2, NUMBER, termination)                                                                      \
    F(3, NUMBER, timeout_ms)                                                                       \
    F(4, TEXT, key)                                                                                \
    F(5, TEXT, traceparent)                                                                        \
    F(6, FLAG, detached)

#define RUN_FIELDS(F, P, L)                                                                        \
    P(1, begin, u.run.begin)                                                                       \
    L(2, work, u.run.branches, u.run.branch_count)                                                 \
    F(3, FLAG, u.run.wait)

#define RESULT_FIELDS(F, P, L)                                                                     \
    F(1, ID, u.result.gtrid)                                                                       \
    F(2, NUMBER, u.result.outcome)                                                                 \
    F(3, REASON, u.result.reason)                                                                  \
    F(4, TEXT, u.result.phase)                                                                     \
    F(5, FLAG, u.result.ended)

#define BRANCH_FIELDS(F, P, L)                                                                     \
    F(1, NUMBER, u.branch.message.kind)                                                            \
    F(2, ID, u.branch.message.gtrid)                                                               \
    F(3, NUMBER, u.branch.message.branch)                                                          \
    F(4, NUMBER, u.branch.message.incarnation)                                                     \
    F(5, NUMBER, u.branch.message.epoch)                                                           \
    F(6, NUMBER, u.branch.message.protocol)                                                        \
    F(7, NUMBER, u.branch.message.termination)                                                     \
    F(8, NUMBER, u.branch.message.branch_count)                                                    \
    F(9, NUMBER, u.branch.message.timeout_ms)                                                      \
    F(10, NUMBER, u.branch.message.vote)                                                           \
    F(11, NUMBER, u.branch.message.result)                                                         \
    F(12, NUMBER, u.branch.message.reason)                                                         \
    F(13, REASON, u.branch.reason_text)                                                            \
    F(14, TEXT, u.branch.resource)                                                                 \
    F(15, BYTES, u.branch.work)                                                                    \
    F(16, FLAG, u.branch.message.has_work)                                                         \
    F(17, TEXT, u.branch.traceparent)                                                              \
    F(18, ID_OR_NONE, u.branch.log_id)                                                             \
    F(19, NUMBER, u.branch.message.from)                                                           \
    F(20, NUMBER, u.branch.message.ballot)                                                         \
    F(21, NUMBER, u.branch.message.state)                                                          \
    F(22, NUMBER, u.branch.message.attempt)                                                        \
    F(23, FLAG, u.branch.message.recovered)                                                        \
    L(24, peer, u.branch.peers, u.branch.peer_count)

_Static_assert(sizeof(enum assent_vote) == sizeof(uint32_t), "NUMBER is 32 bits");
_Static_assert(ASSENT_GTRID_BYTES == ASSENT_LOG_ID_BYTES, "both are an ID");
#define ID_BYTES ASSENT_GTRID_BYTES

enum wire_type { VARINT = 0, LENGTH = 2 };

#define VARINT_BYTES_MAX 10

bool codec_direct_writes(enum assent_wire_kind kind)
{
    return kind == ASSENT_WIRE_BRANCH || kind == ASSENT_WIRE_RUN || kind == ASSENT_WIRE_RESULT;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* The first failure stands; after it nothing is written. */
struct sink {
    struct codec_buffer *buffer;
    size_t size;
    int failed;
};

/* Where `size` more bytes may go; NULL if they may not. */
static inline uint8_t *room(struct sink *sink, size_t size)
{
    if (sink->failed == 0 && size > sink->buffer->capacity - sink->size)
        sink->failed = codec_buffer_grow(sink->buffer, sink->size + size);
    return sink->failed == 0 ? sink->buffer->bytes + sink->size : NULL;
}

/* Both return where the next byte goes. */
static inline uint8_t *write_varint(uint64_t value, uint8_t *to)
{
    for (; value > 0x7f; value >>= 7)
        *to++ = (uint8_t)(value | 0x80);
    *to++ = (uint8_t)value;
    return to;
}

static inline uint8_t *write_tag(size_t number, enum wire_type type, uint8_t *to)
{
    return write_varint(number << 3 | type, to);
}

static inline void put_number(struct sink *sink, size_t number, uint64_t value)
{
    uint8_t *to = value != 0 ? room(sink, 2 * VARINT_BYTES_MAX) : NULL;

    if (to != NULL) /* what is empty is not written */
        sink->size =
            (size_t)(write_varint(value, write_tag(number, VARINT, to)) - sink->buffer->bytes);
}

static inline void put_length(struct sink *sink, size_t number, const void *data, size_t size)
{
    uint8_t *to = size > 0 ? room(sink, 2 * VARINT_BYTES_MAX + size) : NULL;

    if (to == NULL)
        return;
    to = write_varint(size, write_tag(number, LENGTH, to));
    memcpy(to, data, size);
    sink->size = (size_t)(to + size - sink->buffer->bytes);
}

/* A message within another: its length stands before it, and is known only afterwards. One byte
 * is left for it, and if it needs more, what was written moves on. Returns where the message
 * begins. */
static inline size_t open_part(struct sink *sink, size_t number)
{
    uint8_t *to = room(sink, VARINT_BYTES_MAX + 1);

    if (to != NULL)
        sink->size = (size_t)(write_tag(number, LENGTH, to) + 1 - sink->buffer->bytes);
    return sink->size;
}

static inline void close_part(struct sink *sink, size_t start)
{
    uint8_t length[VARINT_BYTES_MAX], *to;
    size_t size = sink->size - start, digits = (size_t)(write_varint(size, length) - length);

    if (room(sink, digits) == NULL)
        return;
    to = sink->buffer->bytes + start - 1;
    if (digits > 1)
        memmove(to + digits, to + 1, size);
    memcpy(to, length, digits);
    sink->size += digits - 1;
}

static inline void put_NUMBER(struct sink *sink, size_t number, const void *at)
{
    put_number(sink, number, *(const uint32_t *)at);
}

static inline void put_FLAG(struct sink *sink, size_t number, const bool *at)
{
    put_number(sink, number, *at);
}

static inline void put_ID(struct sink *sink, size_t number, const void *at)
{
    put_length(sink, number, at, ID_BYTES);
}

static inline void put_ID_OR_NONE(struct sink *sink, size_t number, const void *at)
{
    static const uint8_t none[ID_BYTES];

    if (memcmp(at, none, ID_BYTES) != 0)
        put_ID(sink, number, at);
}

static inline void put_TEXT(struct sink *sink, size_t number, const char *const *at)
{
    if (*at != NULL && (*at)[0] != '\0')
        put_length(sink, number, *at, strlen(*at));
}

static inline void put_REASON(struct sink *sink, size_t number, const char *const *at)
{
    char clean[ASSENT_REASON_MAX + 1];

    if (*at == NULL || (*at)[0] == '\0')
        return;
    assent_utf8_clean(*at, clean, sizeof(clean));
    put_length(sink, number, clean, strlen(clean));
}

static inline void put_BYTES(struct sink *sink, size_t number, const struct assent_bytes *at)
{
    put_length(sink, number, at->data, at->size);
}

#define PUT(number, form, member)      put_##form(sink, number, &from->member);
#define PUT_PART(number, name, member) put_##name(sink, number, &from->member);
#define PUT_LIST(number, name, list, count)                                                        \
    for (size_t i = 0; i < from->count; i++)                                                       \
        put_##name(sink, number, &from->list[i]);
#define WRITER(name, type, FIELDS)                                                                 \
    static void put_##name(struct sink *sink, size_t field, const type *from)                      \
    {                                                                                              \
        size_t start = open_part(sink, field);                                                     \
                                                                                                   \
        FIELDS(PUT, PUT_PART, PUT_LIST)                                                            \
        close_part(sink, start);                                                                   \
    }

WRITER(peer, struct assent_wire_peer, PEER_FIELDS)
WRITER(work, struct assent_wire_branch_work, WORK_FIELDS)
WRITER(begin, struct assent_wire_begin, BEGIN_FIELDS)
WRITER(run, struct assent_wire, RUN_FIELDS)
WRITER(result, struct assent_wire, RESULT_FIELDS)
WRITER(branch, struct assent_wire, BRANCH_FIELDS)

int codec_direct_write(const struct assent_wire *wire, struct codec_buffer *buffer,
                       size_t *ret_size)
{
    struct sink sink = {buffer, 0, 0};

    put_number(&sink, 1, wire->request);
    if (wire->kind == ASSENT_WIRE_BRANCH)
        put_branch(&sink, ASSENT_WIRE_BRANCH, wire);
    else if (wire->kind == ASSENT_WIRE_RUN)
        put_run(&sink, ASSENT_WIRE_RUN, wire);
    else
        put_result(&sink, ASSENT_WIRE_RESULT, wire);
    *ret_size = sink.size;
    return sink.failed;
}

/* --- clearing --------------------------------------------------------------------------------- */

static inline void clear_NUMBER(void *at)
{
    *(uint32_t *)at = 0;
}

static inline void clear_FLAG(bool *at)
{
    *at = false;
}

static inline void clear_ID(void *at)
{
    memset(at, 0, ID_BYTES);
}

#define clear_ID_OR_NONE clear_ID

static inline void clear_TEXT(const char **at)
{
    *at = "";
}

#define clear_REASON clear_TEXT

static inline void clear_BYTES(struct assent_bytes *at)
{
    *at = (struct assent_bytes){NULL, 0};
}

#define CLEAR(number, form, member)           clear_##form(&to->member);
#define CLEAR_PART(number, name, member)      clear_##name(&to->member);
#define CLEAR_LIST(number, name, list, count) to->count = 0;
#define CLEARER(name, type, FIELDS)                                                                \
    static void clear_##name(type *to)                                                             \
    {                                                                                              \
        FIELDS(CLEAR, CLEAR_PART, CLEAR_LIST)                                                      \
    }

CLEARER(peer, struct assent_wire_peer, PEER_FIELDS)
CLEARER(work, struct assent_wire_branch_work, WORK_FIELDS)
CLEARER(begin, struct assent_wire_begin, BEGIN_FIELDS)
CLEARER(run, struct assent_wire, RUN_FIELDS)
CLEARER(result, struct assent_wire, RESULT_FIELDS)
CLEARER(branch, struct assent_wire, BRANCH_FIELDS)

void assent_wire_clear(struct assent_wire *wire, enum assent_wire_kind kind)
{
    wire->kind = kind;
    wire->request = 0;
    if (kind == ASSENT_WIRE_BRANCH)
        clear_branch(wire);
    else if (kind == ASSENT_WIRE_RUN)
        clear_run(wire);
    else if (kind == ASSENT_WIRE_RESULT)
        clear_result(wire);
    else
        memset(&wire->u, 0, sizeof(wire->u));
}

/* --- reading ---------------------------------------------------------------------------------- */

struct source {
    const uint8_t *at, *end;
    ProtobufCAllocator *memory;
};

static bool take_long_varint(struct source *source, uint64_t *ret_value)
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

static inline bool take_varint(struct source *source, uint64_t *ret_value)
{
    if (source->at == source->end || *source->at > 0x7f)
        return take_long_varint(source, ret_value);
    *ret_value = *source->at++;
    return true;
}

/* A field whose tag has been read. */
struct item {
    size_t number;
    enum wire_type type;
    bool again; /* so was the one before it */
    uint64_t value;
    struct source content; /* LENGTH */
};

/* The next one, which must come in order. */
static inline bool take_item(struct source *source, struct item *item)
{
    size_t before = item->number;
    uint64_t tag;

    if (!take_varint(source, &tag) || !take_varint(source, &item->value))
        return false;
    item->number = tag >> 3;
    item->type = (enum wire_type)(tag & 7);
    item->again = item->number == before;
    if (item->number < before || (item->type != VARINT && item->type != LENGTH))
        return false;
    if (item->type == VARINT)
        return true;
    if (item->value > (size_t)(source->end - source->at))
        return false;
    item->content = *source;
    source->at += item->value;
    item->content.end = source->at;
    return true;
}

static inline bool is_number(const struct item *item, uint64_t most)
{
    return item->type == VARINT && !item->again && item->value <= most;
}

/* What is empty would not have been written. */
static inline bool is_length(const struct item *item)
{
    return item->type == LENGTH && !item->again && item->value > 0;
}

/* A copy that outlives the frame, with a NUL behind it; NULL: no memory. */
static const void *copy(const struct item *item)
{
    ProtobufCAllocator *memory = item->content.memory;
    uint8_t *bytes = memory->alloc(memory->allocator_data, item->value + 1);

    if (bytes == NULL)
        return NULL;
    memcpy(bytes, item->content.at, item->value);
    bytes[item->value] = '\0';
    return bytes;
}

static inline bool take_NUMBER(const struct item *item, void *at)
{
    *(uint32_t *)at = (uint32_t)item->value;
    return is_number(item, UINT32_MAX);
}

static inline bool take_FLAG(const struct item *item, bool *at)
{
    *at = item->value != 0;
    return is_number(item, 1);
}

static inline bool take_ID(const struct item *item, void *at)
{
    if (!is_length(item) || item->value != ID_BYTES)
        return false;
    memcpy(at, item->content.at, ID_BYTES);
    return true;
}

#define take_ID_OR_NONE take_ID

static bool take_TEXT(const struct item *item, const char **at)
{
    return is_length(item) && memchr(item->content.at, '\0', item->value) == NULL &&
           (*at = copy(item)) != NULL;
}

#define take_REASON take_TEXT

static bool take_BYTES(const struct item *item, struct assent_bytes *at)
{
    if (!is_length(item))
        return false;
    *at = (struct assent_bytes){copy(item), item->value};
    return at->data != NULL;
}

#define TAKE(number, form, member)                                                                 \
    case number:                                                                                   \
        if (!take_##form(&item, &to->member))                                                      \
            return false;                                                                          \
        break;
#define TAKE_PART(number, name, member)                                                            \
    case number:                                                                                   \
        if (item.type != LENGTH || item.again || !take_##name(item.content, &to->member))          \
            return false;                                                                          \
        break;
#define TAKE_LIST(number, name, list, count)                                                       \
    case number:                                                                                   \
        if (item.type != LENGTH || to->count == sizeof(to->list) / sizeof(to->list[0]))            \
            return false;                                                                          \
        clear_##name(&to->list[to->count]);                                                        \
        if (!take_##name(item.content, &to->list[to->count++]))                                    \
            return false;                                                                          \
        break;
#define READER(name, type, FIELDS)                                                                 \
    static bool take_##name(struct source source, type *to)                                        \
    {                                                                                              \
        struct item item = {.number = 0};                                                          \
                                                                                                   \
        while (source.at < source.end) {                                                           \
            if (!take_item(&source, &item))                                                        \
                return false;                                                                      \
            switch (item.number) {                                                                 \
                FIELDS(TAKE, TAKE_PART, TAKE_LIST)                                                 \
            default:                                                                               \
                return false;                                                                      \
            }                                                                                      \
        }                                                                                          \
        return true;                                                                               \
    }

READER(peer, struct assent_wire_peer, PEER_FIELDS)
READER(work, struct assent_wire_branch_work, WORK_FIELDS)
READER(begin, struct assent_wire_begin, BEGIN_FIELDS)
READER(run, struct assent_wire, RUN_FIELDS)
READER(result, struct assent_wire, RESULT_FIELDS)
READER(branch, struct assent_wire, BRANCH_FIELDS)

/* The ID that must be there, and never is all zeros. */
static bool has_id(const struct assent_gtrid *gtrid)
{
    static const struct assent_gtrid none;

    return memcmp(gtrid, &none, sizeof(none)) != 0;
}

bool codec_direct_read(const void *data, size_t size, struct assent_arena *arena,
                       struct assent_wire *ret_wire)
{
    struct source source = {data, (const uint8_t *)data + size, assent_arena_allocator(arena)};
    struct item item = {.number = 0};
    uint64_t request = 0;

    if (!take_item(&source, &item))
        return false;
    if (item.number == 1) {
        request = item.value;
        if (item.type != VARINT || !take_item(&source, &item))
            return false;
    }
    if (item.type != LENGTH || source.at != source.end || item.number >= ASSENT_WIRE_END_OF_KINDS ||
        !codec_direct_writes((enum assent_wire_kind)item.number))
        return false;
    assent_wire_clear(ret_wire, (enum assent_wire_kind)item.number);
    ret_wire->request = request;
    if (ret_wire->kind == ASSENT_WIRE_RUN)
        return take_run(item.content, ret_wire);
    if (ret_wire->kind == ASSENT_WIRE_RESULT)
        return take_result(item.content, ret_wire) && has_id(&ret_wire->u.result.gtrid);
    return take_branch(item.content, ret_wire) && has_id(&ret_wire->u.branch.message.gtrid);
}
