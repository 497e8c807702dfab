"""How does a file become a letter? Read, taken apart, compiled; all its problems at once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from jinja2 import TemplateError, TemplateNotFound, TemplateSyntaxError, meta, nodes
from markupsafe import Markup

from merge import header
from merge.errors import LetterError, Problem, Severity
from merge.template import scan
from merge.template.counting import borrowings
from merge.template.environment import WATCHER, environment, for_header, into_slots, printable, printed
from merge.template.letter import Apart, Kind, Template, Texts
from merge.template.limits import ACCOUNT, Account
from merge.template.part import Part, fit_for_slots, plain_spoken
from merge.template.source import Line, Source, at, controls, marked, normal, split, tidy
from merge.template.together import together
from merge.template.whole import HandMade, Whole, for_whole

LARGEST: Final = 2**20
"""Bytes of a letter's file: mail programs cut off what is much longer than 100 kB anyway."""

_BY_SUFFIX: Mapping[str, Kind] = {
    ".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html", ".mjml": "mjml",
}  # fmt: skip
_BY_TYPE: Mapping[str, Kind] = {
    "text/html": "html", "text/markdown": "markdown", "text/plain": "text", "multipart/alternative": "html",
}  # fmt: skip
_KNOWN = (
    *("To", "Cc", "Bcc", "From", "Reply-To", "Subject", "Preheader", "Attach", "Attachment", "Attach-As"),
    *("Unsubscribe", "Content-Type", "Content-Language", "In-Reply-To", "References", "Comments", "Keywords"),
    *("Importance", "Priority", "Precedence", "Auto-Submitted", "Organization", "Feedback-ID", "Sensitivity"),
    *("Disposition-Notification-To", "Autocrypt"),
)
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")
_ACTIVE_IN_MARKDOWN = re.compile(r"([!-/:-@\[-`{-~\t]|^ )", re.MULTILINE)
_UNQUOTED = re.compile(r"<[a-zA-Z][^<>]*?\s([\w-]+)=(?=\{\{)")
_PICTURE = re.compile(r"<img\b(?:[^>\"']|\"[^\"]*\"|'[^']*')*>", re.IGNORECASE)
_ALT = re.compile(r"\salt\s*=", re.IGNORECASE)
_EXTENDS = re.compile(r"\s*\{%[-+]?\s*extends\b")
_TOKENS = 256
"""How many tokens are kept, so that rows with the same branches get the very same objects."""
_BOUNDARY = re.compile(r'boundary\s*=\s*"?([^";\s]+)"?', re.IGNORECASE)


def read_template(
    path: Path, *, files: Path | None = None, given: Mapping[str, str] | None = None
) -> Template:
    """Read and compile a letter; `files` is the folder of its includes, by default the letter's own.

    `given` are values that every row's letter may use, by name.

    An own `letter.txt` beside `letter.html` or `letter.mjml` is its plain part. `letter.de.md` beside
    `letter.md` is the letter for rows whose column `lang` holds "de". Raises LetterError with all problems
    that can be seen without a list.
    """
    folder = files or path.parent
    languages: dict[str, Template] = {}
    problems: list[Problem] = []
    for tag, other in _other_languages(path):
        try:
            languages[tag.lower()] = _read(other, folder, tag, {}, given or {})
        except LetterError as error:
            problems += error.problems
    try:
        template = _read(path, folder, "", languages, given or {})
    except LetterError as error:
        problems[:0] = error.problems
    if problems:
        first = problems[0]
        raise LetterError(f"{first.file}: {first.message}", hint=first.hint, problems=problems)
    return template


def _other_languages(path: Path) -> list[tuple[str, Path]]:
    found = []
    for other in sorted(path.parent.glob(f"{_glob_safe(path.stem)}.*{path.suffix}")):
        tag = other.name[len(path.stem) + 1 : -len(path.suffix) or None]
        if _LANGUAGE.fullmatch(tag) and other.is_file():
            found.append((tag, other))
    return found


def _glob_safe(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)


def _read(
    path: Path, folder: Path, language: str, languages: Mapping[str, Template], given: Mapping[str, str]
) -> Template:
    text = _text(path)
    problems = controls(path.name, text)
    source, found = split(path.name, text)
    kind = _kind(path, source)
    unsplit = source.foreign and _EXTENDS.match(source.head) is not None
    if not unsplit:
        problems += found
        problems += _about_headers(source)
    beside = path.with_suffix(".txt")
    own = _text(beside) if kind in ("html", "mjml") and beside != path and beside.is_file() else None
    maker = _Maker(source, kind, folder, own, beside.name)
    texts = None if problems and not source.body else maker.whole() if unsplit else maker.apart()
    problems += maker.problems
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors or texts is None:
        first = (errors or problems)[0]
        raise LetterError(f"{path.name}: {first.message}", hint=first.hint, problems=problems)
    for other in languages.values():
        maker.digest.update(other.content_hash.encode())
    return Template(
        source,
        kind,
        texts,
        token=maker.token,
        content_hash=maker.digest.hexdigest(),
        remarks=(*problems, *_about_html(source, kind)),
        languages=languages,
        language=language,
        given=given,
    )


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, f"{path.name} cannot be read: {error.strerror}") from error
    if len(data) > LARGEST:
        raise _unreadable(path, f"{path.name} has more than {LARGEST} bytes", "attach large things as files")
    try:
        return normal(data.decode())
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _unreadable(
            path, f"{path.name} is not UTF-8", "save it as UTF-8 in your editor", line
        ) from error


