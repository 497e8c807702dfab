"""What came back of what was sent? Reports that arrive after the sending, each beside its row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from merge.journal.database import Database

Kind = Literal["hard", "soft", "complaint", "unsubscribed"]

KINDS: tuple[Kind, ...] = ("complaint", "unsubscribed", "hard", "soft")
"""From what weighs most to what weighs least."""

_AT_ONCE = 900
"""Values in one question: older builds of SQLite take 999."""
_SENT = """
SELECT editions.name, rows.edition, rows.key, rows.row, rows.recipient, rows.recipients, rows.message_id
FROM rows JOIN editions ON editions.id = rows.edition
WHERE rows.copy = 0 AND message_id > '' AND state IN ('sent', 'uncertain', 'committing') AND
"""
_BY_MARK = f"{_SENT} substr(message_id, 2, instr(message_id, '@') - 2) IN "
_BY_RECIPIENT = f"{_SENT} lower(recipient) IN "
_KNOWN = "SELECT report FROM bounces WHERE report IN "
_WORST = """
SELECT key, kind, code, reply FROM bounces WHERE edition = ?
ORDER BY CASE kind WHEN 'soft' THEN 0 WHEN 'hard' THEN 1 WHEN 'unsubscribed' THEN 2 ELSE 3 END, time, id
"""
_RECORD = """
INSERT OR IGNORE INTO bounces (edition, key, recipient, kind, code, reply, time, report)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """A letter that a server was given: where it stands in the journal, and whom it went to.

    `to` is the row's address, `people` the number of addresses that the letter went to, Cc and Bcc included.
    """

    edition: str
    number: int
    key: str
    row: int
    to: str
    people: int
    mark: str


@dataclass(frozen=True, slots=True)
class Bounce:
    """One report about one letter.

    `code` is the enhanced status code (RFC 3463), or empty; `time` is in seconds since the epoch. `report`
    is a hash of the report and the address: what is recorded twice counts once.
    """

    sent: Sent
    recipient: str
    kind: Kind
    code: str
    reply: str
    time: float
    report: str


class Bounces:
    """The reports in a journal, of all its editions. Every method raises JournalError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def by_mark(self, marks: Iterable[str]) -> dict[str, Sent]:
        """Find letters by the part of their Message-IDs before the @, in lower case."""
        return {sent.mark: sent for sent in self._found(_BY_MARK, marks)}

    def by_recipient(self, addresses: Iterable[str]) -> dict[str, list[Sent]]:
        """Find letters by the row's address, as addresses are compared; the newest sending last."""
        found: dict[str, list[Sent]] = {}
        for sent in self._found(_BY_RECIPIENT, addresses):
            found.setdefault(sent.to.casefold(), []).append(sent)
        return found

    def first_sending(self) -> float | None:
        """Return when the first letter of any edition was tried, in seconds since the epoch."""
        found: float | None = self._database.one("SELECT min(first) FROM rows")[0]
        return found

    def known(self, reports: Iterable[str]) -> set[str]:
        """Return those of the reports that are on record."""
        return {report for batch in _batches(reports) for (report,) in self._ask(_KNOWN, batch)}

    def record(self, bounces: Iterable[Bounce]) -> int:
        """Write reports down, all or none, on disk when it returns; return how many were new."""
        with self._database.durable(), self._database.transaction():
            return sum(
                self._database.run(
                    _RECORD,
                    (
                        bounce.sent.number,
                        bounce.sent.key,
                        bounce.recipient,
                        bounce.kind,
                        bounce.code,
                        bounce.reply,
                        bounce.time,
                        bounce.report,
                    ),
                )
                for bounce in bounces
            )

    def worst(self, edition: int) -> dict[str, tuple[Kind, str, str]]:
        """Return for each row's key of an edition the report that weighs most: kind, code and reply."""
        return {key: (kind, code, reply) for key, kind, code, reply in self._database.all(_WORST, (edition,))}

    def _found(self, statement: str, values: Iterable[str]) -> Iterator[Sent]:
        for batch in _batches(dict.fromkeys(values)):
            for edition, number, key, row, to, people, message_id in self._ask(statement, batch):
                mark = message_id[1:].partition("@")[0].lower()
                yield Sent(edition, number, key, row, to, people, mark)

    def _ask(self, statement: str, values: tuple[str, ...]) -> Iterator[Any]:
        return self._database.all(f"{statement}({','.join('?' * len(values))}) ", values)


def in_words(kind: Kind, code: str, reply: str) -> str:
    """Return a report as it is told beside its row."""
    if kind == "complaint":
        return "called spam by its reader"
    if kind == "unsubscribed":
        return "unsubscribed"
    said = " ".join(filter(None, (code, reply)))
    return f"bounced, {kind}" + (f": {said}" if said else "")


def _batches(values: Iterable[str]) -> Iterator[tuple[str, ...]]:
    ahead = iter(values)
    while batch := tuple(islice(ahead, _AT_ONCE)):
        yield batch
