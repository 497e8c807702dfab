"""The whole way, list to journal, to a fast sink: against the loop that a script would write.

    python bench/whole.py [--rows N] [--rounds N] [--profile WINDOW]

The loop: csv, two Jinja templates, EmailMessage, `send_message` over one reused smtplib connection, one
synced line in SQLite for each row. Both send the same rows and the same letter of 10 kB, text and HTML, to
the same sink in a process of its own; rounds run in turn, the ratio within each round counts. Ours also
checks, plans, and writes the results, all of which counts.
"""

from __future__ import annotations

import argparse
import cProfile
import csv
import multiprocessing
import os
import pstats
import smtplib
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
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    used: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(wishes.rounds):
        for name, way in ways.items():
            cpu = time.process_time()
            took[name].append(way(folder / f"{name}-{number}", port, wishes.rows))
            used[name].append((time.process_time() - cpu) / wishes.rows)
    print(f"{wishes.rows} letters of 10 kB to a sink, {wishes.rounds} rounds, medians; all of `send` counts")
    print(f"a sync takes {1000 * sync(folder):.2f} ms here; the first two wait for one a letter")
    median = statistics.median
    base, base_cpu = took["plain loop"], median(used["plain loop"])
    for name, found in took.items():
        ratio = median(a / b for a, b in zip(base, found, strict=True))
        rate, cpu = wishes.rows / median(found), median(used[name])
        print(f"  {name:12}{rate:8,.0f} letters/s{ratio:8.2f}{1e6 * cpu:8.0f} us CPU{base_cpu / cpu:8.2f}")


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
