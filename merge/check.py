"""What is wrong with this campaign? Every row is looked at before anything is sent."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from merge.address import normalise, parse_mailbox, remarks
from merge.consent import NO_CONSENT
from merge.errors import AddressError, ListError, Problem, Severity
from merge.journal import Listed, Register
from merge.model import Recipient, State

_KEPT_PER_KIND = 1_000
_ROW = re.compile(r"row \d+")


class Examined(Protocol):
    """What composing a row for its check brings to light."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with this row; errors make it invalid."""

    @property
    def to(self) -> str:
        """The first address that the letter goes to."""

    @property
    def subject(self) -> str:
        """The subject as the person will read it."""

    @property
    def digest(self) -> str:
        """A hash of all that this person will get."""

    @property
    def size(self) -> int:
        """About how many bytes the message will have."""

    @property
    def recipients(self) -> Sequence[str]:
        """The addresses of everyone who gets it."""


@dataclass(frozen=True, slots=True)
class Glance:
    """One letter of the list, as the plan shows it."""

    row: int
    to: str
    subject: str


@dataclass(frozen=True, slots=True)
class Findings:
    """All that the check found.

    `problems` holds at most a thousand of each kind; `counts` counts them all, by (severity, kind).
    `fingerprint` stands for exactly these letters to exactly these people. `size` is in bytes. `skipped`
    says why rows are left out, and how many for each reason.
    """

    problems: tuple[Problem, ...]
    counts: tuple[tuple[str, str, int], ...]
    rows: int
    invalid: int
    fingerprint: str
    size: int
    first: Glance | None
    last: Glance | None
    skipped: tuple[tuple[str, int], ...] = ()

    @property
    def errors(self) -> int:
        """How many problems keep a row, or the letter, from being sent."""
        return sum(number for severity, _, number in self.counts if severity == "error")

    @property
    def warnings(self) -> int:
        """How many problems are worth a look, and no more."""
        return sum(number for severity, _, number in self.counts if severity == "warning")

    @property
    def refuses_letter(self) -> bool:
        """Whether something is wrong with the letter itself, so that no row can be sent."""
        return any(problem.severity == "error" and problem.row is None for problem in self.problems)


def row_key(recipient: Recipient) -> str:
    """Return what identifies a row for ever: its id, or else its address, never its number.

    Raises AddressError when it must be the address and that is none.
    """
    if recipient.id is not None:
        return recipient.id.strip()
    return normalise(parse_mailbox(recipient.address).address)


def address_key(recipient: Recipient) -> str:
    """Return the address that a row is known by; empty where it has an id, or no letter of its own."""
    if recipient.id is not None or _set_aside(recipient):
        return ""
    try:
        return row_key(recipient)
    except AddressError:
        return ""


