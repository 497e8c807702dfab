"""How is a whole letter rendered in one go?

Header block, body and own plain part become one compiled function, in which all text and values between two
statements are one step. So a name is looked up once a letter, and rows that take the same branches get the
very same text objects. What is out of the ordinary is left to `Apart`, which is slower and knows each place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from jinja2 import nodes, pass_context
from jinja2.runtime import Context
from jinja2.utils import missing

from merge.template.counting import put_on_account
from merge.template.environment import Sandbox, for_header, in_body
from merge.template.letter import Apart, Enter, Head, HeaderLine, Slotted
from merge.template.limits import ACCOUNT, Account, Text
from merge.template.part import Part
from merge.template.source import CLOSE, OPEN, header_lines

_HEAD = "step of the header block"
_BODY = "step of a body"
_DONE = "end of a text"
_WHOLE = "a letter without statements"
"""Filters that no letter can name, because of the blanks."""

_STATEMENTS = (nodes.Output, nodes.If, nodes.For, nodes.Assign)
_KEPT: Final = 4_096
_TEXT: Final = frozenset({str})


class _Names(dict[str, object]):
    """The names that a letter may look up."""

    def __missing__(self, name: str) -> object:
        return missing


class Together:
    """A letter whose texts are rendered by one function. Made by `together`."""

    def __init__(self, apart: Apart, made: Sandbox, slot: Callable[[int], str]) -> None:
        self._apart = apart
        head, body = _Steps(lambda number: f"{OPEN}{number}{CLOSE}"), _Steps(slot)
        made.filters |= {_HEAD: head.into_header, _BODY: body.into_body, _DONE: _done, _WHOLE: self._whole}
        self._steps = head, body
        texts: list[list[nodes.Node]] = []
        for part in (apart.head, apart.body, *([apart.text] if apart.text else [])):
            own = made.parse(part.prepared)
            put_on_account(own)
            texts.append(head.taken(own.body, _HEAD) if not texts else body.taken(own.body, _BODY))
        tree = nodes.Template(_one_after_another(texts), lineno=1)
        tree.set_environment(made)
        compiled = made.from_string(tree)
        self._root = compiled.root_render_func
        self._globals = dict(compiled.globals)
        self._context_of_all = dict(vars(Context(made, {}, None, {})))
        self._lines: dict[tuple[str, ...], tuple[HeaderLine, ...]] = {}

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, those of included files too."""
        return self._apart.parts

    def known(self) -> Iterator[tuple[Part, frozenset[str]]]:
        """Yield all parts, those of included files too, each with the names that others may set for it."""
        return self._apart.known()

    def render(
        self, variables: dict[str, object], account: Account, enter: Enter
    ) -> tuple[Head, Slotted, Slotted | None]:
        """Render everything; where that fails, render again, part by part, to find the place."""
        try:
            for _ in self._root(self._context(variables)):
                pass
            (texts, values), main, *own_text = account.done
            lines = self._lines.get(texts) or self._read(texts)
        except Exception:  # noqa: BLE001 - whatever it is, it comes again and is told with its place
            again = Account()
            ACCOUNT.set(again)
            return self._apart.render(variables, again, enter)
        return Head(lines, values), Slotted(*main), Slotted(*own_text[0]) if own_text else None

    @pass_context
    def _whole(self, context: Context, texts: tuple[tuple[object, ...], ...], number: int) -> None:
        """Put values into all texts of a letter, each of one step."""
        account = ACCOUNT.get()
        head, body = self._steps
        account.done.append(head.header_alone(account, texts[0]))
        for step, values in enumerate(texts[1:]):
            account.done.append(body.body_alone(account, values, step))

    def _context(self, variables: dict[str, object]) -> Context:
        """Make a context as Jinja2 does, in a third of the time: names are looked up in one place only."""
        names = _Names(self._globals)
        names.update(variables)
        context = Context.__new__(Context)
        context.__dict__.update(self._context_of_all)
        context.parent, context.vars, context.exported_vars = names, {}, set()
        context.resolve_or_missing = names.__getitem__  # type: ignore[assignment, method-assign] # see above
        return context

    def _read(self, texts: tuple[str, ...]) -> tuple[HeaderLine, ...]:
        if len(self._lines) >= _KEPT:
            self._lines.clear()
        found = self._lines[texts] = tuple(HeaderLine(*line) for line in header_lines("".join(texts)))
        return found


def together(apart: Apart, made: Sandbox, slot: Callable[[int], str]) -> Apart | Together:
    """Return the faster way to render a letter, if it is simple enough for that, else the letter itself.

    `slot` gives the token for a value of a body by its number.
    """
    own = [apart.head, apart.body, *([apart.text] if apart.text else [])]
    statements = [node for part in own for node in part.tree.find_all(nodes.Stmt)]
    if not all(isinstance(node, _STATEMENTS) for node in statements):
        return apart
    names = [name for node in statements if isinstance(node, nodes.Assign) for name in _set_by(node)]
    if any(name.startswith("_") for name in names) or (names and apart.text):
        return apart  # a name could reach a text that it does not reach otherwise
    return Together(apart, made, slot)


def _set_by(node: nodes.Assign) -> list[str]:
    return [
        found.name
        for found in (node.target, *node.target.find_all(nodes.Name))
        if isinstance(found, nodes.Name)
    ]


