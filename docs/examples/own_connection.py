#!/usr/bin/python3
"""own_connection.py: as own_connection.c, in Python with psycopg2; the transaction is begun and
ended by assentctl, which speaks for programs that have no libassent.

  own_connection.py ADDRESS PARTICIPANT CONNINFO ACCOUNT OTHER WORK AMOUNT

Ends with 0 if it is committed, 7 if it is aborted, anything else if that could not be learned.
"""

import json
import os
import subprocess
import sys

import psycopg2

ASSENTCTL = os.environ.get("ASSENTCTL", "assentctl")


def assentctl(*words):
    """The exit code, and what it says as JSON (None if it says nothing)."""
    done = subprocess.run([ASSENTCTL, "-H", ADDRESS, "-o", "json", "tx", *words],
                          stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else None


def take(gtrid, participant, conninfo, account, amount):
    """Prepares the branch in the database behind `participant`; raises if it cannot."""
    code, branch = assentctl("enlist", gtrid, "--participant", participant)
    if code != 0:
        raise RuntimeError(f"assentctl tx enlist: exit {code}")
    database = psycopg2.connect(conninfo)
    database.autocommit = True  # the branch's own statements begin and prepare it
    try:
        cursor = database.cursor()
        for statement in branch["before"]:
            cursor.execute(statement)
        cursor.execute("UPDATE account SET balance = balance - %s WHERE name = %s",
                       (amount, account))
        for statement in branch["after"]:
            cursor.execute(statement)
    finally:
        database.close()  # what is prepared does not need it any more


def main(participant, conninfo, account, other, work, amount):
    code, begun = assentctl("begin")
    if code != 0:
        return code
    gtrid = begun["gtrid"]
    try:
        take(gtrid, participant, conninfo, account, int(amount))
        ready = assentctl("work", gtrid, work, "--participant", other)[0] == 0
    except (RuntimeError, psycopg2.Error) as error:
        print(error, file=sys.stderr)
        ready = False
    code, result = assentctl("commit" if ready else "rollback", gtrid, "--wait")
    print(result["outcome"] if result else "unknown")
    return 7 if not ready and code == 0 else code


if __name__ == "__main__":
    if len(sys.argv) != 8:
        sys.exit(__doc__.splitlines()[0])
    ADDRESS = sys.argv[1]
    sys.exit(main(*sys.argv[2:]))
