"""How is a line made ready? Banner, EHLO, STARTTLS and EHLO again, AUTH (RFC 5321, 3207, 4954)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from merge.smtp import auth, command, meaning
from merge.smtp.line import Line, Over
from merge.smtp.meaning import AUTH, BANNER, EHLO, HELO, STARTTLS, Run, Verdict
from merge.smtp.reply import Reply
from merge.smtp.steps import Handshake, Hangup, Lost, Talk, Unread

CHALLENGES = 5
"""How many questions of the server's one login may take."""

_INTERFERENCE = "Someone may be interfering with the connection. Try another network."


@dataclass(frozen=True, slots=True)
class Terms:
    """What this side brings to a line. `private`: by TLS, before anything secret is said.

    `loopback`: the line does not leave this machine, so that a password may go over it without TLS.
    `login_hints` say what to do when a login is refused: reply code, or code and enhanced code, -> words.
    """

    ehlo_name: str
    starttls: bool
    private: bool
    credentials: auth.Credentials | None = None
    mechanisms: tuple[str, ...] = ()
    login_hints: Mapping[str, str] = field(default_factory=dict)
    loopback: bool = False


def make_ready(line: Line, terms: Terms) -> Talk:
    """Bring a new line to where letters may go. Raises Over where that fails."""
    reply = yield from line.hear(BANNER)
    verdict = meaning.judge(BANNER, reply)
    if verdict is None or verdict.run is not Run.GO_ON:
        line.answered_badly(BANNER, reply, verdict or Verdict(None, Run.STOP))
    line.banner = reply.text
    yield from _greet(line, terms)
    if terms.starttls:
        yield from _secure(line)
        yield from _greet(line, terms)
    if terms.credentials:
        yield from _log_in(line, terms, terms.credentials)


def _greet(line: Line, terms: Terms) -> Talk:
    reply = yield from line.ask(EHLO, command.ehlo(terms.ehlo_name))
    if reply.code in {500, 502} and not terms.private and not terms.credentials:
        reply = yield from line.ask(HELO, command.ehlo(terms.ehlo_name, "HELO"))
        if not reply.ok:
            line.answered_badly(HELO, reply)
        line.learn({})
        return
    if not reply.ok:
        line.answered_badly(EHLO, reply)
    line.learn(_extensions(reply))


def _secure(line: Line) -> Talk:
    if "STARTTLS" not in line.extensions:
        line.end(
            Run.STOP,
            "does not offer STARTTLS",
            STARTTLS,
            hint='If it speaks TLS from the start (usually port 465), set security = "tls". ' + _INTERFERENCE,
        )
    reply = yield from line.ask(STARTTLS, command.STARTTLS)
    verdict = meaning.judge(STARTTLS, reply)
    if verdict is None or verdict.run is not Run.GO_ON:
        line.answered_badly(STARTTLS, reply, verdict, polite=True)
    # What stands in plain text before TLS must never be taken for an answer given under it (CVE-2011-0411).
    if not line.reader.unread:
        event = yield Handshake()
        if isinstance(event, Lost):
            line.end(Run.RECONNECT, event.reason, STARTTLS)
        if not isinstance(event, Unread):
            return
    line.end(Run.STOP, "sent more than an answer to STARTTLS", STARTTLS, hint=_INTERFERENCE)


def _log_in(line: Line, terms: Terms, credentials: auth.Credentials) -> Talk:
    offered = line.extensions.get("AUTH", "").split()
    name = auth.choose(offered, credentials, private=terms.private, allowed=terms.mechanisms)
    if name in auth.SHOWING and not (terms.private or terms.loopback):
        line.end(
            Run.STOP,
            "would get the password or token in the clear: the line has no TLS",
            AUTH,
            hint='Set security = "starttls" (usually port 587) or "tls" (port 465). Nothing secret was said.',
        )
    if name is None:
        line.end(
            Run.STOP,
            f"offers {'no login but ' + ', '.join(offered) if offered else 'no login'}",
            AUTH,
            hint="PLAIN and LOGIN take a password, XOAUTH2 and OAUTHBEARER a token."
            if offered
            else "If it needs no login, leave user and password out of the account.",
        )
    line.mechanism = name
    try:
        yield from _exchange(line, auth.begin(name, credentials), credentials.user, terms.login_hints)
    except auth.ExchangeError as error:
        line.end(Run.STOP, f"could not be logged in to with {name}: {error.message}", AUTH)


def _exchange(line: Line, exchange: auth.Exchange, user: str, hints: Mapping[str, str]) -> Talk:
    initial = exchange.initial
    said = [initial or b""]
    first = None if initial is None else base64.b64encode(initial)
    reply = yield from line.ask(AUTH, command.auth(exchange.name, first))
    for _ in range(CHALLENGES):
        if not reply.question:
            break
        said.append(exchange.answer(_challenge(reply)))
        reply = yield from line.ask(AUTH, base64.b64encode(said[-1]) + b"\r\n")
    if reply.question:
        raise auth.ExchangeError(f"the server asks more than {CHALLENGES} questions")
    verdict = meaning.judge(AUTH, reply) or Verdict(None, Run.STOP)
    if verdict.run is Run.GO_ON:
        exchange.finish()
        return
    known = hints.get(reply.status) or hints.get(str(reply.code)) or verdict.hint
    words = "more than may be shown: it repeats the login" if _repeats(reply, said, user) else str(reply)
    hint = f"{known}\nThe server says: {words}".strip()
    reason = f"refused the login for {user} ({reply.status})"
    raise Over(Hangup(verdict.run, reason, hint, verdict.least, verdict.tries, AUTH), polite=True, told=True)


def _repeats(reply: Reply, said: Sequence[bytes], user: str) -> bool:
    """Whether a reply holds a secret of the login, as it went over the line or in clear; the user is none."""
    heard = " ".join(reply.lines)
    secrets = [re.split(b"[\0\1]", one.rstrip(b"\1"))[-1].removeprefix(b"auth=Bearer ") for one in said]
    clear = [word.decode() for one in secrets for word in re.findall(rb"[!-~]{4,}", one)]
    coded = [base64.b64encode(one).decode().rstrip("=") for one in said if one]
    return any(word in heard for word in (*clear, *coded) if word != user)


def _challenge(reply: Reply) -> bytes:
    try:
        return base64.b64decode(reply.lines[0].strip("= ") + "===")
    except binascii.Error:
        raise auth.ExchangeError("the server's question is not base64") from None


def _extensions(reply: Reply) -> dict[str, str]:
    """Return keyword -> parameters; the old form "AUTH=LOGIN" counts as AUTH."""
    found: dict[str, str] = {}
    for text in reply.lines[1:]:
        keyword, _, rest = text.strip().partition(" ")
        keyword = keyword.upper()
        if keyword.startswith("AUTH="):
            keyword, rest = "AUTH", f"{keyword[5:]} {rest}"
        found[keyword] = f"{found.get(keyword, '')} {rest}".strip() if keyword == "AUTH" else rest.strip()
    return found
