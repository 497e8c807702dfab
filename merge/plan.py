"""What would this run do? The number that the person says yes to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from merge.check import Findings
from merge.errors import ApprovalError, ContentError
from merge.journal import Enrolment, Journal
from merge.journal import Plan as Comparison
from merge.journey import Parts, look_through
from merge.model import State


@dataclass(frozen=True, slots=True)
class Wish:
    """What one run is asked to do. `rows` are numbers as the spreadsheet shows them."""

    limit: int | None = None
    rows: range | None = None
    retry_failed: bool = False
    skip_invalid: bool = False
    uncertain: Literal["again", "skip"] | None = None
    expect: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a run would do: shown to the person, who says yes to `tries`, or no.

    `ready` rows could be tried, `tries` will be: a limit or the day's allowance may be smaller. `goes_on`
    says that there was a run before, in this edition.
    """

    findings: Findings
    record: Comparison
    ready: int
    tries: int
    goes_on: bool


def propose(parts: Parts, enrolment: Enrolment, journal: Journal, wish: Wish, allowance: float) -> Proposal:
    """Check everything, enrol every row, and return what this run would do.

    `allowance` is how many messages may still leave today, possibly infinite. Raises ContentError where
    something must be mended first, ApprovalError when the letters are not those that were expected.
    """
    goes_on = any(journal.counts().values())
    candidates = _Candidates(enrolment, journal, wish)
    findings = look_through(parts, candidates)
    if wish.expect and wish.expect != findings.fingerprint:
        raise ApprovalError(
            f"the fingerprint is {findings.fingerprint}, not the expected {wish.expect}",
            hint="the list, the letter or an attachment changed since it was approved: look at it again",
        )
    if findings.refuses_letter or (findings.invalid and not wish.skip_invalid):
        raise refusal(parts.list_name, findings)
    tries = min(candidates.ready, allowance, math.inf if wish.limit is None else wish.limit)
    return Proposal(findings, enrolment.plan(), candidates.ready, int(tries), goes_on)


def refusal(list_name: str, findings: Findings) -> ContentError:
    """Return the error that lists what must be mended before anything is sent."""
    errors = tuple(problem for problem in findings.problems if problem.severity == "error")
    if findings.refuses_letter:
        return ContentError(
            "the letter cannot be sent as it is", hint="mend it and send again", problems=errors
        )
    return ContentError(
        f"{list_name}: {findings.invalid:,} of {findings.rows:,} rows can't be sent",
        hint=f"mend {list_name} and send again, or leave them out: mergepost send --skip-invalid",
        problems=errors,
    )


class _Candidates:
    """The journal's register, counting the rows that this run could try."""

    def __init__(self, enrolment: Enrolment, journal: Journal, wish: Wish) -> None:
        self._enrolment = enrolment
        self._rows = wish.rows
        self._states = {State.WAITING, State.DEFERRED}
        if wish.retry_failed:
            self._states.add(State.FAILED)
        self._again = wish.uncertain == "again"
        self._journal = journal
        self.ready = 0
        self.seen = enrolment.seen

    def add(  # noqa: PLR0913, PLR0917 - the register's signature
        self,
        row: int,
        key: str,
        to: str,
        state: State,
        reason: str,
        digest: str,
        *,
        duplicate: bool = False,
    ) -> State:
        """Enrol a row, and count it if this run could try it."""
        stands = self._enrolment.add(row, key, to, state, reason, digest, duplicate=duplicate)
        if state is not State.WAITING or (self._rows is not None and row not in self._rows):
            return stands
        if stands is State.UNCERTAIN and self._again:
            standing = self._journal.standing(key)
            self.ready += standing is not None and not standing.settled
        else:
            self.ready += stands in self._states
        return stands
