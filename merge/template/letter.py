"""What does the letter say to this person?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from jinja2 import TemplateError, TemplateSyntaxError, UndefinedError
from markupsafe import escape

from merge.errors import LetterError, MergeError, Problem
from merge.model import Recipient
from merge.names import resolve, short_name
from merge.template import scan
from merge.template.environment import RefusedError, Row, environment, printable
from merge.template.limits import ACCOUNT, Account
from merge.template.part import Part
from merge.template.source import CLOSE, OPEN, Line, Source, header_lines

Kind = Literal["markdown", "html", "text", "mjml"]

_SLOT = re.compile(f"{OPEN}(\\d+){CLOSE}")
_ROW = f"{Row.__module__}.{Row.__name__} object"
_ENDS = re.compile(f"([{OPEN}{CLOSE}])")


Enter = Callable[[Part, dict[str, object]], None]
"""Is told of each part before it is rendered, with what it is given, so that a break can be placed."""


class HeaderLine(NamedTuple):
    """One header as all rows have it that take the same branches; `line` is its place in the letter.

    In `form`, each value is its number in the row's values, counted from 1, between OPEN and CLOSE.
    """

    name: str
    form: str
    line: int

    def filled(self, values: Sequence[str]) -> str:
        """Return the header's value for one row."""
        return _SLOT.sub(lambda slot: values[int(slot[1]) - 1], self.form).strip()


class Head(NamedTuple):
    """The rendered header block: its lines, and the values of one row in them, by their numbers."""

    lines: tuple[HeaderLine, ...]
    values: tuple[str, ...]


class Slotted(NamedTuple):
    """A rendered text in pieces, with a token in the place of each value, and the values by their numbers.

    Rows that take the same branches have the same pattern, so whatever is slow need be done only once for it.
    """

    pattern: tuple[str, ...]
    values: tuple[str, ...]


class Rendered(NamedTuple):
    """A letter as it reads for one row, before it is set. `own_text` is the body of its own plain part."""

    head: Head
    main: Slotted
    own_text: Slotted | None
    template: Template

    @property
    def headers(self) -> list[tuple[str, str, int]]:
        """The headers as (name, value, line)."""
        return [(line.name, line.filled(self.head.values), line.line) for line in self.head.lines]

    @property
    def body(self) -> str:
        """The body with its values in place, escaped where it is HTML or Markdown."""
        return self.template.filled(self.main, escaped=self.template.kind != "text")

    @property
    def text(self) -> str | None:
        """The own plain part with its values in place."""
        return self.template.filled(self.own_text, escaped=False) if self.own_text else None


class Texts(Protocol):
    """How the texts of a letter are rendered: its header block and its body, or both in one."""

    def render(
        self, variables: dict[str, object], account: Account, enter: Enter
    ) -> tuple[Head, Slotted, Slotted | None]:
        """Return the header block, the body, and the own plain part."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, those of included files too."""

    def known(self) -> Iterator[tuple[Part, frozenset[str]]]:
        """Yield all parts, those of included files too, each with the names that others may set for it."""


