"""Do account, server and letters fit together? Judgements without any I/O."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from merge.account import AccountSettings, PaceSettings, is_loopback
from merge.account.providers import Provider, domain_of
from merge.finding import Finding
from merge.smtp.session import Greeting
from merge.words import count, size

SOON = 14 * 86400.0
"""A certificate that ends within so many seconds is worth a warning."""

_ROUND_TRIPS = {0: 4, 1: 2, 2: 1, 3: 1}
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Sending:
    """What is to be sent, as far as it matters here: its size is that of the first letter, in bytes."""

    sender: str
    rows: int
    recipients: int = 1
    size: int = 0
    one_click: bool = False


def allowed(known: Provider) -> str:
    """Return a provider's limits in words, with where and when they were read."""
    return f"{known.title}: {known.limits} ({known.source}, read {known.read:%d %b %Y})"


def beyond(pace: PaceSettings, known: Provider) -> list[str]:
    """Return which limits of a pace are beyond those of the provider, in words."""
    asked = {noun: getattr(pace, f"per_{noun}") or 0 for noun in ("second", "minute", "hour", "day")}
    allows = {noun: getattr(known, f"per_{noun}") or math.inf for noun in asked}
    return [
        f"{asked[noun]:,} a {noun} is more than {known.title} is known to allow ({allows[noun]:,})"
        for noun in asked
        if asked[noun] > allows[noun]
    ]


