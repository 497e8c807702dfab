"""Most rows are read in bulk, and only where something is odd each cell is looked at: both ways agree."""

import copy
import csv
import io
import itertools
import pickle
import tempfile
import time
from dataclasses import FrozenInstanceError, replace
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from list_kit import inline, raw_xlsx, worksheet, written

import merge
from merge.errors import ListError
from merge.model import Cells, Recipient, sound_recipients
from merge.table import ListOptions, delimited, read_table, reading
from merge.table.structure import Structure

# The machine may be busy with other tests.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
CUTS = st.lists(st.integers(0, 200), max_size=6)


def fed(structure, content, cuts):
    places = [0, *sorted(cut for cut in cuts if cut < len(content)), len(content)]
    for start, end in itertools.pairwise(places):
        structure.feed(content[start:end])
    structure.finish()
    return structure


RAW = st.text(st.sampled_from('ab,;"\n\r @é'), max_size=60)


@settings(UNHURRIED, max_examples=400)
@given(text=RAW, cuts=CUTS, width=st.integers(1, 4))
@example(text='x,5",y\nz,6",w\n', cuts=[], width=3)
@example(text='a,"b\nc",d\n', cuts=[5], width=3)
@example(text="a\r\n\r\nb", cuts=[2], width=1)
@example(text='"a""b",""\n', cuts=[4], width=2)
@example(text=';"\n\n', cuts=[], width=1)
@example(text=';"\r\r', cuts=[], width=1)
@example(text='a,5" b\nc\n', cuts=[3, 5], width=2)
@example(text='a,5" b\n"c\nd"\n', cuts=[7, 9], width=2)
@example(text='"a\nb"\n"c\r\nd",e\n', cuts=[], width=2)
def test_the_structure_is_that_of_the_csv_module(text, cuts, width):
    """The bulk count, cut anywhere, finds the same records as a slow and careful parser."""
    try:
        careful = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        careful = None
    structure = fed(Structure(",", width, "list.csv"), text.encode(), cuts)
    if careful is None:
        assert structure.error is not None
        return
    assert structure.error is None
    assert structure.records == len(careful)
    found = {record: irregular.cells for record, irregular in structure.irregular}
    assert found == {n: max(len(row), 1) for n, row in enumerate(careful) if max(len(row), 1) != width}
    breaks = [sum(len(cell.splitlines()) > 1 for cell in row) for row in careful]
    assert [record for record, _ in structure.tall] == [
        record for record, row in enumerate(careful) if any("\n" in c or "\r" in c for c in row)
    ], breaks


ALPHABET = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
SPOTS = st.sampled_from(
    [
        *"\t \u00a0\x1f",
        "",
        " a",
        "a ",
        "\t a",
        "a\t",
        "\n a",
        "a\r\n",
        "a\u200bb",
        "\u3000a",
        '" "',
        'a" ',
        "ü é",
    ]
)
ROWS = st.lists(st.lists(ALPHABET | SPOTS, min_size=3, max_size=3), min_size=1, max_size=8)


@settings(UNHURRIED, max_examples=300)
@given(
    rows=ROWS,
    delimiter=st.sampled_from(",;\t| "),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoted=st.booleans(),
    cuts=CUTS,
)
@example(rows=[["p@e.org", "x "]], delimiter=",", line_end="\r\n", quoted=False, cuts=[8])
@example(rows=[["a", "b"], [" p@e.org", "x"]], delimiter=",", line_end="\n", quoted=False, cuts=[])
@example(rows=[["p@e.org", "\tx"]], delimiter="\t", line_end="\n", quoted=True, cuts=[])
@example(rows=[[" p@e.org", "A"]], delimiter=",", line_end="\n", quoted=False, cuts=[])
@example(rows=[["p@e.org", "x\n"], ["a", "b"]], delimiter=",", line_end="\n", quoted=True, cuts=[5, 6])
@example(rows=[["p@e.org", "x" * 131_073]], delimiter=",", line_end="\n", quoted=False, cuts=[])
@example(rows=[["p@e.org", "x" * 131_073]], delimiter=",", line_end="\n", quoted=True, cuts=[])
@example(rows=[["p\u1680", "x"]], delimiter=",", line_end="\n", quoted=False, cuts=[2])
@example(rows=[["p\ufeff", "x"]], delimiter=",", line_end="\n", quoted=False, cuts=[2, 3])
def test_what_is_not_doubtful_is_plain(rows, delimiter, line_end, quoted, cuts):
    """In no other row a cell has a blank at its edge, holds what can't be seen, or is too long."""
    content = written(rows, delimiter, line_end, quoted=quoted).encode()
    structure = fed(Structure(delimiter, len(rows[0]), "list.csv"), content, cuts)
    assert structure.error is None
    assert structure.records == len(rows)
    doubtful = {n for first, end in structure.doubtful for n in range(first, end)}
    for record, row in enumerate(rows):
        if record not in doubtful:
            assert not [cell for cell in row if reading._spotted([cell])]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_everyday_rows_are_not_doubtful(delimiter, line_end):
    """Or each would be looked at cell by cell, which takes several times as long."""
    rows = [["p@example.org", "Zoë, Müller", "", 'the "Ship"', '"A" ship', "Łódź", "東京", "«İ»"]] * 50
    content = written(rows, delimiter, line_end).encode()
    structure = fed(Structure(delimiter, 8, "list.csv"), content, [100, 101, 1000])
    assert structure.records == 50
    assert not structure.doubtful
    assert not structure.irregular
    assert not structure.tall


