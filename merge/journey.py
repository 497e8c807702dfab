"""How does a row become a delivery? The whole journey on one page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Literal

from merge.check import Findings, check, row_key
from merge.compose import Composer, Examined, Plans
from merge.consent import NO_CONSENT, consents
from merge.dkim import DkimSigner
from merge.errors import AddressError, ContentError, Problem, SealError
from merge.journal import Journal, Register
from merge.message import email_message
from merge.model import Delivery, Letter, Recipient
from merge.seal import seal
from merge.suppression import Suppression
from merge.table import Table
from merge.template import Choice, Template
from merge.template.branches import Branches

_ANY_DAY = datetime(2027, 1, 1, tzinfo=UTC)
"""The date of letters that are only looked at."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a campaign is made of, once its files are open.

    `rows` are those of the table, grouped where the campaign says so. `list_name` is as the person wrote it.
    `branches` compiles the letter once more, for counting its kinds. `dkim` vouches for the letters, where
    anybody does. `suppression` knows who does not want them, and the column `consent`, where there is one,
    who does. `unfit` says why a finished letter cannot go the way it is to go; None where any can. `plans`
    keep letters from their check to their sending.
    """

    table: Table
    rows: Iterable[Recipient]
    template: Template
    composer: Composer
    list_name: str
    condition: Choice | None
    duplicates: Literal["skip", "error"]
    branches: Callable[[], Branches]
    dkim: DkimSigner | None = None
    suppression: Suppression = field(default_factory=Suppression)
    consent: str = ""
    unfit: Callable[[Delivery], str] | None = None
    plans: Plans | None = None

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with the list and the letter as such, whatever the rows hold."""
        names = self.table.columns.names
        found = [*self.table.problems, *self.template.check_columns(names, self.list_name)]
        if self.condition:
            found += self.condition.check_columns(names, self.list_name)
        if self.dkim and (remark := self.dkim.remark(self.composer.domain)):
            found.append(remark)
        return found

    def ready(self) -> None:
        """Raise ConfigError where letters cannot be signed as the campaign wants them."""
        if self.dkim:
            self.dkim.key()

    def seal(self, letter: Letter, *, attempts: int = 0, not_before: float | None = None) -> Delivery:
        """Write a letter as it leaves, to the last byte. Raises SealError, ConfigError."""
        delivery = seal(letter, attempts=attempts, not_before=not_before)
        return self.dkim.sign(delivery) if self.dkim else delivery

    def examine(self, recipient: Recipient) -> Examined:
        """Look at one row, its letter, and whether that can go its way. Bad rows raise nothing."""
        examined = self.composer.examine(recipient, self.plans)
        if self.unfit is None or any(problem.severity == "error" for problem in examined.problems):
            return examined
        letter = self.composer.compose(recipient, key="", message_id="<any@letter>", date=_ANY_DAY)
        try:
            why = self.unfit(seal(letter))
        except SealError as error:
            why = error.message
        if not why:
            return examined
        hint = "change the letter, or send it another way"
        problem = Problem(
            "error", "way", why, self.list_name, row=recipient.row, value=recipient.address, hint=hint
        )
        return replace(examined, problems=(*examined.problems, problem))

    def left_out(self, recipient: Recipient) -> str:
        """Say why the campaign leaves a row out; empty where it does not. Raises LetterError."""
        if any(problem.severity == "error" and problem.kind == "cells" for problem in recipient.problems):
            return ""  # which cell is which can't be told, so no cell may choose
        if self.condition is not None and not self.condition(recipient):
            return "not chosen by where"
        if self.consent and not consents(recipient.cells[self.consent]):
            return NO_CONSENT
        return self.refused(recipient)

    def refused(self, recipient: Recipient) -> str:
        """Say that a person wants no mail, as far as is known; empty where they said nothing."""
        try:
            return self.suppression.listed(recipient.address) or ""
        except AddressError:
            return ""

    def withheld(self, recipients: Sequence[str]) -> str:
        """Say why a letter to these addresses must not go, as far as is known; empty where it may."""
        return _unwanted(self.suppression.listed, recipients)

    def veto(self, delivery: Delivery) -> str:
        """Say why a delivery must not go after all, as of this very moment. Raises ListError."""
        return _unwanted(self.suppression.reason, delivery.envelope.recipients)


def _unwanted(reason_of: Callable[[str], str | None], recipients: Sequence[str]) -> str:
    for address in recipients:
        if reason := reason_of(address):
            return reason if len(recipients) == 1 else _to_one_of_several(address, reason)
    return ""


def _to_one_of_several(address: str, reason: str) -> str:
    head, _, words = reason.partition(": ")
    return f"{head}: it goes to {address} as well" + (f" ({words})" if words else "")


