/*
 * gtrid.h: makes and takes apart the names of transactions (assent/types.h has their text form).
 */
#ifndef ASSENT_BASE_GTRID_H
#define ASSENT_BASE_GTRID_H

#include "assent/types.h"

#define ASSENT_INCARNATION_MAX ((1u << 24) - 1)
#define ASSENT_SEQUENCE_MAX    ((1ull << 40) - 1)

/* Branch id as bytes: log id, gtrid, branch number big-endian. */
#define ASSENT_BRANCH_ID_BYTES (ASSENT_LOG_ID_BYTES + ASSENT_GTRID_BYTES + 4)

struct assent_gtrid assent_gtrid_make(uint64_t wall_ms, uint16_t coordinator, uint32_t incarnation,
                                      uint64_t sequence);
uint64_t assent_gtrid_time_ms(const struct assent_gtrid *gtrid);
uint16_t assent_gtrid_coordinator(const struct assent_gtrid *gtrid);
uint32_t assent_gtrid_incarnation(const struct assent_gtrid *gtrid);
uint64_t assent_gtrid_sequence(const struct assent_gtrid *gtrid);
bool assent_gtrid_equal(const struct assent_gtrid *a, const struct assent_gtrid *b);
/* <0, 0, >0 by (incarnation, sequence): the order in which one coordinator handed them out. */
int assent_gtrid_order(const struct assent_gtrid *a, const struct assent_gtrid *b);

/* In the branch number that an RM is given: the branch belongs to a 3pc. So an RM's list alone says
 * which protocol a prepared branch without a record is in. */
#define ASSENT_BRANCH_OF_3PC (1u << 31)

void assent_branch_id_encode(const struct assent_branch_id *id,
                             uint8_t bytes[ASSENT_BRANCH_ID_BYTES]);
void assent_branch_id_decode(const uint8_t bytes[ASSENT_BRANCH_ID_BYTES],
                             struct assent_branch_id *ret_id);

#endif
