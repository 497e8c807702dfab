"""What does the letter say to this person?"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jinja2 import Template as Compiled
from jinja2 import TemplateError, TemplateNotFound, TemplateSyntaxError, UndefinedError, meta, nodes
from jinja2.sandbox import SecurityError
from markupsafe import Markup, escape

from merge import header
from merge.errors import LetterError, MergeError, Problem
from merge.model import Recipient
from merge.names import resolve
from merge.template import scan
from merge.template.environment import (
    LONGEST_TEXT,
    STATE,
    Refused,
    Row,
    Sandbox,
    State,
    environment,
    for_header,
    into_slots,
    printable,
)
from merge.template.source import (
    CLOSE,
    OPEN,
    Line,
    Source,
    at,
    controls,
    header_lines,
    marked,
    normal,
    split,
    tidy,
)

Kind = Literal["markdown", "html", "text", "mjml"]

_SUFFIXES: Mapping[str, Kind] = {
    ".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html", ".mjml": "mjml",
}  # fmt: skip
_UNMARK = {ord(OPEN): None, ord(CLOSE): None}
_KNOWN = ("range", "dict", "namespace")
_MARKDOWN_ACTIVE = re.compile(r"([!-/:-@\[-`{-~])")


class HeaderLine(NamedTuple):
    """One rendered header: `line` is its place in the letter, `marked` the value with its rendered parts marked."""

    name: str
    value: str
    line: int
    marked: str


class Rendered(NamedTuple):
    """A letter as it reads for one row, before it is set as HTML.

    `pattern` is the body with a token in the place of each value, and `values` what belongs there, in the
    order of the tokens' numbers; `text` is the body of the letter's own plain part. Rows that take the
    same branches share one pattern, so whatever is slow need be done only once for it.
    """

    headers: tuple[HeaderLine, ...]
    pattern: str
    values: tuple[str, ...]
    text: str | None
    template: Template

    @property
    def body(self) -> str:
        """The body with its values in place; escaped where it is HTML or Markdown."""
        return self.template.fill(self.pattern, self.values)


class _Part:
    """One compiled text: a header block or a body."""

    def __init__(self, file: str, source: str, prepared: str, first_line: int, made: Sandbox) -> None:
        self.file = file
        self.source = source
        self.first_line = first_line
        self.environment = made
        self.tree = made.parse(prepared, file)
        self.compiled: Compiled = made.from_string(prepared)
        self.loops = any(self.tree.find_all((nodes.For, nodes.Include, nodes.Macro, nodes.Extends)))

    def uses(self) -> list[scan.Use]:
        return scan.uses(self.tree, _KNOWN)

    def render(self, variables: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return the text, and the names that it set."""
        context = self.compiled.new_context(variables)
        stream = self.compiled.root_render_func(context)
        if not self.loops:
            return "".join(stream), context.get_exported() if context.exported_vars else {}
        pieces, size = [], 0
        for piece in stream:
            pieces.append(piece)
            size += len(piece)
            if size > LONGEST_TEXT:
                raise SecurityError(f"the letter grows beyond {LONGEST_TEXT:,} characters")
        return "".join(pieces), context.get_exported()

    def line_of(self, error: BaseException) -> tuple[str, int | None]:
        """Return the file and the line in which a render broke off."""
        found: tuple[str, int | None] = (self.file, None)
        trace = error.__traceback__
        while trace:
            compiled = trace.tb_frame.f_globals.get("__jinja_template__")
            name = trace.tb_frame.f_globals.get("name")
            if compiled is None and name is not None and "root" in trace.tb_frame.f_globals:
                compiled = self.compiled if name == self.compiled.name else None
            if isinstance(compiled, Compiled):
                line = compiled.get_corresponding_lineno(trace.tb_lineno)
                own = compiled is self.compiled
                found = (self.file, line + self.first_line - 1) if own else (compiled.name or "", line)
            trace = trace.tb_next
        return found


