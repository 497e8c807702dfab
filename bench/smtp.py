"""How fast is the session against what else one could pick? Messages a second, in one run; ratios count.

    python bench/smtp.py [--rounds N] [--count N] [--delay MS ...] [--server NAME ...] [--queue FOLDER]

Letters of 10 kB, ready as bytes, go over one connection to a sink on loopback, and to each real server that
is installed, behind a proxy that delays each direction by half the round trip. smtplib is one reused
connection; aiosmtplib and smtp-source take part where they are installed. "bare socket" is no contestant: it
writes ready bytes as at level 2, and looks after nothing. What it gains is what the server leaves to gain
on one line. "two sessions" are two of level 2 at the same time: what they gain beyond one is what the server
can do that one line cannot ask of it. `--queue` is where servers keep their queues, such as a folder in
memory. Rounds are interleaved, in an order of their own. Of the rate the median letter counts, of the CPU
the best round: whatever else the machine and the server do only makes things slower.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import random
import shutil
import smtplib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from merge.clock import WallClock
from merge.model import Delivery, Envelope
from merge.smtp.session import Account, Session

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "smtp"))
from _pytest.outcomes import Skipped
from servers import SERVERS

LOOPBACK = "127.0.0.1"
CONTENT = b"".join(
    (
        b"From: Ada <ada@ada.example>\r\nTo: b@b.example\r\nSubject: Spring news\r\n\r\n",
        (b"Lorem ipsum dolor sit amet, consectetur adipisici elit, sed eiusmod te\r\n" * 140),
    )
)


class Sink(asyncio.Protocol):
    """Takes everything, as fast as Python can: PIPELINING and CHUNKING, no checks."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport, self.buffer, self.data, self.skip = transport, bytearray(), False, 0
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:  # noqa: C901 - one branch a command
        buffer = self.buffer
        buffer += data
        out = []
        while True:
            if self.skip:
                taken = min(self.skip, len(buffer))
                del buffer[:taken]
                self.skip -= taken
                if self.skip:
                    break
                out.append(b"250 ok\r\n")
            if self.data:
                end = buffer.find(b"\r\n.\r\n")
                if end < 0:
                    break
                del buffer[: end + 5]
                self.data = False
                out.append(b"250 ok\r\n")
                continue
            end = buffer.find(b"\r\n")
            if end < 0:
                break
            verb = bytes(buffer[:4]).upper()
            line = bytes(buffer[:end])
            del buffer[: end + 2]
            if verb == b"DATA":
                self.data = True
                out.append(b"354 go\r\n")
            elif verb == b"BDAT":
                self.skip = int(line.split()[1])
            elif verb == b"EHLO":
                out.append(b"250-sink\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 8BITMIME\r\n")
            elif verb == b"QUIT":
                out.append(b"221 bye\r\n")
            else:
                out.append(b"250 ok\r\n")
        self.transport.write(b"".join(out))


class Delay(asyncio.Protocol):
    """One side of a connection; what arrives is written to the other side `half` seconds later."""

    def __init__(self, half: float, other: Delay | None = None) -> None:
        self.half, self.other = half, other
        self.transport: asyncio.Transport | None = None
        self.queue: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for data in self.queue:
            transport.write(data)

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self.half, self.pass_on, data)

    def pass_on(self, data: bytes) -> None:
        if self.other.transport is None:
            self.other.queue.append(data)
        else:
            self.other.transport.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        asyncio.get_running_loop().call_later(self.half, self.other.transport.close)


async def serve(ports: multiprocessing.Queue, delays: list[float], target: int) -> None:
    loop = asyncio.get_running_loop()
    if not target:
        server = await loop.create_server(Sink, LOOPBACK, 0)
        target = server.sockets[0].getsockname()[1]
    found, tasks = [target], set()
    for delay in delays:

        def accept(half: float = delay / 2000) -> Delay:
            inner = Delay(half)
            outer = Delay(half, inner)
            inner.other = outer
            tasks.add(loop.create_task(loop.create_connection(lambda: inner, LOOPBACK, target)))
            return outer

        proxy = await loop.create_server(accept, LOOPBACK, 0)
        found.append(proxy.sockets[0].getsockname()[1])
    ports.put(found)
    await asyncio.Event().wait()


