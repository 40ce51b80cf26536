/* server.c: talks to the coordinator through the public client, and turns errors and outcomes into
 * exit codes. */
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

int ctl_exit_for_error(int error)
{
    switch (error) {
    case 0:
        return CTL_EXIT_OK;
    case ASSENT_E_INVALID:
        return CTL_EXIT_USAGE;
    case ASSENT_E_CONNECT:
        return CTL_EXIT_CONNECT;
    case ASSENT_E_NOT_FOUND:
        return CTL_EXIT_NOT_FOUND;
    case ASSENT_E_CORRUPT:
        return CTL_EXIT_UNHEALTHY;
    case ASSENT_E_UNKNOWN:
        return CTL_EXIT_UNKNOWN;
    default:
        return CTL_EXIT_SERVER;
    }
}

int ctl_exit_for_outcome(enum assent_outcome outcome)
{
    switch (outcome) {
    case ASSENT_OUTCOME_COMMITTED:
        return CTL_EXIT_OK;
    case ASSENT_OUTCOME_ABORTED:
        return CTL_EXIT_ABORTED;
    case ASSENT_OUTCOME_UNKNOWN:
        return CTL_EXIT_UNKNOWN;
    case ASSENT_OUTCOME_MIXED:
    case ASSENT_OUTCOME_HAZARD:
        return CTL_EXIT_UNHEALTHY;
    case ASSENT_OUTCOME_EXPIRED:
    case ASSENT_OUTCOME_NEVER_SEEN:
        return CTL_EXIT_NOT_FOUND;
    }
    return CTL_EXIT_UNKNOWN;
}

int ctl_connect(struct ctl *ctl)
{
    uint32_t timeout_ms = ctl->timeout_ms ? ctl->timeout_ms : CTL_DEFAULT_TIMEOUT_MS;
    struct assent_client_options options = {
        .size = sizeof(options),
        .address = ctl->address,
        .name = "assentctl",
        .request_ms = timeout_ms,
        .connect_ms = timeout_ms < 5000 ? timeout_ms : 5000,
    };
    char error[512] = "";
    int result = assent_client_open(&options, &ctl->client, error, sizeof(error));

    if (result == 0)
        return CTL_EXIT_OK;
    if (error[0])
        ctl_error(ctl, "%s", error);
    else
        ctl_error(ctl, "%s: %s", ctl->address, assent_error_text(result));
    if (result == ASSENT_E_CONNECT || result == ASSENT_E_TIMEOUT || result == ASSENT_E_CLOSED) {
        ctl_hint(ctl, "is assentd running there? -H ADDR or ASSENT_HOST names another");
        return CTL_EXIT_CONNECT;
    }
    return ctl_exit_for_error(result);
}

int ctl_failed(struct ctl *ctl, const char *what, int error)
{
    const char *text = assent_client_error(ctl->client);

    ctl_error(ctl, "%s: %s", what, text && text[0] ? text : assent_error_text(error));
    return ctl_exit_for_error(error);
}

int ctl_inspect(struct ctl *ctl, const char *what, const char *argument, const char *participant,
                uint32_t limit, json_t **ret_json)
{
    char *text = NULL;
    json_error_t problem;
    json_t *json;
    int code = ctl->client ? CTL_EXIT_OK : ctl_connect(ctl), error;

    if (code)
        return code;
    error = assent_client_inspect(ctl->client, what, argument, participant, limit, &text);
    if (error)
        return ctl_failed(ctl, participant ? participant : argument ? argument : what, error);
    json = json_loads(text, 0, &problem);
    free(text);
    if (!json) {
        ctl_error(ctl, "%s: the answer is not JSON: %s", what, problem.text);
        return CTL_EXIT_SERVER;
    }
    *ret_json = json;
    return CTL_EXIT_OK;
}

