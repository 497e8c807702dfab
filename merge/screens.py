"""What does the person read? Pure functions: facts in, lines of text out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from merge.account import AccountSettings, PaceSettings
from merge.check import Findings
from merge.config import Settings, pace_of
from merge.courier import Ending
from merge.errors import MergeError, Problem
from merge.fit import allowed, beyond
from merge.model import Outcome, Record, State
from merge.plan import Proposal
from merge.rehearsal import Rehearsal
from merge.sending import Summary
from merge.starter import STARTER_ADDRESS
from merge.words import column, count, duration, moment, plain, size, width

_SHOWN_PER_KIND = 10
_SHOWN_ROWS = 10
_SHOWN_PER_CODE = 5
_VALUE_CELLS = 40


def failure(error: MergeError) -> list[str]:
    """Return the screen of an error: what, where, and what to do."""
    if error.problems and all(_stands_alone(problem, error) for problem in error.problems):
        return [line for problem in error.problems for line in excerpt(problem)]
    lines = [f"error: {plain(error.message, 500)}", *findings(error.problems)]
    return lines + [f"  {plain(line, 300)}" for line in error.hint.splitlines()]


def _stands_alone(problem: Problem, error: MergeError) -> bool:
    """Whether a problem says all that its error does, and shows the place."""
    return bool(problem.source) and (problem.row is None or problem.message == error.message)


def excerpt(problem: Problem) -> list[str]:
    """Return a problem with the line it stands in and a caret under the place."""
    lines = [f"{problem.severity}: {plain(problem.message, 500)}"]
    place = plain(problem.file)
    if problem.line is not None:
        place += f":{problem.line}"
        if problem.column is not None and problem.source:
            place += f":{problem.column}"
    if problem.row is not None:
        place += f"   row {problem.row} of the list"
    if place:
        lines.append(f"  --> {place}")
    if problem.source:
        number = str(problem.line)
        edge = " " * len(number)
        lines += [f" {edge} |", f" {number} | {plain(problem.source, 300)}"]
        if problem.column is not None:
            before = width(plain(problem.source[: problem.column - 1], 300))
            marked = width(plain(problem.source[problem.column - 1 :][: problem.width], 300))
            lines.append(f" {edge} | {' ' * before}{'^' * max(1, marked)}")
    lines += [f"   = {plain(line, 300)}" for line in problem.hint.splitlines()]
    return lines


def findings(problems: Iterable[Problem], counts: Sequence[tuple[str, str, int]] = ()) -> list[str]:
    """Return problems in groups: what belongs to no row first, then each kind with its rows."""
    kept = list(problems)
    lines = [line for problem in kept if problem.row is None for line in excerpt(problem)]
    totals = {(severity, kind): number for severity, kind, number in counts}
    order = sorted(
        (problem for problem in kept if problem.row is not None),
        key=lambda problem: (problem.severity, problem.kind),
    )
    for (severity, kind), group in groupby(order, key=lambda problem: (problem.severity, problem.kind)):
        of_kind = list(group)
        total = max(len(of_kind), totals.get((severity, kind), 0))
        lines.append(f"  {severity}  {kind}  {count(total, 'row')}")
        lines += [_row_line(problem) for problem in of_kind[:_SHOWN_PER_KIND]]
        if total > _SHOWN_PER_KIND:
            lines.append(f"         and {total - _SHOWN_PER_KIND:,} more (mergepost check --format json)")
        lines += _sources(of_kind[:_SHOWN_PER_KIND])
    return lines


def _sources(problems: Sequence[Problem]) -> list[str]:
    """Return the lines of the letter that rows stumble over, each once."""
    places = {
        f"{plain(problem.file)}:{problem.line}": plain(problem.source.strip(), 120)
        for problem in problems
        if problem.source and problem.line is not None
    }
    return [f"        = {place}   {source}" for place, source in places.items()]


def _row_line(problem: Problem) -> str:
    value = plain(problem.value, 80) or ("(empty)" if problem.kind == "address" else "")
    words = plain(problem.message, 300)
    if problem.field:
        words = f"{plain(problem.field, 40)}: {words}"
    hint = "; ".join(plain(line, 200) for line in problem.hint.splitlines())
    if value and value in words:
        value = ""
    elif value:
        value = f"{column(value, _VALUE_CELLS)} " if width(value) <= _VALUE_CELLS else f"{value}  "
    return f"{problem.row:>7} | {value}{words}" + (f"; {hint}" if hint else "")


def checked(found: Findings, list_name: str, letter_name: str) -> list[str]:
    """Return the report of a check, its sum last."""
    lines = findings(found.problems, found.counts)
    if found.invalid:
        lines.insert(0, f"{plain(list_name)}: {found.invalid:,} of {count(found.rows, 'row')} can't be sent")
    if lines:
        lines.append("")
    sum_of = f"{count(found.errors, 'error')}, {count(found.warnings, 'warning')}"
    lines.append(
        f"{plain(letter_name)} + {plain(list_name)}: {count(found.rows, 'row')}, {sum_of}. "
        f"Fingerprint {found.fingerprint}. Nothing was sent."
    )
    if found.refuses_letter:
        lines.append("Mend the letter or the list, and check again.")
    elif found.invalid:
        lines.append(
            f"Mend {plain(list_name)} and check again, or leave those rows out: mergepost send --skip-invalid"
        )
    return lines


def plan(
    proposal: Proposal, way: AccountSettings | None, settings: Settings, *, sandbox: bool, now: float
) -> list[str]:
    """Return the plan of a run: what the person says yes to."""
    found, record = proposal.findings, proposal.record
    states = record.states
    lines = [
        f"{plain(settings.letter_name)} + {plain(settings.list_name)}   fingerprint {found.fingerprint}",
        f"  {count(record.total, 'row')}   {_to_send(proposal)}",
    ]
    past = [
        f"{states[state]:,} {words}"
        for state, words in (
            (State.SENT, "sent before"),
            (State.FAILED, "failed before"),
            (State.DEFERRED, "deferred before"),
            (State.UNCERTAIN, "uncertain"),
            (State.SKIPPED, "skipped"),
            (State.INVALID, "invalid, left out"),
        )
        if states[state]
    ]
    if past:
        lines.append(f"  {'':12} {'   '.join(past)}")
    lines += [f"  {'note':12} {note}" for note in _notes(proposal, settings)]
    via = f"via {plain(way.place)}" if way else "no mail server yet: campaign.toml has no account"
    via = "the sandbox: nothing leaves this machine" if sandbox else via
    limits = None if sandbox else pace_of(settings, way)
    lines.append(f"  {'from':12} {plain(settings.sender or 'as the letter says')}   {via}")
    lines.append(f"  {'pace':12} {pace(limits, proposal.seconds, now)}")
    if way and way.profile and limits:
        lines.append(f"  {'limits':12} {allowed(way.profile)}")
        lines += [f"  {'warning':12} {words}" for words in beyond(limits, way.profile)]
    for label, glance in (("first", found.first), ("last", found.last)):
        if glance:
            lines.append(f"  {label:12} {plain(glance.to, 60)}   “{plain(glance.subject, 80)}”")
    lines.append(
        f"  {'checks':12} {count(found.errors, 'error')}, {count(found.warnings, 'warning')}"
        f"{' (mergepost check)' if found.warnings else ''}, {size(found.size)} in all"
    )
    return lines


def _to_send(proposal: Proposal) -> str:
    if proposal.tries == proposal.ready:
        return f"{proposal.tries:,} to send"
    return f"{proposal.tries:,} of {proposal.ready:,} to send in this run"


def _notes(proposal: Proposal, settings: Settings) -> list[str]:
    record = proposal.record
    notes = []
    if STARTER_ADDRESS in settings.sender:
        notes.append("from is still the example of a new campaign: put your own into campaign.toml")
    if proposal.goes_on and record.new:
        notes.append(f"{count(record.new, 'row')} new since the last run")
    if record.changed:
        notes.append(f"{count(record.changed, 'row')} changed since the last run, not sent yet")
    if record.changed_after:
        notes.append(f"{count(record.changed_after, 'row')} changed after being sent: not sent again")
    if record.gone:
        notes.append(
            f"{count(record.gone, 'row')} of the last run gone from the list ({record.gone_sent:,} sent)"
        )
    if record.uncertain:
        notes.append(f"{count(record.uncertain, 'row')} uncertain: decide with --uncertain skip or again")
    return notes


def pace(limits: PaceSettings | None, seconds: float, now: float) -> str:
    """Return the limits of a run, and when its last letter can go under them."""
    given = (
        [
            f"{number:,} a {noun}"
            for number, noun in (
                (limits.per_second, "second"),
                (limits.per_minute, "minute"),
                (limits.per_hour, "hour"),
                (limits.per_day, "day"),
            )
            if number
        ]
        if limits
        else []
    )
    if limits and limits.gap:
        given.append(f"{limits.gap[0]:g} to {limits.gap[1]:g} s apart")
    if not given:
        return "as fast as the server takes them"
    words = ", ".join(given)
    return f"{words}: about {duration(seconds)}, until {moment(now + seconds, now)}" if seconds > 1 else words


def sent(summary: Summary, settings: Settings, *, sandbox: bool, now: float) -> list[str]:
    """Return what a run came to: the counts, the rows that need a look, and what to do next."""
    ending, proposal = summary.ending, summary.proposal
    counts = _counts(summary.states)
    if ending:
        lines = [f"{_how(ending, summary.seconds)}.  {counts}."]
    elif proposal.tries:
        return []
    else:
        lines = [f"{_why_nothing(summary, now)}.  {counts}."]
    lines += rows_in_trouble(summary.troubles, settings.list_name, now)
    lines += [_unrecorded(outcome) for outcome in ending.unrecorded] if ending else []
    if summary.results:
        lines.append(f"Results  {plain(_near(summary.results))}")
    if sandbox:
        letters = f"{_near(summary.results.parent)}/*.eml" if summary.results else ""
        lines.append(f"Letters  {plain(letters)}   (the sandbox: nothing left this machine)")
    elif ending and ending.next_due and ending.next_due > now and _must_wait(ending, summary.states):
        reason = (
            "the pace allows no more before" if ending.out_of_allowance else "deferred rows are tried again"
        )
        lines.append(f"Next     mergepost send after {moment(ending.next_due, now)} ({reason})")
    elif not proposal.tries and proposal.ready and proposal.seconds > 0:
        lines.append(f"Next     mergepost send after {moment(now + proposal.seconds, now)}")
    elif summary.next_step:
        lines.append(f"Next     {summary.next_step}")
    return lines


def _unrecorded(outcome: Outcome) -> str:
    """Return what is known of a row although the disk did not take it."""
    words = " ".join(filter(None, (str(outcome.code or ""), outcome.enhanced, outcome.reply)))
    state = f"{outcome.state.value}, but the disk did not take it: uncertain on record"
    return f"  row {outcome.row:<5} {state}   {plain(words, 120)}"


def _must_wait(ending: Ending, states: Mapping[State, int]) -> bool:
    """Whether nothing can go before the next moment: neither a row that waits nor one of a stopped run."""
    return ending.out_of_allowance or not states[State.WAITING]


def _how(ending: Ending, seconds: float) -> str:
    stopped = ending.interrupted or ending.stopped or ending.declined
    if seconds < 1:
        return "Stopped" if stopped else "Done"
    return f"Stopped after {duration(seconds)}" if stopped else f"Done in {duration(seconds)}"


def _why_nothing(summary: Summary, now: float) -> str:
    """Say why a run had nothing to do."""
    proposal = summary.proposal
    if not summary.states[State.WAITING] + summary.states[State.DEFERRED]:
        return "Nothing left to send"
    if not proposal.ready:
        return "Nothing to send in the chosen rows"
    if proposal.seconds > 0:
        return (
            f"Nothing more can be sent before {moment(now + proposal.seconds, now)}: the pace allows no more"
        )
    return "Nothing was to be sent"


def rehearsed(rehearsal: Rehearsal) -> list[str]:
    """Return what became of the test letters."""
    letters = {letter.key: letter for letter in rehearsal.letters}
    sent = sum(outcome.state is State.SENT for outcome in rehearsal.outcomes)
    lines = []
    for outcome in rehearsal.outcomes:
        subject = plain(dict(letters[outcome.key].headers).get("Subject", ""), 60)
        answer = "" if outcome.state is State.SENT else f"   {outcome.code or ''} {plain(outcome.reply, 200)}"
        lines.append(f"  row {outcome.row:<6} {outcome.state:<9} {subject}{answer}")
    shown = len(rehearsal.letters)
    kinds = count(rehearsal.kinds, "kind") + " of letter"
    if shown < rehearsal.kinds:
        kinds += f", the {shown} most frequent"
    lines.append(
        f"{sent:,} of {count(shown, 'test letter')} sent to {plain(rehearsal.address)} ({kinds}). "
        "Nobody on the list got anything."
    )
    return lines


def would_send(summary: Summary) -> str:
    """Return the one line of a dry run."""
    proposal = summary.proposal
    found = proposal.findings
    return (
        f"Would send {proposal.tries:,} of {count(proposal.ready, 'letter')}, {size(found.size)} in all.  "
        f"{count(found.errors, 'error')}, {count(found.warnings, 'warning')}.  No connection was made."
    )


def status(
    facts: Mapping[str, Any], troubles: Sequence[Record], list_name: str, now: float, *, full: bool
) -> list[str]:
    """Return where a campaign stands; `full` lists every row that needs a look."""
    states = {State(name): number for name, number in facts["states"].items()}
    lines = [
        f"{plain(facts['campaign'])}, edition {plain(facts['edition'])}, fingerprint {facts['fingerprint']}",
        f"  {count(facts['total'], 'row')}: {_counts(states)}",
    ]
    if full:
        lines += [_trouble(record, list_name, now) for record in troubles]
    else:
        lines += rows_in_trouble(troubles, list_name, now)
    lines.append(f"Next     {facts['next']}" if facts["next"] else "Nothing left to do.")
    return lines


def checked_json(found: Findings) -> dict[str, Any]:
    """Return a check's findings for programs."""
    return {
        "rows": found.rows,
        "invalid": found.invalid,
        "errors": found.errors,
        "warnings": found.warnings,
        "fingerprint": found.fingerprint,
        "problems": [asdict(problem) for problem in found.problems],
    }


