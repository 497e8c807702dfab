"""Which names does a letter use, and where?"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from jinja2 import Environment, TemplateSyntaxError, nodes

from merge.errors import Problem
from merge.names import RESERVED, UNSUBSCRIBE, resolve, short_name
from merge.template.source import at

_DEFAULTS = frozenset({"default", "d"})
_GUARDS = frozenset({"defined", "undefined"})
_UNCLOSED = re.compile(r"innermost block that needs to be closed is '(\w+)'")
_STATEMENT = re.compile(r"\{%[-+]?\s*(\w+).*?%\}", re.DOTALL)
_UNSUBSCRIBE_HINT = (
    'add to campaign.toml:\n  [unsubscribe]\n  url = "https://club.example/unsubscribe"\n'
    '  secret = {env = "UNSUBSCRIBE_SECRET"}'
)
_NO_SUCH = re.compile(r"No (filter|test) named '(.+?)'")


@dataclass(frozen=True, slots=True)
class Use:
    """One place where a letter reads a name, or a column by `row["..."]` (`literal`).

    `guarded` where a fallback stands beside it, `bare` where an empty cell would leave a gap. `minus` is
    the name after a "-", which makes `first-name` a subtraction.
    """

    name: str
    line: int
    literal: bool = False
    guarded: bool = False
    minus: str = ""
    bare: bool = False


ADDRESS = "email"
"""The address of the row, by whatever name its column goes."""

GROUP = "rows"
"""All rows of this person's letter."""


def uses(tree: nodes.Template, known: Iterable[str]) -> list[Use]:
    """List what a template reads from outside; `known` are names that it is given besides columns."""
    found: list[Use] = []
    _Reader(found).block(tree.body, frozenset(known), frozenset())
    return found


_Names = frozenset[str]


