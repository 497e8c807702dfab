"""A campaign in memory for the courier's tests: a journal on disk, a carrier that answers as told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from merge.clock import TestClock
from merge.courier import Ending, run
from merge.journal import Journal, Listed
from merge.model import Delivery, Envelope, Outcome, State
from merge.pace import Pace
from merge.retry import Retry

CODES = {State.SENT: 250, State.FAILED: 554, State.DEFERRED: 451, State.UNCERTAIN: None, State.SKIPPED: None}
Answer = Callable[[Delivery], tuple[State, str]]


def accept(_: Delivery) -> tuple[State, str]:
    return State.SENT, "end of data"


@dataclass
class Line:
    """A way out with some room, on which each message takes some time; `answer` says what comes of it."""

    journal: Journal
    clock: TestClock
    answer: Answer = accept
    takes: float = 0.0
    size: int = 1
    accepted: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    patience: list[float] = field(default_factory=list)
    offered: list[Delivery] = field(default_factory=list)
    most: int = 0
    error: Exception | None = None
    before: Callable[[Delivery], None] | None = None

    @property
    def room(self) -> int:
        return self.size - len(self.offered)

    def offer(self, delivery: Delivery) -> None:
        assert self.room > 0
        self.offered.append(delivery)
        self.most = max(self.most, len(self.offered))
        self.log.append(("offer", delivery.key))

    def collect(self, patience: float) -> Sequence[Outcome]:
        self.patience.append(patience)
        if self.error:
            error, self.error = self.error, None
            raise error
        if not self.offered:
            return []
        delivery = self.offered[0]
        if self.before:
            self.before(delivery)
        state, stage = self.answer(delivery)
        if stage == "end of data":
            self.journal.committing(delivery)
        self.clock.sleep(self.takes)
        if state is State.SENT:
            self.accepted.append(delivery.key)
            self.times.append(self.clock.monotonic())
        del self.offered[0]
        self.log.append((str(state), delivery.key))
        return [Outcome(delivery.key, delivery.row, state, stage, CODES[state], "", "as told")]

    def recall(self) -> Sequence[Delivery]:
        back, self.offered = self.offered, []
        self.log += [("recall", delivery.key) for delivery in back]
        return back

    def close(self) -> None:
        self.log.append(("close", ""))


@dataclass
class Onlooker:
    """Writes down what it is told; `yes` is what it says after the first few rows."""

    yes: bool = True
    heard: list[tuple[str, Any]] = field(default_factory=list)

    def outcome(self, outcome: Outcome, attempts: int, due: float | None) -> None:
        self.heard.append((str(outcome.state), outcome.key))

    def waiting(self, until: float, why: Literal["pace", "retry"]) -> None:
        self.heard.append((f"waiting for {why}", until))

    def go_on(self, tally: Mapping[State, int]) -> bool:
        self.heard.append(("go on?", dict(tally)))
        return self.yes


class Sending:
    """A list of rows and everything that a run of them needs; `reading` logs which row is read when."""

    def __init__(self, path: Path, rows: int, *, clock: TestClock | None = None, size: int = 100) -> None:
        self.clock = clock or TestClock()
        self.path = path
        self.journal = Journal.open(path, edition="1", clock=self.clock)
        self.keys = [f"k{number}" for number in range(rows)]
        self.size = size
        self.read: list[str] = []
        with self.journal.enrolment() as enrolment:
            for row, key in enumerate(self.keys, 2):
                enrolment.add(Listed(row, key, f"{key}@x.example", "d"))
            enrolment.commit()
        self.line = Line(self.journal, self.clock)
        self.watch = Onlooker()

    def deliveries(self) -> Iterator[Delivery]:
        for row, key in enumerate(self.keys, 2):
            standing = self.journal.standing(key)
            assert standing
            if standing.state in (State.WAITING, State.DEFERRED):
                self.read.append(key)
                yield Delivery(
                    key,
                    row,
                    Envelope("news@ada.example", (f"{key}@x.example",)),
                    b"x" * self.size,
                    self.journal.message_id(key, "ada.example"),
                    datetime(2027, 1, 1, tzinfo=UTC),
                    "d",
                    standing.attempts,
                    standing.due,
                )

    def run(self, pace: Pace | None = None, **options: Any) -> Ending:
        given = {"retry": Retry(), "watch": self.watch, "deliveries": self.deliveries(), **options}
        return run(
            given.pop("deliveries"),
            carrier=self.line,
            journal=self.journal,
            pace=pace or Pace(),
            clock=self.clock,
            **given,
        )

    def states(self) -> list[State]:
        return [record.state for record in self.journal.records()]
