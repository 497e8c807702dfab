"""What travels? The values of the journey, each made once, in one room, and only moving forward.

Recipient (table) -> Letter (compose) -> Delivery (seal) -> Outcome (carrier)
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from datetime import datetime
from enum import StrEnum
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from merge.errors import Problem

_Value = TypeVar("_Value")


class State(StrEnum):
    """The visible states; every row is in exactly one of them (docs/promise.md)."""

    INVALID = "invalid"
    SKIPPED = "skipped"
    WAITING = "waiting"
    DEFERRED = "deferred"
    FAILED = "failed"
    SENT = "sent"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Recipient:
    """One row of the list.

    `row` is the number that the spreadsheet shows, counted from 1 with the header in. `cells` maps
    each column's name, as its header has it, to the text a person sees in the cell. `address` and `id`
    are the raw texts of those two columns; `id` is None where the campaign names no id column.
    `problems` are the reader's own remarks on this row (a cell too many, a missing cell). Where rows are
    grouped, `group` holds the cells of all rows of this person's letter, its own first, and a row that is
    in another one's letter has that one's number in `joined`.
    """

    row: int
    cells: Mapping[str, str]
    address: str
    id: str | None = None
    problems: tuple[Problem, ...] = ()
    group: tuple[Mapping[str, str], ...] = ()
    joined: int | None = None


class Cells(Mapping[str, str]):
    """The texts of one row by the names of their columns, of which all rows share one index. Read-only."""

    __slots__ = ("_places", "_texts")

    def __init__(self, places: Mapping[str, int], texts: Sequence[str]) -> None:
        """`places` tells where in `texts` each column is."""
        self._places = places
        self._texts = texts

    def __getitem__(self, name: str) -> str:
        """Return the text of a column; raises KeyError."""
        return self._texts[self._places[name]]

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the columns in their order."""
        return iter(self._places)

    def __len__(self) -> int:
        """How many columns there are."""
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        """Whether there is such a column."""
        return name in self._places

    def __eq__(self, other: object) -> bool:
        """Whether all columns and texts are the same, their order included; others compare as mappings."""
        if isinstance(other, Cells):
            return self._texts == other._texts and self._places == other._places
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment] # as every mapping

    @property
    def length(self) -> int:
        """How many characters there are in all."""
        return sum(map(len, self._texts))

    def __repr__(self) -> str:
        """As a dict."""
        return repr(dict(self))


class _Draft:
    """A recipient not yet frozen: it has the slots of one, and setting them takes a fifth of the time."""

    __slots__ = ("address", "cells", "group", "id", "joined", "problems", "row")
    row: int
    cells: Mapping[str, str]
    address: str
    id: str | None
    problems: tuple[Problem, ...]
    group: tuple[Mapping[str, str], ...]
    joined: int | None


def sound_recipients(
    first: int,
    places: Mapping[str, int],
    rows: Iterable[Sequence[str]],
    addresses: Iterable[str],
    ids: Iterable[str | None],
) -> Iterator[Recipient]:
    """Yield the recipients of consecutive rows on which there is nothing to remark.

    `first` is the number of the first row, `rows` are the texts of each, of which `places` tells where each
    column is. They are what the constructors of `Recipient` and `Cells` would make, in a third of the time.
    """
    blank = object.__new__
    for row, texts, address, id_ in zip(count(first), rows, addresses, ids, strict=False):
        cells = blank(Cells)
        cells._places = places  # noqa: SLF001 - spares a call of `__init__` for each row
        cells._texts = texts  # noqa: SLF001 - as above
        draft = _Draft()
        draft.row = row
        draft.cells = cells
        draft.address = address
        draft.id = id_
        draft.problems = ()
        draft.group = ()
        draft.joined = None
        draft.__class__ = Recipient  # type: ignore[assignment] # it has the same slots
        yield draft  # type: ignore[misc] # as above


class Mailbox(NamedTuple):
    """A display name, possibly empty, and an address as it goes on the wire.

    The domain is in A-labels (RFC 5890). A local part beyond ASCII stays as it is and needs a server
    with SMTPUTF8 (RFC 6531).
    """

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who the servers are told (RFC 5321, 2.3.1): independent of what the headers say.

    `sender` is the reverse-path without brackets, `recipients` the forward-paths, none of them twice.
    """

    sender: str
    recipients: tuple[str, ...]

    @property
    def needs_smtputf8(self) -> bool:
        """Whether an address goes beyond ASCII (RFC 6531)."""
        return not (self.sender.isascii() and all(address.isascii() for address in self.recipients))


@dataclass(frozen=True, slots=True)
class Attachment:
    """One file of one letter. `content_id`, without brackets, is set for images shown in the letter."""

    name: str
    media_type: str
    content: bytes
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class Woven:
    """A text in pieces: what it shares with other rows, and what is this row's own.

    The text is `parts` with `values` between them; there is one part more than there are values.
    """

    parts: tuple[str, ...]
    values: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole text."""
        pieces = [""] * (len(self.parts) + len(self.values))
        pieces[::2], pieces[1::2] = self.parts, self.values
        return "".join(pieces)