class _Steps:
    """What stands between the statements of one kind of text: texts with values between them, by number."""

    def __init__(self, token: Callable[[int], str]) -> None:
        self._token = token
        self._steps: list[tuple[str, ...]] = []
        self._usual: dict[tuple[int, int], str] = {}
        self._whole: dict[int, tuple[str, ...]] = {}

    def taken(self, body: Sequence[nodes.Node], name: str) -> list[nodes.Node]:
        """Return statements in which each output is a call of the filter `name`, a method below."""
        found: list[nodes.Node] = []
        for node in body:
            if isinstance(node, nodes.Output):
                found.append(_call(name, node.lineno, nodes.Tuple(self._values(node), "load"), self._last))
                continue
            if isinstance(node, (nodes.If, nodes.For)):
                node.body, node.else_ = self.taken(node.body, name), self.taken(node.else_, name)
            if isinstance(node, nodes.If):
                self.taken(node.elif_, name)
            found.append(node)
        return found

    def _values(self, output: nodes.Output) -> list[nodes.Expr]:
        texts, values = [""], []
        for child in output.nodes:
            if isinstance(child, nodes.TemplateData):
                texts[-1] += child.data
            else:
                values.append(child)
                texts.append("")
        self._steps.append(tuple(texts))
        return values

    @property
    def _last(self) -> int:
        return len(self._steps) - 1

    @pass_context
    def into_header(self, context: Context, values: tuple[object, ...], number: int) -> None:
        """Put values into header lines, as `for_header` prints them."""
        self._into_header(ACCOUNT.get(), values, number)

    @pass_context
    def into_body(self, context: Context, values: tuple[object, ...], number: int) -> None:
        """Put values into a body, as `into_slots` prints them."""
        self._into_body(ACCOUNT.get(), values, number)

    def header_alone(self, account: Account, values: tuple[object, ...]) -> Text:
        """Return a header block of one step, complete."""
        if _TEXT.issuperset(map(type, values)) and "".join(values).isprintable():  # type: ignore[arg-type] # all are texts
            return self._alone(0), values  # type: ignore[return-value] # as above
        self._into_header(account, values, 0)
        return account.closed()

    def body_alone(self, account: Account, values: tuple[object, ...], number: int) -> Text:
        """Return a body of one step, complete."""
        if (
            _TEXT.issuperset(map(type, values))
            and "" not in values
            and "\r" not in (together := "".join(values))  # type: ignore[arg-type] # all are texts
        ):
            texts = self._alone(number)
            account.charge(len(texts[0]) + len(together))
            return texts, values  # type: ignore[return-value] # as above
        self._into_body(account, values, number)
        return account.closed()

    def _alone(self, number: int) -> tuple[str, ...]:
        if (texts := self._whole.get(number)) is None:
            texts = self._whole[number] = (self._text(number, 0),)
        return texts

    def _into_header(self, account: Account, values: tuple[object, ...], number: int) -> None:
        start = len(account.slots)
        if _TEXT.issuperset(map(type, values)) and "".join(values).isprintable():  # type: ignore[arg-type] # all are texts
            account.slots += values  # type: ignore[arg-type] # as above
        else:
            account.slots += [for_header(value)[1:-1] for value in values]
        account.texts.append(self._usual.get((number, start)) or self._text(number, start))

    def _into_body(self, account: Account, values: tuple[object, ...], number: int) -> None:
        slots = account.slots
        start = len(slots)
        if (
            _TEXT.issuperset(map(type, values))
            and "" not in values
            and "\r" not in (together := "".join(values))  # type: ignore[arg-type] # all are texts
        ):
            slots += values  # type: ignore[arg-type] # as above
            text = self._usual.get((number, start)) or self._text(number, start)
            account.charge(len(text) + len(together))
        else:
            text = self._unusual(slots, values, number)
            account.charge(len(text) + len("".join(slots[start:])))
        account.texts.append(text)

    def _text(self, number: int, start: int) -> str:
        """Make the text of a step whose values are put aside from `start` on, and keep it for later rows."""
        first, *rest = self._steps[number]
        text = "".join([first, *(self._token(start + at) + text for at, text in enumerate(rest, 1))])
        if len(self._usual) >= _KEPT:
            self._usual.clear()
        self._usual[number, start] = text
        return text

    def _unusual(self, slots: list[str], values: Sequence[object], number: int) -> str:
        first, *rest = self._steps[number]
        pieces = [first]
        for value, text in zip(values, rest, strict=True):
            shown, aside = in_body(value)
            if aside:
                slots.append(shown)
                shown = self._token(len(slots))
            pieces += (shown, text)
        return "".join(pieces)


def _one_after_another(texts: Sequence[list[nodes.Node]]) -> list[nodes.Node]:
    """Return the statements of a letter; where each text is one step, they are one call."""
    steps = [text[0] for text in texts if len(text) == 1 and isinstance(text[0], nodes.ExprStmt)]
    calls = [step.node.node for step in steps if isinstance(step.node, nodes.Filter)]
    if len(calls) == len(texts):
        return [_call(_WHOLE, 1, nodes.Tuple(calls, "load"), 0)]
    return [node for text in texts for node in (*text, _call(_DONE, 1, nodes.Const(None), 0))]


def _call(name: str, line: int, value: nodes.Expr, argument: int) -> nodes.ExprStmt:
    call = nodes.Filter(value, name, [nodes.Const(argument)], [], None, None, lineno=line)
    return nodes.ExprStmt(call, lineno=line)


@pass_context
def _done(context: Context, value: object, number: int) -> None:  # noqa: ARG001 - as above
    """Close one of the letter's texts."""
    account = ACCOUNT.get()
    account.done.append(account.closed())
