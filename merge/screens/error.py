"""What is wrong, where, and what to do? Errors, and the problems of a list and a letter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from merge.errors import MergeError, Problem
from merge.words import column, count, plain, width

_SOURCE_CELLS = 120
_SHOWN_PER_KIND = 10
_VALUE_CELLS = 40


def failure(error: MergeError) -> list[str]:
    """Return the screen of an error: what, where, and what to do."""
    if error.problems and all(stands_alone(problem, error) for problem in error.problems):
        return [line for problem in error.problems for line in excerpt(problem)]
    lines = [f"error: {plain(error.message, 500)}", *findings(error.problems)]
    return lines + [f"  {plain(line, 300)}" for line in error.hint.splitlines()]


def stands_alone(problem: Problem, error: MergeError) -> bool:
    """Whether a problem says all that its error does, and shows the place."""
    return bool(problem.source) and (problem.row is None or problem.message == error.message)


def excerpt(problem: Problem) -> list[str]:
    """Return a problem with the line it stands in and a caret under the place."""
    lines = [f"{problem.severity}: {plain(problem.message, 500)}"]
    place = plain(problem.file)
    if problem.line is not None:
        place += f":{problem.line}"
        if problem.column is not None and problem.source:
            place += f":{problem.column}"
    if problem.row is not None:
        place += f"   row {problem.row} of the list"
    if place:
        lines.append(f"  --> {place}")
    if problem.source:
        number = "" if problem.line is None else str(problem.line)
        edge = " " * len(number)
        lines += [f" {edge} |", f" {number} | {plain(problem.source, 300)}"]
        if problem.column is not None:
            before = width(plain(problem.source[: problem.column - 1], 300))
            marked = width(plain(problem.source[problem.column - 1 :][: problem.width], 300))
            lines.append(f" {edge} | {' ' * before}{'^' * max(1, marked)}")
    lines += [f"   = {plain(line, 300)}" for line in problem.hint.splitlines()]
    return lines


def findings(problems: Iterable[Problem], counts: Sequence[tuple[str, str, int]] = ()) -> list[str]:
    """Return problems in groups: what belongs to no row first, then each kind with its rows."""
    kept = list(problems)
    lines = [line for problem in kept if problem.row is None for line in excerpt(problem)]
    totals = {(severity, kind): number for severity, kind, number in counts}
    order = sorted(
        (problem for problem in kept if problem.row is not None),
        key=lambda problem: (problem.severity, problem.kind),
    )
    for (severity, kind), group in groupby(order, key=lambda problem: (problem.severity, problem.kind)):
        of_kind = list(group)
        total = max(len(of_kind), totals.get((severity, kind), 0))
        rows = len({problem.row for problem in of_kind})
        number = count(total, "row" if rows == len(of_kind) else "problem")
        if rows < len(of_kind) == total:
            number += f" in {count(rows, 'row')}"
        lines.append(f"  {severity}  {kind}  {number}")
        lines += [_row_line(problem) for problem in of_kind[:_SHOWN_PER_KIND]]
        if total > _SHOWN_PER_KIND:
            lines.append(f"         and {total - _SHOWN_PER_KIND:,} more (mergepost check --format json)")
        lines += _sources(of_kind[:_SHOWN_PER_KIND])
    return lines


def _sources(problems: Sequence[Problem]) -> list[str]:
    """Return the lines of the letter that rows stumble over, each once, with carets under the places."""
    places: dict[str, list[Problem]] = {}
    for problem in problems:
        if problem.source and problem.line is not None:
            places.setdefault(f"{plain(problem.file)}:{problem.line}", []).append(problem)
    lines = []
    for place, found in places.items():
        begin = f"        = {place}   "
        lines.append(f"{begin}{plain(found[0].source.strip(), _SOURCE_CELLS)}")
        if marks := _marks(found):
            lines.append(f"{' ' * width(begin)}{marks}")
    return lines


def _marks(problems: Sequence[Problem]) -> str:
    """Return the carets for one line, as it is shown without the blanks before it."""
    marked: set[int] = set()
    for problem in problems:
        if problem.column is not None:
            indent = len(problem.source) - len(problem.source.lstrip())
            before = width(plain(problem.source[indent : problem.column - 1], 300))
            cells = width(plain(problem.source[problem.column - 1 :][: problem.width], 300))
            marked |= set(range(before, before + max(1, cells)))
    last = min(max(marked, default=-1) + 1, _SOURCE_CELLS)
    return "".join("^" if cell in marked else " " for cell in range(last)).rstrip()


def _row_line(problem: Problem) -> str:
    value = plain(problem.value, 80) or ("(empty)" if problem.kind == "address" else "")
    words = plain(problem.message, 300)
    if problem.field and not problem.message.startswith(problem.field):
        words = f"{plain(problem.field, 40)}: {words}"
    hint = "; ".join(plain(line, 200) for line in problem.hint.splitlines())
    if value and value in words:
        value = ""
    elif value:
        value = f"{column(value, _VALUE_CELLS)} " if width(value) <= _VALUE_CELLS else f"{value}  "
    return f"{problem.row:>7} | {value}{words}" + (f"; {hint}" if hint else "")
