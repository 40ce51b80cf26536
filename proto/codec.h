/*
 * codec.h: the one place between bytes on the wire and plain structs. No generated protobuf type is
 * seen outside. Decoding allocates from a bounded arena only and validates everything: enums in
 * range, strings UTF-8 without NUL and within their limits, ids of the right length.
 */
#ifndef ASSENT_CODEC_H
#define ASSENT_CODEC_H

#include "assent/types.h"
#include "message.h"

#define ASSENT_WIRE_VERSION  1
#define ASSENT_RESOURCES_MAX 16
#define ASSENT_ADDRESS_MAX   255
#define ASSENT_COMMAND_MAX   4096 /* inspect's argument, resource_query's command */
#define ASSENT_PHASE_MAX     31
/* Besides the frame's own size, what the arena needs at most for any valid message. */
#define ASSENT_ARENA_EXTRA (64u << 10)

/* The tags of assent.v1.Envelope's body. */
#define ASSENT_WIRES(X)                                                                            \
    X(HELLO, 2, "hello")                                                                           \
    X(REFUSAL, 3, "refusal")                                                                       \
    X(PING, 4, "ping")                                                                             \
    X(BEGIN, 5, "begin")                                                                           \
    X(BEGIN_REPLY, 6, "begin_reply")                                                               \
    X(ENLIST, 7, "enlist")                                                                         \
    X(ENLIST_REPLY, 8, "enlist_reply")                                                             \
    X(WORK, 9, "work")                                                                             \
    X(WORK_REPLY, 10, "work_reply")                                                                \
    X(END, 11, "end")                                                                              \
    X(RUN, 12, "run")                                                                              \
    X(STATUS, 13, "status")                                                                        \
    X(RESULT, 14, "result")                                                                        \
    X(INSPECT, 15, "inspect")                                                                      \
    X(INSPECTION, 16, "inspection")                                                                \
    X(BRANCH, 17, "branch")                                                                        \
    X(RESOURCE_QUERY, 18, "resource_query")                                                        \
    X(OPERATE, 19, "operate")

enum assent_wire_kind {
#define X(name, number, text) ASSENT_WIRE_##name = (number),
    ASSENT_WIRES(X)
#undef X
        ASSENT_WIRE_END_OF_KINDS
};

enum assent_role { ASSENT_ROLE_COORDINATOR = 1, ASSENT_ROLE_PARTICIPANT, ASSENT_ROLE_APPLICATION };

enum assent_query_kind {
    ASSENT_QUERY_READ,
    ASSENT_QUERY_LIST,
    ASSENT_QUERY_SCAN,
    ASSENT_QUERY_TEST,
    ASSENT_QUERY_MARKERS,
};

struct assent_bytes {
    const void *data;
    size_t size;
};

struct assent_wire_resource {
    const char *name, *type;
    uint32_t capabilities;
};

/* Strings are never NULL after decoding; when encoding NULL stands for "". */
struct assent_wire_hello {
    uint32_t version_min, version_max;
    enum assent_role role;
    const char *name, *cluster, *address, *software;
    bool has_log_id;
    uint8_t log_id[ASSENT_LOG_ID_BYTES];
    uint32_t coordinator;
    uint32_t incarnation, accepted;
    uint64_t position, life;
    struct assent_wire_resource resources[ASSENT_RESOURCES_MAX];
    size_t resource_count;
};

/* A resource that takes no new branches, and why. */
struct assent_wire_away {
    const char *resource, *reason;
};

struct assent_wire_begin {
    enum assent_protocol protocol;
    enum assent_termination termination;
    uint32_t timeout_ms;
    const char *key, *traceparent;
    bool detached;
};

struct assent_wire_branch_work {
    const char *participant;
    struct assent_bytes work;
};

struct assent_wire_peer {
    const char *participant, *address;
    uint32_t epoch;
};