def look_through(
    parts: Parts,
    register: Register,
    left_out: Callable[[Recipient], str] = lambda _: "",
    withheld: Callable[[str, str], str] = lambda _key, _to: "",
    told: Callable[[Recipient], object] = lambda _: None,
) -> Findings:
    """Check the list, the letter and every row of it; nothing is sent.

    `left_out` says why a row is not sent to, besides the campaign's own reasons; `withheld` does so given its
    key and the first address that its letter goes to. `told` is given each row that gets a letter. Raises
    ContentError.
    """
    parts.suppression.refresh()
    found = check(
        parts.rows,
        examine=parts.examine,
        register=register,
        list_name=parts.list_name,
        general=parts.problems,
        duplicates=parts.duplicates,
        left_out=lambda recipient: parts.left_out(recipient) or left_out(recipient),
        withheld=lambda key, letter: parts.withheld(letter.recipients) or withheld(key, letter.to),
        told=told,
    )
    return replace(found, problems=tuple(_with_line(problem, parts) for problem in found.problems))


def _with_line(problem: Problem, parts: Parts) -> Problem:
    """Add the line of the list that a remark on one of its rows is about, where it has lines."""
    if problem.row is None or problem.line is not None or problem.file != parts.list_name:
        return problem
    line = parts.table.line_of(problem.row)
    return problem if line is None else replace(problem, line=line)


def letters(
    parts: Parts, message_id: Callable[[str], str], date: datetime, rows: range | None = None
) -> Iterator[Letter]:
    """Yield the letter of each row that can have one, in the order of the list; nothing is recorded.

    As when sending, a second row with an address has none, unless the rows before it are left out, by the
    campaign or because they are not among `rows`, numbers as the spreadsheet shows them. Raises ContentError
    where no row can have a letter, because the letter itself is wrong.
    """
    if errors := [problem for problem in parts.problems if problem.severity == "error"]:
        raise ContentError("the letter cannot be sent as it is", hint="mend it first", problems=errors)
    parts.suppression.refresh()
    seen: set[str] = set()
    for recipient in parts.rows:
        if rows is not None and recipient.row not in rows:
            continue
        key = _deliverable_key(parts, recipient)
        if not key or key in seen:
            continue
        if _is_wrong(recipient):
            seen.add(key)
            continue
        try:
            letter = parts.composer.compose(recipient, key=key, message_id=message_id(key), date=date)
        except ContentError:
            seen.add(key)
            continue
        if not parts.withheld(letter.envelope.recipients):
            seen.add(key)
            yield letter


def messages(
    parts: Parts, message_id: Callable[[str], str], date: datetime, rows: range | None = None
) -> Iterator[EmailMessage]:
    """Yield each letter as an EmailMessage: what `send` would send, for looking at."""
    return map(email_message, letters(parts, message_id, date, rows))


def deliveries(  # noqa: PLR0913 - what one run is about; all but two are named
    parts: Parts,
    journal: Journal,
    *,
    now: float,
    limit: int | None = None,
    rows: range | None = None,
    answering: str = "",
    finish: Callable[[Letter], Letter] = lambda letter: letter,
) -> Iterator[Delivery]:
    """Yield what is still to be sent, in the order of the list, each made when it is asked for.

    The journal must hold the approved plan: a row that differs from it raises ContentError. `limit` is a
    number of messages, `rows` are numbers as the spreadsheet shows them, `now` is seconds since the epoch.
    `answering` is the fingerprint of the version that each letter follows up, in the same thread. `finish`
    puts in what only a letter on its way has: the token to unsubscribe with, the address bounces go to.
    """
    made = 0
    domain = parts.composer.domain
    waiting = journal.waiting()
    today = datetime.fromtimestamp(int(now), UTC)
    for recipient in parts.rows:
        if limit is not None and made >= limit:
            return
        if recipient.row not in waiting:
            continue
        if rows is not None and recipient.row not in rows:
            continue
        key = _key(recipient)
        standing = waiting.standing(recipient.row, key) if key else None
        if standing is None:
            continue
        letter = parts.composer.compose(
            recipient,
            key=key,
            message_id=journal.message_id(key, domain),
            date=standing.date or today,
            plans=parts.plans,
        )
        if letter.digest != standing.digest:
            raise ContentError(
                f"row {recipient.row} ({recipient.address}) is not what was checked: "
                "the list, the letter or an attachment changed meanwhile",
                hint="run mergepost send again: it shows a new plan and goes on where this run stopped",
            )
        if (reason := parts.refused(recipient)) and not parts.withheld(letter.envelope.recipients):
            journal.skip(key, reason)
            continue
        made += 1
        if answering:
            letter = _in_thread(letter, journal.sent_with(answering, key))
        yield parts.seal(finish(letter), attempts=standing.attempts, not_before=standing.due)


def _in_thread(letter: Letter, first: str) -> Letter:
    """Make a letter an answer to the first one (RFC 5322, 3.6.4)."""
    thread = (("In-Reply-To", first), ("References", first))
    return replace(letter, headers=(*letter.headers, *thread)) if first else letter


def _is_wrong(recipient: Recipient) -> bool:
    """Whether the list itself keeps a row from being sent."""
    return any(problem.severity == "error" for problem in recipient.problems)


def _deliverable_key(parts: Parts, recipient: Recipient) -> str:
    key = _key(recipient)
    return "" if key and parts.left_out(recipient) else key


def _key(recipient: Recipient) -> str:
    """Return what a row is known by, empty where it can have no letter of its own."""
    if recipient.joined is not None or not any(text.strip() for text in recipient.cells.values()):
        return ""
    try:
        return row_key(recipient)
    except AddressError:
        return ""
