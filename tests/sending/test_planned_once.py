"""What was planned for a row when it was checked is what is sent; what has changed since is planned anew."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from merge import Campaign, State
from merge.compose import Composer, Plans
from merge.errors import ContentError
from merge.model import Cells, Recipient
from merge.sandbox import sandbox
from merge.sending import Consent
from merge.template import read_template


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Keep accounts.toml and the ledger out of the person's own folders."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / "config"))


@pytest.fixture
def planned(monkeypatch):
    """Count how often each row is planned."""
    counts: Counter[int] = Counter()
    plan = Composer._plan

    def counting(self, recipient):
        counts[recipient.row] += 1
        return plan(self, recipient)

    monkeypatch.setattr(Composer, "_plan", counting)
    return counts


@pytest.fixture
def campaign(tmp_path):
    """Return a campaign of five rows to a server of its own; its letters may have a file."""
    folder = tmp_path / "news"
    folder.mkdir()
    with sandbox(tmp_path / "arrived") as port:

        def made(*, attach: bool = False) -> Campaign:
            people = "".join(f"p{number}@example.com,Name {number}\n" for number in range(2, 7))
            (folder / "people.csv").write_text(f"email,name\n{people}", "utf-8")
            (folder / "dates.txt").write_text("1 May\n", "utf-8")
            header = "Attach: dates.txt\n" if attach else ""
            (folder / "letter.txt").write_text(f"Subject: News\n{header}\nDear {{{{ name }}}}\n", "utf-8")
            (folder / "campaign.toml").write_text(
                'list = "people.csv"\nletter = "letter.txt"\nfrom = "ada@ada.example"\n'
                f'[account]\nhost = "127.0.0.1"\nport = {port}\nsecurity = "none"\n',
                "utf-8",
            )
            return Campaign.load(folder)

        yield made


class Editing(Consent):
    """Says yes, after a file was changed."""

    def __init__(self, path: Path, old: str, new: str) -> None:
        super().__init__()
        self._change = path, old, new

    def approve(self, proposal, way, settings):
        path, old, new = self._change
        path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
        return True


def test_each_row_is_planned_once(campaign, planned) -> None:
    assert campaign().send().states[State.SENT] == 5
    assert planned == dict.fromkeys(range(2, 7), 1)


def test_a_letter_with_a_file_is_planned_again_because_the_file_may_have_changed(campaign, planned) -> None:
    assert campaign(attach=True).send().states[State.SENT] == 5
    assert planned == dict.fromkeys(range(2, 7), 2)


@pytest.mark.parametrize("change", [("people.csv", "Name 4", "Name 44"), ("dates.txt", "1 May", "2 May")])
def test_what_changed_between_the_yes_and_its_turn_does_not_go(campaign, change) -> None:
    name, old, new = change
    news = campaign(attach=name == "dates.txt")
    summary = news.send(talk=Editing(news.settings.folder / name, old, new))
    assert summary.ending is not None
    assert isinstance(summary.ending.stopped, ContentError)
    assert "changed" in summary.ending.stopped.message
    assert summary.states[State.SENT] == 0


def recipient(row: int, name: str = "Ada") -> Recipient:
    return Recipient(
        row, Cells({"email": 0, "name": 1}, [f"p{row}@example.com", name]), f"p{row}@example.com"
    )


@pytest.fixture
def composer(tmp_path):
    (tmp_path / "letter.txt").write_text("Subject: News\n\nDear {{ name }}\n", "utf-8")
    return Composer(read_template(tmp_path / "letter.txt"), folder=tmp_path, sender="ada@ada.example")


def test_a_plan_is_for_the_row_that_reads_the_same_and_only_once(composer) -> None:
    plans = Plans()
    for row in (2, 3):
        composer.examine(recipient(row), plans)
    assert plans.take(recipient(2, "Eve")) is None
    assert plans.take(recipient(2)) is None
    assert plans.take(recipient(3)) is not None
    assert plans.take(recipient(3)) is None


def test_no_more_is_kept_than_there_is_room_for(composer) -> None:
    size = composer.examine(recipient(2)).size + len("p2@example.comAda")
    plans = Plans(3 * size)
    for row in range(2, 9):
        composer.examine(recipient(row), plans)
    assert [row for row in range(2, 9) if plans.take(recipient(row))] == [2, 3, 4]
    composer.examine(recipient(8, "x" * 3 * size), plans)
    assert plans.take(recipient(8, "x" * 3 * size)) is None
    composer.examine(recipient(8), plans)
    assert plans.take(recipient(8)) is not None


def test_cells_are_the_same_by_names_and_texts() -> None:
    cells = Cells({"a": 0, "b": 1}, ["1", "2"])
    assert cells == Cells({"a": 0, "b": 1}, ["1", "2"]) == {"b": "2", "a": "1"}
    assert cells != Cells({"a": 0, "b": 1}, ["1", "3"])
    assert cells != Cells({"b": 0, "a": 1}, ["1", "2"])
    assert cells != {"a": "1"}
    assert cells != "12"
