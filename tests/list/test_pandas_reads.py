"""pandas does the reading: text in chunks by read_csv, workbooks by its calamine engine, named explicitly.

The design fixes this. What pandas would guess, drop or shift is kept from happening by the flags and by a
structure check of the raw lines beside it, never by a second parser that makes the values.
"""

from __future__ import annotations

import datetime as dt
import gc
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from list_kit import inline, ods_cell, raw_ods, raw_xlsx, worksheet

from merge.errors import ListError
from merge.table import read_table, workbook


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


def by_pandas(content, sheet):
    """Return the columns of a sheet as read_excel has them, with nothing guessed."""
    frame = pd.read_excel(
        io.BytesIO(content),
        sheet_name=sheet,
        engine="calamine",
        header=None,
        dtype=object,
        na_filter=False,
        keep_default_na=False,
    )
    return [frame[name].tolist() for name in frame.columns]


def alike(value):
    """Return a value as read_excel has it: whole numbers as int, dates with a time."""
    if type(value) is float and value.is_integer():
        return int, int(value)
    if type(value) is dt.date:
        return dt.datetime, dt.datetime(value.year, value.month, value.day)  # noqa: DTZ001 - sheets know no zones
    return type(value), repr(value) if value != value else value  # noqa: PLR0124 - NaN


def both_ways(content, sheet):
    ours = [list(map(alike, column)) for column in workbook._columns(content, sheet, "list")]
    assert ours == [list(map(alike, column)) for column in by_pandas(content, sheet)]
    return ours


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**16), 10**16)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('abc ,\n"é\u200b0', max_size=5)
    | st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2090, 1, 1))  # noqa: DTZ001 - sheets know no zones
    | st.dates(dt.date(1950, 1, 1), dt.date(2090, 1, 1))
)


def written_xlsx(table):
    stream = io.BytesIO()
    pd.DataFrame(table, dtype=object).to_excel(
        stream, sheet_name="List", engine="xlsxwriter", header=False, index=False
    )
    return stream.getvalue()


def written_ods(table):
    def cell(value):
        if value is None or value == "":
            return "<table:table-cell/>"
        if isinstance(value, str):
            return ods_cell(value)
        kind, name, given = {
            bool: ("boolean", "boolean-value", str(value).lower()),
            dt.datetime: ("date", "date-value", str(value).replace(" ", "T")),
            dt.date: ("date", "date-value", str(value)),
        }.get(type(value), ("float", "value", repr(value)))
        return f'<table:table-cell office:value-type="{kind}" office:{name}="{given}"/>'

    rows = "".join(f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in table)
    return raw_ods(f'<table:table table:name="List">{rows}</table:table>')


@pytest.mark.parametrize("write", [written_xlsx, written_ods])
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    table=st.lists(st.lists(VALUES, min_size=3, max_size=3), min_size=1, max_size=6),
    offset=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    block=st.integers(1, 7),
)
@example(table=[[True, 1, -0.0]], offset=(2, 1), block=2)
def test_the_values_are_those_of_read_excel(write, table, offset, block):
    """Cell for cell, and each in its place, wherever on the sheet the table begins."""
    down, right = offset
    table = [[None] * (3 + right)] * down + [[None] * right + row for row in table]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(workbook, "_BLOCK", block)
        both_ways(write(table), "List")


@pytest.mark.parametrize("kind", ["xlsx", "xls", "ods"])
def test_real_workbooks_have_the_values_of_read_excel(kind):
    content = Path(__file__).with_name("files").joinpath(f"members.{kind}").read_bytes()
    sheet = pd.ExcelFile(io.BytesIO(content), engine="calamine").sheet_names[0]
    assert len(both_ways(content, sheet)) > 5


def test_a_sheet_that_starts_far_right_keeps_its_columns(tmp_path):
    content = raw_xlsx(
        worksheet(
            f'<row r="3">{inline("C3", "email")}{inline("D3", "x")}</row>'
            f'<row r="4">{inline("C4", "ann@example.org")}<c r="D4" t="e"><v>#N/A</v></c></row>'
        )
    )
    assert len(both_ways(content, "List")) == 4
    (tmp_path / "list.xlsx").write_bytes(content)
    [_, row] = [None, *read_table(tmp_path / "list.xlsx")]
    assert dict(row.cells) == {"email": "ann@example.org", "x": ""}
    assert [(p.field, p.message) for p in row.problems] == [("x", "D4 shows #N/A; it is taken as empty")]


@pytest.mark.parametrize(("number", "shown"), [("inf", "inf"), ("-inf", "-inf"), ("NaN", "nan")])
def test_what_is_no_number_in_a_number_cell_is_read_without_a_traceback(tmp_path, number, shown):
    path = tmp_path / "list.xlsx"
    path.write_bytes(
        raw_xlsx(
            worksheet(
                f'<row r="1">{inline("A1", "email")}{inline("B1", "x")}</row>'
                f'<row r="2">{inline("A2", "ann@example.org")}<c r="B2"><v>{number}</v></c></row>'
            )
        )
    )
    [row] = read_table(path)
    assert row.cells["x"] == shown


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_rests_while_a_workbook_is_read_and_no_longer(monkeypatch, enabled):
    seen = []
    columns = workbook._columns

    def watched(*given):
        seen.append(gc.isenabled())
        return columns(*given)

    monkeypatch.setattr(workbook, "_columns", watched)
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        list(read_table(Path(__file__).with_name("files") / "members.xlsx"))
        with pytest.raises(ListError):
            workbook.Workbook(raw_xlsx("<worksheet"), "xlsx", workbook.ListOptions(), "broken.xlsx")
        assert seen[0] is False
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
