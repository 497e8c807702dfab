"""How does one run go, from the plan to the summary?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol

from merge import assemble, bulk, journey, report, wayout
from merge.account import AccountSettings, PaceSettings
from merge.brake import Brake
from merge.carrier import nothing_against
from merge.clock import Clock
from merge.config import Settings, pace_of
from merge.courier import Ending, run
from merge.errors import ApprovalError, ContentError, JournalError
from merge.interrupt import interruptible
from merge.journal import Enrolment, Journal, Ledger
from merge.model import Delivery, Letter, Record, State
from merge.pace import DAY, Pace
from merge.plan import ANSWERING, Proposal, Wish, propose
from merge.sheet import check_target, write_sheet
from merge.watch import Unwatched, Watch
from merge.words import duration

_TROUBLES = 100
_PATIENCE = 900.0
"""For how many seconds a run stays while the pace lets nothing go."""

_SERVER = "server"
_RESULTS = "results.csv"
_UNFINISHED = (State.WAITING, State.DEFERRED, State.FAILED)


class Talk(Protocol):
    """The person at the other end of a sending, or a program in their place."""

    def approve(self, proposal: Proposal, way: AccountSettings | None, settings: Settings) -> bool:
        """Say whether this is to be sent; for a dry run the answer changes nothing."""

    def doubt(self, records: Sequence[Record]) -> Literal["again", "skip"] | None:
        """Say what becomes of rows that a server may have accepted; None leaves them uncertain."""

    @property
    def ask(self) -> Callable[[str], str] | None:
        """Return what asks for a password without showing it; None where nobody can be asked."""

    def tell(self, words: str) -> None:
        """Hear of something that takes its time."""

    def watch(self, proposal: Proposal) -> Watch:
        """Return who looks on while the letters go out."""


class Consent:
    """Says yes to the number that was given, or to any; asks nothing, shows nothing."""

    def __init__(self, number: int | None = None) -> None:
        self._number = number

    def approve(self, proposal: Proposal, way: AccountSettings | None, settings: Settings) -> bool:
        """Agree, if the number is right. Raises ApprovalError when it is not."""
        if self._number not in (None, proposal.tries):
            raise ApprovalError(
                f"this run would send {proposal.tries:,}, not the confirmed {self._number:,}",
                hint="look at the plan again, then confirm its number",
            )
        return True

    def doubt(self, records: Sequence[Record]) -> Literal["again", "skip"] | None:
        """Leave them uncertain."""
        return None

    @property
    def ask(self) -> Callable[[str], str] | None:
        """Return nothing: there is nobody to ask."""
        return None

    def tell(self, words: str) -> None:
        """Pass over it."""

    def watch(self, proposal: Proposal) -> Watch:
        """Let nobody look on."""
        return Unwatched()


@dataclass(frozen=True, slots=True)
class Summary:
    """What a sending came to. `states` counts every row of the list, `tried` those of this run.

    `ending` is None where nothing was sent: a dry run, a no, or nothing to do. `troubles` are the rows
    that are failed, deferred or uncertain, at most a hundred. `results` is the file that was written;
    `unwritten` says why there is none. `exit_code` is that of the command.
    """

    proposal: Proposal
    states: Mapping[State, int]
    ending: Ending | None
    troubles: tuple[Record, ...]
    results: Path | None
    seconds: float
    next_step: str
    exit_code: int
    unwritten: JournalError | None = None

    @property
    def tried(self) -> int:
        """The number of messages that this run tried to send."""
        return self.ending.tried if self.ending else 0


@dataclass(frozen=True, slots=True)
class Sending:
    """One run of a campaign: its parts, its journal, held and open, and the way out.

    `way` is None for a dry run of a campaign without an account. `home` is the folder of the results.
    """

    settings: Settings
    parts: journey.Parts
    clock: Clock
    journal: Journal
    ledger: Ledger | None
    way: AccountSettings | None
    home: Path
    sandbox: bool
    wish: Wish
    talk: Talk

    def go(self, *, dry_run: bool) -> Summary:
        """Check, propose, ask, send, sum up. Raises what `Campaign.send` says."""
        journal, talk, wish = self.journal, self.talk, self.wish
        if self._returns_sheet:
            check_target(self.settings.list, self.home / self.settings.results)
        if not wish.to_sent_with:
            # A correction goes on as one: who did not get the first letter must not get the second.
            wish = replace(wish, to_sent_with=journal.meta.get(ANSWERING) or "")
        if wish.uncertain is None and not dry_run and (doubtful := journal.uncertain()):
            wish = replace(wish, uncertain=talk.doubt(doubtful))
        if self.ledger and not dry_run:
            self.ledger.mailed.take_over(journal)
        with journal.enrolment() as enrolment:
            proposal = self._propose(enrolment, wish)
            finish = self._finish(dry_run=dry_run) if proposal.tries else as_it_is
            shown = dry_run or proposal.tries
            agreed = not shown or talk.approve(proposal, self.way, self.settings)
            if dry_run or not agreed:
                states = proposal.record.states
                code = 0 if dry_run else 1
                return Summary(proposal, states, None, (), None, 0.0, next_step(states, 0), code)
            enrolment.commit()
        self._begin(proposal, wish)
        began = self.clock.monotonic()
        ending = None
        with interruptible(self.clock, talk.tell) as asked:
            try:
                if proposal.tries and self.way:
                    ending = self._until_next_day(self._carry(self.way, proposal, wish, finish), proposal)
            finally:
                unwritten = self._write_results()
            code = asked.exit_code if ending and ending.interrupted else 0
            summary = self._summary(proposal, ending, self.clock.monotonic() - began, code)
            if unwritten is None:
                return replace(summary, results=self._results)
            code = summary.exit_code if summary.exit_code not in (0, 3) else unwritten.exit_code
            return replace(summary, unwritten=unwritten, exit_code=code)

    def _propose(self, enrolment: Enrolment, wish: Wish) -> Proposal:
        forecast, now = self._forecast(), self.clock.monotonic()
        proposal = propose(self.parts, enrolment, self.journal, wish, forecast, now, self._resting())
        before = self.journal.meta.get(_SERVER) or ""
        if self.way is None or self.sandbox:
            return proposal
        if before != self.way.place:
            proposal = replace(proposal, server_before=before)
        return replace(proposal, warnings=self._bulk(proposal.ready, self.way))

    def _bulk(self, letters: int, way: AccountSettings) -> tuple[str, ...]:
        """Return what a sending of so many letters lacks."""
        if letters < bulk.LARGE:
            return ()
        when = datetime.fromtimestamp(int(self.clock.now()), UTC)
        first = next(journey.letters(self.parts, lambda _: "", when), None)
        signed = self.parts.dkim is not None
        return tuple(bulk.warnings(bulk.Mailing.of(first, letters, signed=signed), way)) if first else ()

    def _begin(self, proposal: Proposal, wish: Wish) -> None:
        """Write down what is sent from now on, and which way, and carry out the person's word."""
        if proposal.tries or not self.journal.meta.get("fingerprint"):
            self.journal.begin(proposal.findings.fingerprint)
        if self.way and proposal.tries and not self.journal.meta.get(_SERVER):
            self.journal.meta.set(_SERVER, self.way.place)
        if proposal.tries:
            self.journal.meta.set(ANSWERING, wish.to_sent_with)
        if wish.uncertain:
            self._settle(wish.uncertain, wish.rows)
        if wish.retry_failed:
            self.journal.retry_failed(wish.rows)

    def _resting(self) -> Callable[[str, str], str]:
        """Return what says, in one pass through the list, why somebody is not to be mailed again so soon."""
        if not self.settings.not_twice_within or self.ledger is None:
            return lambda _key, _to: ""
        listed: set[str] = set()

        def reason(key: str, to: str) -> str:
            person = to.casefold()
            why = self._rests(to)
            standing = self.journal.standing(key) if why or person in listed else None
            if standing and standing.state is State.SENT:
                why = ""  # that was this very letter
            elif person in listed:
                why = why or f"{self._too_soon}: an earlier row of the list has the address"
            listed.add(person)
            return why

        return reason

    @property
    def _too_soon(self) -> str:
        return f"mailed within {duration(self.settings.not_twice_within)}"

    def _rests(self, to: str) -> str:
        within = self.settings.not_twice_within
        when = self.ledger.mailed.when(to) if within and self.ledger else None
        if when is None or self.clock.now() - when >= within:
            return ""
        return f"{self._too_soon}: on {datetime.fromtimestamp(when, UTC).date()}"

    def _veto(self, delivery: Delivery) -> str:
        """Say why a delivery must not go after all, as of this very moment."""
        return self.parts.veto(delivery) or self._rests(delivery.envelope.recipients[0])

    def _settle(self, word: Literal["again", "skip"], rows: range | None) -> None:
        """Carry out the person's word on the uncertain rows, on those of a range alone where there is one."""
        if rows is None:
            self.journal.settle(word)
            return
        for record in self.journal.uncertain():
            if record.row in rows:
                self.journal.settle(word, record.key)

    @property
    def _results(self) -> Path:
        return self.home / _RESULTS

    @property
    def _returns_sheet(self) -> bool:
        return self.settings.results != _RESULTS and not self.sandbox

    def _write_results(self) -> JournalError | None:
        """Write the results; where that cannot be, what was sent must still be told."""
        try:
            report.write_results(self.journal.records(), self._results)
            if self._returns_sheet:
                self._return_sheet()
        except JournalError as error:
            return error
        return None

    def _return_sheet(self) -> None:
        """Give the person's own list back, as a copy with what happened beside each row."""
        layout = self.parts.table.layout
        write_sheet(
            self.journal.records(),
            self.settings.list,
            self.home / self.settings.results,
            header_row=layout.header_row,
            sheet=layout.sheet or None,
            encoding=layout.encoding,
            delimiter=layout.delimiter,
        )

    def _finish(self, *, dry_run: bool) -> Callable[[Letter], Letter]:
        """Return what is put into each letter on its way; what is only tried out unsubscribes nobody."""
        return as_it_is if dry_run or self.sandbox else assemble.finishing(self.settings, self.way)

    def _carry(
        self, way: AccountSettings, proposal: Proposal, wish: Wish, finish: Callable[[Letter], Letter]
    ) -> Ending:
        carrier = assemble.session(
            way, self.journal, self.clock, ask=self.talk.ask, tell=self.talk.tell, veto=self._veto
        )
        limits = self._limits()
        deliveries = journey.deliveries(
            self.parts,
            self.journal,
            now=self.clock.now(),
            limit=proposal.tries,
            rows=wish.rows,
            answering=wish.to_sent_with,
            finish=finish,
        )
        try:
            return run(
                deliveries,
                carrier=carrier,
                journal=self.journal,
                pace=assemble.pace(limits),
                retry=assemble.retry(self.settings),
                clock=self.clock,
                wait=math.inf if wish.stay else self.settings.retry.wait,
                watch=self.talk.watch(proposal),
                patience_limit=math.inf if wish.stay else _PATIENCE,
                brake=Brake(share=self.settings.stop_when_failed),
                first=wish.first,
                ledger=self.ledger if limits and limits.any else None,
                mailed=self.ledger.mailed if self.ledger else None,
                veto=nothing_against if wayout.asks_veto(way) else self._veto,
            )
        finally:
            carrier.close()
            if self.ledger:
                self.ledger.mailed.keep_for(self.journal)

    def _until_next_day(self, ending: Ending, proposal: Proposal) -> Ending:
        """Add when the rest can go, if the day's allowance is why this run has done no more."""
        if not proposal.takes_days or ending.stopped or ending.interrupted or ending.declined:
            return ending
        now = self.clock.monotonic()
        try:
            wait = self._forecast().next(now) - now
        except JournalError:
            return ending
        if wait <= 0:
            return ending
        return replace(ending, next_due=self.clock.now() + wait, out_of_allowance=True)

    def _limits(self) -> PaceSettings | None:
        return None if self.sandbox else pace_of(self.settings, self.way)

    def _forecast(self) -> Pace:
        """Return the pace as earlier runs have left it, to plan with."""
        pace = assemble.pace(self._limits())
        since = self.clock.now() - DAY
        past = self.journal.recent(since)
        if self.ledger:
            past = max(past, self.ledger.recent(since), key=len)  # the longer one, as the run itself does
        shift = self.clock.monotonic() - self.clock.now()
        pace.feed((moment + shift, recipients) for moment, recipients in past)
        return pace

    def _summary(self, proposal: Proposal, ending: Ending | None, seconds: float, code: int) -> Summary:
        counts = self.journal.counts()
        doubtful = len(self.journal.uncertain())
        if ending and ending.stopped and not code:
            changed = isinstance(ending.stopped, ContentError) and ending.tried
            code = 3 if changed else ending.stopped.exit_code
        if not code and (doubtful or any(counts[state] for state in _UNFINISHED)):
            code = 3
        troubles = tuple(islice(self.journal.troubles(), _TROUBLES))
        return Summary(proposal, counts, ending, troubles, None, seconds, next_step(counts, doubtful), code)


def as_it_is(letter: Letter) -> Letter:
    """Return a letter unchanged."""
    return letter


def next_step(states: Mapping[State, int], doubtful: int, *, running: bool = False) -> str:
    """Return the command to give next, with what it is for; empty when nothing is left to do."""
    if running:
        return "wait: a run is sending now"
    if doubtful:
        return "mergepost send --uncertain skip, or --uncertain again"
    if states[State.WAITING] or states[State.DEFERRED]:
        return "mergepost send"
    if states[State.FAILED]:
        return "mergepost send --retry-failed (after mending the rows)"
    if states[State.INVALID]:
        return "mend the invalid rows, then mergepost send"
    return ""
