"""What is put on a screen: nothing that a terminal obeys, every cell counted, every unit right."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merge.errors import LetterError, ListError, Problem
from merge.screens import checked_github, excerpt, failure, findings
from merge.words import column, count, duration, moment, plain, size, width

ANYTHING = st.text(st.characters(exclude_categories=()), max_size=60)


def harmless(text: str) -> bool:
    kinds = {unicodedata.category(c) for c in text if c not in "\u200c\u200d"}
    return not kinds & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


@given(ANYTHING)
def test_plain_lets_nothing_through_that_a_terminal_obeys(text):
    assert harmless(plain(text))


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs", "M"])))
def test_plain_leaves_what_is_only_seen(text):
    assert plain(text, 1000) == text


@given(ANYTHING, st.integers(1, 20))
def test_plain_keeps_to_its_limit_and_says_that_there_is_more(text, limit):
    shown = plain(text, limit)
    assert shown.endswith("…") or len(text) <= limit
    assert plain(text[:limit], limit) == shown.removesuffix("…") or len(text) <= limit


def test_plain_shows_what_it_hides():
    assert plain("a\x1b[2J\u202eb\u200b\ud800\U000e0001") == r"a\x1b[2J\u202eb\u200b\ud800\U000e0001"
    assert plain("می‌خواهم 👩‍👧") == "می‌خواهم 👩‍👧", "joiners are part of how words are written"


@given(ANYTHING.map(plain), st.integers(2, 40))
def test_a_column_has_exactly_its_cells(text, cells):
    assert width(column(text, cells)) == cells


def test_wide_letters_take_two_cells():
    assert width("山田") == 4
    assert column("山田太郎", 5) == "山田…"
    assert column("Ada", 5) == "Ada  "


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (3600, "60 min"),
        (5400, "1 h 30 min"),
        (7200, "2 h"),
        (86400, "24 h"),
        (3 * 86400, "3 days"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_counts_sizes_and_moments(monkeypatch):
    assert (count(1, "row"), count(0, "row"), count(1204, "row")) == ("1 row", "0 rows", "1,204 rows")
    assert count(2, "copy", "copies") == "2 copies"
    assert (size(820), size(12_400), size(1_900_000)) == ("820 bytes", "12.4 kB", "1.9 MB")
    today, tomorrow = moment(1_800_000_000, 1_800_000_000), moment(1_800_090_000, 1_800_000_000)
    assert re.fullmatch(r"\d\d:\d\d", today)
    assert re.fullmatch(r"\w{3} \d+ \w{3} \d\d:\d\d", tomorrow), "another day is named"


LINE = "x" * 18 + "nmber"
PLACE = Problem(
    "error", "letter", "no column nmber", "letter.md", 5, 19, 5, hint="did you mean number?", source=LINE
)


def test_an_excerpt_has_its_caret_under_the_place():
    lines = excerpt(PLACE)
    assert lines[0] == "error: no column nmber"
    assert lines[1] == "  --> letter.md:5:19"
    start = lines[3].index("nmber")
    assert lines[4].index("^") == start
    assert lines[4].count("^") == 5
    assert lines[5] == "   = did you mean number?"


def test_a_caret_stands_right_after_wide_and_hidden_letters():
    source = "山田\x1b {{ nmber }}"
    lines = excerpt(
        Problem("error", "letter", "no", "letter.md", 1, source.index("nm") + 1, 5, source=source)
    )
    assert width(lines[4][: lines[4].index("^")]) == width(lines[3][: lines[3].index("nm")])


def test_an_error_that_is_one_place_is_shown_once():
    error = LetterError("no column nmber", hint="did you mean number?", problems=(PLACE,))
    assert failure(error) == excerpt(PLACE)


def test_rows_are_grouped_by_kind_ten_of_each_and_the_rest_counted():
    rows = [
        Problem("error", "address", "no address", "people.csv", row=n, value=f"v{n}") for n in range(2, 32)
    ]
    error = ListError("people.csv: 30 of 40 rows can't be sent", hint="mend it", problems=rows)
    lines = failure(error)
    assert lines[0] == "error: people.csv: 30 of 40 rows can't be sent"
    assert lines[1] == "  error  address  30 rows"
    assert len([line for line in lines if "no address" in line]) == 10
    assert "20 more" in lines[12]
    assert lines[-1] == "  mend it"


def test_two_findings_in_one_row_are_not_two_rows():
    pairs = [Problem("warning", "blanks", "x", row=row) for row in (3, 3, 4, 4)]
    assert findings(pairs)[0] == "  warning  blanks  4 problems in 2 rows"
    assert findings(pairs, [("warning", "blanks", 2000)])[0] == "  warning  blanks  2,000 problems"
    assert findings(pairs[1:3])[0] == "  warning  blanks  2 rows"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Name is empty", "      3 | Name is empty"),
        ("a line break was dropped", "      3 | Name: a line break was dropped"),
    ],
)
def test_the_field_of_a_finding_is_named_once(message, shown):
    assert findings([Problem("warning", "blank", message, row=3, field="Name")])[-1] == shown


@given(ANYTHING, ANYTHING, ANYTHING)
def test_no_finding_can_command_a_terminal(message, value, source):
    problem = Problem("error", "kind", message, value, 1, 1, 3, 7, value, value, message, source)
    error = ListError(message, hint=value, problems=[problem])
    for lines in (excerpt(problem), findings([problem]), failure(error)):
        assert all(harmless(line) for line in lines)
        assert all("\n" not in line for line in lines)


@given(ANYTHING, ANYTHING)
def test_a_finding_is_one_workflow_command_whatever_it_says(message, value):
    class Found:
        problems = (Problem("warning", "kind", message, value, row=3, value=value),)

    (line,) = checked_github(Found())
    assert line.startswith("::warning file=" if value else "::warning title=")
    assert harmless(line)
    assert line.count("::") >= 2
