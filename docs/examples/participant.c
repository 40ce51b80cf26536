/*
 * participant.c: a program that is itself a participant. It keeps a small inventory in one file and
 * takes part in transactions with it:
 *
 *   participant NAME COORDINATOR DIRECTORY
 *   participant shop 127.0.0.1:7372 /var/tmp/shop
 *
 * Work is one command a line: "take ITEM COUNT" or "put ITEM COUNT". Taking reserves at once, so a
 * branch that has voted yes can always commit; putting shows at commit.
 *
 * The whole state is one text file that is replaced by rename, so every step is atomic:
 *   item NAME COUNT
 *   prepared LOG-ID GTRID BRANCH, then its changes: change NAME COUNT
 *   committed LOG-ID GTRID BRANCH
 * prepared lines make a yes vote survive a crash; committed lines are written together with the
 * counts they changed, so they prove the commit until Assent says that the branch may be forgotten.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>

#include "assent/participant.h"

#define ITEMS_MAX    64
#define BRANCHES_MAX 1024
#define CHANGES_MAX  8
#define NAME_BYTES   32
#define COUNT_MAX    1000000000L
#define HEX_BYTES    (2 * ASSENT_LOG_ID_BYTES + 1)

enum branch_state { FREE, ACTIVE, PREPARED, COMMITTED };

struct change {
    char item[NAME_BYTES];
    long count; /* negative: taken */
};

struct branch {
    enum branch_state state;
    struct assent_branch_id id;
    struct change changes[CHANGES_MAX];
    size_t change_count;
};

struct item {
    char name[NAME_BYTES];
    long count;
};

/* One lock guards everything: calls for different branches come from different threads. */
struct inventory {
    pthread_mutex_t lock;
    char directory[512], path[544], new_path[544];
    struct item items[ITEMS_MAX];
    size_t item_count;
    struct branch branches[BRANCHES_MAX];
};

static bool same_id(const struct assent_branch_id *a, const struct assent_branch_id *b)
{
    return a->branch == b->branch &&
           memcmp(a->gtrid.bytes, b->gtrid.bytes, sizeof(a->gtrid.bytes)) == 0 &&
           memcmp(a->log_id, b->log_id, sizeof(a->log_id)) == 0;
}

static struct branch *find(struct inventory *inventory, const struct assent_branch_id *id)
{
    for (size_t i = 0; i < BRANCHES_MAX; i++)
        if (inventory->branches[i].state != FREE && same_id(&inventory->branches[i].id, id))
            return &inventory->branches[i];
    return NULL;
}

static struct branch *add_branch(struct inventory *inventory, const struct assent_branch_id *id,
                                 enum branch_state state)
{
    for (size_t i = 0; i < BRANCHES_MAX; i++)
        if (inventory->branches[i].state == FREE) {
            inventory->branches[i] = (struct branch){.state = state, .id = *id};
            return &inventory->branches[i];
        }
    return NULL;
}

static struct item *find_item(struct inventory *inventory, const char *name, bool add)
{
    for (size_t i = 0; i < inventory->item_count; i++)
        if (strcmp(inventory->items[i].name, name) == 0)
            return &inventory->items[i];
    if (!add || inventory->item_count == ITEMS_MAX)
        return NULL;
    memset(&inventory->items[inventory->item_count], 0, sizeof(struct item));
    strcpy(inventory->items[inventory->item_count].name, name); /* both have NAME_BYTES */
    return &inventory->items[inventory->item_count++];
}

/* ---- the file ---- */

static void print_id(FILE *file, const char *state, const struct assent_branch_id *id)
{
    char gtrid[ASSENT_GTRID_TEXT + 1];

    assent_gtrid_format(&id->gtrid, gtrid);
    fprintf(file, "%s ", state);
    for (size_t i = 0; i < sizeof(id->log_id); i++)
        fprintf(file, "%02x", id->log_id[i]);
    fprintf(file, " %s %u\n", gtrid, (unsigned)id->branch);
}

