"""What would this run do? The number that the person says yes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from merge import tested
from merge.check import Findings, address_key, row_key
from merge.errors import AddressError, ApprovalError, ContentError, UsageError
from merge.journal import Enrolment, Journal, Listed
from merge.journal import Plan as Comparison
from merge.journey import Parts, look_through
from merge.model import Recipient, State
from merge.pace import Pace
from merge.tested import Test
from merge.variants import Kinds

ANSWERING = "answering"
"""Under which name the journal keeps the version that an edition corrects."""

_GONE_OUT = (State.SENT, State.FAILED, State.DEFERRED, State.UNCERTAIN)


@dataclass(frozen=True, slots=True)
class Wish:
    """What one run is asked to do.

    `rows` are numbers as the spreadsheet shows them. After `first` messages it pauses; `stay` means that it
    waits as long as it takes. `to_sent_with` is the fingerprint of the version that those had who get this.
    """

    limit: int | None = None
    rows: range | None = None
    retry_failed: bool = False
    skip_invalid: bool = False
    uncertain: Literal["again", "skip"] | None = None
    expect: str = ""
    first: int | None = None
    stay: bool = False
    to_sent_with: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a run would do: shown to the person, who says yes to `tries`, or no.

    The whole list makes so many `kinds` of letter; `test` is the latest of exactly these letters, if any.
    `ready` rows could be tried, `tries` will be: a limit or the day's allowance may be smaller. The pace lets
    the last of them, or where there is none the next one, go `seconds` from now at the earliest. `wanted`
    are the rows that were asked for: more than `tries` where further days are needed, and the last of them
    can go `finish` seconds from now. `goes_on` says that there was a run before, in this edition, and
    `server_before` through which mail server, where that was another one. Those tried go to so many
    `recipients` in all, Cc and Bcc included. `warnings` tell what providers ask of a sending of this size
    and do not get.
    """

    findings: Findings
    record: Comparison
    ready: int
    tries: int
    seconds: float
    goes_on: bool
    recipients: int = 0
    warnings: tuple[str, ...] = ()
    server_before: str = ""
    kinds: int = 0
    test: Test | None = None
    wanted: int = 0
    finish: float = 0.0

    @property
    def takes_days(self) -> bool:
        """Whether the day's allowance leaves some of the rows asked for to later runs."""
        return self.tries < self.wanted


def propose(  # noqa: PLR0913, PLR0917 - each is one ingredient of the plan
    parts: Parts,
    enrolment: Enrolment,
    journal: Journal,
    wish: Wish,
    pace: Pace,
    now: float,
    withheld: Callable[[str, str], str] = lambda _key, _to: "",
) -> Proposal:
    """Check everything, enrol every row, and return what this run would do.

    `pace` is as earlier runs have left it, `now` a moment of its clock. `withheld` says why a row is not to
    be sent, given its key and the first address of its letter. Raises ContentError where something
    must be mended first, ApprovalError when the letters are not those that were expected, UsageError when a
    version is named that nobody got, or in an edition that corrects something else, or nothing.
    """
    goes_on = any(journal.counts().values())
    candidates = _Candidates(enrolment, journal, wish, pace, now)
    kinds = Kinds(parts.branches())
    left_out = _asked_for(parts, wish.rows, _reached(journal, wish))
    findings = look_through(parts, candidates, left_out, withheld, told=kinds.add)
    if wish.expect and wish.expect != findings.fingerprint:
        raise ApprovalError(
            f"the fingerprint is {findings.fingerprint}, not the expected {wish.expect}",
            hint="the list, the letter or an attachment changed since it was approved: look at it again",
        )
    if findings.refuses_letter or (findings.invalid and not wish.skip_invalid):
        raise refusal(parts.list_name, findings)
    tries, recipients = candidates.tries, candidates.recipients
    seconds = (pace.last_of(tries, now, recipients) if tries else pace.next(now)) - now
    finish = pace.last_of(candidates.wanted, now, candidates.wanted_recipients) - now
    return Proposal(
        findings,
        enrolment.plan(),
        candidates.ready,
        tries,
        seconds,
        goes_on,
        recipients,
        kinds=kinds.number,
        test=tested.last(journal.meta, findings.fingerprint),
        wanted=candidates.wanted,
        finish=finish,
    )


