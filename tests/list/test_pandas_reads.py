"""pandas does the reading: text in chunks by read_csv, workbooks by its calamine engine, named explicitly.

The design fixes this. What pandas would guess, drop or shift is kept from happening by the flags and by a
structure check of the raw lines beside it, never by a second parser that makes the values.
"""

from __future__ import annotations

import pandas as pd
import pytest

from merge.table import read_table


@pytest.fixture
def calls(monkeypatch):
    made = []

    def spy(name):
        real = getattr(pd, name)

        def called(*args, **options):
            made.append((name, options))
            return real(*args, **options)

        return called

    for name in ("read_csv", "read_excel"):
        monkeypatch.setattr(pd, name, spy(name))
    real_file = pd.ExcelFile

    class Opened(real_file):
        def __init__(self, *args, **options):
            made.append(("read_excel", options))
            super().__init__(*args, **options)

    monkeypatch.setattr(pd, "ExcelFile", Opened)
    return made


def test_text_is_read_by_pandas_in_chunks_as_text(calls, tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("email,zip\n" + "".join(f"p{n}@example.com,{n:05d}\n" for n in range(12_000)), "utf-8")
    rows = list(read_table(path, name="people.csv"))
    assert rows[-1].cells == {"email": "p11999@example.com", "zip": "11999"}
    options = [given for name, given in calls if name == "read_csv"]
    assert options
    assert all(given["dtype"] is str and given["na_filter"] is False for given in options)
    assert all(given["chunksize"] for given in options)


def test_workbooks_are_read_by_pandas_with_calamine(calls, tmp_path):
    path = tmp_path / "people.xlsx"
    pd.DataFrame({"email": ["ann@example.com"], "zip": ["01234"]}).to_excel(
        path, index=False, engine="openpyxl"
    )
    [row] = read_table(path, name="people.xlsx")
    assert row.cells == {"email": "ann@example.com", "zip": "01234"}
    assert [given["engine"] for name, given in calls if name == "read_excel" and "engine" in given] == [
        "calamine"
    ]
