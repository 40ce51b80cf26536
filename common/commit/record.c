/* record.c: durable records as bytes, see record.h. Layouts: docs/log-format.md. */
#include "record.h"

#include "bytes.h"

static bool in_range(unsigned value, unsigned last)
{
    return value <= last;
}

static int finish_write(const struct assent_writer *writer, size_t *ret_size)
{
    if (writer->failed)
        return ASSENT_E_TOO_BIG;
    *ret_size = writer->size;
    return 0;
}

int assent_coord_record_encode(const struct assent_coord_record *record, void *buffer,
                               size_t capacity, size_t *ret_size)
{
    const struct assent_coord_record *r = record;
    struct assent_writer w;

    assent_writer_init(&w, buffer, capacity);
    assent_write_u8(&w, (uint8_t)r->decision); /* first: the store's register looks at it */
    assent_write_u8(&w, ASSENT_RECORD_VERSION);
    assent_write_u8(&w, (uint8_t)r->kind);
    assent_write_u8(&w, (uint8_t)r->outcome);
    assent_write_raw(&w, r->gtrid.bytes, sizeof(r->gtrid.bytes));
    assent_write_u8(&w, (uint8_t)r->protocol);
    assent_write_u8(&w, (uint8_t)r->termination);
    assent_write_u8(&w, (uint8_t)r->reason);
    assent_write_u8(&w, (uint8_t)r->reason_branch);
    assent_write_u32(&w, r->last_elected);
    assent_write_u32(&w, r->last_attempt);
    assent_write_u64(&w, r->begun_wall_ms);
    assent_write_u32(&w, r->decided_ms);
    assent_write_u32(&w, r->ended_ms);
    assent_write_u64(&w, r->ended_age_ms);
    assent_write_text(&w, r->key);
    assent_write_text(&w, r->reason_text);
    assent_write_u8(&w, (uint8_t)r->branch_count);
    for (uint32_t i = 0; i < r->branch_count; i++) {
        const struct assent_coord_record_branch *b = &r->branches[i];

        assent_write_u8(&w, (uint8_t)b->number);
        assent_write_u32(&w, b->participant);
        assent_write_u32(&w, b->epoch);
        assent_write_u8(&w, (uint8_t)b->vote);
        assent_write_u8(&w, (uint8_t)b->result);
        assent_write_u32(&w, b->voted_ms);
        assent_write_u32(&w, b->done_ms);
    }
    if (r->acknowledged)
        assent_write_u8(&w, 1);
    return finish_write(&w, ret_size);
}

static bool read_branch(struct assent_reader *r, uint32_t previous,
                        struct assent_coord_record_branch *b)
{
    unsigned vote, result;

    b->number = assent_read_u8(r);
    b->participant = assent_read_u32(r);
    b->epoch = assent_read_u32(r);
    vote = assent_read_u8(r);
    result = assent_read_u8(r);
    b->voted_ms = assent_read_u32(r);
    b->done_ms = assent_read_u32(r);
    b->vote = (enum assent_vote)vote;
    b->result = (enum assent_branch_result)result;
    /* Numbers rise, so each names one branch. */
    return b->number > previous && b->number <= ASSENT_BRANCHES_MAX &&
           in_range(vote, ASSENT_VOTE_READ_ONLY) && in_range(result, ASSENT_RESULT_HAZARD);
}

static bool read_coord_enums(struct assent_reader *in, struct assent_coord_record *r)
{
    unsigned kind = assent_read_u8(in), outcome = assent_read_u8(in), protocol, termination, reason;

    assent_read_raw(in, r->gtrid.bytes, sizeof(r->gtrid.bytes));
    protocol = assent_read_u8(in);
    termination = assent_read_u8(in);
    reason = assent_read_u8(in);
    r->kind = (enum assent_coord_record_kind)kind;
    r->outcome = (enum assent_outcome)outcome;
    r->protocol = (enum assent_protocol)protocol;
    r->termination = (enum assent_termination)termination;
    r->reason = (enum assent_reason)reason;
    return kind >= ASSENT_COORD_RECORD_ONE_PHASE && in_range(kind, ASSENT_COORD_RECORD_PREABORT) &&
           in_range(outcome, ASSENT_OUTCOME_HAZARD) && in_range(protocol, ASSENT_3PC) &&
           in_range(termination, ASSENT_TERMINATION_QUORUM) &&
           in_range(reason, ASSENT_REASON_OPERATOR);
}

int assent_coord_record_decode(const void *data, size_t size,
                               struct assent_coord_record *ret_record)
{
    struct assent_coord_record r = {0};
    struct assent_reader in;
    unsigned decision, version;
    uint32_t previous = 0;

    assent_reader_init(&in, data, size);
    decision = assent_read_u8(&in);
    version = assent_read_u8(&in);
    if (in.failed)
        return ASSENT_E_CORRUPT;
    if (version > ASSENT_RECORD_VERSION)
        return ASSENT_E_VERSION;
    r.decision = (enum assent_decision)decision;
    if (!in_range(decision, ASSENT_DECISION_ABORT) || !read_coord_enums(&in, &r))
        return ASSENT_E_CORRUPT;
    r.reason_branch = assent_read_u8(&in);
    r.last_elected = assent_read_u32(&in);
    r.last_attempt = assent_read_u32(&in);
    r.begun_wall_ms = assent_read_u64(&in);
    r.decided_ms = assent_read_u32(&in);
    r.ended_ms = assent_read_u32(&in);
    r.ended_age_ms = assent_read_u64(&in);
    assent_read_text(&in, r.key, sizeof(r.key));
    assent_read_text(&in, r.reason_text, sizeof(r.reason_text));
    r.branch_count = assent_read_u8(&in);
    if (r.branch_count > ASSENT_BRANCHES_MAX)
        return ASSENT_E_CORRUPT;
    for (uint32_t i = 0; i < r.branch_count; i++) {
        if (!read_branch(&in, previous, &r.branches[i]))
            return ASSENT_E_CORRUPT;
        previous = r.branches[i].number;
    }
    if (!in.failed && in.offset < in.size) {
        r.acknowledged = assent_read_u8(&in) == 1;
        if (!r.acknowledged)
            return ASSENT_E_CORRUPT;
    }
    if (in.failed || in.offset != in.size || r.reason_branch > ASSENT_BRANCHES_MAX)
        return ASSENT_E_CORRUPT;
    *ret_record = r;
    return 0;
}

