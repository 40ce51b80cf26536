/*
 * assent-explore: every interleaving of one transaction under bounded faults. Exit 0: everything is
 * as theory says.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "explore.h"

static const struct policy {
    const char *name;
    enum assent_protocol protocol;
    enum assent_termination termination;
} policies[] = {
    {"2pc", ASSENT_2PC, ASSENT_TERMINATION_NONE},
    {"2pc-cooperative", ASSENT_2PC, ASSENT_TERMINATION_COOPERATIVE},
    {"3pc-timeout", ASSENT_3PC, ASSENT_TERMINATION_TIMEOUT},
    {"3pc-cooperative", ASSENT_3PC, ASSENT_TERMINATION_COOPERATIVE},
    {"3pc-quorum", ASSENT_3PC, ASSENT_TERMINATION_QUORUM},
};
#define POLICIES (sizeof(policies) / sizeof(policies[0]))
enum { TWO_PC, TWO_PC_COOPERATIVE, TIMEOUT, COOPERATIVE, QUORUM };

/* What theory says of a row. FREE: safe, and who is alive (of `quorum`: and holds one) finishes;
 * BLOCKS: safe, but somebody alive may wait for the dead; SPLITS: one commits, another aborts. */
enum expected { FREE, BLOCKS, SPLITS };

enum extra { VOTES = 1, FORGET = 2, KEY = 4, AT_ONCE = 8 };

static const struct row {
    int policy;
    uint32_t participants;
    uint32_t budget[BUDGETS]; /* crashes, losses, duplicates, timeouts, elections */
    unsigned extra;           /* of enum extra */
    enum expected expected;
    bool large; /* only in the large set */
} rows[] = {
    /* clang-format off */
    {TWO_PC,             1, {2, 1, 1, 0, 0}, VOTES | FORGET | KEY,     BLOCKS, false},
    {TWO_PC,             2, {2, 0, 0, 0, 0}, VOTES | FORGET,           BLOCKS, false},
    {TWO_PC,             2, {1, 0, 0, 1, 0}, VOTES | FORGET | KEY,     BLOCKS, false},
    {TWO_PC,             3, {1, 0, 0, 0, 0}, VOTES | FORGET,           BLOCKS, false},
    {TWO_PC_COOPERATIVE, 2, {1, 1, 1, 0, 0}, VOTES | FORGET,           BLOCKS, false},
    {TWO_PC_COOPERATIVE, 2, {1, 0, 0, 1, 0}, VOTES | FORGET | KEY,     BLOCKS, false},
    {TWO_PC_COOPERATIVE, 3, {1, 0, 0, 0, 0}, VOTES | FORGET,           BLOCKS, false},
    {TIMEOUT,            2, {1, 0, 0, 0, 0}, 0,                        SPLITS, false},
    {TIMEOUT,            3, {1, 0, 0, 0, 0}, 0,                        SPLITS, false},
    {COOPERATIVE,        1, {3, 0, 0, 0, 2}, VOTES | FORGET,           BLOCKS, false},
    {COOPERATIVE,        2, {1, 0, 0, 0, 2}, VOTES | FORGET,           FREE,   false},
    {COOPERATIVE,        2, {2, 0, 0, 0, 2}, 0,                        FREE,   false},
    {COOPERATIVE,        3, {1, 0, 0, 0, 1}, VOTES,                    FREE,   false},
    {COOPERATIVE,        2, {0, 0, 0, 2, 2}, 0,                        SPLITS, false},
    {COOPERATIVE,        3, {0, 0, 0, 1, 1}, 0,                        SPLITS, false},
    {QUORUM,             2, {1, 0, 0, 0, 2}, VOTES | FORGET,           FREE,   false},
    {QUORUM,             2, {1, 0, 0, 1, 1}, VOTES | FORGET | AT_ONCE, FREE,   false},
    {QUORUM,             3, {0, 0, 0, 1, 1}, AT_ONCE,                  FREE,   false},
    {QUORUM,             2, {0, 0, 0, 1, 2}, 0,                        FREE,   false},
    {QUORUM,             2, {0, 0, 0, 1, 3}, AT_ONCE,                  FREE,   false},
    {QUORUM,             2, {1, 0, 0, 1, 2}, AT_ONCE,                  FREE,   false},
    {QUORUM,             2, {1, 0, 0, 1, 1}, 0,                        FREE,   false},

    {TWO_PC,             3, {2, 0, 0, 0, 0}, VOTES | FORGET,           BLOCKS, true},
    {TWO_PC_COOPERATIVE, 2, {2, 0, 0, 1, 0}, 0,                        BLOCKS, true},
    {TWO_PC_COOPERATIVE, 3, {1, 0, 0, 1, 0}, VOTES | FORGET | AT_ONCE, BLOCKS, true},
    {COOPERATIVE,        3, {2, 0, 0, 0, 1}, AT_ONCE,                  FREE,   true},
    {QUORUM,             3, {1, 0, 0, 0, 1}, AT_ONCE,                  FREE,   true},
    {QUORUM,             2, {1, 0, 0, 1, 1}, VOTES | FORGET,           FREE,   true},
    {QUORUM,             3, {1, 0, 0, 1, 1}, AT_ONCE,                  FREE,   true},
    /* clang-format on */
};

