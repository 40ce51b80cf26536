/*
 * address.h: what listener, dialer, connection and the blocking connect share about sockets.
 * Needs libc alone.
 */
#ifndef ASSENT_ADDRESS_H
#define ASSENT_ADDRESS_H

#include <sys/socket.h>

#include "assent/types.h"

struct addrinfo;

#define ASSENT_SOCKET_NAME_MAX 63 /* bytes of "[v6%scope]:port", without the NUL */

/* Resolves "host:port" (blocking); without host: every address (passive) or loopback. Free with
 * freeaddrinfo(). 0, ASSENT_E_INVALID, ASSENT_E_CONNECT with a sentence in error. */
ASSENT_CHECKED int assent_address_resolve(const char *address, bool passive,
                                          struct addrinfo **ret_list, char *error,
                                          size_t error_size);
/* "127.0.0.1:7372" or "[::1]:7372"; "unix" or "unknown" for other kinds. */
void assent_socket_name(const struct sockaddr *address, socklen_t size,
                        char text[ASSENT_SOCKET_NAME_MAX + 1]);
/* A non-blocking socket on its way to one address: the fd, or -errno. */
ASSENT_CHECKED int assent_socket_start(const struct addrinfo *to);
/* How it ended, once writable: 0 or -errno. */
ASSENT_CHECKED int assent_socket_finish(int fd);
/* No delay, keepalive, and TCP_USER_TIMEOUT (0: the system's). Does nothing where not TCP. */
void assent_socket_tune(int fd, uint32_t user_timeout_ms);

#endif
