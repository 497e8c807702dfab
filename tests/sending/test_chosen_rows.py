"""Rows that share an address, of which only some are chosen: by `where`, by --rows, and what goes with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from merge import Campaign, State
from merge.clock import TestClock
from merge.errors import ContentError

W, K, D, F, S, U = (
    *(State.WAITING, State.SKIPPED, State.DEFERRED, State.FAILED, State.SENT, State.UNCERTAIN),
)
LIST = (
    "email,group,cc\nada@x.example,left,\nbob@x.example,left,\nAda@x.example,right,\nada@x.example,right,\n"
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))


@pytest.fixture
def written(tmp_path: Path):
    folder = tmp_path / "club"
    folder.mkdir()

    def write(settings: str = "", people: str = LIST, letter: str = "Hi {{ group }} {{ email }}") -> Campaign:
        (folder / "people.csv").write_text(people)
        (folder / "letter.txt").write_text(f"Subject: News\nCc: {{{{ cc|default('') }}}}\n\n{letter}\n")
        head = 'list = "people.csv"\nletter = "letter.txt"\nfrom = "Ada <a@ada.example>"\n'
        out = f'[account]\neml = "{tmp_path / "out"}"\n'
        (folder / "campaign.toml").write_text(f"{head}{settings}\n{out}")
        return Campaign(Campaign.load(folder).settings, TestClock())

    return write


def fates(campaign: Campaign) -> list[State]:
    return [record.state for record in campaign.records()]


def letters_in(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*") if path.is_file() and b"Subject: News" in path.read_bytes())


def test_where_sends_to_the_first_chosen_row_of_an_address(written, tmp_path: Path) -> None:
    campaign = written("where = \"group == 'right'\"")
    assert [problem.row for problem in campaign.check()] == [5]
    assert [message.get_content().strip() for message in campaign.messages()] == ["Hi right Ada@x.example"]
    assert campaign.send(confirm=1).exit_code == 0
    assert fates(campaign) == [K, K, S, K]
    summary = written().send(confirm=1)  # Bob alone is left: Ada had hers
    assert fates(campaign) == [S, S, K, K]
    assert summary.proposal.record.changed == summary.proposal.record.changed_after == 0
    assert letters_in(tmp_path / "out") == 2


def test_rows_sends_to_the_row_that_was_asked_for(written, tmp_path: Path) -> None:
    campaign = written()
    assert [str(one["To"]) for one in campaign.messages(range(4, 5))] == ["Ada@x.example"]
    summary = campaign.send(rows=range(4, 6), confirm=1)
    assert fates(campaign) == [K, W, S, K]
    assert next(record.reason for record in campaign.records()) == "same address as row 4"
    assert summary.states[W] == 1
    campaign.send(rows=range(2, 3), confirm=0)
    assert fates(campaign) == [S, W, K, K]
    campaign.send(confirm=1)
    assert fates(campaign) == [S, S, K, K]
    assert letters_in(tmp_path / "out") == 2


def test_rows_do_not_bring_in_what_the_campaign_leaves_out(written) -> None:
    campaign = written("where = \"group == 'left'\"")
    campaign.send(rows=range(4, 6), confirm=0)
    assert fates(campaign) == [W, W, K, K]
    assert campaign.send(rows=range(2, 3), confirm=1).states[S] == 1


def test_two_rows_of_an_address_stay_an_error_where_they_are_one(written) -> None:
    campaign = written('duplicates = "error"')
    with pytest.raises(ContentError):
        campaign.send(rows=range(4, 5))
    campaign = written('duplicates = "error"\nwhere = "group == \'left\'"')
    assert campaign.check() == []
    assert campaign.send(confirm=2).states[S] == 2


def test_a_row_that_goes_to_someone_suppressed_gives_way_too(written) -> None:
    people = "email,group,cc\nada@x.example,left,bob@x.example\nada@x.example,right,\n"
    campaign = written(people=people)
    (campaign.settings.folder / "suppressed.csv").write_text("bob@x.example\n")
    assert [message["Cc"] for message in campaign.messages()] == [None]
    assert campaign.send(confirm=1).exit_code == 0
    assert fates(campaign) == [K, S]


def test_not_twice_within_counts_an_address_once_whichever_row_stands_for_it(written) -> None:
    within = 'not_twice_within = "3d"\n'
    campaign = written(within + "where = \"group == 'right'\"")
    campaign.send(confirm=1)
    campaign = written(within)
    assert campaign.send(confirm=1).states[S] == 2  # Bob; that Ada was mailed was this very letter
    assert fates(campaign) == [S, S, K, K]


def test_a_correction_goes_to_the_chosen_row_of_those_who_got_the_first(written) -> None:
    campaign = written("where = \"group == 'right'\"")
    version = campaign.send(confirm=1).proposal.findings.fingerprint
    campaign = written('edition = "2"\nwhere = "group == \'right\'"', letter="Sorry, {{ group }}")
    campaign.send(confirm=1, to_sent_with=version)
    assert fates(campaign) == [K, K, S, K]
    campaign = written('edition = "3"', letter="Sorry, {{ group }}")
    campaign.send(confirm=1, to_sent_with=version)
    assert fates(campaign) == [S, K, K, K]


def test_a_group_with_a_chosen_row_gets_its_letter(written) -> None:
    each = "{% for one in rows %}{{ one.group }} {% endfor %}"
    campaign = written('group_by = "email"\nwhere = "group == \'right\'"', letter=each)
    assert [message.get_content().strip() for message in campaign.messages()] == ["right left right"]
    campaign.send(confirm=1)
    assert fates(campaign) == [K, K, S, K]
    assert next(record.reason for record in campaign.records()) == "in the letter of row 4"


def test_the_fingerprint_of_a_plan_is_that_of_the_same_choice(written) -> None:
    campaign = written("where = \"group == 'right'\"")
    before = campaign.findings().fingerprint
    assert campaign.send(expect=before, limit=0, confirm=0).exit_code == 3
    campaign.send(expect=before, confirm=1)
    assert campaign.send(expect=before, confirm=0).exit_code == 0


@pytest.mark.parametrize("setting", ["where = \"group == 'right'\"", '[columns]\nconsent = "cc"'])
def test_a_row_whose_cells_cannot_be_told_apart_is_an_error_and_not_left_out(written, setting) -> None:
    people = "email,name,group,cc\nada@x.example,Ada,right,cc@x.example\nbob@x.example,Lee,Bob,,yes\n"
    campaign = written(setting, people, letter="Hi {{ name }}")
    [problem] = campaign.check()
    assert (problem.severity, problem.kind, problem.row) == ("error", "cells", 3)
    assert [message["To"] for message in campaign.messages()] == ["ada@x.example"]
    with pytest.raises(ContentError):
        campaign.send(confirm=1)
