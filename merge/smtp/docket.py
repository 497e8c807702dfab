"""Which deliveries are in the session's hands, and how far is each?

Each change of a case is a single assignment, so that an interrupt, wherever it strikes, leaves a true state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from merge.model import Delivery, Outcome, State
from merge.smtp.meaning import END_OF_DATA
from merge.smtp.reply import Reply, shorten


class Phase(Enum):
    """How far a delivery without an outcome has come."""

    OFFERED = "offered"  # nothing was said of it that still counts
    BEGUN = "begun"  # its envelope or body is on the line; when the line ends, it is as if offered
    DOUBTFUL = "doubtful"  # recorded as committing: only the server's answer can tell


OFFERED, BEGUN, DOUBTFUL = Phase
"""The same by names of their own."""


@dataclass(slots=True, eq=False)
class Case:
    """One delivery on its way to an outcome."""

    delivery: Delivery
    dotted: bool = True  # a line may begin with a dot
    phase: Phase = OFFERED
    outcome: Outcome | None = None


def outcome_of(delivery: Delivery, state: State, stage: str, reply: Reply, recipient: str = "") -> Outcome:
    """Return what a reply at that stage came to for a delivery."""
    enhanced, text = reply.words
    return Outcome(delivery.key, delivery.row, state, stage, reply.code, enhanced, text, recipient)


def _never(_: Delivery) -> str:
    return ""


class Docket:
    """The cases, in the order in which they were offered.

    `veto` says why a delivery must not go after all, as of now; empty where it may.
    """

    __slots__ = ("_cases", "veto")

    def __init__(self, veto: Callable[[Delivery], str] = _never) -> None:
        self._cases: list[Case] = []
        self.veto = veto

    def __len__(self) -> int:
        return len(self._cases)

    def add(self, delivery: Delivery, *, dotted: bool = True) -> None:
        """Take a delivery. `dotted`: a line of it may begin with a dot."""
        self._cases.append(Case(delivery, dotted))

    def next(self) -> Case | None:
        """Return the first case that nothing was said of."""
        for case in self._cases:
            if case.phase is OFFERED and case.outcome is None:
                return case
        return None

    def offered(self) -> list[Case]:
        """Return the cases that nothing was said of."""
        return [case for case in self._cases if case.phase is OFFERED and case.outcome is None]

    @property
    def doubtful(self) -> bool:
        """Whether a message may have been accepted without an answer yet."""
        for case in self._cases:  # noqa: SIM110 - asked often: a generator costs three times as much
            if case.phase is DOUBTFUL and case.outcome is None:
                return True
        return False

    @property
    def begun(self) -> bool:
        """Whether something was said of a case that has no outcome."""
        return any(case.phase is not OFFERED and case.outcome is None for case in self._cases)

    @property
    def pending(self) -> bool:
        """Whether any case lacks an outcome."""
        for case in self._cases:  # noqa: SIM110 - as above
            if case.outcome is None:
                return True
        return False

    @property
    def answered(self) -> bool:
        """Whether a case has an answer that nobody has collected yet; doubt is no answer."""
        return any(
            case.outcome is not None and case.outcome.state is not State.UNCERTAIN for case in self._cases
        )

    def settle(self, reason: str) -> None:
        """End the line's claims: what is doubtful is UNCERTAIN because of `reason`, the rest waits again."""
        for case in self._cases:
            if case.outcome is not None:
                continue
            if case.phase is DOUBTFUL:
                delivery = case.delivery
                case.outcome = Outcome(
                    delivery.key, delivery.row, State.UNCERTAIN, END_OF_DATA, reply=shorten(reason)
                )
            else:
                case.phase = OFFERED

    def known(self) -> Sequence[Outcome]:
        """Hand over the outcomes."""
        for case in self._cases:
            if case.outcome is not None:
                break
        else:
            return []
        outcomes = [case.outcome for case in self._cases if case.outcome is not None]
        self._cases = [case for case in self._cases if case.outcome is None]
        return outcomes

    def recall(self) -> Sequence[Delivery]:
        """Give back what cannot have been accepted."""
        back = [case.delivery for case in self._cases if case.outcome is None and case.phase is not DOUBTFUL]
        self._cases = [case for case in self._cases if case.outcome is not None or case.phase is DOUBTFUL]
        return back