class Template:
    """A letter, compiled. Made by `read_template`."""

    def __init__(self, source: Source, kind: Kind, parts: _Parts) -> None:
        self.name = source.name
        self.source = source.text
        self.kind: Kind = kind
        self.lines = source.lines
        self.hard_breaks = source.foreign and kind == "markdown"
        self.foreign = source.foreign
        self._parts = parts
        self._shorts: dict[tuple[str, ...], tuple[tuple[str, str], ...]] = {}

    @property
    def content_hash(self) -> str:
        """A hash of the letter and of all files that it names (hexadecimal)."""
        return self._parts.content_hash

    @property
    def token(self) -> re.Pattern[str]:
        """What stands in a pattern in the place of a value; its group is the value's number, from 1."""
        return self._parts.token

    @property
    def has_own_text(self) -> bool:
        """Whether the plain part has its own file."""
        return self._parts.text is not None

    def check_columns(self, names: Sequence[str], list_name: str = "the list") -> tuple[Problem, ...]:
        """Name every column that the letter reads and the list does not have, each with its place."""
        problems: list[Problem] = []
        for part in self._parts.all():
            found = part.uses()
            where = scan.places(part.environment, part.source)
            problems += scan.unknown(
                part.file, part.source, found, where, names, first_line=part.first_line, list_name=list_name
            )
        return tuple(problems)

    def unguarded(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the columns that the letter prints or asks for without a fallback, in the list's order."""
        shorts = resolve(names).columns
        read = {
            use.name if use.literal and use.name in names else shorts.get(use.name, "")
            for part in self._parts.all()
            for use in part.uses()
            if not use.guarded
        }
        return tuple(name for name in names if name in read)

    def render(self, recipient: Recipient) -> Rendered:
        """Render headers and body for one row.

        Raises LetterError with a problem that names the letter's line and the row.
        """
        part = self._parts.head
        cells = recipient.cells
        columns = tuple(cells)
        pairs = self._shorts.get(columns)
        if pairs is None:
            pairs = self._shorts[columns] = tuple(resolve(columns).columns.items())
        variables: dict[str, Any] = {short: cells[name] for short, name in pairs}
        variables["row"] = Row(cells)
        state = variables[STATE] = State()
        try:
            head, exported = part.render(variables)
            lines = tuple(
                [
                    HeaderLine(name, value.translate(_UNMARK), line, value)
                    for name, value, line in header_lines(head)
                ]
            )
            if exported:
                variables.update(exported)
            part = self._parts.body
            pattern, _ = part.render(variables)
            values = tuple(state.slots)
            text = None
            if self._parts.text:
                part = self._parts.text
                text, _ = part.render(variables)
        except Exception as error:
            raise self._broken(part, error, recipient) from error
        return Rendered(lines, pattern, values, text, self)

    def fill(self, pattern: str, values: Sequence[str]) -> str:
        """Put the values in the places of their tokens, escaped where the body is HTML or Markdown."""
        if not values:
            return pattern
        return self._parts.token.sub(lambda token: str(escape(values[int(token[1]) - 1])), pattern)

    def _broken(self, part: _Part, error: Exception, recipient: Recipient) -> LetterError:
        file, line = part.line_of(error)
        value = getattr(error, "value", "") if isinstance(error, Refused) else ""
        field = next((name for name, cell in recipient.cells.items() if value and cell == value), "")
        message = _runtime_words(error)
        hint = error.hint if isinstance(error, MergeError) else ""
        lines = part.source.split("\n")
        index = (line or 0) - part.first_line
        source = lines[index] if line and file == part.file and 0 <= index < len(lines) else ""
        column, width = _column(part, error, index + 1) if source else (None, 1)
        problem = Problem(
            "error", "render", message, file, line, column, width, recipient.row, field, value, hint, source
        )
        return LetterError(f"row {recipient.row}: {message}", hint=hint, problems=(problem,))


class _Parts(NamedTuple):
    """The compiled pieces of a letter."""

    head: _Part
    body: _Part
    text: _Part | None
    included: tuple[_Part, ...]
    token: re.Pattern[str]
    content_hash: str

    def all(self) -> Iterable[_Part]:
        """Return every text that may read a column."""
        return (self.head, self.body, *((self.text,) if self.text else ()), *self.included)


def read_template(path: Path, *, files: Path | None = None) -> Template:
    """Read and compile a letter; `files` is the folder of its includes, by default the letter's own.

    An own `letter.txt` beside `letter.html` or `letter.mjml` is its plain part. Raises LetterError with
    all problems that can be seen without a list.
    """
    folder = files or path.parent
    text = _read(path)
    if problems := controls(path.name, text):
        raise LetterError(problems[0].message, problems=problems)
    source, problems = split(path.name, text)
    kind = _kind(path, source)
    problems += _header_problems(source)
    beside = path.with_suffix(".txt")
    own = _read(beside) if kind in ("html", "mjml") and beside != path and beside.is_file() else None
    parts = _compile(source, kind, own, beside.name, folder, problems)
    if problems or parts is None:
        first = problems[0]
        raise LetterError(f"{path.name}: {first.message}", hint=first.hint, problems=problems)
    return Template(source, kind, parts)


def choose(expression: str) -> Callable[[Recipient], bool]:
    """Compile a condition on a row, such as `status == "member"`. Raises LetterError, also when it is asked."""
    made = environment(Path(), finalize=printable, autoescape=False, tidy=False)
    try:
        compiled = made.compile_expression(expression, undefined_to_none=False)
    except TemplateSyntaxError as error:
        problem = Problem("error", "where", error.message or "", value=expression, source=expression)
        raise LetterError(f"where: {error.message}", problems=(problem,)) from error

    def chosen(recipient: Recipient) -> bool:
        shorts = resolve(tuple(recipient.cells)).columns
        variables: dict[str, Any] = {short: recipient.cells[name] for short, name in shorts.items()}
        variables["row"] = Row(recipient.cells)
        variables[STATE] = State()
        try:
            return bool(compiled(**variables))
        except Exception as error:
            message = f"where: {_runtime_words(error)}"
            hint = f"columns in the list: {', '.join(recipient.cells)}"
            problem = Problem("error", "where", message, row=recipient.row, value=expression, hint=hint)
            raise LetterError(message, hint=hint, problems=(problem,)) from error

    return chosen


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LetterError(f"{path.name} cannot be read: {error.strerror}") from error
    try:
        return normal(data.decode())
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"{path.name} is not UTF-8 (byte {error.start + 1})"
        hint = "save it as UTF-8 in your editor"
        raise LetterError(
            message, hint=hint, problems=(Problem("error", "encoding", message, path.name, line, hint=hint),)
        ) from error


def _kind(path: Path, source: Source) -> Kind:
    declared = source.first("content-type")
    media = declared.value.partition(";")[0].strip().lower() if declared else ""
    by_type: Mapping[str, Kind] = {"text/html": "html", "text/markdown": "markdown", "text/plain": "text"}
    return by_type.get(media) or _SUFFIXES.get(path.suffix.lower(), "text")


def _header_problems(source: Source) -> list[Problem]:
    problems = []
    for line in source.lines:
        if why := header.unwelcome(line.name):
            problems.append(_at_line(source, line, f"a letter cannot set {line.name}: {why}"))
    return problems


def _at_line(source: Source, line: Line, message: str, hint: str = "") -> Problem:
    position = sum(len(text) + 1 for text in source.text.split("\n")[: line.line - 1])
    start = source.text.find(line.name, position)
    return at(source.name, source.text, start, len(line.name), "header", message, hint)


def _compile(  # noqa: PLR0913, PLR0917 - what a letter is made of
    source: Source, kind: Kind, own: str | None, own_name: str, folder: Path, problems: list[Problem]
) -> _Parts | None:
    digest = hashlib.sha256(f"{kind}\0{source.text}\0{own or ''}".encode())
    prefix = f"mz{digest.hexdigest()[:10]}n"
    tokens: list[Markup] = []

    def token(number: int) -> Markup:
        while len(tokens) <= number:
            tokens.append(Markup(f"{prefix}{len(tokens)}z"))  # noqa: S704 - letters and digits only
        return tokens[number]

    keep = not source.foreign
    prepare = tidy if keep else str
    plain = environment(folder, finalize=for_header, autoescape=False, tidy=keep)
    head = _part(source.name, source.head, prepare(marked(source.head)), 1, plain, problems)
    if kind == "text":
        printer: Callable[..., Any] = printable
    else:
        printer = into_slots(token)
    made = environment(folder, finalize=printer, autoescape=kind != "text", tidy=keep)
    body = _part(source.name, source.body, prepare(source.body), source.body_line, made, problems)
    if body and kind != "text" and not _fit_for_slots(body.tree):
        printer = _for_markdown if kind == "markdown" else printable
        made = environment(folder, finalize=printer, autoescape=True, tidy=keep)
        body = _part(source.name, source.body, prepare(source.body), source.body_line, made, problems)
    text = None
    if own is not None:
        bare = environment(folder, finalize=printable, autoescape=False, tidy=keep)
        text = _part(own_name, own, prepare(own), 1, bare, problems)
    if not (head and body):
        return None
    included = _included((head, body, *((text,) if text else ())), digest, problems)
    return _Parts(head, body, text, included, re.compile(rf"{prefix}(\d+)z"), digest.hexdigest())


def _part(  # noqa: PLR0913, PLR0917 - a text, where it stands, and how it is compiled
    file: str, source: str, prepared: str, first_line: int, made: Sandbox, problems: list[Problem]
) -> _Part | None:
    try:
        return _Part(file, source, prepared, first_line, made)
    except TemplateSyntaxError as error:
        problems.append(scan.syntax_problem(file, source, error, first_line))
    return None


def _included(parts: Iterable[_Part], digest: Any, problems: list[Problem]) -> tuple[_Part, ...]:
    """Read the files that a letter names outright, and the files that those name."""
    found: dict[tuple[str, int], _Part] = {}
    waiting = list(parts)
    while waiting:
        part = waiting.pop()
        for name in meta.find_referenced_templates(part.tree):
            if name is None or (name, id(part.environment)) in found:
                continue
            try:
                text = part.environment.loader.text(name)  # type: ignore[union-attr] - always a Campaign
                made = _Part(
                    name,
                    text,
                    part.environment.loader.get_source(part.environment, name)[0],
                    1,
                    part.environment,
                )  # type: ignore[union-attr]
            except TemplateNotFound as error:
                problems.append(_missing(part, name, error.message or str(error)))
                continue
            except TemplateSyntaxError as error:
                problems.append(scan.syntax_problem(name, text, error, 1))
                continue
            digest.update(f"\0{name}\0{text}".encode())
            found[name, id(part.environment)] = made
            waiting.append(made)
    return tuple(found.values())


def _missing(part: _Part, name: str, message: str) -> Problem:
    start = max(part.source.find(name), 0)
    problem = at(part.file, part.source, start, len(name), "include", message)
    line = (problem.line or 1) + part.first_line - 1
    return Problem(
        "error", "include", message, part.file, line, problem.column, problem.width, source=problem.source
    )


def _fit_for_slots(tree: nodes.Template) -> bool:
    """Whether no expression can come to see the text around its value: only then may a token stand there."""
    if any(tree.find_all((nodes.FilterBlock, nodes.AssignBlock))):
        return False
    macros = {macro.name for macro in tree.find_all(nodes.Macro)} | {"caller", "super"}
    looking = tree.find_all(
        (nodes.Filter, nodes.Concat, nodes.Compare, nodes.Test, nodes.BinExpr, nodes.Assign)
    )
    return not any(
        isinstance(call.node, nodes.Name) and call.node.name in macros
        for node in looking
        for call in node.find_all(nodes.Call)
    ) and not any(tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)))


def _for_markdown(value: Any) -> Any:
    """Print a value into Markdown so that it stays text: its punctuation as character references."""
    value = printable(value)
    if isinstance(value, Markup):
        return value
    return Markup(_MARKDOWN_ACTIVE.sub(lambda mark: f"&#{ord(mark[1])};", str(value)))  # noqa: S704 - escaped here


def _runtime_words(error: Exception) -> str:
    if isinstance(error, UndefinedError):
        return (error.message or "something is undefined").replace("has no attribute", "has no")
    if isinstance(error, RecursionError):
        return "the letter calls itself without end"
    if isinstance(error, (MergeError, TemplateError)):
        return error.message or type(error).__name__
    return f"{error}" or type(error).__name__


def _column(part: _Part, error: Exception, line: int) -> tuple[int | None, int]:
    """Return where on the line the name stands that an error speaks of."""
    if not isinstance(error, UndefinedError):
        return None, 1
    names = re.findall(r"'([^']+)'", error.message or "")
    for name in reversed(names):
        for found, column in scan.places(part.environment, part.source).get(line, ()):
            if found in (name, f".{name}"):
                return column, len(name)
    return None, 1
