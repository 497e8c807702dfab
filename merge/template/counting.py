"""What is counted while a letter is rendered? Its loops, the files it names, and all that looks at values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Final

from jinja2 import Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context

from merge.template.limits import (
    ACCOUNT,
    MOST_TURNS,
    WIDEST,
    account,
    charge_file,
    refuse_length,
    weigh,
    weighed,
)
from merge.template.loader import CampaignLoader

_BOUNDED = "each turn"
_SIZED = "each text"
_BORROWED = "each file"
_LOOKED_AT = "each look"
"""Filters that no letter can name, because of the blank; they keep a render's account."""


def put_on_account(tree: nodes.Template) -> None:
    """Let a tree's loops, its growing values and the files it names be counted while it is rendered."""
    for loop in tree.find_all(nodes.For):
        fixed = sum(len(data.data) for data in loop.find_all(nodes.TemplateData))
        loop.iter = _filtered(expression(loop.iter), _BOUNDED, loop, fixed)
    for assignment in tree.find_all(nodes.Assign):
        assignment.node = _filtered(expression(assignment.node), _SIZED, assignment)
    for scope in tree.find_all(nodes.With):
        scope.values = [_filtered(expression(value), _SIZED, scope) for value in scope.values]
    for block in tree.find_all(nodes.AssignBlock):
        block.filter = _filtered(block.filter, _SIZED, block)
    for borrowing in borrowings(tree):
        borrowing.template = _filtered(expression(borrowing.template), _BORROWED, borrowing)
    _put_looks_on_account(tree)


def _put_looks_on_account(tree: nodes.Template) -> None:
    for comparison in tree.find_all(nodes.Compare):
        if not _is_short(comparison):
            comparison.expr = _filtered(comparison.expr, _LOOKED_AT, comparison)
            for operand in comparison.ops:
                operand.expr = _filtered(operand.expr, _LOOKED_AT, comparison)
    for concat in list(tree.find_all(nodes.Concat)):
        concat.nodes = [_filtered(nodes.Concat(concat.nodes), _LOOKED_AT, concat)]
    for item in tree.find_all(nodes.Getitem):
        if isinstance(item.arg, nodes.Slice):
            item.node = _filtered(expression(item.node), _LOOKED_AT, item)


def borrowings(
    tree: nodes.Template,
) -> list[nodes.Include | nodes.Extends | nodes.Import | nodes.FromImport]:
    """List the places where a template names another file."""
    return [
        *tree.find_all(nodes.Include),
        *tree.find_all(nodes.Extends),
        *tree.find_all(nodes.Import),
        *tree.find_all(nodes.FromImport),
    ]


def _is_short(node: nodes.Compare) -> bool:
    """Whether a comparison takes no time, whatever the row holds: one side of it is written in the letter."""
    operand = node.ops[0]
    other = operand.expr
    if len(node.ops) > 1:
        return False
    if operand.op not in {"in", "notin"}:
        return isinstance(node.expr, nodes.Const) or isinstance(other, nodes.Const)
    return all(isinstance(one, nodes.Const) for one in getattr(other, "items", [other]))


def expression(node: nodes.Node) -> nodes.Expr:
    """Return what is an expression by Jinja2's grammar, as one."""
    assert isinstance(node, nodes.Expr)  # noqa: S101 - the types are wider than the grammar
    return node


def _filtered(node: nodes.Expr | None, name: str, beside: nodes.Node, *given: int) -> nodes.Filter:
    arguments: list[nodes.Expr] = [nodes.Const(value) for value in given]
    made = nodes.Filter(node, name, arguments, [], None, None, lineno=beside.lineno)
    made.environment = beside.environment
    return made


@pass_context
def _bounded(context: Context, values: Iterable[object], fixed: int = 0) -> Iterable[object]:  # noqa: ARG001 - as for finalize
    """Charge a loop's turns before it begins; `fixed` is the length of the text that each turn writes."""
    if isinstance(values, Undefined):
        return values
    budget = ACCOUNT.get()
    if not isinstance(values, Sized):
        values = [value for value, _ in zip(values, range(budget.turns + 1), strict=False)]
    budget.turns -= len(values)
    if budget.turns < 0:
        raise SecurityError(f"the loops of this letter make more than {MOST_TURNS:,} turns")
    refuse_length(len(values) * fixed)
    return values


def sized(value: object) -> object:
    """Return a value after charging for it. Raises SecurityError where it grew too large."""
    if isinstance(value, (str, list, tuple)):
        refuse_length(len(value))
    if isinstance(value, (list, tuple, dict)):
        weigh(value, account())
    elif isinstance(value, int) and value.bit_length() > WIDEST:
        raise SecurityError("the number grows too large")
    return value


@pass_context
def _borrowed(context: Context, names: object) -> object:
    """Charge for the file that comes in here: files that name each other can come in without end."""
    loader = context.environment.loader
    charge_file(loader.length(names) if isinstance(loader, CampaignLoader) else 0)
    return names


COUNTERS: Final[Mapping[str, Callable[..., object]]] = {
    _BOUNDED: _bounded,
    _SIZED: sized,
    _BORROWED: _borrowed,
    _LOOKED_AT: weighed,
}
"""The filters that `put_on_account` puts into a tree."""
