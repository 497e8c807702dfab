"""Which row names the columns, and which column holds the address?"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from merge.errors import ListError, Problem
from merge.names import resolve, short_name
from merge.table.values import Columns, ListOptions
from merge.table.words import ADDRESS_NAMES, MAYBE_ADDRESS_NAMES

SEARCHED_ROWS = 20
"""How far down the header row is looked for."""

SAMPLED_ROWS = 200
"""How many rows are looked at to learn what a column holds."""

_ADDRESS = re.compile(r"[^\s@,;<>()\"]+@[^\s@,;<>()\"]+\.[^\s@,;<>()\".]{2,}")
_LONGEST_LOOK = 400
"""How much of a cell is searched for an address: the time for it grows with the square."""
_LONGEST_NAME = 100
_PARTLY = re.compile(r"(?:^|_)e?_?mails?(?:_|\d*$)|courriel|correo|e_?post|e_?mail_?adr|メール|邮箱|이메일")
_UNSEEN = re.compile("[\u00ad\u200b\u200e\u200f\u2060\ufeff]")


@dataclass(frozen=True, slots=True)
class Heading:
    """Where the header row is, and what it says.

    `index` counts from 0 in the block that was searched. `width` is the number of its cells, `named_width`
    without the nameless ones at its end. `places` are the positions of the columns whose cells can be had
    by name, `names` those names; `labels` are what messages call each column. `email` and `id` are
    positions as well.
    """

    index: int
    columns: Columns
    width: int
    named_width: int
    places: tuple[int, ...]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    email: int
    id: int | None
    problems: tuple[Problem, ...]


def find_heading(head: list[list[str]], options: ListOptions, file: str) -> Heading:
    """Find the header row among the first rows, and in it the columns that the campaign needs.

    Raises ListError, with the first rows as its problems, when that takes a guess.
    """
    rows = [[_name(cell) for cell in row] for row in head]
    if not any(map(any, rows)):
        raise ListError(f"{file} is empty", hint="the first row holds the names of the columns")
    index = _header_index(rows, options, file)
    names = rows[index]
    filled = [name for name in names if name]
    sample = [row for row in rows[index + 1 :] if any(row)][:SAMPLED_ROWS]
    email = (
        _column(names, options.email, "email", file)
        if options.email
        else _address_column(names, sample, file)
    )
    id_ = _column(names, options.id, "id", file) if options.id else None
    places = tuple(place for place, name in enumerate(names) if name and names.count(name) == 1)
    columns = Columns(
        tuple(filled),
        names[email],
        None if id_ is None else names[id_],
        resolve(filled).columns,
    )
    return Heading(
        index,
        columns,
        len(names),
        max(place for place, name in enumerate(names) if name) + 1,
        places,
        tuple(names[place] for place in places),
        tuple(name or f"column {letters(place)}" for place, name in enumerate(names)),
        email,
        id_,
        tuple(_remarks(head, index, names, sample, options, file)),
    )


def _name(cell: str) -> str:
    """Return the name of a column as written, but for line breaks, repeated blanks and what can't be seen."""
    return " ".join(_UNSEEN.sub("", cell).split())


def _header_index(rows: list[list[str]], options: ListOptions, file: str) -> int:
    if options.header_row is not None:
        index = options.header_row - 1
        if not 0 <= index < len(rows) or not any(rows[index]):
            raise ListError(
                f"{file} has nothing in row {options.header_row}", hint="header_row counts from 1"
            )
        return index
    searched = rows[:SEARCHED_ROWS]
    if options.email:
        wanted = short_name(options.email)
        for index, row in enumerate(searched):
            if options.email in row or (wanted and wanted in map(short_name, row)):
                return index
        likely = next(row for row in rows if any(row))
        with suppress(ListError):
            likely = rows[_header_index(rows, replace(options, email=""), file)]
        raise _no_column(options.email, likely, "email", file)
    for index, row in enumerate(searched):
        if any(short_name(cell) in ADDRESS_NAMES for cell in row):
            return index
    for index, row in enumerate(searched):
        if (
            any(_PARTLY.search(short_name(cell)) for cell in row if "@" not in cell)
            and sum(map(bool, row)) > 1
        ):
            return index
    return _row_above_addresses(rows, file)


def _row_above_addresses(rows: list[list[str]], file: str) -> int:
    with_address = next((i for i, row in enumerate(rows) if any(map(_ADDRESS.fullmatch, row))), None)
    if with_address is None:
        raise _no_addresses(next(row for row in rows if any(row)), file)
    above = next((i for i in range(with_address - 1, -1, -1) if any(rows[i])), None)
    if above is None:
        raise ListError(
            f"{file} has no row with the names of its columns: row {with_address + 1} is a recipient already",
            hint="put a row above it that names the columns, such as: email, first name",
            problems=_first_rows(rows, file),
        )
    return above


def _first_rows(rows: list[list[str]], file: str) -> list[Problem]:
    return [
        Problem("error", "heading", " | ".join(row), file=file, row=number)
        for number, row in enumerate(rows[:3], 1)
        if any(row)
    ]


def _column(names: Sequence[str], wanted: str, key: str, file: str) -> int:
    """Return the position of the column that the campaign names."""
    same = [place for place, name in enumerate(names) if name == wanted.strip()]
    same = same or [
        place for place, name in enumerate(names) if name and short_name(name) == short_name(wanted)
    ]
    if not same:
        raise _no_column(wanted, names, key, file)
    if len(same) > 1:
        raise ListError(
            f"{file} has {len(same)} columns called {wanted}", hint="give each column a name of its own"
        )
    return same[0]


