/*
 * kv_work.c: parses and runs the work of one branch: text, one command a line.
 *
 *   put KEY VALUE                      VALUE is the rest of the line, after one blank
 *   del KEY
 *   get KEY                            null if there is none
 *   check KEY VALUE                    fails unless it has exactly this value
 *   add KEY DELTA [min N] [max N]      64-bit integers; a missing key counts as 0
 *
 * The first command that fails, fails the branch: from then on it can only roll back. Writes stay
 * in memory with the locks (struct kv_hold); the store is only read here, and always after the
 * lock on the key was granted, so that a read sees what the last holder committed.
 */
#include "kv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "runtime.h"
#include "utf8.h"

#define SHOWN_KEY     64 /* of a key, value or word in a reason */
#define SHOWN_VALUE   40
#define SHOWN_COMMAND 32

struct text {
    const char *data;
    size_t size;
};

/* A value as the branch sees it, until the next command. */
struct value {
    const char *data;
    size_t size;
    bool found;
    char *far; /* malloc'ed; NULL: the data is elsewhere */
};

struct work {
    struct kv *kv;
    struct kv_branch *branch;
    struct assent_call *call;
    uint64_t deadline_ms; /* of all waits; set by the first lock. 0: not yet */
    json_t *results;      /* NULL: nobody wants them */
    unsigned command_count;
    size_t reply_bytes;
    unsigned line;
    const char *command;
    struct text key, rest;    /* rest: what follows the key */
    char near[KV_NEAR_BYTES]; /* a value that was read */
};

#define TEXT(text, max) kv_shown((text).data, (text).size, (max)), (text).data

/* A failing command: false, with the reason in the call. */
#define FAIL(work, ...) (kv_answer((work)->call, ASSENT_RM_FAILED, __VA_ARGS__), false)

/* --- words ------------------------------------------------------------------------------------ */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Takes the next word off the front; empty at the end. */
static struct text next_word(struct text *rest)
{
    struct text word;

    while (rest->size > 0 && is_blank(*rest->data)) {
        rest->data++;
        rest->size--;
    }
    word = (struct text){.data = rest->data};
    while (rest->size > 0 && !is_blank(*rest->data)) {
        rest->data++;
        rest->size--;
        word.size++;
    }
    return word;
}

static bool equals(struct text text, const char *word)
{
    return text.size == strlen(word) && memcmp(text.data, word, text.size) == 0;
}

static bool has_control_bytes(struct text text)
{
    for (size_t i = 0; i < text.size; i++)
        if (((unsigned char)text.data[i] < 0x20 && text.data[i] != '\t') || text.data[i] == 0x7f)
            return true;
    return false;
}

static bool parse_integer(struct text text, int64_t *ret_value)
{
    char digits[24], *end;
    bool sign = text.size > 0 && (text.data[0] == '-' || text.data[0] == '+');
    long long value;

    if (text.size <= (size_t)sign || text.size >= sizeof(digits) || text.data[sign] < '0' ||
        text.data[sign] > '9')
        return false;
    memcpy(digits, text.data, text.size);
    digits[text.size] = '\0';
    errno = 0;
    value = strtoll(digits, &end, 10);
    if (errno != 0 || end != digits + text.size)
        return false;
    *ret_value = value;
    return true;
}

/* --- what commands share ---------------------------------------------------------------------- */

/* The reply may hold this much more. */
static bool reserve_reply(struct work *work, size_t size)
{
    work->reply_bytes += size;
    if (work->reply_bytes <= KV_REPLY_BYTES_MAX)
        return true;
    return FAIL(work, "line %u: %s: the reply would be over %u bytes", work->line, work->command,
                KV_REPLY_BYTES_MAX);
}

static bool add_result(struct work *work, const struct value *value)
{
    json_t *result;
    int rc;

    if (work->results == NULL)
        return true;
    result =
        json_pack("{s:s, s:s%}", "command", work->command, "key", work->key.data, work->key.size);
    rc = result == NULL ? -1 : 0;
    if (rc == 0 && value != NULL)
        rc = json_object_set_new(
            result, "value", value->found ? json_stringn(value->data, value->size) : json_null());
    if (rc == 0)
        rc = json_array_append(work->results, result);
    json_decref(result);
    return rc == 0 ? true : FAIL(work, "out of memory");
}