static void print_state(FILE *file, const struct inventory *inventory)
{
    for (size_t i = 0; i < inventory->item_count; i++)
        fprintf(file, "item %s %ld\n", inventory->items[i].name, inventory->items[i].count);
    for (size_t i = 0; i < BRANCHES_MAX; i++) {
        const struct branch *branch = &inventory->branches[i];

        if (branch->state != PREPARED && branch->state != COMMITTED)
            continue;
        print_id(file, branch->state == PREPARED ? "prepared" : "committed", &branch->id);
        for (size_t k = 0; branch->state == PREPARED && k < branch->change_count; k++)
            fprintf(file, "change %s %ld\n", branch->changes[k].item, branch->changes[k].count);
    }
}

/*
 * Makes the present state durable, or returns false and the old state stands. When neither is sure
 * the process ends: the next start reads what is there, and nobody was told anything.
 */
static bool save(struct inventory *inventory)
{
    FILE *file = fopen(inventory->new_path, "w");
    bool good;
    int directory;

    if (!file)
        return false;
    print_state(file, inventory);
    good = fflush(file) == 0 && !ferror(file) && fsync(fileno(file)) == 0;
    good = fclose(file) == 0 && good;
    if (!good || rename(inventory->new_path, inventory->path) != 0)
        return false;
    directory = open(inventory->directory, O_RDONLY | O_DIRECTORY);
    if (directory < 0 || fsync(directory) != 0)
        abort();
    close(directory);
    return true;
}

static bool read_id(const char *hex, const char *gtrid, unsigned branch,
                    struct assent_branch_id *ret_id)
{
    struct assent_branch_id id = {.branch = branch};

    if (strlen(hex) != HEX_BYTES - 1 || assent_gtrid_parse(gtrid, &id.gtrid))
        return false;
    for (size_t i = 0; i < sizeof(id.log_id); i++) {
        unsigned byte;

        if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
            return false;
        id.log_id[i] = (uint8_t)byte;
    }
    *ret_id = id;
    return true;
}

/* One line of the file. `last` is the branch that a change line belongs to. */
static bool read_line(struct inventory *inventory, const char *line, struct branch **last)
{
    char word[16], name[NAME_BYTES], hex[HEX_BYTES], gtrid[ASSENT_GTRID_TEXT + 1];
    struct assent_branch_id id;
    struct item *item;
    unsigned branch;
    long count;

    if (sscanf(line, "item %31s %ld", name, &count) == 2) {
        item = find_item(inventory, name, true);
        if (item)
            item->count = count;
        return item != NULL;
    }
    if (sscanf(line, "change %31s %ld", name, &count) == 2) {
        if (!*last || (*last)->state != PREPARED || (*last)->change_count == CHANGES_MAX)
            return false;
        strcpy((*last)->changes[(*last)->change_count].item, name);
        (*last)->changes[(*last)->change_count++].count = count;
        return true;
    }
    if (sscanf(line, "%15s %32s %26s %u", word, hex, gtrid, &branch) != 4 ||
        !read_id(hex, gtrid, branch, &id))
        return false;
    if (strcmp(word, "prepared") != 0 && strcmp(word, "committed") != 0)
        return false;
    *last = add_branch(inventory, &id, word[0] == 'p' ? PREPARED : COMMITTED);
    return *last != NULL;
}

static int load(struct inventory *inventory, char *error, size_t error_size)
{
    FILE *file = fopen(inventory->path, "r");
    struct branch *last = NULL;
    char line[256];
    int number = 0, result = 0;

    if (!file)
        return 0; /* the first start */
    while (result == 0 && fgets(line, sizeof(line), file)) {
        number++;
        if (!read_line(inventory, line, &last)) {
            snprintf(error, error_size, "%s: line %d is damaged", inventory->path, number);
            result = ASSENT_E_CORRUPT;
        }
    }
    fclose(file);
    return result;
}

/* ---- the operations ---- */

