/* cmd_tx_run.c: a one-shot transaction: begin, all work and commit in one message. */
#include <inttypes.h>
#include <stdlib.h>

#include "runtime.h"

#include "commands.h"

#define DEADLINE_MARGIN_MS 10000

struct works {
    struct assent_work items[ASSENT_BRANCHES_MAX];
    size_t count;
};

static void works_fini(struct works *works)
{
    for (size_t i = 0; i < works->count; i++) {
        free((void *)(uintptr_t)works->items[i].participant);
        free((void *)(uintptr_t)works->items[i].data);
    }
}

static int works_init(struct ctl *ctl, const struct ctl_args *args, struct works *works)
{
    const char *text;

    works->count = 0;
    while ((text = ctl_given_nth(args, "branch", works->count)) != NULL) {
        char error[512], *participant, *work;
        size_t size;

        if (works->count == ASSENT_BRANCHES_MAX) {
            ctl_error(ctl, "more than %d branches", ASSENT_BRANCHES_MAX);
            return -1;
        }
        if (ctl_branch_parse(text, &participant, &work, &size, error, sizeof(error))) {
            ctl_error(ctl, "%s", error);
            return -1;
        }
        works->items[works->count++] = (struct assent_work){participant, work, size};
    }
    return 0;
}

static int run(struct ctl *ctl, const struct ctl_args *args)
{
    struct assent_begin_options options;
    struct assent_result result = {0};
    struct works works = {.count = 0};
    char own_key[40];
    int code = CTL_EXIT_USAGE, error;

    if (ctl_begin_options(ctl, args, &options) || works_init(ctl, args, &works))
        goto out;
    if (!options.key) {
        /* If the answer is lost there is no gtrid to ask with; so every run has a key. */
        uint64_t random[2];

        assent_random_bytes(random, sizeof(random));
        snprintf(own_key, sizeof(own_key), "ctl-%016" PRIx64 "%016" PRIx64, random[0], random[1]);
        options.key = own_key;
    }
    /* Unless told otherwise, outwait the transaction's own deadline, so as to learn the outcome. */
    if (ctl->timeout_ms == 0 && options.timeout_ms > CTL_DEFAULT_TIMEOUT_MS - DEADLINE_MARGIN_MS &&
        options.timeout_ms < UINT32_MAX - DEADLINE_MARGIN_MS)
        ctl->timeout_ms = options.timeout_ms + DEADLINE_MARGIN_MS;
    code = ctl_connect(ctl);
    if (code)
        goto out;
    error = assent_client_run(ctl->client, &options, works.items, works.count,
                              ctl_given(args, "wait") != NULL, &result);
    code = ctl_finish(ctl, "tx run", error, &result, options.key);
out:
    works_fini(&works);
    return code;
}

static const struct ctl_option options[] = {
    {"branch", "NAME=WORK", "a participant and its work; NAME=@FILE reads it, @- from stdin", true,
     true},
    {"wait", NULL, "answer after every branch has obeyed, not at the decision", false, false},
    CTL_BEGIN_OPTIONS,
    {0},
};

const struct ctl_command ctl_tx_run = {
    .noun = "tx",
    .verb = "run",
    .words = "",
    .summary = "Run a whole transaction: begin, work and commit in one message",
    .detail = "NAME is a participant, or PARTICIPANT/RESOURCE. In WORK the two characters \\n stand"
              " for a new line.\nExample: assentctl tx run --branch 'a=add alice -5 min 0' --branch"
              " 'b=add bob 5'",
    .options = options,
    .run = run,
};