static bool lock_key(struct work *work, enum kv_mode mode, struct kv_hold **ret_hold)
{
    struct kv_branch *branch = work->branch;
    uint64_t now_ms = assent_now_ms(), wait_ms = work->kv->lock_wait_ms;
    bool no_wait = work->call->no_wait;
    struct assent_branch_id holder;
    char gtrid[ASSENT_GTRID_TEXT + 1];
    int r;

    if (work->deadline_ms == 0)
        work->deadline_ms = now_ms + work->call->timeout_ms;
    if (now_ms >= work->deadline_ms)
        wait_ms = 0;
    else if (wait_ms > work->deadline_ms - now_ms)
        wait_ms = work->deadline_ms - now_ms;
    r = kv_lock(&work->kv->locks, branch, work->key.data, work->key.size, mode,
                no_wait ? 0 : wait_ms, ret_hold, &holder);
    if (r == ASSENT_E_TIMEOUT && no_wait) {
        work->call->would_wait = true;
        return false;
    }
    if (r == ASSENT_E_TIMEOUT) {
        assent_gtrid_format(&holder.gtrid, gtrid);
        return FAIL(work, "%.*s: locked by %s branch %u for %" PRIu64 " ms",
                    TEXT(work->key, SHOWN_KEY), gtrid, holder.branch, wait_ms);
    }
    if (r == ASSENT_E_TOO_BIG)
        return FAIL(work, "line %u: %s: the branch would hold over %u bytes", work->line,
                    work->command, KV_BRANCH_BYTES_MAX);
    return r == 0 ? true : FAIL(work, "out of memory");
}

/* What the branch sees under a key that it has locked: its own write, else what is committed. */
static bool read_value(struct work *work, const struct kv_hold *hold, struct value *ret_value)
{
    char error[ASSENT_REASON_MAX + 1];
    struct value value = {.found = true};
    int r = 0;

    switch (hold->write) {
    case KV_WRITE_DELETE:
        value.found = false;
        break;
    case KV_WRITE_PUT:
        value.data = hold->value;
        value.size = hold->value_size;
        break;
    case KV_WRITE_NONE:
        r = kv_store_get(work->kv->store, work->key.data, work->key.size, work->near,
                         sizeof(work->near), &value.far, &value.size, error);
        value.data = value.far != NULL ? value.far : work->near;
        value.found = r == 0;
        break;
    }
    if (r != 0 && r != ASSENT_E_NOT_FOUND)
        return FAIL(work, "%s", error);
    *ret_value = value;
    return true;
}

static bool write_value(struct work *work, struct kv_hold *hold, const char *data, size_t size)
{
    size_t others = work->branch->bytes - hold->value_size;
    char *value;

    if (others + size > KV_BRANCH_BYTES_MAX)
        return FAIL(work, "line %u: %s: the branch would hold over %u bytes", work->line,
                    work->command, KV_BRANCH_BYTES_MAX);
    if ((value = kv_hold_value(hold, size)) == NULL)
        return FAIL(work, "out of memory");
    memcpy(value, data, size);
    hold->write = KV_WRITE_PUT;
    work->branch->bytes = others + size;
    return true;
}

/* The value that ends the line, after the one blank that ends the key. */
static bool take_value(struct work *work, struct text *ret_value)
{
    struct text value = work->rest;

    if (value.size == 0)
        return FAIL(work, "line %u: %s: the value is missing", work->line, work->command);
    value.data++;
    value.size--;
    if (value.size > KV_VALUE_MAX)
        return FAIL(work, "line %u: %s: the value is over %u bytes", work->line, work->command,
                    KV_VALUE_MAX);
    if (has_control_bytes(value))
        return FAIL(work, "line %u: %s: the value has control bytes", work->line, work->command);
    *ret_value = value;
    return true;
}

static bool at_end(struct work *work)
{
    struct text word = next_word(&work->rest);

    return word.size == 0 ? true
                          : FAIL(work, "line %u: %s: unexpected \"%.*s\"", work->line,
                                 work->command, TEXT(word, SHOWN_COMMAND));
}

/* --- the commands ----------------------------------------------------------------------------- */

static bool run_put(struct work *work)
{
    struct kv_hold *hold;
    struct text value;

    return take_value(work, &value) && lock_key(work, KV_EXCLUSIVE, &hold) &&
           write_value(work, hold, value.data, value.size) && add_result(work, NULL);
}

