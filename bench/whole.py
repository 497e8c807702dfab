"""The whole way, list to journal, through the embedded server: against the loop that a script would write.

The loop: csv, a Jinja template, EmailMessage, one reused smtplib session, one synced line in SQLite for each
row, to the same server. Both send the same rows; pairs run in turn, the ratio of each pair counts.
"""

from __future__ import annotations

import csv
import shutil
import smtplib
import sqlite3
import statistics
import sys
import tempfile
import time
from email.message import EmailMessage
from pathlib import Path

import jinja2

import merge
from merge.sandbox import sandbox

ROWS = 500
PAIRS = 5
TEXT = "Dear {{ first_name }},\n\nyour seat is {{ seat }}.\n\n" + "The programme goes on and on. " * 60 + "\n"


def ours(folder: Path) -> float:
    shutil.rmtree(folder / "sandbox", ignore_errors=True)
    began = time.perf_counter()
    summary = merge.Campaign.load(folder).send(sandbox=True)
    took = time.perf_counter() - began
    assert summary.states[merge.State.SENT] == ROWS
    return took


def plain(folder: Path) -> float:
    with tempfile.TemporaryDirectory() as home, sandbox(Path(home)) as port:
        began = time.perf_counter()
        database = sqlite3.connect(Path(home) / "log.db")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE log (address TEXT)")
        template = jinja2.Template(TEXT)
        with (
            smtplib.SMTP("127.0.0.1", port) as session,
            (folder / "people.csv").open(encoding="utf-8") as file,
        ):
            for row in csv.DictReader(file):
                message = EmailMessage()
                message["From"] = "news@ada.example"
                message["To"] = row["email"]
                message["Subject"] = f"Hello {row['first_name']}"
                message.set_content(template.render(row))
                session.send_message(message)
                with database:
                    database.execute("INSERT INTO log VALUES (?)", (row["email"],))
        took = time.perf_counter() - began
        database.close()
        return took


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "people.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["email", "first_name", "seat"])
            writer.writerows([f"p{n}@example.com", f"Zoë {n}", f"{n:04d}"] for n in range(ROWS))
        (folder / "letter.txt").write_text(f"Subject: Hello {{{{ first_name }}}}\n\n{TEXT}", "utf-8")
        (folder / "campaign.toml").write_text(
            'list = "people.csv"\nletter = "letter.txt"\nfrom = "news@ada.example"\n', "utf-8"
        )
        ours(folder)
        pairs = [(ours(folder), plain(folder)) for _ in range(PAIRS)]
    median = statistics.median
    print(f"{ROWS} letters to the embedded server, {PAIRS} pairs, medians")
    print(f"  mergepost   {ROWS / median(a for a, _ in pairs):8,.0f} letters/s (checked, planned, on record)")
    print(f"  plain loop  {ROWS / median(b for _, b in pairs):8,.0f} letters/s")
    print(f"  ratio       {median(b / a for a, b in pairs):8.2f}")


if __name__ == "__main__":
    sys.exit(main())