int ctl_parse_gtrid(struct ctl *ctl, const char *text, struct assent_gtrid *ret_gtrid)
{
    if (assent_gtrid_parse(text, ret_gtrid) == 0)
        return CTL_EXIT_OK;
    ctl_error(ctl, "\"%s\" is not a gtrid (%d characters of Crockford base32)", text,
              ASSENT_GTRID_TEXT);
    return CTL_EXIT_USAGE;
}

static bool is_zero(const struct assent_gtrid *gtrid)
{
    static const struct assent_gtrid zero;

    return memcmp(gtrid, &zero, sizeof(zero)) == 0;
}

static void print_result_json(struct ctl *ctl, const struct assent_result *result, const char *key)
{
    char gtrid[ASSENT_GTRID_TEXT + 1];
    json_t *json;

    assent_gtrid_format(&result->gtrid, gtrid);
    json = json_pack(
        "{s:s?, s:s, s:s?, s:s?, s:b, s:s?}", "gtrid", is_zero(&result->gtrid) ? NULL : gtrid,
        "outcome", assent_outcome_name((int)result->outcome), "reason",
        result->reason[0] ? result->reason : NULL, "phase", result->phase[0] ? result->phase : NULL,
        "ended", (int)result->ended, "key", key);
    if (json)
        ctl_print_json(ctl, json);
    else
        ctl_error(ctl, "the reason is not UTF-8");
    json_decref(json);
}

void ctl_print_result(struct ctl *ctl, const struct assent_result *result, const char *key)
{
    char gtrid[ASSENT_GTRID_TEXT + 1] = "-";
    struct ctl_table *table;

    if (ctl->json) {
        print_result_json(ctl, result, key);
        return;
    }
    if (!is_zero(&result->gtrid))
        assent_gtrid_format(&result->gtrid, gtrid);
    table = ctl_table_new(result->reason[0] ? 3 : 2);
    ctl_table_row(
        table, (const char *[]){gtrid, assent_outcome_name((int)result->outcome), result->reason});
    ctl_table_print(table, ctl, false);
    ctl_table_free(table);
    if (result->outcome == ASSENT_OUTCOME_UNKNOWN && !is_zero(&result->gtrid))
        ctl_hint(ctl, "unknown is not aborted; ask again: assentctl tx wait %s", gtrid);
    else if (result->outcome == ASSENT_OUTCOME_UNKNOWN && key)
        ctl_hint(ctl, "unknown is not aborted; ask again: assentctl tx wait --key %s", key);
    else if (result->outcome == ASSENT_OUTCOME_COMMITTED && !result->ended)
        ctl_hint(ctl, "branches are still being told: assentctl tx show %s", gtrid);
}

/* The request may have been carried out although its answer did not come. */
static bool answer_lost(int error)
{
    return error == ASSENT_E_CLOSED || error == ASSENT_E_TIMEOUT || error == ASSENT_E_UNKNOWN ||
           error == ASSENT_E_PROTOCOL;
}

/* Not an outcome: the request was refused, or was never sent. */
static void print_refusal_json(struct ctl *ctl, int error)
{
    const char *text = assent_client_error(ctl->client);
    json_t *json =
        json_pack("{s:n, s:n, s:s, s:s}", "gtrid", "outcome", "error", assent_error_name(error),
                  "reason", text && text[0] ? text : assent_error_text(error));

    if (json)
        ctl_print_json(ctl, json);
    json_decref(json);
}

int ctl_finish(struct ctl *ctl, const char *what, int error, const struct assent_result *result,
               const char *key)
{
    struct assent_result lost = *result;
    int code;

    if (error == 0) {
        ctl_print_result(ctl, result, key);
        return ctl_exit_for_outcome(result->outcome);
    }
    code = ctl_failed(ctl, what, error);
    if (!answer_lost(error)) {
        if (ctl->json)
            print_refusal_json(ctl, error);
        return code;
    }
    lost.outcome = ASSENT_OUTCOME_UNKNOWN;
    lost.ended = false;
    snprintf(lost.reason, sizeof(lost.reason), "the answer was lost: %s", assent_error_text(error));
    ctl_print_result(ctl, &lost, key);
    return CTL_EXIT_UNKNOWN;
}
