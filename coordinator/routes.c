/* routes.c: frames from shard to shard. */
#include "routes.h"

#include <stdlib.h>
#include <string.h>

#include "application.h"
#include "gtrid.h"
#include "inspect.h"
#include "server.h"

/* --- faces --- */

struct session *routes_face(struct session *home, struct shard *shard)
{
    struct session *face = home->faces[shard->index];

    if (face != NULL)
        return face;
    face = calloc(1, sizeof(*face));
    if (face == NULL)
        assent_panic(ASSENT_EXIT_RUNTIME, "no_memory", "what=session");
    face->shard = shard;
    face->home = home;
    /* They do not change any more: a home that is up has had its hello. */
    face->state = home->state;
    face->role = home->role;
    memcpy(face->name, home->name, sizeof(face->name));
    face->incarnation = home->incarnation;
    TAILQ_INIT(&face->waiters);
    TAILQ_INIT(&face->owned);
    TAILQ_INSERT_TAIL(&shard->sessions, face, link);
    home->faces[shard->index] = face;
    return face;
}

void routes_pass(struct session *session, struct shard *to, enum letter_kind kind,
                 const void *bytes, size_t size)
{
    struct session *home = session->home;

    /* A face was made because its home is known elsewhere already. */
    if (session == home)
        home->known_elsewhere = true;
    shard_post(session->shard, to->index,
               &(struct letter){.kind = kind, .size = (uint32_t)size, .session = home}, bytes);
}

void routes_send(struct session *session, const void *frame, size_t size)
{
    struct session *home = session->home;

    atomic_fetch_add_explicit(&home->mailed_bytes, size, memory_order_relaxed);
    shard_post(session->shard, home->shard->index,
               &(struct letter){.kind = LETTER_OUT, .size = (uint32_t)size, .session = home},
               frame);
}

void routes_note_output(struct session *home)
{
    atomic_store_explicit(&home->output_bytes, assent_conn_output_bytes(home->conn),
                          memory_order_relaxed);
}

/* --- in --- */

static void note_passed(struct session *home, size_t frame_size)
{
    size_t size = sizeof(struct letter) + frame_size;

    if (atomic_fetch_add(&home->passed_bytes, size) + size > PASSED_BYTES_MAX)
        assent_conn_pause(home->conn);
}

/* Of a connection that is paused, nothing is passed on: what waits falls past this mark once. */
static void note_taken(struct shard *shard, struct session *home, size_t frame_size)
{
    size_t size = sizeof(struct letter) + frame_size;
    size_t before = atomic_fetch_sub(&home->passed_bytes, size);

    if (before > PASSED_BYTES_MAX / 2 && before - size <= PASSED_BYTES_MAX / 2)
        shard_post(shard, home->shard->index,
                   &(struct letter){.kind = LETTER_TAKEN, .session = home}, "");
}

static enum route by_gtrid(const struct assent_gtrid *gtrid, uint64_t *ret_number)
{
    *ret_number = assent_gtrid_sequence(gtrid);
    return ROUTE_SHARD;
}

static enum route by_key(const char *key, uint64_t *ret_number)
{
    /* Without one the transaction is begun where its connection is. */
    if (key[0] == '\0')
        return ROUTE_HERE;
    *ret_number = keys_hash(key);
    return ROUTE_SHARD;
}

static enum route of_participant(const struct assent_wire *wire, uint64_t *ret_number)
{
    if (wire->kind == ASSENT_WIRE_PING)
        return wire->u.ping.holds ? ROUTE_HELD : ROUTE_HERE;
    if (wire->kind == ASSENT_WIRE_BRANCH)
        return by_gtrid(&wire->u.branch.message.gtrid, ret_number);
    if (wire->kind != ASSENT_WIRE_INSPECTION && wire->kind != ASSENT_WIRE_REFUSAL)
        return ROUTE_HELD;
    *ret_number = wire->request; /* of a relay, which has the number of its shard */
    return ROUTE_SHARD;
}

