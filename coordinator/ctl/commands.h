/* commands.h: every command of assentctl, one X-list for declarations and for the table. */
#ifndef ASSENT_CTL_COMMANDS_H
#define ASSENT_CTL_COMMANDS_H

#include "ctl.h"

#define CTL_COMMANDS(X)                                                                            \
    X(tx_run)                                                                                      \
    X(tx_begin)                                                                                    \
    X(tx_work)                                                                                     \
    X(tx_enlist)                                                                                   \
    X(tx_commit)                                                                                   \
    X(tx_rollback)                                                                                 \
    X(tx_list)                                                                                     \
    X(tx_show)                                                                                     \
    X(tx_explain)                                                                                  \
    X(tx_wait)                                                                                     \
    X(tx_resolve)                                                                                  \
    X(tx_acknowledge)                                                                              \
    X(participants_list)                                                                           \
    X(participants_branches)                                                                       \
    X(participants_test)                                                                           \
    X(verify)                                                                                      \
    X(kv_get)                                                                                      \
    X(kv_dump)                                                                                     \
    X(log_dump)                                                                                    \
    X(log_verify)                                                                                  \
    X(log_audit)                                                                                   \
    X(log_accept)                                                                                  \
    X(health)                                                                                      \
    X(version)

#define X(name) extern const struct ctl_command ctl_##name;
CTL_COMMANDS(X)
#undef X

#endif
