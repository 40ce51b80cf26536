/*
 * resource_conformance.h: what participant.h asks of every resource, as one suite that runs against
 * any table of operations. What a resource does not declare is not asked of it.
 */
#ifndef ASSENT_TEST_RESOURCE_CONFORMANCE_H
#define ASSENT_TEST_RESOURCE_CONFORMANCE_H

#include "assent/participant.h"

struct conformance_subject {
    const struct assent_resource_ops *ops;
    const char *parameters;
    const char *bad_parameters; /* open must refuse them and name bad_name */
    const char *bad_name;
    const char *write;     /* printf format for work that writes under a number, %u */
    const char *read_only; /* work after which prepare answers READ_ONLY */
    void (*reset)(void);   /* empties an RM that is not in the resource's directory; or NULL */
};

/* Runs the suite; the number of tests that failed. */
int resource_conformance(const struct conformance_subject *subject);

#endif
