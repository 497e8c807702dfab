"""What would a run do? The plan that the person says yes to."""

from __future__ import annotations

from merge.account import AccountSettings, PaceSettings
from merge.config import Settings, pace_of
from merge.fit import allowed, beyond
from merge.journal import Plan as Comparison
from merge.model import State
from merge.plan import Proposal
from merge.sending import Summary
from merge.starter import STARTER_ADDRESS
from merge.words import count, duration, moment, plain, size


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
    lines.append(f"  {'letters':12} {_letters(proposal, sandbox=sandbox, now=now)}")
    via = plain(way.road) if way else "no mail server yet: campaign.toml has no account"
    via = "the sandbox: nothing leaves this machine" if sandbox else via
    limits = None if sandbox else pace_of(settings, way)
    lines.append(f"  {'from':12} {plain(settings.sender or 'as the letter says')}   {via}")
    if dkim := settings.dkim or (way.dkim if way else None):
        lines.append(f"  {'signed':12} as {dkim.domain} (DKIM, selector {dkim.selector})")
    lines.append(f"  {'pace':12} {pace(limits, proposal.seconds if proposal.tries else 0.0, now)}")
    if proposal.takes_days:
        last = moment(now + proposal.finish, now)
        lines.append(
            f"  {'days':12} the last of {proposal.wanted:,} on {last}, with a run each day, or --wait"
        )
    if way and way.profile and limits:
        lines.append(f"  {'limits':12} {allowed(way.profile)}")
        lines += [f"  {'warning':12} {words}" for words in beyond(limits, way.profile)]
    lines += [f"  {'warning':12} {plain(words, 200)}" for words in proposal.warnings]
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


def _letters(proposal: Proposal, *, sandbox: bool, now: float) -> str:
    """Say how many kinds of letter there are, and whether these very letters were tested."""
    kinds = f"{count(proposal.kinds, 'kind')} of letter"
    if sandbox:
        return kinds
    if proposal.test is None:
        return f"{kinds}, not tested yet (mergepost test ADDRESS)"
    seen = "" if proposal.test.letters == proposal.test.kinds else f" ({proposal.test.letters:,} of them)"
    return f"{kinds}, tested {moment(proposal.test.time, now)} at {plain(proposal.test.address, 80)}{seen}"


def _notes(proposal: Proposal, settings: Settings) -> list[str]:
    record = proposal.record
    notes = []
    if STARTER_ADDRESS in settings.sender:
        notes.append("from is still the example of a new campaign: put your own into campaign.toml")
    notes += [f"{number:,} skipped: {plain(reason, 120)}" for reason, number in proposal.findings.skipped]
    if proposal.server_before:
        notes.append(f"this edition was begun by way of {plain(proposal.server_before)}")
    if proposal.recipients > proposal.tries:
        notes.append(f"{proposal.recipients:,} recipients, Cc and Bcc included: each counts for the day")
    if proposal.goes_on and record.new:
        notes.append(f"{count(record.new, 'row')} new since the last run")
    if record.changed:
        notes.append(f"{count(record.changed, 'row')} changed since the last run, not sent yet")
    notes += changes(record)
    if record.uncertain:
        notes.append(f"{count(record.uncertain, 'row')} uncertain: decide with --uncertain skip or again")
    return notes


def changes(record: Comparison) -> list[str]:
    """Return what differs from what was sent, and is not sent for that."""
    notes = []
    if record.changed_after:
        notes.append(f"{count(record.changed_after, 'row')} changed after being sent: not sent again")
    if record.gone:
        notes.append(
            f"{count(record.gone, 'row')} of the last run gone from the list ({record.gone_sent:,} sent)"
        )
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


def would_send(summary: Summary) -> str:
    """Return the one line of a dry run."""
    proposal = summary.proposal
    found = proposal.findings
    return (
        f"Would send {proposal.tries:,} of {count(proposal.ready, 'letter')}, {size(found.size)} in all.  "
        f"{count(found.errors, 'error')}, {count(found.warnings, 'warning')}.  No connection was made."
    )
