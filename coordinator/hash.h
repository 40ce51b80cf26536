/* hash.h: uthash as assentd uses it: no memory for a table's index ends the process, which loses
 * nothing that was promised. */
#ifndef ASSENT_COORDINATOR_HASH_H
#define ASSENT_COORDINATOR_HASH_H

#include "runtime.h"

#define uthash_fatal(message) assent_panic(1, "no_memory", "what=%s", assent_log_quote(message))
#include <uthash.h>

#endif
