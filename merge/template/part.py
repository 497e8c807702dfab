"""What does one text of a letter come to for one row? A header block, a body, or an included file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from jinja2 import Template as Compiled
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context

from merge.template import scan
from merge.template.counting import borrowings
from merge.template.culprit import Culprit, culprit
from merge.template.environment import Sandbox
from merge.template.limits import LONGEST_TEXT
from merge.template.loader import CampaignLoader

_GIVEN = ("range", "dict", "namespace")
_GROWING = (nodes.For, nodes.Include, nodes.Import, nodes.FromImport, nodes.Macro, nodes.Extends)
_SHAPING = (nodes.FilterBlock, nodes.AssignBlock, nodes.ScopedEvalContextModifier)
_LOOKING = (
    *(nodes.Filter, nodes.Concat, nodes.Compare, nodes.Test, nodes.BinExpr, nodes.Assign),
    *(nodes.Getattr, nodes.Getitem),
)
_SPEAKING = frozenset(
    {
        *(
            "capitalize",
            "center",
            "currency",
            "d",
            "date",
            "default",
            "first",
            "float",
            "format",
            "int",
            "last",
        ),
        *("length", "list", "lower", "max", "min", "number", "replace", "round", "sort", "split", "sum"),
        *("title", "trim", "truncate", "unique", "upper", "urlencode", "wordcount", "wordwrap"),
    }
)
"""Filters that make plain texts of plain texts, whether or not HTML is escaped."""


class Part:
    """One compiled text; `first_line` is its place in its file, `prepared` what Jinja2 is given."""

    def __init__(self, file: str, source: str, prepared: str, first_line: int, made: Sandbox) -> None:
        self.file = file
        self.source = source
        self.prepared = prepared
        self.first_line = first_line
        self.environment = made
        self.tree = made.parse(prepared, file)
        self._compiled = made.from_string(prepared)
        self._globals = dict(self._compiled.globals)
        self._growing = any(self.tree.find_all(_GROWING))

    @property
    def loader(self) -> CampaignLoader:
        """Where its includes come from."""
        loader = self.environment.loader
        assert isinstance(loader, CampaignLoader)  # noqa: S101 - `environment` makes no other
        return loader

    def render(self, variables: dict[str, object]) -> tuple[tuple[str, ...], dict[str, object]]:
        """Return the text in pieces, and the names that it set for what follows.

        Pieces that the letter wrote itself are the same objects for every row.
        """
        compiled = self._compiled
        context = Context(self.environment, {**self._globals, **variables}, compiled.name, compiled.blocks)
        if not self._growing:
            return tuple(self._compiled.root_render_func(context)), context.get_exported()
        pieces: list[str] = []
        size = 0
        for piece in self._compiled.root_render_func(context):
            pieces.append(piece)
            size += len(piece)
            if size > LONGEST_TEXT:
                raise SecurityError(f"the letter grows beyond {LONGEST_TEXT:,} characters")
        return tuple(pieces), context.get_exported()

    def uses(self, known: Iterable[str] = ()) -> list[scan.Use]:
        """List the names that the text reads from outside; `known` are set around it."""
        return scan.uses(self.tree, (*_GIVEN, *known))

    @property
    def names(self) -> frozenset[str]:
        """All names that the text sets for itself, or for what it includes or is followed by."""
        return scan.set_names(self.tree)

    def place(self, error: BaseException) -> tuple[str, int | None]:
        """Return the file and the line in which a render broke off."""
        found: tuple[str, int | None] = (self.file, None)
        trace = error.__traceback__
        while trace:
            compiled = trace.tb_frame.f_globals.get("__jinja_template__")
            if compiled is None and trace.tb_frame.f_code.co_name == "root":
                own = trace.tb_frame.f_globals is self._compiled.root_render_func.__globals__
                compiled = self._compiled if own else None
            if isinstance(compiled, Compiled):
                line = compiled.get_corresponding_lineno(trace.tb_lineno)
                own = compiled is self._compiled
                found = (self.file, line + self.first_line - 1) if own else (compiled.name or "", line)
            trace = trace.tb_next
        return found

    def culprit(self, variables: Mapping[str, object], line: int) -> Culprit | None:
        """Return the expression on a line, counted from 1 in this text, that fails with these values."""
        return culprit(self.environment, self.prepared, self.source, variables, line)


def fit_for_slots(trees: Sequence[nodes.Template]) -> bool:
    """Whether no expression comes to see a text that holds tokens: only then may tokens stand for values."""
    if any(any(tree.find_all(_SHAPING)) for tree in trees):
        return False
    macros = {macro.name for tree in trees for macro in tree.find_all(nodes.Macro)} | {"caller", "super"}
    imported = any(any(tree.find_all((nodes.Import, nodes.FromImport))) for tree in trees)
    for tree in trees:
        for looking in tree.find_all(_LOOKING):
            for call in looking.find_all(nodes.Call):
                if call.node.name in macros if isinstance(call.node, nodes.Name) else imported:
                    return False
        if any(not isinstance(node.template, nodes.Const) for node in borrowings(tree)):
            return False
        for call in tree.find_all(nodes.Call):
            if any(any(argument.find_all(nodes.Call)) for argument in (*call.args, *call.kwargs)):
                return False
    return True


def plain_spoken(trees: Sequence[nodes.Template]) -> bool:
    """Whether every value is a plain text, so that escaping can wait until the values are put in."""
    for tree in trees:
        if any(
            tree.find_all((*_SHAPING, nodes.Call, nodes.Macro, nodes.Block, nodes.Include, nodes.Extends))
        ):
            return False
        if any(node.name not in _SPEAKING for node in tree.find_all(nodes.Filter)):
            return False
        if any(tree.find_all((nodes.Import, nodes.FromImport))):
            return False
    return True
