"""A mail server on loopback that tells what it hears, and lets things happen between two letters."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Happen = Callable[[str, int], bool | None]
"""Called with an event and how many of its kind there were before; True closes the line."""


@dataclass
class Post:
    """What a server heard. `heard` has ("RCPT", address) and the other events in their order."""

    happen: Happen = lambda _event, _number: None
    extensions: tuple[str, ...] = ("PIPELINING", "8BITMIME", "CHUNKING")
    heard: list[tuple[str, str]] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    port: int = 0

    def event(self, name: str, said: str = "") -> bool:
        number = self.counts.get(name, 0)
        self.counts[name] = number + 1
        self.heard.append((name, said))
        return bool(self.happen(name, number))

    @property
    def named(self) -> list[str]:
        """Every address that stood in a RCPT."""
        return [said for name, said in self.heard if name == "RCPT"]


class _Line(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.post: Post = self.server.post  # type: ignore[attr-defined]
        self.people: list[str] = []
        self._say("220 post.example")
        while line := self.rfile.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            if not self._obey(verb.upper(), rest):
                return

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    def _obey(self, verb: str, rest: str) -> bool:
        post = self.post
        address = rest.partition("<")[2].partition(">")[0]
        if verb == "EHLO":
            *before, last = ("post.example", *post.extensions)
            self._say(*(f"250-{line}" for line in before), f"250 {last}")
            return True
        if verb == "BDAT":
            self.rfile.read(int(rest.split(maxsplit=1)[0]))
            return self._take()
        if verb in ("MAIL", "RCPT", "DATA", "RSET") and post.event(verb, address):
            return False
        if verb in ("MAIL", "RSET"):
            self.people = []
        elif verb == "RCPT":
            self.people.append(address)
        elif verb == "DATA":
            self._say("354 go on")
            while self.rfile.readline() not in (b".\r\n", b""):
                pass
            return self._take()
        self._say("221 bye" if verb == "QUIT" else "250 ok")
        return verb != "QUIT"

    def _take(self) -> bool:
        if self.post.event("dot"):
            return False
        self.post.taken += self.people
        self._say("250 2.0.0 taken")
        return True


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def post_office(post: Post) -> Iterator[Post]:
    """Let a server run while the block does."""
    with _Server(("127.0.0.1", 0), _Line) as server:
        server.post = post  # type: ignore[attr-defined]
        post.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield post
        finally:
            server.shutdown()
            thread.join()
