"""How fast is a list read, and in how much memory?

A CSV of a million rows against csv.DictReader, workbooks of 100,000 rows against openpyxl read-only. Each
reading is a process of its own, so that its peak memory is its own; they run in turn, the best of some rounds
counts. Seconds are those of the processor, which others on the machine disturb least. What is read here is
checked as well (encoding, structure, characters, number formats); the baselines check nothing. "pandas alone"
is the part that makes the values, with nothing around it. Loading pandas is told apart. "each cell by name"
asks every row for every cell. At the end, `mergepost check` of 1,000 rows as a whole process.

Run: python bench/list.py [--rows 1000000] [--sheet-rows 100000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("email", "first_name", "last_name", "company", "zip", "amount", "joined", "note")
READERS = ("ours", "baseline", "pandas")
CAMPAIGN = """list = "people.csv"
letter = "letter.md"
from = "Ada Club <news@ada.example>"
"""
LETTER = """Subject: Spring news for {{ first_name }}

Hi {{ first_name|default("there") }},

your number is **{{ zip }}** and your fee {{ amount }}. [Read on](https://club.example/{{ zip }}).
"""


def cells(number: int, *, quoted: bool) -> list[str]:
    company = f"Müller, Söhne & {number}" if quoted else f"Müller & Söhne {number}"
    note = (
        "Bring a book that you would lend to a friend, and tell us why" if quoted else "a book for a friend"
    )
    person = [
        f"person{number}@club{number % 997}.example",
        f"Zoë {number % 1013}",
        f"Álvarez {number % 10007}",
    ]
    return [
        *person,
        company,
        f"{number:07}",
        f"{number}.50",
        "2025-03-04",
        note + " " * quoted + "x" * quoted * 30,
    ]


def write_csv(path: Path, rows: int, *, quoted: bool, line_end: str = "\n") -> Path:
    with path.open("w", encoding="utf-8", newline=line_end) as file:
        file.write(",".join(NAMES) + "\n")
        for number in range(rows):
            row = cells(number, quoted=quoted)
            file.write(",".join(f'"{cell}"' if "," in cell else cell for cell in row) + "\n")
    return path


def write_xlsx(path: Path, rows: int, *, formats: bool) -> Path:
    import xlsxwriter  # noqa: PLC0415 - each child loads only what it measures

    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet()
    code, fee, day = (book.add_format({"num_format": f}) for f in ("0000000", '#,##0.00 "€"', "dd.mm.yyyy"))
    sheet.write_row(0, 0, NAMES)
    start = dt.datetime(2025, 1, 1)  # noqa: DTZ001 - sheets know no zones
    for number in range(rows):
        row = cells(number, quoted=False)
        for column, cell in enumerate(row):
            sheet.write_string(number + 1, column, cell)
        if formats:
            sheet.write_number(number + 1, 4, number, code)
            sheet.write_number(number + 1, 5, number / 7, fee)
            sheet.write_datetime(number + 1, 6, start + dt.timedelta(number % 3000), day)
    book.close()
    return path


def ours(path: str) -> int:
    from merge.table import read_table  # noqa: PLC0415 - as above

    return sum(1 for _ in read_table(path))


def baseline(path: str) -> int:
    if path.endswith(".csv"):
        import csv  # noqa: PLC0415 - as above

        with Path(path).open(encoding="utf-8", newline="") as file:
            return sum(1 for _ in csv.DictReader(file))
    import openpyxl  # noqa: PLC0415 - as above

    sheet = openpyxl.load_workbook(path, read_only=True).active
    return sum(1 for _ in sheet.iter_rows(min_row=2, values_only=True))


def ours_by_name(path: str) -> int:
    from merge.table import read_table  # noqa: PLC0415 - as above

    return sum(len([row.cells[name] for name in NAMES]) for row in read_table(path)) // len(NAMES)


def baseline_by_name(path: str) -> int:
    import csv  # noqa: PLC0415 - as above

    with Path(path).open(encoding="utf-8", newline="") as file:
        return sum(len([row[name] for name in NAMES]) for row in csv.DictReader(file)) // len(NAMES)


def pandas(path: str) -> int:
    """Let pandas make the same values, and look at none of them."""
    import pandas as pd  # noqa: PLC0415 - as above

    exact: dict[str, Any] = {"header": None, "na_filter": False, "keep_default_na": False}
    if not path.endswith(".csv"):
        return len(pd.read_excel(path, engine="calamine", dtype=object, **exact)) - 1
    exact |= {"skip_blank_lines": False, "index_col": False, "names": range(len(NAMES)), "engine": "c"}
    frames = pd.read_csv(path, dtype=str, chunksize=5_000, **exact)
    rows = 0
    for frame in frames:
        columns = [frame[name].to_numpy(dtype=object).tolist() for name in frame]
        rows += len(columns[0])
    return rows - 1


def measure(reader: str, path: str) -> None:
    """Run in a process of its own: print rows, seconds and peak memory in MB."""
    import resource  # noqa: PLC0415 - not on every system

    read: Callable[[str], int] = {
        "ours": ours,
        "baseline": baseline,
        "pandas": pandas,
        "ours_by_name": ours_by_name,
        "baseline_by_name": baseline_by_name,
    }[reader]
    if reader.startswith(("ours", "pandas")):
        import pandas as pd  # noqa: PLC0415 - as above

        pd.DataFrame({"a": ["b"]})
        __import__("merge.table")
    elif path.endswith(".xlsx"):
        __import__("openpyxl")
    started = time.process_time()
    rows = read(path)
    seconds = time.process_time() - started
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(json.dumps({"rows": rows, "seconds": seconds, "peak": peak}))


def child(reader: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", reader, str(path)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def compare(
    title: str, path: Path, rounds: int, readers: tuple[str, ...] = READERS
) -> dict[str, dict[str, float]]:
    """Let the readers read in turn, and say how the first, ours, stands to the second."""
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for reader in readers:
            found = child(reader, path)
            if reader not in best or found["seconds"] < best[reader]["seconds"]:
                best[reader] = found
    own, other = (best[reader] for reader in readers[:2])
    rate = other["seconds"] / own["seconds"]
    alone = f"; pandas alone {other['seconds'] / best['pandas']['seconds']:.2f} x" if "pandas" in best else ""
    print(
        f"{title:38} {own['rows'] / own['seconds']:>9,.0f} rows/s, {rate:5.2f} x baseline "
        f"({other['rows'] / other['seconds']:,.0f} rows/s){alone}; "
        f"peak {own['peak']:.0f} MB, baseline {other['peak']:.0f} MB",
        flush=True,
    )
    return best


def whole_check(folder: Path, rounds: int) -> None:
    """Check a campaign of 1,000 rows with the command itself, from its start to its end."""
    campaign = folder / "campaign"
    campaign.mkdir()
    write_csv(campaign / "people.csv", 1_000, quoted=True)
    (campaign / "campaign.toml").write_text(CAMPAIGN, "utf-8")
    (campaign / "letter.md").write_text(LETTER, "utf-8")
    seconds, busy = [], []
    for _ in range(2 * rounds + 1):
        before, started = os.times(), time.perf_counter()
        command = [sys.executable, "-c", "from merge.cli import main; main()", "check", str(campaign)]
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
        after = os.times()
        busy.append(
            after.children_user - before.children_user + (after.children_system - before.children_system)
        )
    print(
        f"{'mergepost check, 1,000 rows':38} {statistics.median(seconds):.2f} s in the middle, "
        f"{min(seconds):.2f} at best, {min(busy):.2f} of them the processor's (bar: 1)"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--sheet-rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=2, metavar=("READER", "PATH"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        measure(*asked.measure)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = compare(
            "csv, 10,000 rows, quotes", write_csv(folder / "s.csv", 10_000, quoted=True), asked.rounds
        )
        path = folder / "l.csv"
        for quoted, line_end, title in (
            (False, "\n", "no quotes"),
            (False, "\r\n", "CRLF"),
            (True, "\n", "quotes"),
        ):
            write_csv(path, asked.rows, quoted=quoted, line_end=line_end)
            large = compare(f"csv, {asked.rows:,} rows, {title}", path, asked.rounds)
        names = ("ours_by_name", "baseline_by_name")
        compare(f"csv, {asked.rows:,} rows, each cell by name", path, asked.rounds, names)
        grown = large["ours"]["peak"] - small["ours"]["peak"]
        print(f"{'':38} memory: {grown:+.0f} MB from 10,000 to {asked.rows:,} rows (bar: 40)")
        for formats, title in ((False, "texts"), (True, "number formats")):
            path = write_xlsx(folder / "l.xlsx", asked.sheet_rows, formats=formats)
            compare(f"xlsx, {asked.sheet_rows:,} rows, {title}", path, asked.rounds)
        code = "import time; s = time.process_time(); import pandas; print(time.process_time() - s)"
        command = [sys.executable, "-c", code]
        loading = min(
            float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            for _ in range(asked.rounds)
        )
        print(f"{'loading pandas':38} {loading:.2f} s, once, where a list is read")
        thousand = write_csv(folder / "t.csv", 1_000, quoted=True)
        found = min(child("ours", thousand)["seconds"] for _ in range(asked.rounds))
        print(f"{'csv, 1,000 rows':38} {found * 1000:.0f} ms after that")
        whole_check(folder, asked.rounds)


if __name__ == "__main__":
    main()
