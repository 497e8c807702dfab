"""Which expression of a line broke off? The text is rendered once more, and tells where it is.

Jinja2 knows the line of a run-time error, no more. So a second compile notes each expression when it begins
and when it is done; the one that is not done is the one that failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from jinja2 import Environment, nodes, pass_context
from jinja2.runtime import Context

from merge.template.counting import expression, put_on_account
from merge.template.environment import Sandbox
from merge.template.limits import ACCOUNT, LONGEST_TEXT, Account
from merge.template.scan import placed

_BEGUN = "expression begun"
_DONE = "expression done"
"""Filters that no letter can name, because of the blank."""

_MOST_SHOWN: Final = 3
_LONGEST_SHOWN: Final = 40
_Node = nodes.If | nodes.For | nodes.Assign


class Culprit(NamedTuple):
    """An expression: its place, counted from 1 in its text, and the values of the names in it."""

    line: int
    column: int
    width: int
    values: tuple[tuple[str, str], ...]


class _Place(NamedTuple):
    node: nodes.Expr
    start: int
    end: int


def culprit(
    made: Sandbox, prepared: str, source: str, variables: Mapping[str, object], line: int
) -> Culprit | None:
    """Return the expression on a line of `source` that fails; None where it cannot be told for certain.

    `prepared` is the same text as it is compiled.
    """
    tree = made.parse(prepared)
    places = _places(made, tree, source)
    if places is None:
        return None
    waiting: list[int] = []
    watched = _watched(made, waiting)
    _instrument(watched, tree, places)
    put_on_account(tree)
    if not _breaks(watched, tree, variables):
        return None
    if not waiting:
        return None
    place = places[waiting[-1]]
    first = source.count("\n", 0, place.start) + 1
    last = source.count("\n", 0, place.end) + 1
    if not first <= line <= last:
        return None
    begin = source.rfind("\n", 0, place.start) + 1
    width = len(source[place.start : place.end].partition("\n")[0])
    return Culprit(first, place.start - begin + 1, max(width, 1), tuple(_shown(place.node, variables)))


def _breaks(watched: Sandbox, tree: nodes.Template, variables: Mapping[str, object]) -> bool:
    """Render a tree, and say whether that breaks off."""
    compiled = watched.from_string(tree)
    context = Context(watched, {**compiled.globals, **variables}, None, compiled.blocks)
    ACCOUNT.set(Account())
    size = 0
    try:
        for piece in compiled.root_render_func(context):
            size += len(piece)
            if size > LONGEST_TEXT:
                return False
    except Exception:  # noqa: BLE001 - whatever it is, it is the one that was met before
        return True
    return False


def _watched(made: Sandbox, waiting: list[int]) -> Sandbox:
    watched = made.overlay()
    finalize = made.finalize
    takes_context = hasattr(finalize, "jinja_pass_arg")

    @pass_context
    def begun(context: Context, number: int) -> bool:  # noqa: ARG001 - keeps constants from being folded
        waiting.append(number)
        return True

    def done(value: object) -> object:
        waiting.pop()
        return value

    @pass_context
    def printed(context: Context, value: object) -> object:
        shown = value
        if finalize is not None:
            shown = finalize(context, value) if takes_context else finalize(value)
        if waiting:
            waiting.pop()
        return shown

    watched.finalize = printed
    watched.filters = {**made.filters, _BEGUN: begun, _DONE: done}
    return watched


def _instrument(made: Environment, tree: nodes.Template, places: list[_Place]) -> None:
    numbers = {id(place.node): number for number, place in enumerate(places)}

    def noted(node: nodes.Expr, *, printed: bool) -> nodes.Expr:
        number = nodes.Const(numbers[id(node)])
        begun = nodes.Filter(number, _BEGUN, [], [], None, None)
        done = node if printed else nodes.Filter(node, _DONE, [], [], None, None)
        both = nodes.And(begun, done)
        for new in (number, begun, both, *(() if printed else (done,))):
            new.set_lineno(node.lineno, override=new is not done)
        both.set_environment(made)
        return both

    for output in list(tree.find_all(nodes.Output)):
        output.nodes = [
            child if isinstance(child, nodes.TemplateData) else noted(child, printed=True)
            for child in output.nodes
        ]
    for node in list(tree.find_all((nodes.If, nodes.For, nodes.Assign))):
        if isinstance(node, nodes.If):
            node.test = noted(expression(node.test), printed=False)
        elif isinstance(node, nodes.For):
            node.iter = noted(expression(node.iter), printed=False)
        elif isinstance(node, nodes.Assign):
            node.node = noted(expression(node.node), printed=False)


def _places(made: Environment, tree: nodes.Template, source: str) -> list[_Place] | None:
    """Find the place of each expression; None where tree and text cannot be matched one to one."""
    tags = _tags(made, source)
    found: list[_Place] = []
    for word, expressions in _expressions(tree).items():
        spans = tags.get(word, [])
        if len(spans) != len(expressions):
            return None
        found += [
            _Place(node, *span) for node, span in zip(expressions, spans, strict=True) if node is not None
        ]
    return found


def _expressions(tree: nodes.Template) -> dict[str, list[nodes.Expr | None]]:
    """List the expressions of a tree in the order of the text, by the word that begins their tag."""
    found: dict[str, list[nodes.Expr | None]] = {"": [], "if": [], "elif": [], "for": [], "set": []}
    elifs = {id(branch) for node in tree.find_all(nodes.If) for branch in node.elif_}
    for node in tree.find_all((nodes.Output, nodes.If, nodes.For, nodes.Assign, nodes.AssignBlock)):
        match node:
            case nodes.Output():
                found[""] += [child for child in node.nodes if not isinstance(child, nodes.TemplateData)]
            case nodes.If():
                found["elif" if id(node) in elifs else "if"].append(expression(node.test))
            case nodes.For():
                found["for"].append(expression(node.iter))
            case nodes.Assign():
                found["set"].append(expression(node.node))
            case nodes.AssignBlock():
                found["set"].append(None)
    return found


def _tags(made: Environment, source: str) -> dict[str, list[tuple[int, int]]]:
    """List where tags stand, by the word that begins them; that of `{{ }}` is empty."""
    found: dict[str, list[tuple[int, int]]] = {}
    word: str | None = None
    start = end = 0
    for position, kind, value in placed(made, source):
        if kind in ("variable_begin", "block_begin"):
            word, start = ("" if kind == "variable_begin" else None), -1
        elif kind in ("variable_end", "block_end"):
            if word is not None and start >= 0:
                found.setdefault(word, []).append((start, end))
        elif kind != "whitespace":
            if word is None and kind == "name" and start < 0:
                word = value
            elif start < 0:
                start = position
            end = position + len(value)
    return found


def _shown(node: nodes.Expr, variables: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the names in an expression that stand for texts, each with its text."""
    names = [node.name] if isinstance(node, nodes.Name) else []
    names += [name.name for name in node.find_all(nodes.Name)]
    for name in list(dict.fromkeys(names))[:_MOST_SHOWN]:
        value = variables.get(name)
        if isinstance(value, str):
            yield name, value if len(value) <= _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}…"