def check(  # noqa: C901, PLR0913 - a branch for each thing that may become of a row, and its ingredients
    recipients: Iterable[Recipient],
    *,
    examine: Callable[[Recipient], Examined],
    register: Register,
    list_name: str,
    general: Iterable[Problem] = (),
    left_out: Callable[[Recipient], str] = lambda _: "",
    withheld: Callable[[str, Examined], str] = lambda _key, _letter: "",
    duplicates: Literal["skip", "error"] = "skip",
    told: Callable[[Recipient], object] = lambda _: None,
) -> Findings:
    """Look at every row, note each in the register, and return what was found.

    `general` are the problems of the list and the letter as such; where one of them is an error, rows are
    checked for their addresses only, because no letter can be made. `left_out` says why a row is not to be
    sent to, empty where it is; `withheld` does so where only the row's key and its letter can tell.
    `duplicates` are skipped, or errors. `told` is given each row that gets a letter. Raises ListError when
    there is no row.
    """
    found = _Found(general)
    letter_sound = not found.refused
    identities = _Identities(register, list_name, duplicates)
    for recipient in recipients:
        found.rows += 1
        if reason := _set_aside(recipient):
            to = recipient.address
            found.skip(reason)
            found.add(() if recipient.joined else recipient.problems)
            register.add(Listed(recipient.row, to, to, state=State.SKIPPED, reason=reason, duplicate=True))
            continue
        who = identities.of(recipient)
        problems = [*recipient.problems, *who.problems, *identities.remarks(recipient, who)]
        if letter_sound and (reason := left_out(recipient)):
            found.skip(reason)
            found.add(problem for problem in recipient.problems if _taken_as_empty(problem))
            if reason == NO_CONSENT:
                found.add(identities.against(recipient, who))
            register.add(who.line(State.SKIPPED, reason))
            continue
        if who.repeats:
            found.add(problems)
            found.skip(who.repeats)
            register.add(who.line(State.SKIPPED, who.repeats))
            continue
        examined = examine(recipient) if letter_sound else None
        if examined:
            address_known_bad = any(problem.kind == "address" for problem in who.problems)
            problems += [p for p in examined.problems if not (address_known_bad and p.kind == "address")]
        found.add(problems)
        wrong = next((problem.message for problem in problems if problem.severity == "error"), "")
        if wrong:
            found.invalid += 1
            register.add(who.line(State.INVALID, wrong))
        elif examined and (reason := withheld(who.key, examined)):
            words = f"not mailed: {reason}"
            found.add([Problem("warning", "suppressed", words, list_name, row=recipient.row, value=who.to)])
            found.skip(reason)
            register.add(who.line(State.SKIPPED, reason))
        elif examined:
            line = Listed(recipient.row, who.key, who.to, examined.digest, len(examined.recipients))
            state = register.add(line)
            found.approve(who.key, examined.digest)
            told(recipient)
            if state in (State.WAITING, State.DEFERRED):
                found.add(identities.in_spite(recipient, who))
                found.letter(Glance(recipient.row, examined.to, examined.subject), examined.size)
    if not found.rows:
        raise ListError(f"{list_name} has no rows under its header", hint="add one row for each person")
    return found.findings()


def _taken_as_empty(problem: Problem) -> bool:
    """Whether a cell is not what a person sees, which may be why its row is left out."""
    return problem.severity == "warning" and problem.kind in {"cells", "formula"}


def _set_aside(recipient: Recipient) -> str:
    """Say why a row makes no letter of its own, whatever it holds; empty where it does."""
    if recipient.joined is not None:
        return f"in the letter of row {recipient.joined}"
    if any(problem.severity == "error" for problem in recipient.problems):
        return ""
    return "" if any(text.strip() for text in recipient.cells.values()) else "empty row"


@dataclass(frozen=True, slots=True)
class _Identity:
    """Who a row is. `key` and `to` go as far as they can be made out.

    `further`: the key is missing, or another row's. `repeats` says which row has the address already.
    """

    row: int
    key: str
    to: str
    further: bool
    repeats: str
    problems: tuple[Problem, ...]

    def line(self, state: State, reason: str) -> Listed:
        """Return what the register is told of a row that gets no letter."""
        return Listed(self.row, self.key, self.to, state=state, reason=reason, duplicate=self.further)


_TAKE_OUT = "take the row that is wrong out; who wants no mail belongs on the suppression list"


