"""What may a letter do while it is rendered?

Jinja2, immutable and sandboxed: no name is guessed, nothing is random, nothing comes from outside the
campaign's folder, and what would run away in time or memory is refused (`limits`).
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Undefined, nodes, pass_context, pass_eval_context
from jinja2.exceptions import SecurityError
from jinja2.filters import do_urlencode
from jinja2.nodes import EvalContext
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from merge import filters
from merge.errors import ContentError
from merge.template.counting import COUNTERS, put_on_account, sized
from merge.template.limits import (
    ACCOUNT,
    account,
    accounted,
    charge_call,
    counted,
    refuse_beyond,
    refuse_growth,
    refuse_join,
    refuse_length,
    refuse_wide_format,
)
from merge.template.loader import CampaignLoader
from merge.template.source import CLOSE, OPEN, tidy

_WITH_NUMBERS = ("center", "indent", "wordwrap", "batch", "slice", "truncate", "round", "tojson")
_GONE = {
    "random": "would give the check and the sending different letters",
    "pprint": "is for programmers",
    "xmlattr": "is not needed in a letter",
}
_COMPARING = (
    "in",
    "eq",
    "==",
    "equalto",
    "ne",
    "!=",
    "lt",
    "<",
    "lessthan",
    "le",
    "<=",
    "gt",
    ">",
    "ge",
    ">=",
)
_DROPPED = ("lipsum", "cycler", "joiner")
_UNMARKED = {ord(OPEN): None, ord(CLOSE): None, ord("\t"): " "}
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SAFE_IN_URLS = re.compile(r"[A-Za-z0-9_.~/-]*")
_SMALL_NUMBER = 1_000


class RefusedError(ContentError):
    """A value that cannot stand where the letter puts it."""

    def __init__(self, message: str, value: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.value = value


WATCHER: ContextVar[Callable[[Sandbox, nodes.Template, str, str | None], None] | None] = ContextVar(
    "watcher", default=None
)
"""Who sees each tree, with its text and its name, before it is compiled: for counting branches."""


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one part of a letter."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})
    watcher: Callable[[Sandbox, nodes.Template, str, str | None], None] | None = None

    def compile(  # type: ignore[override] # its overloads name internals
        self,
        source: str | nodes.Template,
        name: str | None = None,
        filename: str | None = None,
        raw: bool = False,  # noqa: FBT001, FBT002 - the signature is Jinja2's
        defer_init: bool = False,  # noqa: FBT001, FBT002 - as above
    ) -> object:
        """Compile a text after its loops and its growing texts were put on account."""
        if isinstance(source, str):
            text, source = source, self.parse(source, name, filename)
            put_on_account(source)
            if self.watcher:
                self.watcher(self, source, text, name)
        return super().compile(source, name, filename, raw, defer_init)  # type: ignore[call-overload] # as above

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """Refuse the products that would fill the memory, or take minutes."""
        if operator == "**":
            refuse_beyond(left, right)
        elif operator == "*":
            for text, times in ((left, right), (right, left)):
                if isinstance(text, (str, list, tuple)) and isinstance(times, int):
                    refuse_length(len(text) * times)
        elif operator == "%" and isinstance(left, str):
            refuse_wide_format(left)
        result = sized(super().call_binop(context, operator, left, right))
        if isinstance(result, Sized):
            account().effort(len(result))
        return result

    def call(
        self, context: Context, function: Callable[..., object], /, *args: object, **kwargs: object
    ) -> object:
        """Refuse arguments that would fill the memory; else call as the sandbox does."""
        charge_call((*args, *kwargs.values()))
        owner = getattr(function, "__self__", None)
        if isinstance(owner, str):
            args = tuple(map(counted, args))
            refuse_beyond(*args, *kwargs.values())
            _refuse_method(owner, getattr(function, "__name__", ""), args)
        result = sized(super().call(context, function, *args, **kwargs))
        if isinstance(result, str):
            account().charge(len(result))
        return result

    def wrap_str_format(self, value: object) -> Callable[..., str] | None:
        """Wrap `str.format` as the sandbox does, and refuse what would pad without end."""
        wrapped: Callable[..., str] | None = super().wrap_str_format(value)
        if wrapped is None:
            return None

        def bounded(*args: object, **kwargs: object) -> str:
            refuse_wide_format(str(getattr(value, "__self__", "")))
            refuse_beyond(*args, *kwargs.values())
            return wrapped(*args, **kwargs)

        return bounded


def environment(
    folder: Path, *, finalize: Callable[..., object], autoescape: bool, keep_blanks: bool
) -> Sandbox:
    """Make the environment for one part of a letter.

    `finalize` says how values are printed. Unless `keep_blanks`, a line that holds only a statement leaves
    nothing behind.
    """
    made = Sandbox(
        loader=CampaignLoader(folder, str if keep_blanks else tidy),
        undefined=StrictUndefined,
        finalize=finalize,
        autoescape=autoescape,
        keep_trailing_newline=True,
        trim_blocks=not keep_blanks,
        lstrip_blocks=not keep_blanks,
        cache_size=-1,
    )
    made.watcher = WATCHER.get()
    for name in _DROPPED:
        del made.globals[name]
    for name in _WITH_NUMBERS:
        made.filters[name] = _guarded(made.filters[name], _refuse_wide_filter)
    made.filters["format"] = _guarded(made.filters["format"], _refuse_format_filter)
    made.filters["replace"] = _guarded(made.filters["replace"], _refuse_growing_filter)
    made.filters["urlencode"] = _url_encoded
    made.filters |= {name: _gone(name, why) for name, why in _GONE.items()}
    made.filters["join"] = _joined(made.filters["join"])
    made.filters["sum"] = _guarded(made.filters["sum"], _refuse_sum_filter)
    made.filters |= {**filters.FILTERS, "default": default, "d": default}
    made.filters = {name: accounted(function) for name, function in made.filters.items()}
    made.filters |= COUNTERS
    made.tests |= {name: accounted(made.tests[name]) for name in _COMPARING}  # type: ignore[arg-type] # it has no types
    return made


def default(value: object, default_value: object = "", boolean: object = None) -> object:
    """Stand in for a value that is missing or empty: `{{ first_name|default("there") }}`."""
    if isinstance(value, Undefined) or value is None or (isinstance(value, str) and not value.strip()):
        return default_value
    return default_value if boolean and not value else value


def printable(value: object) -> str:
    """Return a value as the text to be printed. Raises RefusedError for what is no text and no number."""
    if isinstance(value, str):
        return value.replace("\r\n", "\n").replace("\r", "\n") if "\r" in value else value
    if isinstance(value, Undefined):
        str(value)
    if value is None or isinstance(value, (bool, list, tuple, dict, set)) or callable(value):
        shown = reprlib.repr(value)[:60] if isinstance(value, (bool, list, tuple)) else type(value).__name__
        raise RefusedError(
            f"this is no text: {shown}",
            hint='say in words what should stand here: {{ "yes" if x else "no" }}, {{ names|join(", ") }}',
        )
    return str(value)


def printed(value: object) -> str:
    """Print a value that goes into a text at once, and charge for its length."""
    text = printable(value)
    account().charge(len(text))
    return text


def for_header(value: object) -> str:
    """Print a value into a header: refused where it could begin another one; its ends are marked."""
    text = value if isinstance(value, str) else printable(value)
    if not text.isprintable():
        text = text.translate(_UNMARKED)
        if found := _UNSAFE.search(text):
            if found[0] in "\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029":
                raise RefusedError("a line break in a value could begin another header", text)
            raise RefusedError(f"a control character (U+{ord(found[0]):04X}) cannot stand in a header", text)
    return f"{OPEN}{text}{CLOSE}"


def into_slots(tokens: Sequence[str], token: Callable[[int], str]) -> Callable[[Context, object], str]:
    """Return a printer that leaves a token in the text, and keeps the value itself aside.

    `tokens` are those made before, by number; `token` makes the next.
    """

    @pass_context
    def finalize(context: Context, value: object) -> str:  # noqa: ARG001 - keeps constants from being folded
        text, aside = in_body(value)
        if not aside:
            return text
        budget = ACCOUNT.get()
        budget.charge(len(text))
        budget.slots.append(text)
        number = len(budget.slots)
        return tokens[number] if number < len(tokens) else token(number)

    return finalize


def in_body(value: object) -> tuple[str, bool]:
    """Return a value as the text to be printed, and whether it is put aside: only this row has it.

    Small numbers, as loops count them, empty texts and HTML are not.
    """
    if type(value) is str:
        return (value.replace("\r\n", "\n").replace("\r", "\n") if "\r" in value else value), bool(value)
    if type(value) is int and 0 <= value < _SMALL_NUMBER:
        return str(value), False
    text = printable(value)
    return text, bool(text) and type(text) is not Markup


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

    def __iter__(self) -> Iterator[str]:
        return iter(self.__cells)

    def __len__(self) -> int:
        return len(self.__cells)


def _refuse_method(owner: str, name: str, args: Sequence[object]) -> None:
    if name == "replace":
        refuse_growth(owner, *args[:2])
    elif name == "join":
        refuse_join(owner, args[0] if args else ())
    elif name == "expandtabs":
        refuse_length(owner.count("\t") * (args[0] if args and isinstance(args[0], int) else 8))
    elif name == "translate":
        raise SecurityError("translate is not for letters")


def _joined(join: Callable[..., object]) -> Callable[..., object]:
    @pass_eval_context
    def joined(
        context: EvalContext, value: object, d: object = "", attribute: str | int | None = None
    ) -> object:
        value = counted(value)
        refuse_join(d, value)
        return join(context, value, d, attribute)

    return joined


def _refuse_sum_filter(
    _environment: object, _values: object, _attribute: object = None, start: object = 0
) -> None:
    if not isinstance(start, (int, float)):
        raise SecurityError("sum adds numbers only")


def _refuse_wide_filter(*args: object, **kwargs: object) -> None:
    refuse_beyond(*args[1:], *kwargs.values())


def _refuse_format_filter(pattern: object, *_args: object, **_kwargs: object) -> None:
    refuse_wide_format(str(pattern))


def _refuse_growing_filter(
    _context: object, text: object, old: object = "", new: object = "", *_: object
) -> None:
    refuse_growth(str(text), old, new)


def _guarded(function: Callable[..., object], guard: Callable[..., None]) -> Callable[..., object]:
    def guarded(*args: object, **kwargs: object) -> object:
        guard(*args, **kwargs)
        return function(*args, **kwargs)

    if hasattr(function, "jinja_pass_arg"):
        guarded.jinja_pass_arg = function.jinja_pass_arg  # type: ignore[attr-defined] # how Jinja2 marks them
    return guarded


def _url_encoded(value: Any) -> str:  # noqa: ANN401 - texts, pairs and mappings, as Jinja2 has it
    """Encode a value for a URL; the same cell often stands in a header and in the body."""
    if not isinstance(value, str):
        return do_urlencode(value)
    return value if _SAFE_IN_URLS.fullmatch(value) else _quoted(value)


@lru_cache(maxsize=256)
def _quoted(text: str) -> str:
    return do_urlencode(text)


def _gone(name: str, why: str) -> Callable[..., object]:
    def refuse(*_args: object, **_kwargs: object) -> object:
        raise SecurityError(f"the filter {name} {why}")

    return refuse
