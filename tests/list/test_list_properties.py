"""What holds for every list, and not only for those that somebody thought of."""

import csv
import io
import string
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from list_kit import inline, ods, raw_ods, raw_xlsx, worksheet, written, xlsx

from merge.errors import ListError
from merge.table import ListOptions, read_table

# The machine may be busy with other tests.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


LINE_ENDS = ("\n", "\r\n", "\r")


def tables(cells):
    """Tables whose first column is the address, so that no row is blank."""
    row = st.lists(cells, min_size=3, max_size=3)
    return st.lists(row, min_size=1, max_size=8).map(
        lambda rows: [["email", "A", "B", "C"], *([f"p{n}@example.org", *r] for n, r in enumerate(rows))],
    )


def texts_of(source, **options):
    table = read_table(source, ListOptions(**options))
    return [list(table.columns.names), *(list(row.cells.values()) for row in table)]


CSV_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)


@settings(UNHURRIED, max_examples=150)
@given(
    table=tables(CSV_TEXT),
    delimiter=st.sampled_from(",;\t|"),
    line_end=st.sampled_from(LINE_ENDS),
    quoted=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
@example(
    table=[["email", "A", "B", "C"], ["a@example.org", '"', '5" x', ' "y"']],
    delimiter=",",
    line_end="\r\n",
    quoted=False,
    encoding="utf-8",
)
def test_text_survives_csv(table, delimiter, line_end, quoted, encoding):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        path.write_bytes(written(table, delimiter, line_end, quoted=quoted).encode(encoding))
        assert texts_of(path, delimiter=delimiter) == table


# What XML 1.0 can hold; a workbook can't have more, and its lines end with LF.
XML_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\n\t"),
    max_size=12,
)


@settings(UNHURRIED, max_examples=60)
@given(table=tables(XML_TEXT))
@example(table=[["email", "A", "B", "C"], ["a@example.org", "_x000D_", " lead", "trail "]])
@example(table=[["email", "A", "B", "C"], ["a@example.org", "01234", "1e5", "=1+1"]])
def test_text_survives_xlsx(table):
    with tempfile.TemporaryDirectory() as folder:
        assert texts_of(xlsx(Path(folder) / "list.xlsx", table, strings_to_numbers=False)) == table


@settings(UNHURRIED, max_examples=60)
@given(table=tables(XML_TEXT))
@example(table=[["email", "A", "B", "C"], ["a@example.org", "a  b", "tab\tx", " x "]])
@example(table=[["email", "A", "B", "C"], ["a@example.org", "a\nb", "\n", "a\n\nb"]])
def test_text_survives_ods(table):
    with tempfile.TemporaryDirectory() as folder:
        assert texts_of(ods(Path(folder) / "list.ods", table)) == table


@settings(UNHURRIED, max_examples=60)
@given(table=tables(CSV_TEXT))
def test_text_survives_mappings(table):
    names, *rows = table
    assert texts_of([dict(zip(names, row, strict=True)) for row in rows]) == table


RAW = st.text(st.sampled_from('ab,;"\n\r @') | st.sampled_from(string.ascii_lowercase), max_size=60)


@settings(UNHURRIED, max_examples=300)
@given(text=RAW)
@example(text='a,5" b\nc')
@example(text=",,;\r;")
@example(text="a,b\n,,c\n")
@example(text='" a",b\n')
def test_a_csv_is_read_like_the_csv_module_or_refused(text):
    """pandas makes the values; where it takes other rows or cells than RFC 4180 says, the list is refused."""
    text = "email,x\n" + text
    try:
        careful = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        careful = None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        path.write_bytes(text.encode())
        try:
            recipients = list(read_table(path, ListOptions(email="email", delimiter=",")))
        except ListError:
            assert careful is None
            return
    assert careful is not None
    expected = [[*row, "", ""][:2] for row in careful[1:]]
    while expected and not any(map(str.strip, expected[-1])):
        expected.pop()
    found = [list(recipient.cells.values()) for recipient in recipients]
    assert found[: len(expected)] == expected
    for recipient, row in zip(recipients, careful[1:], strict=False):
        assert recipient.row == careful.index(row, recipient.row - 1) + 1
        too_long = any(map(str.strip, row[2:]))
        assert too_long == any(problem.severity == "error" for problem in recipient.problems)