static void print_extras(void)
{
    const char *const texts[] = {
        options.other_votes ? "no and read-only votes" : NULL, options.forget ? "forgetting" : NULL,
        options.keyed ? "a key" : NULL, options.at_once ? "writes and calls at once" : NULL};
    const char *between = " ";

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (texts[i] != NULL) {
            printf("%s%s", between, texts[i]);
            between = ", ";
        }
    putchar('\n');
}

static const char *text_of(const struct found *found)
{
    if (found->wrong != NULL)
        return strncmp(found->wrong, "AC1", 3) == 0 ? "splits" : "wrong";
    if (!found->complete)
        return "unfinished";
    return found->blocked > 0 ? "safe, blocks" : "safe, free";
}

static void print_head(void)
{
    printf("%-15s %s  %s %s %s %s %s  %11s %12s %5s  %-12s  %-12s %8s  %s\n", "policy", "N", "C",
           "L", "D", "T", "E", "states", "transitions", "depth", "found", "theory", "seconds",
           "with");
}

static void print_row(const struct policy *policy, const struct found *found, const char *expected)
{
    printf("%-15s %" PRIu32 " ", policy->name, options.participants);
    for (int i = 0; i < BUDGETS; i++)
        printf(" %" PRIu32, options.budget[i]);
    printf("  %11" PRIu64 " %12" PRIu64 " %5" PRIu32 "  %-12s  %-12s %8.2f ", found->states,
           found->transitions, found->depth, text_of(found), expected, found->seconds);
    print_extras();
    fflush(stdout);
}

static bool run_row(const struct row *row, uint64_t states_max)
{
    static const char *const texts[] = {"safe, free", "safe, blocks", "splits"};
    const struct policy *policy = &policies[row->policy];
    struct found found;
    bool agrees;

    options = (struct options){.protocol = policy->protocol,
                               .termination = policy->termination,
                               .participants = row->participants,
                               .keyed = (row->extra & KEY) != 0,
                               .forget = (row->extra & FORGET) != 0,
                               .at_once = (row->extra & AT_ONCE) != 0,
                               .other_votes = (row->extra & VOTES) != 0,
                               .states_max = states_max};
    memcpy(options.budget, row->budget, sizeof(options.budget));
    search(&found, row->expected == SPLITS ? NULL : stdout);
    agrees = strcmp(text_of(&found), texts[row->expected]) == 0;
    print_row(policy, &found, texts[row->expected]);
    if (!agrees)
        puts("this differs from what theory says");
    return agrees;
}

/* The documented sets, of one policy or (NULL) of all. The first row that differs ends them. */
static int run_rows(const struct policy *policy, bool large, uint64_t states_max)
{
    uint64_t count = 0;

    print_head();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if ((rows[i].large && !large) || (policy != NULL && policy != &policies[rows[i].policy]))
            continue;
        if (!run_row(&rows[i], states_max))
            return 1;
        count++;
    }
    printf("%" PRIu64 " rows, each as theory says\n", count);
    return 0;
}

static int run_one(const struct policy *policy)
{
    struct found found;

    options.protocol = policy->protocol;
    options.termination = policy->termination;
    search(&found, stdout);
    print_head();
    print_row(policy, &found, "");
    if (found.wrong != NULL)
        printf("%s\n", found.wrong);
    return found.wrong != NULL || !found.complete ? 1 : 0;
}

