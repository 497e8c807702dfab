"""How fast do letters leave by a web API, against one call after the other? Letters a second, in one run.

    python bench/api.py [--count N] [--rounds N] [--delay MS]

Both APIs run on loopback in a process of their own and answer after the delay, which stands for the round
trip. "plain" is what a script does: httpx, one connection kept, one call a letter, each after the answer.
Each way journals nothing; rounds are interleaved, so that what else the machine does hits everyone alike.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "ways"))

from ways_kit import KEY, USER, VENDORS, carry, delivery

from merge.api.parts import parts_of
from merge.api.session import ApiAccount, ApiSession
from merge.clock import WallClock
from merge.model import Delivery

LOOPBACK = "127.0.0.1"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Take a call, wait, accept all of it: as little work as an API can have."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            body = await reader.readexactly(length)
            await asyncio.sleep(delay)
            if b"POST /v3.1/send" in head:
                entries = [
                    {"Status": "success", "CustomID": one["CustomID"], "To": [{"Email": "x", "MessageID": 1}]}
                    for one in json.loads(body)["Messages"]
                ]
                content = json.dumps({"Messages": entries}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
            else:
                writer.write(b"HTTP/1.1 202 Accepted\r\nX-Message-Id: 1\r\nContent-Length: 0\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def serve(ports: multiprocessing.Queue, delay: float) -> None:
    server = await asyncio.start_server(lambda r, w: answer(r, w, delay), LOOPBACK, 0, limit=2**24)
    ports.put(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def serving(ports: multiprocessing.Queue, delay: float) -> None:
    asyncio.run(serve(ports, delay))


def plain(base: str, vendor: str, letters: list[Delivery]) -> None:
    """One call for each letter, one after the other."""
    kind = VENDORS[vendor]()
    basic = base64.b64encode(f"{USER}:{KEY}".encode()).decode()
    key = f"Bearer {KEY}" if vendor == "sendgrid" else f"Basic {basic}"
    with httpx.Client(headers={"Authorization": key, "Content-Type": "application/json"}) as client:
        for letter in letters:
            body = kind.request([kind.letter(parts_of(letter))])
            assert client.post(base + kind.path, content=body).is_success


def ours(base: str, vendor: str, letters: list[Delivery], window: int, per_call: int) -> None:
    account = ApiAccount(base, USER, lambda: KEY, window=window, per_call=per_call)
    way = ApiSession(account, VENDORS[vendor](), clock=WallClock(), before_commits=lambda _: None)
    assert all(outcome.state == "sent" for outcome in carry(way, letters))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--delay", type=float, default=50.0, help="milliseconds")
    asked = parser.parse_args()
    ports: multiprocessing.Queue = multiprocessing.Queue()
    server = multiprocessing.Process(target=serving, args=(ports, asked.delay / 1000), daemon=True)
    server.start()
    base = f"http://{LOOPBACK}:{ports.get()}"
    letters = [delivery(row, text="Lorem ipsum dolor sit amet.\n" * 100) for row in range(asked.count)]
    ways: dict[str, Callable[[], None]] = {
        "sendgrid plain": lambda: plain(base, "sendgrid", letters),
        "sendgrid window 1": lambda: ours(base, "sendgrid", letters, 1, 1),
        "sendgrid window 8 (default)": lambda: ours(base, "sendgrid", letters, 8, 1),
        "sendgrid window 32": lambda: ours(base, "sendgrid", letters, 32, 1),
        "mailjet plain": lambda: plain(base, "mailjet", letters),
        "mailjet 1 x 1": lambda: ours(base, "mailjet", letters, 1, 1),
        "mailjet 1 x 50 (default)": lambda: ours(base, "mailjet", letters, 1, 50),
        "mailjet 4 x 50": lambda: ours(base, "mailjet", letters, 4, 50),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(asked.rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            rates[name].append(asked.count / (time.perf_counter() - began))
    server.terminate()
    print(f"{asked.count} letters, {asked.delay:g} ms a call, {asked.rounds} rounds, median letters a second")
    for name, found in rates.items():
        baseline = statistics.median(rates[f"{name.split()[0]} plain"])
        rate = statistics.median(found)
        print(f"  {name:<28} {rate:8.1f}/s  {rate / baseline:6.2f}x plain")


if __name__ == "__main__":
    main()
