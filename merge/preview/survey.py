"""What becomes of all the rows? The check and the kinds of letter, found while the person looks already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from merge.check import Findings
from merge.errors import ContentError, Problem
from merge.journal import Holder, Listed
from merge.journey import look_through
from merge.model import State
from merge.preview.book import Book, Open
from merge.preview.sheet import described
from merge.variants import Extremes, Kind, Tally

SHOWN_PROBLEMS: Final = 50
"""Problems of list and letter as such that the page shows."""

_STEP = 250


class Superseded(Exception):  # noqa: N818 - not an error: the files changed, and a newer survey has begun
    """Nobody waits for this survey any more."""


@dataclass(slots=True)
class Survey:
    """What is known so far; it grows while `run` works, and is read from other threads meanwhile.

    `kind_of` holds for each place of the list the number of its kind, -1 for a row without a letter.
    `states` holds the rows that are not simply to be sent, with the reason. `problems` are those of rows.
    """

    total: int
    done: int = 0
    kinds: tuple[Kind, ...] = ()
    kind_of: list[int] = field(default_factory=list)
    extremes: Extremes = field(default_factory=Extremes)
    findings: Findings | None = None
    states: dict[int, tuple[State, str]] = field(default_factory=dict)
    problems: dict[int, list[Problem]] = field(default_factory=dict)
    failed: str = ""

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        return self.findings is not None or bool(self.failed)

    def run(self, book: Book, open_campaign: Open, told: Callable[[], None]) -> None:
        """Find the kinds, then check every row. `told` is called when there is something new to show.

        It may raise Superseded, which ends the survey. The campaign is opened once more, so that letters
        can be made for the page at the same time.
        """
        try:
            self.look(book, open_campaign, told)
        except ContentError as error:
            self.failed = error.message
            told()

    def look(self, book: Book, open_campaign: Open, told: Callable[[], None] = lambda: None) -> Findings:
        """Do the same, return what the check found, and raise ContentError where there is none."""
        tally = book.tally()
        numbers = []
        for place, recipient in enumerate(book.people):
            numbers.append(-1 if book.set_aside(recipient) else tally.add(recipient))
            if place % _STEP == 0:
                told()
        self._sort(book, tally, numbers, {})
        told()
        parts = open_campaign().parts
        notes = _Notes(self, told)
        findings = look_through(parts, notes)
        self.done = self.total
        self.states = notes.states
        for problem in findings.problems:
            if problem.row is not None:
                self.problems.setdefault(problem.row, []).append(problem)
        self._sort(book, tally, numbers, notes.states)
        self.findings = findings
        told()
        return findings

    def _sort(self, book: Book, tally: Tally, numbers: Sequence[int], left_out: Mapping[int, object]) -> None:
        order = tally.order(left_out)
        self.kind_of = [
            -1 if person.row in left_out else order.get(number, -1)
            for person, number in zip(book.people, numbers, strict=True)
        ]
        self.kinds, self.extremes = tally.kinds(left_out), tally.extremes(left_out)

    def overview(self) -> dict[str, Any]:
        """Return the sums for the page."""
        counts: dict[str, int] = {}
        for state, _ in self.states.values():
            counts[state.value] = counts.get(state.value, 0) + 1
        found = self.findings
        extremes = {"longest": self.extremes.longest, "emptiest": self.extremes.emptiest}
        return {
            "done": self.done,
            "finished": self.finished,
            "failed": self.failed,
            "counts": counts,
            "ready": self.total - sum(counts.values()) if found else None,
            "fingerprint": found.fingerprint if found and not found.refuses_letter else "",
            "errors": found.errors if found else 0,
            "warnings": found.warnings if found else 0,
            "size": found.size if found else 0,
            "kinds": [
                {"rows": kind.rows, "example": kind.example, "words": list(kind.words)} for kind in self.kinds
            ],
            "extremes": {name: row for name, row in extremes.items() if row is not None},
        }

    def marks(self) -> dict[str, Any]:
        """Return what the page shows beside the rows: kinds by place, states and worst problems by row."""
        worst: Mapping[int, str] = {
            row: "error" if any(problem.severity == "error" for problem in problems) else "warning"
            for row, problems in self.problems.items()
        }
        return {
            "kinds": self.kind_of,
            "states": {row: [state.value, reason] for row, (state, reason) in self.states.items()},
            "problems": worst,
        }

    def about(self, row: int) -> dict[str, Any]:
        """Return what the check says of one row."""
        state, reason = self.states.get(row, ("", ""))
        return {
            "state": str(state),
            "reason": reason,
            "problems": [described(problem) for problem in self.problems.get(row, ())],
        }


class _Notes:
    """The register of a check that leaves no trace: it keeps in memory what the page shows."""

    def __init__(self, survey: Survey, told: Callable[[], None]) -> None:
        self.states: dict[int, tuple[State, str]] = {}
        self._survey = survey
        self._told = told
        self._holders: dict[str, Holder] = {}

    def seen(self, key: str) -> Holder | None:
        """Return the row that stands for this key."""
        return self._holders.get(key)

    def add(self, line: Listed) -> State:
        """Note a row; nothing has happened to it before."""
        if line.state is not State.WAITING:
            self.states[line.row] = (line.state, line.reason)
        if not line.duplicate:
            self._holders[line.key] = Holder(line.row, line.state is State.SKIPPED)
        self._survey.done += 1
        if self._survey.done % _STEP == 0:
            self._told()
        return line.state
