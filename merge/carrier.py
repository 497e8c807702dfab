"""What is a way out? The contract, and two carriers that need no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from merge.disk import eml_name, write_whole
from merge.model import Delivery, Outcome, State

BeforeCommit = Callable[[Delivery], None]
"""Called just before the write after which a message may count as accepted. If it raises, that write
is never made and the error goes up to whoever called `collect`."""


class Carrier(Protocol):
    """A way out for deliveries.

    The rules, for whoever writes one and whoever drives one:

    1. Every delivery that was offered comes back exactly once: as an Outcome from `collect`, or
       unchanged from `recall`. After an error was raised, `recall` still gives back the rest.
    2. `before_commit` (given when the carrier is made) has returned before any byte is written after
       which the message may have been accepted. From then on, only a complete and well-formed answer
       makes an outcome SENT, FAILED or DEFERRED; anything else is UNCERTAIN.
    3. What happens to the way out itself (a lost connection, a login) is never a row's fault: the
       carrier mends it, or raises CarrierError when nothing can be sent any more.
    4. Outcomes known before an error are handed over first, the error at the next `collect`.
    """

    @property
    def room(self) -> int:
        """How many more deliveries may be offered now; 0 means: collect first."""

    def offer(self, delivery: Delivery) -> None:
        """Take a delivery. Does no I/O."""

    def collect(self, patience: float) -> Sequence[Outcome]:
        """Work until an outcome is known; with nothing to do, wait `patience` seconds at most.

        Raises CarrierError when the way out is closed, and whatever `before_commit` raised.
        """

    def recall(self) -> Sequence[Delivery]:
        """Give back, without I/O, what was offered and is not past its commit point."""

    def close(self) -> None:
        """Take leave politely, at most for a few seconds. Changes no row, raises nothing."""


class Memory:
    """Keeps what it is given: for tests, and for trying out a campaign in Python.

    `answer` decides each outcome; without it everything is accepted.
    """

    def __init__(
        self,
        before_commit: BeforeCommit | None = None,
        answer: Callable[[Delivery], Outcome] | None = None,
    ) -> None:
        self.accepted: list[Delivery] = []
        self._before_commit = before_commit
        self._answer = answer or _accepted
        self._offered: list[Delivery] = []

    @property
    def room(self) -> int:
        """One delivery at a time."""
        return 1 - len(self._offered)

    def offer(self, delivery: Delivery) -> None:
        """Take a delivery."""
        self._offered.append(delivery)

    def collect(self, patience: float) -> Sequence[Outcome]:
        """Answer what was offered; never waits."""
        outcomes = []
        while self._offered:
            delivery = self._offered[0]
            outcome = self._answer(delivery)
            if outcome.stage == "end of data" and self._before_commit:
                self._before_commit(delivery)
            del self._offered[0]
            if outcome.state is State.SENT:
                self.accepted.append(delivery)
            outcomes.append(outcome)
        return outcomes

    def recall(self) -> Sequence[Delivery]:
        """Give back what was not answered yet."""
        back, self._offered = self._offered, []
        return back

    def close(self) -> None:
        """Nothing to take leave of."""


class Folder(Memory):
    """Writes each message as one .eml file, whole or not at all, named by row and address."""

    def __init__(self, folder: Path, before_commit: BeforeCommit | None = None) -> None:
        super().__init__(before_commit, self._write)
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def _write(self, delivery: Delivery) -> Outcome:
        path = self._folder / eml_name(delivery.row, delivery.envelope.recipients[0])
        write_whole(path, delivery.content)
        return _accepted(delivery)


def _accepted(delivery: Delivery) -> Outcome:
    return Outcome(delivery.key, delivery.row, State.SENT, "end of data", 250, "2.0.0", "accepted")
