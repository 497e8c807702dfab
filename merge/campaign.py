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

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from merge import assemble, journey, report, tested
from merge.account import AccountSettings
from merge.address import parse_mailbox
from merge.check import Findings
from merge.clock import Clock, WallClock
from merge.compose import Plans
from merge.config import Settings, pace_of, read_settings, reads_once
from merge.errors import AddressError, ContentError, JournalError, LockedError, Problem
from merge.journal import Journal, Ledger, View
from merge.model import Letter, Record
from merge.plan import Wish
from merge.rehearsal import InTurn, Rehearsal, letters_for, rehearse
from merge.sending import Consent, Sending, Summary, Talk, next_step
from merge.turn import Turns

if TYPE_CHECKING:
    from merge.bounces.visit import Person, Visit
    from merge.postbag import Where


class Campaign:
    """A list, a letter, and what became of them. Made by `load`."""

    def __init__(self, settings: Settings, clock: Clock | None = None, people: object = None) -> None:
        self.settings = settings
        self._people = people
        self._clock = clock or WallClock()

    @classmethod
    def load(cls, *paths: str | Path, people: object = None) -> Campaign:
        """Open a campaign folder (the current one by default), or the campaign of a list and a letter.

        The list may be "-", standard input, or a pipe: that is read once. `people` takes the place of the
        list: a pandas DataFrame, or mappings of column names to values.
        Raises UsageError or ConfigError; list and letter are read when they are needed.
        """
        named = tuple(Path(path) for path in paths)
        settings = read_settings(named, needs_list=people is None)
        if people is None and len(named) > 1 and reads_once(named[0]):
            people = str(named[0])
        return cls(settings, people=people)

    @property
    def name(self) -> str:
        """What the campaign is called: its folder's name."""
        return self.settings.folder.name

    @cached_property
    def parts(self) -> journey.Parts:
        """The opened list and letter. Raises ContentError or ConfigError."""
        return assemble.parts(self.settings, self._people)

    def findings(self) -> Findings:
        """Check the list, the letter and every row. Raises ContentError, ConfigError where that cannot be."""
        return self._look_through(self.parts)

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
        first: int | None = None,
        stay: bool = False,
        to_sent_with: str = "",
        talk: Talk | None = None,
    ) -> Summary:
        """Send what is not sent yet, and return what became of it; run again, it goes on.

        Everything is checked first. `confirm` is the number of messages that the caller means to send; a
        plan with another number is refused. `rows` are numbers as the spreadsheet shows them. `sandbox`
        sends to the embedded server, with a journal of its own. With `dry_run` nothing is sent or recorded.
        After `first` messages `talk` is asked whether to go on. `stay` waits for the pace and for deferred
        rows, however long that takes. `to_sent_with` is the fingerprint of a version: only those who got it
        get this letter, as an answer to that one.

        Raises ContentError, ApprovalError, ConfigError, JournalError or LockedError before anything is
        sent; what happens afterwards is in the summary.
        """
        talk = Consent(confirm) if talk is None else talk
        wish = Wish(limit, rows, retry_failed, skip_invalid, uncertain, expect, first, stay, to_sent_with)
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
            ledger = None if sandbox else self._ledger(stack, way, talk)
            parts = replace(self._for_sandbox if sandbox else self.parts, plans=Plans())
            parts.ready()
            sending = Sending(
                self.settings, parts, self._clock, journal, ledger, way, home, sandbox, wish, talk
            )
            return sending.go(dry_run=dry_run)

    def test(self, address: str, talk: Talk | None = None) -> Rehearsal:
        """Send one of each kind of letter, at most five, to one address.

        No row is touched. The journal keeps that these very letters were tested, if all were accepted.
        Raises AddressError, ContentError, ConfigError or CarrierError.
        """
        talk = talk or Consent()
        to = parse_mailbox(address).address
        way = assemble.account(self.settings, needed=True)
        assert way  # noqa: S101 - needed
        self.parts.ready()
        if reason := self.parts.suppression.reason(to):
            raise AddressError(f"{to} is {reason}", hint="test with an address that may be mailed")
        date = datetime.fromtimestamp(int(self._clock.now()), UTC)
        with ExitStack() as stack:
            journal = stack.enter_context(assemble.passing_journal(self.settings, self._clock))
            with journal.enrolment() as enrolment:
                chosen = letters_for(to, self.parts, enrolment, date=date)
            pace = assemble.pace(pace_of(self.settings, way))
            turns = Turns(pace, self._clock, journal, self._ledger(stack, way, talk))
            turns.recollect()
            in_turn = InTurn(pace, turns, self._clock, talk.tell)
            carrier = assemble.rehearsal(way, to, self._clock, ask=talk.ask, tell=talk.tell)
            letters = map(assemble.returning(self.settings, way), chosen.letters)
            outcomes = rehearse(map(self.parts.seal, letters), carrier, in_turn)
        rehearsal = Rehearsal(to, chosen.letters, outcomes, chosen.kinds, chosen.fingerprint, in_turn.due)
        if rehearsal.exit_code == 0:
            self._note_test(rehearsal, talk)
        return rehearsal

    def _note_test(self, rehearsal: Rehearsal, talk: Talk) -> None:
        """Keep for the next plan that these letters were tested; that it cannot be kept undoes no test."""
        path = self.settings.folder / assemble.JOURNAL_FILE
        test = tested.Test(self._clock.now(), rehearsal.address, len(rehearsal.letters), rehearsal.kinds)
        try:
            with Journal.open(path, edition=self.settings.edition, clock=self._clock) as journal:
                tested.note(journal.meta, rehearsal.fingerprint, test)
        except (JournalError, LockedError) as error:
            talk.tell(f"The plan will not know of this test: {error.message}")

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
                bounced=view.bounced(),
            )

    def records(self, *, troubled: bool = False) -> Iterator[Record]:
        """Yield what is on record of each row, in the order of the list; nothing before the first sending.

        `troubled` leaves only rows that are failed, deferred or uncertain.
        """
        view = self.view()
        if view is None:
            return
        with view:
            yield from view.troubles() if troubled else view.records()

    def bounces(  # noqa: PLR0913 - what the command's flags are
        self,
        where: Where | None = None,
        *,
        dry_run: bool = False,
        confirm: int | None = None,
        confirm_by_address: int | None = None,
        person: Person | None = None,
        ask: Callable[[str], str] | None = None,
    ) -> Visit:
        """Read what came back, from `where` or from the mailbox that [bounces] names; see merge.postbag.

        `confirm` is the number of dead addresses that the caller means to suppress, `confirm_by_address`
        that of those that nothing proves; or `person` decides. `ask` asks for a password. With `dry_run`
        nothing is written down. Raises ConfigError, UsageError, CarrierError, JournalError, ListError,
        ApprovalError, or LockedError while a run goes on.
        """
        from merge.bounces.visit import Answers  # noqa: PLC0415 - a sending needs none of this
        from merge.postbag import Where, look  # noqa: PLC0415 - likewise

        return look(
            self.settings,
            self._clock,
            where or Where(),
            person=person or Answers(confirm, confirm_by_address),
            dry_run=dry_run,
            ask=ask,
        )

    def forget(self) -> int:
        """Remove from the finished edition whatever tells who its people are; return the number of rows.

        The counts stay. Raises UsageError while rows are still to be sent or decided about.
        """
        home = self.settings.folder
        if not (home / assemble.JOURNAL_FILE).exists():
            return 0
        with Journal.open(
            home / assemble.JOURNAL_FILE, edition=self.settings.edition, clock=self._clock
        ) as journal:
            number = journal.forget()
            report.write_results(journal.records(), home / "results.csv")
            return number

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

    @property
    def _for_sandbox(self) -> journey.Parts:
        """The parts for the sandbox, which takes every letter, whatever way they are to go otherwise."""
        return replace(self.parts, unfit=None)

    def _look_through(self, parts: journey.Parts) -> Findings:
        parts.ready()
        with (
            assemble.passing_journal(self.settings, self._clock) as journal,
            journal.enrolment() as enrolment,
        ):
            return journey.look_through(parts, enrolment)

    def _identity(self, journal: Journal) -> tuple[Callable[[str], str], datetime]:
        domain = self.parts.composer.domain
        date = datetime.fromtimestamp(int(self._clock.now()), UTC)
        return lambda key: journal.message_id(key, domain), date

    def _ledger(self, stack: ExitStack, way: AccountSettings | None, talk: Talk) -> Ledger | None:
        """Open what counts for all campaigns of an account; without it the pace counts this one alone."""
        if way is None:
            return None
        try:
            return stack.enter_context(assemble.ledger(way, self._clock))
        except JournalError as error:
            if self.settings.not_twice_within:
                raise
            limits = pace_of(self.settings, way)
            if limits and limits.any:
                talk.tell(f"The pace counts this campaign alone: {error.message}")
            return None

    def _start_sandbox_anew(self) -> None:
        """Clear the sandbox of letters that are not today's: trying out begins with a clean table."""
        home = self.settings.folder / assemble.SANDBOX_FOLDER
        view = Journal.look(home / assemble.JOURNAL_FILE, edition=self.settings.edition)
        if view is None:
            return
        with view:
            if view.running:
                return
            if view.meta.get("fingerprint") == self._look_through(self._for_sandbox).fingerprint:
                return
        for path in (*home.glob("[0-9]*-*.eml"), *home.glob("journal.db*"), home / "results.csv"):
            if path.is_file():
                path.unlink()