static int inventory_open(const struct assent_resource_environment *environment,
                          void **ret_resource, char *error, size_t error_size)
{
    struct inventory *inventory = calloc(1, sizeof(*inventory));
    int result;

    if (!inventory)
        return ASSENT_E_NOMEM;
    if (strlen(environment->data_directory) >= sizeof(inventory->directory)) {
        snprintf(error, error_size, "the directory's name is too long");
        free(inventory);
        return ASSENT_E_INVALID;
    }
    strcpy(inventory->directory, environment->data_directory);
    snprintf(inventory->path, sizeof(inventory->path), "%s/inventory", inventory->directory);
    snprintf(inventory->new_path, sizeof(inventory->new_path), "%s/new", inventory->directory);
    result = load(inventory, error, error_size);
    if (result) {
        free(inventory);
        return result;
    }
    pthread_mutex_init(&inventory->lock, NULL);
    *ret_resource = inventory;
    return 0;
}

static void inventory_close(void *resource)
{
    struct inventory *inventory = resource;

    pthread_mutex_destroy(&inventory->lock);
    free(inventory);
}

static void answer(struct assent_call *call, enum assent_rm_result result, const char *reason)
{
    call->result = result;
    snprintf(call->reason, sizeof(call->reason), "%s", reason);
}

static void begin(void *resource, struct assent_call *call)
{
    struct inventory *inventory = resource;
    struct branch *branch;

    pthread_mutex_lock(&inventory->lock);
    branch = find(inventory, &call->id);
    if (branch && branch->state != ACTIVE)
        answer(call, ASSENT_RM_FAILED, "the branch has ended its work already");
    else if (!branch && !add_branch(inventory, &call->id, ACTIVE))
        answer(call, ASSENT_RM_REFUSED, "too many branches, running or not yet forgotten");
    else
        answer(call, ASSENT_RM_OK, "");
    pthread_mutex_unlock(&inventory->lock);
}

/* What is there and not reserved by any branch that may still commit. */
static long available(struct inventory *inventory, const char *name)
{
    const struct item *item = find_item(inventory, name, false);
    long count = item ? item->count : 0;

    for (size_t i = 0; i < BRANCHES_MAX; i++) {
        const struct branch *branch = &inventory->branches[i];

        if (branch->state != ACTIVE && branch->state != PREPARED)
            continue;
        for (size_t k = 0; k < branch->change_count; k++)
            if (branch->changes[k].count < 0 && strcmp(branch->changes[k].item, name) == 0)
                count += branch->changes[k].count;
    }
    return count;
}

static bool work_line(struct inventory *inventory, struct branch *branch, const char *line,
                      struct assent_call *call)
{
    char verb[8], name[NAME_BYTES], rest[2];
    long count;
    bool take;

    if (sscanf(line, "%7s %31[A-Za-z0-9_.-] %ld %1s", verb, name, &count, rest) != 3 ||
        (strcmp(verb, "take") != 0 && strcmp(verb, "put") != 0) || count < 1 || count > COUNT_MAX) {
        answer(call, ASSENT_RM_FAILED,
               "work is \"take ITEM COUNT\" or \"put ITEM COUNT\", one a line");
        return false;
    }
    take = verb[0] == 't';
    if (take && available(inventory, name) < count) {
        snprintf(call->reason, sizeof(call->reason), "only %ld of %s left, %ld wanted",
                 available(inventory, name), name, count);
        call->result = ASSENT_RM_FAILED;
        return false;
    }
    /* The item is made here, so that commit cannot fail for want of room. */
    if (branch->change_count == CHANGES_MAX || !find_item(inventory, name, true)) {
        answer(call, ASSENT_RM_FAILED, "too many changes in one branch, or too many items");
        return false;
    }
    strcpy(branch->changes[branch->change_count].item, name);
    branch->changes[branch->change_count++].count = take ? -count : count;
    return true;
}

