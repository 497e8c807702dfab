"""The whole way, list to journal, to a fast sink: against the loop that a script would write.

    python bench/whole.py [--rows N] [--rounds N] [--profile WINDOW]

The loop: csv, two Jinja templates, EmailMessage, `send_message` over one reused smtplib connection, one
synced line in SQLite for each row. Both send the same rows and the same letter of 10 kB, text and HTML, to
the same sink in a process of its own; rounds run in turn, the ratio within each round counts. Ours also
checks, plans, and writes the results, all of which counts.

The floors compose, check and remember nothing: for letters of the same size, made beforehand, they do what
no program can leave out that has each letter on record before its end of data goes out: one synced write and
one round trip a letter, or a window, on a file that has all its blocks already.
"""

from __future__ import annotations

import argparse
import cProfile
import csv
import multiprocessing
import os
import pstats
import smtplib
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from email.message import EmailMessage
from pathlib import Path

import jinja2
from smtp import LOOPBACK, serving

import merge

TEXT = "Dear {{ first_name }},\n\nyour seat is {{ seat }}.\n\n" + "The programme goes on and on.\n" * 130
HTML = (
    "<html><body><p>Dear {{ first_name }},</p><p>your seat is <b>{{ seat }}</b>.</p>\n"
    + "<p>The programme goes on and on.</p>\n" * 150
    + "</body></html>\n"
)
SUBJECT = "Hello {{ first_name }}"
LINE = 512  # bytes of the floor's record of a letter: a sector


