"""What can be done on a line, and what comes of it? Values that pass between the dialogue and the session.

Those that every letter needs are named tuples: as immutable as the others, and made in half the time.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from merge.smtp.meaning import AFTERWARDS, AUTH, BODY, DATA, END_OF_DATA, MAIL, NOOP, QUIT, RCPT, RSET, Run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from merge.smtp.docket import Case


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for a whole reply, however many pieces it comes in (RFC 5321, 4.5.3.2).

    `block` is the longest time without a byte of a message taken, `afterwards` that for the rest of a reply
    that nobody asked for; `opening` holds for the stages that `replies` does not name.
    """

    connect: float = 30.0
    handshake: float = 30.0
    block: float = 180.0
    opening: float = 300.0
    replies: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType(
            {
                AUTH: 300.0,
                MAIL: 300.0,
                RCPT: 300.0,
                DATA: 120.0,
                BODY: 30.0,
                END_OF_DATA: 600.0,  # shorter makes uncertain rows out of slow ones
                RSET: 20.0,
                NOOP: 20.0,
                QUIT: 5.0,
                AFTERWARDS: 5.0,
            }
        )
    )

    def of(self, stage: str) -> float:
        """Return the seconds for a reply at that stage."""
        return self.replies.get(stage, self.opening)


# What to do.


class Read(NamedTuple):
    """Wait for bytes. The same object again means: the same reply, the same deadline."""

    stage: str
    seconds: float


class Ask(NamedTuple):
    """Write all of it, unless something unread has arrived; then read. The same object again: only read."""

    data: bytes
    read: Read


class Commit(NamedTuple):
    """Write `body` unless something arrives meanwhile, record the cases as committing, write `data`, read.

    `body` holds nothing that could end a message. `ends` are the offsets in `data` after which each case may
    count as accepted.
    """

    cases: tuple[Case, ...]
    body: bytes
    data: bytes
    ends: tuple[int, ...]
    read: Read


@dataclass(frozen=True, slots=True)
class Handshake:
    """Start TLS on the line."""


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing to do. After `seconds` of it the line wants to be kept alive."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Refill:
    """Take what else is offered: what comes next depends on how much there is."""


REFILL = Refill()


@dataclass(frozen=True, slots=True)
class Hangup:
    """Close the line. `run` says what then; GO_ON means: take another at once, nothing was lost.

    `reason` is a predicate, the server its subject. `least` and `tries` are those of the Verdict; tries are
    counted by `stage`. `slow`: the server finds us too fast.
    """

    run: Run
    reason: str
    hint: str = ""
    least: float = 0.0
    tries: int = 0
    stage: str = ""
    slow: bool = False


Step: TypeAlias = Ask | Commit | Read | Handshake | Idle | Refill | Hangup

# What came of it.


class Done(NamedTuple):
    """It was done; `heard` arrived meanwhile."""

    heard: bytes = b""


@dataclass(frozen=True, slots=True)
class Unread:
    """It was not done, or not to the end: `heard` was there first."""

    heard: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """The line is gone, or silent for too long (`late`); `heard` is what could still be read."""

    reason: str
    heard: bytes = b""
    late: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """The time of an Idle is up."""


@dataclass(frozen=True, slots=True)
class Leave:
    """An Idle ends because there is nothing more to send."""


Event: TypeAlias = Done | Unread | Lost | Tick | Leave

Talk: TypeAlias = Generator[Step, Event]
"""A part of a conversation: yields steps, is sent events."""
