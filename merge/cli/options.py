"""What do several commands ask in the same words?"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from merge.errors import UsageError

if TYPE_CHECKING:
    from merge.campaign import Campaign

Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="CAMPAIGN | LIST LETTER", help="A campaign folder, or a list and a letter."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors and what was asked for.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours (NO_COLOR does the same).")]
NoInput = Annotated[bool, typer.Option("--no-input", help="Ask nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Rows = Annotated[str, typer.Option("--rows", metavar="10-20", help="Only these rows of the sheet.")]

_LISTS = frozenset({".csv", ".tsv", ".xlsx", ".xls", ".ods"})
_ROWS = re.compile(r"(\d+)(?:-(\d+)?)?")


def campaign_of(paths: list[Path] | None) -> Campaign:
    """Open the campaign that the paths name. Raises UsageError or ConfigError."""
    from merge.campaign import Campaign  # noqa: PLC0415 - keeps --help quick

    if paths and len(paths) > 2:  # noqa: PLR2004 - a list and a letter
        raise UsageError(
            f"these are {len(paths)} paths",
            hint="name a campaign folder, or a list and a letter",
        )
    if paths and len(paths) > 1 and paths[1].suffix.lower() in _LISTS:
        raise UsageError(
            f"{paths[1]} is a list, and stands where the letter is named",
            hint="the list comes first, then the letter",
        )
    return Campaign.load(*(paths or ()))


def rows_of(text: str) -> range | None:
    """Return the rows that `--rows` means; None where it was not given. Raises UsageError."""
    if not text:
        return None
    match = _ROWS.fullmatch(text.strip())
    first = int(match[1]) if match else 0
    last = int(match[2] or sys.maxsize) if match and "-" in text else first
    if not match or last < first or first < 1:
        raise UsageError(
            f"--rows {text} is no range of rows", hint="write --rows 10-20, --rows 17 or --rows 10-"
        )
    return range(first, last + 1)
