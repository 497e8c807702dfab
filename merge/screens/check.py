"""What did the check find? For people, for programs and for a forge's workflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from merge.check import Findings
from merge.errors import ListError, MergeError, Problem
from merge.screens.error import findings, stands_alone
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


def checked_github(found: Findings, place_of: Callable[[str], str] = str, list_name: str = "") -> list[str]:
    """Return a check's findings as workflow commands, one a problem.

    `place_of` gives the path of a file that a problem names, as seen from where the workflow runs. A row
    of the list is a line of it, as far as one knows; it is no line of any other file.
    """
    lines = []
    for problem in found.problems:
        line = problem.line or (problem.row if problem.file == list_name else None)
        place = [f"file={_property(place_of(problem.file))}"] if problem.file else []
        if line and problem.file:
            place.append(f"line={line}")
            if problem.column:
                place.append(f"col={problem.column}")
        place.append(f"title={_property(problem.kind)}")
        words = f"{problem.message}; {problem.hint}" if problem.hint else problem.message
        if problem.row is not None:
            words = f"row {problem.row}: {words}"
        words = plain(words, 500).replace("%", "%25")
        lines.append(f"::{problem.severity} {','.join(place)}::{words}")
    return lines


def refused(error: MergeError, list_name: str = "") -> Findings:
    """Return what a check found that an error has ended: no row, and the error as a problem."""
    problems = error.problems
    if not problems or not all(stands_alone(problem, error) for problem in problems):
        kind = type(error).__name__.removesuffix("Error").lower()
        file = list_name if isinstance(error, ListError) else ""
        problems = (Problem("error", kind, error.message, file, hint=error.hint), *problems)
    counts = Counter((problem.severity, problem.kind) for problem in problems)
    return Findings(
        problems,
        tuple((severity, kind, number) for (severity, kind), number in counts.items()),
        rows=0,
        invalid=0,
        fingerprint="",
        size=0,
        first=None,
        last=None,
    )


def _property(text: str) -> str:
    for character, code in (("%", "%25"), (":", "%3A"), (",", "%2C")):
        text = text.replace(character, code)
    return plain(text)