/* What is not named may be dealt with while all are held, whatever it is. */
static enum route of_application(const struct assent_wire *wire, uint64_t *ret_number)
{
    if (wire->kind == ASSENT_WIRE_PING)
        return ROUTE_HERE;
    if (wire->kind == ASSENT_WIRE_RUN)
        return by_key(wire->u.run.begin.key, ret_number);
    if (wire->kind == ASSENT_WIRE_BEGIN)
        return by_key(wire->u.begin.key, ret_number);
    if (wire->kind == ASSENT_WIRE_ENLIST)
        return by_gtrid(&wire->u.enlist.gtrid, ret_number);
    if (wire->kind == ASSENT_WIRE_WORK)
        return by_gtrid(&wire->u.work.gtrid, ret_number);
    if (wire->kind == ASSENT_WIRE_END)
        return by_gtrid(&wire->u.end.gtrid, ret_number);
    if (wire->kind == ASSENT_WIRE_STATUS)
        return wire->u.status.has_gtrid ? by_gtrid(&wire->u.status.gtrid, ret_number)
                                        : by_key(wire->u.status.key, ret_number);
    if (wire->kind == ASSENT_WIRE_INSPECT && inspect_asks_participant(wire))
        return ROUTE_HERE;
    return ROUTE_HELD;
}

enum route routes_find(const struct session *session, const struct assent_wire *wire,
                       uint64_t *ret_number)
{
    bool participant = session->role == ASSENT_ROLE_PARTICIPANT;

    /* Nobody knows a newcomer yet; as a participant it will be known to all. */
    if (session->state == SESSION_NEW)
        return wire->kind == ASSENT_WIRE_HELLO && wire->u.hello.role == ASSENT_ROLE_PARTICIPANT
                   ? ROUTE_HELD
                   : ROUTE_HERE;
    if (session->state != SESSION_UP)
        return ROUTE_HELD;
    return participant ? of_participant(wire, ret_number) : of_application(wire, ret_number);
}

void routes_frame(struct session *session, const uint8_t *data, size_t size)
{
    struct shard *shard = session->shard, *to = shard;
    struct server *server = shard->server;
    char error[ASSENT_REASON_MAX + 1];
    enum route route = ROUTE_HELD;
    uint64_t number;

    shard_park_if_wanted(shard);
    if (session->state == SESSION_LEAVING)
        return;
    if (assent_wire_decode(data, size, shard->arena, &shard->wire, error, sizeof(error)) == 0)
        route = routes_find(session, &shard->wire, &number);
    if (route == ROUTE_SHARD)
        to = &server->shards[number % server->shard_count];
    if (to != shard) {
        routes_pass(session, to, LETTER_FRAME, data, size);
        note_passed(session, size);
    } else if (route == ROUTE_HELD) {
        /* What is under way is dealt with first, and may use what the frame was read into. */
        server_hold(server);
        if (session->state != SESSION_LEAVING)
            session_take_frame(session, data, size);
        server_release(server);
    } else {
        session_take(session, &shard->wire);
    }
}

void routes_letter(struct shard *shard, const struct letter *letter, const void *bytes)
{
    struct session *home = letter->session;
    int fd;

    switch (letter->kind) {
    case LETTER_ACCEPT:
        memcpy(&fd, bytes, sizeof(fd));
        session_accept(shard, fd);
        return;
    case LETTER_FRAME:
        note_taken(shard, home, letter->size);
        session_take_frame(routes_face(home, shard), bytes, letter->size);
        return;
    case LETTER_TAKEN:
        assent_conn_resume(home->conn);
        return;
    case LETTER_KNOWN:
        application_known(routes_face(home, shard), bytes);
        return;
    case LETTER_OUT:
        /* One that is closing takes no more. */
        (void)assent_conn_send(home->conn, bytes, letter->size);
        routes_note_output(home);
        atomic_fetch_sub_explicit(&home->mailed_bytes, letter->size, memory_order_relaxed);
        return;
    }
}
