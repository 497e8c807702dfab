"""A small campaign, run by the real courier and journal over a way out that does as it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from merge.clock import TestClock
from merge.courier import Ending, run
from merge.journal import Journal, Listed
from merge.model import Delivery, Envelope, Outcome, State
from merge.pace import Pace
from merge.retry import Retry

DATE = datetime(2027, 1, 15, 8, tzinfo=UTC)

# What the way out does with a row: stage, state, code, and whether the server takes the message.
FATES = {
    "accepted": ("end of data", State.SENT, 250, True),
    "deferred": ("end of data", State.DEFERRED, 450, False),
    "failed": ("end of data", State.FAILED, 554, False),
    "greylisted": ("RCPT", State.DEFERRED, 450, False),
    "unknown": ("RCPT", State.FAILED, 550, False),
    "lost after": ("end of data", State.UNCERTAIN, None, True),
    "lost before": ("end of data", State.UNCERTAIN, None, False),
}


class Script:
    """A carrier that meets one fate a row, is accepted from then on, and tells `mark` what happens.

    `window` messages are in flight together, as when a session asks for several at a time.
    """

    def __init__(
        self,
        journal: Journal,
        fates: dict[str, str],
        mark: Callable[..., None] = lambda *_: None,
        window: int = 1,
    ) -> None:
        self.accepted: list[tuple[str, str]] = []
        self._journal = journal
        self._fates = dict(fates)
        self._mark = mark
        self._window = window
        self._offered: list[Delivery] = []

    @property
    def room(self) -> int:
        return self._window - len(self._offered)

    def offer(self, delivery: Delivery) -> None:
        self._offered.append(delivery)

    def collect(self, patience: float) -> Sequence[Outcome]:
        fates = [(delivery, *FATES[self._fate(delivery)]) for delivery in self._offered]
        ending = [delivery for delivery, stage, *_ in fates if stage == "end of data"]
        if self._window > 1:
            self._journal.committing_all(ending)
        elif ending:
            self._journal.committing(ending[0])
        for delivery in ending:
            self._mark("dot", delivery.key)
        outcomes = []
        for delivery, stage, state, code, taken in fates:
            if taken:
                self.accepted.append((delivery.message_id, delivery.key))
                self._mark("accepted", delivery.message_id, delivery.key)
            outcomes.append(Outcome(delivery.key, delivery.row, state, stage, code, "", "as told"))
        self._offered.clear()
        return outcomes

    def _fate(self, delivery: Delivery) -> str:
        return self._fates.pop(delivery.key, "accepted")

    def recall(self) -> Sequence[Delivery]:
        back, self._offered = self._offered, []
        return back

    def close(self) -> None:
        pass


def enrol(journal: Journal, keys: Sequence[str]) -> None:
    with journal.enrolment() as enrolment:
        for row, key in enumerate(keys, 2):
            enrolment.add(Listed(row, key, key, "digest"))
        enrolment.commit()


def deliveries(journal: Journal, keys: Sequence[str]) -> Any:
    for row, key in enumerate(keys, 2):
        standing = journal.standing(key)
        if standing and standing.state in (State.WAITING, State.DEFERRED):
            yield Delivery(
                key,
                row,
                Envelope("news@ada.example", (key,)),
                f"To: {key}\r\n\r\nHello\r\n".encode(),
                journal.message_id(key, "ada.example"),
                standing.date or DATE,
                standing.digest,
                standing.attempts,
                standing.due,
            )


def campaign(
    path: Path,
    keys: Sequence[str],
    fates: dict[str, str],
    *,
    mark: Callable[..., None] = lambda *_: None,
    uncertain: str | None = None,
    window: int = 1,
    calm: bool = True,
) -> tuple[Ending, Script]:
    """Run once over the list, as `mergepost send` does, and wait for greylisted rows.

    In a `calm` run nothing may stop it.
    """
    clock = TestClock()
    with Journal.open(path, edition="", clock=clock) as journal:
        mark("opened")
        enrol(journal, keys)
        if uncertain in ("again", "skip"):
            mark("settled", *(record.key for record in journal.uncertain()))
            journal.settle(uncertain)
        script = Script(journal, fates, mark, window=window)
        ending = run(
            deliveries(journal, keys),
            carrier=script,
            journal=journal,
            pace=Pace(per_minute=60),
            retry=Retry(),
            clock=clock,
            wait=3600.0,
        )
        assert not calm or ending.stopped is None
        mark("ended")
    return ending, script


def records(path: Path) -> list[Any]:
    view = Journal.look(path, edition="")
    if view is None:
        return []
    with view:
        return list(view.records())
