/* options.c: the table of assent-agent's settings, see options.h. */
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTINGS_STRUCT struct agent_program_options
#include "setting_rows.h"

static const struct assent_setting settings[] = {
    STRING("name", name, "", "NAME", "of this participant; unique at its coordinators"),
    LIST("coordinator", coordinators, "ADDR[,ADDR...]", "host:port of each coordinator"),
    STRING("data_dir", data_dir, "assent-agent-data", "DIR", "directory of the agent's log"),
    BOOL("unsafe_storage", unsafe_storage, "false",
         "allow a data directory on NFS, CIFS or tmpfs, which can lose decisions"),
    STRING("listen", listen, "127.0.0.1:0", "ADDR", "address for other participants"),
    STRING("announce", announce, "", "ADDR",
           "where other participants reach it, if that is not listen's address"),
    LIST("resource", resources, "[NAME=]TYPE[:PARAMETERS]",
         "a resource manager: kv, null, mariadb, postgres, http, xa; its name is TYPE unless "
         "given"),
    STRING("cluster", cluster, "default", "NAME", "coordinators of another cluster are refused"),
    STRING("log_level", log_level, "info", "LEVEL", "debug, info, warn or error"),
    STRING("log_format", log_format, "logfmt", "FORMAT", "logfmt or json"),
    COUNT("workers", workers, "8", 1, 1024, "threads for work; others end branches"),
    DURATION("heartbeat", heartbeat_ms, "2s", 10, HOUR_MS,
             "between heartbeats; silence of three disconnects"),
    DURATION("inquire", inquire_ms, "5s", 1, HOUR_MS, "in doubt this long: ask the coordinator"),
    DURATION("retry_min", retry_min_ms, "100ms", 1, HOUR_MS,
             "first back-off of inquiries and of a failing resource"),
    DURATION("retry_max", retry_max_ms, "30s", 1, HOUR_MS, "longest back-off of both"),
    DURATION("work_timeout", work_timeout_ms, "10s", 1, DAY_MS,
             "longest that work may wait, as for a lock"),
    DURATION("in_doubt_warn", in_doubt_warn_ms, "30s", 1, DAY_MS,
             "warn of a branch in doubt this long, and again each time that doubles"),
    DURATION("recover", recover_ms, "60s", 100, DAY_MS,
             "between scans of what each resource lists as prepared, a quarter more or less"),
    DURATION("stop_timeout", stop_ms, "5s", 1, HOUR_MS,
             "longest wait for calls under way and output at a stop"),
    SIZE("map_size", map_bytes, "256M", MIB, 1024ull * 1024 * MIB,
         "the agent's log never grows beyond it"),
    SIZE("frame_bytes_max", frame_bytes_max, "1M", 4096, 64 * MIB, "longest message accepted"),
    COUNT("branches_max", branches_max, "1000000", 1, 100000000,
          "branches in memory, with finished ones that may still be asked for"),
    CRASH_AT(crash_at),
    {.key = NULL},
};

const struct assent_program agent_program = {
    .name = "assent-agent",
    .summary = "a participant: votes and obeys for local resource managers",
    .settings = settings,
};

/* Resource managers that are built in. */
static const struct assent_resource_ops *const types[] = {
    &assent_resource_kv,       &assent_resource_null, &assent_resource_xa,
#ifdef ASSENT_WITH_MARIADB
    &assent_resource_mariadb,
#endif
#ifdef ASSENT_WITH_POSTGRES
    &assent_resource_postgres,
#endif
#ifdef ASSENT_WITH_HTTP
    &assent_resource_http,
#endif
};
#define TYPES (sizeof(types) / sizeof(types[0]))

static void name_types(char *text, size_t size)
{
    size_t length = 0;

    for (size_t i = 0; i < TYPES && length < size; i++)
        length +=
            (size_t)snprintf(text + length, size - length, "%s%s", i ? ", " : "", types[i]->type);
}

const char *agent_options_problem(const struct agent_program_options *options)
{
    if (assent_log_level_find(options->log_level) < 0)
        return "log_level must be debug, info, warn or error";
    if (assent_log_format_find(options->log_format) < 0)
        return "log_format must be logfmt or json";
    return NULL;
}

void agent_options_fini(struct agent_program_options *options)
{
    assent_config_fini(&agent_program, options);
}

void agent_options_setup_log(const struct agent_program_options *options)
{
    assent_log_setup((enum assent_log_level)assent_log_level_find(options->log_level),
                     (enum assent_log_format)assent_log_format_find(options->log_format));
}