def _reached(journal: Journal, wish: Wish) -> Callable[[Recipient], str]:
    """Return what tells why a row is not among those who got a certain version; empty when it is."""
    if not wish.to_sent_with:
        return lambda _: ""
    versions = journal.versions()
    if wish.to_sent_with not in versions:
        raise UsageError(
            f"nobody was sent the version {wish.to_sent_with}",
            hint=f"there are {', '.join(versions) or 'none'}; mergepost status shows the latest",
        )
    counts = journal.counts()
    begun = any(counts[state] for state in _GONE_OUT)
    if begun and wish.to_sent_with != (journal.meta.get(ANSWERING) or ""):
        raise UsageError(
            f'the edition "{journal.edition}" was not begun as a correction of {wish.to_sent_with}',
            hint="name another edition in campaign.toml: in this one, nobody gets a second letter",
        )

    def left_out(recipient: Recipient) -> str:
        try:
            got = journal.sent_with(wish.to_sent_with, row_key(recipient))
        except AddressError:
            got = ""
        return "" if got else f"did not get {wish.to_sent_with}"

    return left_out


def _asked_for(
    parts: Parts, rows: range | None, left_out: Callable[[Recipient], str]
) -> Callable[[Recipient], str]:
    """Return what tells, besides, that a row gives way to one of the `rows` that has the same address."""
    if rows is None or parts.duplicates == "error" or any(one.severity == "error" for one in parts.problems):
        return left_out
    asked_for: dict[str, int] = {}
    for recipient in parts.rows:
        if recipient.row >= rows.stop:
            break
        key = address_key(recipient) if recipient.row in rows else ""
        if key and not parts.left_out(recipient) and not left_out(recipient):
            asked_for.setdefault(key, recipient.row)

    def gives_way(recipient: Recipient) -> str:
        if reason := left_out(recipient):
            return reason
        row = asked_for.get(address_key(recipient)) if recipient.row not in rows else None
        return f"same address as row {row}" if row else ""

    return gives_way


def refusal(list_name: str, findings: Findings) -> ContentError:
    """Return the error that lists what must be mended before anything is sent."""
    errors = tuple(problem for problem in findings.problems if problem.severity == "error")
    if findings.refuses_letter:
        return ContentError(
            "the letter cannot be sent as it is", hint="mend it and send again", problems=errors
        )
    reasons = {problem.message if problem.kind == "way" else "" for problem in errors}
    if findings.first is None and len(reasons) == 1 and "" not in reasons:
        return ContentError(errors[0].message, hint=errors[0].hint)
    return ContentError(
        f"{list_name}: {findings.invalid:,} of {findings.rows:,} rows can't be sent",
        hint=f"mend {list_name} and send again, or leave them out: mergepost send --skip-invalid",
        problems=errors,
    )


class _Candidates:
    """The journal's register, counting the rows that this run could try, and those that it will.

    Letters go in the order of the list, as far as `pace` reaches in a day from `now` on; all of them in a run
    that stays.
    """

    def __init__(self, enrolment: Enrolment, journal: Journal, wish: Wish, pace: Pace, now: float) -> None:
        self._enrolment = enrolment
        self._rows = wish.rows
        self._states = {State.WAITING, State.DEFERRED}
        if wish.retry_failed:
            self._states.add(State.FAILED)
        self._again = wish.uncertain == "again"
        self._journal = journal
        self.ready = self.wanted = self.tries = 0
        self.wanted_recipients = self.recipients = 0
        self._full = False
        self._limit = wish.limit
        self._takes = pace.takes
        self._left = None if wish.stay else pace.allowance(now)
        self.seen = enrolment.seen

    def add(self, line: Listed) -> State:
        """Enrol a row, and count it if this run could try it."""
        stands = self._enrolment.add(line)
        if line.state is not State.WAITING or (self._rows is not None and line.row not in self._rows):
            return stands
        if stands in self._states or (stands is State.UNCERTAIN and self._again and self._asks(line.key)):
            self._count(line.recipients)
        return stands

    def _asks(self, key: str) -> bool:
        """Whether an uncertain row still waits for the person's word."""
        standing = self._journal.standing(key)
        return standing is not None and not standing.settled

    def _count(self, recipients: int) -> None:
        self.ready += 1
        if self._limit is not None and self.ready > self._limit:
            return
        self.wanted += 1
        self.wanted_recipients += recipients
        if self._left is not None and not self._full:
            self._left -= self._takes(recipients)
            self._full = self._left < 0
        if not self._full:
            self.tries += 1
            self.recipients += recipients
