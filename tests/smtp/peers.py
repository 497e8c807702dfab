"""Servers for tests: one in memory, one on loopback whose connections are functions or transcripts."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from script import Script

from merge.model import Outcome
from merge.smtp.auth import Credentials
from merge.smtp.dialogue import Dialogue
from merge.smtp.docket import Docket, Phase
from merge.smtp.line import Habits
from merge.smtp.meaning import Run
from merge.smtp.opening import Terms
from merge.smtp.steps import (
    Ask,
    Commit,
    Deadlines,
    Done,
    Event,
    Handshake,
    Hangup,
    Idle,
    Lost,
    Read,
    Refill,
    Unread,
)

LOOPBACK = "127.0.0.1"


class Told:
    """A clock that runs, but does not let anybody sleep: it notes the wait instead."""

    def __init__(self, stop_when: Callable[[], bool] = lambda: False) -> None:
        self.interrupted = False
        self.slept: list[float] = []
        self.stop_when = stop_when

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        assert len(self.slept) < 1000, "it waits again and again, and would do so for ever"
        self.slept.append(seconds)
        if self.stop_when():
            self.interrupted = True

    def interrupt(self) -> None:
        self.interrupted = True


@dataclass
class Result:
    """What a transcript came to."""

    outcomes: list[Outcome] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    committed: list[int] = field(default_factory=list)
    fate: str = "open"
    level: int = -1


# Without a socket.


class Memory:
    """One connection of a script. Its bytes are cut in two at offset `cut` of all that it says."""

    def __init__(self, items: Sequence[tuple[str, bytes]], cut: int) -> None:
        self.items = list(items)
        self.cut = cut
        self.offset = 0
        self.chunks: list[bytes] = []
        self.heard = b""
        self._advance()

    @property
    def done(self) -> bool:
        return not self.items and not self.chunks and not self.heard

    def say(self, data: bytes) -> None:
        self.heard += data
        while self.heard and not self.chunks and self.items and self.items[0][0] == "C":
            expected = self.items[0][1]
            common = min(len(expected), len(self.heard))
            assert self.heard[:common] == expected[:common], "the client says something else"
            if common < len(expected):
                self.items[0] = ("C", expected[common:])
                self.heard = b""
                return
            self.heard = self.heard[common:]
            del self.items[0]
            self._advance()
        assert not self.heard or not self.items, f"said too early: {self.heard!r}"

    def event(self) -> Event | None:
        """Return what a look at the line shows."""
        if self.chunks:
            return Unread(self.chunks.pop(0))
        if self.items and self.items[0][0] == "X" and self.items[0][1] != b"silence":
            return Lost("closed the connection" if self.items.pop(0)[1] == b"close" else "broke (reset)")
        return None

    def read(self, stage: str) -> Event:
        if self.chunks:
            return Done(self.chunks.pop(0))
        if stage == "QUIT" and not self.items:
            return Lost("closed the connection")
        assert self.items, f"the client waits for an answer to {stage} that the script does not have"
        side, what = self.items.pop(0)
        assert side == "X", f"the client waits for an answer to {stage}, the script for {what!r}"
        return (
            Lost("gave no complete answer", late=True)
            if what == b"silence"
            else Lost("closed the connection")
        )

    def _advance(self) -> None:
        while self.items and self.items[0][0] == "S":
            data = self.items.pop(0)[1]
            inside = self.cut - self.offset
            self.offset += len(data)
            self.chunks += [data[:inside], data[inside:]] if 0 < inside < len(data) else [data]


def credentials(script: Script) -> Credentials | None:
    return Credentials("ada", lambda: "secret") if script.login else None


def play(script: Script, cut: int = 0) -> Result:
    """Play a script without a socket."""
    docket, result = Docket(), Result()
    habits = Habits(script.level, script.window, script.limit)
    for delivery in script.deliveries():
        docket.add(delivery)
    terms = Terms("ada.example", script.starttls, script.login, credentials(script))
    for number in range(len(script.lines)):
        peer = Memory(script.said(number), cut)
        dialogue = Dialogue(terms, docket, habits, Deadlines())
        end = converse(dialogue, peer, docket, result)
        result.level = dialogue.line.level
        if end is None:
            break
        answered = docket.answered
        result.outcomes += docket.known()
        result.fate = {
            Run.STOP: f"stops {end.reason}",
            Run.PAUSE: "pauses",
            Run.RECONNECT: "at once" if answered else "reconnects",
            Run.GO_ON: "at once",
        }[end.run]
        if end.run is Run.STOP or number + 1 == len(script.lines):
            break
    else:  # pragma: no cover - a script has at least one connection
        raise AssertionError
    if end is None:
        result.fate = "open"
    result.outcomes += docket.known()
    result.waiting = [delivery.row for delivery in docket.recall()]
    assert number + 1 == len(script.lines), "not every connection was used"
    return result


def converse(  # noqa: C901, PLR0912 - one branch a kind of step
    dialogue: Dialogue, peer: Memory, docket: Docket, result: Result
) -> Hangup | None:
    for _ in range(1000):
        step = dialogue.step
        event: Event | None = None
        match step:
            case Hangup():
                if not isinstance(peer.event(), Unread):
                    assert peer.done or peer.items[:1] == [("X", b"close")], peer.items
                return step
            case Idle():
                if docket.next() is None and not peer.chunks and not peer.items:
                    return None
                event = peer.event() or Done()
            case Read():
                event = peer.read(step.stage)
            case Refill():
                event = Done()
            case Handshake():
                event = peer.event() or Done()
            case Ask():
                event = peer.event()
                if event is None:
                    peer.say(step.data)
                    event = peer.read(step.read.stage)
            case Commit():
                event = peer.event()
                if event is None and step.body:
                    peer.say(step.body)
                    event = peer.event()
                if event is None:
                    for case in step.cases:
                        result.committed.append(case.delivery.row)
                        case.phase = Phase.DOUBTFUL
                    peer.say(step.data)
                    event = peer.read(step.read.stage)
        assert event is not None
        dialogue.resume(event)
    raise AssertionError("the conversation has no end")


# On loopback.


class Server:
    """Listens on loopback; each connection is handed to the next of `parts`, the last one again and again."""

    def __init__(self, *parts: Callable[[Peer], None], repeat: bool = False) -> None:
        self.parts = list(parts)
        self.repeat = repeat
        self.errors: list[BaseException] = []
        self.connections = 0
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):  # small, so that they fill up
            self.socket.setsockopt(socket.SOL_SOCKET, buffer, 64 * 1024)
        self.socket.bind((LOOPBACK, 0))
        self.socket.listen(16)
        self.port: int = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.open: Peer | None = None

    @property
    def exhausted(self) -> bool:
        return not self.parts

    def _serve(self) -> None:
        while self.parts:
            part = self.parts[0]
            try:
                plain, _ = self.socket.accept()
                if len(self.parts) > 1 or not self.repeat:
                    del self.parts[:1]
                if not self.parts:
                    self.socket.close()
            except OSError:
                return
            self.connections += 1
            with Peer(plain) as self.open:
                try:
                    part(self.open)
                except Gone:
                    pass
                except BaseException as error:  # noqa: BLE001 - handed to the test
                    self.errors.append(error)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.parts.clear()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        if self.open is not None:
            self.open.reset()
        self.thread.join(5)
        assert not self.thread.is_alive()
        if self.errors:
            raise self.errors[0]


class Gone(Exception):  # noqa: N818 - the end of a connection is no error here
    """The client has left."""


class Peer:
    """One connection, from the server's side."""

    def __init__(self, plain: socket.socket) -> None:
        self.socket = plain
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(10)
        self.buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def say(self, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.replace("\n", "\r\n").encode() + b"\r\n"
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Gone from error

    def more(self) -> None:
        try:
            data = self.socket.recv(1 << 20)
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        self.buffer += data

    def hear(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self.more()
        return self._take(count)

    def line(self) -> str:
        return self.until(b"\r\n").decode()

    def until(self, end: bytes) -> bytes:
        seen = 0
        while (place := self.buffer.find(end, seen)) < 0:
            seen = max(0, len(self.buffer) - len(end))
            self.more()
        return self._take(place + len(end))[:place]

    def _take(self, count: int) -> bytes:
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def hello(self, *extensions: str) -> None:
        self.say("220 b.example ESMTP")
        self.greet(*extensions)

    def greet(self, *extensions: str) -> None:
        assert self.line().startswith("EHLO ")
        words = ["me", *extensions]
        self.say("\n".join(f"250{' ' if word is words[-1] else '-'}{word}" for word in words))

    def envelope(self, *, data: bool = True) -> None:
        assert self.line().startswith("MAIL ")
        self.say("250 ok")
        assert self.line().startswith("RCPT ")
        self.say("250 ok")
        if data:
            assert self.line() == "DATA"
            self.say("354 go")

    def message(self) -> bytes:
        return self.until(b"\r\n.\r\n") + b"\r\n"

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()

    def reset(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.shutdown(socket.SHUT_RD)
        self.close()

    def wait_until_left(self) -> bytes:
        """Return what the client still says before it leaves, without an answer."""
        with contextlib.suppress(OSError):
            while data := self.socket.recv(65536):
                self.buffer += data
        return bytes(self.buffer)

    def farewell(self) -> None:
        """Wait for QUIT, and answer it."""
        if self.line() == "QUIT":
            self.say("221 bye")


def playing(items: Sequence[tuple[str, bytes]]) -> Callable[[Peer], None]:
    """Return a connection that plays one part of a transcript."""

    def play_it(peer: Peer) -> None:
        for side, data in items:
            if side == "C":
                heard = peer.hear(len(data))
                assert heard == data, (heard, data)
            elif side == "S":
                peer.say(data)
            elif data == b"reset":
                peer.reset()
                return
            elif data == b"silence":
                peer.wait_until_left()
                return
            else:
                peer.close()
                return
        peer.farewell()

    return play_it
