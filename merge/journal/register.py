"""What is noted of each row while the list is gone through, and by whom?"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from merge.model import State


class Listed(NamedTuple):
    """What the list says of one row.

    `state` is WAITING (to be sent), or INVALID or SKIPPED with a `reason`. `digest` is that of its letter,
    empty where there is none; the letter goes to so many `recipients`, Cc and Bcc included. A `duplicate` is
    a row that does not stand for its key: the key is missing, or another row's.
    """

    row: int
    key: str
    to: str
    digest: str = ""
    recipients: int = 1
    state: State = State.WAITING
    reason: str = ""
    duplicate: bool = False


class Holder(NamedTuple):
    """The row that stands for a key so far; one that is skipped gives way to the next with that key."""

    row: int
    gives_way: bool


class Register(Protocol):
    """Where the rows are noted while they are checked.

    A key belongs to the first row with it that is not skipped, or else to the first row with it.
    """

    def seen(self, key: str) -> Holder | None:
        """Return the row that stands for this key so far in this pass, None where there is none yet."""

    def add(self, line: Listed) -> State:
        """Note a row, and return the state it has now that its past is known."""
