/*
 * store_fixture.h: what the tests of the store share: a directory of their own, stores in it, and
 * waiting for completions with a deadline.
 */
#ifndef ASSENT_TEST_STORE_FIXTURE_H
#define ASSENT_TEST_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "store.h"

#define DEADLINE_MS 30000
#define TOKENS_MAX  65536

/* LMDB's sync of its data pages comes through here, since the executable's symbol goes first. */
static atomic_int sync_mode;
enum { SYNC_WORKS, SYNC_FAILS, SYNC_HELD };
static sem_t sync_entered, sync_released;

__attribute__((visibility("default"))) int fdatasync(int fd)
{
    switch (atomic_load(&sync_mode)) {
    case SYNC_FAILS:
        errno = EIO;
        return -1;
    case SYNC_HELD:
        atomic_store(&sync_mode, SYNC_WORKS);
        sem_post(&sync_entered);
        while (sem_wait(&sync_released) < 0 && errno == EINTR)
            ;
        break;
    default:
        break;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

struct fixture {
    char parent[256];
    char directory[264]; /* not made yet */
    struct assent_store_options options;
    struct assent_store *store;
    char error[512];
    size_t completed;
    uint64_t tokens[TOKENS_MAX]; /* in the order they came */
    enum assent_decision standing;
    uint64_t token2;
};

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const char *temporary = getenv("TMPDIR");

    atomic_store(&sync_mode, SYNC_WORKS);
    sem_init(&sync_entered, 0, 0);
    sem_init(&sync_released, 0, 0);
    snprintf(f->parent, sizeof(f->parent), "%s/assent-store-XXXXXX",
             temporary != NULL ? temporary : "/tmp");
    if (mkdtemp(f->parent) == NULL)
        return -1;
    snprintf(f->directory, sizeof(f->directory), "%s/data", f->parent);
    f->options = (struct assent_store_options){
        .directory = f->directory,
        .owner = "assentd",
        .map_bytes = 64 * 1024 * 1024,
        .lazy_flush_ms = 3600 * 1000,
        .queue_max = TOKENS_MAX,
        .unsafe_storage = true, /* /tmp may be in memory */
    };
    *state = f;
    return 0;
}

static inline int remove_one(const char *path, const struct stat *file, int type, struct FTW *walk)
{
    (void)file;
    (void)type;
    (void)walk;
    return remove(path);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;

    assent_store_close(f->store);
    nftw(f->parent, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

static inline void open_store(struct fixture *f)
{
    int status = assent_store_open(&f->options, &f->store, f->error, sizeof(f->error));

    if (status != 0)
        fail_msg("%s: %s", assent_error_name(status), f->error);
}

static inline void close_store(struct fixture *f)
{
    assent_store_close(f->store);
    f->store = NULL;
}

static inline void on_done(const struct assent_completion *completion, void *context)
{
    struct fixture *f = context;

    f->tokens[f->completed++ % TOKENS_MAX] = completion->token;
    f->standing = completion->standing;
    f->token2 = completion->token2;
}

/* Processes until `count` completions have come in all. */
static inline void wait_for(struct fixture *f, size_t count)
{
    while (f->completed < count) {
        struct pollfd p = {.fd = assent_store_fd(f->store, 0), .events = POLLIN};

        if (poll(&p, 1, DEADLINE_MS) != 1)
            fail_msg("%zu completions of %zu", f->completed, count);
        assent_store_process(f->store, 0, on_done, f);
    }
}

static inline void key_of(uint64_t number, uint8_t key[8])
{
    for (int i = 0; i < 8; i++)
        key[i] = (uint8_t)(number >> (56 - 8 * i));
}

/* Puts value under the number as key; the token is the number too unless `token` is 0. */
static inline int put_number(struct assent_store *store, uint64_t number, const void *value,
                             size_t size, unsigned flags, uint64_t token)
{
    uint8_t key[8];
    struct assent_put put = {
        .table = ASSENT_TABLE_TRANSACTION,
        .flags = flags,
        .key = key,
        .key_size = sizeof(key),
        .value = value,
        .value_size = size,
        .token = token,
        .token2 = token * 3,
    };

    key_of(number, key);
    return assent_store_put(store, &put);
}

static inline int get_number(struct assent_store *store, uint64_t number, void *buffer, size_t cap,
                             size_t *ret_size)
{
    uint8_t key[8];

    key_of(number, key);
    return assent_store_get(store, ASSENT_TABLE_TRANSACTION, key, sizeof(key), buffer, cap,
                            ret_size);
}

/* Puts one forced record and waits until it is durable. */
static inline void put_and_wait(struct fixture *f, uint64_t number, const void *value, size_t size,
                                unsigned flags)
{
    assert_int_equal(put_number(f->store, number, value, size, flags, 1), 0);
    wait_for(f, f->completed + 1);
}

static inline bool has_number(struct fixture *f, uint64_t number)
{
    uint8_t buffer[ASSENT_STORE_VALUE_MAX];
    size_t size;
    int status = get_number(f->store, number, buffer, sizeof(buffer), &size);

    assert_true(status == 0 || status == ASSENT_E_NOT_FOUND);
    return status == 0;
}

/* Puts one forced record and returns while the writer is syncing it; `sem_post(&sync_released)`
 * lets it go on. */
static inline void hold_writer(struct fixture *f, uint64_t number)
{
    struct timespec deadline;

    atomic_store(&sync_mode, SYNC_HELD);
    assert_int_equal(put_number(f->store, number, "held", 4, 0, number), 0);
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += DEADLINE_MS / 1000;
    assert_int_equal(sem_timedwait(&sync_entered, &deadline), 0);
}

/* Exit code of a child, or -1 if a signal ended it. */
static inline int wait_exit(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#endif
