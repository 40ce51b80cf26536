/*
 * agent.h: what the files of the agent share; private to them.
 *
 *   agent.c             life cycle, the loop, the public functions of assent/participant.h
 *   settings.c          the options with their defaults, checked and copied
 *   coordinator_link.c  one connection per coordinator address
 *   peers.c             the listener for other participants, and what they may say (peers.h)
 *   peer_links.c        connections to other participants, dialed when needed (peers.h)
 *   address_book.c      where other participants are, also in the log (address_book.h)
 *   driver.c            machines: events in, actions carried out
 *   sends.c             where each message of a machine goes
 *   marks.c             what is kept in the log about each coordinator
 *   queries.c           reads of committed data for people
 *   examine.c           what a resource lists and what its preflight finds, for people
 *   inspection.c        our branches, for people
 *   tombstones.c        forgets what the coordinator has ended
 *   service.c           whether each resource can be used: probes and scans (service.h)
 *   recovery.c          machines from records and from the lists of resources
 *   watch.c             warns of branches that are in doubt for long
 *   branches.c          the tables of branches and coordinator logs (branches.h)
 *   calls.c             one job's calls of its resource, with their crash points (calls.h)
 *   workers.c           threads for the resources' calls (workers.h)
 *   jobs.c              memory of those calls, and the lanes that keep their order (workers.h)
 *
 * No file here decides anything about a transaction: what happens goes to the machine as an event.
 */
#ifndef ASSENT_AGENT_AGENT_H
#define ASSENT_AGENT_AGENT_H

#include <event2/event.h>
#include <jansson.h>
#include <pthread.h>

#include "address_book.h"
#include "branches.h"
#include "codec.h"
#include "net.h"
#include "sent_points.h"
#include "service.h"
#include "store.h"
#include "workers.h"

/* Queries for people that wait or run, and bytes of work that wait for a worker. */
#define AGENT_QUERIES_MAX    64
#define AGENT_WORK_BYTES_MAX (256u << 20)
/* Output queued for a coordinator or peer; beyond it the connection ends. */
#define AGENT_OUTPUT_BYTES_MAX (64u << 20)
/* A frame is at most this much longer than the work, reply or JSON text in it. */
#define AGENT_FRAME_EXTRA 2048

struct agent_resource {
    struct assent_participant *agent;
    char *name, *parameters, *directory;
    const struct assent_resource_ops *ops;
    struct assent_resource_environment environment;
    agent_handle handle; /* NULL: not open yet */
    struct agent_service service;
    pthread_mutex_t report_mutex;
    json_t *findings; /* what it reports while it is tested; under the mutex; NULL: nobody asks */
    struct agent_finisher *finisher;
    struct assent_part_config config;
    uint64_t warned_ms; /* trouble with it is logged at most once a second */
    uint64_t unsaid;    /* calls in trouble since then */
    uint64_t alone;     /* branches that its RM has ended by itself, with the decision or against */
};

struct agent_peers;

struct assent_participant {
    struct assent_participant_options options; /* every default filled in */
    struct event_base *base;
    struct assent_store *store;
    struct agent_workers *workers;
    struct assent_pool jobs; /* memory of calls */
    struct agent_branches branches;
    struct agent_address_book address_book;
    struct agent_resource resources[ASSENT_RESOURCES_MAX];
    size_t resource_count;
    struct agent_link **links;
    size_t link_count;
    struct agent_peers *peers;
    struct assent_sent_points *sent_points;
    struct assent_arena *arena;
    uint8_t *buffer; /* of the encoder */
    size_t buffer_capacity;
    uint64_t seed;          /* for the machines' jitter */
    size_t records_pending; /* records whose completion is awaited */
    size_t work_bytes;      /* in jobs */
    size_t queries;
    uint64_t connections; /* made so far: their numbers */
    int stop_fd;          /* assent_participant_stop() writes to it */
    bool stopping;
    uint64_t stop_end_ms;
    struct event *store_event, *workers_event, *stop_event, *stop_timer, *watch_timer;
};

