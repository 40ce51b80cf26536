/* participants.c: the registry of participants and its table in the log. */
#include "participants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "participant_record.h"
#include "server.h"

static struct participant *find_full(const struct server *server, const char *full)
{
    struct participant *p;

    HASH_FIND_STR(server->participants.by_full, full, p);
    return p;
}

/* The first resource of that name, whose namesakes are the others: there may be thousands of names,
 * and every transaction and every connection asks for some. */
static struct participant *first_of(const struct server *server, const char *name)
{
    struct participant *p;

    HASH_FIND(hh_of_name, server->participants.by_name, name, strlen(name), p);
    return p;
}

struct participant *participants_get(const struct server *server, uint32_t number)
{
    if (number == 0 || number > server->participants.count)
        return NULL;
    return server->participants.by_number[number - 1];
}

const char *participants_name(const struct server *server, uint32_t number)
{
    const struct participant *p = participants_get(server, number);

    return p == NULL ? "?" : p->full;
}

struct session *participants_session(const struct participant *p, const struct shard *shard)
{
    return p->session->faces[shard->index];
}

bool participant_is_up(const struct participant *p)
{
    return p->session != NULL && p->session->state == SESSION_UP;
}

const char *participant_state(const struct participant *p)
{
    return !participant_is_up(p) ? "down" : p->away[0] != '\0' ? "away" : p->holds ? "holds" : "up";
}

const struct participant *participants_of_branch(const struct server *server,
                                                 const struct session *session,
                                                 const struct assent_coord_record *record,
                                                 uint32_t branch, const char *resource)
{
    const struct participant *found = NULL;

    for (uint32_t i = 0; record != NULL && i < record->branch_count; i++)
        if (record->branches[i].number == branch) {
            found = participants_get(server, record->branches[i].participant);
            return found != NULL && found->session == session->home ? found : NULL;
        }
    for (const struct participant *p = first_of(server, session->name); p; p = p->namesake)
        if (p->session == session->home && strcmp(p->resource, resource) == 0)
            found = p;
    return found;
}

/* A participant with the next number. */
static struct participant *add(struct server *server, const char *name, const char *resource)
{
    struct participants *all = &server->participants;
    struct participant *p, *last = first_of(server, name);

    if (all->count == all->capacity) {
        uint32_t capacity = all->capacity == 0 ? 16 : all->capacity * 2;
        struct participant **grown =
            realloc(all->by_number, capacity * sizeof(struct participant *));

        if (grown == NULL)
            return NULL;
        all->by_number = grown;
        all->capacity = capacity;
    }
    p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    snprintf(p->name, sizeof(p->name), "%s", name);
    snprintf(p->resource, sizeof(p->resource), "%s", resource);
    snprintf(p->full, sizeof(p->full), "%s/%s", p->name, p->resource);
    p->since_wall_ms = assent_wall_ms();
    all->by_number[all->count++] = p;
    p->number = all->count;
    HASH_ADD_STR(all->by_full, full, p);
    while (last != NULL && last->namesake != NULL)
        last = last->namesake;
    if (last != NULL)
        last->namesake = p;
    else
        HASH_ADD_KEYPTR(hh_of_name, all->by_name, p->name, strlen(p->name), p);
    return p;
}

void participants_fini(struct participants *all)
{
    HASH_CLEAR(hh, all->by_full);
    HASH_CLEAR(hh_of_name, all->by_name);
    for (uint32_t i = 0; i < all->count; i++)
        free(all->by_number[i]);
    free(all->by_number);
    *all = (struct participants){0};
}

struct load {
    struct server *server;
    int error;
    uint32_t number;
};

/* Numbers are handed out from 1 without a gap and never removed, so the table reads back in order;
 * a damaged row would give its number's branches to somebody else, so nothing starts on one. */
static bool load_one(const void *key, size_t key_size, const void *value, size_t value_size,
                     int status, void *context)
{
    struct load *load = context;
    struct participant_record record;
    struct participant *p;

    load->number++;
    load->error = status;
    if (load->error == 0)
        load->error = participant_record_decode(key, key_size, value, value_size, &record);
    if (load->error == 0 && record.number != load->number)
        load->error = ASSENT_E_CORRUPT;
    if (load->error != 0)
        return false;
    p = add(load->server, record.name, record.resource);
    if (p == NULL) {
        load->error = ASSENT_E_NOMEM;
        return false;
    }
    snprintf(p->type, sizeof(p->type), "%s", record.type);
    p->durable = true;
    return true;
}

int participants_load(struct server *server, char *error, size_t error_size)
{
    struct load load = {.server = server};
    int r = assent_store_scan(server->store, ASSENT_TABLE_PARTICIPANT, NULL, 0, 0, load_one, &load);

    if (r == 0)
        r = load.error;
    if (r != 0)
        snprintf(error, error_size, "cannot read the table of participants, row %u: %s",
                 load.number, assent_error_text(r));
    return r;
}

