/*
 * routes.h: between the shards: which of them a frame concerns, how it gets there, and how what is
 * sent there comes back to the connection. Deliberately not here: what a frame means (session.h).
 *
 * A session that another shard hears of has a face there: a session without a connection, which
 * waits, owns and is sent to as any other. What is sent to it goes to its home by a letter. Faces
 * begin when the shard first hears of an application, or when a participant comes up; they end with
 * their home, while all shards are held and no letter is under way.
 */
#ifndef ASSENT_COORDINATOR_ROUTES_H
#define ASSENT_COORDINATOR_ROUTES_H

#include "mailbox.h"
#include "session.h"

#define PASSED_BYTES_MAX 262144 /* of letters with frames not taken, of one connection */

/* Where a frame is dealt with. */
enum route {
    ROUTE_HERE,  /* on the connection's shard */
    ROUTE_SHARD, /* on the shard that a gtrid's sequence, a key's hash or a relay's id says */
    ROUTE_HELD   /* here, while all are held: it changes or shows what belongs to all */
};
/* ROUTE_SHARD: *ret_number modulo the number of shards is the shard. */
enum route routes_find(const struct session *session, const struct assent_wire *wire,
                       uint64_t *ret_number);

/* A frame has come in, and there are several shards: it is dealt with here, sent on, or dealt with
 * while all are held. While too much of what was sent on has not been taken, the connection is not
 * read. */
void routes_frame(struct session *session, const uint8_t *data, size_t size);
/* A letter has come in. */
void routes_letter(struct shard *shard, const struct letter *letter, const void *bytes);
/* For the loop of that shard, by its own thread or while it is held: the home session itself, or
 * its face there, which is made if it is missing. */
struct session *routes_face(struct session *home, struct shard *shard);
/* Sends bytes that concern the session to another shard. */
void routes_pass(struct session *session, struct shard *to, enum letter_kind kind,
                 const void *bytes, size_t size);
/* A face is sent to, or a home behind what its faces were sent: an encoded frame. */
void routes_send(struct session *session, const void *frame, size_t size);
/* Output has left the session's connection, or been added to it by letter. */
void routes_note_output(struct session *home);

#endif
