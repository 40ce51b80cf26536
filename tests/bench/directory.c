/* directory.c: temporary directories: made below the data directory, removed with all in them. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench.h"

int bench_directory_make(const char *parent, char *path, size_t size, char *error,
                         size_t error_size)
{
    if (snprintf(path, size, "%s/assent-bench-XXXXXX", parent) >= (int)size) {
        snprintf(error, error_size, "%s: the name is too long", parent);
        path[0] = '\0';
        return -1;
    }
    if (!mkdtemp(path)) {
        snprintf(error, error_size, "%s: cannot make a directory: %s", parent, strerror(errno));
        path[0] = '\0';
        return -1;
    }
    return 0;
}

int bench_directory_add(const char *path, char *error, size_t error_size)
{
    if (mkdir(path, 0700) == 0)
        return 0;
    snprintf(error, error_size, "%s: cannot make it: %s", path, strerror(errno));
    return -1;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

void bench_directory_remove(const char *path)
{
    if (path[0] != '\0' && nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
        fprintf(stderr, "assent-bench: %s: cannot be removed: %s\n", path, strerror(errno));
}
