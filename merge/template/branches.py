"""Which way through the letter does a row take? A second compile of the letter, for counting only.

It renders as the letter does, and notes each branch on the way: of `if`, `elif`, `else`, `for`, of an
`... if ... else ...` inside an expression, and of fallbacks by `default` and `or`. The letter that is sent
is compiled apart and knows nothing of this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from jinja2 import nodes, pass_context
from jinja2.runtime import Context, Undefined

from merge.errors import ContentError
from merge.model import Recipient
from merge.template.environment import WATCHER, Sandbox, default

_TAKEN: ContextVar[set[int]] = ContextVar("taken")
_HERE = "branch taken"
_FALLBACK = "fallback taken"
"""Filters that no letter can name, because of the blank."""

_TAG: Final = re.compile(r"\{%[-+]?\s*(.*?)\s*[-+]?%\}", re.DOTALL)
_EXPRESSION: Final = re.compile(r"\{\{[-+]?\s*(.*?)\s*[-+]?\}\}", re.DOTALL)
_INLINE: Final = re.compile(r"\bif\s+(.+?)(?:\s+else\b|$)")
_LONGEST = 80
_Node = TypeVar("_Node", bound=nodes.Node)


@dataclass(frozen=True, slots=True)
class Branch:
    """One way that a letter can take: `line` counts from 1 in `file`, `words` are those of the letter.

    Where a letter is written in several languages, each of its files is a way of its own: all of it, line 0.
    """

    file: str
    line: int
    words: str


class Way(NamedTuple):
    """What one row makes of the letter: the numbers of its branches, and the longest value printed in it."""

    branches: frozenset[int]
    longest: int


class Branches:
    """A letter compiled for counting. Raises LetterError as `read_template` does."""

    def __init__(
        self, letter: Path, *, files: Path | None = None, given: Mapping[str, str] | None = None
    ) -> None:
        from merge.template.reading import read_template  # noqa: PLC0415 - reading stands above this room

        self._notes: list[_Note] = []
        with _watched(self._note):
            self._template = read_template(letter, files=files, given=given)
        self._origins: dict[int, tuple[str, int]] = {}
        templates = (self._template, *self._template.languages.values())
        self._letters = [template.name for template in templates] if len(templates) > 1 else []
        for template in templates:
            for part in template._texts.parts:  # noqa: SLF001 - one wing, and nobody else asks
                self._origins.setdefault(id(part.environment), (part.file, part.first_line))

    @property
    def any(self) -> bool:
        """Whether there is more than one way through the letter."""
        return bool(self._notes or self._letters)

    def way(self, recipient: Recipient) -> Way | None:
        """Return the way that one row takes; None where the letter breaks off."""
        taken: set[int] = set()
        token = _TAKEN.set(taken)
        try:
            rendered = self._template.render(recipient)
        except ContentError:
            return None
        finally:
            _TAKEN.reset(token)
        if self._letters:
            taken.add(len(self._notes) + self._letters.index(rendered.template.name))
        texts = [slotted.values for slotted in (rendered.main, rendered.own_text) if slotted]
        same = self._template.given.values()
        lengths = (len(value) for values in texts for value in values if value not in same)
        return Way(frozenset(taken), max(lengths, default=0))

    def branch(self, number: int) -> Branch:
        """Return what a branch's number stands for."""
        if number >= len(self._notes):
            name = self._letters[number - len(self._notes)]
            return Branch(name, 0, name)
        note = self._notes[number]
        file, first = self._origins.get(id(note.environment), (self._template.name, 1))
        if note.name is not None:
            file, first = note.name, 1
        return Branch(file, note.line + first - 1, note.words)

    def _note(self, environment: Sandbox, tree: nodes.Template, source: str, name: str | None) -> None:
        environment.filters = {**environment.filters, _HERE: _here, _FALLBACK: _fallback}
        _Instrument(self._notes, environment, source, name).block(tree)


class _Note(NamedTuple):
    """A branch when it is met: `line` counts from 1 in the text that is compiled."""

    environment: Sandbox
    name: str | None
    line: int
    words: str


