/*
 * http_settings.c: the parameters of the HTTP resource, checked before anything is sent, and the
 * file with header lines, which keeps secrets off the command line.
 *
 *   try=URL,confirm=URL,cancel=URL[,ping=URL][,query=URL][,header_file=PATH][,ca=PATH]
 *   [,timeout=10s][,connect_timeout=3s][,body=64K][,map=64M]
 */
#include "http.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "parameters.h"

#define HOUR_MS  3600000
#define HOST_MAX 255

/* --- parameters ------------------------------------------------------------------------------- */

/* NULL, or what is wrong. */
static const char *url_problem(const char *text, bool *ret_plain, char host[HOST_MAX + 1])
{
    char *scheme = NULL, *user = NULL, *name = NULL, *fragment = NULL;
    CURLU *url = curl_url();
    const char *problem = "is not a URL";

    if (url == NULL)
        return "cannot be read: out of memory";
    if (curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
        goto out;
    problem = "is neither http:// nor https://";
    if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
        goto out;
    problem = "has a user or a password: they belong in header_file, as Authorization";
    if (curl_url_get(url, CURLUPART_USER, &user, 0) == CURLUE_OK)
        goto out;
    problem = "has a fragment";
    if (curl_url_get(url, CURLUPART_FRAGMENT, &fragment, 0) == CURLUE_OK)
        goto out;
    problem = "has no host";
    if (curl_url_get(url, CURLUPART_HOST, &name, 0) != CURLUE_OK || strlen(name) > HOST_MAX)
        goto out;
    *ret_plain = strcmp(scheme, "http") == 0;
    strcpy(host, name);
    problem = NULL;
out:
    curl_free(fragment);
    curl_free(name);
    curl_free(user);
    curl_free(scheme);
    curl_url_cleanup(url);
    return problem;
}

struct named_url {
    const char *name, *url;
    bool needed;
};
#define URLS 5

static void list_urls(const struct http_settings *settings, struct named_url urls[URLS])
{
    urls[0] = (struct named_url){"try", settings->url[HTTP_TRY], true};
    urls[1] = (struct named_url){"confirm", settings->url[HTTP_CONFIRM], true};
    urls[2] = (struct named_url){"cancel", settings->url[HTTP_CANCEL], true};
    urls[3] = (struct named_url){"ping", settings->ping_url, false};
    urls[4] = (struct named_url){"query", settings->query_url, false};
}

static int check_urls(const struct http_settings *settings, char *error, size_t error_size)
{
    struct named_url urls[URLS];
    char host[HOST_MAX + 1];
    const char *problem;
    bool plain;

    list_urls(settings, urls);
    for (size_t i = 0; i < URLS; i++) {
        if (urls[i].url[0] == '\0' && !urls[i].needed)
            continue;
        problem = urls[i].url[0] == '\0' ? "is missing" : url_problem(urls[i].url, &plain, host);
        if (problem != NULL) {
            snprintf(error, error_size, "http: parameter \"%s\" %s", urls[i].name, problem);
            return ASSENT_E_CONFIG;
        }
    }
    return 0;
}

int http_settings_parse(const char *text, struct http_settings *settings, char *error,
                        size_t error_size)
{
#define URL_ROW(name, to)                                                                          \
    {                                                                                              \
        name, ASSENT_PARAMETER_TEXT, NULL, 0, HTTP_URL_MAX, NULL, to                               \
    }
    const struct assent_parameter parameters[] = {
        URL_ROW("try", settings->url[HTTP_TRY]),
        URL_ROW("confirm", settings->url[HTTP_CONFIRM]),
        URL_ROW("cancel", settings->url[HTTP_CANCEL]),
        URL_ROW("ping", settings->ping_url),
        URL_ROW("query", settings->query_url),
        {"header_file", ASSENT_PARAMETER_TEXT, NULL, 0, HTTP_PATH_MAX, NULL, settings->header_file},
        {"ca", ASSENT_PARAMETER_TEXT, NULL, 0, HTTP_PATH_MAX, NULL, settings->ca_file},
        {"timeout", ASSENT_PARAMETER_DURATION, &settings->timeout_ms, 1, HOUR_MS, NULL, NULL},
        {"connect_timeout", ASSENT_PARAMETER_DURATION, &settings->connect_timeout_ms, 1, HOUR_MS,
         NULL, NULL},
        {"body", ASSENT_PARAMETER_SIZE, &settings->body_bytes_max, 1024, 16u << 20, NULL, NULL},
        {"map", ASSENT_PARAMETER_SIZE, &settings->map_bytes, 1u << 20, 1ull << 40, NULL, NULL},
    };
#undef URL_ROW
    struct curl_slist *lines = NULL;
    char reason[ASSENT_REASON_MAX + 1];
    int r;

    memset(settings, 0, sizeof(*settings));
    settings->timeout_ms = 10000;
    settings->connect_timeout_ms = 3000;
    settings->body_bytes_max = 64u << 10;
    settings->map_bytes = 64u << 20;
    r = assent_parameters_parse("http", text, parameters,
                                sizeof(parameters) / sizeof(parameters[0]), error, error_size);
    if (r == 0)
        r = check_urls(settings, error, error_size);
    if (r != 0)
        return r;
    if (settings->ca_file[0] != '\0' && access(settings->ca_file, R_OK) != 0) {
        snprintf(error, error_size, "http: parameter \"ca\": %s", strerror(errno));
        return ASSENT_E_CONFIG;
    }
    if (http_settings_headers(settings, &lines, reason) != 0) {
        snprintf(error, error_size, "http: %s", reason);
        r = ASSENT_E_CONFIG;
    }
    curl_slist_free_all(lines);
    return r;
}

/* --- header lines ----------------------------------------------------------------------------- */

/* Ours, or what frames the message. */
static bool reserved(const char *line, size_t name_size)
{
    static const char *const names[] = {
        "Accept",          "Connection",  "Content-Length", "Content-Type",      "Expect", "Host",
        "Idempotency-Key", "traceparent", "Trailer",        "Transfer-Encoding", "Upgrade"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strlen(names[i]) == name_size && strncasecmp(names[i], line, name_size) == 0)
            return true;
    return false;
}

/* NULL, or what is wrong with "Name: value". */
static const char *line_problem(const char *line)
{
    size_t name = strcspn(line, ":");

    if (line[name] != ':' || name == 0)
        return "is not \"Name: value\"";
    for (size_t i = 0; i < name; i++)
        if (!isalnum((unsigned char)line[i]) && strchr("!#$%&'*+-.^_`|~", line[i]) == NULL)
            return "is not \"Name: value\"";
    for (const char *c = line; *c != '\0'; c++)
        if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f)
            return "has a control byte";
    if (line[name + 1 + strspn(line + name + 1, " \t")] == '\0')
        return "has no value";
    return reserved(line, name) ? "is a header that Assent sets itself" : NULL;
}