_IN_PIECES = {"text": "woven_text", "html": "woven_html"}


@dataclass(frozen=True, slots=True)
class Letter:
    """One personal letter, rendered and checked, not yet bytes.

    `headers` are (name, value) pairs in the order of the wire, values as a person reads them; Bcc is
    never among them. Address headers also stand in `mailboxes`, by lower-case header name.
    At least one of `text` and `html` is set; line ends in both are LF. Where the same texts are at hand
    in pieces, `woven_text` and `woven_html` hold them, so that shared pieces need be encoded only once, and
    the whole is put together when somebody asks for it.
    """

    key: str
    row: int
    envelope: Envelope
    headers: tuple[tuple[str, str], ...]
    mailboxes: Mapping[str, tuple[Mailbox, ...]]
    text: str | None
    html: str | None
    attachments: tuple[Attachment, ...]
    message_id: str
    date: datetime
    digest: str
    woven_text: Woven | None = None
    woven_html: Woven | None = None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> str | None:
            """Put a text together that was left in pieces."""
            if name not in _IN_PIECES:
                raise AttributeError(name)
            woven = getattr(self, _IN_PIECES[name])
            text = woven.text if woven else None
            object.__setattr__(self, name, text)
            return text


@dataclass(frozen=True, slots=True)
class Delivery:
    """An envelope and the exact bytes that go with it.

    `content` is the message of RFC 5322: CRLF line ends, the last line complete, no dot-stuffing.
    `message_id` is in angle brackets; it and `date` are the same on every attempt. `digest` is a hash
    of what the person approved for this row (hexadecimal). `attempts` counts those already made;
    `not_before` is the moment, in seconds since the epoch, before which a deferred row is not tried again.
    """

    key: str
    row: int
    envelope: Envelope
    content: bytes
    message_id: str
    date: datetime
    digest: str
    attempts: int = 0
    not_before: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt came to.

    `state` is SENT, FAILED, DEFERRED or UNCERTAIN; or SKIPPED, when nothing was said of the letter because it
    must not go after all, with `reply` as the reason. `stage` is the command that was answered: "MAIL",
    "RCPT", "DATA" or "end of data"; by other ways out "request" or "program". `code` is the reply code
    (RFC 5321, 4.2), `enhanced` the enhanced status code (RFC 3463) where it agrees with it, `reply` the text:
    at most 500 characters, nothing in it that a terminal would obey. `recipient` is the address that was
    refused, if one was.
    """

    key: str
    row: int
    state: State
    stage: str
    code: int | None = None
    enhanced: str = ""
    reply: str = ""
    recipient: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What the journal knows of one row of the list.

    `time` is the moment of the last attempt and `due` that of the next, in seconds since the epoch.
    `reason` says why a row is invalid or skipped, or why it was given up. `settled` is True for an
    uncertain row about which the person has decided. `message_id` is in angle brackets, and empty as
    long as no server was given the message.
    """

    row: int
    key: str
    to: str
    state: State
    code: int | None = None
    enhanced: str = ""
    reply: str = ""
    attempts: int = 0
    message_id: str = ""
    time: float | None = None
    due: float | None = None
    settled: bool = False
    reason: str = ""
    stage: str = ""


def quick(kind: type[_Value], *, without: Container[str] = ()) -> type[_Value]:
    """Return what makes values of one of these classes, with the same arguments, in half the time or less.

    A frozen class sets each field through `object.__setattr__`. Here the fields are set on an object with
    the same slots that is not frozen yet, and then becomes one of the class. Fields that are named in
    `without` are no arguments, and stay unset.
    """

    def freeze(self: object) -> None:
        self.__class__ = kind  # it has the same slots

    def described(name: str, default: object) -> Any:  # noqa: ANN401 - typed as the default of the field
        return field(init=False) if name in without else field(default=default)

    draft = make_dataclass(
        f"Quick{kind.__name__}",
        [(found.name, found.type, described(found.name, found.default)) for found in fields(kind)],  # type: ignore[arg-type] # they all are dataclasses
        namespace={"__post_init__": freeze},
        eq=False,
        repr=False,
        slots=True,
    )
    return cast("type[_Value]", draft)
