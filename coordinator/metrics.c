/* metrics.c: /metrics in the Prometheus text format. */
#include "metrics.h"

#include <event2/buffer.h>

#include "server.h"

typedef unsigned long long ull;

void metrics_count_refusal(struct metrics *metrics, int error)
{
    if (error < 0 && -error < METRICS_ERRORS)
        metrics->refused[-error]++;
}

static void head(struct evbuffer *out, const char *name, const char *type, const char *help)
{
    evbuffer_add_printf(out, "# HELP assent_%s %s\n# TYPE assent_%s %s\n", name, help, name, type);
}

static void value(struct evbuffer *out, const char *name, const char *type, const char *help,
                  uint64_t number)
{
    head(out, name, type, help);
    evbuffer_add_printf(out, "assent_%s %llu\n", name, (ull)number);
}

static void write_transactions(const struct metrics *metrics, const struct census *census,
                               struct evbuffer *out)
{
    value(out, "transactions_begun_total", "counter", "Transactions begun.", metrics->begun);
    head(out, "transactions_total", "counter",
         "Transactions by protocol and outcome; one whose outcome turns mixed counts again.");
    for (int p = 0; p < METRICS_PROTOCOLS; p++)
        for (int o = ASSENT_OUTCOME_COMMITTED; o <= ASSENT_OUTCOME_HAZARD; o++)
            evbuffer_add_printf(
                out, "assent_transactions_total{protocol=\"%s\",outcome=\"%s\"} %llu\n",
                assent_protocol_name(p), assent_outcome_name(o), (ull)metrics->decided[p][o]);
    head(out, "transactions_active", "gauge", "Transactions that have not ended, by phase.");
    for (int phase = 0; phase < ASSENT_COORD_PHASE_COUNT; phase++)
        evbuffer_add_printf(out, "assent_transactions_active{phase=\"%s\"} %llu\n",
                            assent_coord_phase_name(phase), (ull)census->by_phase[phase]);
    value(out, "transactions_in_doubt", "gauge",
          "Transactions with branches asked to vote and not known to have obeyed.",
          census->in_doubt);
    head(out, "transactions_in_doubt_oldest_seconds", "gauge", "Age of the oldest of them.");
    evbuffer_add_printf(out, "assent_transactions_in_doubt_oldest_seconds %.3f\n",
                        (double)census->oldest_in_doubt_ms / 1000);
}

/* Bucket i of the store's commit times holds those below 64us << i, the last one all above. */
static void write_log(const struct assent_store_stats *log, struct evbuffer *out)
{
    uint64_t count = 0;

    head(out, "log_commit_seconds", "histogram", "Duration of one synced batch.");
    for (int i = 0; i < ASSENT_STORE_BUCKETS - 1; i++) {
        count += log->commit_us_bucket[i];
        evbuffer_add_printf(out, "assent_log_commit_seconds_bucket{le=\"%.6f\"} %llu\n",
                            (double)(64ull << i) / 1e6, (ull)count);
    }
    count += log->commit_us_bucket[ASSENT_STORE_BUCKETS - 1];
    evbuffer_add_printf(out,
                        "assent_log_commit_seconds_bucket{le=\"+Inf\"} %llu\n"
                        "assent_log_commit_seconds_sum %.6f\n"
                        "assent_log_commit_seconds_count %llu\n",
                        (ull)count, (double)log->commit_us_sum / 1e6, (ull)count);
    count = 0;
    head(out, "log_batch_records", "histogram", "Records in one batch.");
    for (int i = 0; i < ASSENT_STORE_BUCKETS - 1; i++) {
        count += log->batch_bucket[i];
        evbuffer_add_printf(out, "assent_log_batch_records_bucket{le=\"%llu\"} %llu\n", 1ull << i,
                            (ull)count);
    }
    count += log->batch_bucket[ASSENT_STORE_BUCKETS - 1];
    evbuffer_add_printf(out,
                        "assent_log_batch_records_bucket{le=\"+Inf\"} %llu\n"
                        "assent_log_batch_records_sum %llu\n"
                        "assent_log_batch_records_count %llu\n",
                        (ull)count, (ull)log->records, (ull)count);
    value(out, "log_forced_records_total", "counter", "Records that had to be on disk at once.",
          log->forced_records);
    value(out, "log_used_bytes", "gauge", "Bytes of the map in use.", log->used_bytes);
    value(out, "log_map_bytes", "gauge", "Size of the map.", log->map_bytes);
    value(out, "log_queued", "gauge", "Records waiting for a batch.", log->queued);
}

static void add(struct metrics *sum, const struct metrics *one)
{
    for (int p = 0; p < METRICS_PROTOCOLS; p++)
        for (int o = 0; o < METRICS_OUTCOMES; o++)
            sum->decided[p][o] += one->decided[p][o];
    for (int e = 0; e < METRICS_ERRORS; e++)
        sum->refused[e] += one->refused[e];
    sum->begun += one->begun;
    sum->connections += one->connections;
    sum->alarms += one->alarms;
    sum->damaged_records += one->damaged_records;
    sum->pruned += one->pruned;
}

void metrics_write(struct server *server, struct evbuffer *out)
{
    struct metrics sum = {0};
    const struct metrics *metrics = &sum;
    uint64_t connections = 0, keys = 0;
    struct assent_store_stats log;
    struct census census;

    for (unsigned i = 0; i < server->shard_count; i++) {
        add(&sum, &server->shards[i].metrics);
        connections += server->shards[i].session_count;
        keys += keys_count(&server->shards[i].keys);
    }
    census_take(server, &census);
    assent_store_stats(server->store, &log);
    write_transactions(metrics, &census, out);
    write_log(&log, out);
    value(out, "participants_up", "gauge", "Participants' resources that are connected.",
          census.participants_up);
    value(out, "participants_known", "gauge", "Participants' resources ever registered.",
          server->participants.count);
    value(out, "connections", "gauge", "Connections now.", connections);
    value(out, "connections_total", "counter", "Connections accepted.", metrics->connections);
    head(out, "refused_total", "counter", "Requests and connections refused, by reason.");
    for (int e = 1; e < METRICS_ERRORS; e++)
        if (metrics->refused[e] > 0)
            evbuffer_add_printf(out, "assent_refused_total{reason=\"%s\"} %llu\n",
                                assent_error_name(-e), (ull)metrics->refused[e]);
    value(out, "alarms_total", "counter", "Branches that contradict their decision.",
          metrics->alarms);
    value(out, "damaged_records", "gauge", "Records of the log that cannot be read.",
          metrics->damaged_records);
    value(out, "outcomes_pruned_total", "counter", "Outcomes dropped after the retention time.",
          metrics->pruned);
    value(out, "idempotency_keys", "gauge", "Idempotency keys that are kept.", keys);
}
