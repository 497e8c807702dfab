"""What did the check find? For people, for programs and for a forge's workflow."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from merge.check import Findings
from merge.screens.error import findings
from merge.words import count, plain


def checked(found: Findings, list_name: str, letter_name: str) -> list[str]:
    """Return the report of a check, its sum last."""
    lines = findings(found.problems, found.counts)
    if found.invalid:
        lines.insert(0, f"{plain(list_name)}: {found.invalid:,} of {count(found.rows, 'row')} can't be sent")
    lines += [f"  {count(number, 'row')} skipped: {plain(reason, 120)}" for reason, number in found.skipped]
    if lines:
        lines.append("")
    sum_of = f"{count(found.errors, 'error')}, {count(found.warnings, 'warning')}"
    lines.append(
        f"{plain(letter_name)} + {plain(list_name)}: {count(found.rows, 'row')}, {sum_of}. "
        f"Fingerprint {found.fingerprint}. Nothing was sent."
    )
    if found.refuses_letter:
        lines.append("Mend the letter or the list, and check again.")
    elif found.invalid == found.rows:
        lines.append(f"Mend {plain(list_name)} and check again.")
    elif found.invalid:
        lines.append(
            f"Mend {plain(list_name)} and check again, or leave those rows out: mergepost send --skip-invalid"
        )
    return lines


def checked_json(found: Findings) -> dict[str, Any]:
    """Return a check's findings for programs."""
    return {
        "rows": found.rows,
        "invalid": found.invalid,
        "errors": found.errors,
        "warnings": found.warnings,
        "fingerprint": found.fingerprint,
        "problems": [asdict(problem) for problem in found.problems],
    }


def checked_github(found: Findings) -> list[str]:
    """Return a check's findings as workflow commands, one a problem."""
    lines = []
    for problem in found.problems:
        line = problem.line or problem.row
        place = f"file={_property(problem.file)}" + (f",line={line}" if line else "")
        if problem.column:
            place += f",col={problem.column}"
        words = f"{problem.message}; {problem.hint}" if problem.hint else problem.message
        if problem.row is not None:
            words = f"row {problem.row}: {words}"
        words = plain(words, 500).replace("%", "%25")
        lines.append(f"::{problem.severity} {place},title={_property(problem.kind)}::{words}")
    return lines


def _property(text: str) -> str:
    for character, code in (("%", "%25"), (":", "%3A"), (",", "%2C")):
        text = text.replace(character, code)
    return plain(text)
