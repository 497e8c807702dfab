"""How does one look into the mailbox go, from the plan to what is written down?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from merge.bounces.finding import Finding
from merge.bounces.matching import Match
from merge.errors import ApprovalError, UsageError
from merge.journal import Bounce
from merge.suppression import Entry, append

if TYPE_CHECKING:
    from merge.bounces.mailbox import Letterbox
    from merge.journal import Journal


class Person(Protocol):
    """Who decides."""

    def show(self, finding: Finding) -> None:
        """See what was found."""

    def agree(self, matches: Sequence[Match], *, proven: bool) -> bool | None:
        """Say whether these are suppressed; None where nobody can be asked."""


class Answers:
    """Numbers given beforehand: so many addresses, and so many that no mark proves. Shows nothing."""

    def __init__(self, confirm: int | None = None, confirm_by_address: int | None = None) -> None:
        self._numbers = {True: confirm, False: confirm_by_address}

    def show(self, finding: Finding) -> None:
        """Pass over it."""

    def agree(self, matches: Sequence[Match], *, proven: bool) -> bool | None:
        """Agree to the number that was given; without one, not. Raises ApprovalError for another number."""
        return agreed(matches, self._numbers[proven], proven=proven)


def agreed(matches: Sequence[Match], number: int | None, *, proven: bool) -> bool | None:
    """Return whether the number given is that of the addresses; None without one. Raises ApprovalError."""
    if number is None:
        return None
    addresses = len({match.recipient for match in matches})
    if number != addresses:
        flag = "--confirm" if proven else "--confirm-by-address"
        raise ApprovalError(
            f"{addresses:,} addresses would be suppressed, not the confirmed {number:,}",
            hint=f"look at the plan again: mergepost bounces --dry-run; then {flag} {addresses}",
        )
    return True


@dataclass(frozen=True, slots=True)
class Visit:
    """What one look came to: `suppressed` are the addresses new on the list, `recorded` counts reports.

    `not_renewed` says why the person's own sheet does not show what came back; empty where it does.
    """

    finding: Finding
    suppressed: tuple[str, ...] = ()
    recorded: int = 0
    refused: bool = False
    not_renewed: str = ""


def settle(
    finding: Finding, journal: Journal | None, path: Path, letterbox: Letterbox, person: Person
) -> Visit:
    """Carry out what follows from a finding: ask, suppress, write down, put away.

    Who called a letter spam or unsubscribed is suppressed at once, before anything is asked. What is refused
    is not written down, so that the next look shows it again. Raises ApprovalError for a wrong number,
    UsageError where nobody can be asked, JournalError, ListError, CarrierError.
    """
    suppressed = _suppress(path, finding.at_once, finding.gone)
    recorded = _record(journal, finding.noted)
    person.show(finding)
    unasked: list[str] = []
    left: set[str] = set()
    for proven, matches in ((True, finding.dead), (False, finding.unproven)):
        if not matches:
            continue
        answer = person.agree(matches, proven=proven)
        if answer:
            suppressed += _suppress(path, {match.recipient: match for match in matches}, {})
            recorded += _record(journal, matches)
        elif answer is None and proven:
            unasked.append(f"--confirm {len({match.recipient for match in matches})}")
        else:
            left |= {match.report for match in matches}
    if unasked:
        raise UsageError(
            f"suppressing addresses needs a confirmation: pass {' '.join(unasked)} (the number in the plan)",
            hint="they are not suppressed, and will be shown again",
        )
    letterbox.done([name for name, reports in finding.names.items() if not reports & left])
    return Visit(finding, tuple(suppressed), recorded, bool(left))


def _suppress(
    path: Path, found: dict[str, Match | None] | dict[str, Match], times: dict[str, float]
) -> list[str]:
    entries = []
    for address, match in found.items():
        moment = match.time if match else times[address]
        entries.append(Entry(address, reason(match), datetime.fromtimestamp(moment, UTC).date()))
    if not entries or not append(path, entries):
        return []
    return [entry.address for entry in entries]


def reason(match: Match | None) -> str:
    """Return why an address is suppressed, as the file says it."""
    if match is None or match.kind == "unsubscribed":
        return "unsubscribed"
    if match.kind == "complaint":
        return "complaint"
    return f"bounced {match.code}".strip()


def _record(journal: Journal | None, matches: Sequence[Match]) -> int:
    if journal is None or not matches:
        return 0
    return journal.bounces.record(
        Bounce(match.sent, match.recipient, match.kind, match.code, match.reply, match.time, match.report)
        for match in matches
    )
