/* work.c: reads the work of a branch from the command line, a file or stdin. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

static int read_file(const char *path, char **ret_work, size_t *ret_size, char *error,
                     size_t error_size)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    char *work = NULL;
    size_t size = 0;
    int result = -1;

    if (!file) {
        snprintf(error, error_size, "cannot read %s: %s", path, strerror(errno));
        return -1;
    }
    work = malloc(CTL_WORK_BYTES_MAX + 1);
    if (!work) {
        snprintf(error, error_size, "out of memory");
        goto out;
    }
    size = fread(work, 1, CTL_WORK_BYTES_MAX + 1, file);
    if (ferror(file)) {
        snprintf(error, error_size, "cannot read %s: %s", path, strerror(errno));
        goto out;
    }
    if (size > CTL_WORK_BYTES_MAX) {
        snprintf(error, error_size, "%s is longer than %d bytes", path, CTL_WORK_BYTES_MAX);
        goto out;
    }
    *ret_work = work;
    *ret_size = size;
    work = NULL;
    result = 0;
out:
    free(work);
    if (!is_stdin)
        fclose(file);
    return result;
}

int ctl_work_parse(const char *text, char **ret_work, size_t *ret_size, char *error,
                   size_t error_size)
{
    char *work, *to;

    if (text[0] == '@')
        return read_file(text + 1, ret_work, ret_size, error, error_size);
    work = to = malloc(strlen(text) + 1);
    if (!work) {
        snprintf(error, error_size, "out of memory");
        return -1;
    }
    for (const char *from = text; *from; from++) {
        if (from[0] == '\\' && from[1] == 'n') {
            *to++ = '\n';
            from++;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
    *ret_work = work;
    *ret_size = (size_t)(to - work);
    return 0;
}

int ctl_branch_parse(const char *text, char **ret_participant, char **ret_work, size_t *ret_size,
                     char *error, size_t error_size)
{
    const char *equals = strchr(text, '=');
    char *participant;

    if (!equals || equals == text) {
        snprintf(error, error_size, "--branch is NAME=WORK or NAME=@FILE, not \"%s\"", text);
        return -1;
    }
    participant = strndup(text, (size_t)(equals - text));
    if (!participant) {
        snprintf(error, error_size, "out of memory");
        return -1;
    }
    if (ctl_work_parse(equals + 1, ret_work, ret_size, error, error_size)) {
        free(participant);
        return -1;
    }
    *ret_participant = participant;
    return 0;
}
