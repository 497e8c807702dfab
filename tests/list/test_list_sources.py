"""Pipes, standard input, DataFrames, generators; large lists in little memory."""

import csv
import datetime as dt
import enum
import io
import json
import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pandas as pd
import pytest

import merge
from merge.errors import ListError
from merge.table import ListOptions, read_table
from merge.table.given import as_text

CSV = b"name,email\nAnn,ann@example.org\n"


def test_a_pipe_is_read_twice(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(CSV,))
    writer.start()
    table = read_table(path)
    writer.join()
    assert [row.address for row in table] == [row.address for row in table] == ["ann@example.org"]
    assert table.problems == ()


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CSV)))
    table = read_table("-")
    assert [row.cells for row in table] == [{"name": "Ann", "email": "ann@example.org"}]


def test_a_dataframe_is_read_as_a_sheet_shows_it():
    frame = pd.DataFrame(
        {
            "email": ["a@example.org", "b@example.org"],
            "number": [1234.0, None],
            "whole": [7, 8],
            "day": [pd.Timestamp("2025-03-04"), pd.NaT],
            "yes": [True, None],
            "kind": pd.Categorical(["x", None]),
        },
    )
    table = read_table(frame)
    assert [row.row for row in table] == [2, 3]
    assert [list(row.cells.values()) for row in table] == [
        ["a@example.org", "1234", "7", "2025-03-04", "TRUE", "x"],
        ["b@example.org", "", "8", "", "", ""],
    ]


def test_mappings_and_generators():
    people = ({"email": f"p{n}@example.org", "n": n} | ({"late": "x"} if n else {}) for n in range(2))
    table = read_table(people, ListOptions(id="n"))
    assert [(row.row, row.id, row.cells) for row in table] == [
        (2, "0", {"email": "p0@example.org", "n": "0", "late": ""}),
        (3, "1", {"email": "p1@example.org", "n": "1", "late": "x"}),
    ]
    assert len(list(table)) == 2
    with pytest.raises(ListError, match="is empty"):
        read_table([])


def test_a_row_of_a_csv_reader_that_is_longer_than_the_header_is_an_error():
    lines = [
        "name,email",
        *(f"n{n},p{n}@example.org" for n in range(300)),
        "Lee, Ann,ann@example.org",
        "x,y,",
    ]
    *sound, long, other = read_table(csv.DictReader(lines))
    assert [list(row.cells) for row in (sound[0], long)] == [["name", "email"]] * 2
    assert not any(row.problems for row in (*sound, other))
    wrong = next(problem for problem in long.problems if problem.severity == "error")
    assert (wrong.kind, wrong.row, wrong.value) == ("cells", 302, "ann@example.org")
    hashes = {read_table(csv.DictReader([*lines[:-1], last])).content_hash for last in ("x,y,", "x,y,z")}
    assert len(hashes) == 2


@pytest.mark.parametrize("value", [b"Ann", bytearray(b"Ann"), np.array([1, 2]), pd.Series([1, 2])], ids=repr)
def test_what_a_program_gives_that_is_not_one_text_is_refused(value):
    frame = pd.DataFrame({"email": ["a@example.org"] * 2, "n": ["x", value]})
    for people in (frame, frame.to_dict("records")):
        with pytest.raises(
            ListError, match=f"n of item 2 is a {type(value).__name__}, which is not one text"
        ):
            read_table(people)


def test_the_first_row_of_mappings_is_always_the_header():
    table = read_table([{"who": "email", "email": "a@example.org"}])
    assert [row.cells["who"] for row in table] == ["email"]


def test_blank_rows_stay_in_their_place_and_those_at_the_end_are_none():
    """Rows come in blocks; a blank row at the end of one is known to be a row only by the next."""
    for place in (0, 254, 255, 256, 300, 510, 511, 512):
        people = [{"email": f"p{n}@example.org"} for n in range(600)]
        people[place] = {"email": ""}
        found = list(read_table([*people, {"email": ""}, {"email": " "}]))
        assert [row.row for row in found] == list(range(2, 602))
        assert [row.row for row in found if not row.address] == [place + 2]