class Apart(NamedTuple):
    """A header block and a body, each a template of its own; what the first sets, the second knows."""

    head: Part
    body: Part
    text: Part | None
    included: tuple[Part, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, those of included files too."""
        return tuple(part for part, _ in self.known())

    def known(self) -> Iterator[tuple[Part, frozenset[str]]]:
        """Yield all parts, those of included files too, each with the names that others may set for it."""
        own = (self.head, self.body, *((self.text,) if self.text else ()))
        yield self.head, frozenset()
        for part in own[1:]:
            yield part, self.head.names
        names = frozenset().union(*(part.names for part in (*own, *self.included)))
        for part in self.included:
            yield part, names

    def render(
        self, variables: dict[str, object], account: Account, enter: Enter
    ) -> tuple[Head, Slotted, Slotted | None]:
        """Render the header block, then the body, then the own plain part."""
        enter(self.head, variables)
        head, exported = self.head.render(variables)
        if exported:
            variables = {**variables, **exported}
        account.slots = []
        enter(self.body, variables)
        main = Slotted(self.body.render(variables)[0], tuple(account.slots))
        own_text = None
        if self.text:
            account.slots = []
            enter(self.text, variables)
            own_text = Slotted(self.text.render(variables)[0], tuple(account.slots))
        return numbered(header_lines("".join(head))), main, own_text


def numbered(lines: Iterable[tuple[str, str, int]]) -> Head:
    """Make a header block of lines (name, value, line) whose values stand between OPEN and CLOSE."""
    values: list[str] = []
    found = []
    for name, marked, line in lines:
        pieces: list[str] = []
        depth = 0
        for piece in _ENDS.split(marked):
            if piece == OPEN:
                depth += 1
                if depth == 1:
                    values.append("")
                    pieces.append(f"{OPEN}{len(values)}{CLOSE}")
            elif piece == CLOSE:
                depth -= 1
            elif depth:
                values[-1] += piece
            else:
                pieces.append(piece)
        found.append(HeaderLine(name, "".join(pieces), line))
    return Head(tuple(found), tuple(values))


class Template:
    """A letter, compiled. Made by `read_template`.

    `lines` are the headers that stand in the source, `remarks` warnings that need no row. `languages` are
    the same letter in other languages, by the tag that the column `lang` holds in lower case. `given` are
    values that every letter may use besides the row's own, by name.
    """

    def __init__(  # noqa: PLR0913 - all that reading a letter brings to light
        self,
        source: Source,
        kind: Kind,
        texts: Texts,
        *,
        token: re.Pattern[str],
        content_hash: str,
        remarks: tuple[Problem, ...] = (),
        languages: Mapping[str, Template] | None = None,
        language: str = "",
        given: Mapping[str, str] | None = None,
    ) -> None:
        self.name = source.name
        self.source = source.text
        self.kind: Kind = kind
        self.lines: tuple[Line, ...] = source.lines
        self.foreign = source.foreign
        self.token = token
        self.content_hash = content_hash
        self.remarks = remarks
        self.languages = dict(languages or {})
        self.language = language
        self.given = dict(given or {})
        self._texts = texts
        self._shorts: dict[tuple[str, ...], tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self._reads_rows = any(use.name == scan.GROUP for part in texts.parts for use in part.uses())

    def check_columns(self, names: Sequence[str], list_name: str = "the list") -> tuple[Problem, ...]:
        """Name every column that the letter reads and the list does not have, each with its place.

        What else is worth a look in the letter itself comes with it, as warnings.
        """
        problems = list(self.remarks)
        for part, known in self._texts.known():
            problems += scan.unknown(
                part.file,
                part.source,
                part.uses({*known, *self.given}),
                scan.places(part.environment, part.source),
                names,
                first_line=part.first_line,
                list_name=list_name,
            )
        for other in self.languages.values():
            problems += other.check_columns(names, list_name)
        return tuple(dict.fromkeys(problems))

    def unguarded(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the columns that the letter reads without a fallback, in the list's order."""
        shorts = resolve(names).columns
        read = {
            use.name if use.literal and use.name in names else shorts.get(use.name, "")
            for part, known in self._texts.known()
            for use in part.uses(known)
            if use.bare
        }
        return tuple(name for name in names if name in read)

    def render(self, recipient: Recipient) -> Rendered:
        """Render headers and body for one row, in the row's language where there is a letter in it.

        Raises LetterError with a problem that names the letter's line and the row.
        """
        if self.languages and (other := self._in_language_of(recipient)):
            return other.render(recipient)
        entered: list[tuple[Part, dict[str, object]]] = []
        account = Account()
        ACCOUNT.set(account)
        try:
            return Rendered(
                *self._texts.render(self._variables(recipient), account, lambda *part: entered.append(part)),
                self,
            )
        except Exception as error:
            raise _broken(*entered[-1], error, recipient) from error

    def filled(self, text: Slotted, *, escaped: bool) -> str:
        """Put the values in the places of their tokens."""
        shape: Callable[[str], str] = escape if escaped else str
        return self.token.sub(lambda token: shape(text.values[int(token[1]) - 1]), "".join(text.pattern))

    def _variables(self, recipient: Recipient) -> dict[str, object]:
        cells = recipient.cells
        columns = tuple(cells)
        found = self._shorts.get(columns)
        if found is None:
            usable = resolve(columns).columns
            found = self._shorts[columns] = tuple(usable), tuple(usable.values())
        shorts, names = found
        variables: dict[str, object] = dict(zip(shorts, map(cells.__getitem__, names), strict=True))
        variables.setdefault(scan.ADDRESS, recipient.address)
        variables["row"] = Row(cells)
        if self.given:
            variables |= self.given
        if self._reads_rows:
            variables[scan.GROUP] = [
                Row({**dict(zip(shorts, map(member.__getitem__, names), strict=True)), **member})
                for member in recipient.group or (cells,)
            ]
        return variables

    def _in_language_of(self, recipient: Recipient) -> Template | None:
        name = next((name for name in recipient.cells if short_name(name) in ("lang", "language")), "")
        tag = recipient.cells.get(name, "").strip().lower().replace("_", "-")
        while tag and tag not in self.languages:
            tag = tag.rpartition("-")[0]
        return self.languages.get(tag)


class Choice:
    """A condition on a row, compiled; it is asked by calling it. Made by `choose`."""

    def __init__(self, expression: str) -> None:
        self._made = environment(Path(), finalize=printable, autoescape=False, keep_blanks=True)
        self._expression = expression
        try:
            self._compiled = self._made.compile_expression(expression, undefined_to_none=False)
        except TemplateSyntaxError as error:
            message = f"{error.message}"
            if "end of template" in message:
                message = "something is missing at its end"
            elif "chunk after" in message:
                message = "more stands there than one condition"
            hint = next((hint for sign, hint in _SLIPS if sign.search(expression)), "")
            raise self._error(message, hint) from error

    def check_columns(self, names: Sequence[str], list_name: str = "the list") -> tuple[Problem, ...]:
        """Name every column that the condition reads and the list does not have."""
        source = f"{{{{ {self._expression} }}}}"
        found = scan.uses(self._made.parse(source), ())
        where = {
            line: [(name, column - 3) for name, column in spots]
            for line, spots in scan.places(self._made, source).items()
        }
        return tuple(scan.unknown("where", self._expression, found, where, names, list_name=list_name))

    def __call__(self, recipient: Recipient) -> bool:
        """Say whether the row is chosen. Raises LetterError."""
        shorts = resolve(tuple(recipient.cells)).columns
        ACCOUNT.set(Account())
        try:
            return bool(
                self._compiled(
                    **{short: recipient.cells[name] for short, name in shorts.items()},
                    row=Row(recipient.cells),
                )
            )
        except Exception as error:
            hint = f"columns in the list: {', '.join(recipient.cells)}"
            if isinstance(error, TypeError):
                hint = f"every cell is text; for a number write: column|float\n{hint}"
            raise self._error(_words(error), hint, recipient.row) from error

    def _error(self, message: str, hint: str = "", row: int | None = None) -> LetterError:
        text = f"where: {message}"
        problem = Problem(
            "error", "where", text, row=row, value=self._expression, hint=hint, source=self._expression
        )
        return LetterError(text, hint=hint, problems=(problem,))


_SLIPS = (
    (re.compile(r"\{[{%]"), "write the condition alone, without {{ }}"),
    (re.compile("[\u2018-\u201e\u00ab\u00bb]"), "write straight quotes: status == 'member'"),
    (re.compile(r"(?<![=!<>])=(?!=)"), "to compare, write ==, as in status == 'member'"),
    (re.compile(r"<>"), "for other than, write !="),
    (re.compile(r"&&|\|\||\b(?:AND|OR|NOT)\b"), "write and, or, not in small letters"),
)
"""What people write in a condition that is no Jinja2, and what to write; said only of one that is broken."""


def choose(expression: str) -> Choice:
    """Compile a condition on a row, such as `status == "member"`. Raises LetterError, also when asked."""
    return Choice(expression)


def _broken(
    part: Part, variables: Mapping[str, object], error: Exception, recipient: Recipient
) -> LetterError:
    file, line = part.place(error)
    value = error.value if isinstance(error, RefusedError) else ""
    field = next((name for name, cell in recipient.cells.items() if value and cell == value), "")
    message = _words(error)
    hint = error.hint if isinstance(error, MergeError) else ""
    own = file == part.file
    lines = (part.source if own else part.loader.text(file) if file else "").split("\n")
    index = (line or 0) - (part.first_line if own else 1)
    source = lines[index] if line and 0 <= index < len(lines) else ""
    column, width = _spot(part, error, index + 1) if source and own else (None, 1)
    if source and own and not ACCOUNT.get().nearly_spent and (found := part.culprit(variables, index + 1)):
        if column is None:
            source, line = lines[found.line - 1], found.line + part.first_line - 1
            column, width = found.column, found.width
        if found.values:
            told = ", ".join(f'{name} is "{text}"' for name, text in found.values)
            hint = f"{hint}\n{told}" if hint else told
    if source and column is None:
        text = source.strip()
        column, width = source.index(text) + 1, max(len(text), 1)
    problem = Problem(
        "error", "render", message, file, line, column, width, recipient.row, field, value, hint, source
    )
    return LetterError(f"row {recipient.row}: {message}", hint=hint, problems=(problem,))


def _words(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the letter calls itself without end"
    if isinstance(error, (MergeError, TemplateError)):
        return (error.message or type(error).__name__).replace(_ROW, "row")
    return f"{error}" or type(error).__name__


def _spot(part: Part, error: Exception, line: int) -> tuple[int | None, int]:
    """Return where on the line the name stands that an error speaks of, and its width."""
    if isinstance(error, UndefinedError):
        places = scan.places(part.environment, part.source).get(line, ())
        for name in reversed(re.findall(r"'([^']+)'", error.message or "")):
            for found, column in places:
                if found in (name, f".{name}"):
                    return column, len(name)
    return None, 1