static void work(void *resource, struct assent_call *call)
{
    struct inventory *inventory = resource;
    struct branch *branch;
    char *text = strndup(call->work_size ? call->work : "", call->work_size), *rest = NULL;

    if (!text) {
        answer(call, ASSENT_RM_FAILED, "out of memory");
        return;
    }
    pthread_mutex_lock(&inventory->lock);
    branch = find(inventory, &call->id);
    answer(call, ASSENT_RM_OK, "");
    if (!branch || branch->state != ACTIVE)
        answer(call, ASSENT_RM_FAILED, "the branch is not open for work");
    else
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
            if (!work_line(inventory, branch, line, call))
                break;
    pthread_mutex_unlock(&inventory->lock);
    free(text);
}

static void prepare(void *resource, struct assent_call *call)
{
    struct inventory *inventory = resource;
    struct branch *branch;

    pthread_mutex_lock(&inventory->lock);
    branch = find(inventory, &call->id);
    answer(call, ASSENT_RM_OK, "");
    if (!branch || branch->state == COMMITTED) {
        answer(call, ASSENT_RM_NOT_FOUND, "");
    } else if (branch->state == ACTIVE && branch->change_count == 0) {
        branch->state = FREE;
        answer(call, ASSENT_RM_READ_ONLY, "");
    } else if (branch->state == ACTIVE) {
        branch->state = PREPARED;
        if (!save(inventory)) {
            branch->state = ACTIVE;
            answer(call, ASSENT_RM_FAILED, "the inventory file cannot be written");
        }
    }
    pthread_mutex_unlock(&inventory->lock);
}

static void apply(struct inventory *inventory, const struct branch *branch, int sign)
{
    for (size_t i = 0; i < branch->change_count; i++)
        find_item(inventory, branch->changes[i].item, true)->count +=
            sign * branch->changes[i].count;
}

static void commit(void *resource, struct assent_call *call)
{
    struct inventory *inventory = resource;
    struct branch *branch;
    enum branch_state before;

    pthread_mutex_lock(&inventory->lock);
    branch = find(inventory, &call->id);
    before = branch ? branch->state : FREE;
    answer(call, ASSENT_RM_OK, ""); /* a repeat: COMMITTED is on disk */
    if (before == PREPARED || (before == ACTIVE && call->operation == ASSENT_OP_ONE_PHASE)) {
        apply(inventory, branch, 1);
        branch->state = COMMITTED;
        if (!save(inventory)) {
            apply(inventory, branch, -1);
            branch->state = before;
            answer(call, ASSENT_RM_RETRY, "the inventory file cannot be written");
        }
    } else if (before != COMMITTED) {
        answer(call, ASSENT_RM_NOT_FOUND, "");
    }
    pthread_mutex_unlock(&inventory->lock);
}

static void rollback(void *resource, struct assent_call *call)
{
    struct inventory *inventory = resource;
    struct branch *branch;

    pthread_mutex_lock(&inventory->lock);
    branch = find(inventory, &call->id);
    answer(call, ASSENT_RM_OK, "");
    if (!branch) {
        answer(call, ASSENT_RM_NOT_FOUND, "");
    } else if (branch->state == COMMITTED) {
        answer(call, ASSENT_RM_HEUR_COMMITTED, "it is committed");
    } else if (branch->state == ACTIVE) {
        branch->state = FREE;
    } else {
        branch->state = FREE;
        if (!save(inventory)) {
            branch->state = PREPARED;
            answer(call, ASSENT_RM_RETRY, "the inventory file cannot be written");
        }
    }
    pthread_mutex_unlock(&inventory->lock);
}

/* Every commit leaves a marker in the same write, until it is forgotten: no marker, no commit. */
static void evidence(void *resource, struct assent_call *call)
{
    struct inventory *inventory = resource;
    struct branch *branch;

    pthread_mutex_lock(&inventory->lock);
    branch = find(inventory, &call->id);
    if (branch && branch->state == COMMITTED)
        answer(call, ASSENT_RM_WAS_COMMITTED, "");
    else if (branch && branch->state == PREPARED)
        answer(call, ASSENT_RM_OK, "");
    else
        answer(call, ASSENT_RM_WAS_ABORTED, "");
    pthread_mutex_unlock(&inventory->lock);
}

