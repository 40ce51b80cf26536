/*
 * xa_link.c: the helper process of an XA resource, from the agent's side: see xa_resource.h. One
 * thread, the supervisor, starts it, takes its answers, buries it and starts the next one, with a
 * growing pause as long as starts come to nothing. It lives as long as the resource does, since the
 * kernel ends a helper with the thread that started it.
 */
#include "xa_resource.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime.h"

#define SOCKET       3
#define STOP_MS      5000
#define PAUSE_MIN_MS 100u
#define PAUSE_MAX_MS 30000u

extern char **environ;

/* --- the process ------------------------------------------------------------------------------ */

/* In a group of its own, so that signals from a terminal reach the agent alone. */
static int spawn(struct xa_link *link, int socket, pid_t *ret_pid)
{
    char parent[16], program[] = "assent-xa-host";
    char *arguments[] = {program, parent, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int r;

    snprintf(parent, sizeof(parent), "%d", (int)getpid());
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, socket, SOCKET);
    posix_spawn_file_actions_addclosefrom_np(&actions, SOCKET + 1);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETPGROUP);
    r = posix_spawn(ret_pid, link->parameters->host, &actions, &attributes, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return r;
}

/* 0, or ASSENT_E_* and why in reason; the process, if there is one, is to be ended. */
static int start(struct xa_link *link, char reason[ASSENT_REASON_MAX + 1])
{
    const struct timeval patience = {.tv_sec = (time_t)(link->parameters->call_timeout_ms / 1000),
                                     .tv_usec = (link->parameters->call_timeout_ms % 1000) * 1000};
    struct xa_request request = {.operation = XA_OP_SETUP, .size = sizeof(struct xa_setup)};
    bool stopping;
    pid_t pid;
    int fds[2], r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "socketpair: %s", strerror(errno));
        return ASSENT_E_IO;
    }
    (void)setsockopt(fds[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    r = spawn(link, fds[1], &pid);
    close(fds[1]);
    if (r != 0) {
        close(fds[0]);
        snprintf(reason, ASSENT_REASON_MAX + 1, "cannot start %.180s: %s", link->parameters->host,
                 strerror(r));
        return ASSENT_E_CONFIG;
    }
    pthread_mutex_lock(&link->mutex);
    link->pid = pid;
    link->fd = fds[0];
    link->generation++;
    stopping = link->stopping;
    pthread_mutex_unlock(&link->mutex);
    if (!stopping && xa_send(fds[0], &request, sizeof(request), &link->parameters->setup,
                             sizeof(link->parameters->setup)) == 0)
        return 0;
    snprintf(reason, ASSENT_REASON_MAX + 1, "the helper process has ended at once");
    return ASSENT_E_UNAVAILABLE;
}

/* 0 and a body that is the caller's, with a NUL added. */
static int receive(const struct xa_link *link, struct xa_reply *ret_reply, char **ret_body)
{
    int r = xa_receive(link->fd, ret_reply, sizeof(*ret_reply));

    *ret_body = NULL;
    if (r == 0 && ret_reply->size > XA_FRAME_BYTES_MAX)
        r = ASSENT_E_PROTOCOL;
    if (r == 0 && (*ret_body = malloc((size_t)ret_reply->size + 1)) == NULL)
        r = ASSENT_E_NOMEM;
    if (r == 0)
        r = xa_receive(link->fd, *ret_body, ret_reply->size);
    if (r != 0) {
        free(*ret_body);
        *ret_body = NULL;
        return r;
    }
    (*ret_body)[ret_reply->size] = '\0';
    return 0;
}

/* The answer to the setup: the switch is loaded and open. */
static int await_first(struct xa_link *link, char reason[ASSENT_REASON_MAX + 1])
{
    uint64_t deadline_ms = assent_now_ms() + link->parameters->call_timeout_ms, now_ms;
    struct pollfd ready = {.fd = link->fd, .events = POLLIN};
    struct xa_reply reply;
    char *body = NULL, name[32];
    int n = 0, r = ASSENT_E_UNAVAILABLE;

    while ((now_ms = assent_now_ms()) < deadline_ms && n <= 0)
        n = poll(&ready, 1, (int)(deadline_ms - now_ms));
    if (n <= 0) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "xa_open has not returned in %llu ms",
                 (unsigned long long)link->parameters->call_timeout_ms);
    } else if (receive(link, &reply, &body) != 0) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "the helper process has ended at its start");
    } else if (reply.source == XA_BY_HELPER && reply.code == ASSENT_RM_OK) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "%s", body);
        r = 0;
    } else if (reply.source == XA_BY_HELPER) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "%s", body);
        r = reply.code == ASSENT_RM_UNKNOWN_CODE ? ASSENT_E_CONFIG : ASSENT_E_UNAVAILABLE;
    } else {
        xa_code_name(reply.code, name);
        snprintf(reason, ASSENT_REASON_MAX + 1, "xa_open: %s (%d)", name, reply.code);
    }
    free(body);
    return r;
}

