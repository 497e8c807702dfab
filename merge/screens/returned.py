"""What came back? The reports that are new, and what is to be done about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from merge.words import column, count, plain

if TYPE_CHECKING:
    # Every command shows screens; only one reads mailboxes.
    from merge.bounces.finding import Finding
    from merge.bounces.matching import Match
    from merge.bounces.visit import Visit

_SHOWN = 40
_WORDS = {
    "bounce": ("bounce", "bounces"),
    "complaint": ("complaint", "complaints"),
    "unsubscribed": ("goodbye", "goodbyes"),
    "delayed": ("warning of a delay", "warnings of a delay"),
    "auto-reply": ("automatic reply", "automatic replies"),
    "other": ("other mail", "other mails"),
    "unreadable": ("unreadable mail", "unreadable mails"),
}


def returned(finding: Finding) -> list[str]:
    """Return what was found, and what would be suppressed."""
    kinds = [count(finding.sorts[sort], *words) for sort, words in _WORDS.items() if finding.sorts[sort]]  # type: ignore[index] # the names are those of the sorts
    lines = [
        f"Read     {plain(finding.place)}: {count(finding.read, 'mail')}"
        + (f" ({', '.join(kinds)})" if kinds else "")
    ]
    if finding.known:
        lines.append(f"         {count(finding.known, 'report')} on record already")
    if finding.strangers:
        lines.append(
            f"         {count(finding.strangers, 'report')} about no letter of this campaign: left alone"
        )
    if finding.delayed:
        lines.append(f"         {count(finding.delayed_rows, 'letter')} late, but still on the way")
    gone = [address for address, match in finding.at_once.items() if match is None]
    lines += _listed("Unsubscribed", [f"  {plain(address, 80)}" for address in gone])
    for title, matches in (
        (
            "Unsubscribed or complained: suppressed",
            [m for m in finding.noted if m.kind in ("complaint", "unsubscribed")],
        ),
        ("Bounced, not for good: noted, not suppressed", [m for m in finding.noted if m.kind == "soft"]),
        ("Bounced for good: to be suppressed", finding.dead),
        (
            "Not proven: the report names an address of yours, but anybody could have written it",
            finding.unproven,
        ),
        ("Not proven, and not for good: left alone", finding.doubtful),
    ):
        lines += _listed(title, [_line(match) for match in matches])
    if not finding.fresh and not gone:
        lines.append("Nothing new.")
    return lines


def settled(visit: Visit) -> list[str]:
    """Return what was written down."""
    lines = []
    if visit.suppressed:
        lines.append(f"Suppressed {count(len(visit.suppressed), 'address', 'addresses')} in suppressed.csv.")
    if visit.recorded:
        lines.append(f"Recorded {count(visit.recorded, 'report')} beside the rows: mergepost status")
    if visit.refused:
        lines.append("What was not confirmed is not written down, and will be shown again.")
    if visit.not_renewed:
        lines.append(plain(visit.not_renewed))
    return lines


def question(matches: Sequence[Match], *, proven: bool) -> str:
    """Return what the person is asked before addresses are suppressed."""
    number = len({match.recipient for match in matches})
    what = "that bounced for good" if proven else "that nothing proves"
    whom = count(number, "address", "addresses")
    return f"Type {number} to suppress the {whom} {what}, anything else to leave them: "


def _listed(title: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    more = [f"  ... and {len(lines) - _SHOWN:,} more (--json has all)"] if len(lines) > _SHOWN else []
    return [f"{title} ({len(lines):,})", *lines[:_SHOWN], *more]


def _line(match: Match) -> str:
    words = " ".join(_without_repeating(match.code, match.reply))
    also = f" (reported as {plain(match.also, 60)})" if match.also else ""
    what = {"complaint": "called spam", "unsubscribed": "unsubscribed"}.get(match.kind, "")
    text = ", ".join(filter(None, (what, plain(words, 100))))
    return f"  row {match.sent.row:<5} {column(plain(match.recipient, 60), 28)}  {text}{also}"


def _without_repeating(code: str, reply: str) -> Iterable[str]:
    return (reply,) if code and code in reply else filter(None, (code, reply))
