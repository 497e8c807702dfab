"""What the person gets to see: results.csv, the numbers, and their own sheet."""

from __future__ import annotations

import csv
import os
import stat
from pathlib import Path

import pytest
from openpyxl import Workbook, load_workbook
from openpyxl.styles import Font

from merge import report
from merge.errors import ConfigError, JournalError
from merge.model import Record, State
from merge.sheet import COLUMNS, write_sheet

SENT = Record(2, "ann", "ann@x.example", State.SENT, 250, "2.0.0", "ok", 1, "<1@x.example>", 1_800_000_000.0)
FAILED = Record(3, "ben", "ben@x.example", State.FAILED, 550, "5.1.1", "=cmd|'/C calc'!A0", 1)
INVALID = Record(5, "zoe", "", State.INVALID, reason="no address")


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_results_tell_every_row(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    report.write_results([SENT, FAILED, INVALID], path)
    assert path.read_bytes().startswith(
        b"\xef\xbb\xbfrow,key,to,state,code,reply,attempts,message_id,time\r\n"
    )
    head, first, second, third = read(path)
    assert tuple(head) == report.COLUMNS
    assert first[:5] == ["2", "ann", "ann@x.example", "sent", "250"]
    assert first[-2:] == ["<1@x.example>", "2027-01-15T08:00:00Z"]
    assert second[3:5] == ["failed", "550"]
    assert third[2:] == ["", "invalid", "", "no address", "0", "", ""]


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
)
def test_nothing_in_them_is_a_formula(tmp_path: Path, start: str) -> None:
    path = tmp_path / "results.csv"
    evil = f"{start}1+1"
    report.write_results([Record(2, evil, evil, State.FAILED, 550, "", evil, reason=evil)], path)
    _, row = read(path)
    assert all(value[:1] == "'" for value in (row[1], row[2], row[5]))


