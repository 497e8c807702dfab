"""Who looks on while letters go out?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from merge.model import Outcome, State


class Watch(Protocol):
    """Whoever looks on while a run goes on. Moments are seconds since the epoch."""

    def outcome(self, outcome: Outcome, attempts: int, due: float | None) -> None:
        """Hear what an attempt came to, after it is on record; `due` is the next one's moment, if any."""

    def waiting(self, until: float, why: Literal["pace", "retry"]) -> None:
        """Hear that nothing goes out until a moment."""

    def go_on(self, tally: Mapping[State, int]) -> bool:
        """Decide, after the first few rows, whether the others may follow."""


class Unwatched:
    """Nobody looks on; after the first few rows the others follow."""

    def outcome(self, outcome: Outcome, attempts: int, due: float | None) -> None:
        """Ignore it."""

    def waiting(self, until: float, why: Literal["pace", "retry"]) -> None:
        """Ignore it."""

    def go_on(self, tally: Mapping[State, int]) -> bool:
        """Go on."""
        return True
