/* main.c: assentd, the commit coordinator. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash_point.h"
#include "server.h"

/* --crash-at: lists or arms. False: what it said is wrong. */
static bool arm_crash_point(const char *spec)
{
    int r;

    if (spec[0] == '\0')
        return true;
    r = assent_crash_arm(spec, ASSENT_CRASH_COORDINATOR_FIRST, ASSENT_CRASH_AGENT_FIRST);
    if (r == ASSENT_E_STATE)
        fprintf(stderr, "assentd: --crash-at: this build has no crash points\n");
    else if (r != 0)
        fprintf(stderr, "assentd: --crash-at: no such point: %s (try --crash-at list)\n", spec);
    return r == 0;
}

static void list_crash_points(void)
{
    for (int i = ASSENT_CRASH_COORDINATOR_FIRST; i < (int)ASSENT_CRASH_AGENT_FIRST; i++)
        puts(assent_crash_name(i));
}

int main(int argc, char **argv)
{
    struct server *server = calloc(1, sizeof(*server));
    int status = ASSENT_EXIT_USAGE;

    if (server == NULL)
        return ASSENT_EXIT_RUNTIME;
    assent_heap_keep();
    server->argc = argc;
    server->argv = argv;
    switch (options_load(argc, argv, &server->options)) {
    case ASSENT_CONFIG_EXIT:
        status = ASSENT_EXIT_OK;
        break;
    case ASSENT_CONFIG_BAD:
        break;
    case ASSENT_CONFIG_RUN:
        if (strcmp(server->options.crash_at, "list") == 0) {
            list_crash_points();
            status = ASSENT_EXIT_OK;
        } else if (arm_crash_point(server->options.crash_at)) {
            options_setup_log(&server->options);
            status = server_run(server);
        }
        break;
    }
    options_fini(&server->options);
    free(server);
    return status;
}
