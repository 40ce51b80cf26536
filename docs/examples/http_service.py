#!/usr/bin/python3
"""A small shop's stock as a service that takes part in transactions: Try, Confirm, Cancel.

    http_service.py --database stock.db --port 8080 [--token-file FILE] [--stock apple=10 ...]

It shows the other side of Assent's `http` resource; docs/http.md says what such a service must do.
Standard library only. Everything that must survive is in one SQLite database, and each request is
one transaction there, so the service may be killed at any moment.

    POST /try      {"id": ..., "try": 1, "work": {"take": "apple", "count": 2}}   or "put"
    POST /confirm  {"id": ...}
    POST /cancel   {"id": ...}
    GET  /ping
    GET  /stock?q=apple

A take moves from `free` to `held` at Try, so that nobody else can have it; Confirm takes it out of
`held`, Cancel puts it back. A put shows at Confirm.
"""

import argparse
import hmac
import json
import sqlite3
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY_BYTES_MAX = 1 << 20
COUNT_MAX = 10**9
TABLES = """
    CREATE TABLE IF NOT EXISTS item (name TEXT PRIMARY KEY, free INTEGER NOT NULL CHECK (free >= 0),
        held INTEGER NOT NULL DEFAULT 0 CHECK (held >= 0));
    CREATE TABLE IF NOT EXISTS branch (id TEXT PRIMARY KEY,
        state TEXT NOT NULL CHECK (state IN ('tried', 'confirmed', 'cancelled')));
    CREATE TABLE IF NOT EXISTS change (id TEXT, number INTEGER, name TEXT NOT NULL,
        count INTEGER NOT NULL, PRIMARY KEY (id, number));
"""


class Refused(Exception):
    """A clear no: nothing was changed."""

    def __init__(self, status, reason, **more):
        super().__init__(reason)
        self.status = status
        self.body = {"reason": reason, **more}


