/* address_book.c: the other participants' addresses, in memory and in the log: address_book.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "bytes.h"

#define VERSION     1
#define KEY_BYTES   4
#define VALUE_BYTES (1 + 2 * (1 + ASSENT_NAME_MAX) + 1 + ASSENT_ADDRESS_MAX)

/* Transactions name their participants in one order as a rule, so the row after the one that was
 * found last is tried first: that touches a third of the memory that the table does. */
static struct agent_address *find(struct agent_address_book *book, const char *full)
{
    struct agent_address *row = book->last < book->count ? book->by_number[book->last] : NULL;

    if (!row || strcmp(row->full, full) != 0)
        HASH_FIND_STR(book->by_full, full, row);
    if (row)
        book->last = row->number;
    return row;
}

static bool reserve(struct agent_address_book *book, uint32_t number)
{
    uint32_t capacity = book->capacity ? book->capacity : 16;
    struct agent_address **grown;

    if (number <= book->capacity)
        return true;
    while (capacity < number)
        capacity *= 2;
    grown = realloc(book->by_number, capacity * sizeof(struct agent_address *));
    if (!grown)
        return false;
    memset(grown + book->capacity, 0, (capacity - book->capacity) * sizeof(struct agent_address *));
    book->by_number = grown;
    book->capacity = capacity;
    return true;
}

static struct agent_address *add(struct agent_address_book *book, uint32_t number, const char *full)
{
    const char *slash = strchrnul(full, '/');
    struct agent_address *row;

    if (number > AGENT_ADDRESSES_MAX || !reserve(book, number))
        return NULL;
    row = calloc(1, sizeof(*row));
    if (!row)
        return NULL;
    row->number = number;
    snprintf(row->full, sizeof(row->full), "%s", full);
    snprintf(row->name, sizeof(row->name), "%.*s", (int)(slash - full), full);
    snprintf(row->resource, sizeof(row->resource), "%s", *slash ? slash + 1 : "");
    book->by_number[number - 1] = row;
    if (number > book->count)
        book->count = number;
    HASH_ADD_STR(book->by_full, full, row);
    return row;
}

static void put(struct assent_participant *agent, const struct agent_address *row)
{
    uint8_t key[KEY_BYTES], value[VALUE_BYTES];
    struct assent_writer keys, values;
    struct assent_put put = {.table = ASSENT_TABLE_PARTICIPANT,
                             .flags = ASSENT_PUT_LAZY,
                             .key = key,
                             .key_size = sizeof(key),
                             .value = value};
    int error;

    assent_writer_init(&keys, key, sizeof(key));
    assent_write_u32(&keys, row->number);
    assent_writer_init(&values, value, sizeof(value));
    assent_write_u8(&values, VERSION);
    assent_write_text(&values, row->name);
    assent_write_text(&values, row->resource);
    assent_write_text(&values, row->address);
    ASSENT_ASSERT(!keys.failed && !values.failed);
    put.value_size = values.size;
    error = assent_store_put(agent->store, &put);
    if (error)
        assent_panic(ASSENT_EXIT_RUNTIME, "log_failed", "error=%s",
                     assent_log_quote(assent_error_text(error)));
}

/* Whether the row says something new. Who spoke last is believed: a wrong address is noticed by the
 * name in its hello. */
static bool update(struct agent_address *row, const char *address)
{
    if (!address[0] || strcmp(row->address, address) == 0)
        return false;
    snprintf(row->address, sizeof(row->address), "%s", address);
    return true;
}

const struct agent_address *agent_address_book_learn(struct assent_participant *agent,
                                                     const struct assent_wire_peer *peer)
{
    struct agent_address_book *book = &agent->address_book;
    struct agent_address *row = find(book, peer->participant);
    bool fresh = !row;

    if (fresh)
        row = add(book, book->count + 1, peer->participant);
    if (row && (update(row, peer->address) || fresh))
        put(agent, row);
    return row;
}

void agent_address_book_moved(struct assent_participant *agent,
                              const struct assent_wire_hello *hello)
{
    for (size_t i = 0; i < hello->resource_count; i++) {
        char full[2 * ASSENT_NAME_MAX + 2];
        struct agent_address *row;

        snprintf(full, sizeof(full), "%s/%s", hello->name, hello->resources[i].name);
        row = find(&agent->address_book, full);
        if (row && update(row, hello->address))
            put(agent, row);
    }
}

const struct agent_address *agent_address_book_get(const struct agent_address_book *book,
                                                   uint32_t number)
{
    return number > 0 && number <= book->count ? book->by_number[number - 1] : NULL;
}

/* ---- at start ---- */

struct load {
    struct assent_participant *agent;
    int error;
};

static int decode(const void *value, size_t size, struct agent_address *ret_row)
{
    struct assent_reader reader;
    unsigned version;

    assent_reader_init(&reader, value, size);
    version = assent_read_u8(&reader);
    if (version > VERSION)
        return ASSENT_E_VERSION;
    assent_read_text(&reader, ret_row->name, sizeof(ret_row->name));
    assent_read_text(&reader, ret_row->resource, sizeof(ret_row->resource));
    assent_read_text(&reader, ret_row->address, sizeof(ret_row->address));
    if (version != VERSION || reader.failed)
        return ASSENT_E_CORRUPT;
    snprintf(ret_row->full, sizeof(ret_row->full), "%s/%s", ret_row->name, ret_row->resource);
    return 0;
}

static bool load_one(const void *key, size_t key_size, const void *value, size_t value_size,
                     int status, void *context)
{
    struct load *load = context;
    struct agent_address found = {0}, *row;
    struct assent_reader reader;
    uint32_t number;

    assent_reader_init(&reader, key, key_size);
    number = assent_read_u32(&reader);
    if (status == 0)
        status = decode(value, value_size, &found);
    if (status == 0 && (key_size != KEY_BYTES || number == 0 || number > AGENT_ADDRESSES_MAX))
        status = ASSENT_E_CORRUPT;
    if (status) {
        assent_log(ASSENT_LOG_ERROR, "record_damaged", "address=%u error=%s", number,
                   assent_log_quote(assent_error_text(status)));
        /* Its number may be in a branch's record, so nobody else gets it. */
        if (key_size == KEY_BYTES && number > load->agent->address_book.count &&
            number <= AGENT_ADDRESSES_MAX && reserve(&load->agent->address_book, number))
            load->agent->address_book.count = number;
        return true;
    }
    row = add(&load->agent->address_book, number, found.full);
    if (!row) {
        load->error = ASSENT_E_NOMEM;
        return false;
    }
    snprintf(row->address, sizeof(row->address), "%s", found.address);
    return true;
}

int agent_address_book_load(struct assent_participant *agent, char *error, size_t error_size)
{
    struct load load = {.agent = agent};
    int result =
        assent_store_scan(agent->store, ASSENT_TABLE_PARTICIPANT, NULL, 0, 0, load_one, &load);

    if (result == 0)
        result = load.error;
    if (result)
        snprintf(error, error_size, "cannot read the addresses of other participants: %s",
                 assent_error_text(result));
    return result;
}

void agent_address_book_fini(struct agent_address_book *book)
{
    HASH_CLEAR(hh, book->by_full);
    for (uint32_t i = 0; i < book->count; i++)
        free(book->by_number[i]);
    free(book->by_number);
    *book = (struct agent_address_book){0};
}
