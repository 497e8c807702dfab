"""What can be done with a campaign? The Python face; the commands are thin wrappers around it.

import merge

campaign = merge.Campaign.load("spring-news")
for problem in campaign.check():
print(problem.severity, problem.row, problem.message)
for message in campaign.messages():
print(message["To"], message["Subject"])
print(campaign.send(sandbox=True).states)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

from merge import assemble, journey, report
from merge.account import AccountSettings
from merge.check import Findings
from merge.clock import Clock, WallClock
from merge.config import Settings, pace_of, read_settings
from merge.courier import Ending, Unwatched, Watch, run
from merge.errors import ApprovalError, ContentError, Problem
from merge.interrupt import interruptible
from merge.journal import Journal, View
from merge.model import Letter, Record, State
from merge.pace import DAY, Pace
from merge.plan import Proposal, Wish, propose

_TROUBLES = 100
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
    that are failed, deferred or uncertain, at most a hundred. `exit_code` is that of the command.
    """

    proposal: Proposal
    states: Mapping[State, int]
    ending: Ending | None
    troubles: tuple[Record, ...]
    results: Path | None
    seconds: float
    next_step: str
    exit_code: int

    @property
    def tried(self) -> int:
        """The number of messages that this run tried to send."""
        return self.ending.tried if self.ending else 0