static bool run_del(struct work *work)
{
    struct kv_hold *hold;

    if (!at_end(work) || !lock_key(work, KV_EXCLUSIVE, &hold))
        return false;
    work->branch->bytes -= hold->value_size;
    kv_hold_drop_value(hold);
    hold->write = KV_WRITE_DELETE;
    return add_result(work, NULL);
}

static bool run_get(struct work *work)
{
    struct kv_hold *hold;
    struct value value = {0};
    bool ok = at_end(work) && lock_key(work, KV_SHARED, &hold) && read_value(work, hold, &value) &&
              reserve_reply(work, value.size) && add_result(work, &value);

    free(value.far);
    return ok;
}

static bool run_check(struct work *work)
{
    struct kv_hold *hold;
    struct text expected, found;
    struct value value = {0};
    bool ok = take_value(work, &expected) && lock_key(work, KV_SHARED, &hold) &&
              read_value(work, hold, &value);

    if (ok) {
        found = (struct text){.data = value.data, .size = value.size};
        if (!value.found)
            ok = FAIL(work, "%.*s: is missing, not \"%.*s\"", TEXT(work->key, SHOWN_KEY),
                      TEXT(expected, SHOWN_VALUE));
        else if (found.size != expected.size || memcmp(found.data, expected.data, found.size) != 0)
            ok = FAIL(work, "%.*s: is \"%.*s\", not \"%.*s\"", TEXT(work->key, SHOWN_KEY),
                      TEXT(found, SHOWN_VALUE), TEXT(expected, SHOWN_VALUE));
        else
            ok = add_result(work, NULL);
    }
    free(value.far);
    return ok;
}

struct addition {
    int64_t delta, min, max;
    bool has_min, has_max;
};

static bool take_integer(struct work *work, const char *what, int64_t *ret_value)
{
    struct text word = next_word(&work->rest);

    if (word.size == 0)
        return FAIL(work, "line %u: %s: %s is missing", work->line, work->command, what);
    return parse_integer(word, ret_value)
               ? true
               : FAIL(work, "line %u: %s: %s \"%.*s\" is not a 64-bit integer", work->line,
                      work->command, what, TEXT(word, SHOWN_COMMAND));
}

static bool take_addition(struct work *work, struct addition *ret_addition)
{
    struct addition a = {0};
    struct text word;

    if (!take_integer(work, "the amount", &a.delta))
        return false;
    while ((word = next_word(&work->rest)).size > 0) {
        bool ok;

        if (equals(word, "min") && !a.has_min) {
            a.has_min = true;
            ok = take_integer(work, "min", &a.min);
        } else if (equals(word, "max") && !a.has_max) {
            a.has_max = true;
            ok = take_integer(work, "max", &a.max);
        } else {
            ok = FAIL(work, "line %u: %s: unexpected \"%.*s\"", work->line, work->command,
                      TEXT(word, SHOWN_COMMAND));
        }
        if (!ok)
            return false;
    }
    *ret_addition = a;
    return true;
}

/* The new value, if the guards allow it. */
static bool sum_up(struct work *work, const struct addition *a, int64_t before, int64_t *ret_sum)
{
    char sign = a->delta < 0 ? '-' : '+';
    uint64_t amount = a->delta < 0 ? 0 - (uint64_t)a->delta : (uint64_t)a->delta;
    const char *which = NULL;
    int64_t sum, bound = 0;

    if (__builtin_add_overflow(before, a->delta, &sum))
        return FAIL(work, "%.*s: %" PRId64 " %c %" PRIu64 " overflows 64 bits",
                    TEXT(work->key, SHOWN_KEY), before, sign, amount);
    if (a->has_min && sum < a->min) {
        which = "below min";
        bound = a->min;
    } else if (a->has_max && sum > a->max) {
        which = "above max";
        bound = a->max;
    }
    if (which != NULL)
        return FAIL(work, "%.*s: %" PRId64 " %c %" PRIu64 " = %" PRId64 " is %s %" PRId64,
                    TEXT(work->key, SHOWN_KEY), before, sign, amount, sum, which, bound);
    *ret_sum = sum;
    return true;
}