/* "a:1,b:2" and repeated flags make one list. */
static int split_coordinators(const struct assent_list *list, struct agent_options_parts *parts)
{
    size_t most = 0;

    for (size_t i = 0; i < list->count; i++) {
        most++;
        for (const char *c = list->items[i]; *c; c++)
            most += *c == ',';
    }
    parts->coordinators = calloc(most + 1, sizeof(*parts->coordinators));
    if (!parts->coordinators)
        return ASSENT_E_NOMEM;
    for (size_t i = 0; i < list->count; i++) {
        const char *rest = list->items[i];

        while (*rest) {
            size_t length = strcspn(rest, ",");

            if (length) {
                char *address = strndup(rest, length);

                if (!address)
                    return ASSENT_E_NOMEM;
                parts->coordinators[parts->coordinator_count++] = address;
            }
            rest += length + (rest[length] == ',');
        }
    }
    return 0;
}

/* [NAME=]TYPE[:PARAMETERS]; an equals sign after the colon belongs to the parameters. */
static int parse_resource(const char *text, struct agent_options_parts *parts, char *error,
                          size_t error_size)
{
    struct assent_participant_resource *resource = &parts->resources[parts->resource_count];
    const char *colon = strchrnul(text, ':');
    const char *equals = memchr(text, '=', (size_t)(colon - text));
    const char *type = equals ? equals + 1 : text;
    size_t type_length = (size_t)(colon - type);
    char known[256];

    for (size_t i = 0; i < TYPES; i++)
        if (strlen(types[i]->type) == type_length && memcmp(types[i]->type, type, type_length) == 0)
            resource->ops = types[i];
    if (!resource->ops) {
        name_types(known, sizeof(known));
        snprintf(error, error_size, "resource: there is no type \"%.*s\"; there are %s",
                 (int)type_length, type, known);
        return ASSENT_E_CONFIG;
    }
    parts->names[parts->resource_count] =
        equals ? strndup(text, (size_t)(equals - text)) : strndup(type, type_length);
    if (!parts->names[parts->resource_count])
        return ASSENT_E_NOMEM;
    resource->name = parts->names[parts->resource_count++];
    resource->parameters = *colon ? colon + 1 : "";
    return 0;
}

static int parse_resources(const struct assent_list *list, struct agent_options_parts *parts,
                           char *error, size_t error_size)
{
    parts->names = calloc(list->count + 1, sizeof(*parts->names));
    parts->resources = calloc(list->count + 1, sizeof(*parts->resources));
    if (!parts->names || !parts->resources)
        return ASSENT_E_NOMEM;
    for (size_t i = 0; i < list->count; i++) {
        int result = parse_resource(list->items[i], parts, error, error_size);

        if (result)
            return result;
    }
    return 0;
}

int agent_options_participant(const struct agent_program_options *options,
                              struct agent_options_parts *ret_parts,
                              struct assent_participant_options *ret_options, char *error,
                              size_t error_size)
{
    int result;

    memset(ret_parts, 0, sizeof(*ret_parts));
    snprintf(error, error_size, "out of memory");
    result = split_coordinators(&options->coordinators, ret_parts);
    if (result == 0)
        result = parse_resources(&options->resources, ret_parts, error, error_size);
    if (result)
        return result;
    *ret_options = (struct assent_participant_options){
        .size = sizeof(*ret_options),
        .name = options->name,
        .coordinators = (const char *const *)ret_parts->coordinators,
        .data_directory = options->data_dir,
        .listen = options->listen,
        .announce = options->announce,
        .cluster = options->cluster,
        .resources = ret_parts->resources,
        .resource_count = ret_parts->resource_count,
        .workers = (uint32_t)options->workers,
        .map_bytes = options->map_bytes,
        .heartbeat_ms = (uint32_t)options->heartbeat_ms,
        .frame_bytes_max = options->frame_bytes_max,
        .inquire_ms = (uint32_t)options->inquire_ms,
        .retry_min_ms = (uint32_t)options->retry_min_ms,
        .retry_max_ms = (uint32_t)options->retry_max_ms,
        .work_timeout_ms = (uint32_t)options->work_timeout_ms,
        .in_doubt_warn_ms = (uint32_t)options->in_doubt_warn_ms,
        .branches_max = (uint32_t)options->branches_max,
        .stop_ms = (uint32_t)options->stop_ms,
        .unsafe_storage = options->unsafe_storage,
        .recover_ms = (uint32_t)options->recover_ms,
    };
    return 0;
}

void agent_options_parts_free(struct agent_options_parts *parts)
{
    for (size_t i = 0; i < parts->coordinator_count; i++)
        free(parts->coordinators[i]);
    for (size_t i = 0; parts->names && i < parts->resource_count; i++)
        free(parts->names[i]);
    free(parts->coordinators);
    free(parts->names);
    free(parts->resources);
    memset(parts, 0, sizeof(*parts));
}
