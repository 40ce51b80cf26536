/* options.c: the table of assentd's settings, and which of them a reload may change. */
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "options.h"

#include "numbers.h"

#define SETTINGS_STRUCT struct options
#include "setting_rows.h"

static const struct assent_setting settings[] = {
    STRING("data_dir", data_dir, "assentd-data", "DIR", "directory of the decision log"),
    BOOL("unsafe_storage", unsafe_storage, "false",
         "allow a data directory on NFS, CIFS or tmpfs, which can lose decisions"),
    STRING("listen", listen, "127.0.0.1:7372", "ADDR", "address for participants and applications"),
    STRING("admin", admin, "127.0.0.1:7373", "ADDR",
           "address of /livez, /readyz and /metrics; empty: none"),
    COUNT("id", id, "1", 0, 65535, "number of this coordinator, in every gtrid"),
    COUNT("incarnation_min", incarnation_min, "0", 0, 16777215,
          "raise the log's incarnation at least to this, once after a restore"),
    COUNT("threads", threads, "0", 0, SHARDS_MAX,
          "event loops that share the transactions; 0: half as many as cores"),
    STRING("cluster", cluster, "default", "NAME", "peers of another cluster are refused"),
    STRING("log_level", log_level, "info", "LEVEL", "debug, info, warn or error"),
    STRING("log_format", log_format, "logfmt", "FORMAT", "logfmt or json"),
    DURATION("prepare_timeout", prepare_timeout_ms, "10s", 1, HOUR_MS,
             "from commit to the last vote; then the transaction aborts"),
    DURATION("precommit_timeout", precommit_timeout_ms, "5s", 1, HOUR_MS,
             "3pc: wait for acknowledgements of PreCommit; participants wait as long"),
    DURATION("retry_min", retry_min_ms, "100ms", 1, HOUR_MS, "first back-off of the second phase"),
    DURATION("retry_max", retry_max_ms, "30s", 1, HOUR_MS, "longest back-off of the second phase"),
    DURATION("abort_delivery", abort_delivery_ms, "30s", 1, HOUR_MS,
             "an abort is repeated this long; then whoever asks is told"),
    DURATION("timeout_default", timeout_default_ms, "60s", 1, 30 * DAY_MS,
             "from begin to decision, if the application names none"),
    DURATION("timeout_max", timeout_max_ms, "24h", 1, 30 * DAY_MS,
             "longest time-out an application gets"),
    DURATION("work_timeout", work_timeout_ms, "30s", 1, DAY_MS,
             "longest wait for a participant's answer to work or a query"),
    DURATION("drain", drain_ms, "5s", 0, HOUR_MS,
             "at SIGTERM: wait this long for running transactions"),
    DURATION("heartbeat", heartbeat_ms, "2s", 10, HOUR_MS,
             "between heartbeats to participants; silence of three disconnects"),
    DURATION("handshake", handshake_ms, "5s", 10, HOUR_MS, "from accept to a complete hello"),
    DURATION("user_timeout", user_timeout_ms, "20s", 0, HOUR_MS,
             "TCP_USER_TIMEOUT and keepalive; 0: the system's"),
    DURATION("retention", retention_ms, "24h", 1, 3650 * DAY_MS,
             "finished outcomes can be asked for this long"),
    DURATION("lazy_flush", lazy_flush_ms, "10ms", 1, 60000,
             "records that may be lost wait this long for a batch to ride with"),
    SIZE("map_size", map_bytes, "16G", MIB, 1024 * GIB, "the log never grows beyond it"),
    SIZE("disk_low", disk_low_bytes, "64M", 0, 1024 * GIB,
         "refuse new transactions when the disk has less room"),
    SIZE("frame_max", frame_bytes_max, "1M", 4 * KIB, 64 * MIB, "longest frame accepted"),
    SIZE("output_max", output_bytes_max, "16M", 64 * KIB, GIB,
         "queued output that disconnects a slow reader"),
    SIZE("work_max", work_bytes_max, "1M", 0, 64 * MIB, "work bytes of one one-shot transaction"),
    SIZE("work_total_max", work_bytes_total_max, "256M", 0, 64 * GIB,
         "work bytes held for all one-shot transactions"),
    COUNT("transactions_max", transactions_max, "65536", 1, 16777216,
          "transactions that have not ended; beyond it begin is refused"),
    COUNT("connections_max", connections_max, "4096", 1, 1000000, "connections at one time"),
    COUNT("requests_max", requests_max, "1024", 1, 1000000,
          "requests of one connection that wait for an answer"),
    COUNT("participants_max", participants_max, "4096", 1, 1000000,
          "names of participants' resources ever registered"),
    COUNT("keys_max", keys_max, "1000000", 1, 1000000000, "idempotency keys kept in memory"),
    CRASH_AT(crash_at),
    {.key = NULL},
};

const struct assent_program options_program = {
    .name = "assentd",
    .summary = "the commit coordinator: decides, remembers, and tells",
    .settings = settings,
};