class _Identities:
    """Tells who each row is, and whether that one was there before."""

    def __init__(self, register: Register, list_name: str, duplicates: Literal["skip", "error"]) -> None:
        self._register = register
        self._duplicates = duplicates
        self._list_name = list_name
        self._addresses: dict[int, int] = {}
        self._against: dict[int, int] = {}

    def of(self, recipient: Recipient) -> _Identity:
        """Return who the row is."""
        try:
            to = parse_mailbox(recipient.address).address
        except AddressError as error:
            wrong = self._problem("error", "address", recipient, error.message, error.hint)
            key = recipient.address if recipient.id is None else recipient.id.strip()
            return _Identity(
                recipient.row, key, recipient.address, further=True, repeats="", problems=(wrong,)
            )
        if recipient.id is not None:
            return self._by_id(recipient, recipient.id.strip(), to)
        key = normalise(to)
        twin = self._register.seen(key)
        if twin is None or twin.gives_way:
            return _Identity(recipient.row, key, to, further=False, repeats="", problems=())
        words = f"same address as row {twin.row}"
        if self._duplicates == "error":
            wrong = self._problem("error", "duplicate", recipient, words, "take one of the two out")
            return _Identity(recipient.row, key, to, further=True, repeats="", problems=(wrong,))
        problem = self._problem("warning", "duplicate", recipient, words)
        return _Identity(recipient.row, key, to, further=True, repeats=words, problems=(problem,))

    def remarks(self, recipient: Recipient, who: _Identity) -> list[Problem]:
        """Return what a person should look at in an address that is one."""
        if any(problem.kind == "address" for problem in who.problems):
            return []
        return [self._problem("warning", "address", recipient, words) for words in remarks(recipient.address)]

    def against(self, recipient: Recipient, who: _Identity) -> list[Problem]:
        """Note a row without consent; return the remark on it where an earlier one says otherwise."""
        if any(problem.kind == "address" for problem in who.problems):
            return []
        self._against.setdefault(hash(normalise(who.to)), recipient.row)
        twin = self._register.seen(who.key)
        if recipient.id is not None or twin is None or twin.gives_way:
            return []
        words = f"no consent here, but row {twin.row} has the same address, and consent"
        return [self._problem("warning", "consent", recipient, words, _TAKE_OUT)]

    def in_spite(self, recipient: Recipient, who: _Identity) -> list[Problem]:
        """Return the remark on a row that is mailed while one before it has its address without consent."""
        row = self._against.get(hash(normalise(who.to))) if self._against else None
        if row is None:
            return []
        words = f"mailed, although row {row} has the same address without consent"
        return [self._problem("warning", "consent", recipient, words, _TAKE_OUT)]

    def _by_id(self, recipient: Recipient, key: str, to: str) -> _Identity:
        twin = self._register.seen(key) if key else None
        if not key or twin is not None:
            words = f"the id {key} belongs to row {twin.row} already" if twin else "the id is empty"
            wrong = self._problem("error", "id", recipient, words, "give each row an id of its own")
            return _Identity(recipient.row, key, to, further=True, repeats="", problems=(wrong,))
        first = self._addresses.setdefault(hash(normalise(to)), recipient.row)
        if first == recipient.row:
            return _Identity(recipient.row, key, to, further=False, repeats="", problems=())
        words = f"same address as row {first}; both get a letter, because their ids differ"
        problem = self._problem("warning", "duplicate", recipient, words)
        return _Identity(recipient.row, key, to, further=False, repeats="", problems=(problem,))

    def _problem(
        self, severity: Severity, kind: str, recipient: Recipient, message: str, hint: str = ""
    ) -> Problem:
        value = recipient.id or "" if kind == "id" else recipient.address
        return Problem(severity, kind, message, self._list_name, row=recipient.row, value=value, hint=hint)


class _Found:
    """The findings while they grow; bounded, however many rows are wrong."""

    def __init__(self, general: Iterable[Problem]) -> None:
        self.rows = self.invalid = 0
        self._kept: list[Problem] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._digest = hashlib.sha256()
        self._size = 0
        self._skipped: Counter[str] = Counter()
        self._first: Glance | None = None
        self._last: Glance | None = None
        self.add(general)
        self.refused = any(severity == "error" for severity, _ in self._counts)

    def add(self, problems: Iterable[Problem]) -> None:
        """Count problems, and keep those that someone may still read."""
        for problem in problems:
            kind = (problem.severity, problem.kind)
            self._counts[kind] += 1
            if self._counts[kind] <= _KEPT_PER_KIND:
                self._kept.append(problem)

    def approve(self, key: str, digest: str) -> None:
        """Take a letter into the fingerprint."""
        self._digest.update(f"{key}\0{digest}\n".encode("utf-8", "surrogatepass"))

    def skip(self, reason: str) -> None:
        """Count a row that is left out, under the general part of the reason."""
        self._skipped[_ROW.sub("another row", reason.partition(":")[0])] += 1

    def letter(self, glance: Glance, size: int) -> None:
        """Count a letter that is to go out."""
        self._size += size
        self._last = glance
        self._first = self._first or glance

    def findings(self) -> Findings:
        """Return the whole."""
        text = self._digest.hexdigest()
        return Findings(
            problems=tuple(self._kept),
            counts=tuple((*kind, number) for kind, number in self._counts.items()),
            rows=self.rows,
            invalid=self.invalid,
            fingerprint=f"{text[:4]}-{text[4:6]}",
            size=self._size,
            first=self._first,
            last=self._last,
            skipped=tuple(self._skipped.most_common()),
        )