static void put(struct server *server, const struct participant *p)
{
    struct participant_record record = {.number = p->number};
    uint8_t key[PARTICIPANT_KEY_BYTES], value[PARTICIPANT_RECORD_BYTES_MAX];
    struct assent_put put = {
        .consumer = p->session->shard->index,
        .table = ASSENT_TABLE_PARTICIPANT,
        .key = key,
        .key_size = sizeof(key),
        .value = value,
        .token = p->number,
        .token2 = TOKEN_PARTICIPANT,
    };
    int r;

    snprintf(record.name, sizeof(record.name), "%s", p->name);
    snprintf(record.resource, sizeof(record.resource), "%s", p->resource);
    snprintf(record.type, sizeof(record.type), "%s", p->type);
    put.value_size = participant_record_encode(&record, key, value);
    r = assent_store_put(server->store, &put);
    if (r != 0)
        assent_panic(ASSENT_EXIT_RUNTIME, "log_put_failed", "what=participant error=%s",
                     assent_error_name(r));
}

/* The codec has checked the names themselves. */
static int check_resources(const struct assent_wire_hello *hello, char *error, size_t error_size)
{
    if (hello->resource_count == 0) {
        snprintf(error, error_size, "participant %s has no resource", hello->name);
        return ASSENT_E_INVALID;
    }
    for (size_t i = 0; i < hello->resource_count; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(hello->resources[i].name, hello->resources[k].name) == 0) {
                snprintf(error, error_size, "resource %s of %s is named twice",
                         hello->resources[i].name, hello->name);
                return ASSENT_E_INVALID;
            }
    return 0;
}

/* Whether the newcomer may have the name: not below an incarnation that was here, and not beside
 * a living connection of its own. A later one of the same log proves that the earlier process is
 * gone, because both cannot have had the same store open; of a log made anew nothing can be told by
 * its number. */
static int check_free(struct server *server, const struct assent_wire_hello *hello, char *error,
                      size_t error_size)
{
    uint64_t silent_ms = 2 * server->options.heartbeat_ms;

    for (const struct participant *p = first_of(server, hello->name); p; p = p->namesake) {
        bool same_log = !p->has_log_id || !hello->has_log_id ||
                        memcmp(p->log_id, hello->log_id, sizeof(p->log_id)) == 0;

        if (same_log && hello->incarnation < p->epoch) {
            snprintf(error, error_size,
                     "incarnation %u of %s is older than %u, which was here already",
                     hello->incarnation, hello->name, p->epoch);
            return ASSENT_E_STALE;
        }
        if ((!same_log || hello->incarnation == p->epoch) && p->session != NULL &&
            assent_conn_silent_ms(p->session->conn) < silent_ms) {
            snprintf(error, error_size, "name %s is in use by a living connection from %s",
                     hello->name, assent_conn_peer(p->session->conn));
            return ASSENT_E_STATE;
        }
    }
    return 0;
}

/* Ends the silent or earlier connection that had this name before. */
static void displace(struct server *server, const char *name)
{
    for (struct participant *p = first_of(server, name); p; p = p->namesake)
        if (p->session != NULL)
            session_close(p->session, ASSENT_E_STALE, "replaced by a new connection of that name");
}

static uint32_t count_new(const struct server *server, const struct assent_wire_hello *hello)
{
    uint32_t n = 0;

    for (size_t i = 0; i < hello->resource_count; i++) {
        char full[PARTICIPANT_FULL_MAX + 1];

        snprintf(full, sizeof(full), "%s/%s", hello->name, hello->resources[i].name);
        n += find_full(server, full) == NULL;
    }
    return n;
}

static int check_room(struct server *server, const struct assent_wire_hello *hello, char *error,
                      size_t error_size)
{
    uint32_t new_count = count_new(server, hello);

    if (server->participants.count + new_count > server->options.participants_max) {
        snprintf(error, error_size, "participants_max (%llu) is reached",
                 (unsigned long long)server->options.participants_max);
        return ASSENT_E_LIMIT;
    }
    if (new_count > 0 && !assent_store_has_room(server->store)) {
        snprintf(error, error_size, "the log has no room for a new participant");
        return ASSENT_E_FULL;
    }
    return 0;
}

