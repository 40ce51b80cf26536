/*
 * child.c: processes of the bench's own code, and the loopback connections that they are forked
 * with.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/* So that a connection ends when the process ends that it was made for. */
static void close_all_but(const int *keep, size_t keep_count)
{
    for (int fd = STDERR_FILENO + 1; fd < BENCH_FDS_MAX; fd++) {
        bool kept = false;

        for (size_t i = 0; i < keep_count; i++)
            kept |= keep[i] == fd;
        if (!kept)
            close(fd);
    }
}

pid_t bench_child_start(void (*run)(void *context), void *context, const int *keep,
                        size_t keep_count, char *error, size_t error_size)
{
    pid_t pid = fork();

    if (pid < 0)
        snprintf(error, error_size, "cannot fork: %s", strerror(errno));
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close_all_but(keep, keep_count);
    run(context);
    _exit(0);
}

void bench_child_stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static int accept_from(int listener, int *ret_fd)
{
    *ret_fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    return *ret_fd < 0 ? -1 : 0;
}

int bench_loopback_pair(int ret_fds[2], char *error, size_t error_size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), failed, on = 1;
    int fds[2] = {socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), -1};
    socklen_t size = sizeof(address);

    failed = listener < 0 || fds[0] < 0 ||
             bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1) ||
             getsockname(listener, (struct sockaddr *)&address, &size) ||
             connect(fds[0], (struct sockaddr *)&address, sizeof(address)) ||
             accept_from(listener, &fds[1]) ||
             setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ||
             setsockopt(fds[1], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (failed)
        snprintf(error, error_size, "loopback: %s", strerror(errno));
    if (listener >= 0)
        close(listener);
    for (int i = 0; i < 2; i++)
        if (failed && fds[i] >= 0)
            close(fds[i]);
    if (failed)
        return -1;
    memcpy(ret_fds, fds, sizeof(fds));
    return 0;
}
