"""The same members, saved by LibreOffice in four formats, are the same recipients."""

from pathlib import Path

import pytest

from merge.table import read_table

FILES = Path(__file__).with_name("files")
ROWS = [
    (
        4,
        "Zoë Álvarez",
        "zoe@example.org",
        "01234",
        "15.5%",
        "2025-03-04",
        "09:05",
        "(1,234.50)",
        "TRUE",
        "30:00",
    ),
    (5, "山田 太郎", "taro@example.jp", "00007", "100.0%", "1999-12-31", "00:00", "0.00", "FALSE", "60:00"),
    (6, "محمد علي", "m.ali@example.org", "99999", "0.5%", "2024-02-29", "23:59", "12.35", "TRUE", "720:00"),
    (7, "", "err@example.org", "", "", "", "", "", "", ""),
    (8, "", "", "", "", "", "", "", "", ""),
    (9, "After a gap", "gap@example.org", "", "", "", "", "", "", ""),
]
# A person sees the separators of their own system; .xlsx and .xls hold but the language of the currency.
FEES = {"xlsx": "1.234,50 €", "xls": "1.234,50 €", "ods": "1,234.50 €", "csv": "1,234.50 €"}


@pytest.mark.parametrize("kind", ["xlsx", "xls", "ods"])
def test_workbooks(kind):
    table = read_table(FILES / f"members.{kind}")
    found = [(row.row, *(text for name, text in row.cells.items() if name != "Fee")) for row in table]
    assert found == ROWS
    assert next(iter(table)).cells["Fee"] == FEES[kind]
    assert table.columns.email == "E-mail address"
    told = [problem.message for problem in table.problems]
    assert "1 row is hidden or filtered out, but read: 9" in told
    assert "the names of the columns are taken from row 3; what stands above is left out" in told
    assert f"numbers as in D4 are written {FEES[kind]}" in told
    [_, _, _, failed, *_] = table
    assert [problem.message for problem in failed.problems] == ["A7 shows #N/A; it is taken as empty"]


def test_csv():
    rows = {row.row: row.cells for row in read_table(FILES / "members.csv")}
    assert list(rows) == [4, 5, 6, 7, 8, 9]
    assert rows[4] == {
        "Name": "Zoë Álvarez",
        "E-mail address": "zoe@example.org",
        "Postcode": "01234",
        "Fee": FEES["csv"],
        "Discount": "15.5%",
        "Joined": "04/03/2025",
        "Starts": "09:05",
        "Balance": "(1,234.50)",
        "Paid": "TRUE",
        "Seen": "30:00",
    }
    assert rows[7]["Name"] == "#N/A"