class Campaign:
    """A list, a letter, and what became of them. Made by `load`."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self._clock = clock or WallClock()

    @classmethod
    def load(cls, *paths: str | Path) -> Campaign:
        """Open a campaign folder (the current one by default), or the campaign of a list and a letter.

        Raises UsageError or ConfigError; list and letter are read when they are needed.
        """
        return cls(read_settings(tuple(Path(path) for path in paths)))

    @property
    def name(self) -> str:
        """What the campaign is called: its folder's name."""
        return self.settings.folder.name

    @cached_property
    def parts(self) -> journey.Parts:
        """The opened list and letter. Raises ContentError or ConfigError."""
        return assemble.parts(self.settings)

    def findings(self) -> Findings:
        """Check the list, the letter and every row. Raises ContentError where that is impossible."""
        with (
            assemble.passing_journal(self.settings, self._clock) as journal,
            journal.enrolment() as enrolment,
        ):
            return journey.look_through(self.parts, enrolment)

    def check(self) -> list[Problem]:
        """Return everything that is wrong, errors and warnings; an empty list is a clean campaign."""
        try:
            return list(self.findings().problems)
        except ContentError as error:
            return list(error.problems) or [Problem("error", "campaign", error.message, hint=error.hint)]

    def messages(self, rows: range | None = None) -> Iterator[EmailMessage]:
        """Yield the EmailMessage of each row that can be sent, in the order of the list.

        `rows` are numbers as the spreadsheet shows them. Raises ContentError when the letter cannot be made.
        """
        with assemble.passing_journal(self.settings, self._clock) as journal:
            yield from journey.messages(self.parts, *self._identity(journal), rows)

    def letters(self, rows: range | None = None) -> Iterator[Letter]:
        """Yield the same letters as values: envelope, headers, text, HTML and attachments apart."""
        with assemble.passing_journal(self.settings, self._clock) as journal:
            yield from journey.letters(self.parts, *self._identity(journal), rows)

    def send(  # noqa: PLR0913 - what the command's flags are
        self,
        *,
        confirm: int | None = None,
        dry_run: bool = False,
        limit: int | None = None,
        rows: range | None = None,
        retry_failed: bool = False,
        skip_invalid: bool = False,
        uncertain: Literal["again", "skip"] | None = None,
        expect: str = "",
        sandbox: bool = False,
        talk: Talk | None = None,
    ) -> Summary:
        """Send what is not sent yet, and return what became of it; run again, it goes on.

        Everything is checked first. `confirm` is the number of messages that the caller means to send; a
        plan with another number is refused. `rows` are numbers as the spreadsheet shows them. `sandbox`
        sends to the embedded server, with a journal of its own. With `dry_run` nothing is sent or recorded.

        Raises ContentError, ApprovalError, ConfigError, JournalError or LockedError before anything is
        sent; what happens afterwards is in the summary.
        """
        talk = Consent(confirm) if talk is None else talk
        wish = Wish(limit, rows, retry_failed, skip_invalid, uncertain, expect)
        way: AccountSettings | None
        with ExitStack() as stack:
            if sandbox:
                self._start_sandbox_anew()
                way = stack.enter_context(assemble.embedded_server(self.settings))
                home = self.settings.folder / assemble.SANDBOX_FOLDER
            else:
                way = assemble.account(self.settings, needed=not dry_run)
                home = self.settings.folder
            path = home / assemble.JOURNAL_FILE
            if dry_run and not path.exists():
                journal = stack.enter_context(assemble.passing_journal(self.settings, self._clock))
            else:
                journal = stack.enter_context(
                    Journal.open(path, edition=self.settings.edition, clock=self._clock)
                )
            return self._send(journal, way, home, wish, talk, dry_run=dry_run, sandbox=sandbox)

    def status(self) -> dict[str, Any]:
        """Return what happened so far: `campaign`, `edition`, `fingerprint`, `total`, `states`, `next`."""
        with ExitStack() as stack:
            view = self.view()
            if view is None:
                return self._status_before()
            stack.enter_context(view)
            counts = view.counts()
            return report.status(
                counts,
                campaign=self.name,
                edition=self.settings.edition,
                fingerprint=view.meta.get("fingerprint", "") or "",
                next_step=next_step(counts, len(view.uncertain()), running=view.running),
            )

    def records(self, *, troubled: bool = False) -> Iterator[Record]:
        """Yield what is on record of each row, in the order of the list; nothing before the first sending.

        `troubled` leaves only rows that are failed, deferred or uncertain.
        """
        view = self.view()
        if view is None:
            return
        with view:
            yield from filter(_troubled, view.records()) if troubled else view.records()

    def view(self) -> View | None:
        """Open the journal for reading; None when nothing was ever sent. The caller closes it."""
        view = Journal.look(self.settings.folder / assemble.JOURNAL_FILE, edition=self.settings.edition)
        if view is not None and not sum(view.counts().values()):
            view.close()
            return None
        return view

    def _status_before(self) -> dict[str, Any]:
        with assemble.passing_journal(self.settings, self._clock) as journal:
            with journal.enrolment() as enrolment:
                findings = journey.look_through(self.parts, enrolment)
                counts = dict(enrolment.plan().states)
            return report.status(
                counts,
                campaign=self.name,
                edition=self.settings.edition,
                fingerprint=findings.fingerprint,
                next_step=next_step(counts, 0),
            )

    def _identity(self, journal: Journal) -> tuple[Callable[[str], str], datetime]:
        domain = self.parts.composer.domain
        date = datetime.fromtimestamp(int(self._clock.now()), UTC)
        return lambda key: journal.message_id(key, domain), date

    def _send(  # noqa: PLR0913 - the ingredients of one run
        self,
        journal: Journal,
        way: AccountSettings | None,
        home: Path,
        wish: Wish,
        talk: Talk,
        *,
        dry_run: bool,
        sandbox: bool,
    ) -> Summary:
        if wish.uncertain is None and not dry_run and (doubtful := journal.uncertain()):
            wish = replace(wish, uncertain=talk.doubt(doubtful))
        pace = assemble.pace(None if sandbox else pace_of(self.settings, way))
        with journal.enrolment() as enrolment:
            allowance = self._allowance(journal, pace)
            proposal = propose(self.parts, enrolment, journal, wish, allowance)
            agreed = not proposal.tries or talk.approve(proposal, way, self.settings)
            if not agreed or dry_run:
                return self._unsent(proposal, dry_run=dry_run)
            enrolment.commit()
        journal.begin(proposal.findings.fingerprint)
        if wish.uncertain:
            journal.settle(wish.uncertain)
        if wish.retry_failed:
            journal.retry_failed()
        began = self._clock.monotonic()
        ending, code = None, 0
        try:
            if proposal.tries and way:
                ending, code = self._carry(journal, way, wish, proposal, talk, pace)
        finally:
            results = self._write_results(journal, home)
        seconds = self._clock.monotonic() - began
        return self._summary(journal, proposal, ending, results, seconds, code)

    def _carry(  # noqa: PLR0913, PLR0917 - the ingredients of one run
        self,
        journal: Journal,
        way: AccountSettings,
        wish: Wish,
        proposal: Proposal,
        talk: Talk,
        pace: Pace,
    ) -> tuple[Ending, int]:
        carrier = assemble.session(way, journal, self._clock, ask=talk.ask, tell=talk.tell)
        with interruptible(self._clock, talk.tell) as asked:
            try:
                ending = run(
                    journey.deliveries(
                        self.parts, journal, now=self._clock.now(), limit=proposal.tries, rows=wish.rows
                    ),
                    carrier=carrier,
                    journal=journal,
                    pace=pace,
                    retry=assemble.retry(self.settings),
                    clock=self._clock,
                    wait=self.settings.retry.wait,
                    watch=talk.watch(proposal),
                )
            finally:
                carrier.close()
            return ending, asked.exit_code if ending.interrupted else 0

    def _allowance(self, journal: Journal, pace: Pace) -> float:
        left = pace.allowance(self._clock.monotonic())
        if left is None:
            return math.inf
        return max(0, left - len(journal.recent(self._clock.now() - DAY)))

    def _unsent(self, proposal: Proposal, *, dry_run: bool) -> Summary:
        states = proposal.record.states
        code = 0 if dry_run else 1
        return Summary(proposal, states, None, (), None, 0.0, next_step(states, 0), code)

    def _write_results(self, journal: Journal, home: Path) -> Path:
        path = home / "results.csv"
        report.write_results(journal.records(), path)
        return path

    def _summary(  # noqa: PLR0913, PLR0917 - the fields of the summary
        self,
        journal: Journal,
        proposal: Proposal,
        ending: Ending | None,
        results: Path,
        seconds: float,
        code: int,
    ) -> Summary:
        counts = journal.counts()
        doubtful = len(journal.uncertain())
        if ending and ending.stopped and not code:
            changed = isinstance(ending.stopped, ContentError) and ending.tried
            code = 3 if changed else ending.stopped.exit_code
        if not code and (doubtful or any(counts[state] for state in _UNFINISHED)):
            code = 3
        troubles = tuple(islice(filter(_troubled, journal.records()), _TROUBLES))
        return Summary(
            proposal, counts, ending, troubles, results, seconds, next_step(counts, doubtful), code
        )

    def _start_sandbox_anew(self) -> None:
        """Clear the sandbox of letters that are not today's: trying out begins with a clean table."""
        home = self.settings.folder / assemble.SANDBOX_FOLDER
        view = Journal.look(home / assemble.JOURNAL_FILE, edition=self.settings.edition)
        if view is None:
            return
        with view:
            if view.running or view.meta.get("fingerprint") == self.findings().fingerprint:
                return
        for path in (*home.glob("[0-9]*-*.eml"), *home.glob("journal.db*"), home / "results.csv"):
            if path.is_file():
                path.unlink()


def _troubled(record: Record) -> bool:
    return record.state in (State.FAILED, State.DEFERRED, State.UNCERTAIN) and not record.settled


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