def _unreadable(path: Path, message: str, hint: str = "", line: int | None = None) -> LetterError:
    problem = Problem("error", "file", message, path.name, line, hint=hint)
    return LetterError(message, hint=hint, problems=(problem,))


def _kind(path: Path, source: Source) -> Kind:
    declared = source.first("content-type")
    media_type = declared.value.partition(";")[0].strip().lower() if declared else ""
    return _BY_TYPE.get(media_type) or _BY_SUFFIX.get(path.suffix.lower(), "text")


def _about_headers(source: Source) -> list[Problem]:
    problems = []
    known = {name.lower() for name in _KNOWN}
    for line in source.lines:
        lower = line.name.lower()
        if why := header.unwelcome(line.name):
            if not (source.foreign and lower in ("date", "mime-version")):
                problems.append(_at(source, line, f"a letter cannot set {line.name}: {why}"))
        elif lower not in known and not lower.startswith(("x-", "list-")):
            guess = scan.nearest(line.name, _KNOWN)
            hint = f"did you mean {guess}?" if guess else "a header of your own begins with X-"
            severity: Severity = "error" if guess else "warning"
            problems.append(
                replace(_at(source, line, f"unknown header {line.name}", hint), severity=severity)
            )
    if not source.text.strip():
        hint = 'begin with "Subject: ...", then a blank line, then the letter'
        return [at(source.name, source.text, 0, 1, "header", f"{source.name} is empty", hint)]
    if not source.first("subject") and (source.lines or not source.head.strip()):
        hint = 'begin the letter with "Subject: ..."'
        problems.append(at(source.name, source.text, 0, 1, "header", "the letter has no Subject", hint))
    return problems


def _at(source: Source, line: Line, message: str, hint: str = "") -> Problem:
    position = sum(len(text) + 1 for text in source.text.split("\n")[: line.line - 1])
    start = max(source.text.find(line.name, position), position)
    return at(source.name, source.text, start, len(line.name), "header", message, hint)


def _about_html(source: Source, kind: Kind) -> list[Problem]:
    """Warn of what is legal HTML and goes wrong in letters."""
    if kind not in ("html", "mjml"):
        return []
    offset = len(source.text) - len(source.body)
    problems = [
        at(
            source.name, source.text, offset + found.start(1), len(found[1]), "html",
            f"the value of {found[1]} stands without quotes: a blank in a cell would end it",
            f'write {found[1]}="{{{{ ... }}}}"',
        )
        for found in _UNQUOTED.finditer(source.body)
    ]  # fmt: skip
    problems += [
        at(
            source.name, source.text, offset + found.start(), 4, "html", "a picture without alt text",
            'say what it shows: alt="..."; alt="" where it only decorates',
        )
        for found in _PICTURE.finditer(source.body)
        if not _ALT.search(found[0])
    ]  # fmt: skip
    return [replace(problem, severity="warning") for problem in problems]