class Colour(str, enum.Enum):  # noqa: UP042 - a StrEnum has its value for its text anyway
    RED = "rot"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (pd.NA, ""),
        (np.int64(7), "7"),
        (np.float64(7.0), "7"),
        (np.bool_(1), "TRUE"),
        (np.str_("x"), "x"),
        (Colour.RED, "rot"),
        (dt.date(2025, 3, 4), "2025-03-04"),
        (np.datetime64("2025-03-04T14:30"), "2025-03-04 14:30"),
    ],
)
def test_values_of_a_program(value, text):
    assert as_text(value) == text


def test_the_same_content_has_the_same_hash(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(CSV)
    first = read_table(path).content_hash
    assert len(first) == 64
    assert read_table(path).content_hash == first
    path.write_bytes(CSV.replace(b"Ann", b"Anne"))
    assert read_table(path).content_hash != first
    assert read_table([{"email": "a@b.de"}]).content_hash != read_table([{"email": "b@b.de"}]).content_hash


def test_a_hundred_thousand_rows_take_no_more_memory_than_ten_thousand(tmp_path):
    code = textwrap.dedent(
        """
        import resource, sys
        from merge.table import read_table
        count = sum(1 for _ in read_table(sys.argv[1]))
        print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        """,
    )
    peaks = []
    for rows in (10_000, 100_000):
        path = tmp_path / f"{rows}.csv"
        with path.open("w", encoding="utf-8") as file:
            file.write("email,name,note\n")
            file.writelines(f'p{n}@example.org,"Müller, {n}",{"x" * 60}{n}\n' for n in range(rows))
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
        count, peak = map(int, done.stdout.split())
        assert count == rows
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 10_000  # kilobytes


def test_importing_the_room_loads_nothing_heavy():
    heavy = "pandas numpy chardet email_validator python_calamine xlrd openpyxl jinja2 idna"
    code = (
        f"import sys, merge.table, merge.address; print([n for n in '{heavy}'.split() if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("names", ["Name,Town", "Name,Kontakt"])
def test_a_list_without_addresses_says_what_was_looked_for_and_what_is_there(tmp_path, names):
    path = tmp_path / "people.csv"
    path.write_text(f"{names}\nAnn,Oslo\nBob,Rome\n", "utf-8")
    with pytest.raises(ListError) as caught:
        read_table(path)
    assert (
        caught.value.message
        == "no column of people.csv is called email or the like, and none holds addresses"
    )
    assert f"its first filled row reads: {names.replace(',', ' | ')};" in caught.value.hint
    assert "[columns] email" in caught.value.hint
    assert caught.value.problems == ()


@pytest.fixture
def letter(tmp_path):
    (tmp_path / "letter.txt").write_text("From: ada@x.example\nSubject: Hi\n\nDear {{ name }}\n", "utf-8")
    return tmp_path / "letter.txt"


def mergepost(*words, given: bytes):
    command = [sys.executable, "-c", "from merge.cli import main; main()", *words]
    return subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)


PIPED = b"email,name\nzoe@x.example,Zo\xc3\xab\n"


def test_standard_input_stands_where_a_list_and_a_letter_are_named(letter):
    checked = mergepost("check", "-", str(letter), "--format", "json", given=PIPED)
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["rows"] == 1
    shown = letter.with_name("look.html")
    assert mergepost("preview", "-", str(letter), "--out", str(shown), given=PIPED).returncode == 0
    assert "Dear Zoë" in shown.read_text("utf-8")
    broken = mergepost("check", "-", str(letter), given=b"email,name\nnobody,x\n")
    assert broken.returncode == 1
    assert b"standard input: 1 of 1 row can't be sent" in broken.stderr + broken.stdout


def test_a_pipe_stands_there_too_beside_the_settings_of_a_campaign(letter, tmp_path):
    (tmp_path / "campaign.toml").write_text('letter = "letter.txt"\nwhere = "name != \'No\'"\n', "utf-8")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(PIPED + b"no@x.example,No\n",))
    writer.start()
    campaign = merge.Campaign.load(pipe, letter)
    assert [message["To"] for message in campaign.messages()] == ["zoe@x.example"]
    assert [message["To"] for message in campaign.messages()] == ["zoe@x.example"], "it is kept"
    writer.join()


def test_a_live_preview_needs_a_list_that_can_be_read_again(letter):
    refused = mergepost("preview", "-", str(letter), "--no-open", given=PIPED)
    assert refused.returncode == 2
    assert b"only once" in refused.stderr
