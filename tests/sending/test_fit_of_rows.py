"""A row whose letter cannot go its way is known before anything is sent, whichever row it is."""

from __future__ import annotations

import json

import pytest

from merge import Campaign, State
from merge.errors import ContentError
from merge.preview.book import Book

REASON = "a letter with Bcc cannot go by -t: its recipients stand in the headers; leave -t out"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Keep accounts.toml and the ledger out of the person's own folders."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / "config"))


@pytest.fixture
def write(tmp_path):
    """Return what writes a campaign that goes by a program; it has a row for each Bcc, "" for none."""

    def made(*boss: str, program: str) -> Campaign:
        rows = "".join(f"p{number}@example.com,{address}\n" for number, address in enumerate(boss, 2))
        (tmp_path / "people.csv").write_text(f"email,boss\n{rows}", "utf-8")
        (tmp_path / "letter.txt").write_text("Subject: News\nBcc: {{ boss }}\n\nHello\n", "utf-8")
        (tmp_path / "campaign.toml").write_text(
            'list = "people.csv"\nletter = "letter.txt"\nfrom = "ada@ada.example"\n'
            f"[account]\nsendmail = {json.dumps(program)}\n",
            "utf-8",
        )
        return Campaign.load(tmp_path)

    return made


@pytest.fixture
def program(tmp_path):
    """Return a program that reads recipients from the headers and keeps the first line of each letter."""
    path = tmp_path / "handed-over"
    script = tmp_path / "sendmail"
    script.write_text(f"#!/bin/sh\necho letter >> {path}\ncat > /dev/null\n", "utf-8")
    script.chmod(0o700)
    return f"{script} -t"


def test_a_later_row_that_cannot_go_stops_the_run_before_the_first_letter(write, program, tmp_path) -> None:
    campaign = write("", "", "boss@example.com", program=program)
    (problem,) = [problem for problem in campaign.check() if problem.severity == "error"]
    assert (problem.row, problem.kind, problem.message) == (4, "way", REASON)
    with pytest.raises(ContentError, match="1 of 3 rows") as caught:
        campaign.send()
    assert [found.row for found in caught.value.problems] == [4]
    assert not (tmp_path / "handed-over").exists()


def test_the_preview_shows_it_beside_the_row(write, program) -> None:
    campaign = write("", "boss@example.com", program=program)
    book = Book(lambda: campaign)
    shown = [{problem.message for problem in book.problems(one)} for one in book.people]
    assert [REASON in words for words in shown] == [False, True]


def test_the_others_go_when_it_is_left_out(write, program, tmp_path) -> None:
    summary = write("", "boss@example.com", "", program=program).send(skip_invalid=True)
    assert (summary.states[State.SENT], summary.states[State.INVALID]) == (2, 1)
    assert (tmp_path / "handed-over").read_text("utf-8").count("letter") == 2


def test_where_no_row_can_go_it_is_the_letter(write, program) -> None:
    campaign = write("boss@example.com", "head@example.com", program=program)
    with pytest.raises(ContentError, match="cannot go by -t") as caught:
        campaign.send()
    assert "another way" in caught.value.hint
    assert not caught.value.problems


def test_other_ways_take_such_a_letter(write, program) -> None:
    campaign = write("", "boss@example.com", program=program)
    assert campaign.send(sandbox=True).states[State.SENT] == 2
    assert campaign.send(sandbox=True).tried == 0
    assert not [p for p in write("", "boss@example.com", program="true").check() if p.severity == "error"]


def test_a_web_api_is_asked_about_every_row_although_no_call_is_made(tmp_path) -> None:
    (tmp_path / "people.csv").write_text(f"email,topic\na@x.example,News\nb@x.example,{'x' * 256}\n", "utf-8")
    (tmp_path / "letter.txt").write_text("Subject: {{ topic }}\n\nHello\n", "utf-8")
    (tmp_path / "campaign.toml").write_text(
        'list = "people.csv"\nletter = "letter.txt"\nfrom = "ada@ada.example"\n'
        '[account]\nprovider = "mailjet-api"\nuser = "key"\npassword = {env = "NOT_SET"}\n',
        "utf-8",
    )
    errors = [problem for problem in Campaign.load(tmp_path).check() if problem.severity == "error"]
    assert [(problem.row, problem.message) for problem in errors] == [
        (3, "Mailjet's web API takes subjects of 255 characters at most")
    ]