/* settings.c */
ASSENT_CHECKED int agent_settings_copy(const struct assent_participant_options *from,
                                       struct assent_participant_options *to, char *error,
                                       size_t error_size);
void agent_settings_free(struct assent_participant_options *options);
struct assent_net_limits agent_net_limits(const struct assent_participant *agent);

/* agent.c */
/* The job comes back to agent_driver_worked(), never from inside this call. */
void agent_submit(struct assent_participant *agent, struct agent_job *job);
/* The resource of that name; "" is the first. NULL: none. */
struct agent_resource *agent_resource_find(struct assent_participant *agent, const char *name);
/* Our hello; the address is the listener's. */
void agent_hello(struct assent_participant *agent, struct assent_wire *ret_wire);
/* Encodes and queues one message; what cannot leave is lost, as on a network: its sender repeats.
 * 0 or what assent_wire_encode() and assent_conn_send() return. */
int agent_send(struct assent_participant *agent, struct assent_conn *conn,
               const struct assent_wire *wire);
void agent_refuse(struct assent_participant *agent, struct assent_conn *conn, uint64_t request,
                  int error, const char *text);
/* Whether the hello of a coordinator or peer is of our version and cluster; else a sentence. */
int agent_hello_check(const struct assent_participant *agent, const struct assent_wire_hello *hello,
                      char *text, size_t text_size);

/* coordinator_link.c */
ASSENT_CHECKED int agent_link_open(struct assent_participant *agent, const char *address,
                                   struct agent_link **ret_link);
void agent_link_close(struct agent_link *link); /* NULL is allowed */
/* ASSENT_E_UNAVAILABLE when it is not connected. */
int agent_link_send(struct agent_link *link, const struct assent_wire *wire);
void agent_link_refuse(struct agent_link *link, uint64_t request, int error, const char *text);
/* A ping out of turn, since what it says has changed. */
void agent_link_ping(struct agent_link *link);
size_t agent_link_output_bytes(const struct agent_link *link);
/* Tells one connection from the next, of any link: an answer must not leave on another one than its
 * request came on. 0: not connected. */
uint64_t agent_link_connection(const struct agent_link *link);
const char *agent_link_name(const struct agent_link *link);

/* marks.c */
/* Called once at start. */
ASSENT_CHECKED int agent_marks_load(struct assent_participant *agent, char *error,
                                    size_t error_size);
/* Returns when it is durable, once in each life of a coordinator: nothing that it says may be
 * obeyed before, or a restart of ours could listen to the earlier life again. */
void agent_marks_save_incarnation(struct assent_participant *agent, struct coordinator_log *log);
/* Queued: durable no later than what is queued after it; agent_tombstones_saved() tells. */
void agent_marks_save_lazily(struct assent_participant *agent, struct coordinator_log *log);

/* peers.c */
/* The connection of a message between two branches of this participant. */
#define AGENT_CONNECTION_HERE UINT64_MAX
ASSENT_CHECKED int agent_peers_open(struct assent_participant *agent, char *error,
                                    size_t error_size);
void agent_peers_close(struct agent_peers *peers); /* NULL is allowed */
const char *agent_peers_address(const struct agent_peers *peers);
size_t agent_peers_output_bytes(const struct agent_peers *peers);
/* On that connection: 0, what agent_send() returns, or ASSENT_E_UNAVAILABLE: it has ended. */
int agent_peers_answer(struct assent_participant *agent, uint64_t connection,
                       const struct assent_wire *wire);

/* peer_links.c */
/* On a connection of its own, made if need be; 0 also when it waits for that. */
int agent_peers_send(struct assent_participant *agent, const struct agent_address *to,
                     const struct assent_wire *wire);
/* Closes what nothing has used for long. */
void agent_peers_watch(struct assent_participant *agent, uint64_t now_ms);

/* inspection.c */
/* Answers an Inspect. */
void agent_inspection_answer(struct assent_participant *agent, struct assent_conn *conn,
                             const struct assent_wire *wire);

#endif