class _Maker:
    """Compiles the texts of one letter, and collects what is wrong with them."""

    def __init__(self, source: Source, kind: Kind, folder: Path, own: str | None, own_name: str) -> None:
        self.problems: list[Problem] = []
        self.digest = hashlib.sha256(f"{kind}\0{source.name}\0{source.text}\0{own or ''}".encode())
        declared = source.first("content-type")
        found = (
            _BOUNDARY.search(declared.value) if declared and "multipart/" in declared.value.lower() else None
        )
        self.boundary = found[1] if found else ""
        prefix = f"mz{self.digest.hexdigest()[:10]}n"
        self.token = re.compile(rf"{prefix}(\d+)z")
        self._prefix = prefix
        self._tokens = [self._slot(number) for number in range(_TOKENS)]
        self._plain: set[Part | None] = set()
        self._source, self._kind, self._folder = source, kind, folder
        self._own, self._own_name = own, own_name

    def apart(self) -> Texts | None:
        """Compile header block, body and own plain part, each with its own way of printing values."""
        source, html = self._source, self._kind != "text"
        head = self._part(source.name, source.head, 1, for_header, prepare=marked)
        body = self._body(source.name, source.body, source.body_line, html=html)
        text = self._body(self._own_name, self._own, 1, html=False) if self._own is not None else None
        if not head or not body:
            return None
        included = self._included([head, body, *([text] if text else [])])
        if self.boundary:
            return HandMade(Apart(head, body, text, included), self.boundary, self.token)
        apart = Apart(head, body, text, included)
        if not self._plain.issuperset((body, text or body)) or WATCHER.get():
            return apart
        blanks = self._source.foreign
        made = environment(self._folder, finalize=printable, autoescape=False, keep_blanks=blanks)
        return together(apart, made, self._slot)

    def whole(self) -> Texts | None:
        """Compile a letter whose header block cannot be told from its body before it is rendered."""
        part = self._part(self._source.name, self._source.text, 1, for_whole)
        if not part:
            return None
        return Whole(part, self._included([part]), self._source.lines, escaped=self._kind != "text")

    def _body(self, name: str, source: str, line: int, *, html: bool) -> Part | None:
        """Compile a body with slots for its values, or without where an expression would come to see them."""
        slots = into_slots(self._tokens, self._slot)
        part = self._part(name, source, line, slots, autoescape=html)
        if not part:
            return None
        trees = [part.tree, *(other.tree for other in self._included([part], quiet=True))]
        if plain_spoken(trees):
            part = self._part(name, source, line, slots) if html else part
            self._plain.add(part)
            return part
        if html and fit_for_slots(trees):
            return part
        printer = _for_markdown if self._kind == "markdown" and html else printed
        return self._part(name, source, line, printer, autoescape=html)

    def _slot(self, number: int) -> str:
        return f"{self._prefix}{number}z"

    def _part(  # noqa: PLR0913 - a text, where it stands, and how its values are printed
        self,
        name: str,
        source: str,
        line: int,
        printer: Callable[..., object],
        *,
        autoescape: bool = False,
        prepare: Callable[[str], str] = str,
    ) -> Part | None:
        blanks = self._source.foreign
        made = environment(self._folder, finalize=printer, autoescape=autoescape, keep_blanks=blanks)
        prepared = prepare(source) if blanks else tidy(prepare(source))
        try:
            part = Part(name, source, prepared, line, made)
        except TemplateSyntaxError as error:
            self._complain(quiet=False, problem=scan.syntax_problem(name, source, error, line, made))
            return None
        for problem in scan.missing(name, source, part.tree, made):
            self._complain(quiet=False, problem=replace(problem, line=(problem.line or 1) + line - 1))
        return part

    def _included(self, parts: Sequence[Part], *, quiet: bool = False) -> tuple[Part, ...]:
        """Read the files that parts name outright, and the files that those name."""
        found: dict[tuple[str, int], Part] = {}
        waiting = list(parts)
        while waiting:
            part = waiting.pop()
            for name in meta.find_referenced_templates(part.tree):
                if name is None or (name, id(part.environment)) in found:
                    continue
                try:
                    text = part.loader.text(name)
                    made = Part(
                        name, text, part.loader.get_source(part.environment, name)[0], 1, part.environment
                    )
                    _evaluated(part, name)
                except TemplateNotFound as error:
                    self._complain(quiet, _missing(part, name, error.message or str(error)))
                    continue
                except TemplateSyntaxError as error:
                    self._complain(quiet, scan.syntax_problem(name, text, error, 1, part.environment))
                    continue
                if not quiet:
                    self.digest.update(f"\0{name}\0{text}".encode())
                found[name, id(part.environment)] = made
                waiting.append(made)
        return tuple(found.values())

    def _complain(self, quiet: bool, problem: Problem) -> None:  # noqa: FBT001 - handed through
        if not quiet and problem not in self.problems:
            self.problems.append(problem)


def _evaluated(part: Part, name: str) -> None:
    """Run an imported file once, now: Jinja2 keeps its macros, and no row may be the one that runs it."""
    if any(node.template.as_const() == name for node in _imports(part.tree)):
        ACCOUNT.set(Account())
        try:
            _ = part.environment.get_template(name).module
        except TemplateError as error:
            raise TemplateNotFound(name, f"{name} cannot be imported: {error.message}") from error


def _imports(tree: nodes.Template) -> Iterable[nodes.Import | nodes.FromImport]:
    """Yield the imports of files that are named outright, and do not see the row."""
    for node in borrowings(tree):
        if (
            isinstance(node, (nodes.Import, nodes.FromImport))
            and isinstance(node.template, nodes.Const)
            and not node.with_context
        ):
            yield node


def _missing(part: Part, name: str, message: str) -> Problem:
    start = max(part.source.find(name), 0)
    problem = at(part.file, part.source, start, len(name), "include", message)
    return replace(problem, line=(problem.line or 1) + part.first_line - 1)


def _for_markdown(value: object) -> str:
    """Print a value into Markdown so that it stays text: its punctuation as character references."""
    text = printed(value)
    if isinstance(text, Markup):
        return text
    return Markup(_ACTIVE_IN_MARKDOWN.sub(lambda mark: f"&#{ord(mark[1])};", text))  # noqa: S704 - escaped here
