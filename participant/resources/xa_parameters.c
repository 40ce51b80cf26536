/*
 * xa_parameters.c: what follows "xa:", words separated by blanks or commas, the last of which takes
 * all that is left:
 *
 *   switch=LIBRARY:SYMBOL work=LIBRARY [threads=N] [call_timeout=TIME] [recover_flags=WORD]
 *   [quirks=WORD[+WORD...]] [host=PROGRAM] [open=STRING]
 */
#include "xa_resource.h"

#include <stdio.h>
#include <string.h>

#include "parameters.h"

#define SEPARATORS  ", \t"
#define THREADS_MAX 64
#define HOUR_MS     3600000

static const struct {
    const char *name;
    uint32_t bit;
} quirks[] = {
    {"shared-rmid", XA_QUIRK_SHARED_RMID},
    {"recover-zeroed-xid", XA_QUIRK_ZEROED_XID},
    {"end-by-plugin", XA_QUIRK_END_BY_PLUGIN},
};

static int wrong(char *error, size_t error_size, const char *name, const char *value)
{
    snprintf(error, error_size, "xa: parameter \"%s\" cannot be \"%s\"", name, value);
    return ASSENT_E_CONFIG;
}

/* It may hold a password, and so is not shown. */
static int too_long(char *error, size_t error_size)
{
    snprintf(error, error_size, "xa: parameter \"open\" has more than %d bytes", MAXINFOSIZE - 1);
    return ASSENT_E_CONFIG;
}

static int copy(char *to, size_t size, const char *name, const char *value, char *error,
                size_t error_size)
{
    if (strlen(value) >= size || value[0] == '\0')
        return wrong(error, error_size, name, value);
    strcpy(to, value);
    return 0;
}

/* LIBRARY:SYMBOL. */
static int take_switch(struct xa_setup *setup, char *value, char *error, size_t error_size)
{
    char *colon = strrchr(value, ':');
    int r;

    if (colon == NULL)
        return wrong(error, error_size, "switch", value);
    *colon++ = '\0';
    r = copy(setup->switch_library, sizeof(setup->switch_library), "switch", value, error,
             error_size);
    if (r == 0)
        r = copy(setup->switch_symbol, sizeof(setup->switch_symbol), "switch", colon, error,
                 error_size);
    return r;
}

static int take_quirks(struct xa_setup *setup, char *value, char *error, size_t error_size)
{
    char *rest = NULL;

    for (char *word = strtok_r(value, "+", &rest); word; word = strtok_r(NULL, "+", &rest)) {
        uint32_t bit = 0;

        for (size_t i = 0; i < sizeof(quirks) / sizeof(quirks[0]); i++)
            if (strcmp(quirks[i].name, word) == 0)
                bit = quirks[i].bit;
        if (bit == 0)
            return wrong(error, error_size, "quirks", word);
        setup->quirks |= bit;
    }
    return 0;
}

/* Numbers and choices: given in `word`, as name=value. */
static int take_plain(struct xa_parameters *p, const char *word, char *error, size_t error_size)
{
    static const char *const flags[] = {"paged", "paged-no-end", "one-call", NULL};
    uint64_t threads = p->setup.threads, recover_flags = p->setup.recover_flags;
    const struct assent_parameter parameters[] = {
        {"threads", ASSENT_PARAMETER_SIZE, &threads, 1, THREADS_MAX, NULL},
        {"call_timeout", ASSENT_PARAMETER_DURATION, &p->call_timeout_ms, 100, HOUR_MS, NULL},
        {"recover_flags", ASSENT_PARAMETER_CHOICE, &recover_flags, 0, 0, flags},
    };
    int r = assent_parameters_parse("xa", word, parameters,
                                    sizeof(parameters) / sizeof(parameters[0]), error, error_size);

    p->setup.threads = (uint32_t)threads;
    p->setup.recover_flags = (uint32_t)recover_flags;
    return r;
}

static const char *const names[] = {"switch",        "work",    "host",        "quirks",
                                    "recover_flags", "threads", "call_timeout"};

static int take_word(struct xa_parameters *p, char *word, uint32_t *given, char *error,
                     size_t error_size)
{
    size_t name_size = strcspn(word, "=");
    char *value = word + name_size + (word[name_size] == '=');
    uint32_t bit = 0;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strlen(names[i]) == name_size && memcmp(names[i], word, name_size) == 0)
            bit = 1u << i;
    if (*given & bit) {
        snprintf(error, error_size, "xa: parameter \"%.*s\" is given twice", (int)name_size, word);
        return ASSENT_E_CONFIG;
    }
    *given |= bit;
    if (bit == 1u << 0)
        return take_switch(&p->setup, value, error, error_size);
    if (bit == 1u << 1)
        return copy(p->setup.work_library, sizeof(p->setup.work_library), "work", value, error,
                    error_size);
    if (bit == 1u << 2)
        return copy(p->host, sizeof(p->host), "host", value, error, error_size);
    if (bit == 1u << 3)
        return take_quirks(&p->setup, value, error, error_size);
    return take_plain(p, word, error, error_size);
}

int xa_parameters_parse(const char *text, struct xa_parameters *ret_parameters, char *error,
                        size_t error_size)
{
    struct xa_parameters p = {.host = ASSENT_XA_HOST,
                              .setup = {.version = ASSENT_VERSION, .threads = 8},
                              .call_timeout_ms = 30000};
    static const char open[] = "open=";
    uint32_t given = 0;
    int r = 0;

    while (r == 0 && *(text += strspn(text, SEPARATORS)) != '\0') {
        char word[XA_PATH_BYTES + XA_SYMBOL_BYTES + 16];
        size_t size = strcspn(text, SEPARATORS);

        if (strncmp(text, open, sizeof(open) - 1) == 0) {
            text += sizeof(open) - 1;
            if (strlen(text) >= sizeof(p.setup.info))
                return too_long(error, error_size);
            strcpy(p.setup.info, text);
            break;
        }
        snprintf(word, sizeof(word), "%.*s", (int)size, text);
        r = take_word(&p, word, &given, error, error_size);
        text += size;
    }
    if (r == 0 && (p.setup.switch_library[0] == '\0' || p.setup.work_library[0] == '\0')) {
        snprintf(error, error_size, "xa: parameter \"%s\" is missing",
                 p.setup.switch_library[0] == '\0' ? "switch" : "work");
        r = ASSENT_E_CONFIG;
    }
    if (r == 0)
        *ret_parameters = p;
    return r;
}
