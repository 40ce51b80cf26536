/* hash.h: uthash for the agent's tables; without memory the process ends by name. */
#ifndef ASSENT_AGENT_HASH_H
#define ASSENT_AGENT_HASH_H

#include "runtime.h"
#define uthash_fatal(message) assent_panic(1, "out_of_memory", "what=hash_table")
#include <uthash.h>

#endif
