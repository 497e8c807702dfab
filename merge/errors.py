"""What can go wrong?

    MergeError                      hint, exit code, problems
    ├── UsageError             2    the command line asks for something that cannot be
    ├── ConfigError            2    campaign.toml or accounts.toml
    ├── ContentError           1    the material is refused; nothing was sent
    │   ├── ListError               the list
    │   ├── LetterError             the letter
    │   ├── AddressError            one mailbox
    │   ├── AttachmentError         one attached file
    │   └── SealError               the bytes of a message are not those that were planned
    ├── ApprovalError          1    the number or the fingerprint is not the one in the plan
    ├── CarrierError           4    the way out is closed: connection, TLS, login, a stop by the server
    ├── JournalError           4    what happened cannot be recorded
    └── LockedError           75    another run holds the campaign

Errors carry primitives, never live objects. One room turns them into screens: `console`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a campaign, precise enough to go and mend it.

    `line` and `column` count from 1 in `file`, columns in characters; `width` is the length of the
    marked span. `row` is the number the spreadsheet shows for that row, header included. `value` is
    the offending text, raw: whoever prints it escapes it. `source` is the line that holds the span.
    """

    severity: Severity
    kind: str
    message: str
    file: str = ""
    line: int | None = None
    column: int | None = None
    width: int = 1
    row: int | None = None
    field: str = ""
    value: str = ""
    hint: str = ""
    source: str = ""


class MergeError(Exception):
    """The root of every error that this package raises on purpose.

    `hint` says what to do next, `problems` the places to look at; both may be empty.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", problems: Iterable[Problem] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.problems = tuple(problems)


class UsageError(MergeError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class ConfigError(MergeError):
    """campaign.toml, accounts.toml or the environment cannot be followed."""

    exit_code = 2


class ContentError(MergeError):
    """The list, the letter or an attachment is refused; nothing was sent."""


class ListError(ContentError):
    """The list cannot be read as a table of recipients."""


class LetterError(ContentError):
    """The letter cannot be read, or cannot be rendered for a row."""


class AddressError(ContentError):
    """A text is not exactly one deliverable mailbox."""


class AttachmentError(ContentError):
    """A file to attach is missing, unreadable or not the campaign's to send."""


class SealError(ContentError):
    """The bytes of a message are not the message that was planned."""


class ApprovalError(MergeError):
    """The confirmed number or the expected fingerprint is not the one in the plan."""


class CarrierError(MergeError):
    """The way out is closed for every row: connection, TLS, login, or a stop by the server."""

    exit_code = 4


class JournalError(MergeError):
    """What happened cannot be recorded, so nothing more may be sent."""

    exit_code = 4


class LockedError(MergeError):
    """Another run holds the campaign."""

    exit_code = 75