/* Every answer, up to the end of the process. */
static void take_answers(struct xa_link *link)
{
    struct xa_exchange *exchange;
    struct xa_reply reply;
    char *body;

    while (receive(link, &reply, &body) == 0) {
        pthread_mutex_lock(&link->mutex);
        link->failures = 0;
        TAILQ_FOREACH (exchange, &link->exchanges, link)
            if (exchange->request.number == reply.number)
                break;
        if (exchange != NULL) { /* else nobody waits for it any more */
            TAILQ_REMOVE(&link->exchanges, exchange, link);
            exchange->reply = reply;
            exchange->body = body;
            exchange->answered = true;
            body = NULL;
            pthread_cond_broadcast(&link->changed);
        }
        pthread_mutex_unlock(&link->mutex);
        free(body);
    }
}

/* Ends the process and every exchange with it. A reason given stands over the manner of its end. */
static void bury(struct xa_link *link, char reason[ASSENT_REASON_MAX + 1])
{
    struct xa_exchange *exchange;
    int status = 0;
    siginfo_t end;

    if (link->pid == 0)
        return;
    kill(link->pid, SIGKILL);
    while (waitid(P_PID, (id_t)link->pid, &end, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&link->send_mutex);
    pthread_mutex_lock(&link->mutex);
    /* Its id is given back only where nobody can send a signal to it any more. */
    (void)waitpid(link->pid, &status, 0);
    if (reason[0] == '\0' && link->down[0] != '\0')
        snprintf(reason, ASSENT_REASON_MAX + 1, "%s", link->down);
    else if (reason[0] == '\0' && WIFSIGNALED(status))
        snprintf(reason, ASSENT_REASON_MAX + 1, "the helper process has died of signal %d",
                 WTERMSIG(status));
    else if (reason[0] == '\0')
        snprintf(reason, ASSENT_REASON_MAX + 1, "the helper process has ended with code %d",
                 WEXITSTATUS(status));
    close(link->fd);
    link->fd = -1;
    link->pid = 0;
    link->ready = false;
    snprintf(link->down, sizeof(link->down), "%s", reason);
    while ((exchange = TAILQ_FIRST(&link->exchanges)) != NULL) {
        TAILQ_REMOVE(&link->exchanges, exchange, link);
        exchange->lost = true;
        snprintf(exchange->reason, sizeof(exchange->reason), "%s", reason);
    }
    pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->mutex);
    pthread_mutex_unlock(&link->send_mutex);
}

/* --- the supervisor --------------------------------------------------------------------------- */

static void report(struct xa_link *link, bool warning, const char *text)
{
    if (link->report != NULL)
        link->report(link->report_context, warning, text);
}

/* One helper, from its start to its end. */
static int run_helper(struct xa_link *link, char reason[ASSENT_REASON_MAX + 1])
{
    int r = start(link, reason);

    if (r == 0)
        r = await_first(link, reason);
    if (r == 0) {
        report(link, false, reason);
        pthread_mutex_lock(&link->mutex);
        link->ready = true;
        link->down[0] = reason[0] = '\0';
        pthread_cond_broadcast(&link->changed);
        pthread_mutex_unlock(&link->mutex);
        take_answers(link);
    }
    bury(link, reason);
    return r;
}

static void *supervise(void *context)
{
    struct xa_link *link = context;
    bool stopping = false;

    while (!stopping) {
        char reason[ASSENT_REASON_MAX + 1] = "";
        int r = run_helper(link, reason);
        uint64_t pause_ms = 0;
        struct timespec until;

        pthread_mutex_lock(&link->mutex);
        snprintf(link->down, sizeof(link->down), "%s", reason);
        if (link->generation <= 1 && r != 0) {
            link->first_error = r;
            link->stopping = true;
        }
        /* The first one that dies after it has answered is followed at once. */
        if (link->failures > 0)
            pause_ms = link->failures > 9 ? PAUSE_MAX_MS : PAUSE_MIN_MS << (link->failures - 1);
        link->failures++;
        until =
            assent_moment(assent_now_ms() + (pause_ms < PAUSE_MAX_MS ? pause_ms : PAUSE_MAX_MS));
        pthread_cond_broadcast(&link->changed);
        stopping = link->stopping;
        pthread_mutex_unlock(&link->mutex);
        if (!stopping)
            report(link, true, reason);
        pthread_mutex_lock(&link->mutex);
        while (!link->stopping &&
               pthread_cond_timedwait(&link->changed, &link->mutex, &until) != ETIMEDOUT)
            ;
        stopping = link->stopping;
        pthread_mutex_unlock(&link->mutex);
    }
    return NULL;
}