LINES = [
    "ann@example.org,Ann\n",
    "bob@example.org,Bob \n",
    "cy@example.org\n",
    "d@example.org,D,x\n",
    "e@example.org,E,\n",
    '"f@example.org","F, G"\n',
    '"g@example.org","two\nlines"\n',
    '"g@example.org","two\nlines, and a blank "\n',
    '"g@example.org","swallowed\nh@example.org,H"\n',
    ",\n",
    "\n",
    "  ,\n",
    ",,beyond\n",
    "h@example.org,a\u200bb\n",
    ",no address\n",
    'i@example.org,5" disk\n',
    'j@example.org,="01234"\n',
    'k@example.org,"=""01234"""\n',
]


LAST = "z@example.org,Z\n"


def recipients(text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        path.write_text("email,name\n" + text, "utf-8", newline="")
        return list(read_table(path, ListOptions(delimiter=",")))


@lru_cache
def alone(number):
    return recipients([*LINES, LAST][number] + LAST)[0]


@settings(UNHURRIED, max_examples=60)
@given(
    numbers=st.lists(st.integers(0, len(LINES) - 1), max_size=30),
    block=st.integers(1, 9),
    piece=st.integers(200, 400),
)
@example(numbers=[13, *[0] * 20], block=5, piece=200)
@example(numbers=[*range(len(LINES))], block=4, piece=300)
def test_each_row_is_the_same_whatever_stands_around_it(numbers, block, piece):
    """A row among others, however they are cut into blocks and pieces, is what it is by itself."""
    numbers = [*numbers, len(LINES)]
    lines = [[*LINES, LAST][number] for number in numbers]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(delimited, "_BLOCK", block)
        patched.setattr(delimited, "_PIECE", piece)
        together = recipients("".join(lines))
    assert [row.row for row in together] == list(range(2, len(lines) + 2))
    line = 2
    for recipient, text, number in zip(together, lines, numbers, strict=True):
        other = alone(number)
        assert (recipient.cells, recipient.address, recipient.id) == (other.cells, other.address, other.id)
        assert [p.message for p in recipient.problems] == [p.message for p in other.problems]
        assert {p.line for p in recipient.problems} <= {line}
        line += text.count("\n")


def test_a_lonely_quote_far_down_does_not_stop_the_reading(tmp_path):
    path = tmp_path / "list.csv"
    lines = [f"p{n}@example.org,{'x' * 60}\n" for n in range(20_000)]
    lines[9_000] = 'q@example.org,5" disk\n'
    path.write_text("email,size\n" + "".join(lines), "utf-8")
    found = list(read_table(path))
    assert len(found) == 20_000
    assert found[9_000].cells["size"] == '5" disk'
    assert not [problem for recipient in found for problem in recipient.problems]


@pytest.mark.parametrize("cell", ['="01234"', '"=""01234"""'])
def test_a_cell_written_as_a_formula_is_told(cell):
    [found] = recipients(f"ann@example.org,{cell}\n")
    assert found.cells["name"] == '="01234"'
    assert [(p.severity, p.kind) for p in found.problems] == [("warning", "formula")]
    assert "a spreadsheet shows 01234" in found.problems[0].message


def test_a_last_row_that_holds_an_error_alone_is_not_blank(tmp_path):
    path = tmp_path / "list.xlsx"
    first = f'<row r="1">{inline("A1", "email")}{inline("B1", "name")}</row>'
    second = f'<row r="2">{inline("A2", "ann@example.org")}</row>'
    path.write_bytes(
        raw_xlsx(worksheet(f'{first}{second}<row r="3"><c r="B3" t="e"><v>#N/A</v></c></row><row r="4"/>'))
    )
    *_, last = read_table(path)
    assert (last.row, [p.kind for p in last.problems]) == (3, ["formula"])


def test_a_row_whose_only_filled_cell_is_one_too_many_is_not_blank():
    *_, last = recipients("ann@example.org,Ann\n,,bob@example.org\n")
    assert [(p.severity, p.kind, p.value) for p in last.problems] == [("error", "cells", "bob@example.org")]


def test_a_cell_that_is_too_long_makes_its_row_invalid():
    found = recipients(f"ann@example.org,Ann\nbob@example.org,{'x' * 131_073}\ncy@example.org,Cy\n")
    assert [[(p.severity, p.kind) for p in row.problems] for row in found] == [[], [("error", "cell")], []]


def test_a_cell_that_is_too_long_beside_a_stray_quote_is_named():
    """Such a text is read record by record, by a reader that stops there."""
    with pytest.raises(ListError) as caught:
        recipients(f'ann@example.org,5" disk\nbob@example.org,{"x" * 131_073}\ncy@example.org,Cy\n')
    assert "line 3: a cell of row 3 is longer than 131,072 characters" in caught.value.message
    assert [(problem.line, problem.source[:3]) for problem in caught.value.problems] == [(3, "bob")]
    assert caught.value.hint.startswith("shorten it")


def test_a_long_cell_among_the_first_does_not_hold_the_reading_up():
    started = time.process_time()
    found = recipients(f"ann@example.org,{'x' * 130_000}@\n" * 3)
    assert len(found) == 3
    assert time.process_time() - started < 5


def test_a_recipient_made_quickly_is_a_recipient_like_any_other(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("email,name,no\nann@example.org,Ann,7\n", "utf-8")
    [found] = read_table(path, ListOptions(id="no"))
    cells = {"email": "ann@example.org", "name": "Ann", "no": "7"}
    expected = Recipient(2, cells, "ann@example.org", "7")
    assert type(found) is Recipient
    assert found == expected
    texts = tuple(cells.values())
    places = {"email": 0, "name": 1, "no": 2}
    assert list(sound_recipients(2, places, [texts], [texts[0]], [texts[2]])) == [expected]
    assert found.cells == Cells(places, texts)
    assert type(found.cells) is Cells
    assert replace(found, row=3) == replace(expected, row=3)
    assert pickle.loads(pickle.dumps(found)) == copy.deepcopy(found) == expected
    assert repr(found) == repr(expected)
    with pytest.raises(FrozenInstanceError):
        found.row = 4
    with pytest.raises(FrozenInstanceError):
        del found.row


def test_cells_are_a_mapping_that_nobody_can_change():
    places = {"email": 0, "name": 2}
    cells = Cells(places, ("ann@example.org", "nameless", "Ann"))
    assert cells == {"email": "ann@example.org", "name": "Ann"}
    assert list(cells) == ["email", "name"]
    assert list(cells.values()) == ["ann@example.org", "Ann"]
    assert len(cells) == 2
    assert "name" in cells
    assert "nameless" not in cells
    assert cells.get("zip", "") == ""
    with pytest.raises(KeyError):
        cells["nameless"]
    with pytest.raises(TypeError):
        cells["name"] = "Bob"


def test_the_check_refuses_such_a_row_and_does_not_call_it_empty(tmp_path):
    (tmp_path / "campaign.toml").write_text(
        'list = "people.csv"\nletter = "letter.md"\nfrom = "Ada Club <news@ada.example>"\n', "utf-8"
    )
    (tmp_path / "letter.md").write_text("Subject: Hi\n\nHello {{ name }}\n", "utf-8")
    (tmp_path / "people.csv").write_text(
        "email,name\nann@example.org,Ann\n,,bob@example.org\ncy@example.org,Cy\n", "utf-8"
    )
    found = merge.Campaign.load(tmp_path).check()
    assert ("error", "cells", 3) in [(p.severity, p.kind, p.row) for p in found]