static int read_file(const char *path, char *text, size_t capacity, size_t *ret_size,
                     char reason[ASSENT_REASON_MAX + 1])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t size = 0;
    ssize_t n = 0;

    while (fd >= 0 && size < capacity && (n = read(fd, text + size, capacity - size)) > 0)
        size += (size_t)n;
    if (fd < 0 || n < 0)
        snprintf(reason, ASSENT_REASON_MAX + 1, "parameter \"header_file\": %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    if (fd < 0 || n < 0)
        return ASSENT_E_IO;
    if (size == capacity) {
        snprintf(reason, ASSENT_REASON_MAX + 1, "parameter \"header_file\": over %zu bytes",
                 capacity - 1);
        return ASSENT_E_TOO_BIG;
    }
    *ret_size = size;
    return 0;
}

int http_settings_headers(const struct http_settings *settings, struct curl_slist **lines,
                          char reason[ASSENT_REASON_MAX + 1])
{
    char text[HTTP_HEADER_BYTES_MAX / 4 + 1], *rest = text, *line;
    struct curl_slist *longer;
    const char *problem;
    size_t size;
    int r = 0;

    if (settings->header_file[0] == '\0')
        return 0;
    r = read_file(settings->header_file, text, sizeof(text), &size, reason);
    if (r != 0)
        return r;
    text[size] = '\0';
    for (unsigned number = 1; r == 0 && (line = strsep(&rest, "\n")) != NULL; number++) {
        line[strcspn(line, "\r")] = '\0';
        if (*line == '\0' || *line == '#')
            continue;
        if ((problem = line_problem(line)) != NULL) {
            snprintf(reason, ASSENT_REASON_MAX + 1, "parameter \"header_file\": line %u %s", number,
                     problem);
            r = ASSENT_E_CONFIG;
        } else if ((longer = curl_slist_append(*lines, line)) == NULL) {
            snprintf(reason, ASSENT_REASON_MAX + 1, "out of memory");
            r = ASSENT_E_NOMEM;
        } else {
            *lines = longer;
        }
    }
    explicit_bzero(text, sizeof(text));
    return r;
}

/* --- risks ------------------------------------------------------------------------------------ */

static bool is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
           (strncmp(host, "127.", 4) == 0 && host[strspn(host, "0123456789.")] == '\0');
}

void http_settings_report(const struct http *http)
{
    const struct http_settings *settings = &http->settings;
    char text[ASSENT_REASON_MAX + 1], host[HOST_MAX + 1];
    struct named_url urls[URLS];
    struct stat file;
    bool plain;

    if (http->report == NULL)
        return;
    list_urls(settings, urls);
    for (size_t i = 0; i < URLS; i++) {
        if (urls[i].url[0] == '\0' || url_problem(urls[i].url, &plain, host) != NULL || !plain ||
            is_loopback(host))
            continue;
        snprintf(text, sizeof(text),
                 "the URL of \"%s\" is http:// to another host: whoever is between can read and "
                 "change what is asked and answered",
                 urls[i].name);
        http->report(http->report_context, true, text);
    }
    if (settings->header_file[0] != '\0' && stat(settings->header_file, &file) == 0 &&
        (file.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        http->report(http->report_context, true,
                     "header_file can be read by others than its owner");
}