class Stock:
    """What the service keeps. A branch is `tried`, then `confirmed` or `cancelled` for good."""

    def __init__(self, path):
        self.lock = threading.Lock()
        self.db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")  # an answer is on disk before it is given
        self.db.executescript(TABLES)

    def transaction(self, step, *arguments):
        """All or nothing, one at a time."""
        with self.lock:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                answer = step(*arguments)
                self.db.execute("COMMIT")
                return answer
            except BaseException:
                self.db.execute("ROLLBACK")
                raise

    def state(self, ident):
        row = self.db.execute("SELECT state FROM branch WHERE id = ?", (ident,)).fetchone()
        return row and row[0]

    def set_state(self, ident, state):
        self.db.execute("INSERT OR REPLACE INTO branch VALUES (?, ?)", (ident, state))

    def changes(self, ident):
        return self.db.execute("SELECT name, count FROM change WHERE id = ?", (ident,)).fetchall()

    def free(self, name):
        row = self.db.execute("SELECT free FROM item WHERE name = ?", (name,)).fetchone()
        return row[0] if row else 0

    def add(self, name, free, held=0):
        self.db.execute("INSERT OR IGNORE INTO item VALUES (?, 0, 0)", (name,))
        self.db.execute("UPDATE item SET free = free + ?, held = held + ? WHERE name = ?",
                        (free, held, name))

    # The three phases. Each may come again, and must then change nothing and answer the same.

    def try_(self, ident, number, work):
        name, count = parse(work)
        if self.state(ident) == "cancelled":  # a Cancel has overtaken this Try: it is too late
            raise Refused(409, "this branch is cancelled")
        seen = self.db.execute("SELECT 1 FROM change WHERE id = ? AND number = ?", (ident, number))
        if seen.fetchone() is None and self.state(ident) != "confirmed":
            if count < 0 and self.free(name) < -count:
                raise Refused(409, f"there are only {self.free(name)} of {name}")
            if count < 0:
                self.add(name, count, -count)
            self.db.execute("INSERT INTO change VALUES (?, ?, ?, ?)", (ident, number, name, count))
            self.set_state(ident, "tried")
        return {"name": name, "free": self.free(name)}

    def confirm(self, ident):
        state = self.state(ident)
        if state is None:  # never tried here: say so, and never "done"
            raise Refused(404, "there is no such branch")
        if state == "cancelled":
            raise Refused(409, "this branch is cancelled", outcome="cancelled")
        if state == "tried":
            for name, count in self.changes(ident):
                self.add(name, max(count, 0), min(count, 0))
            self.set_state(ident, "confirmed")
        return {"outcome": "confirmed"}

    def cancel(self, ident):
        state = self.state(ident)
        if state == "confirmed":
            raise Refused(409, "this branch is confirmed", outcome="confirmed")
        if state == "tried":
            for name, count in self.changes(ident):
                if count < 0:
                    self.add(name, -count, count)
        # Also for a branch that was never tried: its Try may still be on the way.
        self.set_state(ident, "cancelled")
        return {"outcome": "cancelled"}

    def look(self, name):
        row = self.db.execute("SELECT free, held FROM item WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise Refused(404, f"there is no {name}")
        return {"name": name, "free": row[0], "held": row[1]}


def parse(work):
    """{"take": NAME, "count": N} or {"put": ...} as a name and a signed count."""
    if not isinstance(work, dict) or len(work.keys() & {"take", "put"}) != 1:
        raise Refused(422, 'work is {"take": NAME, "count": N} or {"put": NAME, "count": N}')
    name, count = work.get("take", work.get("put")), work.get("count", 1)
    if not isinstance(name, str) or not isinstance(count, int) or not 0 < count <= COUNT_MAX:
        raise Refused(422, "a name is a text, and a count from 1 to a billion")
    return name, -count if "take" in work else count


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are used again
    disable_nagle_algorithm = True
    timeout = 60
    server_version = "stock"

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= BODY_BYTES_MAX:
            self.close_connection = True
            self.answer(413, {"reason": "the body is empty or too big"})
            return
        raw = self.rfile.read(length)
        try:
            body = json.loads(raw)
            ident = body["id"]
            steps = {"/try": lambda: self.stock.transaction(self.stock.try_, ident, body["try"],
                                                            body.get("work")),
                     "/confirm": lambda: self.stock.transaction(self.stock.confirm, ident),
                     "/cancel": lambda: self.stock.transaction(self.stock.cancel, ident)}
        except (ValueError, KeyError, TypeError):
            self.answer(400, {"reason": "the body is not JSON with an id"})
            return
        self.run(steps.get(self.path))

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        name = urllib.parse.parse_qs(url.query).get("q", [""])[0]
        steps = {"/ping": lambda: {"ready": True},
                 "/stock": lambda: self.stock.transaction(self.stock.look, name)}
        self.run(steps.get(url.path))

    def run(self, step):
        try:
            if not self.allowed():
                raise Refused(401, "the token is missing or wrong")
            if step is None:
                raise Refused(404, "there is no such path")
            self.answer(200, step())
        except Refused as refused:
            self.answer(refused.status, refused.body)
        except sqlite3.Error as error:  # not a no: come again
            self.answer(503, {"reason": f"database: {error}"})

    def allowed(self):
        return self.token is None or hmac.compare_digest(
            self.headers.get("Authorization", ""), f"Bearer {self.token}")

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A client that went away is no news."""


def main():
    parser = argparse.ArgumentParser(description="stock, by Try, Confirm and Cancel")
    parser.add_argument("--database", required=True)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--token-file", help="requests must bring this as a bearer token")
    parser.add_argument("--stock", nargs="*", default=[], metavar="NAME=COUNT",
                        help="what is there when the database is made")
    options = parser.parse_args()
    Handler.stock = Stock(options.database)
    Handler.token = None
    if options.token_file:
        with open(options.token_file, encoding="ascii") as file:
            Handler.token = file.read().strip()
    for name, _, count in (entry.partition("=") for entry in options.stock):
        Handler.stock.db.execute("INSERT OR IGNORE INTO item VALUES (?, ?, 0)", (name, int(count)))
    server = Server(("127.0.0.1", options.port), Handler)
    print(f"ready url=http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
