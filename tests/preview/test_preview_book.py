"""Letters may be asked for from any thread, and while the check runs: each is its own row's."""

from __future__ import annotations

import dataclasses
import sys
import threading

import pytest
from preview_kit import campaign, many

from merge.campaign import Campaign
from merge.preview.book import Book
from merge.preview.survey import Survey

ROWS = 400


@pytest.fixture
def opened(tmp_path):
    """A campaign, opened anew each time, in a Python that switches threads all the time."""
    folder = campaign(tmp_path / "c", people=many(ROWS))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield lambda: Campaign.load(folder)
    sys.setswitchinterval(interval)


def wrong(book):
    return [
        person.row
        for person in book.people
        if dict(book.letter(person).headers)["Subject"] != f"Spring news for Person {person.row - 2}"
    ]


def test_letters_made_in_many_threads_are_never_mixed_up(opened):
    book = Book(opened)
    found = []
    threads = [threading.Thread(target=lambda: found.append(wrong(book))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[], [], [], []]


def test_letters_made_during_the_check_are_never_mixed_up(opened):
    book = Book(opened)
    quiet = Survey(ROWS).look(book, opened).fingerprint
    fingerprints = []
    checking = threading.Thread(
        target=lambda: fingerprints.extend(Survey(ROWS).look(book, opened).fingerprint for _ in range(6))
    )
    checking.start()
    found = []
    while checking.is_alive():
        found += wrong(book)
    checking.join()
    assert found == []
    assert fingerprints == [quiet] * 6


def test_a_list_that_stayed_the_same_is_not_read_again(opened):
    first = Book(opened)
    assert Book(opened, first).people is first.people


def test_names_are_found_in_the_columns_that_hold_them(tmp_path):
    for header, cells, name in (
        ("email,Vorname,Nachname", "a@b.example,Ada,Love", "Ada Love"),
        ("email,Full Name", "a@b.example,Ada Love", "Ada Love"),
        ("email,name,first_name", "a@b.example,x,Ada", "Ada"),
        ("email,plan", "a@b.example,pro", ""),
    ):
        folder = campaign(tmp_path / header.replace(",", "-"), "Subject: x\n\ny\n", f"{header}\n{cells}\n")
        book = Book(lambda folder=folder: Campaign.load(folder))
        assert book.label(book.people[0]) == name


def test_search_wants_every_word_in_any_cell(tmp_path):
    book = Book(lambda: Campaign.load(campaign(tmp_path / "c")))
    assert book.search("EXAMPLE paris") == [1]
    assert book.search("köln") == [2]
    assert book.search("nobody") == []
    assert len(book.search("")) == 5


def test_the_first_rows_are_there_before_the_list_is_read_to_its_end(opened):
    class EndError(Exception):
        """The end of the list was asked for."""

    loaded = opened()

    def rows():
        for number, recipient in enumerate(loaded.parts.table, 1):
            if number == 9:
                raise EndError
            yield recipient

    vars(loaded)["parts"] = dataclasses.replace(loaded.parts, rows=rows())
    book = Book(lambda: loaded, first=8)
    assert not book.complete
    assert [person.row for person in book.people] == list(range(2, 10))
    assert dict(book.letter(book.people[7]).headers)["Subject"] == "Spring news for Person 7"
    with pytest.raises(EndError):
        book.read_on()


def test_a_book_that_is_read_on_holds_every_row_once(opened):
    book = Book(opened, first=7)
    assert len(book.rows["rows"]) == 7
    assert book.search("p300@example.org") == []
    whole = book.read_on()
    assert whole.complete
    assert [person.row for person in whole.people] == list(range(2, ROWS + 2))
    assert whole.rows["to"][300] == "p300@example.org"
    assert whole.search("p300@example.org") == [300]
    assert whole.person(ROWS + 1) is whole.people[-1]
    assert Book(opened, whole).people is whole.people


@pytest.mark.parametrize("rows", [6, 7, 8])
def test_a_list_as_long_as_what_is_shown_first_is_whole_in_the_end(tmp_path, rows):
    folder = campaign(tmp_path / "c", people=many(rows))
    book = Book(lambda: Campaign.load(folder), first=7)
    whole = book if book.complete else book.read_on()
    assert whole.complete
    assert len(whole.people) == rows
