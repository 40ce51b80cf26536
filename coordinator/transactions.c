/* transactions.c: the table by gtrid, and one libevent timer for each transaction. */
#include "transactions.h"

#include <stdlib.h>
#include <string.h>

#include "gtrid.h"
#include "id_table.h"

#define SMALL_WORK_BYTES 128

static const char empty[] = "";

uint64_t gtrid_order(const struct assent_gtrid *gtrid)
{
    return (uint64_t)assent_gtrid_incarnation(gtrid) << 40 | assent_gtrid_sequence(gtrid);
}

struct assent_gtrid gtrid_of_order(uint64_t order, uint16_t coordinator)
{
    return assent_gtrid_make(0, coordinator, (uint32_t)(order >> 40), order & ASSENT_SEQUENCE_MAX);
}

/* In one piece: the transaction, its machine's branches, and from here on their contexts. */
static size_t contexts_at(size_t branch_max)
{
    size_t size = offsetof(struct transaction, machine.branches) +
                  branch_max * sizeof(struct assent_coord_branch);

    return (size + 7) & ~(size_t)7;
}

void transactions_init(struct transactions *table, struct event_base *base,
                       void (*due)(struct transaction *transaction, void *context), void *context)
{
    *table = (struct transactions){.base = base, .due = due, .context = context};
    for (size_t i = 0; i < BRANCH_SIZES; i++) {
        size_t size = contexts_at(1u << i) + (1u << i) * sizeof(struct branch_context);

        assent_pool_init(&table->pools[i], size, size);
    }
    assent_pool_init(&table->waiters, sizeof(struct waiter), 0);
    assent_pool_init(&table->small_works, SMALL_WORK_BYTES, 0);
}

void transactions_fini(struct transactions *table)
{
    struct transaction *t, *next;

    HASH_ITER (hh, table->by_order, t, next)
        transactions_remove(t);
    assent_id_table_free(table->kept);
    for (size_t i = 0; i < BRANCH_SIZES; i++)
        assent_pool_fini(&table->pools[i]);
    assent_pool_fini(&table->waiters);
    assent_pool_fini(&table->small_works);
}