int assent_part_record_encode(const struct assent_part_record *record, void *buffer,
                              size_t capacity, size_t *ret_size)
{
    const struct assent_part_record *r = record;
    struct assent_writer w;

    assent_writer_init(&w, buffer, capacity);
    assent_write_u8(&w, (uint8_t)r->decision);
    assent_write_u8(&w, ASSENT_RECORD_VERSION);
    assent_write_u8(&w, (uint8_t)r->kind);
    assent_write_raw(&w, r->gtrid.bytes, sizeof(r->gtrid.bytes));
    assent_write_u32(&w, r->branch);
    assent_write_u32(&w, r->incarnation);
    assent_write_u32(&w, r->epoch);
    assent_write_u8(&w, (uint8_t)r->protocol);
    assent_write_u8(&w, (uint8_t)r->termination);
    assent_write_u8(&w, (uint8_t)r->branch_count);
    assent_write_u32(&w, r->timeout_ms);
    assent_write_u8(&w, (uint8_t)r->result);
    assent_write_u8(&w, (uint8_t)r->reason);
    assent_write_u8(&w, r->witness);
    assent_write_u32(&w, r->last_elected);
    assent_write_u32(&w, r->last_attempt);
    assent_write_text(&w, r->resource);
    assent_write_u8(&w, (uint8_t)r->peer_count);
    for (uint32_t i = 0; i < r->peer_count; i++) {
        assent_write_u32(&w, r->peers[i].number);
        assent_write_u32(&w, r->peers[i].epoch);
    }
    return finish_write(&w, ret_size);
}

int assent_part_record_decode(const void *data, size_t size, struct assent_part_record *ret_record)
{
    struct assent_part_record r = {0};
    struct assent_reader in;
    unsigned decision, version, kind, protocol, termination, result, reason, witness;

    assent_reader_init(&in, data, size);
    decision = assent_read_u8(&in);
    version = assent_read_u8(&in);
    if (in.failed)
        return ASSENT_E_CORRUPT;
    if (version > ASSENT_RECORD_VERSION)
        return ASSENT_E_VERSION;
    kind = assent_read_u8(&in);
    assent_read_raw(&in, r.gtrid.bytes, sizeof(r.gtrid.bytes));
    r.branch = assent_read_u32(&in);
    r.incarnation = assent_read_u32(&in);
    r.epoch = assent_read_u32(&in);
    protocol = assent_read_u8(&in);
    termination = assent_read_u8(&in);
    r.branch_count = assent_read_u8(&in);
    r.timeout_ms = assent_read_u32(&in);
    result = assent_read_u8(&in);
    reason = assent_read_u8(&in);
    witness = assent_read_u8(&in);
    r.last_elected = assent_read_u32(&in);
    r.last_attempt = assent_read_u32(&in);
    assent_read_text(&in, r.resource, sizeof(r.resource));
    r.peer_count = assent_read_u8(&in);
    if (r.peer_count > ASSENT_BRANCHES_MAX || r.branch_count > ASSENT_BRANCHES_MAX ||
        r.branch > ASSENT_BRANCHES_MAX)
        return ASSENT_E_CORRUPT;
    for (uint32_t i = 0; i < r.peer_count; i++) {
        r.peers[i].number = assent_read_u32(&in);
        r.peers[i].epoch = assent_read_u32(&in);
    }
    r.witness = witness != 0;
    r.decision = (enum assent_decision)decision;
    r.kind = (enum assent_part_record_kind)kind;
    r.protocol = (enum assent_protocol)protocol;
    r.termination = (enum assent_termination)termination;
    r.result = (enum assent_branch_result)result;
    r.reason = (enum assent_reason)reason;
    if (in.failed || in.offset != in.size || !in_range(decision, ASSENT_DECISION_ABORT) ||
        kind < ASSENT_PART_RECORD_PREPARED || !in_range(kind, ASSENT_PART_RECORD_PREABORTED) ||
        !in_range(protocol, ASSENT_3PC) || !in_range(termination, ASSENT_TERMINATION_QUORUM) ||
        !in_range(result, ASSENT_RESULT_HAZARD) || !in_range(witness, 1) ||
        !in_range(reason, ASSENT_REASON_OPERATOR))
        return ASSENT_E_CORRUPT;
    *ret_record = r;
    return 0;
}

#define X(name, number, text)                                                                      \
    case number:                                                                                   \
        return text;

const char *assent_coord_record_name(int kind)
{
    switch (kind) {
        ASSENT_COORD_RECORDS(X)
    default:
        return "?";
    }
}

const char *assent_part_record_name(int kind)
{
    switch (kind) {
        ASSENT_PART_RECORDS(X)
    default:
        return "?";
    }
}
#undef X
