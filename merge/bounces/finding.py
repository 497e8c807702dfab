"""What was found in the mailbox, and what is to be done about it? Facts and decisions, nothing written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from merge.bounces.matching import Match, matched
from merge.bounces.sighting import Sighting, Sort, sighting

if TYPE_CHECKING:
    from merge.bounces.mailbox import Letterbox
    from merge.journal import Bounces
    from merge.unsubscribe import Tokens

_AT_ONCE = 900


@dataclass
class Finding:
    """What one look into a mailbox brought to light.

    `sorts` counts the mails by what they are. `fresh` are reports that are not on record yet, `known` counts
    those that are. `strangers` counts reports about no letter of this campaign, `delayed` are letters that
    are late, but not lost. `gone` are addresses that unsubscribed by mail and that this campaign does not
    know, with the time. `names` are the mails that were understood, as the mailbox calls them, each with the
    reports that are in it.
    """

    place: str
    sorts: Counter[Sort] = field(default_factory=Counter)
    fresh: list[Match] = field(default_factory=list)
    known: int = 0
    strangers: int = 0
    delayed: list[Match] = field(default_factory=list)
    gone: dict[str, float] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)

    @property
    def read(self) -> int:
        """How many mails were looked at."""
        return sum(self.sorts.values())

    @property
    def delayed_rows(self) -> int:
        """How many letters are late, but not lost."""
        return len({(match.sent.number, match.sent.key) for match in self.delayed})

    @property
    def noted(self) -> list[Match]:
        """What is written down without asking: soft bounces, complaints and goodbyes that are certain."""
        return [match for match in self.fresh if match.certain and match.kind != "hard"]

    @property
    def at_once(self) -> dict[str, Match | None]:
        """Who is suppressed without asking, because they said so themselves, with the report, if any."""
        found: dict[str, Match | None] = dict.fromkeys(self.gone)
        for match in self.noted:
            if match.kind in ("complaint", "unsubscribed"):
                found[match.recipient] = match
        return found

    @property
    def left(self) -> set[str]:
        """Who unsubscribed by mail."""
        return {a for a, match in self.at_once.items() if match is None or match.kind == "unsubscribed"}

    @property
    def dead(self) -> list[Match]:
        """Addresses that nothing will ever reach again: suppressed after a yes."""
        return [match for match in self.fresh if match.certain and match.kind == "hard"]

    @property
    def unproven(self) -> list[Match]:
        """What anybody could have written: suppressed after a yes of its own."""
        return [match for match in self.fresh if not match.certain and match.kind in ("hard", "complaint")]

    @property
    def doubtful(self) -> list[Match]:
        """The same, of no consequence: soft bounces that show no mark."""
        return [match for match in self.fresh if not match.certain and match.kind == "soft"]


def find(letterbox: Letterbox, bounces: Bounces | None, tokens: Tokens | None, now: float) -> Finding:
    """Look through a mailbox. Without `bounces` nothing was ever sent, and every report is a stranger.

    Memory stays flat for ordinary mails. Raises CarrierError, JournalError.
    """
    finding = Finding(letterbox.place)
    batch: list[tuple[str, Sighting]] = []
    seen_before: set[str] = set()
    for name, raw in letterbox.mails():
        seen = sighting(raw, tokens)
        finding.sorts[seen.sort] += 1
        if seen.sort in ("bounce", "complaint", "delayed", "unsubscribed"):
            batch.append((name, seen))
        if len(batch) >= _AT_ONCE:
            _take_in(finding, batch, bounces, now, seen_before)
            batch = []
    _take_in(finding, batch, bounces, now, seen_before)
    return finding


def _take_in(
    finding: Finding,
    batch: list[tuple[str, Sighting]],
    bounces: Bounces | None,
    now: float,
    seen_before: set[str],
) -> None:
    finding.names |= {name: set() for name, _ in batch}
    if bounces is None:
        for _, seen in batch:
            finding.gone |= dict.fromkeys(seen.gone, min(seen.time or now, now))
        finding.strangers += sum(seen.sort != "unsubscribed" for _, seen in batch)
        return
    matches: list[Match] = []
    told = matched([seen for _, seen in batch], bounces, now)
    for (name, _), (seen, found) in zip(batch, told, strict=True):
        finding.names[name] = {match.report for match in found}
        if seen.sort == "delayed":
            finding.delayed += found
        else:
            matches += found
        finding.strangers += not found and seen.sort != "unsubscribed"
        for address in set(seen.gone) - {match.recipient for match in found}:
            finding.gone[address] = min(seen.time or now, now)
    known = bounces.known(match.report for match in matches) | seen_before
    for match in matches:
        if match.report in known:
            finding.known += 1
        else:
            known.add(match.report)
            seen_before.add(match.report)
            finding.fresh.append(match)


def as_json(finding: Finding, suppressed: Iterable[str]) -> Mapping[str, object]:
    """Return what `mergepost bounces --json` prints; `suppressed` are the addresses put on the list."""
    entries = [
        {
            "edition": match.sent.edition,
            "row": match.sent.row,
            "key": match.sent.key,
            "to": match.recipient,
            "kind": match.kind,
            "code": match.code,
            "reply": match.reply,
            "proof": match.proof,
            "certain": match.certain,
            "reported_as": match.also,
        }
        for match in finding.fresh
    ]
    return {
        "mailbox": finding.place,
        "read": finding.read,
        "mails": dict(finding.sorts),
        "new": entries,
        "known": finding.known,
        "unmatched": finding.strangers,
        "delayed": finding.delayed_rows,
        "unsubscribed": sorted(finding.left),
        "to_confirm": len({match.recipient for match in finding.dead}),
        "to_confirm_by_address": len({match.recipient for match in finding.unproven}),
        "suppressed": sorted(suppressed),
    }
