"""Was this very letter tested, and when?"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from merge.journal import Meta

_NAME = "tested {}"


@dataclass(frozen=True, slots=True)
class Test:
    """A rehearsal whose letters were all accepted.

    `time` is in seconds since the epoch, `address` the tester's. `letters` of so many `kinds` were sent.
    """

    __test__ = False

    time: float
    address: str
    letters: int
    kinds: int


def note(meta: Meta, fingerprint: str, test: Test) -> None:
    """Keep with an edition that the letters of a fingerprint were tested. Raises JournalError."""
    meta.set(_NAME.format(fingerprint), json.dumps(asdict(test)))


def last(meta: Meta, fingerprint: str) -> Test | None:
    """Return the latest test of the letters of a fingerprint. Raises JournalError."""
    kept = meta.get(_NAME.format(fingerprint))
    return Test(**json.loads(kept)) if kept else None
