"""What did a run come to? The counts, the rows that need a look, and what to do next."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from merge.config import Settings
from merge.courier import Ending
from merge.model import Outcome, State
from merge.rehearsal import Rehearsal
from merge.screens.proposal import changes
from merge.screens.standing import counts, rows_in_trouble
from merge.sending import Summary
from merge.words import count, duration, plain, start


def sent(summary: Summary, settings: Settings, *, sandbox: bool, now: float) -> list[str]:
    """Return what a run came to: the counts, the rows that need a look, and what to do next."""
    ending, proposal = summary.ending, summary.proposal
    totals = counts(summary.states)
    if ending:
        lines = [f"{_how(ending, summary.seconds)}.  {totals}."]
    elif proposal.tries:
        return []
    else:
        lines = [f"{_why_nothing(summary, now)}.  {totals}."]
        lines += [f"Note     {note}" for note in changes(proposal.record)]
        if proposal.record.changed_after:
            lines.append("         another edition in campaign.toml sends to everybody once more")
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
        lines.append(f"Next     mergepost send after {start(ending.next_due, now)} ({reason})")
        if summary.states[State.FAILED]:
            lines.append("         mergepost send --retry-failed (after mending the failed rows)")
    elif not proposal.tries and proposal.ready and proposal.seconds > 0:
        lines.append(f"Next     mergepost send after {start(now + proposal.seconds, now)}")
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
            f"Nothing more can be sent before {start(now + proposal.seconds, now)}: the pace allows no more"
        )
    return "Nothing was to be sent"


def _near(path: Path) -> str:
    """Return a path as short as it can be typed here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def rehearsed(rehearsal: Rehearsal, now: float) -> list[str]:
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
    if rehearsal.due is not None:
        lines.append(
            f"Next     mergepost test again after {start(rehearsal.due, now)} (the pace allows no more)"
        )
    return lines