def expected(rows: int, greeting: Greeting, pace: PaceSettings | None) -> float:
    """Return about how many seconds so many rows take: as the line or the slowest limit has it."""
    trips = _ROUND_TRIPS[greeting.level if greeting.grouped else 0]
    line = rows * trips * greeting.round_trip
    limits = pace or PaceSettings()
    given = (
        (limits.per_second, 1.0),
        (limits.per_minute, 60.0),
        (limits.per_hour, 3600.0),
        (limits.per_day, _DAY),
    )
    return max([line, *((rows - 1) // number * window for number, window in given if number and rows)])


def of_account(way: AccountSettings, sending: Sending | None) -> Iterator[Finding]:
    """Judge what is known before a connection is made: the provider, its limits, the login."""
    known = way.profile
    if way.command or way.path:
        from_where = f", from {way.origin}" if way.origin else ""
        yield Finding("ok", "account", f"letters are {way.road}{from_where}")
        return
    where = f"{way.host}:{way.port}, from {way.origin}" if way.origin else f"{way.host}:{way.port}"
    if known is None:
        yield Finding("ok", "account", f"a server of its own: {where}")
        yield Finding(
            "note", "limits", "nothing is known of this server's limits",
            "If its owner names one, set it in campaign.toml: [pace] per_minute, per_day.",
        )  # fmt: skip
    else:
        yield Finding("ok", "account", f"{known.title}, known by {way.found}: {where}")
        yield Finding("note", "limits", allowed(known))
        yield from _against_limits(way, sending)
    if known and not way.user and known.login in ("app password", "password", "key", "token"):
        example = "the login name its site shows" if known.login == "key" else "you@example.org"
        yield Finding(
            "warning", "account", f"the account has no user, but {known.title} wants a login",
            f'user = "{example}"',
        )  # fmt: skip
    if known and known.login == "token" and not way.oauth:
        yield Finding(
            "warning", "account", f"{known.title} takes no passwords for sending",
            f"Give the account oauth = {{client_id = ...}}: docs/accounts/{known.page}.md",
        )  # fmt: skip
    if way.security == "none" and not is_loopback(way.host):
        login = ", and no password or token is sent that way" if way.user else ""
        yield Finding(
            "warning", "tls", f"the letters go over the network unencrypted (security is none){login}",
            'security = "starttls" or "tls"; ask whoever runs the server',
        )  # fmt: skip


def _against_limits(way: AccountSettings, sending: Sending | None) -> Iterator[Finding]:
    known = way.profile
    if known is None or sending is None:
        return
    if known.per_day and sending.rows > known.per_day:
        days = -(-sending.rows // known.per_day)
        yield Finding(
            "note", "limits", f"{count(sending.rows, 'letter')} take {days} days at {known.per_day:,} a day",
            "Run mergepost send again each day: it goes on where it stopped.",
        )  # fmt: skip
    if known.recipients and sending.recipients > known.recipients:
        yield Finding(
            "warning", "limits",
            f"a letter has {sending.recipients} recipients; {known.title} takes {known.recipients}",
            "Leave Cc and Bcc out: with a list everybody gets a letter of their own.",
        )  # fmt: skip
    if known.size and sending.size > known.size:
        yield Finding(
            "warning", "size",
            f"a letter has about {size(sending.size)}; {known.title} takes {size(known.size)}",
            "Put large files on the web and link them.",
        )  # fmt: skip


def of_line(way: AccountSettings, greeting: Greeting, now: float) -> Iterator[Finding]:
    """Judge the line: who answers, how it is protected, how long that will last."""
    yield Finding("ok", "connection", f"{way.host}:{way.port} answers: {greeting.banner}")
    if not greeting.tls:
        if "STARTTLS" in greeting.extensions and not is_loopback(way.host):
            words = "the server offers TLS, but the account does without"
            yield Finding("warning", "tls", words, 'security = "starttls"')
        return
    signed = f", certificate by {greeting.issuer}" if greeting.issuer else ""
    until = f", good until {day(greeting.expires)}" if greeting.expires else ""
    yield Finding("ok", "tls", f"{greeting.tls}{signed}{until}")
    if greeting.expires and greeting.expires - now < SOON:
        yield Finding(
            "warning", "tls", f"the server's certificate ends on {day(greeting.expires)}",
            "Whoever runs the server must renew it, or sending stops that day.",
        )  # fmt: skip


def of_abilities(greeting: Greeting, sending: Sending | None) -> Iterator[Finding]:
    """Judge what the server can do: how fast, and for letters of what size."""
    trip = f"round trip {greeting.round_trip * 1000:.0f} ms"
    if greeting.grouped:
        trips = _ROUND_TRIPS[greeting.level]
        yield Finding("ok", "speed", f"pipelining works: {count(trips, 'round trip')} a letter, {trip}")
    elif "PIPELINING" in greeting.extensions and greeting.level:
        yield Finding("note", "speed", f"pipelining is offered, not answered: 4 round trips a letter, {trip}")
    else:
        yield Finding("note", "speed", f"no pipelining: 4 round trips a letter, {trip}")
    limit = greeting.size_limit
    if limit and sending and sending.size > limit:
        yield Finding(
            "warning", "size", f"a letter has about {size(sending.size)}; the server takes {size(limit)}",
            "Put large files on the web and link them.",
        )  # fmt: skip
    elif limit:
        yield Finding("ok", "size", f"the server takes letters of up to {size(limit)}")


def of_from(way: AccountSettings, sending: Sending) -> Iterator[Finding]:
    """Hold From against the login: many providers rewrite it or refuse."""
    known = way.profile
    login = way.user if "@" in way.user else ""
    if login.casefold() == sending.sender.casefold():
        yield Finding("ok", "from", f"From is the login's own address, {sending.sender}")
    elif known and known.foreign_from and login:
        yield Finding("warning", "from", f"From is {sending.sender}, the login {login}", known.foreign_from)
    elif known and known.foreign_from:
        yield Finding("note", "from", f"From is {sending.sender}", known.foreign_from)
    elif login and domain_of(login) != domain_of(sending.sender):
        yield Finding(
            "note", "from", f"From is {sending.sender}, the login {login}",
            "Some servers refuse a From that is not the login's: mergepost test shows it.",
        )  # fmt: skip


def of_signature(way: AccountSettings) -> Iterator[Finding]:
    """Judge a signature that is made here, when a service comes between it and the receivers."""
    known = way.profile
    if known and not known.catches and (known.login != "none" or not is_loopback(way.host)):
        yield Finding(
            "note", "dkim",
            f"{known.title} signs what it sends, and may change letters first: then a signature made here"
            " does not hold",
            f"Switch DKIM on at {known.title}, and leave dkim out here.",
        )  # fmt: skip


def day(epoch: float) -> str:
    """Return the day of a moment, in UTC; empty for none."""
    return f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%d}" if epoch else ""
