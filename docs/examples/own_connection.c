/*
 * own_connection.c: an application that works in a PostgreSQL database on a connection of its own,
 * and in another participant through its agent, and has both commit or none:
 *
 *   own_connection ADDRESS PARTICIPANT CONNINFO ACCOUNT OTHER WORK AMOUNT
 *   own_connection 127.0.0.1:7372 bank-a "dbname=bank" alice bank-b "add bob 5" 5
 *
 * Takes AMOUNT from ACCOUNT in the table account(name, balance) of the database behind PARTICIPANT.
 * The connection must be of the same role as the agent's. Ends with 0 if it is committed, 7 if it
 * is aborted, 8 if that could not be learned, 2 for a bad command line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <libpq-fe.h>

#include "assent/client.h"

static bool execute(PGconn *database, const char *sql, int count, const char *const *values)
{
    PGresult *result = PQexecParams(database, sql, count, NULL, values, NULL, NULL, 0);
    bool done = PQresultStatus(result) == PGRES_COMMAND_OK;

    if (!done)
        fprintf(stderr, "own_connection: %s: %s", sql, PQerrorMessage(database));
    PQclear(result);
    return done;
}

static bool execute_all(PGconn *database, const json_t *statements)
{
    for (size_t i = 0; i < json_array_size(statements); i++)
        if (!execute(database, json_string_value(json_array_get(statements, i)), 0, NULL))
            return false;
    return true;
}

/* The branch's name comes from the coordinator, the statements around our own from the participant,
 * which knows its database: {"before": ["BEGIN"], "after": [..., "PREPARE TRANSACTION '...'"]}. */
static json_t *enlist(struct assent_client *client, const struct assent_gtrid *gtrid,
                      const char *participant)
{
    char question[4 + ASSENT_BRANCH_ID_TEXT + 1] = "own ", *answer = NULL;
    struct assent_branch_id id;
    json_t *statements = NULL;

    if (assent_client_enlist(client, gtrid, participant, &id) != 0)
        return NULL;
    assent_branch_id_format(&id, question + 4);
    if (assent_client_inspect(client, "query", question, participant, 0, &answer) == 0)
        statements = json_loads(answer, 0, NULL);
    free(answer);
    return statements;
}

/* False: nothing is prepared, and the transaction has to be rolled back. */
static bool take(struct assent_client *client, const struct assent_gtrid *gtrid, char **argv)
{
    PGconn *database = PQconnectdb(argv[3]);
    const char *values[] = {argv[7], argv[4]};
    json_t *statements = enlist(client, gtrid, argv[2]);
    bool done;

    if (PQstatus(database) != CONNECTION_OK)
        fprintf(stderr, "own_connection: %s", PQerrorMessage(database));
    if (statements == NULL)
        fprintf(stderr, "own_connection: %s\n", assent_client_error(client));
    done =
        statements != NULL && execute_all(database, json_object_get(statements, "before")) &&
        execute(database, "UPDATE account SET balance = balance - $1 WHERE name = $2", 2, values) &&
        execute_all(database, json_object_get(statements, "after"));
    json_decref(statements);
    PQfinish(database); /* what is prepared does not need it any more */
    return done;
}

static int transfer(struct assent_client *client, char **argv)
{
    struct assent_begin_options options = {.size = sizeof(options), .protocol = ASSENT_2PC};
    struct assent_work work = {argv[5], argv[6], strlen(argv[6])};
    struct assent_result result = {.outcome = ASSENT_OUTCOME_UNKNOWN};
    struct assent_gtrid gtrid;
    int error = assent_client_begin(client, &options, &gtrid);

    if (error == 0 && take(client, &gtrid, argv) &&
        assent_client_work(client, &gtrid, &work, NULL, NULL) == 0)
        error = assent_client_commit(client, &gtrid, true, &result);
    else if (error == 0)
        error = assent_client_rollback(client, &gtrid, true, &result);
    if (error != 0)
        fprintf(stderr, "own_connection: %s\n", assent_client_error(client));
    printf("%s%s%s\n", assent_outcome_name((int)result.outcome), result.reason[0] ? ": " : "",
           result.reason);
    if (result.outcome == ASSENT_OUTCOME_COMMITTED)
        return 0;
    return result.outcome == ASSENT_OUTCOME_ABORTED ? 7 : 8;
}

int main(int argc, char **argv)
{
    struct assent_client_options options = {.size = sizeof(options), .name = "own_connection"};
    struct assent_client *client = NULL;
    char error[256] = "";
    int code;

    if (argc != 8) {
        fputs("usage: own_connection ADDRESS PARTICIPANT CONNINFO ACCOUNT OTHER WORK AMOUNT\n",
              stderr);
        return 2;
    }
    options.address = argv[1];
    if (assent_client_open(&options, &client, error, sizeof(error)) != 0) {
        fprintf(stderr, "own_connection: %s\n", error);
        return 8;
    }
    code = transfer(client, argv);
    assent_client_close(client);
    return code;
}
