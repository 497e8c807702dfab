"""What do mailbox providers ask of a large sending?

Gmail, Yahoo and Outlook.com hold whoever sends much to rules of their own: SPF, DKIM and DMARC for the
domain of From, and a way to unsubscribe with one click (RFC 8058). What can be known of that without asking
anybody is judged here; `mergepost doctor` asks the name servers for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from merge.account import AccountSettings
from merge.account.providers import Provider, by_domain, domain_of
from merge.model import Letter
from merge.words import count

LARGE = 1_000
"""Letters from which on a sending is looked at in this way."""

BULK = 5_000
"""Letters in a day from which on Gmail and Outlook.com call somebody a bulk sender (Gmail: for ever)."""


@dataclass(frozen=True, slots=True)
class Mailing:
    """A sending, as far as it matters here: `signed` tells whether a DKIM key is known for it."""

    letters: int
    sender: str
    unsubscribe: bool
    one_click: bool
    signed: bool

    @classmethod
    def of(cls, letter: Letter, letters: int, *, signed: bool) -> Mailing:
        """Return what one letter tells of all of them."""
        names = {name.lower() for name, _ in letter.headers}
        return cls(
            letters,
            letter.mailboxes["from"][0].address,
            unsubscribe="list-unsubscribe" in names,
            one_click="list-unsubscribe-post" in names,
            signed=signed,
        )


def warnings(mailing: Mailing, way: AccountSettings) -> list[str]:
    """Return what is missing, in words for the plan; nothing for a sending that is small or stays here."""
    known = way.profile
    if mailing.letters < LARGE or way.path or (known and known.catches):
        return []
    return [*_leaving(mailing), *_from(mailing, way), *_signature(mailing, known), *_bulk(mailing)]


def _leaving(mailing: Mailing) -> Iterator[str]:
    number = count(mailing.letters, "letter")
    if not mailing.unsubscribe:
        yield f"{number} and no way to unsubscribe: give the letter a header Unsubscribe"
    elif not mailing.one_click:
        yield f"{number}, and no unsubscribing with one click: Unsubscribe needs an https link (RFC 8058)"


def _from(mailing: Mailing, way: AccountSettings) -> Iterator[str]:
    domain, known = domain_of(mailing.sender), way.profile
    owner = by_domain(mailing.sender)
    login = domain_of(way.user) if "@" in way.user else ""
    if owner and (known is None or owner.name not in (known.name, known.elsewhere)):
        yield f"From is an address of {owner.title}, but {way.host} sends: receivers refuse that as forged"
    elif not owner and login and login != domain:
        yield f"From is of {domain}, the account of {login}: receivers want both of one domain (DMARC)"


def _signature(mailing: Mailing, known: Provider | None) -> Iterator[str]:
    if not mailing.signed and known is None:
        yield "no DKIM key is known: unless the server signs, Gmail and Yahoo refuse many letters ([dkim])"


def _bulk(mailing: Mailing) -> Iterator[str]:
    if mailing.letters >= BULK:
        yield f"{BULK:,} a day make a bulk sender: see with mergepost doctor that SPF, DKIM and DMARC fit"
