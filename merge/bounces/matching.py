"""Which letter is a report about, and how sure is that?

Anybody can write a report. So it counts by itself only where it shows a mark that nobody knows but we and
those who got the letter: that of its Message-ID, or of the address that bounces go to. A report that merely
names an address of the list is shown, and decided about by the person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from merge.bounces.dsn import Failure
from merge.bounces.sighting import Sighting

if TYPE_CHECKING:
    from merge.journal import Bounces, Sent
    from merge.journal.bounced import Kind

Proof = Literal["Message-ID", "return path", "address"]


@dataclass(frozen=True, slots=True)
class Match:
    """A report, and the letter that it is about.

    `recipient` is whom it concerns, as addresses are compared: the row's own address, or, where a letter
    went to several people, perhaps another of them. `certain` means that nobody else could have said so, and
    that it is the row's own address. `also` is how the report calls that address, if otherwise: the mail was
    forwarded. `time` is in seconds since the epoch, `report` a hash of the report and the recipient.
    """

    sent: Sent
    kind: Kind
    recipient: str
    code: str
    reply: str
    proof: Proof
    certain: bool
    also: str
    time: float
    report: str


def matched(
    sightings: Sequence[Sighting], bounces: Bounces, now: float
) -> Iterator[tuple[Sighting, list[Match]]]:
    """Yield each sighting with the letters it is about, none where none is known. Raises JournalError."""
    by_mark = bounces.by_mark(mark for seen in sightings for mark in (*seen.ids, *seen.paths, *seen.answers))
    named = (name for seen in sightings for failure in seen.failures for name in _names(failure))
    gone = (address for seen in sightings for address in seen.gone)
    by_recipient = bounces.by_recipient({*named, *gone})
    for seen in sightings:
        time = min(seen.time or now, now)
        if seen.sort == "unsubscribed":
            letters = (letter for address in seen.gone for letter in by_recipient.get(address, [])[-1:])
            yield seen, [_goodbye(seen, letter, time) for letter in letters]
        elif seen.sort in ("bounce", "complaint", "delayed"):
            yield seen, list(_once(_about(seen, by_mark, by_recipient, time)))
        else:
            yield seen, []


def _about(
    seen: Sighting, by_mark: dict[str, Sent], by_recipient: dict[str, list[Sent]], time: float
) -> Iterator[Match]:
    places: tuple[tuple[Proof, tuple[str, ...]], ...] = (
        ("Message-ID", seen.ids),
        ("return path", seen.paths),
        ("Message-ID", seen.answers),
    )
    for proof, marks in places:
        sent = next((by_mark[mark] for mark in marks if mark in by_mark), None)
        if sent is not None:
            yield from _proven(seen, sent, proof, time)
            return
    for failure in seen.failures:
        for name in _names(failure):
            if letters := by_recipient.get(name):
                yield _match(seen, letters[-1], failure, name, "address", time, certain=False)
                break


def _proven(seen: Sighting, sent: Sent, proof: Proof, time: float) -> Iterator[Match]:
    own = sent.to.casefold()
    naming = [failure for failure in seen.failures if own in _names(failure)]
    others = [failure for failure in seen.failures if failure not in naming]
    alone = sent.people == 1 and not seen.several
    if naming:
        for failure in naming:
            yield _match(seen, sent, failure, own, proof, time, certain=True)
    elif alone and others:
        # Forwarded: the last server knows the address by another name, but it was ours that led there.
        worst = next((failure for failure in others if failure.kind == "hard"), others[0])
        yield _match(seen, sent, worst, own, proof, time, certain=True)
    if not alone:
        for failure in others:
            yield _match(seen, sent, failure, failure.recipient or own, proof, time, certain=False)


def _match(  # noqa: PLR0913, PLR0917 - what makes one
    seen: Sighting, sent: Sent, failure: Failure, recipient: str, proof: Proof, time: float, *, certain: bool
) -> Match:
    kind: Kind = "complaint" if seen.sort == "complaint" else failure.kind
    also = failure.recipient if failure.recipient != recipient and recipient not in failure.others else ""
    report = _report(seen, recipient)
    return Match(sent, kind, recipient, failure.code, failure.reply, proof, certain, also, time, report)


def _goodbye(seen: Sighting, sent: Sent, time: float) -> Match:
    own = sent.to.casefold()
    report = _report(seen, own)
    return Match(
        sent,
        "unsubscribed",
        own,
        "",
        "by mail",
        "Message-ID",
        certain=True,
        also="",
        time=time,
        report=report,
    )


def _names(failure: Failure) -> tuple[str, ...]:
    return tuple(name for name in (failure.recipient, *failure.others) if name)


def _once(matches: Iterable[Match]) -> Iterator[Match]:
    """Leave one for each recipient: the first that is hard, or else the first."""
    found: dict[str, Match] = {}
    for match in matches:
        if match.recipient not in found or (match.kind == "hard" and found[match.recipient].kind == "soft"):
            found[match.recipient] = match
    yield from found.values()


def _report(seen: Sighting, recipient: str) -> str:
    return hashlib.sha256(f"{seen.digest}\0{recipient}".encode("utf-8", "replace")).hexdigest()