struct assent_wire {
    enum assent_wire_kind kind;
    uint64_t request;
    union {
        struct assent_wire_hello hello;
        struct {
            int error;
            const char *text;
            uint32_t retry_after_ms;
        } refusal;
        struct {
            bool has_ended_below;
            struct assent_gtrid ended_below;
            struct assent_wire_away away[ASSENT_RESOURCES_MAX];
            size_t away_count;
            uint64_t position;
            uint32_t accepted;
            bool holds;
        } ping;
        struct assent_wire_begin begin;
        struct {
            struct assent_gtrid gtrid;
            uint32_t timeout_ms;
        } begin_reply;
        struct {
            struct assent_gtrid gtrid;
            const char *participant;
        } enlist;
        struct {
            uint32_t branch;
            uint8_t log_id[ASSENT_LOG_ID_BYTES];
        } enlist_reply;
        struct {
            struct assent_gtrid gtrid;
            const char *participant;
            struct assent_bytes work;
        } work;
        struct {
            uint32_t branch;
            struct assent_bytes reply;
        } work_reply;
        struct {
            struct assent_gtrid gtrid;
            bool commit, wait;
        } end;
        struct {
            struct assent_wire_begin begin;
            struct assent_wire_branch_work branches[ASSENT_BRANCHES_MAX];
            size_t branch_count;
            bool wait;
        } run;
        struct {
            bool has_gtrid;
            struct assent_gtrid gtrid;
            const char *key;
            bool wait;
        } status;
        struct {
            struct assent_gtrid gtrid;
            enum assent_outcome outcome;
            const char *reason, *phase;
            bool ended;
        } result;
        struct {
            const char *what, *argument, *participant;
            uint32_t limit;
        } inspect;
        struct {
            struct assent_bytes json;
        } inspection;
        struct {
            struct assent_message message;
            uint8_t log_id[ASSENT_LOG_ID_BYTES];
            const char *reason_text, *resource, *traceparent;
            struct assent_bytes work;
            struct assent_wire_peer peers[ASSENT_BRANCHES_MAX];
            size_t peer_count;
        } branch;
        struct {
            const char *resource, *command;
            enum assent_query_kind kind;
        } resource_query;
        struct {
            enum assent_action action;
            bool has_gtrid;
            struct assent_gtrid gtrid;
            const char *who, *reason;
            bool force;
        } operate;
    } u;
};

/* Makes it an empty message of this kind with request 0, for who fills it. Of the hot kinds (run,
 * result, branch) only what they have is touched, and no list beyond its count. */
void assent_wire_clear(struct assent_wire *wire, enum assent_wire_kind kind);

/* Bounded memory for one decoded message; reused from message to message. bytes_max: the largest
 * frame and ASSENT_ARENA_EXTRA. 0, ASSENT_E_INVALID (0 bytes), ASSENT_E_NOMEM. */
struct assent_arena;
ASSENT_CHECKED int assent_arena_new(size_t bytes_max, struct assent_arena **ret_arena);
void assent_arena_free(struct assent_arena *arena);

/* Decodes one frame's bytes. Pointers in ret_wire live in the arena (and nowhere in data) until its
 * next use. 0; ASSENT_E_PROTOCOL with the field named in error; ASSENT_E_TOO_BIG (arena). After an
 * error ret_wire holds nothing of use (it is filled in place, because it is large). An absent
 * branch.log_id is all zeros. */
ASSENT_CHECKED int assent_wire_decode(const void *data, size_t size, struct assent_arena *arena,
                                      struct assent_wire *ret_wire, char *error, size_t error_size);
/* Encodes into buffer, growing it (realloc; *capacity kept) as needed; the caller frees it once.
 * A reason or refusal text is made to fit: cut at ASSENT_REASON_MAX, '?' for what is not UTF-8,
 * because a vote must not fail to leave over the wording of a database.
 * 0, ASSENT_E_NOMEM, ASSENT_E_INVALID (a value that decode would refuse), ASSENT_E_TOO_BIG. */
ASSENT_CHECKED int assent_wire_encode(const struct assent_wire *wire, uint8_t **buffer,
                                      size_t *capacity, size_t *ret_size);
/* Says what encode would refuse: 0, or ASSENT_E_INVALID with the field named in error. */
ASSENT_CHECKED int assent_wire_check(const struct assent_wire *wire, char *error,
                                     size_t error_size);
const char *assent_wire_name(int kind);

#endif