/* Settings that take effect at a reload; all others need a restart. */
static const char *const reloadable[] = {
    "log_level",         "log_format",      "prepare_timeout",
    "precommit_timeout", "retry_min",       "retry_max",
    "abort_delivery",    "timeout_default", "timeout_max",
    "work_timeout",      "drain",           "retention",
    "work_max",          "work_total_max",  "requests_max",
    "participants_max",  "keys_max",        NULL,
};

static bool is_name(const char *text)
{
    size_t size = strlen(text);

    return size > 0 && size <= ASSENT_NAME_MAX &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz"
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789_.-") == size;
}

static const char *problem(const struct options *options)
{
    if (assent_log_level_find(options->log_level) < 0)
        return "log_level must be debug, info, warn or error";
    if (assent_log_format_find(options->log_format) < 0)
        return "log_format must be logfmt or json";
    if (options->retry_min_ms > options->retry_max_ms)
        return "retry_min must not be above retry_max";
    if (!is_name(options->cluster))
        return "cluster must be 1 to 63 of [A-Za-z0-9_.-]";
    return NULL;
}

enum assent_config_verdict options_load(int argc, char **argv, struct options *options)
{
    enum assent_config_verdict verdict;

    memset(options, 0, sizeof(*options));
    verdict = assent_config_load(&options_program, argc, argv, options);
    if (verdict != ASSENT_CONFIG_RUN)
        return verdict;
    if (problem(options) != NULL) {
        fprintf(stderr, "assentd: %s\n", problem(options));
        return ASSENT_CONFIG_BAD;
    }
    return ASSENT_CONFIG_RUN;
}

void options_fini(struct options *options)
{
    assent_config_fini(&options_program, options);
}

static const struct assent_setting *setting(const char *key)
{
    for (const struct assent_setting *s = settings; s->key != NULL; s++)
        if (strcmp(s->key, key) == 0)
            return s;
    return NULL;
}

static bool is_reloadable(const char *key)
{
    for (size_t i = 0; reloadable[i] != NULL; i++)
        if (strcmp(reloadable[i], key) == 0)
            return true;
    return false;
}

struct change {
    struct options *options, *fresh;
};

static void swap(void *a, void *b, size_t size)
{
    uint8_t kept[sizeof(uint64_t)];

    memcpy(kept, a, size);
    memcpy(a, b, size);
    memcpy(b, kept, size);
}

static void on_changed(const char *key, void *context)
{
    struct change *change = context;
    const struct assent_setting *s = setting(key);
    void *to, *from;

    ASSENT_ASSERT(s != NULL);
    if (!is_reloadable(key)) {
        assent_log(ASSENT_LOG_WARN, "reload_needs_restart", "key=%s", key);
        return;
    }
    to = (char *)change->options + s->offset;
    from = (char *)change->fresh + s->offset;
    /* Exchanged, so that whoever frees `fresh` frees the old text. */
    if (s->type == ASSENT_SETTING_STRING)
        swap(to, from, sizeof(char *));
    else
        swap(to, from, sizeof(uint64_t));
    assent_log(ASSENT_LOG_INFO, "reloaded", "key=%s", key);
}

void options_apply(struct options *options, struct options *fresh)
{
    struct change change = {options, fresh};

    if (problem(fresh) != NULL) {
        assent_log(ASSENT_LOG_ERROR, "reload_failed", "error=%s", assent_log_quote(problem(fresh)));
        return;
    }
    assent_config_diff(&options_program, options, fresh, on_changed, &change);
}

void options_setup_log(const struct options *options)
{
    assent_log_setup((enum assent_log_level)assent_log_level_find(options->log_level),
                     (enum assent_log_format)assent_log_format_find(options->log_format));
}

struct assent_coord_config options_coord_config(const struct options *options, uint32_t incarnation)
{
    return (struct assent_coord_config){
        .incarnation = incarnation,
        .prepare_timeout_ms = (uint32_t)options->prepare_timeout_ms,
        .precommit_timeout_ms = (uint32_t)options->precommit_timeout_ms,
        .retry_min_ms = (uint32_t)options->retry_min_ms,
        .retry_max_ms = (uint32_t)options->retry_max_ms,
        .abort_delivery_ms = (uint32_t)options->abort_delivery_ms,
    };
}

unsigned options_threads(const struct options *options)
{
    cpu_set_t cores;
    unsigned half = 1;

    if (options->threads > 0)
        return (unsigned)options->threads;
    /* One half is the log writer's, the kernel's and the neighbours'. */
    if (sched_getaffinity(0, sizeof(cores), &cores) == 0)
        half = (unsigned)CPU_COUNT(&cores) / 2;
    return half < 1 ? 1 : half > SHARDS_MAX ? SHARDS_MAX : half;
}

struct assent_net_limits options_net_limits(const struct options *options)
{
    return (struct assent_net_limits){
        .frame_bytes_max = (uint32_t)options->frame_bytes_max,
        .first_frame_bytes_max = 4096,
        .output_bytes_max = (uint32_t)options->output_bytes_max,
        .handshake_ms = (uint32_t)options->handshake_ms,
        .heartbeat_ms = (uint32_t)options->heartbeat_ms,
        .user_timeout_ms = (uint32_t)options->user_timeout_ms,
    };
}
