/*
 * order.c: an order as one transaction over four different systems:
 *
 *   order ADDRESS CUSTOMER ITEM COUNT AMOUNT KEY
 *   order 127.0.0.1:7372 alice apple 2 7 order-4711
 *
 *   orders     a PostgreSQL database: the order itself, table orders(number, customer, item, count)
 *   accounts   a MariaDB database: the payment, table account(name, balance), balance not below 0
 *   stock      the HTTP service of http_service.py: the goods
 *   points     a kv store: a point for each piece
 *
 * KEY is the idempotency key and the order's number: the same command again orders once. Ends with
 * 0 if it is ordered, 7 if it is not, 8 if that is not known: then run it again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "assent/client.h"

enum { ORDERS, ACCOUNTS, STOCK, POINTS, BRANCHES };

/* Parameters travel beside the statement, so that no name can be more than a name. */
static void compose(char **argv, char *texts[BRANCHES])
{
    const char *customer = argv[2], *item = argv[3], *key = argv[6];
    int count = atoi(argv[4]), amount = atoi(argv[5]);
    json_t *work[BRANCHES] = {
        [ORDERS] =
            json_pack("{s:s, s:[s, s, s, i]}", "sql", "INSERT INTO orders VALUES ($1, $2, $3, $4)",
                      "params", key, customer, item, count),
        [ACCOUNTS] = json_pack("{s:s, s:[i, s], s:i}", "sql",
                               "UPDATE account SET balance = balance - ? WHERE name = ?", "params",
                               amount, customer, "rows", 1),
        [STOCK] = json_pack("{s:s, s:i}", "take", item, "count", count),
    };

    for (int i = 0; i < POINTS; i++) {
        texts[i] = work[i] == NULL ? NULL : json_dumps(work[i], JSON_COMPACT);
        json_decref(work[i]);
    }
    if (asprintf(&texts[POINTS], "add %s %d", customer, count) < 0)
        texts[POINTS] = NULL;
}

static int order(struct assent_client *client, const char *key, char *texts[BRANCHES])
{
    static const char *const participants[] = {"orders", "accounts", "stock", "points"};
    struct assent_begin_options options = {
        .size = sizeof(options), .protocol = ASSENT_2PC, .key = key};
    struct assent_result result = {.outcome = ASSENT_OUTCOME_UNKNOWN};
    struct assent_work works[BRANCHES];

    for (int i = 0; i < BRANCHES; i++) {
        if (texts[i] == NULL)
            return 8;
        works[i] = (struct assent_work){participants[i], texts[i], strlen(texts[i])};
    }
    if (assent_client_run(client, &options, works, BRANCHES, true, &result) != 0)
        fprintf(stderr, "order: %s\n", assent_client_error(client));
    printf("%s%s%s\n", assent_outcome_name((int)result.outcome), result.reason[0] ? ": " : "",
           result.reason);
    if (result.outcome == ASSENT_OUTCOME_COMMITTED)
        return 0;
    return result.outcome == ASSENT_OUTCOME_ABORTED ? 7 : 8;
}

int main(int argc, char **argv)
{
    struct assent_client_options options = {.size = sizeof(options), .name = "order"};
    struct assent_client *client = NULL;
    char *texts[BRANCHES] = {NULL}, error[256] = "";
    int code = 8;

    if (argc != 7) {
        fputs("usage: order ADDRESS CUSTOMER ITEM COUNT AMOUNT KEY\n", stderr);
        return 2;
    }
    options.address = argv[1];
    if (assent_client_open(&options, &client, error, sizeof(error)) != 0) {
        fprintf(stderr, "order: %s\n", error);
        return 8;
    }
    compose(argv, texts);
    code = order(client, argv[6], texts);
    for (int i = 0; i < BRANCHES; i++)
        free(texts[i]);
    assent_client_close(client);
    return code;
}
