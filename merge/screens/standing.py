"""Where does a campaign stand? The counts, and the rows that need a look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from merge.model import Record, State
from merge.words import column, count, plain, start

_SHOWN_ROWS = 10
_SHOWN_PER_CODE = 5
_CAME_BACK = {
    "complaint": "called spam",
    "unsubscribed": "unsubscribed",
    "hard": "bounced for good",
    "soft": "bounced for now",
}


def status(
    facts: Mapping[str, Any], troubles: Sequence[Record], list_name: str, now: float, *, full: bool
) -> list[str]:
    """Return where a campaign stands; `full` lists every row that needs a look."""
    states = {State(name): number for name, number in facts["states"].items()}
    lines = [
        f"{plain(facts['campaign'])}, edition {plain(facts['edition'])}, fingerprint {facts['fingerprint']}",
        f"  {count(facts['total'], 'row')}: {counts(states)}",
    ]
    if bounced := facts.get("bounced"):
        kinds = ", ".join(f"{number:,} {_CAME_BACK[kind]}" for kind, number in bounced.items())
        lines.append(f"  of those sent, came back: {kinds}")
    if full:
        lines += [_trouble(record, list_name, now) for record in troubles]
    else:
        lines += rows_in_trouble(troubles, list_name, now)
    lines.append(f"Next     {facts['next']}" if facts["next"] else "Nothing left to do.")
    return lines


def counts(states: Mapping[State, int]) -> str:
    """Return how many rows are in each state that occurs; how many were sent, always."""
    order = (
        State.SENT,
        State.FAILED,
        State.DEFERRED,
        State.UNCERTAIN,
        State.WAITING,
        State.INVALID,
        State.SKIPPED,
    )
    return ", ".join(f"{states[s]:,} {s.value}" for s in order if states[s] or s is State.SENT)


def rows_in_trouble(troubles: Sequence[Record], list_name: str, now: float) -> list[str]:
    """Return the rows that failed, are deferred or uncertain; many of them grouped by their reply code."""
    if len(troubles) <= _SHOWN_ROWS:
        order = sorted(troubles, key=lambda record: record.state is not State.UNCERTAIN)
        return [_trouble(record, list_name, now) for record in order]
    lines = []
    order = sorted(troubles, key=lambda r: (r.state is not State.UNCERTAIN, r.state, r.code or 0, r.enhanced))
    for (state, code, enhanced), group in groupby(order, key=lambda r: (r.state, r.code or 0, r.enhanced)):
        records = list(group)
        lines.append(f"  {state.value}  {code or 'no answer'} {enhanced}  {count(len(records), 'row')}")
        lines += [_trouble(record, list_name, now) for record in records[:_SHOWN_PER_CODE]]
        if len(records) > _SHOWN_PER_CODE:
            lines.append("    ... all of them in the results")
    return lines


def rows_in_doubt(records: Sequence[Record]) -> list[str]:
    """Return the rows that a server may have accepted, and why nobody knows."""
    return [
        f"  row {record.row:<5} {column(plain(record.to, 60), 28)}  {plain(record.reason or record.reply)}"
        for record in records
    ]


def _trouble(record: Record, list_name: str, now: float) -> str:
    words = " ".join(filter(None, (str(record.code or ""), record.enhanced, record.reply or record.reason)))
    advice = {
        State.FAILED: f"failed: {_given_up(record) or f'see {plain(list_name)}, row {record.row}'}",
        State.DEFERRED: "deferred: next try after " + (start(record.due, now) if record.due else "a while"),
        State.UNCERTAIN: "uncertain: the server may have taken it",
    }[record.state]
    return f"  row {record.row:<5} {column(plain(record.to, 60), 28)}  {plain(words, 120)}   {advice}"


def _given_up(record: Record) -> str:
    """Say why a row is tried no more, where the reply alone says "later"."""
    return plain(record.reason) if record.reply else ""
