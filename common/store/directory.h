/*
 * directory.h: the data directory itself: made, locked by one process, and marked by FORMAT with
 * the program it belongs to and the number of its layout. Not its contents.
 */
#ifndef ASSENT_STORE_DIRECTORY_H
#define ASSENT_STORE_DIRECTORY_H

#include "store.h"

#define ASSENT_STORE_FORMAT 1

/* All return 0 or an ASSENT_E_* with a sentence in error. */

/* Makes the directory (0700, durably) if it is missing and `create`; opens it. ASSENT_E_IO. */
ASSENT_CHECKED int assent_directory_open(const char *directory, bool create, int *ret_fd,
                                         char *error, size_t error_size);
/* Whether what is synced there will still be there: ASSENT_E_REFUSED on a network file system or in
 * memory; ASSENT_E_IO. */
ASSENT_CHECKED int assent_directory_check_storage(const char *directory, int directory_fd,
                                                  char *error, size_t error_size);
/* Takes the lock, which holds until the descriptor is closed. On a read-only file system, and only
 * if `read_only`, the directory itself is locked. ASSENT_E_LOCKED names the holder; ASSENT_E_IO. */
ASSENT_CHECKED int assent_directory_lock(const char *directory, int directory_fd, bool read_only,
                                         int *ret_lock_fd, char *error, size_t error_size);
/* ASSENT_E_NOT_FOUND: there is no FORMAT. ASSENT_E_VERSION: it is newer or another program's.
 * ASSENT_E_CORRUPT, ASSENT_E_IO. */
ASSENT_CHECKED int assent_directory_check_format(const char *directory, int directory_fd,
                                                 const char *owner, char *error, size_t error_size);
/* Writes FORMAT, whole or not at all, durably. ASSENT_E_IO. */
ASSENT_CHECKED int assent_directory_write_format(const char *directory, int directory_fd,
                                                 const char *owner, char *error, size_t error_size);

#endif
