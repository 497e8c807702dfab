"""Checking finds who each row is, what is wrong with it, and one fingerprint for all that would go out."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merge.check import check, row_key
from merge.errors import AddressError, ListError, Problem
from merge.journal import Holder
from merge.model import Recipient, State


@dataclass
class Register:
    """A journal that knows nothing of the past."""

    rows: dict[int, tuple[str, str, State, str]] = field(default_factory=dict)
    keys: dict[str, Holder] = field(default_factory=dict)

    def seen(self, key):
        return self.keys.get(key)

    def add(self, line):
        self.rows[line.row] = (line.key, line.to, line.state, line.reason)
        if not line.duplicate:
            self.keys[line.key] = Holder(line.row, line.state is State.SKIPPED)
        return line.state


@dataclass
class Seen:
    problems: tuple[Problem, ...]
    to: str
    subject: str = "News"
    digest: str = "d"
    size: int = 100
    recipients: tuple[str, ...] = ("a@x.example",)


def rows(*addresses: str, ids: tuple[str, ...] = ()) -> list[Recipient]:
    return [
        Recipient(n, {"email": a, "id": ids[n - 2] if ids else ""}, a, ids[n - 2] if ids else None)
        for n, a in enumerate(addresses, 2)
    ]


def examine(recipient: Recipient) -> Seen:
    return Seen((), recipient.address, digest=str(sorted(recipient.cells.items())))


def look(recipients, **options):
    register = Register()
    found = check(recipients, examine=examine, register=register, list_name="people.csv", **options)
    return found, register


def test_the_key_is_the_id_or_the_address_never_the_row():
    with_id, without = rows("Ada@X.example", ids=(" 7 ",))[0], rows("Ada@X.example")[0]
    assert (row_key(with_id), row_key(without)) == ("7", "ada@x.example")
    with pytest.raises(AddressError):
        row_key(rows("nobody")[0])


def test_an_id_that_is_empty_or_taken_makes_its_row_invalid():
    found, register = look(rows("a@x.example", "b@x.example", "c@x.example", ids=("1", "", "1")))
    assert [register.rows[n][2] for n in (2, 3, 4)] == [State.WAITING, State.INVALID, State.INVALID]
    assert [(p.row, p.message) for p in found.problems] == [
        (3, "the id is empty"),
        (4, "the id 1 belongs to row 2 already"),
    ]
    assert (found.invalid, found.errors, found.warnings) == (2, 2, 0)


def test_two_ids_at_one_address_both_get_a_letter_and_that_is_told():
    found, register = look(rows("a@x.example", "A@x.example", ids=("1", "2")))
    assert [register.rows[n][2] for n in (2, 3)] == [State.WAITING] * 2
    assert found.warnings == 1
    assert "both get a letter" in found.problems[0].message


def test_without_ids_the_first_of_an_address_gets_it():
    found, register = look(rows("a@x.example", "b@x.example", "A@X.EXAMPLE"))
    assert register.rows[4][2:] == (State.SKIPPED, "same address as row 2")
    assert (found.first.row, found.last.row) == (2, 3)


def test_a_letter_that_is_refused_leaves_the_addresses_to_be_checked():
    wrong = Problem("error", "letter", "no column nmber", "letter.md", 1, 1)
    found, _ = look(rows("a@x.example", "nobody"), general=(wrong,))
    assert found.refuses_letter
    assert [problem.kind for problem in found.problems] == ["letter", "address"]
    assert (found.first, found.size) == (None, 0)


def test_rows_left_out_by_choice_are_skipped_and_never_wrong():
    found, register = look(
        rows("a@x.example", "nobody"), left_out=lambda r: "not chosen" if r.row == 3 else ""
    )
    assert register.rows[3][2:] == (State.SKIPPED, "not chosen")
    assert not found.errors


def test_a_chosen_row_gets_the_letter_where_an_earlier_one_of_its_address_is_left_out():
    found, register = look(
        rows("a@x.example", "b@x.example", "A@x.example", "a@X.example"),
        left_out=lambda r: "not chosen" if r.row == 2 else "",
    )
    assert [register.rows[n][2] for n in (2, 3, 4, 5)] == [
        State.SKIPPED,
        State.WAITING,
        State.WAITING,
        State.SKIPPED,
    ]
    assert [(p.row, p.message) for p in found.problems] == [(5, "same address as row 4")]
    assert found.skipped == (("not chosen", 1), ("same address as another row", 1))


def test_an_id_belongs_to_its_row_even_where_that_is_left_out():
    found, _ = look(
        rows("a@x.example", "b@x.example", ids=("1", "1")),
        left_out=lambda r: "not chosen" if r.row == 2 else "",
    )
    assert [(p.row, p.message) for p in found.problems] == [(3, "the id 1 belongs to row 2 already")]


def test_a_row_left_out_is_no_duplicate_of_a_chosen_one():
    for left in (2, 3):
        found, _ = look(
            rows("a@x.example", "a@x.example"),
            left_out=lambda r, left=left: "not chosen" if r.row == left else "",
            duplicates="error",
        )
        assert not found.problems


def test_a_thousand_of_a_kind_are_kept_and_all_are_counted():
    found, _ = look(rows(*["nobody"] * 1500))
    assert len(found.problems) == 1000
    assert found.counts == (("error", "address", 1500),)
    assert (found.rows, found.invalid) == (1500, 1500)


def test_a_list_without_rows_is_refused():
    with pytest.raises(ListError, match=r"people\.csv has no rows"):
        look([])


ADDRESSES = st.lists(st.integers(0, 99), min_size=1, max_size=8, unique=True)


@given(ADDRESSES, ADDRESSES)
def test_the_fingerprint_stands_for_these_letters_to_these_people(one, other):
    first, _ = look(rows(*(f"p{n}@x.example" for n in one)))
    second, _ = look(rows(*(f"p{n}@x.example" for n in other)))
    assert (first.fingerprint == second.fingerprint) == (one == other)


def test_what_is_remarked_on_an_empty_row_is_told():
    remark = Problem("warning", "formula", "A3 shows #N/A; it is taken as empty", row=3)
    empty = Recipient(3, {"email": ""}, "", problems=(remark,))
    found, register = look([*rows("a@x.example"), empty])
    assert found.problems == (remark,)
    assert register.rows[3][2:] == (State.SKIPPED, "empty row")


def test_a_cell_that_may_be_why_a_row_is_left_out_is_told():
    told = (
        Problem("warning", "formula", "B3 shows #N/A; it is taken as empty", row=3),
        Problem("warning", "cells", "the row has 1 cells, the header has 2", row=3),
    )
    other = Problem("warning", "blanks", "name has blanks at its edge", row=3)
    unchosen = Recipient(3, {"email": "b@x.example"}, "b@x.example", problems=(*told, other))
    found, register = look(
        [*rows("a@x.example"), unchosen], left_out=lambda row: "not chosen by where" if row.row == 3 else ""
    )
    assert found.problems == told
    assert register.rows[3][2:] == (State.SKIPPED, "not chosen by where")
