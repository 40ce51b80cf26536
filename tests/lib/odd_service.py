#!/usr/bin/python3
"""A service that does to the http resource what the work tells it to: any status, garbage, silence.

Work is {"try": [...], "confirm": [...], "cancel": [...]}, each a list of answers, used up one
by one until the last, which stays; without one it is 200 and {}. An answer is a status or
an object:
    status, body (JSON), raw (text in its place), headers, bytes (that many blanks as the body),
    header_bytes, drop (close without an answer), hang (no answer until released)

GET /seen?q=BRANCH gives the requests for that branch number (gtrid sequence), q=all all of them,
q=reset forgets them, q=release lets those go on that hang. As a program: runs one command beside
it, with its URL in ASSENT_TEST_HTTP.
"""

import json
import os
import ssl
import subprocess
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        phase = self.path.strip("/")
        answer = self.server.note(phase, body, dict(self.headers), self.client_address[1])
        if isinstance(answer, int):
            answer = {"status": answer}
        if answer.get("hang"):
            self.server.release.wait(60)
        if answer.get("drop"):
            self.close_connection = True
            return
        self.answer(answer)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        what = urllib.parse.parse_qs(url.query).get("q", ["all"])[0]
        if url.path == "/status":
            self.answer({"status": int(what), "body": {}})
        else:
            self.answer({"status": 200, "body": self.server.look(what)})

    def answer(self, answer):
        data = json.dumps(answer.get("body", {})).encode()
        if "raw" in answer:
            data = answer["raw"].encode()
        if "bytes" in answer:
            data = b" " * answer["bytes"]
        self.send_response(answer.get("status", 200))
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data)),
                   **answer.get("headers", {})}
        for name, value in headers.items():
            self.send_header(name, value)
        for number in range(answer.get("header_bytes", 0) // 1000):
            self.send_header(f"X-Fill-{number}", "x" * 990)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass


class OddService(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, certificate=None):
        """`certificate`: a file with a certificate and its key, for https."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.release = threading.Event()
        self.scripts = {}
        self.seen = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        if certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            self.socket = tls.wrap_socket(self.socket, server_side=True,
                                          do_handshake_on_connect=False)
            self.url = self.url.replace("http:", "https:")
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def parameters(self, **more):
        """Of the resource."""
        words = [f"{phase}={self.url}/{phase}" for phase in ("try", "confirm", "cancel")]
        return ",".join(words + [f"{key}={value}" for key, value in more.items()])

    def handle_error(self, request, client_address):
        """Clients that give up are part of the tests."""

    def note(self, phase, body, headers, port):
        with self.lock:
            work = body.get("work")
            if phase == "try" and isinstance(work, dict):
                script = {key: list(work[key]) for key in ("try", "confirm", "cancel")
                          if key in work}
                if body["try"] == 1:
                    self.scripts[body["id"]] = {}
                self.scripts[body["id"]].update(script)
            self.seen.append({"phase": phase, "id": body["id"], "body": body, "port": port,
                              "headers": {k.lower(): v for k, v in headers.items()}})
            answers = self.scripts.get(body["id"], {}).get(phase, [200])
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def of(self, phase=None, gtrid=None):
        with self.lock:
            return [s for s in self.seen if phase in (None, s["phase"])
                    and gtrid in (None, s["body"]["gtrid"])]

    def look(self, what):
        if what in ("release", "reset"):
            self.release.set()
            self.release = threading.Event()
        with self.lock:
            if what == "reset":
                self.seen.clear()
                self.scripts.clear()
            if what == "all":
                return list(self.seen)
            if not what.isdigit():
                return []
            return [s for s in self.seen if sequence(s["body"]["gtrid"]) == int(what)]


def sequence(gtrid):
    """The last 40 bits: what the unit tests number their branches by."""
    number = 0
    for character in gtrid:
        number = number << 5 | "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(character)
    return number & (1 << 40) - 1


def main(argv):
    service = OddService()
    return subprocess.run(argv, check=False,
                          env={**os.environ, "ASSENT_TEST_HTTP": service.url}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
