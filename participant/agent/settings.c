/* settings.c: the options of a participant, checked, copied, and with every default filled in. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"

#define WORKERS_MAX     1024
#define FRAME_BYTES_MIN 4096
#define FRAME_BYTES_MAX (64u << 20)
/* Before the hello, which is as long as names and resources may be. */
#define FIRST_FRAME_BYTES_MAX 8192
#define HANDSHAKE_MS          5000
#define USER_TIMEOUT_MS       20000

__attribute__((format(printf, 3, 4))) static int complain(char *error, size_t error_size,
                                                          const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error, error_size, format, arguments);
    va_end(arguments);
    return ASSENT_E_INVALID;
}

static bool good_name(const char *name)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    size_t length = name ? strlen(name) : 0;

    return length > 0 && length <= ASSENT_NAME_MAX && strspn(name, allowed) == length;
}

/* What the declared capabilities need must be there. */
static const char *missing_function(const struct assent_resource_ops *ops)
{
    if (!ops->open || !ops->close)
        return "open or close";
    if (!ops->begin || !ops->work)
        return "begin or work";
    if (!ops->prepare || !ops->commit || !ops->rollback)
        return "prepare, commit or rollback";
    if ((ops->capabilities & ASSENT_CAP_EVIDENCE) && (!ops->evidence || !ops->forget))
        return "evidence or forget, although it declares evidence";
    if ((ops->capabilities & ASSENT_CAP_BATCH) && !ops->batch)
        return "batch, although it declares it";
    if ((ops->capabilities & ASSENT_CAP_LATER) && (!ops->descriptor || !ops->progress))
        return "descriptor or progress, although it declares that calls go on later";
    if ((ops->capabilities & ASSENT_CAP_PREPARED_LIST) && !ops->recover)
        return "recover, although it declares a list of prepared branches";
    return NULL;
}

static int check_resources(const struct assent_participant_options *options, char *error,
                           size_t error_size)
{
    if (options->resource_count < 1 || options->resource_count > ASSENT_RESOURCES_MAX)
        return complain(error, error_size, "a participant has 1 to %d resources, not %zu",
                        ASSENT_RESOURCES_MAX, options->resource_count);
    for (size_t i = 0; i < options->resource_count; i++) {
        const struct assent_participant_resource *resource = &options->resources[i];
        const struct assent_resource_ops *ops = resource->ops;

        if (!good_name(resource->name))
            return complain(error, error_size,
                            "resource name \"%s\" is not 1 to %d of A-Z a-z 0-9 _ . -",
                            resource->name ? resource->name : "", ASSENT_NAME_MAX);
        for (size_t k = 0; k < i; k++)
            if (strcmp(options->resources[k].name, resource->name) == 0)
                return complain(error, error_size, "two resources are named %s", resource->name);
        if (!ops || ops->size < sizeof(*ops) || !good_name(ops->type))
            return complain(error, error_size,
                            "resource %s: its table of operations is not of this version",
                            resource->name);
        if (missing_function(ops))
            return complain(error, error_size, "resource %s has no %s", resource->name,
                            missing_function(ops));
    }
    return 0;
}

static int check(const struct assent_participant_options *options, char *error, size_t error_size)
{
    char host[ASSENT_ADDRESS_MAX + 1], port[32];

    if (!good_name(options->name))
        return complain(error, error_size, "name \"%s\" is not 1 to %d of A-Z a-z 0-9 _ . -",
                        options->name ? options->name : "", ASSENT_NAME_MAX);
    if (!good_name(options->cluster))
        return complain(error, error_size, "cluster \"%s\" is not 1 to %d of A-Z a-z 0-9 _ . -",
                        options->cluster, ASSENT_NAME_MAX);
    if (!options->coordinators || !options->coordinators[0])
        return complain(error, error_size, "no coordinator is named");
    for (size_t i = 0; options->coordinators[i]; i++)
        if (assent_address_split(options->coordinators[i], host, sizeof(host), port, sizeof(port)))
            return complain(error, error_size, "coordinator \"%s\" is not host:port",
                            options->coordinators[i]);
    if (options->announce[0] &&
        (strlen(options->announce) > ASSENT_ADDRESS_MAX ||
         assent_address_split(options->announce, host, sizeof(host), port, sizeof(port))))
        return complain(error, error_size, "announce \"%.100s\" is not host:port",
                        options->announce);
    if (!options->data_directory || !options->data_directory[0])
        return complain(error, error_size, "no data directory is named");
    if (options->workers > WORKERS_MAX)
        return complain(error, error_size, "workers %u are more than %d", options->workers,
                        WORKERS_MAX);
    if (options->frame_bytes_max < FRAME_BYTES_MIN || options->frame_bytes_max > FRAME_BYTES_MAX)
        return complain(error, error_size, "frame_bytes_max must be from %d to %u", FRAME_BYTES_MIN,
                        FRAME_BYTES_MAX);
    if (options->retry_min_ms > options->retry_max_ms)
        return complain(error, error_size, "retry_min_ms %u is above retry_max_ms %u",
                        options->retry_min_ms, options->retry_max_ms);
    return check_resources(options, error, error_size);
}

