/* gtrid.c: names of transactions and branches, see gtrid.h and assent/types.h. */
#include "gtrid.h"

#include <string.h>

#include "bytes.h"

/* Crockford's base32: no I, L, O, U, so that it can be read aloud and typed. */
static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

struct assent_gtrid assent_gtrid_make(uint64_t wall_ms, uint16_t coordinator, uint32_t incarnation,
                                      uint64_t sequence)
{
    struct assent_gtrid gtrid;
    struct assent_writer writer;

    assent_writer_init(&writer, gtrid.bytes, sizeof(gtrid.bytes));
    assent_write_u16(&writer, (uint16_t)(wall_ms >> 32));
    assent_write_u32(&writer, (uint32_t)wall_ms);
    assent_write_u16(&writer, coordinator);
    assent_write_u8(&writer, (uint8_t)(incarnation >> 16));
    assent_write_u16(&writer, (uint16_t)incarnation);
    assent_write_u8(&writer, (uint8_t)(sequence >> 32));
    assent_write_u32(&writer, (uint32_t)sequence);
    return gtrid;
}

static uint64_t field(const struct assent_gtrid *gtrid, size_t offset, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value = value << 8 | gtrid->bytes[offset + i];
    return value;
}

uint64_t assent_gtrid_time_ms(const struct assent_gtrid *gtrid)
{
    return field(gtrid, 0, 6);
}

uint16_t assent_gtrid_coordinator(const struct assent_gtrid *gtrid)
{
    return (uint16_t)field(gtrid, 6, 2);
}

uint32_t assent_gtrid_incarnation(const struct assent_gtrid *gtrid)
{
    return (uint32_t)field(gtrid, 8, 3);
}

uint64_t assent_gtrid_sequence(const struct assent_gtrid *gtrid)
{
    return field(gtrid, 11, 5);
}