int participants_register(struct server *server, struct session *session,
                          const struct assent_wire_hello *hello, char *error, size_t error_size)
{
    int r = check_resources(hello, error, error_size);

    server_assert_held(server);
    if (r == 0)
        r = check_free(server, hello, error, error_size);
    if (r == 0)
        r = check_room(server, hello, error, error_size);
    if (r != 0)
        return r;
    displace(server, hello->name);
    for (size_t i = 0; i < hello->resource_count; i++) {
        const struct assent_wire_resource *resource = &hello->resources[i];
        char full[PARTICIPANT_FULL_MAX + 1];
        struct participant *p;
        bool fresh;

        snprintf(full, sizeof(full), "%s/%s", hello->name, resource->name);
        p = find_full(server, full);
        fresh = p == NULL;
        if (fresh)
            p = add(server, hello->name, resource->name);
        if (p == NULL) {
            participants_down(server, session);
            snprintf(error, error_size, "out of memory");
            return ASSENT_E_NOMEM;
        }
        snprintf(p->type, sizeof(p->type), "%s", resource->type);
        snprintf(p->address, sizeof(p->address), "%s", hello->address);
        p->capabilities = resource->capabilities;
        p->epoch = hello->incarnation;
        p->has_log_id = hello->has_log_id;
        memcpy(p->log_id, hello->log_id, sizeof(p->log_id));
        p->session = session;
        p->away[0] = '\0';
        p->holds = false;
        p->since_wall_ms = assent_wall_ms();
        if (fresh)
            put(server, p);
    }
    return 0;
}

bool participants_all_durable(const struct server *server, const struct session *session)
{
    for (const struct participant *p = first_of(server, session->name); p; p = p->namesake)
        if (p->session == session && !p->durable)
            return false;
    return true;
}

void participants_durable(struct server *server, uint32_t number)
{
    struct participant *p = participants_get(server, number);

    ASSENT_ASSERT(p != NULL);
    p->durable = true;
    if (p->session != NULL && p->session->state == SESSION_REGISTERING &&
        participants_all_durable(server, p->session))
        session_up(p->session);
}

/* Our log is an older copy: from now on nothing is presumed from what is absent in it. */
static void note_holds(struct server *server, struct participant *p, bool holds)
{
    if (holds && !p->holds)
        assent_log(ASSENT_LOG_ERROR, "log_restored", "name=%s why=%s", p->full,
                   assent_log_quote("it has seen this log further on: nothing is presumed aborted "
                                    "until `assentctl log accept`, see docs/operating.md"));
    p->holds = holds;
    /* What was accepted in this life is over: a ping may be older than that. */
    if (holds && server->accepted < server->coord.incarnation)
        server->restored = true;
}

void participants_away(struct server *server, const struct session *session,
                       const struct assent_wire *wire)
{
    for (struct participant *p = first_of(server, session->name); p; p = p->namesake) {
        const char *reason = "";

        if (p->session != session)
            continue;
        note_holds(server, p, wire->u.ping.holds);
        for (size_t k = 0; k < wire->u.ping.away_count; k++)
            if (strcmp(wire->u.ping.away[k].resource, p->resource) == 0)
                reason = wire->u.ping.away[k].reason[0] ? wire->u.ping.away[k].reason : "?";
        if ((p->away[0] == '\0') != (reason[0] == '\0')) {
            p->since_wall_ms = assent_wall_ms();
            assent_log(reason[0] ? ASSENT_LOG_WARN : ASSENT_LOG_INFO,
                       reason[0] ? "resource_away" : "resource_up", "name=%s reason=%s", p->full,
                       assent_log_quote(reason));
        }
        text_copy(p->away, sizeof(p->away), reason);
    }
}

void participants_down(struct server *server, struct session *session)
{
    for (struct participant *p = first_of(server, session->name); p; p = p->namesake) {
        if (p->session != session)
            continue;
        p->session = NULL;
        p->since_wall_ms = assent_wall_ms();
    }
}

/* NAME alone means the only resource of that name's participant. */
static int find_by_name(const struct server *server, const char *name, struct participant **ret_p,
                        char *error, size_t error_size)
{
    struct participant *found = NULL;

    for (struct participant *p = first_of(server, name); p; p = p->namesake) {
        if (found != NULL && participant_is_up(found) == participant_is_up(p)) {
            snprintf(error, error_size, "participant %s has several resources: name one, as in %s",
                     name, p->full);
            return ASSENT_E_INVALID;
        }
        if (found == NULL || participant_is_up(p))
            found = p;
    }
    *ret_p = found;
    return 0;
}

int participants_find(const struct server *server, const char *target,
                      struct participant **ret_participant, char *error, size_t error_size)
{
    struct participant *found = NULL;
    int r = 0;

    if (strchr(target, '/') != NULL)
        found = find_full(server, target);
    else
        r = find_by_name(server, target, &found, error, error_size);
    if (r != 0)
        return r;
    if (found == NULL) {
        snprintf(error, error_size, "no participant is called %s", target);
        return ASSENT_E_NOT_FOUND;
    }
    if (!participant_is_up(found)) {
        snprintf(error, error_size, "participant %s is not connected", found->full);
        return ASSENT_E_UNAVAILABLE;
    }
    *ret_participant = found;
    return 0;
}