def test_texts_that_no_encoding_takes_do_not_lose_the_results(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    report.write_results([Record(2, "a\udcff", "名前@例え.example", State.SENT)], path)
    assert read(path)[1][1:3] == ["a\\udcff", "名前@例え.example"]


def test_they_are_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    report.write_results([SENT], path)
    before = path.read_bytes()

    def broken() -> object:
        yield SENT
        raise OSError(28, "No space left on device")

    with pytest.raises(JournalError, match="No space left"):
        report.write_results(broken(), path)  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["results.csv"]


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_only_their_owner_can_read_them(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("old")
    path.chmod(0o666)
    report.write_results([SENT], path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_in_the_way_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("results.csv", "results.csv.part"):
        (tmp_path / name).symlink_to(victim)
    report.write_results([SENT], tmp_path / "results.csv")
    assert victim.read_text() == "precious"


def test_the_status_has_all_seven_states_and_sums_up() -> None:
    counts = {**dict.fromkeys(State, 0), State.SENT: 3, State.FAILED: 1}
    status = report.status(counts, campaign="c", edition="1", fingerprint="7f3a", next_step="mergepost send")
    assert list(status) == ["campaign", "edition", "fingerprint", "total", "states", "next"]
    assert status["total"] == 4 == sum(status["states"].values())
    assert set(status["states"]) == {state.value for state in State}


def test_rows_are_grouped_by_what_the_server_said() -> None:
    groups = report.groups([FAILED, SENT, FAILED, INVALID])
    assert groups[0] == ((State.FAILED, 550, "5.1.1"), 2)
    assert sum(number for _, number in groups) == 4


@pytest.mark.parametrize(
    ("encoding", "delimiter", "end"),
    [("utf-8-sig", ",", "\r\n"), ("cp1252", ";", "\r\n"), ("utf-16", "\t", "\n"), ("utf-8", ",", "\n")],
)
def test_a_text_comes_back_in_its_own_way(tmp_path: Path, encoding: str, delimiter: str, end: str) -> None:
    source, target = tmp_path / "people.csv", tmp_path / "people-results.csv"
    rows = [
        delimiter.join(("E-mail", "Name", "Note")),
        delimiter.join(("ann@x.example", '"Zoë ""Z"" Á"', "007")),
        delimiter.join(("ben@x.example", f'"two{end}lines{delimiter}one cell"', "  x ")),
        "",
        delimiter.join(("", "short")),
    ]
    with source.open("w", encoding=encoding, newline="") as file:
        file.write(end.join(rows))
    write_sheet([SENT, FAILED, INVALID], source, target, encoding=encoding, delimiter=delimiter)
    before, after = source.read_bytes().decode(encoding), target.read_bytes().decode(encoding)
    lines = after.split(end)
    for old, new in zip(before.split(end), lines, strict=False):
        assert new.startswith(old)
    assert target.read_bytes()[:2] == source.read_bytes()[:2]
    with target.open(encoding=encoding, newline="") as file:
        head, first, second, blank, last = csv.reader(file, delimiter=delimiter)
    assert head == ["E-mail", "Name", "Note", *COLUMNS]
    assert first[:5] == ["ann@x.example", 'Zoë "Z" Á', "007", "sent", "250"]
    assert second[1:4] == [f"two{end}lines{delimiter}one cell", "  x ", "failed"]
    assert second[5].startswith("5.1.1 =cmd")
    assert blank == []
    assert last[:4] == ["", "short", "", "invalid"]


def test_a_text_that_came_back_before_is_filled_anew(tmp_path: Path) -> None:
    source, once, twice = (tmp_path / name for name in ("a.csv", "b.csv", "c.csv"))
    source.write_text("E-mail,Name\nann@x.example,Ann\nben@x.example,Ben\n")
    write_sheet([SENT], source, once)
    write_sheet([SENT, FAILED], once, twice)
    head, first, second = read(twice)
    assert head == ["E-mail", "Name", *COLUMNS]
    assert (first[2], second[2], len(second)) == ("sent", "failed", len(head))


def test_a_workbook_keeps_its_looks_formulas_and_other_sheets(tmp_path: Path) -> None:
    source, target = tmp_path / "people.xlsx", tmp_path / "people-results.xlsx"
    book = Workbook()
    page = book.active
    page.title = "People"
    page.append(["E-mail", "Total"])
    page.append(["ann@x.example", "=1+1"])
    page.append(["ben@x.example", 5])
    page["A1"].font = Font(bold=True)
    page["B3"].number_format = "0.00"
    book.create_sheet("Other")["A1"] = "kept"
    book.save(source)
    content = source.read_bytes()
    for _ in range(2):
        write_sheet([SENT, FAILED], source, target, sheet="People")
        back = load_workbook(target)
        again = back["People"]
        assert again["A1"].font.bold
        assert (again["B2"].value, again["B3"].number_format) == ("=1+1", "0.00")
        assert back["Other"]["A1"].value == "kept"
        assert [cell.value for cell in again[1]] == ["E-mail", "Total", *COLUMNS]
        assert [cell.value for cell in again[2]][2:5] == ["sent", "250", "2.0.0 ok"]
        assert all(cell.data_type != "f" for cell in again[3][2:])
    assert source.read_bytes() == content


@pytest.mark.parametrize(("source", "target"), [("a.ods", "b.ods"), ("a.csv", "b.xlsx"), ("a.xlsx", "b.csv")])
def test_what_cannot_come_back_is_said(tmp_path: Path, source: str, target: str) -> None:
    with pytest.raises(ConfigError, match="cannot come back as"):
        write_sheet([SENT], tmp_path / source, tmp_path / target)


def test_a_list_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be read again"):
        write_sheet([SENT], tmp_path / "a.csv", tmp_path / "b.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_workbook_that_openpyxl_cannot_open_is_told_and_not_a_fault(tmp_path: Path) -> None:
    source = tmp_path / "people.xlsx"
    source.write_bytes(b"no workbook at all")
    with pytest.raises(JournalError, match="cannot be read again") as refused:
        write_sheet([SENT], source, tmp_path / "back.xlsx")
    assert "results.csv" in refused.value.hint
    assert not (tmp_path / "back.xlsx").exists()
