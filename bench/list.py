"""How fast is a list read, and in how much memory?

A CSV of a million rows against csv.DictReader, workbooks of 100,000 rows against openpyxl read-only. Each
reading is a process of its own, so that its peak memory is its own; they run in turn, the best of some rounds
counts. What is read here is checked as well (encoding, structure, characters, number formats); the baselines
check nothing. Loading pandas is told apart.

Run: python bench/list.py [--rows 1000000] [--sheet-rows 100000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

NAMES = ("email", "first_name", "last_name", "company", "zip", "amount", "joined", "note")
READERS = ("ours", "baseline")


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


def write_csv(path: Path, rows: int, *, quoted: bool) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
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


def measure(reader: str, path: str) -> None:
    """Run in a process of its own: print rows, seconds and peak memory in MB."""
    import resource  # noqa: PLC0415 - not on every system

    read: Callable[[str], int] = {"ours": ours, "baseline": baseline}[reader]
    if reader == "ours":
        import pandas as pd  # noqa: PLC0415 - as above

        pd.DataFrame({"a": ["b"]})
    elif path.endswith(".xlsx"):
        __import__("openpyxl")
    started = time.perf_counter()
    rows = read(path)
    seconds = time.perf_counter() - started
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(json.dumps({"rows": rows, "seconds": seconds, "peak": peak}))


def child(reader: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", reader, str(path)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def compare(title: str, path: Path, rounds: int) -> dict[str, float]:
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for reader in READERS:
            found = child(reader, path)
            if reader not in best or found["seconds"] < best[reader]["seconds"]:
                best[reader] = found
    own, other = best["ours"], best["baseline"]
    ratio = other["seconds"] / own["seconds"]
    print(
        f"{title:34} {own['rows'] / own['seconds']:>9,.0f} rows/s, {ratio:5.2f} x baseline "
        f"({other['rows'] / other['seconds']:,.0f} rows/s); "
        f"peak {own['peak']:.0f} MB, baseline {other['peak']:.0f} MB",
        flush=True,
    )
    return own


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
        for quoted, title in ((False, "no quotes"), (True, "quotes")):
            path = write_csv(folder / "l.csv", asked.rows, quoted=quoted)
            large = compare(f"csv, {asked.rows:,} rows, {title}", path, asked.rounds)
        grown = large["peak"] - small["peak"]
        print(f"{'':34} memory: {grown:+.0f} MB from 10,000 to {asked.rows:,} rows (bar: 40)")
        for formats, title in ((False, "texts"), (True, "number formats")):
            path = write_xlsx(folder / "l.xlsx", asked.sheet_rows, formats=formats)
            compare(f"xlsx, {asked.sheet_rows:,} rows, {title}", path, asked.rounds)
        code = "import time; s = time.perf_counter(); import pandas; print(time.perf_counter() - s)"
        command = [sys.executable, "-c", code]
        loading = min(
            float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            for _ in range(asked.rounds)
        )
        print(f"{'loading pandas':34} {loading:.2f} s, once, where a list is read")
        thousand = write_csv(folder / "t.csv", 1_000, quoted=True)
        found = min(child("ours", thousand)["seconds"] for _ in range(asked.rounds))
        print(f"{'csv, 1,000 rows':34} {found * 1000:.0f} ms after that")


if __name__ == "__main__":
    main()
