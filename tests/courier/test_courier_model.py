"""Whatever person, server and machine do, in whatever order, journal and courier keep the promise."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from courier_kit import CODES, Onlooker
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from merge.carrier import Memory
from merge.clock import TestClock
from merge.courier import run
from merge.errors import CarrierError
from merge.journal import Journal, Listed
from merge.model import Delivery, Envelope, Outcome, State
from merge.pace import Pace
from merge.retry import Retry

W, N, K = State.WAITING, State.INVALID, State.SKIPPED
D, F, S, U = State.DEFERRED, State.FAILED, State.SENT, State.UNCERTAIN
KEYS = "abcdefgh"
ATTEMPTS = 3
DATE = datetime(2027, 1, 1, tzinfo=UTC)

lists = st.fixed_dictionaries({key: st.sampled_from([W, W, W, W, N, K, None]) for key in KEYS})
fates = st.fixed_dictionaries(
    {
        key: st.sampled_from(["taken", "taken", "gray", "late", "gone", "spam", "lost", "lost but taken"])
        for key in KEYS
    }
)
FATES = {
    "taken": (S, "end of data"),
    "gray": (D, "RCPT"),
    "late": (D, "end of data"),
    "gone": (F, "RCPT"),
    "spam": (F, "end of data"),
    "lost": (U, "end of data"),
    "lost but taken": (U, "end of data"),
}


class Killed(BaseException):
    """The process ends here."""


class Campaign(RuleBasedStateMachine):
    """A campaign's life next to a model of it: a few dictionaries that a person can check by eye."""

    @initialize()
    def begin(self) -> None:
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
        self.clock = TestClock()
        self.accepted: Counter[str] = Counter()
        self.ids: dict[str, set[str]] = {}
        self.let_go: Counter[str] = Counter()
        self.listed: dict[str, State] = {}
        self.states: dict[str, State] = {}
        self.attempts: Counter[str] = Counter()
        self.settled: set[str] = set()
        self.put_off: set[str] = set()
        self.open()
        self.change(dict.fromkeys(KEYS, W))

    def open(self) -> None:
        self.journal = Journal.open(self.folder / "journal.db", edition="1", clock=self.clock)

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            shutil.rmtree(self.folder)

    @rule(rows=lists, order=st.permutations(KEYS))
    def change_the_list(self, rows: dict[str, State | None], order: list[str]) -> None:
        self.change({key: state for key in order if (state := rows[key])})

    def change(self, rows: dict[str, State]) -> None:
        """Enrol a list and have the model follow."""
        with self.journal.enrolment() as enrolment:
            for row, (key, state) in enumerate(rows.items(), 2):
                enrolment.add(Listed(row, key, f"{key}@x.example", "d", state=state))
            enrolment.commit()
        self.listed = rows
        for key, state in rows.items():
            was = self.states.get(key, W)
            if was not in (S, F, U):
                self.states[key] = D if state is W and key in self.put_off else state

    @rule(fate=fates)
    def send_in_peace(self, fate: dict[str, str]) -> None:
        self.send(fate, 0, "")

    @rule(fate=fates, step=st.integers(0, 3), end=st.sampled_from(["dot", "taken", "quit", "stop"]))
    def send_and_be_stopped(self, fate: dict[str, str], step: int, end: str) -> None:
        self.send(fate, step, end)

    def send(self, fate: dict[str, str], step: int, end: str) -> None:
        """Run the courier over the list, and end it at a step in some way."""
        self.clock.sleep(4 * 3600)
        steps = iter(range(len(KEYS)))

        def answer(delivery: Delivery) -> Outcome:
            return self.answer(delivery, fate[delivery.key], end if next(steps) == step else "")

        try:
            run(
                iter(self.due()),
                carrier=Memory(None, answer),
                journal=self.journal,
                pace=Pace(per_minute=100),
                retry=Retry(attempts=ATTEMPTS, max_age=1e12),
                clock=self.clock,
                wait=0,
                watch=Onlooker(),
            )
        except Killed:
            self.die()
        self.clock.interrupted = False

    def answer(self, delivery: Delivery, fate: str, end: str) -> Outcome:
        """Do as a server would, and have the model follow; `end` may end the run in the middle of it."""
        key = delivery.key
        state, stage = FATES[fate]
        if end == "stop":
            self.clock.interrupt()
        if end == "quit":
            raise CarrierError("the server stops the run")
        if stage == "end of data":
            self.journal.committing(delivery)
            if end == "dot":
                self.uncertain(key)
                raise Killed
        if fate in ("taken", "lost but taken"):
            self.accepted[key] += 1
            self.ids.setdefault(key, set()).add(delivery.message_id)
            if end == "taken":
                self.uncertain(key)
                raise Killed
        if state is U:
            self.uncertain(key)
        else:
            self.attempts[key] += 1
            self.states[key] = F if state is D and self.attempts[key] >= ATTEMPTS else state
            (self.put_off.add if self.states[key] is D else self.put_off.discard)(key)
        return Outcome(key, delivery.row, state, stage, CODES[state])

    def uncertain(self, key: str) -> None:
        self.attempts[key] += 1
        self.states[key] = U
        self.put_off.discard(key)
        self.settled.discard(key)

    def due(self) -> list[Delivery]:
        out = []
        for row, key in enumerate(self.listed, 2):
            standing = self.journal.standing(key)
            assert standing
            if standing.state in (W, D) and self.listed[key] is W:
                assert self.states[key] in (W, D)
                out.append(
                    Delivery(
                        key,
                        row,
                        Envelope("f@x.example", (f"{key}@x.example",)),
                        b"x",
                        self.journal.message_id(key, "x.example"),
                        standing.date or DATE,
                        "d",
                        standing.attempts,
                        standing.due,
                    )
                )
        return out

    def die(self) -> None:
        """End without a word: what the process held is gone, what it wrote is there."""
        self.journal.close()
        self.open()

    @rule(hours=st.sampled_from([0, 1, -1, 1000, -100_000, 100_000]))
    def start_again(self, hours: int) -> None:
        self.clock.shift(hours * 3600.0)
        self.die()

    @rule(word=st.sampled_from(["again", "skip", "retry"]))
    def have_a_word(self, word: str) -> None:
        if word == "again":
            for key in self.unsettled():
                if self.listed.get(key) is W:
                    self.states[key] = W
                    self.let_go[key] += 1
            self.journal.settle("again")
        elif word == "skip":
            self.settled |= self.unsettled() & set(self.listed)
            self.journal.settle("skip")
        else:
            for key, state in self.states.items():
                if state is F and self.listed.get(key) is W:
                    self.states[key] = W
                    self.attempts[key] = 0
            self.journal.retry_failed()

    def unsettled(self) -> set[str]:
        return {key for key, state in self.states.items() if state is U} - self.settled

    @invariant()
    def the_journal_is_the_model(self) -> None:
        if not hasattr(self, "journal"):
            return
        records = {record.key: record for record in self.journal.records()}
        assert set(records) == set(self.listed)
        assert {key: record.state for key, record in records.items()} == {
            key: self.states[key] for key in self.listed
        }
        assert {key: record.attempts for key, record in records.items()} == {
            key: self.attempts[key] for key in self.listed
        }
        assert sum(self.journal.counts().values()) == len(self.listed)
        assert {record.key for record in self.journal.uncertain()} == self.unsettled() & set(self.listed)

    @invariant()
    def the_promise_holds(self) -> None:
        if not hasattr(self, "journal"):
            return
        for key, number in self.accepted.items():
            assert number <= 1 + self.let_go[key]
            assert len(self.ids[key]) == 1
            assert self.states[key] in (S, U) or self.let_go[key]
        assert all(self.accepted[key] for key, state in self.states.items() if state is S)


Campaign.TestCase.settings = settings(
    max_examples=int(os.environ.get("MERGEPOST_MODEL_RUNS", "100")),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestCampaign = Campaign.TestCase
