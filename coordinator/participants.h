/*
 * participants.h: who is who: the durable number of each "name/resource", and which connection it
 * is on now. A number is on disk before the hello that brought it is answered, because records
 * name participants by it.
 *
 * One name belongs to one connection. A later incarnation takes it over; the same one, or one of
 * another log, is refused until the first connection is closed or has been silent for two
 * heartbeats; one of the same log that is older than was seen in this life of the coordinator is
 * refused.
 *
 * Who is connected changes only while all shards are held, so they read it without a lock. What
 * only people are shown (away, holds, since) changes on the shard of the connection.
 */
#ifndef ASSENT_COORDINATOR_PARTICIPANTS_H
#define ASSENT_COORDINATOR_PARTICIPANTS_H

#include "codec.h"
#include "hash.h"
#include "record.h"

struct server;
struct session;
struct shard;

#define PARTICIPANT_FULL_MAX (2 * ASSENT_NAME_MAX + 1)

struct participant {
    UT_hash_handle hh, hh_of_name;
    struct participant *namesake;        /* the next resource of the same name */
    uint32_t number;                     /* from 1 */
    char full[PARTICIPANT_FULL_MAX + 1]; /* "name/resource" */
    char name[ASSENT_NAME_MAX + 1], resource[ASSENT_NAME_MAX + 1], type[ASSENT_NAME_MAX + 1];
    char address[ASSENT_ADDRESS_MAX + 1];
    uint32_t capabilities;
    uint32_t epoch; /* latest incarnation seen in this life; 0: none */
    bool has_log_id;
    uint8_t log_id[ASSENT_LOG_ID_BYTES]; /* of its own log: which log its incarnations count */
    struct session *session;             /* NULL: down */
    bool holds; /* has seen our log further on than it is, and holds aborts back */
    char away[ASSENT_REASON_MAX + 1]; /* why the resource takes no new branches; "": it does */
    uint64_t since_wall_ms;           /* up or down since, for people */
    bool durable;                     /* its number is on disk */
};

struct participants {
    struct participant *by_full;
    struct participant *by_name;    /* of each name the first; the others are its namesakes */
    struct participant **by_number; /* [number - 1] */
    uint32_t count, capacity;
};

/* Reads the table at start. 0 or an ASSENT_E_* with a sentence in error. */
ASSENT_CHECKED int participants_load(struct server *server, char *error, size_t error_size);
void participants_fini(struct participants *participants);

/* Gives the session its participants and writes new numbers. 0; or ASSENT_E_INVALID, ASSENT_E_STATE
 * (name in use), ASSENT_E_STALE, ASSENT_E_LIMIT, ASSENT_E_FULL with a sentence in error. */
ASSENT_CHECKED int participants_register(struct server *server, struct session *session,
                                         const struct assent_wire_hello *hello, char *error,
                                         size_t error_size);
/* The number is on disk: answers the hello if it was the last one. */
void participants_durable(struct server *server, uint32_t number);
bool participants_all_durable(const struct server *server, const struct session *session);
/* A ping says which resources take no new branches. */
void participants_away(struct server *server, const struct session *session,
                       const struct assent_wire *wire);
void participants_down(struct server *server, struct session *session);

struct participant *participants_get(const struct server *server, uint32_t number);
/* Of one that is up: the session to send to from that shard. */
struct session *participants_session(const struct participant *participant,
                                     const struct shard *shard);
bool participant_is_up(const struct participant *participant);
/* "up", "away" (connected, but its resource takes no new branches), "holds" (connected, and holds
 * aborts back until the log is accepted) or "down". */
const char *participant_state(const struct participant *participant);
/* Who speaks for that branch on this connection: by its record, or, if that does not name it, by
 * the resource's name. NULL: nobody may. */
const struct participant *participants_of_branch(const struct server *server,
                                                 const struct session *session,
                                                 const struct assent_coord_record *record,
                                                 uint32_t branch, const char *resource);
/* "?" for a number that is not known. */
const char *participants_name(const struct server *server, uint32_t number);
/* "NAME" or "NAME/RESOURCE" of one that is up. 0; ASSENT_E_NOT_FOUND, ASSENT_E_UNAVAILABLE,
 * ASSENT_E_INVALID (NAME alone has several resources) with a sentence in error. */
ASSENT_CHECKED int participants_find(const struct server *server, const char *target,
                                     struct participant **ret_participant, char *error,
                                     size_t error_size);

#endif
