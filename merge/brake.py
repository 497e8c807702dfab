"""Is something wrong with all of them? Reasons to stop a run that no single row explains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from merge.model import State

if TYPE_CHECKING:
    from merge.model import Outcome

_TURNED_DOWN = (State.FAILED, State.DEFERRED)


class Brake:
    """Watches outcomes go by and says when to stop.

    `streak` is the number of rows in a row that a server turns down alike at MAIL, DATA or the end of
    data: there it speaks of the sender or of the letter. At RCPT it speaks of one mailbox, and an old
    list has many, so those neither count nor interrupt a streak. `share`, between 0 and 1, is the part of
    all rows tried that may fail for good, judged once `at_least` rows were tried.
    """

    def __init__(self, streak: int = 5, share: float | None = None, at_least: int = 20) -> None:
        self._streak = streak
        self._share = share
        self._at_least = at_least
        self._alike: tuple[int | None, str] | None = None
        self._rows: list[int] = []
        self._tried = 0
        self._failed = 0

    def see(self, outcome: Outcome) -> str | None:
        """Take in one outcome; return why the run should stop, or None."""
        self._tried += 1
        self._failed += outcome.state is State.FAILED
        return self._in_a_row(outcome) or self._too_many()

    def _in_a_row(self, outcome: Outcome) -> str | None:
        if outcome.stage == "RCPT":
            return None
        if outcome.state not in _TURNED_DOWN:
            self._rows = []
            return None
        alike = (outcome.code, outcome.enhanced)
        if alike != self._alike:
            self._alike, self._rows = alike, []
        self._rows.append(outcome.row)
        if len(self._rows) < self._streak:
            return None
        rows = ", ".join(map(str, self._rows))
        words = " ".join(filter(None, (str(outcome.code or ""), outcome.enhanced, outcome.reply)))
        return f"{len(self._rows)} rows in a row ({rows}) were turned down alike at {outcome.stage}: {words}"

    def _too_many(self) -> str | None:
        if self._share is None or self._tried < self._at_least or self._failed < self._share * self._tried:
            return None
        return f"{self._failed} of {self._tried} rows failed for good, which is {self._share:.0%} or more"
