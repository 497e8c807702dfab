"""What goes to the tester, and to nobody else?"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from merge.carrier import Carrier
from merge.clock import Clock
from merge.errors import CarrierError, ContentError
from merge.journal import Register
from merge.journey import Parts, look_through
from merge.model import Delivery, Envelope, Letter, Mailbox, Outcome, Recipient, State
from merge.pace import Pace
from merge.turn import Turns
from merge.variants import Tally
from merge.words import moment

MOST: Final = 5
"""Letters in one rehearsal: one of each of the most frequent kinds."""

_PATIENCE = 5.0
_SLICE = 0.25
_SHORT_WAIT = 5.0
_LONGEST_WAIT = 900.0
"""For how many seconds a test stays while the pace lets nothing go, as a run does."""

_LEFT_OUT = frozenset({"cc", "list-unsubscribe", "list-unsubscribe-post", "disposition-notification-to"})
"""Headers that would reach, or act for, the people of the list."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a rehearsal came to: the letters, and for each that was answered its outcome.

    `kinds` counts all kinds of letter that the list makes, `fingerprint` stands for all its letters. `due` is
    the moment, in seconds since the epoch, before which the pace does not let the rest of them go.
    """

    address: str
    letters: tuple[Letter, ...]
    outcomes: tuple[Outcome, ...]
    kinds: int
    fingerprint: str
    due: float | None = None

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


class InTurn:
    """Lets each test letter wait for its place: the provider counts it with all the others.

    `tell` hears of a long wait. `due` is the moment, in seconds since the epoch, from which a letter could go
    that had to wait for too long; None where all had their turn.
    """

    def __init__(self, pace: Pace, turns: Turns, clock: Clock, tell: Callable[[str], None]) -> None:
        self._pace = pace
        self._turns = turns
        self._clock = clock
        self._tell = tell
        self.due: float | None = None

    def wait(self, key: str) -> bool:
        """Take a place as soon as there is one; False when that is too far away. Raises JournalError."""
        told = False
        while True:
            now = self._clock.monotonic()
            if self._turns.slot(now, 1) <= now and self._turns.claim(key, now, 1):
                return True
            ahead = self._pace.next(now, 1) - now
            if _LONGEST_WAIT < ahead < math.inf:
                self.due = self._clock.now() + ahead
                return False
            if not told and _SHORT_WAIT < ahead < math.inf:
                told = True
                until = moment(self._clock.now() + ahead, self._clock.now())
                self._tell(f"Waiting for the pace until {until}")
            self._clock.sleep(min(max(ahead, _SLICE), _SHORT_WAIT))

    def over(self, key: str, *, tried: bool) -> None:
        """Note that a letter is no longer on its way; one that was not `tried` counts for nothing."""
        if tried:
            self._pace.done(self._clock.monotonic(), 1)
            self._turns.over(key)
        else:
            self._turns.give_back(key, 1)


def rehearse(deliveries: Iterable[Delivery], carrier: OnlyTo, turns: InTurn) -> tuple[Outcome, ...]:
    """Send them, one after the other, and return what became of them; nothing is tried twice.

    Ends early where a letter would have to wait for too long. Raises CarrierError when the way out is closed.
    """
    outcomes: list[Outcome] = []
    try:
        for delivery in deliveries:
            if not turns.wait(delivery.key):
                break
            outcomes += _carried(delivery, carrier, turns)
    finally:
        carrier.close()
    return tuple(outcomes)


def _carried(delivery: Delivery, carrier: OnlyTo, turns: InTurn) -> Sequence[Outcome]:
    """Send one letter that has a place, and give the place back if nothing came of it."""
    taken = False
    try:
        carrier.offer(delivery)
        taken = True
        answers: Sequence[Outcome] = ()
        while not answers:
            answers = carrier.collect(_PATIENCE)
    except BaseException:
        turns.over(delivery.key, tried=taken and not carrier.recall())
        raise
    turns.over(delivery.key, tried=True)
    return answers
