/*
 * log_records.h: reads the records of a stopped data directory, assentd's or assent-agent's, for
 * `log dump` and `log verify`. Every record goes through its checksum and its decoder, and must lie
 * under its own key.
 */
#ifndef ASSENT_CTL_LOG_RECORDS_H
#define ASSENT_CTL_LOG_RECORDS_H

#include "store.h"

#include "ctl.h"

struct ctl_log {
    struct assent_store *store;
    const char *owner; /* "assentd" or "assent-agent" */
};

/* Opens directory read-only, whichever program it belongs to. An exit code; says what failed. */
int ctl_log_open(struct ctl *ctl, const char *directory, struct ctl_log *ret_log);
void ctl_log_close(struct ctl_log *log);
void ctl_log_id_text(const uint8_t id[ASSENT_LOG_ID_BYTES], char text[2 * ASSENT_LOG_ID_BYTES + 1]);

/*
 * Calls visit for each record of every table. record is borrowed: an object with "table", "key" (of
 * a transaction or branch its gtrid; in hex if it is no such key) and what the record says; of a
 * damaged one "damage" says what is wrong and "bytes" holds it in hex. An exit code; damage alone
 * is no failure.
 */
int ctl_log_scan(struct ctl *ctl, struct ctl_log *log,
                 void (*visit)(const json_t *record, void *context), void *context);

#endif
