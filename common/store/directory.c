/* directory.c: makes, locks and marks the data directory; never looks at the log in it. */
#include "directory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static int fail_errno(const char *directory, const char *what, char *error, size_t error_size)
{
    snprintf(error, error_size, "%s: %s: %s", directory, what, strerror(errno));
    return ASSENT_E_IO;
}

/* The entry of a new directory lives in its parent. */
static int sync_parent(int fd)
{
    int parent = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int status;

    if (parent < 0)
        return -1;
    status = fsync(parent);
    close(parent);
    return status;
}

int assent_directory_open(const char *directory, bool create, int *ret_fd, char *error,
                          size_t error_size)
{
    bool made = false;
    int fd;

    if (create) {
        made = mkdir(directory, 0700) == 0;
        if (!made && errno != EEXIST)
            return fail_errno(directory, "cannot make the directory", error, error_size);
    }
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(directory, "cannot open the directory", error, error_size);
    if (made && sync_parent(fd) < 0) {
        int status = fail_errno(directory, "cannot sync the parent directory", error, error_size);

        close(fd);
        return status;
    }
    *ret_fd = fd;
    return 0;
}

int assent_directory_check_storage(const char *directory, int directory_fd, char *error,
                                   size_t error_size)
{
    static const char remote[] = "where neither a lock nor a sync can be relied on";
    static const char memory[] = "which forgets everything when the machine stops";
    static const struct {
        uint32_t type;
        const char *name, *why;
    } refused[] = {
        {NFS_SUPER_MAGIC, "NFS", remote}, {CIFS_SUPER_MAGIC, "CIFS", remote},
        {SMB_SUPER_MAGIC, "SMB", remote}, {SMB2_SUPER_MAGIC, "SMB", remote},
        {TMPFS_MAGIC, "tmpfs", memory},   {RAMFS_MAGIC, "ramfs", memory},
    };
    struct statfs status;

    if (fstatfs(directory_fd, &status) < 0)
        return fail_errno(directory, "cannot examine the file system", error, error_size);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if ((uint32_t)status.f_type != refused[i].type)
            continue;
        snprintf(error, error_size,
                 "%s: is on %s, %s; a local disk is needed, or unsafe_storage allows it", directory,
                 refused[i].name, refused[i].why);
        return ASSENT_E_REFUSED;
    }
    return 0;
}

static int fail_locked(const char *directory, int fd, char *error, size_t error_size)
{
    char text[32] = "";
    ssize_t size = pread(fd, text, sizeof(text) - 1, 0);
    long pid = size > 0 ? strtol(text, NULL, 10) : 0;

    if (pid > 0)
        snprintf(error, error_size, "%s: in use by process %ld", directory, pid);
    else
        snprintf(error, error_size, "%s: in use by another process", directory);
    return ASSENT_E_LOCKED;
}

int assent_directory_lock(const char *directory, int directory_fd, bool read_only, int *ret_lock_fd,
                          char *error, size_t error_size)
{
    char text[32];
    bool holds_pid = true;
    int status, size, fd = openat(directory_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 && errno == EROFS && read_only) {
        holds_pid = false;
        fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (fd < 0)
        return fail_errno(directory, "cannot open lock", error, error_size);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            status = fail_locked(directory, fd, error, error_size);
        else
            status = fail_errno(directory, "cannot lock", error, error_size);
        goto out;
    }
    size = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (holds_pid && (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)size, 0) != size)) {
        status = fail_errno(directory, "cannot write lock", error, error_size);
        goto out;
    }
    *ret_lock_fd = fd;
    return 0;
out:
    close(fd);
    return status;
}

int assent_directory_check_format(const char *directory, int directory_fd, const char *owner,
                                  char *error, size_t error_size)
{
    char text[64], found_owner[32], end;
    unsigned number;
    ssize_t size;
    int fd = openat(directory_fd, "FORMAT", O_RDONLY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT) {
        snprintf(error, error_size, "%s: no FORMAT file: not a data directory", directory);
        return ASSENT_E_NOT_FOUND;
    }
    if (fd < 0)
        return fail_errno(directory, "cannot open FORMAT", error, error_size);
    size = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (size < 0)
        return fail_errno(directory, "cannot read FORMAT", error, error_size);
    text[size] = '\0';
    /* The number comes first and alone: a newer FORMAT may say the rest in another way. */
    if (sscanf(text, "assent %9u", &number) != 1 || number == 0) {
        snprintf(error, error_size, "%s: FORMAT is damaged", directory);
        return ASSENT_E_CORRUPT;
    }
    if (number > ASSENT_STORE_FORMAT) {
        snprintf(error, error_size, "%s: format %u is newer than this program's format %d",
                 directory, number, ASSENT_STORE_FORMAT);
        return ASSENT_E_VERSION;
    }
    if (sscanf(text, "assent %9u %31s%c", &number, found_owner, &end) != 3 || end != '\n') {
        snprintf(error, error_size, "%s: FORMAT is damaged", directory);
        return ASSENT_E_CORRUPT;
    }
    if (strcmp(found_owner, owner) != 0) {
        snprintf(error, error_size, "%s: belongs to %s, not to %s", directory, found_owner, owner);
        return ASSENT_E_VERSION;
    }
    return 0;
}

int assent_directory_write_format(const char *directory, int directory_fd, const char *owner,
                                  char *error, size_t error_size)
{
    char text[64];
    int size = snprintf(text, sizeof(text), "assent %d %s\n", ASSENT_STORE_FORMAT, owner);
    int status = 0;
    int fd = openat(directory_fd, "FORMAT.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0)
        return fail_errno(directory, "cannot create FORMAT.new", error, error_size);
    if (write(fd, text, (size_t)size) != size || fsync(fd) < 0 ||
        renameat(directory_fd, "FORMAT.new", directory_fd, "FORMAT") < 0 || fsync(directory_fd) < 0)
        status = fail_errno(directory, "cannot write FORMAT", error, error_size);
    close(fd);
    return status;
}