/* Leaves the file with the next change: a marker too many does no harm. */
static void forget(void *resource, struct assent_call *call)
{
    struct inventory *inventory = resource;
    struct branch *branch;

    pthread_mutex_lock(&inventory->lock);
    branch = find(inventory, &call->id);
    if (branch && branch->state == COMMITTED)
        branch->state = FREE;
    answer(call, ASSENT_RM_OK, "");
    pthread_mutex_unlock(&inventory->lock);
}

static int recover(void *resource, void (*found)(const struct assent_branch_id *id, void *context),
                   void *context)
{
    struct inventory *inventory = resource;

    pthread_mutex_lock(&inventory->lock);
    for (size_t i = 0; i < BRANCHES_MAX; i++)
        if (inventory->branches[i].state == PREPARED)
            found(&inventory->branches[i].id, context);
    pthread_mutex_unlock(&inventory->lock);
    return 0;
}

static int ping(void *resource, char *error, size_t error_size)
{
    struct inventory *inventory = resource;

    if (access(inventory->directory, W_OK) == 0)
        return 0;
    snprintf(error, error_size, "%s cannot be written", inventory->directory);
    return ASSENT_E_IO;
}

/* The same JSON as the embedded kv's dump, so `assentctl kv dump` shows the inventory. */
static int query(void *resource, const char *command, char **ret_json, char *error,
                 size_t error_size)
{
    struct inventory *inventory = resource;
    size_t size, prepared = 0;
    char *text = NULL;
    FILE *file;

    if (strcmp(command, "dump") != 0) {
        snprintf(error, error_size, "only \"dump\" can be asked");
        return ASSENT_E_INVALID;
    }
    file = open_memstream(&text, &size);
    if (!file)
        return ASSENT_E_NOMEM;
    pthread_mutex_lock(&inventory->lock);
    fputs("{\"entries\":{", file);
    for (size_t i = 0; i < inventory->item_count; i++)
        fprintf(file, "%s\"%s\":\"%ld\"", i ? "," : "", inventory->items[i].name,
                inventory->items[i].count);
    for (size_t i = 0; i < BRANCHES_MAX; i++)
        prepared += inventory->branches[i].state == PREPARED;
    fprintf(file, "},\"prepared\":%zu,\"truncated\":false}", prepared);
    pthread_mutex_unlock(&inventory->lock);
    if (fclose(file) != 0) {
        free(text);
        return ASSENT_E_NOMEM;
    }
    *ret_json = text;
    return 0;
}

static const struct assent_resource_ops inventory_ops = {
    .size = sizeof(inventory_ops),
    .type = "inventory",
    .capabilities = ASSENT_CAP_PREPARED_LIST | ASSENT_CAP_EVIDENCE | ASSENT_CAP_ONE_PHASE,
    .open = inventory_open,
    .close = inventory_close,
    .begin = begin,
    .work = work,
    .prepare = prepare,
    .commit = commit,
    .rollback = rollback,
    .evidence = evidence,
    .forget = forget,
    .recover = recover,
    .ping = ping,
    .query = query,
};

static struct assent_participant *participant;

static void on_signal(int number)
{
    (void)number;
    assent_participant_stop(participant);
}

int main(int argc, char **argv)
{
    const struct assent_participant_resource resource = {"inventory", &inventory_ops, NULL};
    const char *coordinators[] = {argc == 4 ? argv[2] : NULL, NULL};
    struct assent_participant_options options = {.size = sizeof(options)};
    struct sigaction action = {.sa_handler = on_signal};
    char error[256] = "";
    int result;

    if (argc != 4) {
        fputs("usage: participant NAME COORDINATOR DIRECTORY\n", stderr);
        return 2;
    }
    options.name = argv[1];
    options.coordinators = coordinators;
    options.data_directory = argv[3];
    options.resources = &resource;
    options.resource_count = 1;
    result = assent_participant_new(&options, &participant, error, sizeof(error));
    if (result) {
        fprintf(stderr, "participant: %s\n", error[0] ? error : assent_error_text(result));
        return 1;
    }
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    result = assent_participant_run(participant);
    assent_participant_free(participant);
    return result ? 1 : 0;
}