def checked_github(found: Findings) -> list[str]:
    """Return a check's findings as workflow commands, one a problem."""
    lines = []
    for problem in found.problems:
        line = problem.line or problem.row
        place = f"file={_property(problem.file)}" + (f",line={line}" if line else "")
        if problem.column:
            place += f",col={problem.column}"
        words = f"{problem.message}; {problem.hint}" if problem.hint else problem.message
        if problem.row is not None:
            words = f"row {problem.row}: {words}"
        words = plain(words, 500).replace("%", "%25")
        lines.append(f"::{problem.severity} {place},title={_property(problem.kind)}::{words}")
    return lines


def _property(text: str) -> str:
    for character, code in (("%", "%25"), (":", "%3A"), (",", "%2C")):
        text = text.replace(character, code)
    return plain(text)


def _counts(states: Mapping[State, int]) -> str:
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


def _near(path: Path) -> str:
    """Return a path as short as it can be typed here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


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
        State.FAILED: f"failed: see {plain(list_name)}, row {record.row}",
        State.DEFERRED: "deferred: next try after " + (moment(record.due, now) if record.due else "a while"),
        State.UNCERTAIN: "uncertain: the server may have taken it",
    }[record.state]
    return f"  row {record.row:<5} {column(plain(record.to, 60), 28)}  {plain(words, 120)}   {advice}"
