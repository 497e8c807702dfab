"""Several rows of one person make one letter, every row accounted for; rows may come from a program."""

from __future__ import annotations

import pandas as pd
import pytest

from merge import Campaign, State
from merge.errors import ConfigError

PEOPLE = "E-mail,Name,Item\nann@example.com,Ann,pen\nbob@example.com,Bob,ink\nAnn@Example.com,Ann,cap\n"


@pytest.fixture
def campaign(tmp_path):
    def made(*lines: str, letter: str = "", people: object = None) -> Campaign:
        (tmp_path / "people.csv").write_text(PEOPLE, "utf-8")
        body = letter or "{{ name }} gets{% for one in rows %} {{ one.item }}/{{ one['Item'] }}{% endfor %}"
        (tmp_path / "letter.txt").write_text(f"Subject: Hi\n\n{body}\n", "utf-8")
        head = 'list = "people.csv"\nletter = "letter.txt"\nfrom = "a@ada.example"\n'
        (tmp_path / "campaign.toml").write_text(head + "\n".join(lines), "utf-8")
        return Campaign.load(tmp_path, people=people)

    return made


def texts(campaign):
    return {message["To"]: message.get_content().strip() for message in campaign.messages()}


@pytest.mark.parametrize("name", ["email", "E-mail", "e_mail"])
def test_rows_of_one_address_make_one_letter(campaign, name):
    made = campaign(f'group_by = "{name}"')
    assert made.check() == []
    assert texts(made) == {
        "ann@example.com": "Ann gets pen/pen cap/cap",
        "bob@example.com": "Bob gets ink/ink",
    }


def test_the_other_rows_are_skipped_and_counted(campaign):
    summary = campaign('group_by = "email"').send(sandbox=True)
    assert summary.states[State.SENT] == 2
    assert summary.states[State.SKIPPED] == 1
    assert sum(summary.states.values()) == 3


def test_without_grouping_rows_is_the_row_itself(campaign):
    assert texts(campaign())["ann@example.com"] == "Ann gets pen/pen"


def test_an_unknown_column_to_group_by_is_refused(campaign):
    with pytest.raises(ConfigError, match="no column nmae") as refused:
        campaign('group_by = "nmae"').check()
    assert "Name" in refused.value.hint


def test_duplicates_can_be_errors(campaign):
    [problem] = campaign('duplicates = "error"', letter="Hi").check()
    assert (problem.severity, problem.kind, problem.row) == ("error", "duplicate", 4)


@pytest.mark.parametrize(
    "people",
    [
        [{"email": "eve@example.com", "name": "Eve", "item": 7}],
        pd.DataFrame({"email": ["eve@example.com"], "name": ["Eve"], "item": ["7"]}),
    ],
    ids=["mappings", "DataFrame"],
)
def test_rows_may_come_from_a_program(campaign, people):
    made = campaign(letter="{{ name }}: {{ item }}", people=people)
    assert texts(made) == {"eve@example.com": "Eve: 7"}
    assert made.send(sandbox=True).states[State.SENT] == 1


def test_what_is_wrong_with_one_row_is_wrong_with_the_letter_it_is_in(campaign, tmp_path):
    made = campaign('group_by = "email"')
    with (tmp_path / "people.csv").open("a") as people:
        people.write("ann@example.com,Lee,Ann,cap\nbob@example.com,Bob\n")
    long, short = made.check()
    assert (long.severity, long.kind, long.row) == ("error", "cells", 5)
    assert (short.severity, short.kind, short.row) == ("warning", "cells", 6)
    assert texts(made) == {"bob@example.com": "Bob gets ink/ink /"}
    summary = made.send(sandbox=True, skip_invalid=True)
    assert (summary.states[State.INVALID], summary.states[State.SENT]) == (1, 1)