bool assent_gtrid_equal(const struct assent_gtrid *a, const struct assent_gtrid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

int assent_gtrid_order(const struct assent_gtrid *a, const struct assent_gtrid *b)
{
    /* Incarnation and sequence are the last 8 bytes, big-endian. */
    return memcmp(a->bytes + 8, b->bytes + 8, 8);
}

void assent_gtrid_format(const struct assent_gtrid *gtrid, char text[ASSENT_GTRID_TEXT + 1])
{
    uint64_t high = field(gtrid, 0, 8), low = field(gtrid, 8, 8);

    /* 26 digits of 5 bits hold 130 bits: the first digit carries the top 3 only. */
    for (int i = ASSENT_GTRID_TEXT - 1; i >= 0; i--) {
        text[i] = digits[low & 31];
        low = low >> 5 | high << 59;
        high >>= 5;
    }
    text[ASSENT_GTRID_TEXT] = '\0';
}

static int digit_value(char c)
{
    const char *at;

    if (c >= 'a' && c <= 'z')
        c = (char)(c - 'a' + 'A');
    if (c == '\0')
        return -1;
    at = strchr(digits, c);
    return at == NULL ? -1 : (int)(at - digits);
}

int assent_gtrid_parse(const char *text, struct assent_gtrid *ret_gtrid)
{
    uint64_t high = 0, low = 0;
    struct assent_writer writer;
    struct assent_gtrid gtrid;

    for (int i = 0; i < ASSENT_GTRID_TEXT; i++) {
        int value = digit_value(text[i]);

        if (value < 0 || (i == 0 && value > 7))
            return ASSENT_E_INVALID;
        high = high << 5 | low >> 59;
        low = low << 5 | (uint64_t)value;
    }
    if (text[ASSENT_GTRID_TEXT] != '\0')
        return ASSENT_E_INVALID;
    assent_writer_init(&writer, gtrid.bytes, sizeof(gtrid.bytes));
    assent_write_u64(&writer, high);
    assent_write_u64(&writer, low);
    *ret_gtrid = gtrid;
    return 0;
}

void assent_branch_id_encode(const struct assent_branch_id *id,
                             uint8_t bytes[ASSENT_BRANCH_ID_BYTES])
{
    struct assent_writer writer;

    assent_writer_init(&writer, bytes, ASSENT_BRANCH_ID_BYTES);
    assent_write_raw(&writer, id->log_id, sizeof(id->log_id));
    assent_write_raw(&writer, id->gtrid.bytes, sizeof(id->gtrid.bytes));
    assent_write_u32(&writer, id->branch);
}

void assent_branch_id_decode(const uint8_t bytes[ASSENT_BRANCH_ID_BYTES],
                             struct assent_branch_id *ret_id)
{
    struct assent_reader reader;

    assent_reader_init(&reader, bytes, ASSENT_BRANCH_ID_BYTES);
    assent_read_raw(&reader, ret_id->log_id, sizeof(ret_id->log_id));
    assent_read_raw(&reader, ret_id->gtrid.bytes, sizeof(ret_id->gtrid.bytes));
    ret_id->branch = assent_read_u32(&reader);
}

#define NAME_PREFIX "assent:"
#define LOG_AT      (sizeof(NAME_PREFIX) - 1)
#define GTRID_AT    (LOG_AT + 2 * ASSENT_LOG_ID_BYTES + 1)
#define NUMBER_AT   (GTRID_AT + ASSENT_GTRID_TEXT + 1)

static const char hex[] = "0123456789abcdef";

void assent_branch_id_format(const struct assent_branch_id *id,
                             char text[ASSENT_BRANCH_ID_TEXT + 1])
{
    char *end = text + NUMBER_AT;
    uint32_t unit = 1;

    memcpy(text, NAME_PREFIX, LOG_AT);
    for (size_t i = 0; i < ASSENT_LOG_ID_BYTES; i++) {
        text[LOG_AT + 2 * i] = hex[id->log_id[i] >> 4];
        text[LOG_AT + 2 * i + 1] = hex[id->log_id[i] & 15];
    }
    text[GTRID_AT - 1] = ':';
    assent_gtrid_format(&id->gtrid, text + GTRID_AT);
    text[NUMBER_AT - 1] = ':';
    while (id->branch / unit >= 10)
        unit *= 10;
    for (; unit > 0; unit /= 10)
        *end++ = digits[id->branch / unit % 10];
    *end = '\0';
}

static uint8_t hex_value(char c)
{
    const char *at = c == '\0' ? NULL : strchr(hex, c);

    return at == NULL ? 0 : (uint8_t)(at - hex);
}

int assent_branch_id_parse(const char *text, struct assent_branch_id *ret_id)
{
    char gtrid[ASSENT_GTRID_TEXT + 1], same[ASSENT_BRANCH_ID_TEXT + 1];
    struct assent_branch_id id = {.branch = 0};
    size_t size = strnlen(text, ASSENT_BRANCH_ID_TEXT + 1);

    if (size <= NUMBER_AT || size > ASSENT_BRANCH_ID_TEXT)
        return ASSENT_E_INVALID;
    for (size_t i = 0; i < ASSENT_LOG_ID_BYTES; i++)
        id.log_id[i] =
            (uint8_t)(hex_value(text[LOG_AT + 2 * i]) << 4 | hex_value(text[LOG_AT + 2 * i + 1]));
    memcpy(gtrid, text + GTRID_AT, ASSENT_GTRID_TEXT);
    gtrid[ASSENT_GTRID_TEXT] = '\0';
    if (assent_gtrid_parse(gtrid, &id.gtrid) != 0)
        return ASSENT_E_INVALID;
    for (const char *c = text + NUMBER_AT; *c >= '0' && *c <= '9'; c++)
        id.branch = 10 * id.branch + (uint32_t)(*c - '0');
    /* Only what would be written in exactly this way counts, so nothing else was checked. */
    assent_branch_id_format(&id, same);
    if (strcmp(text, same) != 0)
        return ASSENT_E_INVALID;
    *ret_id = id;
    return 0;
}
