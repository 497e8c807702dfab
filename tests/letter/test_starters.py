"""The starter letters: each is sound with its own list, in every row, and readable without HTML."""

from __future__ import annotations

import csv
from pathlib import Path

import judge
import pytest
from letter_kit import DATE, SENDER

from merge.compose import Composer
from merge.model import Recipient
from merge.seal import seal
from merge.template import read_template

STARTERS = sorted(path for path in (Path(__file__).parents[2] / "templates").iterdir() if path.is_dir())


def rows(folder):
    with (folder / "people.csv").open(encoding="utf-8", newline="") as lines:
        return [Recipient(number, row, row["email"]) for number, row in enumerate(csv.DictReader(lines), 2)]


def test_there_is_a_starter_for_each_kind():
    assert [path.name for path in STARTERS] == ["announcement", "invitation", "newsletter", "plain"]


@pytest.mark.parametrize("folder", STARTERS, ids=lambda path: path.name)
def test_a_starter_has_no_problem_with_its_own_list(folder):
    (letter,) = [path for path in folder.iterdir() if path.name.startswith("letter.")]
    template = read_template(letter)
    people = rows(folder)
    assert template.check_columns(tuple(people[0].cells)) == ()
    composer = Composer(template, folder=folder, sender=SENDER)
    for person in people:
        assert composer.examine(person).problems == ()
        composed = composer.compose(
            person, key=person.address, message_id=f"<{person.row}@ada.example>", date=DATE
        )
        content = seal(composed).content
        message = judge.read(content)
        assert person.cells["first_name"] in judge.phrase(message.get("Subject"))
        assert person.cells["first_name"] in message.text("text/plain")
        assert len(message.text("text/plain")) > 120
        assert "None" not in message.text("text/plain")
        assert len(content) < 60_000
        assert person.address.endswith(".example")
        if composed.html:
            assert '<html lang="en"' in composed.html
            assert "prefers-color-scheme" in composed.html
            assert "viewport" in composed.html
            assert person.cells["first_name"] in composed.html


def test_the_names_of_the_starters_are_in_many_scripts():
    names = "".join(row.cells["first_name"] for folder in STARTERS for row in rows(folder))
    for first, last in (
        ("A", "z"),
        ("\u0370", "\u052f"),
        ("\u05d0", "\u05ea"),
        ("\u0600", "\u06ff"),
        ("\u4e00", "\u9fff"),
    ):
        assert any(first <= character <= last for character in names)
