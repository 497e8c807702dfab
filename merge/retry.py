"""Again, and when? A decision, not a deed.

The schedule is that of greylisting servers and of RFC 5321, 4.5.4.1: a first try soon, later ones
further apart.
"""

from __future__ import annotations

from dataclasses import dataclass

_STEPS = (1, 3, 6, 12, 24)
"""How long each wait is, in lengths of the first: 5 and 15 minutes, half an hour, one hour, two."""


@dataclass(frozen=True, slots=True)
class Again:
    """Try once more, at this moment in seconds since the epoch."""

    at: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Try no more; `reason` is for the person."""

    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a deferred row is tried, and when: `attempts` in all, the first again after `first` seconds.

    A row whose first attempt is more than `max_age` seconds ago is given up after its next one.
    """

    attempts: int = 5
    first: float = 300.0
    max_age: float = 5 * 86400.0

    @property
    def longest(self) -> float:
        """The longest wait between two attempts, in seconds."""
        return self.first * _STEPS[-1]

    def decide(self, attempts: int, first_attempt: float, now: float) -> Again | GiveUp:
        """Decide about a row just deferred: `attempts` made so far, the first at `first_attempt`.

        Moments are in seconds since the epoch.
        """
        if attempts >= self.attempts:
            return GiveUp(f"given up after {attempts} attempts")
        if attempts > 1 and now - first_attempt > self.max_age:
            hours = (now - first_attempt) / 3600
            ago = f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.1f} hours"  # noqa: PLR2004 - two days
            return GiveUp(f"given up: first tried {ago} ago")
        return Again(now + self.first * _STEPS[min(max(attempts, 1), len(_STEPS)) - 1])