/* ---- options ---- */

static const char usage[] =
    "usage: assent-explore --all [--large] [--policy P] [--states-max M]\n"
    "       assent-explore [--policy P] [--participants N] [--crashes C] [--losses L]\n"
    "                      [--duplicates D] [--timeouts T] [--elections E] [--votes] [--forget]\n"
    "                      [--key] [--at-once] [--states-max M]\n"
    "Goes through all interleavings of one transaction. P is 2pc, 2pc-cooperative, 3pc-timeout,\n"
    "3pc-cooperative or 3pc-quorum (default), N 1 to 4. With T 0 a timer fires only when nothing\n"
    "else can happen; else at any moment, T times, and messages are late, lost, repeated and out\n"
    "of order as they like. E is how often members may stand for election in all. --votes: also\n"
    "with one refusal, and one that only reads. --forget: what has ended is dropped while old\n"
    "messages are about. --at-once: writes and RM calls take no time (a process may die in them).\n"
    "--all runs the documented set (with --policy, that one's rows) and compares it with theory;\n"
    "--large the longer one.\n";

static uint64_t number(const char *text, const char *option, uint64_t max)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);

    if (*text == '\0' || *end != '\0' || value > max) {
        fprintf(stderr, "assent-explore: --%s: \"%s\" is not a number up to %" PRIu64 "\n", option,
                text, max);
        exit(2);
    }
    return value;
}

static const struct policy *policy_named(const char *name)
{
    for (size_t i = 0; i < POLICIES; i++)
        if (strcmp(policies[i].name, name) == 0)
            return &policies[i];
    fprintf(stderr, "assent-explore: --policy: there is no \"%s\"\n", name);
    exit(2);
}

struct arguments {
    const struct policy *policy;
    bool all, large;
};

static const struct option longs[] = {
    {"crashes", required_argument, NULL, CRASHES},
    {"losses", required_argument, NULL, LOSSES},
    {"duplicates", required_argument, NULL, DUPLICATES},
    {"timeouts", required_argument, NULL, TIMEOUTS},
    {"elections", required_argument, NULL, ELECTIONS},
    {"participants", required_argument, NULL, 'n'},
    {"policy", required_argument, NULL, 'p'},
    {"states-max", required_argument, NULL, 'm'},
    {"votes", no_argument, NULL, 'v'},
    {"forget", no_argument, NULL, 'f'},
    {"key", no_argument, NULL, 'k'},
    {"at-once", no_argument, NULL, 'o'},
    {"all", no_argument, NULL, 'a'},
    {"large", no_argument, NULL, 'l'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* A negative number to go on. */
static int parse_one(int option, int index, struct arguments *a)
{
    switch (option) {
    case CRASHES:
    case LOSSES:
    case DUPLICATES:
    case TIMEOUTS:
    case ELECTIONS:
        options.budget[option] = (uint32_t)number(optarg, longs[index].name, 9);
        return -1;
    case 'n':
        options.participants = (uint32_t)number(optarg, "participants", PARTS_MAX);
        return -1;
    case 'm':
        options.states_max = number(optarg, "states-max", NONE - 1);
        return -1;
    case 'p':
        a->policy = policy_named(optarg);
        return -1;
    case 'v':
        options.other_votes = true;
        return -1;
    case 'f':
        options.forget = true;
        return -1;
    case 'k':
        options.keyed = true;
        return -1;
    case 'o':
        options.at_once = true;
        return -1;
    case 'a':
        a->all = true;
        return -1;
    case 'l':
        a->large = true;
        return -1;
    default:
        fputs(usage, option == 'h' ? stdout : stderr);
        return option == 'h' ? 0 : 2;
    }
}

int main(int argc, char **argv)
{
    struct arguments a = {0};
    int option, index = 0, r = -1;

    options.participants = 2;
    options.states_max = 100000000;
    while (r < 0 && (option = getopt_long(argc, argv, "", longs, &index)) != -1)
        r = parse_one(option, index, &a);
    if (r >= 0)
        return r;
    if (options.participants == 0 || optind < argc) {
        fputs(usage, stderr);
        return 2;
    }
    if (a.all)
        return run_rows(a.policy, a.large, options.states_max);
    return run_one(a.policy != NULL ? a.policy : &policies[QUORUM]);
}
