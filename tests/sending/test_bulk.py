"""A large sending is told beforehand what mailbox providers will miss in it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from merge.account import AccountSettings
from merge.account.providers import providers
from merge.bulk import BULK, LARGE, Mailing, warnings
from merge.model import Envelope, Letter, Mailbox


def way(provider: str = "", user: str = "", **more) -> AccountSettings:
    known = providers()[provider] if provider else None
    return AccountSettings(
        "work", known.host if known else "mail.club.example", 587, "starttls", known, user=user, **more
    )


def mailing(letters: int = LARGE, sender: str = "news@club.example", **known) -> Mailing:
    given = {"unsubscribe": True, "one_click": True, "signed": True, **known}
    return Mailing(letters, sender, **given)


def test_a_sending_with_all_it_needs_is_not_remarked_upon():
    assert warnings(mailing(), way(user="news@club.example")) == []
    assert warnings(mailing(sender="ada@gmail.com", signed=False), way("gmail", "ada@gmail.com")) == []


@pytest.mark.parametrize(
    ("lacking", "server", "words"),
    [
        (mailing(unsubscribe=False, one_click=False), way(), "no way to unsubscribe"),
        (mailing(one_click=False), way(), "one click"),
        (mailing(signed=False), way(), "no DKIM key is known"),
        (mailing(sender="ada@gmail.com"), way(), "From is an address of Gmail"),
        (mailing(sender="ada@gmail.com"), way("ses"), "From is an address of Gmail"),
        (mailing(), way(user="ada@other.example"), "the account of other.example"),
        (mailing(BULK), way(), "bulk sender"),
    ],
)
def test_what_is_missing_is_said_from_a_thousand_letters_on(lacking, server, words):
    (said,) = warnings(lacking, server)
    assert words in said
    few = Mailing(LARGE - 1, lacking.sender, lacking.unsubscribe, lacking.one_click, lacking.signed)
    assert warnings(few, server) == []


def test_what_stays_here_is_not_remarked_upon():
    lacking = mailing(BULK, unsubscribe=False, one_click=False, signed=False)
    assert warnings(lacking, way(path="outbox")) == []
    assert warnings(lacking, way("mailpit")) == []


def test_a_letter_tells_how_to_leave():
    def letter(*headers: tuple[str, str]) -> Letter:
        people = {"from": (Mailbox("", "news@club.example"),)}
        when = datetime(2027, 1, 1, tzinfo=UTC)
        return Letter("k", 2, Envelope("a@b.example", ()), headers, people, "x", None, (), "", when, "")

    assert not Mailing.of(letter(), 5, signed=False).unsubscribe
    mailto = Mailing.of(letter(("List-Unsubscribe", "<mailto:x@y.example>")), 5, signed=True)
    assert (mailto.unsubscribe, mailto.one_click, mailto.signed) == (True, False, True)
    both = letter(
        ("List-Unsubscribe", "<https://y.example>"), ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
    )
    assert Mailing.of(both, 5, signed=False) == Mailing(5, "news@club.example", True, True, False)