def _no_column(wanted: str, names: Sequence[str], key: str, file: str) -> ListError:
    by_fold = {short_name(name): name for name in names if name}
    near = difflib.get_close_matches(short_name(wanted), by_fold, n=1)
    hint = f"did you mean {by_fold[near[0]]}? " if near else ""
    listed = ", ".join(name for name in names if name)
    return ListError(
        f"{file} has no column {wanted}, which [columns] {key} names",
        hint=f"{hint}columns in {file}: {listed}",
    )


def _address_column(names: Sequence[str], sample: list[list[str]], file: str) -> int:
    """Return the position of the address column: the best name, confirmed by what the column holds."""
    shares = [_share(sample, place) for place in range(len(names))]
    for kind in (ADDRESS_NAMES.__contains__, _PARTLY.search, MAYBE_ADDRESS_NAMES.__contains__):
        named = [place for place, name in enumerate(names) if name and kind(short_name(name))]
        if kind == MAYBE_ADDRESS_NAMES.__contains__:
            named = [place for place in named if shares[place] >= 0.5]  # noqa: PLR2004 - most of them
        elif len(named) > 1:
            named = [place for place in named if shares[place]] or named
        if len(named) == 1:
            return _confirmed(named[0], shares, names, file)
        if named:
            raise _undecided([names[place] for place in named], file)
    holding = [place for place, share in enumerate(shares) if share >= 0.5 and names[place]]  # noqa: PLR2004 - half
    if len(holding) == 1:
        return holding[0]
    if holding:
        raise _undecided([names[place] for place in holding], file)
    raise _no_addresses(names, file)


def _no_addresses(names: Sequence[str], file: str) -> ListError:
    """Return the error for a list in which neither a name nor a cell tells the column of the address."""
    listed = " | ".join(name[:_LONGEST_NAME] for name in names if name)
    return ListError(
        f"no column of {file} is called email or the like, and none holds addresses",
        hint=f'its first filled row reads: {listed}; if a column is right, say [columns] email = "..."',
    )


def _confirmed(place: int, shares: list[float], names: Sequence[str], file: str) -> int:
    """Refuse a column by that name which holds no address while another holds them."""
    if not shares[place] and (others := [i for i, share in enumerate(shares) if share >= 0.5]):  # noqa: PLR2004 - half
        other = names[others[0]] or f"number {others[0] + 1}"
        raise ListError(
            f"{file}: column {names[place]} holds no addresses, but column {other} does",
            hint="look whether the cells stand under the right names, or say [columns] email",
        )
    return place


def _undecided(names: Sequence[str], file: str) -> ListError:
    listed = ", ".join(names[:-1]) + " or " + names[-1] if len(names) > 1 else names[0]
    if len(set(names)) == 1:
        return ListError(
            f"{file} has {len(names)} columns called {names[0]}", hint="give each a name of its own"
        )
    return ListError(
        f"{file}: which column holds the address: {listed}?",
        hint=f'say it in campaign.toml: [columns] email = "{names[0]}"',
    )


def _share(sample: list[list[str]], place: int) -> float:
    """Return which part of the filled cells of a column look like addresses."""
    cells = [row[place] for row in sample if len(row) > place and row[place]]
    return sum(_looks_like_address(cell) for cell in cells) / len(cells) if cells else 0.0


@lru_cache(maxsize=1024)
def _looks_like_address(cell: str) -> bool:
    return "@" in cell and bool(_ADDRESS.search(cell[:_LONGEST_LOOK]))


def _remarks(  # noqa: PLR0913, PLR0917 - all that a header row can be remarked upon for
    head: list[list[str]],
    index: int,
    names: list[str],
    sample: list[list[str]],
    options: ListOptions,
    file: str,
) -> Iterator[Problem]:
    remark = partial(Problem, "warning", file=file, row=index + 1)
    if options.header_row is None and any(any(map(str.strip, row)) for row in head[:index]):
        message = f"the names of the columns are taken from row {index + 1}; what stands above is left out"
        yield remark("heading", message, hint="another row: header_row = ... in campaign.toml")
    for name in dict.fromkeys(name for name in names if name and names.count(name) > 1):
        message = f"{names.count(name)} columns are called {name}; a letter can use none of them"
        yield remark("columns", message, field=name, hint="give each column a name of its own")
    for place, name in enumerate(names):
        filled = next((row[place] for row in sample if len(row) > place and row[place]), "")
        if not name and filled:
            yield remark(
                "columns", f"column {letters(place)} has no name; a letter can't use it", value=filled
            )
    for short, clash in resolve(dict.fromkeys(filter(None, names))).clashes.items():
        message = f"{' and '.join(clash)} would all be {short} in a letter"
        yield remark("columns", message, field=clash[0], hint=f'write row["{clash[0]}"]')


def letters(place: int) -> str:
    """Return what a spreadsheet calls the column at that position, counted from 0: 0 -> A, 26 -> AA."""
    name = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


def is_address(cell: str) -> bool:
    """Whether a cell holds nothing but what looks like an address."""
    return bool(_ADDRESS.fullmatch(cell.strip()))


def is_address_name(cell: str, wanted: str) -> bool:
    """Whether a cell reads like the name of the address column, or like the one that is wanted."""
    if len(cell) > max(_LONGEST_NAME, len(wanted)):
        return False
    short = short_name(cell)
    return short == short_name(wanted) if wanted else short in ADDRESS_NAMES