def serving(ports: multiprocessing.Queue, delays: list[float], target: int) -> None:
    asyncio.run(serve(ports, delays, target))


def deliveries(count: int) -> list[Delivery]:
    when = datetime.now(UTC)
    return [
        Delivery(
            str(row),
            row,
            Envelope("ada@ada.example", (f"r{row}@b.example",)),
            CONTENT,
            f"<{row}@a>",
            when,
            "",
        )
        for row in range(count)
    ]


def session(
    port: int, letters: list[Delivery], level: Literal["auto", 0, 1, 2], window: int = 0
) -> list[float]:
    account = Account(LOOPBACK, port, "none", pipelining=level, window=window, per_connection=0)
    way = Session(account, clock=WallClock(), before_commits=lambda _: None)
    todo, took, began = iter(letters), list[float](), time.perf_counter()
    while len(took) < len(letters):
        while way.room and (letter := next(todo, None)):
            way.offer(letter)
        if outcomes := way.collect(1):
            assert all(outcome.state == "sent" for outcome in outcomes)
            now = time.perf_counter()
            took += [(now - began) / len(outcomes)] * len(outcomes)
            began = now
    way.close()
    return took


def two_sessions(port: int, letters: list[Delivery]) -> list[float]:
    """Send half of the letters each, at the same time: a letter comes twice as often as on either line."""
    with ThreadPoolExecutor(2) as both:
        halves = both.map(lambda half: session(port, half, 2), (letters[::2], letters[1::2]))
        return [seconds / 2 for half in halves for seconds in half]


def with_smtplib(port: int, letters: list[Delivery]) -> list[float]:
    took = []
    with smtplib.SMTP(LOOPBACK, port) as way:
        for letter in letters:
            began = time.perf_counter()
            way.sendmail(letter.envelope.sender, letter.envelope.recipients, letter.content)
            took.append(time.perf_counter() - began)
    return took


def with_aiosmtplib(port: int, letters: list[Delivery]) -> list[float]:
    import aiosmtplib  # noqa: PLC0415 - a guest that may be missing

    took = []

    async def work() -> None:
        async with aiosmtplib.SMTP(hostname=LOOPBACK, port=port, use_tls=False, start_tls=False) as way:
            for letter in letters:
                began = time.perf_counter()
                await way.sendmail(letter.envelope.sender, list(letter.envelope.recipients), letter.content)
                took.append(time.perf_counter() - began)

    asyncio.run(work())
    return took


def with_smtp_source(port: int, letters: list[Delivery]) -> list[float]:
    began = time.perf_counter()
    program = shutil.which("smtp-source") or "/usr/sbin/smtp-source"
    subprocess.run(
        [
            program,
            "-d",
            "-m",
            str(len(letters)),
            "-l",
            str(len(CONTENT)),
            "-f",
            "ada@ada.example",
            "-t",
            "b@b.example",
            f"{LOOPBACK}:{port}",
        ],
        check=True,
        capture_output=True,
    )
    return [(time.perf_counter() - began) / len(letters)]


def with_bare_socket(port: int, letters: list[Delivery]) -> list[float]:
    """Do the least that a client can do; nothing is done where the server does not pipeline."""
    envelopes = [
        b"MAIL FROM:<ada@ada.example>\r\nRCPT TO:<%s>\r\nDATA\r\n" % letter.envelope.recipients[0].encode()
        for letter in letters
    ]
    took = []
    with socket.create_connection((LOOPBACK, port)) as way:
        way.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def hear(enough: Callable[[bytes], bool]) -> bytes:
            heard = b""
            while not enough(heard):
                heard += way.recv(65536) or b"\n" * 9
            return heard

        hear(lambda heard: heard.endswith(b"\n"))
        way.sendall(b"EHLO [127.0.0.1]\r\n")
        if b"PIPELINING" not in hear(lambda heard: b"\n250 " in heard):
            return []
        way.sendall(envelopes[0])
        answers = hear(lambda heard: heard.count(b"\n") >= 3)  # noqa: PLR2004 - MAIL, RCPT, DATA
        for letter, envelope in zip(letters, [*envelopes[1:], b"NOOP\r\nNOOP\r\nNOOP\r\n"], strict=True):
            if b"\n354" not in answers:
                return []
            began = time.perf_counter()
            way.sendall(letter.content)
            way.sendall(b".\r\n" + envelope)
            answers = hear(lambda heard: heard.count(b"\n") >= 4)  # noqa: PLR2004 - and the end of data
            took.append(time.perf_counter() - began)
        way.sendall(b"QUIT\r\n")
    return took


