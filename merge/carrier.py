"""What is a way out? The contract, and what carriers have in common that take one delivery at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from merge.errors import CarrierError, MergeError
from merge.model import Delivery, Outcome, State
from merge.words import plain

_REPLY_CAP = 499

Veto = Callable[[Delivery], str]
"""Says why a delivery must not go after all, as of this moment; empty where it may."""


def nothing_against(_: Delivery) -> str:
    """Object to nothing."""
    return ""


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
    4. A carrier that may hold a delivery for long before it says anything of it takes a `Veto` when it is
       made, asks it just before it names the recipients to anybody, and brings a delivery that must not
       go home as SKIPPED, with the reason as its reply.
    5. Outcomes known before an error are handed over first, the error at the next `collect`.
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


class Undone(CarrierError):  # noqa: N818 - what became of the delivery
    """The way out is closed, and the delivery in hand was certainly not accepted."""


class OneByOne:
    """What the ways out have in common that take one delivery at a time and see at once what came of it.

    `_hand_over` calls `_commit` before whatever may count as acceptance. Until then an error leaves the
    delivery to `recall`; afterwards it makes it UNCERTAIN, unless it is Undone.
    """

    stage = "end of data"
    """What an Outcome calls the moment of acceptance."""

    def __init__(self, before_commit: BeforeCommit | None = None) -> None:
        self._before_commit = before_commit
        self._offered: Delivery | None = None
        self._committed = False
        self._known: Outcome | None = None
        self._closed: MergeError | None = None

    @property
    def room(self) -> int:
        """One delivery at a time; none once the way out is closed."""
        return 0 if self._offered or self._known or self._closed else 1

    def offer(self, delivery: Delivery) -> None:
        """Take a delivery."""
        self._offered = delivery

    def collect(self, patience: float) -> Sequence[Outcome]:
        """Hand over what was offered, and say what came of it; with nothing to do, return at once.

        Raises CarrierError when the way out is closed, and whatever `before_commit` raised.
        """
        if self._known is None:
            if self._closed is not None:
                raise self._closed
            if self._offered is None:
                return ()
            self._try(self._offered)
        known, self._known = self._known, None
        return (known,) if known else ()

    def recall(self) -> Sequence[Delivery]:
        """Give back what was not handed over."""
        back, self._offered = self._offered, None
        return (back,) if back else ()

    def close(self) -> None:
        """Nothing to take leave of."""

    def _try(self, delivery: Delivery) -> None:
        self._committed = False
        try:
            self._known = self._hand_over(delivery)
        except Undone as error:
            self._closed = error
            raise
        except (CarrierError, OSError) as error:
            if isinstance(error, OSError):
                error = CarrierError(self._complaint(error))
            self._closed = error
            if not self._committed:
                raise error from None
            self._known = self._outcome(delivery, State.UNCERTAIN, error.message)
        except BaseException as error:
            if self._committed:
                self._known = self._outcome(delivery, State.UNCERTAIN, f"broken off: {type(error).__name__}")
                self._offered = None
            raise
        self._offered = None

    def _commit(self, delivery: Delivery) -> None:
        """Say that the next step may count as acceptance. Raises what `before_commit` raises."""
        if self._before_commit:
            self._before_commit(delivery)
        self._committed = True

    def _hand_over(self, delivery: Delivery) -> Outcome:
        """Do it. Raises CarrierError or OSError when nothing can be handed over any more."""
        raise NotImplementedError

    def _complaint(self, error: OSError) -> str:
        """Say in words what the system has refused."""
        return error.strerror or type(error).__name__

    def _outcome(self, delivery: Delivery, state: State, reply: str, code: int | None = None) -> Outcome:
        return Outcome(delivery.key, delivery.row, state, self.stage, code, reply=plain(reply, _REPLY_CAP))


def _accepted(delivery: Delivery) -> Outcome:
    return Outcome(delivery.key, delivery.row, State.SENT, "end of data", 250, "2.0.0", "accepted")