class _Reader:
    """Walks a template with the names that are in scope and those that a condition guards.

    In `guarded`, "name" exists for certain, and "if:name" was asked about, so that it may as well be empty.
    """

    def __init__(self, found: list[Use]) -> None:
        self._found = found

    def block(self, body: Iterable[nodes.Node], scope: _Names, guarded: _Names) -> _Names:
        """Read statements in their order; return the scope after them."""
        for node in body:
            scope = self._statement(node, scope, guarded)
        return scope

    def _statement(self, node: nodes.Node, scope: _Names, guarded: _Names) -> _Names:  # noqa: PLR0911 - one a kind
        match node:
            case nodes.Output():
                for child in node.nodes:
                    self._read(child, scope, guarded, printed=True)
                return scope
            case nodes.If():
                return self._condition(node, scope, guarded)
            case nodes.For():
                self._loop(node, scope, guarded)
                return scope
            case nodes.Assign():
                self._read(node.node, scope, guarded)
                return scope.union(_targets(node.target))
            case nodes.AssignBlock():
                self._filters(node.filter, scope, guarded)
                self.block(node.body, scope, guarded)
                return scope.union(_targets(node.target))
            case nodes.Macro():
                self._macro(node, scope | {node.name}, guarded)
                return scope | {node.name}
            case nodes.Import():
                self._read(node.template, scope, guarded)
                return scope | {node.target}
            case nodes.FromImport():
                self._read(node.template, scope, guarded)
                return scope.union(name if isinstance(name, str) else name[1] for name in node.names)
            case _:
                self._enclosure(node, scope, guarded)
                return scope

    def _condition(self, node: nodes.If, scope: _Names, guarded: _Names) -> _Names:
        self._read(node.test, scope, guarded)
        yes, no = _guards(node.test)
        asked = frozenset(f"if:{name}" for name in _read_names(node.test))
        after = [self.block(node.body, scope, guarded | yes | asked)]
        after += [self._statement(branch, scope, guarded | no | asked) for branch in node.elif_]
        after.append(self.block(node.else_, scope, guarded | no | asked))
        return frozenset.union(*after)

    def _loop(self, node: nodes.For, scope: _Names, guarded: _Names) -> None:
        self._read(node.iter, scope, guarded)
        inner = scope.union(_targets(node.target), ("loop",))
        if node.test:
            self._read(node.test, inner, guarded)
        self.block(node.body, inner, guarded)
        self.block(node.else_, scope, guarded)

    def _macro(self, node: nodes.Macro | nodes.CallBlock, scope: _Names, guarded: _Names) -> None:
        for value in node.defaults:
            self._read(value, scope, guarded)
        arguments = (argument.name for argument in node.args)
        self.block(node.body, scope.union(arguments, ("caller", "varargs", "kwargs")), guarded)

    def _enclosure(self, node: nodes.Node, scope: _Names, guarded: _Names) -> None:
        match node:
            case nodes.CallBlock():
                self._read(node.call, scope, guarded)
                self._macro(node, scope, guarded)
            case nodes.With():
                for value in node.values:
                    self._read(value, scope, guarded)
                self.block(node.body, scope.union(*map(_targets, node.targets)), guarded)
            case nodes.Block():
                self.block(node.body, scope | {"super", "self"}, guarded)
            case nodes.Scope() | nodes.ScopedEvalContextModifier():
                self.block(node.body, scope, guarded)
            case nodes.FilterBlock():
                self.block(node.body, scope, guarded)
                self._filters(node.filter, scope, guarded)
            case _:
                self._read(node, scope, guarded)

    def _filters(self, node: nodes.Filter | None, scope: _Names, guarded: _Names) -> None:
        """Read the arguments of the filters of a whole block."""
        current: nodes.Node | None = node
        while isinstance(current, nodes.Filter):
            self._arguments(current, scope, guarded)
            current = current.node

    def _arguments(self, node: nodes.Filter, scope: _Names, guarded: _Names) -> None:
        for child in (*node.args, *node.kwargs):
            self._read(child, scope, guarded)

    def _read(self, node: nodes.Node, scope: _Names, guarded: _Names, *, printed: bool = False) -> None:
        if isinstance(node, nodes.Name):
            if node.ctx == "load" and node.name not in scope:
                self._note(node.name, node.lineno, guarded, printed=printed)
        elif (column := _column_of_row(node)) and "row" not in scope:
            self._note(column, node.lineno, guarded, printed=printed, literal=True)
        elif (names := _subtracted(node)) and not scope.issuperset(names):
            self._found.append(Use(names[0], node.lineno, minus=names[1]))
        else:
            self._read_inside(node, scope, guarded, printed=printed)

    def _note(self, name: str, line: int, guarded: _Names, *, printed: bool, literal: bool = False) -> None:
        key = f"row:{name}" if literal else name
        bare = printed and key not in guarded and f"if:{key}" not in guarded
        self._found.append(Use(name, line, literal=literal, guarded=key in guarded, bare=bare))

    def _read_inside(self, node: nodes.Node, scope: _Names, guarded: _Names, *, printed: bool) -> None:
        match node:
            case nodes.Filter(name=name) if name in _DEFAULTS and node.node is not None:
                self._read(node.node, scope, guarded | _named(node.node))
                self._arguments(node, scope, guarded)
            case nodes.Filter() if node.node is not None:
                self._read(node.node, scope, guarded, printed=printed)
                self._arguments(node, scope, guarded)
            case nodes.Test(name=name) if name in _GUARDS:
                self._read(node.node, scope, guarded | _named(node.node))
            case nodes.And() | nodes.Or():
                self._read(node.left, scope, guarded)
                yes, no = _guards(node.left)
                self._read(node.right, scope, guarded | (yes if isinstance(node, nodes.And) else no))
            case nodes.CondExpr():
                self._read(node.test, scope, guarded)
                yes, no = _guards(node.test)
                asked = frozenset(f"if:{name}" for name in _read_names(node.test))
                self._read(node.expr1, scope, guarded | yes | asked, printed=printed)
                if node.expr2:
                    self._read(node.expr2, scope, guarded | no | asked, printed=printed)
            case nodes.Concat():
                for piece in node.nodes:
                    self._read(piece, scope, guarded, printed=printed)
            case _:
                for child in node.iter_child_nodes():
                    self._read(child, scope, guarded)


def set_names(tree: nodes.Template) -> frozenset[str]:
    """List all names that a template gives a meaning, anywhere in it."""
    stored = {name.name for name in tree.find_all(nodes.Name) if name.ctx in ("store", "param")}
    stored |= {macro.name for macro in tree.find_all(nodes.Macro)}
    stored |= {imported.target for imported in tree.find_all(nodes.Import)}
    for imported in tree.find_all(nodes.FromImport):
        stored |= {name if isinstance(name, str) else name[1] for name in imported.names}
    return frozenset(stored)


def _column_of_row(node: nodes.Node) -> str:
    """Return the column that `row["First Name"]` or `row.first_name` asks for, or an empty text."""
    match node:
        case nodes.Getitem(node=nodes.Name(name="row"), arg=nodes.Const(value=str(key))):
            return key
        case nodes.Getattr(node=nodes.Name(name="row"), attr=str(key)):
            return key
        case _:
            return ""


def _subtracted(node: nodes.Node) -> tuple[str, str] | None:
    """Return the two names of `first - name`."""
    match node:
        case nodes.Sub(left=nodes.Name(name=str(left)), right=nodes.Name(name=str(right))):
            return left, right
        case _:
            return None


