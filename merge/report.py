"""What does the person get to see of what happened? results.csv, JSON, the tally."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from merge.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from merge.model import Record, State

COLUMNS = ("row", "key", "to", "state", "code", "reply", "attempts", "message_id", "time")

_FORMULA = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What a spreadsheet may take for the start of a formula, full-width forms included."""


def safe(text: str) -> str:
    """Return a text as a spreadsheet may have it: an apostrophe goes before what may start a formula."""
    return f"'{text}" if text[:1] in _FORMULA else text


def moment(seconds: float | None) -> str:
    """Return a moment given in seconds since the epoch as ISO 8601 in UTC, to the second; "" for None."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def values(record: Record) -> tuple[str, ...]:
    """Return one row of results.csv, in the order of COLUMNS, every value safe in a spreadsheet.

    `code` is the reply code; `reply` begins with the enhanced code, if there is one. Without a reply it is
    the reason why a row is invalid, skipped or given up.
    """
    said = " ".join(filter(None, (record.enhanced, record.reply)))
    reply = "; ".join(filter(None, (said, record.reason)))
    code = str(record.code or "")
    return (
        str(record.row),
        safe(record.key),
        safe(record.to),
        record.state.value,
        code,
        safe(reply),
        str(record.attempts),
        safe(record.message_id),
        moment(record.time),
    )


def write_results(records: Iterable[Record], path: Path) -> None:
    """Write results.csv: UTF-8 with a byte order mark, the old file replaced whole or not at all.

    It is personal data, so its owner alone may read it. Raises JournalError when the disk does not take it.
    """
    with (
        replacing(path) as draft,
        draft.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(values(record) for record in records)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file to write beside `path`; it takes the place of `path` when all went well.

    Raises JournalError when the disk does not take it; then the old file is as it was.
    """
    draft = path.with_name(path.name + ".part")
    try:
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600, exist_ok=False)
        yield draft
        draft.replace(path)
    except OSError as error:
        raise JournalError(
            f"{path} cannot be written: {error.strerror}",
            hint="close it elsewhere or make room, then run mergepost status; the journal has everything",
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def as_text(records: Iterable[Record]) -> str:
    """Return what results.csv would hold, without the byte order mark."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(values(record) for record in records)
    return text.getvalue().rstrip("\n")


def status(  # noqa: PLR0913 - the keys of the answer
    counts: Mapping[State, int],
    *,
    campaign: str,
    edition: str,
    fingerprint: str,
    next_step: str,
    bounced: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return what `mergepost status --json` prints: `states` has all seven and sums to `total`.

    `bounced` counts the sent rows that came back, by kind; without any there is no such key.
    """
    facts = {
        "campaign": campaign,
        "edition": edition,
        "fingerprint": fingerprint,
        "total": sum(counts.values()),
        "states": {state.value: number for state, number in counts.items()},
        "next": next_step,
    }
    return {**facts, "bounced": dict(bounced)} if bounced else facts


def groups(records: Iterable[Record]) -> list[tuple[tuple[State, int | None, str], int]]:
    """Group rows by state, code and enhanced code; return the groups with their sizes, largest first."""
    return Counter((record.state, record.code, record.enhanced) for record in records).most_common()