def contestants() -> Iterator[tuple[str, Callable[[int, list[Delivery]], list[float]]]]:
    yield "smtplib", with_smtplib
    with contextlib.suppress(ImportError):
        import aiosmtplib  # noqa: F401, PLC0415 - only to see whether it is there

        yield "aiosmtplib", with_aiosmtplib
    if shutil.which("smtp-source") or Path("/usr/sbin/smtp-source").exists():
        yield "smtp-source", with_smtp_source
    yield "bare socket", with_bare_socket
    for level in (0, 1, 2):
        yield f"level {level}", lambda port, letters, level=level: session(port, letters, level)
    yield "two sessions", two_sessions
    for window in (16, 64):
        yield f"window {window}", lambda port, letters, window=window: session(port, letters, "auto", window)


def measure(
    name: str, run: Callable[[int, list[Delivery]], list[float]], port: int, count: int, *, budget: bool
) -> tuple[list[float], float]:
    """Return the seconds that each letter took, and the CPU's microseconds a letter."""
    slow = name in {"smtplib", "aiosmtplib", "smtp-source", "level 0", "level 1"} and budget
    letters = deliveries(max(8, count // 8) if slow else count)
    cpu = time.process_time()
    took = run(port, letters)
    return took, (time.process_time() - cpu) / len(letters) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    names = ("sink", "postfix", "exim", "opensmtpd", "haraka", "aiosmtpd", "smtp-sink")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--delay", type=float, nargs="*", help="round trips in ms; usually 0, 10, 50")
    parser.add_argument("--server", choices=names, nargs="*", default=names)
    parser.add_argument("--queue", metavar="FOLDER", help="where servers keep their queues, such as /dev/shm")
    wishes = parser.parse_args()
    tempfile.tempdir = wishes.queue
    for name in wishes.server:
        try:
            run(name, wishes)
        except Skipped as reason:
            print(f"\n{name}: {reason}")


def run(name: str, wishes: argparse.Namespace) -> None:
    """Measure one server: a real one, whose own work weighs more, with fewer letters. Raises Skipped."""
    count, rounds = (wishes.count, wishes.rounds) if name == "sink" else (30, 3 * wishes.rounds)
    asked = wishes.delay or ([0, 10, 50] if name == "sink" else [0, 10])
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(SERVERS[name]()).port if name != "sink" else 0
        ports = multiprocessing.Queue()
        delays = [delay for delay in asked if delay]
        child = multiprocessing.Process(target=serving, args=(ports, delays, target), daemon=True)
        child.start()
        direct, *proxies = ports.get(timeout=10)
        where = dict(zip(delays, proxies, strict=True)) | ({0: direct} if 0 in asked else {})
        print(f"\n{name}, {len(CONTENT)} bytes a letter, {rounds} rounds, {os.cpu_count()} cores")
        print(f"queue, if it keeps one, in {tempfile.gettempdir()}")
        for delay in sorted(where):
            report(delay, where[delay], rounds, count)
        child.terminate()


def report(delay: float, port: int, rounds: int, count: int) -> None:
    took: dict[str, list[float]] = {}
    cpus: dict[str, list[float]] = {}
    everyone = list(contestants())
    order = random.Random(rounds)
    for _ in range(rounds):
        # A server that still works on the letters of one is slow for the next.
        for name, run in order.sample(everyone, len(everyone)):
            found, cpu = measure(name, run, port, count, budget=delay > 1)
            took.setdefault(name, []).extend(found)
            cpus.setdefault(name, []).append(cpu)
    base, base_cpu = statistics.median(took["smtplib"]), min(cpus["smtplib"])
    print(f"\nround trip {delay:g} ms        messages/s   to smtplib   CPU us/message   to smtplib")
    for name, _ in everyone:
        if not took[name]:
            continue
        letter, cpu = statistics.median(took[name]), min(cpus[name])
        share = "" if name == "smtp-source" else f"{cpu:14.0f}{cpu / base_cpu:13.2f}"
        print(f"  {name:16}{1 / letter:16.0f}{base / letter:13.2f}{share}")


if __name__ == "__main__":
    main()