/* By the owner: no other thread writes in between. */
static void add_to(atomic_size_t *total, size_t by)
{
    atomic_store_explicit(total, atomic_load_explicit(total, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

size_t transactions_count(const struct transactions *table)
{
    return atomic_load_explicit(&table->count, memory_order_relaxed);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct transaction *t = context;
    uint64_t now_ms = assent_now_ms();

    (void)fd;
    (void)what;
    t->armed_ms = ASSENT_NO_TIMER;
    /* Early, because the machine has moved its timer since: wait for the rest. */
    if (now_ms < t->machine.timer_ms)
        transactions_arm(t, now_ms);
    else
        t->table->due(t, t->table->context);
}

static size_t size_class(uint32_t branch_max)
{
    size_t i = 0;

    while ((1u << i) < branch_max)
        i++;
    return i;
}

struct transaction *transactions_add(struct transactions *table, const struct assent_gtrid *gtrid,
                                     uint32_t branch_max)
{
    size_t class = size_class(branch_max);
    struct transaction *t = assent_pool_take(&table->pools[class]);

    if (t == NULL)
        return NULL;
    t->branch_max = 1u << class;
    t->branches = (struct branch_context *)(void *)((char *)t + contexts_at(t->branch_max));
    t->table = table;
    t->order = gtrid_order(gtrid);
    t->armed_ms = ASSENT_NO_TIMER;
    t->key = t->traceparent = t->reason_text = empty;
    TAILQ_INIT(&t->waiters);
    evtimer_assign(&t->timer, table->base, on_timer, t);
    ASSENT_ID_ADD(table->by_order, table->kept, order, t);
    add_to(&table->count, 1);
    table->unsorted |= t->order < table->highest;
    if (t->order > table->highest)
        table->highest = t->order;
    return t;
}

void transactions_set_text(const char **text, const char *to)
{
    const char *copy = to[0] == '\0' ? empty : strdup(to);

    if (copy == NULL)
        assent_panic(1, "no_memory", "what=text");
    if (*text != empty)
        free((char *)(uintptr_t)*text);
    *text = copy;
}

void transactions_remove(struct transaction *t)
{
    struct transactions *table = t->table;
    struct transactions_walk *walk;
    size_t class = size_class(t->branch_max);

    ASSENT_ASSERT(TAILQ_EMPTY(&t->waiters) && t->owner == NULL);
    LIST_FOREACH (walk, &table->walks, link)
        if (walk->next == t)
            walk->next = t->hh.next;
    event_del(&t->timer);
    transactions_release_work(t);
    transactions_set_text(&t->key, "");
    transactions_set_text(&t->traceparent, "");
    transactions_set_text(&t->reason_text, "");
    ASSENT_ID_DEL(table->by_order, table->kept, t);
    add_to(&table->count, (size_t)-1);
    assent_pool_give(&table->pools[class], t);
}

struct transaction *transactions_find_order(const struct transactions *table, uint64_t order)
{
    struct transaction *t;

    HASH_FIND(hh, table->by_order, &order, sizeof(order), t);
    return t;
}

struct transaction *transactions_find(const struct transactions *table,
                                      const struct assent_gtrid *gtrid)
{
    struct transaction *t = transactions_find_order(table, gtrid_order(gtrid));

    /* Another coordinator's gtrid may have the same order. */
    return t != NULL && assent_gtrid_equal(&t->machine.gtrid, gtrid) ? t : NULL;
}

static int compare(const struct transaction *a, const struct transaction *b)
{
    return a->order < b->order ? -1 : a->order > b->order;
}

void transactions_sort(struct transactions *table)
{
    if (table->unsorted)
        HASH_SORT(table->by_order, compare);
    table->unsorted = false;
}

uint64_t transactions_lowest(const struct transactions *table)
{
    return table->by_order == NULL ? UINT64_MAX : table->by_order->order;
}

void transactions_walk_start(struct transactions *table, struct transactions_walk *walk)
{
    walk->next = table->by_order;
    LIST_INSERT_HEAD(&table->walks, walk, link);
}

struct transaction *transactions_walk_next(struct transactions_walk *walk)
{
    struct transaction *t = walk->next;

    if (t != NULL)
        walk->next = t->hh.next;
    return t;
}

void transactions_walk_stop(struct transactions_walk *walk)
{
    LIST_REMOVE(walk, link);
}

void transactions_arm(struct transaction *t, uint64_t now_ms)
{
    uint64_t wait_ms;
    struct timeval wait;

    /* A timer that fires early is armed again then, which is cheaper than moving it each step. */
    if (t->machine.timer_ms == ASSENT_NO_TIMER || t->armed_ms <= t->machine.timer_ms)
        return;
    wait_ms = t->machine.timer_ms > now_ms ? t->machine.timer_ms - now_ms : 0;
    wait.tv_sec = (time_t)(wait_ms / 1000);
    wait.tv_usec = (suseconds_t)(wait_ms % 1000 * 1000);
    t->armed_ms = t->machine.timer_ms;
    if (event_add(&t->timer, &wait) != 0)
        assent_panic(1, "no_memory", "what=timer");
}

bool transactions_hold_work(struct transaction *t, uint32_t branch, const void *work, size_t size)
{
    struct branch_context *b = &t->branches[branch - 1];

    ASSENT_ASSERT(b->work == NULL);
    if (size == 0)
        return true;
    b->work = size <= SMALL_WORK_BYTES ? assent_pool_take(&t->table->small_works) : malloc(size);
    if (b->work == NULL)
        return false;
    memcpy(b->work, work, size);
    b->work_size = size;
    t->work_bytes += size;
    add_to(&t->table->work_bytes, size);
    return true;
}

void transactions_release_work(struct transaction *t)
{
    if (t->work_bytes == 0)
        return;
    for (uint32_t i = 0; i < t->branch_max; i++) {
        struct branch_context *b = &t->branches[i];

        if (b->work == NULL)
            continue;
        if (b->work_size <= SMALL_WORK_BYTES)
            assent_pool_give(&t->table->small_works, b->work);
        else
            free(b->work);
        b->work = NULL;
        b->work_size = 0;
    }
    add_to(&t->table->work_bytes, -t->work_bytes);
    t->work_bytes = 0;
}