class _Instrument:
    """Puts a note at the head of each branch of one text."""

    def __init__(self, notes: list[_Note], environment: Sandbox, source: str, name: str | None) -> None:
        self._notes = notes
        self._environment = environment
        self._name = name
        self._lines = source.split("\n")

    def block(self, node: nodes.Node) -> None:
        """Walk through a tree."""
        for field, value in node.iter_fields():
            if isinstance(value, list):
                for place, item in enumerate(value):
                    if isinstance(item, nodes.Node):
                        value[place] = self._node(item)
            elif isinstance(value, nodes.Node):
                setattr(node, field, self._node(value))

    def _node(self, node: nodes.Node) -> nodes.Node:
        if isinstance(node, nodes.If):
            self._if(node)
        elif isinstance(node, nodes.For):
            self._for(node)
        else:
            self.block(node)
        match node:
            case nodes.CondExpr():
                found = _INLINE.search(self._expression(node.lineno, " if "))
                condition = f"if {found[1]}" if found else "if ..."
                node.expr1 = self._noted(node.expr1, condition)
                if node.expr2:
                    node.expr2 = self._noted(node.expr2, f"else of {condition}")
            case nodes.Filter(name="default" | "d") if node.node is not None:
                words = f"fallback in {self._expression(node.lineno, node.name)}"
                number = self._number(node.lineno, words)
                return self._made(
                    nodes.Filter(node, _FALLBACK, [nodes.Const(number), node.node], [], None, None), node
                )
            case nodes.Or():
                node.right = self._noted(node.right, f"fallback in {self._expression(node.lineno, ' or ')}")
        return node

    def _if(self, node: nodes.If, told: str = "if") -> None:
        condition = self._condition(node.lineno, told)
        self._head(node.body, node.lineno, condition)
        self._test(node)
        for branch in node.elif_:
            self._if(branch, "elif")
        if told == "if" and node.else_:
            self._head(node.else_, node.lineno, f"else of {condition}")

    def _test(self, node: nodes.If) -> None:
        """Leave the test as it is: what it comes to shows in the branch that follows."""
        for statements in (node.body, node.else_):
            for place, item in enumerate(statements):
                statements[place] = self._node(item)

    def _for(self, node: nodes.For) -> None:
        condition = self._condition(node.lineno, "for")
        for statements in (node.body, node.else_):
            for place, item in enumerate(statements):
                statements[place] = self._node(item)
        self._head(node.body, node.lineno, condition)
        if node.else_:
            self._head(node.else_, node.lineno, f"else of {condition}")

    def _head(self, body: list[nodes.Node], line: int, words: str) -> None:
        number = self._number(line, words)
        place = nodes.Const(number)
        note = nodes.ExprStmt(nodes.Filter(place, _HERE, [nodes.Const(number)], [], None, None))
        body.insert(0, self._made(note, None, line))

    def _noted(self, expression: nodes.Expr, words: str) -> nodes.Expr:
        number = self._number(expression.lineno, words)
        made = nodes.Filter(expression, _HERE, [nodes.Const(number)], [], None, None)
        return self._made(made, expression)

    def _made(self, node: _Node, beside: nodes.Node | None, line: int = 0) -> _Node:
        node.set_lineno(beside.lineno if beside else line)
        node.set_environment(self._environment)
        return node

    def _number(self, line: int, words: str) -> int:
        self._notes.append(_Note(self._environment, self._name, line, words))
        return len(self._notes) - 1

    def _condition(self, line: int, word: str) -> str:
        return next(
            (found for found in self._tags(_TAG, line) if found.partition(" ")[0] == word), f"{word} ..."
        )

    def _expression(self, line: int, holding: str) -> str:
        """Return the expression that begins on a line and holds a word, or the statement that does."""
        found = [*self._tags(_EXPRESSION, line), *self._tags(_TAG, line)]
        return next((words for words in found if holding in words), "...")

    def _tags(self, pattern: re.Pattern[str], line: int) -> Iterator[str]:
        text = "\n".join(self._lines[line - 1 : line + 5])
        for found in pattern.finditer(text):
            words = " ".join(found[1].split())
            yield words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


@contextmanager
def _watched(watcher: Callable[[Sandbox, nodes.Template, str, str | None], None]) -> Iterator[None]:
    token = WATCHER.set(watcher)
    try:
        yield
    finally:
        WATCHER.reset(token)


@pass_context
def _here(context: Context, value: object, number: int) -> object:  # noqa: ARG001 - keeps constants from being folded
    _TAKEN.get(set()).add(number)
    return value


@pass_context
def _fallback(context: Context, value: object, number: int, tried: object) -> object:  # noqa: ARG001 - as above
    if isinstance(tried, Undefined) or default(tried, _FALLBACK) is _FALLBACK:
        _TAKEN.get(set()).add(number)
    return value
