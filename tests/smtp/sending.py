"""A courier as small as one can be, for tests of the session."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from peers import LOOPBACK, Server, Told

from merge.errors import MergeError
from merge.model import Delivery, Outcome
from merge.smtp.session import Account, Session
from merge.smtp.steps import Deadlines

QUICK = Deadlines(
    connect=2.0,
    handshake=2.0,
    block=0.4,
    opening=0.8,
    replies={
        **dict.fromkeys(("AUTH", "MAIL", "RCPT", "DATA", "body", "RSET", "NOOP"), 3.0),
        "end of data": 0.8,
        "QUIT": 0.3,
        "the conversation so far": 0.3,
    },
)
"""Short where silence is what a test is about, long enough elsewhere for a busy machine."""


@dataclass
class Sent:
    """What a run came to: states by row, and all that happened beside."""

    outcomes: list[Outcome] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    committed: list[int] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    error: MergeError | None = None

    @property
    def states(self) -> dict[int, str]:
        states = {outcome.row: str(outcome.state) for outcome in self.outcomes}
        assert len(states) == len(self.outcomes), "a row came back twice"
        for row in self.waiting:
            assert row not in states, "a row came back twice"
            states[row] = "waiting"
        return dict(sorted(states.items()))

    def outcome(self, row: int) -> Outcome:
        return next(outcome for outcome in self.outcomes if outcome.row == row)

    @property
    def stop(self) -> str:
        assert self.error is not None, "the run did not stop"
        return f"{self.error.message} | {self.error.hint}"


def account(server: Server | int, **wishes: object) -> Account:
    port = server if isinstance(server, int) else server.port
    settings: dict = {"security": "none", "ehlo_name": "ada.example", **wishes}
    return Account(settings.pop("host", LOOPBACK), port, **settings)


def send(
    deliveries: Iterable[Delivery],
    to: Account,
    *,
    clock: Told | None = None,
    before_commit: Callable[[Delivery], None] | None = None,
    deadlines: Deadlines = QUICK,
    rounds: int = 400,
    session: Session | None = None,
) -> Sent:
    """Send all of it, as far as that goes; each row comes home in exactly one way."""
    sent, clock = Sent(), clock or Told()
    todo = list(deliveries)
    rows = [delivery.row for delivery in todo]

    def hook(delivery: Delivery) -> None:
        sent.committed.append(delivery.row)
        if before_commit:
            before_commit(delivery)

    session = session or Session(
        to, clock=clock, before_commit=hook, tell=sent.told.append, deadlines=deadlines
    )
    try:
        while len(sent.outcomes) < len(rows) and not clock.interrupted and (rounds := rounds - 1):
            while session.room and todo:
                session.offer(todo.pop(0))
            sent.outcomes += session.collect(0.02)
    except MergeError as error:
        sent.error = error
    sent.waiting = [delivery.row for delivery in (*session.recall(), *todo)]
    while len(sent.outcomes) + len(sent.waiting) < len(rows) and (rounds := rounds - 1):
        sent.outcomes += session.collect(0.02)
    session.close()
    sent.slept = clock.slept
    assert sorted(sent.states) == sorted(rows), "a row is lost"
    for outcome in sent.outcomes:
        if outcome.state in {"sent", "uncertain"}:
            assert outcome.row in sent.committed, "accepted without being on record"
    return sent
