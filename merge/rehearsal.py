"""What goes to the tester, and to nobody else?"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from merge.carrier import Carrier
from merge.check import Register
from merge.errors import CarrierError, ContentError
from merge.journey import Parts, look_through
from merge.model import Delivery, Envelope, Letter, Mailbox, Outcome, Recipient, State
from merge.variants import Tally

MOST: Final = 5
"""Letters in one rehearsal: one of each of the most frequent kinds."""

_PATIENCE = 5.0
_LEFT_OUT = frozenset({"cc", "list-unsubscribe", "list-unsubscribe-post", "disposition-notification-to"})
"""Headers that would reach, or act for, the people of the list."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a rehearsal came to: the letters, and for each that was answered its outcome.

    `kinds` counts all kinds of letter that the list makes, `fingerprint` stands for all its letters.
    """

    address: str
    letters: tuple[Letter, ...]
    outcomes: tuple[Outcome, ...]
    kinds: int
    fingerprint: str

    @property
    def exit_code(self) -> int:
        """0 when every letter was accepted, else 3."""
        sent = sum(outcome.state is State.SENT for outcome in self.outcomes)
        return 0 if sent == len(self.letters) else 3


@dataclass(frozen=True, slots=True)
class Chosen:
    """The letters for a tester, and of how many kinds; the fingerprint is that of all letters of the list."""

    letters: tuple[Letter, ...]
    kinds: int
    fingerprint: str


class OnlyTo:
    """A way out that leads to one address. Any other envelope is refused before anything is done with it."""

    def __init__(self, address: str, carrier: Carrier) -> None:
        self._address = address
        self._carrier = carrier

    @property
    def room(self) -> int:
        """How many more deliveries may be offered now."""
        return self._carrier.room

    def offer(self, delivery: Delivery) -> None:
        """Take a delivery. Raises CarrierError unless its one recipient is the address."""
        if delivery.envelope.recipients != (self._address,):
            raise CarrierError(f"this way out leads to {self._address} alone; nothing was sent")
        self._carrier.offer(delivery)

    def collect(self, patience: float) -> Sequence[Outcome]:
        """Work until an outcome is known."""
        return self._carrier.collect(patience)

    def recall(self) -> Sequence[Delivery]:
        """Give back what is not past its commit point."""
        return self._carrier.recall()

    def close(self) -> None:
        """Take leave."""
        self._carrier.close()


def letters_for(address: str, parts: Parts, register: Register, *, date: datetime) -> Chosen:
    """Choose one letter of each kind, at most MOST, addressed to the tester.

    The whole list is checked, and what keeps a row from being sent keeps it out here, too. `register` notes
    the rows of that check. Raises ContentError when there is no row whose letter can be made.
    """
    tally = Tally(parts.branches())
    found: dict[int, Letter] = {}

    def take(recipient: Recipient) -> None:
        kind = tally.add(recipient)
        if kind not in found:
            mark = f"<test.{secrets.token_hex(12)}@{parts.composer.domain or 'localhost'}>"
            found[kind] = parts.composer.compose(
                recipient, key=f"{recipient.row}", message_id=mark, date=date
            )

    findings = look_through(parts, register, told=take)
    if not found:
        errors = [problem for problem in findings.problems if problem.severity == "error"]
        raise ContentError(
            f"no row of {parts.list_name} gets a letter, so there is none to try",
            hint="mend the list or the letter, and try again",
            problems=errors,
        )
    places = tally.order()
    chosen = sorted(found, key=lambda kind: places.get(kind, len(places)))[:MOST]
    marked = [for_tester(found[kind], address, number, len(chosen)) for number, kind in enumerate(chosen, 1)]
    return Chosen(tuple(marked), len(places), findings.fingerprint)


def for_tester(letter: Letter, address: str, number: int, total: int) -> Letter:
    """Return a letter as the tester gets it: to no one else, and marked in its subject.

    Cc, Bcc and the unsubscribe headers are left out: an answer, or a click on them, must not reach or act
    for a person of the list.
    """
    headers = []
    for name, value in letter.headers:
        if name.lower() == "subject":
            headers.append((name, f"[Test {number} of {total}] {value}"))
        elif name.lower() == "to":
            headers.append((name, address))
        elif name.lower() not in _LEFT_OUT:
            headers.append((name, value))
    mailboxes = {name: boxes for name, boxes in letter.mailboxes.items() if name not in _LEFT_OUT}
    return replace(
        letter,
        envelope=Envelope(letter.envelope.sender, (address,)),
        headers=tuple(headers),
        mailboxes={**mailboxes, "to": (Mailbox("", address),)},
        digest=hashlib.sha256(f"{letter.digest}\0{address}\0{number}".encode()).hexdigest(),
    )


def rehearse(deliveries: Iterable[Delivery], carrier: OnlyTo) -> tuple[Outcome, ...]:
    """Send them, one after the other, and return what became of them; nothing is tried twice.

    Raises CarrierError when the way out is closed.
    """
    outcomes: list[Outcome] = []
    offered = 0
    try:
        for delivery in deliveries:
            while not carrier.room:
                outcomes += carrier.collect(_PATIENCE)
            carrier.offer(delivery)
            offered += 1
        while len(outcomes) < offered:
            outcomes += carrier.collect(_PATIENCE)
    finally:
        carrier.close()
    return tuple(outcomes)