static void fill_in(struct assent_participant_options *options)
{
#define DEFAULT(field, value) options->field = options->field ? options->field : (value)
    DEFAULT(listen, "127.0.0.1:0");
    DEFAULT(announce, "");
    DEFAULT(cluster, "default");
    DEFAULT(workers, 8);
    DEFAULT(map_bytes, 256ull << 20);
    DEFAULT(heartbeat_ms, 2000);
    DEFAULT(frame_bytes_max, 1u << 20);
    DEFAULT(inquire_ms, 5000);
    DEFAULT(retry_min_ms, 100);
    DEFAULT(retry_max_ms, 30000);
    DEFAULT(work_timeout_ms, 10000);
    DEFAULT(in_doubt_warn_ms, 30000);
    DEFAULT(branches_max, 1000000);
    DEFAULT(stop_ms, 5000);
    DEFAULT(recover_ms, 60000);
#undef DEFAULT
}

/* Replaces every borrowed string by a copy; what could not be copied is NULL. */
static int own(struct assent_participant_options *options)
{
    const struct assent_participant_resource *resources = options->resources;
    const char *const *coordinators = options->coordinators;
    struct assent_participant_resource *own_resources;
    char **own_coordinators;
    size_t count = 0;
    bool all;

    while (coordinators[count])
        count++;
    own_coordinators = calloc(count + 1, sizeof(*own_coordinators));
    own_resources = calloc(options->resource_count, sizeof(*own_resources));
    options->name = strdup(options->name);
    options->data_directory = strdup(options->data_directory);
    options->listen = strdup(options->listen);
    options->announce = strdup(options->announce);
    options->cluster = strdup(options->cluster);
    options->coordinators = (const char *const *)own_coordinators;
    options->resources = own_resources;
    all = options->name && options->data_directory && options->listen && options->announce &&
          options->cluster && own_coordinators && own_resources;
    for (size_t i = 0; own_coordinators && i < count; i++) {
        own_coordinators[i] = strdup(coordinators[i]);
        all &= own_coordinators[i] != NULL;
    }
    for (size_t i = 0; own_resources && i < options->resource_count; i++) {
        own_resources[i].ops = resources[i].ops;
        own_resources[i].name = strdup(resources[i].name);
        own_resources[i].parameters =
            strdup(resources[i].parameters ? resources[i].parameters : "");
        all &= own_resources[i].name && own_resources[i].parameters;
    }
    return all ? 0 : ASSENT_E_NOMEM;
}

/* For what own() has copied. */
static void give_back(const void *copy)
{
    free((void *)(uintptr_t)copy);
}

void agent_settings_free(struct assent_participant_options *options)
{
    for (size_t i = 0; options->coordinators && options->coordinators[i]; i++)
        give_back(options->coordinators[i]);
    for (size_t i = 0; options->resources && i < options->resource_count; i++) {
        give_back(options->resources[i].name);
        give_back(options->resources[i].parameters);
    }
    give_back(options->coordinators);
    give_back(options->resources);
    give_back(options->name);
    give_back(options->data_directory);
    give_back(options->listen);
    give_back(options->announce);
    give_back(options->cluster);
    memset(options, 0, sizeof(*options));
}

int agent_settings_copy(const struct assent_participant_options *from,
                        struct assent_participant_options *to, char *error, size_t error_size)
{
    struct assent_participant_options options = {0};
    int result;

    /* A caller built against an older header has a shorter struct: the rest is default. */
    if (from->size < offsetof(struct assent_participant_options, workers))
        return complain(error, error_size, "the options' size %zu is of no known version",
                        from->size);
    memcpy(&options, from, from->size < sizeof(options) ? from->size : sizeof(options));
    fill_in(&options);
    result = check(&options, error, error_size);
    if (result)
        return result;
    result = own(&options);
    if (result) {
        agent_settings_free(&options);
        snprintf(error, error_size, "out of memory");
        return result;
    }
    *to = options;
    return 0;
}

struct assent_net_limits agent_net_limits(const struct assent_participant *agent)
{
    uint32_t frame = (uint32_t)agent->options.frame_bytes_max;

    return (struct assent_net_limits){
        .frame_bytes_max = frame,
        .first_frame_bytes_max = frame < FIRST_FRAME_BYTES_MAX ? frame : FIRST_FRAME_BYTES_MAX,
        .output_bytes_max = AGENT_OUTPUT_BYTES_MAX,
        .handshake_ms = HANDSHAKE_MS,
        .heartbeat_ms = agent->options.heartbeat_ms,
        .user_timeout_ms = USER_TIMEOUT_MS,
    };
}
