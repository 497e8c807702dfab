"""What may a letter do while it is rendered?

Jinja2, immutable and sandboxed: no name is guessed, nothing random, nothing outside the campaign's folder,
nothing that runs away in time or memory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sized
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateNotFound, Undefined, nodes, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError
from markupsafe import Markup

from merge import filters
from merge.errors import MergeError
from merge.template.source import CLOSE, OPEN, controls, normal, tidy

LONGEST_TEXT = 4 * 2**20
"""Characters that any one text may have while a letter is rendered."""
MOST_TURNS = 200_000
"""Turns that all loops of one letter may make together."""
WIDEST = 10_000
"""The largest number that a filter or a method may be given for padding, indenting or cutting."""
MOST_INCLUDED = 2**20
"""Bytes of an included file."""

STATE = "\0state"
"""Where a render keeps its own account, among the variables; no letter can write this name."""

_BOUNDED = "each turn"
_SIZED = "each text"
_WIDE_FILTERS = ("center", "indent", "wordwrap", "batch", "slice", "truncate", "round", "tojson", "format")
_WIDE_FORMAT = re.compile(r"%[-+ #0]*(?:\*|\d{5,})|%[^%a-zA-Z]*\.(?:\*|\d{5,})|:[^}]*\d{5,}|\{[^}]*\{")
_GONE = {
    "random": "would give the check and the sending different letters",
    "pprint": "is for programmers",
    "xmlattr": "is not needed in a letter",
}
_NAMES_DROPPED = ("lipsum", "cycler", "joiner")


class Refused(MergeError):
    """A value that cannot stand where the letter puts it."""

    def __init__(self, message: str, value: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.value = value


class State:
    """The account of one render: loop turns left, and the values that were put into slots."""

    __slots__ = ("slots", "turns")

    def __init__(self) -> None:
        self.turns = MOST_TURNS
        self.slots: list[str] = []


class Campaign(BaseLoader):
    """Finds what `include`, `extends` and `import` name: files inside one folder, by their real path."""

    def __init__(self, folder: Path, *, tidy: bool) -> None:
        self._folder = Path(os.path.realpath(folder))
        self._tidy = tidy
        self.sources: dict[str, str] = {}

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        """Return the text of a file in the folder. Raises TemplateNotFound with the reason."""
        text = self.text(template)
        return (tidy(text) if self._tidy else text), template, lambda: True

    def text(self, name: str) -> str:
        """Return a file's text as it is written."""
        if name not in self.sources:
            self.sources[name] = self._read(name)
        return self.sources[name]

    def _read(self, name: str) -> str:
        path = Path(os.path.realpath(self._folder / name))
        if not name or "\\" in name or not path.is_relative_to(self._folder):
            raise TemplateNotFound(name, f"{name} is outside the campaign's folder")
        if not path.is_file():
            raise TemplateNotFound(name, f"there is no file {name} in the campaign's folder")
        if path.stat().st_size > MOST_INCLUDED:
            raise TemplateNotFound(name, f"{name} is larger than {MOST_INCLUDED} bytes")
        try:
            text = normal(path.read_bytes().decode())
        except UnicodeDecodeError:
            raise TemplateNotFound(name, f"{name} is not UTF-8") from None
        if controls(name, text):
            raise TemplateNotFound(name, f"{name} holds control characters")
        return text


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one part of a letter."""

    intercepted_binops = frozenset({"*", "**", "%", "+", "<<"})

    def compile(  # type: ignore[override]
        self, source: str | nodes.Template, name: str | None = None, filename: str | None = None, **more: Any
    ) -> Any:
        """Compile a text after its loops and its growing texts were put on account."""
        if isinstance(source, str):
            source = self.parse(source, name, filename)
            _put_on_account(source)
        return super().compile(source, name, filename, **more)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse the products that would fill the memory, or take minutes."""
        numbers = [value for value in (left, right) if isinstance(value, (int, float))]
        if operator in ("**", "<<") and any(abs(number) > WIDEST for number in numbers):
            raise SecurityError(f"{operator} with numbers beyond {WIDEST} is not for letters")
        if operator == "*" and len(numbers) == 1:
            text = right if numbers[0] is left else left
            if isinstance(text, Sized) and len(text) * numbers[0] > LONGEST_TEXT:
                raise SecurityError(f"a text of more than {LONGEST_TEXT} characters")
        if operator == "*" and any(isinstance(n, int) and n.bit_length() > WIDEST for n in numbers):
            raise SecurityError("the number grows too large")
        if operator == "%" and isinstance(left, str):
            _refuse_wide_format(left)
        return _sized(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as its base
        """Refuse arguments that would fill the memory; else call as the sandbox does."""
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            _refuse_wide(args, kwargs)
            _refuse_wide_format(owner if __obj.__name__ in ("format", "format_map") else "")
            if __obj.__name__ == "replace":
                _refuse_growth(owner, *args[:2])
        return _sized(super().call(__context, __obj, *args, **kwargs))


def environment(folder: Path, *, finalize: Callable[..., Any], autoescape: bool, tidy: bool) -> Sandbox:
    """Make the environment for one part: how values are printed is `finalize`'s business."""
    made = Sandbox(
        loader=Campaign(folder, tidy=tidy),
        undefined=StrictUndefined,
        finalize=finalize,
        autoescape=autoescape,
        keep_trailing_newline=True,
        trim_blocks=tidy,
        lstrip_blocks=tidy,
        cache_size=-1,
    )
    for name, why in _GONE.items():
        made.filters[name] = _gone(name, why)
    for name in _NAMES_DROPPED:
        made.globals.pop(name, None)
    for name in _WIDE_FILTERS:
        made.filters[name] = _narrow(name, made.filters[name])
    made.filters["replace"] = _bounded_replace(made.filters["replace"])
    made.filters.update(filters.FILTERS)
    made.filters["default"] = made.filters["d"] = default
    made.filters[_BOUNDED] = _bounded
    made.filters[_SIZED] = _sized
    return made


def default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:  # noqa: FBT001, FBT002 - Jinja2's own
    """Stand in for a value that is missing or empty: `{{ first_name|default("there") }}`."""
    if isinstance(value, Undefined) or value is None or (isinstance(value, str) and not value.strip()):
        return default_value
    return default_value if boolean and not value else value


def printable(value: Any) -> Any:
    """Return what may be printed: a text or a number. Raises Refused for anything else."""
    kind = type(value)
    if kind is str or kind is Markup or kind is int or kind is float:
        return value
    if isinstance(value, Undefined):
        str(value)
    if value is None or isinstance(value, (bool, list, tuple, dict, set)) or callable(value):
        shown = type(value).__name__ if value is None or callable(value) else repr(value)[:60]
        raise Refused(
            f"this is no text: {shown}",
            hint='choose the words: {{ "yes" if x else "no" }}, {{ names|join(", ") }}',
        )
    return str(value)


def for_header(value: Any) -> str:
    """Print a value into a header: refused where it could begin another one; its ends are marked."""
    text = str(printable(value)).translate(_UNMARKED)
    if not text.isprintable() and (found := _UNSAFE.search(text)):
        if found[0] in "\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029":
            why = "a line break here could begin another header"
        else:
            why = f"a control character (U+{ord(found[0]):04X}) cannot stand in a header"
        raise Refused(why, text)
    return f"{OPEN}{text}{CLOSE}"


_UNMARKED = {ord(OPEN): None, ord(CLOSE): None, ord("\t"): " "}
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def into_slots(tokens: Callable[[int], Markup]) -> Callable[[Context, Any], Any]:
    """Return a printer that leaves a token in the text and keeps the value itself aside."""

    @pass_context
    def finalize(context: Context, value: Any) -> Any:
        kind = type(value)
        if kind is not str:
            value = printable(value)
            kind = type(value)
            if kind is Markup or (kind is int and 0 <= value < 1_000):
                return value
            value = str(value)
        if not value:
            return value
        slots = context.parent[STATE].slots
        slots.append(value)
        return tokens(len(slots))

    return finalize


class Row:
    """One row as a letter sees it: `row["First Name"]`; all that it has are its columns."""

    __slots__ = ("__cells",)

    def __init__(self, cells: Mapping[str, str]) -> None:
        self.__cells = cells

    def __getitem__(self, name: str) -> str:
        return self.__cells[name]

    def __getattr__(self, name: str) -> str:
        try:
            return self.__cells[name]
        except KeyError:
            raise AttributeError(name) from None

    def __contains__(self, name: object) -> bool:
        return name in self.__cells

    def __iter__(self) -> Any:
        return iter(self.__cells)

    def __len__(self) -> int:
        return len(self.__cells)


def _put_on_account(tree: nodes.Template) -> None:
    for loop in list(tree.find_all(nodes.For)):
        loop.iter = _filtered(loop.iter, _BOUNDED)
    for assignment in list(tree.find_all(nodes.Assign)):
        if any(assignment.node.find_all((nodes.Concat, nodes.Filter))) or isinstance(
            assignment.node, (nodes.Concat, nodes.Filter)
        ):
            assignment.node = _filtered(assignment.node, _SIZED)
    for block in list(tree.find_all(nodes.AssignBlock)):
        inner: nodes.Expr | None = block.filter
        block.filter = nodes.Filter(inner, _SIZED, [], [], None, None, lineno=block.lineno)  # type: ignore[arg-type]


def _filtered(node: nodes.Expr, name: str) -> nodes.Filter:
    made = nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
    made.set_environment(node.environment)  # type: ignore[arg-type]
    return made


@pass_context
def _bounded(context: Context, values: Iterable[Any]) -> Iterable[Any]:
    """Charge a loop's turns before it begins."""
    if isinstance(values, Undefined):
        return values
    state: State = context.parent[STATE]
    if not isinstance(values, Sized):
        kept = []
        for value in values:
            kept.append(value)
            if len(kept) > state.turns:
                break
        values = kept
    state.turns -= len(values)
    if state.turns < 0:
        raise SecurityError(f"the loops of this letter make more than {MOST_TURNS:,} turns")
    return values


def _sized(value: Any) -> Any:
    if isinstance(value, (str, list, tuple)) and len(value) > LONGEST_TEXT:
        raise SecurityError(f"a text of more than {LONGEST_TEXT:,} characters")
    if isinstance(value, int) and value.bit_length() > WIDEST * 4:
        raise SecurityError("the number grows too large")
    return value


def _refuse_wide(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    for value in (*args, *kwargs.values()):
        if isinstance(value, int) and abs(value) > WIDEST:
            raise SecurityError(f"{value} is too wide for a letter: {WIDEST:,} is the most")


def _refuse_wide_format(text: str) -> None:
    if _WIDE_FORMAT.search(text):
        raise SecurityError("a format this wide is not for letters")


def _refuse_growth(text: str, old: Any = "", new: Any = "") -> None:
    if isinstance(new, str) and isinstance(old, str):
        times = len(text) // len(old) if old else len(text) + 1
        if times * len(new) > LONGEST_TEXT:
            raise SecurityError(f"a text of more than {LONGEST_TEXT:,} characters")


def _gone(name: str, why: str) -> Callable[..., Any]:
    def refuse(*_args: Any, **_kwargs: Any) -> Any:
        raise SecurityError(f"the filter {name} {why}")

    return refuse


def _narrow(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a filter refuse numbers that would fill the memory."""

    def narrowed(*args: Any, **kwargs: Any) -> Any:
        _refuse_wide(args[1:], kwargs)
        if name == "format":
            _refuse_wide_format(next((arg for arg in args if isinstance(arg, str)), ""))
        return function(*args, **kwargs)

    if hasattr(function, "jinja_pass_arg"):
        narrowed.jinja_pass_arg = function.jinja_pass_arg  # type: ignore[attr-defined]
    return narrowed


def _bounded_replace(function: Callable[..., Any]) -> Callable[..., Any]:
    def replace(eval_ctx: Any, s: Any, old: Any, new: Any, count: int | None = None) -> Any:
        _refuse_growth(str(s), str(old), str(new))
        return function(eval_ctx, s, old, new, count)

    replace.jinja_pass_arg = function.jinja_pass_arg  # type: ignore[attr-defined]
    return replace