@settings(UNHURRIED, max_examples=200)
@given(table=tables(CSV_TEXT), delimiter=st.sampled_from(",;\t|"))
def test_what_is_remarked_does_not_depend_on_the_way_it_is_read(table, delimiter):
    """The quick look at the bytes of a file misses nothing that a look at each cell would find."""
    names, *rows = table
    mappings = [dict(zip(names, row, strict=True)) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        path.write_bytes(written(table, delimiter, "\n").encode())
        from_file = list(read_table(path, ListOptions(delimiter=delimiter)))
    from_cells = list(read_table(mappings))

    def remarks(recipients):
        return [[(p.kind, p.field, p.message) for p in r.problems if p.kind != "quote"] for r in recipients]

    assert remarks(from_file) == remarks(from_cells)


def ods_row(kind, text):
    return (
        f'<table:table-row><table:table-cell office:value-type="{kind}" office:value="1">'
        f"<text:p>{text}</text:p></table:table-cell></table:table-row>"
    )


WHOLE = {
    "csv": b'email,name\nann@example.org,"A\nB"\nbob@example.org,C\n' * 3,
    "xlsx": raw_xlsx(
        worksheet(
            f'<row r="1">{inline("A1", "email")}<c r="B1" s="1"><v>1</v></c></row>'
            f'<row r="2">{inline("A2", "a@example.org")}<c r="B2" s="1"><v>2</v></c></row>',
        ),
        styles='<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><cellXfs>'
        '<xf numFmtId="0"/><xf numFmtId="10"/></cellXfs></styleSheet>',
    ),
    "ods": raw_ods(
        '<table:table table:name="L">'
        + ods_row("string", "email")
        + ods_row("float", "a@example.org")
        + "</table:table>",
    ),
    "xls": Path(__file__).with_name("files").joinpath("members.xls").read_bytes(),
}


@pytest.mark.parametrize("kind", WHOLE)
@settings(UNHURRIED, max_examples=120)
@given(data=st.data())
def test_damage_is_an_error_and_never_a_traceback(kind, data):
    content = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list"
        path.write_bytes(bytes(content[:end]))
        try:
            for recipient in read_table(path):
                assert recipient.row > 1
        except ListError as error:
            told = error
        else:
            return
    assert told.message
    assert told.hint or told.problems


def test_a_workbook_whose_stream_goes_in_circles_is_damaged(tmp_path):
    content = bytearray(WHOLE["xls"])
    short_sectors = 512 * 3  # the file's table of them, in its third sector
    assert content[short_sectors + 20 : short_sectors + 24] == (6).to_bytes(4, "little")
    content[short_sectors + 20 : short_sectors + 24] = (4).to_bytes(4, "little")
    path = tmp_path / "members.xls"
    path.write_bytes(bytes(content))
    with pytest.raises(ListError, match="circles"):
        read_table(path)


def test_rows_that_the_two_readers_count_differently_are_refused(tmp_path, monkeypatch):
    """The net under both: should pandas ever see other rows than the raw lines, nothing is sent."""
    path = tmp_path / "list.csv"
    path.write_bytes(b"email\n" + b"a@example.org\n" * 3)
    table = read_table(path)
    whole = pd.read_csv

    def without_last(*args, **options):
        return (frame.iloc[:-1] for frame in whole(*args, **options))

    monkeypatch.setattr(pd, "read_csv", without_last)
    with pytest.raises(ListError, match="it can't be told where rows begin and end"):
        list(table)


def test_a_list_is_read_again_and_again_alike(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(WHOLE["csv"])
    table = read_table(path)
    assert list(table) == list(table)
    one, other = iter(table), iter(table)
    first, second, *_ = table
    assert [next(one), next(other), next(one)] == [first, first, second]
    path.write_bytes(WHOLE["csv"] + b"new@example.org,N\n")
    with pytest.raises(ListError, match="has changed since it was checked"):
        list(table)