def _read_names(node: nodes.Node) -> Iterator[str]:
    """Yield all names that an expression reads, in the form of `guarded`."""
    if isinstance(node, nodes.Name):
        yield node.name
    elif column := _column_of_row(node):
        yield f"row:{column}"
    for child in node.iter_child_nodes():
        yield from _read_names(child)


def _targets(node: nodes.Node) -> Iterator[str]:
    if isinstance(node, nodes.Name):
        yield node.name
    elif isinstance(node, nodes.Tuple):
        for item in node.items:
            yield from _targets(item)


def _named(node: nodes.Node) -> _Names:
    """Return the one name that an expression hangs on, in the form of `guarded`."""
    if isinstance(node, nodes.Name):
        return frozenset({node.name})
    if column := _column_of_row(node):
        return frozenset({f"row:{column}"})
    if isinstance(node, (nodes.Getattr, nodes.Getitem, nodes.Filter)) and node.node is not None:
        return _named(node.node)
    return frozenset()


def _guards(test: nodes.Node) -> tuple[_Names, _Names]:
    """Return the names that exist where a condition holds, and those that exist where it does not."""
    nothing: _Names = frozenset()
    match test:
        case nodes.Test(name="defined"):
            return _named(test.node), nothing
        case nodes.Test(name="undefined"):
            return nothing, _named(test.node)
        case nodes.Not():
            return _guards(test.node)[::-1]
        case nodes.And():
            return _guards(test.left)[0] | _guards(test.right)[0], nothing
        case nodes.Or():
            return nothing, _guards(test.left)[1] | _guards(test.right)[1]
        case _:
            return nothing, nothing


def placed(environment: Environment, source: str) -> list[tuple[int, str, str]]:
    """List the tokens of a source as (position, kind, text); none where it cannot be read."""
    found: list[tuple[int, str, str]] = []
    position = 0
    try:
        tokens = list(environment.lex(source))
    except TemplateSyntaxError:
        return []
    for _, kind, text in tokens:
        while not source.startswith(text, position):  # Jinja2 passes over blanks around a tag
            position += 1
        found.append((position, kind, text))
        position += len(text)
    return found


def places(environment: Environment, source: str) -> dict[int, list[tuple[str, int]]]:
    """List the names and texts inside the tags of a source: line -> (name, column from 1), in order."""
    found: dict[int, list[tuple[str, int]]] = {}
    before = ""
    for position, kind, value in placed(environment, source):
        after = before in (".", "|")
        if kind == "name" or (kind == "string" and not after):
            name = f".{value}" if after else value if kind == "name" else value.strip("\"'")
            line = source.count("\n", 0, position) + 1
            found.setdefault(line, []).append((name, position - source.rfind("\n", 0, position)))
        if kind != "whitespace":
            before = value
    return found


def unknown(  # noqa: PLR0913 - the text, where it stands, and the list
    file: str,
    source: str,
    found: Sequence[Use],
    where: dict[int, list[tuple[str, int]]],
    columns: Sequence[str],
    *,
    first_line: int = 1,
    list_name: str = "the list",
) -> list[Problem]:
    """Name every use that no column answers, each with its place, a guess and the columns there are."""
    shorts, clashes = resolve(columns)
    problems: list[Problem] = []
    counted: dict[tuple[str, int], int] = {}
    for use in found:
        seen = counted[use.name, use.line] = counted.get((use.name, use.line), 0) + 1
        if use.guarded or _answered(use, shorts, columns):
            continue
        spots = [column for name, column in where.get(use.line, ()) if name in (use.name, f".{use.name}")]
        column = spots[min(seen, len(spots)) - 1] if spots else None
        message, hint = _words(use, shorts, clashes, columns, list_name)
        width = len(use.name) + (len(use.minus) + 1 if use.minus else 0)
        lines = source.split("\n")
        problems.append(
            Problem(
                "error",
                "column",
                message,
                file,
                use.line + first_line - 1,
                column,
                width,
                value=use.name,
                hint=hint,
                source=lines[use.line - 1] if use.line <= len(lines) else "",
            )
        )
    return problems


def _answered(use: Use, shorts: Iterable[str], columns: Sequence[str]) -> bool:
    if use.literal:
        return use.name in columns or use.name in shorts
    if use.name in (ADDRESS, GROUP) and not use.minus:
        return True
    return use.name in shorts and (not use.minus or use.minus in shorts)