def campaign(folder: Path, port: int, rows: int, window: int) -> Path:
    """Make a campaign of so many rows; return its folder."""
    folder.mkdir()
    with (folder / "people.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["email", "first_name", "seat"])
        writer.writerows([f"p{n}@example.com", f"Zoë {n}", f"{n:04d}"] for n in range(rows))
    (folder / "letter.html").write_text(f"Subject: {SUBJECT}\n\n{HTML}", "utf-8")
    (folder / "letter.txt").write_text(TEXT, "utf-8")
    (folder / "campaign.toml").write_text(
        'list = "people.csv"\nletter = "letter.html"\nfrom = "news@ada.example"\n'
        f'[account]\nhost = "{LOOPBACK}"\nport = {port}\nsecurity = "none"\nwindow = {window}\n',
        "utf-8",
    )
    return folder


def ours(
    folder: Path, port: int, rows: int, window: int = 0, profile: cProfile.Profile | None = None
) -> float:
    """Send it all; return how long that took, in seconds."""
    home = campaign(folder, port, rows, window)
    if profile:
        profile.enable()
    began = time.perf_counter()
    summary = merge.Campaign.load(home).send()
    took = time.perf_counter() - began
    if profile:
        profile.disable()
    assert summary.states[merge.State.SENT] == rows
    return took


def plain(folder: Path, port: int, rows: int) -> float:
    """Do the same with what everybody has at hand."""
    home = campaign(folder, port, rows, 0)
    began = time.perf_counter()
    database = sqlite3.connect(home / "log.db")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE log (address TEXT)")
    subject, text, html = (
        jinja2.Template(SUBJECT),
        jinja2.Template(TEXT),
        jinja2.Template(HTML, autoescape=True),
    )
    with (
        smtplib.SMTP(LOOPBACK, port) as session,
        (home / "people.csv").open(encoding="utf-8") as file,
    ):
        for row in csv.DictReader(file):
            message = EmailMessage()
            message["From"] = "news@ada.example"
            message["To"] = row["email"]
            message["Subject"] = subject.render(row)
            message.set_content(text.render(row))
            message.add_alternative(html.render(row), subtype="html")
            session.send_message(message)
            with database:
                database.execute("INSERT INTO log VALUES (?)", (row["email"],))
    took = time.perf_counter() - began
    database.close()
    assert rows == sum(1 for _ in (home / "people.csv").open(encoding="utf-8")) - 1
    return took


def floor(folder: Path, port: int, rows: int, window: int = 0) -> float:
    """Do nothing but commit and write, in the order of the promise."""
    folder.mkdir()
    letter = "\r\n".join(f"Subject: {SUBJECT}\n\n{TEXT}{HTML}".splitlines()).encode()
    envelope = b"MAIL FROM:<news@ada.example>\r\nRCPT TO:<p@example.com>\r\n"
    ridden = letter + b"\r\n.\r\n" + envelope + b"DATA\r\n"
    whole = b"RSET\r\n" + envelope + b"BDAT %d LAST\r\n" % len(letter) + letter
    at_once, said, answers = (window, whole, 4) if window else (1, ridden, 4)
    sync_data = getattr(os, "fdatasync", os.fsync)
    log = os.open(folder / "log", os.O_RDWR | os.O_CREAT)
    os.write(log, bytes(LINE * rows))
    os.fsync(log)
    with socket.create_connection((LOOPBACK, port)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hear(line, 1)
        line.sendall(b"EHLO floor\r\n")
        hear(line, 4)
        if not window:
            line.sendall(envelope + b"DATA\r\n")
            hear(line, 3)
        began = time.perf_counter()
        for first in range(0, rows, at_once):
            numbers = range(first, min(rows, first + at_once))
            os.pwrite(log, b"".join(b"%*d\n" % (LINE - 1, number) for number in numbers), LINE * first)
            sync_data(log)
            line.sendall(said * len(numbers))
            hear(line, answers * len(numbers))
        took = time.perf_counter() - began
    os.close(log)
    assert [int(number) for number in (folder / "log").read_bytes().split()] == list(range(rows))
    return took


def hear(line: socket.socket, number: int) -> None:
    """Wait for so many lines of answers, none of them a refusal."""
    heard = b""
    while heard.count(b"\n") < number:
        heard += line.recv(65536)
    assert all(said[:1] in b"23" for said in heard.splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", type=int, metavar="WINDOW", help="show where the time of one run goes")
    wishes = parser.parse_args()
    ports: multiprocessing.Queue[list[int]] = multiprocessing.Queue()
    sink = multiprocessing.Process(target=serving, args=(ports, [], 0), daemon=True)
    sink.start()
    (port,) = ports.get(timeout=10)
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_CONFIG_HOME"] = name  # no account of whoever measures plays a part
        compare(Path(name), port, wishes)
    sink.terminate()


def compare(folder: Path, port: int, wishes: argparse.Namespace) -> None:
    """Run everything in turn, and print what it came to."""
    ours(folder / "warm", port, 50)
    if wishes.profile is not None:
        profile = cProfile.Profile()
        ours(folder / "profiled", port, wishes.rows, wishes.profile, profile)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return
    ways = {
        "plain loop": plain,
        "level 2": ours,
        "window 64": lambda home, port, rows: ours(home, port, rows, 64),
        "floor of level 2": floor,
        "floor of window 64": lambda home, port, rows: floor(home, port, rows, 64),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    used: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(wishes.rounds):
        for name, way in ways.items():
            cpu = time.process_time()
            took[name].append(way(folder / f"{name}-{number}", port, wishes.rows))
            used[name].append((time.process_time() - cpu) / wishes.rows)
    print(f"{wishes.rows} letters of 10 kB to a sink, {wishes.rounds} rounds, medians; all of `send` counts")
    print(f"a sync takes {1000 * sync(folder):.2f} ms here; all but the windows wait for one a letter")
    median = statistics.median
    base, base_cpu = took["plain loop"], median(used["plain loop"])
    for name, found in took.items():
        ratio = median(a / b for a, b in zip(base, found, strict=True))
        rate, cpu = wishes.rows / median(found), median(used[name])
        print(f"  {name:19}{rate:8,.0f} letters/s{ratio:8.2f}{1e6 * cpu:8.0f} us CPU{base_cpu / cpu:8.2f}")


def sync(folder: Path) -> float:
    """Return how long the disk takes for a few written bytes, in seconds."""
    with (folder / "sync").open("ab") as file:
        found = []
        for _ in range(100):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            found.append(time.perf_counter() - began)
    return statistics.median(found)


if __name__ == "__main__":
    sys.exit(main())