int xa_link_open(struct xa_link *link, const struct xa_parameters *parameters,
                 const struct assent_resource_environment *environment, char *error,
                 size_t error_size)
{
    pthread_condattr_t monotonic;
    sigset_t all, before;
    int r;

    *link = (struct xa_link){.parameters = parameters,
                             .report = environment->report,
                             .report_context = environment->report_context,
                             .fd = -1,
                             .down = "the helper process has not been started"};
    TAILQ_INIT(&link->exchanges);
    pthread_mutex_init(&link->send_mutex, NULL);
    pthread_mutex_init(&link->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&link->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&link->supervisor, NULL, supervise, link);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    link->started = r == 0;
    if (r != 0) {
        snprintf(error, error_size, "xa: cannot start a thread");
        return ASSENT_E_LIMIT;
    }
    pthread_mutex_lock(&link->mutex);
    while (!link->ready && link->first_error == 0)
        pthread_cond_wait(&link->changed, &link->mutex);
    r = link->first_error;
    if (r != 0)
        snprintf(error, error_size, "xa: %s", link->down);
    pthread_mutex_unlock(&link->mutex);
    return r;
}

void xa_link_close(struct xa_link *link)
{
    struct timespec until = assent_moment(assent_now_ms() + STOP_MS);

    pthread_mutex_lock(&link->mutex);
    link->stopping = true;
    if (link->fd >= 0)
        (void)shutdown(link->fd, SHUT_WR);
    pthread_cond_broadcast(&link->changed);
    while (link->pid != 0 &&
           pthread_cond_timedwait(&link->changed, &link->mutex, &until) != ETIMEDOUT)
        ;
    if (link->pid != 0)
        kill(link->pid, SIGKILL);
    pthread_mutex_unlock(&link->mutex);
    if (link->started)
        pthread_join(link->supervisor, NULL);
    pthread_cond_destroy(&link->changed);
    pthread_mutex_destroy(&link->mutex);
    pthread_mutex_destroy(&link->send_mutex);
}

/* --- exchanges -------------------------------------------------------------------------------- */

/* Under the mutex. */
static void end_helper(struct xa_link *link, uint64_t generation, const char *reason)
{
    if (link->generation != generation || link->pid == 0)
        return;
    snprintf(link->down, sizeof(link->down), "%s", reason);
    link->ready = false;
    kill(link->pid, SIGKILL);
}

void xa_link_send(struct xa_link *link, struct xa_exchange *exchange, const void *body)
{
    uint64_t patience_ms = link->parameters->call_timeout_ms;
    int fd = -1;

    /* Work may wait for a thread, and then as long for a lock. */
    if (exchange->request.operation == ASSENT_OP_WORK)
        patience_ms = 2 * (uint64_t)exchange->request.timeout_ms + XA_WORK_GRACE_MS;
    exchange->answered = exchange->lost = false;
    exchange->body = NULL;
    pthread_mutex_lock(&link->send_mutex);
    pthread_mutex_lock(&link->mutex);
    exchange->request.number = ++link->last_number;
    exchange->deadline_ms = assent_now_ms() + patience_ms;
    exchange->generation = link->generation;
    if (link->ready) {
        TAILQ_INSERT_TAIL(&link->exchanges, exchange, link);
        fd = link->fd;
    } else {
        exchange->lost = true;
        snprintf(exchange->reason, sizeof(exchange->reason), "%s", link->down);
    }
    pthread_mutex_unlock(&link->mutex);
    if (fd >= 0 && xa_send(fd, &exchange->request, sizeof(exchange->request), body,
                           exchange->request.size) != 0) {
        pthread_mutex_lock(&link->mutex);
        end_helper(link, exchange->generation, "the helper process takes no requests");
        pthread_mutex_unlock(&link->mutex);
    }
    pthread_mutex_unlock(&link->send_mutex);
}

void xa_link_wait(struct xa_link *link, struct xa_exchange *exchange)
{
    struct timespec until = assent_moment(exchange->deadline_ms);
    bool in_time = true;

    pthread_mutex_lock(&link->mutex);
    while (!exchange->answered && !exchange->lost && in_time)
        in_time = pthread_cond_timedwait(&link->changed, &link->mutex, &until) != ETIMEDOUT;
    if (!exchange->answered && !exchange->lost) {
        /* Nothing else ends a call that hangs; and once the process is gone, no such call can do
         * its work late. */
        end_helper(link, exchange->generation,
                   "a call has not returned in time, so the helper process was ended");
        TAILQ_REMOVE(&link->exchanges, exchange, link);
        exchange->lost = true;
        snprintf(exchange->reason, sizeof(exchange->reason), "%s", link->down);
    }
    pthread_mutex_unlock(&link->mutex);
}
