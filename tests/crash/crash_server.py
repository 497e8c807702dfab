"""An SMTP server that never forgets what it took, and ends its client at a moment that the test names.

Run as `crash_server.py FOLDER`; it prints its port. A message that it takes is in FOLDER/accepted on disk
before the answer goes out. FOLDER/order says what to do at what event: `kill PID EVENT NUMBER ORDER`, where
NUMBER counts those events from 0 since the order changed. Besides `kill` there are `int` and `term`, which
send those signals and go on, `twice`, which sends SIGINT twice before it goes on, and `drop`, which closes
the line.

The first letters of a recipient say how it is treated: `gray` is deferred at RCPT the first time, `late`
at the end of data the first time, `gone` refused at RCPT, `spam` refused at the end of data.
"""

from __future__ import annotations

import json
import os
import signal
import socketserver
import sys
import threading
import time
from email.parser import BytesHeaderParser
from pathlib import Path

SIGNALS = {
    "kill": (signal.SIGKILL,),
    "int": (signal.SIGINT,),
    "term": (signal.SIGTERM,),
    "twice": (signal.SIGINT, signal.SIGINT),
}
EVENTS = ("connect", "EHLO", "MAIL", "RCPT", "DATA", "body", "dot", "taken", "answered")


class Dropped(Exception):  # noqa: N818 - not an error: an order carried out
    """The line is to be closed."""


class Book:
    """What was taken, on disk; and the order of the moment."""

    def __init__(self, folder: Path) -> None:
        self.order = folder / "order"
        self.accepted = os.open(folder / "accepted", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.seen: set[str] = set()
        self.said = ""
        self.counts: dict[str, int] = {}
        self.lock = threading.Lock()

    def event(self, name: str) -> None:
        with self.lock:
            said = self.order.read_text()
            if said != self.said:
                self.said, self.counts = said, {}
            number = self.counts.get(name, 0)
            self.counts[name] = number + 1
            action, pid, event, wanted, _ = said.split()
            if event != name or int(wanted) != number:
                return
        for number in SIGNALS.get(action, ()):
            os.kill(int(pid), number)
            time.sleep(0.5 if action == "twice" else 0)
        if action in ("kill", "drop"):
            raise Dropped

    def first_time(self, recipient: str) -> bool:
        with self.lock:
            known = recipient in self.seen
            self.seen.add(recipient)
            return not known

    def take(self, recipient: str, content: bytes) -> None:
        head = BytesHeaderParser().parsebytes(content)
        line = {"id": head["Message-ID"], "to": head["To"], "recipient": recipient, "size": len(content)}
        os.write(self.accepted, json.dumps(line).encode() + b"\n")
        os.fsync(self.accepted)


class Handler(socketserver.StreamRequestHandler):
    """One line. Answers are collected while commands wait in the buffer, as a pipelining server does."""

    def handle(self) -> None:
        self.book: Book = self.server.book  # type: ignore[attr-defined]
        self.recipients: list[str] = []
        try:
            self.book.event("connect")
            self.say("220 crash.example")
            while line := self.rfile.readline():
                verb, _, rest = line.decode("ascii", "replace").strip().partition(" ")
                if not self.obey(verb.upper(), rest):
                    return
        except (Dropped, ConnectionError, TimeoutError):
            return

    def say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    def obey(self, verb: str, rest: str) -> bool:
        if verb in EVENTS:
            self.book.event(verb)
        if verb == "EHLO":
            self.say(
                "250-crash.example",
                "250-PIPELINING",
                "250-8BITMIME",
                "250-CHUNKING",
                "250 ENHANCEDSTATUSCODES",
            )
        elif verb == "RCPT":
            self.receive(rest.partition("<")[2].partition(">")[0])
        elif verb == "DATA":
            self.data()
        elif verb == "BDAT":
            self.chunk(int(rest.split(maxsplit=1)[0]))
        elif verb == "QUIT":
            self.say("221 2.0.0 bye")
            return False
        else:
            if verb in ("MAIL", "RSET"):
                self.recipients = []
            self.say("250 2.0.0 ok")
        return True

    def receive(self, recipient: str) -> None:
        if recipient.startswith("gone"):
            self.say("550 5.1.1 nobody here")
        elif recipient.startswith("gray") and self.book.first_time(recipient):
            self.say("450 4.7.1 come back later")
        else:
            self.recipients.append(recipient)
            self.say("250 2.1.5 ok")

    def data(self) -> None:
        if not self.recipients:
            self.say("554 5.5.1 no valid recipients")
            return
        self.say("354 go on")
        content = bytearray()
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                raise Dropped
            if not content:
                self.book.event("body")
            content += line.removeprefix(b".")
        self.decide(bytes(content))

    def chunk(self, size: int) -> None:
        content = self.rfile.read(size)
        if len(content) < size:
            raise Dropped
        if not self.recipients:
            self.say("503 5.5.1 no valid recipients")
            return
        self.decide(content)

    def decide(self, content: bytes) -> None:
        self.book.event("dot")
        (recipient,), self.recipients = self.recipients, []
        if recipient.startswith("spam"):
            self.say("554 5.7.1 not this")
        elif recipient.startswith("late") and self.book.first_time(recipient):
            self.say("451 4.3.0 not now")
        else:
            self.book.take(recipient, content)
            self.book.event("taken")
            self.say("250 2.0.0 taken")
            self.book.event("answered")


class Server(socketserver.ThreadingTCPServer):
    """Loopback, one thread a line."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.book = Book(folder)
        super().__init__(("127.0.0.1", 0), Handler)


if __name__ == "__main__":
    with Server(Path(sys.argv[1])) as server:
        print(server.server_address[1], flush=True)  # noqa: T201 - how the test learns the port
        server.serve_forever()
