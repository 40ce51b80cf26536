/* admin.c: the HTTP side. */
#include "admin.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/http.h>

#include "server.h"

#define HEADERS_BYTES_MAX 8192
#define BODY_BYTES_MAX    8192
#define TIMEOUT_S         5

static void reply(struct evhttp_request *request, int code, const char *reason, const char *type,
                  struct evbuffer *body)
{
    evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", type);
    evhttp_send_reply(request, code, reason, body);
}

static void reply_text(struct evhttp_request *request, int code, const char *reason,
                       const char *text)
{
    struct evbuffer *body = evbuffer_new();

    if (body != NULL)
        evbuffer_add_printf(body, "%s\n", text);
    reply(request, code, reason, "text/plain; charset=utf-8", body);
    if (body != NULL)
        evbuffer_free(body);
}

static void on_livez(struct evhttp_request *request, void *context)
{
    (void)context;
    reply_text(request, HTTP_OK, "OK", "ok");
}

static void on_readyz(struct evhttp_request *request, void *context)
{
    const struct server *server = context;

    if (server->state == SERVER_READING)
        reply_text(request, HTTP_SERVUNAVAIL, "Service Unavailable", "reading the log");
    else if (server->state == SERVER_DRAINING)
        reply_text(request, HTTP_SERVUNAVAIL, "Service Unavailable", "shutting down");
    else
        reply_text(request, HTTP_OK, "OK", "ok");
}

static void on_metrics(struct evhttp_request *request, void *context)
{
    struct evbuffer *body = evbuffer_new();

    if (body == NULL) {
        reply_text(request, HTTP_SERVUNAVAIL, "Service Unavailable", "out of memory");
        return;
    }
    server_hold(context);
    metrics_write(context, body);
    server_release(context);
    reply(request, HTTP_OK, "OK", "text/plain; version=0.0.4; charset=utf-8", body);
    evbuffer_free(body);
}

static void on_other(struct evhttp_request *request, void *context)
{
    (void)context;
    reply_text(request, HTTP_NOTFOUND, "Not Found", "try /livez, /readyz or /metrics");
}

/* Where it listens, with the port that the system picked. */
static void note_address(struct server *server, evutil_socket_t fd, const char *host)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    unsigned port = 0;

    if (getsockname(fd, (struct sockaddr *)&address, &size) == 0)
        port =
            ntohs(address.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&address)->sin6_port
                                                : ((const struct sockaddr_in *)&address)->sin_port);
    snprintf(server->admin_address, sizeof(server->admin_address),
             strchr(host, ':') == NULL ? "%s:%u" : "[%s]:%u", host, port);
}

int admin_open(struct server *server, char *error, size_t error_size)
{
    const char *address = server->options.admin;
    char host[48], port[8];
    struct evhttp_bound_socket *bound;

    if (address[0] == '\0')
        return 0;
    if (assent_address_split(address, host, sizeof(host), port, sizeof(port)) != 0) {
        snprintf(error, error_size, "admin: \"%s\" is not host:port", address);
        return ASSENT_E_INVALID;
    }
    if (host[0] == '\0')
        snprintf(host, sizeof(host), "0.0.0.0");
    server->admin = evhttp_new(server->base);
    if (server->admin == NULL) {
        snprintf(error, error_size, "admin: out of memory");
        return ASSENT_E_NOMEM;
    }
    /* Without these evhttp takes headers and bodies of any length. */
    evhttp_set_max_headers_size(server->admin, HEADERS_BYTES_MAX);
    evhttp_set_max_body_size(server->admin, BODY_BYTES_MAX);
    evhttp_set_timeout(server->admin, TIMEOUT_S);
    evhttp_set_allowed_methods(server->admin, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_cb(server->admin, "/livez", on_livez, server);
    evhttp_set_cb(server->admin, "/readyz", on_readyz, server);
    evhttp_set_cb(server->admin, "/metrics", on_metrics, server);
    evhttp_set_gencb(server->admin, on_other, server);
    bound =
        evhttp_bind_socket_with_handle(server->admin, host, (ev_uint16_t)strtoul(port, NULL, 10));
    if (bound == NULL) {
        snprintf(error, error_size, "admin: cannot listen on %s: %s", address, strerror(errno));
        return ASSENT_E_CONNECT;
    }
    note_address(server, evhttp_bound_socket_get_fd(bound), host);
    return 0;
}

void admin_close(struct server *server)
{
    if (server->admin != NULL)
        evhttp_free(server->admin);
    server->admin = NULL;
}