def _words(
    use: Use, shorts: Iterable[str], clashes: Iterable[str], columns: Sequence[str], list_name: str
) -> tuple[str, str]:
    hint = f"columns in {list_name}: {', '.join(columns)}"
    if use.minus:
        joined = short_name(f"{use.name} {use.minus}")
        if joined in shorts:
            return f'"{use.name}-{use.minus}" is a subtraction; columns use "_": write {joined}', hint
    if use.name == UNSUBSCRIBE:
        return f"no column {use.name}, and no [unsubscribe] in campaign.toml to make it", _UNSUBSCRIBE_HINT
    if not use.literal and use.name in clashes:
        same = [column for column in columns if short_name(column) == use.name]
        called = f"{len(same)} columns are called {same[0]}; give each a name of its own"
        several = f'several columns are called {use.name}; write row["..."] with the whole name'
        return called if len(set(same)) == 1 else several, hint
    if not use.literal and use.name in RESERVED:
        return f'{use.name} means something else in a letter; write row["{use.name}"] for the column', hint
    if guess := nearest(use.name, [*columns] if use.literal else [*shorts]):
        return f"no column {use.name}; did you mean {guess}?", hint
    return f"no column {use.name}", hint


def nearest(name: str, choices: Sequence[str]) -> str:
    """Return the choice that was probably meant, or an empty text: case, blanks and "_" do not count."""
    folded = {re.sub(r"[\W_]+", "", choice.casefold()): choice for choice in reversed(choices)}
    close = difflib.get_close_matches(re.sub(r"[\W_]+", "", name.casefold()), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else ""


def syntax_problem(
    file: str, source: str, error: TemplateSyntaxError, first_line: int, environment: Environment
) -> Problem:
    """Turn Jinja2's complaint into one with a place in the file."""
    if named := _NO_SUCH.match(error.message or ""):
        problem = _no_such(file, source, error.lineno, named[1], named[2], environment)
        return replace(problem, line=(problem.line or 1) + first_line - 1)
    lines = source.split("\n")
    number = min(max(error.lineno, 1), len(lines))
    position = sum(len(line) + 1 for line in lines[: number - 1])
    line = lines[number - 1]
    if (unclosed := _UNCLOSED.search(error.message or "")) and (opening := _opening(source, unclosed[1])):
        words = f"this {{% {unclosed[1]} %}} is never closed with {{% end{unclosed[1]} %}}"
        problem = at(file, source, opening.start(), len(opening[0]), "syntax", words)
        return replace(problem, line=(problem.line or 1) + first_line - 1)
    marks = list(re.finditer(r"\{[{%#].*?(?:[}%#]\}|$)", line))
    span = marks[-1] if marks else re.compile(r"\S.*|$").search(line)
    start, end = span.span() if span else (0, 1)
    problem = at(file, source, position + start, end - start, "syntax", _plain(error.message or ""))
    return replace(problem, line=number + first_line - 1)


def _opening(source: str, name: str) -> re.Match[str] | None:
    """Find the last tag of that name that has no end."""
    waiting: list[re.Match[str]] = []
    for tag in _STATEMENT.finditer(source):
        if tag[1] == name:
            waiting.append(tag)
        elif tag[1] == f"end{name}" and waiting:
            waiting.pop()
    return waiting[-1] if waiting else None


def missing(file: str, source: str, tree: nodes.Template, environment: Environment) -> list[Problem]:
    """Tell of filters and tests that do not exist, where Jinja2 would only say so once a row came there."""
    kinds = (("filter", nodes.Filter, environment.filters), ("test", nodes.Test, environment.tests))
    return [
        _no_such(file, source, node.lineno, kind, node.name, environment)
        for kind, type_, known in kinds
        for node in tree.find_all(type_)
        if node.name not in known
    ]


def _no_such(  # noqa: PLR0913, PLR0917 - what is missing, and where it was looked for
    file: str, source: str, line: int, kind: str, name: str, environment: Environment
) -> Problem:
    """Tell of a filter or a test that does not exist, with its place and a guess at what was meant."""
    known = environment.filters if kind == "filter" else environment.tests
    guess = nearest(name, [choice for choice in known if choice.isidentifier()])
    words = f"there is no {kind} called {name}" + (f"; did you mean {guess}?" if guess else "")
    before = r"\|\s*|\{%[-+]?\s*filter\s+" if kind == "filter" else r"\bis\s+(?:not\s+)?"
    start = sum(len(text) + 1 for text in source.split("\n")[: line - 1])
    pattern = re.compile(rf"(?:{before})({re.escape(name)})\b")
    found = pattern.search(source, start) or pattern.search(source)
    return at(file, source, found.start(1) if found else start, len(name), "syntax", words)


def _plain(message: str) -> str:
    """Say in plain words what Jinja2 says in its own."""
    return message[:1].lower() + message[1:].rstrip(".")