static bool run_add(struct work *work)
{
    struct kv_hold *hold;
    struct value value = {0};
    struct addition addition;
    struct text found;
    int64_t before = 0, sum;
    char digits[24];
    bool ok;

    if (!take_addition(work, &addition) || !lock_key(work, KV_EXCLUSIVE, &hold) ||
        !read_value(work, hold, &value))
        return false;
    found = (struct text){.data = value.data, .size = value.size};
    if (value.found && !parse_integer(found, &before))
        ok = FAIL(work, "%.*s: \"%.*s\" is not a 64-bit integer", TEXT(work->key, SHOWN_KEY),
                  TEXT(found, SHOWN_VALUE));
    else
        ok = sum_up(work, &addition, before, &sum);
    free(value.far);
    if (!ok)
        return false;
    value = (struct value){.data = digits, .found = true};
    value.size = (size_t)snprintf(digits, sizeof(digits), "%" PRId64, sum);
    return write_value(work, hold, value.data, value.size) && reserve_reply(work, value.size) &&
           add_result(work, &value);
}

static const struct command {
    const char *name;
    bool (*run)(struct work *work);
} commands[] = {
    {"put", run_put}, {"del", run_del}, {"get", run_get}, {"check", run_check}, {"add", run_add},
};

/* --- lines ------------------------------------------------------------------------------------ */

static bool take_key(struct work *work)
{
    work->key = next_word(&work->rest);
    if (work->key.size == 0)
        return FAIL(work, "line %u: %s: the key is missing", work->line, work->command);
    if (work->key.size > KV_KEY_MAX)
        return FAIL(work, "line %u: %s: the key is over %u bytes", work->line, work->command,
                    KV_KEY_MAX);
    if (has_control_bytes(work->key))
        return FAIL(work, "line %u: %s: the key has control bytes", work->line, work->command);
    return reserve_reply(work, work->key.size);
}

static bool run_line(struct work *work, struct text line)
{
    struct text word = next_word(&line);

    if (word.size == 0)
        return true;
    if (work->command_count++ == KV_COMMANDS_MAX)
        return FAIL(work, "line %u: over %u commands", work->line, KV_COMMANDS_MAX);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (!equals(word, commands[i].name))
            continue;
        work->command = commands[i].name;
        work->rest = line;
        return take_key(work) && commands[i].run(work);
    }
    return FAIL(work, "line %u: unknown command \"%.*s\"", work->line, TEXT(word, SHOWN_COMMAND));
}

static bool run_lines(struct work *work)
{
    struct text rest = {.data = work->call->work, .size = work->call->work_size};

    while (rest.size > 0) {
        const char *end = memchr(rest.data, '\n', rest.size);
        struct text line = {.data = rest.data};

        line.size = end != NULL ? (size_t)(end - rest.data) : rest.size;
        work->line++;
        if (!run_line(work, line))
            return false;
        rest.data += line.size + (end != NULL);
        rest.size -= line.size + (end != NULL);
    }
    return true;
}

/* What is stored must fit into JSON, so all of it must be UTF-8. */
static bool is_utf8(struct work *work)
{
    if (assent_utf8_valid(work->call->work, work->call->work_size))
        return true;
    return FAIL(work, "the work is not UTF-8 text");
}

static bool reply(struct work *work)
{
    json_t *object;
    char *text;

    kv_result(work->call, ASSENT_RM_OK);
    if (work->call->no_reply)
        return true;
    object = json_pack("{s:O}", "results", work->results);
    text = object == NULL ? NULL : json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (text == NULL)
        return FAIL(work, "out of memory");
    work->call->reply = text;
    work->call->reply_size = strlen(text);
    return true;
}

void kv_work(struct kv *kv, struct kv_branch *branch, struct assent_call *call)
{
    struct work work = {.kv = kv, .branch = branch, .call = call, .command = ""};
    bool done;

    if (branch->failed) {
        kv_answer(call, ASSENT_RM_FAILED, "%s", kv_branch_reason(branch));
        return;
    }
    if (branch->prepared) {
        kv_answer(call, ASSENT_RM_FAILED, "the branch is prepared already");
        return;
    }
    if (!call->no_reply)
        work.results = json_array();
    done = work.results != NULL || call->no_reply
               ? is_utf8(&work) && run_lines(&work) && reply(&work)
               : FAIL(&work, "out of memory");
    if (call->would_wait) {
        kv_unlock_all(&kv->locks, &branch, 1);
        branch->bytes = 0;
    } else if (!done) {
        branch->failed = true;
        branch->reason = strdup(call->reason);
    }
    json_decref(work.results);
}
